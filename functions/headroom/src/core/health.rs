//! How well outbound calls are going, and how much of outbound that allows: an effective cap that falls while Vapi
//! is under strain and rises again, and a breaker for each thing that calls need.
//!
//! **The cap** moves as TCP's congestion window does: by a factor down, by a step up. It is about how much, so what
//! moves it are the answers of `POST /call` and the failures of what all campaigns share.
//!
//! | heard | then |
//! |---|---|
//! | 429, over the limit (as an answer, or as a call's end) | falls at once to [`FALL`] of what is in use |
//! | slow, 5xx, no answer; a call that Vapi or its carrier failed | falls if they are three, and three in ten |
//! | as many good answers as the cap has lines, since it moved last | rises by a step, a sixteenth of the policy's cap |
//! | nothing bad for a minute | the same |
//!
//! It falls once for all dials that were under way when it fell: they tell of the same strain. It rises once for a round
//! of answers: each of its lines was tried. So it swings by a step around what Vapi bears. It has a floor of one line,
//! and the policy's cap stands above it. The minute is there for quiet times: who dials nothing hears nothing good.
//!
//! **Slow** is an answer that took over twice the usual, and over four mean deviations more, and a quarter of a second
//! more, which nobody notices before a telephone rings. The usual moves: with one good answer a minute, and with each
//! slow one, by less. What stays slow is the usual after some ten answers.
//!
//! **A breaker** is about whether at all. It opens when, of six calls or more since its first failure, two thirds
//! have failed; a success rate of four in five in between, or ten minutes, makes them forgotten. After a delay, 15 s and
//! doubling up to 4 min, it is half-open: one call goes ahead, and two more beside it for each that went well. Three
//! good ones close it, a bad one opens it again. How many are under way is read off the ledger, so a probe that is lost
//! gives its place back with its line, or after two minutes. One that hears nothing for ten minutes counts as closed.
//!
//! A 429 and a full subscription are answers of a Vapi that is well: they move the cap and no breaker. Whom a breaker
//! stops:
//!
//! | dependency | a breaker for each | because |
//! |---|---|---|
//! | Vapi | pool | every campaign goes through it |
//! | carrier | number that calls are made from | trunks fail one by one; of Vapi's own numbers, each opens its own |
//! | model, voice, transcriber | assistant or squad | they are the assistant's; another one may have others |
//!
//! Callers are never touched by any of it: only dials ask here.
//!
//! All of it is one small item beside the ledger, written with its revision as the condition. An update that is lost to
//! another's, or with its process, is one call not counted, or one counted twice: the next ones say the same.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::breaker::{Breaker, BreakerKey, BreakerState, HealthError, Ms, Tally, Words};
use super::campaign::Spec;
use super::ended::{Dependency, Group};
use super::ids::NameCode;
use super::line::LineKey;
use super::pool::{Pool, Room, Rule};
use super::quota::next_day;
use super::timers::Timers;

/// What the cap falls to, in tenths of the lines in use.
pub const FALL: u32 = 7;
/// Steps from nothing to the policy's cap.
const STEPS: u32 = 16;
/// Troubles that make the cap fall, if they are so many tenths of the answers since the first of them.
const TROUBLES: (u32, u32) = (3, 3);
/// Breakers that are kept, the ones of the latest failures.
const MOST_BREAKERS: usize = 64;
/// What nobody notices before a telephone rings, in milliseconds.
const UNNOTICED_MS: u32 = 250;

/// What a campaign's calls need: the breakers that concern it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    number: NameCode,
    assistant: NameCode,
}

impl Needs {
    /// Those of a campaign.
    pub fn of(spec: &Spec) -> Self {
        let assistant = spec.squad_id.as_ref().or(spec.assistant_id.as_ref());
        Self {
            number: NameCode::of(&spec.phone_number_id),
            assistant: NameCode::of(assistant.map_or("", String::as_str)),
        }
    }

    /// The breaker of one of its dependencies.
    pub fn key(&self, dependency: Dependency) -> BreakerKey {
        let of = match dependency {
            Dependency::Vapi => None,
            Dependency::Carrier => Some(self.number.clone()),
            Dependency::Model | Dependency::Voice | Dependency::Transcriber => Some(self.assistant.clone()),
        };
        BreakerKey { dependency, of }
    }
}

/// What was heard of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When its line was taken: what began before something changed says nothing of how it is since.
    pub began: Timestamp,
    /// What.
    pub news: News,
}

