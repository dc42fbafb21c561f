//! Which call goes next, on the engine and through the real dispatcher: weights, priorities and shares among campaigns,
//! warm leads within one, and how fast one goes by its own rate, ramp and batches. Calls last as long as the test says;
//! the clock stands still but for that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use flows::{World, policy};
use headroom::core::ids::{CampaignCode, ClaimKey, LeadRef, NameCode};
use headroom::core::lead::{Counts, End, LeadState, Outcome};
use headroom::core::line::{LineKey, Token};
use headroom::core::pool::{Pool, Rule};
use headroom::core::quota::Quota;
use headroom::flows::Clock as _;
use headroom::flows::operate::Asked;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A pool in which every dial becomes a call that lasts.
async fn world(lines: u32) -> World {
    let world = World::start(policy(lines, lines, 0)).await.unwrap();
    world.vapi.answers(201, json!({ "id": "call-{n}" }).to_string());
    world
}

fn code(id: &str) -> CampaignCode {
    CampaignCode::of(&id.parse().unwrap())
}

/// A campaign with these settings and so many leads more, from `first` on; those of `warm` are.
async fn send(world: &World, id: &str, settings: &Value, leads: std::ops::Range<usize>, warm: &[usize]) {
    let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph" });
    for (name, value) in settings.as_object().unwrap() {
        campaign[name] = value.clone();
    }
    let all: Vec<usize> = leads.collect();
    for some in all.chunks(1000) {
        let lead = |n: &usize| {
            let priority = if warm.contains(n) { "high" } else { "normal" };
            json!({ "id": format!("{id}-{n}"), "number": format!("+1555{n:07}"), "priority": priority })
        };
        let leads: Vec<Value> = some.iter().map(lead).collect();
        let message = json!({ "campaign": campaign, "leads": leads }).to_string();
        world.app.take_in(message.as_bytes()).await.unwrap();
    }
}

async fn dispatch(world: &World) -> Pool {
    let until = world.clock.now() + SignedDuration::from_mins(2);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    world.table().read_pool().await.unwrap()
}

fn held(pool: &Pool, id: &str) -> u32 {
    pool.come(&code(id)).0
}

/// How long a call lasts: one to two minutes, by its claim.
fn length(claim: &ClaimKey) -> SignedDuration {
    let sum =
        claim.to_string().bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    SignedDuration::from_secs(60 + (sum % 61) as i64)
}

fn ends(claim: &ClaimKey, token: &Token) -> Timestamp {
    token.since() + length(claim)
}

/// The call of the held lines that ends first.
fn next_end(pool: &Pool) -> Option<(ClaimKey, Timestamp)> {
    let claims = pool.lines.iter().filter_map(|(key, token)| match key {
        LineKey::Claim(claim) => Some((claim.clone(), ends(claim, token))),
        LineKey::Observed(_) => None,
    });
    claims.min_by_key(|(_, at)| *at)
}

async fn end(world: &World, pool: &Pool, claim: &ClaimKey, reason: &str) {
    let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
    let LeadState::Live { call, .. } = &lead.state else { panic!("{claim} is in no call: {:?}", lead.state) };
    let end = End { reason: Some(reason.to_owned()), connected: None };
    world.app.settle(pool, &lead, Some(call), &end).await.unwrap();
}

/// The clock moves on to the next end of a call; the line that it frees is dealt out. Whose call it was.
async fn step(world: &World, pool: Pool) -> (CampaignCode, Pool) {
    let (claim, at) = next_end(&pool).expect("somebody is in a call");
    let wait = at.duration_since(world.clock.now());
    if wait.is_positive() {
        world.clock.advance(wait);
    }
    end(world, &pool, &claim, "customer-ended-call").await;
    (claim.campaign, dispatch(world).await)
}

