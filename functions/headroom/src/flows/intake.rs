//! Taking in what comes over the campaign queue: campaigns and their leads into the table.
//!
//! Everything here may happen twice: a campaign or a lead that is known stays as it is.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;

use crate::core::campaign::{BadLead, CampaignState, Message, MessageError, NewLead, Spec};
use crate::core::ids::{CampaignCode, CampaignId};
use crate::table::TableError;
use crate::table::campaigns::Opened;
use crate::table::leads::Stored;

use super::App;

/// Why a message was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It can never be: refuse it for good.
    #[error("the message is refused")]
    Refused(#[from] MessageError),
    /// Its campaign's id cannot be used.
    #[error("the campaign id {0} has the same short code as another campaign's; choose another id")]
    CodeTaken(CampaignId),
    /// There is no such campaign to resume.
    #[error("there is no campaign {0}")]
    NoCampaign(CampaignId),
    /// The table did not take it; it may later.
    #[error("the message could not be stored")]
    Table(#[from] TableError),
}

impl IntakeError {
    /// Whether another try can come out differently.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Table(_))
    }
}

/// What a message brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenIn {
    /// The campaign.
    pub campaign: CampaignId,
    /// Leads that are new.
    pub new: u32,
    /// Leads that were there already.
    pub known: u32,
    /// Leads that cannot be called.
    pub bad: Vec<BadLead>,
}

/// Leads being written at once.
const WRITES_AT_ONCE: usize = 32;

impl App {
    /// Takes in one message of the campaign queue. The caller wakes the dispatcher.
    pub async fn take_in(&self, body: &[u8]) -> Result<TakenIn, IntakeError> {
        match Message::parse(body)? {
            Message::Leads { spec, leads, bad } => self.take_in_leads(&spec, leads, bad).await,
            Message::Resume(id) => {
                let code = CampaignCode::of(&id);
                match self.table.read_campaign(&code).await? {
                    Some(campaign) if campaign.spec.id == id => {
                        if self.table.resume_campaign(&code).await? {
                            tracing::info!(campaign.id = %id, "campaign resumed");
                        }
                        Ok(TakenIn { campaign: id, new: 0, known: 0, bad: Vec::new() })
                    }
                    _ => Err(IntakeError::NoCampaign(id)),
                }
            }
        }
    }

    async fn take_in_leads(
        &self,
        spec: &Spec,
        leads: Vec<NewLead>,
        mut bad: Vec<BadLead>,
    ) -> Result<TakenIn, IntakeError> {
        let code = CampaignCode::of(&spec.id);
        let now = self.clock.now();
        let before = match self.table.put_campaign(spec, now).await? {
            Opened::New => None,
            Opened::Known(campaign) => Some(campaign),
            Opened::Collision => return Err(IntakeError::CodeTaken(spec.id.clone())),
        };
        if before.as_ref().is_some_and(|before| before.spec != *spec) {
            tracing::warn!(campaign.id = %spec.id, "the campaign is known with other settings; those stay");
        }

        // In the order of the list, a microsecond apart.
        let due = |place: usize| now + SignedDuration::from_micros(place as i64);
        let puts: Vec<_> = leads
            .iter()
            .enumerate()
            .map(|(place, lead)| self.table.put_lead(&code, lead, due(place)))
            .collect();
        let stored: Vec<Stored> = futures::stream::iter(puts).buffered(WRITES_AT_ONCE).try_collect().await?;
        let count = |what| stored.iter().filter(|stored| **stored == what).count() as u32;
        let (new, known) = (count(Stored::New), count(Stored::Known));
        for (lead, _) in leads.iter().zip(&stored).filter(|(_, stored)| **stored == Stored::Collision) {
            let reason = "its id has the same short reference as another lead's; choose another id";
            bad.push(BadLead { index: lead.index, reason: reason.into() });
        }
        if new > 0 {
            self.table.count_new_leads(&code, new).await?;
        }
        let (finished, settled) = before
            .as_ref()
            .map_or((false, (0, 0)), |before| (before.state == CampaignState::Finished, before.settled));
        let mut all_over = finished && new == 0;
        // Known leads may be those of an earlier try that died before it had counted them.
        if known > 0
            && let Some(before) = before
        {
            let counted = self.table.count_leads(&code).await?;
            if counted.total != before.leads + new {
                self.table.correct_lead_count(&code, counted.total).await?;
            }
            all_over &= counted.all_over();
            if finished && !all_over {
                self.table.count_new_leads(&code, 0).await?;
            }
        }
        if !all_over {
            self.table.open_campaign(&code, settled).await?;
        }
        for lead in &bad {
            tracing::warn!(campaign.id = %spec.id, lead.index = lead.index, reason = lead.reason, "lead refused");
        }
        tracing::info!(campaign.id = %spec.id, new, known, bad = bad.len(), "leads taken in");
        Ok(TakenIn { campaign: spec.id.clone(), new, known, bad })
    }
}
