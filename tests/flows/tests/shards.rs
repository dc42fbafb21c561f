//! A ledger of several items: the shares add up whatever happens, no sum is ever passed by a taking, a call has one
//! line, and what a large pool's writes cost. Sizes are small here, so that a few lines are several items.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::{CallId, CampaignCode, ClaimKey, LeadRef, NameCode};
use headroom::core::lead::End;
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::pacing::Own;
use headroom::core::pool::{Counts, Policy, Pool, Rule};
use headroom::core::quota::Quota;
use headroom::core::reserve::{BucketKey, Reserve};
use headroom::core::shard::Sizes;
use headroom::core::unseen::Unseen;
use headroom::flows::Clock as _;
use headroom::flows::observe::Answer;
use headroom::flows::operate::Asked;
use headroom::table::calls::Record;
use headroom::table::changes::Wanted;
use headroom::table::ledger::{Freed, LeadEnd, Observed, Rest, Taken};
use headroom::vapi::calls::Wishes;
use headroom::vapi::message::{CallEvent, Happened};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const FOUR: Sizes = Sizes { single: 4, shard: 4 };

async fn world(limit: u32, cap: u32, headroom: u32) -> World {
    let world = World::start(policy(limit, cap, headroom)).await.unwrap().with_sizes(FOUR);
    world.app.reconcile().await.unwrap();
    world.table().open_campaign(&code(0), (0, 0), &[]).await.unwrap();
    world.table().open_campaign(&code(1), (0, 0), &[]).await.unwrap();
    world
}

fn code(n: u8) -> CampaignCode {
    CampaignCode::of(&format!("campaign-{n}").parse().unwrap())
}

fn call(n: u32) -> CallId {
    format!("019d2ad0-7c40-7aac-9377-{n:012}").parse().unwrap()
}

fn limit(lines: u32) -> Asked {
    Asked { limit: Some(lines), ..Asked::default() }
}

fn event(call: &CallId, kind: Kind, agent: &str, happened: Happened) -> CallEvent {
    let (org, number, claims) = (None, None, Vec::new());
    CallEvent {
        call: call.clone(),
        org,
        kind: Some(kind),
        assistants: vec![NameCode::of(agent)],
        number,
        claims,
        wishes: Wishes::default(),
        talk: None,
        happened,
    }
}

fn over() -> Happened {
    Happened::Ended(End { reason: Some("customer-ended-call".into()), connected: Some(true) })
}

fn callers(assistant: &str) -> Callers {
    Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere(assistant),
        busy_message: "busy".into(),
        overflow: Overflow::default(),
    }
}

/// P7 in every item, and that the shares are the whole.
async fn consistent(world: &World) -> Pool {
    let pool = world.table().read_pool().await.unwrap();
    for item in pool.items() {
        assert_eq!(item.counts, Counts::of(item.lines.values()));
        assert_eq!(item.uses, item.uses_of(&item.reserves, &item.quotas));
        assert!(item.lines.values().all(|token| token.shard() == item.shard.index));
        for (code, tally) in &item.campaigns {
            let of = |key: &&LineKey| matches!(key, LineKey::Claim(claim) if claim.campaign == *code);
            assert_eq!(tally.held as usize, item.lines.keys().filter(of).count());
        }
    }
    let sum = |of: &dyn Fn(&Pool) -> u32| pool.items().iter().map(of).sum::<u32>();
    let (limit, cap) = (sum(&|item| item.policy.limit()), sum(&|item| item.policy.cap()));
    // What there was too much of at the last spreading is nobody's, until that is made good.
    let is_right =
        |share, whole, used| share == whole || share == 0 && (used >= whole || pool.is_lopsided(FOUR));
    assert!(is_right(limit, pool.policy.limit(), pool.counts.total), "{limit}");
    assert!(is_right(cap, pool.policy.cap(), pool.counts.outbound), "{cap}");
    assert_eq!(sum(&|item| item.policy.headroom()), pool.policy.headroom());
    for (agent, reserve) in pool.reserves.iter() {
        let part = |of: fn(&Reserve) -> u32| sum(&|item| item.reserves.get(agent).map_or(0, of));
        assert_eq!(part(|reserve| reserve.inbound), reserve.inbound, "{agent}");
        assert_eq!(part(|reserve| reserve.outbound), reserve.outbound, "{agent}");
    }
    pool
}

/// Takes a line for outbound as the dispatcher does: in the item with the most room, then in the next. Gives the
/// refusals on the way, and the line if there was one.
async fn dial(
    world: &World,
    campaign: &CampaignCode,
    cap: Option<u32>,
    agent: Option<&str>,
    (lead, lines): (u32, u32),
    seen: Option<Pool>,
) -> (u32, Result<Vec<Lease>, Rule>) {
    let (table, now) = (world.table(), world.clock.now());
    let mut pool = match seen {
        Some(pool) => pool,
        None => table.read_pool().await.unwrap(),
    };
    let agent = agent.map(NameCode::of);
    let mut refused = 0;
    loop {
        let (item, room) = pool.roomiest(campaign, cap, agent.as_slice(), now);
        if room.lines == 0 {
            return (refused, Err(room.rule));
        }
        let shard = item.shard.index;
        if !item.campaigns.contains_key(campaign) {
            table.join_campaign(shard, campaign, &[]).await.unwrap();
            pool = table.read_pool().await.unwrap();
            continue;
        }
        let lease = |lead| {
            let lead = LeadRef::of(&format!("lead-{lead}").parse().unwrap());
            let key = LineKey::Claim(ClaimKey { campaign: campaign.clone(), lead, claim: 1 });
            let token = Token::new(Kind::Outbound, now, 0);
            let token = token.known_by(&agent);
            Lease { key, token: token.in_shard(shard) }
        };
        let leases: Vec<Lease> = (lead..lead + lines.min(room.lines)).map(lease).collect();
        let own = pool.own_share(campaign, &Own::from(cap), agent.as_slice(), item, now).unwrap();
        let item = pool.for_taking(item, agent.as_slice(), now).unwrap();
        match table.take(&item, campaign, own, &leases, now).await.unwrap() {
            Taken::Granted(_) => return (refused, Ok(leases)),
            Taken::Refused(item) => {
                refused += 1;
                if !pool.update(item) {
                    pool = table.read_pool().await.unwrap();
                }
            }
        }
    }
}

