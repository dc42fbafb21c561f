//! A breaker: it opens when too many calls fail for one cause, and closes by itself when enough of them go well again.
//! When each opens, and whom it stops, is said in [`super::health`].
//!
//! ```text
//!  closed ── two thirds of six calls or more fail ──▶ open, for 15 s, then 30 s, … 4 min
//!    ▲                                                 │ ▲
//!    └── three good ones ── half-open: 1, 3, 5 probes ◀┘ │
//!                                └──── a bad one ────────┘
//! ```

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::ended::Dependency;
use super::ids::NameCode;
use super::timers::Timers;

/// So many good ones for each bad one make the bad ones forgotten.
const OUTWEIGHS: u32 = 4;
/// Calls, the first failure among them, before a breaker may open.
const MIN_CALLS: u32 = 6;
/// Calls that a breaker looks back on; older ones count half.
const MOST_CALLS: u32 = 20;
/// Good probes that close a breaker.
const PROBES: u32 = 3;
/// Longest reason that is kept with a breaker, in bytes.
const REASON_LEN: usize = 96;

/// What a breaker is about: a dependency, and whose, if not everybody's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BreakerKey {
    /// What may fail.
    pub dependency: Dependency,
    /// The number, or the assistant or squad, that has it.
    pub of: Option<NameCode>,
}

impl BreakerKey {
    /// Vapi's own.
    pub const VAPI: Self = Self { dependency: Dependency::Vapi, of: None };

    fn letter(&self) -> char {
        match self.dependency {
            Dependency::Vapi => 'a',
            Dependency::Carrier => 'c',
            Dependency::Model => 'm',
            Dependency::Voice => 'v',
            Dependency::Transcriber => 't',
        }
    }
}

/// As the table spells it: a letter, and the code.
impl fmt::Display for BreakerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.letter(), self.of.as_ref().map_or("", NameCode::as_str))
    }
}

impl FromStr for BreakerKey {
    type Err = HealthError;
    fn from_str(text: &str) -> Result<Self, HealthError> {
        let mut letters = text.chars();
        let dependency = match letters.next() {
            Some('a') => Dependency::Vapi,
            Some('c') => Dependency::Carrier,
            Some('m') => Dependency::Model,
            Some('v') => Dependency::Voice,
            Some('t') => Dependency::Transcriber,
            _ => return Err(HealthError("a breaker's key")),
        };
        let code = letters.as_str();
        let of = if code.is_empty() { None } else { Some(code.parse()) };
        Ok(Self { dependency, of: of.transpose().map_err(|_| HealthError("a breaker's key"))? })
    }
}

/// A text of the health item that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not as the table spells it")]
pub struct HealthError(&'static str);

/// Good and bad ones since the first bad one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) good: u32,
    pub(super) bad: u32,
}

impl Tally {
    pub(super) fn count(&mut self, is_good: bool) {
        if is_good && self.bad == 0 {
            return;
        }
        if is_good {
            self.good += 1
        } else {
            self.bad += 1
        }
        if self.good + self.bad > MOST_CALLS {
            (self.good, self.bad) = (self.good / 2, self.bad.div_ceil(2));
        }
        if self.good >= OUTWEIGHS * self.bad {
            *self = Self::default();
        }
    }

    pub(super) fn calls(self) -> u32 {
        self.good + self.bad
    }
}

/// One dependency's breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    tally: Tally,
    /// When it failed last.
    at: Timestamp,
    /// If it has opened: since when, until when no call goes ahead, and how many went well since.
    opened: Option<Opened>,
    /// How often it has opened in a row.
    row: u32,
    /// Of the last failure, as Vapi spells it.
    reason: String,
}

/// A breaker that has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opened {
    since: Timestamp,
    until: Timestamp,
    good: u32,
}

/// How a breaker stands at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go ahead.
    Closed,
    /// None does before this.
    Open {
        /// When the first probe may.
        until: Timestamp,
    },
    /// So many may be under way that were begun since.
    HalfOpen {
        /// The beginning.
        since: Timestamp,
        /// Calls.
        probes: u32,
    },
}

impl BreakerState {
    /// Its name in JSON, in logs and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

impl Breaker {
    /// One that nothing is known of.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { tally: Tally::default(), at: now, opened: None, row: 0, reason: String::new() }
    }

    /// How it stands.
    pub fn state(&self, now: Timestamp, timers: &Timers) -> BreakerState {
        match self.opened {
            Some(_) if self.is_forgotten(now, timers) => BreakerState::Closed,
            Some(Opened { until, .. }) if now < until => BreakerState::Open { until },
            Some(Opened { until, good, .. }) => BreakerState::HalfOpen { since: until, probes: 1 + 2 * good },
            None => BreakerState::Closed,
        }
    }

