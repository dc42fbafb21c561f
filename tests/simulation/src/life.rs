//! What people ask of campaigns in mid-history, and what is promised about it: a campaign that is paused dials no more,
//! a cancelled one ends, a rerun calls those again who were not reached, and nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use headroom::core::ids::ClaimKey;
use headroom::core::life::{Unreached, Wish};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::items::text;
use crate::plan::{Change, Plan, some_time};
use crate::promises::{Checked, Violation, ensure};

/// What somebody asks of a campaign.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A wish.
    Wish(Wish),
    /// Other settings.
    Edit(Map<String, Value>),
}

/// What a seed decides about the lives of its campaigns, besides its changes.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// The campaigns that are drafts at first, by their ids.
    pub drafts: Vec<String>,
    /// How often, when all is over and well, somebody has those called again who were not reached.
    pub reruns: u32,
    /// Which of them.
    pub only: Vec<Unreached>,
}

/// Draws what is asked in half of the seeds. Apart from all else that they draw, which stays as it was.
pub(crate) fn draw(plan: &mut Plan) {
    let l = &mut fastrand::Rng::with_seed(plan.seed ^ 0x11fe_c0de);
    if l.bool() {
        return;
    }
    let chaos = plan.chaos;
    let ids: Vec<String> = plan.campaigns.iter().map(|campaign| campaign.id.clone()).collect();
    for id in &ids {
        let mut ask = |at, ask| plan.changes.push((at, Change::Ask(id.clone(), ask)));
        let is_draft = l.u8(0..4) == 0;
        if is_draft {
            plan.life.drafts.push(id.clone());
            ask(some_time(l, chaos), Ask::Wish(Wish::Start));
        }
        // In some histories somebody pauses and resumes all the time.
        let pauses = if l.u8(0..4) == 0 { 30 } else { l.u8(0..4) };
        for _ in 0..pauses {
            let at = some_time(l, chaos);
            let reason = l.bool().then(|| "lunch".to_owned());
            ask(at, Ask::Wish(Wish::Pause { reason }));
            ask(at + some_time(l, Duration::from_secs(120)), Ask::Wish(Wish::Resume));
        }
        if l.u8(0..4) == 0 {
            ask(some_time(l, chaos), Ask::Wish(Wish::Cancel));
        }
        for _ in 0..l.u8(0..3) {
            ask(some_time(l, chaos), Ask::Wish(Wish::Rerun { only: some_outcomes(l) }));
        }
        for _ in 0..l.u8(0..3) {
            ask(some_time(l, chaos), Ask::Edit(some_edit(l)));
        }
    }
    for (_, change) in &mut plan.changes {
        if let Change::Send(body) = change {
            *body = as_draft(body, &plan.life.drafts);
        }
    }
    plan.life.reruns = u32::from(l.u8(0..3));
    plan.life.only = some_outcomes(l);
}

fn some_outcomes(l: &mut fastrand::Rng) -> Vec<Unreached> {
    match l.u8(0..4) {
        0 => vec![Unreached::NoAnswer, Unreached::Cancelled],
        1 => vec![Unreached::Busy, Unreached::Voicemail, Unreached::Setup],
        _ => Vec::new(),
    }
}

fn some_edit(l: &mut fastrand::Rng) -> Map<String, Value> {
    let edit = match l.u8(0..5) {
        0 => json!({ "maxConcurrency": l.u32(1..=4) }),
        1 => json!({ "maxConcurrency": null }),
        2 => json!({ "priority": "high" }),
        3 => json!({ "retry": { "maxAttempts": l.u32(1..=3) } }),
        // One that is refused.
        _ => json!({ "assistantId": "another" }),
    };
    edit.as_object().cloned().unwrap_or_default()
}

/// A message of one of these campaigns with the flag that makes it a draft.
fn as_draft(body: &str, drafts: &[String]) -> String {
    let Ok(mut message) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let is_draft =
        message["campaign"]["id"].as_str().is_some_and(|id| drafts.iter().any(|draft| draft == id));
    if is_draft {
        message["draft"] = json!(true);
    }
    message.to_string()
}

/// No dial arrives later than this after its campaign was paused: half a second for the last look, and the way.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// And so much later where the network holds requests back.
const WAY: SignedDuration = SignedDuration::from_secs(25);

/// A campaign's life so far, as its item tells.
#[derive(Debug, Clone, Default)]
struct Lived {
    state: String,
    /// Since when it dials nobody, if it does not.
    stopped: Option<Timestamp>,
    /// The largest bounds that it ever had.
    cap: Option<i64>,
    attempts: i64,
    /// Its reruns.
    runs: i64,
}