#[tokio::test]
async fn three_campaigns_have_their_weights_of_the_lines_and_an_emergency_goes_next() {
    let world = world(10).await;
    for (id, weight) in [("a", 3), ("b", 2), ("c", 1)] {
        send(&world, id, &json!({ "weight": weight }), 0..400, &[]).await;
    }
    let mut pool = dispatch(&world).await;
    let mut had: BTreeMap<CampaignCode, f64> = BTreeMap::new();
    let mut last = world.clock.now();
    let mut account = |pool: &Pool, now: Timestamp| {
        for id in ["a", "b", "c"] {
            let lines = f64::from(held(pool, id));
            *had.entry(code(id)).or_default() += lines * now.duration_since(last).as_secs_f64();
        }
        last = now;
        had.clone()
    };
    for nth in 0..360 {
        let before = pool.clone();
        (_, pool) = step(&world, pool).await;
        account(&before, world.clock.now());
        assert_eq!(pool.counts.outbound, 10, "no line is idle while somebody waits");
        if nth == 180 {
            send(&world, "alarm", &json!({ "priority": "emergency" }), 0..5, &[]).await;
            for on in 1..=5 {
                let before = pool.clone();
                (_, pool) = step(&world, pool).await;
                account(&before, world.clock.now());
                assert_eq!(held(&pool, "alarm"), on, "the next line that comes free is the emergency's");
            }
        }
    }
    let had = account(&pool, world.clock.now());
    let all: f64 = had.values().sum();
    for (id, weight) in [("a", 3.0), ("b", 2.0), ("c", 1.0)] {
        let (share, part) = (had[&code(id)] / all, weight / 6.0);
        println!(
            "{id}: weight {weight}, {:.2} % of the line-time, {:.2} % is its part",
            100.0 * share,
            100.0 * part
        );
        assert!((share / part - 1.0).abs() < 0.05, "{id} had {share} of the line-time, its part is {part}");
    }
}

/// When the last of 10 leads is over that come beside a list of `many`, on lines that are all in use by then.
async fn ten_beside(many: usize) -> SignedDuration {
    let world = world(6).await;
    send(&world, "many", &json!({}), 0..many, &[]).await;
    let mut pool = dispatch(&world).await;
    send(&world, "ten", &json!({}), 0..10, &[]).await;
    let came = world.clock.now();
    for _ in 0..60 {
        (_, pool) = step(&world, pool).await;
        if pool.campaigns.get(&code("ten")).is_none_or(|tally| tally.done == 10) {
            return world.clock.now().duration_since(came);
        }
    }
    panic!("60 calls later ten leads are not over: {:?}", pool.campaigns);
}

#[tokio::test]
async fn ten_leads_are_over_as_soon_beside_a_long_list_as_beside_a_longer_one() {
    let (short, long) = (ten_beside(100).await, ten_beside(1000).await);
    println!("10 leads beside 100: {short:#}, beside 1000: {long:#}");
    assert_eq!(short, long);
    // Three of six lines are theirs: four calls in a row at most, none longer than two minutes, and the wait for the first.
    assert!(short <= SignedDuration::from_mins(10), "{short:#}");
}

#[tokio::test]
#[ignore = "takes some minutes: 10,000 leads; run by `cargo test -p flows --test turns -- --ignored --nocapture ten_leads`"]
async fn ten_leads_beside_ten_thousand() {
    let (short, long) = (ten_beside(100).await, ten_beside(10_000).await);
    println!("10 leads beside 100: {short:#}, beside 10,000: {long:#}");
    assert_eq!(short, long);
}

#[tokio::test]
async fn one_line_goes_round_among_equals() {
    let world = world(1).await;
    for id in ["a", "b", "c"] {
        send(&world, id, &json!({}), 0..30, &[]).await;
    }
    let mut pool = dispatch(&world).await;
    let mut ended: BTreeMap<CampaignCode, usize> = BTreeMap::new();
    for _ in 0..30 {
        let whose;
        (whose, pool) = step(&world, pool).await;
        *ended.entry(whose).or_default() += 1;
    }
    assert!(ended.len() == 3 && ended.values().all(|calls| (7..=13).contains(calls)), "{ended:?}");
}

