//! Vapi's server messages: from bytes to the few events that matter here.
//!
//! `message.status` is the truth; `message.call` is the call as it was when it was made. So the
//! status is taken from the message alone, and from the call only what never changes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::{RawCall, is_live_status, object, reason, text};
use crate::core::ids::{CallId, ClaimKey, Kind, NameCode, OrgId};
use crate::core::lead::End;

/// A server message, as far as Headroom is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// Something happened to a call.
    Call(CallEvent),
    /// Vapi asks which assistant shall answer a caller on a bare number.
    AssistantRequest(CallEvent),
    /// Vapi wants tool results. Headroom has no tools; the answer is an empty list.
    ToolCalls,
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
    /// What happened.
    pub happened: Happened,
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
    #[serde(borrow)]
    call: Option<&'a RawValue>,
    #[serde(borrow)]
    phone_number: Option<&'a RawValue>,
}

impl ServerMessage {
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
            "tool-calls" => return Ok(Self::ToolCalls),
            "campaign.predial" => return Ok(Self::Predial),
            _ => return Ok(Self::Ignored(message.kind)),
        };
        let Some(call) = message.call.filter(|raw| raw.get() != "null") else {
            return Ok(Self::Ignored(message.kind));
        };
        let raw: RawCall<'_> = object(call.get()).map_err(|_| MessageError::CallId)?;
        let event = CallEvent {
            call: raw.id.parse().map_err(|_| MessageError::CallId)?,
            org: raw.org_id.as_deref().and_then(|org| org.parse().ok()),
            kind: raw.kind(),
            assistants: raw.assistants(),
            claims: raw.claims(),
            number: raw.phone_number_id.or_else(|| phone_number_id(message.phone_number)),
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
