//! Callbacks: what a person says about when they want to be called, made a promise; and what becomes of it with the
//! end of a call. What is promised, and what stands above it, is in [`crate::core::callback`].
//!
//! | the wish comes | then |
//! |---|---|
//! | while its call goes on: the tool, or a report that ends it | the promise is written first; the end, whoever writes it, is conditional on having seen it, and leaves the lead waiting for its time |
//! | after the call was settled: the report with the analysis comes late | the lead comes back, and with it its campaign if that has finished |
//! | again, from the other source, or out of order | it is known: nothing |
//! | while another dispatcher means to call the lead | that claim is used up, so that its dial is refused |
//! | after the lead was claimed for another call | it is told to nobody we know, and logged: no message is trusted about a call that its lead does not have |
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | the freeing of a settled lead's line | a lead that is over, and counted, as it was | whoever tells the wish again; a report is answered with 500 and comes again |
//! | a finished campaign's counters were taken off the ledger | what the pass does by itself | the same |
//! | the promise | a lead that waits, or whose claim ends as any other does | the pass wakes the dispatcher when it is due |
//! | the end that keeps or misses it | the line on the ledger | the pass frees it; the count was in the same write |

use std::borrow::Cow;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::core::callback::{Asked, Fate, Heard, NoTime, TOLERANCE, Unpromised};
use crate::core::campaign::{Campaign, CampaignState};
use crate::core::hours::Person;
use crate::core::ids::{CallId, CampaignCode, CampaignId, ClaimKey, LeadId, LeadRef, OrgId};
use crate::core::kpi::Ended;
use crate::core::lead::{Lead, Outcome};
use crate::core::line::{Lease, LineKey};
use crate::table::TableError;
use crate::table::leads::Step;

use super::App;
use super::reconcile::settled_before;
use super::settle::lead_end;

/// How often a lead or a campaign may have moved on between a look and a write.
const TRIES: u32 = 10;
/// Due callbacks that are counted: more lines are not taken at once anyway.
const MOST_DUE: u32 = 40;
/// Callbacks that are counted for people.
const MOST_SHOWN: u32 = 10_000;