    /// Since when it is as it is: opened, or failed last.
    pub fn since(&self) -> Timestamp {
        self.opened.map_or(self.at, |opened| opened.since)
    }

    /// Failures, and all calls, since the first failure that still counts.
    pub fn failures(&self) -> (u32, u32) {
        (self.tally.bad, self.tally.calls())
    }

    /// Why the last call failed, as Vapi spells it.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When it failed last, or was closed by what went well.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether it has opened, and not closed since but by being forgotten.
    pub(super) fn has_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_blank(&self) -> bool {
        self.opened.is_none() && self.tally.bad == 0 && self.row == 0
    }

    /// When it is too long ago to say anything.
    pub(super) fn forgotten_at(&self, timers: &Timers) -> Timestamp {
        self.opened.map_or(self.at, |opened| opened.until.max(self.at)) + timers.forgetting()
    }

    /// Whether it is.
    pub(super) fn is_forgotten(&self, now: Timestamp, timers: &Timers) -> bool {
        now > self.forgotten_at(timers)
    }

    /// A call went well. Returns whether that closes it.
    pub(super) fn succeed(&mut self, began: Timestamp, now: Timestamp) -> bool {
        match &mut self.opened {
            None => self.tally.count(true),
            // It began before, and says nothing of how it is since.
            Some(opened) if began < opened.until => {}
            Some(opened) => {
                opened.good += 1;
                if opened.good >= PROBES {
                    (self.opened, self.tally, self.at) = (None, Tally::default(), now);
                    return true;
                }
            }
        }
        false
    }

    /// A call failed.
    pub(super) fn fail(&mut self, began: Timestamp, now: Timestamp, reason: &str, timers: &Timers) {
        if self.opened.is_some_and(|opened| began < opened.until) {
            return;
        }
        self.tally.count(false);
        (self.at, self.reason) = (now, plain(reason));
        let calls = self.tally.calls();
        if self.opened.is_some() || (calls >= MIN_CALLS && 3 * self.tally.bad >= 2 * calls) {
            self.row += 1;
            self.open_until(now + timers.breaker_delay(self.row), now, reason);
        }
    }

    /// No call goes ahead until then, whatever the rate of failures is.
    pub(super) fn open_until(&mut self, until: Timestamp, now: Timestamp, reason: &str) {
        let since = self.opened.map_or(now, |opened| opened.since);
        self.opened = Some(Opened { since, until, good: 0 });
        (self.at, self.reason) = (now, plain(reason));
    }
}

/// A reason as it may be shown: Vapi's are words with dots and hyphens, and nothing else is kept.
fn plain(reason: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if (1..=REASON_LEN).contains(&reason.len()) && reason.chars().all(fits) {
        reason.to_owned()
    } else {
        "unknown".to_owned()
    }
}

/// Milliseconds of the Unix epoch, as the table spells instants.
pub(super) struct Ms(pub(super) Timestamp);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_millisecond())
    }
}

/// Reads texts of words with a blank between.
pub(super) struct Words<'a>(std::str::Split<'a, char>, pub(super) HealthError);

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str, what: &'static str) -> Self {
        Self(text.split(' '), HealthError(what))
    }

    pub(super) fn word(&mut self) -> Result<&'a str, HealthError> {
        self.0.next().ok_or(self.1)
    }

    pub(super) fn next<T: FromStr>(&mut self) -> Result<T, HealthError> {
        self.word()?.parse().map_err(|_| self.1)
    }

    pub(super) fn instant(&mut self) -> Result<Timestamp, HealthError> {
        let ms = self.next()?;
        Timestamp::from_millisecond(ms).map_err(|_| self.1)
    }

    pub(super) fn end<T>(mut self, read: T) -> Result<T, HealthError> {
        if self.0.next().is_none() { Ok(read) } else { Err(self.1) }
    }
}

/// Good, bad, at, row, reason; if it has opened, since, until and the good ones besides.
impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally: Tally { good, bad }, at, row, reason, opened } = self;
        let reason = if reason.is_empty() { "-" } else { reason };
        write!(f, "{good} {bad} {} {row} {reason}", Ms(*at))?;
        match opened {
            Some(Opened { since, until, good }) => write!(f, " {} {} {good}", Ms(*since), Ms(*until)),
            None => Ok(()),
        }
    }
}

