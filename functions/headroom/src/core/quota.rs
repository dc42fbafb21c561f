//! Quotas: bounds of their own that some calls have beside the pool's: a phone number's or SIP trunk's channels, the
//! calls that it may begin in a second and in a day, an organisation's share of the lines.
//!
//! A quota knows its calls by codes, as an agent does, and one call may count in several. Outbound waits for each of
//! them. A call that is only observed is real: it counts, and is never refused for a quota's sake.
//!
//! Lines at once are counted on the ledger, as those of reserves are. Begun calls are counted in a [`Pace`], which the
//! write that takes the lines moves on; so whoever takes has the second and the day to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::ids::{IdError, NameCode, QuotaName};
use super::pool::Rule;
use super::reserve::BucketKey;

/// What bounds some calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// Most lines that they hold at once.
    pub lines: Option<NonZeroU32>,
    /// Most calls that Headroom begins in a second: that far apart are its dials.
    pub per_second: Option<NonZeroU32>,
    /// Most calls that Headroom begins in a day of the UTC calendar.
    pub per_day: Option<NonZeroU32>,
    /// By which phone numbers, organisations, assistants or squads it knows them besides its name.
    pub members: BTreeSet<NameCode>,
}

impl Quota {
    /// Whether it bounds anything.
    pub fn is_empty(&self) -> bool {
        self.lines.or(self.per_second).or(self.per_day).is_none()
    }

    /// Whether the calls that begin are counted, besides the lines held.
    pub fn is_paced(&self) -> bool {
        self.per_second.or(self.per_day).is_some()
    }

    /// How far apart two of its dials are at least.
    fn apart(&self) -> Option<SignedDuration> {
        self.per_second.map(|rate| SignedDuration::from_millis(i64::from(1000 / rate.get())))
    }

    /// How many dials may be begun at `now` at `pace`, and the rule that allows no more.
    pub(super) fn slots(&self, pace: Pace, now: Timestamp) -> [(Rule, u32); 2] {
        let today = self.per_day.map_or(u32::MAX, |most| most.get().saturating_sub(pace.dialed_on(day(now))));
        let soon = self.per_second.map_or(u32::MAX, |rate| {
            let free = (now + AHEAD).duration_since(pace.next.max(now)).as_millis().max(0) as u64;
            u32::try_from((free * u64::from(rate.get())).div_ceil(1000)).unwrap_or(u32::MAX)
        });
        [(Rule::Daily, today), (Rule::Pace, soon)]
    }
}

/// Dials are begun this far ahead at most, each at its own instant: a dispatcher that is woken every second or two
/// keeps up with any rate, and no line waits for longer.
const AHEAD: SignedDuration = SignedDuration::from_secs(2);

fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(86_400)
}

/// When a day's calls may be begun anew.
pub fn next_day(now: Timestamp) -> Timestamp {
    Timestamp::from_second((day(now) + 1) * 86_400).unwrap_or(Timestamp::MAX)
}

/// As the table and the change log spell it: three numbers or `-`, then the members' codes.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, bound) in [self.lines, self.per_second, self.per_day].into_iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " " })?;
            match bound {
                Some(bound) => write!(f, "{bound}")?,
                None => f.write_str("-")?,
            }
        }
        self.members.iter().try_for_each(|member| write!(f, " {}", member.as_str()))
    }
}

impl FromStr for Quota {
    type Err = QuotaError;
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let mut words = text.split(' ');
        let mut bound = || match words.next() {
            Some("-") => Ok(None),
            word => word
                .and_then(|word| word.parse().ok())
                .map(Some)
                .ok_or(QuotaError::Text("a quota begins with three numbers or -")),
        };
        let (lines, per_second, per_day) = (bound()?, bound()?, bound()?);
        let members = words.map(str::parse).collect::<Result<_, IdError>>();
        let members = members.map_err(|_| QuotaError::Text("a quota ends with codes"))?;
        Ok(Self { lines, per_second, per_day, members })
    }
}

/// Why quotas cannot be as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Two names have one code.
    #[error("{one} and {other} have one code: rename one of the two quotas")]
    Ambiguous {
        /// One of the two.
        one: QuotaName,
        /// The other.
        other: QuotaName,
    },
    /// A text that is none.
    #[error("{0}")]
    Text(&'static str),
}

/// How far a paced quota has come: the calls begun in a day, and when the next may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    day: i64,
    dialed: u32,
    next: Timestamp,
}

