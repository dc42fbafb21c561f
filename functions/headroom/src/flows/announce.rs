//! Telling others what has happened: each event at least once, however many times something dies.
//!
//! What is to be told is marked in the very write that makes it so ([`crate::table::events`]), whoever makes it: an end of
//! a lead with a call, without one or with its campaign, a change of a campaign by a person or by Headroom. Dispatchers
//! and the pass put the marked events on their queue, then take the marks off. Nobody's line waits for it.
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | the write | the mark | the next dispatcher or pass tells it |
//! | the queue has it | the mark | it is told again, under the same id |
//! | the mark is off | nothing | |
//!
//! Two that tell at the same time may both tell an event, under the same id. If SQS does not take events, nothing but
//! the telling waits; and a rerun, which would take the marks of the leads that it makes ready, and asks for them to be
//! told first. What the end of a lead that was rerun came to is told before it is ready.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::App;
use super::dispatch::TIME_TO_END;
use crate::core::campaign::Campaign;
use crate::core::event::Event;
use crate::core::ids::{CampaignCode, CampaignId, ClaimKey};
use crate::core::lead::Lead;
use crate::logging::chain;
use crate::outlet::{AT_ONCE, OutletError};
use crate::table::TableError;

/// Leads read from the index at once.
const PAGE: i32 = 100;
/// Leads of them read or written at once.
const LEADS_AT_ONCE: usize = 32;

/// How much of it is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// A page of leads: whoever dials has other things to do.
    Some,
    /// All that there is time for.
    All,
}

/// Why not all was told. It stays marked.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Outlet(#[from] OutletError),
}

impl App {
    /// Tells what is marked; what cannot be told stays so. `campaigns` are all of them.
    pub(super) async fn announce(&self, campaigns: &[Campaign], share: Share, until: Timestamp) {
        if let Err(error) = self.announce_all(campaigns, share, until).await {
            tracing::error!(error = chain(&error), "events not told; the next pass tells them");
        }
    }

    async fn announce_all(
        &self,
        campaigns: &[Campaign],
        share: Share,
        until: Timestamp,
    ) -> Result<(), Untold> {
        for campaign in campaigns.iter().filter(|campaign| !campaign.untold.is_empty()) {
            let told = self.send_events(&campaign.untold).await?;
            if told.len() == campaign.untold.len() {
                self.table.campaign_told(&campaign.code, &campaign.untold).await?;
            }
        }
        let ids: HashMap<&CampaignCode, &CampaignId> =
            campaigns.iter().map(|campaign| (&campaign.code, &campaign.spec.id)).collect();
        let mut seen: HashSet<ClaimKey> = HashSet::new();
        while self.clock.now() + TIME_TO_END < until {
            let claims = self.table.untold_leads(PAGE).await?;
            // The index is behind, or their campaign was not there when the campaigns were listed.
            let fresh: Vec<ClaimKey> =
                claims.into_iter().filter(|claim| seen.insert(claim.clone())).collect();
            for few in fresh.chunks(LEADS_AT_ONCE) {
                let reads = few.iter().map(|claim| self.table.read_turn(&claim.campaign, &claim.lead));
                let leads = futures::future::try_join_all(reads).await?;
                let untold = leads.into_iter().flatten().filter(|(_, turn)| turn.is_untold);
                let mut by_campaign: HashMap<CampaignCode, Vec<Lead>> = HashMap::new();
                for (lead, _) in untold {
                    by_campaign.entry(lead.campaign.clone()).or_default().push(lead);
                }
                let ends =
                    by_campaign.values().flatten().filter_map(|lead| Some((*ids.get(&lead.campaign)?, lead)));
                self.tell_leads(ends).await?;
            }
            if share == Share::Some || fresh.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Tells how these leads of a campaign have ended, if anybody listens. Returns whether they are all told; who cannot
    /// tell them leaves them marked.
    pub(super) async fn tell_ends(&self, campaign: &Campaign, leads: &[&Lead]) -> Result<bool, TableError> {
        // Marks of a time when somebody listened keep nobody waiting.
        if leads.is_empty() || !self.table.announces() {
            return Ok(true);
        }
        let ends = leads.iter().map(|lead| (&campaign.spec.id, *lead));
        match self.tell_leads(ends).await {
            Ok(told) => Ok(told == leads.len()),
            Err(Untold::Table(failed)) => Err(failed),
            Err(Untold::Outlet(failed)) => {
                tracing::error!(error = chain(&failed), "events not told; the rerun waits for it");
                Ok(false)
            }
        }
    }

    /// Tells the ends of leads, then takes their marks off. Returns of how many.
    async fn tell_leads<'a>(
        &self,
        ends: impl Iterator<Item = (&'a CampaignId, &'a Lead)>,
    ) -> Result<usize, Untold> {
        let now = self.clock.now();
        let ends: Vec<(ClaimKey, String)> = ends
            .filter_map(|(id, lead)| Some((lead.claim(), Event::of_lead(lead, id, now)?.text())))
            .collect();
        let texts: Vec<String> = ends.iter().map(|(_, text)| text.clone()).collect();
        let told = self.send_events(&texts).await?;
        for few in told.chunks(LEADS_AT_ONCE) {
            let marks = few.iter().map(|place| self.table.lead_told(&ends[*place].0));
            futures::future::try_join_all(marks).await?;
        }
        Ok(told.len())
    }

    /// Puts events on their queue. Returns which of them are there, by their places.
    async fn send_events(&self, events: &[String]) -> Result<Vec<usize>, OutletError> {
        // Nobody here tells: a function that does not is not asked to.
        let Some(outlet) = &self.outlet else { return Ok(Vec::new()) };
        let batches = events.chunks(AT_ONCE).map(|few| outlet.send(few));
        let sent = futures::future::join_all(batches).await;
        let mut told = Vec::new();
        for (nth, sent) in sent.into_iter().enumerate() {
            told.extend(sent?.into_iter().map(|place| nth * AT_ONCE + place));
        }
        Ok(told)
    }
}
