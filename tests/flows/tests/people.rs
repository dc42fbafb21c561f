//! People's wishes, on the engine: who has said no is not called, by whatever campaign; nobody is called more often
//! than they are to bear, nor by two campaigns at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy, start};
use headroom::core::ids::{CallId, CampaignCode, ClaimKey, LeadRef, PhoneNumber};
use headroom::core::lead::{End, Lead, LeadState};
use headroom::core::people::{Dialed, Person};
use headroom::flows::Clock as _;
use headroom::vapi::message::ServerMessage;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const NUMBER: &str = "+14155550100";

fn number() -> PhoneNumber {
    NUMBER.parse().unwrap()
}

/// A world in which people are called so often at most, with one lead of each of these campaigns: the same person.
async fn world(often: &str, campaigns: &[&str]) -> World {
    let mut world = World::start(policy(10, 10, 0)).await.unwrap();
    world.app.often = often.parse().unwrap();
    for campaign in campaigns {
        let body = json!({
            "campaign": { "id": campaign, "assistantId": "as", "phoneNumberId": "ph", "retry": { "jitter": 0 } },
            "leads": [{ "id": "l", "number": NUMBER }],
        });
        world.app.take_in(body.to_string().as_bytes()).await.unwrap();
    }
    world
}

fn claim(campaign: &str, claim: u32) -> ClaimKey {
    let campaign = CampaignCode::of(&campaign.parse().unwrap());
    ClaimKey { campaign, lead: LeadRef::of(&"l".parse().unwrap()), claim }
}

async fn lead(world: &World, campaign: &str) -> (Lead, SignedDuration) {
    let (_, lead) = world.state(&claim(campaign, 1)).await.unwrap();
    let due = Timestamp::from_microsecond(world.due_us(&claim(campaign, 1)).await.unwrap()).unwrap();
    (lead.unwrap(), due.duration_since(start()))
}

/// Dispatches once, and says how many calls were asked for.
async fn dispatch(world: &World, call: &str) -> usize {
    world.vapi.answers(201, json!({ "id": call, "status": "queued" }).to_string());
    world.vapi.take_asked();
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    world.vapi.take_asked().iter().filter(|asked| asked.method == "POST").count()
}

async fn end(world: &World, campaign: &str, call: &str, reason: &str) {
    let (pool, lead) = world.state(&claim(campaign, 1)).await.unwrap();
    let end = End { reason: Some(reason.into()), connected: None };
    world.app.settle(&pool, &lead.unwrap(), Some(&call.parse().unwrap()), &end).await.unwrap();
}

#[tokio::test]
async fn nobody_is_called_more_often_than_they_are_to_bear() {
    let world = world("1/2", &["a"]).await;
    assert_eq!(dispatch(&world, "call-1").await, 1);
    end(&world, "a", "call-1", "customer-busy").await;

    // The retry is due, and the day is not over.
    world.clock.advance(SignedDuration::from_mins(20));
    assert_eq!(dispatch(&world, "call-2").await, 0);
    let (waiting, due) = lead(&world, "a").await;
    assert_eq!((waiting.state, waiting.attempts, due), (LeadState::Ready, 1, SignedDuration::from_hours(24)));
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 0);

    world.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(dispatch(&world, "call-2").await, 1);
    end(&world, "a", "call-2", "customer-busy").await;
    // Now the month is full.
    world.clock.advance(SignedDuration::from_hours(25));
    assert_eq!(dispatch(&world, "call-3").await, 0);
    assert_eq!(lead(&world, "a").await.1, SignedDuration::from_hours(24 * 30));
}

#[tokio::test]
async fn two_campaigns_do_not_call_one_person_at_once() {
    let world = world("9/9", &["a", "b"]).await;
    assert_eq!(dispatch(&world, "call-1").await, 1);
    let states = [lead(&world, "a").await.0.state, lead(&world, "b").await.0.state];
    assert_eq!(states.iter().filter(|state| matches!(state, LeadState::Live { .. })).count(), 1);
    assert_eq!(states.iter().filter(|state| matches!(state, LeadState::Ready)).count(), 1);
    world.clock.advance(SignedDuration::from_mins(4));
    assert_eq!(dispatch(&world, "call-2").await, 0);
    world.clock.advance(SignedDuration::from_mins(1));
    assert_eq!(dispatch(&world, "call-2").await, 1);
}

