//! Dialing: for a line that was taken, claim the lead, ask Vapi, and do what its answer means.
//!
//! | dies after | what is left | the pass |
//! |---|---|---|
//! | take | a line under a claim that its lead never made | fences the claim off, then frees it |
//! | claim | lead dialing, line held | asks Vapi's list: adopts the call, or gives the lead back |
//! | `POST /call` | the same | the same |
//! | bind | lead live, line held | nothing to do |

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::Campaign;
use crate::core::health::Heard;
use crate::core::ids::{CallId, ClaimKey};
use crate::core::lead::{Counts, End, Lead, LeadState, Outcome, after_refusal};
use crate::core::life::REFUSED;
use crate::core::line::Lease;
use crate::core::people::Leave;
use crate::core::pool::Pool;
use crate::core::refusal::Refuser;
use crate::core::unseen::Figures;
use crate::logging::chain;
use crate::table::TableError;
use crate::table::leads::Step;
use crate::table::ledger::{Freed, LeadEnd, Rest};
use crate::vapi::dial::{Dialed, Limits};

use super::people::DO_NOT_CALL;
use super::{App, health};

/// No line is taken and no dial made on an older look at its campaign than this: somebody may have paused it.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_millis(500);

/// One dial's share of an invocation.
pub(super) struct Dial {
    pub(super) campaign: Arc<Campaign>,
    /// When it was read.
    pub(super) looked: Timestamp,
    pub(super) claim: ClaimKey,
    pub(super) lease: Lease,
    /// When it is to be made: now, unless a quota spaces dials out.
    pub(super) start: Timestamp,
    /// After this no call of this claim can be created any more.
    pub(super) deadline: Timestamp,
    /// The pool when its line was taken.
    pub(super) pool: Arc<Pool>,
}

impl App {
    /// Claims the lead and dials it, unless it is too late for either.
    pub(super) async fn dial(&self, dial: Dial) {
        let Dial { campaign, looked, claim, lease, start, deadline, pool } = &dial;
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
        let Some(vapi) = self.vapi_of(campaign.spec.org.as_ref()) else {
            return self.log_failure(self.undo(pool, &lead, lease, None).await, claim);
        };
        match self.ask_leave(&lead, self.clock.now()).await {
            Ok(Leave::Given) => {}
            Ok(Leave::From(due)) => {
                return self.log_failure(self.wait_until(pool, &lead, lease, due).await, claim);
            }
            Ok(Leave::Never) => {
                let end = End { reason: Some(DO_NOT_CALL.into()), connected: None };
                return self
                    .log_failure(self.settle_as(pool, &lead, None, &end, &Outcome::Uncalled).await, claim);
            }
            Err(error) => return self.log_failure::<()>(Err(error), claim),
        }
        let campaign = match self.still_runs((campaign, *looked), *deadline).await {
            Ok(campaign) => campaign,
            Err(error) => return self.log_failure::<()>(Err(error), claim),
        };
        // The last look at the clock: nothing but the request comes after it.
        let now = self.clock.now();
        let opens = campaign.as_ref().map(|campaign| self.opens(&campaign.spec, &*lead, now));
        let is_late = now + self.timers.dial_timeout() >= *deadline;
        let Some(campaign) = campaign.filter(|_| opens == Some(Some(now)) && !is_late) else {
            tracing::warn!(
                line.key = %claim,
                window.open = opens.map(|opens| opens == Some(now)),
                campaign.runs = opens.is_some(),
                "dial comes too late and is given back"
            );
            self.log_failure(self.forget_dial(&lead).await, claim);
            self.log_failure(self.undo(pool, &lead, lease, None).await, claim);
            if let Some(opens) = opens.filter(|opens| *opens != Some(now)) {
                self.log_failure(self.put_off(&lead, opens).await, claim);
            }
            return;
        };
        let dialed = vapi.dial(&campaign.spec, &lead, now).await;
        let took = self.clock.now().duration_since(now);
        let heard = Heard { began: lease.token.since(), news: health::news(&dialed, took) };
        tracing::info!(
            campaign.id = %campaign.spec.id,
            line.key = %claim,
            call.id = dialed.call().map(CallId::as_str),
            attempt = lead.attempts + 1,
            answer = answer_name(&dialed),
            answer_ms = took.as_millis() as i64,
            "dialed"
        );
        if dialed.is_not_made() {
            self.log_failure(self.forget_dial(&lead).await, claim);
        }
        let over_limit = matches!(dialed, Dialed::OverLimit { .. } | Dialed::Throttled { .. });
        self.log_failure(self.after_dial(&dial, &lead, dialed).await, claim);
        self.hear(pool, &campaign.spec, &heard).await;
        if over_limit {
            self.explain_waiting(&campaign, Refuser::Vapi, pool).await;
        }
    }

