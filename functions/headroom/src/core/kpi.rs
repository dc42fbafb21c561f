//! What a campaign's calls came to: how many, how many answered, how long people talked and lines were held, and when
//! it will be through.
//!
//! Each call is counted once, because it is counted where its end is decided: in the write of its lead that gives the
//! claim its outcome, which is carried out once however often and in whatever order an end is told, and whoever dies on
//! the way. That write is made anyway, so a call costs none for its figures; only how long an answered one talked,
//! which the report tells after the end, is a write more (of the lead, conditional on the call's being untold yet).
//! A counter on the campaign or the ledger would be a write for each call that nobody can repeat safely, or bytes in
//! the item that every call pays for.
//!
//! A campaign's figures are the sum over its leads. The minute pass adds them up in rounds, some thousand leads at a
//! time, and keeps the sum with one write; so reads and writes are bounded however many leads and calls there are. A
//! figure is as of its round, and a finished campaign's are final once the last talk is told.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ended::{Group, NoAnswer};
use super::ids::LeadRef;
use super::lead::End;

/// What a call that was made came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Came {
    /// Somebody was talked to.
    Reached,
    /// Somebody was there, and then something of Vapi's, ours or a provider's broke.
    Dropped,
    /// It rang out.
    NoAnswer,
    /// Engaged.
    Busy,
    /// A machine answered.
    Voicemail,
    /// It never connected, by no fault of the lead's.
    SetupFailure,
    /// The number cannot be called.
    BadNumber,
    /// Our configuration is wrong.
    BadSetting,
    /// Account, billing or quota.
    Blocked,
    /// Somebody with our key cancelled it.
    Cancelled,
    /// Nobody can tell: no proof of its end came until its longest time was over.
    Unknown,
}

impl Came {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Reached,
        Self::Dropped,
        Self::NoAnswer,
        Self::Busy,
        Self::Voicemail,
        Self::SetupFailure,
        Self::BadNumber,
        Self::BadSetting,
        Self::Blocked,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// Its name in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Dropped => "dropped",
            Self::NoAnswer => "noAnswer",
            Self::Busy => "busy",
            Self::Voicemail => "voicemail",
            Self::SetupFailure => "setupFailure",
            Self::BadNumber => "badNumber",
            Self::BadSetting => "badSetting",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// What a call with this end came to; nothing if it was no call: Vapi creates some over the limit to end them at
    /// once, which take no line and ring nobody.
    pub fn of(end: &End) -> Option<Self> {
        Some(match (end.reason.as_deref().map(Group::of), end.connected) {
            (None | Some(Group::InCallFailure), Some(false)) => Self::SetupFailure,
            (None | Some(Group::InCallFailure), None) => Self::Unknown,
            (None | Some(Group::Reached), _) => Self::Reached,
            (Some(Group::InCallFailure), Some(true)) => Self::Dropped,
            (Some(Group::NoAnswer(NoAnswer::RangOut)), _) => Self::NoAnswer,
            (Some(Group::NoAnswer(NoAnswer::Busy)), _) => Self::Busy,
            (Some(Group::NoAnswer(NoAnswer::Voicemail)), _) => Self::Voicemail,
            (Some(Group::SetupFailure | Group::NotOutbound), _) => Self::SetupFailure,
            (Some(Group::PermanentLead), _) => Self::BadNumber,
            (Some(Group::PermanentConfig), _) => Self::BadSetting,
            (Some(Group::AccountBlock), _) => Self::Blocked,
            (Some(Group::Cancelled), _) => Self::Cancelled,
            (Some(Group::OverLimit), _) => return None,
        })
    }

    /// Whether somebody answered, a person and no machine.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Reached | Self::Dropped)
    }
}

/// A call's end, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What it came to.
    pub came: Came,
    /// How long it held its line, from the taking on.
    pub line: SignedDuration,
}