#[tokio::test]
async fn who_says_no_in_a_call_is_called_by_no_campaign_any_more() {
    for said in ["analysis", "tool", "list"] {
        let world = world("none", &["a", "b"]).await;
        let message = |body: serde_json::Value| ServerMessage::parse(body.to_string().as_bytes()).unwrap();
        let call = json!({ "id": "their-call", "type": "inboundPhoneCall" });
        match said {
            "analysis" => {
                let ServerMessage::Call(event) = message(json!({ "message": {
                    "type": "end-of-call-report", "endedReason": "customer-ended-call", "call": call,
                    "customer": { "number": NUMBER }, "analysis": { "structuredData": { "doNotCall": true } },
                } })) else {
                    panic!("a report is about a call")
                };
                world.app.observe(&event).await.unwrap();
            }
            // The report is lost, and the pass finds what it would have told.
            "list" => {
                world.vapi.answers(200, listed(&world, "their-call", json!({ "doNotCall": true }), 1));
                world.app.reconcile().await.unwrap();
            }
            _ => {
                let ServerMessage::ToolCalls(used) = message(json!({ "message": {
                    "type": "tool-calls", "call": call, "customer": { "number": NUMBER },
                    "toolCallList": [{ "id": "use-1", "function": { "name": "do_not_call" } }],
                } })) else {
                    panic!("tools are used")
                };
                assert_eq!(used.asked[0].name, "do_not_call");
                let call: CallId = used.call.unwrap();
                world.app.hear_refusal(&call, None, &used.person.unwrap()).await.unwrap();
            }
        }
        assert_eq!(dispatch(&world, "call-1").await, 0, "{said}");
        for campaign in ["a", "b"] {
            let (over, _) = lead(&world, campaign).await;
            assert_eq!(over.state, LeadState::Failed { reason: "do_not_call".into() }, "{said}");
            assert_eq!(over.attempts, 0, "{said}");
        }
        let listed = world.table().list_refused(None, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].0, &*listed[0].1.by), (&number(), "call their-call"));
        assert_eq!(world.table().read_pool().await.unwrap().counts.total, 0);
    }
}

/// Vapi's list, with a call of the person's that ended so many minutes ago and this in its analysis.
fn listed(world: &World, id: &str, said: serde_json::Value, minutes: i64) -> String {
    let ended = world.clock.now() - SignedDuration::from_mins(minutes);
    let call = json!({
        "id": id, "type": "inboundPhoneCall", "status": "ended", "endedReason": "customer-ended-call",
        "createdAt": (ended - SignedDuration::from_mins(1)).to_string(), "endedAt": ended.to_string(),
        "customer": { "number": NUMBER }, "analysis": { "structuredData": said },
    });
    json!([call]).to_string()
}

#[tokio::test]
async fn who_was_taken_off_the_list_is_not_put_back_by_a_call_of_before() {
    let world = world("none", &[]).await;
    world.vapi.answers(200, listed(&world, "a-call", json!({ "doNotCall": true }), 6));
    world.app.reconcile().await.unwrap();
    assert_eq!(world.table().read_person(&number()).await.unwrap(), Person::default());
}

#[tokio::test]
async fn a_dial_that_rang_nobody_is_forgotten() {
    let world = world("1/1", &["a"]).await;
    world.vapi.answers(429, "{}");
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    assert_eq!(world.vapi.take_asked().iter().filter(|asked| asked.method == "POST").count(), 1);
    assert_eq!(world.table().read_person(&number()).await.unwrap(), Person::default());
    // An answer that is none may have rang somebody.
    world.clock.advance(SignedDuration::from_mins(5));
    world.vapi.answers(500, "{}");
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    assert_eq!(world.table().read_person(&number()).await.unwrap().dialed.len(), 1);
}

#[tokio::test]
async fn a_no_between_the_question_and_the_dial_is_heard() {
    let world = world("9/9", &[]).await;
    let table = world.table();
    let dials = [Dialed { at: start(), claim: claim("a", 1) }];
    let known = table.read_person(&number()).await.unwrap();
    assert!(table.refuse_calls(&number(), "ada", start()).await.unwrap());
    let now = table.remember_dials(&number(), &known, &dials).await.unwrap().unwrap();
    assert_eq!(now.refused.as_ref().map(|refused| &*refused.by), Some("ada"));

    // Said twice, it is the first one's; taken back twice, it is gone once.
    assert!(!table.refuse_calls(&number(), "bob", start()).await.unwrap());
    assert_eq!(table.list_refused(None, 10).await.unwrap()[0].1.by, "ada");
    assert!(table.allow_calls(&number(), start()).await.unwrap());
    assert!(!table.allow_calls(&number(), start()).await.unwrap());
    assert!(table.list_refused(None, 10).await.unwrap().is_empty());
    assert_eq!(table.remember_dials(&number(), &known, &dials).await.unwrap(), None);
    // The same once more, as when its answer was lost; and a dial that another one met.
    assert_eq!(table.remember_dials(&number(), &known, &dials).await.unwrap(), None);
    let other = [Dialed { at: start(), claim: claim("b", 1) }];
    assert_eq!(table.remember_dials(&number(), &known, &other).await.unwrap().unwrap().dialed, dials);
}