/// Dials until there is no room, one line at a time.
async fn fill(world: &World, from: u32) -> Vec<Lease> {
    let mut held = Vec::new();
    while let (_, Ok(leases)) = dial(world, &code(0), None, None, (from + held.len() as u32, 1), None).await {
        held.extend(leases);
    }
    held
}

async fn free(world: &World, lease: &Lease) {
    let pool = world.table().read_pool().await.unwrap();
    let freed = world.table().free(&pool, lease, Some(LeadEnd::Done)).await.unwrap();
    assert!(matches!(freed, Freed::Freed(_)), "{freed:?}");
}

#[tokio::test]
async fn a_limit_that_moves_under_held_lines_is_never_passed_and_always_reached() {
    let world = world(8, 100, 0).await;
    let mut held = fill(&world, 0).await;
    assert_eq!((held.len(), consistent(&world).await.items().len()), (8, 2));
    for (lines, items) in [(12, 3), (30, 8)] {
        world.app.change(&limit(lines), "ops").await.unwrap();
        assert_eq!(consistent(&world).await.counts.total, held.len() as u32, "nobody is cut off");
        held.extend(fill(&world, lines * 100).await);
        let pool = consistent(&world).await;
        assert_eq!((held.len() as u32, pool.counts.total, pool.items().len()), (lines, lines, items));
    }
    // Far below what is held: nothing more is taken until it fits, whichever item a line comes back in.
    world.app.change(&limit(5), "ops").await.unwrap();
    for left in (5..30).rev() {
        assert_eq!(fill(&world, 10_000 + left).await, [], "{left} lines are held");
        // All of one item before those of the next.
        free(&world, &held.remove(0)).await;
        if left % 3 == 0 {
            world.app.reconcile().await.unwrap();
        }
        assert_eq!(consistent(&world).await.counts.total, left);
    }
    free(&world, &held.remove(0)).await;
    world.app.reconcile().await.unwrap();
    held.extend(fill(&world, 20_000).await);
    assert_eq!(held.len(), 5);
    // A campaign's figures keep an item that has drained; without them it goes, and the first one is alone again.
    assert_eq!(consistent(&world).await.campaigns[&code(0)].done, 26);
    for lease in &held {
        free(&world, lease).await;
    }
    world.table().close_campaign(&consistent(&world).await, &code(0)).await.unwrap();
    world.app.change(&limit(4), "ops").await.unwrap();
    world.app.reconcile().await.unwrap();
    let pool = consistent(&world).await;
    assert_eq!((pool.items().len(), pool.is_spread(), pool.policy.limit()), (1, false, 4));
    let ledger = |key: &&String| key.contains("LEDGER");
    assert_eq!(world.dump().await.unwrap().keys().filter(ledger).count(), 1);
}

/// Decided on empty items, and meanwhile each has more lines, outbound calls or shared use than its share would be:
/// the change is made whole or not at all.
#[tokio::test]
async fn a_change_that_one_item_refuses_changes_none() {
    for (fewer, reserved, dialed) in
        [(policy(9, 12, 0), true, false), (policy(12, 6, 0), false, true), (policy(12, 12, 6), false, false)]
    {
        let world = world(12, 12, 0).await;
        let (table, now) = (world.table(), world.clock.now());
        if reserved {
            let reserve = Reserve { inbound: 12, ..Reserve::default() };
            let asked = Asked { reserve: Some(("desk".parse().unwrap(), reserve)), ..Asked::default() };
            world.app.change(&asked, "ops").await.unwrap();
        }
        let seen = table.read_pool().await.unwrap();
        let fewer = Wanted { policy: fewer, ..Wanted::of(&seen) };
        if dialed {
            assert_eq!(fill(&world, 0).await.len(), 12);
        } else {
            for n in 0..12 {
                world.app.observe(&event(&call(n), Kind::Inbound, "desk", Happened::Live)).await.unwrap();
            }
        }
        let before = world.dump().await.unwrap();
        assert!(!table.change_policy(&seen, &fewer, "ada", now).await.unwrap(), "{fewer}");
        assert_eq!(world.dump().await.unwrap(), before);
        let seen = table.read_pool().await.unwrap();
        assert!(table.change_policy(&seen, &fewer, "ada", now).await.unwrap());
        assert!(!table.change_policy(&seen, &fewer, "bob", now).await.unwrap(), "once");
        assert_eq!(fill(&world, 100).await, []);
        consistent(&world).await;
    }
}

/// Decided while it held nothing, and meanwhile somebody has come into it.
#[tokio::test]
async fn an_item_that_holds_something_does_not_go() {
    for with_line in [true, false] {
        let world = world(12, 12, 0).await;
        let (table, now) = (world.table(), world.clock.now());
        let seen = table.read_pool().await.unwrap();
        if with_line {
            let taken =
                table.take_observed(seen.item(2).unwrap(), &call(1), Kind::Web, &[], now).await.unwrap();
            assert!(matches!(taken, Observed::Taken(_)), "{taken:?}");
        } else {
            table.join_campaign(2, &code(0), &[]).await.unwrap();
        }
        let before = world.dump().await.unwrap();
        let fewer = Wanted { policy: policy(4, 12, 0), ..Wanted::of(&seen) };
        assert!(!table.change_policy(&seen, &fewer, "ada", now).await.unwrap());
        assert_eq!(world.dump().await.unwrap(), before);
        world.app.change(&limit(4), "ada").await.unwrap();
        assert_eq!(consistent(&world).await.items().len(), 3, "it drains");
        if with_line {
            world.app.observe(&event(&call(1), Kind::Web, "a", over())).await.unwrap();
        } else {
            table.close_campaign(&consistent(&world).await, &code(0)).await.unwrap();
        }
        world.app.reconcile().await.unwrap();
        assert!(!consistent(&world).await.is_spread());
    }
}

