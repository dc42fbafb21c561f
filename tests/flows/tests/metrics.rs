//! What the functions tell CloudWatch, as the lines that it reads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::{Arc, Mutex};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::CampaignCode;
use headroom::core::line::Kind;
use headroom::flows::Clock as _;
use headroom::metrics::Embedded;
use headroom::vapi::Secret;
use headroom::wake;
use jiff::SignedDuration;
use lambda_http::http::Method;
use lambda_http::{Body, Request};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;
use webhook::Webhook;

/// The lines since the last look.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Empty ones, and what writes to them for as long as it is kept.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let out = lines.clone();
        let subscriber = tracing_subscriber::registry().with(Embedded::new("prod", move || out.clone()));
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line that has a metric of this name.
    fn with(&self, name: &str) -> Value {
        let mut lines = self.take();
        lines.retain(|line| line.get(name).is_some());
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        lines.remove(0)
    }
}

fn wake_up(body: &str, sent_ms: i64) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.body = Some(body.to_owned());
    message.attributes.insert("SentTimestamp".to_owned(), sent_ms.to_string());
    message
}

#[tokio::test]
async fn a_pass_tells_the_lines_and_the_backlog_and_a_dispatch_how_long_a_line_stood_idle() {
    let (lines, _guard) = Lines::listen();
    let world = World::start(policy(4, 2, 1)).await.unwrap();
    let app = Arc::new(world.app.clone());
    world.observed("019d2ad0-7c40-7aac-9377-000000000001", Kind::Inbound, None).await.unwrap();
    let leads: Vec<_> = (0..5).map(|n| json!({ "number": format!("+1555000000{n}") })).collect();
    let campaign = json!({ "id": "c", "assistantId": "a", "phoneNumberId": "p" });
    app.take_in(json!({ "campaign": campaign, "leads": leads }).to_string().as_bytes()).await.unwrap();

    world
        .vapi
        .answers(201, json!({ "id": "019d2ad0-7c40-7aac-9377-000000000002", "orgId": "org" }).to_string());
    let now = world.clock.now().as_millisecond();
    let mut event = SqsEvent::default();
    event.records = vec![wake_up(wake::LATER, now - 60_000), wake_up(wake::BODY, now - 250)];
    lines.take();
    let answered = dispatcher::handle(&app, event, now + 60_000).await;
    assert!(answered.batch_item_failures.is_empty(), "a wake-up is no bad message");
    let told = lines.take();
    let told = |name: &str| told.iter().find(|line| line.get(name).is_some()).cloned().unwrap();
    assert_eq!(told("RefillMs")["RefillMs"], 250, "the one that was sent for later does not count");
    let waits = told("OutboundWaits");
    assert_eq!((&waits["Rule"], &waits["Stack"]), (&json!("headroom"), &json!("prod")));

    app.reconcile().await.unwrap();
    let pass = lines.with("LinesFree");
    assert_eq!((&pass["LinesInbound"], &pass["LinesFree"]), (&json!(1), &json!(1)));
    assert_eq!((&pass["LinesOutbound"], &pass["Backlog"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn a_pass_compares_the_lists_with_the_ledger_and_tells_what_stands_still() {
    let (lines, _guard) = Lines::listen();
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let (table, now) = (world.table(), world.clock.now());
    world.lead("stopped", "lead").await.unwrap();
    let campaign =
        table.read_campaign(&CampaignCode::of(&"stopped".parse().unwrap())).await.unwrap().unwrap();
    assert!(table.pause_campaign(&campaign, "the key is refused", now).await.unwrap());
    world.observed("over", Kind::Inbound, None).await.unwrap();

    world.vapi.answers(401, "{}");
    lines.take();
    world.app.reconcile().await.unwrap();
    let told = lines.take();
    let pass = told.iter().find(|line| line.get("VapiUnlisted").is_some()).unwrap();
    assert_eq!((&pass["VapiUnlisted"], &pass["CampaignsPaused"]), (&json!(1), &json!(1)));
    assert!(told.iter().all(|line| line.get("LedgerDrift").is_none()), "nothing was compared");

    let listed = |id: &str, status: &str| {
        let created = (now - SignedDuration::from_secs(40)).to_string();
        json!({ "id": id, "type": "inboundPhoneCall", "status": status, "createdAt": created })
    };
    let calls = [listed("one", "in-progress"), listed("two", "in-progress"), listed("over", "ended")];
    world.vapi.answers(200, json!(calls).to_string());
    world.app.reconcile().await.unwrap();
    assert_eq!(lines.with("LedgerDrift")["LedgerDrift"], 2, "two that it did not know, and one that is over");
    world.app.reconcile().await.unwrap();
    let told = lines.take();
    let of = |name: &str| told.iter().find_map(|line| line.get(name)).cloned().unwrap();
    assert_eq!((of("LedgerDrift"), of("VapiUnlisted")), (json!(0), json!(0)));
}

#[tokio::test]
async fn a_webhook_with_a_wrong_secret_and_a_caller_without_an_assistant_are_counted() {
    let (lines, _guard) = Lines::listen();
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let callers = Callers {
        secrets: vec![Secret::new("the-secret")],
        assistants: Assistants::default(),
        busy_message: "busy".into(),
        overflow: Overflow::default(),
    };
    let webhook = Webhook::new(world.app.clone(), callers);
    let send = async |secret: &str| {
        let mut request =
            Request::new(Body::from(include_str!("../../../events/vapi/assistant-request.json")));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "https://headroom.example.invalid/vapi".parse().unwrap();
        request.headers_mut().insert("x-vapi-secret", secret.parse().unwrap());
        webhook.handle(request).await.status().as_u16()
    };
    assert_eq!(send("another").await, 401);
    assert_eq!(lines.with("WebhookUnauthenticated")["WebhookUnauthenticated"], 1);
    assert_eq!(send("the-secret").await, 200);
    let refused = lines.with("CallersRefused");
    assert_eq!((&refused["CallersRefused"], &refused["Rule"]), (&json!(1), &json!("assistant")));
}

#[tokio::test]
async fn a_dispatch_that_broke_off_is_counted() {
    let (lines, _guard) = Lines::listen();
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    world.lead("c", "lead").await.unwrap();
    // A ledger of a later release's: nobody is dialed.
    let mut items = world.save().await.unwrap();
    items.retain(|item| item["sk"]["S"].as_str().is_some_and(|key| key.starts_with("LEDGER#")));
    for ledger in &mut items {
        ledger["fmt"] = json!({ "N": "999" });
    }
    world.load(&items).await.unwrap();
    let mut event = SqsEvent::default();
    let now = world.clock.now().as_millisecond();
    event.records = vec![wake_up(wake::BODY, now)];
    lines.take();
    dispatcher::handle(&Arc::new(world.app.clone()), event, now + 60_000).await;
    assert_eq!(lines.with("DispatchFailed")["DispatchFailed"], 1);
}

/// Vapi's list, with a caller whose call ended so many seconds ago for this.
fn ended(world: &World, reason: &str, seconds: i64) -> String {
    let at = world.clock.now() - SignedDuration::from_secs(seconds);
    json!([{ "id": "caller", "type": "inboundPhoneCall", "status": "ended", "endedReason": reason,
             "createdAt": (at - SignedDuration::from_secs(8)).to_string(), "endedAt": at.to_string() }])
    .to_string()
}

/// No function of ours hears of a question that does not reach it: Vapi's list tells, once.
#[tokio::test]
async fn callers_whom_nobody_answered_are_counted_once() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let (lines, _listening) = Lines::listen();
    for (reason, seconds, unanswered) in [
        ("assistant-request-failed", 20, 1),
        ("assistant-request-failed", 80, 0),
        ("assistant-request-returned-invalid-assistant", 20, 1),
        ("assistant-request-returned-error", 20, 0),
        ("assistant-request-returned-forwarding-phone-number", 20, 0),
        ("customer-ended-call", 20, 0),
    ] {
        world.vapi.answers(200, ended(&world, reason, seconds));
        world.app.reconcile().await.unwrap();
        assert_eq!(lines.with("CallersUnanswered")["CallersUnanswered"], unanswered, "{reason}");
    }
}