/// The answer to a dial, or the end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The call was created, this long after it was asked for.
    Created(SignedDuration),
    /// Vapi refused it for the lead's, the campaign's or the account's sake: it is well.
    Refused,
    /// Vapi asked for fewer requests.
    Throttled,
    /// Vapi had no line left: by its answer, or by the call's end.
    OverLimit,
    /// 5xx, not to be reached, or no clear answer.
    Unanswered,
    /// The call is over, and this is why.
    Ended(String),
    /// The number has made all calls that Vapi lets it make in a day.
    UsedUp(String),
}

impl News {
    /// What the end of a call tells.
    pub fn ended(reason: &str) -> Self {
        match Group::of(reason) {
            Group::OverLimit => Self::OverLimit,
            _ => Self::Ended(reason.to_owned()),
        }
    }
}

/// How much of outbound is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Lines that outbound may hold at most, by the policy.
    pub top: u32,
    /// Lines that Headroom's own dials hold.
    pub held: u32,
}

impl Load {
    /// That of a pool.
    pub fn of(pool: &Pool) -> Self {
        Self {
            top: pool.policy.cap().min(pool.policy.limit()),
            held: pool.counts.outbound.saturating_sub(pool.counts.foreign),
        }
    }

    fn step(self) -> u32 {
        self.top.div_ceil(STEPS).max(1)
    }
}

/// Why the cap is lower than the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strain {
    /// Vapi asked for fewer requests.
    Throttled,
    /// Vapi had no line left.
    OverLimit,
    /// Its answers were slow.
    Slow,
    /// There were none, or 5xx.
    Unanswered,
    /// Calls ended for Vapi's or the carrier's failures.
    Failures,
}

impl Strain {
    const ALL: [Self; 5] = [Self::Throttled, Self::OverLimit, Self::Slow, Self::Unanswered, Self::Failures];

    /// Its name in the table, in JSON and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::OverLimit => "over_limit",
            Self::Slow => "slow",
            Self::Unanswered => "unanswered",
            Self::Failures => "failures",
        }
    }
}

/// A cap below the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowered {
    lines: u32,
    /// Since when it is below.
    since: Timestamp,
    /// When it fell last: what began before is of the same strain.
    fell: Timestamp,
    /// When it moved last, or was to fall: from here on minutes are quiet.
    moved: Timestamp,
    /// Good answers since then.
    good: u32,
    why: Strain,
}

/// How long answers of `POST /call` take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usual {
    mean: u32,
    deviation: u32,
    /// When a good answer moved it last.
    at: Timestamp,
}

impl Usual {
    fn is_slow(self, took: u32) -> bool {
        let margin = (4 * self.deviation).max(self.mean).max(UNNOTICED_MS);
        took > self.mean.saturating_add(margin)
    }

    /// After one more answer: by an eighth, by little if it was slow, or a few would be what is usual.
    fn after(self, took: u32, now: Timestamp) -> Self {
        let share = if self.is_slow(took) { 64 } else { 8 };
        let towards = |from: u32, to: u32, share: i64| {
            let (from, to) = (i64::from(from), i64::from(to));
            u32::try_from(from + (to - from) / share).unwrap_or_default()
        };
        Self {
            mean: towards(self.mean, took, share),
            deviation: towards(self.deviation, took.abs_diff(self.mean), share / 2),
            at: now,
        }
    }
}

/// How well outbound is going.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Rises with every write; 0 is not stored yet.
    pub revision: u64,
    /// The cap, while it is below the policy's.
    lowered: Option<Lowered>,
    /// Troubles that have not made it fall.
    troubles: Tally,
    usual: Option<Usual>,
    breakers: BTreeMap<BreakerKey, Breaker>,
}

impl Health {
    /// Lines that Headroom's own dials may hold at `now`: at least one, where the policy has any.
    pub fn cap(&self, load: Load, now: Timestamp, timers: &Timers) -> u32 {
        self.risen(load, now, timers).map_or(load.top, |lowered| lowered.lines.min(load.top))
    }

    /// Why it is below the policy's, and since when; nothing if it is not.
    pub fn strain(&self, load: Load, now: Timestamp, timers: &Timers) -> Option<(Strain, Timestamp)> {
        self.risen(load, now, timers).map(|lowered| (lowered.why, lowered.since))
    }

