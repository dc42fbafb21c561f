//! The local runner's way of putting a large campaign message on a queue: in parts that hold every
//! lead once.

use headroom::core::campaign::Message;
use headroom::core::parts::parts;
use rand::RngExt as _;

use super::Target;
use super::campaign;
use crate::checks::ensure;
use crate::measure::{Bounds, Outcome};
use crate::{pick, words};

pub(super) const NAME: &str = "parts";

pub(super) fn target() -> anyhow::Result<Target> {
    let corpus = campaign::corpus();
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| {
            let body = corpus.body(rng);
            if rng.random_bool(0.9) { grown(body, rng.random_range(0..600_000), rng) } else { body }
        }),
        run: Box::new(run),
        // The message and all of its parts are read and kept side by side.
        bounds: Bounds { memory_per_byte: 320, ..Bounds::READING },
        short: 300,
        expected: &["one", "several", "refused before"],
    })
}

/// A message of at least this size: with more leads, or with more space between its parts.
fn grown(body: Vec<u8>, size: usize, rng: &mut rand::rngs::StdRng) -> Vec<u8> {
    let text = String::from_utf8_lossy(&body).into_owned();
    let place =
        *pick(rng, &["\"leads\":[", "\"leads\":[", "\"leads\":[", "\"campaign\":{", "{\"number\":\"", "{"]);
    let Some(at) = text.find(place) else { return body };
    let lead = *pick(
        rng,
        &[
            r#"{"number":"+14155550177"},"#,
            r#"{"id":"x","number":"+14155550177","variables":{"a":"b"}},"#,
            "7,",
            "{\"number\":1,\"note\":\"\\u0000\"},",
        ],
    );
    let piece = if place.ends_with('[') && rng.random_bool(0.8) { lead } else { " " };
    let at = if place.ends_with('"') { at + 1 } else { at + place.len() };
    let mut grown = format!("{}{}{}", &text[..at], piece.repeat(size / piece.len() + 1), &text[at..]);
    if rng.random_bool(0.1) {
        grown.push_str(words::text(rng));
    }
    grown.into_bytes()
}

/// What SQS takes.
const MOST: usize = 256 * 1024;

fn run(input: &[u8]) -> Outcome {
    // Only what was read without a complaint is cut.
    let Ok(text) = std::str::from_utf8(input) else { return Ok("refused before") };
    let Ok(whole) = Message::parse(input) else { return Ok("refused before") };
    let parts = parts(text).map_err(|error| format!("a good message cannot be cut: {error:#}"))?;
    let (mut leads, mut bad) = (Vec::new(), Vec::new());
    for part in &parts {
        ensure(part.len() <= MOST, || format!("a part of {} bytes", part.len()))?;
        let read = Message::parse(part.as_bytes()).map_err(|error| format!("a part is refused: {error}"))?;
        match (&whole, read) {
            (Message::Leads { spec, .. }, Message::Leads { spec: part, leads: some, bad: others, .. }) => {
                ensure(*spec == part, || "a part has another campaign".into())?;
                leads.extend(some.into_iter().map(|lead| (lead.id, lead.number, lead.variables)));
                bad.extend(others.into_iter().map(|lead| lead.reason));
            }
            (whole, part) => ensure(*whole == part, || "a part is another kind of message".into())?,
        }
    }
    if let Message::Leads { leads: all, bad: all_bad, .. } = whole {
        let all: Vec<_> = all.into_iter().map(|lead| (lead.id, lead.number, lead.variables)).collect();
        ensure(all == leads, || format!("{} leads became {}", all.len(), leads.len()))?;
        // Those that are too large for any part were refused with their reason already.
        ensure(bad.len() <= all_bad.len(), || "a part refuses what the whole did not".into())?;
    }
    Ok(if parts.len() == 1 { "one" } else { "several" })
}
