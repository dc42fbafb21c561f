//! `ServerMessage::parse`: the body of a webhook.

use headroom::vapi::message::{CallEvent, Happened, ServerMessage};

use super::Target;
use crate::checks::{ensure, is_id, key_safe, reads_back};
use crate::corpus::{self, Corpus};
use crate::measure::{Bounds, Outcome};

pub(super) const NAME: &str = "message";

pub(super) fn target() -> anyhow::Result<Target> {
    let corpus = corpus();
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| corpus.body(rng)),
        run: Box::new(run),
        bounds: Bounds::READING,
        short: 5000,
        expected: &["live", "ended", "nothing", "asked", "tools", "predial", "ignored", "refused"],
    })
}

/// Webhook bodies: all that were recorded, and no answers of Vapi's.
pub(super) fn corpus() -> Corpus {
    let answers = corpus::recorded("api.");
    let bodies = corpus::recorded("").into_iter().filter(|body| !answers.contains(body));
    Corpus::new(bodies.chain(corpus::kept(NAME)), 2 * 1024 * 1024)
}

fn run(input: &[u8]) -> Outcome {
    let parsed = ServerMessage::parse(input);
    match &parsed {
        Err(error) => {
            let said = error.to_string();
            ensure(is_bare(&said), || format!("the error says more than where reading stopped: {said}"))?;
            return Ok("refused");
        }
        Ok(ServerMessage::Call(event)) => check(event)?,
        Ok(ServerMessage::AssistantRequest(event)) => {
            check(event)?;
            ensure(event.happened == Happened::Live, || "a call that asks is not live".into())?;
        }
        Ok(ServerMessage::ToolCalls(used)) => {
            ensure(used.claims.len() <= 3, || format!("{} claims from three places", used.claims.len()))?;
        }
        Ok(ServerMessage::Ignored(_) | ServerMessage::Predial) => {}
    }
    let again = ServerMessage::parse(input);
    ensure(again.is_ok_and(|again| parsed.as_ref().is_ok_and(|first| *first == again)), || {
        "the second reading differs from the first".into()
    })?;
    Ok(match parsed.expect("errors have returned") {
        ServerMessage::Call(CallEvent { happened: Happened::Live, .. }) => "live",
        ServerMessage::Call(CallEvent { happened: Happened::Ended(_), .. }) => "ended",
        ServerMessage::Call(CallEvent { happened: Happened::Nothing, .. }) => "nothing",
        ServerMessage::AssistantRequest(..) => "asked",
        ServerMessage::ToolCalls(_) => "tools",
        ServerMessage::Predial => "predial",
        ServerMessage::Ignored(_) => "ignored",
    })
}

fn check(event: &CallEvent) -> Result<(), String> {
    is_id(event.call.as_str(), 64, key_safe)?;
    reads_back(&event.call)?;
    if let Some(org) = &event.org {
        is_id(org.as_str(), 64, key_safe)?;
    }
    ensure(event.claims.len() <= 3, || format!("{} claims from three places", event.claims.len()))?;
    event.claims.iter().try_for_each(reads_back)?;
    let reason = match &event.happened {
        Happened::Ended(end) => end.reason.as_deref().unwrap_or_default(),
        Happened::Live | Happened::Nothing => "",
    };
    // It is stored in two items, which have room for 400 KB each.
    ensure(reason.len() <= 1024, || format!("a reason of {} bytes is kept", reason.len()))
}

/// Whether an error is one of the fixed sentences, with a place at most.
fn is_bare(said: &str) -> bool {
    let place = said.strip_prefix("not a server message (line ").and_then(|rest| rest.strip_suffix(')'));
    let place = place.and_then(|place| place.split_once(", column "));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    ["not UTF-8", "message.call.id is not an id"].contains(&said)
        || place.is_some_and(|(line, column)| is_number(line) && is_number(column))
}
