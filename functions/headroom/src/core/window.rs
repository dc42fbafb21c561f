//! Calling windows: on which days and between which hours of whose clock a person may be called.

use std::collections::HashSet;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
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
    /// Not in the IANA data base. Without the text: in a shifted column it may be anything.
    #[error("the time zone is not known; use an IANA name such as America/New_York, or \"recipient\"")]
    Zone,
}

/// The hours in which a campaign may call.
///
/// An end before the start means the next morning: 22:00 to 02:00 belongs to the day it starts on.
/// An unknown zone does not construct; it never means "any time".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WindowText", into = "WindowText")]
pub struct Window {
    days: Vec<Weekday>,
    start: Time,
    end: Time,
    clock: Clock,
}

/// Whose clock a window is read on.
#[derive(Debug, Clone, PartialEq)]
enum Clock {
    Recipient,
    Fixed(TimeZone),
}

/// The window as the campaign message spells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    #[serde(default = "every_day")]
    days: Vec<Day>,
    start: String,
    end: String,
    #[serde(default = "recipient")]
    timezone: String,
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

fn recipient() -> String {
    RECIPIENT.to_owned()
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

impl TryFrom<WindowText> for Window {
    type Error = WindowError;
    fn try_from(text: WindowText) -> Result<Self, WindowError> {
        // In the week's order and each once, as they are stored: the same window, however it is spelled.
        let named: HashSet<usize> = text.days.iter().map(|day| *day as usize).collect();
        let days: Vec<Weekday> =
            DAYS.iter().filter(|(day, _)| named.contains(&(*day as usize))).map(|(_, day)| *day).collect();
        if days.is_empty() {
            return Err(WindowError::NoDays);
        }
        let (start, end) = (time_of_day("start", &text.start)?, time_of_day("end", &text.end)?);
        if start == end && text.end != "24:00" {
            return Err(WindowError::Empty);
        }
        let clock =
            if text.timezone == RECIPIENT { Clock::Recipient } else { Clock::Fixed(zone(&text.timezone)?) };
        Ok(Self { days, start, end, clock })
    }
}

impl From<Window> for WindowText {
    fn from(window: Window) -> Self {
        let days = DAYS.iter().filter(|(_, day)| window.days.contains(day)).map(|(day, _)| *day).collect();
        let clock = |time: Time| time.strftime("%H:%M").to_string();
        let timezone = match &window.clock {
            Clock::Recipient => recipient(),
            Clock::Fixed(zone) => zone.iana_name().unwrap_or("UTC").to_owned(),
        };
        let end = if window.end == Time::midnight() { "24:00".to_owned() } else { clock(window.end) };
        Self { days, start: clock(window.start), end, timezone }
    }
}

impl Window {
    /// Whether the window is read on each recipient's own clock, so that every lead needs a zone.
    pub fn needs_recipient_zone(&self) -> bool {
        self.clock == Clock::Recipient
    }

    /// The first instant from `now` on at which the window is open: `now` itself if it is open.
    ///
    /// `recipient` is the lead's zone; `None` where the window needs one means that nobody knows
    /// when it opens, and so does a result of `None`.
    pub fn opens(&self, now: Timestamp, recipient: Option<&TimeZone>) -> Option<Timestamp> {
        let zone = match &self.clock {
            Clock::Recipient => recipient?,
            Clock::Fixed(zone) => zone,
        };
        let local = now.to_zoned(zone.clone());
        // From yesterday, whose window may reach over midnight, to the same weekday next week.
        (-1..=8)
            .filter_map(|ahead| self.span(&local, ahead))
            .find_map(|(start, end)| (now < end).then(|| start.max(now)))
    }

    /// The window that starts `ahead` days after the local day, as instants; `None` where that day
    /// is not in it. A time that a clock change skips or repeats resolves as the calendar does.
    fn span(&self, local: &Zoned, ahead: i64) -> Option<(Timestamp, Timestamp)> {
        let day = local.date().checked_add(ahead.days()).ok()?;
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.end <= self.start { day.checked_add(1.day()).ok()? } else { day };
        let at = |date: jiff::civil::Date, time| {
            date.to_datetime(time).to_zoned(local.time_zone().clone()).ok().map(|zoned| zoned.timestamp())
        };
        Some((at(day, self.start)?, at(last, self.end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(json: &str) -> Window {
        serde_json::from_str(json).expect("a window")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
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
        for (now, opens) in cases {
            assert_eq!(office.opens(at(now), None), Some(at(opens)), "{now}");
        }
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_it_starts_on() {
        let night = window(r#"{"days":["fri"],"start":"22:00","end":"02:00","timezone":"UTC"}"#);
        assert_eq!(night.opens(at("2026-11-21T01:59:00Z"), None), Some(at("2026-11-21T01:59:00Z")));
        assert_eq!(night.opens(at("2026-11-20T01:00:00Z"), None), Some(at("2026-11-20T22:00:00Z")));
        assert_eq!(night.opens(at("2026-11-21T02:00:00Z"), None), Some(at("2026-11-27T22:00:00Z")));
    }

    #[test]
    fn hours_follow_the_recipients_clock_through_a_clock_change() {
        let day = window(r#"{"start":"09:00","end":"18:00"}"#);
        let new_york = zone("America/New_York").expect("a zone");
        assert_eq!(day.opens(at("2026-10-31T12:00:00Z"), Some(&new_york)), Some(at("2026-10-31T13:00:00Z")));
        assert_eq!(day.opens(at("2026-11-01T12:00:00Z"), Some(&new_york)), Some(at("2026-11-01T14:00:00Z")));
    }

    #[test]
    fn an_unknown_zone_never_means_any_time() {
        let day = window(r#"{"start":"00:00","end":"24:00"}"#);
        assert_eq!(day.opens(at("2026-11-20T12:00:00Z"), None), None);
        for bad in [
            r#"{"start":"09:00","end":"18:00","timezone":"Mars/Olympus"}"#,
            r#"{"start":"09:00","end":"09:00"}"#,
            r#"{"start":"9 o'clock","end":"18:00"}"#,
            r#"{"start":"09:00","end":"18:00","timezone":"Etc/Unknown"}"#,
            r#"{"days":[],"start":"09:00","end":"18:00"}"#,
            r#"{"days":["someday"],"start":"09:00","end":"18:00"}"#,
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
}
