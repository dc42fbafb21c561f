//! What the API says about the past.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vapi_sim::WebhookAuth;

use crate::account::{Account, config};

fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).expect("a number, or a text of one")
}

async fn query(account: &Account, step: &str, rest: Value) -> Value {
    let mut query = json!({"name": "q", "table": "subscription", "timeRange": {"step": step},
        "operations": [{"operation": "max", "column": "concurrency", "alias": "concurrency"}]});
    for (name, value) in rest.as_object().unwrap() {
        query[name] = value.clone();
    }
    let (status, body) = account.post("/analytics", json!({"queries": [query]})).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body[0].clone()
}

#[tokio::test]
async fn the_past_is_sparse_and_the_same_at_every_step() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    let hours = query(&account, "hour", json!({})).await;
    assert_eq!((&hours["name"], &hours["timeRange"]["timezone"]), (&json!("q"), &json!("UTC")));
    let hours = hours["result"].as_array().unwrap();
    assert!(hours.len() > 10 && hours.len() < 7 * 24 - 20, "{} of 168 hours", hours.len());
    assert!(hours.iter().all(|row| row["date"].as_str().unwrap().ends_with(":00:00.000Z")));
    assert!(hours.iter().all(|row| number(&row["concurrency"]) <= 10.0));

    let mut by_day = BTreeMap::<String, f64>::new();
    for row in hours {
        let peak = by_day.entry(row["date"].as_str().unwrap()[..10].to_owned()).or_default();
        *peak = peak.max(number(&row["concurrency"]));
    }
    let days = query(&account, "day", json!({})).await;
    for row in days["result"].as_array().unwrap() {
        assert_eq!(by_day[&row["date"].as_str().unwrap()[..10]], number(&row["concurrency"]));
    }
    let again = Account::open(config(1.0), WebhookAuth::None).await;
    assert_eq!(query(&again, "day", json!({})).await["result"], days["result"]);
}

#[tokio::test]
async fn its_own_history_follows() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    for n in 0..8 {
        account.dial(&format!("+1555555010{n}"), "a").await.unwrap();
    }
    let minutes = query(&account, "minute", json!({})).await;
    let last = minutes["result"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(number(&last["concurrency"]), 8.0);

    let calls = json!({"table": "call", "groupBy": ["type"],
        "operations": [{"operation": "count", "column": "id"}, {"operation": "sum", "column": "duration"}]});
    let rows = query(&account, "minute", calls).await;
    let rows = rows["result"].as_array().unwrap();
    let last = rows.last().unwrap();
    assert_eq!((last["type"].as_str(), number(&last["countId"])), (Some("outboundPhoneCall"), 8.0));
    assert!(
        rows.iter().any(|row| row["countId"].is_string())
            && rows.iter().any(|row| row["countId"].is_number())
    );
}

#[tokio::test]
async fn what_is_not_simulated_is_refused() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    let bad = json!({"queries": [{"name": "q", "table": "call", "operations": [{"operation": "avg", "column": "cost"}]}]});
    assert_eq!(account.post("/analytics", bad).await.unwrap().0, 400);
}
