//! A campaign's figures in the end are Vapi's truth of its calls: those that Vapi really made under the names of its
//! claims, each once. What a call came to is judged here by what the simulated Vapi says of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use vapi_sim::{CallTruth, Sim};

use crate::items::text;
use crate::plan::MOST_SKEW;
use crate::promises::{Checked, Violation, ensure};
use crate::world::{World, lock};

/// How long after the end figures may take: passes a minute apart, those that are forgotten, and calls that are asked
/// for one by one once they are not recent.
const WITHIN: Duration = Duration::from_secs(3600);

/// The figures of campaigns, by their codes.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, Vec<u64>>);

/// Where in the sums what stands.
const UNTOLD: usize = 2;
const TALK_MS: usize = 3;
const LINE_MS: usize = 4;
const REACHED: usize = 5;
const DROPPED: usize = 6;
const UNKNOWN: usize = 15;

/// Where calls are counted that came to the same; none where that cannot be told from outside.
fn place(call: &CallTruth) -> Option<usize> {
    match call.ended_reason.as_deref()? {
        "customer-did-not-answer" => Some(7),
        "customer-busy" => Some(8),
        "voicemail" => Some(9),
        "customer-ended-call" | "assistant-ended-call" | "exceeded-max-duration" => Some(REACHED),
        _ if call.started_at_ms.is_some() => Some(DROPPED),
        _ => Some(10),
    }
}

impl Figures {
    pub(crate) fn written(&mut self, code: &str, item: &Value) {
        let kept: Option<Value> = text(item, "kpi").and_then(|text| serde_json::from_str(&text).ok());
        let over = kept.as_ref().is_some_and(|kept| kept["over"].is_array());
        let sums = kept.and_then(|kept| serde_json::from_value(kept["sums"].clone()).ok());
        match sums.filter(|_| over) {
            Some(sums) => self.0.insert(code.to_owned(), sums),
            None => self.0.remove(code),
        };
    }

    /// Whether a campaign's figures are what Vapi knows of its calls.
    pub(crate) fn at_end(&self, code: &str, vapi: &Sim) -> Checked {
        let calls = vapi.calls(|call| call.held_line && call.name.is_some_and(|name| name.starts_with(code)));
        let Some(sums) = self.0.get(code) else {
            return ensure(false, "KPI", || format!("{code} is over and has no figures"));
        };
        let made: u64 = sums[REACHED..].iter().sum();
        ensure(made == calls.len() as u64, "KPI", || {
            format!("{code} counts {made} calls of {}: {sums:?}", calls.len())
        })?;
        let mut places = vec![0; sums.len()];
        calls.iter().filter_map(place).for_each(|place| places[place] += 1);
        // Calls that nobody could tell the end of may have come to anything.
        let unknown = sums[UNKNOWN];
        let missing: u64 = (REACHED..UNKNOWN).map(|at| sums[at].abs_diff(places[at])).sum();
        ensure(missing <= unknown, "KPI", || {
            format!("{code} counts {sums:?}, and its calls are {places:?}")
        })?;
        if unknown > 0 {
            return Ok(());
        }
        let answered = || calls.iter().filter(|call| matches!(place(call), Some(REACHED | DROPPED)));
        let talk: f64 = answered().filter_map(|call| Some(call.ended_at_ms? - call.started_at_ms?)).sum();
        let off = (sums[TALK_MS] as f64 - talk).abs();
        ensure(sums[UNTOLD] == 0 && off <= 2.0 * answered().count() as f64, "KPI", || {
            format!("{code} counts {} ms of talk, Vapi {talk}: {sums:?}", sums[TALK_MS])
        })?;
        // The line's two instants may be of two clocks.
        let skew = 2.0 * MOST_SKEW.as_secs_f64() * 1000.0 * answered().count() as f64;
        ensure(sums[LINE_MS] as f64 + 1.0 + skew >= talk, "KPI", || {
            format!("{code} talked longer than it had lines: {sums:?}")
        })
    }
}

impl World {
    /// Waits until the figures of all campaigns are right.
    pub(crate) async fn until_counted(&self) -> Checked {
        let latest = Instant::now() + WITHIN;
        loop {
            match lock(&self.promises).counted(self.vapi()) {
                Err(Violation { .. }) if Instant::now() < latest => {}
                checked => return checked,
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