/// The lives of all campaigns, by their codes.
#[derive(Debug, Default)]
pub struct Lives {
    campaigns: BTreeMap<String, Lived>,
    /// The codes of those that begin as drafts.
    drafts: Vec<String>,
    tolerance: SignedDuration,
}

impl Lives {
    /// Lives of a plan whose drafts have these codes.
    pub(crate) fn of(plan: &Plan, code: impl Fn(&str) -> String) -> Self {
        let is_prompt = plan.rates.delayed == 0.0;
        Self {
            campaigns: BTreeMap::new(),
            drafts: plan.life.drafts.iter().map(|id| code(id)).collect(),
            tolerance: if is_prompt { LOOK } else { LOOK + WAY },
        }
    }

    /// A campaign's item was written.
    pub(crate) fn written(&mut self, code: &str, item: &Value, now: Timestamp) -> Checked {
        let state = text(item, "st").unwrap_or_default();
        let spec: Value = serde_json::from_str(&text(item, "spec").unwrap_or_default()).unwrap_or_default();
        let lived = self.campaigns.entry(code.to_owned()).or_default();
        let before = std::mem::replace(&mut lived.state, state.clone());
        let may_follow: &[&str] = match before.as_str() {
            "" if self.drafts.iter().any(|draft| draft == code) => &["draft"],
            "" => &["running"],
            "draft" => &["running", "cancelling"],
            "running" => &["paused", "finished", "cancelling"],
            "paused" => &["running", "cancelling"],
            "cancelling" => &["cancelled"],
            // Leads that come late are ended as well.
            "cancelled" => &["cancelling", "rerunning"],
            "rerunning" => &["running", "cancelling"],
            "finished" => &["running", "rerunning"],
            _ => &[],
        };
        ensure(before == state || may_follow.contains(&state.as_str()), "the life of campaigns", || {
            format!("campaign {code} was {before:?} and is {state}")
        })?;
        if state == "rerunning" && before != state {
            lived.runs += 1;
        }
        let is_stopped = state != "running";
        lived.stopped = is_stopped.then(|| lived.stopped.unwrap_or(now));
        // A dispatcher may have read the settings before they were changed.
        let cap = spec["maxConcurrency"].as_i64().unwrap_or(i64::MAX);
        lived.cap = lived.cap.max(Some(cap));
        lived.attempts = lived.attempts.max(spec["retry"]["maxAttempts"].as_i64().unwrap_or_default());
        Ok(())
    }

    /// Most lines that a campaign was ever allowed.
    pub(crate) fn cap(&self, code: &str) -> i64 {
        self.campaigns.get(code).and_then(|lived| lived.cap).unwrap_or(i64::MAX)
    }

    /// Most counted attempts at one of its leads, in one run.
    pub(crate) fn attempts(&self, code: &str) -> i64 {
        self.campaigns.get(code).map_or(i64::MAX, |lived| lived.attempts)
    }

    /// How often its leads may have been begun with.
    pub(crate) fn runs(&self, code: &str) -> i64 {
        self.campaigns.get(code).map_or(1, |lived| 1 + lived.runs)
    }

    /// A dial arrives at Vapi.
    pub(crate) fn dialed(&self, claim: &ClaimKey, now: Timestamp) -> Checked {
        let lived = self.campaigns.get(claim.campaign.as_str());
        let stopped = lived.and_then(|lived| Some((&lived.state, lived.stopped?)));
        let Some((state, since)) = stopped else { return Ok(()) };
        let late = now.duration_since(since);
        ensure(late <= self.tolerance, "a paused campaign dials nobody", || {
            format!("{claim} is dialed, and its campaign is {state} for {late:#}")
        })
    }

    /// A lead that was over is not any more: a rerun does that, and only for one that was not reached, or a promise.
    pub(crate) fn rerun(by: &str, before: &str, now: &str) -> Checked {
        let is_rerun = by == "rerun_lead" && before == "failed" && now == "ready";
        let is_promised = by == "promise" && now == "ready";
        if is_rerun || is_promised {
            return Ok(());
        }
        Err(Violation { promise: "P4", text: format!("a lead was {before} and is {now}, by {by}") })
    }
}

/// Whether each of a campaign's leads has its final outcome, by its state's name.
pub(crate) fn is_over(state: &str) -> bool {
    matches!(state, "finished" | "cancelled")
}
