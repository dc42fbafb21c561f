//! Callbacks: a person asks to be called at a time of their own choosing, and is promised a call.
//!
//! **What is promised.** A call that is dialed at that time or later, and within [`TOLERANCE`] of it: then the promise
//! is kept, else missed. A time on the person's own clock (`2026-05-04T17:00`, without an offset) that may be several
//! instants, since their number does not say in which zone they are, is the last of them: whichever it is, nobody is
//! called before the time they named.
//!
//! **What it stands above.** The person's own word stands above the campaign's window and above `maxAttempts`: each
//! promise is one attempt more. It does not stand above the law's hours, the campaign's `startAt` and `endAt`, the list
//! of those who do not want to be called, nor the most calls to one person: a time at which the law has nobody called is
//! moved to when it opens, and said so; one that never comes before `endAt` is refused.
//!
//! **How often.** A lead is promised [`MOST`] calls in its life. A promise takes the place of the one before. What is
//! told twice (by the tool and by the report, or by one message that comes again) is one promise: each lead remembers
//! what it was promised for, see [`Callbacks::knows`].

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::campaign::{Priority, Spec};
use super::ids::{CallId, MessageCode};
use super::lead::{Counts, Outcome};

/// A dial within this of the promised time keeps the promise. A wish for a time that passed no longer ago is taken, and
/// due at once: a report comes some time after the words.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Most promises to one lead.
pub const MOST: usize = 5;
/// Nobody is promised a call later than this.
const LATEST: SignedDuration = SignedDuration::from_hours(24 * 366);
/// Longest text that is read for a time.
const LONGEST: usize = 64;

/// The time that a person asked for, as they said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An instant.
    At(Timestamp),
    /// What their own clock shows then.
    Local(DateTime),
}

/// The text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the time is not understood: say it as 2026-05-04T17:00, or with an offset as 2026-05-04T17:00:00+02:00"
)]
pub struct NoTime;

impl FromStr for Asked {
    type Err = NoTime;
    fn from_str(text: &str) -> Result<Self, NoTime> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(NoTime);
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        // Nothing but digits and what stands between them: an offset that is no offset is not passed over, and a
        // day alone is no time.
        let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"-:.Tt ".contains(&b));
        let has_time = text.bytes().filter(|b| *b == b':').count() > 0;
        let local = text.parse().ok().filter(|_| is_plain && has_time);
        local.map(Self::Local).ok_or(NoTime)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::Local(local) => local.fmt(f),
        }
    }
}

impl Asked {
    /// The instant that is meant by somebody who may be in any of these zones, to the next whole second.
    ///
    /// # Errors
    /// If nobody knows what their clock shows, or their calendar has no such time.
    pub fn instant(&self, zones: &[TimeZone]) -> Result<Timestamp, Unpromised> {
        let at = match self {
            Self::At(at) => *at,
            Self::Local(local) => {
                // A time that a clock skips is as long after it as it would have been; one that it shows twice, the first.
                let in_zone = |zone: &TimeZone| zone.to_timestamp(*local).map_err(|_| Unpromised::TooFar);
                let instants = zones.iter().map(in_zone).collect::<Result<Vec<_>, _>>()?;
                instants.into_iter().max().ok_or(Unpromised::NoZone)?
            }
        };
        let whole = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
        Timestamp::from_second(whole).map_err(|_| Unpromised::TooFar)
    }
}

/// Why nobody is promised a call. The texts are spoken to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpromised {
    /// No time was given, or none that can be read.
    #[error(transparent)]
    NoTime(#[from] NoTime),
    /// A local time, and nobody knows where.
    #[error("the time zone is not known: say the time with its offset, as 2026-05-04T17:00:00+02:00")]
    NoZone,
    /// Over.
    #[error("that time is past")]
    Past,
    /// Beyond a year, or beyond the calendar.
    #[error("that is more than a year away")]
    TooFar,
    /// As many as there may be.
    #[error("no more calls can be promised here: there were {MOST}")]
    TooMany,
    /// The law, or the campaign's end.
    #[error("nobody may be called at that time, nor later, before the campaign ends")]
    NeverOpen,
    /// They said no.
    #[error("this number is on the list of those who are not to be called")]
    DoNotCall,
    /// Of a caller, or of a call that somebody else made.
    #[error("this call belongs to no campaign, so that there is nobody to note the time for")]
    NoLead,
    /// Nobody is called for it any more.
    #[error("the campaign is cancelled")]
    Cancelled,
}