#[tokio::test]
async fn several_dispatchers_at_once_deal_out_the_same_shares() {
    let world = world(12).await;
    for (id, weight) in [("a", 3), ("b", 2), ("c", 1)] {
        send(&world, id, &json!({ "weight": weight }), 0..60, &[]).await;
    }
    tokio::join!(dispatch(&world), dispatch(&world), dispatch(&world));
    let mut pool = dispatch(&world).await;
    for _ in 0..12 {
        let (claim, at) = next_end(&pool).unwrap();
        world.clock.advance(at.duration_since(world.clock.now()).max(SignedDuration::ZERO));
        end(&world, &pool, &claim, "customer-ended-call").await;
        tokio::join!(dispatch(&world), dispatch(&world), dispatch(&world));
        pool = dispatch(&world).await;
    }
    let held = ["a", "b", "c"].map(|id| held(&pool, id));
    assert_eq!((held.iter().sum::<u32>(), pool.counts.outbound), (12, 12));
    assert!(held.iter().zip([6_u32, 4, 2]).all(|(lines, part)| lines.abs_diff(part) <= 1), "{held:?}");
}

#[tokio::test]
async fn a_guaranteed_share_is_served_while_higher_ones_wait() {
    let world = world(10).await;
    send(&world, "high", &json!({ "priority": "high" }), 0..30, &[]).await;
    send(&world, "low", &json!({ "priority": "low", "share": 0.2 }), 0..30, &[]).await;
    send(&world, "other", &json!({ "priority": "low" }), 0..30, &[]).await;
    let pool = dispatch(&world).await;
    assert_eq!(["high", "low", "other"].map(|id| held(&pool, id)), [8, 2, 0]);
    // A line of the one that has its share comes back to it.
    let (claim, _) = pool
        .lines
        .keys()
        .filter_map(|key| if let LineKey::Claim(claim) = key { Some((claim.clone(), ())) } else { None })
        .find(|(claim, ())| claim.campaign == code("low"))
        .unwrap();
    end(&world, &pool, &claim, "customer-ended-call").await;
    let pool = dispatch(&world).await;
    assert_eq!(["high", "low", "other"].map(|id| held(&pool, id)), [8, 2, 0]);
}

fn leads_on_lines(pool: &Pool) -> Vec<LeadRef> {
    let claims = pool.lines.keys().filter_map(|key| match key {
        LineKey::Claim(claim) => Some(claim.lead.clone()),
        LineKey::Observed(_) => None,
    });
    claims.collect()
}

fn reference(id: &str) -> LeadRef {
    LeadRef::of(&id.parse().unwrap())
}

#[tokio::test]
async fn warm_leads_go_first_and_come_back_among_the_warm() {
    let world = world(1).await;
    send(&world, "c", &json!({}), 0..4, &[2, 3]).await;
    let (table, first) = (world.table(), reference("c-2"));
    let pool = dispatch(&world).await;
    assert_eq!(leads_on_lines(&pool), std::slice::from_ref(&first));
    // To be called again, from now on: behind the other warm one, and before all others.
    world.clock.advance(SignedDuration::from_secs(1));
    let claim = ClaimKey { campaign: code("c"), lead: first.clone(), claim: 1 };
    let again = |due| Outcome::Again { due, counts: Counts::Spared };
    let lead = table.read_lead(&code("c"), &first).await.unwrap().unwrap();
    table.settle(&claim, lead.call.as_ref(), &again(world.clock.now()), "twilio-failed", None).await.unwrap();
    table.free(&pool, &pool.leases().next().unwrap(), None).await.unwrap();
    let campaign = table.read_campaign(&code("c")).await.unwrap().unwrap();
    assert!(campaign.lanes.high);
    let ready = table.ready_leads(&code("c"), campaign.lanes, world.clock.now(), 9).await.unwrap();
    let ready: Vec<LeadRef> = ready.into_iter().map(|lead| lead.next.lead).collect();
    let order = ["c-3", "c-2", "c-0", "c-1"].map(reference);
    assert_eq!(ready, order, "by lane, then due time, then arrival");
    let due = table.first_due(&code("c"), campaign.lanes).await.unwrap();
    assert!(due.is_some_and(|due| due <= world.clock.now()));

    // An ordinary campaign has one lane.
    send(&world, "plain", &json!({}), 0..2, &[]).await;
    assert!(!table.read_campaign(&code("plain")).await.unwrap().unwrap().lanes.high);
}

