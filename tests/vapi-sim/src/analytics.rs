//! `POST /analytics`: what Vapi says about the past. The newest part of it is what happened here; before
//! that come 90 days made up from the seed, so that there is something to read back.
//!
//! Like the real thing it is sparse (a step in which nothing happened has no row, except now and then a
//! row with a zero) and careless about types (a number may come as a text).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    clock::{iso, parse_iso},
    fate::{self, About},
    shared::{MAIN, Shared},
    truth::CallKind,
    wire::type_of,
    world::World,
};

const MINUTE_MS: f64 = 60_000.0;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;
const DAY_MS: f64 = 24.0 * HOUR_MS;
const PAST_DAYS: f64 = 90.0;

#[derive(Deserialize)]
struct Request {
    queries: Vec<Query>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    name: String,
    table: String,
    #[serde(default)]
    time_range: TimeRange,
    operations: Vec<Operation>,
    #[serde(default)]
    group_by: Vec<String>,
}

#[derive(Default, Deserialize)]
struct TimeRange {
    step: Option<String>,
    start: Option<String>,
    end: Option<String>,
    timezone: Option<String>,
}

#[derive(Deserialize)]
struct Operation {
    operation: String,
    column: String,
    alias: Option<String>,
}

impl Operation {
    /// The name of its column in the rows: operation and column in camel case, unless it was given one.
    fn alias(&self) -> String {
        let capitalised = self.column[..1].to_uppercase() + &self.column[1..];
        self.alias.clone().unwrap_or_else(|| format!("{}{capitalised}", self.operation))
    }
}

/// What is asked about: a stretch of time, and the steps it is cut into.
struct Steps {
    start: f64,
    end: f64,
    step_ms: f64,
}

impl Steps {
    /// The step that a moment is in. Hours and days of UTC begin at whole multiples since 1970.
    fn of(&self, ms: f64) -> i64 {
        (ms / self.step_ms).floor() as i64
    }

    fn has(&self, ms: f64) -> bool {
        self.start <= ms && ms < self.end
    }
}

/// Answers a whole request of an org's, or says what is wrong with it.
pub(crate) fn answer(sim: &Shared, org: usize, body: &Value) -> Result<Vec<Value>, String> {
    let request = Request::deserialize(body).map_err(|error| error.to_string())?;
    request.queries.iter().map(|query| answer_one(sim, org, query)).collect()
}

fn answer_one(sim: &Shared, org: usize, query: &Query) -> Result<Value, String> {
    let range = &query.time_range;
    let now = sim.clock.now_ms();
    let moment = |text: &Option<String>, default: f64| match text {
        Some(text) => {
            parse_iso(text).ok_or_else(|| format!("timeRange: {text} is not an ISO 8601 date string"))
        }
        None => Ok(default),
    };
    let step = range.step.as_deref().unwrap_or("day");
    let step_ms = match step {
        "minute" => MINUTE_MS,
        "hour" => HOUR_MS,
        "day" => DAY_MS,
        _ => return Err("timeRange.step: the simulator knows minute, hour and day".into()),
    };
    if range.timezone.as_deref().is_some_and(|zone| zone != "UTC") {
        return Err("timeRange.timezone: the simulator knows UTC".into());
    }
    let steps =
        Steps { start: moment(&range.start, now - 7.0 * DAY_MS)?, end: moment(&range.end, now)?, step_ms };
    let rows = match query.table.as_str() {
        "subscription" => concurrency(sim, query, &steps)?,
        "call" => calls(sim, org, query, &steps)?,
        _ => return Err("table must be one of: call, subscription".into()),
    };
    Ok(json!({
        "name": query.name,
        "timeRange": {"start": iso(steps.start), "end": iso(steps.end), "step": step, "timezone": "UTC"},
        "result": rows,
    }))
}

/// Table `subscription`: the most lines at once in each step, over all orgs.
fn concurrency(sim: &Shared, query: &Query, steps: &Steps) -> Result<Vec<Value>, String> {
    if query.operations.iter().any(|o| (o.operation.as_str(), o.column.as_str()) != ("max", "concurrency")) {
        return Err("operations: of the table subscription the simulator knows the max of concurrency".into());
    }
    let mut peaks = BTreeMap::<i64, u32>::new();
    let mut note = |step: i64, level: u32| {
        let peak = peaks.entry(step).or_default();
        *peak = level.max(*peak);
    };
    for (ms, level) in past(sim, steps) {
        note(steps.of(ms), level);
    }
    let now = sim.clock.now_ms();
    let (mut since, mut level) = (sim.clock.started_ms(), 0_u32);
    let world = sim.world();
    for (until, delta) in world.timeline.iter().map(|change| (change.at_ms, change.delta)).chain([(now, 0)]) {
        let (from, to) = (since.max(steps.start), until.min(steps.end));
        if level > 0 && from < to {
            (steps.of(from)..=steps.of(to))
                .filter(|s| (*s as f64) * steps.step_ms < to)
                .for_each(|s| note(s, level));
        }
        (since, level) = (until, level.saturating_add_signed(i32::from(delta)));
    }
    let row = |(step, level): (i64, u32)| {
        let mut row = Map::from_iter([("date".to_owned(), iso(step as f64 * steps.step_ms).into())]);
        for operation in &query.operations {
            row.insert(operation.alias(), carelessly(sim, step, 8, f64::from(level)));
        }
        Value::Object(row)
    };
    Ok(peaks.into_iter().map(row).collect())
}

