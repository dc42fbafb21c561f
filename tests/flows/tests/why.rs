//! Explanations: what a refusal leaves on record, how often, and what is told of a call or a lead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::sync::Arc;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::{CallId, CampaignCode, NameCode};
use headroom::core::lead::{End, Outcome};
use headroom::core::line::{Kind, LineKey};
use headroom::core::refusal::{Basis, Fate, HeldLine, Refusal};
use headroom::core::reserve::Reserve;
use headroom::flows::Clock as _;
use headroom::flows::observe::Answer;
use headroom::flows::operate::Asked;
use headroom::flows::why::{Obstacle, Why, WhyCall, WhyError, WhyLead};
use headroom::table::usage::{UsageHour, Volume};
use headroom::vapi::calls::Wishes;
use headroom::vapi::message::{CallEvent, Happened};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const BLOCKED: &str = "call.start.error-subscription-concurrency-limit-reached";
const OVER_LIMIT: &str = r#"{"message": "Over Concurrency Limit"}"#;

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn event(call: &str, kind: Kind, assistant: &str, happened: Happened) -> CallEvent {
    CallEvent {
        call: call.parse().unwrap(),
        org: None,
        kind: Some(kind),
        assistants: vec![NameCode::of(assistant)],
        number: None,
        claims: Vec::new(),
        wishes: Wishes::default(),
        talk: None,
        happened,
    }
}

async fn answer(world: &World, call: &str, assistant: &str, overflow: &str) -> Answer {
    let callers = Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere(assistant),
        busy_message: "busy".to_owned(),
        overflow: Overflow::parse(overflow).unwrap(),
    };
    world.app.answer(&event(call, Kind::Inbound, assistant, Happened::Live), &callers).await.unwrap()
}

fn blocked() -> Happened {
    Happened::Ended(End { reason: Some(BLOCKED.to_owned()), connected: Some(false) })
}

/// Callers' calls took four minutes in the last hours.
async fn usage(world: &World) {
    let hour = |ago: i64, calls, minutes| {
        let start = world.clock.now() - SignedDuration::from_hours(ago);
        let by_type = BTreeMap::from([("inboundPhoneCall".to_owned(), Volume { calls, minutes })]);
        UsageHour { start, peak: 3, by_type }
    };
    world.table().put_usage(&[hour(2, 1, 1.0), hour(3, 3, 15.0), hour(30, 9, 999.0)]).await.unwrap();
}

async fn refusal(world: &World, call: &str) -> Refusal {
    world.table().read_refusal(&call.parse().unwrap()).await.unwrap().expect("a record")
}

/// A campaign of `c` with some leads, the first called `0`.
async fn campaign(world: &World, id: &str, leads: u32, more: Value) {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") })).collect();
    let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph", "agent": "sales" });
    campaign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = json!({ "campaign": campaign, "leads": leads });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
}

async fn dispatch(world: &World) {
    let until = world.clock.now() + seconds(60);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
}

async fn waiting(world: &World, id: &str) -> Option<Refusal> {
    world.table().read_waiting(&CampaignCode::of(&id.parse().unwrap())).await.unwrap()
}

async fn why_call(world: &World, id: &str) -> WhyCall {
    match world.app.why(id).await.unwrap() {
        Why::Call(call) => call,
        Why::Lead(lead) => panic!("{lead:?}"),
    }
}

async fn why_lead(world: &World, id: &str) -> WhyLead {
    match world.app.why(id).await.unwrap() {
        Why::Lead(lead) => lead,
        Why::Call(call) => panic!("{call:?}"),
    }
}

async fn obstacle(world: &World, id: &str) -> Obstacle {
    why_lead(world, id).await.waits.expect("it waits").obstacle
}

/// Ends the call of a line that is only observed.
async fn hang_up(world: &World, call: &str) {
    let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
    world.app.observe(&event(call, Kind::Inbound, "desk", Happened::Ended(end))).await.unwrap();
}

