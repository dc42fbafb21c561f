//! Callbacks, on the engine: what people ask for is promised once, in whatever order their call's messages come; the
//! promise is kept or missed once; and what stands above it stands above it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy, start};
use headroom::core::callback::{MOST, Unpromised};
use headroom::core::campaign::{Campaign, CampaignState};
use headroom::core::fair::Lane;
use headroom::core::hours::CallingHours;
use headroom::core::ids::{CallId, CampaignCode, CampaignId, ClaimKey, LeadId, LeadRef};
use headroom::core::lead::{Counts, End, Lead, LeadState, Outcome};
use headroom::core::life::Wish;
use headroom::core::line::{Kind, Token};
use headroom::flows::Clock as _;
use headroom::flows::callbacks::{CallbackError, Promised};
use headroom::table::leads::{Step, Turn};
use headroom::vapi::message::ServerMessage;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// In San Francisco.
const NUMBER: &str = "+14155550100";

fn code(campaign: &str) -> CampaignCode {
    CampaignCode::of(&campaign.parse().unwrap())
}

fn claim(campaign: &str, lead: &str, claim: u32) -> ClaimKey {
    ClaimKey { campaign: code(campaign), lead: LeadRef::of(&lead.parse().unwrap()), claim }
}

/// A world of so many lines with one lead, `l`, of the campaign `c` that has these settings besides.
async fn world(lines: u32, settings: Value) -> World {
    let world = World::start(policy(lines, lines, 0)).await.unwrap();
    take_in(&world, "c", &[("l", NUMBER)], settings).await;
    world
}

async fn take_in(world: &World, id: &str, leads: &[(&str, &str)], settings: Value) {
    let mut campaign =
        json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph", "retry": { "jitter": 0 } });
    for (name, value) in settings.as_object().into_iter().flatten() {
        campaign[name] = value.clone();
    }
    let leads: Vec<Value> = leads.iter().map(|(id, number)| json!({ "id": id, "number": number })).collect();
    let body = json!({ "campaign": campaign, "leads": leads }).to_string();
    world.app.take_in(body.as_bytes()).await.unwrap();
    // The next one is younger.
    world.clock.advance(SignedDuration::from_secs(1));
}

/// Dispatches once, and says whose calls were asked for, in their order.
async fn dispatch(world: &World, call: &str) -> Vec<String> {
    world.vapi.answers(201, json!({ "id": call, "status": "queued" }).to_string());
    world.vapi.take_asked();
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    let asked = world.vapi.take_asked();
    let dials = asked.iter().filter(|asked| asked.method == "POST");
    let whom = |body: &str| -> Value { serde_json::from_str(body).unwrap() };
    dials.map(|dial| whom(&dial.body)["customer"]["number"].as_str().unwrap().to_owned()).collect()
}

async fn lead(world: &World) -> (Lead, Turn) {
    let at = claim("c", "l", 1);
    world.table().read_turn(&at.campaign, &at.lead).await.unwrap().unwrap()
}

async fn campaign(world: &World) -> Campaign {
    world.table().read_campaign(&code("c")).await.unwrap().unwrap()
}

/// Promises made, kept, missed.
async fn counted(world: &World) -> (u32, u32, u32) {
    let tally = campaign(world).await.callbacks;
    (tally.made, tally.kept, tally.missed)
}

/// Leads that are ready, done, failed, as people see it.
async fn figures(world: &World) -> (u32, u32, u32) {
    let status = world.app.status().await.unwrap();
    let leads = status.campaigns.iter().find(|campaign| campaign.id == "c").unwrap().leads;
    (leads.ready, leads.done, leads.failed)
}

/// A server message about a call that was made for this claim.
fn message(kind: &str, call: &str, of: &ClaimKey, more: Value) -> ServerMessage {
    let mut message = json!({
        "type": kind, "customer": { "number": NUMBER },
        "call": { "id": call, "type": "outboundPhoneCall", "metadata": { "reservationId": of.to_string() } },
    });
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    ServerMessage::parse(json!({ "message": message }).to_string().as_bytes()).unwrap()
}

async fn tell(world: &World, message: ServerMessage) {
    let ServerMessage::Call(event) = message else { panic!("it is about a call") };
    world.app.observe(&event).await.unwrap();
}

