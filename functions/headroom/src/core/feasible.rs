//! How long a campaign will take, before anybody is called: a walk over the time to come, in steps, with the leads in
//! groups of the same hours and calls as a fluid that the lines let through.
//!
//! Nothing here knows a lead: 100,000 of them are as many groups as there are sets of hours among them, so the work is
//! bounded by the steps of a year. What it cannot know (how many callers there will be, how long calls last, who
//! answers) it is given as averages; an estimate is no promise.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::kpi::{Came, Sums};
use super::lead::SPARED_SETUPS;
use super::pacing::{Batch, Ramp};
use super::retry::{Missed, Retry};
use super::timers::Timers;

/// What calls come to, as parts of 1: reached, over without being reached, and what may be called again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Odds {
    /// Somebody is talked to.
    pub reached: f64,
    /// The lead is over without it, such as a bad number.
    pub failed: f64,
    /// By what they come to, in the order of [`Missed::ALL`].
    pub missed: [f64; Missed::ALL.len()],
}

impl Odds {
    /// What is assumed where nothing is known: 45 % are answered, 30 % ring out, 8 % are engaged, a machine has the rest.
    pub const ASSUMED: Self = Self { reached: 0.45, failed: 0.0, missed: [0.3, 0.08, 0.17, 0.0, 0.0] };

    /// As the calls of `sums` came; nothing if there were fewer than `least`.
    pub fn of(sums: &Sums, least: u64) -> Option<Self> {
        // What was wrong with us or the account is mended, not met again.
        let ours = sums.of(Came::BadSetting) + sums.of(Came::Blocked);
        let all = sums.calls().saturating_sub(ours);
        if all == 0 || all < least {
            return None;
        }
        let part = |came| sums.of(came) as f64 / all as f64;
        Some(Self {
            reached: part(Came::Reached) + part(Came::Unknown),
            failed: part(Came::BadNumber) + part(Came::Cancelled),
            missed: Missed::ALL.map(|missed| {
                part(match missed {
                    Missed::NoAnswer => Came::NoAnswer,
                    Missed::Busy => Came::Busy,
                    Missed::Voicemail => Came::Voicemail,
                    Missed::SetupFailure => Came::SetupFailure,
                    Missed::Dropped => Came::Dropped,
                })
            }),
        })
    }
}

/// Another campaign that wants lines, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    /// Its id.
    pub id: String,
    /// Whether it goes first; else it has its part by weight.
    pub ahead: bool,
    /// Its weight.
    pub weight: f64,
    /// Most lines that it holds.
    pub lines: f64,
    /// The line-time that its leads will still take, in seconds.
    pub line_seconds: f64,
}

/// What is to be estimated.
#[derive(Debug)]
pub struct Question<'a> {
    /// When it begins.
    pub now: Timestamp,
    /// Leads by group.
    pub leads: &'a [u64],
    /// How they are called again.
    pub retry: &'a Retry,
    /// What calls come to.
    pub odds: Odds,
    /// How long a call holds its line, in seconds.
    pub call_seconds: f64,
    /// Lines of its agent's reserve: nobody else's.
    pub own: f64,
    /// Lines that it shares with the other campaigns.
    pub shared: f64,
    /// Most lines that it may hold of both.
    pub lines: f64,
    /// Its weight beside equal campaigns.
    pub weight: f64,
    /// The other campaigns.
    pub others: &'a [Other],
    /// Calls begun in a second at most.
    pub per_second: Option<f64>,
    /// Calls begun in a day, UTC, at most.
    pub per_day: Option<f64>,
    /// Calls to one person within 24 hours at most.
    pub per_person: Option<u32>,
    /// Its ramp.
    pub ramp: Option<&'a Ramp>,
    /// Its batches.
    pub batch: Option<Batch>,
    /// How fast time goes: 1 but in rehearsals.
    pub timers: &'a Timers,
}

/// What holds a campaign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// Its own lines.
    Lines,
    /// Campaigns that go first, or have their part.
    Others,
    /// Its ramp's step.
    Ramp,
    /// Calls in a second.
    PerSecond,
    /// Calls in a day.
    PerDay,
    /// Its batches.
    Batch,
    /// Nobody may be called at that time.
    Hours,
    /// All who may be called wait for their next attempt.
    Retries,
}