/// A promise that is still to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// For when.
    pub at: Timestamp,
    /// The lead's claims when it was made: the dial of a later one is to keep it.
    pub claim: u32,
}

/// What a promise was made for: whoever said it, and the time they asked for. Text form: the code of the call, or `-` for
/// an operator, a slash, the code of the tool's use, or `-`, an at sign, seconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    call: String,
    tool_use: String,
    at: Timestamp,
}

/// Instead of a call, or of a tool's use.
const NOBODY: &str = "-";

impl Heard {
    /// A wish that was told by the report of a call, or by its assistant's use of a tool.
    pub fn in_call(call: &CallId, tool_use: Option<&str>, at: Timestamp) -> Self {
        let code = |text: &str| MessageCode::of(text.as_bytes()).as_str().to_owned();
        Self { call: code(call.as_str()), tool_use: tool_use.map_or_else(|| NOBODY.to_owned(), code), at }
    }

    /// One that an operator passes on.
    pub fn from_operator(at: Timestamp) -> Self {
        Self { call: NOBODY.to_owned(), tool_use: NOBODY.to_owned(), at }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.call, self.tool_use, self.at.as_second())
    }
}

impl FromStr for Heard {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (whose, at) = text.rsplit_once('@').ok_or(())?;
        let (call, tool_use) = whose.split_once('/').ok_or(())?;
        let at = at.parse().ok().and_then(|second| Timestamp::from_second(second).ok()).ok_or(())?;
        Ok(Self { call: call.to_owned(), tool_use: tool_use.to_owned(), at })
    }
}

/// What a lead was promised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// What it is still promised.
    pub promise: Option<Promise>,
    /// What for, the latest last; of the one above, if there is one.
    pub heard: Vec<Heard>,
}

impl Callbacks {
    /// Whether a promise was made for this already: for what stands, told once more; for this very word of a call, which
    /// comes late and again; or for this time in this call, by the tool and then by the report, which only repeats what
    /// was said. So does the tool where nothing stands any more. An operator who names a time anew means it anew.
    pub fn knows(&self, heard: &Heard) -> bool {
        let stands = self.promise.is_some();
        let repeats = !stands || heard.tool_use == NOBODY;
        (stands && self.heard.last().is_some_and(|last| last.at == heard.at))
            || (heard.call != NOBODY
                && self.heard.iter().any(|known| {
                    known == heard || (repeats && (&known.call, known.at) == (&heard.call, heard.at))
                }))
    }

    /// The same with one more, as text.
    pub fn text_with(&self, heard: &Heard) -> String {
        self.heard.iter().chain([heard]).map(Heard::to_string).collect::<Vec<_>>().join(" ")
    }

    /// When a lead is to be called that asked for `at`, by what [`super::hours`] says that `opens`; both at `now`, and with
    /// this tolerance.
    ///
    /// # Errors
    /// If no call can be promised then.
    pub fn promised(
        &self,
        at: Timestamp,
        now: Timestamp,
        tolerance: SignedDuration,
        opens: impl Fn(Timestamp) -> Option<Timestamp>,
    ) -> Result<Timestamp, Unpromised> {
        if self.heard.len() >= MOST {
            return Err(Unpromised::TooMany);
        }
        if at < now - tolerance {
            return Err(Unpromised::Past);
        }
        if at.duration_since(now) > LATEST {
            return Err(Unpromised::TooFar);
        }
        opens(at).ok_or(Unpromised::NeverOpen)
    }
}

/// What becomes of a promise with the end of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stands.
    Stands,
    /// Its dial was in time.
    Kept,
    /// It was so late.
    Missed(SignedDuration),
    /// Its lead ended without a call.
    Ended,
}

