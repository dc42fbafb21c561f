//! What `headroom why` prints: what refused a call or keeps a lead waiting, who held the lines at that instant,
//! and when one is expected.

use headroom::core::refusal::{Basis, Expected, Fate, Refusal};
use headroom::flows::why::{MOST_AHEAD, Obstacle, Waits, Why, WhyCall, WhyLead};
use jiff::Timestamp;

use crate::lines::{aligned, purpose, span};

/// The answer as text.
pub(crate) fn report(why: &Why) -> String {
    let lines = match why {
        Why::Call(call) => of_call(call),
        Why::Lead(lead) => of_lead(lead),
    };
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn of_call(call: &WhyCall) -> Vec<String> {
    let mut lines = Vec::new();
    match &call.refusal {
        Some(refusal) => {
            let agent = refusal.agent.as_ref().map_or(String::new(), |agent| format!(" for {agent}"));
            lines.push(format!(
                "{} call{agent}, refused at {}: {}. {}",
                capital(&refusal.kind),
                utc(refusal.at),
                meaning(&refusal.rule),
                match refusal.fate {
                    Fate::Busy => "The caller heard the busy message.",
                    Fate::Forwarded => "The caller was forwarded.",
                    Fate::Blocked => "Vapi blocked the call by itself.",
                    Fate::Waits => "It waits.",
                    Fate::Rejected => "It ended for that.",
                },
            ));
            lines.extend(record(refusal, "A line was expected"));
        }
        None => lines.push("It was never refused a line.".to_owned()),
    }
    if let Some(held) = &call.held {
        let minutes = call.at.duration_since(held.since).as_mins();
        lines.push(format!("It holds a line ({}) since {}: {}.", held.kind, utc(held.since), span(minutes)));
    }
    if let Some(ended) = &call.ended {
        lines.push(format!("It has ended, recorded at {}: {}.", utc(ended.at), ended.reason));
    }
    lines
}

fn of_lead(lead: &WhyLead) -> Vec<String> {
    let WhyLead { campaign, lead: id, state, attempts, max_attempts, .. } = lead;
    let attempts = format!("{attempts} of {max_attempts} attempts");
    let reason = lead.reason.as_deref().unwrap_or("no reason on record");
    let mut lines = Vec::new();
    match (&lead.waits, &lead.held) {
        (Some(waits), _) => {
            lines.push(if waits.due > lead.at {
                format!("{id} of {campaign} is not due yet, {attempts} made.")
            } else {
                format!("{id} of {campaign} waits since {}, {attempts} made.", utc(waits.due))
            });
            lines.extend(of_wait(waits));
            if let Some(reason) = &lead.reason {
                lines.push(format!("Its latest call ended with {reason}."));
            }
        }
        (None, Some(held)) => {
            let doing = match state.as_str() {
                "live" => "is in a call",
                "unknown" => "was dialed without a clear answer, which the next passes find",
                _ => "is being dialed",
            };
            lines.push(format!(
                "{id} of {campaign} {doing}, its line held since {}, {attempts} made before.",
                utc(held.since)
            ));
        }
        (None, None) => {
            lines.push(format!("{id} of {campaign} is over, {state}: {reason}; {attempts} made."))
        }
    }
    if let Some(call) = &lead.call {
        lines.push(format!("Its latest call is {call}."));
    }
    if let Some(refusal) = &lead.refusal {
        let waited = span(refusal.at.duration_since(refusal.since).as_mins());
        lines.push(String::new());
        lines.push(format!(
            "Refused last at {}, {} ago, for {waited} by then: {}.",
            utc(refusal.at),
            span(lead.at.duration_since(refusal.at).as_mins()),
            meaning(&refusal.rule),
        ));
        lines.extend(record(refusal, "A line was expected"));
    }
    lines
}

fn of_wait(waits: &Waits) -> Vec<String> {
    let mut lines = Vec::new();
    match &waits.obstacle {
        Obstacle::Paused { reason } => lines.push(format!("Its campaign is paused: {reason}.")),
        Obstacle::Due { until } => lines.push(format!("Its turn comes at {}.", utc(*until))),
        Obstacle::Window { until: Some(until) } => {
            lines.push(format!(
                "It may not be called before {}: its window, or the hours by law.",
                utc(*until)
            ));
        }
        Obstacle::Window { until: None } => {
            lines.push("It may not be called any more, and is about to end.".to_owned());
        }
        Obstacle::Line { rule, expected } => {
            lines.push(format!("There is no line for it: {}.", meaning(rule)));
            lines.push(expectation(expected, "One is expected"));
        }
        Obstacle::Turn => lines.push("Nothing stands in its way: it is about to be called.".to_owned()),
    }
    if waits.ahead > 0 {
        let more = if waits.ahead >= MOST_AHEAD { " or more" } else { "" };
        lines.push(format!("{}{more} of its campaign come before it.", waits.ahead));
    }
    lines
}

/// The pool's numbers at the instant of a refusal, who held its lines, and when one was expected.
fn record(refusal: &Refusal, expected: &str) -> Vec<String> {
    let now = refusal.lines;
    let mut lines = vec![
        String::new(),
        format!(
            "{} of {} lines were held, {} by outbound; {} of {} shared lines were in use, {} were reserved; \
             cap {}, headroom {}",
            now.total,
            now.limit,
            now.outbound,
            now.shared,
            now.shared_lines,
            now.reserved,
            now.cap,
            now.headroom
        ),
    ];
    if !refusal.holders.is_empty() {
        lines.push(String::new());
        let mut rows = vec![["held", "kind", "agent", "for", "longest"].map(str::to_owned).to_vec()];
        rows.extend(refusal.holders.iter().map(|group| {
            vec![
                group.lines.to_string(),
                group.kind.clone(),
                group.agent.clone().unwrap_or_else(|| "–".to_owned()),
                purpose(group.campaign.as_deref(), &group.kind).to_owned(),
                span(refusal.at.duration_since(group.since).as_mins()),
            ]
        }));
        lines.extend(aligned(&rows, &[1, 2, 3]));
    }
    lines.extend([String::new(), expectation(&refusal.expected, expected)]);
    lines
}

fn expectation(expected: &Expected, begin: &str) -> String {
    let by_whom = match expected.basis {
        Basis::Usage => "by the mean length of the last day's calls",
        Basis::Typical => "taking two minutes for a call, since no usage is known",
        Basis::Rest => "when outbound has rested",
        Basis::Quota => "when its quota allows the next calls",
        Basis::Breaker => "when the next call goes ahead to see whether all is well",
        Basis::Nothing => "",
    };
    match (expected.next, expected.latest) {
        (Some(next), Some(latest)) if latest > next => {
            format!("{begin} at {}, by {} at the latest ({by_whom}).", utc(next), utc(latest))
        }
        (Some(next), _) => format!("{begin} at {} ({by_whom}).", utc(next)),
        (None, _) if expected.basis == Basis::Breaker => {
            format!("{begin} when the calls that went ahead have gone well.")
        }
        (None, _) => {
            format!("{begin} at no known time: no call that ends would bring one, or none is known.")
        }
    }
}

/// What a rule's name stands for.
pub(crate) fn meaning(rule: &str) -> String {
    let words = match rule {
        "limit" => "every line of the pool was held",
        "headroom" => "the shared lines are in use, but for the headroom that is left to callers",
        "shared" => "the agent's own reserve and the shared lines were full",
        "cap" => "outbound held as many lines as it may",
        "quota" => "a quota of its calls held as many lines as it may",
        "pace" => "the calls that a quota allows in a second were begun",
        "daily" => "the calls that a quota allows in a day (UTC) were made",
        "campaign_cap" => {
            "the campaign held as many lines as its maxConcurrency, or the step of its ramp, allows"
        }
        "batch" => "the campaign's batch is begun, and the next one comes when its calls are over and rested",
        "hold_off" => "outbound rests, since Vapi was full or asked for it",
        "adaptive" => "outbound's cap is lowered while Vapi is under strain, as `headroom lines` shows",
        "breaker" => {
            "what its calls need fails, as `headroom lines` shows; few go ahead to see whether it is well again"
        }
        "vapi" => "Vapi counted no free line",
        other => return format!("the rule {other}"),
    };
    format!("{words} (rule {rule})")
}

/// An instant for people.
pub(crate) fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn capital(kind: &str) -> String {
    match kind {
        "web" => "A browser".to_owned(),
        "outbound" | "inbound" => format!("An {kind}"),
        other => format!("A {other}"),
    }
}
