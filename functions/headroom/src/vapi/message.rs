//! Vapi's server messages: from bytes to the few events that matter here.
//!
//! `message.status` is the truth; `message.call` is the call as it was when it was made. So the
//! status is taken from the message alone, and from the call only what never changes.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::calls::{RawCall, Wishes, is_live_status, object, reason, talk, text};
use crate::core::callback::Asked;
use crate::core::ids::{CallId, ClaimKey, NameCode, OrgId, PhoneNumber};
use crate::core::lead::End;
use crate::core::line::Kind;

/// A server message, as far as Headroom is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// Something happened to a call.
    Call(CallEvent),
    /// Vapi asks which assistant shall answer a caller on a bare number.
    AssistantRequest(CallEvent),
    /// The assistant uses tools; some of them may be Headroom's.
    ToolCalls(ToolCalls),
    /// A Vapi campaign asks whether it may dial a contact.
    Predial,
    /// Nothing that concerns a line: known kinds that are not used, and kinds not known.
    Ignored(String),
}

/// What a message says of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallEvent {
    /// The call.
    pub call: CallId,
    /// Its organisation, where the message says.
    pub org: Option<OrgId>,
    /// What kind of call; an outbound one counts as foreign until a claim of ours is found for it.
    pub kind: Option<Kind>,
    /// Its squad and its assistant, as far as it says. A call on a bare number says neither.
    pub assistants: Vec<NameCode>,
    /// Vapi's id of the phone number that it came in on or goes out from.
    pub number: Option<String>,
    /// The reservations that the call says it was made for, to be checked with the table.
    pub claims: Vec<ClaimKey>,
    /// What its person said of being called again, as far as the analysis of the call tells.
    pub wishes: Wishes,
    /// How long its two ends were connected, where the message says: a report of its end does.
    pub talk: Option<SignedDuration>,
    /// What happened.
    pub happened: Happened,
}

/// An assistant's use of tools in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCalls {
    /// The call, if it says which.
    pub call: Option<CallId>,
    /// Its organisation, where the message says.
    pub org: Option<OrgId>,
    /// Whom the call is with, where it says.
    pub person: Option<PhoneNumber>,
    /// The reservations that the call says it was made for, to be checked with the table.
    pub claims: Vec<ClaimKey>,
    /// Each use.
    pub asked: Vec<ToolCall>,
}

/// One use of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// What the result is to be sent under.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The time that it is given, if it is given one.
    pub at: Option<Asked>,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It holds a line: queued, ringing, in progress or being forwarded.
    Live,
    /// It is over.
    Ended(End),
    /// It is in a status that neither takes nor frees a line.
    Nothing,
}

/// Why a body is not a server message. Never carries a piece of the body.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not text at all.
    #[error("not UTF-8")]
    Utf8,
    /// Not JSON, or not `{"message": {"type": …}}`.
    #[error("not a server message (line {line}, column {column})")]
    Shape {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
    },
    /// The call's id is none.
    #[error("message.call.id is not an id")]
    CallId,
}

impl From<serde_json::Error> for MessageError {
    fn from(error: serde_json::Error) -> Self {
        Self::Shape { line: error.line(), column: error.column() }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    ended_reason: Option<String>,
    #[serde(default, deserialize_with = "text")]
    started_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    ended_at: Option<String>,
    #[serde(borrow)]
    call: Option<&'a RawValue>,
    #[serde(borrow)]
    phone_number: Option<&'a RawValue>,
    #[serde(borrow)]
    customer: Option<&'a RawValue>,
    #[serde(borrow)]
    analysis: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_list: Option<&'a RawValue>,
}

impl ServerMessage {
    /// The call that it is about, if it is about one.
    pub fn call(&self) -> Option<&CallId> {
        match self {
            Self::Call(event) | Self::AssistantRequest(event) => Some(&event.call),
            Self::ToolCalls(used) => used.call.as_ref(),
            Self::Predial | Self::Ignored(_) => None,
        }
    }

    /// Reads a webhook's body.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(body).map_err(|_| MessageError::Utf8)?;
        let envelope: Envelope<'_> = object(text)?;
        let message: Raw<'_> = object(envelope.message.get())?;
        let connected = message.started_at.is_some();
        let happened = match message.kind.as_str() {
            "status-update" => match message.status.as_deref() {
                Some("ended") => {
                    // A status update does not carry `startedAt`: its absence says nothing.
                    let connected = connected.then_some(true);
                    Happened::Ended(End { reason: reason(message.ended_reason), connected })
                }
                Some(status) if is_live_status(status) => Happened::Live,
                _ => Happened::Nothing,
            },
            "end-of-call-report" => {
                Happened::Ended(End { reason: reason(message.ended_reason), connected: Some(connected) })
            }
            "assistant-request" => Happened::Live,
            "tool-calls" => return Ok(Self::ToolCalls(tool_calls(&message))),
            "campaign.predial" => return Ok(Self::Predial),
            _ => return Ok(Self::Ignored(message.kind)),
        };
        let Some(call) = message.call.filter(|raw| raw.get() != "null") else {
            return Ok(Self::Ignored(message.kind));
        };
        let raw: RawCall<'_> = object(call.get()).map_err(|_| MessageError::CallId)?;
        let person = person(message.customer).or_else(|| person(raw.customer));
        let event = CallEvent {
            call: raw.id.parse().map_err(|_| MessageError::CallId)?,
            org: raw.org_id.as_deref().and_then(|org| org.parse().ok()),
            kind: raw.kind(),
            assistants: raw.assistants(),
            claims: raw.claims(),
            number: raw.phone_number_id.or_else(|| phone_number_id(message.phone_number)),
            wishes: wishes(person, message.analysis),
            talk: talk(message.started_at.as_deref(), message.ended_at.as_deref()).filter(|_| connected),
            happened,
        };
        Ok(if message.kind == "assistant-request" {
            Self::AssistantRequest(event)
        } else {
            Self::Call(event)
        })
    }
}

