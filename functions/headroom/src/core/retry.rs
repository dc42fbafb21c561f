//! When a lead that was not reached is called again: by what its attempt came to, how often, and after how long.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What an attempt came to that need not be the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Missed {
    /// It rang out.
    NoAnswer,
    /// Engaged.
    Busy,
    /// A machine answered.
    Voicemail,
    /// It never connected, by no fault of the lead's, more often than is forgiven.
    SetupFailure,
    /// Somebody was there, and then something of Vapi's, ours or a provider's broke.
    Dropped,
}

impl Missed {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoAnswer, Self::Busy, Self::Voicemail, Self::SetupFailure, Self::Dropped];

    /// Its name in messages and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "noAnswer",
            Self::Busy => "busy",
            Self::Voicemail => "voicemail",
            Self::SetupFailure => "setupFailure",
            Self::Dropped => "dropped",
        }
    }
}

/// How many counted attempts of one lead came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried([u32; Missed::ALL.len()]);

impl Tried {
    /// Attempts that came to this.
    pub fn of(&self, missed: Missed) -> u32 {
        self.0[missed as usize]
    }

    /// The same with so many attempts that came to this.
    pub fn with(mut self, missed: Missed, attempts: u32) -> Self {
        self.0[missed as usize] = attempts;
        self
    }
}

/// What one kind of attempt is followed by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Attempts of a lead that may come to this; the last of them is the lead's last. None: as many as count at all.
    attempts: Option<NonZeroU32>,
    /// How long after the first, the second and each further one the lead is called again.
    after: Vec<SignedDuration>,
}

/// When a lead that was not reached is called again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RetryText", into = "RetryText")]
pub struct Retry {
    /// Counted attempts per lead, 1 to 20. Default 3.
    pub max_attempts: NonZeroU32,
    /// How much longer than its rule says a delay may be, as a share of it, 0 to 1. Default 0.1: people who were called
    /// together are not all called again together.
    pub jitter: f64,
    /// Whether a retry waits for the hour in which the fewest lines were in use of late, up to [`LATER`] later.
    pub prefer_quiet_hours: bool,
    rules: [Rule; Missed::ALL.len()],
}

/// How much later than its delay says a retry may be that waits for a quiet hour.
pub const LATER: SignedDuration = SignedDuration::from_hours(12);

/// Why a campaign's `retry` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// Not a span, or out of range.
    #[error("a retry delay is a span of time such as 15m or 2h, more than 0 and at most 30 days")]
    Delay,
    /// Out of range.
    #[error("retry.{0} is 1 to {MOST}")]
    Attempts(&'static str),
    /// Out of range.
    #[error("retry.jitter is 0 to 1")]
    Jitter,
    /// Two places for one thing.
    #[error("retry.{0} and retry.outcomes.{1} are about the same: give one of the two")]
    Twice(&'static str, &'static str),
}

/// Most attempts at one lead, and most delays of one rule.
const MOST: u32 = 20;
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(24 * 30);

/// `retry` as the campaign message spells it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RetryText {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_answer_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voicemail: Option<Voicemail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prefer_quiet_hours: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outcomes: BTreeMap<Missed, RuleText>,
}

/// What a machine's answer means for the lead, said in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Voicemail {
    /// The lead is over.
    Stop,
    /// Call again, as if nobody had answered.
    Retry,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RuleText {
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Self::try_from(RetryText::default()).expect("the defaults are in their ranges")
    }
}

fn delay(text: &str) -> Result<SignedDuration, RetryError> {
    let span: SignedDuration = text.parse().map_err(|_| RetryError::Delay)?;
    if span.is_positive() && span <= LONGEST_DELAY { Ok(span) } else { Err(RetryError::Delay) }
}

fn attempts(number: u32, field: &'static str) -> Result<NonZeroU32, RetryError> {
    NonZeroU32::new(number).filter(|number| number.get() <= MOST).ok_or(RetryError::Attempts(field))
}

