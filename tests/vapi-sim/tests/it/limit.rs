//! The line limit, and every shape of being told of it.

use serde_json::{Value, json};
use vapi_sim::{Counter, Faults, OverLimitShape, Remaining, WebhookAuth};

use crate::account::{Account, config};

/// One line, taken, and the answer to one call more.
async fn one_too_many(shape: OverLimitShape) -> (Account, u16, Value) {
    let mut config = config(20.0);
    config.lines = 1;
    config.faults = Faults { over_limit_shape: shape, ..Faults::default() };
    let account = Account::open(config, WebhookAuth::None).await;
    assert_eq!(account.dial("+15555550100", "first").await.unwrap().0, 201);
    let (status, body) = account.dial("+15555550101", "second").await.unwrap();
    let truth = account.sim.truth();
    assert_eq!((truth.over_limit_answers, truth.peak_lines), (1, 1));
    assert!(!truth.dials.contains_key("+15555550101"), "nobody's phone rang");
    (account, status, body)
}

#[tokio::test]
async fn refusals_come_in_all_their_shapes() {
    for (shape, status, text) in [
        (OverLimitShape::Http400, 400, "Over Concurrency Limit"),
        (OverLimitShape::Http400Old, 400, "Over Concurrency Limit"),
        (OverLimitShape::Http429, 429, "Concurrency limit"),
        (OverLimitShape::Http404, 404, "concurrency limit"),
    ] {
        let (account, got, body) = one_too_many(shape).await;
        assert_eq!(got, status, "{shape:?}");
        assert!(body.to_string().contains(text), "{shape:?}: {body}");
        assert_eq!(account.sim.truth().calls.len(), 1);
        assert_eq!(body["subscriptionLimits"].is_object(), shape == OverLimitShape::Http400);
    }
}

#[tokio::test]
async fn a_blocked_201_names_a_call_that_does_not_exist() {
    let (account, status, body) = one_too_many(OverLimitShape::Created201).await;
    assert_eq!((status, &body["subscriptionLimits"]["concurrencyBlocked"]), (201, &json!(true)));
    assert_eq!(account.get(&format!("/call/{}", body["id"].as_str().unwrap())).await.0, 404);
}

#[tokio::test]
async fn a_call_over_the_limit_may_end_later_without_having_held_a_line() {
    let (account, status, body) = one_too_many(OverLimitShape::EndedLater).await;
    assert_eq!((status, &body["status"]), (201, &json!("queued")));
    assert_eq!(body["subscriptionLimits"]["concurrencyBlocked"], false);
    let ended = |call: &vapi_sim::CallTruth| call.ended_reason.is_some() && !call.held_line;
    let truth = account.until(|truth| truth.calls.iter().any(ended)).await;
    let reason = truth.calls[1].ended_reason.as_deref();
    assert_eq!(reason, Some("call.start.error-subscription-concurrency-limit-reached"));
    assert_eq!(truth.timeline.iter().filter(|change| change.delta > 0).count(), 1);
}

#[tokio::test]
async fn mixed_shapes_are_mixed_by_the_seed_alone() {
    let answers = async || {
        let mut config = config(1.0);
        config.lines = 0;
        config.faults.over_limit_shape = OverLimitShape::Mixed;
        let account = Account::open(config, WebhookAuth::None).await;
        let mut answers = Vec::new();
        for n in 0..30 {
            let (status, body) = account.dial(&format!("+155555501{n:02}"), "a").await.unwrap();
            answers.push((status, body["message"].clone()));
        }
        answers
    };
    let (once, again) = (answers().await, answers().await);
    assert_eq!(once, again);
    let statuses: std::collections::BTreeSet<_> = once.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [201, 400, 404, 429]);
}

#[tokio::test]
async fn the_limit_can_move_under_live_calls() {
    let account = Account::open(config(1.0), WebhookAuth::None).await;
    account.dial("+15555550100", "a").await.unwrap();
    account.dial("+15555550101", "b").await.unwrap();
    account.put("/sim/lines", json!({"lines": 1})).await;
    assert_eq!(account.sim.truth().live.outbound, 2, "calls that are up stay up");
    assert_eq!(account.dial("+15555550102", "c").await.unwrap().0, 400);
    account.sim.set_lines(3);
    assert_eq!(account.dial("+15555550102", "c").await.unwrap().0, 201);
}

/// `subscriptionLimits` of the second call on three lines, and of a call too many.
async fn figures(remaining: Remaining) -> [Value; 2] {
    let mut config = config(1.0);
    config.lines = 3;
    config.counter.remaining = remaining;
    let account = Account::open(config, WebhookAuth::None).await;
    account.dial("+15555550100", "a").await.unwrap();
    let (_, second) = account.dial("+15555550101", "b").await.unwrap();
    account.sim.set_lines(2);
    let (status, refused) = account.dial("+15555550102", "c").await.unwrap();
    assert_eq!((second["status"].as_str(), status), (Some("queued"), 400));
    [second["subscriptionLimits"].clone(), refused["subscriptionLimits"].clone()]
}

#[tokio::test]
async fn figures_come_in_all_their_shapes() {
    let limits = |blocked: bool, limit: Option<u32>, remaining: i64| {
        let mut limits = json!({"concurrencyBlocked": blocked, "remainingConcurrentCalls": remaining});
        if let Some(limit) = limit {
            limits["concurrencyLimit"] = limit.into();
        }
        limits
    };
    let told = |limit: bool, created: i64, refused: i64| {
        [limits(false, limit.then_some(3), created), limits(true, limit.then_some(2), refused)]
    };
    assert_eq!(figures(Remaining::Excludes).await, told(true, 1, 0));
    assert_eq!(figures(Remaining::Includes).await, told(true, 2, 0));
    assert_eq!(figures(Remaining::MinusOne).await, told(true, -1, -1));
    assert_eq!(figures(Remaining::NoLimit).await, told(false, 1, 0));
    assert_eq!(figures(Remaining::Absent).await, [Value::Null, json!({"concurrencyBlocked": true})]);
}

#[tokio::test]
async fn mixed_figures_are_mixed_by_the_seed_alone() {
    let answers = async |remaining: Remaining| {
        let mut config = config(1.0);
        (config.lines, config.counter) = (u32::MAX, Counter { remaining, ..Counter::default() });
        let account = Account::open(config, WebhookAuth::None).await;
        let mut answers = Vec::new();
        for n in 0..40 {
            let (_, body) = account.dial(&format!("+155555501{n:02}"), "a").await.unwrap();
            answers.push(body["subscriptionLimits"].clone());
        }
        account.put("/sim/counter", json!({"remaining": "absent"})).await;
        let (_, last) = account.dial("+15555550200", "a").await.unwrap();
        assert_eq!(last.get("subscriptionLimits"), None);
        answers
    };
    let (once, plain) = (answers(Remaining::Mixed).await, answers(Remaining::Excludes).await);
    assert_eq!(once, answers(Remaining::Mixed).await);
    let shape = |(told, plain): (&Value, &Value)| match told {
        Value::Null => Remaining::Absent,
        told if told["concurrencyLimit"].is_null() => Remaining::NoLimit,
        told if told["remainingConcurrentCalls"] == -1 => Remaining::MinusOne,
        told if told == plain => Remaining::Excludes,
        _ => Remaining::Includes,
    };
    let shapes: Vec<_> = once.iter().zip(&plain).map(shape).collect();
    assert!(Remaining::CONCRETE.iter().all(|shape| shapes.contains(shape)), "{shapes:?}");
}