    /// A campaign as it is now that was running when it was `looked` at, if it still is: for a dial that waited for its
    /// second or was held up.
    async fn still_runs(
        &self,
        (campaign, mut looked): (&Arc<Campaign>, Timestamp),
        deadline: Timestamp,
    ) -> Result<Option<Arc<Campaign>>, TableError> {
        let mut campaign = campaign.clone();
        loop {
            let now = self.clock.now();
            // Whoever is this late makes no dial at all.
            if now.duration_since(looked) <= LOOK_AGAIN || now >= deadline {
                return Ok(Some(campaign));
            }
            looked = now;
            match self.running(&campaign.code).await? {
                Some(now) => campaign = Arc::new(now),
                None => return Ok(None),
            }
        }
    }

    async fn after_dial(&self, dial: &Dial, lead: &Lead, dialed: Dialed) -> Result<(), TableError> {
        let Dial { campaign, claim, lease, pool, .. } = dial;
        let rest = self.rest_after(pool);
        let told = self.clock.now();
        let known_limit = pool.seen_limit.unwrap_or(pool.policy.limit());
        match dialed {
            Dialed::Created { call, org, limits } => {
                let figures = limits.used().map(|used| Figures { at: told, used });
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
                self.weigh(dial, told, &limits).await?;
                let org = org.filter(|_| {
                    pool.org.is_none() && campaign.spec.org.is_none() && self.memory.is_first_to_tell_org()
                });
                self.table.note_vapi(org.as_ref(), changed_limit(limits, known_limit)).await
            }
            Dialed::OverLimit { call, limits } => {
                self.weigh(dial, told, &limits).await?;
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
                if self.table.pause_campaign(campaign, &reason, self.clock.now()).await? {
                    tracing::error!(campaign.id = %campaign.spec.id, reason, "campaign paused");
                }
                match after_refusal(lead, told) {
                    later @ Outcome::Again { .. } => {
                        self.settle_unmade(pool, lead, lease, (&later, &message)).await
                    }
                    over => {
                        let end = End { reason: Some(format!("{REFUSED}{message}")), connected: None };
                        self.settle_as(pool, lead, None, &end, &over).await.map(|_| ())
                    }
                }
            }
            Dialed::BadAccount { message } => {
                let reason =
                    format!("{message}. Mend the key or the account at Vapi, then resume the campaign");
                self.pause_account(campaign.spec.org.as_ref(), &reason).await?;
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

    async fn leave_unknown(&self, claim: &ClaimKey) -> Result<(), TableError> {
        let settled = self.clock.now() + self.timers.settling();
        self.table.mark_unknown(claim, settled).await.map(|_| ())
    }

    fn log_failure<T>(&self, result: Result<T, TableError>, claim: &ClaimKey) {
        if let Err(error) = result {
            tracing::error!(line.key = %claim, error = chain(&error), "dial broke off; the pass finishes it");
        }
    }
}

fn untouched() -> Outcome {
    Outcome::Again { due: Timestamp::UNIX_EPOCH, counts: Counts::Nothing }
}

fn changed_limit(limits: Limits, known: u32) -> Option<u32> {
    limits.limit.filter(|limit| *limit != known)
}

fn answer_name(dialed: &Dialed) -> &'static str {
    match dialed {
        Dialed::Created { .. } => "created",
        Dialed::OverLimit { .. } => "over limit",
        Dialed::Throttled { .. } => "throttled",
        Dialed::BadLead { .. } => "bad lead",
        Dialed::BadCampaign { .. } => "bad campaign",
        Dialed::BadAccount { .. } => "bad account",
        Dialed::NotSent { .. } => "not sent",
        Dialed::Unclear { .. } => "unclear",
    }
}
