//! The environment: what an operator writes into variables and parameters.

use headroom::config::{
    Access, Callers, ConfigError, Environment, Lines, Listener, Listeners, Operators, Store, Telling,
};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Target;
use crate::checks::{chain, ensure, is_id, key_safe};
use crate::corpus;
use crate::frame::Frame;
use crate::measure::{Bounds, Outcome};
use crate::{bytes, pick, words};

pub(super) const NAME: &str = "config";

const NAMES: [&str; 24] = [
    "HEADROOM_TABLE",
    "HEADROOM_WAKE_QUEUE_URL",
    "HEADROOM_VAPI_URL",
    "HEADROOM_VAPI_KEY",
    "HEADROOM_WEBHOOK_SECRETS",
    "HEADROOM_LIMIT",
    "HEADROOM_CAP",
    "HEADROOM_HEADROOM",
    "HEADROOM_ADOPT_LIMIT",
    "HEADROOM_ORGS",
    "HEADROOM_INBOUND_ASSISTANTS",
    "HEADROOM_BUSY_MESSAGE",
    "HEADROOM_OVERFLOW_NUMBERS",
    "HEADROOM_ADMIN_TOKEN",
    "HEADROOM_REJECT",
    "HEADROOM_CALLING_HOURS",
    "HEADROOM_CALLS_PER_PERSON",
    "HEADROOM_CAMPAIGN_QUEUE_URL",
    "HEADROOM_EVENTS",
    "HEADROOM_EVENTS_QUEUE_URL",
    "HEADROOM_EVENTS_SOURCE",
    "HEADROOM_EVENTS_URL",
    "HEADROOM_EVENTS_SECRETS",
    "HEADROOM_EVENTS_BUS",
];

pub(super) fn target() -> anyhow::Result<Target> {
    let kept = corpus::kept_frames(NAME);
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| generate(&kept, rng).write()),
        run: Box::new(run),
        bounds: Bounds::READING,
        short: 15000,
        expected: &["good", "missing", "invalid"],
    })
}

fn generate(kept: &[Frame], rng: &mut StdRng) -> Frame {
    const GOOD: [&str; 24] = [
        "headroom",
        "https://sqs.us-east-1.amazonaws.com/000000000000/wake",
        "https://api.vapi.ai",
        "key",
        "one, two\nthree",
        "10",
        "7",
        "3",
        "true",
        "org-1,org-2",
        "n1=a1, *=a2",
        "Every line is taken.",
        "desk=+15555550101, *=+15555550102",
        "token",
        "desk.outbound, *.outbound",
        r#"{"base":"none","rules":{"*":{"start":"08:00","end":"21:00"},"+33":null}}"#,
        "3/20",
        "https://sqs.us-east-1.amazonaws.com/000000000000/campaigns",
        "true",
        "https://sqs.us-east-1.amazonaws.com/000000000000/events",
        "https://sqs.us-east-1.amazonaws.com/000000000000/events",
        "https://example.com/hooks/headroom",
        "one, two",
        "",
    ];
    let mut frame = match kept {
        [] => Frame::default(),
        some => pick(rng, some).clone(),
    };
    if frame.head.is_empty() || rng.random_bool(0.9) {
        // A line break ends a value in an input, so lists here have commas only.
        let line = |(name, value): (&&str, &str)| (name.as_bytes().to_vec(), one_line(value.into()));
        frame.head = NAMES.iter().zip(GOOD).map(line).collect();
    }
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..frame.head.len().max(1));
        match frame.head.get_mut(at) {
            Some((_, value)) if rng.random() => {
                bytes::change(value, words::text(rng).as_bytes(), rng, 64 * 1024);
                *value = one_line(std::mem::take(value));
            }
            _ => frame.change_head(rng, &NAMES, 64 * 1024),
        }
    }
    frame
}

fn one_line(mut value: Vec<u8>) -> Vec<u8> {
    value.retain(|byte| *byte != b'\n');
    value
}

fn run(input: &[u8]) -> Outcome {
    let frame = Frame::read(input);
    let environment = Environment::from_lookup(|name| frame.text(name).map(str::to_owned));
    let results = [
        Store::from_env(&environment).map(|_| ()),
        Access::from_env(&environment).map(|_| ()),
        Lines::from_env(&environment).map(|_| ()),
        Callers::from_env(&environment).map(|_| ()),
        Operators::from_env(&environment).map(|_| ()),
        Telling::from_env(&environment).map(|_| ()),
        Listeners::from_env(&environment).map(|_| ()),
    ];
    if let Ok(listeners) = Listeners::from_env(&environment)
        && let Listener::Webhook(hook) = &listeners.listener
    {
        let is_open = hook.secrets.is_empty() || hook.secrets.iter().any(|secret| secret.reveal().is_empty());
        ensure(!is_open, || "events that anybody could have signed".into())?;
        let is_plain = hook.reveal().to_ascii_lowercase().starts_with("http:");
        let is_here = hook.host().starts_with("127.") || ["localhost", "[::1]"].contains(&hook.host());
        ensure(!is_plain || is_here || hook.host().starts_with('['), || "events in clear".into())?;
    }
    if let Ok(lines) = Lines::from_env(&environment) {
        check_lines(&lines)?;
    }
    if let Ok(callers) = Callers::from_env(&environment) {
        let empty = callers.secrets.iter().any(|secret| secret.reveal().is_empty());
        ensure(!callers.secrets.is_empty() && !empty, || "an empty secret lets anybody in".into())?;
        ensure(!callers.busy_message.is_empty(), || "Vapi would say its own error text".into())?;
        for number in [None, Some(""), Some("n1"), Some("*")] {
            let assistant = callers.assistants.of(number);
            ensure(assistant != Some(""), || "an assistant without an id".into())?;
        }
    }
    let said = format!("{environment:?}");
    ensure(!said.contains("sample") && said.len() < 1000, || format!("the environment prints as {said}"))?;
    let mut came_to = "good";
    for error in results.into_iter().filter_map(Result::err) {
        came_to = match &error {
            ConfigError::Missing(_) => "missing",
            _ => "invalid",
        };
        let said = chain(&error);
        ensure(said.len() < 200, || format!("an error shows a value: {said}"))?;
        for (_, value) in frame.head.iter().filter(|(_, value)| value.len() >= 24) {
            ensure(!said.contains(&*String::from_utf8_lossy(value)), || format!("a value is shown: {said}"))?;
        }
    }
    Ok(came_to)
}

fn check_lines(lines: &Lines) -> Result<(), String> {
    lines.orgs.iter().try_for_each(|org| is_id(org.id.as_str(), 64, key_safe))
}
