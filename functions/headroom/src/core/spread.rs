//! How the ledger's numbers are spread over its items: each item's share of the limit, the cap, the headroom and each
//! reserve, given what the items hold now. The rules that the shares keep are those of [`super::shard`].

use std::collections::BTreeMap;

use super::ids::AgentName;
use super::line::{Kind, LineKey, Token};
use super::pool::{Policy, Pool};
use super::quota::Quotas;
use super::reserve::{Bucket, Reserve, Reserves};

/// An item's share of the numbers and the reserves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The numbers; the limit may be 0.
    pub policy: Policy,
    /// The reserves; an agent may be without any here.
    pub reserves: Reserves,
}

/// How a policy and reserves are spread over `live` items, given what `items` have and hold now. The shares of all
/// items, the new ones and those that only drain included; their sums are the whole.
pub fn spread(policy: Policy, reserves: &Reserves, live: u8, items: &[Pool]) -> Vec<Share> {
    let live = usize::from(live.max(1));
    let count = live.max(items.len());
    if count == 1 {
        return vec![Share { policy, reserves: reserves.clone() }];
    }
    let reserves = spread_reserves(reserves, policy.limit(), live, count, items);
    let none = BTreeMap::new();
    let mut have = Vec::with_capacity(count);
    for (index, reserves) in reserves.iter().enumerate() {
        let lines: &BTreeMap<LineKey, _> = items.get(index).map_or(&none, |item| &item.lines);
        let quotas = Quotas::default();
        let uses = items.get(index).map(|item| item.uses_of(reserves, &quotas)).unwrap_or_default();
        let idle = |bucket: Bucket| bucket.reserved.saturating_sub(uses.held(&bucket.key));
        have.push(Have {
            total: lines.len() as u32,
            idle: reserves.buckets().map(idle).sum(),
            shared: uses.shared,
            outbound: items.get(index).map_or(0, |item| item.counts.outbound),
            reserved: u32::try_from(reserves.total()).unwrap_or(u32::MAX),
            drains: index >= live,
        });
    }
    let limits = spread_limit(policy.limit(), &have);
    let shared = |index: usize| limits[index].saturating_sub(have[index].reserved);

    // Outbound's part of the shared lines is what is left after the headroom: as even as possible, and none beyond
    // what is in use while that is too much.
    let unused = |index: usize| shared(index).saturating_sub(have[index].shared);
    let fits = (0..count).map(|index| u64::from(unused(index))).sum::<u64>() >= u64::from(policy.headroom());
    let headroom = level(
        policy.headroom(),
        (0..count).map(|index| Range {
            least: if fits { 0 } else { unused(index) },
            most: if fits || have[index].drains { unused(index) } else { u32::MAX },
            weight: shared(index),
        }),
    );

    let fits = have.iter().map(|have| u64::from(have.outbound)).sum::<u64>() <= u64::from(policy.cap());
    let cap = level(
        policy.cap(),
        (0..count).map(|index| {
            let Have { outbound, drains, .. } = have[index];
            let (least, most) = match (fits, drains) {
                (true, false) => (outbound, u32::MAX),
                (true, true) => (outbound, outbound),
                // As with the limit: no room for anybody until it fits.
                (false, _) => (0, 0),
            };
            Range { least, most, weight: limits[index] }
        }),
    );

    let share = |(index, reserves)| Share {
        policy: Policy::share(limits[index], cap[index], headroom[index]),
        reserves,
    };
    reserves.into_iter().enumerate().map(share).collect()
}

/// What an item holds, as its new reserves count it.
struct Have {
    total: u32,
    /// Lines of its reserves that nobody uses.
    idle: u32,
    shared: u32,
    outbound: u32,
    reserved: u32,
    drains: bool,
}