    /// The lowered cap with what quiet minutes have given back; nothing if that is all.
    fn risen(&self, load: Load, now: Timestamp, timers: &Timers) -> Option<Lowered> {
        let lowered = self.lowered?;
        let minute = timers.quiet().as_millis().max(1);
        let quiet_from = match self.breakers.get(&BreakerKey::VAPI) {
            Some(vapi) if vapi.is_forgotten(now, timers) && vapi.has_opened() => {
                lowered.moved.max(vapi.forgotten_at(timers))
            }
            // While nobody may dial, the quiet is no sign of health.
            Some(vapi) if vapi.has_opened() => now,
            _ => lowered.moved,
        };
        let minutes = (now.duration_since(quiet_from).as_millis() / minute).clamp(0, STEPS.into());
        let minutes = u32::try_from(minutes).unwrap_or_default();
        let lines = lowered.lines.saturating_add(load.step().saturating_mul(minutes));
        let moved = quiet_from + timers.quiet() * i32::try_from(minutes).unwrap_or_default();
        let moved = if minutes > 0 { moved } else { lowered.moved };
        let good = if minutes > 0 { 0 } else { lowered.good };
        (lines < load.top).then_some(Lowered { lines, moved, good, ..lowered })
    }

    /// The breakers that are not closed at `now`, and those that have failures to their names.
    pub fn breakers(&self, now: Timestamp, timers: &Timers) -> impl Iterator<Item = (&BreakerKey, &Breaker)> {
        self.breakers
            .iter()
            .filter(move |(_, breaker)| !breaker.is_forgotten(now, timers))
            .filter(|(_, breaker)| breaker.has_opened() || breaker.failures().0 > 0)
    }

    /// How the breaker of a dependency stands at `now`.
    pub fn state(&self, key: &BreakerKey, now: Timestamp, timers: &Timers) -> BreakerState {
        self.breakers.get(key).map_or(BreakerState::Closed, |breaker| breaker.state(now, timers))
    }

    /// When the last of a campaign's breakers that are open lets the next call ahead; nothing if none is.
    pub fn opens(&self, needs: &Needs, now: Timestamp, timers: &Timers) -> Option<Timestamp> {
        let until = Dependency::ALL.map(|dependency| match self.state(&needs.key(dependency), now, timers) {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        });
        until.into_iter().flatten().max()
    }

    /// How many of the lines that the pool would give a campaign at `now` it may take.
    pub fn room(&self, room: Room, pool: &Pool, needs: &Needs, now: Timestamp, timers: &Timers) -> Room {
        let mut room = room;
        let mut hold = |lines: u32, rule| {
            if lines <= room.lines {
                room = Room { lines, rule };
            }
        };
        let mut is_probing = false;
        for dependency in Dependency::ALL {
            let key = needs.key(dependency);
            match self.state(&key, now, timers) {
                BreakerState::Closed => {}
                BreakerState::Open { .. } => hold(0, Rule::Breaker),
                BreakerState::HalfOpen { since, probes } => {
                    is_probing |= dependency == Dependency::Vapi;
                    let since = since.max(now - timers.probing());
                    hold(probes.saturating_sub(under_way(pool, &key, since)), Rule::Breaker);
                }
            }
        }
        let load = Load::of(pool);
        // Lines whose dials had no answer are held for minutes: they are not in the probes' way.
        if self.lowered.is_some() && !is_probing {
            let cap = self.cap(load, now, timers);
            if cap < load.top {
                hold(cap.saturating_sub(load.held), Rule::Adaptive);
            }
        }
        room
    }

    /// After something was heard of a call; nothing if that changes nothing that is worth a write.
    #[must_use]
    pub fn after(
        &self,
        heard: &Heard,
        needs: &Needs,
        load: Load,
        now: Timestamp,
        timers: &Timers,
    ) -> Option<Self> {
        // What time alone has brought about is not written for its own sake.
        let before = self.without_forgotten(now, timers);
        let mut after = before.clone();
        after.hear(heard, needs, load, now, timers);
        while after.breakers.len() > MOST_BREAKERS {
            let oldest =
                after.breakers.iter().min_by_key(|(_, breaker)| (breaker.has_opened(), breaker.at()));
            let oldest = oldest.map(|(key, _)| key.clone()).expect("there are some");
            after.breakers.remove(&oldest);
        }
        (after != before).then_some(after)
    }

    fn without_forgotten(&self, now: Timestamp, timers: &Timers) -> Self {
        let mut kept = self.clone();
        if let Some(vapi) = kept.breakers.get(&BreakerKey::VAPI)
            && vapi.has_opened()
            && vapi.is_forgotten(now, timers)
        {
            kept.quiet_from(vapi.forgotten_at(timers));
        }
        kept.breakers.retain(|_, breaker| !breaker.is_forgotten(now, timers));
        kept
    }

