//! Quotas on the engine, through the real dispatcher: a trunk's channels, its calls per second and per day, two trunks
//! beside each other, and callers, who are never refused for a quota's sake.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use flows::{World, policy};
use headroom::core::ids::{CampaignCode, NameCode};
use headroom::core::line::Kind;
use headroom::core::pool::{Pool, Rule};
use headroom::core::quota::Quota;
use headroom::flows::Clock as _;
use headroom::flows::operate::Asked;
use headroom::table::ledger::Observed;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A pool in which every dial becomes a call that lasts.
async fn world(lines: u32) -> World {
    let world = World::start(policy(lines, lines, 0)).await.unwrap();
    world.vapi.answers(201, json!({ "id": "call" }).to_string());
    world
}

/// Lines, calls per second, calls per day.
fn quota(bounds: [u32; 3], members: &[&str]) -> Quota {
    let [lines, per_second, per_day] = bounds.map(NonZeroU32::new);
    Quota { lines, per_second, per_day, members: members.iter().map(|id| NameCode::of(id)).collect() }
}

async fn set(world: &World, name: &str, quota: Quota) -> Pool {
    let asked = Asked { quota: Some((name.parse().unwrap(), quota)), ..Asked::default() };
    world.app.change(&asked, "ops").await.unwrap().1
}

/// A campaign from a number, and one look of the dispatcher at everything.
async fn send(world: &World, id: &str, number: &str, leads: usize) {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("{id}-{n}"), "number": format!("+1555{n:07}") })).collect();
    let campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": number });
    world.app.take_in(json!({ "campaign": campaign, "leads": leads }).to_string().as_bytes()).await.unwrap();
}

async fn dispatch(world: &World) -> Pool {
    let until = world.clock.now() + SignedDuration::from_mins(2);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    world.table().read_pool().await.unwrap()
}

fn held(pool: &Pool, id: &str) -> u32 {
    pool.campaigns[&code(id)].held
}

fn code(id: &str) -> CampaignCode {
    CampaignCode::of(&id.parse().unwrap())
}

/// Dials since the last time.
fn dials(world: &World) -> usize {
    world.vapi.take_asked().iter().filter(|asked| asked.path == "/call").count()
}

#[tokio::test]
async fn s2_12_a_trunk_holds_no_more_than_its_channels_and_another_goes_on() {
    let world = world(10).await;
    set(&world, "carrier", quota([2, 0, 0], &["trunk"])).await;
    // The one that the trunk stops is the older one and asked first.
    send(&world, "first", "trunk", 5).await;
    send(&world, "second", "other", 5).await;
    let pool = dispatch(&world).await;
    assert_eq!((held(&pool, "first"), held(&pool, "second"), dials(&world)), (2, 5, 7));
    let codes = [NameCode::of("trunk")];
    assert_eq!(pool.room(&code("first"), None, &codes, world.clock.now()).rule, Rule::Quota);

    // A line that comes back to the trunk is its own.
    let (key, _) =
        pool.lines.iter().find(|(key, _)| key.to_string().starts_with(code("first").as_str())).unwrap();
    world.table().free(&pool, &pool.lease(key).unwrap(), None).await.unwrap();
    let pool = dispatch(&world).await;
    assert_eq!((held(&pool, "first"), pool.counts.total), (2, 7));
}

#[tokio::test]
async fn callers_count_in_a_quota_and_are_never_refused_for_it() {
    let world = world(10).await;
    set(&world, "carrier", quota([2, 1, 1], &["trunk"])).await;
    for n in 0..3 {
        let seen = world.observed(&format!("caller-{n}"), Kind::Inbound, Some("trunk")).await.unwrap();
        assert!(matches!(seen, Observed::Taken(_)), "what is observed is recorded");
    }
    let call = "asks".parse().unwrap();
    let (pool, now) = (world.table().read_pool().await.unwrap(), world.clock.now());
    let answered = world.table().take_answered(&pool, &call, &[NameCode::of("trunk")], now).await.unwrap();
    let Observed::Taken(pool) = answered else { panic!("a quota is none of a caller's business") };
    assert_eq!(pool.uses, pool.uses_of(&pool.reserves, &pool.quotas));
    assert_eq!(pool.room(&code("c"), None, &[NameCode::of("trunk")], now).lines, 0);
    send(&world, "c", "trunk", 1).await;
    assert_eq!(dispatch(&world).await.counts.outbound, 0);
}

