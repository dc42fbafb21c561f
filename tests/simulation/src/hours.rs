//! When people may be called, as the simulation knows it: who is where, what their campaign asks for, what the law
//! says. Each instant is looked at by itself, on each clock: nothing is shared with what Headroom decides by but the
//! data base of time zones.

use std::collections::BTreeMap;
use std::time::Duration;

use headroom::core::hours::CallingHours;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::clock::BEGIN;
use crate::life::Ask;
use crate::plan::{Campaign, Change, MOST_SKEW, some_time};
use crate::promises::{Checked, ensure};

/// Between a process's last look at its clock and the making of the call: a freeze, and the request under way.
const LATE: SignedDuration = SignedDuration::from_secs(55);

/// Numbers by their beginnings, and where their owners may be.
const PEOPLE: [(&str, &[&str]); 14] = [
    ("+1212555", &["America/New_York"]),
    ("+1305555", &["America/New_York"]),
    ("+1405555", &["America/Chicago"]),
    ("+1709555", &["America/Halifax", "America/St_Johns"]),
    ("+1808555", &["Pacific/Honolulu"]),
    ("+977141", &["Asia/Kathmandu"]),
    ("+9122123", &["Asia/Kolkata"]),
    ("+336123", &["Europe/Paris"]),
    ("+4930123", &["Europe/Berlin"]),
    ("+346121", &["Europe/Madrid", "Atlantic/Canary"]),
    ("+813123", &["Asia/Tokyo"]),
    ("+68512", &["Pacific/Apia"]),
    ("+649123", &["Pacific/Auckland", "Pacific/Chatham"]),
    (
        "+614123",
        &[
            "Australia/Adelaide",
            "Australia/Brisbane",
            "Australia/Eucla",
            "Australia/Lord_Howe",
            "Australia/Perth",
            "Australia/Sydney",
            "Indian/Christmas",
            "Indian/Cocos",
        ],
    ),
];

/// Zones that a lead may name, whatever its number says.
const NAMED: [&str; 4] = ["America/New_York", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns"];

/// The ordinary beginning, and some moments before a clock goes forward or back somewhere.
const BEGINS: [&str; 8] = [
    BEGIN,
    BEGIN,
    BEGIN,
    "2026-03-29T00:50:00Z",
    "2026-03-08T06:50:00Z",
    "2026-11-01T05:50:00Z",
    "2026-04-04T14:50:00Z",
    "2026-10-03T15:20:00Z",
];

/// From a minute of the day for so many minutes, on the days of the week whose bits are set, Monday's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    days: u8,
    start: u16,
    length: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;

impl Span {
    fn json(self) -> Value {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        let end = self.start + self.length;
        let end = if end.is_multiple_of(DAY) { "24:00".to_owned() } else { clock(end) };
        let days: Vec<&str> = (0..7).filter(|day| self.days & (1 << day) != 0).map(|day| DAYS[day]).collect();
        json!({ "days": days, "start": clock(self.start), "end": end })
    }

    /// Whether a clock that shows this shows a time within the span.
    fn shows(self, today: Date, minute: u16, holidays: &[Date]) -> bool {
        let starts = |day: Date| {
            self.days & (1 << day.weekday().to_monday_zero_offset()) != 0 && !holidays.contains(&day)
        };
        let since_yesterday = minute + DAY;
        (starts(today) && (self.start..self.start + self.length).contains(&minute))
            || (starts(today - 1.day()) && (self.start..self.start + self.length).contains(&since_yesterday))
    }
}

/// What one campaign asks for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    spans: Vec<Span>,
    /// One more, from when somebody asks for it on.
    added: Option<(Timestamp, Span)>,
    holidays: Vec<Date>,
    /// The clock of all; none for each one's own.
    clock: Option<&'static str>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    /// Number → the zone that the lead names.
    named: BTreeMap<String, &'static str>,
}

/// The hours by law of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Law {
    #[default]
    None,
    BuiltIn,
    /// Those, but for numbers that begin like this.
    With(&'static str, Span),
}

/// The hours of a history.
#[derive(Debug, Clone, Default)]
pub struct Hours {
    begin: Option<&'static str>,
    law: Law,
    /// By the campaigns' ids.
    asked: BTreeMap<String, Asked>,
}

