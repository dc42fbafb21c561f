//! The dispatcher's handler: partial batches, no work while lines are full, never a dial more than
//! the ledger grants, and the instants around a dial at which a function can die.

use std::sync::Arc;

use aws_lambda_events::event::sqs::SqsEvent;
use flows::World;
use headroom::core::campaign::CampaignState;
use headroom::core::ids::{CampaignCode, LeadRef};
use headroom::core::lead::LeadState;
use headroom::core::line::Kind;
use headroom::core::pool::Policy;
use headroom::core::shard::Sizes;
use headroom::flows::Clock as _;
use headroom::flows::operate::Asked;
use jiff::SignedDuration;
use serde_json::{Value, json};

fn policy(limit: u32, cap: u32, headroom: u32) -> Policy {
    Policy::new(limit, cap, headroom).expect("a limit above 0")
}

fn sample(name: &str) -> SqsEvent {
    let path = format!("{}/../../events/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a sample")).expect("an SQS event")
}

/// A batch with these bodies.
fn batch(bodies: &[String]) -> SqsEvent {
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| json!({ "messageId": format!("m-{n}"), "body": body }))
        .collect();
    serde_json::from_value(json!({ "Records": records })).expect("an SQS event")
}

fn campaign(leads: usize) -> String {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("lead-{n}"), "number": format!("+1555{n:07}") })).collect();
    json!({ "campaign": { "id": "c", "assistantId": "a", "phoneNumberId": "p" }, "leads": leads }).to_string()
}

/// One invocation, with a minute to run. Returns the ids of the messages that failed.
async fn invoke(world: &World, event: SqsEvent) -> Vec<String> {
    let deadline = world.clock.now() + SignedDuration::from_mins(1);
    let app = Arc::new(world.app.clone());
    let response = dispatcher::handle(&app, event, deadline.as_millisecond()).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

async fn dials(world: &World) -> usize {
    world.vapi.take_asked().iter().filter(|asked| asked.method == "POST" && asked.path == "/call").count()
}

async fn lead(world: &World, id: &str) -> headroom::core::lead::Lead {
    let code = CampaignCode::of(&"c".parse().expect("an id"));
    let reference = LeadRef::of(&id.parse().expect("an id"));
    world.table().read_lead(&code, &reference).await.expect("the table answers").expect("the lead is there")
}

#[tokio::test]
async fn only_the_message_that_cannot_be_read_fails_and_good_leads_beside_bad_ones_are_kept() {
    let world = World::start(policy(10, 0, 0)).await.unwrap();
    let failed = invoke(&world, sample("dispatcher.mixed.json")).await;
    assert_eq!(failed, ["0b5d7c1e-0000-4000-8000-0000000e3003"]);
    let leads: Vec<_> =
        world.app.status().await.unwrap().campaigns.into_iter().map(|c| (c.id, c.leads.ready)).collect();
    assert_eq!(leads, [("sample-bad-leads".to_owned(), 2), ("sample-good".to_owned(), 1)]);
    // The same batch again: the same answer, and nothing more.
    let before = world.dump().await.unwrap();
    assert_eq!(invoke(&world, sample("dispatcher.mixed.json")).await, failed);
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn while_lines_are_full_a_wake_up_changes_nothing_and_is_done_with() {
    let world = World::start(policy(3, 3, 1)).await.unwrap();
    for n in 0..2 {
        world.observed(&format!("caller-{n}"), Kind::Inbound, None).await.unwrap();
    }
    assert!(invoke(&world, batch(&[campaign(5)])).await.is_empty());
    let (before, _) = (world.dump().await.unwrap(), world.wakes.take_asked());
    assert!(invoke(&world, sample("dispatcher.wake.json")).await.is_empty());
    assert_eq!(world.dump().await.unwrap(), before);
    assert_eq!(dials(&world).await, 0);
    assert!(world.wakes.take_asked().is_empty(), "nor does it wake itself");
}

#[tokio::test]
async fn dialers_that_run_at_once_dial_each_lead_once_and_never_more_than_the_ledger_grants() {
    let world = World::start(policy(10, 7, 2)).await.unwrap();
    // A clear refusal would free the lines again; an answer without a call keeps them.
    world.vapi.answers(500, "{}");
    invoke(&world, batch(&[campaign(30)])).await;
    let app = Arc::new(world.app.clone());
    let until = world.clock.now() + SignedDuration::from_mins(1);
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.dispatch(until).await.map(|_| ()) })
        })
        .collect();
    for dialer in racing {
        dialer.await.unwrap().unwrap();
    }
    assert_eq!(dials(&world).await, 7);
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!((pool.counts.outbound, pool.lines.len()), (7, 7));
}

