//! How fast a campaign goes, whatever lines there are: the calls that it begins in a second, a ramp that widens step
//! by step as long as people answer and nothing breaks, batches with a rest between them.
//!
//! How far a campaign has come is kept with its counters on the ledger ([`Progress`]), and moves in the writes that
//! take its lines and free them: so nothing is half done when a function dies, and two dispatchers cannot both begin
//! the same second's calls or the rest of a batch. Only the ramp's step is moved by a write of its own; who takes by
//! another step than the ledger's is refused.
//!
//! With a ledger of several items, the calls of a campaign with a rate or with batches are begun in one of them
//! ([`super::shard`] has who else's are). A ramp's step is on the first item; in the others it holds as of the taker's
//! reading.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ended::Group;
use super::lead::End;
use super::pool::Rule;
use super::quota::{Pace, Quota};
use super::timers::Timers;

/// What a campaign may ask for of its own pace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked<'a> {
    /// Most lines at once.
    pub lines: Option<NonZeroU32>,
    /// Calls begun in a second.
    pub per_second: Option<NonZeroU32>,
    /// Steps of lines.
    pub ramp: Option<&'a Ramp>,
    /// So many leads, and then so many more.
    pub batch: Option<Batch>,
}

/// What bounds a campaign besides the pool's rules, at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    /// Most lines at once: its cap, or its ramp's step if that is less.
    pub lines: Option<u32>,
    /// Calls begun in a second.
    pub per_second: Option<NonZeroU32>,
    /// So many leads, and then so many more.
    pub batch: Option<Batch>,
    /// The step that its ramp is at, if it has one.
    pub step: Option<Step>,
    /// The line-time that it is to count as having had, in milliseconds ([`super::fair::lifted`]).
    pub served_ms: Option<i64>,
}

/// A number of lines alone is a bound, too.
impl From<Option<u32>> for Own {
    fn from(lines: Option<u32>) -> Self {
        Self { lines, ..Self::default() }
    }
}

impl Own {
    /// The bounds of a campaign that has come so far.
    pub fn of(asked: &Asked<'_>, progress: &Progress, timers: &Timers) -> Self {
        let step = asked.ramp.map(|_| progress.step.unwrap_or_default());
        let of_step = asked.ramp.zip(step).map(|(ramp, step)| ramp.lines(step));
        let batch = asked.batch.map(|batch| Batch { pause: timers.scaled(batch.pause), ..batch });
        Self {
            lines: asked.lines.map(NonZeroU32::get).into_iter().chain(of_step).min(),
            per_second: asked.per_second,
            batch,
            step,
            served_ms: None,
        }
    }

    /// Whether its calls are counted by the second or by batches, which one item of the ledger alone can do.
    pub fn is_counted_by_time(&self) -> bool {
        self.per_second.is_some() || self.batch.is_some()
    }

    /// Whether an item in which its calls are not begun any more, and which holds so many of its lines, has nothing
    /// more to say about when the next may begin.
    pub(super) fn is_done(&self, held: u32, progress: &Progress, now: Timestamp) -> bool {
        let is_ahead = self.per_second.is_some() && progress.pace.is_some_and(|pace| pace.is_ahead(now));
        let is_resting = self.batch.is_some_and(|batch| held > 0 || !batch.is_rested(progress, now));
        !is_ahead && !is_resting
    }

    /// Its rate as a quota of its own.
    pub(super) fn quota(&self) -> Option<Quota> {
        self.per_second.map(|rate| Quota { per_second: Some(rate), ..Quota::default() })
    }

    /// How many lines its own rules allow at `now` on top of `held`, and which of them allows no more.
    pub(super) fn room(&self, held: u32, progress: &Progress, now: Timestamp) -> [(Rule, u32); 3] {
        let slots = self.quota().map_or(u32::MAX, |quota| {
            let slots = quota.slots(progress.pace.unwrap_or_default(), now);
            slots.iter().map(|(_, dials)| *dials).min().unwrap_or_default()
        });
        let batch = self.batch.map_or(u32::MAX, |batch| batch.room(held, progress, now));
        let lines = self.lines.map_or(u32::MAX, |cap| cap.saturating_sub(held));
        [(Rule::CampaignCap, lines), (Rule::Pace, slots), (Rule::Batch, batch)]
    }
}