impl Hours {
    /// Whether everybody may be called at any time.
    pub(crate) fn are_none(&self) -> bool {
        self.is_lawless() && self.asked.is_empty()
    }

    /// Whether there is no law.
    pub(crate) fn is_lawless(&self) -> bool {
        matches!(self.law, Law::None)
    }

    /// In a third of the seeds, drawn apart. The campaigns' leads get numbers all over the world.
    pub(crate) fn of(seed: u64, campaigns: &mut [Campaign], chaos: Duration) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed ^ 0x00c1_0c5e);
        let c = &mut chance;
        if c.u8(0..3) > 0 {
            return Self::default();
        }
        let begin = BEGINS[c.usize(0..BEGINS.len())];
        let begins: Timestamp = begin.parse().expect("a constant instant is one");
        // What is built in has nobody called at night: the campaigns would end at once.
        let law = match c.u8(0..4) {
            0 if begin == BEGIN => Law::BuiltIn,
            1 if begin == BEGIN => {
                let start = 8 * 60 + c.u16(0..10);
                Law::With("+1212", Span { days: 0x7f, start, length: c.u16(2..15) })
            }
            _ => Law::None,
        };
        let mut hours = Self { begin: Some(begin), law, asked: BTreeMap::new() };
        // Drawn apart: what is drawn of the others stays as it was.
        let w = &mut fastrand::Rng::with_seed(seed ^ 0x001d_e4ed);
        for campaign in campaigns {
            let mut asked = some_hours(c, campaign, begins, chaos);
            if w.bool() && !asked.spans.is_empty() {
                asked.added = Some(some_addition(w, &asked, campaign, begins, chaos));
            }
            hours.asked.insert(campaign.id.clone(), asked);
        }
        hours
    }

    /// When the history begins.
    pub(crate) fn begin(&self) -> &'static str {
        self.begin.unwrap_or(BEGIN)
    }

    /// What the functions are told about the law.
    pub(crate) fn law(&self) -> CallingHours {
        let text = match self.law {
            Law::None => "none".to_owned(),
            Law::BuiltIn => "default".to_owned(),
            Law::With(prefix, span) => json!({ "rules": { prefix: { "spans": [span.json()] } } }).to_string(),
        };
        CallingHours::parse(&text).expect("good rules")
    }

    /// Writes what the campaigns ask for into their messages.
    pub(crate) fn write(&self, changes: &mut [(Duration, Change)]) {
        for (_, change) in changes {
            let Change::Send(body) = change else { continue };
            let Ok(mut message) = serde_json::from_str::<Value>(body) else { continue };
            let Some(asked) = message["campaign"]["id"].as_str().and_then(|id| self.asked.get(id)) else {
                continue;
            };
            if !asked.spans.is_empty() {
                let spans = spans(&asked.spans);
                let mut window = json!({ "spans": spans, "timezone": asked.clock.unwrap_or("recipient") });
                if !asked.holidays.is_empty() {
                    window["holidays"] = asked.holidays.iter().map(ToString::to_string).collect();
                }
                message["campaign"]["window"] = window;
            }
            for (field, instant) in [("startAt", asked.start), ("endAt", asked.end)] {
                if let Some(instant) = instant {
                    message["campaign"][field] = json!(instant);
                }
            }
            for lead in message["leads"].as_array_mut().into_iter().flatten() {
                let number = lead["number"].as_str().unwrap_or_default();
                let zone = match asked.named.get(number) {
                    Some(zone) => Some(*zone),
                    // Nobody of the above: the late one.
                    None if home(number).is_none() => Some("UTC"),
                    None => None,
                };
                if let Some(zone) = zone {
                    lead["timezone"] = json!(zone);
                }
            }
            *body = message.to_string();
        }
    }

    /// The windows that are widened in mid-campaign.
    pub(crate) fn edits(&self) -> impl Iterator<Item = (Duration, Change)> {
        let begins: Timestamp = self.begin().parse().expect("a constant instant is one");
        self.asked.iter().filter_map(move |(id, asked)| {
            let (when, span) = asked.added?;
            let all: Vec<Span> = asked.spans.iter().copied().chain([span]).collect();
            let patch = json!({ "window": { "spans": spans(&all) } });
            let edit = Ask::Edit(patch.as_object().cloned().unwrap_or_default());
            Some((when.duration_since(begins).unsigned_abs(), Change::Ask(id.clone(), edit)))
        })
    }

    /// Nobody is dialed outside of what is allowed. No window is closed for who is promised a call.
    pub(crate) fn dialed(&self, campaign: &str, number: &str, is_promised: bool, now: Timestamp) -> Checked {
        let Some(asked) = self.asked.get(campaign) else { return Ok(()) };
        let open = Asked { spans: Vec::new(), ..asked.clone() };
        let asked = if is_promised { &open } else { asked };
        let skew = SignedDuration::try_from(MOST_SKEW).expect("some seconds");
        let mut at = now + skew;
        while at >= now - skew - LATE {
            if self.allows(asked, number, at) {
                return Ok(());
            }
            at -= SignedDuration::from_secs(1);
        }
        ensure(false, "no dial outside the hours", || {
            let zones = zones(asked, number);
            let text = number.get(..7).unwrap_or_default();
            format!("a lead of {campaign} ({text}… in {zones:?}) is dialed at {now}, {asked:?}")
        })
    }

    /// Nobody is given up who may still be called, from their turn on.
    pub(crate) fn gave_up(&self, campaign: &str, number: &str, turn: Timestamp, now: Timestamp) -> Checked {
        let asked = self.asked.get(campaign);
        let end = asked.and_then(|asked| asked.end);
        let (Some(asked), Some(end)) = (asked, end) else {
            return ensure(false, "P4", || {
                format!("a lead of {campaign} ended for its window, which has no end")
            });
        };
        // Who gave it up may not have known of the other hours yet.
        let asked = &Asked { added: None, ..asked.clone() };
        let mut at = turn.max(now + SignedDuration::try_from(MOST_SKEW).expect("some seconds"));
        while at < end {
            ensure(!self.allows(asked, number, at), "P4", || {
                format!("a lead of {campaign} was given up at {now} and may be called at {at}: {asked:?}")
            })?;
            at += SignedDuration::from_secs(10);
        }
        Ok(())
    }

    fn allows(&self, asked: &Asked, number: &str, at: Timestamp) -> bool {
        if asked.start.is_some_and(|start| at < start) || asked.end.is_some_and(|end| at >= end) {
            return false;
        }
        let zones = zones(asked, number);
        let clocks: Vec<&str> = asked.clock.map_or_else(|| zones.clone(), |clock| vec![clock]);
        let in_window = asked.spans.is_empty()
            || clocks.iter().all(|zone| {
                let (today, minute) = wall(at, zone);
                let added = asked.added.filter(|(when, _)| at >= *when).map(|(_, span)| span);
                let mut spans = asked.spans.iter().copied().chain(added);
                spans.any(|span| span.shows(today, minute, &asked.holidays))
            });
        in_window
            && self.lawful(number).is_none_or(|spans| {
                zones.iter().all(|zone| {
                    let (today, minute) = wall(at, zone);
                    spans.iter().any(|span| span.shows(today, minute, &[]))
                })
            })
    }

    /// The spans of the law for a number.
    fn lawful(&self, number: &str) -> Option<Vec<Span>> {
        let hours = |days, from: u16, to: u16| Span { days, start: from * 60, length: (to - from) * 60 };
        match self.law {
            Law::None => return None,
            Law::With(prefix, span) if number.starts_with(prefix) => return Some(vec![span]),
            Law::With(..) | Law::BuiltIn => {}
        }
        Some(match number {
            florida_or_oklahoma if ["+1305", "+1405"].iter().any(|p| florida_or_oklahoma.starts_with(p)) => {
                vec![hours(0x7f, 8, 20)]
            }
            newfoundland if newfoundland.starts_with("+1709") => {
                vec![Span { days: 0x1f, start: 540, length: 750 }, hours(0x60, 10, 18)]
            }
            france if france.starts_with("+33") => vec![hours(0x1f, 10, 13), hours(0x1f, 14, 20)],
            spain if spain.starts_with("+34") => vec![hours(0x1f, 9, 21)],
            australia if australia.starts_with("+61") => vec![hours(0x1f, 9, 20), hours(0x20, 9, 17)],
            _ => vec![hours(0x7f, 8, 21)],
        })
    }
}