    fn hear(&mut self, heard: &Heard, needs: &Needs, load: Load, now: Timestamp, timers: &Timers) {
        let began = heard.began;
        match &heard.news {
            News::Created(took) => {
                self.succeed(&BreakerKey::VAPI, began, now);
                let took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
                if self.usual.is_some_and(|usual| usual.is_slow(took)) {
                    self.usual = self.usual.map(|usual| usual.after(took, now));
                    self.trouble(Strain::Slow, began, load, now, timers);
                } else {
                    let is_due = |usual: Usual| now > usual.at + timers.quiet();
                    self.usual = match self.usual {
                        None => Some(Usual { mean: took, deviation: took / 2, at: now }),
                        Some(usual) if is_due(usual) => Some(usual.after(took, now)),
                        usual => usual,
                    };
                    self.troubles.count(true);
                    self.rise(began, load, now, timers);
                }
            }
            News::Refused => self.succeed(&BreakerKey::VAPI, began, now),
            News::Throttled => self.fall(Strain::Throttled, began, load, now, timers),
            News::OverLimit => self.fall(Strain::OverLimit, began, load, now, timers),
            News::Unanswered => {
                self.fail(&BreakerKey::VAPI, began, now, "no-answer", timers);
                self.trouble(Strain::Unanswered, began, load, now, timers);
            }
            News::Ended(reason) => {
                let failed = Dependency::of(reason);
                if let Some(dependency) = failed {
                    self.fail(&needs.key(dependency), began, now, reason, timers);
                    if matches!(dependency, Dependency::Vapi | Dependency::Carrier) {
                        self.trouble(Strain::Failures, began, load, now, timers);
                    }
                }
                for dependency in proven(reason, failed) {
                    self.succeed(&needs.key(*dependency), began, now);
                }
            }
            News::UsedUp(reason) => {
                let breaker = self.breakers.entry(needs.key(Dependency::Carrier));
                let until = now + timers.scaled(next_day(now).duration_since(now));
                breaker.or_insert_with(|| Breaker::new(now)).open_until(until, now, reason);
            }
        }
    }

    fn succeed(&mut self, key: &BreakerKey, began: Timestamp, now: Timestamp) {
        let Some(breaker) = self.breakers.get_mut(key) else { return };
        let has_closed = breaker.succeed(began, now);
        if breaker.is_blank() {
            self.breakers.remove(key);
        }
        // The minutes of quiet begin anew with a Vapi that is well.
        if has_closed && *key == BreakerKey::VAPI {
            self.troubles = Tally::default();
            self.quiet_from(now);
        }
    }

    fn quiet_from(&mut self, at: Timestamp) {
        let moved = |lowered: Lowered| Lowered { moved: at.max(lowered.moved), good: 0, ..lowered };
        self.lowered = self.lowered.map(moved);
    }

    fn fail(&mut self, key: &BreakerKey, began: Timestamp, now: Timestamp, reason: &str, timers: &Timers) {
        let breaker = self.breakers.entry(key.clone()).or_insert_with(|| Breaker::new(now));
        breaker.fail(began, now, reason, timers);
    }

    /// Something that may be chance: the cap falls if it is no exception.
    fn trouble(&mut self, why: Strain, began: Timestamp, load: Load, now: Timestamp, timers: &Timers) {
        if self.lowered.is_some_and(|lowered| began <= lowered.fell) {
            return;
        }
        self.troubles.count(false);
        let bad = self.troubles.bad;
        if bad >= TROUBLES.0 && 10 * bad >= TROUBLES.1 * self.troubles.calls() {
            self.fall(why, began, load, now, timers);
        }
    }

    fn fall(&mut self, why: Strain, began: Timestamp, load: Load, now: Timestamp, timers: &Timers) {
        if self.lowered.is_some_and(|lowered| began <= lowered.fell) || load.top == 0 {
            return;
        }
        self.troubles = Tally::default();
        let cap = self.cap(load, now, timers);
        let lines = (cap.min(load.held.max(1)) * FALL / 10).max(1);
        // With a cap of one line there is nothing to lower.
        if lines >= load.top {
            return;
        }
        let since = self.risen(load, now, timers).map_or(now, |lowered| lowered.since);
        self.lowered = Some(Lowered { lines, since, fell: now, moved: now, good: 0, why });
    }

    fn rise(&mut self, began: Timestamp, load: Load, now: Timestamp, timers: &Timers) {
        let Some(mut lowered) = self.risen(load, now, timers) else {
            self.lowered = None;
            return;
        };
        if began <= lowered.fell {
            return;
        }
        lowered.good += 1;
        if lowered.good >= lowered.lines {
            lowered.lines = lowered.lines.saturating_add(load.step());
            (lowered.good, lowered.moved) = (0, now);
        }
        self.lowered = (lowered.lines < load.top).then_some(lowered);
    }
}