/// A day of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Day {
    /// When it begins, UTC.
    pub start: Timestamp,
    /// Calls for which there are lines while somebody may be called.
    pub capacity: f64,
    /// Calls that will be made.
    pub calls: f64,
    /// Leads that will be over at its end.
    pub over: f64,
}

/// What is to be expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The first call; none if there is none.
    pub begins: Option<Timestamp>,
    /// When every lead that can be called is over; none if that is not within a year, or not before the hours close for
    /// good.
    pub finish: Option<Timestamp>,
    /// Calls in all.
    pub calls: f64,
    /// Leads reached.
    pub reached: f64,
    /// Leads that are not over when it ends, one way or the other.
    pub left: f64,
    /// Leads that could never be called at all.
    pub never: u64,
    /// What held it up for how long, in seconds, the longest first.
    pub bounds: Vec<(Bound, f64)>,
    /// By day.
    pub days: Vec<Day>,
}

/// The longest that is looked ahead.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Steps are short for as long, and then longer.
const CLOSELY: SignedDuration = SignedDuration::from_hours(4);
const STEPS: [SignedDuration; 2] = [SignedDuration::from_secs(30), SignedDuration::from_mins(15)];
/// Fewer leads than this are none.
const NOBODY: f64 = 0.5;
/// Days that are told one by one.
const MOST_DAYS: usize = 366;

/// Leads at one place: so many counted attempts, so many spared set-ups.
type Stage = (usize, u32, u32);

struct Walk<'a, F> {
    ask: &'a Question<'a>,
    opens: F,
    /// From when on a group is known to be closed until when; none: for good.
    closed: Vec<Option<Timestamp>>,
    ready: BTreeMap<Stage, f64>,
    waiting: BTreeMap<Timestamp, BTreeMap<Stage, f64>>,
    others: Vec<f64>,
    ramp: Option<(usize, Timestamp, f64)>,
    estimate: Estimate,
    bounds: BTreeMap<Bound, f64>,
    over: f64,
}

/// Estimates. `opens` says from when on a group's leads may be called, from an instant on; none if never again.
pub fn estimate(ask: &Question<'_>, opens: impl Fn(usize, Timestamp) -> Option<Timestamp>) -> Estimate {
    let estimate = Estimate {
        begins: None,
        finish: None,
        calls: 0.0,
        reached: 0.0,
        left: 0.0,
        never: 0,
        bounds: Vec::new(),
        days: Vec::new(),
    };
    let leads = ask.leads.iter().enumerate().filter(|(_, leads)| **leads > 0);
    let walk = Walk {
        ask,
        opens,
        closed: vec![Some(ask.now); ask.leads.len()],
        ready: leads.map(|(group, leads)| ((group, 0, 0), *leads as f64)).collect(),
        waiting: BTreeMap::new(),
        others: ask.others.iter().map(|other| other.line_seconds).collect(),
        ramp: ask.ramp.map(|_| (0, ask.now, 0.0)),
        estimate,
        bounds: BTreeMap::new(),
        over: 0.0,
    };
    walk.run()
}

