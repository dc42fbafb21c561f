//! Which call goes next: whose campaign, and which of its leads.
//!
//! **Among campaigns.** A plan says how many lines each of them should get now, of those that there are:
//!
//! 1. what a campaign is guaranteed (its `share` of the lines that outbound may use), whatever its priority;
//! 2. then strictly by priority: all that the higher ones can use, before a lower one gets a line;
//! 3. among equals by weight: each its part of the lines that they hold and may take together, no more than it can
//!    use, what one leaves going to the others (weighted max-min).
//!
//! A part is rarely a whole number of lines. Rounded down it is each one's own; who gets the lines that are over is
//! whom the past owes the most: the line-time that each has had for its weight decides. So one line goes round among
//! ten campaigns, and over time everybody has their part, however few the lines are. What the past owes is bounded
//! ([`OWED`]): who had nothing to call for a day does not stop the others for another.
//!
//! Several dispatchers plan on readings of their own. What they take is conditioned on the ledger, so they take no
//! more than there is; what one took too much for a campaign, the next plan leaves out.
//!
//! **Within a campaign.** Leads wait in [`Lane`]s, each in the order of its leads' times, and the first lane first. People
//! who are promised a call ([`super::callback`]) have the first lane of all, and while some of them are due, their campaign
//! contends a second time, for their lines alone and in a class of its own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::campaign::Priority;
use super::ids::CampaignCode;
use super::reserve::BucketKey;

/// Where in its campaign's queue a lead stands. Ordered: the first is called first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// People who are promised a call. No message asks for it.
    #[serde(skip_deserializing)]
    Callback,
    /// Warm leads.
    High,
    /// The default.
    #[default]
    Normal,
}

/// The lanes that a campaign's leads may stand in, so that nobody asks for one that was never used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lanes {
    /// Whether any of its leads was ever promised a call.
    pub callback: bool,
    /// Whether it has, or had, leads of high priority.
    pub high: bool,
    /// Whether those of all others are left out.
    no_others: bool,
}

impl Lanes {
    /// That of people who are promised a call, alone.
    pub const CALLBACK: Self = Self { callback: true, high: false, no_others: true };

    /// The lanes of a campaign that has, or had, leads in these besides the ordinary one.
    pub fn new(callback: bool, high: bool) -> Self {
        Self { callback, high, no_others: false }
    }

    /// They, in the order in which they are served.
    pub fn iter(self) -> impl Iterator<Item = Lane> {
        let callback = self.callback.then_some(Lane::Callback);
        let ordinary = (!self.no_others).then_some(Lane::Normal);
        callback.into_iter().chain(self.high.then_some(Lane::High)).chain(ordinary)
    }

    /// The same without those who are promised a call.
    #[must_use]
    pub fn ordinary(self) -> Self {
        Self { callback: false, ..self }
    }
}

/// How much of the lines a campaign has beside one of weight 1: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Weight(NonZeroU32);

impl Weight {
    /// The weight as a number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Whether nobody asked for another.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

impl TryFrom<u32> for Weight {
    type Error = &'static str;
    fn try_from(weight: u32) -> Result<Self, Self::Error> {
        let weight = NonZeroU32::new(weight).filter(|weight| weight.get() <= 1000);
        weight.map(Self).ok_or("a weight is 1 to 1000")
    }
}

/// The part of the lines that outbound may use which a campaign is guaranteed: more than 0, up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    per_mille: u32,
}

impl Share {
    /// In thousandths.
    pub fn per_mille(self) -> u32 {
        self.per_mille
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.per_mille) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let per_mille = (f64::deserialize(deserializer)? * 1000.0).round();
        if (1.0..=1000.0).contains(&per_mille) {
            Ok(Self { per_mille: per_mille as u32 })
        } else {
            Err(serde::de::Error::custom("a share is more than 0 and at most 1"))
        }
    }
}