#[tokio::test]
async fn a_call_is_moved_from_where_it_is_and_only_while_it_lives() {
    let world = world(12, 12, 0).await;
    let (table, now) = (world.table(), world.clock.now());
    let of = |record: Record| (record.shard, record.end.is_some());
    assert_eq!(of(table.place_call(&call(1), 0, now).await.unwrap()), (Some(0), false));
    assert_eq!(of(table.place_call(&call(1), 1, now).await.unwrap()), (Some(0), false), "the first counts");
    assert_eq!(of(table.move_call(&call(1), 1, 2, now).await.unwrap()), (Some(0), false));
    assert_eq!(of(table.move_call(&call(1), 0, 2, now).await.unwrap()), (Some(2), false));
    let end = |reason: &str| End { reason: Some(reason.into()), connected: None };
    assert!(table.record_ended(&call(1), &end("customer-busy"), now).await.unwrap());
    assert!(!table.record_ended(&call(1), &end("voicemail"), now).await.unwrap(), "the first counts");
    assert_eq!(of(table.move_call(&call(1), 2, 0, now).await.unwrap()), (Some(2), true));
    let record = table.read_record(&call(1)).await.unwrap();
    assert_eq!(record, Record { shard: Some(2), end: Some(end("customer-busy")), ended: Some(now) });
}

/// What was decided before the items were others is refused by each of them, whatever it was.
#[tokio::test]
async fn nobody_takes_by_the_shares_of_before() {
    let world = world(8, 100, 0).await;
    let (table, now) = (world.table(), world.clock.now());
    for shard in 0..2 {
        table.join_campaign(shard, &code(1), &[]).await.unwrap();
    }
    let seen = table.read_pool().await.unwrap();
    world.app.change(&limit(12), "ops").await.unwrap();
    for item in seen.items() {
        let lead = LeadRef::of(&"lead".parse().unwrap());
        let key = LineKey::Claim(ClaimKey { campaign: code(1), lead, claim: 1 });
        let lease = Lease { key, token: Token::new(Kind::Outbound, now, 0).in_shard(item.shard.index) };
        let taken = table.take(item, &code(1), Some(1), &[lease], now).await.unwrap();
        assert!(matches!(taken, Taken::Refused(_)), "{taken:?}");
    }
}

/// A pool that is one item becomes several while a call is on its way into it.
#[tokio::test]
async fn a_call_finds_its_place_while_the_ledger_is_spread() {
    let world = world(4, 4, 0).await;
    let (table, now) = (world.table(), world.clock.now());
    let seen = table.read_pool().await.unwrap();
    assert!(!seen.is_spread());
    world.app.change(&limit(12), "ops").await.unwrap();
    let taken = table.take_observed(&seen, &call(1), Kind::Inbound, &[], now).await.unwrap();
    assert!(matches!(taken, Observed::Moved), "one item's place for it is on no record: {taken:?}");
    world.app.observe(&event(&call(1), Kind::Inbound, "a", Happened::Live)).await.unwrap();
    assert_eq!(consistent(&world).await.counts.inbound, 1);
}

/// Many messages of the same calls at once, some of them asking for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_many_observe_at_once_holds_one_line() {
    const CALLS: u32 = 14;
    let world = Arc::new(world(12, 0, 0).await);
    let each = async |happened: Option<Happened>| {
        let mut racing = JoinSet::new();
        for n in 0..CALLS * 6 {
            let (world, happened) = (world.clone(), happened.clone());
            racing.spawn(async move {
                let app = &world.app;
                match happened {
                    Some(happened) => {
                        app.observe(&event(&call(n / 6), Kind::Inbound, "a", happened)).await.map(|_| ())
                    }
                    None if n % 2 == 0 => app
                        .observe(&event(&call(n / 6), Kind::Inbound, "a", Happened::Live))
                        .await
                        .map(|_| ()),
                    None => {
                        let ask = event(&call(n / 6), Kind::Inbound, "a", Happened::Nothing);
                        app.answer(&ask, &callers("a")).await.map(|_| ())
                    }
                }
            });
        }
        for done in racing.join_all().await {
            done.unwrap();
        }
    };
    each(None).await;
    let pool = consistent(&world).await;
    let mut lines = BTreeMap::new();
    for lease in pool.leases() {
        *lines.entry(lease.key).or_insert(0) += 1;
    }
    assert_eq!((lines.len() as u32, pool.counts.total), (CALLS, CALLS), "{lines:?}");
    each(Some(over())).await;
    assert_eq!(consistent(&world).await.counts.total, 0);
    each(Some(Happened::Live)).await;
    assert_eq!(consistent(&world).await.counts.total, 0, "what is over takes no line again");
}

