//! Taking in what comes over the campaign queue: campaigns and their leads into the table.
//!
//! Everything here may happen twice: a campaign or a lead that is known stays as it is.

use std::collections::HashSet;

use jiff::SignedDuration;

use crate::core::campaign::{BadLead, CampaignState, Message, MessageError, NewLead, Spec};
use crate::core::fair::{Lane, Lanes};
use crate::core::ids::{CampaignCode, CampaignId, MessageCode};
use crate::core::life::Wish;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::table::campaigns::Opened;
use crate::table::leads::Stored;

use super::App;
use super::campaigns::CampaignError;

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
    /// Others kept changing the campaign; it may be done later.
    #[error("others kept changing the campaign {0}")]
    Busy(CampaignId),
    /// The table did not take it; it may later.
    #[error("the message could not be stored")]
    Table(#[from] TableError),
}

impl IntakeError {
    /// Whether another try can come out differently.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Table(_) | Self::Busy(_))
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

/// In whose name the queue's messages ask.
const QUEUE: &str = "queue";
/// Leads being written at once.
const WRITES_AT_ONCE: usize = 32;

impl App {
    /// Takes in one message of the campaign queue. The caller wakes the dispatcher.
    pub async fn take_in(&self, body: &[u8]) -> Result<TakenIn, IntakeError> {
        match Message::parse(body)? {
            Message::Leads { spec, leads, bad, draft } => {
                let state = if draft { CampaignState::Draft } else { CampaignState::Running };
                self.take_in_leads(&spec, &state, &MessageCode::of(body), leads, bad).await
            }
            Message::Resume(id) => {
                match self.ask_campaign(&id, &Wish::Resume, QUEUE).await {
                    // What is not paused, or over, has nothing to resume.
                    Ok(_) | Err(CampaignError::Not { .. } | CampaignError::Edit(_)) => {}
                    Err(CampaignError::Unknown(id)) => return Err(IntakeError::NoCampaign(id)),
                    Err(CampaignError::Busy) => return Err(IntakeError::Busy(id)),
                    Err(CampaignError::Table(failed)) => return Err(failed.into()),
                }
                Ok(TakenIn { campaign: id, new: 0, known: 0, bad: Vec::new() })
            }
        }
    }

    async fn take_in_leads(
        &self,
        spec: &Spec,
        state: &CampaignState,
        message: &MessageCode,
        mut leads: Vec<NewLead>,
        mut bad: Vec<BadLead>,
    ) -> Result<TakenIn, IntakeError> {
        self.refuse_without_zone(spec, &mut leads, &mut bad);
        let code = CampaignCode::of(&spec.id);
        let now = self.clock.now();
        let counted_before = match self.table.put_campaign(spec, state, now).await? {
            Opened::New => false,
            Opened::Known(before) => {
                if before.spec != *spec {
                    tracing::warn!(campaign.id = %spec.id, "the campaign is known with other settings; those stay");
                }
                before.leads.is_some()
            }
            Opened::Collision => return Err(IntakeError::CodeTaken(spec.id.clone())),
        };
        // One message may name a lead twice.
        let mut ids = HashSet::new();
        let named = leads.len();
        leads.retain(|lead| ids.insert(lead.id.clone()));
        let named_twice = (named - leads.len()) as u32;

        self.table
            .note_lanes(&code, Lanes::new(false, leads.iter().any(|lead| lead.lane == Lane::High)))
            .await?;
        // In the order of the list, a microsecond apart, the last of them now.
        let due = |place: usize| now - SignedDuration::from_micros((leads.len() - 1 - place) as i64);
        let mut stored = Vec::with_capacity(leads.len());
        for (page, few) in leads.chunks(WRITES_AT_ONCE).enumerate() {
            let put = |(n, lead)| self.table.put_lead(&code, message, lead, due(page * WRITES_AT_ONCE + n));
            stored.extend(futures::future::try_join_all(few.iter().enumerate().map(put)).await?);
        }
        let count = |what| stored.iter().filter(|stored| **stored == what).count() as u32;
        let (new, again, known) = (count(Stored::New), count(Stored::Again), count(Stored::Known));
        for (lead, _) in leads.iter().zip(&stored).filter(|(_, stored)| **stored == Stored::Collision) {
            let reason = "its id has the same short reference as another lead's; choose another id";
            bad.push(BadLead { index: lead.index, reason: reason.into() });
        }
        let known = known + again + named_twice;
        // Those of an earlier try that died before it had counted them are counted now; a message
        // that is counted is not counted again.
        if new + again > 0 || !counted_before {
            self.table.count_message(&code, message, new + again).await?;
            if let Some(campaign) = self.table.read_campaign(&code).await?
                && campaign.leads > Some(campaign.settled.0 + campaign.settled.1)
            {
                match campaign.state {
                    CampaignState::Finished => self.table.reopen_campaign(&campaign, now).await?,
                    // They end as those before them did.
                    CampaignState::Cancelled => self.table.recancel_campaign(&code).await?,
                    CampaignState::Draft
                    | CampaignState::Running
                    | CampaignState::Paused { .. }
                    | CampaignState::Cancelling
                    | CampaignState::Rerunning { .. } => false,
                };
            }
        }
        for lead in &bad {
            tracing::warn!(campaign.id = %spec.id, lead.index = lead.index, reason = lead.reason, "lead refused");
            tracing::trace!(target: METRICS, LeadsRefused = 1_u32);
        }
        tracing::info!(campaign.id = %spec.id, new, known, bad = bad.len(), "leads taken in");
        Ok(TakenIn { campaign: spec.id.clone(), new, known, bad })
    }
}