/// Leads that are begun together; the next ones when their calls are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// So many.
    pub leads: NonZeroU32,
    /// From the end of its last call to the next batch.
    pub pause: SignedDuration,
}

impl Batch {
    /// Whether the next batch may begin, the lines of the one before being free.
    pub fn is_rested(&self, progress: &Progress, now: Timestamp) -> bool {
        self.pause.is_zero() || progress.idle_since.is_none_or(|since| since + self.pause <= now)
    }

    fn room(&self, held: u32, progress: &Progress, now: Timestamp) -> u32 {
        if held > 0 {
            self.leads.get().saturating_sub(progress.begun.unwrap_or(held))
        } else if self.is_rested(progress, now) {
            self.leads.get()
        } else {
            0
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BatchForm {
    Leads(NonZeroU32),
    Paused(PausedForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PausedForm {
    leads: NonZeroU32,
    #[serde(default, serialize_with = "write_span", deserialize_with = "read_span")]
    pause: SignedDuration,
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { leads, pause } = *self;
        let form = if pause.is_zero() {
            BatchForm::Leads(leads)
        } else {
            BatchForm::Paused(PausedForm { leads, pause })
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = BatchForm::deserialize(deserializer).map_err(|_| {
            serde::de::Error::custom("a batch is a number of leads, or {\"leads\": 50, \"pause\": \"5m\"}")
        })?;
        Ok(match form {
            BatchForm::Leads(leads) => Self { leads, pause: SignedDuration::ZERO },
            BatchForm::Paused(PausedForm { leads, pause }) => Self { leads, pause },
        })
    }
}

fn write_span<S: Serializer>(span: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{span:#}"))
}

fn read_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span = text.parse::<SignedDuration>().ok();
    let span = span.filter(|span| !span.is_negative() && *span <= SignedDuration::from_hours(24 * 30));
    span.ok_or_else(|| serde::de::Error::custom("a span of time is such as 30s, 10m or 2h, up to 30 days"))
}

/// One step of a ramp, and what must be so before it is entered from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rung {
    lines: NonZeroU32,
    /// So long at the step before.
    #[serde(
        default,
        skip_serializing_if = "SignedDuration::is_zero",
        serialize_with = "write_span",
        deserialize_with = "read_span"
    )]
    after: SignedDuration,
    /// Part of its calls that people answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_answered: Option<f64>,
    /// Part of its calls that broke. Beyond it, this step is left again, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_errors: Option<f64>,
}

/// Steps by which a campaign gets more lines, as long as its calls go well.
///
/// A step is passed when its time is over and enough of its calls have ended: twice as many as it has lines, at most
/// [`ENOUGH`]. Then the part of them that was answered and the part that broke decide. A step whose calls break more
/// than its `maxErrors` allows is left for the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Rung>")]
pub struct Ramp(Vec<Rung>);

/// Ended calls that are enough to judge any step by.
pub const ENOUGH: u32 = 100;

/// Most steps of a ramp.
const MOST_RUNGS: usize = 20;

impl TryFrom<Vec<Rung>> for Ramp {
    type Error = &'static str;
    fn try_from(rungs: Vec<Rung>) -> Result<Self, Self::Error> {
        let Some(first) = rungs.first().filter(|_| rungs.len() <= MOST_RUNGS) else {
            return Err("a ramp has 1 to 20 steps");
        };
        if !first.after.is_zero() || first.min_answered.or(first.max_errors).is_some() {
            return Err("the first step of a ramp begins at once: it has lines alone");
        }
        if rungs.windows(2).any(|two| two[0].lines >= two[1].lines) {
            return Err("each step of a ramp has more lines than the one before");
        }
        let parts = rungs.iter().flat_map(|rung| [rung.min_answered, rung.max_errors]).flatten();
        if parts.into_iter().any(|part| !(0.0..=1.0).contains(&part)) {
            return Err("minAnswered and maxErrors are parts of 1");
        }
        Ok(Self(rungs))
    }
}

impl Ramp {
    fn rung(&self, step: Step) -> &Rung {
        // A state from before the campaign was edited may be beyond the last one.
        &self.0[step.nth.min(self.0.len() as u32 - 1) as usize]
    }

    /// Most lines at a step.
    pub fn lines(&self, step: Step) -> u32 {
        self.rung(step).lines.get()
    }

    /// How many steps there are.
    pub fn steps(&self) -> u32 {
        self.0.len() as u32
    }

    /// Its steps: the lines of each, and how long the one before lasts at least.
    pub(super) fn rungs(&self) -> impl Iterator<Item = (u32, SignedDuration)> {
        self.0.iter().map(|rung| (rung.lines.get(), rung.after))
    }

    /// What comes after `progress` at `now`: another step, or the same one judged on newer calls. Nothing if it stays as
    /// it is, which is so most of the time: it takes some calls for each change.
    pub fn judge(&self, progress: &Progress, now: Timestamp, timers: &Timers) -> Option<Step> {
        let Some(step) = progress.step else { return Some(Step::first(progress.calls, now)) };
        let enough = (2 * self.lines(step)).min(ENOUGH);
        let Calls { ended, answered, errors } = progress.calls.since(step.calls);
        if ended < enough {
            return None;
        }
        let part = |of: u32| f64::from(of) / f64::from(ended);
        let at = |nth| Some(Step { nth, since: now, calls: progress.calls });
        let breaks = |rung: &Rung| rung.max_errors.is_some_and(|most| part(errors) > most);
        if step.nth > 0 && breaks(self.rung(step)) {
            return at(step.nth.min(self.steps() - 1) - 1);
        }
        let next = self.0.get(step.nth as usize + 1).filter(|next| {
            now.duration_since(step.since) >= timers.scaled(next.after)
                && next.min_answered.is_none_or(|least| part(answered) >= least)
                && !breaks(next)
        });
        if next.is_some() {
            return at(step.nth + 1);
        }
        // What was long ago says little of what is now.
        (ended >= 2 * enough).then_some(Step { calls: progress.calls, ..step })
    }
}

/// Calls that have ended, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them.
    pub ended: u32,
    /// Those that somebody answered.
    pub answered: u32,
    /// Those that broke: not set up, or broken off by something of Vapi's or a provider's.
    pub errors: u32,
}

impl Calls {
    /// Those that came after `then`.
    pub fn since(self, then: Self) -> Self {
        Self {
            ended: self.ended.saturating_sub(then.ended),
            answered: self.answered.saturating_sub(then.answered),
            errors: self.errors.saturating_sub(then.errors),
        }
    }
}

impl std::ops::AddAssign for Calls {
    fn add_assign(&mut self, more: Self) {
        self.ended += more.ended;
        self.answered += more.answered;
        self.errors += more.errors;
    }
}

/// What a call came to, as far as a ramp is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Somebody answered.
    Answered,
    /// Nobody did, or nobody can be called there.
    Unanswered,
    /// It broke.
    Error,
}

