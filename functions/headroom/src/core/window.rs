//! Calling windows: on which days and between which hours of whose clock a person may be called.
//!
//! What counts is what the clock on the wall shows. A span is open while the clock shows a time within it, on a day
//! that it starts on. So where a clock change skips the hour in which a span would open, it opens when the clock
//! goes on; where an hour comes twice, so do the spans within it, and one that is over opens again when its time
//! does. Never is a span open while the clock shows another time.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Why a window is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No day, or one twice is fine, but none is not.
    #[error("window.days is empty")]
    NoDays,
    /// Not `HH:MM`.
    #[error("window.{0} is not a time of day like 09:00")]
    Time(&'static str),
    /// `start` = `end`.
    #[error("window.start and window.end are the same: nobody could ever be called")]
    Empty,
    /// Neither one span nor several, or both.
    #[error("give window.start and window.end, or window.spans with 1 to {MOST_SPANS} of them")]
    Spans,
    /// Not `YYYY-MM-DD`.
    #[error("window.holidays has something that is not a date like 2026-12-25")]
    Holiday,
    /// More than anybody needs.
    #[error("window.holidays has more than {MOST_HOLIDAYS} dates")]
    Holidays,
    /// Not in the IANA data base. Without the text: in a shifted column it may be anything.
    #[error("the time zone is not known; use an IANA name such as America/New_York, or \"recipient\"")]
    Zone,
    /// A clock where only hours are asked for.
    #[error("hours by law are on the clock of whoever is called: they take no timezone")]
    Clock,
}

/// Most spans of a window.
pub const MOST_SPANS: usize = 14;
/// Most holidays of a window.
pub const MOST_HOLIDAYS: usize = 100;

/// How far ahead an opening is looked for: who cannot be called within it cannot be called at all.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 366);

/// The hours in which a campaign may call.
///
/// An end before the start means the next morning: 22:00 to 02:00 belongs to the day it starts on.
/// An unknown zone does not construct; it never means "any time".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WindowText", into = "WindowText")]
pub struct Window {
    hours: Hours,
    clock: Clock,
}

/// Spans of the week, but for those that start on a holiday, on any clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    spans: Vec<Span>,
    holidays: BTreeSet<Date>,
}

/// From a time of day to another, on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    days: Vec<Weekday>,
    start: Time,
    end: Time,
}

/// Whose clock a window is read on.
#[derive(Debug, Clone, PartialEq)]
enum Clock {
    Recipient,
    Fixed(TimeZone),
}

/// Hours as they are spelled: one span, or several; and with whose clock, they are a window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Vec<Day>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<SpanText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holidays: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanText {
    #[serde(default = "every_day")]
    days: Vec<Day>,
    start: String,
    end: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const DAYS: [(Day, Weekday); 7] = [
    (Day::Mon, Weekday::Monday),
    (Day::Tue, Weekday::Tuesday),
    (Day::Wed, Weekday::Wednesday),
    (Day::Thu, Weekday::Thursday),
    (Day::Fri, Weekday::Friday),
    (Day::Sat, Weekday::Saturday),
    (Day::Sun, Weekday::Sunday),
];

fn every_day() -> Vec<Day> {
    DAYS.iter().map(|(day, _)| *day).collect()
}

const RECIPIENT: &str = "recipient";

/// An IANA zone by name.
pub fn zone(name: &str) -> Result<TimeZone, WindowError> {
    // "Etc/Unknown" is found, too: UTC under a name that says that nobody knows.
    TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some()).ok_or(WindowError::Zone)
}

fn time_of_day(field: &'static str, text: &str) -> Result<Time, WindowError> {
    if text == "24:00" {
        return Ok(Time::midnight());
    }
    Time::strptime("%H:%M", text).map_err(|_| WindowError::Time(field))
}

