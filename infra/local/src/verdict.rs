//! What a rehearsal came to, from the simulated Vapi's truth: it knows of every call that was made,
//! whatever Headroom believes.

use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::fmt;

use headroom::flows::status::{CampaignStatus, PoolStatus};
use vapi_sim::{CallKind, CallTruth, Truth};

/// The policy of a rehearsal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Lines of the subscription.
    pub(crate) lines: u32,
    /// Most lines for outbound.
    pub(crate) cap: u32,
    /// Lines left free for callers.
    pub(crate) headroom: u32,
    /// Leads of the campaign.
    pub(crate) leads: u32,
    /// How many times faster than real life.
    pub(crate) speed: f64,
}

/// The findings.
#[derive(Debug)]
pub(crate) struct Verdict {
    terms: Terms,
    done: u32,
    failed: u32,
    finished: bool,
    calls: usize,
    callers: u64,
    blocked: u64,
    blocked_beside_outbound: u64,
    peak_lines: u32,
    peak_outbound: u32,
    over_limit: u64,
    doubled_dials: usize,
    leaked_lines: i64,
    minutes: f64,
    line_use: Option<f64>,
    refill_ms: Option<Percentiles>,
    makespan_ratio: Option<f64>,
}

#[derive(Debug)]
struct Percentiles {
    half: f64,
    ninety_nine: f64,
    samples: usize,
}

impl Verdict {
    /// Compares what Headroom says with what happened.
    pub(crate) fn of(
        terms: Terms,
        truth: &Truth,
        pool: &PoolStatus,
        campaign: Option<&CampaignStatus>,
    ) -> Self {
        let leads = campaign.map(|campaign| campaign.leads).unwrap_or_default();
        let mut outbound: Vec<&CallTruth> =
            truth.calls.iter().filter(|call| call.kind == CallKind::Outbound && call.held_line).collect();
        outbound.sort_by(|a, b| a.post_at_ms.total_cmp(&b.post_at_ms));
        let waiting = waiting(&outbound);
        Self {
            terms,
            done: leads.done,
            failed: leads.failed,
            finished: campaign.is_some_and(|campaign| campaign.finished),
            calls: outbound.len(),
            callers: truth.callers,
            blocked: truth.blocked_inbound,
            blocked_beside_outbound: truth.blocked_inbound_while_outbound_live,
            peak_lines: truth.peak_lines,
            peak_outbound: truth.peak_outbound,
            over_limit: truth.over_limit_answers,
            doubled_dials: truth.dials_by_name.values().filter(|dials| **dials > 1).count(),
            leaked_lines: i64::from(pool.total) - i64::from(truth.live.total()),
            minutes: span(&outbound).map_or(0.0, |(start, end)| (end - start) * terms.speed / 60_000.0),
            line_use: waiting.and_then(|waiting| line_use(terms, truth, waiting)),
            refill_ms: waiting.and_then(|waiting| refills(terms, truth, waiting)),
            makespan_ratio: makespan_ratio(terms, truth, &outbound),
        }
    }

    /// What did not hold, in words.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |held: bool, words: String| {
            if !held {
                broken.push(words);
            }
        };
        let Terms { leads, cap, headroom, .. } = self.terms;
        check(
            headroom == 0 || self.blocked_beside_outbound == 0,
            format!("{} callers were blocked while outbound held lines", self.blocked_beside_outbound),
        );
        check(
            self.peak_outbound <= cap,
            format!("outbound held {} lines, its cap is {cap}", self.peak_outbound),
        );
        check(
            self.finished && self.done + self.failed == leads,
            format!("{} of {leads} leads have an outcome", self.done + self.failed),
        );
        check(self.doubled_dials == 0, format!("{} attempts rang twice", self.doubled_dials));
        check(
            self.leaked_lines == 0,
            format!("{} lines are held for calls that are over", self.leaked_lines),
        );
        broken
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { lines, cap, headroom, leads, .. } = self.terms;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<28}{value}");
        row(
            "leads",
            format!(
                "{leads}: {} reached, {} not, {} without an outcome",
                self.done,
                self.failed,
                i64::from(leads) - i64::from(self.done + self.failed)
            ),
        )?;
        row("calls dialed", format!("{} in {:.1} simulated minutes", self.calls, self.minutes))?;
        row("attempts that rang twice", self.doubled_dials.to_string())?;
        row(
            "callers",
            format!(
                "{}, blocked {} ({} while outbound held lines)",
                self.callers, self.blocked, self.blocked_beside_outbound
            ),
        )?;
        row("most lines in use", format!("{} of {lines}", self.peak_lines))?;
        row("most lines for outbound", format!("{} (cap {cap}, headroom {headroom})", self.peak_outbound))?;
        row("dials refused by the limit", self.over_limit.to_string())?;
        row("lines leaked", self.leaked_lines.to_string())?;
        if let Some(share) = self.line_use {
            row("line use while leads waited", format!("{:.2} %", share * 100.0))?;
        }
        if let Some(refill) = &self.refill_ms {
            row(
                "line freed to next dial",
                format!(
                    "{:.1} ms median, {:.1} ms p99 ({} refills, wall clock)",
                    refill.half, refill.ninety_nine, refill.samples
                ),
            )?;
        }
        if let Some(ratio) = self.makespan_ratio {
            row("makespan to zero-delay", format!("{ratio:.4}"))?;
        }
        Ok(())
    }
}