impl Met {
    /// What the end of a call says. Nothing if there was no call: the account was out of lines.
    pub fn of(end: &End) -> Option<Self> {
        Some(match end.reason.as_deref().map(Group::of) {
            Some(Group::Reached) => Self::Answered,
            Some(Group::NoAnswer(_) | Group::PermanentLead | Group::Cancelled) => Self::Unanswered,
            Some(
                Group::SetupFailure
                | Group::InCallFailure
                | Group::PermanentConfig
                | Group::AccountBlock
                | Group::NotOutbound,
            ) => Self::Error,
            Some(Group::OverLimit) => return None,
            None => match end.connected {
                Some(true) => Self::Answered,
                Some(false) | None => Self::Unanswered,
            },
        })
    }
}

/// Where on its ramp a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which step, from 0.
    pub nth: u32,
    /// Since when.
    pub since: Timestamp,
    /// The calls that had ended by then; later ones are judged.
    pub calls: Calls,
}

impl Default for Step {
    fn default() -> Self {
        Self::first(Calls::default(), Timestamp::UNIX_EPOCH)
    }
}

impl Step {
    fn first(calls: Calls, now: Timestamp) -> Self {
        Self { nth: 0, since: now, calls }
    }
}

/// As the table spells it: the step, its beginning in epoch milliseconds, the calls ended, answered and broken before.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calls { ended, answered, errors } = self.calls;
        write!(f, "{} {} {ended} {answered} {errors}", self.nth, self.since.as_millisecond())
    }
}