#[tokio::test]
async fn a_refused_caller_leaves_one_record_of_that_instant() {
    let world = World::start(policy(3, 3, 0)).await.unwrap();
    usage(&world).await;
    let reserve = Reserve { inbound: 1, members: [NameCode::of("as-desk")].into(), ..Reserve::default() };
    let asked = Asked { reserve: Some(("desk".parse().unwrap(), reserve)), ..Asked::default() };
    world.app.change(&asked, "ops").await.unwrap();
    world.observed("a", Kind::Inbound, Some("other")).await.unwrap();
    world.clock.advance(seconds(60));
    campaign(&world, "c", 1, json!({})).await;
    world.vapi.answers(201, r#"{"id": "dialed"}"#);
    dispatch(&world).await;
    // One line is left, and it is the desk's.
    let at = world.clock.now();
    assert_eq!(answer(&world, "late", "as-other", "").await, Answer::Refusal("busy".into()));

    let record = refusal(&world, "late").await;
    let code = NameCode::of("as-other").as_str().to_owned();
    assert_eq!((record.at, record.since, record.fate), (at, at, Fate::Busy));
    assert_eq!((record.rule.as_str(), record.kind.as_str(), record.agent), ("shared", "inbound", Some(code)));
    let lines = record.lines;
    assert_eq!((lines.limit, lines.total, lines.shared, lines.shared_lines, lines.reserved), (3, 2, 2, 2, 1));
    let held = |kind: &str, agent: &str, campaign: Option<&str>, since| HeldLine {
        org: None,
        kind: kind.into(),
        agent: Some(agent.into()),
        campaign: campaign.map(Into::into),
        since,
    };
    let other = NameCode::of("other");
    assert_eq!(
        record.longest,
        [held("inbound", other.as_str(), None, at - seconds(60)), held("outbound", "sales", Some("c"), at)]
    );
    assert_eq!(record.holders.len(), 2);
    // Of a caller's four minutes and two for a call of unknown length: 1 / (1/240 + 1/120) s.
    assert_eq!((record.expected.next, record.expected.basis), (Some(at + seconds(80)), Basis::Typical));

    // Asked again, when all is different: the caller hears the same, and the record stays.
    hang_up(&world, "a").await;
    for id in ["b", "d"] {
        world.observed(id, Kind::Inbound, Some("other")).await.unwrap();
    }
    world.clock.advance(seconds(10));
    assert_eq!(answer(&world, "late", "as-other", "*=+15555550101").await.name(), "forward");
    assert_eq!(refusal(&world, "late").await.at, at);
    let forwarded = answer(&world, "later", "as-other", "*=+15555550101").await;
    assert_eq!(forwarded.name(), "forward");
    assert_eq!(refusal(&world, "later").await.fate, Fate::Forwarded);
    // Answered callers leave none.
    hang_up(&world, "b").await;
    hang_up(&world, "d").await;
    assert_eq!(answer(&world, "good", "as-other", "").await, Answer::Assistant("as-other".into()));
    assert_eq!(world.table().read_refusal(&"good".parse().unwrap()).await.unwrap(), None);
}

trait Name {
    fn name(&self) -> &'static str;
}

impl Name for Answer {
    fn name(&self) -> &'static str {
        match self {
            Self::Assistant(_) => "assistant",
            Self::Refusal(_) => "refusal",
            Self::Forward(_) => "forward",
        }
    }
}

#[tokio::test]
async fn who_was_recorded_before_they_asked_does_not_wait_for_themselves() {
    let world = World::start(policy(1, 1, 0)).await.unwrap();
    usage(&world).await;
    world.observed("first", Kind::Inbound, None).await.unwrap();
    world.app.observe(&event("late", Kind::Inbound, "as", Happened::Live)).await.unwrap();
    assert_eq!(answer(&world, "late", "as", "").await.name(), "refusal");
    let record = refusal(&world, "late").await;
    assert_eq!((record.rule.as_str(), record.longest.len()), ("limit", 1));
    let expected = record.expected;
    assert_eq!((expected.next, expected.basis), (Some(record.at + seconds(240)), Basis::Usage));
}

