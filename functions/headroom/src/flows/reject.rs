//! Leads that do not wait for a line: where the configuration says so for their agent, a due lead for which there
//! is none fails at once, with the rule that refused as its reason.
//!
//! It cannot be taken back. So the rule is looked at anew before each few leads, and only rules about lines
//! reject: what passes by itself (a rest, a closed window) makes nobody fail.

use crate::core::campaign::Campaign;
use crate::core::ids::ClaimKey;
use crate::core::lead::ReadyLead;
use crate::core::life::NO_LINE;
use crate::core::pool::{Pool, Rule};
use crate::table::TableError;
use crate::table::leads::EndedReady;

use super::App;
use super::dispatch::{Dispatch, TIME_TO_END};

/// Leads ended on one reading of the ledger.
const AT_ONCE: usize = 16;

/// Whether a rule is about lines.
pub(super) fn rejects(rule: Rule) -> bool {
    match rule {
        Rule::Limit | Rule::Headroom | Rule::Shared | Rule::Cap | Rule::CampaignCap | Rule::Quota => true,
        Rule::HoldOff | Rule::Pace | Rule::Daily | Rule::Batch | Rule::Adaptive | Rule::Breaker => false,
    }
}

impl App {
    /// Whether a campaign's leads do not wait for a line.
    pub(super) fn rejects(&self, campaign: &Campaign, pool: &Pool) -> bool {
        let spec = &campaign.spec;
        let reserved = spec.codes().iter().find_map(|code| pool.reserves.agent(code));
        let names = [reserved, spec.agent.as_ref()].into_iter().flatten().map(|name| name.as_str());
        let ids = [spec.squad_id.as_deref(), spec.assistant_id.as_deref(), Some(&*spec.phone_number_id)];
        self.rejects.outbound_of(names.chain(ids.into_iter().flatten()))
    }
}

impl Dispatch<'_> {
    /// In which item of the ledger a ready lead's latest claim held its line.
    async fn last_shard(&self, next: &ClaimKey) -> Result<u8, TableError> {
        if !self.pool.is_spread() {
            return Ok(0);
        }
        let lead = self.app.table.read_lead(&next.campaign, &next.lead).await?;
        Ok(lead.and_then(|lead| lead.token).map_or(0, |token| token.shard()))
    }

    /// Ends ready leads without a call. How many of them.
    pub(super) async fn end_leads(
        &mut self,
        campaign: &Campaign,
        leads: Vec<ReadyLead>,
        reason: &str,
    ) -> Result<u32, TableError> {
        if !leads.is_empty() && !self.pool.campaigns.contains_key(&campaign.code) {
            self.open(campaign, 0).await?;
        }
        let mut ended = 0;
        // One after another: they would meet on the ledger.
        for lead in leads {
            let shard = self.last_shard(&lead.next).await?;
            let mut end = self.app.table.end_ready(&lead.next, shard, reason).await?;
            if end == EndedReady::NotOpen {
                // It had its line in another item in a run before: there are no counters of this one there yet.
                self.open(campaign, shard).await?;
                end = self.app.table.end_ready(&lead.next, shard, reason).await?;
            }
            if end == EndedReady::Now {
                tracing::info!(campaign.id = %campaign.spec.id, line.key = %lead.next, reason, "lead ended without a call");
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Ends a campaign's due leads for as long as there is no line for them.
    pub(super) async fn reject(&mut self, campaign: &Campaign) -> Result<(), TableError> {
        let app = self.app;
        let codes = campaign.spec.codes();
        loop {
            let now = app.clock.now();
            if now + TIME_TO_END > self.until {
                app.wake_at(now).await;
                return Ok(());
            }
            if app.running(&campaign.code).await?.is_none() {
                return Ok(());
            }
            self.pool = app.table.read_pool().await?;
            let own = app.own(campaign, &self.pool);
            let (_, room) = self.pool.roomiest(&campaign.code, own, &codes, now);
            if room.lines > 0 {
                // Whoever freed the line has woken another dispatcher, or this one is.
                app.wake_at(now).await;
                return Ok(());
            }
            if !rejects(room.rule) {
                return Ok(());
            }
            let mut leads = self.callable(campaign, campaign.lanes, AT_ONCE, now).await?;
            leads.truncate(AT_ONCE);
            if leads.is_empty() {
                return app.finish_if_over(campaign, &self.pool).await;
            }
            let reason = format!("{NO_LINE}{}", room.rule.name());
            if self.end_leads(campaign, leads, &reason).await? == 0 {
                // The index is behind: all of these are others' by now.
                return Ok(());
            }
        }
    }
}