impl CallEvent {
    /// What the call is known by, the most telling first.
    pub fn codes(&self) -> Vec<NameCode> {
        let number = self.number.iter().map(|number| NameCode::of(number));
        self.assistants.iter().cloned().chain(number).collect()
    }
}

fn phone_number_id(raw: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct PhoneNumber {
        #[serde(default, deserialize_with = "text")]
        id: Option<String>,
    }
    object::<PhoneNumber>(raw?.get()).ok()?.id
}

/// The number of a `customer` object.
pub(super) fn person(raw: Option<&RawValue>) -> Option<PhoneNumber> {
    #[derive(Deserialize)]
    struct Customer {
        #[serde(default, deserialize_with = "text")]
        number: Option<String>,
    }
    object::<Customer>(raw?.get()).ok()?.number?.parse().ok()
}

/// What an assistant's tool, or a field of its analysis, is called that says that a person does not want to be called
/// any more.
pub const DO_NOT_CALL: [&str; 4] = ["doNotCall", "do_not_call", "optOut", "opt_out"];

/// What an assistant's tool is called that says when a person wants to be called again.
pub const CALL_BACK: [&str; 4] = ["callMeBack", "call_me_back", "callBack", "call_back"];

/// What a field of an analysis, or an argument of that tool, is called that says when.
const CALL_BACK_AT: [&str; 5] = ["callbackAt", "callback_at", "callBackAt", "call_back_at", "at"];

/// What an analysis tells of a person's wishes.
pub(super) fn wishes(person: Option<PhoneNumber>, analysis: Option<&RawValue>) -> Wishes {
    let data = structured_data(analysis);
    Wishes { person, refuses: refuses(data.as_ref()), calls_back: data.as_ref().and_then(calls_back) }
}

/// The structured data of an analysis.
fn structured_data(analysis: Option<&RawValue>) -> Option<Map<String, Value>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Analysis<'a> {
        #[serde(borrow)]
        structured_data: Option<&'a RawValue>,
    }
    let analysis = analysis.and_then(|raw| object::<Analysis<'_>>(raw.get()).ok());
    object(analysis?.structured_data?.get()).ok()
}

/// Whether it says that the person does not want to be called any more: one of [`DO_NOT_CALL`] is true.
fn refuses(data: Option<&Map<String, Value>>) -> bool {
    let Some(data) = data else { return false };
    DO_NOT_CALL.iter().any(|name| match data.get(*name) {
        Some(Value::Bool(said)) => *said,
        // Some models write the word.
        Some(Value::String(said)) => said.eq_ignore_ascii_case("true") || said.eq_ignore_ascii_case("yes"),
        _ => false,
    })
}

/// When it says that the person wants to be called again: the first of [`CALL_BACK_AT`] that is a time. A field that is
/// simply called `at` is about something else in an analysis.
fn calls_back(data: &Map<String, Value>) -> Option<Asked> {
    time(data, &CALL_BACK_AT[..CALL_BACK_AT.len() - 1])
}

fn time(data: &Map<String, Value>, names: &[&str]) -> Option<Asked> {
    names.iter().find_map(|name| data.get(*name)?.as_str()?.parse().ok())
}

/// The time among a tool's arguments, which come as an object or as its text.
fn asked_time(arguments: Option<&RawValue>) -> Option<Asked> {
    let raw = arguments?.get();
    let text: Option<String> = serde_json::from_str(raw).ok();
    let arguments: Map<String, Value> = object(text.as_deref().unwrap_or(raw)).ok()?;
    time(&arguments, &CALL_BACK_AT)
}

/// Most uses of tools that one message is read for.
const MOST_TOOL_CALLS: usize = 64;

fn tool_calls(message: &Raw<'_>) -> ToolCalls {
    let call = message.call.and_then(|raw| object::<RawCall<'_>>(raw.get()).ok());
    let in_call = call.as_ref().and_then(|call| person(call.customer));
    ToolCalls {
        call: call.as_ref().and_then(|call| call.id.parse().ok()),
        org: call.as_ref().and_then(|call| call.org_id.as_deref()?.parse().ok()),
        person: person(message.customer).or(in_call),
        claims: call.as_ref().map(RawCall::claims).unwrap_or_default(),
        asked: asked(message.tool_call_list),
    }
}

fn asked(list: Option<&RawValue>) -> Vec<ToolCall> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default, deserialize_with = "text")]
        id: Option<String>,
        #[serde(default, deserialize_with = "text")]
        name: Option<String>,
        #[serde(borrow)]
        function: Option<&'a RawValue>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(default, deserialize_with = "text")]
        name: Option<String>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let list = list.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
    let call = |raw: &RawValue| {
        let raw: Raw<'_> = object(raw.get()).ok()?;
        let function = raw.function.and_then(|raw| object::<Function<'_>>(raw.get()).ok());
        let arguments = function.as_ref().and_then(|function| function.arguments).or(raw.arguments);
        let at = asked_time(arguments);
        Some(ToolCall { id: raw.id?, name: function.and_then(|function| function.name).or(raw.name)?, at })
    };
    list.unwrap_or_default().into_iter().take(MOST_TOOL_CALLS).filter_map(call).collect()
}
