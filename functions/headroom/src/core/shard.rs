//! Shards: a ledger of several items, each with its own share of every line, number and reserve.
//!
//! One item takes so many writes a second, and each is paid by its size. Above [`Sizes`] the lines are spread
//! over several, and each is a whole ledger of its own: its own lines, counters and revision, with a share of the
//! limit, the cap, the headroom and each reserve. The sums of the shares are what the operators set, and each item
//! keeps P1, P2 and P7 within its share by the same single write as ever, so the sums are kept, too: nothing needs a
//! write over two items to take a line or to free it.
//!
//! **Shares move in one transaction** over all items whose share changes (a policy changes rarely; DynamoDB takes
//! 100 items in one), so there is no instant with half of them moved, and nothing to finish after a crash. Falling
//! first and rising afterwards was the alternative: as safe, but it needs a plan on record that everybody agrees
//! on, two writes to each item, and a pass that finishes what was begun.
//!
//! A share rises only into lines that nobody holds ([`super::spread`]). In total, with what is held beyond its share
//! counted in, no item has room that the sum has not:
//!
//! - Σ max(limitₖ, totalₖ) ≤ max(limit, Σ totalₖ), alike for the cap with outbound;
//! - Σ max(sharedₖ, shared useₖ) ≤ max(shared, Σ shared useₖ), so reserves stay free where they are idle; alike for
//!   the shared lines without the headroom.
//!
//! What an item holds beyond its share was observed there, or taken before the share fell. It drains (P6); items that
//! are too many when a limit falls drain, too, have no more than they hold, and go when they hold nothing. While more
//! is held in total than the limit, or the cap, no item has any share of it: whichever item a line comes back in,
//! nothing is taken until it fits. Then whoever looks for a line finds the ledger lopsided ([`Pool::is_lopsided`])
//! and spreads it anew. Shared use beyond the shared lines drains item by item.
//!
//! An idle line in one item is of no use to a caller in another, so who looks for a line looks at all items, the one
//! with the most room first. What a share cannot do is lend: with a reserve of 1 over 10 items, the agent's call finds
//! it idle only in its one item, and counts as shared use in all others. And some calls are begun in one item, have its
//! lines, and no more: those that are counted by the second, by the day or by batches, and those that are bound by a
//! number of lines smaller than the number of items. Such a number would be a line here and there, and two that bind
//! the same call might never meet in an item. (A campaign's cap that is edited across that number while two dispatchers
//! are at it, one on a look of before, may be passed until those calls end.)

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::Timestamp;

use super::ids::{CampaignCode, NameCode};
use super::line::{Kind, Lease};
use super::pacing::Own;
use super::pool::{Policy, Pool, Room, Rule, Source, Tally};
use super::quota::Quota;
use super::reserve::{BucketKey, Reserves};
use super::spread::{Range, level};
use super::unseen::Unseen;

/// When lines are spread over several items, and how many each then has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Up to so many lines are one item.
    pub single: u32,
    /// So many lines each, if they are several.
    pub shard: u32,
}

/// A pool of 1,000 lines moves some dozens of times a second at most, and an item takes hundreds of writes: what decides
/// is the price, since each write is paid by the item's size. Measured on the engine, with each pool filled to the last
/// line by eight dispatchers at once, one line with each write (`cargo test -p flows --test shards -- --ignored
/// --nocapture large_pools`):
///
/// | lines | items | writes for a line | refused on the way, at most | units for a line | units to free it |
/// |---|---|---|---|---|---|
/// | 1,000 | 1 | 1.02 | 1 | 25.3 | 25.3 |
/// | 1,000 | 2 | 1.03 | 2 | 13.2 | 13.2 |
/// | 5,000 | 10 | 1.15 | 5 | 14.5 | 14.5 |
/// | 5,000 | 1 | 1.02 | 1 | 134.6 | 134.6 |
///
/// What several items cost is reading: a webhook reads them all, one by one at once, some 4 units each if they are
/// full. Beside a call's writes that is little, and it grows with the pool.
impl Default for Sizes {
    fn default() -> Self {
        Self { single: 1000, shard: 500 }
    }
}