/// A campaign that may want lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// Which one.
    pub code: CampaignCode,
    /// When it was taken in: who is older goes first where all else is equal.
    pub created: Timestamp,
    /// Who goes first.
    pub priority: Priority,
    /// Its weight among equals.
    pub weight: Weight,
    /// What it is guaranteed.
    pub share: Option<Share>,
    /// Lines that it holds.
    pub held: u32,
    /// Line-time that it has had so far.
    pub served: SignedDuration,
    /// Lines that it may take besides, as far as its own bounds go; 0 if it has nobody to call.
    pub most: u32,
    /// The reserve that its next lines come from; else from the shared ones.
    pub reserve: Option<BucketKey>,
}

impl Contender {
    fn weight(&self) -> u64 {
        u64::from(self.weight.get())
    }

    /// Line-time for each unit of weight.
    fn had(&self) -> f64 {
        self.served.as_millis_f64() / f64::from(self.weight.get())
    }
}

/// The lines that may be taken now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// By outbound, in all.
    pub total: u32,
    /// Among the shared ones.
    pub shared: u32,
    /// In each reserve.
    pub reserves: BTreeMap<BucketKey, u32>,
    /// Lines that outbound holds already. With `total` they are what shares are parts of.
    pub outbound: u32,
}

impl Lines {
    /// No more of each than `most` has.
    #[must_use]
    pub fn at_most(mut self, most: &Self) -> Self {
        (self.total, self.shared) = (self.total.min(most.total), self.shared.min(most.shared));
        for (key, lines) in &mut self.reserves {
            *lines = (*lines).min(most.reserves.get(key).copied().unwrap_or_default());
        }
        self
    }

    /// Without lines that were taken, from a reserve or from the shared ones.
    pub fn take(&mut self, reserve: Option<&BucketKey>, lines: u32) {
        self.total = self.total.saturating_sub(lines);
        let source = reserve.and_then(|key| self.reserves.get_mut(key)).unwrap_or(&mut self.shared);
        *source = source.saturating_sub(lines);
    }

    fn left_for(&self, contender: &Contender) -> u32 {
        let of_source = match &contender.reserve {
            Some(key) => self.reserves.get(key).copied().unwrap_or_default(),
            None => self.shared,
        };
        of_source.min(self.total)
    }
}

/// The most that the past owes anybody, in line-time: some calls' worth, to even out what cannot be divided.
pub const OWED: SignedDuration = SignedDuration::from_mins(15);

/// Lines that one plan deals out at most; the next one goes on from there.
const MOST: u32 = 1000;

/// How many lines each should get now: a place in `contenders` and a number above 0, in the order in which they are
/// to be served. The order of `contenders` makes no difference.
pub fn plan(contenders: &[Contender], lines: &Lines) -> Vec<(usize, u32)> {
    let mut plan = Plan {
        contenders,
        guaranteed: guaranteed(contenders, lines),
        lines: Lines { total: lines.total.min(MOST), ..lines.clone() },
        given: vec![0; contenders.len()],
        order: Vec::new(),
    };
    let levels: std::collections::BTreeSet<Priority> =
        contenders.iter().map(|contender| contender.priority).collect();
    for level in &levels {
        plan.serve_guaranteed(*level);
    }
    for level in &levels {
        plan.serve_level(*level);
    }
    plan.order.iter().map(|place| (*place, plan.given[*place])).collect()
}

/// The line-time that a campaign is to count as having had when it takes lines: what it had, but for what the past
/// would owe it beyond [`OWED`]. Nothing if that is what it had.
pub fn lifted(contenders: &[Contender], contender: &Contender) -> Option<SignedDuration> {
    let equals = contenders.iter().filter(|other| other.priority == contender.priority);
    let least = least(equals, contender);
    (contender.served < least).then_some(least)
}

/// What a contender counts as having had at least: as much as the one that had the most of its equals, among those
/// under way, for its weight; less what it may be owed.
fn least<'a>(equals: impl Iterator<Item = &'a Contender>, contender: &Contender) -> SignedDuration {
    let most = equals.filter(|other| other.held > 0).map(Contender::had).fold(0.0, f64::max);
    let ms = (most * f64::from(contender.weight.get())).min(1e15) as i64;
    SignedDuration::from_millis(ms) - OWED
}

