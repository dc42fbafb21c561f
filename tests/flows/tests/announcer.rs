//! The announcer, against a bus and a web server that answer as they like: what was not taken is reported, and comes again
//! later and later; the rest of its batch does not wait for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use announcer::Announcer;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use flows::Stub;
use headroom::config::{Hook, Listener, Listeners};
use headroom_local::engines::local_aws;
use serde_json::{Value, json};

/// An announcer for this listener whose queue is one answer.
fn announcer(listener: Listener, bus: &Stub, queue: &Stub) -> Announcer {
    let listeners = Listeners { source: format!("{}/000000000000/events", queue.url), listener };
    let events = aws_sdk_eventbridge::Client::new(&local_aws(&bus.url));
    Announcer::new(listeners, events, aws_sdk_sqs::Client::new(&local_aws(&queue.url))).unwrap()
}

fn batch(bodies: &[&str]) -> SqsEvent {
    let mut event = SqsEvent::default();
    for (nth, body) in bodies.iter().enumerate() {
        let mut message = SqsMessage::default();
        message.message_id = Some(format!("m{nth}"));
        message.receipt_handle = Some(format!("r{nth}"));
        message.body = Some((*body).to_owned());
        message.attributes.insert("ApproximateReceiveCount".into(), "4".into());
        event.records.push(message);
    }
    event
}

async fn failed(announcer: &Announcer, bodies: &[&str]) -> Vec<String> {
    let response = announcer.handle(batch(bodies)).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// Which messages come again when.
fn later(queue: &Stub) -> Vec<(String, i64)> {
    let asked =
        queue.take_asked().into_iter().map(|asked| serde_json::from_str::<Value>(&asked.body).unwrap());
    let text = |body: &Value| body["ReceiptHandle"].as_str().unwrap().to_owned();
    asked.map(|body| (text(&body), body["VisibilityTimeout"].as_i64().unwrap())).collect()
}

const ENDED: &str = r#"{"id":"lead.ended/a","type":"lead.ended","campaign":"may"}"#;
const PAUSED: &str = r#"{"id":"campaign.paused/b","type":"campaign.paused","campaign":"may"}"#;

#[tokio::test]
async fn a_bus_gets_a_batch_at_once_and_each_of_it_alone_comes_again() {
    let (bus, queue) = (Stub::start(200, "{}").await.unwrap(), Stub::start(200, "{}").await.unwrap());
    let announcer = announcer(Listener::Bus("calls".into()), &bus, &queue);
    let entries =
        json!([{ "EventId": "e" }, { "ErrorCode": "ThrottlingException", "ErrorMessage": "later" }]);
    bus.answers(200, json!({ "FailedEntryCount": 1, "Entries": entries }).to_string());
    assert_eq!(failed(&announcer, &[ENDED, "no event", PAUSED]).await, ["m1", "m2"]);
    let asked = bus.take_asked();
    assert_eq!(asked.len(), 1);
    let put: Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(
        put["Entries"],
        json!([
            { "Source": "headroom", "DetailType": "lead.ended", "Detail": ENDED, "EventBusName": "calls" },
            { "Source": "headroom", "DetailType": "campaign.paused", "Detail": PAUSED, "EventBusName": "calls" },
        ])
    );
    assert_eq!(later(&queue), [("r1".to_owned(), 8), ("r2".to_owned(), 8)]);
    // An answer about fewer than were sent is none for the others.
    bus.answers(200, json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "e" }] }).to_string());
    assert_eq!(failed(&announcer, &[ENDED, PAUSED]).await, ["m1"]);
    bus.answers(400, r#"{"__type":"ResourceNotFoundException","message":"no such bus"}"#);
    assert_eq!(failed(&announcer, &[ENDED, PAUSED]).await, ["m0", "m1"]);
    assert!(failed(&announcer, &[]).await.is_empty());
}

#[tokio::test]
async fn a_web_server_takes_an_event_by_a_2xx_alone() {
    let (bus, queue) = (Stub::start(200, "{}").await.unwrap(), Stub::start(200, "{}").await.unwrap());
    let hook = Stub::start(200, "{}").await.unwrap();
    let listener = Listener::Webhook(Hook::parse(&format!("{}/hooks/t0ken", hook.url), "secret").unwrap());
    let announcer = announcer(listener, &bus, &queue);
    for status in [200, 202, 204] {
        hook.answers(status, "");
        assert!(failed(&announcer, &[ENDED, PAUSED]).await.is_empty(), "{status}");
    }
    let asked = hook.take_asked();
    assert!(asked.iter().all(|asked| asked.method == "POST" && asked.path == "/hooks/t0ken"));
    assert!(asked.iter().any(|asked| asked.body == ENDED) && asked.iter().any(|asked| asked.body == PAUSED));
    // Nobody is sent on to another address.
    for status in [301, 302, 307, 400, 404, 410, 429, 500, 503] {
        hook.answers(status, "");
        assert_eq!(failed(&announcer, &[ENDED]).await, ["m0"], "{status}");
    }
    assert_eq!(later(&queue).len(), 9);
    // One that cannot be kept back comes when its time is up.
    queue.answers(400, "{}");
    assert_eq!(failed(&announcer, &[ENDED]).await, ["m0"]);
    assert!(bus.take_asked().is_empty());
}

#[tokio::test]
async fn a_web_server_that_is_gone_fails_nothing_else() {
    let (bus, queue) = (Stub::start(200, "{}").await.unwrap(), Stub::start(200, "{}").await.unwrap());
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hook = Hook::parse(&format!("http://{port}/"), "secret").unwrap();
    let announcer = announcer(Listener::Webhook(hook), &bus, &queue);
    assert_eq!(failed(&announcer, &[ENDED, PAUSED]).await, ["m0", "m1"]);
}