fn spread_limit(limit: u32, have: &[Have]) -> Vec<u32> {
    let sum = |of: &dyn Fn(&Have) -> u32| have.iter().map(|have| u64::from(of(have))).sum::<u64>();
    let with_idle = |have: &Have| have.total.saturating_add(have.idle);
    let range = |have: &Have| {
        let (least, most) = if sum(&with_idle) <= u64::from(limit) {
            // There is room for all that is held and reserved.
            (with_idle(have), if have.drains { have.total } else { u32::MAX })
        } else if sum(&|have| have.total) <= u64::from(limit) {
            // Shared use takes what is reserved, until it drains: none of it may be lent once more.
            (have.total, with_idle(have))
        } else {
            // More is held than there is: room for nobody, wherever a line comes back first.
            (0, 0)
        };
        Range { least, most, weight: 0 }
    };
    level(limit, have.iter().map(range))
}

/// Each reserve's lines stay where they are, as far as their number allows; what is new goes first to where its own
/// calls are, then to where the most lines are left. So few items need their calls counted anew.
fn spread_reserves(whole: &Reserves, limit: u32, live: usize, count: usize, items: &[Pool]) -> Vec<Reserves> {
    let even = level(
        limit,
        (0..count).map(|index| Range { least: 0, most: if index < live { u32::MAX } else { 0 }, weight: 0 }),
    );
    let mut left: Vec<i64> = even.into_iter().map(i64::from).collect();
    let mut shares: Vec<Vec<(AgentName, Reserve)>> = vec![Vec::new(); count];
    for (agent, reserve) in whole.iter() {
        let mut parts: Vec<Reserve> =
            vec![Reserve { inbound: 0, outbound: 0, web: 0, chat: 0, ..reserve.clone() }; count];
        for kind in [Kind::Inbound, Kind::Outbound, Kind::Web, Kind::Chat] {
            let now = |index: usize| {
                let item = items.get(index).filter(|_| index < live);
                item.and_then(|item| item.reserves.get(agent))
                    .map_or(0, |reserve| *lines(&mut reserve.clone(), kind))
            };
            let used = |index: usize| {
                let Some(item) = items.get(index) else { return 0 };
                let counts = |(key, token): &(&LineKey, &Token)| {
                    let of_kind = match token.kind() {
                        Kind::Foreign => Kind::Outbound,
                        kind => kind,
                    };
                    of_kind == kind
                        && item.codes(key, token).iter().find_map(|code| whole.agent(code)) == Some(agent)
                };
                item.lines.iter().filter(counts).count() as u32
            };
            let now: Vec<u32> = (0..count).map(now).collect();
            let used: Vec<u32> = (0..count).map(used).collect();
            let all = *lines(&mut reserve.clone(), kind);
            let has = now.iter().map(|lines| u64::from(*lines)).sum::<u64>();
            let range = |index: usize, least, most| Range { least, most, weight: used[index] };
            let given = if has > u64::from(all) {
                level(all, (0..count).map(|index| range(index, 0, now[index])))
            } else {
                let most = |index: usize| if index < live { now[index].max(used[index]) } else { 0 };
                let own = (0..count).map(|index| u64::from(most(index))).sum::<u64>();
                let own = u32::try_from(own).unwrap_or(u32::MAX).min(all);
                let near = level(own, (0..count).map(|index| range(index, now[index], most(index))));
                let weight = |index: usize| {
                    u32::try_from(left[index] - i64::from(near[index]))
                        .unwrap_or_default()
                        .saturating_add(near[index])
                };
                level(
                    all,
                    (0..count).map(|index| Range {
                        least: near[index],
                        most: if index < live { u32::MAX } else { 0 },
                        weight: weight(index),
                    }),
                )
            };
            for (index, given) in given.into_iter().enumerate() {
                *lines(&mut parts[index], kind) = given;
                left[index] -= i64::from(given);
            }
        }
        for (share, part) in shares.iter_mut().zip(parts) {
            share.push((agent.clone(), part));
        }
    }
    let part =
        |share| Reserves::new(share).expect("agents that can be told apart in the whole can be in a part");
    shares.into_iter().map(part).collect()
}

fn lines(reserve: &mut Reserve, kind: Kind) -> &mut u32 {
    match kind {
        Kind::Inbound => &mut reserve.inbound,
        Kind::Outbound | Kind::Foreign => &mut reserve.outbound,
        Kind::Web => &mut reserve.web,
        Kind::Chat => &mut reserve.chat,
    }
}

