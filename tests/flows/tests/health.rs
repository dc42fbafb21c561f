//! Adaptive concurrency and breakers, through the real flows: who is held back, by how much, who is not, and how it comes
//! back by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::breaker::BreakerKey;
use headroom::core::health::{Health, Heard, Load, Needs, News};
use headroom::core::ids::{CampaignCode, LeadRef};
use headroom::core::lead::{End, Lead, LeadState};
use headroom::core::line::Kind;
use headroom::core::refusal::Basis;
use headroom::flows::Clock as _;
use headroom::flows::health::HealthStatus;
use headroom::flows::observe::Answer;
use headroom::flows::orgs::Org;
use headroom::flows::settle::Settled;
use headroom::flows::why::{Obstacle, Why};
use headroom::vapi::calls::Wishes;
use headroom::vapi::message::{CallEvent, Happened};
use headroom::vapi::{Secret, Vapi};
use jiff::SignedDuration;
use serde_json::{Value, json};

const CARRIER: &str = "call.in-progress.error-providerfault-transport-never-connected";
const MODEL: &str = "call.in-progress.error-providerfault-openai-503-server-overloaded-error";
const RATE: &str = r#"{"message": "Rate limit exceeded", "statusCode": 429}"#;

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

async fn campaign(world: &World, id: &str, leads: u32, more: Value) {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") })).collect();
    let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph" });
    campaign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = json!({ "campaign": campaign, "leads": leads });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
}

fn code(campaign: &str) -> CampaignCode {
    CampaignCode::of(&campaign.parse().unwrap())
}

/// One invocation. Returns how many dials it made.
async fn dispatch(world: &World) -> usize {
    world.vapi.take_asked();
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    dials(world)
}

fn dials(world: &World) -> usize {
    world.vapi.take_asked().iter().filter(|asked| asked.method == "POST" && asked.path == "/call").count()
}

async fn health(world: &World) -> HealthStatus {
    world.app.status().await.unwrap().pools.swap_remove(0).health.unwrap()
}

/// The breakers, as `carrier ph open`.
async fn breakers(world: &World) -> Vec<String> {
    let breakers = health(world).await.breakers;
    breakers
        .into_iter()
        .map(|breaker| format!("{} {} {}", breaker.dependency, breaker.of.unwrap_or_default(), breaker.state))
        .collect()
}

async fn lead(world: &World, campaign: &str, lead: &str) -> Lead {
    let reference = LeadRef::of(&lead.parse().unwrap());
    world.table().read_lead(&code(campaign), &reference).await.unwrap().unwrap()
}

/// Ends every call of a campaign that is up, for this reason. Returns how many were.
async fn end_all(world: &World, campaign: &str, reason: &str, connected: bool) -> usize {
    let pool = world.table().read_pool().await.unwrap();
    let claims: Vec<_> = pool
        .lines
        .keys()
        .filter_map(|key| match key {
            headroom::core::line::LineKey::Claim(claim) if claim.campaign == code(campaign) => {
                Some(claim.clone())
            }
            _ => None,
        })
        .collect();
    for lead in world.table().read_leads(&claims).await.unwrap() {
        let LeadState::Live { call, .. } = lead.state.clone() else {
            panic!("a live call: {:?}", lead.state)
        };
        let end = End { reason: Some(reason.to_owned()), connected: Some(connected) };
        assert_eq!(world.app.settle(&pool, &lead, Some(&call), &end).await.unwrap(), Settled::Now);
    }
    claims.len()
}

async fn caller(world: &World, call: &str) -> Answer {
    let callers = Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere("in"),
        busy_message: "busy".to_owned(),
        overflow: Overflow::parse("").unwrap(),
    };
    let event = CallEvent {
        call: call.parse().unwrap(),
        org: None,
        kind: Some(Kind::Inbound),
        assistants: Vec::new(),
        number: None,
        claims: Vec::new(),
        wishes: Wishes::default(),
        talk: None,
        happened: Happened::Live,
    };
    world.app.answer(&event, &callers).await.unwrap()
}

