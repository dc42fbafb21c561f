//! What others are told, on the engine: each end of a lead and each change of a campaign, at least once and under one id,
//! whatever dies or does not answer; nothing at all where nobody listens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::sync::Arc;

use flows::{Asked, Stub, World, policy};
use headroom::core::campaign::Campaign;
use headroom::core::fair::Lane;
use headroom::core::ids::{CampaignCode, ClaimKey};
use headroom::core::lead::{End, LeadState, Outcome};
use headroom::core::life::Wish;
use headroom::flows::Clock as _;
use headroom::table::leads::EndedReady;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// SQS's answer that takes so many events of a batch.
fn taken(count: usize) -> String {
    let entry = |id| json!({ "Id": format!("{id}"), "MessageId": "m", "MD5OfMessageBody": "0" });
    json!({ "Successful": (0..count).map(entry).collect::<Vec<_>>(), "Failed": [] }).to_string()
}

/// A world whose events go to a queue that takes all of them.
async fn world() -> (World, Stub) {
    let queue = Stub::start(200, taken(10)).await.unwrap();
    let world = World::start(policy(20, 20, 0)).await.unwrap().telling(&queue);
    // A pass asks Vapi for its calls, of which there are none.
    world.vapi.answers(200, "[]");
    (world, queue)
}

fn told(asked: &[Asked]) -> Vec<Value> {
    let entries = asked.iter().flat_map(|asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        body["Entries"].as_array().unwrap().clone()
    });
    entries.map(|entry| serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap()).collect()
}

/// The names of the events that were told since the last time, and their number.
fn names(queue: &Stub) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for event in told(&queue.take_asked()) {
        *names.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    names
}

