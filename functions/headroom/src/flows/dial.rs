//! Dialing: while a line is free and a lead is ready, take the line, claim the lead, ask Vapi.
//!
//! | dies after | what is left | the pass |
//! |---|---|---|
//! | take | a line under a claim that its lead never made | fences the claim off, then frees it |
//! | claim | lead dialing, line held | asks Vapi's list: adopts the call, or gives the lead back |
//! | `POST /call` | the same | the same |
//! | bind | lead live, line held | nothing to do |

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::core::campaign::{Campaign, CampaignState};
use crate::core::ids::{ClaimKey, Kind, Lease, LineKey, OrgName, Token};
use crate::core::lead::{Counts, End, Lead, LeadState, Outcome, ReadyLead};
use crate::core::pool::{Pool, Rule};
use crate::core::refusal::Refuser;
use crate::core::unseen::Figures;
use crate::logging::chain;
use crate::table::TableError;
use crate::table::leads::Step;
use crate::table::ledger::{Freed, LeadEnd, Rest, Taken};
use crate::vapi::dial::{Dialed, Limits};

use super::App;
use super::reject::rejects;

/// Lines taken with one write. The expression's length bounds it, and the pool's item stays cool.
const LINES_AT_ONCE: u32 = 40;
/// Dials of one invocation under way at once.
const DIALS_AT_ONCE: usize = 200;
/// Ready leads read beyond the room: some in the index were claimed a moment ago.
const SPARE_LEADS: usize = 8;
/// Leads put off at once whose window is closed.
const POSTPONED_AT_ONCE: usize = 64;
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

/// One dial's share of an invocation.
struct Dial {
    campaign: Arc<Campaign>,
    claim: ClaimKey,
    lease: Lease,
    /// When it is to be made: now, unless a quota spaces dials out.
    start: Timestamp,
    /// After this no call of this claim can be created any more.
    deadline: Timestamp,
    /// The pool when its line was taken.
    pool: Arc<Pool>,
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

    async fn dial(&self, dial: Dial) {
        let Dial { campaign, claim, lease, start, deadline, pool } = &dial;
        let wait = start.duration_since(self.clock.now());
        if wait.is_positive() {
            tokio::time::sleep(wait.unsigned_abs()).await;
        }
        let lead = match self.table.claim(claim, &lease.token, *deadline).await {
            Ok(Step::Moved(lead)) => lead,
            // The index was behind: somebody else has this lead.
            Ok(Step::Refused(_)) => {
                return self.log_failure(self.free(pool, lease, Some(LeadEnd::NotMade)).await, claim);
            }
            Err(error) => return self.log_failure::<()>(Err(error), claim),
        };
        let now = self.clock.now();
        let open = campaign
            .spec
            .window
            .as_ref()
            .is_none_or(|window| window.opens(now, lead.timezone.as_ref()) == Some(now));
        if now + signed(self.timers.dial_timeout()) >= *deadline || !open {
            tracing::warn!(line.key = %claim, window.open = open, "dial comes too late and is given back");
            return self.log_failure(self.undo(pool, &lead, lease, None).await, claim);
        }
        let Some(vapi) = self.vapi_of(campaign.spec.org.as_ref()) else {
            return self.log_failure(self.undo(pool, &lead, lease, None).await, claim);
        };
        let dialed = vapi.dial(&campaign.spec, &lead, now).await;
        tracing::info!(
            campaign.id = %campaign.spec.id,
            line.key = %claim,
            attempt = lead.attempts + 1,
            answer = answer_name(&dialed),
            answer_ms = self.clock.now().duration_since(now).as_millis() as i64,
            "dialed"
        );
        let over_limit = matches!(dialed, Dialed::OverLimit { .. } | Dialed::Throttled { .. });
        self.log_failure(self.after_dial(&dial, &lead, dialed).await, claim);
        if over_limit {
            self.explain_waiting(campaign, Refuser::Vapi, pool).await;
        }
    }