impl FromStr for Breaker {
    type Err = HealthError;
    fn from_str(text: &str) -> Result<Self, HealthError> {
        let mut words = Words::of(text, "a breaker");
        let tally = Tally { good: words.next()?, bad: words.next()? };
        let (at, row, reason) = (words.instant()?, words.next()?, words.word()?);
        let reason = if reason == "-" { String::new() } else { reason.to_owned() };
        let opened = match words.0.clone().next() {
            Some(_) => Some(Opened { since: words.instant()?, until: words.instant()?, good: words.next()? }),
            None => None,
        };
        words.end(Self { tally, at, opened, row, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
    }

    /// A breaker after these calls, a second apart: `x` failed, `o` went well.
    fn after(calls: &str) -> Breaker {
        let mut breaker = Breaker::new(at(0));
        for (call, second) in calls.chars().zip(0..) {
            if call == 'x' {
                breaker.fail(at(second), at(second), "pipeline-error-openai-llm-failed", &Timers::default());
            } else {
                breaker.succeed(at(second), at(second));
            }
        }
        breaker
    }

    #[test]
    fn it_opens_on_a_rate_over_a_minimum_of_calls_and_on_no_single_failure() {
        let cases = [
            ("x", false),
            ("xxxxx", false),
            ("xxxxxx", true),
            ("xxooxx", true),
            ("xxoxo", false),
            ("xoxoxo", false),
            ("xoxoxoxoxoxoxoxoxoxoxoxoxoxoxo", false),
            // Four good ones outweigh a bad one.
            ("xooooxooooxooooxooooxooooxoooo", false),
            ("oooooooooooooooooooooxxxxxx", true),
            ("xooxxooxxxxxxxx", true),
        ];
        for (calls, is_open) in cases {
            assert_eq!(after(calls).has_opened(), is_open, "{calls}");
        }
    }

    #[test]
    fn it_lets_one_probe_ahead_then_a_few_and_closes_after_three_good_ones() {
        let timers = Timers::default();
        let mut breaker = after("xxxxxx");
        assert_eq!(breaker.state(at(6), &timers), BreakerState::Open { until: at(20) });
        // One that began before says nothing.
        assert!(!breaker.succeed(at(3), at(10)));
        for (good, probes) in [(0, 1), (1, 3), (2, 5)] {
            let half = BreakerState::HalfOpen { since: at(20), probes };
            assert_eq!(breaker.state(at(20 + good), &timers), half);
            assert_eq!(breaker.succeed(at(20), at(21 + good)), good == 2);
        }
        assert_eq!(breaker.state(at(24), &timers), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long_up_to_a_bound() {
        let timers = Timers::default();
        let mut breaker = after("xxxxxx");
        let mut now = at(5);
        for delay in [15, 30, 60, 120, 240, 240] {
            let BreakerState::Open { until } = breaker.state(now, &timers) else { panic!("open") };
            assert_eq!(until.duration_since(now).as_secs(), delay);
            now = until;
            breaker.fail(now, now, "no-answer", &timers);
        }
    }

    #[test]
    fn it_remembers_how_often_it_opened_for_as_long_as_it_remembers_anything() {
        let timers = Timers::default();
        let mut breaker = after("xxxxxx");
        let closed = (0..3).map(|_| breaker.succeed(at(30), at(31)));
        assert_eq!(closed.collect::<Vec<_>>(), [false, false, true]);
        assert!(!breaker.has_opened() && !breaker.is_blank());
        (0..6).for_each(|_| breaker.fail(at(40), at(40), "no-answer", &timers));
        assert_eq!(breaker.state(at(40), &timers), BreakerState::Open { until: at(70) });
        // Nobody probes: it is forgotten.
        assert_eq!(breaker.state(at(70 + 600), &timers).name(), "half-open");
        assert_eq!(breaker.state(at(70 + 601), &timers), BreakerState::Closed);
    }

    #[test]
    fn it_reads_as_it_is_written_and_keeps_no_reason_that_is_none() {
        for calls in ["x", "xoxxo", "xxxxxx"] {
            let breaker = after(calls);
            assert_eq!(breaker.to_string().parse(), Ok(breaker));
        }
        let mut breaker = Breaker::new(at(0));
        assert_eq!(breaker.to_string().parse(), Ok(breaker.clone()));
        breaker.fail(at(0), at(0), "to +15555550100, \"x\"", &Timers::default());
        assert_eq!(breaker.reason(), "unknown");
        for text in ["", "1 2", "1 2 3 4 r 5", "a 1 2 3 r", "1 2 3 4 r 5 6 7 8"] {
            assert!(text.parse::<Breaker>().is_err(), "{text}");
        }
        for text in ["a", "cAb-", "m000", "v__a", "tzzz"] {
            assert_eq!(text.parse::<BreakerKey>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "x", "ca", "cabcd"] {
            assert!(text.parse::<BreakerKey>().is_err(), "{text}");
        }
    }
}
