//! What `headroom usage` prints: calls by the day, and a chart of the most lines in use at once.
//!
//! An hour that is known and idle is a finding; one that is not known is none. So a zero never
//! stands for "not known": the table has `–` there and the chart `?`.

use std::collections::BTreeMap;

use headroom::table::usage::UsageHour;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The usage of `from..until` as text, at most 100 columns wide. Days and hours are UTC.
///
/// `hours` are the known ones, `known_until` is how far the backfill has come, and `limit` is how
/// many lines the pool has now.
pub fn report(
    hours: &[UsageHour],
    from: Timestamp,
    until: Timestamp,
    known_until: Option<Timestamp>,
    limit: Option<u32>,
) -> String {
    let hours: BTreeMap<Timestamp, &UsageHour> = hours
        .iter()
        .filter(|hour| (from..until).contains(&hour.start))
        .map(|hour| (start_of_hour(hour.start), hour))
        .collect();
    if hours.is_empty() {
        return nothing(from, until, known_until);
    }
    let days = by_day(&hours, from, until);
    let mut total = Sum::default();
    for day in days.values() {
        total.add(&day.whole);
    }

    let mut lines = vec![format!("Usage from {} to {} UTC", minute(from), minute(until)), String::new()];
    lines.extend(table(&days, &total));
    lines.push(String::new());
    lines.extend(chart(&days, until.duration_since(from) <= HOURLY, total.peak, limit));
    lines.push(String::new());
    lines.extend(remarks(&hours, total.peak, until, known_until, limit));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The longest range that is charted by the hour; a longer one is charted by the day.
const HOURLY: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Stands in the table where nothing is known.
const UNKNOWN: &str = "–";
/// The peak from which on there is advice, in percent of the limit.
const NEARLY_FULL: u64 = 90;

/// The columns of calls, in the order of [`Sum::calls`].
const KINDS: [&str; 4] = ["inbound", "outbound", "web", "other"];
/// The column that is left out while it is empty.
const OTHER: usize = 3;

fn column(call_type: &str) -> usize {
    match call_type {
        "inboundPhoneCall" => 0,
        "outboundPhoneCall" => 1,
        "webCall" | "vapi.websocketCall" => 2,
        _ => OTHER,
    }
}

/// What is known of a stretch of time.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    /// Its hours within the range.
    asked: u32,
    /// Those of them that are known. The rest of the figures is about these alone.
    known: u32,
    peak: u32,
    calls: [u64; KINDS.len()],
    minutes: f64,
}

impl Sum {
    /// One hour of the range.
    fn of(hour: Option<&UsageHour>) -> Self {
        let mut sum = Self { asked: 1, ..Self::default() };
        if let Some(hour) = hour {
            sum.known = 1;
            sum.peak = hour.peak;
            for (call_type, volume) in &hour.by_type {
                sum.calls[column(call_type)] += volume.calls;
                sum.minutes += volume.minutes;
            }
        }
        sum
    }

    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.known += other.known;
        self.peak = self.peak.max(other.peak);
        self.minutes += other.minutes;
        for (mine, theirs) in self.calls.iter_mut().zip(other.calls) {
            *mine += theirs;
        }
    }

    /// One character of the chart, `full` lines being the tallest. Idle is only what is known to
    /// the last hour.
    fn mark(&self, full: u32) -> char {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        if self.asked == 0 {
            ' '
        } else if self.peak > 0 || self.calls.iter().any(|calls| *calls > 0) {
            // A call without a sampled peak still held a line. The tallest bar is for `full` alone.
            let below_full = full.saturating_sub(self.peak.max(1));
            let steps = (u64::from(below_full) * 7).div_ceil(u64::from(full.saturating_sub(1).max(1)));
            BARS[7 - steps as usize]
        } else if self.known == self.asked {
            '·'
        } else {
            '?'
        }
    }
}

/// One date.
#[derive(Default)]
struct Day {
    whole: Sum,
    hours: [Sum; 24],
}

/// Every day of the range, with the known hours in their places.
fn by_day(hours: &BTreeMap<Timestamp, &UsageHour>, from: Timestamp, until: Timestamp) -> BTreeMap<Date, Day> {
    let mut days: BTreeMap<Date, Day> = BTreeMap::new();
    let mut start = start_of_hour(from);
    while start < until {
        let civil = start.to_zoned(TimeZone::UTC).datetime();
        let sum = Sum::of(hours.get(&start).copied());
        let day = days.entry(civil.date()).or_default();
        day.whole.add(&sum);
        day.hours[civil.hour() as usize].add(&sum);
        start += SignedDuration::from_hours(1);
    }
    days
}