#[tokio::test]
async fn s3_05_a_number_makes_its_calls_of_the_day_and_goes_on_at_midnight() {
    let world = world(10).await;
    let pool = set(&world, "vapi number", quota([0, 0, 3], &["number"])).await;
    assert!(pool.paces.is_empty(), "nothing is counted before there is something to count");
    send(&world, "c", "number", 9).await;
    dispatch(&world).await;
    let pool = dispatch(&world).await;
    assert_eq!((pool.counts.outbound, dials(&world)), (3, 3));
    assert_eq!(pool.room(&code("c"), None, &[NameCode::of("number")], world.clock.now()).rule, Rule::Daily);
    let status = &world.app.status().await.unwrap().pools[0].quotas[0];
    assert_eq!((status.dialed_today, status.per_day), (Some(3), Some(3)));

    // Midnight UTC, to the second.
    let now = world.clock.now();
    let midnight = Timestamp::from_second((now.as_second() / 86_400 + 1) * 86_400).unwrap();
    world.clock.advance(midnight.duration_since(now) - SignedDuration::from_secs(1));
    assert_eq!(dispatch(&world).await.counts.outbound, 3);
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(dispatch(&world).await.counts.outbound, 6);
}

#[tokio::test]
async fn a_dial_that_was_surely_not_made_is_none_of_the_day() {
    let world = World::start(policy(10, 1, 0)).await.unwrap();
    set(&world, "number", quota([0, 0, 2], &["ph"])).await;
    send(&world, "c", "ph", 2).await;
    world.vapi.answers(429, r#"{"message":"Rate limit exceeded"}"#);
    for _ in 0..5 {
        let pool = dispatch(&world).await;
        assert_eq!((pool.counts.total, dials(&world)), (0, 1), "a refused dial gives its line back");
        world.clock.advance(SignedDuration::from_mins(2));
    }
    assert_eq!(world.app.status().await.unwrap().pools[0].quotas[0].dialed_today, Some(0));
}

#[tokio::test]
async fn dials_are_as_far_apart_as_the_carrier_asks() {
    let world = world(40).await;
    set(&world, "carrier", quota([0, 4, 0], &["trunk"])).await;
    send(&world, "c", "trunk", 30).await;
    let before = Instant::now();
    let pool = dispatch(&world).await;
    // Two seconds' worth is begun at once, the last of it 1.75 s ahead.
    assert_eq!((pool.counts.outbound, dials(&world)), (8, 8));
    assert!(before.elapsed().as_millis() >= 1_750, "{:?}", before.elapsed());
    // Its own wake-up comes when a second's worth may be begun again; all others find nothing to do.
    let wakes: Vec<_> = world.wakes.take_asked();
    assert!(wakes.iter().any(|wake| wake.body.contains("\"DelaySeconds\":1")), "{wakes:?}");
    assert_eq!(dispatch(&world).await.counts.outbound, 8);
    assert!(world.wakes.take_asked().is_empty(), "a wake-up that finds nothing sends none");
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(dispatch(&world).await.counts.outbound, 12);
}

#[tokio::test]
async fn a_call_that_counts_in_two_quotas_waits_for_both() {
    let world = world(10).await;
    set(&world, "assistant", quota([3, 0, 0], &["as"])).await;
    set(&world, "carrier", quota([2, 0, 0], &["trunk"])).await;
    send(&world, "one", "trunk", 5).await;
    send(&world, "two", "other", 5).await;
    let pool = dispatch(&world).await;
    assert!(held(&pool, "one") <= 2);
    assert_eq!(held(&pool, "one") + held(&pool, "two"), 3);
    // Lifted, what is under way stays, and the other bound is all there is.
    let pool = set(&world, "assistant", Quota::default()).await;
    assert_eq!(pool.uses, pool.uses_of(&pool.reserves, &pool.quotas));
    let pool = dispatch(&world).await;
    assert_eq!((held(&pool, "one"), held(&pool, "two")), (2, 5));
}