/// Calls added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; SUMS]", into = "[u64; SUMS]")]
pub struct Sums {
    /// Leads that were looked at.
    pub leads: u64,
    /// Those of them that have their final outcome.
    pub over: u64,
    /// Answered calls of which it is not known yet how long they lasted.
    pub untold: u64,
    /// How long people talked, in milliseconds.
    pub talk_ms: u64,
    /// How long calls held lines, in milliseconds.
    pub line_ms: u64,
    /// Calls by what they came to, in the order of [`Came::ALL`].
    pub came: [u64; Came::ALL.len()],
}

/// Numbers of a [`Sums`].
const SUMS: usize = 5 + Came::ALL.len();

impl From<[u64; SUMS]> for Sums {
    fn from(numbers: [u64; SUMS]) -> Self {
        let [leads, over, untold, talk_ms, line_ms, came @ ..] = numbers;
        Self { leads, over, untold, talk_ms, line_ms, came }
    }
}

impl From<Sums> for [u64; SUMS] {
    fn from(sums: Sums) -> Self {
        let mut numbers = [0; SUMS];
        let Sums { leads, over, untold, talk_ms, line_ms, came } = sums;
        numbers[..5].copy_from_slice(&[leads, over, untold, talk_ms, line_ms]);
        numbers[5..].copy_from_slice(&came);
        numbers
    }
}

impl Sums {
    /// The same with so many calls more that came to this.
    pub fn with(mut self, came: Came, calls: u64) -> Self {
        self.came[came as usize] += calls;
        self
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        let (mut sum, other) = (<[u64; SUMS]>::from(self), <[u64; SUMS]>::from(other));
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum = sum.saturating_add(other));
        sum.into()
    }

    /// Calls that came to this.
    pub fn of(&self, came: Came) -> u64 {
        self.came[came as usize]
    }

    /// Calls that were made.
    pub fn calls(&self) -> u64 {
        self.came.iter().sum()
    }

    /// Calls that somebody answered.
    pub fn answered(&self) -> u64 {
        Came::ALL.into_iter().filter(|came| came.is_answered()).map(|came| self.of(came)).sum()
    }

    /// Answered calls out of all, from 0 to 1; none if there was no call.
    pub fn connect_rate(&self) -> Option<f64> {
        (self.calls() > 0).then(|| self.answered() as f64 / self.calls() as f64)
    }

    /// Seconds of lines for each person reached.
    pub fn line_seconds_per_reached(&self) -> Option<f64> {
        let reached = self.of(Came::Reached);
        (reached > 0).then(|| self.line_ms as f64 / 1000.0 / reached as f64)
    }
}

/// Which life of a campaign figures belong to: its reruns and reopenings so far. What is over stays as it is as long as
/// neither moves.
pub type Life = (u32, u32);

/// A campaign's figures as the pass keeps them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When the round that they come from began.
    pub at: Timestamp,
    /// The sum over all leads.
    pub sums: Sums,
    /// Whether it was the same in the round before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub still: bool,
    /// The life at whose end they were added up, if it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Life>,
    /// Two sums of before, the older first, for what went on lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<(Timestamp, Sums)>,
    /// The round under way, if it took more than one pass so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
}

/// A campaign's figures as its item has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// As they are kept; those of a version that this one cannot read are none.
    pub kept: Option<Kept>,
    /// The text that is stored, to know it again.
    pub text: Option<String>,
    /// How often the campaign was opened again after it was over, without a rerun.
    pub reopened: u32,
}

/// A round over a campaign's leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// When it began.
    pub began: Timestamp,
    /// The life that the campaign was in then.
    pub life: Life,
    /// Whether it was over then.
    pub is_over: bool,
    /// The last lead that was added, in the order of their references.
    #[serde(with = "reference")]
    pub after: Option<LeadRef>,
    /// The sum so far.
    pub sums: Sums,
}

mod reference {
    use super::LeadRef;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        after: &Option<LeadRef>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        after.as_ref().map(LeadRef::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<LeadRef>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| serde::de::Error::custom("not a lead's reference")))
            .transpose()
    }
}

/// How far back "lately" reaches at least, once there has been so much.
pub const LATELY: SignedDuration = SignedDuration::from_mins(10);
/// Calls and leads over below which nothing is foretold.
const FEWEST: (u64, u64) = (20, 5);

