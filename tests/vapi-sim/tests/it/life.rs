//! The life of a call, in the API, in its webhooks and in the truth.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use vapi_sim::WebhookAuth;

use crate::account::{Account, config};

fn told(message: &Value) -> String {
    format!("{} {}", message["type"].as_str().unwrap(), message["status"].as_str().unwrap_or("-"))
}

#[tokio::test]
async fn an_answered_call_is_told_in_order_with_the_call_as_it_was_created() {
    let account = Account::open(config(600.0), WebhookAuth::Secret("s3cret".into())).await;
    let (status, created) = account.dial("+15555550100", "lead-1/1").await.unwrap();
    assert_eq!(status, 201);
    assert_eq!(created["status"], "queued");
    assert_eq!(created["metadata"]["reservationId"], "lead-1/1");
    assert_eq!(created["assistantOverrides"]["metadata"]["reservationId"], "lead-1/1");
    assert_eq!(created["subscriptionLimits"]["concurrencyLimit"], 10);
    assert_eq!(created["subscriptionLimits"]["remainingConcurrentCalls"], 9);
    assert_eq!(created["id"].as_str().unwrap().as_bytes()[14], b'7', "UUID version 7");

    let received = account.received(5).await;
    let order: Vec<_> = received.iter().map(|webhook| told(&webhook.message)).collect();
    let wanted =
        ["queued", "ringing", "in-progress", "ended"].map(|status| format!("status-update {status}"));
    assert_eq!(order[..4], wanted);
    assert_eq!(order[4..], ["end-of-call-report -"]);
    for webhook in &received {
        assert_eq!(webhook.headers["x-vapi-secret"], "s3cret");
        let call = &webhook.message["call"];
        assert_eq!((&call["id"], &call["status"]), (&created["id"], &json!("queued")));
        assert_eq!(call["updatedAt"], call["createdAt"]);
        assert_eq!(call["metadata"], created["metadata"]);
        assert_eq!(webhook.message["customer"]["number"], "+15555550100");
    }
    let report = &received[4].message;
    assert!(report["startedAt"].is_string() && report["artifact"].is_object() && report["cost"].is_number());
    assert_eq!(report["endedReason"], received[3].message["endedReason"]);

    let (_, read) = account.get(&format!("/call/{}", created["id"].as_str().unwrap())).await;
    assert_eq!((&read["status"], &read["endedReason"]), (&json!("ended"), &report["endedReason"]));
    let truth = account.until(|truth| truth.webhooks.sent == 5).await;
    assert_eq!((truth.dials["+15555550100"], truth.dials_by_name["lead-1/1"]), (1, 1));
    assert_eq!((truth.peak_lines, truth.live.total(), truth.timeline.len()), (1, 0, 2));
    let call = &truth.calls[0];
    assert!(call.post_at_ms <= call.created_at_ms && call.started_at_ms < call.ended_at_ms);
    assert!(call.ended_at_ms <= call.ended_webhook_at_ms && call.ended_webhook_accepted);
}

#[tokio::test]
async fn webhooks_are_signed_as_asked() {
    let account = Account::open(config(600.0), WebhookAuth::Hmac("key".into())).await;
    account.dial("+15555550100", "a").await.unwrap();
    let first = account.received(1).await.remove(0);
    let timestamp = first.headers["x-timestamp"].to_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    mac.update(format!("{timestamp}.{}", first.raw).as_bytes());
    assert_eq!(first.headers["x-signature"], hex::encode(mac.finalize().into_bytes()));

    let account = Account::open(config(600.0), WebhookAuth::Bearer("token".into())).await;
    account.dial("+15555550100", "a").await.unwrap();
    assert_eq!(account.received(1).await[0].headers["authorization"], "Bearer token");
}