/// The item in which all calls are begun that count in a quota which is not shared out: two that meet in one call have to
/// be counted in the same write.
const WHOLE: u8 = 0;

/// Tokens name an item by one digit to the base 64, and a transaction takes 100.
const MOST_SHARDS: u32 = 64;

impl Sizes {
    /// Over how many items a policy's lines are spread. Where there is no limit, nobody knows how many there will be: four
    /// times what outbound may hold is the guess, and with a small cap few items have a share of it.
    pub fn shards(self, policy: Policy) -> u8 {
        let lines = match policy.limit() {
            Policy::UNLIMITED.. => policy.cap().saturating_mul(4),
            limit => limit,
        };
        if lines <= self.single { 1 } else { lines.div_ceil(self.shard.max(1)).clamp(1, MOST_SHARDS) as u8 }
    }
}

/// What an item of the ledger knows of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Which item this is, from 0.
    pub index: u8,
    /// How many items lines are taken in. Those from this number on only drain.
    pub live: u8,
    /// In the first of several: what they have together.
    pub whole: Option<Whole>,
    /// If this is the sum of several: these, in their order.
    pub items: Vec<Pool>,
}

/// The only item there is.
impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, live: 1, whole: None, items: Vec::new() }
    }
}

/// What the items of a ledger have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The numbers that operators set.
    pub policy: Policy,
    /// What is reserved for whom.
    pub reserves: Reserves,
    /// How many items there are, draining ones included.
    pub items: u8,
}

impl Pool {
    /// The items of the ledger, in their order.
    pub fn items(&self) -> &[Self] {
        if self.shard.items.is_empty() { std::slice::from_ref(self) } else { &self.shard.items }
    }

    /// One of them, if this pool knows it.
    pub fn item(&self, index: u8) -> Option<&Self> {
        self.items().iter().find(|item| item.shard.index == index)
    }

    /// The items that lines are taken in.
    pub fn live_items(&self) -> &[Self] {
        let items = self.items();
        &items[..items.len().min(self.shard.live.into())]
    }