/// The lines that each is guaranteed, rounded to whole ones. Shares of more than 1 together are scaled down to 1.
fn guaranteed(contenders: &[Contender], lines: &Lines) -> Vec<u32> {
    let share = |contender: &Contender| u64::from(contender.share.map_or(0, Share::per_mille));
    let whole = contenders.iter().map(share).sum::<u64>().max(1000);
    let all = u64::from(lines.outbound) + u64::from(lines.total);
    let part = |contender| (2 * share(contender) * all + whole) / (2 * whole);
    contenders.iter().map(|contender| u32::try_from(part(contender)).unwrap_or(u32::MAX)).collect()
}

struct Plan<'a> {
    contenders: &'a [Contender],
    guaranteed: Vec<u32>,
    lines: Lines,
    given: Vec<u32>,
    order: Vec<usize>,
}

/// A contender's part of the lines of its level: so many whole ones, and perhaps a piece of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Part {
    whole: u32,
    has_piece: bool,
}

/// Who is served before whom, within a level. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Need {
    /// Has less than its whole lines: so many, with the next one, for each unit of weight.
    Whole(f64),
    /// Has a piece of the next line: the line-time that it had for each unit of weight.
    Piece(f64),
    /// Has its part, and there are lines that nobody else can use.
    Beyond(f64),
}

impl Plan<'_> {
    fn may_get(&self, place: usize) -> u32 {
        let contender = &self.contenders[place];
        (contender.most - self.given[place]).min(self.lines.left_for(contender))
    }

    fn give(&mut self, place: usize, lines: u32) {
        self.lines.take(self.contenders[place].reserve.as_ref(), lines);
        if self.given[place] == 0 {
            self.order.push(place);
        }
        self.given[place] += lines;
    }

    fn has(&self, place: usize) -> u32 {
        self.contenders[place].held + self.given[place]
    }

    /// Those of a level, the oldest first.
    fn level(&self, level: Priority) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.contenders.len()).collect();
        places.retain(|place| self.contenders[*place].priority == level);
        places.sort_by_key(|place| (self.contenders[*place].created, &self.contenders[*place].code));
        places
    }

    fn serve_guaranteed(&mut self, level: Priority) {
        for place in self.level(level) {
            let lines = self.guaranteed[place].saturating_sub(self.has(place)).min(self.may_get(place));
            if lines > 0 {
                self.give(place, lines);
            }
        }
    }

    fn serve_level(&mut self, level: Priority) {
        let places = self.level(level);
        let has = places.iter().map(|place| u64::from(self.has(*place))).sum::<u64>();
        let wanted = |place: &usize| {
            let contender = &self.contenders[*place];
            (contender.weight(), u64::from(self.has(*place)) + u64::from(contender.most - self.given[*place]))
        };
        let wanted: Vec<_> = places.iter().map(wanted).collect();
        let parts = parts(has + u64::from(self.lines.total), &wanted);
        let equals = || places.iter().map(|place| &self.contenders[*place]);
        let had = |place: &usize| {
            let contender = &self.contenders[*place];
            let served = contender.served.max(least(equals(), contender));
            served.as_millis_f64() / f64::from(contender.weight.get())
        };
        let had: Vec<f64> = places.iter().map(had).collect();
        loop {
            let need = |(nth, place): (usize, &usize)| {
                let has = self.has(*place);
                let next = f64::from(has + 1) / f64::from(self.contenders[*place].weight.get());
                let need = if has < parts[nth].whole {
                    Need::Whole(next)
                } else if has == parts[nth].whole && parts[nth].has_piece {
                    Need::Piece(had[nth])
                } else {
                    Need::Beyond(next)
                };
                (*place, need)
            };
            let may = places.iter().enumerate().filter(|(_, place)| self.may_get(**place) > 0);
            // The first of those whose need is the greatest: they stand by age.
            let next = may.map(need).reduce(|best, other| if other.1 < best.1 { other } else { best });
            let Some((place, _)) = next else { return };
            self.give(place, 1);
        }
    }
}

