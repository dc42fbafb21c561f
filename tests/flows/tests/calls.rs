//! `infra/calls.txt`, against which the rules of the template hold each role, is what the functions ask of AWS: in
//! many histories of the simulation, and at each of the console's routes, nothing else is asked, and all of it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeSet;

use console::Console;
use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::lead::End;
use headroom::core::line::{Kind, LineKey};
use headroom::core::shard::Sizes;
use headroom::flows::operate::Asked;
use headroom::flows::{App, Clock as _};
use headroom::inlet::Inlet;
use headroom::vapi::Secret;
use headroom::vapi::calls::Wishes;
use headroom::vapi::message::{CallEvent, Happened};
use headroom_local::engines::local_aws;
use headroom_sim::calls::{Call, listed};
use headroom_sim::faults::Script;
use headroom_sim::history::{Setup, run};
use headroom_sim::plan::Plan;
use headroom_sim::sweep::Sweep;
use jiff::SignedDuration;
use lambda_http::http::Request;
use serde_json::{Value, json};

/// Seeds at a time, and most of them.
const SEEDS: (u64, u64) = (20, 600);

#[tokio::test(flavor = "multi_thread")]
async fn the_functions_ask_for_what_is_listed_and_for_nothing_else() {
    let mut seen = of_the_console().await;
    seen.extend(of_a_caller_who_finds_an_item_drained().await);
    let strange: Vec<_> = seen.difference(listed()).collect();
    assert!(strange.is_empty(), "not in infra/calls.txt: {strange:#?}");
    let (some, most) = SEEDS;
    for from in (1..most).step_by(some as usize) {
        // A call that is not in the list is a broken promise.
        let swept = tokio::task::block_in_place(|| Sweep::of(from, some).run(|_| {}));
        assert_eq!(swept.broken, []);
        seen.extend(swept.called);
        if seen.is_superset(listed()) {
            println!("all {} are asked for by seed {}", seen.len(), from + some - 1);
            return;
        }
        println!("by seed {}: not {:?}", from + some - 1, listed().difference(&seen).collect::<Vec<_>>());
    }
    let idle: Vec<_> = listed().difference(&seen).collect();
    panic!("infra/calls.txt has what is never asked for: {idle:#?}");
}

#[test]
fn a_call_that_is_not_listed_ends_the_history_that_makes_it() {
    for unlisted in ["dispatcher dynamodb:PutItem Table", "webhook sqs:SendMessage WakeQueue"] {
        let setup = Setup { unlisted: Some(unlisted), ..Setup::default() };
        let violation =
            run(Plan::of(1), Script::Chance, setup).violation.expect("it is made in each history");
        assert!(violation.to_string().contains(unlisted), "{violation}");
    }
}

