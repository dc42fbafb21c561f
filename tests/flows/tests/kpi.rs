//! A campaign's figures are Vapi's own: each call counted once, whatever becomes of its messages and of whoever counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flows::{World, policy};
use headroom::config::{Access, Assistants, Callers, Keys, Overflow, Rejects};
use headroom::core::hours::CallingHours;
use headroom::core::ids::ClaimKey;
use headroom::core::kpi::{Came, Ended};
use headroom::core::lead::Outcome;
use headroom::core::pool::Policy;
use headroom::flows::kpi::KpiStatus;
use headroom::vapi::Secret;
use headroom::vapi::message::ServerMessage;
use headroom_local::system::{Settings, System};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vapi_sim::{CallTruth, Config, Faults, Range, Sim, Telephony, Webhook, WebhookAuth};

const SPEED: f64 = 100.0;
const LEADS: u32 = 80;

/// What a call came to, by what Vapi says of it.
fn came(call: &CallTruth) -> &'static str {
    match call.ended_reason.as_deref().unwrap() {
        "customer-did-not-answer" => "noAnswer",
        "customer-busy" => "busy",
        "voicemail" => "voicemail",
        "customer-ended-call" | "assistant-ended-call" | "exceeded-max-duration" => "reached",
        _ if call.started_at_ms.is_some() => "dropped",
        _ => "setupFailure",
    }
}

