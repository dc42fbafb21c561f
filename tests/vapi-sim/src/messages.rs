//! The bodies of server messages. All of them carry the call as it was when it was created.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    clock::iso,
    truth::CallKind,
    wire::{self, CallObject},
    world::Call,
};

/// What every message about a call repeats. Cut once when the call begins, and for an inbound call once
/// more when it is clear who takes it.
pub(crate) struct Snapshot {
    call: Box<RawValue>,
    phone_number: Option<Value>,
    customer: Option<Box<RawValue>>,
    assistant: Option<Value>,
}

/// What a message says beside what all of them say.
#[derive(Default)]
pub(crate) struct Status {
    pub(crate) name: &'static str,
    pub(crate) ended_reason: Option<&'static str>,
    /// Set on a call that has connected.
    pub(crate) started_ms: Option<f64>,
    pub(crate) destination: Option<Arc<RawValue>>,
    /// Why an inbound call could not be accepted.
    pub(crate) inbound_debugging: Option<Value>,
}

impl Snapshot {
    pub(crate) fn of(call: &Call, url: &str, org_id: &str) -> Self {
        let given = &*call.given;
        let object = CallObject::as_created(call, url, org_id);
        let is_chosen = given.assistant_id.is_some() || call.kind == CallKind::Outbound;
        let (label, number) = if call.kind == CallKind::Inbound {
            ("inbound-1", "+15555550188")
        } else {
            ("outbound-1", "+15555550199")
        };
        Self {
            call: to_raw_value(&object).expect("a call object has only text keys and finite numbers"),
            phone_number: given.phone_number_id.as_ref().map(|id| {
                json!({
                    "id": id, "orgId": org_id, "assistantId": null, "number": number, "name": label,
                    "createdAt": "2025-10-06T08:00:00.000Z", "updatedAt": "2026-01-12T08:00:00.000Z",
                    "provider": "twilio", "status": "active", "twilioAuthToken": null, "credentialId": null,
                })
            }),
            customer: given.customer.clone(),
            assistant: is_chosen.then(|| {
                json!({
                    "id": given.assistant_id, "orgId": org_id, "name": "Front desk",
                    "createdAt": "2025-10-06T08:00:00.000Z", "updatedAt": "2026-01-12T08:00:00.000Z",
                    "firstMessage": "Good day, is this a good time?",
                    "serverMessages": ["status-update", "end-of-call-report"],
                })
            }),
        }
    }

    pub(crate) fn status_update(&self, now: f64, status: &Status) -> String {
        let has_begun = !matches!(status.name, "queued" | "ringing");
        self.print(Message {
            status: Some(status.name),
            ended_reason: status.ended_reason,
            destination: status.destination.as_deref(),
            inbound_phone_call_debugging_artifacts: status.inbound_debugging.as_ref(),
            artifact: (has_begun && status.inbound_debugging.is_none()).then(|| {
                // What was said is known at the end, not at the beginning.
                wire::artifact(status.started_ms.filter(|_| status.name == "ended"), false)
            }),
            ..self.message(now, "status-update")
        })
    }

    pub(crate) fn end_of_call_report(
        &self,
        now: f64,
        reason: &'static str,
        started_ms: Option<f64>,
        ended_ms: f64,
    ) -> String {
        let length_ms = started_ms.map(|started| ended_ms - started);
        let cost = length_ms.map_or(0.0, wire::cost);
        self.print(Message {
            ended_reason: Some(reason),
            analysis: Some(if started_ms.is_some() { wire::analysis() } else { json!({}) }),
            artifact: Some(wire::artifact(started_ms, true)),
            cost: Some(cost),
            costs: Some(length_ms.map_or(
                json!([]),
                |ms| json!([{"type": "vapi", "subType": "normal", "minutes": ms / 60_000.0, "cost": cost}]),
            )),
            cost_breakdown: length_ms.map(wire::cost_breakdown),
            started_at: started_ms.map(iso),
            ended_at: Some(iso(ended_ms)),
            duration_ms: length_ms.map(f64::round),
            duration_seconds: length_ms.map(|ms| ms / 1e3),
            duration_minutes: length_ms.map(|ms| ms / 6e4),
            summary: Some(if started_ms.is_some() { wire::SUMMARY } else { "" }),
            transcript: Some(if started_ms.is_some() { wire::TRANSCRIPT } else { "" }),
            messages: Some(wire::conversation(started_ms)),
            ..self.message(now, "end-of-call-report")
        })
    }

    pub(crate) fn assistant_request(&self, now: f64) -> String {
        self.print(self.message(now, "assistant-request"))
    }

    fn message(&self, now: f64, r#type: &'static str) -> Message<'_> {
        Message {
            timestamp: now as i64,
            r#type,
            status: None,
            ended_reason: None,
            inbound_phone_call_debugging_artifacts: None,
            destination: None,
            analysis: None,
            artifact: None,
            cost: None,
            costs: None,
            cost_breakdown: None,
            started_at: None,
            ended_at: None,
            duration_ms: None,
            duration_seconds: None,
            duration_minutes: None,
            summary: None,
            transcript: None,
            messages: None,
            call: &self.call,
            phone_number: self.phone_number.as_ref(),
            customer: self.customer.as_deref(),
            assistant: self.assistant.as_ref(),
        }
    }

    fn print(&self, message: Message<'_>) -> String {
        serde_json::to_string(&Envelope { message }).expect("a message has only text keys and finite numbers")
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    timestamp: i64,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inbound_phone_call_debugging_artifacts: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_breakdown: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_minutes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Value>,
    call: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant: Option<&'a Value>,
}