impl Kept {
    /// What is kept after a whole round, of which these figures were `before`. `lately`: [`LATELY`], at the clock's speed.
    pub fn after(before: Option<&Self>, round: Round, lately: SignedDuration) -> Self {
        let Round { began, life, is_over, after: _, sums } = round;
        let mut older = before.map(|kept| kept.before.clone()).unwrap_or_default();
        if older.last().is_none_or(|(at, _)| began.duration_since(*at) >= lately) {
            older.push((began, sums));
        }
        let spare = older.len().saturating_sub(2);
        older.drain(..spare);
        Self {
            at: began,
            sums,
            still: before.is_some_and(|kept| kept.sums == sums),
            over: is_over.then_some(life),
            before: older,
            round: None,
        }
    }

    /// Whether they are the last of a campaign that is over, in its life `life`.
    pub fn is_final(&self, life: Life) -> bool {
        self.over == Some(life) && self.sums.untold == 0
    }

    /// How calls went lately; nothing as long as there were too few of them to tell.
    pub fn pace(&self) -> Option<Pace> {
        let (calls, over) = (self.sums.calls(), self.sums.over);
        let (since, earlier) = self.before.first()?;
        let span = self.at.duration_since(*since).as_secs_f64();
        let held = self.sums.line_ms.saturating_sub(earlier.line_ms) as f64 / 1000.0;
        if calls < FEWEST.0 || over < FEWEST.1 || span <= 0.0 || held <= 0.0 {
            return None;
        }
        Some(Pace {
            calls_per_lead: calls as f64 / over as f64,
            line_seconds: self.sums.line_ms as f64 / 1000.0 / calls as f64,
            lines: held / span,
        })
    }
}

/// How a campaign goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Calls for each lead that is over.
    pub calls_per_lead: f64,
    /// How long a call holds its line, in seconds.
    pub line_seconds: f64,
    /// Lines that it had lately, on the average.
    pub lines: f64,
}

/// The longest that a finish is foretold ahead.
const HORIZON: SignedDuration = SignedDuration::from_hours(366 * 24);
/// How closely closing times are looked at.
const SLOT: SignedDuration = SignedDuration::from_mins(15);