/// What one item may be given of a number.
pub(super) struct Range {
    pub(super) least: u32,
    pub(super) most: u32,
    /// Given is what brings all items' differences to their weights closest together.
    pub(super) weight: u32,
}

/// Parts that add up to `sum`, as far as the ranges allow it: each `weight` less one and the same level, within its
/// range; what does not divide goes to those with the least, the first of them first.
pub(super) fn level(sum: u32, ranges: impl Iterator<Item = Range>) -> Vec<u32> {
    let ranges: Vec<Range> = ranges.collect();
    let at = |level: i64| -> Vec<u32> {
        let part = |range: &Range| {
            let part = i64::from(range.weight) - level;
            part.clamp(range.least.into(), i64::from(range.most.max(range.least))) as u32
        };
        ranges.iter().map(part).collect()
    };
    let total = |parts: &[u32]| parts.iter().map(|part| u64::from(*part)).sum::<u64>();
    // The lowest level at which the parts are not too much together.
    let (mut low, mut high) = (-i64::from(u32::MAX) - 1, i64::from(u32::MAX) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if total(&at(middle)) <= u64::from(sum) { high = middle } else { low = middle + 1 }
    }
    let mut parts = at(low);
    let mut left = u64::from(sum).saturating_sub(total(&parts));
    let more = at(low - 1);
    let mut order: Vec<usize> = (0..parts.len()).filter(|index| more[*index] > parts[*index]).collect();
    order.sort_by_key(|index| parts[*index]);
    for index in order {
        if left > 0 {
            parts[index] += 1;
            left -= 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::core::ids::NameCode;
    use crate::core::pool::Counts;
    use crate::core::reserve::Binding;

    const AGENTS: [&str; 2] = ["a", "b"];
    const KINDS: [Kind; 4] = [Kind::Inbound, Kind::Outbound, Kind::Web, Kind::Foreign];

    type Numbers = (u32, u32, u32, [[u32; 3]; 2], bool);
    type Lines = Vec<(u8, u8, u8)>;
    type SizeAndUse = fn(&Pool) -> (u32, u32);

    fn numbers() -> impl Strategy<Value = Numbers> {
        (1_u32..40, 0_u32..50, 0_u32..12, any::<[[u8; 3]; 2]>(), any::<bool>()).prop_map(
            |(limit, cap, headroom, reserves, pooled)| {
                // Of nine in sixteen, nothing; more than the limit altogether now and then: limits fall.
                let few = |lines: u8| if lines < 144 { 0 } else { u32::from(lines) % (limit / 4 + 1) };
                (limit, cap, headroom, reserves.map(|kinds| kinds.map(few)), pooled)
            },
        )
    }

    fn of((limit, cap, headroom, reserves, pooled): Numbers) -> (Policy, Reserves) {
        let binding = if pooled { Binding::Pooled } else { Binding::Strict };
        let reserve = |(agent, [inbound, outbound, web]): (&str, [u32; 3])| {
            let agent = agent.parse().expect("a name");
            (agent, Reserve { inbound, outbound, web, binding, ..Reserve::default() })
        };
        let reserves = Reserves::new(AGENTS.into_iter().zip(reserves).map(reserve)).expect("two agents");
        (Policy::new(limit, cap, headroom).expect("a limit"), reserves)
    }

    /// Items with these shares and lines, the lines in the first `filled` of them.
    fn items(shares: &[Share], lines: &Lines, filled: usize) -> Vec<Pool> {
        let item = |(index, share): (usize, &Share)| {
            let mut item = Pool::new(Policy::new(1, 0, 0).expect("a limit"));
            (item.policy, item.reserves) = (share.policy, share.reserves.clone());
            for (n, (_, agent, kind)) in
                lines.iter().enumerate().filter(|(_, line)| usize::from(line.0) % filled == index)
            {
                let token = Token::new(KINDS[usize::from(*kind) % 4], Timestamp::UNIX_EPOCH, n as u32);
                let agent = AGENTS.get(usize::from(*agent) % 3);
                let token = token.known_by(&agent.map(|agent| NameCode::of(agent)));
                item.lines.insert(LineKey::Observed(format!("call-{n}").parse().expect("an id")), token);
            }
            item.counts = Counts::of(item.lines.values());
            item.uses = item.uses_of(&item.reserves, &item.quotas);
            item.shard.index = index as u8;
            item
        };
        shares.iter().enumerate().map(item).collect()
    }

    fn sum(of: impl Iterator<Item = u32>) -> u32 {
        of.sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// From whatever there was, with whatever is held: the shares add up, and where the sum has no room, no item
        /// has more than it is full of.
        #[test]
        fn shares_add_up_and_rise_only_into_lines_that_nobody_holds(
            before in numbers(), live_before in 1_u8..5, after in numbers(), live in 1_u8..5,
            held in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        ) {
            let (policy, reserves) = of(before);
            let shares = spread(policy, &reserves, live_before, &[]);
            let had = items(&shares, &held, live_before.into());
            let (policy, reserves) = of(after);
            let shares = spread(policy, &reserves, live, &had);
            prop_assert_eq!(shares.len(), usize::from(live.max(live_before)));
            let now = items(&shares, &held, live_before.into());

            let share = |of: fn(Policy) -> u32| sum(shares.iter().map(|share| of(share.policy)));
            let held = |of: fn(&Pool) -> u32| sum(now.iter().map(of));
            let is_over = now.len() > 1 && held(|item| item.counts.total) > policy.limit();
            prop_assert_eq!(share(Policy::limit), if is_over { 0 } else { policy.limit() });
            prop_assert_eq!(share(Policy::headroom), policy.headroom());
            let is_over = now.len() > 1 && held(|item| item.counts.outbound) > policy.cap();
            prop_assert_eq!(share(Policy::cap), if is_over { 0 } else { policy.cap() });
            for (agent, reserve) in reserves.iter() {
                for kind in KINDS {
                    let of = |reserves: &Reserves| reserves.get(agent).map_or(0, |part| *lines(&mut part.clone(), kind));
                    prop_assert_eq!(sum(shares.iter().map(|share| of(&share.reserves))), *lines(&mut reserve.clone(), kind));
                }
            }
            let whole = u32::try_from(u64::from(policy.limit()).saturating_sub(reserves.total())).expect("a few lines");
            let sizes: [(u32, SizeAndUse); 4] = [
                (policy.limit(), |item| (item.policy.limit(), item.counts.total)),
                (policy.cap(), |item| (item.policy.cap(), item.counts.outbound)),
                (whole, |item| (item.shared(), item.uses.shared)),
                (whole.saturating_sub(policy.headroom()), |item| (item.shared_for_outbound(), item.uses.shared)),
            ];
            for (whole, of) in sizes {
                let most = sum(now.iter().map(|item| of(item).0.max(of(item).1)));
                prop_assert!(most <= whole.max(sum(now.iter().map(|item| of(item).1))), "{whole} {:?} of {policy} {reserves:?} {:?}", now.iter().map(of).collect::<Vec<_>>(), shares);
            }
            for item in &now[usize::from(live)..] {
                prop_assert!(item.policy.limit() <= item.counts.total && item.reserves.total() == 0);
            }
            // Once spread, nothing moves by itself.
            prop_assert_eq!(spread(policy, &reserves, live, &now), shares);
        }
    }

    #[test]
    fn what_does_not_divide_goes_to_the_first() {
        let reserves =
            Reserves::new([("a".parse().expect("a name"), Reserve { inbound: 2, ..Reserve::default() })]);
        let shares = spread(Policy::new(10, 7, 3).expect("lines"), &reserves.expect("one agent"), 3, &[]);
        let numbers = |share: &Share| {
            let Share { policy, reserves } = share;
            (policy.limit(), policy.cap(), policy.headroom(), reserves.total())
        };
        assert_eq!(
            shares.iter().map(numbers).collect::<Vec<_>>(),
            [(4, 3, 1, 1), (3, 2, 1, 1), (3, 2, 1, 0)]
        );
    }
}
