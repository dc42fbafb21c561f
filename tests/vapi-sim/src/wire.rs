//! The call object as the API and the webhooks print it.

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{clock::iso, config::Remaining, truth::CallKind, world::Call};

/// How the API names a kind of call.
pub(crate) fn type_of(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Outbound => "outboundPhoneCall",
        CallKind::Inbound => "inboundPhoneCall",
        CallKind::Web => "webCall",
    }
}

/// `subscriptionLimits`.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionLimits {
    concurrency_blocked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_concurrent_calls: Option<i64>,
}

impl SubscriptionLimits {
    /// What a call is told that found `before` of so many lines free, and left `after`.
    pub(crate) fn of_call(shape: Remaining, lines: u32, before: u32, after: u32) -> Option<Self> {
        let (limit, remaining) = match shape {
            // Mixed was resolved before.
            Remaining::Excludes | Remaining::Mixed => (Some(lines), after.into()),
            Remaining::Includes => (Some(lines), before.into()),
            Remaining::MinusOne => (Some(lines), -1),
            Remaining::NoLimit => (None, after.into()),
            Remaining::Absent => return None,
        };
        Some(Self {
            concurrency_blocked: false,
            concurrency_limit: limit,
            remaining_concurrent_calls: Some(remaining),
        })
    }

    /// What a call is told that found no line.
    pub(crate) fn of_refusal(shape: Remaining, lines: u32) -> Self {
        let nothing =
            Self { concurrency_blocked: true, concurrency_limit: None, remaining_concurrent_calls: None };
        let figures = Self::of_call(shape, lines, 0, 0).unwrap_or(nothing);
        Self { concurrency_blocked: true, ..figures }
    }
}

/// The call object. Fields are in the order in which Vapi prints them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscription_limits: Option<SubscriptionLimits>,
    id: String,
    /// Present and null for a caller of whom nobody knows yet who takes the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant_id: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    squad_id: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number_id: Option<&'a str>,
    r#type: &'static str,
    created_at: String,
    updated_at: String,
    org_id: &'a str,
    cost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a RawValue>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_call_provider: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_call_provider_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_call_transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant_overrides: Option<&'a RawValue>,
    monitor: Value,
    transport: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_call_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_breakdown: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Value>,
}

impl<'a> CallObject<'a> {
    /// The call as it was created. Webhooks carry this one to the end, however stale.
    pub(crate) fn as_created(call: &'a Call, url: &str, org_id: &'a str) -> Self {
        let given = &*call.given;
        let is_phone = call.kind != CallKind::Web;
        let sid = format!("CA{}", call.id.simple());
        let room = format!("https://rooms.example.invalid/{}", call.id.simple());
        let nullable = |id: &'a Option<String>| match (id.as_deref(), call.kind) {
            (None, CallKind::Inbound) => Some(None),
            (id, _) => id.map(Some),
        };
        Self {
            subscription_limits: None,
            id: call.id.to_string(),
            assistant_id: nullable(&given.assistant_id),
            squad_id: nullable(&given.squad_id),
            phone_number_id: given.phone_number_id.as_deref(),
            r#type: type_of(call.kind),
            created_at: iso(call.created_ms),
            updated_at: iso(call.created_ms),
            org_id,
            cost: 0.0,
            customer: given.customer.as_deref(),
            status: if call.kind == CallKind::Inbound { "ringing" } else { "queued" },
            name: given.name.as_deref(),
            metadata: given.metadata.as_deref(),
            phone_call_provider: is_phone.then_some("twilio"),
            phone_call_provider_id: is_phone.then(|| sid.clone()),
            phone_call_transport: is_phone.then_some("pstn"),
            assistant_overrides: given.assistant_overrides.as_deref(),
            monitor: json!({
                "listenUrl": format!("{}/listen/{}", url.replacen("http", "ws", 1), call.id),
                "controlUrl": format!("{url}/control/{}", call.id),
            }),
            transport: if is_phone {
                json!({"callSid": sid, "conversationType": "voice", "provider": "twilio"})
            } else {
                json!({"conversationType": "voice", "provider": "daily", "callUrl": room})
            },
            web_call_url: (!is_phone).then_some(room),
            started_at: None,
            ended_at: None,
            ended_reason: None,
            cost_breakdown: None,
            analysis: None,
            artifact: None,
        }
    }

    /// The call as a read shows it that knows nothing after `as_of`; nothing if it did not exist then.
    pub(crate) fn as_read(call: &'a Call, url: &str, org_id: &'a str, as_of: f64) -> Option<Self> {
        let updated_ms = call.updated_ms(as_of)?;
        let known = |moment: Option<f64>| moment.filter(|ms| *ms <= as_of);
        let mut object = Self::as_created(call, url, org_id);
        object.updated_at = iso(updated_ms);
        if known(call.ringing_ms).is_some() {
            object.status = "ringing";
        }
        if let Some(ms) = known(call.started_ms) {
            object.status = "in-progress";
            object.started_at = Some(iso(ms));
        }
        if let Some(ms) = known(call.ended_ms) {
            object.status = "ended";
            object.ended_at = Some(iso(ms));
            object.ended_reason = call.ended_reason;
            if let Some(started_ms) = call.started_ms {
                object.cost = cost(ms - started_ms);
                object.cost_breakdown = Some(cost_breakdown(ms - started_ms));
                object.analysis = Some(analysis());
                object.artifact = Some(artifact(call.started_ms, true));
            }
        }
        Some(object)
    }
}

