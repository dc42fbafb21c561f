//! What goes wrong on purpose.

use std::time::Duration;

use serde_json::json;
use vapi_sim::{Counter, Faults, Range, WebhookAuth};

use crate::account::{Account, config};

async fn with_faults(speed: f64, faults: Faults) -> Account {
    Account::open(vapi_sim::Config { faults, ..config(speed) }, WebhookAuth::None).await
}

#[tokio::test]
async fn lost_and_doubled_webhooks_are_counted() {
    let faults = Faults { webhook_lost: 0.3, webhook_doubled: 0.3, ..Faults::default() };
    let account = with_faults(1000.0, faults).await;
    for n in 0..10 {
        account.dial(&format!("+155555501{n:02}"), "a").await.unwrap();
    }
    let counts =
        account.until(|t| t.webhooks.sent + t.webhooks.lost == 50 + t.webhooks.doubled).await.webhooks;
    assert!(counts.lost > 5 && counts.doubled > 5, "{counts:?}");
    assert_eq!(account.received(counts.sent as usize).await.len() as u64, counts.sent);
    let truth = account.sim.truth();
    let silent = truth.calls.iter().filter(|call| call.ended_webhook_at_ms.is_none()).count();
    assert!((1..10).contains(&silent), "{silent} of 10 ended updates lost");
}

#[tokio::test]
async fn late_webhooks_are_overtaken() {
    let late = Faults { webhook_late: 0.5, webhook_late_seconds: Range(200.0, 300.0), ..Faults::default() };
    let account = with_faults(1000.0, late).await;
    for n in 0..10 {
        account.dial(&format!("+155555501{n:02}"), "a").await.unwrap();
    }
    let received = account.received(50).await;
    let stamps: Vec<_> =
        received.iter().map(|webhook| webhook.message["timestamp"].as_i64().unwrap()).collect();
    assert!(!stamps.is_sorted());
    assert!(account.sim.truth().webhooks.late > 10);
}

#[tokio::test]
async fn a_lost_answer_leaves_a_call() {
    let account = with_faults(1.0, Faults { answer_lost: 1.0, ..Faults::default() }).await;
    let error = account.dial("+15555550100", "a").await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert_eq!(account.sim.truth().dials_by_name["a"], 1);
    let (_, list) = account.get("/call").await;
    assert_eq!(list[0]["metadata"]["reservationId"], "a");
}

#[tokio::test]
async fn an_answer_that_hangs_leaves_a_call_and_a_reset_leaves_none() {
    let account = with_faults(1.0, Faults { answer_hangs: 1.0, ..Faults::default() }).await;
    assert!(account.dial("+15555550100", "a").await.unwrap_err().is_timeout());
    assert_eq!(account.sim.truth().dials_by_name["a"], 1);
    account.sim.set_faults(Faults { reset: 1.0, ..Faults::default() });
    assert!(!account.dial("+15555550101", "b").await.unwrap_err().is_timeout());
    assert_eq!(account.sim.truth().calls.len(), 1);
}

#[tokio::test]
async fn errors_come_before_or_after_the_call() {
    let account = with_faults(1.0, Faults { refuse_429: 1.0, ..Faults::default() }).await;
    assert_eq!(account.dial("+15555550100", "a").await.unwrap().1["message"], "Rate limit exceeded");
    account.sim.set_faults(Faults { error_5xx_before: 1.0, ..Faults::default() });
    assert_eq!(account.dial("+15555550100", "a").await.unwrap().0, 500);
    assert_eq!(account.sim.truth().calls.len(), 0);
    account.sim.set_faults(Faults { error_5xx_after: 1.0, ..Faults::default() });
    let (status, body) = account.dial("+15555550100", "a").await.unwrap();
    assert_eq!((status, body.as_str().unwrap().contains("<html>")), (522, true));
    assert_eq!(account.sim.truth().calls.len(), 1);
}

#[tokio::test]
async fn reads_lag_behind() {
    let account = with_faults(100.0, Faults { list_lag_seconds: 30.0, ..Faults::default() }).await;
    let (_, created) = account.dial("+15555550100", "a").await.unwrap();
    let path = format!("/call/{}", created["id"].as_str().unwrap());
    assert_eq!((account.get(&path).await.0, account.get("/call").await.1), (404, json!([])));
    tokio::time::sleep(Duration::from_millis(302)).await;
    assert_eq!(account.get(&path).await.0, 200);
    assert_eq!(account.get("/call").await.1.as_array().unwrap().len(), 1);
    account.until(|truth| truth.calls[0].ended_at_ms.is_some()).await;
    assert_ne!(account.get(&path).await.1["status"], "ended");
    tokio::time::sleep(Duration::from_millis(302)).await;
    assert_eq!(account.get(&path).await.1["status"], "ended");
}

#[tokio::test]
async fn the_counter_lags_behind() {
    let account = with_faults(1.0, Faults::default()).await;
    account.sim.set_lines(2);
    account.sim.set_counter(Counter { lag_seconds: 1000.0, ..Counter::default() });
    account.dial("+15555550100", "a").await.unwrap();
    let truth = account.sim.truth();
    assert_eq!((truth.live.total(), truth.counted), (1, 1));
    account.sim.end_call(&truth.calls[0].id);
    let ended = account.until(|truth| truth.live.total() == 0).await;
    assert_eq!(ended.counted, 1, "its end is not noticed yet");
    let (_, created) = account.dial("+15555550101", "b").await.unwrap();
    assert_eq!(created["subscriptionLimits"]["remainingConcurrentCalls"], 0);
    account.sim.ring_in();
    let truth = account.sim.truth();
    let blocked = &truth.blocked[0];
    assert_eq!((blocked.held.total(), blocked.counted, blocked.limit), (1, 2, 2), "a line was free in truth");

    account.put("/sim/counter", json!({"lagSeconds": 0})).await;
    assert_eq!(account.sim.truth().counted, 1);
    account.sim.ring_in();
    assert_eq!(account.sim.truth().blocked.len(), 1);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_calls_in_whatever_order_they_are_made() {
    let outcomes = async |numbers: Vec<u32>| {
        let mut config = config(2000.0);
        config.lines = 100;
        config.telephony = vapi_sim::Telephony { api_latency_ms: Range(0.0, 3.0), ..Default::default() };
        let account = Account::open(config, WebhookAuth::None).await;
        let dials =
            numbers.iter().map(async |n| account.dial(&format!("+155555501{n:02}"), "a").await.unwrap());
        for dial in dials {
            dial.await;
        }
        let truth = account.until(|truth| truth.live.total() == 0).await;
        let mut outcomes: Vec<_> =
            truth.calls.into_iter().map(|call| (call.number, call.ended_reason)).collect();
        outcomes.sort();
        outcomes
    };
    assert_eq!(outcomes((0..30).collect()).await, outcomes((0..30).rev().collect()).await);
}

#[tokio::test]
async fn nothing_answers_after_the_stop() {
    let account = with_faults(1.0, Faults::default()).await;
    account.dial("+15555550100", "a").await.unwrap();
    account.sim.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(account.dial("+15555550101", "b").await.is_err());
    assert_eq!(account.sim.truth().calls.len(), 1);
}