/// The function died between two steps of a dial; the pass makes right what is left.
#[tokio::test]
async fn a_claim_that_was_never_dialed_goes_back_once_the_list_shows_later_calls() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&claim).await.unwrap();
    let state = async || lead(&world, "lead-0").await.state.name();
    let list = |created: jiff::Timestamp| {
        json!([{ "id": "other", "status": "ended", "type": "inboundPhoneCall", "createdAt": created }])
            .to_string()
    };
    // Too early: the call may still be in the making.
    world.vapi.answers(200, list(world.clock.now()));
    world.app.reconcile().await.unwrap();
    assert_eq!(state().await, "dialing");
    // Late enough, but the list shows no call made since: absence is no proof.
    let taken = world.clock.now();
    world.clock.advance(SignedDuration::from_secs(80));
    world.vapi.answers(200, list(taken));
    world.app.reconcile().await.unwrap();
    assert_eq!(state().await, "dialing");
    // It shows a later one.
    world.vapi.answers(200, list(world.clock.now()));
    let pass = world.app.reconcile().await.unwrap();
    assert_eq!((pass.given_back, state().await), (1, "ready"));
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 0);
}

#[tokio::test]
async fn in_an_account_where_nothing_else_moves_absence_is_proof_after_minutes() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&claim).await.unwrap();
    world.vapi.answers(200, "[]");
    for (seconds, state) in [(80, "dialing"), (30, "dialing"), (10, "ready")] {
        world.clock.advance(SignedDuration::from_secs(seconds));
        world.app.reconcile().await.unwrap();
        assert_eq!(lead(&world, "lead-0").await.state.name(), state, "{seconds} s later");
    }
}

#[tokio::test]
async fn a_list_that_does_not_reach_back_to_the_dial_proves_nothing() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&claim).await.unwrap();
    // Two hours without a pass: the list is asked for from before the dial on.
    let taken = world.clock.now();
    world.clock.advance(SignedDuration::from_hours(2));
    world.vapi.take_asked();
    world.app.reconcile().await.unwrap();
    let asked = world.vapi.take_asked();
    let from =
        asked[0].path.split_once("createdAtGe=").unwrap().1.split('&').next().unwrap().replace("%3A", ":");
    assert!(from.parse::<jiff::Timestamp>().unwrap() < taken, "{from} is before {taken}");
}

/// The function died between an outcome and the freeing of its line, and the lead was dialed again.
#[tokio::test]
async fn two_lines_of_one_lead_do_not_stop_the_pass() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let first = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&first).await.unwrap();
    let again = headroom::core::lead::Outcome::Again {
        due: world.clock.now(),
        counts: headroom::core::lead::Counts::Spared,
    };
    world.table().settle(&first, None, &again, "twilio-failed-to-connect-call", None).await.unwrap();
    let mut second = first.clone();
    second.claim = 2;
    world.dialing(&second).await.unwrap();
    assert_eq!(world.app.status().await.unwrap().pools[0].outbound, 2);

    world.clock.advance(SignedDuration::from_mins(1));
    world.vapi.answers(200, "[]");
    world.app.reconcile().await.unwrap();
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!(pool.lines.len(), 1, "the line of the first claim is free, that of the second held");
    assert_eq!(lead(&world, "lead-0").await.claims, 2);
}

#[tokio::test]
async fn after_an_unclear_answer_one_dial_goes_ahead_of_the_others() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let rest = headroom::table::ledger::Rest { until: world.clock.now(), count: 1 };
    let pool = world.table().read_pool().await.unwrap();
    world.table().rest(&pool, rest).await.unwrap();
    world.vapi.answers(500, "{}");
    invoke(&world, batch(&[campaign(30)])).await;
    assert_eq!(dials(&world).await, 1, "Vapi is not well, and one line is enough to see it");
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    world.clock.advance(SignedDuration::from_mins(1));
    invoke(&world, sample("dispatcher.wake.json")).await;
    assert_eq!(dials(&world).await, 1);
    invoke(&world, sample("dispatcher.wake.json")).await;
    assert_eq!(dials(&world).await, 8, "it is well again");
}

