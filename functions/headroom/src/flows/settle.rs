//! The end of a dialed call: the lead's outcome, the call's record, the free line, the wake-up, in
//! this order.

use jiff::SignedDuration;

use crate::core::campaign::{Campaign, CampaignState};
use crate::core::ended::cure;
use crate::core::health::{Heard, News};
use crate::core::ids::CallId;
use crate::core::kpi::{Came, Ended};
use crate::core::lead::{Consequence, Counts, End, Lead, LeadState, Outcome, after_call};
use crate::core::life::CANCELLED;
use crate::core::line::{Lease, LineKey};
use crate::core::pacing::Met;
use crate::core::pool::Pool;
use crate::core::refusal::Refuser;
use crate::core::retry;
use crate::logging::chain;
use crate::table::TableError;
use crate::table::leads::Step;
use crate::table::ledger::{Freed, LeadEnd, Rest, Used};

use super::App;

/// How far back usage tells which hours are quiet: each hour of the day, and each day of the week, once.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 7);

/// What the settling of a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The lead has its outcome and the line is free.
    Now,
    /// Another settled it before, or its call is another one.
    NotHere,
}

impl App {
    /// Settles a lead's claim whose call is over. `lead` is as it was read before; if it has moved
    /// since, nothing happens. `pool` is as it was last seen.
    ///
    /// Dies after the outcome or the record: the line is still on the ledger, and the pass frees it.
    pub async fn settle(
        &self,
        pool: &Pool,
        lead: &Lead,
        call: Option<&CallId>,
        end: &End,
    ) -> Result<Settled, TableError> {
        // Settled before: what its end means for the rest was done then, and outbound would rest twice.
        if lead.lease().is_none() {
            return Ok(Settled::NotHere);
        }
        let Some(campaign) = self.table.read_campaign(&lead.campaign).await? else {
            return Err(TableError::Item { item: "lead", problem: "belongs to no campaign".into() });
        };
        let now = self.clock.now();
        let (outcome, consequence) = after_call(lead, &campaign.spec.retry, end, now, &self.timers);
        let outcome = self.in_a_quiet_hour(&campaign, lead, outcome).await;
        // Its attempt was its last: nobody is called again for a campaign that is cancelled.
        let is_last = campaign.state == CampaignState::Cancelling
            && matches!(outcome, Outcome::Again { counts: Counts::Attempt(_) | Counts::Spared, .. });
        let outcome = if is_last { Outcome::Failed } else { outcome };
        let paused = || format!("a call ended with {}: {}", end.reason_text(), cure(end.reason_text()));
        let began = lead.lease().map_or(now, |lease| lease.token.since());
        let heard = |news| Heard { began, news };
        match consequence {
            Consequence::None => {}
            Consequence::Rest => {
                let pool = self.table.read_pool().await?;
                self.table.rest(&pool, self.rest_after(&pool)).await?;
                self.explain_waiting(&campaign, Refuser::Vapi, &pool).await;
            }
            Consequence::PauseCampaign => {
                let reason = paused();
                if self.table.pause_campaign(&campaign, &reason, now).await? {
                    tracing::warn!(campaign.id = %campaign.spec.id, reason, "campaign paused");
                }
            }
            Consequence::PauseAccount => {
                self.pause_account(campaign.spec.org.as_ref(), &paused()).await?;
            }
            Consequence::RestNumber => {
                let news = News::UsedUp(end.reason_text().to_owned());
                self.hear(pool, &campaign.spec, &heard(news)).await;
            }
        }
        let settled = self.settle_as(pool, lead, call, end, &outcome).await?;
        if settled == Settled::Now
            && consequence != Consequence::RestNumber
            && let Some(reason) = &end.reason
        {
            self.hear(pool, &campaign.spec, &heard(News::ended(reason))).await;
        }
        Ok(settled)
    }

    /// The same outcome, and where the campaign wants quiet hours for its retries, due in one. A usage table that does
    /// not answer makes nobody wait: the retry is due when it would have been.
    async fn in_a_quiet_hour(&self, campaign: &Campaign, lead: &Lead, outcome: Outcome) -> Outcome {
        let Outcome::Again { due, counts: counts @ Counts::Attempt(_) } = outcome else { return outcome };
        if !campaign.spec.retry.prefer_quiet_hours {
            return outcome;
        }
        let now = self.clock.now();
        let peaks = match self.table.read_usage(now - REMEMBERED, now).await {
            Ok(hours) => hours.into_iter().map(|hour| (hour.start, hour.peak)).collect::<Vec<_>>(),
            Err(error) => {
                tracing::warn!(error = chain(&error), "usage is not known: a retry waits for no quiet hour");
                return outcome;
            }
        };
        let allowed = |at| self.opens(&campaign.spec, lead, at) == Some(at);
        let due = retry::in_a_quiet_hour(due, &peaks, allowed, lead.claim().spread());
        Outcome::Again { due, counts }
    }