/// The item that a caller is placed in has filled up meanwhile: there is room in another, and they are let in.
#[tokio::test]
async fn a_caller_is_let_in_as_long_as_any_item_has_a_line() {
    let world = world(12, 100, 0).await;
    let held = fill(&world, 0).await;
    // One line is free, in the last item; the call was placed in the first.
    let last = held.iter().find(|lease| lease.token.shard() == 2).unwrap();
    free(&world, last).await;
    world.table().place_call(&call(1), 0, world.clock.now()).await.unwrap();
    let ask = |n| event(&call(n), Kind::Inbound, "a", Happened::Nothing);
    assert_eq!(world.app.answer(&ask(1), &callers("a")).await.unwrap(), Answer::Assistant("a".into()));
    assert_eq!(world.app.answer(&ask(1), &callers("a")).await.unwrap(), Answer::Assistant("a".into()));
    assert_eq!(world.app.answer(&ask(2), &callers("a")).await.unwrap(), Answer::Refusal("busy".into()));
    let pool = consistent(&world).await;
    let lease = pool.lease(&LineKey::Observed(call(1))).unwrap();
    assert_eq!((pool.counts.total, lease.token.shard()), (12, 2));
    world.app.observe(&event(&call(1), Kind::Inbound, "a", over())).await.unwrap();
    assert_eq!(consistent(&world).await.counts.total, 11);
}

/// Who took a line for a call in one item while another moved the call to the next: each order of the two.
#[tokio::test]
async fn a_line_where_the_call_does_not_belong_comes_back() {
    let world = world(12, 100, 0).await;
    let (table, now) = (world.table(), world.clock.now());
    let live = |n| event(&call(n), Kind::Inbound, "a", Happened::Live);
    let line_in = async |n, shard: u8| {
        let pool = table.read_pool().await.unwrap();
        let item = pool.item(shard).unwrap();
        let taken = table.take_observed(item, &call(n), Kind::Inbound, &[], now).await.unwrap();
        assert!(matches!(taken, Observed::Taken(_)), "{taken:?}");
    };
    let shards = async |n| {
        let pool = consistent(&world).await;
        let of = |lease: &Lease| lease.key == LineKey::Observed(call(n));
        pool.leases().filter(of).map(|lease| lease.token.shard()).collect::<Vec<_>>()
    };

    // Both died before they looked: the pass frees the line that the record does not name.
    table.place_call(&call(1), 1, now).await.unwrap();
    line_in(1, 0).await;
    line_in(1, 1).await;
    assert_eq!(shards(1).await, [0, 1]);
    world.app.reconcile().await.unwrap();
    assert_eq!(shards(1).await, [1]);

    // The mover finds the other's line: the call was moved from the full first item, where somebody else forced it in.
    let held = fill(&world, 0).await;
    let second = held.iter().find(|lease| lease.token.shard() == 2).unwrap();
    free(&world, second).await;
    table.place_call(&call(2), 0, now).await.unwrap();
    let ask = event(&call(2), Kind::Inbound, "a", Happened::Nothing);
    assert_eq!(world.app.answer(&ask, &callers("a")).await.unwrap(), Answer::Assistant("a".into()));
    line_in(2, 0).await;
    assert_eq!(shards(2).await, [0, 2]);
    world.app.observe(&live(2)).await.unwrap();
    world.app.reconcile().await.unwrap();
    assert_eq!(shards(2).await, [2]);
    for n in [1, 2] {
        world.app.observe(&event(&call(n), Kind::Inbound, "a", over())).await.unwrap();
        assert!(shards(n).await.is_empty());
    }
}