/// What is well if a call ends like this, of which `failed` was not.
fn proven(reason: &str, failed: Option<Dependency>) -> &'static [Dependency] {
    use Dependency::{Carrier, Model, Transcriber, Voice};
    match (Group::of(reason), failed) {
        (Group::Reached, _) => &[Carrier, Model, Voice, Transcriber],
        // It rang, and nobody talked.
        (Group::NoAnswer(_), _) => &[Carrier],
        // Somebody was there to talk to.
        (Group::InCallFailure, Some(Model | Voice | Transcriber)) => &[Carrier],
        _ => &[],
    }
}

/// Lines that were taken since then for calls that need what the breaker is about.
fn under_way(pool: &Pool, key: &BreakerKey, since: Timestamp) -> u32 {
    let needs = |line: &LineKey| match (line, &key.of) {
        (LineKey::Observed(_), _) => false,
        (LineKey::Claim(_), None) => true,
        (LineKey::Claim(claim), Some(code)) => {
            pool.campaigns.get(&claim.campaign).is_some_and(|tally| tally.codes.contains(code))
        }
    };
    // A token's instant is rounded down to the hundredth of a second.
    let since = since - SignedDuration::from_millis(10);
    pool.lines.iter().filter(|(line, token)| needs(line) && token.since() >= since).count() as u32
}

/// Lines, since, fell, moved, good, why.
impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, since, fell, moved, good, why } = *self;
        write!(f, "{lines} {} {} {} {good} {}", Ms(since), Ms(fell), Ms(moved), why.name())
    }
}

impl FromStr for Lowered {
    type Err = HealthError;
    fn from_str(text: &str) -> Result<Self, HealthError> {
        let mut words = Words::of(text, "a lowered cap");
        let (lines, since, fell) = (words.next()?, words.instant()?, words.instant()?);
        let (moved, good, why) = (words.instant()?, words.next()?, words.word()?);
        let why = Strain::ALL.into_iter().find(|strain| strain.name() == why).ok_or(words.1)?;
        words.end(Self { lines, since, fell, moved, good, why })
    }
}

/// The parts of a health as the table keeps them, each as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The lowered cap.
    pub lowered: Option<String>,
    /// Good and bad answers since the first bad one.
    pub troubles: Option<String>,
    /// How long answers take: mean and deviation in milliseconds, and when they moved last.
    pub usual: Option<String>,
    /// The breakers.
    pub breakers: BTreeMap<String, String>,
}

impl Health {
    /// As the table keeps it.
    pub fn written(&self) -> Written {
        let Tally { good, bad } = self.troubles;
        Written {
            lowered: self.lowered.map(|lowered| lowered.to_string()),
            troubles: (bad > 0).then(|| format!("{good} {bad}")),
            usual: self.usual.map(|Usual { mean, deviation, at }| format!("{mean} {deviation} {}", Ms(at))),
            breakers: self.breakers.iter().map(|(key, one)| (key.to_string(), one.to_string())).collect(),
        }
    }

    /// What the table keeps.
    ///
    /// # Errors
    /// If a part is not as [`Health::written`] spells it.
    pub fn read(revision: u64, written: &Written) -> Result<Self, HealthError> {
        let troubles = match &written.troubles {
            Some(text) => {
                let mut words = Words::of(text, "a tally of troubles");
                let tally = Tally { good: words.next()?, bad: words.next()? };
                words.end(tally)?
            }
            None => Tally::default(),
        };
        let usual = match &written.usual {
            Some(text) => {
                let mut words = Words::of(text, "the usual time of an answer");
                let usual = Usual { mean: words.next()?, deviation: words.next()?, at: words.instant()? };
                Some(words.end(usual)?)
            }
            None => None,
        };
        let breaker = |(key, text): (&String, &String)| Ok((key.parse()?, text.parse()?));
        Ok(Self {
            revision,
            lowered: written.lowered.as_deref().map(str::parse).transpose()?,
            troubles,
            usual,
            breakers: written.breakers.iter().map(breaker).collect::<Result<_, HealthError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::ids::{CampaignCode, ClaimKey, LeadRef};
    use crate::core::line::{Kind, Token};
    use crate::core::pool::{Policy, Tally as Campaign};

    const MODEL: &str = "pipeline-error-openai-llm-failed";

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).expect("in range")
    }

    fn needs(number: &str, assistant: &str) -> Needs {
        Needs { number: NameCode::of(number), assistant: NameCode::of(assistant) }
    }

    /// A health, and the time that its news come at.
    struct Story {
        health: Health,
        load: Load,
        now: i64,
        writes: u32,
    }

    impl Story {
        fn begin(top: u32, held: u32) -> Self {
            Self { health: Health::default(), load: Load { top, held }, now: 0, writes: 0 }
        }

        fn hear_of(&mut self, needs: &Needs, news: News) {
            self.now += 100;
            let heard = Heard { began: at(self.now), news };
            let after = self.health.after(&heard, needs, self.load, at(self.now), &Timers::default());
            if let Some(after) = after {
                (self.health, self.writes) = (after, self.writes + 1);
            }
        }

        fn hear(&mut self, news: News) {
            self.hear_of(&needs("number", "assistant"), news);
        }

        fn created(&mut self, ms: i64) {
            self.hear(News::Created(SignedDuration::from_millis(ms)));
        }

        fn cap(&self) -> u32 {
            self.health.cap(self.load, at(self.now), &Timers::default())
        }

        fn state(&self, dependency: Dependency) -> &'static str {
            let key = needs("number", "assistant").key(dependency);
            self.health.state(&key, at(self.now), &Timers::default()).name()
        }
    }