fn spans(spans: &[Span]) -> Vec<Value> {
    spans.iter().map(|span| span.json()).collect()
}

/// What the clock on the wall shows: the day, and the minute of it.
fn wall(at: Timestamp, zone: &str) -> (Date, u16) {
    let zone = TimeZone::get(zone).expect("the zones above are known");
    let local = at.to_zoned(zone);
    (local.date(), local.hour() as u16 * 60 + local.minute() as u16)
}

/// Where the owner of a number may be.
fn home(number: &str) -> Option<&'static [&'static str]> {
    PEOPLE.iter().find(|(prefix, _)| number.starts_with(prefix)).map(|(_, zones)| *zones)
}

fn zones(asked: &Asked, number: &str) -> Vec<&'static str> {
    match (asked.named.get(number), home(number)) {
        (Some(named), _) => vec![named],
        (None, Some(zones)) => zones.to_vec(),
        (None, None) => vec!["UTC"],
    }
}

/// A span that is added to a window at some time, mostly one that is open then where one of the campaign's people is.
fn some_addition(
    w: &mut fastrand::Rng,
    asked: &Asked,
    campaign: &Campaign,
    begins: Timestamp,
    chaos: Duration,
) -> (Timestamp, Span) {
    // Soon, while there are leads that wait.
    let when = begins + SignedDuration::from_secs(some_time(w, chaos / 4).as_secs() as i64);
    let zone = match (asked.clock, &campaign.leads[w.usize(0..campaign.leads.len())]) {
        (Some(zone), _) => zone,
        (None, (_, number)) => zones(asked, number)[0],
    };
    let (_, minute) = wall(when, zone);
    let start = (minute + DAY - w.u16(0..10)) % DAY;
    (when, Span { days: 0x7f, start, length: w.u16(3..60) })
}