#[tokio::test]
async fn a_rest_holds_in_every_item_and_an_item_that_is_gone_does_not_come_back() {
    let world = world(12, 100, 0).await;
    let (table, now) = (world.table(), world.clock.now());
    let pool = table.read_pool().await.unwrap();
    let until = now + SignedDuration::from_secs(60);
    table.rest(&pool, Rest { until, count: 1 }).await.unwrap();
    let rests = table.read_pool().await.unwrap();
    assert!(rests.items().iter().all(|item| item.hold_until == until && item.hold_count == 1));
    // A new item rests with the others.
    world.app.change(&limit(16), "ops").await.unwrap();
    let more = consistent(&world).await;
    assert!(more.items().len() == 4 && more.items().iter().all(|item| item.hold_until == until));
    table.end_rests(&more).await.unwrap();
    assert!(consistent(&world).await.items().iter().all(|item| item.hold_count == 0));
    world.app.change(&limit(4), "ops").await.unwrap();
    world.app.reconcile().await.unwrap();
    let before = world.dump().await.unwrap();
    table.end_rests(&more).await.unwrap();
    table.join_campaign(3, &code(0), &[]).await.unwrap();
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn several_items_look_like_one_pool() {
    let world = world(12, 9, 2).await;
    let reserve = Reserve { inbound: 2, outbound: 1, ..Reserve::default() };
    let asked = Asked { reserve: Some(("sales".parse().unwrap(), reserve)), ..Asked::default() };
    let (before, now) = world.app.change(&asked, "ada").await.unwrap();
    assert_eq!(Wanted::of(&before).to_string(), "limit 12, cap 9, headroom 2");
    assert_eq!(Wanted::of(&now).to_string(), "limit 12, cap 9, headroom 2, sales inbound 2 outbound 1");
    let changes = world.table().list_changes(9).await.unwrap();
    assert_eq!(
        (changes.len(), &*changes[0].to),
        (1, "limit 12, cap 9, headroom 2, sales inbound 2 outbound 1")
    );
    for n in 0..3 {
        world.app.observe(&event(&call(n), Kind::Inbound, "sales", Happened::Live)).await.unwrap();
    }
    consistent(&world).await;
    let status = world.app.status().await.unwrap().pools.remove(0);
    assert_eq!((status.limit, status.cap, status.headroom, status.total), (12, 9, 2, 3));
    assert_eq!((status.shared_lines, status.shared, status.reserves[0].held), (9, 1, 3));
    assert_eq!(status.shards.iter().map(|shard| shard.limit).collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(status.shards.iter().map(|shard| shard.reserved).sum::<u64>(), 3);
}

/// The dispatcher at work: it goes from item to item, and a campaign's own cap holds over all of them.
#[tokio::test]
async fn a_campaign_uses_the_lines_of_all_items_and_its_cap_holds_over_all() {
    let world = world(12, 100, 2).await;
    let app = Arc::new(world.app.clone());
    let until = world.clock.now() + SignedDuration::from_mins(1);
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    let send = async |id: &str, cap: Option<u32>| {
        let leads: Vec<_> =
            (0..20).map(|n| json!({ "id": format!("{id}-{n}"), "number": format!("+1555{n:07}") })).collect();
        let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph" });
        if let Some(cap) = cap {
            campaign["maxConcurrency"] = json!(cap);
        }
        app.take_in(json!({ "campaign": campaign, "leads": leads }).to_string().as_bytes()).await.unwrap();
        app.dispatch(until).await.unwrap()
    };
    let capped = send("capped", Some(2)).await;
    assert_eq!((capped.taken, capped.refused), (2, 0));
    let free = send("free", None).await;
    assert_eq!((free.taken, free.refused), (8, 0), "all but the headroom");
    let pool = consistent(&world).await;
    let totals: Vec<u32> = pool.items().iter().map(|item| item.counts.total).collect();
    assert_eq!((pool.counts.outbound, totals), (10, vec![3, 3, 4]));
    let held = |id: &str| pool.campaigns[&CampaignCode::of(&id.parse().unwrap())].held;
    assert_eq!((held("capped"), held("free")), (2, 8));
    let status = world.app.status().await.unwrap();
    let live: Vec<u32> = status.campaigns.iter().map(|campaign| campaign.leads.live).collect();
    assert_eq!(live, [2, 8]);
}

/// Few lines for outbound of no end of lines: each campaign finds its own.
#[tokio::test]
async fn small_campaigns_find_their_lines_in_a_pool_without_a_limit() {
    let world = World::start(policy(Policy::UNLIMITED, 7, 3)).await.unwrap();
    world.app.reconcile().await.unwrap();
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    for nth in 0..7 {
        let id = format!("small-{nth}");
        let campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph", "maxConcurrency": 1 });
        let lead = json!({ "id": "a", "number": format!("+1555555{nth:04}") });
        world
            .app
            .take_in(json!({ "campaign": campaign, "leads": [lead] }).to_string().as_bytes())
            .await
            .unwrap();
    }
    let until = world.clock.now() + SignedDuration::from_mins(1);
    assert_eq!(Arc::new(world.app.clone()).dispatch(until).await.unwrap().taken, 7);
}

/// Campaigns with a rate or with batches begin where the trunk counts, wherever they would alone (P4).
#[tokio::test]
async fn paced_campaigns_get_through_a_paced_trunk_in_any_item() {
    let world = world(20, 100, 0).await;
    let app = Arc::new(world.app.clone());
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    let bound = |bound: u32| NonZeroU32::new(bound);
    let quota = |per_second, per_day| Quota {
        per_second,
        per_day,
        members: [NameCode::of("trunk")].into(),
        ..Quota::default()
    };
    for (name, quota) in [("channels", quota(bound(1000), None)), ("contract", quota(None, bound(1000)))] {
        let quota = Some((name.parse().unwrap(), quota));
        app.change(&Asked { quota, ..Asked::default() }, "ops").await.unwrap();
    }
    let send = async |id: String, pace: (&str, Value), lead: u32| {
        let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "trunk" });
        campaign[pace.0] = pace.1;
        let lead = json!({ "id": "a", "number": format!("+1555555{lead:04}") });
        let message = json!({ "campaign": campaign, "leads": [lead] });
        app.take_in(message.to_string().as_bytes()).await.unwrap();
    };
    for nth in 0..8 {
        send(format!("rate-{nth}"), ("perSecond", json!(1000)), 2 * nth).await;
        send(format!("batch-{nth}"), ("batch", json!({ "leads": 1, "pause": "1m" })), 2 * nth + 1).await;
    }
    let until = world.clock.now() + SignedDuration::from_mins(1);
    let taken = app.dispatch(until).await.unwrap().taken;
    let totals = |pool: &Pool| pool.items().iter().map(|item| item.counts.total).collect::<Vec<_>>();
    let pool = consistent(&world).await;
    assert_eq!(
        (taken, totals(&pool)),
        (4, vec![4, 0, 0, 0, 0]),
        "the first item's lines are all that they have"
    );
    // Nobody is stuck behind them.
    let mut over = taken;
    while over < 16 {
        for lease in consistent(&world).await.leases() {
            free(&world, &lease).await;
        }
        world.clock.advance(SignedDuration::from_secs(1));
        let more = app.dispatch(world.clock.now() + SignedDuration::from_mins(1)).await.unwrap().taken;
        assert!(more > 0, "{over} of 16 have begun");
        over += more;
    }
}

/// The item that counts a quota's calls is another one when their number changes, and may drain: the day goes on.
#[tokio::test]
async fn a_quotas_day_goes_on_when_the_ledger_is_spread_anew() {
    let world = world(12, 100, 0).await;
    world.app.change(&set(quota(0, 6)), "ops").await.unwrap();
    let mut lead = 0;
    for (lines, begun) in [(20, 2), (4, 4), (16, 6), (30, 6), (4, 6)] {
        for _ in 0..2 {
            let (_, taken) = dial(&world, &code(0), None, Some("c"), (lead, 1), None).await;
            lead += 1;
            assert_eq!(taken.is_ok(), lead <= 6, "{taken:?}");
            if let Ok(leases) = taken {
                free(&world, &leases[0]).await;
            }
        }
        assert_eq!(counted(&consistent(&world).await, world.clock.now()), (0, begun));
        world.app.change(&limit(lines), "ops").await.unwrap();
        world.table().close_campaign(&consistent(&world).await, &code(0)).await.unwrap();
        world.app.reconcile().await.unwrap();
        world.table().open_campaign(&code(0), (0, 0), &[]).await.unwrap();
    }
    // Without the quota, nothing keeps the items that have drained.
    world.app.change(&set(Quota::default()), "ops").await.unwrap();
    for n in 0..2 {
        world.table().close_campaign(&consistent(&world).await, &code(n)).await.unwrap();
    }
    world.app.reconcile().await.unwrap();
    assert!(!consistent(&world).await.is_spread());
}