    /// Every held line of every item. A claim may hold one in two, for as long as its lead has not said whose it is.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        let lines = self.items().iter().flat_map(|item| &item.lines);
        lines.map(|(key, token)| Lease { key: key.clone(), token: token.clone() })
    }

    /// One pool out of its items, as if it were one: policy and reserves as operators set them, sums of the
    /// counters, all lines. Nothing if they were read while their number changed.
    pub fn sum(items: Vec<Self>) -> Option<Self> {
        let first = items.first()?;
        let Some(whole) = first.shard.whole.clone() else { return Some(first.clone()) };
        let fits = |(index, item): (usize, &Self)| {
            usize::from(item.shard.index) == index && item.shard.live == first.shard.live
        };
        if usize::from(whole.items) != items.len() || !items.iter().enumerate().all(fits) {
            return None;
        }
        let mut sum = Self { lines: BTreeMap::new(), campaigns: BTreeMap::new(), ..first.clone() };
        (sum.policy, sum.reserves) = (whole.policy, whole.reserves);
        sum.counts = Default::default();
        for item in &items {
            let (counts, more) = (&mut sum.counts, item.counts);
            counts.total += more.total;
            counts.outbound += more.outbound;
            counts.foreign += more.foreign;
            counts.inbound += more.inbound;
            counts.web += more.web;
            counts.chat += more.chat;
            sum.lines.extend(item.lines.iter().map(|(key, token)| (key.clone(), token.clone())));
            for (code, tally) in &item.campaigns {
                let all: &mut Tally = sum.campaigns.entry(code.clone()).or_default();
                all.held += tally.held;
                all.done += tally.done;
                all.failed += tally.failed;
                all.progress.add(&tally.progress);
                if all.codes.is_empty() {
                    all.codes.clone_from(&tally.codes);
                }
            }
            for (key, pace) in &item.paces {
                let sum = sum.paces.entry(key.clone()).or_default();
                *sum = sum.with(*pace);
            }
            sum.hold_until = sum.hold_until.max(item.hold_until);
            sum.hold_count = sum.hold_count.max(item.hold_count);
        }
        let unseen = items.iter().filter_map(|item| item.unseen);
        sum.unseen = unseen.reduce(|sum, more| Unseen {
            lines: sum.lines + more.lines,
            at: sum.at.min(more.at),
            until: sum.until.max(more.until),
        });
        sum.uses = sum.uses_of(&sum.reserves, &sum.quotas);
        sum.shard = Shard { index: 0, live: first.shard.live, whole: None, items };
        Some(sum)
    }

    /// One of the items is `item` now. Returns whether that could be put in: if their number has changed since, the
    /// pool is to be read anew.
    #[must_use]
    pub fn update(&mut self, item: Self) -> bool {
        if !item.shard.items.is_empty() || !item.is_spread() {
            // All there is.
            *self = item;
            return true;
        }
        if self.shard.items.is_empty() {
            return false;
        }
        let mut items = std::mem::take(&mut self.shard.items);
        if let Some(place) = items.get_mut(usize::from(item.shard.index)) {
            *place = item;
        }
        Self::sum(items).map(|sum| *self = sum).is_some()
    }

    /// The item with the most room for a campaign's next calls, and how much (P1). See [`Pool::room`].
    pub fn roomiest(
        &self,
        campaign: &CampaignCode,
        own: impl Into<Own>,
        codes: &[NameCode],
        now: Timestamp,
    ) -> (&Self, Room) {
        let own = own.into();
        let rooms = self.rooms(campaign, &own, codes, now);
        // Where there is none, an item says why in which they are begun.
        let most = rooms.max_by_key(|(_, room, is_begun)| (room.lines, *is_begun));
        let (item, most, _) = most.expect("a ledger has an item");
        // One item may rest for longer than the others for an instant.
        let rests = now < self.hold_until;
        (item, if rests { Room { lines: 0, rule: Rule::HoldOff } } else { most })
    }

    /// The room of an item, and no more than all items together have beside what others are believed to use: who has
    /// come since that was shared out may have come where its lines were left alone.
    fn beside_others(&self, room: Room, codes: &[NameCode], item: &Self, now: Timestamp) -> Room {
        let unseen = self.unseen(now);
        if unseen == 0 || !self.is_spread() {
            return room;
        }
        let (left, rule): (fn(&Self) -> u32, _) = match item.source(codes, Kind::Outbound) {
            Source::Reserve(_) => (Self::free, Rule::Limit),
            Source::Shared(_) => (Self::left_for_outbound, Rule::Headroom),
        };
        let left = self.live_items().iter().map(left).sum::<u32>().saturating_sub(unseen);
        if left < room.lines { Room { lines: left, rule } } else { room }
    }

    /// Shared lines that outbound may take if nobody unknown uses any.
    fn left_for_outbound(&self) -> u32 {
        self.shared_for_outbound().saturating_sub(self.uses.shared).min(self.free())
    }

    /// How many of `lines` that others are believed to use each live item leaves alone: so many that what is left of
    /// them for outbound, of the shared lines and of all, adds up to what would be left in one item, and is as even as
    /// can be. Of more than that, whichever line comes back first is theirs.
    pub fn share_unseen(&self, lines: u32) -> Vec<u32> {
        let items = self.live_items();
        let rooms: [fn(&Self) -> u32; 3] = [Self::left_for_outbound, Self::free, |_| u32::MAX];
        rooms.into_iter().fold(vec![0; items.len()], |parts, room| {
            let sum = items.iter().map(|item| u64::from(room(item))).sum::<u64>();
            let range = |(item, part): (&Self, &u32)| Range {
                least: *part,
                most: room(item),
                weight: if sum > u64::from(u32::MAX) { 0 } else { room(item) },
            };
            level(lines.min(u32::try_from(sum).unwrap_or(u32::MAX)), items.iter().zip(&parts).map(range))
        })
    }

    /// How many lines a campaign may take in all items together.
    pub fn room_in_all(&self, campaign: &CampaignCode, own: &Own, codes: &[NameCode], now: Timestamp) -> u32 {
        if now < self.hold_until {
            return 0;
        }
        let rooms = self.rooms(campaign, own, codes, now);
        let sum = rooms.map(|(_, room, _)| room.lines).fold(0, u32::saturating_add);
        let held = self.come(campaign).0;
        own.lines.map_or(sum, |cap| sum.min(cap.saturating_sub(held)))
    }

    /// The items that lines are taken in, each with a campaign's room in it, and whether its calls are begun there.
    fn rooms<'p, 'a>(
        &'p self,
        campaign: &'a CampaignCode,
        own: &'a Own,
        codes: &'a [NameCode],
        now: Timestamp,
    ) -> impl Iterator<Item = (&'p Self, Room, bool)> {
        let room = move |item: &'p Self| match (
            self.own_share(campaign, own, codes, item, now),
            self.for_taking(item, codes, now),
        ) {
            (Some(own), Some(of_item)) => {
                let room = of_item.room(campaign, own, codes, now);
                (item, self.beside_others(room, codes, &of_item, now), true)
            }
            (None, _) => (item, Room { lines: 0, rule: Rule::Pace }, false),
            (_, None) => (item, Room { lines: 0, rule: Rule::Quota }, true),
        };
        self.live_items().iter().map(room)
    }

    /// An item's share of what bounds a campaign alone, whose calls are known by these codes; nothing if none of its
    /// lines is to be taken there, because its calls are begun in another item, or because another one, where they were
    /// begun until now, still has to do with its rate or its batch.
    pub fn own_share(
        &self,
        campaign: &CampaignCode,
        own: &Own,
        codes: &[NameCode],
        item: &Self,
        now: Timestamp,
    ) -> Option<Own> {
        let Some(home) = self.home(campaign, own, codes) else {
            let share = |cap| self.campaign_share(campaign, cap, item);
            return Some(Own { lines: own.lines.map(share), ..*own });
        };
        if home != item.shard.index {
            return None;
        }
        let others = self.items().iter().filter(|other| other.shard.index != item.shard.index);
        let (elsewhere, is_done) = others.map(|other| other.come(campaign)).fold(
            (0, true),
            |(elsewhere, is_done), (held, progress)| {
                (elsewhere + held, is_done && own.is_done(held, &progress, now))
            },
        );
        is_done.then(|| Own { lines: own.lines.map(|cap| cap.saturating_sub(elsewhere)), ..*own })
    }

    /// The item in which a campaign begins its calls if it does in one alone: it has a rate, batches or a small cap. It
    /// differs between campaigns, unless their calls count in a quota that is [whole](Self::is_whole): one place has to
    /// have both ([`Self::for_taking`]).
    fn home(&self, campaign: &CampaignCode, own: &Own, codes: &[NameCode]) -> Option<u8> {
        let live = u32::from(self.shard.live);
        if self.quotas.of(codes).any(|(_, quota)| self.is_whole(quota)) {
            return Some(WHOLE);
        }
        let is_small = own.lines.is_some_and(|cap| cap < live);
        (own.is_counted_by_time() || is_small).then(|| (place(campaign.as_str()) % live) as u8)
    }

    /// Whether a quota is not shared out among the items: its calls are counted by time, or not every item would have a
    /// line of it.
    fn is_whole(&self, quota: &Quota) -> bool {
        quota.is_paced() || quota.lines.is_some_and(|lines| lines.get() < self.shard.live.into())
    }

    /// An item with its own share of the quotas that calls known by these codes count in; nothing if none of their
    /// lines is to be taken there. Lines are shared out as a campaign's cap is. The calls that begin in a second or a
    /// day are not, nor a few lines: they are begun in the first item alone, and counted there. What was begun today in
    /// others, before the ledger was spread or the quota was as it is, counts, too. That only falls: each item's revision
    /// rises with the number of items and with each change of a quota.
    pub fn for_taking<'a>(
        &self,
        item: &'a Self,
        codes: &[NameCode],
        now: Timestamp,
    ) -> Option<Cow<'a, Self>> {
        if !self.is_spread() || self.quotas.of(codes).next().is_none() {
            return Some(Cow::Borrowed(item));
        }
        let live = u32::from(self.shard.live);
        let mut quotas = item.quotas.clone();
        for (name, quota) in self.quotas.of(codes) {
            let (key, code) = (BucketKey::quota(name), name.code());
            if self.is_whole(quota) && item.shard.index != WHOLE {
                return None;
            }
            let first = place(code.as_str()) % live;
            let others = || self.items().iter().filter(|other| other.shard.index != item.shard.index);
            let mut own = quota.clone();
            if let Some(most) = quota.per_day {
                let dialed: u32 = others().map(|other| other.pace(&key).dialed_today(now)).sum();
                own.per_day = Some(NonZeroU32::new(most.get().saturating_sub(dialed))?);
            }
            if quota.per_second.is_some() && others().any(|other| other.pace(&key).is_ahead(now)) {
                return None;
            }
            if let Some(most) = quota.lines {
                let share = |index: u8| match self.is_whole(quota) {
                    true if index == WHOLE => most.get(),
                    true => 0,
                    false => share_of(most.get(), first, index.into(), live),
                };
                let beyond =
                    others().map(|other| other.uses.held(&key).saturating_sub(share(other.shard.index)));
                let lines = share(item.shard.index).saturating_sub(beyond.sum());
                own.lines = Some(NonZeroU32::new(lines)?);
            }
            quotas = quotas.with(name.clone(), own).ok()?;
        }
        Some(Cow::Owned(Self { quotas, ..item.clone() }))
    }

    /// An item's share of a campaign's cap that is shared out. Even, so that of a cap of 4 over three items one has two
    /// lines, another one for each campaign; less what other items hold beyond their share since the number of items
    /// changed. That only falls: each item's revision rises with their number, so nobody takes by the old shares any more.
    pub fn campaign_share(&self, campaign: &CampaignCode, cap: u32, item: &Self) -> u32 {
        let live = u32::from(self.shard.live);
        let first = place(campaign.as_str()) % live;
        let share = |index: u8| share_of(cap, first, index.into(), live);
        let others = self.items().iter().filter(|other| other.shard.index != item.shard.index);
        let beyond = others.map(|other| {
            let held = other.campaigns.get(campaign).map_or(0, |tally| tally.held);
            held.saturating_sub(share(other.shard.index))
        });
        share(item.shard.index).saturating_sub(beyond.sum())
    }

    /// The items in the order in which an observed call looks for its line: those first that have one in its agent's
    /// own reserve, then those with the most lines that it may have, then the least overfull.
    pub fn for_observed(&self, codes: &[NameCode], kind: Kind) -> Vec<&Self> {
        let mut items: Vec<&Self> = self.live_items().iter().collect();
        items.sort_by_key(|item| {
            let reserve = item.reserves.bucket(codes, kind);
            let own = reserve.map_or(0, |bucket| bucket.reserved.saturating_sub(item.uses.held(&bucket.key)));
            let left = |size: u32, used: u32| i64::from(size) - i64::from(used);
            let free = left(item.policy.limit(), item.counts.total);
            let shared = free.min(left(item.shared(), item.uses.shared));
            let outbound = left(item.policy.cap(), item.counts.outbound);
            let room = if kind == Kind::Foreign { shared.min(outbound) } else { shared };
            std::cmp::Reverse((own > 0 && free > 0, room, free))
        });
        items
    }

    /// Whether the items' shares should be moved although nobody asked for it: their number is not what it should be,
    /// one that drains can give lines back, or one is full to beyond its share while another has room. Or one was
    /// given more than the others when it held more, and does not any more; or all were given nothing while too much
    /// was held, and now it fits; or an item has less lines than are reserved in it.
    pub fn is_lopsided(&self, sizes: Sizes) -> bool {
        if sizes.shards(self.policy) != self.shard.live {
            return true;
        }
        let items = self.items();
        let lopsided = |sizes: &dyn Fn(&Self) -> (u32, u32)| {
            let is = |beyond: bool| {
                items.iter().map(sizes).any(|(size, used)| if beyond { used > size } else { used < size })
            };
            is(true) && is(false)
        };
        let even = |whole: u32| whole.div_ceil(self.shard.live.into());
        let has_too_much = |item: &Self| {
            let is = |whole: u32, share: u32, used: u32| {
                share > if item.shard.index < self.shard.live { even(whole) } else { 0 } && used < share
            };
            is(self.policy.limit(), item.policy.limit(), item.counts.total)
                || is(self.policy.cap(), item.policy.cap(), item.counts.outbound)
        };
        // Shared use had taken what is reserved there now; what has drained since must not be lent once more.
        let is_short = |item: &Self| item.reserves.total() > u64::from(item.policy.limit());
        let is_withheld = |size: u32, used: u32, share: fn(&Self) -> u32| {
            used < size && items.iter().map(|item| u64::from(share(item))).sum::<u64>() < u64::from(size)
        };
        let drained =
            items.len() > usize::from(self.shard.live) && items.last().is_some_and(Self::holds_nothing);
        lopsided(&|item| (item.policy.limit(), item.counts.total))
            || lopsided(&|item| (item.shared(), item.uses.shared))
            || lopsided(&|item| (item.policy.cap(), item.counts.outbound))
            || items.len() > 1 && items.iter().any(has_too_much)
            || items.len() > 1 && items.iter().any(is_short) && items.iter().any(|item| item.free() > 0)
            || is_withheld(self.policy.limit(), self.counts.total, |item| item.policy.limit())
            || is_withheld(self.policy.cap(), self.counts.outbound, |item| item.policy.cap())
            || drained
    }

    /// Whether the ledger has several items, of which this may be one.
    pub fn is_spread(&self) -> bool {
        let Shard { index, live, whole, items } = &self.shard;
        *index > 0 || *live > 1 || whole.is_some() || !items.is_empty()
    }

    /// Whether an item that drains may go: without a line, without the figures of a campaign under way, and without a
    /// quota's count of its day, which would begin anew.
    pub fn holds_nothing(&self) -> bool {
        self.lines.is_empty() && self.campaigns.is_empty() && self.paces.is_empty()
    }
}