#[tokio::test]
async fn unanswered_calls_never_start() {
    let mut config = config(600.0);
    config.telephony.answer = 0.0;
    for (share, reason) in [
        (0, "customer-did-not-answer"),
        (1, "customer-busy"),
        (2, "call.in-progress.error-providerfault-transport-never-connected"),
    ] {
        let t = &mut config.telephony;
        (t.no_answer, t.busy, t.setup_failure) = (0.0, 0.0, 0.0);
        *[&mut t.no_answer, &mut t.busy, &mut t.setup_failure][share] = 1.0;
        let account = Account::open(config.clone(), WebhookAuth::None).await;
        account.dial("+15555550100", "a").await.unwrap();
        let truth = account.until(|truth| truth.calls.first().is_some_and(|c| c.ended_at_ms.is_some())).await;
        assert_eq!(truth.calls[0].ended_reason.as_deref(), Some(reason));
        assert_eq!(truth.calls[0].started_at_ms, None);
        let report = account.received(if share == 2 { 3 } else { 4 }).await.pop().unwrap().message;
        assert_eq!((&report["type"], &report["startedAt"]), (&json!("end-of-call-report"), &Value::Null));
    }
}

#[tokio::test]
async fn a_call_can_be_ended_through_its_control_url() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    let (_, created) = account.dial("+15555550100", "a").await.unwrap();
    let url = created["monitor"]["controlUrl"].as_str().unwrap();
    let path = url.strip_prefix(&account.sim.url()).unwrap();
    account.post(path, json!({"type": "say", "content": "hello"})).await.unwrap();
    assert_eq!(account.sim.truth().live.outbound, 1);
    account.post(path, json!({"type": "end-call"})).await.unwrap();
    let truth = account.until(|truth| truth.live.outbound == 0).await;
    assert_eq!(truth.calls[0].ended_reason.as_deref(), Some("manually-canceled"));
    assert_eq!(account.post(path, json!({"type": "end-call"})).await.unwrap().0, 404);
    assert!(!account.sim.end_call(created["id"].as_str().unwrap()));
}

#[tokio::test]
async fn lists_come_newest_first_and_can_be_narrowed() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    let mut created = Vec::new();
    for name in ["a", "b", "c"] {
        created.push(account.dial("+15555550100", name).await.unwrap().1);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let names = async |query: String| -> Vec<String> {
        let (status, list) = account.get(&format!("/call?{query}")).await;
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().iter().map(|call| call["name"].as_str().unwrap().to_owned()).collect()
    };
    let second = created[1]["createdAt"].as_str().unwrap();
    assert_eq!(names("unknown=1".into()).await, ["c", "b", "a"]);
    assert_eq!(names("limit=2".into()).await, ["c", "b"]);
    assert_eq!(names(format!("createdAtGe={second}")).await, ["c", "b"]);
    assert_eq!(names(format!("createdAtGt={second}&phoneNumberId=line-1")).await, ["c"]);
    assert_eq!(names(format!("createdAtLe={second}")).await, ["b", "a"]);
    assert_eq!(names(format!("createdAtLt={second}&assistantId=front-desk")).await, ["a"]);
    assert_eq!(names(format!("id={}", created[0]["id"].as_str().unwrap())).await, ["a"]);
    assert_eq!(names("phoneNumberId=other".into()).await, [""; 0]);
    assert_eq!(account.get("/call?limit=1001").await.0, 400);
    let (status, body) = account.get("/call/01900000-0000-7000-8000-000000000000").await;
    assert_eq!((status, &body["message"]), (404, &json!("Call not found")));
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    let url = format!("{}/call", account.sim.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(&url).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "Unauthorized");
    let (status, body) = account.dial("5550100", "a").await.unwrap();
    assert_eq!(status, 400);
    assert!(body["message"][0].as_str().unwrap().starts_with("customer.number must be a valid phone number"));
    assert_eq!(account.get("/v2/call").await.0, 404);
    let (status, body) = account.put("/sim/faults", json!({"webhookLots": 0.5})).await;
    assert_eq!(status, 400, "{body}");
    let (_, faults) = account.put("/sim/faults", json!({"webhookLost": 0.5})).await;
    assert_eq!((&faults["webhookLost"], &faults["overLimitShape"]), (&json!(0.5), &json!("http400")));
    assert_eq!(account.sim.truth().posts, 0);
}