impl TryFrom<RetryText> for Retry {
    type Error = RetryError;
    fn try_from(text: RetryText) -> Result<Self, RetryError> {
        let shorthands = [
            (text.no_answer_after.is_some(), "noAnswerAfter", Missed::NoAnswer),
            (text.busy_after.is_some(), "busyAfter", Missed::Busy),
            (text.voicemail.is_some(), "voicemail", Missed::Voicemail),
        ];
        for (given, field, missed) in shorthands {
            if given && text.outcomes.contains_key(&missed) {
                return Err(RetryError::Twice(field, missed.name()));
            }
        }
        let no_answer = text.no_answer_after.as_deref().map_or(Ok(SignedDuration::from_hours(2)), delay)?;
        let busy = text.busy_after.as_deref().map_or(Ok(SignedDuration::from_mins(15)), delay)?;
        let rule = |missed: Missed| {
            let once = match missed {
                Missed::Voicemail => text.voicemail != Some(Voicemail::Retry),
                Missed::Dropped => true,
                Missed::NoAnswer | Missed::Busy | Missed::SetupFailure => false,
            };
            let after = vec![if missed == Missed::Busy { busy } else { no_answer }];
            let Some(said) = text.outcomes.get(&missed) else {
                return Ok(Rule { attempts: once.then_some(NonZeroU32::MIN), after });
            };
            if said.after.len() > MOST as usize {
                return Err(RetryError::Delay);
            }
            let named = said.after.iter().map(|span| delay(span)).collect::<Result<Vec<_>, _>>()?;
            Ok(Rule {
                attempts: said.attempts.map(|most| attempts(most, "outcomes.*.attempts")).transpose()?,
                after: if named.is_empty() { after } else { named },
            })
        };
        let rules = Missed::ALL.map(rule);
        let jitter = text.jitter.unwrap_or(0.1);
        if !(0.0..=1.0).contains(&jitter) {
            return Err(RetryError::Jitter);
        }
        let [a, b, c, d, e] = rules;
        Ok(Self {
            max_attempts: attempts(text.max_attempts.unwrap_or(3), "maxAttempts")?,
            jitter,
            prefer_quiet_hours: text.prefer_quiet_hours,
            rules: [a?, b?, c?, d?, e?],
        })
    }
}

/// In as few words as say it, so that a person who changes one of them need not know the others.
impl From<Retry> for RetryText {
    fn from(retry: Retry) -> Self {
        let rule = |missed: Missed| &retry.rules[missed as usize];
        let simple = |missed: Missed| match rule(missed) {
            Rule { attempts: None, after } if after.len() == 1 => Some(format!("{:#}", after[0])),
            _ => None,
        };
        let mut text = Self {
            max_attempts: Some(retry.max_attempts.get()),
            no_answer_after: simple(Missed::NoAnswer),
            busy_after: simple(Missed::Busy),
            voicemail: rule(Missed::Voicemail).attempts.is_none().then_some(Voicemail::Retry),
            jitter: Some(retry.jitter),
            prefer_quiet_hours: retry.prefer_quiet_hours,
            outcomes: BTreeMap::new(),
        };
        let meant = Retry::try_from(text.clone()).expect("what was read can be said again");
        for missed in Missed::ALL {
            let rule = rule(missed);
            if meant.rules[missed as usize] == *rule {
                continue;
            }
            match missed {
                Missed::NoAnswer => text.no_answer_after = None,
                Missed::Busy => text.busy_after = None,
                Missed::Voicemail => text.voicemail = None,
                Missed::SetupFailure | Missed::Dropped => {}
            }
            text.outcomes.insert(missed, RuleText::of(rule));
        }
        text
    }
}

impl RuleText {
    fn of(rule: &Rule) -> Self {
        let after = rule.after.iter().map(|span| format!("{span:#}")).collect();
        Self { attempts: rule.attempts.map(NonZeroU32::get), after }
    }
}

impl Retry {
    /// The same as a message may spell it, with every outcome's rule in full: for who changes a part of one.
    pub(super) fn at_length(&self) -> serde_json::Value {
        let text = RetryText {
            max_attempts: Some(self.max_attempts.get()),
            jitter: Some(self.jitter),
            prefer_quiet_hours: self.prefer_quiet_hours,
            outcomes: Missed::ALL.map(|missed| (missed, RuleText::of(&self.rules[missed as usize]))).into(),
            ..RetryText::default()
        };
        serde_json::to_value(text).expect("texts and numbers are JSON")
    }