#[tokio::test]
async fn an_update_is_written_over_what_it_was_made_of_and_over_nothing_else() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let table = world.table();
    assert_eq!(table.read_health().await.unwrap(), Health::default());
    let needs = Needs::of(&{
        campaign(&world, "c", 1, json!({})).await;
        table.read_campaign(&code("c")).await.unwrap().unwrap().spec
    });
    let now = world.clock.now();
    let load = Load { top: 10, held: 10 };
    let after = |health: &Health, news| {
        health.after(&Heard { began: now, news }, &needs, load, now, &world.app.timers).unwrap()
    };
    let first = after(&Health::default(), News::Unanswered);
    let other = after(&Health::default(), News::ended(MODEL));
    assert!(table.note_health(&first).await.unwrap());
    assert!(!table.note_health(&other).await.unwrap(), "somebody was first");
    let read = table.read_health().await.unwrap();
    assert_eq!((read.revision, read.written()), (1, first.written()));
    let (one, two) = (after(&read, News::Throttled), after(&read, News::ended(CARRIER)));
    assert!(table.note_health(&one).await.unwrap());
    assert!(!table.note_health(&two).await.unwrap(), "it has moved on");
    let read = table.read_health().await.unwrap();
    assert_eq!((read.revision, read.written()), (2, one.written()));
    assert_eq!(read.cap(load, now, &world.app.timers), 7);
}

#[tokio::test]
async fn a_vapi_that_is_gone_is_probed_and_comes_back_by_itself() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    campaign(&world, "c", 30, json!({ "maxDurationSeconds": 600 })).await;
    world.vapi.answers(500, "{}");
    assert_eq!(dispatch(&world).await, 7);
    let seen = health(&world).await;
    assert_eq!((seen.cap, seen.of, seen.why.as_deref()), (4, 7, Some("unanswered")));
    assert_eq!(breakers(&world).await, ["vapi  open"]);
    assert_eq!(seen.breakers[0].next_probe, Some(world.clock.now() + seconds(15)));
    // Callers are let in: nothing of this is theirs.
    assert_eq!(caller(&world, "caller-1").await, Answer::Assistant("in".into()));
    // The pass finds that nothing came of the dials, and everything else is as it was.
    for lead in 0..7 {
        let lead = lead_of(&world, lead).await;
        let pool = world.table().read_pool().await.unwrap();
        world.table().give_back(&lead.claim()).await.unwrap();
        world.table().free(&pool, &lead.lease().unwrap(), None).await.unwrap();
    }
    for (wait, dialed) in [(14, 0), (1, 1), (0, 0), (29, 0), (31, 1)] {
        world.clock.advance(seconds(wait));
        assert_eq!(dispatch(&world).await, dialed, "after {wait} s");
    }
    assert_eq!(lead(&world, "c", "8").await.attempts, 0);
    // It is back: one goes ahead, then two more, then all that the cap and the quiet minutes leave.
    world.vapi.answers(201, r#"{"id": "call-1"}"#);
    world.clock.advance(seconds(60));
    assert_eq!(dispatch(&world).await, 1);
    assert_eq!(breakers(&world).await, ["vapi  half-open"]);
    let mut more = 0;
    for n in 0..6 {
        world.vapi.answers(201, json!({ "id": format!("call-{}", n + 2) }).to_string());
        more += dispatch(&world).await;
    }
    assert!(more >= 2, "{more}");
    assert_eq!(breakers(&world).await, [""; 0]);
    world.clock.advance(SignedDuration::from_mins(7));
    let seen = health(&world).await;
    assert_eq!((seen.cap, seen.why, seen.since), (7, None, None));
}

async fn lead_of(world: &World, n: u32) -> Lead {
    lead(world, "c", &n.to_string()).await
}

#[tokio::test]
async fn under_the_limit_of_requests_the_cap_falls_and_rises_with_good_answers() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    campaign(&world, "c", 60, json!({})).await;
    world.vapi.answers(429, RATE);
    assert_eq!(dispatch(&world).await, 10);
    let seen = health(&world).await;
    // Ten at once are one strain.
    assert_eq!((seen.cap, seen.why.as_deref(), seen.breakers.len()), (7, Some("throttled"), 0));
    world.clock.advance(seconds(60));
    assert_eq!(health(&world).await.cap, 8, "after a quiet minute");
    let mut caps = Vec::new();
    for n in 0..40 {
        world.vapi.answers(201, json!({ "id": format!("call-{n}") }).to_string());
        dispatch(&world).await;
        let pool = world.table().read_pool().await.unwrap();
        let seen = health(&world).await.cap;
        assert!(pool.counts.outbound <= seen.max(1), "{} of {seen}", pool.counts.outbound);
        caps.push(seen);
        end_all(&world, "c", "customer-ended-call", true).await;
        if seen == 10 {
            break;
        }
    }
    assert!(caps.is_sorted() && caps.last() == Some(&10), "{caps:?}");
}

