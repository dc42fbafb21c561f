//! What a history uses of AWS, as AWS would bill it: capacity by the engine's own count, messages, invocations and how
//! long they ran.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::dynamo::{Answer, Request};
use crate::process::Function;

/// Requests to DynamoDB of one kind, and the units that they consumed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Units {
    /// Requests.
    pub requests: u64,
    /// Write units.
    pub writes: f64,
    /// Read units.
    pub reads: f64,
}

impl Units {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.writes += other.writes;
        self.reads += other.reads;
    }
}

/// What one function has used.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// Invocations.
    pub invocations: u64,
    /// How long they ran: on virtual time, that is what they waited for others.
    pub ran: Duration,
    /// Messages sent.
    pub sent: u64,
    /// What it asked of DynamoDB, by the function of the table that sent it.
    pub units: BTreeMap<&'static str, Units>,
}

impl Used {
    /// What it asked of DynamoDB in all.
    pub fn units(&self) -> Units {
        let mut all = Units::default();
        self.units.values().for_each(|units| all.add(*units));
        all
    }
}

/// Counts, if it is to.
#[derive(Debug, Default)]
pub struct Meter {
    is_on: bool,
    /// What each function has used.
    pub used: BTreeMap<Function, Used>,
}

impl Meter {
    /// A meter that counts, or not.
    pub fn new(is_on: bool) -> Self {
        Self { is_on, used: BTreeMap::new() }
    }

    fn of(&mut self, function: Function) -> Option<&mut Used> {
        self.is_on.then(|| self.used.entry(function).or_default())
    }

    /// A request that asks what it consumes, as well.
    pub fn asking(&self, text: String) -> String {
        if !self.is_on {
            return text;
        }
        let mut json: Value = serde_json::from_str(&text).expect("the SDK sends JSON");
        json["ReturnConsumedCapacity"] = "TOTAL".into();
        json.to_string()
    }

    /// A request was answered.
    pub fn answered(&mut self, function: Function, name: &'static str, request: &Request, answer: &Answer) {
        let Some(used) = self.of(function) else { return };
        let units = used.units.entry(name).or_default();
        units.requests += 1;
        let consumed = consumed(answer);
        let reads = ["GetItem", "BatchGetItem", "Query"].contains(&request.operation.as_str());
        *if reads { &mut units.reads } else { &mut units.writes } += consumed;
    }

    /// A message was sent.
    pub fn sent(&mut self, function: Function) {
        if let Some(used) = self.of(function) {
            used.sent += 1;
        }
    }

    /// An invocation is over.
    pub fn ran(&mut self, function: Function, time: Duration) {
        if let Some(used) = self.of(function) {
            used.invocations += 1;
            used.ran += time;
        }
    }
}

/// The units of an answer. A write that was refused by its condition is billed by the item that stood in its way; the
/// engine does not say it, but sends the item along.
fn consumed(answer: &Answer) -> f64 {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        let item = json["Item"].as_object().into_iter().flatten();
        let size: usize = item.map(|(name, value)| name.len() + bytes(value)).sum();
        return size.div_ceil(1024).max(1) as f64;
    }
    let of = |one: &Value| one["CapacityUnits"].as_f64().unwrap_or_default();
    let consumed = &json["ConsumedCapacity"];
    consumed.as_array().map_or_else(|| of(consumed), |several| several.iter().map(of).sum())
}

/// The size of an attribute by DynamoDB's rules: text as it is, two digits of a number to a byte and one more, three bytes
/// for a map or a list and one for each of its entries.
fn bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
        ("M", Value::Object(map)) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + bytes(value)).sum::<usize>()
        }
        ("L", Value::Array(list)) => 3 + list.iter().map(|value| 1 + bytes(value)).sum::<usize>(),
        ("SS" | "NS", Value::Array(set)) => set.iter().filter_map(Value::as_str).map(str::len).sum(),
        _ => 1,
    }
}
