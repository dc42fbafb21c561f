//! Asking the server what to do with a caller, and reading what it says.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    messages::Snapshot,
    request::{self, Given},
    shared::Shared,
};

/// How long the server has, end to end, in wall time: the carrier behind the caller does not wait longer.
const PATIENCE: Duration = Duration::from_millis(7500);

/// What becomes of a caller.
pub(crate) enum Answer {
    /// Someone takes the call; the change says who.
    Taken(Box<dyn FnOnce(&mut Given) + Send>),
    /// The caller is sent on.
    Forwarded(Arc<RawValue>),
    /// The caller is turned away.
    Refused {
        /// The ended reason.
        reason: &'static str,
        /// What the `ended` update says about it.
        debugging: Value,
    },
}

/// Sends `assistant-request` for a call and waits for the answer.
pub(crate) async fn ask(sim: &Shared, index: usize, snapshot: &Snapshot) -> Answer {
    let webhook = {
        let mut world = sim.world();
        world.counts.assistant_requests += 1;
        world.webhook(index)
    };
    let Some(webhook) = webhook else {
        return refused("assistant-request-failed", "no server URL", Value::Null);
    };
    let body = snapshot.assistant_request(sim.clock.now_ms());
    let answer = match sim.request(&webhook, body, PATIENCE).await {
        Ok(answer) if answer.status().is_success() => answer.into_body(),
        Ok(answer) => {
            let status = format!("the server answered {}", answer.status());
            return refused("assistant-request-failed", &status, Value::Null);
        }
        Err(_) => return refused("assistant-request-failed", "the server did not answer", Value::Null),
    };
    read(&answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    error: Option<String>,
    destination: Option<Box<RawValue>>,
    assistant_id: Option<String>,
    assistant: Option<Box<RawValue>>,
    squad_id: Option<String>,
    squad: Option<Box<RawValue>>,
    assistant_overrides: Option<Box<RawValue>>,
}

/// Reads an answer. The first that is there counts: `error`, `destination`, then who takes the call.
fn read(body: &[u8]) -> Answer {
    let said: Said = match serde_json::from_slice(body) {
        Ok(said) => said,
        Err(error) => return refused("assistant-request-failed", &error.to_string(), Value::Null),
    };
    let echo = || serde_json::from_slice(body).unwrap_or_default();
    if let Some(text) = said.error {
        let reason = if text.trim().is_empty() {
            "assistant-request-returned-unspeakable-error"
        } else {
            "assistant-request-returned-error"
        };
        return refused(reason, &text, echo());
    }
    if let Some(destination) = said.destination {
        return Answer::Forwarded(destination.into());
    }
    if said.assistant_id.is_none()
        && said.assistant.is_none()
        && said.squad_id.is_none()
        && said.squad.is_none()
    {
        return refused("assistant-request-returned-no-assistant", "no assistant", echo());
    }
    let overrides = request::max_duration(said.assistant_overrides.as_deref());
    let (Ok(own), Ok(overrides)) = (request::max_duration(said.assistant.as_deref()), overrides) else {
        return refused("assistant-request-returned-invalid-assistant", "maxDurationSeconds", echo());
    };
    Answer::Taken(Box::new(move |given| {
        given.assistant_id = said.assistant_id;
        given.squad_id = said.squad_id;
        given.assistant_overrides = said.assistant_overrides;
        given.max_seconds = overrides.or(own);
    }))
}

fn refused(reason: &'static str, error: &str, response: Value) -> Answer {
    let debugging = json!({
        "error": "Couldn't Get Assistant...", "assistantRequestError": error, "assistantRequestResponse": response,
    });
    Answer::Refused { reason, debugging }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_there_counts() {
        let reason = |body: &str| match read(body.as_bytes()) {
            Answer::Refused { reason, .. } => reason,
            Answer::Forwarded(_) => "forwarded",
            Answer::Taken(_) => "taken",
        };
        assert_eq!(reason(r#"{"error": "Busy", "assistantId": "a"}"#), "assistant-request-returned-error");
        assert_eq!(reason(r#"{"error": ""}"#), "assistant-request-returned-unspeakable-error");
        assert_eq!(reason(r#"{"destination": {"type": "number"}, "assistantId": "a"}"#), "forwarded");
        assert_eq!(reason(r#"{"assistantId": "a"}"#), "taken");
        assert_eq!(reason(r#"{"squadId": "s"}"#), "taken");
        assert_eq!(
            reason(r#"{"assistant": {"maxDurationSeconds": 1}}"#),
            "assistant-request-returned-invalid-assistant"
        );
        assert_eq!(reason("{}"), "assistant-request-returned-no-assistant");
        assert_eq!(reason("oh"), "assistant-request-failed");
    }

    #[test]
    fn the_answer_changes_who_takes_the_call() {
        let Answer::Taken(change) =
            read(br#"{"assistantId":"a","assistantOverrides":{"maxDurationSeconds":60}}"#)
        else {
            panic!("someone takes it")
        };
        let mut given = Given::default();
        change(&mut given);
        assert_eq!((given.assistant_id.as_deref(), given.max_seconds()), (Some("a"), 60.0));
    }
}
