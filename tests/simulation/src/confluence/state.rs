//! The state of the table as text, without what has to differ from one run to the next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::items::token_text;

/// How closely two states are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As closely as decides what any handler does next.
    Close,
    /// As closely as anybody cares in the end.
    Final,
}

/// A lead's turn is told to this. The shortest delays are 30 s and 60 s, a word takes some seconds.
const STEP_US: i64 = 20_000_000;

/// The items as text, sorted. `began`: when the first event could come.
pub fn text_of(items: &[Value], began: Timestamp, look: Look) -> String {
    let mut items: Vec<_> = items.to_vec();
    items.sort_by_key(|item| format!("{} {}", item["pk"]["S"], item["sk"]["S"]));
    let mut tokens = Tokens::default();
    let lines = items.into_iter().map(|item| {
        let Value::Object(item) = item else { panic!("an item is an object") };
        Value::Object(normal(item, &mut tokens, began, look)).to_string() + "\n"
    });
    lines.collect()
}

/// Tokens in the order of their appearance. They carry an instant and chance; what counts is the kind
/// that they begin with, and which of them are the same.
#[derive(Default)]
struct Tokens(BTreeMap<String, usize>);

impl Tokens {
    fn name(&mut self, token: &Value) -> Value {
        let token = token_text(token);
        let next = self.0.len();
        let place = *self.0.entry(token.clone()).or_insert(next);
        json!(format!("{}{place}", &token[..1]))
    }
}

fn normal(
    mut item: Map<String, Value>,
    tokens: &mut Tokens,
    began: Timestamp,
    look: Look,
) -> Map<String, Value> {
    // When the campaign came, when the end was recorded, when that record may go: instants. Why a line was refused
    // is as of one, and nothing decides by it: that it is on record is what counts.
    for instant in ["created", "ended", "ttl", "seen", "why", "paused_at"] {
        if let Some(value) = item.get_mut(instant) {
            *value = json!("an instant");
        }
    }
    // Until when a dial can have made its call: an instant, and there only while it is open.
    if let Some(deadline) = item.get_mut("deadline") {
        *deadline = json!("an instant");
    }
    // Until when outbound rests: an instant. How often in a row it rested stays.
    if let Some(rest) = item.get_mut("rest_until") {
        *rest = if rest["N"] == "0" { json!("never") } else { json!("an instant") };
    }
    // When the lead's turn is: an instant, told as far as it differs from another delay. Before the
    // first event: its old place in the queue, exactly.
    if let Some(due) = item.get_mut("due") {
        let us: i64 = due["N"].as_str().and_then(|us| us.parse().ok()).expect("due is a number");
        let later = us - began.as_microsecond();
        *due = if later < 0 { json!("its place") } else { json!(format!("{} steps later", later / STEP_US)) };
    }
    // How long a campaign's calls held lines: spans.
    if let Some(campaigns) = item.get_mut("cmp") {
        for campaign in campaigns["M"].as_object_mut().expect("campaigns are a map").values_mut() {
            if campaign["M"]["s"]["N"] != "0" {
                campaign["M"]["s"] = json!("a span");
            }
        }
    }
    // What went wrong how often is the same in the end. When it did is not, nor how long answers took, nor how bad the
    // latest of them were on the average.
    if item["sk"]["S"] == "HEALTH" {
        for passing in ["rev", "usual", "bad"] {
            item.remove(passing);
        }
        item.values_mut().for_each(forget_instants);
    }
    // How long a lead's calls held their lines: a span. What is known of how long they talked follows, by a report or
    // the pass, and decides nothing; the figures of campaigns come from both.
    if let Some(span) = item.get_mut("line_ms") {
        *span = json!("a span");
    }
    item.remove("kpi");
    if look == Look::Final {
        item.remove("untold");
        item.remove("talk_ms");
    }
    if let Some(token) = item.get_mut("tok") {
        *token = tokens.name(token);
    }
    if let Some(lines) = item.get_mut("lns") {
        for token in lines["M"].as_object_mut().expect("lines are a map").values_mut() {
            *token = tokens.name(token);
        }
    }
    // Whether the message that recorded the end could tell if somebody had answered: a report can, a
    // status update cannot. It is no part of what became of the call: it only spares a question to
    // Vapi, which who needs it and does not find it asks.
    if look == Look::Final {
        item.remove("conn");
    }
    item
}

/// Epoch milliseconds within texts, as the item of outbound's health keeps them.
fn forget_instants(value: &mut Value) {
    match value {
        Value::String(text) => {
            let is_instant = |word: &&str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_digit());
            let words = text.split(' ').map(|word| if is_instant(&word) { "an-instant" } else { word });
            *text = words.collect::<Vec<_>>().join(" ");
        }
        Value::Object(fields) => fields.values_mut().for_each(forget_instants),
        _ => {}
    }
}
