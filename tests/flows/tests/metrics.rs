//! What the functions tell CloudWatch, as the lines that it reads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::{Arc, Mutex};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use flows::{World, policy};
use headroom::core::line::Kind;
use headroom::flows::Clock as _;
use headroom::metrics::Embedded;
use headroom::wake;
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

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
    let lines = Lines::default();
    let out = lines.clone();
    let subscriber = tracing_subscriber::registry().with(Embedded::new("prod", move || out.clone()));
    let _guard = tracing::subscriber::set_default(subscriber);
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
