//! The routes of `headroom serve`, their answers to good and bad input, and the SQS protocol.

use std::time::{Duration, Instant};

use headroom_local::engines::local_aws;
use serde_json::{Value, json};
use vapi_sim::{Config, Sim};

use crate::server::{Flags, SECRET, Server, TOKEN, campaign, free_port, vapi};

async fn start(speed: f64) -> (Sim, Server) {
    let port = free_port().await;
    let sim = vapi(port, Config { speed, ..Config::default() }).await;
    let flags = Flags { vapi_url: &sim.url(), data: None, log: None, limit: 10, cap: 7, headroom: 3, speed };
    let server = Server::start(port, &flags).await;
    (sim, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_the_contract_says() {
    let (sim, server) = start(1.0).await;
    let get = |path: &str| server.http.get(format!("{}{path}", server.url));
    let post = |path: &str| server.http.post(format!("{}{path}", server.url));
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.expect("an answer").status().as_u16();
    let ended = r#"{"message":{"type":"status-update","status":"ended","call":{"id":"019d2ad0-6eb1-7aac-9377-0000000000a1"}}}"#;
    let cases: Vec<(&str, u16, reqwest::RequestBuilder)> = vec![
        ("status without a token", 401, get("/status")),
        ("status with a wrong token", 401, get("/status").bearer_auth("admin")),
        ("status with the webhook's secret", 401, get("/status").bearer_auth(SECRET)),
        ("status", 200, get("/status").bearer_auth(TOKEN)),
        ("campaign without a token", 401, post("/campaigns").body(campaign("x", 0..1))),
        ("campaign that is no JSON", 400, post("/campaigns").bearer_auth(TOKEN).body("nonsense")),
        (
            "campaign without a number id",
            400,
            post("/campaigns").bearer_auth(TOKEN).body(r#"{"campaign":{"id":"x","assistantId":"a"}}"#),
        ),
        ("campaign that is empty", 400, post("/campaigns").bearer_auth(TOKEN)),
        ("campaign that is no UTF-8", 400, post("/campaigns").bearer_auth(TOKEN).body(vec![0xff, 0xfe])),
        ("campaign without leads", 202, post("/campaigns").bearer_auth(TOKEN).body(campaign("empty", 0..0))),
        ("campaigns", 200, get("/campaigns").bearer_auth(TOKEN)),
        ("campaigns without a token", 401, get("/campaigns")),
        ("webhook unauthenticated", 401, post("/vapi").body(ended)),
        ("webhook with a wrong secret", 401, post("/vapi").header("x-vapi-secret", "x").body(ended)),
        ("webhook by secret", 200, post("/vapi").header("x-vapi-secret", SECRET).body(ended)),
        ("webhook by bearer", 200, post("/vapi").bearer_auth(SECRET).body(ended)),
        ("webhook unreadable", 400, post("/vapi").header("x-vapi-secret", SECRET).body("{")),
        ("webhook empty", 400, post("/vapi").header("x-vapi-secret", SECRET)),
        ("webhook by GET", 405, get("/vapi").header("x-vapi-secret", SECRET)),
        ("nowhere", 404, get("/")),
        ("unknown operation", 400, post("/").header("x-amz-target", "AmazonSQS.Nonsense").body("{}")),
    ];
    for (name, expected, request) in cases {
        assert_eq!(status(request).await, expected, "{name}");
    }
    let large = vec![b' '; 7 * 1024 * 1024];
    assert_eq!(
        status(post("/vapi").header("x-vapi-secret", SECRET).body(large)).await,
        413,
        "webhook too large"
    );

    // A campaign without leads is over at once.
    let started = Instant::now();
    while server.status().await["campaigns"][0]["finished"] != true {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", server.status().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_contracts_fields_and_bad_leads_are_named_by_index() {
    let (sim, server) = start(60.0).await;
    let body = json!({
        "campaign": { "id": "c", "assistantId": "a", "phoneNumberId": "p" },
        "leads": [{ "number": "+15550000001" }, { "number": "12" }, { "number": "+15550000002", "timezone": "Mars/Olympus" }],
    });
    let answer = server.post_campaign(body.to_string()).await;
    assert_eq!(answer.status(), 202);
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["leads"], 1);
    let indexes: Vec<_> =
        answer["refused"].as_array().expect("a list").iter().map(|lead| lead["index"].as_u64()).collect();
    assert_eq!(indexes, [Some(1), Some(2)]);
    let status = server.finish(Duration::from_secs(60)).await;
    let pool = &status["pools"][0];
    for field in ["limit", "cap", "headroom", "total", "outbound", "inbound", "web", "shared"] {
        assert!(pool[field].is_u64(), "{field}: {pool}");
    }
    assert_eq!(
        (&pool["id"], &pool["limit"], &pool["cap"], &pool["headroom"]),
        (&json!("main"), &json!(10), &json!(7), &json!(3))
    );
    let leads = &status["campaigns"][0]["leads"];
    for field in ["ready", "dialing", "unknown", "live", "done", "failed"] {
        assert!(leads[field].is_u64(), "{field}: {leads}");
    }
    sim.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_come_over_the_sqs_protocol_and_a_message_sent_twice_changes_nothing() {
    let (sim, server) = start(120.0).await;
    let sqs = aws_sdk_sqs::Client::new(&local_aws(&server.url));
    let queue = sqs
        .get_queue_url()
        .queue_name("campaigns")
        .send()
        .await
        .expect("the queue")
        .queue_url
        .expect("a URL");
    for _ in 0..2 {
        sqs.send_message().queue_url(&queue).message_body(campaign("c", 0..30)).send().await.expect("sent");
    }
    let status = server.finish(Duration::from_secs(60)).await;
    let leads = &status["campaigns"][0]["leads"];
    assert_eq!(
        leads["done"].as_u64().zip(leads["failed"].as_u64()).map(|(d, f)| d + f),
        Some(30),
        "{status}"
    );
    assert_eq!(sim.truth().dials.len(), 30);
    assert!(sim.truth().dials_by_name.values().all(|dials| *dials == 1));
    sim.stop();
}