    async fn after_dial(&self, dial: &Dial, lead: &Lead, dialed: Dialed) -> Result<(), TableError> {
        let Dial { campaign, claim, lease, pool, .. } = dial;
        let rest = self.rest_after(pool);
        let known_limit = pool.seen_limit.unwrap_or(pool.policy.limit());
        match dialed {
            Dialed::Created { call, org, limits } => {
                let figures = limits.used().map(|used| Figures { at: self.clock.now(), used });
                self.table.bind(claim, &call, figures).await?;
                // The call may be over already, its message having come before it was known here.
                if let Some(end) = self.table.read_ended(&call).await?
                    && let Some(lead) = self.table.read_lead(&claim.campaign, &claim.lead).await?
                    && lead.claims == claim.claim
                {
                    self.observe_end(pool, &lead, &call, &end).await?;
                }
                if pool.hold_count > 0 {
                    // The probe went through: the others may follow.
                    self.table.end_rests(pool).await?;
                    self.wake_at(self.clock.now()).await;
                }
                self.suspect(pool, &limits).await?;
                let org = org.filter(|_| pool.org.is_none() && campaign.spec.org.is_none());
                self.table.note_vapi(org.as_ref(), changed_limit(limits, known_limit)).await
            }
            Dialed::OverLimit { call, limits } => {
                self.suspect(pool, &limits).await?;
                self.table.note_vapi(None, changed_limit(limits, known_limit)).await?;
                let Some(call) = call else { return self.undo(pool, lead, lease, Some(rest)).await };
                // Blocked, they say, and yet there is an id.
                match self.get_call(&call).await {
                    Ok(Some(found)) if found.has_ended() => {
                        self.table.rest(pool, rest).await?;
                        self.settle_as(pool, lead, Some(&call), &found.end, &untouched()).await.map(|_| ())
                    }
                    Ok(Some(found)) if found.is_live() => {
                        self.table.bind(claim, &call, None).await.map(|_| ())
                    }
                    // Not found is as often "not yet" as "not at all".
                    Ok(_) | Err(_) => {
                        self.leave_unknown(claim).await?;
                        self.table.rest(pool, rest).await?;
                        self.wake_at(rest.until).await;
                        Ok(())
                    }
                }
            }
            Dialed::Throttled { until } => {
                self.undo(pool, lead, lease, Some(Rest { until: until.max(rest.until), ..rest })).await
            }
            Dialed::NotSent { message } => {
                tracing::warn!(message, "Vapi cannot be reached");
                self.undo(pool, lead, lease, Some(rest)).await
            }
            Dialed::BadLead { message } => {
                let end = End { reason: Some(message), connected: None };
                self.settle_as(pool, lead, None, &end, &Outcome::Failed).await.map(|_| ())
            }
            Dialed::BadCampaign { message } => {
                let reason = format!("{message}. Mend the cause, then resume the campaign");
                if self.table.pause_campaign(&claim.campaign, &reason).await? {
                    tracing::error!(campaign.id = %campaign.spec.id, reason, "campaign paused");
                }
                self.undo(pool, lead, lease, None).await
            }
            Dialed::Unclear { message } => {
                tracing::warn!(line.key = %claim, message, "dial without a clear answer: the line stays held");
                self.leave_unknown(claim).await?;
                // One lost answer is a mishap and only remembered; from the second in a row on, rest.
                let now = self.clock.now();
                let until =
                    if pool.hold_count == 0 { now } else { now + self.timers.hold_off(pool.hold_count) };
                self.table.rest(pool, Rest { until, ..rest }).await?;
                self.wake_at(until).await;
                Ok(())
            }
        }
    }