#[tokio::test]
async fn a_dial_whose_answer_was_lost_is_adopted_from_the_list_by_its_claim() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&claim).await.unwrap();
    world.table().mark_unknown(&claim, world.clock.now()).await.unwrap();
    let call = |status: &str| {
        json!([{ "id": "call-a", "status": status, "type": "outboundPhoneCall", "name": claim.to_string(),
                 "createdAt": world.clock.now(), "startedAt": world.clock.now(), "endedReason": "customer-ended-call" }])
        .to_string()
    };
    world.vapi.answers(200, call("in-progress"));
    let pass = world.app.reconcile().await.unwrap();
    assert_eq!(pass.adopted, 1);
    let LeadState::Live { call: bound, .. } = lead(&world, "lead-0").await.state else { panic!("live") };
    assert_eq!(bound.as_str(), "call-a");
    // Its `ended` is lost too: the next pass sees it in the list.
    world.vapi.answers(200, call("ended"));
    let pass = world.app.reconcile().await.unwrap();
    assert_eq!((pass.ended, lead(&world, "lead-0").await.state.name()), (1, "done"));
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 0);
    let campaign = &world.table().list_campaigns().await.unwrap()[0];
    assert_eq!(
        (&campaign.state, campaign.settled),
        (&CampaignState::Running, (0, 0)),
        "the next pass finishes it"
    );
    world.app.reconcile().await.unwrap();
    let campaign = &world.table().list_campaigns().await.unwrap()[0];
    assert_eq!((&campaign.state, campaign.settled), (&CampaignState::Finished, (1, 0)));
}

#[tokio::test]
async fn a_line_whose_claim_was_never_made_is_freed_and_one_that_outlived_its_outcome_too() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    world.vapi.answers(200, "[]");
    let settled = world.lead("c", "lead-0").await.unwrap();
    world.dialing(&settled).await.unwrap();
    // Died after the outcome, before the line was free.
    let outcome = headroom::core::lead::Outcome::Done;
    world.table().settle(&settled, None, &outcome, "customer-ended-call", None).await.unwrap();
    // Died after the take, before the claim.
    let mut unclaimed = settled.clone();
    unclaimed.lead = LeadRef::of(&"lead-9".parse().unwrap());
    assert!(world.dialing(&unclaimed).await.is_err(), "there is no such lead to claim");
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 2);

    world.clock.advance(SignedDuration::from_mins(3));
    world.app.reconcile().await.unwrap();
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!(pool.counts.total, 0);
    assert_eq!(pool.campaigns[&settled.campaign].done, 1, "the lead is counted with its line");
}

#[tokio::test]
async fn a_changed_limit_that_vapi_reports_is_taken_over_if_so_configured() {
    for (adopt, limit) in [(true, 15), (false, 10)] {
        let mut world = World::start(policy(10, 10, 0)).await.unwrap();
        world.app.adopt_limit = adopt;
        let answer =
            json!({ "id": "call-a", "orgId": "org-a", "subscriptionLimits": { "concurrencyLimit": 15 } });
        world.vapi.answers(201, answer.to_string());
        invoke(&world, batch(&[campaign(1)])).await;
        world.vapi.answers(200, "[]");
        world.app.reconcile().await.unwrap();
        let pool = world.table().read_pool().await.unwrap();
        assert_eq!((pool.policy.limit(), pool.org.as_ref().map(|org| org.as_str())), (limit, Some("org-a")));
    }
}

/// In one item of the ledger and in several.
#[tokio::test]
async fn a_limit_set_by_hand_holds_until_vapi_reports_another() {
    for sizes in [Sizes::default(), Sizes { single: 4, shard: 4 }] {
        let mut world = World::start(policy(10, 10, 0)).await.unwrap().with_sizes(sizes);
        world.app.adopt_limit = true;
        world.vapi.answers(200, "[]");
        let limit = async |world: &World| {
            world.app.reconcile().await.unwrap();
            world.table().read_pool().await.unwrap().policy.limit()
        };
        assert_eq!(limit(&world).await, 10);
        world.table().note_vapi(None, Some(40)).await.unwrap();
        assert_eq!(limit(&world).await, 40);
        let by_hand = Asked { limit: Some(12), ..Asked::default() };
        world.app.change(&by_hand, "ops").await.unwrap();
        assert_eq!(limit(&world).await, 12);
        assert_eq!(limit(&world).await, 12);
        world.table().note_vapi(None, Some(40)).await.unwrap();
        assert_eq!(limit(&world).await, 40);
    }
}

