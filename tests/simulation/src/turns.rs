//! Whose turn it is: priorities, weights, shares, lanes, rates, ramps and batches in the seeds, and what must hold of them
//! at every taking of lines.
//!
//! - No lower campaign takes a line at an instant at which a higher one has had somebody to call, and room, since before
//!   the taker looked; nor an equal one that would leave the other with less than its part. What a share guarantees, and
//!   what the taker could not know, is exempt: of the last it is known for how long that may last ([`UNSEEN`]).
//! - No ordinary lead is called while a warm one of its campaign has been waiting for that long.
//! - Nothing is begun beyond a campaign's rate, beyond its batch, or beyond the step of its ramp; and a step whose calls
//!   break is left.

use std::collections::{BTreeMap, BTreeSet};

use headroom::core::pool::Policy;
use headroom::core::shard::Sizes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vapi_sim::Sim;

use crate::callbacks::Callbacks;
use crate::items::{Lead, Ledger, Progress, is_claim};
use crate::plan::{Campaign, Change, Plan};
use crate::promises::{Checked, ensure};

/// What a campaign asks for of its turn and its pace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// 0 is served first, 3 is where nobody asks.
    pub(crate) priority: Option<usize>,
    pub(crate) weight: Option<u32>,
    pub(crate) share: Option<f64>,
    pub(crate) per_second: Option<u32>,
    pub(crate) ramp: Vec<Rung>,
    pub(crate) batch: Option<(u32, u32)>,
    /// The ids of its warm leads.
    pub(crate) warm: BTreeSet<String>,
}

/// A step: its lines, the seconds before it, the part of calls that may break.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rung {
    lines: u32,
    after: u32,
    max_errors: f64,
}

const PRIORITIES: [&str; 5] = ["emergency", "vip", "high", "normal", "low"];

impl Turn {
    /// Its part of a campaign message.
    pub(crate) fn ask(&self, campaign: &mut Value) {
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                campaign[name] = value;
            }
        };
        set("priority", self.priority.map(|priority| json!(PRIORITIES[priority])));
        set("weight", self.weight.map(|weight| json!(weight)));
        set("share", self.share.map(|share| json!(share)));
        set("perSecond", self.per_second.map(|rate| json!(rate)));
        set(
            "batch",
            self.batch.map(|(leads, pause)| json!({ "leads": leads, "pause": format!("{pause}s") })),
        );
        let rung = |(nth, rung): (usize, &Rung)| match nth {
            0 => json!({ "lines": rung.lines }),
            _ => {
                json!({ "lines": rung.lines, "after": format!("{}s", rung.after), "maxErrors": rung.max_errors })
            }
        };
        let ramp: Vec<Value> = self.ramp.iter().enumerate().map(rung).collect();
        set("ramp", (!ramp.is_empty()).then_some(json!(ramp)));
    }

    fn level(&self) -> usize {
        self.priority.unwrap_or(3)
    }

    fn weight(&self) -> i64 {
        self.weight.unwrap_or(1).into()
    }

    /// Whether nothing but the pool's rules and its cap bounds it.
    fn is_unbound(&self) -> bool {
        self.per_second.is_none() && self.ramp.is_empty() && self.batch.is_none()
    }
}

/// What the draw of turns asks of the rest of its seed.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// The part of set-ups that fail, where there is a ramp to see it.
    pub(crate) failing: Option<f64>,
    /// Whether all that hides turns stays away ([`Plan::shows_turns`]): left to chance, one seed in hundreds would show
    /// them.
    pub(crate) shown: bool,
}

