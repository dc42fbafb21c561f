//! Dispatching: while a line is free and a lead may be called, take the line and begin its dial.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::core::campaign::{Campaign, CampaignState};
use crate::core::ids::{Kind, Lease, LineKey, OrgName, Token};
use crate::core::lead::ReadyLead;
use crate::core::pool::{Pool, Rule};
use crate::core::refusal::Refuser;
use crate::table::TableError;
use crate::table::ledger::Taken;

use super::App;
use super::dial::Dial;
use super::reject::rejects;

/// Lines taken with one write. The expression's length bounds it, and the pool's item stays cool.
const LINES_AT_ONCE: u32 = 40;
/// Dials of one invocation under way at once.
const DIALS_AT_ONCE: usize = 200;
/// What an invocation leaves itself to come to its end.
pub(super) const TIME_TO_END: SignedDuration = SignedDuration::from_secs(5);
/// Refused takings in a row after which an invocation leaves the field to the others.
const REFUSALS: u32 = 4;

/// What an invocation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// Lines taken.
    pub taken: u32,
    /// Takings refused.
    pub refused: u32,
}

impl App {
    /// Dials for every running campaign as lines allow (P1), by priority, then age, then due time.
    /// Returns when each dial has its answer, and starts none that could not get it before `until`.
    pub async fn dispatch(self: &Arc<Self>, until: Timestamp) -> Result<Dispatched, TableError> {
        let (pool, campaigns) = tokio::try_join!(self.table.read_pool(), self.table.list_campaigns())?;
        let pool = self.spread_lines(pool).await?;
        let mut dispatch =
            Dispatch { app: self, pool, dials: JoinSet::new(), done: Dispatched::default(), until };
        let mut result = Ok(());
        for campaign in campaigns.into_iter().filter(|campaign| campaign.state == CampaignState::Running) {
            result = dispatch.serve(Arc::new(campaign)).await;
            if result.is_err() {
                break;
            }
        }
        // Whatever went wrong: what was taken is dialed to its end.
        while dispatch.dials.join_next().await.is_some() {}
        result.map(|()| dispatch.done)
    }

    /// A campaign of an organisation that nobody can dial for.
    async fn pause_for_key(&self, campaign: &Campaign) -> Result<(), TableError> {
        let org = campaign.spec.org.as_ref().map(OrgName::as_str).unwrap_or_default();
        let reason = format!(
            "there is no key for the organisation {org}: name it in HEADROOM_ORGS, give its key in HEADROOM_VAPI_KEY, \
             then resume the campaign"
        );
        if self.table.pause_campaign(&campaign.code, &reason).await? {
            tracing::error!(campaign.id = %campaign.spec.id, reason, "campaign paused");
        }
        Ok(())
    }

    /// Marks a campaign as finished if every one of its leads is over.
    pub(super) async fn finish_if_over(&self, campaign: &Campaign, pool: &Pool) -> Result<(), TableError> {
        let tally = pool.campaigns.get(&campaign.code).cloned().unwrap_or_default();
        if campaign.leads.is_none() || tally.held > 0 || self.table.has_ready_leads(&campaign.code).await? {
            return Ok(());
        }
        let counted = self.table.count_leads(&campaign.code).await?;
        if counted.all_over() && self.table.finish_campaign(campaign, counted).await? {
            self.table.close_campaign(pool, &campaign.code).await?;
            tracing::info!(
                campaign.id = %campaign.spec.id,
                leads = counted.total,
                done = counted.done,
                failed = counted.failed,
                "campaign finished"
            );
        }
        Ok(())
    }
}

/// One invocation at work.
pub(super) struct Dispatch<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) pool: Pool,
    pub(super) dials: JoinSet<()>,
    done: Dispatched,
    pub(super) until: Timestamp,
}

