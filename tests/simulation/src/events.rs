//! Events: that each end of a lead, and each end of a campaign, is told at least once, whoever dies; under one id; and
//! that nothing is told that did not happen. Here a listener has them as soon as they are on their queue.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::items::Lead;
use crate::promises::{Checked, ensure};
use crate::world::{World, lock};

/// What was told, and what should be.
#[derive(Debug, Default)]
pub(crate) struct Events {
    is_on: bool,
    /// Id → what it said, but for when.
    told: BTreeMap<String, Value>,
    /// Ends of leads that have been written: the id of the event, and the outcome.
    ended: BTreeMap<String, String>,
    /// Campaigns that have been written as finished or cancelled: their codes and how often.
    finished: BTreeMap<String, usize>,
}

impl Events {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, ..Self::default() }
    }

    /// A lead was written.
    pub(crate) fn lead_written(&mut self, at: &(String, String), lead: &Lead) {
        if lead.is_over() {
            self.ended.insert(format!("lead.ended/{}", lead.line(&at.0, &at.1)), lead.state.clone());
        }
    }

    /// A campaign has come to an end.
    pub(crate) fn campaign_over(&mut self, code: &str) {
        *self.finished.entry(code.to_owned()).or_default() += 1;
    }

    /// An event is on the queue.
    fn heard(&mut self, event: &str) -> Checked {
        let mut event: Value = serde_json::from_str(event).unwrap_or_default();
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        let numbers = event.to_string().contains("+1555");
        ensure(!numbers, "events", || format!("a number is told: {event}"))?;
        if event["type"] == "lead.ended" {
            let outcome = self.ended.get(&id).map(String::as_str);
            ensure(event["outcome"].as_str() == outcome, "events", || {
                format!("{event} is told, and the lead is {outcome:?}")
            })?;
            // When it was told.
            event["at"].take();
        }
        let before = self.told.entry(id).or_insert_with(|| event.clone());
        ensure(*before == event, "events", || format!("{before} is told again as {event}"))
    }

    /// Whether all is told.
    pub(crate) fn at_end(&self) -> Checked {
        if !self.is_on {
            return ensure(self.told.is_empty(), "events", || "nobody listens".into());
        }
        let untold: Vec<_> = self.ended.keys().filter(|id| !self.told.contains_key(*id)).collect();
        ensure(untold.is_empty(), "events", || format!("ends that nobody was told of: {untold:?}"))?;
        for (code, times) in &self.finished {
            let start = format!("campaign.finished/{code}/");
            let told = self.told.keys().filter(|id| id.starts_with(&start)).count();
            ensure(told == *times, "events", || {
                format!("{code} was over {times} times, and {told} of them were told")
            })?;
        }
        Ok(())
    }
}

impl World {
    /// An event is on its queue.
    pub(crate) fn event_told(&self, event: &str) {
        self.note("told", || {
            let json: Value = serde_json::from_str(event).unwrap_or_default();
            format!("told {}", json["id"].as_str().unwrap_or_default())
        });
        if let Err(violation) = lock(&self.promises).events.heard(event) {
            self.violated(violation);
        }
    }

    /// Whether SQS takes one event of several not.
    pub(crate) fn refuses_event(&self) -> bool {
        let is_calm = self.clock.seconds() >= self.plan.chaos.as_secs_f64();
        !is_calm && self.faults().chance().f64() < 0.05
    }
}