impl Default for Pace {
    fn default() -> Self {
        Self { day: 0, dialed: 0, next: Timestamp::UNIX_EPOCH }
    }
}

impl Pace {
    fn dialed_on(self, day: i64) -> u32 {
        if self.day == day { self.dialed } else { 0 }
    }

    /// Calls begun today.
    pub fn dialed_today(self, now: Timestamp) -> u32 {
        self.dialed_on(day(now))
    }

    /// Whether the next may begin after `now` only.
    pub(super) fn is_ahead(self, now: Timestamp) -> bool {
        self.next > now
    }

    /// Both together, of one quota in two items of the ledger: the later day's calls, and when the next may begin.
    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        let day = self.day.max(other.day);
        let dialed = self.dialed_on(day).saturating_add(other.dialed_on(day));
        Self { day, dialed, next: self.next.max(other.next) }
    }

    /// After `dials` more are begun at `now`, one after the other at the quota's rate.
    #[must_use]
    pub fn after(self, quota: &Quota, dials: u32, now: Timestamp) -> Self {
        let today = day(now);
        Self {
            day: today,
            dialed: self.dialed_on(today).saturating_add(dials),
            next: quota.per_second.map_or(Timestamp::UNIX_EPOCH, |rate| self.start(rate, dials, now)),
        }
    }

    /// When the `nth` of dials begun at `now` may be made, from 0.
    fn start(self, rate: NonZeroU32, nth: u32, now: Timestamp) -> Timestamp {
        // To the millisecond, as the table keeps it.
        let from = self.next.max(now).as_millisecond();
        let after = (u64::from(nth) * 1000).div_ceil(u64::from(rate.get()));
        Timestamp::from_millisecond(from + after as i64).unwrap_or(now)
    }

    /// Without one that was begun at `since`, and then surely not made. It does not count for the day; its instant
    /// is gone.
    #[must_use]
    pub fn without_one(self, since: Timestamp) -> Self {
        let dialed = if self.day == day(since) { self.dialed.saturating_sub(1) } else { self.dialed };
        Self { dialed, ..self }
    }
}

/// As the table spells it: the day since 1970, the calls begun in it, the next instant in epoch milliseconds.
impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.day, self.dialed, self.next.as_millisecond())
    }
}

impl FromStr for Pace {
    type Err = QuotaError;
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let mut words = text.split(' ');
        let pace = (|| {
            let (day, dialed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let next = Timestamp::from_millisecond(words.next()?.parse().ok()?).ok()?;
            words.next().is_none().then_some(Self { day, dialed, next })
        })();
        pace.ok_or(QuotaError::Text("a pace is a day, a number of calls and an instant"))
    }
}

/// The quotas of a pool, by name. None is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas(BTreeMap<QuotaName, Quota>);

impl Quotas {
    /// Quotas from anywhere, empty ones left out.
    ///
    /// # Errors
    /// If two names have one code.
    pub fn new(quotas: impl IntoIterator<Item = (QuotaName, Quota)>) -> Result<Self, QuotaError> {
        let quotas: BTreeMap<_, _> = quotas.into_iter().filter(|(_, quota)| !quota.is_empty()).collect();
        let mut known: BTreeMap<NameCode, &QuotaName> = BTreeMap::new();
        for name in quotas.keys() {
            if let Some(other) = known.insert(name.code(), name) {
                return Err(QuotaError::Ambiguous { one: other.clone(), other: name.clone() });
            }
        }
        Ok(Self(quotas))
    }

    /// The same with another quota of this name; one that bounds nothing takes it out.
    ///
    /// # Errors
    /// If two names would have one code.
    pub fn with(&self, name: QuotaName, quota: Quota) -> Result<Self, QuotaError> {
        let mut quotas = self.0.clone();
        quotas.insert(name, quota);
        Self::new(quotas)
    }

    /// The quotas, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaName, &Quota)> {
        self.0.iter()
    }

    /// One quota.
    pub fn get(&self, name: &QuotaName) -> Option<&Quota> {
        self.0.get(name)
    }

    /// The quotas that calls known by these codes count in.
    pub fn of<'a>(&'a self, codes: &'a [NameCode]) -> impl Iterator<Item = (&'a QuotaName, &'a Quota)> {
        self.0.iter().filter(move |(name, quota)| {
            codes.iter().any(|code| quota.members.contains(code) || name.code() == *code)
        })
    }

    /// Where the ledger counts the lines of calls known by these codes.
    pub fn keys<'a>(&'a self, codes: &'a [NameCode]) -> impl Iterator<Item = BucketKey> + 'a {
        self.of(codes).map(|(name, _)| BucketKey::quota(name))
    }
}