impl Pace {
    /// When so many `leads` will be over if it goes on like this while people may be called, as `opens` says: the first
    /// such instant from one on. `speed`: how many times faster than life. Nothing if that is not within a year.
    pub fn finish(
        &self,
        leads: u64,
        speed: f64,
        now: Timestamp,
        opens: impl Fn(Timestamp) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let seconds = leads as f64 * self.calls_per_lead * self.line_seconds / self.lines;
        let slot = SignedDuration::from_secs_f64(SLOT.as_secs_f64() / speed);
        let mut left = SignedDuration::try_from_secs_f64(seconds).ok()?;
        let latest = now + HORIZON;
        let mut at = opens(now)?;
        while left > slot {
            let end = at + slot;
            let next = opens(end)?;
            if next > latest {
                return None;
            }
            // Where it closes in between, half of it is as good a guess as any.
            left -= if next == end { slot } else { slot / 2 };
            at = next;
        }
        Some(at + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(reason: &str, connected: Option<bool>) -> End {
        End { reason: Some(reason.to_owned()), connected }
    }

    #[test]
    fn each_end_comes_to_one_thing() {
        let broke = "pipeline-error-openai-500-server-error";
        for (reason, connected, came) in [
            ("customer-ended-call", None, Some(Came::Reached)),
            ("silence-timed-out", Some(false), Some(Came::Reached)),
            ("customer-did-not-answer", None, Some(Came::NoAnswer)),
            ("customer-busy", Some(false), Some(Came::Busy)),
            ("voicemail", Some(true), Some(Came::Voicemail)),
            (broke, Some(true), Some(Came::Dropped)),
            (broke, Some(false), Some(Came::SetupFailure)),
            (broke, None, Some(Came::Unknown)),
            ("twilio-failed-to-connect-call", None, Some(Came::SetupFailure)),
            ("twilio-reported-customer-misdialed", None, Some(Came::BadNumber)),
            ("assistant-not-found", None, Some(Came::BadSetting)),
            ("call.start.error-subscription-frozen", None, Some(Came::Blocked)),
            ("manually-canceled", None, Some(Came::Cancelled)),
            ("call.start.error-subscription-concurrency-limit-reached", None, None),
        ] {
            assert_eq!(Came::of(&end(reason, connected)), came, "{reason}");
        }
        assert_eq!(Came::of(&End { reason: None, connected: Some(true) }), Some(Came::Reached));
    }

    fn sums(reached: u64, rang: u64, over: u64, line_ms: u64) -> Sums {
        let sums = Sums { leads: 100, over, line_ms, ..Sums::default() };
        sums.with(Came::Reached, reached).with(Came::NoAnswer, rang)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn round(second: i64, sums: Sums) -> Round {
        Round { began: at(second), life: (0, 0), is_over: false, after: None, sums }
    }

    #[test]
    fn sums_add_up_and_are_told_as_numbers() {
        let sum = sums(3, 5, 4, 80_000).plus(sums(1, 1, 2, 20_000));
        assert_eq!((sum.calls(), sum.answered(), sum.over), (10, 4, 6));
        assert_eq!((sum.connect_rate(), sum.line_seconds_per_reached()), (Some(0.4), Some(25.0)));
        let json = serde_json::to_string(&sum).expect("numbers");
        assert_eq!(serde_json::from_str::<Sums>(&json).expect("reads"), sum);
        assert_eq!(Sums::default().connect_rate(), None);
    }

    #[test]
    fn a_finish_is_foretold_only_from_enough_calls_and_only_while_open() {
        let kept = |calls, over| {
            let first = Kept::after(None, round(0, sums(0, 0, 0, 0)), LATELY);
            Kept::after(Some(&first), round(600, sums(calls, calls, over, 1_200_000)), LATELY)
        };
        assert_eq!(kept(5, 5).pace(), None, "too few calls");
        // 40 calls of 30 s in ten minutes: two lines; two calls for each lead.
        let pace = kept(20, 20).pace().expect("enough");
        assert_eq!((pace.calls_per_lead, pace.line_seconds, pace.lines), (2.0, 30.0, 2.0));
        // 120 leads, at two a minute, are an hour of open time.
        let now = at(600);
        assert_eq!(pace.finish(120, 1.0, now, Some), Some(at(600 + 3600)));
        // Open for half an hour at a time, twelve hours apart.
        let opens = |at: Timestamp| {
            let half_day = 12 * 3600;
            let into = at.as_second() % half_day;
            Some(if into < 1800 { at } else { at + SignedDuration::from_secs(half_day - into) })
        };
        let finish = pace.finish(120, 1.0, now, opens).expect("some day");
        assert!(finish > at(2 * 12 * 3600 - 1800) && finish < at(2 * 12 * 3600 + 1800), "{finish}");
        assert_eq!(pace.finish(120, 1.0, now, |_| None), None);
    }

    #[test]
    fn figures_are_final_when_all_is_told_and_lately_stays_short() {
        let over = |untold, second| Round {
            is_over: true,
            life: (1, 0),
            ..round(second, Sums { untold, ..sums(1, 0, 100, 9) })
        };
        let kept = Kept::after(None, over(1, 0), LATELY);
        assert_eq!((kept.is_final((1, 0)), kept.still), (false, false));
        let kept = Kept::after(Some(&kept), over(0, 60), LATELY);
        assert!(kept.is_final((1, 0)) && !kept.is_final((1, 1)));
        let mut kept = kept;
        for minute in 2..100 {
            kept = Kept::after(Some(&kept), over(0, minute * 60), LATELY);
            assert!(kept.still || minute == 2);
            let span = kept.at.duration_since(kept.before[0].0);
            assert!(kept.before.len() <= 2 && span <= LATELY * 2, "{span}");
        }
        let text = serde_json::to_string(&kept).expect("JSON");
        assert!(text.len() < 500, "{text}");
        assert_eq!(serde_json::from_str::<Kept>(&text).expect("reads"), kept);
    }
}
