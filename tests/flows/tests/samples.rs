//! The samples in `events/` are what they say: each parses as the event that its function takes.

use std::path::PathBuf;

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use aws_lambda_events::event::sqs::SqsEvent;
use headroom::core::campaign::{Message, NewLead, Spec};
use headroom::core::event::Event;
use headroom::vapi::message::{CallEvent, Happened, ServerMessage};
use headroom::wake;
use lambda_http::Request;
use lambda_http::http::Method;
use serde_json::Value;

fn read(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn request(name: &str) -> Request {
    lambda_http::request::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn bodies(name: &str) -> Vec<String> {
    let event: SqsEvent = serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    event
        .records
        .into_iter()
        .map(|record| {
            assert!(record.message_id.is_some(), "{name}: a batch item failure names the message");
            record.body.expect("a body")
        })
        .collect()
}

/// Its settings, the leads that can be called, and the places of those that cannot.
fn campaign(body: &str) -> (Spec, Vec<NewLead>, Vec<usize>) {
    match Message::parse(body.as_bytes()).expect("a campaign message") {
        Message::Leads { spec, leads, bad, .. } => {
            (*spec, leads, bad.into_iter().map(|lead| lead.index).collect())
        }
        Message::Resume(id) => panic!("resumes {id}"),
    }
}

#[test]
fn announcer_samples_are_events() {
    let events: Vec<Event> = bodies("announcer.events.json")
        .iter()
        .map(|body| {
            let event: Event = serde_json::from_str(body).expect("an event");
            assert_eq!(event.text(), *body, "as it is told");
            event
        })
        .collect();
    let names: Vec<&str> = events.iter().map(|event| event.what.name()).collect();
    assert_eq!(names, ["lead.ended", "campaign.finished"]);
}

#[test]
fn webhook_samples_are_authenticated_posts_of_the_bodies_in_events_vapi() {
    for (name, body) in [
        ("webhook.assistant-request.json", "vapi/assistant-request.json"),
        ("webhook.in-progress.inbound.json", "vapi/status-update.inbound.in-progress.json"),
        ("webhook.ended.json", "vapi/status-update.inbound.ended.json"),
    ] {
        let request = request(name);
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, webhook::PATH), "{name}");
        assert_eq!(request.headers()["x-vapi-secret"], "sample-secret", "{name}");
        let sent: Value = serde_json::from_slice(request.body()).expect(name);
        let recorded: Value = serde_json::from_str(&read(body)).expect(body);
        assert_eq!(sent, recorded, "{name} carries {body}");
    }
}

#[test]
fn webhook_samples_are_the_life_of_one_inbound_call() {
    let event = |name: &str| -> CallEvent {
        match ServerMessage::parse(request(name).body()).expect(name) {
            ServerMessage::Call(event) | ServerMessage::AssistantRequest(event) => event,
            other => panic!("{name}: {other:?}"),
        }
    };
    let asked = event("webhook.assistant-request.json");
    let live = event("webhook.in-progress.inbound.json");
    let ended = event("webhook.ended.json");
    assert_eq!((asked.happened, live.happened), (Happened::Live, Happened::Live));
    assert!(matches!(ended.happened, Happened::Ended(_)));
    assert!(asked.call == live.call && live.call == ended.call);
}

#[test]
fn dispatcher_samples_are_batches_as_sqs_delivers_them() {
    assert_eq!(bodies("dispatcher.wake.json"), [wake::BODY]);

    let [body] = bodies("dispatcher.campaign.json").try_into().expect("one message");
    let (_, leads, bad) = campaign(&body);
    assert_eq!((leads.len(), bad.len()), (3, 0));

    let [good, some_bad, unreadable] = bodies("dispatcher.mixed.json").try_into().expect("three messages");
    let (_, leads, bad) = campaign(&good);
    assert_eq!((leads.len(), bad.len()), (1, 0));
    let (_, leads, bad) = campaign(&some_bad);
    assert_eq!((leads.len(), bad), (2, vec![1, 2, 3]));
    assert!(Message::parse(unreadable.as_bytes()).is_err());
}

#[test]
fn ticks_are_scheduled_events() {
    for name in ["reconciler.tick.json", "backfill.tick.json"] {
        let event: EventBridgeEvent<Value> = serde_json::from_str(&read(name)).expect(name);
        assert_eq!(event.source, "aws.events", "{name}");
        assert_eq!(event.detail_type, "Scheduled Event", "{name}");
    }
}

#[test]
fn the_sample_campaign_has_200_people_who_may_be_called_at_any_hour() {
    let text = read("campaign.sample.json");
    let (spec, leads, bad) = campaign(&text);
    assert_eq!((leads.len(), bad), (200, vec![]));
    assert_eq!(
        (spec.id.as_str(), spec.agent.as_ref().map(|agent| agent.as_str())),
        ("spring-renewals", Some("renewals"))
    );
    assert!(spec.window.is_none() && spec.max_concurrency.is_none());
    assert_eq!(spec.retry.max_attempts.get(), 2);
    for (place, lead) in leads.iter().enumerate() {
        assert_eq!(lead.id.as_str(), format!("crm-{:04}", place + 1));
        assert_eq!(lead.number.reveal(), format!("+{}", 15_555_550_100 + place as u64));
        assert!(lead.name.is_some() && lead.timezone.is_some() && lead.variables.is_some());
    }
    assert_eq!(text.lines().filter(|line| line.contains("crm-")).count(), 200, "one lead a line");
}