/// Runs a campaign of people who are called up to three times, and compares its figures with Vapi's.
async fn campaign(faults: Faults) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/vapi", listener.local_addr().unwrap());
    let telephony = Telephony {
        talk_seconds_mean: 30.0,
        answer: 0.4,
        no_answer: 0.2,
        busy: 0.15,
        voicemail: 0.15,
        setup_failure: 0.1,
        ..Telephony::default()
    };
    let config = Config {
        speed: SPEED,
        lines: 12,
        webhook: Some(Webhook { url, auth: WebhookAuth::Hmac("secret".into()) }),
        telephony,
        faults,
        ..Config::default()
    };
    let key = config.api_key.clone();
    let sim = Sim::start(config, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let settings = Settings {
        vapi: Access { vapi_url: sim.url(), keys: Keys::one(key) },
        orgs: Vec::new(),
        callers: Callers {
            secrets: vec![Secret::new("secret")],
            assistants: Assistants::everywhere("a"),
            busy_message: "busy".into(),
            overflow: Overflow::default(),
        },
        admin_token: Secret::new("token"),
        data: None,
        policy: Policy::new(12, 12, 0).unwrap(),
        adopt_limit: false,
        rejects: Rejects::default(),
        often: Default::default(),
        calling_hours: CallingHours::none(),
        speed: SPEED,
        events: None,
    };
    let system = System::start(settings, listener).await.unwrap();
    let leads: Vec<_> = (0..LEADS).map(|n| json!({ "number": format!("+1555{:07}", n + 100) })).collect();
    let retry = json!({ "noAnswerAfter": "1m", "busyAfter": "1m", "voicemail": "retry",
        "outcomes": { "dropped": { "attempts": 2, "after": ["1m"] } } });
    let spec = json!({ "id": "c", "assistantId": "a", "phoneNumberId": "p", "retry": retry });
    system.accept(&json!({ "campaign": spec, "leads": leads }).to_string()).await.unwrap();

    let started = Instant::now();
    let kpis = loop {
        let status = system.app.status().await.unwrap();
        let kpis = status.campaigns.first().and_then(|campaign| campaign.kpis.clone());
        if let Some(kpis) = kpis.filter(|kpis| kpis.is_final) {
            break kpis;
        }
        assert!(started.elapsed() < Duration::from_secs(150), "not counted in time: {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let calls: Vec<CallTruth> = sim.truth().calls.into_iter().filter(|call| call.held_line).collect();
    sim.stop();
    system.stop().await;

    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    calls.iter().for_each(|call| *outcomes.entry(came(call).to_owned()).or_default() += 1);
    assert_eq!(kpis.outcomes, outcomes);
    assert_eq!(kpis.attempts, calls.len() as u64);
    assert!(outcomes.len() >= 5, "there was all of it: {outcomes:?}");
    let answered = || calls.iter().filter(|call| ["reached", "dropped"].contains(&came(call)));
    assert_eq!(kpis.answered, answered().count() as u64);
    let talk: f64 = answered().filter_map(|call| Some(call.ended_at_ms? - call.started_at_ms?)).sum();
    // Vapi tells milliseconds.
    let difference = (kpis.talk_seconds * 1000.0 - talk).abs();
    assert!(difference <= 2.0 * kpis.answered as f64, "{} s, and Vapi {talk} ms", kpis.talk_seconds);
    let lines: f64 = calls.iter().filter_map(|call| Some(call.ended_at_ms? - call.created_at_ms)).sum();
    assert!(kpis.line_seconds * 1000.0 >= lines, "a line is held longer than its call: {lines}");
    assert_eq!(kpis.untold, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_good_day() {
    campaign(Faults::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_webhooks_are_lost_doubled_and_late_and_answers_are_lost() {
    campaign(Faults {
        webhook_lost: 0.15,
        webhook_doubled: 0.3,
        webhook_late: 0.3,
        webhook_late_seconds: Range(5.0, 120.0),
        answer_lost: 0.1,
        list_lag_seconds: 5.0,
        ..Faults::default()
    })
    .await;
}

const CALL: &str = "call-1";
const TALK: f64 = 72.5;

/// What Vapi tells of the end of a claim's call.
fn told(kind: &str, claim: &ClaimKey) -> Value {
    let call = json!({ "id": CALL, "type": "outboundPhoneCall", "name": claim.to_string() });
    let reason = "customer-ended-call";
    match kind {
        "report" => json!({ "message": { "type": "end-of-call-report", "endedReason": reason, "call": call,
            "startedAt": "2026-03-26T15:43:24.200Z", "endedAt": "2026-03-26T15:44:36.700Z" } }),
        status => json!({ "message": { "type": "status-update", "status": status, "endedReason": reason,
            "call": call } }),
    }
}

async fn tell(world: &World, kind: &str, claim: &ClaimKey) {
    let message = ServerMessage::parse(told(kind, claim).to_string().as_bytes()).unwrap();
    let ServerMessage::Call(event) = message else { panic!("a call's message") };
    world.app.observe(&event).await.unwrap();
}

/// The figures after a pass.
async fn counted(world: &World) -> KpiStatus {
    world.vapi.answers(200, "[]");
    world.app.reconcile().await.unwrap();
    let status = world.app.status().await.unwrap();
    status.campaigns[0].kpis.clone().unwrap()
}

fn once(kpis: &KpiStatus) {
    let outcomes = BTreeMap::from([("reached".to_owned(), 1)]);
    assert_eq!((kpis.attempts, kpis.answered, &kpis.outcomes), (1, 1, &outcomes));
    assert_eq!(kpis.connect_rate, Some(1.0));
}

#[tokio::test]
async fn a_call_counts_once_in_every_order_of_its_messages() {
    let engine = World::start(policy(4, 4, 0)).await.unwrap();
    for order in [
        ["ended", "report", "ended", "report"],
        ["report", "ended", "report", "ended"],
        ["ended", "ended", "report", "in-progress"],
        ["in-progress", "report", "report", "ended"],
    ] {
        let world = engine.beside(policy(4, 4, 0)).await.unwrap();
        let claim = world.lead("c", "l").await.unwrap();
        world.live(&claim, &CALL.parse().unwrap()).await.unwrap();
        world.clock.advance(SignedDuration::from_secs(90));
        for kind in order {
            tell(&world, kind, &claim).await;
        }
        let kpis = counted(&world).await;
        once(&kpis);
        assert_eq!((kpis.talk_seconds, kpis.line_seconds, kpis.untold), (TALK, 90.0, 0), "{order:?}");
        let again = counted(&world).await;
        assert!(again.is_final, "{order:?}: {again:?}");
        once(&again);
    }
}

#[tokio::test]
async fn a_call_counts_once_whoever_dies_where() {
    let world = World::start(policy(4, 4, 0)).await.unwrap();
    let claim = world.lead("c", "l").await.unwrap();
    let call = CALL.parse().unwrap();
    let lease = world.live(&claim, &call).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(90));
    // The outcome is written, and its function dies before the record; another tells the end anew.
    let ended = Some(Ended { came: Came::Reached, line: SignedDuration::from_secs(90) });
    let reason = "customer-ended-call";
    for _ in 0..2 {
        world.table().settle(&claim, Some(&call), &Outcome::Done, reason, ended).await.unwrap();
    }
    tell(&world, "ended", &claim).await;
    world.clock.advance(SignedDuration::from_mins(5));
    let kpis = counted(&world).await;
    once(&kpis);
    assert_eq!((kpis.untold, kpis.line_seconds), (1, 90.0));
    assert!(
        !world.table().read_pool().await.unwrap().lines.contains_key(&lease.key),
        "the pass frees the line"
    );
    // Its report never comes: the pass asks, first of all those that are not recent.
    world.clock.advance(SignedDuration::from_mins(20));
    let record = json!({ "id": CALL, "status": "ended", "startedAt": "2026-03-26T15:43:24.200Z",
        "endedAt": "2026-03-26T15:44:36.700Z" });
    world.vapi.answers(200, record.to_string());
    // The list cannot be read from that, and is done without.
    world.app.reconcile().await.unwrap();
    let kpis = world.app.status().await.unwrap().campaigns[0].kpis.clone().unwrap();
    assert_eq!((kpis.talk_seconds, kpis.untold), (TALK, 0));
    // And then the report does come.
    tell(&world, "report", &claim).await;
    world.clock.advance(SignedDuration::from_mins(20));
    let kpis = counted(&world).await;
    once(&kpis);
    assert_eq!((kpis.talk_seconds, kpis.is_final), (TALK, true));
}

#[tokio::test]
async fn a_round_over_many_leads_takes_several_passes_and_a_late_copy_of_it_changes_nothing() {
    let world = World::start(policy(4, 4, 0)).await.unwrap();
    let leads: Vec<_> = (0..5_500).map(|n| json!({ "number": format!("+1555{n:07}") })).collect();
    let spec = json!({ "id": "c", "assistantId": "a", "phoneNumberId": "p" });
    world.app.take_in(json!({ "campaign": spec, "leads": leads }).to_string().as_bytes()).await.unwrap();
    let read = async || world.table().list_campaigns().await.unwrap().remove(0);
    counted(&world).await;
    let first = read().await;
    let kept = first.kpi.kept.clone().unwrap();
    assert_eq!((kept.sums.leads, kept.round.as_ref().unwrap().sums.leads), (0, 5_000));
    counted(&world).await;
    let second = read().await.kpi.kept.unwrap();
    assert_eq!((second.sums.leads, &second.round), (5_500, &None));
    assert!(!world.table().keep_figures(&first, &kept).await.unwrap(), "a copy that comes late");
    assert_eq!(read().await.kpi.kept.unwrap(), second);
}