/// Turns and paces, in half of the seeds. From a draw of its own: all else is as without them.
pub(crate) fn draw(seed: u64, campaigns: &mut [Campaign]) -> Drawn {
    let t = &mut fastrand::Rng::with_seed(seed ^ 0x0707_1e5d);
    if t.bool() {
        return Drawn::default();
    }
    let mut failing = None;
    let ranked = t.bool();
    // With many to call at the same time, turns matter.
    let crowded = campaigns.len() == 2 && t.u8(0..4) > 0;
    let shown = crowded && t.u8(0..4) > 0;
    for (nth, campaign) in campaigns.iter_mut().enumerate() {
        if crowded && campaign.leads.len() < 16 {
            let more = campaign.leads.len() as u32..t.u32(16..=30);
            campaign.leads.extend(more.map(|lead| (format!("l{lead}"), format!("+1555556{nth}{lead:03}"))));
            (campaign.cap, campaign.agent) = (None, None);
        }
        let turn = &mut campaign.turn;
        turn.priority = ranked.then(|| t.usize(0..5));
        turn.weight = t.bool().then(|| t.u32(1..=6));
        turn.share = (t.u8(0..5) == 0).then(|| f64::from(t.u32(1..=10)) / 10.0);
        if t.bool() {
            let warm = campaign.leads.iter().filter(|_| t.u8(0..3) == 0);
            turn.warm = warm.map(|(id, _)| id.clone()).collect();
        }
        match t.u8(0..if crowded { 14 } else { 7 }) {
            0 => turn.per_second = Some(t.u32(1..=3)),
            1 => turn.batch = Some((t.u32(1..=3), if t.bool() { 0 } else { t.u32(1..=90) })),
            2 | 3 => {
                let rung =
                    |lines| Rung { lines, after: t.u32(0..40), max_errors: f64::from(t.u32(1..=4)) / 10.0 };
                turn.ramp = (1..=3).map(rung).collect();
                failing = Some(f64::from(t.u32(1..=4)) / 10.0);
            }
            _ => {}
        }
    }
    if crowded {
        campaigns[1].org = campaigns[0].org;
    }
    Drawn { failing, shown }
}

impl Plan {
    /// Whether what a process takes rests on what it saw last: no write comes late or twice, no index is read from the
    /// past, and the ledger is one item.
    pub(crate) fn shows_turns(&self) -> bool {
        let late = self.rates.delayed + self.rates.doubled + self.rates.freeze + self.stale;
        late == 0.0
            && self.sizes == Sizes::default()
            && self.hours.is_lawless()
            && !self.changes.iter().any(|(_, change)| holds_back(change))
    }

    /// Takes away what [`Self::shows_turns`] may not meet, but for the hours, which are in the campaigns' numbers.
    pub(crate) fn show_turns(&mut self) {
        (self.rates.delayed, self.rates.doubled, self.rates.freeze, self.stale) = (0.0, 0.0, 0.0, 0.0);
        self.sizes = Sizes::default();
        // Of few lines, nobody can tell whose part they are.
        self.lines = self.lines.max(6);
        self.policy = Policy::new(self.lines, self.lines, 0).expect("there are some lines");
        // Who is promised a call goes first.
        self.changes.retain(|(_, change)| !holds_back(change) && !matches!(change, Change::CallBack(_)));
    }
}

/// Nor is a campaign served that somebody paused, whose people may not be called now, or what it needs is not well.
fn holds_back(change: &Change) -> bool {
    matches!(change, Change::Trouble(_) | Change::Ask(..) | Change::Refuse(_))
}

/// Who looked for work may not know of a lead for so long: its time is by another clock, it was believed for some
/// seconds that there is nobody, or the look that shows is a later one than the look that decided.
const UNSEEN: SignedDuration = SignedDuration::from_secs(60);
/// How long an invocation may hold against a campaign that others took its lines.
const CROWDED: SignedDuration = SignedDuration::from_secs(75);
/// How long a ramp may take to fall: from the call that was too much to the dispatcher's next look, a pass lost on the
/// way, and its tries.
const FALLS: SignedDuration = SignedDuration::from_secs(200);

/// Code and reference of a lead.
type At = (String, String);

/// What is known of turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Whether they can be told from outside.
    pub(crate) shows: bool,
    /// Who makes the request that is being carried out.
    process: u32,
    /// When each process listed the campaigns last.
    looked: BTreeMap<u32, Timestamp>,
    /// When it was last refused lines.
    refused: BTreeMap<u32, Timestamp>,
    /// Leads that could be called but for their time, and since when; and when that is.
    waiting: BTreeMap<At, (Timestamp, i64)>,
    /// Campaigns' states, and since when.
    running: BTreeMap<String, Timestamp>,
    /// When a campaign last held as many lines as it may.
    full: BTreeMap<String, Timestamp>,
    /// The keys of the lines of each campaign's batch.
    batches: BTreeMap<String, BTreeSet<String>>,
    /// Since when a ramp has had to fall.
    breaking: BTreeMap<String, (i64, Timestamp)>,
}