fn table(days: &BTreeMap<Date, Day>, total: &Sum) -> Vec<String> {
    let kinds = if total.calls[OTHER] > 0 { KINDS.len() } else { OTHER };
    let row = |name: String, sum: &Sum| {
        let figure = |text: String| if sum.known > 0 { text } else { UNKNOWN.to_owned() };
        let mut row = vec![name, format!("{}/{}", sum.known, sum.asked), figure(sum.peak.to_string())];
        row.extend(sum.calls[..kinds].iter().map(|calls| figure(calls.to_string())));
        row.push(figure(format!("{:.1}", sum.minutes)));
        row
    };
    let mut header: Vec<String> = ["date", "hours known", "peak lines"].map(str::to_owned).into();
    header.extend(KINDS[..kinds].iter().map(|kind| (*kind).to_owned()));
    header.push("minutes".to_owned());

    let mut rows = vec![header];
    rows.extend(days.iter().map(|(date, day)| row(date.to_string(), &day.whole)));
    rows.push(row("total".to_owned(), total));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let aligned = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(aligned).collect()
}

fn chart(days: &BTreeMap<Date, Day>, hourly: bool, peak: u32, limit: Option<u32>) -> Vec<String> {
    let full = peak.max(limit.unwrap_or(1));
    let of = if limit == Some(full) { "the limit" } else { "the peak" };
    let (by, ruler) =
        if hourly { ("hour", "0     6     12    18") } else { ("day", "1   5    10   15   20   25   30") };
    let mut lines = vec![
        format!("Most lines at once, by the {by} (█ = {full}, {of}; · = idle; ? = not known)"),
        String::new(),
        format!("{:12}{ruler}", ""),
    ];
    if hourly {
        lines.extend(days.iter().map(|(date, day)| {
            let marks: String = day.hours.iter().map(|hour| hour.mark(full)).collect();
            format!("{date}  {marks}")
        }));
        return lines;
    }
    let mut months: BTreeMap<Date, [char; 31]> = BTreeMap::new();
    for (date, day) in days {
        let month = months.entry(date.first_of_month()).or_insert([' '; 31]);
        month[date.day() as usize - 1] = day.whole.mark(full);
    }
    lines.extend(months.iter().map(|(month, marks)| {
        let marks: String = marks.iter().collect();
        format!("{:12}{marks}", month.strftime("%Y-%m").to_string())
    }));
    lines
}

fn remarks(
    hours: &BTreeMap<Timestamp, &UsageHour>,
    peak: u32,
    until: Timestamp,
    known_until: Option<Timestamp>,
    limit: Option<u32>,
) -> Vec<String> {
    let mut lines = Vec::new();
    match hours.iter().find(|(_, hour)| hour.peak == peak) {
        Some((start, _)) if peak > 0 => {
            let lines_in_use = if peak == 1 { "1 line".to_owned() } else { format!("{peak} lines") };
            let share = limit.map_or(String::new(), |limit| format!(" of {limit}"));
            lines
                .push(format!("Peak: {lines_in_use}{share}, first in the hour from {} UTC.", minute(*start)));
        }
        _ => lines.push("Peak: none in the hours that are known.".to_owned()),
    }
    if let Some(known_until) = known_until.filter(|known_until| *known_until < until) {
        lines.push(format!("Known up to {} UTC; the backfill adds to it every hour.", minute(known_until)));
    }
    if let Some(limit) = limit
        && u64::from(peak) * 100 >= u64::from(limit) * NEARLY_FULL
    {
        lines.push(
            "At 90 % of the lines or more, callers may find none: add lines, or give callers more headroom."
                .to_owned(),
        );
    }
    lines
}

/// What to do when nothing is known of the range.
fn nothing(from: Timestamp, until: Timestamp, known_until: Option<Timestamp>) -> String {
    let range = format!("No usage is known from {} to {} UTC.\n", minute(from), minute(until));
    let advice = match known_until {
        None => "The backfill has not run yet. It runs every hour: wait for it, or run it now.\n".to_owned(),
        Some(known_until) if known_until <= from => format!(
            "It is known up to {} UTC. The backfill runs every hour: wait for it, or run it now.\n",
            minute(known_until)
        ),
        Some(known_until) => format!(
            "It is known up to {} UTC, but not so far back: ask for a later range.\n",
            minute(known_until)
        ),
    };
    range + &advice
}