impl Call {
    /// When this call last changed, as far as was known at `as_of`.
    pub(crate) fn updated_ms(&self, as_of: f64) -> Option<f64> {
        [Some(self.created_ms), self.ringing_ms, self.started_ms, self.ended_ms]
            .into_iter()
            .flatten()
            .filter(|ms| *ms <= as_of)
            .reduce(f64::max)
    }
}

/// What a call of this length costs, in dollars.
pub(crate) fn cost(length_ms: f64) -> f64 {
    (length_ms / 60_000.0 * 0.09 * 1e4).round() / 1e4
}

/// The same by cause.
pub(crate) fn cost_breakdown(length_ms: f64) -> Value {
    let total = cost(length_ms);
    let part = |share: f64| (total * share * 1e4).round() / 1e4;
    json!({"transport": part(0.15), "stt": part(0.11), "llm": part(0.03), "tts": part(0.15),
           "vapi": part(0.56), "total": total})
}

pub(crate) const SUMMARY: &str = "They talked it over and will be in touch.";
pub(crate) const TRANSCRIPT: &str = "AI: Good day, is this a good time?\nUser: It is, go ahead.\n";

/// What the analysis of a call that connected says.
pub(crate) fn analysis() -> Value {
    json!({"summary": SUMMARY, "successEvaluation": "true"})
}

/// What was said in a call that connected at `started_ms`.
pub(crate) fn conversation(started_ms: Option<f64>) -> Value {
    let Some(started) = started_ms.map(|ms| ms as i64) else { return json!([]) };
    json!([
        {"role": "bot", "message": "Good day, is this a good time?", "time": started + 900,
         "endTime": started + 2800, "secondsFromStart": 0.9, "duration": 1900, "source": ""},
        {"role": "user", "message": "It is, go ahead.", "time": started + 3300,
         "endTime": started + 4500, "secondsFromStart": 3.3, "duration": 1200},
    ])
}

/// The artifact: what was said so far and, once processed, the recording and the transcript.
pub(crate) fn artifact(started_ms: Option<f64>, is_processed: bool) -> Value {
    let spoken = if started_ms.is_some() {
        json!([{"role": "assistant", "content": "Good day, is this a good time?"},
               {"role": "user", "content": "It is, go ahead."}])
    } else {
        json!([])
    };
    let mut artifact = json!({"messages": conversation(started_ms), "messagesOpenAIFormatted": spoken});
    if is_processed {
        artifact["transcript"] = if started_ms.is_some() { TRANSCRIPT } else { "" }.into();
        if started_ms.is_some() {
            artifact["recordingUrl"] = "https://recordings.example.invalid/mono.wav".into();
            artifact["stereoRecordingUrl"] = "https://recordings.example.invalid/stereo.wav".into();
        }
    }
    artifact
}