/// Table `call`: how many calls of an org began in each step and how long they were, in minutes. The
/// invented past is the main org's.
fn calls(sim: &Shared, org: usize, query: &Query, steps: &Steps) -> Result<Vec<Value>, String> {
    let knows = |o: &Operation| {
        matches!((o.operation.as_str(), o.column.as_str()), ("count", "id") | ("sum", "duration"))
    };
    let group: Group = match query.group_by.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => |_, _| None,
        ["type"] => |kind, _| Some(type_of(kind)),
        ["endedReason"] => |_, reason| reason,
        _ => return Err("groupBy: the simulator knows type or endedReason".into()),
    };
    if !query.operations.iter().all(knows) {
        return Err(
            "operations: of the table call the simulator knows count of id and sum of duration".into()
        );
    }
    let mut sums = BTreeMap::<(i64, Option<&str>), (u64, f64)>::new();
    let mut note = |ms: f64, kind, reason, count: u64, minutes: f64| {
        let sum = sums.entry((steps.of(ms), group(kind, reason))).or_default();
        *sum = (sum.0 + count, sum.1 + minutes);
    };
    for (ms, level) in past(sim, steps).filter(|(_, level)| org == MAIN && *level > 0) {
        let kind = match (ms / MINUTE_MS) as u64 % 10 {
            0..6 => CallKind::Outbound,
            6..9 => CallKind::Inbound,
            _ => CallKind::Web,
        };
        note(ms, kind, Some("customer-ended-call"), u64::from(level).div_ceil(2), f64::from(level));
    }
    let world: &World = &sim.world();
    for call in world.calls.iter().filter(|call| call.org == org && steps.has(call.created_ms)) {
        let length_ms = call.started_ms.zip(call.ended_ms).map_or(0.0, |(started, ended)| ended - started);
        note(call.created_ms, call.kind, call.ended_reason, 1, length_ms / MINUTE_MS);
    }
    let row = |((step, group), (count, minutes)): ((i64, Option<&str>), (u64, f64))| {
        let mut row = Map::from_iter([("date".to_owned(), iso(step as f64 * steps.step_ms).into())]);
        if let Some(column) = query.group_by.first() {
            row.insert(column.clone(), group.into());
        }
        for operation in &query.operations {
            let value = match operation.operation.as_str() {
                "count" => carelessly(sim, step, 2, count as f64),
                _ => json!((minutes * 1e4).round() / 1e4),
            };
            row.insert(operation.alias(), value);
        }
        Value::Object(row)
    };
    Ok(sums.into_iter().map(row).collect())
}

/// What the rows are grouped by, of a call's kind and ended reason.
type Group = fn(CallKind, Option<&'static str>) -> Option<&'static str>;

/// A whole number; as a text in one of `out_of` steps.
fn carelessly(sim: &Shared, step: i64, out_of: u64, number: f64) -> Value {
    if fate::key(sim.seed, About::Past, 3, step as u64).is_multiple_of(out_of) {
        return format!("{number}").into();
    }
    (number as u64).into()
}

/// The minutes before the simulation of which something is known, with their highest concurrency. Most
/// business hours are busy, few others are; minutes of one hour never exceed that hour's own height.
fn past(sim: &Shared, steps: &Steps) -> impl Iterator<Item = (f64, u32)> {
    let began = sim.clock.started_ms();
    let minute = |ms: f64| (ms / MINUTE_MS).ceil().max(0.0) as u64;
    let first = minute(steps.start.max(began - PAST_DAYS * DAY_MS));
    let last = minute(steps.end.min((began / MINUTE_MS).floor() * MINUTE_MS));
    let (seed, lines) = (sim.seed, u64::from(sim.first_lines));
    (first..last).filter_map(move |minute| {
        let hour = minute / 60;
        let of_hour = fate::key(seed, About::Past, 1, hour);
        // The first of January 1970 was a Thursday.
        let is_weekday = (hour / 24 + 3) % 7 < 5;
        let is_open = is_weekday && (8..20).contains(&(hour % 24));
        let of_minute = fate::key(seed, About::Past, 2, minute);
        let is_busy = of_hour % 100 < if is_open { 70 } else { 5 };
        let level = if !is_busy {
            // A quiet hour mostly leaves no trace, and sometimes a sample that says zero.
            if of_hour % 100 == 99 && minute % 60 == 0 { 0 } else { return None }
        } else if of_minute % 100 < 40 {
            let height = 1 + (of_hour >> 8) % (lines * 6 / 10).max(1);
            1 + (of_minute >> 8) % height
        } else {
            return None;
        };
        Some((minute as f64 * MINUTE_MS, level as u32))
    })
}