#[tokio::test]
async fn callers_that_vapi_blocked_are_on_record_by_their_webhook_or_by_the_list() {
    let world = World::start(policy(5, 5, 0)).await.unwrap();
    world.observed("first", Kind::Inbound, None).await.unwrap();
    world.app.observe(&event("told", Kind::Web, "as", blocked())).await.unwrap();
    let listed = |id: &str, kind: &str, reason: &str| {
        let created = (world.clock.now() - seconds(30)).to_string();
        json!({ "id": id, "type": kind, "status": "ended", "endedReason": reason, "createdAt": created })
    };
    let list = json!([
        listed("seen", "inboundPhoneCall", BLOCKED),
        listed("dialed", "outboundPhoneCall", BLOCKED),
        listed("over", "inboundPhoneCall", "customer-ended-call"),
    ]);
    world.vapi.answers(200, list.to_string());
    world.app.reconcile().await.unwrap();

    for (call, kind) in [("told", "web"), ("seen", "inbound")] {
        let record = refusal(&world, call).await;
        let said = (record.rule.as_str(), record.kind.as_str(), record.fate, record.lines.total);
        assert_eq!(said, ("vapi", kind, Fate::Blocked, 1), "{call}");
    }
    for call in ["dialed", "over"] {
        assert_eq!(world.table().read_refusal(&call.parse().unwrap()).await.unwrap(), None, "{call}");
    }
    // The list shows it for a while: once on record, a pass has nothing to write.
    let before = world.dump().await.unwrap();
    world.clock.advance(seconds(60));
    world.take_write_units();
    world.app.reconcile().await.unwrap();
    assert_eq!(world.take_write_units(), 0.0);
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn a_campaign_that_waits_costs_a_write_a_minute_and_keeps_when_it_began() {
    let world = World::start(policy(2, 2, 1)).await.unwrap();
    world.observed("first", Kind::Inbound, None).await.unwrap();
    campaign(&world, "c", 3, json!({})).await;
    let began = world.clock.now();
    dispatch(&world).await;
    let record = waiting(&world, "c").await.unwrap();
    assert_eq!(
        (record.rule.as_str(), record.kind.as_str(), record.fate),
        ("headroom", "outbound", Fate::Waits)
    );
    assert_eq!((record.at, record.since, record.agent.as_deref()), (began, began, Some("sales")));

    // Woken again and again in a minute: not one write.
    world.take_write_units();
    for _ in 0..10 {
        world.clock.advance(seconds(5));
        dispatch(&world).await;
    }
    assert_eq!(world.take_write_units(), 0.0);
    world.clock.advance(seconds(10));
    dispatch(&world).await;
    let record = waiting(&world, "c").await.unwrap();
    assert_eq!((record.at, record.since), (began + seconds(60), began));

    // Another rule is another wait, within the same minute only the next time.
    let cap = |cap, headroom| Asked { cap: Some(cap), headroom: Some(headroom), ..Asked::default() };
    world.app.change(&cap(0, 0), "ops").await.unwrap();
    world.clock.advance(seconds(60));
    dispatch(&world).await;
    let record = waiting(&world, "c").await.unwrap();
    assert_eq!((record.rule.as_str(), record.since), ("cap", began + seconds(120)));
    assert_eq!((record.expected.next, record.expected.basis), (None, Basis::Nothing));
    world.app.change(&cap(2, 1), "ops").await.unwrap();

    // A line is granted, and the next lead waits anew.
    hang_up(&world, "first").await;
    world.clock.advance(seconds(60));
    world.vapi.answers(201, r#"{"id": "dialed"}"#);
    dispatch(&world).await;
    assert_eq!(world.table().read_pool().await.unwrap().counts.outbound, 1);
    let record = waiting(&world, "c").await.unwrap();
    let granted = world.clock.now();
    assert_eq!((record.rule.as_str(), record.since), ("headroom", granted));
    // Nobody looked for some minutes: it may have been otherwise meanwhile.
    world.clock.advance(seconds(200));
    dispatch(&world).await;
    assert_eq!(waiting(&world, "c").await.unwrap().since, granted + seconds(200));
}

#[tokio::test]
async fn while_there_are_lines_nothing_is_on_record() {
    let world = World::start(policy(3, 3, 0)).await.unwrap();
    campaign(&world, "c", 3, json!({})).await;
    world.vapi.answers(201, r#"{"id": "dialed"}"#);
    dispatch(&world).await;
    // Every line is held, and no lead is left that would want another.
    dispatch(&world).await;
    assert_eq!(world.table().read_pool().await.unwrap().free(), 0);
    assert_eq!(waiting(&world, "c").await, None);
    // Nor is one refused whose window is closed.
    let closed = json!({ "window": { "start": "00:00", "end": "00:01", "timezone": "UTC" } });
    campaign(&world, "closed", 1, closed).await;
    dispatch(&world).await;
    assert_eq!(waiting(&world, "closed").await, None);
}

#[tokio::test]
async fn what_vapi_refuses_is_on_record_at_once_and_waits_for_the_rest_to_end() {
    let world = World::start(policy(3, 2, 0)).await.unwrap();
    world.observed("first", Kind::Foreign, None).await.unwrap();
    world.observed("second", Kind::Foreign, None).await.unwrap();
    campaign(&world, "c", 1, json!({})).await;
    dispatch(&world).await;
    assert_eq!(waiting(&world, "c").await.unwrap().rule, "cap");
    let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
    world.app.observe(&event("first", Kind::Foreign, "as", Happened::Ended(end))).await.unwrap();
    world.vapi.answers(400, OVER_LIMIT);
    let refused = world.clock.now();
    dispatch(&world).await;
    let record = waiting(&world, "c").await.unwrap();
    assert_eq!((record.rule.as_str(), record.since), ("vapi", refused));
    let rest = world.table().read_pool().await.unwrap().hold_until;
    assert_eq!((record.expected.next, record.expected.basis), (Some(rest), Basis::Rest));
    // While it rests the same is so, and the probe after it is one more of the same.
    dispatch(&world).await;
    world.clock.advance(seconds(70));
    dispatch(&world).await;
    let record = waiting(&world, "c").await.unwrap();
    assert_eq!((record.rule.as_str(), record.since, record.at), ("vapi", refused, refused + seconds(70)));
}

#[tokio::test]
async fn a_first_refusal_is_kept_and_a_campaigns_is_replaced_by_a_later_one_alone() {
    let world = World::start(policy(1, 1, 0)).await.unwrap();
    world.observed("first", Kind::Inbound, None).await.unwrap();
    answer(&world, "late", "as", "").await;
    let first = refusal(&world, "late").await;
    let later = |by: i64| Refusal { at: first.at + seconds(by), ..first.clone() };
    let (table, call) = (world.table(), "late".parse::<CallId>().unwrap());
    assert!(!table.record_refusal(&call, &later(1)).await.unwrap());
    assert_eq!(refusal(&world, "late").await, first);

    let code = CampaignCode::of(&"c".parse().unwrap());
    let record = async |by: i64, before: i64| {
        table.record_waiting(&code, &later(by), first.at + seconds(before)).await.unwrap()
    };
    assert!(record(0, -60).await);
    // Somebody else looked at the same time, and was first.
    assert!(!record(1, -59).await);
    assert_eq!(waiting(&world, "c").await.unwrap(), first);
    assert!(record(60, 0).await);
    assert_eq!(waiting(&world, "c").await.unwrap(), later(60));
}

#[tokio::test]
async fn calls_are_told_of_as_they_stand() {
    let world = World::start(policy(2, 2, 0)).await.unwrap();
    let claim = world.lead("c", "ada").await.unwrap();
    let lease = world.live(&claim, &"ours".parse().unwrap()).await.unwrap();
    world.observed("caller", Kind::Inbound, None).await.unwrap();
    answer(&world, "late", "as", "").await;

    let ours = why_call(&world, "ours").await;
    assert_eq!(ours.held.map(|held| (held.kind, held.since)), Some(("outbound".into(), lease.token.since())));
    assert_eq!((ours.ended, ours.refusal), (None, None));
    assert_eq!(why_call(&world, "caller").await.held.unwrap().kind, "inbound");
    let late = why_call(&world, "late").await;
    assert_eq!((late.refusal.unwrap().rule.as_str(), late.held, late.ended), ("limit", None, None));
    world.clock.advance(seconds(5));
    hang_up(&world, "caller").await;
    let caller = why_call(&world, "caller").await;
    assert_eq!((caller.held, caller.refusal), (None, None));
    let ended = caller.ended.unwrap();
    assert_eq!((ended.at, ended.reason.as_str()), (world.clock.now(), "customer-ended-call"));

    for unknown in ["nobody", "c/nobody", "d/ada", "c", "/", "", "a b", "c/ada/"] {
        let error = world.app.why(unknown).await.expect_err(unknown);
        assert!(matches!(error, WhyError::Unknown), "{unknown}: {error}");
        assert!(error.to_string().contains("CAMPAIGN/LEAD"), "{error}");
    }
}

#[tokio::test]
async fn a_waiting_lead_is_told_what_stands_in_its_way() {
    let world = World::start(policy(2, 1, 0)).await.unwrap();
    // Thursday evening in UTC.
    let start: Timestamp = world.clock.now();
    assert_eq!(start.to_string(), "2026-03-26T15:46:40Z");
    campaign(&world, "c", 3, json!({})).await;
    assert_eq!(obstacle(&world, "c/0").await, Obstacle::Turn);
    world.observed("foreign", Kind::Foreign, None).await.unwrap();
    let Obstacle::Line { rule, expected } = obstacle(&world, "c/0").await else { panic!("there is no line") };
    assert_eq!(
        (rule.as_str(), expected.next, expected.basis),
        ("cap", Some(start + seconds(120)), Basis::Typical)
    );
    let last = why_lead(&world, "c/2").await;
    assert_eq!((last.waits.unwrap().ahead, last.refusal), (2, None));
    dispatch(&world).await;
    let last = why_lead(&world, "c/2").await;
    assert_eq!(last.refusal.map(|refusal| refusal.rule).as_deref(), Some("cap"));

    let window = json!({ "window": { "start": "08:00", "end": "09:00", "timezone": "UTC" } });
    campaign(&world, "morning", 1, window).await;
    let opens = "2026-03-27T08:00:00Z".parse().unwrap();
    assert_eq!(obstacle(&world, "morning/0").await, Obstacle::Window { until: Some(opens) });

    let c = world.table().read_campaign(&CampaignCode::of(&"c".parse().unwrap())).await.unwrap().unwrap();
    world.table().pause_campaign(&c, "mend it", world.clock.now()).await.unwrap();
    assert_eq!(obstacle(&world, "c/0").await, Obstacle::Paused { reason: "mend it".into() });
}

#[tokio::test]
async fn a_lead_is_told_of_through_its_calls_and_its_number_never() {
    let world = World::start(policy(2, 2, 0)).await.unwrap();
    let number = "+15555550142";
    let message = json!({
        "campaign": { "id": "may/2026", "assistantId": "as", "phoneNumberId": "ph", "retry": { "jitter": 0 } },
        "leads": [{ "number": number }],
    });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
    let id = format!("may/2026/{number}");
    world.vapi.answers(201, r#"{"id": "ours"}"#);
    dispatch(&world).await;
    let live = why_lead(&world, &id).await;
    assert_eq!((live.state.as_str(), live.call.as_deref(), live.attempts), ("live", Some("ours"), 0));
    assert_eq!(live.held.as_ref().map(|held| held.kind.as_str()), Some("outbound"));
    assert_eq!(live.lead, "+…42");

    // Nobody answered: it is due again later.
    let pool = world.table().read_pool().await.unwrap();
    let Some(LineKey::Claim(claim)) = pool.lines.keys().next().cloned() else { panic!("a claim holds it") };
    let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
    let end = End { reason: Some("customer-did-not-answer".into()), connected: Some(false) };
    world.app.settle(&pool, &lead, Some(&"ours".parse().unwrap()), &end).await.unwrap();
    let ready = why_lead(&world, &id).await;
    let until = world.clock.now() + SignedDuration::from_hours(2);
    assert_eq!((ready.attempts, ready.reason.as_deref()), (1, Some("customer-did-not-answer")));
    assert_eq!(ready.waits.map(|waits| waits.obstacle), Some(Obstacle::Due { until }));

    // A refusal that quotes the number in either spelling.
    world.clock.advance(SignedDuration::from_hours(3));
    world.vapi.answers(500, "{}");
    dispatch(&world).await;
    let reason = format!("customer {number} or {} is no good", &number[1..]);
    world.table().settle(&claim_after(&claim), None, &Outcome::Failed, &reason, None).await.unwrap();
    let failed = why_lead(&world, &id).await;
    assert_eq!((failed.state.as_str(), failed.attempts), ("failed", 2));
    assert_eq!(failed.reason.as_deref(), Some("customer +…42 or +…42 is no good"));
    let text = serde_json::to_string(&failed).unwrap();
    assert!(!text.contains("5555550142"), "{text}");
}

fn claim_after(claim: &headroom::core::ids::ClaimKey) -> headroom::core::ids::ClaimKey {
    headroom::core::ids::ClaimKey { claim: claim.claim + 1, ..claim.clone() }
}