/// Where in the row of items something begins that is shared out from there on.
fn place(code: &str) -> u32 {
    code.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

/// The even share of `sum` that the item `index` of `live` ones has, what is over going to `first` and those behind it.
fn share_of(sum: u32, first: u32, index: u32, live: u32) -> u32 {
    if index >= live { 0 } else { sum / live + u32::from((index + live - first) % live < sum % live) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::pool::Tally;
    use crate::core::quota::Quotas;
    use crate::core::reserve::Reserves;
    use crate::core::spread::{Share, spread};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever a cap was taken by before, no more than it is taken by the shares of now.
        #[test]
        fn a_campaigns_cap_is_kept_over_all_items(
            cap in 0_u32..20, live in 1_u8..6, held in proptest::collection::vec(0_u32..6, 1..6), name in "[a-z]{1,8}",
        ) {
            let code = CampaignCode::of(&name.parse().expect("an id"));
            let shares = spread(Policy::new(100, 100, 0).expect("lines"), &Reserves::default(), live, &[]);
            let item = |(index, share): (usize, &Share)| {
                let mut item = Pool::new(Policy::new(1, 0, 0).expect("a limit"));
                (item.policy, item.shard.index, item.shard.live) = (share.policy, index as u8, live);
                item
            };
            let mut items: Vec<Pool> = shares.iter().enumerate().map(item).collect();
            for (item, held) in items.iter_mut().zip(&held) {
                item.campaigns.insert(code.clone(), Tally { held: *held, ..Tally::default() });
            }
            let held: u32 = items.iter().map(|item| item.campaigns.get(&code).map_or(0, |tally| tally.held)).sum();
            let mut pool = items[0].clone();
            pool.shard = Shard { index: 0, live, whole: None, items };
            let taken = |item: &Pool| {
                let now = item.campaigns.get(&code).map_or(0, |tally| tally.held);
                pool.campaign_share(&code, cap, item).max(now)
            };
            let taken: u32 = pool.items().iter().map(taken).sum();
            prop_assert!(taken <= cap.max(held));
            if held == 0 {
                prop_assert_eq!(taken, cap);
            }
        }
    }

    fn lines(most: u32) -> Quota {
        Quota { lines: NonZeroU32::new(most), ..Quota::default() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever bounds a call has a line somewhere: in an empty ledger there is room for one, for as many as the
        /// smallest of its numbers if all are small, and never for more than it.
        #[test]
        fn numbers_that_bind_the_same_call_meet_in_an_item(
            live in 1_u8..8, campaign in "[a-z]{1,8}", agent in "[a-z]{1,8}", number in "[0-9]{1,8}",
            cap in proptest::option::of(1_u32..20), quotas in (proptest::option::of(1_u32..20), proptest::option::of(1_u32..20)),
            is_paced in any::<bool>(), now in 0_i64..1_000_000,
        ) {
            let now = Timestamp::from_second(now).expect("in 1970");
            let policy = Policy::new(500 * u32::from(live), 300 * u32::from(live), 3).expect("lines");
            let shares = spread(policy, &Reserves::default(), live, &[]);
            let codes = [NameCode::of(&agent), NameCode::of(&format!("+{number}"))];
            let mut known = Quotas::default();
            let named = [agent.clone(), format!("+{number}")].into_iter().zip([quotas.0, quotas.1]);
            for (name, most) in named.filter_map(|(name, most)| Some((name, most?))) {
                let rate = is_paced.then_some(NonZeroU32::MIN);
                let Ok(name) = name.parse() else { continue };
                known = known.with(name, Quota { per_second: rate, ..lines(most) }).expect("two names");
            }
            let item = |(index, share): (usize, &Share)| {
                let mut item = Pool::new(Policy::new(1, 0, 0).expect("a limit"));
                (item.policy, item.quotas) = (share.policy, known.clone());
                (item.shard.index, item.shard.live) = (index as u8, live);
                item
            };
            let items: Vec<Pool> = shares.iter().enumerate().map(item).collect();
            let mut pool = items[0].clone();
            pool.shard = Shard { index: 0, live, whole: None, items };
            let code = CampaignCode::of(&campaign.parse().expect("an id"));
            let own = Own::from(cap);
            let room = pool.room_in_all(&code, &own, &codes, now);
            let bounds: Vec<u32> = cap.into_iter().chain(known.of(&codes).filter_map(|(_, quota)| Some(quota.lines?.get()))).collect();
            let least = bounds.iter().copied().min().unwrap_or(u32::MAX);
            prop_assert!(room > 0 && room <= least, "room for {} of {}", room, least);
            let are_small = !bounds.is_empty() && bounds.iter().all(|bound| *bound < u32::from(live));
            if are_small && known.of(&codes).all(|(_, quota)| !quota.is_paced()) {
                prop_assert_eq!(room, least);
            }
        }
    }

    #[test]
    fn a_pool_of_up_to_a_thousand_lines_is_one_item() {
        let of = |limit, cap| Sizes::default().shards(Policy::new(limit, cap, 0).expect("there are lines"));
        assert_eq!(
            [1, 10, 1000, 1001, 1500, 5000, 32_000].map(|limit| of(limit, limit)),
            [1, 1, 1, 3, 3, 10, 64]
        );
        assert_eq!(
            [0, 7, 250, 251, 1000, u32::MAX].map(|cap| of(Policy::UNLIMITED, cap)),
            [1, 1, 1, 3, 8, 64]
        );
    }
}