/// Its end, without the analysis.
async fn ended(world: &World, call: &str, of: &ClaimKey, reason: &str) {
    let more = json!({ "status": "ended", "endedReason": reason });
    tell(world, message("status-update", call, of, more)).await;
}

/// Its report, whose analysis says when the person wants to be called.
async fn report(world: &World, call: &str, of: &ClaimKey, at: &str) {
    let more = json!({
        "endedReason": "customer-ended-call", "startedAt": "2026-03-26T15:46:50Z",
        "analysis": { "structuredData": { "callbackAt": at } },
    });
    tell(world, message("end-of-call-report", call, of, more)).await;
}

/// The pass, with this call in Vapi's list: its messages were lost, all of them.
async fn pass(world: &World, call: &str, of: &ClaimKey, at: &str) {
    let now = world.clock.now();
    let instant = |before: i64| (now - SignedDuration::from_secs(before)).to_string();
    let call = json!({
        "id": call, "type": "outboundPhoneCall", "status": "ended", "endedReason": "customer-ended-call",
        "createdAt": instant(90), "startedAt": instant(80), "endedAt": instant(20),
        "metadata": { "reservationId": of.to_string() }, "customer": { "number": NUMBER },
        "analysis": { "structuredData": { "callbackAt": at } },
    });
    world.vapi.answers(200, json!([call]).to_string());
    world.app.reconcile().await.unwrap();
}

/// The assistant's use of its tool.
async fn tool(world: &World, call: &str, of: &ClaimKey, at: &str) -> Result<Promised, Unpromised> {
    let list = json!([{ "id": format!("use-{at}"), "function": { "name": "call_me_back", "arguments": { "at": at } } }]);
    let ServerMessage::ToolCalls(used) = message("tool-calls", call, of, json!({ "toolCallList": list }))
    else {
        panic!("tools are used")
    };
    let asked = &used.asked[0];
    let whose = (used.org.as_ref(), used.claims.as_slice());
    world.app.hear_callback(&used.call.unwrap(), whose, asked.at.as_ref(), Some(&asked.id)).await.unwrap()
}

async fn operator(world: &World, at: &str) -> Result<Promised, CallbackError> {
    let (id, lead): (CampaignId, LeadId) = ("c".parse().unwrap(), "l".parse().unwrap());
    world.app.call_back(&id, &lead, &at.parse().map_err(Unpromised::from)?, "ada").await
}

/// An hour from the start.
fn five() -> Timestamp {
    Timestamp::from_second(start().as_second() + 3600).unwrap()
}

fn minutes(span: i64) -> SignedDuration {
    SignedDuration::from_mins(span)
}

async fn until(world: &World, at: Timestamp) {
    world.clock.advance(at.duration_since(world.clock.now()));
}

/// The lead waits for its time: in the first lane, in no call, with so many attempts made.
async fn waits_for(world: &World, at: Timestamp, attempts: u32) {
    let (lead, turn) = lead(world).await;
    assert_eq!((&lead.state, turn.due, turn.lane), (&LeadState::Ready, at, Lane::Callback));
    assert_eq!(lead.attempts, attempts);
    assert_eq!(lead.callbacks.promise.map(|promise| promise.at), Some(at));
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!(pool.counts.total, 0);
    assert_eq!(figures(world).await, (1, 0, 0));
}

/// Its call is dialed when it is promised, and not before; and that was all.
async fn is_kept(world: &World, at: Timestamp, made: u32) {
    until(world, at - SignedDuration::from_secs(1)).await;
    assert!(dispatch(world, "early").await.is_empty());
    until(world, at).await;
    assert_eq!(dispatch(world, "kept").await, [NUMBER]);
    let (live, _) = lead(world).await;
    ended(world, "kept", &live.claim(), "customer-ended-call").await;
    let (over, turn) = lead(world).await;
    assert_eq!(over.state, LeadState::Done { reason: "customer-ended-call".into() });
    assert_eq!((over.callbacks.promise, turn.lane), (None, Lane::Normal));
    assert_eq!(counted(world).await, (made, 1, 0));
    dispatch(world, "none").await;
    assert_eq!(campaign(world).await.state, CampaignState::Finished);
    assert_eq!(figures(world).await, (0, 1, 0));
}