#[derive(Debug, Clone)]
enum Op {
    Dial { capped: bool, agent: u8, lines: u32, stale: bool },
    Observe { call: u8, web: bool, agent: u8 },
    Answer { call: u8, agent: u8 },
    End { call: u8 },
    Free { nth: u8 },
    Limit(u32),
    Numbers { cap: u32, headroom: u32 },
    Reserve { agent: u8, inbound: u32, outbound: u32 },
    Quota { lines: u32, per_day: u32 },
    Others(u32),
    Pass,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<bool>(), 0_u8..3, 1_u32..4, any::<bool>())
            .prop_map(|(capped, agent, lines, stale)| Op::Dial { capped, agent, lines, stale }),
        3 => (0_u8..12, any::<bool>(), 0_u8..3).prop_map(|(call, web, agent)| Op::Observe { call, web, agent }),
        3 => (0_u8..12, 0_u8..3).prop_map(|(call, agent)| Op::Answer { call, agent }),
        3 => (0_u8..12).prop_map(|call| Op::End { call }),
        6 => any::<u8>().prop_map(|nth| Op::Free { nth }),
        2 => (1_u32..24).prop_map(Op::Limit),
        1 => (0_u32..20, 0_u32..5).prop_map(|(cap, headroom)| Op::Numbers { cap, headroom }),
        2 => (0_u8..2, 0_u32..4, 0_u32..4)
            .prop_map(|(agent, inbound, outbound)| Op::Reserve { agent, inbound, outbound }),
        1 => (0_u32..6, 0_u32..30).prop_map(|(lines, per_day)| Op::Quota { lines, per_day }),
        2 => (0_u32..9).prop_map(Op::Others),
        3 => Just(Op::Pass),
    ]
}

const CAP: u32 = 3;

/// The agents whose calls count in the quota.
const BOUNDED: [&str; 2] = ["a", "c"];

fn quota(lines: u32, per_day: u32) -> Quota {
    Quota {
        lines: NonZeroU32::new(lines),
        per_day: NonZeroU32::new(per_day),
        members: BOUNDED.map(NameCode::of).into(),
        ..Quota::default()
    }
}

fn set(quota: Quota) -> Asked {
    Asked { quota: Some(("trunk".parse().unwrap(), quota)), ..Asked::default() }
}

/// Lines held by the quota's calls, and those of them that were begun today, by all items.
fn counted(pool: &Pool, now: Timestamp) -> (u32, u32) {
    let key = BucketKey::quota(&"trunk".parse().unwrap());
    let items = pool.items().iter();
    items.fold((0, 0), |(held, begun), item| {
        (held + item.uses.held(&key), begun + item.pace(&key).dialed_today(now))
    })
}

/// Whether a call that was only observed counts in the quota: it is never refused.
fn is_observed(pool: &Pool) -> bool {
    let bounded = BOUNDED.map(NameCode::of);
    let counts = |lease: &Lease| lease.token.codes().iter().any(|code| bounded.contains(code));
    pool.leases().any(|lease| matches!(lease.key, LineKey::Observed(_)) && counts(&lease))
}

/// Lines that outbound may take in an item without regard to others: of the shared ones, and of all.
fn left(item: &Pool) -> [u32; 2] {
    let free = item.policy.limit().saturating_sub(item.counts.total);
    [item.shared_for_outbound().saturating_sub(item.uses.shared).min(free), free]
}

/// The same over all items, less `others`, as if they were one.
fn left_of_all(pool: &Pool, others: u32) -> [u32; 2] {
    let all = pool.live_items().iter().map(left);
    let all = all.fold([0, 0], |sum, left| [sum[0] + left[0], sum[1] + left[1]]);
    all.map(|lines| lines.saturating_sub(others))
}