/// First dial to last end.
fn span(outbound: &[&CallTruth]) -> Option<(f64, f64)> {
    let end = outbound.iter().filter_map(|call| call.ended_at_ms).max_by(f64::total_cmp)?;
    Some((outbound.first()?.created_at_ms, end))
}

/// While leads waited: from the first dial until the last lead got its first one.
fn waiting(outbound: &[&CallTruth]) -> Option<(f64, f64)> {
    let mut seen = HashSet::new();
    let first_dials = outbound.iter().filter(|call| seen.insert(&call.number));
    let last = first_dials.map(|call| call.post_at_ms).max_by(f64::total_cmp)?;
    Some((outbound.first()?.post_at_ms, last))
}

/// Lines that outbound may hold beside `others`.
fn allowed(terms: Terms, others: i64) -> i64 {
    let left = i64::from(terms.lines) - i64::from(terms.headroom) - others;
    left.min(terms.cap.into()).max(0)
}

/// Outbound line-time over the line-time that outbound was allowed, in `from..until`.
fn line_use(terms: Terms, truth: &Truth, (from, until): (f64, f64)) -> Option<f64> {
    let (mut outbound, mut others, mut at) = (0_i64, 0_i64, from);
    let (mut used, mut could) = (0.0, 0.0);
    let end = [(until, CallKind::Outbound, 0_i64)];
    let changes = truth.timeline.iter().map(|change| (change.at_ms, change.kind, i64::from(change.delta)));
    for (when, kind, delta) in changes.take_while(|(when, ..)| *when < until).chain(end) {
        let elapsed = (when - at).max(0.0);
        let room = allowed(terms, others);
        used += outbound.min(room) as f64 * elapsed;
        could += room as f64 * elapsed;
        at = at.max(when);
        if kind == CallKind::Outbound { outbound += delta } else { others += delta }
    }
    (could > 0.0).then(|| used / could)
}

/// From the message that freed a line to the dial that took it again, while leads waited.
fn refills(terms: Terms, truth: &Truth, (from, until): (f64, f64)) -> Option<Percentiles> {
    enum Event {
        Dialed,
        Began,
        /// With the instant at which Headroom was told, if it was.
        Ended(CallKind, Option<f64>),
    }
    let mut events = Vec::new();
    for call in truth.calls.iter().filter(|call| call.held_line) {
        let began = if call.kind == CallKind::Outbound { Event::Dialed } else { Event::Began };
        events.push((call.post_at_ms, began));
        if let Some(ended) = call.ended_at_ms {
            let told = call.ended_webhook_at_ms;
            events.push((told.unwrap_or(ended), Event::Ended(call.kind, told)));
        }
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut outbound, mut others) = (0_i64, 0_i64);
    // Lines that may be dialed on, each with when it became so; the first fill is nobody's refill.
    let mut open: VecDeque<Option<f64>> = VecDeque::new();
    let mut waits = Vec::new();
    for (at, event) in events.into_iter().filter(|(at, _)| *at <= until) {
        let mut told = None;
        let dialed = matches!(event, Event::Dialed);
        match event {
            Event::Dialed => outbound += 1,
            Event::Began => others += 1,
            Event::Ended(kind, when) => {
                if kind == CallKind::Outbound {
                    outbound -= 1
                } else {
                    others -= 1
                }
                told = when.filter(|when| *when >= from);
            }
        }
        let room = (allowed(terms, others) - outbound).max(0) as usize;
        if dialed && let Some(Some(since)) = open.pop_front() {
            waits.push(at - since);
        }
        open.truncate(room);
        open.resize(room, told);
    }
    if waits.is_empty() {
        return None;
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share).round() as usize];
    Some(Percentiles { half: at(0.5), ninety_nine: at(0.99), samples: waits.len() })
}

/// The campaign's makespan over that of a schedule of the same calls, in the same order, on as many
/// lines, without any delay. Only where nothing else used lines; a lead's later calls start no
/// earlier than they did.
fn makespan_ratio(terms: Terms, truth: &Truth, outbound: &[&CallTruth]) -> Option<f64> {
    if truth.calls.iter().any(|call| call.kind != CallKind::Outbound && call.held_line) {
        return None;
    }
    let (start, end) = span(outbound)?;
    let lines = terms.cap.min(terms.lines.saturating_sub(terms.headroom));
    // A heap of the instants at which lines come free, earliest first; whole microseconds order.
    let micros = |ms: f64| (ms * 1000.0) as i64;
    let mut free: BinaryHeap<std::cmp::Reverse<i64>> =
        (0..lines).map(|_| std::cmp::Reverse(micros(start))).collect();
    let mut seen = HashSet::new();
    let mut last = micros(start);
    for call in outbound {
        let first = seen.insert(call.number.clone());
        let length = micros(call.ended_at_ms?) - micros(call.created_at_ms);
        let std::cmp::Reverse(line) = free.pop()?;
        let begin = if first { line } else { line.max(micros(call.created_at_ms)) };
        last = last.max(begin + length);
        free.push(std::cmp::Reverse(begin + length));
    }
    let shortest = (last - micros(start)) as f64;
    (shortest > 0.0).then(|| (micros(end) - micros(start)) as f64 / shortest)
}