    #[test]
    fn a_call_that_goes_well_is_not_written_while_all_is_well() {
        let mut story = Story::begin(10, 5);
        for _ in 0..100 {
            story.created(200);
            story.hear(News::Ended("customer-ended-call".into()));
        }
        assert_eq!((story.writes, story.cap()), (1, 10), "the usual time of an answer, once a minute");
        story.hear(News::Ended(MODEL.into()));
        (0..100).for_each(|_| story.hear(News::Ended("customer-ended-call".into())));
        assert_eq!(story.writes, 6, "a failure, and four good ones that outweigh it");
    }

    #[test]
    fn it_falls_at_once_when_vapi_says_less_and_once_for_all_dials_under_way() {
        for news in [News::Throttled, News::OverLimit] {
            let mut story = Story::begin(10, 10);
            story.hear(news.clone());
            assert_eq!(story.cap(), 7);
            // What began before it fell is of the same strain.
            let heard = Heard { began: at(0), news };
            let again = story.health.after(
                &heard,
                &needs("number", "assistant"),
                story.load,
                at(500),
                &Timers::default(),
            );
            assert_eq!(again, None);
        }
    }

    #[test]
    fn it_falls_by_what_is_in_use_to_a_floor_of_one() {
        let mut story = Story::begin(100, 10);
        let caps: Vec<u32> = (0..8)
            .map(|_| {
                story.hear(News::Throttled);
                story.load.held = story.cap();
                story.cap()
            })
            .collect();
        assert_eq!(caps, [7, 4, 2, 1, 1, 1, 1, 1]);
        let mut none = Story::begin(0, 0);
        none.hear(News::Throttled);
        assert_eq!((none.cap(), none.writes), (0, 0));
    }

    #[test]
    fn single_troubles_are_chance_and_three_in_ten_are_not() {
        let mut story = Story::begin(10, 10);
        for n in 0..60 {
            if n % 7 == 0 { story.hear(News::Unanswered) } else { story.created(200) }
        }
        assert_eq!(story.cap(), 10);
        (0..3).for_each(|_| story.hear(News::Unanswered));
        assert_eq!(story.cap(), 7);
        let mut carrier = Story::begin(10, 10);
        (0..3).for_each(|_| carrier.hear(News::ended("twilio-failed-to-connect-call")));
        assert_eq!(carrier.cap(), 7);
        let mut model = Story::begin(10, 10);
        (0..3).for_each(|_| model.hear(News::ended(MODEL)));
        assert_eq!(model.cap(), 10, "a model is its assistant's");
    }

    #[test]
    fn slow_is_slow_against_the_usual_and_the_usual_moves() {
        // Vapi's own pace is right, whatever it is.
        for usual in [50, 900, 6_000] {
            let mut story = Story::begin(100, 100);
            (0..30).for_each(|n| story.created(usual + n % 7 * usual / 30));
            assert_eq!(story.cap(), 100, "{usual} ms");
            (0..3).for_each(|_| story.created(4 * usual + 500));
            assert_eq!(story.cap(), 70, "{usual} ms");
            let slow = (0..60).filter(|_| {
                let before = story.cap();
                story.created(4 * usual + 500);
                story.cap() < before
            });
            assert!(slow.count() < 5, "what stays is the usual");
            (0..1500).for_each(|_| story.created(4 * usual + 500));
            assert_eq!(story.cap(), 100, "{usual} ms");
        }
        let mut quick = Story::begin(100, 100);
        quick.created(2);
        (0..50).for_each(|_| quick.created(240));
        assert_eq!(quick.cap(), 100, "nobody notices");
    }