#[tokio::test]
async fn a_wrong_configuration_pauses_the_campaign_and_a_resume_goes_on() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    world.vapi.answers(400, r#"{"message":"Couldn't find the assistant","statusCode":400}"#);
    invoke(&world, batch(&[campaign(3)])).await;
    let status = world.app.status().await.unwrap();
    assert_eq!(
        (status.campaigns[0].state.clone(), status.campaigns[0].leads.ready, status.pools[0].total),
        ("paused".to_owned(), 3, 0)
    );
    let reason = status.campaigns[0].reason.clone().unwrap();
    assert!(reason.contains("Couldn't find the assistant") && reason.contains("resume"), "{reason}");
    world.vapi.take_asked();
    invoke(&world, sample("dispatcher.wake.json")).await;
    assert_eq!(dials(&world).await, 0);

    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    invoke(&world, batch(&[r#"{"resume":"c"}"#.to_owned()])).await;
    assert_eq!(dials(&world).await, 3);
    assert_eq!(lead(&world, "lead-0").await.attempts, 0, "the refused dials did not count");
}

/// The claim goes along in three places, and the call tells what Headroom lives on, and what its assistant's tools ask:
/// without that, they would have no answer.
#[tokio::test]
async fn a_dial_says_whose_it_is_and_what_its_call_is_to_tell() {
    let world = World::start(policy(1, 1, 0)).await.unwrap();
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    invoke(&world, batch(&[campaign(1)])).await;
    let asked = world.vapi.take_asked();
    let dial: Value =
        serde_json::from_str(&asked.iter().find(|asked| asked.path == "/call").unwrap().body).unwrap();
    let claim = lead(&world, "lead-0").await.claim().to_string();
    for place in ["/name", "/metadata/reservationId", "/assistantOverrides/metadata/reservationId"] {
        assert_eq!(dial.pointer(place).and_then(Value::as_str), Some(&*claim), "{place}");
    }
    let told = ["status-update", "end-of-call-report", "tool-calls"];
    let requests = ["transfer-destination-request", "handoff-destination-request"];
    assert_eq!(dial["assistantOverrides"]["serverMessages"], json!([told.as_slice(), &requests].concat()));
}

/// A refusal that does not name the customer may be about them all the same: the lead stands behind the others when
/// its campaign is resumed, and does not pause it for ever.
#[tokio::test]
async fn a_lead_that_vapi_refuses_again_and_again_is_given_up() {
    let world = World::start(policy(1, 1, 0)).await.unwrap();
    world.vapi.answers(400, r#"{"message":"Something about this call","statusCode":400}"#);
    invoke(&world, batch(&[campaign(2)])).await;
    let resume = || batch(&[r#"{"resume":"c"}"#.to_owned()]);
    let status = || async { world.app.status().await.unwrap().campaigns.remove(0) };
    let mut asked = world.vapi.take_asked();
    for _ in 1..8 {
        world.clock.advance(SignedDuration::from_secs(1));
        invoke(&world, resume()).await;
        assert_eq!(status().await.state, "paused");
        asked.extend(world.vapi.take_asked());
    }
    asked.retain(|asked| asked.path == "/call");
    let json = |body: &str| serde_json::from_str::<Value>(body).unwrap();
    let numbers: Vec<Value> =
        asked.iter().map(|asked| json(&asked.body)["customer"]["number"].clone()).collect();
    assert_eq!(numbers.len(), 8);
    assert!(numbers.windows(2).all(|two| two[0] != two[1]), "by turns");
    for id in ["lead-0", "lead-1"] {
        let lead = lead(&world, id).await;
        assert_eq!((lead.attempts, lead.spared), (0, 3));
        let LeadState::Failed { reason } = &lead.state else { panic!("{:?}", lead.state) };
        assert!(reason.contains("Something about this call"), "{reason}");
    }
    invoke(&world, resume()).await;
    assert!(status().await.finished);
}

#[tokio::test]
async fn nobody_is_dialed_outside_their_window() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    world.vapi.answers(201, r#"{"id":"call-a"}"#);
    let message = |id: &str, zone: &str| {
        let now = world.clock.now().to_zoned(jiff::tz::TimeZone::UTC);
        let hour = |ahead: i8| format!("{:02}:00", (now.hour() + ahead).rem_euclid(24));
        let leads: Vec<Value> = (0..150)
            .map(|n| {
                // By the clock of Kiritimati, 14 hours ahead, the window is closed.
                let zone = if n < 148 { "Pacific/Kiritimati" } else { "UTC" };
                json!({ "id": format!("lead-{n}"), "number": format!("+1555{n:07}"), "timezone": zone })
            })
            .collect();
        let window = json!({ "start": hour(-1), "end": hour(2), "timezone": zone });
        json!({ "campaign": { "id": id, "assistantId": "a", "phoneNumberId": "p", "window": window }, "leads": leads })
            .to_string()
    };
    // Each on their own clock: the two whose hours these are, though 148 stand before them.
    invoke(&world, batch(&[message("c", "recipient")])).await;
    assert_eq!(dials(&world).await, 2);
    let status = world.app.status().await.unwrap();
    assert_eq!((status.campaigns[0].leads.ready, status.campaigns[0].finished), (148, false));
    // All on one clock that says closed: nobody, and nothing is written for it.
    invoke(&world, batch(&[message("d", "Pacific/Kiritimati")])).await;
    let before = world.dump().await.unwrap();
    invoke(&world, sample("dispatcher.wake.json")).await;
    assert_eq!((dials(&world).await, world.dump().await.unwrap() == before), (0, true));
    // Ten hours on, it is open for those.
    world.clock.advance(SignedDuration::from_hours(10));
    invoke(&world, sample("dispatcher.wake.json")).await;
    assert!(dials(&world).await > 0);
}
