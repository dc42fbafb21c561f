//! Callers, and visitors of the web page.

use serde_json::json;
use vapi_sim::{Traffic, WebhookAuth};

use crate::account::{Account, config};

#[tokio::test]
async fn a_caller_who_finds_no_line_is_counted_with_what_held_the_lines() {
    let mut config = config(1.0);
    config.lines = 2;
    let account = Account::open(config, WebhookAuth::None).await;
    account.dial("+15555550100", "a").await.unwrap();
    account.sim.ring_in();
    account.sim.ring_in();
    let truth = account.sim.truth();
    assert_eq!((truth.callers, truth.blocked_inbound, truth.blocked_inbound_while_outbound_live), (2, 1, 1));
    let held = truth.blocked[0].held;
    assert_eq!((held.outbound, held.inbound, held.web), (1, 1, 0));
    assert_eq!(truth.live.inbound, 1);
}

#[tokio::test]
async fn a_number_with_an_assistant_never_asks() {
    let account = Account::open(config(600.0), WebhookAuth::None).await;
    account.sim.ring_in();
    let received = account.received(4).await;
    let told: Vec<_> = received.iter().map(|w| w.message["status"].as_str().unwrap_or("report")).collect();
    assert_eq!(told, ["ringing", "in-progress", "ended", "report"]);
    assert!(received.iter().all(|webhook| webhook.message["call"]["status"] == "ringing"));
    assert!(received.iter().all(|webhook| webhook.message["call"]["type"] == "inboundPhoneCall"));
}

async fn asked(answer: serde_json::Value) -> (Account, vapi_sim::Truth) {
    let mut config = config(600.0);
    config.traffic.ask_assistant = true;
    let account = Account::open(config, WebhookAuth::None).await;
    account.will_answer(answer);
    account.sim.ring_in();
    let truth = account.until(|truth| truth.calls[0].ended_at_ms.is_some()).await;
    (account, truth)
}

#[tokio::test]
async fn a_bare_number_asks_who_takes_the_call() {
    let (account, truth) =
        asked(json!({"assistantId": "desk", "assistantOverrides": {"metadata": {"reservationId": "r1"}}}))
            .await;
    assert_eq!((truth.assistant_requests, truth.refused_by_us), (1, 0));
    let received = account.received(5).await;
    let asked = received.iter().find(|webhook| webhook.message["type"] == "assistant-request").unwrap();
    assert_eq!(asked.message["call"]["assistantId"], json!(null));
    assert!(asked.message["call"].as_object().unwrap().contains_key("squadId"));
    let ended = received.iter().find(|webhook| webhook.message["status"] == "ended").unwrap();
    assert_eq!(ended.message["call"]["assistantId"], "desk");
    assert_eq!(ended.message["call"]["assistantOverrides"]["metadata"]["reservationId"], "r1");
}

#[tokio::test]
async fn a_caller_may_be_sent_on_or_turned_away() {
    for (answer, reason, refused) in [
        (json!({"error": "All lines are busy."}), "assistant-request-returned-error", 1),
        (json!({}), "assistant-request-returned-no-assistant", 1),
        (json!("what?"), "assistant-request-failed", 1),
        (
            json!({"destination": {"type": "number", "number": "+15555550177"}}),
            "assistant-request-returned-forwarding-phone-number",
            0,
        ),
    ] {
        let (account, truth) = asked(answer).await;
        assert_eq!(truth.calls[0].ended_reason.as_deref(), Some(reason));
        assert_eq!((truth.refused_by_us, truth.live.inbound), (refused, 0));
        let received = account.received(4).await;
        let ended = received.iter().find(|webhook| webhook.message["status"] == "ended").unwrap();
        assert_eq!(ended.message["inboundPhoneCallDebuggingArtifacts"].is_object(), refused == 1);
    }
}

#[tokio::test]
async fn traffic_arrives_at_its_rate_and_holds_lines() {
    let account = Account::open(vapi_sim::Config { lines: 3, ..config(3600.0) }, WebhookAuth::None).await;
    account.sim.set_traffic(Traffic { inbound_per_hour: 120.0, web_per_hour: 60.0, ..Traffic::default() });
    let began = std::time::Instant::now();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    account.put("/sim/traffic", json!({"inboundPerHour": 0, "webPerHour": 0})).await;
    let truth = account.sim.truth();
    let per_hour = truth.callers as f64 / began.elapsed().as_secs_f64();
    assert!((70.0..170.0).contains(&per_hour), "{per_hour} callers in an hour");
    assert!(truth.blocked_inbound > 0 && truth.blocked_inbound_while_outbound_live == 0);
    assert!(truth.peak_lines == 3 && truth.peak_outbound == 0);
    assert!(truth.timeline.iter().any(|change| change.kind == vapi_sim::CallKind::Web));
    let received = account.received(1).await;
    let web = received.iter().find(|webhook| webhook.message["call"]["type"] == "webCall").unwrap();
    assert!(web.message["phoneNumber"].is_null() && web.message["call"]["status"] == "queued");
}
