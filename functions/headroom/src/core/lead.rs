//! Leads: people to call, the state each is in, and what the end of a call means for them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::callback::Callbacks;
use super::ended::{Group, NoAnswer, UNKNOWN_REASON, is_daily_limit};
use super::fair::Lane;
use super::ids::{CallId, CampaignCode, ClaimKey, LeadId, LeadRef, PhoneNumber};
use super::line::{Lease, LineKey, Token};
use super::retry::{Missed, Retry, Tried};
use super::timers::Timers;
use super::unseen::Figures;

/// Where a lead is. It is ready, or a claim of it holds a line, or it is over (P4).
///
/// A lead is claimed only after its line was taken, and leaves the claim before its line is freed.
/// So a lead that is neither ready nor over has its line on the ledger, where the pass finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeadState {
    /// To be called, from `due` on.
    Ready,
    /// Claimed; its call is being asked for.
    Dialing {
        /// The line's token.
        token: Token,
        /// After this the call, if there is one, has been created.
        deadline: Timestamp,
    },
    /// Asked for without a clear answer: the call may exist.
    Unknown {
        /// The line's token.
        token: Token,
        /// After this the call, if there is one, has been created.
        deadline: Timestamp,
    },
    /// Its call is known.
    Live {
        /// The line's token.
        token: Token,
        /// The call.
        call: CallId,
    },
    /// Reached.
    Done {
        /// Why its last call ended.
        reason: String,
    },
    /// Over without being reached.
    Failed {
        /// Why.
        reason: String,
    },
}

impl LeadState {
    /// Whether it has its final outcome.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Failed { .. } => true,
            Self::Ready | Self::Dialing { .. } | Self::Unknown { .. } | Self::Live { .. } => false,
        }
    }

    /// The state's name in the table, in JSON and in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Dialing { .. } => "dialing",
            Self::Unknown { .. } => "unknown",
            Self::Live { .. } => "live",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A lead as the table keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Its campaign.
    pub campaign: CampaignCode,
    /// Its short stand-in in keys.
    pub lead: LeadRef,
    /// The user's id for it.
    pub id: LeadId,
    /// Whom to call.
    pub number: PhoneNumber,
    /// For Vapi's `customer.name`.
    pub name: Option<String>,
    /// The person's own zone.
    pub timezone: Option<TimeZone>,
    /// For the assistant's template, as a JSON object.
    pub variables: Option<String>,
    /// Where it is.
    pub state: LeadState,
    /// The token of the line that its latest claim held or holds.
    pub token: Option<Token>,
    /// The call of its latest claim, once known.
    pub call: Option<CallId>,
    /// Vapi's figures when that call was created, if it told any.
    pub figures: Option<Figures>,
    /// Claims so far; the next one's number is one more.
    pub claims: u32,
    /// Attempts that count towards `maxAttempts`.
    pub attempts: u32,
    /// What those of them came to that were not the last.
    pub tried: Tried,
    /// Failed set-ups that did not count.
    pub spared: u32,
    /// Where it stands in its campaign's queue, unless it is promised a call.
    pub lane: Lane,
    /// What it was promised.
    pub callbacks: Callbacks,
}

impl Lead {
    /// The key of its latest claim.
    pub fn claim(&self) -> ClaimKey {
        ClaimKey { campaign: self.campaign.clone(), lead: self.lead.clone(), claim: self.claims }
    }

    /// The key of the claim that would be its next.
    pub fn next(&self) -> ClaimKey {
        ClaimKey { claim: self.claims + 1, ..self.claim() }
    }

    /// The line that its latest claim holds, while it holds one.
    pub fn lease(&self) -> Option<Lease> {
        let token = match &self.state {
            LeadState::Dialing { token, .. }
            | LeadState::Unknown { token, .. }
            | LeadState::Live { token, .. } => token.clone(),
            LeadState::Ready | LeadState::Done { .. } | LeadState::Failed { .. } => return None,
        };
        Some(Lease { key: LineKey::Claim(self.claim()), token })
    }
}

/// A lead in the queue of ready ones, as much as the queue's index shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyLead {
    /// The key of the claim that would be its next.
    pub next: ClaimKey,
    /// Whom to call. Leads that were stored before the index showed it have none here.
    pub number: Option<PhoneNumber>,
    /// The person's own zone.
    pub timezone: Option<TimeZone>,
    /// Where in its campaign's queue it stands.
    pub lane: Lane,
    /// From when on it is called.
    pub due: Timestamp,
}

/// The end of a call, as a webhook or Vapi's list tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// As Vapi spells it, if it said.
    pub reason: Option<String>,
    /// Whether the far end was ever connected, if the source can tell: a report or the list can,
    /// a status update cannot, since its call object is the one from the creation.
    pub connected: Option<bool>,
}

impl End {
    /// Whether this is enough to decide about the lead. If not, the report or Vapi's own record is
    /// waited for, so that the decision is the same whichever message comes first (P8).
    pub fn is_conclusive(&self) -> bool {
        match self.reason.as_deref().map(Group::of) {
            None | Some(Group::InCallFailure) => self.connected.is_some(),
            Some(_) => true,
        }
    }