/// What every step keeps: see `consistent`; what outbound takes passes no sum unless more than a share was observed
/// somewhere; a campaign never passes its own cap, and a quota neither its lines nor its day; what others are believed to
/// use is left alone as it would be in one item; a call has one line.
async fn play(world: &World, ops: &[Op]) {
    let (mut bounds, mut begun) = (Quota::default(), 0);
    let agents = ["a", "b", "c"];
    let (table, mut seen) = (world.table(), world.table().read_pool().await.unwrap());
    for (step, op) in ops.iter().enumerate() {
        let before = table.read_pool().await.unwrap();
        let step = step as u32;
        match op {
            Op::Dial { capped, agent, lines, stale } => {
                let cap = capped.then_some(CAP);
                let agent = agents.get(usize::from(*agent)).copied();
                let from = stale.then(|| seen.clone());
                let campaign = code(u8::from(*capped));
                let (_, taken) = dial(world, &campaign, cap, agent, (step * 10, *lines), from).await;
                let now = table.read_pool().await.unwrap();
                let at = world.clock.now();
                let lines = taken.as_ref().map_or(0, |leases| leases.len() as u32);
                if lines > 0 && agent.is_some_and(|agent| BOUNDED.contains(&agent)) {
                    begun += if bounds.is_paced() { lines } else { 0 };
                    let (held, _) = counted(&now, at);
                    assert!(
                        is_observed(&now) || bounds.lines.is_none_or(|most| held <= most.get()),
                        "{held}"
                    );
                    assert!(bounds.per_day.is_none_or(|most| begun <= most.get()), "{begun} begun");
                }
                let others = before.unseen(at);
                if lines > 0 && others > 0 && !stale {
                    let shared = |pool: &Pool| pool.items().iter().map(|item| item.uses.shared).sum::<u32>();
                    let from_own = shared(&now) == shared(&before);
                    let left = left_of_all(&before, others)[usize::from(from_own)];
                    assert!(lines <= left, "{lines} taken of {left} beside {others} of others");
                }
                let is_over = |item: &Pool| {
                    item.counts.total > item.policy.limit()
                        || item.uses.shared > item.shared()
                        || item.counts.outbound > item.policy.cap()
                };
                // Dispatchers spread lopsided lines before they take any.
                if taken.is_ok() && !before.is_lopsided(FOUR) && !before.items().iter().any(is_over) {
                    let reserved = now.reserves.total() as u32;
                    assert!(now.counts.total <= now.policy.limit(), "limit");
                    assert!(now.counts.outbound <= now.policy.cap(), "cap");
                    let shared: u32 = now.items().iter().map(|item| item.uses.shared).sum();
                    assert!(shared <= now.policy.limit().saturating_sub(reserved), "shared");
                }
            }
            Op::Observe { call: n, web, agent } => {
                let kind = if *web { Kind::Web } else { Kind::Inbound };
                let event = event(
                    &call(u32::from(*n) + step / 40 * 100),
                    kind,
                    agents[usize::from(*agent)],
                    Happened::Live,
                );
                world.app.observe(&event).await.unwrap();
            }
            Op::Answer { call: n, agent } => {
                let call = call(u32::from(*n) + step / 40 * 100);
                let agent = agents[usize::from(*agent)];
                let code = NameCode::of(agent);
                let ask = event(&call, Kind::Inbound, agent, Happened::Nothing);
                let known = before.lines.contains_key(&LineKey::Observed(call.clone()));
                let answer = world.app.answer(&ask, &callers(agent)).await.unwrap();
                let has_line =
                    |item: &Pool| item.refusal(std::slice::from_ref(&code), Kind::Inbound).is_none();
                if !known && table.read_ended(&call).await.unwrap().is_none() {
                    let any = before.live_items().iter().any(has_line);
                    let let_in = answer == Answer::Assistant(agent.into());
                    // Where no item had room, the lines may have been spread anew for it.
                    assert!(let_in == any || let_in && before.is_lopsided(FOUR), "{before:#?}");
                    assert!(
                        let_in || before.counts.total >= before.policy.limit() || before.reserves.total() > 0
                    );
                }
            }
            Op::End { call: n } => {
                let call = call(u32::from(*n) + step / 40 * 100);
                world.app.observe(&event(&call, Kind::Inbound, "a", over())).await.unwrap();
            }
            Op::Free { nth } => {
                let dialed = |lease: &Lease| matches!(lease.key, LineKey::Claim(_));
                let held: Vec<Lease> = before.leases().filter(dialed).collect();
                if !held.is_empty() {
                    let lease = &held[usize::from(*nth) % held.len()];
                    let old = if nth % 2 == 0 { &before } else { &seen };
                    let freed = table.free(old, lease, Some(LeadEnd::Done)).await.unwrap();
                    assert!(matches!(freed, Freed::Freed(_)), "{freed:?}");
                    let freed = table.free(old, lease, Some(LeadEnd::Done)).await.unwrap();
                    assert!(matches!(freed, Freed::NotHeld), "{freed:?}");
                }
            }
            Op::Limit(lines) => {
                let _ = world.app.change(&limit(*lines), "ops").await.unwrap();
            }
            Op::Numbers { cap, headroom } => {
                let asked = Asked { cap: Some(*cap), headroom: Some(*headroom), ..Asked::default() };
                world.app.change(&asked, "ops").await.unwrap();
            }
            Op::Reserve { agent, inbound, outbound } => {
                let reserve = Reserve { inbound: *inbound, outbound: *outbound, ..Reserve::default() };
                let agent = agents[usize::from(*agent)].parse().unwrap();
                // More than there are: refused, and nothing has changed.
                let _ = world
                    .app
                    .change(&Asked { reserve: Some((agent, reserve)), ..Asked::default() }, "ops")
                    .await;
            }
            Op::Quota { lines, per_day } => {
                bounds = quota(*lines, *per_day);
                begun = if bounds.is_empty() { 0 } else { begun };
                world.app.change(&set(bounds.clone()), "ops").await.unwrap();
            }
            Op::Others(lines) => {
                let at = world.clock.now();
                let until = at + SignedDuration::from_mins(3);
                let unseen = (*lines > 0).then_some(Unseen { lines: *lines, at, until });
                assert!(table.note_unseen(&before, unseen).await.unwrap());
                let now = table.read_pool().await.unwrap();
                assert_eq!(now.unseen(at), *lines);
                let beside = |item: &Pool| left(item).map(|lines| lines.saturating_sub(item.unseen(at)));
                let parts = now.live_items().iter().map(beside);
                let parts = parts.fold([0, 0], |sum, left| [sum[0] + left[0], sum[1] + left[1]]);
                assert_eq!(parts, left_of_all(&before, *lines), "{now:#?}");
            }
            Op::Pass => {
                let _ = table.spread_lines(&before).await.unwrap();
                let now = consistent(world).await;
                let (over, room): (Vec<_>, Vec<_>) =
                    now.items().iter().partition(|item| item.counts.total > item.policy.limit());
                let has_room = |item: &&&Pool| item.counts.total < item.policy.limit();
                assert!(over.is_empty() || room.iter().filter(has_room).count() == 0, "{now:#?}");
            }
        }
        let now = consistent(world).await;
        assert!(now.campaigns[&code(1)].held <= CAP, "a campaign's own cap");
        assert_eq!(counted(&now, world.clock.now()).1, begun, "the calls of the day");
        assert_eq!(now.leases().count(), now.lines.len(), "one line for each");
        if step.is_multiple_of(3) {
            seen = now;
        }
    }
}