fn some(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

async fn campaign(world: &World, claim: &ClaimKey) -> Campaign {
    world.table().read_campaign(&claim.campaign).await.unwrap().unwrap()
}

async fn dispatch(world: &World) {
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
}

#[tokio::test]
async fn an_end_survives_a_crash_before_its_line_is_free() {
    let (world, queue) = world().await;
    let claim = world.lead("renewals", "crm-1").await.unwrap();
    world.live(&claim, &"call-1".parse().unwrap()).await.unwrap();
    // The outcome is written, and whoever wrote it is gone: no record, no free line, nobody told.
    let call = "call-1".parse().unwrap();
    world.table().settle(&claim, Some(&call), &Outcome::Done, "customer-ended-call", None).await.unwrap();
    world.app.reconcile().await.unwrap();
    let events = told(&queue.take_asked());
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(
        (&events[0]["type"], &events[0]["campaign"]),
        (&json!("campaign.started"), &json!("renewals"))
    );
    let mut ended = events[1].clone();
    assert!(ended["at"].take().is_string());
    assert_eq!(
        ended,
        json!({
            "id": format!("lead.ended/{claim}"), "type": "lead.ended", "at": null, "campaign": "renewals",
            "lead": "crm-1", "reference": claim.lead.as_str(), "outcome": "done", "reason": "customer-ended-call",
            "attempts": 1, "callId": "call-1",
        })
    );
    // Once told, it is told no more.
    world.app.reconcile().await.unwrap();
    dispatch(&world).await;
    assert_eq!(names(&queue), some(&[]));
    let text = format!("{:?}", world.dump().await.unwrap());
    assert!(!text.contains("E#main"), "{text}");
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_told_later_under_the_same_id() {
    let (world, queue) = world().await;
    let mut ids = Vec::new();
    for lead in 0..12 {
        let claim = world.lead("renewals", &format!("crm-{lead}")).await.unwrap();
        world.dialing(&claim).await.unwrap();
        world.table().settle(&claim, None, &Outcome::Failed, "customer-busy", None).await.unwrap();
        ids.push(format!("lead.ended/{claim}"));
    }
    queue.answers(503, "{}");
    world.app.reconcile().await.unwrap();
    let lost = told(&queue.take_asked());
    assert!(!lost.is_empty());
    // Some of each batch are taken: the others come again.
    queue.answers(200, taken(3));
    world.app.reconcile().await.unwrap();
    queue.take_asked();
    queue.answers(200, taken(10));
    world.app.reconcile().await.unwrap();
    let rest = told(&queue.take_asked());
    let ended = |event: &&Value| event["type"] == "lead.ended";
    assert!((1..12).contains(&rest.iter().filter(ended).count()), "{}", rest.len());
    for event in lost.iter().chain(&rest).filter(ended) {
        assert!(ids.iter().any(|id| event["id"] == **id), "{event}");
    }
    world.app.reconcile().await.unwrap();
    assert_eq!(names(&queue), some(&[]));
}

#[tokio::test]
async fn leads_that_end_without_a_line_are_told_as_well() {
    let (world, queue) = world().await;
    let claim = world.lead("renewals", "crm-1").await.unwrap();
    world.lead("renewals", "crm-2").await.unwrap();
    let table = world.table();
    table.open_campaign(&claim.campaign, (0, 0), &[]).await.unwrap();
    assert_eq!(table.end_ready(&claim, 0, "window_closed").await.unwrap(), EndedReady::Now);
    // Again, as when the answer was lost.
    assert_eq!(table.end_ready(&claim, 0, "window_closed").await.unwrap(), EndedReady::Now);
    world.app.ask_campaign(&"renewals".parse().unwrap(), &Wish::Cancel, "ada").await.unwrap();
    dispatch(&world).await;
    world.app.reconcile().await.unwrap();
    let events = told(&queue.take_asked());
    let reasons: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    assert!(reasons.contains(&"window_closed") && reasons.contains(&"cancelled"), "{events:?}");
    let of = |name: &str| events.iter().filter(|event| event["type"] == name).count();
    assert_eq!(
        ["campaign.started", "campaign.cancelled", "campaign.finished", "lead.ended"].map(of),
        [1, 1, 1, 2],
        "{events:?}"
    );
    let finished = events.iter().find(|event| event["type"] == "campaign.finished").unwrap();
    assert_eq!(
        (&finished["state"], &finished["leads"], &finished["failed"]),
        (&json!("cancelled"), &json!(2), &json!(2))
    );
}

#[tokio::test]
async fn a_rerun_does_not_forget_how_its_leads_ended() {
    let (world, queue) = world().await;
    let id = "renewals".parse().unwrap();
    let claim = world.lead("renewals", "crm-1").await.unwrap();
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    queue.answers(503, "{}");
    dispatch(&world).await;
    assert_eq!(campaign(&world, &claim).await.state.name(), "cancelled");
    let only = vec!["cancelled".parse().unwrap()];
    world.app.ask_campaign(&id, &Wish::Rerun { only }, "ada").await.unwrap();
    // As long as it cannot be told, the lead is not ready.
    dispatch(&world).await;
    let (_, lead) = world.state(&claim).await.unwrap();
    assert_eq!(lead.unwrap().state, LeadState::Failed { reason: "cancelled".into() });
    // Nor may somebody else make it so.
    let run = campaign(&world, &claim).await.run;
    assert!(
        !world
            .table()
            .rerun_lead(&claim.campaign, (&claim.lead, Lane::default()), run, world.clock.now())
            .await
            .unwrap()
    );
    queue.take_asked();
    queue.answers(200, taken(10));
    world.vapi.answers(500, "{}");
    world.clock.advance(SignedDuration::from_secs(60));
    dispatch(&world).await;
    let first = told(&queue.take_asked());
    let ends = |events: &[Value]| -> Vec<String> {
        let ended = events.iter().filter(|event| event["type"] == "lead.ended");
        let mut ids: Vec<String> = ended.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ends(&first), [format!("lead.ended/{}", ClaimKey { claim: 0, ..claim.clone() })]);
    // It is ready, and its next end is another one.
    let (_, lead) = world.state(&claim).await.unwrap();
    assert!(!lead.as_ref().unwrap().state.is_over(), "{lead:?}");
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    let (pool, lead) = world.state(&claim).await.unwrap();
    let lead = lead.unwrap();
    if lead.lease().is_some() {
        let end = End { reason: Some("customer-busy".into()), connected: None };
        world.app.settle(&pool, &lead, None, &end).await.unwrap();
    }
    world.vapi.answers(200, "[]");
    dispatch(&world).await;
    world.app.reconcile().await.unwrap();
    let second = ends(&told(&queue.take_asked()));
    assert_eq!(second.len(), 1);
    assert_ne!(second, ends(&first));
}

#[tokio::test]
async fn when_nobody_listens_any_more_nothing_waits_for_being_told() {
    let (mut world, queue) = world().await;
    let id = "renewals".parse().unwrap();
    let claim = world.lead("renewals", "crm-1").await.unwrap();
    queue.answers(503, "{}");
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    dispatch(&world).await;
    world.app.table = world.app.table.clone().announcing(false);
    world.app.outlet = None;
    queue.take_asked();
    let only = vec!["cancelled".parse().unwrap()];
    world.app.ask_campaign(&id, &Wish::Rerun { only }, "ada").await.unwrap();
    dispatch(&world).await;
    let (_, lead) = world.state(&claim).await.unwrap();
    assert!(!lead.unwrap().state.is_over());
    assert!(queue.take_asked().is_empty());
}

#[tokio::test]
async fn a_late_word_that_an_end_was_told_does_not_hide_the_next_one() {
    let (world, queue) = world().await;
    let id = "renewals".parse().unwrap();
    let claim = world.lead("renewals", "crm-1").await.unwrap();
    let first = ClaimKey { claim: 0, ..claim.clone() };
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    dispatch(&world).await;
    world.app.reconcile().await.unwrap();
    let only = vec!["cancelled".parse().unwrap()];
    world.app.ask_campaign(&id, &Wish::Rerun { only }, "ada").await.unwrap();
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    let run = campaign(&world, &claim).await.run;
    assert!(
        world
            .table()
            .rerun_lead(&claim.campaign, (&claim.lead, Lane::default()), run, world.clock.now())
            .await
            .unwrap()
    );
    assert!(world.table().cancel_lead(&claim.campaign, &claim.lead, run).await.unwrap());
    world.table().lead_told(&first).await.unwrap();
    assert_eq!(world.table().untold_leads(10).await.unwrap(), [claim]);
    queue.take_asked();
    world.app.reconcile().await.unwrap();
    assert!(names(&queue).contains_key("lead.ended"));
}

#[tokio::test]
async fn what_people_do_to_a_campaign_is_told_in_its_order() {
    let (world, queue) = world().await;
    let message = json!({
        "campaign": { "id": "c", "assistantId": "as", "phoneNumberId": "ph" }, "draft": true,
        "leads": [{ "id": "l", "number": "+15555550100" }],
    });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
    world.app.reconcile().await.unwrap();
    assert_eq!(names(&queue), some(&[]), "nobody needs to know of a draft");
    let id = "c".parse().unwrap();
    let pause = Wish::Pause { reason: Some("lunch".into()) };
    for wish in [Wish::Start, pause, Wish::Resume] {
        world.clock.advance(SignedDuration::from_secs(1));
        world.app.ask_campaign(&id, &wish, "ada").await.unwrap();
        // So already: no news.
        world.app.ask_campaign(&id, &wish, "ada").await.unwrap();
    }
    let code = CampaignCode::of(&id);
    let seen = world.table().read_campaign(&code).await.unwrap().unwrap();
    assert!(world.table().pause_campaign(&seen, "the wallet is empty", world.clock.now()).await.unwrap());
    world.app.reconcile().await.unwrap();
    let events = told(&queue.take_asked());
    let said: Vec<(&str, &str, &str)> = events
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or_default();
            (text("type"), text("by"), text("reason"))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("campaign.started", "ada", ""),
            ("campaign.paused", "ada", "lunch"),
            ("campaign.resumed", "ada", ""),
            ("campaign.paused", "", "the wallet is empty"),
        ]
    );
    // One that comes while they are told is not taken for told.
    let seen = world.table().read_campaign(&code).await.unwrap().unwrap();
    assert!(seen.untold.is_empty());
    world.app.ask_campaign(&id, &Wish::Resume, "ada").await.unwrap();
    let one = world.table().read_campaign(&code).await.unwrap().unwrap().untold;
    world.clock.advance(SignedDuration::from_secs(1));
    world.app.ask_campaign(&id, &Wish::Cancel, "ada").await.unwrap();
    assert!(!world.table().campaign_told(&code, &one).await.unwrap());
    assert_eq!(world.table().read_campaign(&code).await.unwrap().unwrap().untold.len(), 2);
}

#[tokio::test]
async fn where_nobody_listens_it_costs_nothing() {
    let units = async |world: &World| {
        let claim = world.lead("renewals", "crm-1").await.unwrap();
        world.dialing(&claim).await.unwrap();
        world.take_write_units();
        world.table().settle(&claim, None, &Outcome::Failed, "customer-busy", None).await.unwrap();
        world.take_write_units()
    };
    let quiet = World::start(policy(10, 10, 0)).await.unwrap();
    let (listened, queue) = world().await;
    let (without, with) = (units(&quiet).await, units(&listened).await);
    println!("the end of a lead: {without} write units, {with} where somebody listens");
    assert!(without < with);
    quiet.vapi.answers(200, "[]");
    quiet.app.reconcile().await.unwrap();
    let text = format!("{:?}", quiet.dump().await.unwrap());
    assert!(!text.contains("E#") && !text.contains("lead.ended") && !text.contains("campaign."), "{text}");
    assert_eq!(names(&queue), some(&[]));
}