    /// The reason for people and records.
    pub fn reason_text(&self) -> &str {
        self.reason.as_deref().unwrap_or(UNKNOWN_REASON)
    }
}

/// What becomes of a lead after one of its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Reached: over.
    Done,
    /// Not reached, and over.
    Failed,
    /// Over without having been called: no attempt counts.
    Uncalled,
    /// To be called again.
    Again {
        /// From when on.
        due: Timestamp,
        /// Whether the attempt counts.
        counts: Counts,
    },
}

/// How an attempt is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Towards `maxAttempts`, as one that came to this.
    Attempt(Missed),
    /// Towards `maxAttempts`, whatever it came to: its person is promised another.
    Called,
    /// As a spared set-up failure; only so many are.
    Spared,
    /// Not at all, and its turn is when it was: it keeps its place in the queue.
    Nothing,
    /// Not at all, and its turn is later.
    PutOff,
}

/// What the end of one call says about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// The account has no line left: outbound rests a little.
    Rest,
    /// Every call of the campaign will fail alike: it pauses.
    PauseCampaign,
    /// Every call of the account will: all its campaigns pause.
    PauseAccount,
    /// The number has made its calls of the day.
    RestNumber,
}

/// Set-up failures per lead that do not count, and calls that ended for its campaign's settings. Some reasons of both
/// groups also come from bad numbers.
pub(super) const SPARED_SETUPS: u32 = 3;

/// Decides what the end of a lead's call means for the lead, and for the rest.
pub fn after_call(
    lead: &Lead,
    retry: &Retry,
    end: &End,
    now: Timestamp,
    timers: &Timers,
) -> (Outcome, Consequence) {
    let again = |delay: SignedDuration, counts| Outcome::Again { due: now + delay, counts };
    let counted = |missed| {
        let alike = lead.tried.of(missed) + 1;
        match retry.again(missed, lead.attempts + 1, alike, lead.claim().spread()) {
            Some(delay) => again(timers.scaled(delay), Counts::Attempt(missed)),
            // Somebody was there: that is more than most calls come to.
            None if missed == Missed::Dropped => Outcome::Done,
            None => Outcome::Failed,
        }
    };
    let group = match (end.reason.as_deref().map(Group::of), end.connected) {
        // As much as can be known: nobody was there.
        (None | Some(Group::InCallFailure), Some(false)) | (Some(Group::NotOutbound), _) => {
            Group::SetupFailure
        }
        (None, _) => Group::Reached,
        (Some(group), _) => group,
    };
    match group {
        Group::Reached => (Outcome::Done, Consequence::None),
        Group::InCallFailure => (counted(Missed::Dropped), Consequence::None),
        Group::NoAnswer(NoAnswer::Busy) => (counted(Missed::Busy), Consequence::None),
        Group::NoAnswer(NoAnswer::RangOut) => (counted(Missed::NoAnswer), Consequence::None),
        Group::NoAnswer(NoAnswer::Voicemail) => (counted(Missed::Voicemail), Consequence::None),
        Group::OverLimit => (again(SignedDuration::ZERO, Counts::Nothing), Consequence::Rest),
        Group::SetupFailure | Group::NotOutbound if lead.spared < SPARED_SETUPS => {
            (again(timers.setup_backoff(lead.spared + 1), Counts::Spared), Consequence::None)
        }
        Group::SetupFailure | Group::NotOutbound => (counted(Missed::SetupFailure), Consequence::None),
        Group::PermanentLead | Group::Cancelled => (Outcome::Failed, Consequence::None),
        // Mostly the campaign's fault. Where it is the number's after all, the lead must not pause it for ever.
        Group::PermanentConfig if lead.spared < SPARED_SETUPS => {
            (again(SignedDuration::ZERO, Counts::Spared), Consequence::PauseCampaign)
        }
        Group::PermanentConfig => (Outcome::Failed, Consequence::PauseCampaign),
        Group::AccountBlock => {
            let is_number = end.reason.as_deref().is_some_and(is_daily_limit);
            let whose = if is_number { Consequence::RestNumber } else { Consequence::PauseAccount };
            (again(SignedDuration::ZERO, Counts::Nothing), whose)
        }
    }
}

