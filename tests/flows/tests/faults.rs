//! Whole campaigns through the real handlers while things go wrong at Vapi and on the way. Whatever
//! goes wrong: every lead ends, no attempt rings twice, every line comes back.

use std::time::{Duration, Instant};

use headroom::config::{Access, Assistants, Callers, Keys, Overflow, Rejects};
use headroom::core::hours::CallingHours;
use headroom::core::pool::Policy;
use headroom::vapi::Secret;
use headroom_local::system::{Settings, System};
use serde_json::json;
use tokio::net::TcpListener;
use vapi_sim::{Config, Faults, OverLimitShape, Range, Sim, Telephony, Traffic, Truth, Webhook, WebhookAuth};

const SPEED: f64 = 100.0;
const LEADS: u32 = 60;

/// Runs a campaign of people who are called once, on a ledger of `limit` lines over a Vapi that has
/// `lines`, and checks what has to hold.
async fn campaign(limit: u32, lines: u32, faults: Faults) -> Truth {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/vapi", listener.local_addr().expect("bound"));
    let traffic =
        Traffic { inbound_per_hour: 30.0, web_per_hour: 10.0, ask_assistant: true, ..Traffic::default() };
    let quiet = Traffic { inbound_per_hour: 0.0, web_per_hour: 0.0, ..traffic.clone() };
    let config = Config {
        speed: SPEED,
        lines,
        webhook: Some(Webhook { url, auth: WebhookAuth::Hmac("secret".into()) }),
        // A failed set-up is dialed again without counting, which this test would have to know.
        telephony: Telephony { talk_seconds_mean: 30.0, setup_failure: 0.0, ..Telephony::default() },
        traffic: traffic.clone(),
        faults,
        ..Config::default()
    };
    let key = config.api_key.clone();
    let sim = Sim::start(config, TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let settings = Settings {
        vapi: Access { vapi_url: sim.url(), keys: Keys::one(key) },
        orgs: Vec::new(),
        callers: Callers {
            secrets: vec![Secret::new("secret")],
            assistants: Assistants::everywhere(traffic.assistant_id),
            busy_message: "busy".into(),
            overflow: Overflow::default(),
        },
        admin_token: Secret::new("token"),
        data: None,
        policy: Policy::new(limit, limit - 1, 2).expect("a policy"),
        adopt_limit: false,
        rejects: Rejects::default(),
        often: Default::default(),
        events: None,
        calling_hours: CallingHours::none(),
        speed: SPEED,
    };
    let system = System::start(settings, listener).await.expect("starts");
    let leads: Vec<_> = (0..LEADS).map(|n| json!({ "number": format!("+1555{:07}", n + 100) })).collect();
    let message = json!({
        "campaign": { "id": "c", "assistantId": "a", "phoneNumberId": "p", "retry": { "maxAttempts": 1 } },
        "leads": leads,
    });
    system.accept(&message.to_string()).await.expect("accepted");

    let started = Instant::now();
    let patience = |status: &headroom::flows::status::Status| {
        assert!(started.elapsed() < Duration::from_secs(150), "not over in time: {status:?}");
    };
    let status = loop {
        let status = system.app.status().await.expect("a status");
        if status.campaigns.first().is_some_and(|campaign| campaign.finished) {
            break status;
        }
        patience(&status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    sim.set_traffic(quiet);
    let leads = status.campaigns[0].leads;
    assert_eq!(leads.done + leads.failed, LEADS, "every lead ends: {leads:?}");
    loop {
        let status = system.app.status().await.expect("a status");
        if status.pools[0].total == 0 && sim.truth().live.total() == 0 {
            break;
        }
        patience(&status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let truth = sim.truth();
    sim.stop();
    system.stop().await;
    let twice: Vec<_> = truth.dials_by_name.iter().filter(|(_, dials)| **dials > 1).collect();
    assert!(twice.is_empty(), "an attempt rang twice: {twice:?}");
    assert!(
        truth.dials.values().all(|dials| *dials == 1),
        "a person was called more often than asked: {:?}",
        truth.dials
    );
    assert_eq!(truth.dials.len(), LEADS as usize, "everybody was called");
    assert!(truth.peak_outbound < limit, "outbound stayed under its cap: {}", truth.peak_outbound);
    truth
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_lost_doubled_and_late() {
    let faults = Faults {
        webhook_lost: 0.1,
        webhook_doubled: 0.2,
        webhook_late: 0.3,
        webhook_late_seconds: Range(5.0, 120.0),
        ..Faults::default()
    };
    let truth = campaign(8, 8, faults).await;
    assert!(truth.webhooks.lost > 0 && truth.webhooks.doubled > 0 && truth.webhooks.late > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_dials_are_lost_after_the_call_was_made() {
    let faults =
        Faults { answer_lost: 0.15, error_5xx_after: 0.1, list_lag_seconds: 10.0, ..Faults::default() };
    campaign(8, 8, faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_are_refused_throttled_and_cut_off() {
    let faults = Faults { refuse_429: 0.02, error_5xx_before: 0.1, reset: 0.1, ..Faults::default() };
    campaign(8, 8, faults).await;
}

/// The ledger believes in more lines than there are: each dial too many comes back untouched,
/// in whatever shape Vapi says so.
async fn over_the_limit(over_limit_shape: OverLimitShape) {
    let truth = campaign(9, 4, Faults { over_limit_shape, ..Faults::default() }).await;
    assert!(truth.over_limit_answers > 0, "the limit was met");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_in_mixed_shapes() {
    over_the_limit(OverLimitShape::Mixed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_as_a_created_call_that_is_not_there() {
    over_the_limit(OverLimitShape::Created201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_as_a_call_that_ends_at_once() {
    over_the_limit(OverLimitShape::EndedLater).await;
}