impl Dispatch<'_> {
    /// Dials one campaign's ready leads until it has none, or there is no room for it.
    async fn serve(&mut self, campaign: Arc<Campaign>) -> Result<(), TableError> {
        let app = self.app;
        let campaign_cap = campaign.spec.max_concurrency.map(std::num::NonZeroU32::get);
        let codes = campaign.spec.codes();
        if app.vapi_of(campaign.spec.org.as_ref()).is_none() {
            return app.pause_for_key(&campaign).await;
        }
        let mut refusals = 0;
        let mut has_taken = false;
        loop {
            let now = app.clock.now();
            let (item, room) = self.pool.roomiest(&campaign.code, campaign_cap, &codes, now);
            let shard = item.shard.index;
            if room.lines == 0 {
                tracing::debug!(campaign.id = %campaign.spec.id, rule = room.rule.name(), "no room");
                // Whoever frees a line wakes the dispatcher if the ledger knows of a campaign that waits.
                let is_open = self.pool.campaigns.contains_key(&campaign.code);
                if !is_open && app.table.has_ready_leads(&campaign.code).await? {
                    self.open(&campaign, 0).await?;
                }
                // Only after lines were taken, or each wake-up in between would send one more.
                if room.rule == Rule::Pace
                    && has_taken
                    && let Some(again) = self.pool.paced_until(&codes)
                {
                    app.wake_at(again).await;
                }
                app.explain_waiting(&campaign, Refuser::Rule(room.rule), &self.pool).await;
                if rejects(room.rule) && app.rejects(&campaign, &self.pool) {
                    return self.reject(&campaign).await;
                }
                return Ok(());
            }
            if now + 2 * app.timers.dial_timeout() > self.until {
                app.wake_at(now).await;
                return Ok(());
            }
            // After a dial without a clear answer, one goes ahead to see whether Vapi is well: a line
            // whose dial has no answer is held for minutes.
            let probing = self.pool.hold_count > 0;
            while self.dials.try_join_next().is_some() {}
            let wanted = if probing { 1 } else { room.lines.min(LINES_AT_ONCE) } as usize;
            let leads = self.callable(&campaign, wanted, now).await?;
            if leads.is_empty() {
                return app.finish_if_over(&campaign, &self.pool).await;
            }
            if !item.campaigns.contains_key(&campaign.code) {
                self.open(&campaign, shard).await?;
            }
            let Some(item) = self.pool.item(shard) else { continue };
            let lease = |lead: ReadyLead| Lease {
                key: LineKey::Claim(lead.next),
                token: Token::new(Kind::Outbound, now, (app.nonce)()).in_shard(shard),
            };
            let leases: Vec<Lease> = leads.into_iter().take(wanted).map(lease).collect();
            let own_cap = campaign_cap.map(|cap| self.pool.campaign_share(&campaign.code, cap, item));
            let Some(item) = self.pool.for_taking(item, &codes, now) else { continue };
            match app.table.take(&item, &campaign.code, own_cap, &leases, now).await? {
                Taken::Granted(taken) => {
                    (refusals, has_taken) = (0, true);
                    self.done.taken += leases.len() as u32;
                    let starts = item.starts(&codes, leases.len() as u32, now);
                    self.now_is(taken).await?;
                    let deadline = now + app.timers.dial_deadline();
                    let pool = Arc::new(self.pool.clone());
                    for (lease, start) in leases.into_iter().zip(starts) {
                        let LineKey::Claim(claim) = lease.key.clone() else { continue };
                        let (campaign, pool) = (campaign.clone(), pool.clone());
                        self.start(Dial { campaign, claim, lease, start, deadline, pool }).await;
                    }
                    if probing {
                        return Ok(());
                    }
                }
                Taken::Refused(item) => {
                    refusals += 1;
                    self.done.refused += 1;
                    self.now_is(item).await?;
                    // Each item may be full by now.
                    if refusals >= REFUSALS + self.pool.items().len() as u32 - 1 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One item of the ledger as it is now.
    async fn now_is(&mut self, item: Pool) -> Result<(), TableError> {
        if !self.pool.update(item) {
            self.pool = self.app.table.read_pool().await?;
        }
        Ok(())
    }

    /// Puts a campaign's counters on the ledger: on its first item, and on the one that lines are to be taken in.
    pub(super) async fn open(&mut self, campaign: &Campaign, shard: u8) -> Result<(), TableError> {
        let table = &self.app.table;
        // Read anew: others may have finished it since it was listed, and its figures with it.
        if let Some(fresh) = table.read_campaign(&campaign.code).await? {
            if !self.pool.items()[0].campaigns.contains_key(&campaign.code) {
                table.open_campaign(&campaign.code, fresh.settled, &fresh.spec.codes()).await?;
            }
            if shard > 0 {
                table.join_campaign(shard, &campaign.code, &fresh.spec.codes()).await?;
            }
            self.pool = table.read_pool().await?;
        }
        Ok(())
    }

    async fn start(&mut self, dial: Dial) {
        if self.dials.len() >= DIALS_AT_ONCE {
            self.dials.join_next().await;
        }
        let app = self.app.clone();
        self.dials.spawn(async move { app.dial(dial).await });
    }
}