impl TryFrom<SpanText> for Span {
    type Error = WindowError;
    fn try_from(text: SpanText) -> Result<Self, WindowError> {
        // In the week's order and each once, as they are stored: the same window, however it is spelled.
        let is_named = |day: Day| text.days.iter().any(|named| *named as usize == day as usize);
        let days: Vec<Weekday> =
            DAYS.iter().filter(|(day, _)| is_named(*day)).map(|(_, weekday)| *weekday).collect();
        if days.is_empty() {
            return Err(WindowError::NoDays);
        }
        let (start, end) = (time_of_day("start", &text.start)?, time_of_day("end", &text.end)?);
        if start == end && text.end != "24:00" {
            return Err(WindowError::Empty);
        }
        Ok(Self { days, start, end })
    }
}

impl From<Span> for SpanText {
    fn from(span: Span) -> Self {
        let days = DAYS.iter().filter(|(_, day)| span.days.contains(day)).map(|(day, _)| *day).collect();
        let clock = |time: Time| time.strftime("%H:%M").to_string();
        let end = if span.end == Time::midnight() { "24:00".to_owned() } else { clock(span.end) };
        Self { days, start: clock(span.start), end }
    }
}

impl TryFrom<WindowText> for Hours {
    type Error = WindowError;
    fn try_from(text: WindowText) -> Result<Self, WindowError> {
        if text.timezone.is_some() {
            return Err(WindowError::Clock);
        }
        let spans = match (text.start, text.end) {
            (Some(start), Some(end)) if text.spans.is_empty() => {
                vec![SpanText { days: text.days.unwrap_or_else(every_day), start, end }]
            }
            (None, None) if text.days.is_none() => text.spans,
            _ => return Err(WindowError::Spans),
        };
        if spans.is_empty() || spans.len() > MOST_SPANS {
            return Err(WindowError::Spans);
        }
        if text.holidays.len() > MOST_HOLIDAYS {
            return Err(WindowError::Holidays);
        }
        let date = |text: String| Date::strptime("%Y-%m-%d", text).map_err(|_| WindowError::Holiday);
        Ok(Self {
            spans: spans.into_iter().map(Span::try_from).collect::<Result<_, _>>()?,
            holidays: text.holidays.into_iter().map(date).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Hours> for WindowText {
    fn from(hours: Hours) -> Self {
        let holidays = hours.holidays.iter().map(|date| date.strftime("%Y-%m-%d").to_string()).collect();
        let mut spans: Vec<SpanText> = hours.spans.into_iter().map(SpanText::from).collect();
        if spans.len() > 1 {
            return Self { spans, holidays, ..Self::default() };
        }
        let only = spans.pop();
        let (days, start, end) = match only {
            Some(SpanText { days, start, end }) => (Some(days), Some(start), Some(end)),
            None => (None, None, None),
        };
        Self { days, start, end, holidays, ..Self::default() }
    }
}

impl TryFrom<WindowText> for Window {
    type Error = WindowError;
    fn try_from(mut text: WindowText) -> Result<Self, WindowError> {
        let clock = match text.timezone.take().as_deref() {
            None | Some(RECIPIENT) => Clock::Recipient,
            Some(name) => Clock::Fixed(zone(name)?),
        };
        Ok(Self { hours: text.try_into()?, clock })
    }
}

impl From<Window> for WindowText {
    fn from(window: Window) -> Self {
        let timezone = match &window.clock {
            Clock::Recipient => RECIPIENT,
            Clock::Fixed(zone) => zone.iana_name().unwrap_or("UTC"),
        };
        let timezone = Some(timezone.to_owned());
        Self { timezone, ..window.hours.into() }
    }
}

impl Window {
    /// Whether the window is read on each recipient's own clock, so that every lead needs a zone.
    pub fn needs_recipient_zone(&self) -> bool {
        self.clock == Clock::Recipient
    }

    /// Its hours, and the clock that they are read on, where it is the same for all.
    pub fn parts(&self) -> (&Hours, Option<&TimeZone>) {
        match &self.clock {
            Clock::Recipient => (&self.hours, None),
            Clock::Fixed(zone) => (&self.hours, Some(zone)),
        }
    }
}

impl Hours {
    /// The first instant from `from` on and before `until` at which they are open on a zone's clock: `from` itself if
    /// they are.
    pub fn opens(&self, from: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut at = from;
        while at < until {
            // Up to the next clock change, the clock on the wall goes on evenly.
            let change = zone.following(at).next().map_or(until, |change| change.timestamp().min(until));
            let offset = zone.to_offset(at);
            let first = self.first(offset.to_datetime(at), offset.to_datetime(change).date());
            let opens = first.and_then(|first| offset.to_timestamp(first).ok());
            if let Some(opens) = opens.filter(|opens| *opens < change) {
                return Some(opens);
            }
            at = change;
        }
        None
    }

    /// The first time from `local` on, of spans that start by `last`, that is within a span.
    fn first(&self, local: DateTime, last: Date) -> Option<DateTime> {
        let today = local.date();
        // From yesterday, whose spans may reach over midnight.
        let mut day = today.yesterday().unwrap_or(today);
        while day <= last {
            let on = |span: &Span| span.on(day).filter(|(_, end)| local < *end);
            let spans = self.spans.iter().filter_map(on).map(|(start, _)| start.max(local));
            let first = if self.holidays.contains(&day) { None } else { spans.min() };
            if first.is_some() {
                return first;
            }
            day = day.tomorrow().ok()?;
        }
        None
    }
}

impl Span {
    /// The span that starts on a day, if one does.
    fn on(&self, day: Date) -> Option<(DateTime, DateTime)> {
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.end <= self.start { day.tomorrow().ok()? } else { day };
        Some((day.to_datetime(self.start), last.to_datetime(self.end)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(json: &str) -> Window {
        serde_json::from_str(json).expect("a window")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    /// When a window on one clock opens next.
    fn opens(window: &Window, now: &str) -> Option<Timestamp> {
        let (hours, zone) = window.parts();
        let now = at(now);
        hours.opens(now, now + HORIZON, zone.expect("a clock for all"))
    }

    fn hours(json: &str, zone_name: &str, now: &str) -> String {
        let window = window(json);
        let opens = window.parts().0.opens(at(now), at(now) + HORIZON, &zone(zone_name).expect("a zone"));
        opens.map(|opens| opens.to_string()).unwrap_or_default()
    }

    #[test]
    fn opens_now_later_today_or_after_the_weekend() {
        let office = window(
            r#"{"days":["mon","tue","wed","thu","fri"],"start":"09:00","end":"18:00","timezone":"Europe/Berlin"}"#,
        );
        let cases = [
            ("2026-11-20T09:30:00Z", "2026-11-20T09:30:00Z"), // Friday 10:30
            ("2026-11-20T07:00:00Z", "2026-11-20T08:00:00Z"), // Friday 8:00
            ("2026-11-20T17:00:00Z", "2026-11-23T08:00:00Z"), // Friday 18:00: closed to the instant
            ("2026-11-21T12:00:00Z", "2026-11-23T08:00:00Z"), // Saturday
        ];
        for (now, then) in cases {
            assert_eq!(opens(&office, now), Some(at(then)), "{now}");
        }
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_it_starts_on() {
        let night = window(r#"{"days":["fri"],"start":"22:00","end":"02:00","timezone":"UTC"}"#);
        assert_eq!(opens(&night, "2026-11-21T01:59:00Z"), Some(at("2026-11-21T01:59:00Z")));
        assert_eq!(opens(&night, "2026-11-20T01:00:00Z"), Some(at("2026-11-20T22:00:00Z")));
        assert_eq!(opens(&night, "2026-11-21T02:00:00Z"), Some(at("2026-11-27T22:00:00Z")));
    }

    #[test]
    fn several_spans_and_holidays() {
        let json = r#"{"spans":[{"start":"14:00","end":"20:00"},{"days":["fri"],"start":"22:00","end":"02:00"},
            {"start":"10:00","end":"13:00"}],"holidays":["2026-12-25"],"timezone":"UTC"}"#;
        let window = window(json);
        let cases = [
            ("2026-12-24T09:00:00Z", "2026-12-24T10:00:00Z"),
            ("2026-12-24T13:00:00Z", "2026-12-24T14:00:00Z"),
            ("2026-12-24T20:00:00Z", "2026-12-26T10:00:00Z"), // Friday is a holiday, and its night with it.
            ("2026-12-26T01:00:00Z", "2026-12-26T10:00:00Z"),
            ("2026-12-19T01:00:00Z", "2026-12-19T01:00:00Z"), // The night of an ordinary Friday.
        ];
        for (now, then) in cases {
            assert_eq!(opens(&window, now), Some(at(then)), "{now}");
        }
        let stored = serde_json::to_string(&window).expect("serialises");
        assert_eq!(serde_json::from_str::<Window>(&stored).expect("reads back"), window);
    }

    #[test]
    fn nobody_is_called_on_a_year_of_holidays() {
        let mut day = at("2026-01-02T00:00:00Z").to_zoned(TimeZone::UTC).date();
        let mut dates = Vec::new();
        for _ in 0..MOST_HOLIDAYS {
            dates.push(format!("\"{day}\""));
            day = day.checked_add(jiff::Span::new().days(7)).expect("a date");
        }
        let json = format!(
            r#"{{"days":["fri"],"start":"09:00","end":"18:00","timezone":"UTC","holidays":[{}]}}"#,
            dates.join(",")
        );
        assert_eq!(opens(&window(&json), "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn a_clock_change_never_opens_a_window_at_another_time() {
        let cases = [
            // The skipped hour: what would open in it opens when the clock goes on, if it is not over then.
            ("02:30", "04:00", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),
            ("02:10", "02:50", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T06:10:00Z"),
            // The hour that comes twice: the window opens twice, and is closed in between.
            ("01:00", "01:30", "America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z"),
            ("01:00", "01:30", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z"),
            ("01:00", "01:30", "America/New_York", "2026-11-01T06:30:00Z", "2026-11-02T06:00:00Z"),
            // Half an hour back, from 02:00 to 01:30.
            ("01:45", "02:00", "Australia/Lord_Howe", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z"),
            // A day that there was not: 2011-12-30 of Apia.
            ("09:00", "18:00", "Pacific/Apia", "2011-12-30T06:00:00Z", "2011-12-30T19:00:00Z"),
            ("09:00", "18:00", "Asia/Kathmandu", "2026-03-08T00:00:00Z", "2026-03-08T03:15:00Z"),
        ];
        for (start, end, zone, now, then) in cases {
            let json = format!(r#"{{"start":"{start}","end":"{end}"}}"#);
            assert_eq!(hours(&json, zone, now), then, "{start} to {end} at {zone} from {now}");
        }
    }

    #[test]
    fn hours_follow_the_recipients_clock_through_a_clock_change() {
        let day = r#"{"start":"09:00","end":"18:00"}"#;
        assert_eq!(hours(day, "America/New_York", "2026-10-31T12:00:00Z"), "2026-10-31T13:00:00Z");
        assert_eq!(hours(day, "America/New_York", "2026-11-01T12:00:00Z"), "2026-11-01T14:00:00Z");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for bad in [
            r#"{"start":"09:00","end":"18:00","timezone":"Mars/Olympus"}"#,
            r#"{"start":"09:00","end":"09:00"}"#,
            r#"{"start":"9 o'clock","end":"18:00"}"#,
            r#"{"start":"09:00","end":"18:00","timezone":"Etc/Unknown"}"#,
            r#"{"days":[],"start":"09:00","end":"18:00"}"#,
            r#"{"days":["someday"],"start":"09:00","end":"18:00"}"#,
            r#"{}"#,
            r#"{"spans":[]}"#,
            r#"{"days":["mon"]}"#,
            r#"{"start":"09:00","end":"18:00","spans":[{"start":"09:00","end":"18:00"}]}"#,
            r#"{"days":["mon"],"spans":[{"start":"09:00","end":"18:00"}]}"#,
            r#"{"start":"09:00","end":"18:00","holidays":["Christmas"]}"#,
            r#"{"start":"09:00","end":"18:00","holidays":["2026-02-30"]}"#,
        ] {
            assert!(serde_json::from_str::<Window>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_survives_its_text_form() {
        let text = r#"{"days":["mon","sun"],"start":"09:00","end":"24:00","timezone":"Asia/Tokyo"}"#;
        assert_eq!(serde_json::to_string(&window(text)).expect("serialises"), text);
        let same = r#"{"days":["sun","mon","sun"],"start":"09:00","end":"00:00","timezone":"Asia/Tokyo"}"#;
        assert_eq!(window(same), window(text));
    }

    const ZONES: [&str; 12] = [
        "UTC",
        "America/New_York",
        "America/St_Johns",
        "Europe/Berlin",
        "Europe/Dublin",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Pacific/Chatham",
        "Africa/Casablanca",
        "Asia/Tehran",
        "America/Sao_Paulo",
    ];

    /// Around both clock changes of the zones above, a skipped day, a year's end, and any time.
    fn instants() -> impl Strategy<Value = Timestamp> {
        let around = [
            "2026-03-08T07:00:00Z",
            "2026-11-01T06:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-10-25T01:00:00Z",
            "2026-04-04T15:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-02-15T02:00:00Z",
            "2026-03-22T02:00:00Z",
            "2011-12-30T10:00:00Z",
            "2018-02-18T02:00:00Z",
            "2025-12-31T23:00:00Z",
        ];
        let near = (0..around.len(), -3 * 1440..1440_i64)
            .prop_map(move |(nth, minutes)| at(around[nth]) + SignedDuration::from_mins(minutes));
        let any = (1_300_000_000..2_200_000_000_i64)
            .prop_map(|second| Timestamp::from_second(second - second % 60).expect("an instant"));
        prop_oneof![4 => near, 1 => any]
    }

    prop_compose! {
        fn spans()(days in 1..128_u8, start in 0..96_u16, length in 1..96_u16) -> (u8, u16, u16) {
            (days, start * 15, length * 15)
        }
    }

    /// Whether the clock on the wall shows a time within the spans: minutes counted by hand, a day at a time.
    fn shows(spans: &[(u8, u16, u16)], holidays: &BTreeSet<Date>, at: Timestamp, zone: &TimeZone) -> bool {
        let local = at.to_zoned(zone.clone());
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let today = local.date();
        let before = today.yesterday().expect("a date");
        let starts = |day: Date, days: u8| {
            days & (1 << day.weekday().to_monday_zero_offset()) != 0 && !holidays.contains(&day)
        };
        spans.iter().any(|(days, start, length)| {
            (starts(today, *days) && *start <= minute && minute < start + length)
                || (starts(before, *days) && *start <= minute + 1440 && minute + 1440 < start + length)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// Minute by minute, from `now` on, nothing is open before the instant that is told, and that one is.
        #[test]
        fn the_opening_is_the_first_open_minute(
            spans in prop::collection::vec(spans(), 1..4),
            off in prop::collection::btree_set(0..6_i64, 0..3),
            zone_at in 0..ZONES.len(),
            now in instants(),
        ) {
            let zone = zone(ZONES[zone_at]).expect("a zone");
            let today = now.to_zoned(zone.clone()).date();
            let holidays: BTreeSet<Date> = off.into_iter().map(|day| today + jiff::Span::new().days(day)).collect();
            let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
            let text: Vec<String> = spans.iter().map(|(days, start, length)| {
                let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
                let days: Vec<_> =
                    (0..7).filter(|day| days & (1 << day) != 0).map(|day| format!("\"{}\"", names[day])).collect();
                let end = if (start + length) % 1440 == 0 { "24:00".into() } else { clock(start + length) };
                format!(r#"{{"days":[{}],"start":"{}","end":"{end}"}}"#, days.join(","), clock(*start))
            }).collect();
            let dates: Vec<String> = holidays.iter().map(|date| format!("\"{date}\"")).collect();
            let json = format!(r#"{{"spans":[{}],"holidays":[{}]}}"#, text.join(","), dates.join(","));
            let window: Window = serde_json::from_str(&json).expect(&json);
            let opens = window.parts().0.opens(now, now + HORIZON, &zone).expect("within a year");
            prop_assert!(shows(&spans, &holidays, opens, &zone), "{json} at {zone:?} is closed at {opens}");
            let mut minute = now;
            while minute < opens {
                prop_assert!(!shows(&spans, &holidays, minute, &zone), "{json} at {zone:?} is open at {minute}");
                minute += SignedDuration::from_mins(1);
            }
        }
    }
}
