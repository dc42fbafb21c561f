//! A campaign's figures in words.

use headroom::flows::kpi::{Forecast, KpiStatus};

use crate::why;

/// Outcomes as people say them, by their names in JSON.
const WORDS: [(&str, &str); 11] = [
    ("reached", "reached"),
    ("dropped", "broke off"),
    ("noAnswer", "no answer"),
    ("busy", "busy"),
    ("voicemail", "voicemail"),
    ("setupFailure", "not set up"),
    ("badNumber", "bad number"),
    ("badSetting", "bad setting"),
    ("blocked", "account blocked"),
    ("cancelled", "cancelled"),
    ("unknown", "unknown end"),
];

/// A share as people say it.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// A span as people say it, in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) if seconds < 600 => format!("{minutes} min {} s", seconds % 60),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// What a campaign's calls came to, and when it will be through.
pub(crate) fn lines(kpis: &KpiStatus, forecast: Option<&Forecast>) -> Vec<String> {
    let mut lines = Vec::new();
    let outcome = |(name, words): &(&str, &str)| Some(format!("{} {words}", kpis.outcomes.get(*name)?));
    let outcomes: Vec<String> = WORDS.iter().filter_map(outcome).collect();
    let outcomes = if outcomes.is_empty() { String::new() } else { format!(": {}", outcomes.join(", ")) };
    lines.push(format!("  calls     {}{outcomes}", kpis.attempts));
    let (answered, rate) = (kpis.answered, percent(kpis.connect_rate));
    let untold = match kpis.untold {
        0 => String::new(),
        untold => format!(" (without {untold} whose report is to come)"),
    };
    lines.push(format!("  answered  {answered} ({rate}), {} of talk{untold}", span(kpis.talk_seconds)));
    let each = kpis.line_seconds_per_reached;
    let each = each.map(|each| format!(", {each:.0} s for each person reached")).unwrap_or_default();
    let as_of = if kpis.is_final { "final".to_owned() } else { format!("as of {}", why::utc(kpis.as_of)) };
    lines.push(format!("  lines     {} held{each} ({as_of})", span(kpis.line_seconds)));
    if let Some(Forecast { at, pace }) = forecast {
        lines.push(format!(
            "  through   about {}, if it goes on with {:.1} lines while open, {:.0} s a call, {:.1} calls a lead",
            why::utc(*at),
            pace.lines,
            pace.line_seconds,
            pace.calls_per_lead
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [0.4, 59.0, 61.0, 3599.0, 3600.0, 90_000.0].map(span);
        assert_eq!(told, ["0 s", "59 s", "1 min 1 s", "59 min", "1 h 0 min", "1 d 1 h"]);
    }
}