impl Promise {
    /// What a claim of its lead comes to that began its dial at `began` and would have `outcome` without the promise; and
    /// what becomes of the promise.
    ///
    /// A call in which it was made, or during which it was, ends with the lead waiting for its time, whatever the call
    /// came to. A dial after that keeps or misses it, unless the dial was no call, or none that could be set up.
    pub fn after(
        &self,
        claim: u32,
        began: Timestamp,
        outcome: &Outcome,
        tolerance: SignedDuration,
    ) -> (Outcome, Fate) {
        let waits = |counts| (Outcome::Again { due: self.at, counts }, Fate::Stands);
        match outcome {
            Outcome::Uncalled => (Outcome::Uncalled, Fate::Ended),
            Outcome::Again { counts: Counts::Nothing | Counts::PutOff, .. } => {
                (outcome.clone(), Fate::Stands)
            }
            Outcome::Again { counts, .. } if claim <= self.claim => waits(*counts),
            Outcome::Done | Outcome::Failed if claim <= self.claim => waits(Counts::Called),
            Outcome::Again { counts: Counts::Spared, .. } => (outcome.clone(), Fate::Stands),
            Outcome::Done | Outcome::Failed | Outcome::Again { .. } => {
                let late = began.duration_since(self.at);
                let in_time = !late.is_negative() && late <= tolerance;
                (outcome.clone(), if in_time { Fate::Kept } else { Fate::Missed(late) })
            }
        }
    }
}

/// The class that a campaign's due callbacks are served in: that of its `callbackPriority`, or its own if that is higher.
pub fn priority(spec: &Spec) -> Priority {
    spec.callback_priority.unwrap_or(Priority::Vip).min(spec.priority)
}