#[tokio::test]
async fn two_dispatchers_at_once_take_no_more_than_the_cap_leaves() {
    let world = World::start(policy(40, 40, 0)).await.unwrap();
    campaign(&world, "c", 40, json!({})).await;
    world.vapi.answers(429, RATE);
    dispatch(&world).await;
    world.clock.advance(seconds(61));
    let cap = health(&world).await.cap;
    // No answer: the lines stay held.
    world.vapi.answers(201, "{}");
    let app = Arc::new(world.app.clone());
    world.table().end_rests(&world.table().read_pool().await.unwrap()).await.unwrap();
    let until = world.clock.now() + SignedDuration::from_mins(1);
    let racing: Vec<_> = (0..6)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.dispatch(until).await.map(|_| ()) })
        })
        .collect();
    for one in racing {
        one.await.unwrap().unwrap();
    }
    let held = world.table().read_pool().await.unwrap().counts.outbound;
    assert!(cap < 40 && held <= cap, "{held} of {cap}");
}

#[tokio::test]
async fn a_failing_model_stops_its_assistant_and_a_failing_trunk_its_number() {
    for (reason, connected, fails, goes_on) in [
        (MODEL, true, json!({ "assistantId": "broken" }), json!({ "assistantId": "sound" })),
        (CARRIER, false, json!({ "phoneNumberId": "broken" }), json!({ "phoneNumberId": "sound" })),
    ] {
        let world = World::start(policy(20, 20, 0)).await.unwrap();
        campaign(&world, "a", 20, fails).await;
        world.vapi.answers(201, r#"{"id": "x"}"#);
        let mut ended = 0;
        for n in 0..4 {
            // Two at a time, so that the breaker and not the lack of leads ends it.
            world.vapi.answers(201, json!({ "id": format!("call-{n}") }).to_string());
            dispatch(&world).await;
            ended += end_all(&world, "a", reason, connected).await;
            if !breakers(&world).await.iter().all(|breaker| breaker.ends_with("closed")) {
                break;
            }
        }
        assert!(ended >= 6);
        let dependency = if connected { "model" } else { "carrier" };
        assert_eq!(breakers(&world).await, [format!("{dependency} broken open")]);
        world.clock.advance(seconds(14));
        assert_eq!(dispatch(&world).await, 0, "{reason}");
        campaign(&world, "b", 2, goes_on).await;
        world.vapi.answers(201, r#"{"id": "sound"}"#);
        assert!(dispatch(&world).await >= 1, "another one's goes on");
        if connected {
            let Why::Lead(why) = world.app.why("a/19").await.unwrap() else { panic!("a lead") };
            match why.waits.map(|waits| waits.obstacle) {
                Some(Obstacle::Line { rule, expected }) => {
                    assert_eq!((rule.as_str(), expected.basis), ("breaker", Basis::Breaker));
                    assert_eq!(expected.next, Some(world.clock.now() + seconds(1)));
                }
                // Ended with the model's failure, it was reached.
                other => assert_eq!((other, ended), (None, 20)),
            }
        }
        // After the delay, one call goes ahead; it goes well, two more do; those do, and it is closed.
        world.clock.advance(seconds(120));
        for (probes, call) in [(1, "p1"), (3, "p2")] {
            let mut dialed = 0;
            for n in 0..4 {
                world.vapi.answers(201, json!({ "id": format!("{call}-{n}") }).to_string());
                dialed += dispatch(&world).await;
            }
            if ended == 20 {
                break;
            }
            assert!((1..=probes).contains(&dialed), "{reason}: {dialed} of {probes}");
            end_all(&world, "a", "customer-ended-call", true).await;
        }
    }
}

#[tokio::test]
async fn what_the_carrier_does_costs_no_lead_an_attempt() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    campaign(&world, "c", 8, json!({ "retry": { "maxAttempts": 1 } })).await;
    for n in 0..30 {
        world.vapi.answers(201, json!({ "id": format!("call-{n}") }).to_string());
        dispatch(&world).await;
        end_all(&world, "c", CARRIER, false).await;
        world.clock.advance(seconds(10));
    }
    for n in 0..8 {
        let lead = lead_of(&world, n).await;
        assert_eq!((lead.attempts, lead.state), (0, LeadState::Ready), "spared {}", lead.spared);
    }
    assert_eq!(breakers(&world).await.len(), 1);
}

#[tokio::test]
async fn with_the_cap_falling_low_priorities_lose_their_lines_first() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    campaign(&world, "low", 10, json!({ "priority": "low" })).await;
    world.vapi.answers(429, RATE);
    for _ in 0..6 {
        dispatch(&world).await;
        world.clock.advance(seconds(45));
    }
    campaign(&world, "high", 10, json!({ "priority": "high" })).await;
    let cap = health(&world).await.cap;
    assert!(cap < 10, "{cap}");
    world.vapi.answers(201, r#"{"id": "one"}"#);
    for _ in 0..4 {
        dispatch(&world).await;
    }
    let pool = world.table().read_pool().await.unwrap();
    let held = |campaign: &str| pool.campaigns.get(&code(campaign)).map_or(0, |tally| tally.held);
    assert!(held("high") >= 1 && held("low") == 0, "{} and {}", held("high"), held("low"));
}

#[tokio::test]
async fn an_account_error_pauses_all_campaigns_of_its_organisation_with_the_cure() {
    let mut world = World::start(policy(10, 1, 0)).await.unwrap();
    let vapi = Vapi::new(&world.vapi.url, &Secret::new("other"), world.app.timers.clone()).unwrap();
    world.app.orgs =
        vec![Org { name: "other".parse().unwrap(), id: "org-other".parse().unwrap(), vapi: Some(vapi) }];
    campaign(&world, "first", 2, json!({})).await;
    campaign(&world, "second", 2, json!({ "assistantId": "b", "phoneNumberId": "q" })).await;
    campaign(&world, "theirs", 2, json!({ "org": "other" })).await;
    world.vapi.answers(201, r#"{"id": "one"}"#);
    dispatch(&world).await;
    end_all(&world, "first", "call.start.error-subscription-insufficient-credits", false).await;
    let mut states: Vec<_> = world
        .app
        .status()
        .await
        .unwrap()
        .campaigns
        .into_iter()
        .map(|campaign| (campaign.id, campaign.state, campaign.reason.unwrap_or_default()))
        .collect();
    states.sort();
    let reason = "a call ended with call.start.error-subscription-insufficient-credits: add credits at Vapi \
                  (Settings, Billing), then resume";
    let state = |id: &str, state: &str, reason: &str| (id.to_owned(), state.to_owned(), reason.to_owned());
    assert_eq!(
        states,
        [state("first", "paused", reason), state("second", "paused", reason), state("theirs", "running", "")]
    );
    // By the answer to a dial, too; and nobody has lost an attempt.
    world.vapi.answers(402, "{}");
    dispatch(&world).await;
    let theirs = world.table().read_campaign(&code("theirs")).await.unwrap().unwrap();
    assert_eq!(theirs.state.name(), "paused");
    assert_eq!(lead(&world, "first", "0").await.attempts, 0);
}

#[tokio::test]
async fn a_number_out_of_calls_for_the_day_rests_and_the_others_go_on() {
    let world = World::start(policy(10, 1, 0)).await.unwrap();
    campaign(&world, "used", 3, json!({})).await;
    world.vapi.answers(201, r#"{"id": "one"}"#);
    dispatch(&world).await;
    end_all(&world, "used", "call.start.error-vapi-number-outbound-daily-limit", false).await;
    assert_eq!(breakers(&world).await, ["carrier ph open"]);
    let tomorrow = headroom::core::quota::next_day(world.clock.now());
    assert_eq!(health(&world).await.breakers[0].next_probe, Some(tomorrow));
    campaign(&world, "other", 1, json!({ "phoneNumberId": "other" })).await;
    assert_eq!(dispatch(&world).await, 1);
    end_all(&world, "other", "customer-ended-call", true).await;
    world.clock.advance(tomorrow.duration_since(world.clock.now()) - seconds(1));
    assert_eq!(dispatch(&world).await, 0);
    world.clock.advance(seconds(1));
    world.vapi.answers(201, r#"{"id": "two"}"#);
    assert_eq!(dispatch(&world).await, 1);
    assert_eq!(lead(&world, "used", "0").await.attempts, 0);
}

/// While nothing is wrong, no call writes it; while something is, each answer and each end writes one unit at most.
#[tokio::test]
async fn it_costs_nothing_in_health_and_two_units_a_call_in_trouble() {
    let world = World::start(policy(4, 4, 0)).await.unwrap();
    campaign(&world, "c", 40, json!({})).await;
    let mut units = Vec::new();
    for n in 0..6 {
        if n == 4 {
            world.vapi.answers(429, RATE);
            dispatch(&world).await;
            world.clock.advance(seconds(59));
        }
        world.vapi.answers(201, json!({ "id": format!("call-{n}") }).to_string());
        world.take_write_units();
        let calls = dispatch(&world).await;
        end_all(&world, "c", "customer-ended-call", true).await;
        units.push((world.take_write_units() / calls as f64 * 100.0).round() / 100.0);
    }
    println!("write units of a call, the last two while the cap is lowered: {units:?}");
    let usual = units[2];
    assert!(units[1..4].iter().all(|units| *units <= usual), "{units:?}");
    // One of two begins after a rest, and takes its line alone.
    assert!(units[4..].iter().all(|units| *units <= usual + 4.0), "{units:?}");
    let key = BreakerKey::VAPI;
    let state = world.table().read_health().await.unwrap().state(&key, world.clock.now(), &world.app.timers);
    assert_eq!(state.name(), "closed");
}