    #[test]
    fn it_rises_by_a_step_for_each_round_of_good_answers() {
        let mut story = Story::begin(10, 10);
        story.hear(News::Throttled);
        let mut caps = Vec::new();
        for _ in 0..30 {
            story.created(200);
            if caps.last() != Some(&(story.cap())) {
                caps.push(story.cap());
            }
        }
        assert_eq!(caps, [7, 8, 9, 10]);
        // 7 at 7 lines, 8 at 8, 9 at 9: as many as each has.
        let mut story = Story::begin(160, 160);
        story.hear(News::Throttled);
        let answers = (0..).take_while(|_| {
            story.created(200);
            story.cap() < 122
        });
        assert_eq!((answers.count(), story.cap()), (111, 122), "a step is a sixteenth");
    }

    #[test]
    fn quiet_minutes_give_it_back_but_not_while_nobody_may_dial() {
        let timers = Timers::default();
        let mut story = Story::begin(10, 10);
        story.hear(News::Throttled);
        let later = |minutes: i64| at(story.now + minutes * 60_000);
        let caps: Vec<u32> = (0..5).map(|n| story.health.cap(story.load, later(n), &timers)).collect();
        assert_eq!(caps, [7, 8, 9, 10, 10]);
        let mut gone = Story::begin(10, 10);
        (0..6).for_each(|_| gone.hear(News::Unanswered));
        assert_eq!((gone.state(Dependency::Vapi), gone.cap()), ("open", 4));
        let cap = |ms| gone.health.cap(gone.load, at(gone.now + ms), &timers);
        assert_eq!((cap(15_000 + 600_000), cap(15_000 + 661_000)), (4, 5), "from when it is forgotten on");
    }

    /// A Vapi that bears so many calls at once, and refuses each one more: the cap comes to what it bears, and swings
    /// around it by little.
    #[test]
    fn s2_31_it_settles_around_what_vapi_bears() {
        for (top, bears) in [(10, 6), (100, 37), (100, 90), (1000, 400)] {
            let mut story = Story::begin(top, 0);
            let mut seen = Vec::new();
            let mut busy = 0;
            for round in 0..400 {
                // Each second, a tenth of the calls ends, and as many begin as the cap allows.
                busy -= u32::div_ceil(busy, 10);
                story.now += 1000;
                let before = story.cap();
                while busy < before {
                    story.load.held = busy + 1;
                    if busy < bears {
                        busy += 1;
                        story.created(200);
                    } else {
                        story.hear(News::OverLimit);
                        break;
                    }
                }
                if round >= 100 {
                    seen.push(story.cap());
                }
            }
            let mean = f64::from(seen.iter().sum::<u32>()) / seen.len() as f64;
            let step = top.div_ceil(16);
            let (low, high) = (seen.iter().min().copied(), seen.iter().max().copied());
            println!("{top} lines, {bears} borne: {low:?} to {high:?}, {mean:.1} on average");
            assert!(high <= Some(bears + step), "{top}/{bears}: {high:?}");
            assert!(low >= Some(bears * 6 / 10), "{top}/{bears}: {low:?}");
            assert!(mean >= 0.75 * f64::from(bears), "{top}/{bears}: {mean}");
        }
    }

    #[test]
    fn each_breaker_stops_whom_it_concerns() {
        let timers = Timers::default();
        let pool = Pool::new(Policy::new(10, 10, 0).expect("a policy"));
        let room = Room { lines: 5, rule: Rule::Cap };
        let cases = [
            (News::Unanswered, [0, 0, 0, 0]),
            (News::ended("twilio-failed-to-connect-call"), [0, 0, 5, 5]),
            (News::ended(MODEL), [0, 5, 0, 5]),
            (News::ended("pipeline-error-playht-request-timed-out"), [0, 5, 0, 5]),
            (News::ended("pipeline-error-gladia-transcriber-failed"), [0, 5, 0, 5]),
        ];
        for (news, expected) in cases {
            let mut story = Story::begin(100, 50);
            (0..6).for_each(|_| story.hear(news.clone()));
            let who =
                [("number", "assistant"), ("number", "other"), ("other", "assistant"), ("other", "other")];
            let lines = who.map(|(number, assistant)| {
                let needs = needs(number, assistant);
                story.health.room(room, &pool, &needs, at(story.now), &timers).lines
            });
            assert_eq!(lines, expected, "{news:?}");
        }
    }