impl Turns {
    /// A request is carried out for a process.
    pub(crate) fn asked_by(&mut self, process: u32, name: &str, now: Timestamp) {
        self.process = process;
        if name == "list_campaigns" {
            self.looked.insert(process, now);
        }
    }

    /// Its condition did not hold.
    pub(crate) fn refused(&mut self, name: &str, now: Timestamp) {
        if name == "take" {
            self.refused.insert(self.process, now);
        }
    }

    /// A campaign's item was written.
    pub(crate) fn campaign_written(&mut self, code: &str, state: &str, now: Timestamp) {
        if state == "running" {
            self.running.entry(code.to_owned()).or_insert(now);
        } else {
            self.running.remove(code);
        }
    }

    /// A lead's item was written.
    pub(crate) fn lead_written(
        &mut self,
        at: &At,
        lead: &Lead,
        lines: &BTreeMap<String, String>,
        now: Timestamp,
    ) {
        if lead.state == "ready" && !lines.contains_key(&next_line(at, lead)) {
            // One that is put off waits anew.
            let since =
                self.waiting.get(at).filter(|(_, due)| *due == lead.due_us).map_or(now, |(since, _)| *since);
            self.waiting.insert(at.clone(), (since, lead.due_us));
        } else {
            self.waiting.remove(at);
        }
    }

    /// The ledger's only item was written.
    pub(crate) fn ledger_written(
        &mut self,
        (before, ledger): (&Ledger, &Ledger),
        asked: &BTreeMap<String, Campaign>,
        (leads, callbacks): (&BTreeMap<At, Lead>, &Callbacks),
        vapi: &Sim,
        now: Timestamp,
    ) -> Checked {
        let new: Vec<&String> =
            ledger.new_since(before).into_iter().map(|(key, _)| key).filter(|key| is_claim(key)).collect();
        let is_taking = ledger.new_since(before).iter().any(|(_, token)| token.starts_with('o'));
        for (code, campaign) in asked {
            let keys: Vec<&String> =
                new.iter().filter(|key| key.starts_with(code.as_str())).copied().collect();
            let progress = |item: &Ledger| item.progress.get(code).cloned().unwrap_or_default();
            let (was, is) = (progress(before), progress(ledger));
            let held = |item: &Ledger| item.campaigns.get(code).map_or(0, |tally| tally.0);
            self.begun(code, campaign, (before, ledger), &keys, vapi)?;
            Self::paced(code, campaign, (&was, &is), keys.len() as i64)?;
            self.ramped(code, campaign, (&was, &is), held(ledger), !keys.is_empty(), now)?;
            if is_taking && !keys.is_empty() && self.shows {
                // What is taken for a callback is taken in another class, and counts in the campaign's lines.
                let apart: Vec<&String> = asked.keys().filter(|code| callbacks.knows(code)).collect();
                if !apart.contains(&code) {
                    let others = asked.iter().filter(|(code, _)| !apart.contains(code));
                    let others = others.map(|(code, campaign)| (code.clone(), campaign.clone())).collect();
                    self.in_turn((code, campaign), &keys, (before, ledger), &others, now)?;
                }
                self.warm_first((code, campaign), &keys, (leads, callbacks), now)?;
            }
            if campaign.cap.is_some_and(|cap| held(ledger) >= i64::from(cap)) {
                self.full.insert(code.clone(), now);
            }
        }
        // A line that is taken for a lead takes it out of the queue; one that is freed puts it back.
        let at = |key: &String| Some((key.get(..5)?.to_owned(), key.get(5..14)?.to_owned()));
        for key in &new {
            at(key).map(|at| self.waiting.remove(&at));
        }
        for (key, _) in before.new_since(ledger) {
            if let Some(at) = at(key)
                && let Some(lead) = leads.get(&at)
            {
                self.lead_written(&at, lead, &ledger.lines, now);
            }
        }
        Ok(())
    }