    /// Settles a lead's claim with an outcome that is already decided.
    pub(super) async fn settle_as(
        &self,
        pool: &Pool,
        lead: &Lead,
        call: Option<&CallId>,
        end: &End,
        outcome: &Outcome,
    ) -> Result<Settled, TableError> {
        let Some(lease) = lead.lease() else { return Ok(Settled::NotHere) };
        let claim = lead.claim();
        let line = self.clock.now().duration_since(lease.token.since());
        let ended = call.and_then(|_| Came::of(end)).map(|came| Ended { came, line });
        let (step, outcome) = self.settle_lead(lead, call, outcome, end.reason_text(), ended).await?;
        let lead_end = match step {
            Step::Moved(lead) => lead_end(&lead),
            // Our own write whose answer was lost, or another's: what follows is safe to do twice.
            Step::Refused(Some(now)) if now.claims > claim.claim => None,
            Step::Refused(Some(now)) if now.lease().is_none() => lead_end(&now),
            Step::Refused(_) => return Ok(Settled::NotHere),
        };
        let now = self.clock.now();
        if let Some(call) = call {
            self.table.record_ended(call, end, now).await?;
        }
        tracing::info!(
            line.key = %claim,
            call.id = call.map(CallId::as_str),
            reason = end.reason_text(),
            outcome = outcome_name(&outcome),
            held_ms = now.duration_since(lease.token.since()).as_millis() as i64,
            "call settled"
        );
        let is_on_ramp = pool.come(&claim.campaign).1.step.is_some();
        let met = call.filter(|_| is_on_ramp).and_then(|_| Met::of(end));
        self.free_met(pool, &lease, lead_end, met).await?;
        // The next pass comes soon enough for a later retry.
        if let Outcome::Again { due, counts: Counts::Attempt(_) | Counts::Called | Counts::Spared } = &outcome
            && std::time::Duration::try_from(due.duration_since(now)).unwrap_or_default()
                < self.timers.pass_interval()
        {
            self.wake_at(*due).await;
        }
        Ok(Settled::Now)
    }

    /// Lets a lead wait whose claim came to no call, as `outcome` and `why` have it, and frees its line: it is none of a
    /// quota's day.
    pub(super) async fn settle_unmade(
        &self,
        pool: &Pool,
        lead: &Lead,
        lease: &Lease,
        (outcome, why): (&Outcome, &str),
    ) -> Result<(), TableError> {
        match self.settle_lead(lead, None, outcome, why, None).await?.0 {
            Step::Moved(_) => {}
            // Our own write whose answer was lost.
            Step::Refused(Some(now)) if now.claims == lead.claims && now.state == LeadState::Ready => {}
            Step::Refused(_) => return Ok(()),
        }
        self.free(pool, lease, Some(LeadEnd::NotMade)).await.map(|_| ())
    }

    /// Frees a line and wakes the dispatcher if a campaign may be waiting for it.
    pub(super) async fn free(
        &self,
        pool: &Pool,
        lease: &Lease,
        end: Option<LeadEnd>,
    ) -> Result<Freed, TableError> {
        self.free_met(pool, lease, end, None).await
    }

    /// The same, with what the call came to that ended, for its campaign's ramp. One whose function dies before this is
    /// none of the ramp's.
    async fn free_met(
        &self,
        pool: &Pool,
        lease: &Lease,
        end: Option<LeadEnd>,
        met: Option<Met>,
    ) -> Result<Freed, TableError> {
        let used = Used { until: self.clock.now(), met };
        let freed = self.table.free_used(pool, lease, end, Some(used)).await?;
        if let Freed::Freed(item) = &freed {
            // Of an observed call, its end says the same.
            if let LineKey::Claim(claim) = &lease.key {
                tracing::info!(line.key = %claim, "line freed");
            }
            // A campaign that waits is on the first item; the line may be on another.
            if !(item.campaigns.is_empty() && pool.campaigns.is_empty()) {
                self.wake_at(item.hold_until).await;
            }
        }
        Ok(freed)
    }

    /// The next rest in a row.
    pub(super) fn rest_after(&self, pool: &Pool) -> Rest {
        let count = pool.hold_count + 1;
        Rest { until: self.clock.now() + self.timers.hold_off(count), count }
    }

    /// Records the end of a call that Headroom only observes, then frees its line if it holds one.
    /// The record first: whoever takes a line for this call later reads it, and gives the line back.
    pub(super) async fn end_observed(&self, pool: &Pool, call: &CallId, end: &End) -> Result<(), TableError> {
        let key = LineKey::Observed(call.clone());
        self.table.record_ended(call, end, self.clock.now()).await?;
        let leases_of =
            |pool: &Pool| -> Vec<_> { pool.items().iter().filter_map(|item| item.lease(&key)).collect() };
        let mut leases = leases_of(pool);
        if leases.is_empty() {
            // Taken since the pool was read, by one who read the record before it was written?
            leases = leases_of(&self.table.read_pool().await?);
        }
        for lease in leases {
            self.free(pool, &lease, None).await?;
            tracing::info!(
                call.id = %call,
                kind = lease.token.kind().name(),
                reason = end.reason_text(),
                "observed call ended"
            );
        }
        Ok(())
    }
}

/// How a lead ended, for the counters on the ledger: not at all if it is to be called again, or was cancelled with its
/// campaign.
pub(super) fn lead_end(lead: &Lead) -> Option<LeadEnd> {
    match lead.state {
        LeadState::Done { .. } => Some(LeadEnd::Done),
        LeadState::Failed { ref reason } if reason == CANCELLED => None,
        LeadState::Failed { .. } => Some(LeadEnd::Failed),
        LeadState::Ready | LeadState::Dialing { .. } | LeadState::Unknown { .. } | LeadState::Live { .. } => {
            None
        }
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Uncalled => "not called",
        Outcome::Again { counts: Counts::Attempt(_), .. } => "again",
        Outcome::Again { counts: Counts::Called, .. } => "again, as promised",
        Outcome::Again { counts: Counts::Spared, .. } => "again, not counted",
        Outcome::Again { counts: Counts::Nothing, .. } => "back, untouched",
        Outcome::Again { counts: Counts::PutOff, .. } => "put off",
    }
}