/// A campaign's promises, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Made.
    pub made: u32,
    /// Kept.
    pub kept: u32,
    /// Missed.
    pub missed: u32,
    /// Leads that were reached, and that had failed, and came back for a promise since the campaign's leads were last counted.
    pub undone: (u32, u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::retry::Missed;
    use crate::core::window::zone;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_time_is_an_instant_or_what_a_clock_shows_and_nothing_else() {
        let zones = |names: &[&str]| names.iter().map(|name| zone(name).expect("a zone")).collect::<Vec<_>>();
        let berlin = zones(&["Europe/Berlin"]);
        for (text, zones, then) in [
            ("2026-05-04T17:00:00Z", &Vec::new(), "2026-05-04T17:00:00Z"),
            ("2026-05-04T17:00:00+02:00", &Vec::new(), "2026-05-04T15:00:00Z"),
            ("2026-05-04T17:00", &berlin, "2026-05-04T15:00:00Z"),
            (" 2026-05-04 17:00:30 ", &berlin, "2026-05-04T15:00:30Z"),
            ("2026-05-04T17:00:00.5", &berlin, "2026-05-04T15:00:01Z"),
            // Skipped, and shown twice.
            ("2026-03-29T02:30", &berlin, "2026-03-29T01:30:00Z"),
            ("2026-10-25T02:30", &berlin, "2026-10-25T00:30:00Z"),
            // In Madrid or on the Canaries: five o'clock has come on both clocks.
            ("2026-05-04T17:00", &zones(&["Europe/Madrid", "Atlantic/Canary"]), "2026-05-04T16:00:00Z"),
        ] {
            let asked: Asked = text.parse().expect(text);
            assert_eq!(asked.instant(zones), Ok(at(then)), "{text}");
        }
        let local: Asked = "2026-05-04T17:00".parse().expect("a local time");
        assert_eq!(local.instant(&[]), Err(Unpromised::NoZone));
        for text in [
            "",
            "soon",
            "17:00",
            "2026-05-04",
            "2026-13-04T17:00",
            "2026-05-04T25:00",
            "tomorrow at five",
            "1",
            "2026-05-04T17:00 PST",
            "2026-05-04T17:00:00+99:00",
            "2026-05-04T17:00[Europe/Berlin",
            "0000-00-00T00:00",
            "\u{661}\u{662}:00",
            "2026-05-04T17:00:00.0000000000000000000000000000000000000000000000000Z",
        ] {
            assert_eq!(text.parse::<Asked>(), Err(NoTime), "{text}");
        }
    }

    #[test]
    fn what_is_told_again_is_known() {
        let (call, five, six) =
            ("call-1".parse().expect("an id"), at("2026-05-04T17:00:00Z"), at("2026-05-04T18:00:00Z"));
        let tool = |name: &str, at| Heard::in_call(&call, Some(name), at);
        let report = |at| Heard::in_call(&call, None, at);
        let promise = Some(Promise { at: five, claim: 1 });
        let one = Callbacks { promise, heard: vec![tool("use-1", five)] };
        assert!(
            one.knows(&tool("use-1", five))
                && one.knows(&report(five))
                && one.knows(&Heard::from_operator(five))
        );
        assert!(!one.knows(&report(six)));
        let two = Callbacks { promise, heard: vec![tool("use-1", five), tool("use-2", six)] };
        assert!(two.knows(&tool("use-1", five)), "it comes late, and again");
        assert!(!two.knows(&tool("use-3", five)), "after all");
        assert!(two.knows(&report(five)), "the report repeats what the tool told");
        let by_us = Callbacks { promise, heard: vec![Heard::from_operator(five), tool("use-1", six)] };
        assert!(!by_us.knows(&Heard::from_operator(five)), "an operator changes their mind back");
        let kept = Callbacks { promise: None, ..one };
        assert!(kept.knows(&report(five)), "the report of a promise that is kept already");
        let other = "call-2".parse().expect("an id");
        assert!(!kept.knows(&Heard::in_call(&other, None, five)));
        for heard in two.heard {
            assert_eq!(heard.to_string().parse(), Ok(heard));
        }
    }

    #[test]
    fn what_cannot_be_promised_is_refused() {
        let now = at("2026-05-04T12:00:00Z");
        let (none, open) = (Callbacks::default(), |at| Some(at));
        let promised = |callbacks: &Callbacks, minutes: i64| {
            callbacks.promised(now + SignedDuration::from_mins(minutes), now, TOLERANCE, open)
        };
        assert_eq!(promised(&none, 60), Ok(at("2026-05-04T13:00:00Z")));
        assert_eq!(promised(&none, -5), Ok(at("2026-05-04T11:55:00Z")));
        assert_eq!(promised(&none, -6), Err(Unpromised::Past));
        assert_eq!(promised(&none, 60 * 24 * 366 + 1), Err(Unpromised::TooFar));
        assert_eq!(none.promised(now, now, TOLERANCE, |_| None), Err(Unpromised::NeverOpen));
        let many = Callbacks { promise: None, heard: vec![Heard::from_operator(now); MOST] };
        assert_eq!(promised(&many, 60), Err(Unpromised::TooMany));
    }

    #[test]
    fn a_promise_ends_with_the_first_call_after_it_that_was_one() {
        let five = at("2026-05-04T17:00:00Z");
        let promise = Promise { at: five, claim: 1 };
        let again = |counts| Outcome::Again { due: five + SignedDuration::from_hours(2), counts };
        let missed = Counts::Attempt(Missed::Busy);
        let after = |claim, minutes: i64, outcome: &Outcome| {
            promise.after(claim, five + SignedDuration::from_mins(minutes), outcome, TOLERANCE)
        };
        let waits = |counts| (Outcome::Again { due: five, counts }, Fate::Stands);
        // The call in which it was made.
        assert_eq!(after(1, -60, &Outcome::Done), waits(Counts::Called));
        assert_eq!(after(1, -60, &Outcome::Failed), waits(Counts::Called));
        assert_eq!(after(1, -60, &again(missed)), waits(missed));
        assert_eq!(after(1, -60, &again(Counts::Spared)), waits(Counts::Spared));
        assert_eq!(after(1, -60, &Outcome::Uncalled), (Outcome::Uncalled, Fate::Ended));
        // Its own.
        for outcome in [Outcome::Done, Outcome::Failed, again(missed)] {
            assert_eq!(after(2, 0, &outcome), (outcome.clone(), Fate::Kept));
            assert_eq!(after(2, 5, &outcome), (outcome.clone(), Fate::Kept));
            let late = SignedDuration::from_mins(6);
            assert_eq!(after(2, 6, &outcome), (outcome.clone(), Fate::Missed(late)));
        }
        for counts in [Counts::Nothing, Counts::PutOff, Counts::Spared] {
            assert_eq!(after(2, 9, &again(counts)), (again(counts), Fate::Stands));
        }
    }
}