/// Why there is no promise.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// No such lead, or no such campaign.
    #[error("there is no lead of that id in the campaign {0}")]
    Unknown(CampaignId),
    /// None can be made.
    #[error(transparent)]
    Not(#[from] Unpromised),
    /// The table did not answer, or others kept changing what it says.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A call that is promised.
#[derive(Debug, Clone, PartialEq)]
pub struct Promised {
    /// When.
    pub at: Timestamp,
    /// Whether nobody may be called when it was asked for: it is the first time after that.
    pub is_moved: bool,
    /// Whether it was promised before.
    pub is_known: bool,
    /// The person's zone, if it is known to be this one.
    pub zone: Option<TimeZone>,
}

impl Promised {
    /// The time as the person's own clock shows it, or with its offset from Greenwich's where nobody knows that.
    pub fn clock(&self) -> String {
        match &self.zone {
            Some(zone) => self.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
            None => self.at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }

    /// What an assistant says to the person.
    pub fn spoken(&self) -> String {
        if self.is_moved {
            format!("Confirmed for {}: it is the first time at which calls are allowed then.", self.clock())
        } else {
            format!("Confirmed: the call back is at {}.", self.clock())
        }
    }
}

/// Who tells a wish.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    /// A call: its report, or its assistant's use of a tool.
    Call(&'a CallId, Option<&'a str>),
    /// Somebody at the console.
    Operator(&'a str),
}

impl Source<'_> {
    fn heard(&self, at: Timestamp) -> Heard {
        match self {
            Self::Call(call, tool_use) => Heard::in_call(call, *tool_use, at),
            Self::Operator(_) => Heard::from_operator(at),
        }
    }
}

impl App {
    /// A person says in a call when they want to be called, by the tool's use `tool_use` or in its report: made a promise, if
    /// the call is a lead's. `claims` are those that the call says it was made for. What cannot be promised is an answer:
    /// only a table that does not answer is an error.
    pub async fn hear_callback(
        &self,
        call: &CallId,
        (org, claims): (Option<&OrgId>, &[ClaimKey]),
        asked: Option<&Asked>,
        tool_use: Option<&str>,
    ) -> Result<Result<Promised, Unpromised>, TableError> {
        let made = match (self.called_lead(call, org, claims).await?, asked) {
            (None, _) => Err(CallbackError::Not(Unpromised::NoLead)),
            (Some(_), None) => Err(CallbackError::Not(NoTime.into())),
            (Some(lead), Some(asked)) => {
                self.promise_call((&lead.campaign, &lead.lead), asked, Source::Call(call, tool_use)).await
            }
        };
        match made {
            Ok(promised) => Ok(Ok(promised)),
            Err(CallbackError::Not(why)) => {
                tracing::info!(call.id = %call, reason = %why, "a person asks to be called back, and is not promised it");
                Ok(Err(why))
            }
            Err(CallbackError::Unknown(_)) => Ok(Err(Unpromised::NoLead)),
            Err(CallbackError::Table(failed)) => Err(failed),
        }
    }

    /// Promises a lead a call, in the name of `by`.
    pub async fn call_back(
        &self,
        campaign: &CampaignId,
        lead: &LeadId,
        asked: &Asked,
        by: &str,
    ) -> Result<Promised, CallbackError> {
        let (code, reference) = (CampaignCode::of(campaign), LeadRef::of(lead));
        let unknown = || CallbackError::Unknown(campaign.clone());
        let read = tokio::try_join!(self.table.read_campaign(&code), self.table.read_lead(&code, &reference));
        let (Some(known), Some(found)) = read? else { return Err(unknown()) };
        // Codes are short: another id may have the same one.
        if known.spec.id != *campaign || found.id != *lead {
            return Err(unknown());
        }
        self.promise_call((&code, &reference), asked, Source::Operator(by)).await
    }

    /// The lead that a call was made for, whether it goes on or not: it has this call, or waits for the answer of the very
    /// dial that the call says it was made by.
    async fn called_lead(
        &self,
        call: &CallId,
        org: Option<&OrgId>,
        claims: &[ClaimKey],
    ) -> Result<Option<Lead>, TableError> {
        if claims.is_empty() || self.is_other_org(&self.table.read_pool().await?, org) {
            return Ok(None);
        }
        for claim in claims {
            let lead = self.table.read_lead(&claim.campaign, &claim.lead).await?;
            let is_of = |lead: &Lead| match &lead.call {
                Some(known) => known == call,
                None => lead.claims == claim.claim && lead.lease().is_some(),
            };
            if let Some(lead) = lead.filter(is_of) {
                return Ok(Some(lead));
            }
        }
        Ok(None)
    }

    async fn promise_call(
        &self,
        (code, reference): (&CampaignCode, &LeadRef),
        asked: &Asked,
        source: Source<'_>,
    ) -> Result<Promised, CallbackError> {
        let tolerance = self.timers.scaled(TOLERANCE);
        for _ in 0..TRIES {
            let (lead, campaign) =
                tokio::try_join!(self.table.read_lead(code, reference), self.table.read_campaign(code))?;
            let (Some(lead), Some(campaign)) = (lead, campaign) else {
                return Err(Unpromised::NoLead.into());
            };
            let person =
                Person { number: Some(&lead.number), timezone: lead.timezone.as_ref(), is_promised: true };
            let zones = person.zones();
            let at = asked.instant(&zones)?;
            let heard = source.heard(at);
            let promised = |at: Timestamp, is_known: bool, is_moved: bool| Promised {
                at,
                is_moved,
                is_known,
                zone: zones.first().filter(|_| zones.len() == 1).cloned(),
            };
            if lead.callbacks.knows(&heard) {
                let stands = lead.callbacks.promise.map_or(at, |promise| promise.at);
                return Ok(promised(stands, true, stands != at));
            }
            if matches!(campaign.state, CampaignState::Cancelling | CampaignState::Cancelled) {
                return Err(Unpromised::Cancelled.into());
            }
            let now = self.clock.now();
            let due =
                lead.callbacks.promised(at, now, tolerance, |at| self.opens(&campaign.spec, person, at))?;
            if self.table.read_person(&lead.number).await?.refused.is_some() {
                return Err(Unpromised::DoNotCall.into());
            }
            if lead.state.is_over() {
                self.count_settled(&lead).await?;
            }
            if campaign.state == CampaignState::Finished && !self.is_closed(&campaign).await? {
                continue;
            }
            if self.table.promise(&lead, &campaign, (due, now), &heard).await? {
                tracing::info!(
                    campaign.id = %campaign.spec.id,
                    line.key = %lead.claim(),
                    call.id = match source { Source::Call(call, _) => Some(call.as_str()), Source::Operator(_) => None },
                    by = match source { Source::Call(..) => None, Source::Operator(by) => Some(by) },
                    at = %due,
                    asked = %asked,
                    lead.was = lead.state.name(),
                    "a call back is promised"
                );
                let soon = due.duration_since(now);
                if std::time::Duration::try_from(soon).unwrap_or_default() < self.timers.pass_interval() {
                    self.wake_at(due).await;
                }
                return Ok(promised(due, false, due != at));
            }
        }
        Err(TableError::Contended("promise a call").into())
    }

    /// Does what is left to do of the end of a lead that is over, in the order of [`super::settle`]: its outcome counts
    /// with the line's freeing, which would find it ready after this.
    async fn count_settled(&self, lead: &Lead) -> Result<(), TableError> {
        let pool = self.table.read_pool().await?;
        let (key, Some(token)) = (LineKey::Claim(lead.claim()), &lead.token) else { return Ok(()) };
        let holds = |lease: &Lease| lease.token == *token;
        let held = pool.items().iter().find_map(|item| item.lease(&key).filter(holds));
        if let Some(lease) = held {
            if let Some(call) = &lead.call {
                self.table.record_ended(call, &settled_before(lead), self.clock.now()).await?;
            }
            self.free(&pool, &lease, lead_end(lead)).await?;
        }
        Ok(())
    }

    /// Whether a finished campaign has no counters on the ledger, which would stay as they are when it runs again.
    async fn is_closed(&self, campaign: &Campaign) -> Result<bool, TableError> {
        let pool = self.table.read_pool().await?;
        if !pool.items().iter().any(|item| item.campaigns.contains_key(&campaign.code)) {
            return Ok(true);
        }
        self.table.close_campaign(&pool, &campaign.code).await?;
        let pool = self.table.read_pool().await?;
        Ok(!pool.items().iter().any(|item| item.campaigns.contains_key(&campaign.code)))
    }

    /// Writes a claim's end, and what it means for the promise that its lead has. Returns what the write came to, and the
    /// outcome that it wrote.
    pub(super) async fn settle_lead(
        &self,
        lead: &Lead,
        call: Option<&CallId>,
        outcome: &Outcome,
        reason: &str,
        ended: Option<Ended>,
    ) -> Result<(Step, Outcome), TableError> {
        let tolerance = self.timers.scaled(TOLERANCE);
        let mut seen = Cow::Borrowed(lead);
        for _ in 0..TRIES {
            let (ends, fate) = match (seen.callbacks.promise, seen.lease()) {
                (Some(promise), Some(lease)) => {
                    let began = lease.token.since();
                    match promise.after(seen.claims, began, outcome, tolerance) {
                        // A dial that came to no call at all has called nobody.
                        (ends, Fate::Kept) if call.is_none() => {
                            (ends, Fate::Missed(began.duration_since(promise.at)))
                        }
                        after => after,
                    }
                }
                _ => (outcome.clone(), Fate::Stands),
            };
            match self.table.settle_promised(&seen, call, &ends, (reason, ended), fate).await? {
                // It was promised a call since it was read.
                Step::Refused(Some(now))
                    if now.claims == seen.claims
                        && now.lease().is_some()
                        && now.callbacks != seen.callbacks =>
                {
                    seen = Cow::Owned(*now);
                }
                step => {
                    if let (Step::Moved(_), Fate::Missed(late)) = (&step, fate) {
                        self.log_missed(&seen, late, reason).await;
                    }
                    return Ok((step, ends));
                }
            }
        }
        Err(TableError::Contended("settle a lead"))
    }

    async fn log_missed(&self, lead: &Lead, late: SignedDuration, reason: &str) {
        // What its campaign waited for last, as far as anybody noted it.
        let waited = self.table.read_waiting(&lead.campaign).await.ok().flatten();
        let promised = lead.callbacks.promise.map(|promise| promise.at);
        let waited = waited.filter(|waited| Some(waited.at) >= promised).map(|waited| waited.rule);
        tracing::warn!(
            line.key = %lead.claim(),
            late_s = late.as_secs(),
            reason,
            waited_for = waited,
            "a promised call back came too late"
        );
    }

    /// Due callbacks of a campaign, as many as lines may be taken for at once. One query; none for campaigns that never
    /// promised anything.
    pub(super) async fn due_callbacks(&self, campaign: &Campaign) -> Result<u32, TableError> {
        if !campaign.lanes.callback {
            return Ok(0);
        }
        self.table.count_callbacks(&campaign.code, Some(self.clock.now()), MOST_DUE).await
    }

    /// What a campaign has promised, for people; nothing if it never did.
    pub(super) async fn callback_figures(
        &self,
        campaign: &Campaign,
    ) -> Result<Option<CallbackFigures>, TableError> {
        let tally = campaign.callbacks;
        if tally.made == 0 {
            return Ok(None);
        }
        let waiting = self.table.count_callbacks(&campaign.code, None, MOST_SHOWN).await?;
        Ok(Some(CallbackFigures { promised: tally.made, kept: tally.kept, missed: tally.missed, waiting }))
    }
}

/// A campaign's callbacks. Promises that are in none of the last three were replaced by another, are being dialed, or
/// ended with their leads: cancelled, not to be called, at the campaign's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallbackFigures {
    /// Promises made.
    pub promised: u32,
    /// Dialed in time.
    pub kept: u32,
    /// Dialed too late.
    pub missed: u32,
    /// Leads that wait for theirs.
    pub waiting: u32,
}