/// How many dials quotas allow a call known by their codes, each with the lines that it holds now and its pace.
pub(super) fn room<'a>(
    quotas: impl Iterator<Item = (&'a Quota, u32, Pace)>,
    now: Timestamp,
) -> impl Iterator<Item = (Rule, u32)> {
    quotas.flat_map(move |(quota, held, pace)| {
        let lines = quota.lines.map_or(u32::MAX, |most| most.get().saturating_sub(held));
        quota.slots(pace, now).into_iter().chain([(Rule::Quota, lines)])
    })
}

/// When each of `dials` dials begun at `now` is to be made, so that every one of these quotas is kept.
/// None is before its slot in any of them, and they are as far apart as the slowest asks.
pub(super) fn starts(quotas: &[(Quota, Pace)], dials: u32, now: Timestamp) -> Vec<Timestamp> {
    let apart = quotas.iter().filter_map(|(quota, _)| quota.apart()).max().unwrap_or_default();
    let mut starts: Vec<Timestamp> = Vec::new();
    for nth in 0..dials {
        let slots = quotas.iter().filter_map(|(quota, pace)| Some(pace.start(quota.per_second?, nth, now)));
        let behind = starts.last().map(|last| *last + apart);
        starts.push(slots.chain(behind).max().unwrap_or(now));
    }
    starts
}

/// How far each of these quotas has come after such dials. The slowest keeps its distance from the last of them; in the
/// others they count, and nobody else waits until a slow trunk's dials are made.
pub(super) fn after(quotas: &[(Quota, Pace)], starts: &[Timestamp], now: Timestamp) -> Vec<Pace> {
    let slowest = quotas.iter().filter_map(|(quota, _)| quota.apart()).max();
    let after = |(quota, pace): &(Quota, Pace)| {
        let after = pace.after(quota, starts.len() as u32, now);
        match (starts.last(), quota.apart().filter(|apart| Some(*apart) == slowest)) {
            (Some(last), Some(apart)) => Pace { next: after.next.max(*last + apart), ..after },
            _ => after,
        }
    };
    quotas.iter().map(after).collect()
}