#[tokio::test]
async fn a_wish_is_one_promise_whatever_tells_it_and_in_whatever_order() {
    let at = five().to_string();
    for order in [
        "report",
        "end report",
        "tool end report",
        "tool report report end",
        "report end tool",
        "end report tool report",
        "pass",
        "end pass report",
        "tool pass end",
    ] {
        let world = world(1, json!({})).await;
        assert_eq!(dispatch(&world, "first").await, [NUMBER]);
        let of = claim("c", "l", 1);
        for step in order.split(' ') {
            match step {
                "report" => report(&world, "first", &of, &at).await,
                "pass" => pass(&world, "first", &of, &at).await,
                "tool" => assert_eq!(tool(&world, "first", &of, &at).await.unwrap().at, five()),
                _ => ended(&world, "first", &of, "customer-ended-call").await,
            }
        }
        waits_for(&world, five(), 1).await;
        is_kept(&world, five(), 1).await;
        // Once more, as late as that: known, though it was kept.
        report(&world, "first", &of, &at).await;
        assert_eq!(counted(&world).await, (1, 1, 0), "{order}");
        assert!(dispatch(&world, "none").await.is_empty(), "{order}");
        assert_eq!(campaign(&world).await.state, CampaignState::Finished, "{order}");
    }
}

#[tokio::test]
async fn a_campaign_that_has_finished_runs_again_for_a_promise() {
    let world = world(1, json!({})).await;
    dispatch(&world, "first").await;
    ended(&world, "first", &claim("c", "l", 1), "customer-ended-call").await;
    dispatch(&world, "none").await;
    assert_eq!(campaign(&world).await.state, CampaignState::Finished);
    // On their own clock: seven hours behind Greenwich.
    let local = five().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let at = five() + SignedDuration::from_hours(7);
    report(&world, "first", &claim("c", "l", 1), &local).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Running);
    waits_for(&world, at, 1).await;
    world.app.reconcile().await.unwrap();
    assert_eq!(campaign(&world).await.state, CampaignState::Running, "it waits for its time");
    is_kept(&world, at, 1).await;
}

#[tokio::test]
async fn a_promise_that_comes_while_all_are_counted_keeps_the_campaign_from_finishing() {
    let world = world(1, json!({})).await;
    dispatch(&world, "first").await;
    ended(&world, "first", &claim("c", "l", 1), "customer-ended-call").await;
    let seen = campaign(&world).await;
    let all = world.table().count_leads(&seen.code).await.unwrap();
    assert!(all.all_over());
    report(&world, "first", &claim("c", "l", 1), &five().to_string()).await;
    assert!(!world.table().finish_campaign(&seen, all, world.clock.now()).await.unwrap());
    is_kept(&world, five(), 1).await;
}

#[tokio::test]
async fn an_end_that_was_decided_before_the_promise_does_not_lose_it() {
    let world = world(1, json!({})).await;
    dispatch(&world, "first").await;
    let of = claim("c", "l", 1);
    let (pool, stale) = world.state(&of).await.unwrap();
    tool(&world, "first", &of, &five().to_string()).await.unwrap();
    let end = End { reason: Some("customer-ended-call".into()), connected: None };
    world.app.settle(&pool, &stale.unwrap(), Some(&"first".parse().unwrap()), &end).await.unwrap();
    waits_for(&world, five(), 1).await;
    is_kept(&world, five(), 1).await;
}