    /// The call was surely not made: lead first, line second, since a lead without a line is lost.
    /// A rest goes before both, so that the wake-up for the line comes after it.
    async fn undo(
        &self,
        pool: &Pool,
        lead: &Lead,
        lease: &Lease,
        rest: Option<Rest>,
    ) -> Result<(), TableError> {
        if let Some(rest) = rest {
            self.table.rest(pool, rest).await?;
        }
        match self.table.give_back(&lead.claim()).await? {
            // Once more is harmless: the line is freed by its token.
            Step::Moved(lead) | Step::Refused(Some(lead)) if lead.state == LeadState::Ready => {
                self.free(pool, lease, Some(LeadEnd::NotMade)).await.map(|_: Freed| ())
            }
            // A webhook or the pass found a call after all.
            _ => Ok(()),
        }
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

    async fn leave_unknown(&self, claim: &ClaimKey) -> Result<(), TableError> {
        let settled = self.clock.now() + self.timers.settling();
        self.table.mark_unknown(claim, settled).await.map(|_| ())
    }

    fn log_failure<T>(&self, result: Result<T, TableError>, claim: &ClaimKey) {
        if let Err(error) = result {
            tracing::error!(line.key = %claim, error = chain(&error), "dial broke off; the pass finishes it");
        }
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
    dials: JoinSet<()>,
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
            if now + 2 * signed(app.timers.dial_timeout()) > self.until {
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
            let Some(item) = self.pool.for_taking(item, &codes) else { continue };
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

    /// Ready leads whose window is open and that hold no line. Those whose own clock says that it is
    /// closed are put off until it opens.
    pub(super) async fn callable(
        &self,
        campaign: &Campaign,
        wanted: usize,
        now: Timestamp,
    ) -> Result<Vec<ReadyLead>, TableError> {
        // Those that are being dialed may not be claimed yet, and stand before the others until they are.
        let spare = SPARE_LEADS + self.dials.len();
        let Some(window) = &campaign.spec.window else {
            let ready = self.app.table.ready_leads(&campaign.code, now, wanted + spare).await?;
            return Ok(self.without_lines(ready));
        };
        // One clock for all: nobody need be put off, the pass looks again every minute.
        if !window.needs_recipient_zone() && window.opens(now, None) != Some(now) {
            return Ok(Vec::new());
        }
        let page = wanted.max(POSTPONED_AT_ONCE) + spare;
        while self.app.clock.now() + TIME_TO_END < self.until {
            let ready = self.app.table.ready_leads(&campaign.code, now, page).await?;
            if ready.is_empty() {
                break;
            }
            let opens = |lead: &ReadyLead| window.opens(now, lead.timezone.as_ref());
            let (open, closed): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|lead| opens(lead) == Some(now));
            let put_off = closed.iter().map(|lead| {
                // Unknown means never: such a lead is refused at the intake, so this is a guard.
                let due = opens(lead).unwrap_or(now + SignedDuration::from_hours(24));
                self.app.table.postpone(&lead.next, due)
            });
            futures::future::try_join_all(put_off).await?;
            let open = self.without_lines(open);
            if !open.is_empty() || closed.is_empty() {
                return Ok(open);
            }
        }
        Ok(Vec::new())
    }

    fn without_lines(&self, mut leads: Vec<ReadyLead>) -> Vec<ReadyLead> {
        leads.retain(|lead| !self.pool.lines.contains_key(&LineKey::Claim(lead.next.clone())));
        leads
    }

    async fn start(&mut self, dial: Dial) {
        if self.dials.len() >= DIALS_AT_ONCE {
            self.dials.join_next().await;
        }
        let app = self.app.clone();
        self.dials.spawn(async move { app.dial(dial).await });
    }
}

fn untouched() -> Outcome {
    Outcome::Again { due: Timestamp::UNIX_EPOCH, counts: Counts::Nothing }
}

fn changed_limit(limits: Limits, known: u32) -> Option<u32> {
    limits.limit.filter(|limit| *limit != known)
}

fn signed(span: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

fn answer_name(dialed: &Dialed) -> &'static str {
    match dialed {
        Dialed::Created { .. } => "created",
        Dialed::OverLimit { .. } => "over limit",
        Dialed::Throttled { .. } => "throttled",
        Dialed::BadLead { .. } => "bad lead",
        Dialed::BadCampaign { .. } => "bad campaign",
        Dialed::NotSent { .. } => "not sent",
        Dialed::Unclear { .. } => "unclear",
    }
}