    /// No more leads of a batch are begun than it has, until all of their calls are over. A dial that made no call is
    /// none of it.
    fn begun(
        &mut self,
        code: &str,
        campaign: &Campaign,
        (before, ledger): (&Ledger, &Ledger),
        new: &[&String],
        vapi: &Sim,
    ) -> Checked {
        let Some((most, _)) = campaign.turn.batch else { return Ok(()) };
        let begun = self.batches.entry(code.to_owned()).or_default();
        if before.campaigns.get(code).is_none_or(|tally| tally.0 == 0) {
            begun.clear();
        }
        begun.extend(new.iter().map(|key| (*key).clone()));
        begun.retain(|key| {
            ledger.lines.contains_key(key)
                || !vapi.calls(|call| call.held_line && call.name == Some(key.as_str())).is_empty()
        });
        ensure(new.is_empty() || begun.len() <= most as usize, "turn", || {
            format!("{} leads of {code} are begun in a batch of {most}: {begun:?}", begun.len())
        })
    }

    /// What is begun is counted in the campaign's own rate.
    fn paced(code: &str, campaign: &Campaign, (was, is): (&Progress, &Progress), new: i64) -> Checked {
        let Some(rate) = campaign.turn.per_second.filter(|_| new > 0) else { return Ok(()) };
        let next = |progress: &Progress| progress.pace.as_ref().map_or(0, |pace| pace.2);
        ensure(next(is) - next(was) >= new * 1000 / i64::from(rate), "turn", || {
            format!(
                "{new} calls of {code} at {rate} a second move the next from {} to {}",
                next(was),
                next(is)
            )
        })
    }

    /// No more lines than the ramp's step has, and no step stays whose calls break.
    fn ramped(
        &mut self,
        code: &str,
        campaign: &Campaign,
        (was, is): (&Progress, &Progress),
        held: i64,
        is_taking: bool,
        now: Timestamp,
    ) -> Checked {
        let ramp = &campaign.turn.ramp;
        if ramp.is_empty() {
            return Ok(());
        }
        let nth = |progress: &Progress| progress.step.first().copied().unwrap_or_default();
        let lines = ramp.get(nth(was) as usize).map_or(0, |rung| i64::from(rung.lines));
        ensure(!is_taking || held <= lines, "turn", || {
            format!("{code} holds {held} lines at a step of {lines} of its ramp")
        })?;
        // Counters that are taken off the ledger take it along.
        ensure(is.step.is_empty() || (nth(is) - nth(was)).abs() <= 1, "turn", || {
            format!("{code} went from {was:?} to {is:?} on its ramp")
        })?;
        let [ended, _, errors] = is.calls;
        let (ended, errors) = match is.step.get(2..5) {
            Some(from) => (ended - from[0], errors - from[2]),
            None => (ended, errors),
        };
        let rung = &ramp[(nth(is) as usize).min(ramp.len() - 1)];
        let breaks = nth(is) > 0
            && ended >= 2 * i64::from(rung.lines)
            && errors as f64 > rung.max_errors * ended as f64 + 1e-9;
        if !breaks {
            self.breaking.remove(code);
            return Ok(());
        }
        let (step, since) = *self.breaking.entry(code.to_owned()).or_insert((nth(is), now));
        ensure(
            !is_taking || !self.shows || step != nth(is) || now.duration_since(since) < FALLS,
            "turn",
            || {
                format!(
                    "{code} is at step {step} of its ramp, where {errors} of {ended} calls broke long ago"
                )
            },
        )
    }

    /// The leads of a campaign that have been waiting for somebody since before the taker looked.
    fn waits(&self, code: &str, now: Timestamp) -> Vec<&At> {
        let Some(looked) = self.looked.get(&self.process) else { return Vec::new() };
        let seen = *looked - UNSEEN;
        if self.running.get(code).is_none_or(|since| *since > seen) || *looked > now {
            return Vec::new();
        }
        let waits =
            |(_, (since, due)): &(&At, &(Timestamp, i64))| *since <= seen && *due <= seen.as_microsecond();
        self.waiting.iter().filter(|(at, _)| at.0 == code).filter(waits).map(|(at, _)| at).collect()
    }