/// What becomes of a lead whose dial Vapi refuses, mostly for its campaign's sake: no call was made. It stands behind
/// the others then. Where the refusal is for its own sake after all, it must not pause its campaign for ever.
pub fn after_refusal(lead: &Lead, now: Timestamp) -> Outcome {
    if lead.spared < SPARED_SETUPS {
        Outcome::Again { due: now, counts: Counts::Spared }
    } else {
        Outcome::Uncalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(attempts: u32, spared: u32) -> Lead {
        let id: LeadId = "crm-1".parse().expect("an id");
        Lead {
            campaign: CampaignCode::of(&"c".parse().expect("an id")),
            lead: LeadRef::of(&id),
            id,
            number: "+14155550100".parse().expect("E.164"),
            name: None,
            timezone: None,
            variables: None,
            state: LeadState::Ready,
            token: None,
            call: None,
            figures: None,
            claims: attempts + spared,
            attempts,
            tried: Tried::default(),
            spared,
            lane: Lane::default(),
            callbacks: Callbacks::default(),
        }
    }

    fn after(attempts: u32, spared: u32, reason: &str, connected: Option<bool>) -> (Outcome, Consequence) {
        let end = End { reason: Some(reason.to_owned()), connected };
        after_call(
            &lead(attempts, spared),
            &retry(r#"{"jitter": 0}"#),
            &end,
            Timestamp::UNIX_EPOCH,
            &Timers::default(),
        )
    }

    fn retry(json: &str) -> Retry {
        serde_json::from_str(json).expect("a retry")
    }

    fn again(seconds: i64, counts: Counts) -> Outcome {
        Outcome::Again { due: Timestamp::from_second(seconds).expect("in range"), counts }
    }

    #[test]
    fn each_group_has_its_outcome() {
        use Consequence::{None as Nothing, PauseAccount, PauseCampaign, Rest, RestNumber};
        let broke = "pipeline-error-openai-500-server-error";
        let cases = [
            (0, 0, "customer-ended-call", None, Outcome::Done, Nothing),
            (0, 0, "customer-did-not-answer", None, again(7200, Counts::Attempt(Missed::NoAnswer)), Nothing),
            (0, 0, "customer-busy", None, again(900, Counts::Attempt(Missed::Busy)), Nothing),
            (2, 0, "customer-busy", None, Outcome::Failed, Nothing),
            (0, 0, "voicemail", None, Outcome::Failed, Nothing),
            (0, 0, "twilio-reported-customer-misdialed", None, Outcome::Failed, Nothing),
            (0, 0, "manually-canceled", None, Outcome::Failed, Nothing),
            (0, 0, "twilio-failed-to-connect-call", None, again(30, Counts::Spared), Nothing),
            (0, 2, "twilio-failed-to-connect-call", None, again(120, Counts::Spared), Nothing),
            (
                0,
                3,
                "twilio-failed-to-connect-call",
                None,
                again(7200, Counts::Attempt(Missed::SetupFailure)),
                Nothing,
            ),
            (2, 3, "twilio-failed-to-connect-call", None, Outcome::Failed, Nothing),
            (
                2,
                3,
                "call.start.error-subscription-concurrency-limit-reached",
                None,
                again(0, Counts::Nothing),
                Rest,
            ),
            (2, 2, "assistant-not-found", None, again(0, Counts::Spared), PauseCampaign),
            (0, 3, "assistant-not-found", None, Outcome::Failed, PauseCampaign),
            (2, 3, "call.start.error-subscription-frozen", None, again(0, Counts::Nothing), PauseAccount),
            (
                2,
                3,
                "call.start.error-vapi-number-outbound-daily-limit",
                None,
                again(0, Counts::Nothing),
                RestNumber,
            ),
            (0, 0, broke, Some(true), Outcome::Done, Nothing),
            (0, 0, broke, Some(false), again(30, Counts::Spared), Nothing),
        ];
        for (attempts, spared, reason, connected, outcome, consequence) in cases {
            assert_eq!(
                after(attempts, spared, reason, connected),
                (outcome, consequence),
                "{reason} after {attempts} attempts, {spared} spared"
            );
        }
    }

    #[test]
    fn a_machine_is_called_again_only_if_asked_for() {
        let retry = retry(r#"{"voicemail": "retry", "jitter": 0}"#);
        let end = End { reason: Some("voicemail".into()), connected: None };
        let (outcome, _) = after_call(&lead(0, 0), &retry, &end, Timestamp::UNIX_EPOCH, &Timers::default());
        assert_eq!(outcome, again(7200, Counts::Attempt(Missed::Voicemail)));
    }

    #[test]
    fn who_was_cut_off_is_called_again_only_if_asked_for_and_then_counts_as_reached() {
        let retry = retry(r#"{"jitter": 0, "outcomes": {"dropped": {"attempts": 2, "after": ["1m"]}}}"#);
        let end =
            End { reason: Some("pipeline-error-openai-500-server-error".into()), connected: Some(true) };
        let after = |lead: &Lead| after_call(lead, &retry, &end, Timestamp::UNIX_EPOCH, &Timers::default()).0;
        assert_eq!(after(&lead(0, 0)), again(60, Counts::Attempt(Missed::Dropped)));
        let once = Lead { tried: Tried::default().with(Missed::Dropped, 1), ..lead(1, 0) };
        assert_eq!(after(&once), Outcome::Done);
    }

    #[test]
    fn an_end_is_conclusive_when_no_later_message_could_say_otherwise() {
        let end = |reason: Option<&str>, connected| End { reason: reason.map(str::to_owned), connected };
        assert!(end(Some("customer-busy"), None).is_conclusive());
        assert!(!end(None, None).is_conclusive());
        assert!(!end(Some("something-new"), None).is_conclusive());
        assert!(end(Some("something-new"), Some(false)).is_conclusive());
    }
}