/// Divides `lines` by weight among those who want so many each: no one gets more than that, and what one leaves goes
/// to the others.
fn parts(lines: u64, wanted: &[(u64, u64)]) -> Vec<Part> {
    let mut parts = vec![None; wanted.len()];
    let (mut left, mut weights) = (lines, wanted.iter().map(|(weight, _)| weight).sum::<u64>());
    loop {
        let is_content = |(nth, (weight, most)): &(usize, &(u64, u64))| {
            parts[*nth].is_none()
                && u128::from(*most) * u128::from(weights) <= u128::from(left) * u128::from(*weight)
        };
        let content: Vec<(usize, u64, u64)> = wanted
            .iter()
            .enumerate()
            .filter(is_content)
            .map(|(nth, (weight, most))| (nth, *weight, *most))
            .collect();
        if content.is_empty() {
            break;
        }
        for (nth, weight, most) in content {
            parts[nth] = Some(Part { whole: u32::try_from(most).unwrap_or(u32::MAX), has_piece: false });
            (left, weights) = (left - most, weights - weight);
        }
    }
    let divided = |(part, (weight, _)): (Option<Part>, &(u64, u64))| {
        part.unwrap_or_else(|| Part {
            whole: u32::try_from(left * weight / weights).unwrap_or(u32::MAX),
            has_piece: left * weight % weights > 0,
        })
    };
    parts.into_iter().zip(wanted).map(divided).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::ids::{AgentName, NameCode};
    use crate::core::reserve::{Reserve, Reserves};

    fn code(nth: usize) -> CampaignCode {
        CampaignCode::of(&format!("c{nth}").parse().expect("an id"))
    }

    fn contender(nth: usize, priority: Priority, weight: u32, held: u32, most: u32) -> Contender {
        Contender {
            code: code(nth),
            created: Timestamp::UNIX_EPOCH,
            priority,
            weight: weight.try_into().expect("a weight"),
            share: None,
            held,
            served: SignedDuration::ZERO,
            most,
            reserve: None,
        }
    }

    fn lines(total: u32, outbound: u32) -> Lines {
        Lines { total, shared: total, reserves: BTreeMap::new(), outbound }
    }

    /// What each of them gets, in their order.
    fn given(contenders: &[Contender], lines: &Lines) -> Vec<u32> {
        let mut given = vec![0; contenders.len()];
        plan(contenders, lines).into_iter().for_each(|(place, lines)| given[place] = lines);
        given
    }

    fn share(per_mille: u32) -> Option<Share> {
        Some(Share { per_mille })
    }

    fn minutes(minutes: i64) -> SignedDuration {
        SignedDuration::from_mins(minutes)
    }

    #[test]
    fn equals_share_by_weight_and_what_one_leaves_goes_to_the_others() {
        use Priority::Normal;
        let all = |most: [u32; 3]| -> Vec<Contender> {
            (0..3).map(|nth| contender(nth, Normal, [3, 2, 1][nth], 0, most[nth])).collect()
        };
        assert_eq!(given(&all([99, 99, 99]), &lines(12, 0)), [6, 4, 2]);
        assert_eq!(
            given(&all([2, 99, 99]), &lines(12, 0)),
            [2, 6, 4],
            "10 lines over: 6 and 3 of them whole, and the one in pieces goes by what each has had, age and code"
        );
        assert_eq!(given(&all([0, 0, 99]), &lines(12, 0)), [0, 0, 12]);
        // Lines that are held count: who has too many waits.
        let held = [contender(0, Normal, 1, 9, 99), contender(1, Normal, 1, 0, 99)];
        assert_eq!(given(&held, &lines(3, 9)), [0, 3]);
    }

    #[test]
    fn the_higher_goes_first_and_a_share_is_kept_for_the_lower() {
        use Priority::{Emergency, Low, Normal};
        let mut all =
            [contender(0, Low, 9, 0, 99), contender(1, Normal, 1, 0, 99), contender(2, Emergency, 1, 0, 4)];
        assert_eq!(given(&all, &lines(10, 0)), [0, 6, 4]);
        assert_eq!(plan(&all, &lines(1, 9)), [(2, 1)]);
        all[0].share = share(250);
        assert_eq!(given(&all, &lines(10, 0)), [3, 3, 4], "a quarter of 10, rounded");
        assert_eq!(plan(&all, &lines(10, 0))[0], (0, 3), "and first");
        all[0].held = 3;
        assert_eq!(given(&all, &lines(7, 3)), [0, 3, 4]);
    }

    #[test]
    fn shares_of_more_than_all_are_scaled_down() {
        let all: Vec<Contender> = (0..2)
            .map(|nth| Contender { share: share(1000), ..contender(nth, Priority::Normal, 1, 0, 99) })
            .collect();
        assert_eq!(given(&all, &lines(10, 0)), [5, 5]);
    }

    #[test]
    fn a_line_that_cannot_be_divided_goes_to_whom_the_past_owes_it() {
        let mut all = [contender(0, Priority::Normal, 1, 0, 9), contender(1, Priority::Normal, 1, 0, 9)];
        all[0].served = minutes(5);
        assert_eq!(given(&all, &lines(1, 0)), [0, 1]);
        all[1].served = minutes(6);
        assert_eq!(given(&all, &lines(1, 0)), [1, 0]);
        // By weight: an hour at weight 3 is less than half an hour at weight 1.
        let mut all = [contender(0, Priority::Normal, 3, 0, 9), contender(1, Priority::Normal, 1, 0, 9)];
        (all[0].served, all[1].served) = (minutes(60), minutes(30));
        assert_eq!(given(&all, &lines(1, 0)), [1, 0]);
    }

    #[test]
    fn what_the_past_owes_is_bounded() {
        let old = Contender { served: minutes(600), ..contender(0, Priority::Normal, 1, 2, 9) };
        let new = contender(1, Priority::Normal, 2, 0, 9);
        let all = [old, new];
        assert_eq!(lifted(&all, &all[1]), Some(minutes(1185)));
        assert_eq!(lifted(&all, &all[0]), None);
        let higher = Contender { priority: Priority::High, ..all[1].clone() };
        assert_eq!(lifted(&[all[0].clone(), higher.clone()], &higher), None, "only equals are compared");
    }

    #[test]
    fn one_that_waits_for_a_full_reserve_takes_nothing_from_the_others_and_an_idle_one_is_used() {
        let agent: AgentName = "sales".parse().expect("a name");
        let reserve = Reserve { outbound: 3, ..Reserve::default() };
        let reserves = Reserves::new([(agent.clone(), reserve)]).expect("one");
        let bucket = reserves
            .bucket(&[NameCode::of("sales")], crate::core::line::Kind::Outbound)
            .expect("it has lines");
        let own = Contender { reserve: Some(bucket.key.clone()), ..contender(0, Priority::Low, 1, 0, 9) };
        let other = contender(1, Priority::High, 1, 0, 9);
        let some = Lines { total: 5, shared: 2, reserves: [(bucket.key, 3)].into(), outbound: 0 };
        assert_eq!(given(&[own, other], &some), [3, 2]);
    }

    fn some_contenders() -> impl Strategy<Value = Vec<Contender>> {
        let one = (0..5_usize, 1..9_u32, 0..6_u32, 0..12_u32, 0..40_i64, proptest::option::of(1..700_u32));
        proptest::collection::vec(one, 1..7).prop_map(|all| {
            let priorities =
                [Priority::Emergency, Priority::Vip, Priority::High, Priority::Normal, Priority::Low];
            let one = |(nth, (priority, weight, held, most, served, per_mille)): (usize, _)| {
                let priority: Priority = priorities[priority];
                let per_mille: Option<u32> = per_mille;
                Contender {
                    served: minutes(served),
                    share: per_mille.filter(|share| share % 3 == 0).and_then(share),
                    ..contender(nth, priority, weight, held, most)
                }
            };
            all.into_iter().enumerate().map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_is_left_and_nobody_gets_more_than_they_can_use(all in some_contenders(), total in 0..30_u32) {
            let outbound = all.iter().map(|contender| contender.held).sum();
            let given = given(&all, &lines(total, outbound));
            let wanted: u32 = all.iter().map(|contender| contender.most).sum();
            prop_assert_eq!(given.iter().sum::<u32>(), wanted.min(total));
            prop_assert!(all.iter().zip(&given).all(|(contender, lines)| *lines <= contender.most));
        }

        #[test]
        fn the_order_of_the_list_makes_no_difference(all in some_contenders(), total in 0..30_u32, turn in 0..6_usize) {
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            let by_code = |all: &[Contender]| -> Vec<(CampaignCode, u32)> {
                plan(all, &lines(total, 20)).into_iter().map(|(place, lines)| (all[place].code.clone(), lines)).collect()
            };
            prop_assert_eq!(by_code(&all), by_code(&turned));
        }

        #[test]
        fn no_lower_one_gets_a_line_beyond_its_share_while_a_higher_one_wants(all in some_contenders(), total in 0..30_u32) {
            let some = lines(total, all.iter().map(|contender| contender.held).sum());
            let (given, guaranteed) = (given(&all, &some), guaranteed(&all, &some));
            for (low, got) in all.iter().zip(&given).enumerate().filter(|(_, (_, got))| **got > 0).map(|(n, of)| (n, *of.1)) {
                let beyond = all[low].held + got > guaranteed[low];
                for (high, lines) in all.iter().zip(&given) {
                    let wants = high.priority < all[low].priority && *lines < high.most;
                    prop_assert!(!(beyond && wants), "{high:?} wants, {:?} got {got}", all[low]);
                }
            }
        }

        #[test]
        fn everybody_gets_what_they_are_guaranteed_if_they_want_it(all in some_contenders(), total in 0..30_u32) {
            let some = lines(total, all.iter().map(|contender| contender.held).sum());
            let (given, guaranteed) = (given(&all, &some), guaranteed(&all, &some));
            let short = |nth: usize| guaranteed[nth].min(all[nth].held + all[nth].most).saturating_sub(all[nth].held);
            let needed: u32 = (0..all.len()).map(short).sum();
            prop_assume!(needed <= total);
            prop_assert!((0..all.len()).all(|nth| given[nth] >= short(nth)));
        }

        #[test]
        fn equals_that_hold_nothing_differ_from_their_parts_by_less_than_a_line(
            weights in proptest::collection::vec(1..9_u32, 1..7), total in 0..40_u32
        ) {
            let all: Vec<Contender> =
                weights.iter().enumerate().map(|(nth, weight)| contender(nth, Priority::Normal, *weight, 0, 99)).collect();
            let sum = f64::from(weights.iter().sum::<u32>());
            for (weight, got) in weights.iter().zip(given(&all, &lines(total, 0))) {
                let part = f64::from(total) * f64::from(*weight) / sum;
                prop_assert!((f64::from(got) - part).abs() < 1.0, "{got} of {part}");
            }
        }

        #[test]
        fn over_time_one_line_is_shared_by_weight(weights in proptest::collection::vec(1..6_u32, 2..5), length in 1..4_i64) {
            let mut all: Vec<Contender> =
                weights.iter().enumerate().map(|(nth, weight)| contender(nth, Priority::Normal, *weight, 0, 9)).collect();
            for _ in 0..600 {
                let (place, _) = plan(&all, &lines(1, 0))[0];
                all[place].served += minutes(length);
            }
            let sum: u32 = weights.iter().sum();
            for (weight, contender) in weights.iter().zip(&all) {
                let part = 600.0 * f64::from(*weight) / f64::from(sum);
                let got = contender.served.as_secs_f64() / 60.0 / length as f64;
                prop_assert!((got - part).abs() <= 2.0, "{got} of {part}");
            }
        }
    }
}