    /// Whether others took lines from under this process of late: it leaves the campaign to them.
    fn is_crowded(&self, now: Timestamp) -> bool {
        self.refused.get(&self.process).is_some_and(|at| now.duration_since(*at) < CROWDED)
    }

    fn in_turn(
        &self,
        (code, campaign): (&str, &Campaign),
        new: &[&String],
        (before, ledger): (&Ledger, &Ledger),
        asked: &BTreeMap<String, Campaign>,
        now: Timestamp,
    ) -> Checked {
        if campaign.turn.share.is_some() || self.is_crowded(now) {
            return Ok(());
        }
        let held = |item: &Ledger, code: &str| item.campaigns.get(code).map_or(0, |tally| tally.0);
        for (other, rival) in asked.iter().filter(|(other, _)| *other != code) {
            // What bounds one bounds the other, but for their own caps.
            let is_like =
                rival.agent == campaign.agent && rival.org == campaign.org && rival.turn.is_unbound();
            let looked = self.looked.get(&self.process);
            let was_full =
                self.full.get(other).is_some_and(|full| looked.is_none_or(|looked| full >= looked));
            let waits = self.waits(other, now);
            if !is_like || was_full || waits.is_empty() {
                continue;
            }
            ensure(rival.turn.level() >= campaign.turn.level(), "turn", || {
                format!("{new:?} of the lower {code} while {waits:?} of the higher {other} have been waiting")
            })?;
            if rival.turn.level() > campaign.turn.level() || rival.turn.share.is_some() {
                continue;
            }
            // Among equals: even with all that is free the other would have less than this one had before its last line.
            let free = (ledger.limit - ledger.total).min(ledger.cap - ledger.outbound).max(0);
            let (its, ours) = (held(ledger, other), held(before, code) + new.len() as i64 - 1);
            let (its_weight, weight) = (rival.turn.weight(), campaign.turn.weight());
            let is_short = (its + free + 1) * weight <= ours * its_weight;
            let cap = rival.cap.map_or(i64::MAX, i64::from);
            ensure(!is_short || waits.len() as i64 <= free || its + free >= cap, "turn", || {
                format!(
                    "{code} takes a line on top of {ours} for {weight}, {other} holds {its} for {its_weight} and waits"
                )
            })?;
        }
        Ok(())
    }

    fn warm_first(
        &self,
        (code, campaign): (&str, &Campaign),
        new: &[&String],
        (leads, callbacks): (&BTreeMap<At, Lead>, &Callbacks),
        now: Timestamp,
    ) -> Checked {
        let of = |key: &&&String| key.get(5..14).map(|lead| (code.to_owned(), lead.to_owned()));
        let others: Vec<_> =
            new.iter().filter(|key| of(key).is_some_and(|at| !callbacks.is_promised(&at))).collect();
        let promised: Vec<&At> = self
            .waits(code, now)
            .into_iter()
            .filter(|at| callbacks.is_promised(at) && !new.iter().any(|key| of(&key).as_ref() == Some(*at)))
            .collect();
        ensure(others.is_empty() || promised.is_empty(), "turn", || {
            format!("{others:?} taken before {promised:?} of {code}, who are promised a call")
        })?;
        let is_warm = |lead: &Lead| campaign.turn.warm.contains(&lead.id);
        // Whoever is promised a call goes before the warm ones.
        let lead = |at: &At| leads.get(at).is_some_and(is_warm) || callbacks.is_promised(at);
        let taken = |key: &&&String| key.get(5..14).map(|lead| (code.to_owned(), lead.to_owned()));
        let ordinary: Vec<_> = new.iter().filter(|key| taken(key).is_some_and(|at| !lead(&at))).collect();
        let warm: Vec<&At> = self
            .waits(code, now)
            .into_iter()
            .filter(|at| lead(at) && !new.iter().any(|key| taken(&key).as_ref() == Some(*at)))
            .collect();
        ensure(ordinary.is_empty() || warm.is_empty(), "turn", || {
            format!("{ordinary:?} taken before the warm {warm:?} of {code}")
        })
    }
}

/// The key of a lead's next line.
fn next_line((code, reference): &At, lead: &Lead) -> String {
    format!("{code}{reference}{}", lead.claims + 1)
}