#[tokio::test]
async fn a_campaign_begins_no_more_calls_in_a_second_than_it_asks_for() {
    let world = world(40).await;
    send(&world, "slow", &json!({ "perSecond": 2 }), 0..30, &[]).await;
    send(&world, "free", &json!({}), 0..10, &[]).await;
    let pool = dispatch(&world).await;
    // Two seconds' worth at once, each at its own instant; the other one is not held up.
    assert_eq!((held(&pool, "slow"), held(&pool, "free")), (4, 10));
    let own = world.table().read_campaign(&code("slow")).await.unwrap().unwrap();
    assert_eq!(dispatch(&world).await.counts.outbound, 14);
    world.clock.advance(SignedDuration::from_secs(1));
    let pool = dispatch(&world).await;
    assert_eq!(held(&pool, "slow"), 6);
    let bounds =
        headroom::core::pacing::Own::of(&own.spec.pace(), &pool.come(&own.code).1, &world.app.timers);
    let room = pool.room(&own.code, bounds, &own.spec.codes(), world.clock.now());
    assert_eq!((room.lines, room.rule), (0, Rule::Pace));
}

#[tokio::test]
async fn a_quota_of_all_dials_bounds_every_campaign_together() {
    let world = world(20).await;
    let quota =
        Quota { per_second: NonZeroU32::new(2), members: [NameCode::of("*")].into(), ..Quota::default() };
    let asked = Asked { quota: Some(("all".parse().unwrap(), quota)), ..Asked::default() };
    world.app.change(&asked, "ops").await.unwrap();
    send(&world, "a", &json!({}), 0..10, &[]).await;
    send(&world, "b", &json!({ "perSecond": 1 }), 0..10, &[]).await;
    let pool = dispatch(&world).await;
    assert_eq!(pool.counts.outbound, 4, "{:?}", pool.campaigns);
    for _ in 0..3 {
        world.clock.advance(SignedDuration::from_secs(1));
        dispatch(&world).await;
    }
    assert_eq!(world.table().read_pool().await.unwrap().counts.outbound, 10);
    // Callers are none of it.
    let seen = world.observed("caller", headroom::core::line::Kind::Inbound, Some("as")).await.unwrap();
    let headroom::table::ledger::Observed::Taken(pool) = seen else { panic!("what is observed is recorded") };
    assert_eq!(pool.uses.own.values().sum::<u32>(), 10);
}

#[tokio::test]
async fn a_batch_is_over_before_the_next_begins_and_rests_in_between() {
    let world = world(10).await;
    send(&world, "c", &json!({ "batch": { "leads": 3, "pause": "5m" } }), 0..7, &[]).await;
    let mut pool = dispatch(&world).await;
    assert_eq!(held(&pool, "c"), 3);
    for left in [2, 1] {
        (_, pool) = step(&world, pool).await;
        assert_eq!(held(&pool, "c"), left, "the batch is not over");
    }
    (_, pool) = step(&world, pool).await;
    assert_eq!(held(&pool, "c"), 0, "and then it rests");
    world.clock.advance(SignedDuration::from_secs(299));
    assert_eq!(held(&dispatch(&world).await, "c"), 0);
    world.clock.advance(SignedDuration::from_secs(1));
    let pool = dispatch(&world).await;
    assert_eq!(held(&pool, "c"), 3);

    // A dial that made no call is none of the batch.
    let lease = pool.leases().next().unwrap();
    let LineKey::Claim(claim) = &lease.key else { panic!("a campaign's") };
    let again = Outcome::Again { due: world.clock.now(), counts: Counts::Nothing };
    let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
    world.table().settle(claim, lead.call.as_ref(), &again, "not made", None).await.unwrap();
    let end = Some(headroom::table::ledger::LeadEnd::NotMade);
    world.table().free(&pool, &lease, end).await.unwrap();
    assert_eq!(held(&dispatch(&world).await, "c"), 3);
}

#[tokio::test]
async fn a_batch_that_another_dispatcher_began_is_not_begun_again() {
    let world = world(10).await;
    send(&world, "c", &json!({ "batch": 2 }), 0..9, &[]).await;
    tokio::join!(dispatch(&world), dispatch(&world), dispatch(&world));
    assert_eq!(held(&dispatch(&world).await, "c"), 2);
}