    /// After how long a lead is called again whose attempt came to `missed`, as the `attempt`-th of its that count and
    /// the `alike`-th that came to that, both from 1; none if that was its last. `spread` is a fraction from 0 to
    /// below 1 that says how much of the jitter is this lead's.
    pub fn again(&self, missed: Missed, attempt: u32, alike: u32, spread: f64) -> Option<SignedDuration> {
        let rule = &self.rules[missed as usize];
        let is_last = attempt >= self.max_attempts.get()
            || rule.attempts.is_some_and(|attempts| alike >= attempts.get());
        let nth = (alike.max(1) as usize).min(rule.after.len());
        let delay = rule.after[nth - 1];
        (!is_last).then(|| delay + SignedDuration::from_secs_f64(delay.as_secs_f64() * self.jitter * spread))
    }
}

/// When a retry that is due at `due` is made, if it waits for a quiet hour: at the hour, up to [`LATER`] later, in
/// which the fewest lines were in use on the days that `peaks` tells of (the start of an hour, and the most lines in it),
/// and in which it is `allowed`. `due` itself where nothing quieter is known.
///
/// Within the hour everybody has a moment of their own, by `spread`.
pub fn in_a_quiet_hour(
    due: Timestamp,
    peaks: &[(Timestamp, u32)],
    allowed: impl Fn(Timestamp) -> bool,
    spread: f64,
) -> Timestamp {
    const HOUR: i64 = 3600;
    let hour_of_day = |at: Timestamp| at.as_second().div_euclid(HOUR).rem_euclid(24);
    let mut days: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for (start, peak) in peaks {
        let (sum, count) = days.entry(hour_of_day(*start)).or_default();
        (*sum, *count) = (*sum + u64::from(*peak), *count + 1);
    }
    // In thousandths of a line, so that averages are compared exactly enough.
    let average = |at: Timestamp| days.get(&hour_of_day(at)).map(|(sum, count)| sum * 1000 / count);
    let Some(mut least) = average(due) else { return due };
    let mut best = due;
    let whole = due.as_second().div_euclid(HOUR) * HOUR;
    for ahead in 1..=LATER.as_hours() {
        let Ok(start) = Timestamp::from_second(whole + ahead * HOUR) else { break };
        let at = start + SignedDuration::from_secs_f64(spread.clamp(0.0, 0.999) * HOUR as f64);
        if at > due + LATER || !allowed(at) {
            continue;
        }
        if let Some(lines) = average(at).filter(|lines| *lines < least) {
            (least, best) = (lines, at);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retry(json: &str) -> Result<Retry, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn minutes(span: Option<SignedDuration>) -> Option<i64> {
        span.map(|span| span.as_mins())
    }

    #[test]
    fn without_a_word_people_are_called_three_times_and_machines_once() {
        let retry = Retry::default();
        let again = |missed, attempt, alike| minutes(retry.again(missed, attempt, alike, 0.0));
        assert_eq!(again(Missed::NoAnswer, 1, 1), Some(120));
        assert_eq!(again(Missed::Busy, 2, 1), Some(15));
        assert_eq!(again(Missed::SetupFailure, 2, 2), Some(120));
        for missed in Missed::ALL {
            assert_eq!(again(missed, 3, 1), None, "{missed:?}");
        }
        assert_eq!(again(Missed::Voicemail, 1, 1), None);
        assert_eq!(again(Missed::Dropped, 1, 1), None);
    }

    #[test]
    fn each_outcome_has_its_own_number_and_its_own_delays() {
        let retry = retry(
            r#"{"maxAttempts": 9, "jitter": 0, "busyAfter": "5m",
                "outcomes": {"noAnswer": {"attempts": 4, "after": ["30m", "2h"]}, "voicemail": {}, "dropped": {"attempts": 2, "after": ["1m"]}}}"#,
        )
        .expect("a retry");
        let again = |missed, attempt, alike| minutes(retry.again(missed, attempt, alike, 0.9));
        assert_eq!(again(Missed::NoAnswer, 1, 1), Some(30));
        assert_eq!(again(Missed::NoAnswer, 2, 2), Some(120));
        assert_eq!(again(Missed::NoAnswer, 3, 3), Some(120));
        assert_eq!(again(Missed::NoAnswer, 4, 4), None);
        assert_eq!(again(Missed::Busy, 8, 8), Some(5));
        assert_eq!(again(Missed::Busy, 9, 1), None);
        assert_eq!(again(Missed::Voicemail, 3, 3), Some(120));
        assert_eq!(again(Missed::Dropped, 5, 1), Some(1));
        assert_eq!(again(Missed::Dropped, 6, 2), None);
    }

    #[test]
    fn jitter_makes_a_delay_longer_and_never_shorter() {
        let retry = retry(r#"{"busyAfter": "10m", "jitter": 0.5}"#).expect("a retry");
        let again = |spread| retry.again(Missed::Busy, 1, 1, spread).map(|span| span.as_secs());
        assert_eq!((again(0.0), again(0.5)), (Some(600), Some(750)));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for (json, why) in [
            (r#"{"maxAttempts": 0}"#, "retry.maxAttempts is 1 to 20"),
            (r#"{"maxAttempts": 21}"#, "retry.maxAttempts is 1 to 20"),
            (r#"{"outcomes": {"busy": {"attempts": 0}}}"#, "retry.outcomes.*.attempts is 1 to 20"),
            (r#"{"busyAfter": "soon"}"#, "a retry delay is a span"),
            (r#"{"outcomes": {"busy": {"after": ["31d"]}}}"#, "a retry delay is a span"),
            (r#"{"outcomes": {"busy": {"after": ["-1m"]}}}"#, "a retry delay is a span"),
            (r#"{"jitter": 1.5}"#, "retry.jitter is 0 to 1"),
            (r#"{"busyAfter": "1m", "outcomes": {"busy": {}}}"#, "retry.busyAfter and retry.outcomes.busy"),
            (r#"{"voicemail": "stop", "outcomes": {"voicemail": {}}}"#, "retry.voicemail and"),
            (r#"{"outcomes": {"reached": {}}}"#, "unknown variant"),
        ] {
            let error = retry(json).expect_err(json);
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_stored_reads_back_as_it_was() {
        for json in [
            "{}",
            r#"{"voicemail": "retry", "noAnswerAfter": "90m"}"#,
            r#"{"maxAttempts": 5, "preferQuietHours": true, "outcomes": {"busy": {"after": ["1m", "1h 30m"]}}}"#,
        ] {
            let first = retry(json).expect("a retry");
            let stored = serde_json::to_string(&first).expect("serialises");
            assert_eq!(retry(&stored), Ok(first), "{stored}");
        }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).expect("in range")
    }

    #[test]
    fn a_retry_waits_for_the_quietest_hour_that_is_allowed_and_near() {
        // A week in which the lines are as many as the hour of the day, but for the night.
        let peaks: Vec<_> =
            (0..24 * 7).map(|hour| (at(hour), [9, 2, 1, 2][(hour % 24 / 6) as usize])).collect();
        let any = |_: Timestamp| true;
        let quiet = in_a_quiet_hour(at(200), &peaks, any, 0.5);
        assert_eq!(quiet, at(204) + SignedDuration::from_mins(30), "hour 8 of the day waits for hour 12");
        assert_eq!(in_a_quiet_hour(at(205), &peaks, any, 0.5), at(205), "no hour is quieter than hour 13");
        assert_eq!(in_a_quiet_hour(at(200), &peaks, |_| false, 0.5), at(200));
        assert_eq!(in_a_quiet_hour(at(200), &[], any, 0.5), at(200), "nothing is known");
    }

    proptest! {
        #[test]
        fn a_quiet_hour_is_never_before_the_delay_nor_far_behind(
            due in 0_i64..10_000_000, peaks in prop::collection::vec((0_i64..3000, 0_u32..50), 0..200), spread in 0.0..1.0,
        ) {
            let due = Timestamp::from_second(due).expect("in range");
            let peaks: Vec<_> = peaks.into_iter().map(|(hour, peak)| (at(hour), peak)).collect();
            let chosen = in_a_quiet_hour(due, &peaks, |_| true, spread);
            prop_assert!(due <= chosen && chosen <= due + LATER);
        }
    }
}