/// What the console asks for, at all of its routes.
async fn of_the_console() -> BTreeSet<String> {
    let four = Sizes { single: 4, shard: 4 };
    let world = World::start(policy(10, 10, 0)).await.unwrap().with_sizes(four);
    let queue = format!("{}/000000000000/campaigns", world.wakes.url);
    let inlet = Inlet::new(aws_sdk_sqs::Client::new(&local_aws(&world.wakes.url)), queue);
    // As it is deployed, without Vapi.
    let app = App { vapi: None, ..world.app.clone() };
    let console = Console::new(app, Secret::new("token"), inlet);
    let message = json!({
        "campaign": { "id": "c", "assistantId": "a", "phoneNumberId": "p", "agent": "sales" },
        "leads": [{ "id": "one", "number": "+15555550100" }, { "id": "two", "number": "+15555550101" }],
    });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
    let claim = world.lead("other", "somebody").await.unwrap();
    world.live(&claim, &"call".parse().unwrap()).await.unwrap();
    world.observed("caller", Kind::Inbound, None).await.unwrap();
    world.take_calls();
    world.wakes.take_asked();

    let soon = world.clock.now() + SignedDuration::from_hours(1);
    for (method, path, body) in [
        ("GET", "/status", json!(null)),
        ("GET", "/campaigns", json!(null)),
        ("GET", "/campaigns/c?outcomes=true", json!(null)),
        ("GET", "/campaigns/c/results", json!(null)),
        ("GET", "/why/c%2Ftwo", json!(null)),
        ("GET", "/why/caller", json!(null)),
        ("POST", "/campaigns", message),
        ("POST", "/campaigns/c/pause", json!({ "reason": "lunch" })),
        ("PATCH", "/campaigns/c", json!({ "maxConcurrency": 1 })),
        ("POST", "/campaigns/c/resume", json!(null)),
        ("PUT", "/reserves/sales", json!({ "outbound": 1, "members": ["a"] })),
        ("DELETE", "/reserves/sales", json!(null)),
        ("PUT", "/quotas/trunk", json!({ "lines": 5, "members": ["p"] })),
        ("DELETE", "/quotas/trunk", json!(null)),
        ("PATCH", "/lines", json!({ "limit": 20 })),
        ("PATCH", "/lines", json!({ "limit": 4 })),
        ("GET", "/changes", json!(null)),
        ("POST", "/campaigns/c/callbacks", json!({ "lead": "two", "at": soon.to_string() })),
        ("POST", "/do-not-call", json!({ "numbers": ["+15555550109"] })),
        ("POST", "/do-not-call/check", json!({ "numbers": ["+15555550109"] })),
        ("POST", "/do-not-call/list", json!({})),
        ("POST", "/do-not-call/remove", json!({ "numbers": ["+15555550109"] })),
        ("GET", "/do-not-call", json!(null)),
        ("POST", "/campaigns/c/cancel", json!(null)),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://console{path}"))
            .header("authorization", "Bearer token")
            .body(lambda_http::Body::from(body))
            .unwrap();
        let answer = console.handle(request).await;
        assert!(answer.status().is_success(), "{method} {path}: {} {:?}", answer.status(), answer.body());
    }
    let sent = world.wakes.take_asked().into_iter().map(|asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        Call::send_to(body["QueueUrl"].as_str().unwrap())
    });
    world.take_calls().into_iter().chain(sent).map(|call| call.by("console")).collect()
}

/// What the webhook asks for when the ledger's items are full but for one that has drained. In histories, somebody else
/// mostly takes it away first.
async fn of_a_caller_who_finds_an_item_drained() -> BTreeSet<String> {
    let four = Sizes { single: 4, shard: 4 };
    let world = World::start(policy(10, 10, 0)).await.unwrap().with_sizes(four);
    world.app.table.spread_lines(&world.table().read_pool().await.unwrap()).await.unwrap();
    for n in 0..10 {
        world.app.observe(&event(&format!("caller-{n}"), Happened::Live)).await.unwrap();
    }
    world.app.change(&Asked { limit: Some(4), ..Asked::default() }, "ops").await.unwrap();
    world.take_calls();
    let pool = world.table().read_pool().await.unwrap();
    for item in pool.items().iter().skip(1) {
        for line in item.lines.keys() {
            let LineKey::Observed(call) = line else { panic!("{line:?} is no caller") };
            let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
            world.app.observe(&event(call.as_str(), Happened::Ended(end))).await.unwrap();
        }
    }
    let callers = Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere("a"),
        busy_message: "busy".into(),
        overflow: Overflow::default(),
    };
    world.app.answer(&event("late", Happened::Live), &callers).await.unwrap();
    world.take_calls().into_iter().map(|call| call.by("webhook")).collect()
}

fn event(call: &str, happened: Happened) -> CallEvent {
    CallEvent {
        talk: None,
        call: call.parse().unwrap(),
        org: None,
        kind: Some(Kind::Inbound),
        assistants: Vec::new(),
        number: None,
        claims: Vec::new(),
        wishes: Wishes::default(),
        happened,
    }
}