#[tokio::test]
async fn a_ramp_widens_while_calls_go_well_and_narrows_when_they_break() {
    let world = world(20).await;
    let ramp = json!([
        { "lines": 2 },
        { "lines": 4, "after": "3m", "minAnswered": 0.5, "maxErrors": 0.3 },
        { "lines": 9, "maxErrors": 0.2 }
    ]);
    send(&world, "c", &json!({ "ramp": ramp, "retry": { "maxAttempts": 1 } }), 0..150, &[]).await;
    let mut pool = dispatch(&world).await;
    assert_eq!(held(&pool, "c"), 2);
    pool = {
        let _ = pool;
        dispatch(&world).await
    };
    assert_eq!(pool.come(&code("c")).1.step.map(|step| step.nth), Some(0));
    let (mut calls, begun) = (0, world.clock.now());
    while held(&pool, "c") == 2 {
        (_, pool) = step(&world, pool).await;
        calls += 1;
        assert!(calls < 40, "{:?}", pool.come(&code("c")));
    }
    assert!(
        calls >= 4 && world.clock.now().duration_since(begun) >= SignedDuration::from_mins(3),
        "{calls} calls"
    );
    assert_eq!(held(&pool, "c"), 4);
    for _ in 0..9 {
        (_, pool) = step(&world, pool).await;
    }
    assert_eq!(held(&pool, "c"), 9, "eight calls that went well are enough for four lines");
    let status = world.app.status().await.unwrap();
    let pace = status.campaigns[0].pace.clone().unwrap();
    assert_eq!((pace.step, pace.steps, pace.lines), (Some(2), Some(3), Some(9)));

    // Something of Vapi's breaks: a quarter of the calls is more than the step allows.
    for nth in 0..40 {
        let (claim, at) = next_end(&pool).unwrap();
        world.clock.advance(at.duration_since(world.clock.now()).max(SignedDuration::ZERO));
        let reason =
            if nth % 4 == 0 { "pipeline-error-openai-500-server-error" } else { "customer-ended-call" };
        let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
        let end = End { reason: Some(reason.to_owned()), connected: Some(true) };
        world.app.settle(&pool, &lead, lead.call.as_ref(), &end).await.unwrap();
        pool = dispatch(&world).await;
        if pool.come(&code("c")).1.step.is_some_and(|step| step.nth == 1) {
            break;
        }
    }
    assert_eq!(pool.come(&code("c")).1.step.map(|step| step.nth), Some(1));
    // Nobody is cut off: what is beyond the step drains.
    while held(&pool, "c") > 4 {
        let before = held(&pool, "c");
        (_, pool) = step(&world, pool).await;
        assert_eq!(held(&pool, "c"), before - 1);
    }
}

#[tokio::test]
async fn a_step_decided_by_two_is_moved_once_and_a_taker_by_the_old_one_is_refused() {
    let world = world(9).await;
    send(&world, "c", &json!({ "ramp": [{ "lines": 1 }, { "lines": 2 }] }), 0..9, &[]).await;
    let pool = dispatch(&world).await;
    let pool = {
        let _ = pool;
        dispatch(&world).await
    };
    let was = pool.come(&code("c")).1.step.expect("a look later it has begun");
    let up = headroom::core::pacing::Step { nth: 1, ..was };
    let table = world.table();
    for _ in 0..2 {
        let item = table.move_step(&code("c"), Some(was), up).await.unwrap().unwrap();
        assert_eq!(item.come(&code("c")).1.step, Some(up), "moved, and known as moved");
    }
    let down = headroom::core::pacing::Step { nth: 0, ..up };
    table.move_step(&code("c"), Some(up), down).await.unwrap();
    // Who read the pool while it was at the second step.
    let mut stale = table.read_pool().await.unwrap();
    stale.campaigns.get_mut(&code("c")).unwrap().progress.step = Some(up);
    let own = headroom::core::pacing::Own { lines: Some(2), step: Some(up), ..Default::default() };
    let claim = ClaimKey { campaign: code("c"), lead: reference("c-8"), claim: 1 };
    let token = Token::new(headroom::core::line::Kind::Outbound, world.clock.now(), 1);
    let lease = headroom::core::line::Lease { key: LineKey::Claim(claim), token };
    let taken = table.take(&stale, &code("c"), own, &[lease], world.clock.now()).await.unwrap();
    assert!(matches!(taken, headroom::table::ledger::Taken::Refused(_)));
}