#[tokio::test]
async fn a_caller_of_before_the_spreading_keeps_the_one_line() {
    let world = world(3, 3, 0).await;
    let caller = call(1);
    let ask = event(&caller, Kind::Inbound, "a", Happened::Nothing);
    let let_in = Answer::Assistant("a".into());
    assert_eq!(world.app.answer(&ask, &callers("a")).await.unwrap(), let_in);
    world.app.change(&Asked { limit: Some(20), ..Asked::default() }, "ops").await.unwrap();
    // The item that has the line is the fullest: any other would be chosen before it.
    assert!(consistent(&world).await.is_spread());
    assert_eq!(world.app.answer(&ask, &callers("a")).await.unwrap(), let_in);
    assert_eq!(consistent(&world).await.leases().count(), 1);
}

fn random_operations(cases: u32, steps: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime.block_on(world(12, 12, 0));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let played = TestRunner::new(config).run(&proptest::collection::vec(op(), steps), |ops| {
        runtime.block_on(async {
            let world = first.beside(policy(12, 12, 0)).await.unwrap();
            world.table().spread_lines(&world.table().read_pool().await.unwrap()).await.unwrap();
            for n in 0..2 {
                world.table().open_campaign(&code(n), (0, 0), &[]).await.unwrap();
            }
            play(&world, &ops).await;
        });
        Ok(())
    });
    played.unwrap();
}

#[test]
fn random_operations_keep_every_sum() {
    random_operations(8, 100);
}

#[test]
#[ignore = "takes minutes; run by `cargo test -p flows --test shards -- --ignored many_random`"]
fn many_random_operations_keep_every_sum() {
    random_operations(300, 200);
}

/// What came of a run with a large pool.
#[derive(Debug)]
struct Measured {
    items: usize,
    takes: u32,
    refused: u32,
    most_refused: u32,
    units: f64,
    free_units: f64,
    per_second: f64,
}

/// Fills a pool to a few lines below its limit, 40 with each write, as dispatchers do where there is room; then takes
/// the last ones one by one with several at once, each from what it has read; then frees those.
async fn at_the_limit(lines: u32, sizes: Sizes, last: u32, at_once: u32) -> Measured {
    let world = Arc::new(World::start(policy(lines, lines, 0)).await.unwrap().with_sizes(sizes));
    world.app.reconcile().await.unwrap();
    world.table().open_campaign(&code(0), (0, 0), &[]).await.unwrap();
    let mut held = 0;
    while held < lines - last {
        let wanted = (lines - last - held).min(40);
        let (refused, taken) = dial(&world, &code(0), None, None, (held, wanted), None).await;
        assert_eq!(refused, 0);
        held += taken.unwrap().len() as u32;
    }
    let (next, refused, most) = (AtomicU32::new(held), AtomicU32::new(0), AtomicU32::new(0));
    let counters = Arc::new((next, refused, most));
    world.take_write_units();
    let began = Instant::now();
    let mut racing = JoinSet::new();
    for _ in 0..at_once {
        let (world, counters) = (world.clone(), counters.clone());
        racing.spawn(async move {
            let (next, refused, most) = &*counters;
            let mut taken = Vec::new();
            loop {
                let lead = next.fetch_add(1, Ordering::Relaxed);
                let (misses, lease) = dial(&world, &code(0), None, None, (lead, 1), None).await;
                refused.fetch_add(misses, Ordering::Relaxed);
                most.fetch_max(misses, Ordering::Relaxed);
                match lease {
                    Ok(leases) => taken.extend(leases),
                    Err(_) => return taken,
                }
            }
        });
    }
    let leases: Vec<Lease> = racing.join_all().await.into_iter().flatten().collect();
    let seconds = began.elapsed().as_secs_f64();
    let units = world.take_write_units();
    let pool = consistent(&world).await;
    assert_eq!((pool.counts.total, leases.len() as u32), (lines, last), "all lines are taken, and no more");
    for lease in &leases {
        free(&world, lease).await;
    }
    let free_units = world.take_write_units();
    assert_eq!(consistent(&world).await.counts.total, lines - last);
    let (_, refused, most) = &*counters;
    Measured {
        items: pool.items().len(),
        takes: last,
        refused: refused.load(Ordering::Relaxed),
        most_refused: most.load(Ordering::Relaxed),
        units,
        free_units,
        per_second: f64::from(last) / seconds,
    }
}

#[allow(clippy::print_stdout, reason = "figures for people")]
fn report(lines: u32, measured: &Measured) {
    let Measured { items, takes, refused, most_refused, units, free_units, per_second } = measured;
    let each = |units: f64| units / f64::from(*takes);
    println!(
        "{lines} lines, {items} items: {takes} taken one by one up to the limit by 8 at once, {:.2} writes per \
         taking ({refused} refused, {most_refused} for one at most), {:.1} units per taking, {:.1} per freeing, \
         {per_second:.0} takings a second",
        f64::from(takes + refused) / f64::from(*takes),
        each(*units),
        each(*free_units),
    );
}

/// 60 lines in 15 items, so that each is soon full and the last free line is somewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_line_is_found_with_few_writes() {
    let measured = at_the_limit(60, FOUR, 40, 8).await;
    report(60, &measured);
    assert!(measured.most_refused <= 15 + 8, "{measured:?}");
    assert!(measured.refused <= 2 * measured.takes, "{measured:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute, for its figures; run by `cargo test -p flows --test shards -- --ignored --nocapture large_pools`"]
async fn large_pools() {
    let one = Sizes { single: u32::MAX, shard: 500 };
    for (lines, sizes) in [
        (1000, Sizes::default()),
        (1000, Sizes { single: 500, shard: 500 }),
        (5000, Sizes::default()),
        (5000, one),
    ] {
        report(lines, &at_the_limit(lines, sizes, 200, 8).await);
    }
}