/// A window of some minutes around those of the history, in some of its people's zones; a start; and, so that each
/// lead comes to its end, an end.
fn some_hours(c: &mut fastrand::Rng, campaign: &mut Campaign, begins: Timestamp, chaos: Duration) -> Asked {
    let mut asked = Asked::default();
    let few: Vec<_> = (0..c.usize(1..=4)).map(|_| PEOPLE[c.usize(0..PEOPLE.len())]).collect();
    for (nth, (_, number)) in campaign.leads.iter_mut().enumerate() {
        let (prefix, _) = few[c.usize(0..few.len())];
        // Two campaigns never call the same person.
        let own = u32::from(campaign.id.as_bytes()[1] - b'0') * 500 + nth as u32;
        *number = format!("{prefix}{own:04}");
        if c.u8(0..4) == 0 {
            asked.named.insert(number.clone(), NAMED[c.usize(0..NAMED.len())]);
        }
    }
    let after = |seconds: u64| begins + SignedDuration::from_secs(seconds as i64);
    if c.u8(0..5) > 0 {
        asked.clock = (c.u8(0..4) == 0).then(|| few[0].1[0]);
        for _ in 0..c.u8(1..=3) {
            let zone = few[c.usize(0..few.len())].1[0];
            let (_, minute) = wall(begins, zone);
            let start = (minute + DAY + c.u16(0..40) - 20) % DAY;
            let days = if c.u8(0..4) == 0 { c.u8(1..0x80) } else { 0x7f };
            asked.spans.push(Span { days, start, length: c.u16(3..60) });
        }
        if c.u8(0..4) == 0 {
            let (today, _) = wall(begins, few[0].1[0]);
            asked.holidays.push(if c.bool() { today } else { today - 1.day() });
        }
    }
    if c.u8(0..3) == 0 {
        asked.start = Some(after(c.u64(0..chaos.as_secs() / 3)));
    }
    asked.end = Some(after(c.u64(chaos.as_secs() / 3 + 1..chaos.as_secs() + 1200)));
    asked
}