/// A text that is no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a step is a number, an instant and three numbers of calls")]
pub struct StepError;

impl FromStr for Step {
    type Err = StepError;
    fn from_str(text: &str) -> Result<Self, StepError> {
        let mut words = text.split(' ');
        let step = (|| {
            let nth = words.next()?.parse().ok()?;
            let since = Timestamp::from_millisecond(words.next()?.parse().ok()?).ok()?;
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let calls = Calls { ended: number()?, answered: number()?, errors: number()? };
            words.next().is_none().then_some(Self { nth, since, calls })
        })();
        step.ok_or(StepError)
    }
}

/// How far a campaign has come, as the ledger keeps it beside its counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How far its own rate has come.
    pub pace: Option<Pace>,
    /// Leads begun of the present batch.
    pub begun: Option<u32>,
    /// When its last line was freed, if it has batches.
    pub idle_since: Option<Timestamp>,
    /// Where on its ramp it is.
    pub step: Option<Step>,
    /// Its calls that have ended, counted while it is on a ramp.
    pub calls: Calls,
    /// The line-time that its ended calls had, in milliseconds.
    pub served_ms: i64,
}

impl Progress {
    /// The same with another item's.
    pub(super) fn add(&mut self, more: &Self) {
        self.pace = self.pace.or(more.pace);
        self.begun = self.begun.max(more.begun);
        self.idle_since = self.idle_since.max(more.idle_since);
        self.step = self.step.or(more.step);
        self.calls += more.calls;
        self.served_ms = self.served_ms.saturating_add(more.served_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn ramp() -> Ramp {
        let json = r#"[{"lines": 2}, {"lines": 5, "after": "10m", "minAnswered": 0.2, "maxErrors": 0.25}, {"lines": 20}]"#;
        serde_json::from_str(json).expect("a ramp")
    }

    fn progress(step: Step, ended: u32, answered: u32, errors: u32) -> Progress {
        Progress { step: Some(step), calls: Calls { ended, answered, errors }, ..Progress::default() }
    }

    #[test]
    fn a_step_is_passed_when_its_time_is_over_and_its_calls_went_well() {
        let first = Step { since: at(0), ..Step::default() };
        let judge = |minutes, ended, answered, errors| {
            ramp()
                .judge(&progress(first, ended, answered, errors), at(minutes), &Timers::default())
                .map(|step| step.nth)
        };
        assert_eq!(judge(10, 3, 3, 0), None, "four are enough");
        assert_eq!(judge(9, 4, 4, 0), None, "ten minutes have to pass");
        assert_eq!(judge(10, 4, 1, 1), Some(1));
        assert_eq!(judge(10, 4, 0, 0), None, "nobody answers");
        assert_eq!(judge(10, 4, 2, 2), None, "too much breaks");
        assert_eq!(judge(10, 8, 0, 0), Some(0), "judged on newer calls from here on");
    }

    #[test]
    fn a_step_whose_calls_break_is_left_for_the_one_before() {
        let second = Step { nth: 1, since: at(0), ..Step::default() };
        let judge = |ended, errors| {
            ramp().judge(&progress(second, ended, ended - errors, errors), at(1), &Timers::default())
        };
        assert_eq!(judge(9, 9), None, "ten are enough");
        let fallen = judge(10, 3).expect("a quarter is allowed");
        assert_eq!((fallen.nth, fallen.since), (0, at(1)));
        assert_eq!(judge(10, 2).map(|step| step.nth), Some(2), "the last step asks for nothing");
        // The calls from before are not held against it again.
        assert_eq!(ramp().judge(&progress(fallen, 12, 9, 3), at(90), &Timers::default()), None);
    }

    #[test]
    fn a_campaign_without_a_state_begins_at_the_first_step() {
        let began = ramp().judge(&Progress::default(), at(3), &Timers::default());
        assert_eq!(began, Some(Step { nth: 0, since: at(3), calls: Calls::default() }));
        let own = Own::of(
            &Asked { ramp: Some(&ramp()), ..Asked::default() },
            &Progress::default(),
            &Timers::default(),
        );
        assert_eq!(own.lines, Some(2));
    }

    #[test]
    fn a_batch_is_begun_to_its_end_and_the_next_when_its_calls_are_over_and_rested() {
        let batch: Batch = serde_json::from_str(r#"{"leads": 3, "pause": "5m"}"#).expect("a batch");
        let own = Own { batch: Some(batch), ..Own::default() };
        let room = |held, begun, idle_since, now| {
            let progress = Progress { begun, idle_since, ..Progress::default() };
            own.room(held, &progress, at(now))[2]
        };
        assert_eq!(room(0, None, None, 0), (Rule::Batch, 3));
        assert_eq!(room(1, Some(1), None, 0), (Rule::Batch, 2));
        assert_eq!(room(1, Some(3), Some(at(0)), 9), (Rule::Batch, 0), "its last call is still on");
        assert_eq!(room(0, Some(3), Some(at(0)), 4), (Rule::Batch, 0));
        assert_eq!(room(0, Some(3), Some(at(0)), 5), (Rule::Batch, 3));
    }

    #[test]
    fn what_is_no_ramp_and_no_batch_is_refused() {
        for json in [
            "[]",
            r#"[{"lines": 0}]"#,
            r#"[{"lines": 2, "after": "1m"}]"#,
            r#"[{"lines": 2}, {"lines": 2}]"#,
            r#"[{"lines": 2}, {"lines": 3, "maxErrors": 2}]"#,
            r#"[{"lines": 2}, {"lines": 3, "after": "-1m"}]"#,
        ] {
            assert!(serde_json::from_str::<Ramp>(json).is_err(), "{json}");
        }
        for json in ["0", "-1", r#"{"pause": "5m"}"#, r#"{"leads": 3, "pause": "soon"}"#] {
            assert!(serde_json::from_str::<Batch>(json).is_err(), "{json}");
        }
        for json in ["7", r#"{"leads":3,"pause":"5m"}"#] {
            let batch: Batch = serde_json::from_str(json).expect("a batch");
            assert_eq!(serde_json::to_string(&batch).expect("JSON"), json);
        }
    }

    proptest! {
        #[test]
        fn a_step_survives_its_text_form(nth: u32, ms in 0_i64..4_000_000_000_000, ended: u32, answered: u32, errors: u32) {
            let since = Timestamp::from_millisecond(ms).expect("in range");
            let step = Step { nth, since, calls: Calls { ended, answered, errors } };
            prop_assert_eq!(step.to_string().parse::<Step>(), Ok(step));
        }

        #[test]
        fn a_ramp_moves_one_step_at_a_time_and_never_off_its_ends(nth in 0..9_u32, ended in 0..300_u32, answered in 0..300_u32,
                                                                  errors in 0..300_u32, minutes in 0..40_i64) {
            let step = Step { nth, since: at(0), ..Step::default() };
            if let Some(next) = ramp().judge(&progress(step, ended, answered, errors), at(minutes), &Timers::default()) {
                prop_assert!(next.nth <= nth.max(2) && (nth > 2 || next.nth.abs_diff(nth) <= 1));
            }
        }

        #[test]
        fn no_text_panics_the_parser(text in "\\PC{0,40}") {
            let _ = text.parse::<Step>();
        }
    }
}