#[tokio::test]
async fn a_function_that_dies_between_the_outcome_and_the_line_loses_and_doubles_nothing() {
    let world = world(1, json!({})).await;
    dispatch(&world, "first").await;
    let (of, call): (_, CallId) = (claim("c", "l", 1), "first".parse().unwrap());
    world.table().settle(&of, Some(&call), &Outcome::Done, "customer-ended-call", None).await.unwrap();
    report(&world, "first", &of, &five().to_string()).await;
    waits_for(&world, five(), 1).await;
    // Its end is on record, too: a late message takes no line.
    assert!(world.table().read_ended(&call).await.unwrap().is_some());
    is_kept(&world, five(), 1).await;

    // The same with the end that keeps it.
    let world = self::world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    until(&world, five()).await;
    dispatch(&world, "kept").await;
    let (live, _) = lead(&world).await;
    let fate = headroom::core::callback::Fate::Kept;
    world
        .table()
        .settle_promised(&live, Some(&"kept".parse().unwrap()), &Outcome::Done, ("ended", None), fate)
        .await
        .unwrap();
    assert_eq!(counted(&world).await, (1, 1, 0));
    ended(&world, "kept", &live.claim(), "customer-ended-call").await;
    until(&world, five() + minutes(5)).await;
    world.vapi.answers(200, "[]");
    world.app.reconcile().await.unwrap();
    assert_eq!(counted(&world).await, (1, 1, 0));
    assert_eq!(figures(&world).await, (0, 1, 0));
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 0);
}

#[tokio::test]
async fn each_promise_is_one_attempt_more() {
    let world = world(1, json!({ "retry": { "maxAttempts": 1, "jitter": 0 } })).await;
    dispatch(&world, "first").await;
    ended(&world, "first", &claim("c", "l", 1), "customer-busy").await;
    assert!(lead(&world).await.0.state.is_over());
    assert!(!operator(&world, &five().to_string()).await.unwrap().is_known);
    assert_eq!(figures(&world).await, (1, 0, 0));
    until(&world, five()).await;
    assert_eq!(dispatch(&world, "second").await, [NUMBER]);
    let (live, _) = lead(&world).await;
    ended(&world, "second", &live.claim(), "customer-busy").await;
    let (over, _) = lead(&world).await;
    assert_eq!((over.state.name(), over.attempts), ("failed", 2));
    assert_eq!(counted(&world).await, (1, 1, 0));
    assert_eq!(figures(&world).await, (0, 0, 1));
}

#[tokio::test]
async fn a_promise_not_reached_is_retried_as_any_attempt_and_in_the_ordinary_lane() {
    let world = world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    until(&world, five()).await;
    dispatch(&world, "busy").await;
    let (live, _) = lead(&world).await;
    ended(&world, "busy", &live.claim(), "customer-busy").await;
    let (again, turn) = lead(&world).await;
    assert_eq!((again.state, turn.due, turn.lane), (LeadState::Ready, five() + minutes(15), Lane::Normal));
    assert_eq!(counted(&world).await, (1, 1, 0));
}