    #[test]
    fn probes_are_counted_on_the_ledger_and_a_lost_one_is_in_the_way_for_two_minutes() {
        let timers = Timers::default();
        let mut story = Story::begin(10, 3);
        (0..6).for_each(|_| story.hear(News::Unanswered));
        let half = story.now + 15_000;
        let mut pool = Pool::new(Policy::new(10, 10, 0).expect("a policy"));
        let room = Room { lines: 5, rule: Rule::Cap };
        let who = needs("number", "assistant");
        let allowed = |pool: &Pool, ms| story.health.room(room, pool, &who, at(ms), &timers);
        assert_eq!(allowed(&pool, half - 1), Room { lines: 0, rule: Rule::Breaker });
        assert_eq!(allowed(&pool, half), Room { lines: 1, rule: Rule::Breaker });
        let code = CampaignCode::of(&"c".parse().expect("an id"));
        pool.campaigns.insert(code.clone(), Campaign::default());
        let mut take = |lead: &str, ms| {
            let lead = LeadRef::of(&lead.parse().expect("an id"));
            let claim = ClaimKey { campaign: code.clone(), lead, claim: 1 };
            pool.lines.insert(LineKey::Claim(claim), Token::new(Kind::Outbound, at(ms), 1));
            pool.clone()
        };
        let before = take("a", half - 5_000);
        assert_eq!(allowed(&before, half).lines, 1, "a call from before is no probe");
        let probing = take("b", half);
        assert_eq!(allowed(&probing, half + 1).lines, 0);
        assert_eq!(allowed(&probing, half + 120_011).lines, 1);
        let forgotten = allowed(&probing, half + 600_001);
        assert_eq!(forgotten, Room { lines: 1, rule: Rule::Adaptive }, "the cap alone holds back");
    }

    #[test]
    fn a_number_that_has_made_its_calls_of_the_day_rests_until_the_next() {
        let mut story = Story::begin(10, 3);
        story.hear(News::UsedUp("call.start.error-vapi-number-outbound-daily-limit".into()));
        let opens = |needs: &Needs| story.health.opens(needs, at(story.now), &Timers::default());
        assert_eq!(opens(&needs("number", "assistant")), Some(next_day(at(0))));
        assert_eq!(opens(&needs("other", "assistant")), None);
    }

    #[test]
    fn only_so_many_breakers_are_kept() {
        let mut story = Story::begin(10, 3);
        for n in 0..200 {
            story.hear_of(&needs("number", &format!("assistant-{n}")), News::ended(MODEL));
        }
        assert_eq!(story.health.breakers.len(), MOST_BREAKERS);
        assert!(story.health.written().breakers.values().map(String::len).sum::<usize>() < 6_000);
    }

    fn any_news() -> impl Strategy<Value = News> {
        let reason = proptest::sample::select(vec![
            "customer-ended-call",
            "customer-did-not-answer",
            "twilio-failed-to-connect-call",
            "call.in-progress.error-vapifault-worker-died",
            "call.start.error-subscription-concurrency-limit-reached",
            "pipeline-error-gladia-transcriber-failed",
            MODEL,
        ]);
        prop_oneof![
            4 => (1..60_000_i64).prop_map(|ms| News::Created(SignedDuration::from_millis(ms))),
            1 => Just(News::Refused),
            1 => Just(News::Throttled),
            1 => Just(News::OverLimit),
            2 => Just(News::Unanswered),
            4 => reason.prop_map(News::ended),
        ]
    }

    proptest! {
        #[test]
        fn the_cap_stays_within_its_bounds_and_all_is_well_again_after_half_an_hour(
            news in proptest::collection::vec((any_news(), 0..200_000_i64, 0..60_000_i64, 0..40_u32), 1..80),
            top in 0..40_u32,
        ) {
            let timers = Timers::default();
            let needs = needs("number", "assistant");
            let (mut health, mut now) = (Health::default(), 0);
            for (news, passes, age, held) in news {
                now += passes;
                let heard = Heard { began: at(now - age), news };
                let load = Load { top, held };
                let cap = health.cap(load, at(now), &timers);
                if let Some(after) = health.after(&heard, &needs, load, at(now), &timers) {
                    prop_assert_ne!(&after, &health);
                    let raised = after.cap(load, at(now), &timers).saturating_sub(cap);
                    prop_assert!(raised <= load.step(), "{} at once", raised);
                    health = after;
                }
                let cap = health.cap(load, at(now), &timers);
                prop_assert!(cap <= top && cap >= top.min(1), "{} of {}", cap, top);
                prop_assert_eq!(Health::read(health.revision, &health.written()), Ok(health.clone()));
            }
            let later = at(now + (4 + 10 + 16) * 60_000 + 1_000);
            let load = Load { top, held: 0 };
            prop_assert_eq!(health.cap(load, later, &timers), top);
            prop_assert_eq!(health.strain(load, later, &timers), None);
            prop_assert_eq!(health.breakers(later, &timers).count(), 0);
        }
    }
}