fn start_of_hour(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(3600)).expect("an earlier second of the same hour")
}

fn minute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom::table::usage::Volume;

    fn at(text: &str) -> Timestamp {
        format!("{text}:00Z").parse().expect("a minute")
    }

    fn hour(start: Timestamp, peak: u32, by_type: &[(&str, u64, f64)]) -> UsageHour {
        let by_type = by_type.iter().map(|&(name, calls, minutes)| (name.into(), Volume { calls, minutes }));
        UsageHour { start, peak, by_type: by_type.collect() }
    }

    /// The hours of `from..until`, each as `of` says by its number.
    fn every_hour(from: &str, until: &str, of: impl Fn(Timestamp, usize) -> UsageHour) -> Vec<UsageHour> {
        let start = |n: usize| at(from) + SignedDuration::from_hours(n as i64);
        (0..)
            .map(|n| (n, start(n)))
            .take_while(|(_, at_n)| *at_n < at(until))
            .map(|(n, s)| of(s, n))
            .collect()
    }

    #[test]
    fn without_usage_it_says_what_to_do() {
        let (from, until) = (at("2026-03-20T00:00"), at("2026-03-27T00:00"));
        let text = |known_until| report(&[], from, until, known_until, Some(10));
        assert_eq!(
            text(None),
            "No usage is known from 2026-03-20 00:00 to 2026-03-27 00:00 UTC.\n\
             The backfill has not run yet. It runs every hour: wait for it, or run it now.\n"
        );
        assert_eq!(
            text(Some(at("2026-03-19T05:00"))),
            "No usage is known from 2026-03-20 00:00 to 2026-03-27 00:00 UTC.\n\
             It is known up to 2026-03-19 05:00 UTC. The backfill runs every hour: wait for it, or run it now.\n"
        );
        assert_eq!(
            text(Some(at("2026-07-01T00:00"))),
            "No usage is known from 2026-03-20 00:00 to 2026-03-27 00:00 UTC.\n\
             It is known up to 2026-07-01 00:00 UTC, but not so far back: ask for a later range.\n"
        );
        assert!(report(&[], until, from, None, None).starts_with("No usage"), "a range of no hours");
    }

    #[test]
    fn an_idle_day_is_zeros() {
        let (from, until) = ("2026-03-20T00:00", "2026-03-21T00:00");
        let hours = every_hour(from, until, |start, _| hour(start, 0, &[]));
        assert_eq!(
            report(&hours, at(from), at(until), Some(at(until)), Some(10)),
            "\
Usage from 2026-03-20 00:00 to 2026-03-21 00:00 UTC

date        hours known  peak lines  inbound  outbound  web  minutes
2026-03-20        24/24           0        0         0    0      0.0
total             24/24           0        0         0    0      0.0

Most lines at once, by the hour (█ = 10, the limit; · = idle; ? = not known)

            0     6     12    18
2026-03-20  ························

Peak: none in the hours that are known.
"
        );
    }

    #[test]
    fn what_is_not_known_is_never_a_zero() {
        // From noon to noon; known but for three hours, a whole day, and what comes after the checkpoint.
        let (from, until) = ("2026-03-20T12:00", "2026-03-23T12:00");
        let mut hours = every_hour(from, "2026-03-23T04:00", |start, n| {
            let busy = n == 1 || n == 10;
            let calls: &[_] = if busy { &[("inboundPhoneCall", 1, 2.25)] } else { &[] };
            hour(start, u32::from(busy), calls)
        });
        hours.retain(|hour| {
            let gap = at("2026-03-20T15:00")..at("2026-03-20T18:00");
            let day = at("2026-03-21T00:00")..at("2026-03-22T00:00");
            !gap.contains(&hour.start) && !day.contains(&hour.start)
        });
        assert_eq!(
            report(&hours, at(from), at(until), Some(at("2026-03-23T04:00")), None),
            "\
Usage from 2026-03-20 12:00 to 2026-03-23 12:00 UTC

date        hours known  peak lines  inbound  outbound  web  minutes
2026-03-20         9/12           1        2         0    0      4.5
2026-03-21         0/24           –        –         –    –        –
2026-03-22        24/24           0        0         0    0      0.0
2026-03-23         4/12           0        0         0    0      0.0
total             37/72           1        2         0    0      4.5

Most lines at once, by the hour (█ = 1, the peak; · = idle; ? = not known)

            0     6     12    18
2026-03-20              ·█·???····█·
2026-03-21  ????????????????????????
2026-03-22  ························
2026-03-23  ····????????

Peak: 1 line, first in the hour from 2026-03-20 13:00 UTC.
Known up to 2026-03-23 04:00 UTC; the backfill adds to it every hour.
"
        );
    }

    /// Busy by the clock: calls from 8 to 20, most at 14.
    fn busy(start: Timestamp, n: usize) -> UsageHour {
        let (day, of_day) = (n / 24, n % 24);
        if !(8..20).contains(&of_day) {
            return hour(start, 0, &[]);
        }
        let peak = (7 - of_day.abs_diff(14).min(6) + day / 2) as u32;
        let calls = u64::from(peak) * 5;
        let mut by_type = vec![
            ("inboundPhoneCall", calls, 12.5),
            ("outboundPhoneCall", calls * 4, 61.0),
            ("webCall", 1, 0.5),
        ];
        if of_day == 9 {
            by_type.push(("vapi.websocketCall", 2, 0.2));
        }
        if n == 9 {
            by_type.push(("somethingNew", 3, 1.0));
        }
        hour(start, peak, &by_type)
    }

    #[test]
    fn a_busy_week_has_its_peak_and_advice() {
        let (from, until) = ("2026-03-20T00:00", "2026-03-27T00:00");
        let hours = every_hour(from, until, busy);
        assert_eq!(
            report(&hours, at(from), at(until), Some(at(until)), Some(11)),
            "\
Usage from 2026-03-20 00:00 to 2026-03-27 00:00 UTC

date        hours known  peak lines  inbound  outbound  web  other  minutes
2026-03-20        24/24           7      240       960   14      3    889.2
2026-03-21        24/24           7      240       960   14      0    888.2
2026-03-22        24/24           8      300      1200   14      0    888.2
2026-03-23        24/24           8      300      1200   14      0    888.2
2026-03-24        24/24           9      360      1440   14      0    888.2
2026-03-25        24/24           9      360      1440   14      0    888.2
2026-03-26        24/24          10      420      1680   14      0    888.2
total           168/168          10     2220      8880   98      3   6218.4

Most lines at once, by the hour (█ = 11, the limit; · = idle; ? = not known)

            0     6     12    18
2026-03-20  ········▁▁▂▃▃▄▅▄▃▃▂▁····
2026-03-21  ········▁▁▂▃▃▄▅▄▃▃▂▁····
2026-03-22  ········▁▂▃▃▄▅▅▅▄▃▃▂····
2026-03-23  ········▁▂▃▃▄▅▅▅▄▃▃▂····
2026-03-24  ········▂▃▃▄▅▅▆▅▅▄▃▃····
2026-03-25  ········▂▃▃▄▅▅▆▅▅▄▃▃····
2026-03-26  ········▃▃▄▅▅▆▇▆▅▅▄▃····

Peak: 10 lines of 11, first in the hour from 2026-03-26 14:00 UTC.
At 90 % of the lines or more, callers may find none: add lines, or give callers more headroom.
"
        );
        let text = report(&hours, at(from), at(until), Some(at(until)), Some(12));
        assert!(text.ends_with("14:00 UTC.\n"), "83 % needs no advice: {text}");
    }

    #[test]
    fn a_long_range_is_charted_by_the_day() {
        let (from, until) = ("2026-02-20T00:00", "2026-04-02T00:00");
        let mut hours =
            every_hour(from, "2026-04-01T12:00", |start, n| hour(start, (n / 24 % 4) as u32, &[]));
        hours.retain(|hour| hour.start < at("2026-03-10T00:00") || hour.start >= at("2026-03-12T00:00"));
        let text = report(&hours, at(from), at(until), Some(at("2026-04-01T12:00")), Some(8));
        let (_, chart) = text.split_once("\n\nMost lines at once, ").expect("a chart");
        assert_eq!(
            chart,
            "\
by the day (█ = 8, the limit; · = idle; ? = not known)

            1   5    10   15   20   25   30
2026-02                        ·▁▂▃·▁▂▃·
2026-03     ▁▂▃·▁▂▃·▁??·▁▂▃·▁▂▃·▁▂▃·▁▂▃·▁▂▃
2026-04     ?

Peak: 3 lines of 8, first in the hour from 2026-02-23 00:00 UTC.
Known up to 2026-04-01 12:00 UTC; the backfill adds to it every hour.
"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }
}