#[tokio::test]
async fn a_call_that_was_none_leaves_the_promise_to_be_kept() {
    let world = world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    until(&world, five()).await;
    // Definitely not made: back to its place.
    world.vapi.answers(400, r#"{"message": "Over Concurrency Limit"}"#);
    let later = world.clock.now() + minutes(1);
    Arc::new(world.app.clone()).dispatch(later).await.unwrap();
    waits_for(&world, five(), 0).await;
    world.clock.advance(minutes(1));
    dispatch(&world, "broken").await;
    let (live, _) = lead(&world).await;
    // Never set up, by no fault of the person's: soon again, and still promised.
    ended(&world, "broken", &live.claim(), "twilio-failed-to-connect-call").await;
    let (again, turn) = lead(&world).await;
    assert_eq!((again.attempts, again.spared, turn.lane), (0, 1, Lane::Callback));
    assert_eq!(counted(&world).await, (1, 0, 0));
    world.clock.advance(minutes(1));
    assert_eq!(dispatch(&world, "kept").await, [NUMBER]);
    let (live, _) = lead(&world).await;
    ended(&world, "kept", &live.claim(), "customer-ended-call").await;
    assert_eq!(counted(&world).await, (1, 1, 0));
}

#[tokio::test]
async fn a_dial_that_comes_too_late_has_missed_it() {
    let world = world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    world.app.ask_campaign(&"c".parse().unwrap(), &Wish::Pause { reason: None }, "ada").await.unwrap();
    until(&world, five() + minutes(6)).await;
    world.app.ask_campaign(&"c".parse().unwrap(), &Wish::Resume, "ada").await.unwrap();
    assert_eq!(dispatch(&world, "late").await, [NUMBER]);
    let (live, _) = lead(&world).await;
    ended(&world, "late", &live.claim(), "customer-ended-call").await;
    ended(&world, "late", &live.claim(), "customer-ended-call").await;
    assert_eq!(counted(&world).await, (1, 0, 1));
    let detail = world.app.campaign(&"c".parse().unwrap(), false).await.unwrap();
    let shown = detail.callbacks.unwrap();
    assert_eq!((shown.promised, shown.kept, shown.missed, shown.waiting), (1, 0, 1, 0));
}

#[tokio::test]
async fn whoever_meant_to_call_before_is_refused() {
    let world = world(2, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    // A dispatcher that had chosen the lead before, and has its line.
    let token = Token::new(Kind::Outbound, world.clock.now(), 1);
    let deadline = world.clock.now() + minutes(1);
    let step = world.table().claim(&claim("c", "l", 1), &token, deadline).await.unwrap();
    assert!(matches!(step, Step::Refused(_)));
    assert!(dispatch(&world, "early").await.is_empty());
    is_kept(&world, five(), 1).await;
}

#[tokio::test]
async fn a_new_promise_takes_the_place_of_the_old_one() {
    let world = world(1, json!({})).await;
    dispatch(&world, "first").await;
    let (of, six) = (claim("c", "l", 1), five() + minutes(60));
    tool(&world, "first", &of, &five().to_string()).await.unwrap();
    tool(&world, "first", &of, &six.to_string()).await.unwrap();
    // The first one, late and again.
    assert_eq!(tool(&world, "first", &of, &five().to_string()).await.unwrap().at, six);
    ended(&world, "first", &of, "customer-ended-call").await;
    waits_for(&world, six, 1).await;
    // After it was settled, too.
    let half = five() + minutes(30);
    assert!(!operator(&world, &half.to_string()).await.unwrap().is_known);
    assert!(operator(&world, &half.to_string()).await.unwrap().is_known);
    waits_for(&world, half, 1).await;
    is_kept(&world, half, 3).await;
}

#[tokio::test]
async fn what_cannot_be_promised_is_refused_with_its_reason() {
    let world = world(1, json!({ "endAt": "2026-04-10T00:00:00Z" })).await;
    let refused = async |at: &str| operator(&world, at).await.unwrap_err().to_string();
    assert!(refused("soon").await.contains("not understood"));
    assert!(refused("2026-03-26T15:00:00Z").await.contains("past"));
    assert!(refused("2028-03-26T15:00:00Z").await.contains("more than a year"));
    assert!(refused("2026-04-10T00:00:00Z").await.contains("before the campaign ends"));
    // Told by a call of nobody's, a caller's, or one that names another's claim.
    let at = five().to_string();
    assert_eq!(tool(&world, "theirs", &claim("c", "l", 1), &at).await, Err(Unpromised::NoLead));
    dispatch(&world, "first").await;
    assert_eq!(tool(&world, "theirs", &claim("c", "l", 1), &at).await, Err(Unpromised::NoLead));
    assert_eq!(tool(&world, "first", &claim("d", "l", 1), &at).await, Err(Unpromised::NoLead));
    assert!(matches!(tool(&world, "first", &claim("c", "l", 1), "five").await, Err(Unpromised::NoTime(_))));
    report(&world, "theirs", &claim("c", "l", 1), &at).await;
    assert_eq!(counted(&world).await, (0, 0, 0));
    // So many, and no more.
    for nth in 0..MOST {
        operator(&world, &(five() + minutes(nth as i64)).to_string()).await.unwrap();
    }
    assert!(refused(&(five() + minutes(50)).to_string()).await.contains("no more calls"));
    assert_eq!(counted(&world).await, (MOST as u32, 0, 0));

    let world = self::world(1, json!({})).await;
    world.table().refuse_calls(&NUMBER.parse().unwrap(), "ada", world.clock.now()).await.unwrap();
    let error = operator(&world, &at).await.unwrap_err();
    assert!(matches!(error, CallbackError::Not(Unpromised::DoNotCall)));
    world.app.ask_campaign(&"c".parse().unwrap(), &Wish::Cancel, "ada").await.unwrap();
    let error = operator(&world, &at).await.unwrap_err();
    assert!(matches!(error, CallbackError::Not(Unpromised::Cancelled)));
    let nobody =
        world.app.call_back(&"c".parse().unwrap(), &"m".parse().unwrap(), &at.parse().unwrap(), "ada").await;
    assert!(matches!(nobody, Err(CallbackError::Unknown(_))));
}

#[tokio::test]
async fn their_word_stands_above_the_window_and_not_above_the_law() {
    // From 16:00 to 16:10 UTC; the hour after that is theirs.
    let window = json!({ "days": ["thu"], "start": "16:00", "end": "16:10", "timezone": "UTC" });
    let mut world = world(3, json!({ "window": window, "endAt": "2026-03-27T12:00:00Z" })).await;
    take_in(
        &world,
        "c",
        &[("m", "+14155550101")],
        json!({ "window": window, "endAt": "2026-03-27T12:00:00Z" }),
    )
    .await;
    assert_eq!(operator(&world, &five().to_string()).await.unwrap().at, five());
    until(&world, five()).await;
    // The window never opens again: the other lead ends, this one is called.
    assert_eq!(dispatch(&world, "kept").await, [NUMBER]);
    let (live, _) = lead(&world).await;
    ended(&world, "kept", &live.claim(), "customer-ended-call").await;
    assert_eq!(counted(&world).await, (1, 1, 0));
    assert_eq!(figures(&world).await, (0, 1, 1));

    // The law has nobody called at six in the morning in San Francisco.
    world.app.calling_hours = CallingHours::default();
    let promised = operator(&world, "2026-03-27T06:00").await.unwrap_err();
    assert!(matches!(promised, CallbackError::Not(Unpromised::NeverOpen)), "not before the end");
    let world = world.beside(policy(3, 3, 0)).await.unwrap();
    take_in(&world, "c", &[("l", NUMBER)], json!({ "window": window })).await;
    let promised = operator(&world, "2026-03-27T06:00").await.unwrap();
    assert_eq!((promised.at.to_string(), promised.is_moved), ("2026-03-27T15:00:00Z".to_owned(), true));
    assert!(promised.spoken().contains("2026-03-27 08:00"), "{}", promised.spoken());
    is_kept(&world, promised.at, 1).await;
}

#[tokio::test]
async fn a_promise_ends_with_its_campaign() {
    let world = world(1, json!({ "endAt": "2026-03-26T17:00:00Z" })).await;
    operator(&world, &five().to_string()).await.unwrap();
    until(&world, "2026-03-26T17:00:00Z".parse().unwrap()).await;
    assert!(dispatch(&world, "late").await.is_empty());
    let (over, _) = lead(&world).await;
    assert_eq!(over.state, LeadState::Failed { reason: "window_closed".into() });
    assert_eq!((over.callbacks.promise, counted(&world).await), (None, (1, 0, 0)));

    let world = self::world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    world.app.ask_campaign(&"c".parse().unwrap(), &Wish::Cancel, "ada").await.unwrap();
    dispatch(&world, "none").await;
    assert_eq!(lead(&world).await.0.state, LeadState::Failed { reason: "cancelled".into() });
    assert_eq!(campaign(&world).await.state, CampaignState::Cancelled);
    // Called again, it is a lead like others.
    let only = vec![headroom::core::life::Unreached::Cancelled];
    world.app.ask_campaign(&"c".parse().unwrap(), &Wish::Rerun { only }, "ada").await.unwrap();
    dispatch(&world, "none").await;
    let (again, turn) = lead(&world).await;
    assert_eq!((again.callbacks.promise, turn.lane), (None, Lane::Normal));
    assert_eq!(dispatch(&world, "again").await, [NUMBER]);
    assert_eq!(figures(&world).await, (0, 0, 0));
}

#[tokio::test]
async fn who_said_no_since_is_not_called_back() {
    let world = world(1, json!({})).await;
    operator(&world, &five().to_string()).await.unwrap();
    world.table().refuse_calls(&NUMBER.parse().unwrap(), "ada", world.clock.now()).await.unwrap();
    until(&world, five()).await;
    assert!(dispatch(&world, "none").await.is_empty());
    let (over, _) = lead(&world).await;
    assert_eq!(over.state, LeadState::Failed { reason: "do_not_call".into() });
    assert_eq!((over.attempts, over.callbacks.promise, counted(&world).await), (0, None, (1, 0, 0)));
}

#[tokio::test]
async fn who_was_called_often_enough_waits_with_the_promise() {
    let mut world = world(1, json!({})).await;
    world.app.often = "1/9".parse().unwrap();
    dispatch(&world, "first").await;
    let of = claim("c", "l", 1);
    report(&world, "first", &of, &five().to_string()).await;
    until(&world, five()).await;
    assert!(dispatch(&world, "none").await.is_empty());
    let (waits, turn) = lead(&world).await;
    assert_eq!((waits.state, turn.lane), (LeadState::Ready, Lane::Callback));
    until(&world, turn.due).await;
    assert_eq!(dispatch(&world, "late").await, [NUMBER]);
    let (live, _) = lead(&world).await;
    ended(&world, "late", &live.claim(), "customer-ended-call").await;
    assert_eq!(counted(&world).await, (1, 0, 1));
}

#[tokio::test]
async fn due_callbacks_go_before_other_leads_of_their_campaign_and_before_equal_and_higher_campaigns() {
    for (settings, whose) in [(json!({}), "callback"), (json!({ "callbackPriority": "low" }), "high")] {
        let world = world(1, settings.clone()).await;
        take_in(&world, "c", &[("m", "+14155550101")], settings).await;
        take_in(&world, "high", &[("h", "+14155550102")], json!({ "priority": "high" })).await;
        operator(&world, &five().to_string()).await.unwrap();
        // All are due, and there is one line.
        until(&world, five()).await;
        let first = if whose == "callback" { NUMBER } else { "+14155550102" };
        assert_eq!(dispatch(&world, "one").await, [first], "{whose}");
    }
    // Within its campaign whatever the class.
    let world = world(1, json!({ "callbackPriority": "low" })).await;
    take_in(&world, "c", &[("m", "+14155550101")], json!({ "callbackPriority": "low" })).await;
    operator(&world, &five().to_string()).await.unwrap();
    until(&world, five()).await;
    assert_eq!(dispatch(&world, "one").await, [NUMBER]);
}

#[tokio::test]
async fn a_warm_lead_goes_back_to_its_own_lane() {
    let world = World::start(policy(1, 1, 0)).await.unwrap();
    let body = json!({
        "campaign": { "id": "c", "assistantId": "as", "phoneNumberId": "ph", "retry": { "jitter": 0 } },
        "leads": [{ "id": "l", "number": NUMBER, "priority": "high" }],
    });
    world.app.take_in(body.to_string().as_bytes()).await.unwrap();
    for nth in 0..2 {
        let at = five() + minutes(60 * nth);
        operator(&world, &at.to_string()).await.unwrap();
        until(&world, at).await;
        assert_eq!(dispatch(&world, &format!("busy-{nth}")).await, [NUMBER]);
        let (live, _) = lead(&world).await;
        ended(&world, &format!("busy-{nth}"), &live.claim(), "customer-busy").await;
        assert_eq!(lead(&world).await.1.lane, Lane::High);
    }
    world.clock.advance(minutes(15));
    assert_eq!(dispatch(&world, "again").await, [NUMBER]);
    assert!(lead(&world).await.0.claims >= 3);
}

#[tokio::test]
async fn a_dial_given_back_keeps_the_promise_that_came_during_it() {
    let world = world(1, json!({})).await;
    let of = claim("c", "l", 1);
    world.dialing(&of).await.unwrap();
    operator(&world, &five().to_string()).await.unwrap();
    let again = Outcome::Again { due: Timestamp::UNIX_EPOCH, counts: Counts::Nothing };
    // Whoever does not know of the promise changes nothing.
    assert!(matches!(world.table().settle(&of, None, &again, "none", None).await.unwrap(), Step::Refused(_)));
    assert!(matches!(world.table().give_back(&of).await.unwrap(), Step::Moved(_)));
    let (waits, turn) = lead(&world).await;
    assert_eq!((waits.state, turn.due, turn.lane), (LeadState::Ready, five(), Lane::Callback));
    assert_eq!(world.table().count_callbacks(&code("c"), Some(five()), 9).await.unwrap(), 1);
    assert_eq!(world.table().count_callbacks(&code("c"), Some(world.clock.now()), 9).await.unwrap(), 0);
}