/// When it is worth looking again for dials that wait for a rate: by then a second's worth may be begun.
pub(super) fn opens(quotas: &[(Quota, Pace)]) -> Option<Timestamp> {
    let rated = quotas.iter().filter(|(quota, _)| quota.per_second.is_some());
    rated.map(|(_, pace)| pace.next - AHEAD / 2).max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("in range")
    }

    fn some(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    #[test]
    fn a_call_may_count_in_several_quotas_and_an_empty_one_is_none() {
        let name = |text: &str| text.parse::<QuotaName>().expect("a name");
        let code = NameCode::of("number");
        let one = Quota { lines: some(3), members: [code.clone()].into(), ..Quota::default() };
        let quotas = Quotas::default().with(name("trunk"), one.clone()).expect("one");
        let quotas = quotas.with(name("org"), Quota { per_day: some(9), ..one }).expect("two");
        assert_eq!(quotas.of(std::slice::from_ref(&code)).count(), 2);
        assert_eq!(quotas.of(&[name("org").code()]).count(), 1);
        assert_eq!(quotas.of(&[]).count(), 0);
        assert_eq!(quotas.with(name("org"), Quota::default()).expect("one again").iter().count(), 1);
    }

    #[test]
    fn a_day_begins_anew_at_midnight_utc() {
        let quota = Quota { per_day: some(3), ..Quota::default() };
        let night = at(86_400_000 * 20_000 - 1);
        let pace = Pace::default().after(&quota, 2, night);
        assert_eq!(quota.slots(pace, night)[0], (Rule::Daily, 1));
        assert_eq!(quota.slots(pace.without_one(night), night)[0], (Rule::Daily, 2));
        let day = at(86_400_000 * 20_000);
        assert_eq!(quota.slots(pace, day)[0], (Rule::Daily, 3));
        assert_eq!(
            quota.slots(pace.without_one(day), night)[0],
            (Rule::Daily, 1),
            "another day's is not ours"
        );
    }

    proptest! {
        #[test]
        fn dials_are_never_closer_than_their_rate(rate in 1_u32..40, waits in proptest::collection::vec(0_i64..1500, 1..40),
                                                  asked in 1_u32..80) {
            let quota = Quota { per_second: some(rate), ..Quota::default() };
            let (mut now, mut pace, mut made) = (at(1_800_000_000_000), Pace::default(), Vec::new());
            for wait in waits {
                now += SignedDuration::from_millis(wait);
                let dials = quota.slots(pace, now)[1].1.min(asked);
                let paced = [(quota.clone(), pace)];
                let starts = starts(&paced, dials, now);
                prop_assert_eq!(after(&paced, &starts, now), [pace.after(&quota, dials, now)]);
                prop_assert!(starts.iter().all(|start| (now..=now + AHEAD).contains(start)));
                made.extend(starts);
                pace = pace.after(&quota, dials, now);
            }
            // The millisecond that the table keeps is the only give.
            let apart = i64::from(1000 / rate);
            prop_assert!(made.windows(2).all(|two| two[1].as_millisecond() - two[0].as_millisecond() >= apart));
        }

        #[test]
        fn of_two_rates_the_slower_is_kept_to_the_letter(slow in 1_u32..9, fast in 9_u32..40,
                                                          turns in proptest::collection::vec((0_i64..1500, 0_u32..3, 1_u32..20), 1..30)) {
            let quota = |rate| Quota { per_second: some(rate), ..Quota::default() };
            let (slow_one, fast_one) = (quota(slow), quota(fast));
            let (mut now, mut own, mut all) = (at(1_800_000_000_000), Pace::default(), Pace::default());
            let (mut made, mut everybodys) = (Vec::new(), Vec::new());
            for (wait, others, asked) in turns {
                now += SignedDuration::from_millis(wait);
                // Calls of others, which are paced by the fast one alone.
                let others = fast_one.slots(all, now)[1].1.min(others);
                everybodys.extend(starts(&[(fast_one.clone(), all)], others, now));
                all = all.after(&fast_one, others, now);
                let dials = fast_one.slots(all, now)[1].1.min(slow_one.slots(own, now)[1].1).min(asked);
                let paced = [(fast_one.clone(), all), (slow_one.clone(), own)];
                let starts = starts(&paced, dials, now);
                let next = after(&paced, &starts, now);
                (all, own) = (next[0], next[1]);
                made.extend(starts);
            }
            prop_assert!(made.windows(2).all(|two| two[1].as_millisecond() - two[0].as_millisecond() >= i64::from(1000 / slow)));
            // Each counts in the fast one; made late, they may be close for as long as dials are begun ahead.
            everybodys.extend(made);
            everybodys.sort();
            let most = |ms: i64| (ms * i64::from(fast)) / 1000 + 2;
            for (nth, from) in everybodys.iter().enumerate() {
                for (more, to) in everybodys[nth..].iter().enumerate() {
                    let span = to.as_millisecond() - from.as_millisecond() + 3 * AHEAD.as_millis() as i64;
                    prop_assert!(more as i64 <= most(span), "{more} in {span} ms");
                }
            }
        }

        #[test]
        fn at_rest_a_whole_second_and_more_may_be_begun(rate in 1_u32..1000) {
            let quota = Quota { per_second: some(rate), ..Quota::default() };
            prop_assert_eq!(quota.slots(Pace::default(), at(1_800_000_000_000))[1].1, rate * 2);
        }

        #[test]
        fn quotas_and_paces_survive_their_text_form(lines: u32, per_second: u32, per_day: u32, ms in 0_i64..4_000_000_000_000,
                                                    members in proptest::collection::btree_set("[a-z]{1,9}", 0..4)) {
            let members = members.iter().map(|member| NameCode::of(member)).collect();
            let quota =
                Quota { lines: some(lines), per_second: some(per_second), per_day: some(per_day), members };
            prop_assert_eq!(quota.to_string().parse::<Quota>(), Ok(quota.clone()));
            let pace = Pace::default().after(&quota, lines, at(ms));
            prop_assert_eq!(pace.to_string().parse::<Pace>(), Ok(pace));
        }

        #[test]
        fn no_text_panics_the_parsers(text in "\\PC{0,40}") {
            let _ = (text.parse::<Quota>(), text.parse::<Pace>());
        }
    }
}