impl<F: Fn(usize, Timestamp) -> Option<Timestamp>> Walk<'_, F> {
    fn run(mut self) -> Estimate {
        let speed = self.ask.timers.speed();
        let scaled = |span: SignedDuration| self.ask.timers.scaled(span);
        let (closely, steps) = (self.ask.now + scaled(CLOSELY), STEPS.map(scaled));
        let horizon = self.ask.now + HORIZON;
        let total: f64 = self.ready.values().sum();
        let mut at = self.ask.now;
        self.estimate.never = self.never();
        let mut last_call = at;
        while total - self.over >= NOBODY && at < horizon {
            let step = if at < closely { steps[0] } else { steps[1] };
            self.fall_due(at);
            let open: Vec<bool> = (0..self.closed.len()).map(|group| self.is_open(group, at)).collect();
            self.give_up();
            if self.ready.is_empty() && self.waiting.is_empty() {
                break;
            }
            if !open.contains(&true) {
                // Nobody may be called: on to when somebody may.
                let Some(next) = self.closed.iter().flatten().min().copied() else { break };
                let next = next.max(at + step).min(horizon);
                self.hold(Bound::Hours, next.duration_since(at));
                at = next;
                continue;
            }
            if self.call(at, step, &open, speed) {
                last_call = at + step;
            }
            at += step;
        }
        let left = total - self.over;
        self.estimate.left = left;
        if left < NOBODY && total > 0.0 {
            let call = SignedDuration::from_secs_f64(self.ask.call_seconds);
            self.estimate.finish = Some(last_call + call);
        }
        self.estimate.days.truncate(MOST_DAYS);
        self.estimate.bounds = self.bounds.into_iter().collect();
        self.estimate.bounds.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.estimate
    }

    fn never(&self) -> u64 {
        let groups = self.ask.leads.iter().enumerate();
        groups
            .filter(|(group, _)| (self.opens)(*group, self.ask.now).is_none())
            .map(|(_, leads)| *leads)
            .sum()
    }

    fn is_open(&mut self, group: usize, at: Timestamp) -> bool {
        match self.closed[group] {
            Some(until) if until <= at => {
                self.closed[group] = (self.opens)(group, at);
                self.closed[group] == Some(at)
            }
            _ => false,
        }
    }

    /// Those whose hours have closed for good are not called any more. They stay among those that are left.
    fn give_up(&mut self) {
        let closed = &self.closed;
        self.ready.retain(|(group, ..), _| closed[*group].is_some());
        for waiting in self.waiting.values_mut() {
            waiting.retain(|(group, ..), _| closed[*group].is_some());
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    fn fall_due(&mut self, at: Timestamp) {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= at) {
            for (stage, leads) in first.remove() {
                *self.ready.entry(stage).or_default() += leads;
            }
        }
    }

    fn hold(&mut self, bound: Bound, span: SignedDuration) {
        *self.bounds.entry(bound).or_default() += span.as_secs_f64();
    }

    /// Lines that it gets for a step, and what bounds them.
    fn lines(&mut self, at: Timestamp, seconds: f64) -> (f64, Bound) {
        let ask = self.ask;
        let mut shared = ask.shared;
        let mut is_crowded = false;
        for (other, left) in ask.others.iter().zip(&mut self.others).filter(|(other, _)| other.ahead) {
            let taken = other.lines.min(shared).min(*left / seconds);
            (shared, *left, is_crowded) =
                (shared - taken, *left - taken * seconds, is_crowded || taken > 0.0);
        }
        // The equal ones by weight; what one cannot use is the others'.
        let own_most = (ask.lines - ask.own).max(0.0);
        let mut wants: Vec<(usize, f64, f64)> = vec![(usize::MAX, ask.weight, own_most)];
        for (nth, other) in ask.others.iter().enumerate().filter(|(_, other)| !other.ahead) {
            let most = other.lines.min(self.others[nth] / seconds);
            if most > 0.0 {
                wants.push((nth, other.weight, most));
            }
        }
        wants.sort_by(|a, b| (a.2 / a.1).total_cmp(&(b.2 / b.1)));
        let mut weights: f64 = wants.iter().map(|(_, weight, _)| weight).sum();
        let (mut pot, mut own) = (shared, 0.0);
        for (nth, weight, most) in wants {
            let part = (pot * weight / weights).min(most);
            (pot, weights) = (pot - part, weights - weight);
            if nth == usize::MAX {
                own = part;
            } else {
                self.others[nth] -= part * seconds;
                is_crowded |= part > 0.0;
            }
        }
        let got = (ask.own.min(ask.lines) + own).max(0.0);
        let ramp = self.ramp_lines(at);
        if ramp < got {
            return (ramp, Bound::Ramp);
        }
        let alone = ask.lines.min(ask.own + ask.shared);
        let bound = if is_crowded && got + 1e-9 < alone { Bound::Others } else { Bound::Lines };
        (got, bound)
    }

    fn ramp_lines(&mut self, at: Timestamp) -> f64 {
        let (Some(ramp), Some((nth, since, calls))) = (self.ask.ramp, self.ramp) else {
            return f64::INFINITY;
        };
        let rungs: Vec<_> = ramp.rungs().collect();
        let (lines, _) = rungs[nth];
        let enough = (2.0 * f64::from(lines)).min(f64::from(super::pacing::ENOUGH));
        match rungs.get(nth + 1) {
            Some((more, after))
                if calls >= enough && at.duration_since(since) >= self.ask.timers.scaled(*after) =>
            {
                self.ramp = Some((nth + 1, at, 0.0));
                f64::from(*more)
            }
            _ => f64::from(lines),
        }
    }

    /// Begins the calls of a step. Whether there were any.
    fn call(&mut self, at: Timestamp, step: SignedDuration, open: &[bool], speed: f64) -> bool {
        let ask = self.ask;
        let seconds = step.as_secs_f64();
        let (lines, by_lines) = self.lines(at, seconds);
        let mut most = (lines * seconds / ask.call_seconds, by_lines);
        let mut at_most = |calls: f64, bound| {
            if calls < most.0 {
                most = (calls.max(0.0), bound);
            }
        };
        if let Some(rate) = ask.per_second {
            at_most(rate * seconds, Bound::PerSecond);
        }
        if let Some(Batch { leads, pause }) = ask.batch.filter(|_| lines > 0.0) {
            let leads = f64::from(leads.get());
            let round = leads * ask.call_seconds / lines + ask.call_seconds + pause.as_secs_f64() / speed;
            at_most(leads / round * seconds, Bound::Batch);
        }
        let day = self.day(at);
        let begun = self.estimate.days[day].calls;
        if let Some(per_day) = ask.per_day {
            at_most(per_day - begun, Bound::PerDay);
        }
        self.estimate.days[day].capacity += most.0;
        let due: f64 =
            self.ready.iter().filter(|((group, ..), _)| open[*group]).map(|(_, leads)| leads).sum();
        let calls = due.min(most.0);
        let waits = due <= most.0;
        self.hold(if waits { Bound::Retries } else { most.1 }, step);
        if calls > 0.0 {
            self.estimate.begins.get_or_insert(at);
            self.spend(calls / due, at + step, open);
            if let Some((_, _, begun)) = &mut self.ramp {
                *begun += calls;
            }
        }
        let over = self.over;
        let day = &mut self.estimate.days[day];
        day.calls += calls;
        day.over = over;
        self.estimate.calls += calls;
        calls > 1e-9
    }

    fn day(&mut self, at: Timestamp) -> usize {
        let second = at.as_second() - at.as_second().rem_euclid(86_400);
        let start = Timestamp::from_second(second).unwrap_or(at);
        if self.estimate.days.last().is_none_or(|day| day.start != start) {
            self.estimate.days.push(Day { start, capacity: 0.0, calls: 0.0, over: self.over });
        }
        self.estimate.days.len() - 1
    }

    /// A `part` of those that are ready and may be called are called, and what becomes of them.
    fn spend(&mut self, part: f64, until: Timestamp, open: &[bool]) {
        let ask = self.ask;
        let Odds { reached, missed, .. } = ask.odds;
        let ended = until + SignedDuration::from_secs_f64(ask.call_seconds);
        let mut again: Vec<(Timestamp, Stage, f64)> = Vec::new();
        for ((group, attempts, spared), leads) in
            self.ready.iter_mut().filter(|((group, ..), _)| open[*group])
        {
            let called = *leads * part;
            *leads -= called;
            self.estimate.reached += called * reached;
            let mut over = called;
            for (nth, came) in Missed::ALL.into_iter().enumerate().filter(|(nth, _)| missed[*nth] > 0.0) {
                let these = called * missed[nth];
                if came == Missed::SetupFailure && *spared < SPARED_SETUPS {
                    let delay = ask.timers.setup_backoff(spared + 1);
                    again.push((ended + delay, (*group, *attempts, spared + 1), these));
                    over -= these;
                    continue;
                }
                // How many of its attempts came to the same, on the average.
                let alike = (f64::from(*attempts) * missed[nth]).floor() as u32 + 1;
                let Some(delay) = ask.retry.again(came, attempts + 1, alike, 0.5) else { continue };
                let mut delay = ask.timers.scaled(delay);
                if ask.per_person.is_some_and(|most| (attempts + 1) % most == 0) {
                    delay = delay.max(SignedDuration::from_hours(24));
                }
                again.push((ended + delay, (*group, attempts + 1, *spared), these));
                over -= these;
            }
            self.over += over;
        }
        self.ready.retain(|_, leads| *leads > 1e-9);
        for (due, stage, leads) in again {
            // By the minute, so that there are only so many.
            let minute = self.ask.timers.scaled(SignedDuration::from_mins(1)).as_millis().max(1) as i64;
            let ms = due.as_millisecond();
            let due = Timestamp::from_millisecond(ms - ms.rem_euclid(minute)).unwrap_or(due);
            *self.waiting.entry(due).or_default().entry(stage).or_default() += leads;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn retry(json: &str) -> Retry {
        serde_json::from_str(json).expect("a retry")
    }

    fn ask<'a>(leads: &'a [u64], retry: &'a Retry, timers: &'a Timers) -> Question<'a> {
        Question {
            now: at(0),
            leads,
            retry,
            odds: Odds { reached: 1.0, failed: 0.0, missed: [0.0; 5] },
            call_seconds: 60.0,
            own: 0.0,
            shared: 7.0,
            lines: 7.0,
            weight: 1.0,
            others: &[],
            per_second: None,
            per_day: None,
            per_person: None,
            ramp: None,
            batch: None,
            timers,
        }
    }

    fn hours(estimate: &Estimate) -> f64 {
        let finish = estimate.finish.unwrap_or_else(|| panic!("{estimate:?}"));
        finish.duration_since(at(0)).as_secs_f64() / 3600.0
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is what groups are asked by")]
    fn always(_: usize, at: Timestamp) -> Option<Timestamp> {
        Some(at)
    }

    #[test]
    fn lines_let_calls_through_and_pace_quotas_and_batches_fewer() {
        let (retry, timers) = (retry("{}"), Timers::default());
        let ask = ask(&[4_200], &retry, &timers);
        // Seven a minute: ten hours.
        let plain = estimate(&ask, always);
        assert!((hours(&plain) - 10.0).abs() < 0.3, "{plain:?}");
        assert_eq!(plain.bounds[0].0, Bound::Lines);
        let slow = estimate(&Question { per_second: Some(0.05), ..ask }, always);
        assert!((hours(&slow) - 4_200.0 / 180.0).abs() < 0.5, "{}", hours(&slow));
        assert_eq!(slow.bounds[0].0, Bound::PerSecond);
        let daily = estimate(&Question { per_day: Some(1_000.0), ..ask }, always);
        assert!(hours(&daily) > 96.0 && hours(&daily) < 100.0, "{}", hours(&daily));
        let days: Vec<_> = daily.days.iter().map(|day| day.calls.round()).collect();
        assert_eq!(days, [1000.0, 1000.0, 1000.0, 1000.0, 200.0]);
        let batch = serde_json::from_str(r#"{"leads": 7, "pause": "1m"}"#).expect("a batch");
        let batched = estimate(&Question { batch: Some(batch), ..ask }, always);
        // A minute of calls, their end, and a minute's pause.
        assert!((hours(&batched) - 30.0).abs() < 1.0, "{}", hours(&batched));
        let ramp = serde_json::from_str(r#"[{"lines": 1}, {"lines": 7, "after": "5h"}]"#).expect("a ramp");
        let ramped = estimate(&Question { ramp: Some(&ramp), ..ask }, always);
        assert!((hours(&ramped) - (5.0 + 3_900.0 / 420.0)).abs() < 0.5, "{}", hours(&ramped));
    }

    #[test]
    fn others_have_their_part_until_they_are_through() {
        let (retry, timers) = (retry("{}"), Timers::default());
        let ask = ask(&[420], &retry, &timers);
        let other = |ahead, weight, hours: f64| Other {
            id: "o".into(),
            ahead,
            weight,
            lines: 100.0,
            line_seconds: hours * 3600.0 * 7.0,
        };
        let with = |other: Other| estimate(&Question { others: &[other], ..ask }, always);
        assert!((hours(&with(other(true, 1.0, 3.0))) - 4.0).abs() < 0.2);
        // Half the lines as long as both have calls.
        assert!((hours(&with(other(false, 1.0, 10.0))) - 2.0).abs() < 0.2);
        assert!((hours(&with(other(false, 3.0, 10.0))) - 4.0).abs() < 0.2);
        assert_eq!(with(other(false, 3.0, 10.0)).bounds[0].0, Bound::Others);
        // A reserve is nobody else's.
        let own = Question { own: 7.0, shared: 1.0, others: &[other(true, 1.0, 100.0)], ..ask };
        assert!((hours(&estimate(&own, always)) - 1.0).abs() < 0.1);
    }

    #[test]
    fn retries_and_hours_make_it_longer_and_what_never_opens_is_left() {
        let (retry, timers) =
            (retry(r#"{"maxAttempts": 3, "noAnswerAfter": "2h", "jitter": 0}"#), Timers::default());
        let odds = Odds { reached: 0.5, failed: 0.0, missed: [0.5, 0.0, 0.0, 0.0, 0.0] };
        let twice = Question { odds, ..ask(&[70], &retry, &timers) };
        let estimate_ = estimate(&twice, always);
        assert!((estimate_.calls - 70.0 * 1.75).abs() < 1.0 && hours(&estimate_) > 4.0, "{estimate_:?}");
        assert_eq!(estimate_.bounds[0].0, Bound::Retries);
        // Open for one hour of each day.
        let daily = |_, at: Timestamp| {
            let into = at.as_second().rem_euclid(86_400);
            Some(if into < 3600 { at } else { at + SignedDuration::from_secs(86_400 - into) })
        };
        let closed = estimate(&twice, daily);
        assert_eq!(closed.days.len(), 3, "{closed:?}");
        assert_eq!(closed.bounds[0].0, Bound::Hours);
        let never = estimate(&Question { leads: &[5, 70], ..twice }, |group, at| (group == 1).then_some(at));
        assert_eq!((never.never, never.left.round(), never.finish), (5, 5.0, None));
        let none = estimate(&Question { leads: &[], ..twice }, always);
        assert_eq!((none.finish, none.begins), (None, None));
        let no_lines = estimate(&Question { lines: 0.0, ..twice }, always);
        assert_eq!((no_lines.finish, no_lines.left), (None, 70.0));
    }

    #[test]
    fn odds_are_those_of_the_calls_that_were_made() {
        let sums = Sums::default().with(Came::Reached, 40).with(Came::NoAnswer, 40).with(Came::BadNumber, 20);
        let odds = Odds::of(&sums.with(Came::Blocked, 7), 50).expect("enough");
        assert_eq!((odds.reached, odds.failed, odds.missed[0]), (0.4, 0.2, 0.4));
        assert_eq!(Odds::of(&sums, 101), None);
        let all: f64 = Odds::ASSUMED.reached + Odds::ASSUMED.missed.iter().sum::<f64>();
        assert!((all - 1.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn more_lines_are_never_longer_and_more_leads_or_longer_calls_never_shorter(
            leads in 1..400_u64, more in 0..200_u64, lines in 1..20_u32, extra in 0..20_u32, seconds in 20.0..200.0_f64,
            longer in 0.0..100.0_f64, attempts in 1..5_u32, open in 1..24_i64, other in 0.0..50_000.0_f64,
        ) {
            let retry = retry(&format!(r#"{{"maxAttempts": {attempts}, "noAnswerAfter": "1h", "jitter": 0}}"#));
            let timers = Timers::default();
            let daily = |_, at: Timestamp| {
                let into = at.as_second().rem_euclid(86_400);
                Some(if into < open * 3600 { at } else { at + SignedDuration::from_secs(86_400 - into) })
            };
            let others = [Other { id: "o".into(), ahead: false, weight: 1.0, lines: 9.0, line_seconds: other }];
            let finish = |leads: u64, lines: u32, call_seconds: f64, others: &[Other]| {
                let numbers = [leads];
                let ask = Question {
                    odds: Odds::ASSUMED, call_seconds, shared: lines.into(), lines: lines.into(), others,
                    ..ask(&numbers, &retry, &timers)
                };
                let estimate = estimate(&ask, daily);
                // What is called is called again as often as allowed, and no more.
                prop_assert!(estimate.calls <= leads as f64 * f64::from(attempts) + 1e-6);
                let capacity: f64 = estimate.days.iter().map(|day| day.capacity).sum();
                prop_assert!(estimate.calls <= capacity + 1e-6);
                Ok(estimate.finish.expect("a year is enough").as_second())
            };
            let plain = finish(leads, lines, seconds, &others)?;
            // Two steps of the walk.
            let slack = 1_800;
            prop_assert!(finish(leads, lines + extra, seconds, &others)? <= plain + slack);
            prop_assert!(finish(leads + more, lines, seconds, &others)? + slack >= plain);
            prop_assert!(finish(leads, lines, seconds + longer, &others)? + slack >= plain);
            prop_assert!(finish(leads, lines, seconds, &[])? <= plain + slack);
        }
    }
}
