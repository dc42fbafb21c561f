//! When a person may be called: while the campaign's window, the hours that the law leaves and the campaign's own
//! beginning and end all allow it, in every time zone that the person may be in.
//!
//! The hours by law are a table by the beginning of a number; the longest beginning counts. What is built in is
//! written down to the best of our knowledge, and is no legal advice: `HEADROOM_CALLING_HOURS` replaces it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

use super::campaign::Spec;
use super::fair::Lane;
use super::ids::PhoneNumber;
use super::lead::{Lead, ReadyLead};
use super::window::{HORIZON, Hours, WindowError, WindowText};
use super::zones::zones;

/// Why a lead ends that can never be called any more.
pub const WINDOW_CLOSED: &str = "window_closed";

/// Spans as the table below has them.
type Spans = &'static [(&'static str, &'static str, &'static str)];

const EVERY_DAY: &str = "mon tue wed thu fri sat sun";
const WEEKDAYS: &str = "mon tue wed thu fri";

/// The built-in hours: whose numbers, when.
const BUILT_IN: [(&str, Spans); 9] = [
    // 47 CFR 64.1200(c)(1): the United States' hours, as a rule for all who have no stricter one.
    ("*", &[(EVERY_DAY, "08:00", "21:00")]),
    // Florida: Fla. Stat. 501.616(6).
    (
        "+1239 +1305 +1321 +1324 +1352 +1386 +1407 +1448 +1561 +1645 +1656 +1689 +1727 +1728 +1754 +1772 +1786 +1813 \
         +1850 +1863 +1904 +1941 +1954",
        &[(EVERY_DAY, "08:00", "20:00")],
    ),
    // Oklahoma: Okla. Stat. tit. 15, 775C.4.
    ("+1405 +1539 +1572 +1580 +1918", &[(EVERY_DAY, "08:00", "20:00")]),
    // Maryland: Md. Code, Com. Law 14-4502.
    ("+1227 +1240 +1301 +1410 +1443 +1667", &[(EVERY_DAY, "08:00", "20:00")]),
    // Texas: Tex. Bus. & Com. Code 301.051.
    (
        "+1210 +1214 +1254 +1281 +1325 +1346 +1361 +1409 +1430 +1432 +1469 +1512 +1682 +1713 +1726 +1737 +1806 +1817 \
         +1830 +1832 +1903 +1915 +1936 +1940 +1945 +1956 +1972 +1979",
        &[("mon tue wed thu fri sat", "09:00", "21:00"), ("sun", "12:00", "21:00")],
    ),
    // Canada: CRTC Unsolicited Telecommunications Rules, part III, 23.
    (
        "+1204 +1226 +1236 +1249 +1250 +1257 +1263 +1273 +1289 +1306 +1343 +1354 +1365 +1367 +1368 +1382 +1403 +1416 \
         +1418 +1428 +1431 +1437 +1438 +1450 +1468 +1474 +1506 +1514 +1519 +1548 +1579 +1581 +1584 +1587 +1604 +1613 \
         +1639 +1647 +1672 +1683 +1705 +1709 +1742 +1753 +1778 +1780 +1782 +1807 +1819 +1825 +1867 +1873 +1879 +1902 \
         +1905 +1942",
        &[(WEEKDAYS, "09:00", "21:30"), ("sat sun", "10:00", "18:00")],
    ),
    // France: décret 2022-1313. Public holidays, too, are closed there: name them in the campaign's window.
    ("+33", &[(WEEKDAYS, "10:00", "13:00"), (WEEKDAYS, "14:00", "20:00")]),
    // Spain: Real Decreto Legislativo 1/2007, article 96.2.
    ("+34", &[(WEEKDAYS, "09:00", "21:00")]),
    // Australia: Telecommunications (Telemarketing and Research Calls) Industry Standard 2017.
    ("+61", &[(WEEKDAYS, "09:00", "20:00"), ("sat", "09:00", "17:00")]),
];

/// Why the hours by law are refused. Says nothing of what was given.
#[derive(Debug, thiserror::Error)]
pub enum HoursError {
    /// Neither a word that is known nor JSON.
    #[error(
        "is not default, none, or JSON such as {{\"base\":\"default\",\"rules\":{{\"+33\":{{\"start\":\"10:00\",\
         \"end\":\"20:00\"}}}}}}: line {line}, column {column}"
    )]
    Json {
        /// Where it is not, from 1.
        line: usize,
        /// Where it is not.
        column: usize,
    },
    /// A rule for no numbers.
    #[error("has a rule for something other than * or the beginning of a number, such as +33")]
    Prefix,
    /// A rule without hours.
    #[error("has a rule that cannot be read")]
    Rule(#[source] WindowError),
}

/// The hours that the law leaves, by the beginning of the number.
#[derive(Debug, Clone)]
pub struct CallingHours {
    /// The longest first. Without hours: at any time.
    rules: Arc<Vec<(String, Option<Hours>)>>,
}

impl Default for CallingHours {
    fn default() -> Self {
        let mut rules = BTreeMap::new();
        for (numbers, spans) in BUILT_IN {
            let span = |(days, start, end): &(&str, &str, &str)| {
                let days: Vec<&str> = days.split(' ').collect();
                serde_json::json!({ "days": days, "start": start, "end": end })
            };
            let text = serde_json::json!({ "spans": spans.iter().map(span).collect::<Vec<_>>() });
            let text: WindowText = serde_json::from_value(text).expect("the table is spelled well");
            let hours = Hours::try_from(text).expect("the table has hours that are some");
            for number in numbers.split_whitespace() {
                rules.insert(number.to_owned(), Some(hours.clone()));
            }
        }
        Self::of(rules)
    }
}

impl CallingHours {
    /// No hours by law: people may be called at any time. For rehearsals in which nobody is.
    pub fn none() -> Self {
        Self::of(BTreeMap::new())
    }

    fn of(rules: BTreeMap<String, Option<Hours>>) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self { rules: Arc::new(rules) }
    }

    /// Reads `default`, `none`, or JSON: rules by the beginning of the number, `*` for all others, that replace those of
    /// the same beginning in `base` (`default` or `none`) or are added to them; `null` allows any time.
    ///
    /// # Errors
    /// If it is none of them. The error quotes nothing of it.
    pub fn parse(text: &str) -> Result<Self, HoursError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Base {
            #[default]
            Default,
            None,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Text {
            #[serde(default)]
            base: Base,
            rules: BTreeMap<String, Option<WindowText>>,
        }
        match text.trim() {
            "default" => return Ok(Self::default()),
            "none" => return Ok(Self::none()),
            _ => {}
        }
        let text: Text = serde_json::from_str(text)
            .map_err(|error| HoursError::Json { line: error.line(), column: error.column() })?;
        let base = match text.base {
            Base::Default => Self::default(),
            Base::None => Self::none(),
        };
        let mut rules: BTreeMap<String, Option<Hours>> = base.rules.iter().cloned().collect();
        for (prefix, rule) in text.rules {
            let digits = prefix.strip_prefix('+').unwrap_or_default();
            let is_number = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if prefix != EVERYBODY && !is_number {
                return Err(HoursError::Prefix);
            }
            rules.insert(prefix, rule.map(Hours::try_from).transpose().map_err(HoursError::Rule)?);
        }
        Ok(Self::of(rules))
    }

    /// In the words that [`CallingHours::parse`] reads.
    pub fn to_text(&self) -> String {
        let rules = self.rules.iter().map(|(prefix, hours)| (prefix, hours.clone().map(WindowText::from)));
        let rules: BTreeMap<_, _> = rules.collect();
        serde_json::json!({ "base": "none", "rules": rules }).to_string()
    }

    /// The hours of a number; none if it may be called at any time.
    pub fn hours(&self, number: &PhoneNumber) -> Option<&Hours> {
        let is_of = |prefix: &str| prefix == EVERYBODY || number.reveal().starts_with(prefix);
        self.rules.iter().find(|(prefix, _)| is_of(prefix)).and_then(|(_, hours)| hours.as_ref())
    }
}

/// The rule for all numbers without one of their own.
const EVERYBODY: &str = "*";

/// What tells when a person may be called.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// Their number. Unknown only of leads that were stored before the index showed it.
    pub number: Option<&'a PhoneNumber>,
    /// The zone that the campaign says they are in.
    pub timezone: Option<&'a TimeZone>,
    /// Whether they asked for the call: it is their word then, and not the campaign's window, that says when they may be
    /// called as far as the law allows.
    pub is_promised: bool,
}

impl Person<'_> {
    /// The zones that they may be in; none if nobody knows.
    pub fn zones(&self) -> Vec<TimeZone> {
        match (self.timezone, self.number) {
            (Some(zone), _) => vec![zone.clone()],
            (None, Some(number)) => zones(number),
            (None, None) => Vec::new(),
        }
    }
}

impl<'a> From<&'a Lead> for Person<'a> {
    fn from(lead: &'a Lead) -> Self {
        Self {
            number: Some(&lead.number),
            timezone: lead.timezone.as_ref(),
            is_promised: lead.callbacks.promise.is_some(),
        }
    }
}

impl<'a> From<&'a ReadyLead> for Person<'a> {
    fn from(lead: &'a ReadyLead) -> Self {
        Self {
            number: lead.number.as_ref(),
            timezone: lead.timezone.as_ref(),
            is_promised: lead.lane == Lane::Callback,
        }
    }
}

/// Whether a person's own clock has to be known for a campaign.
pub fn needs_zone(spec: &Spec, law: &CallingHours, number: &PhoneNumber) -> bool {
    law.hours(number).is_some()
        || spec.window.as_ref().is_some_and(super::window::Window::needs_recipient_zone)
}

/// The first instant from `now` on at which a person may be called for a campaign: `now` itself if they may be.
///
/// None if that is never within a year, or not before the campaign's end: they will not be called any more. So it is
/// where nobody knows what their clock says and it matters.
pub fn opens(spec: &Spec, law: &CallingHours, person: &Person<'_>, now: Timestamp) -> Option<Timestamp> {
    let window = spec.window.as_ref().filter(|_| !person.is_promised).map(|window| window.parts());
    let on_their_clock = [
        window.and_then(|(hours, zone)| if zone.is_none() { Some(hours) } else { None }),
        person.number.and_then(|number| law.hours(number)),
    ];
    let mut open = Vec::new();
    if let Some((hours, Some(zone))) = window {
        open.push((hours, zone.clone()));
    }
    if on_their_clock.iter().any(Option::is_some) {
        let zones = person.zones();
        // Who may be anywhere has no hour of the day.
        if zones.is_empty() {
            return None;
        }
        for hours in on_their_clock.into_iter().flatten() {
            open.extend(zones.iter().map(|zone| (hours, zone.clone())));
        }
    }
    first_open(spec, open, now)
}

/// The same as far as it is the same for all of a campaign's people. [`opens`] says no earlier instant.
pub fn opens_at(spec: &Spec, now: Timestamp) -> Option<Timestamp> {
    let open = match spec.window.as_ref().map(|window| window.parts()) {
        Some((hours, Some(zone))) => vec![(hours, zone.clone())],
        Some((_, None)) | None => Vec::new(),
    };
    first_open(spec, open, now)
}

/// The first instant between a campaign's start and end at which all of these are open.
fn first_open(spec: &Spec, mut open: Vec<(&Hours, TimeZone)>, now: Timestamp) -> Option<Timestamp> {
    let mut at = spec.start_at.map_or(now, |start| now.max(start));
    let horizon = at.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let until = spec.end_at.map_or(horizon, |end| end.min(horizon));
    let mut nth = 0;
    while nth < open.len() {
        let (hours, zone) = &open[nth];
        let opens = hours.opens(at, until, zone)?;
        if opens == at {
            nth += 1;
            continue;
        }
        // All over again from there. Where two never meet, those two are asked in turn, and not all the others.
        at = opens;
        open[..=nth].rotate_right(1);
        nth = 1;
    }
    (at < until).then_some(at)
}

/// Checks that a campaign's end comes after its start.
pub(super) fn check_term(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<(), &'static str> {
    match (start, end) {
        (Some(start), Some(end)) if end <= start => Err("campaign.endAt is not after campaign.startAt"),
        _ => Ok(()),
    }
}

/// Reads an instant without quoting what is none.
pub(super) fn read_instant<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let wrong =
        || serde::de::Error::custom("startAt and endAt are instants such as 2026-05-04T09:00:00+02:00");
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| wrong())).transpose()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::core::window::zone;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn spec(extra: &str) -> Spec {
        let json = format!(r#"{{"id":"c","assistantId":"a","phoneNumberId":"p"{extra}}}"#);
        serde_json::from_str(&json).expect(&json)
    }

    fn when(extra: &str, law: &CallingHours, number: &str, timezone: Option<&str>, now: &str) -> String {
        let (number, timezone) =
            (number.parse().expect("E.164"), timezone.map(|name| zone(name).expect("a zone")));
        let person = Person { number: Some(&number), timezone: timezone.as_ref(), is_promised: false };
        opens(&spec(extra), law, &person, at(now)).map(|at| at.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_law_counts_where_the_campaign_names_no_window() {
        let law = CallingHours::default();
        let cases = [
            ("+12125550100", None, "2026-11-21T03:00:00Z", "2026-11-21T13:00:00Z"), // New York, 22:00
            ("+13055550100", None, "2026-11-21T01:00:00Z", "2026-11-21T13:00:00Z"), // Miami, 20:00: stricter
            ("+12125550100", None, "2026-11-21T01:00:00Z", "2026-11-21T01:00:00Z"),
            ("+12145550100", None, "2026-11-22T16:00:00Z", "2026-11-22T18:00:00Z"), // Dallas, Sunday
            ("+33612345678", None, "2026-11-20T12:30:00Z", "2026-11-20T13:00:00Z"), // Paris, at noon
            ("+33612345678", None, "2026-11-21T12:30:00Z", "2026-11-23T09:00:00Z"), // Saturday
            // Moved away, with the number: the law of the number, on the clock of the person.
            ("+33612345678", Some("America/New_York"), "2026-11-20T12:30:00Z", "2026-11-20T15:00:00Z"),
            ("+80012345678", None, "2026-11-20T12:30:00Z", ""), // of no country
        ];
        for (number, timezone, now, then) in cases {
            assert_eq!(when("", &law, number, timezone, now), then, "{number} at {now}");
        }
        assert_eq!(
            when("", &CallingHours::none(), "+80012345678", None, "2026-11-21T03:00:00Z"),
            "2026-11-21T03:00:00Z"
        );
    }

    #[test]
    fn who_may_be_in_several_zones_is_called_while_all_allow_it() {
        let none = CallingHours::none();
        let window = r#","window":{"start":"09:00","end":"18:00"}"#;
        // Freephone: from Bermuda to Guam.
        assert_eq!(when(window, &none, "+18005550100", None, "2026-11-20T12:00:00Z"), "");
        assert_eq!(
            when("", &CallingHours::default(), "+18005550100", None, "2026-11-20T12:00:00Z"),
            "2026-11-20T22:00:00Z"
        );
        // A mobile number of Australia: until six on the eastern coast, from nine on the Cocos Islands.
        assert_eq!(when(window, &none, "+61412345678", None, "2026-11-19T22:00:00Z"), "2026-11-20T02:30:00Z");
        assert_eq!(
            when(window, &none, "+61412345678", Some("Australia/Perth"), "2026-11-20T09:59:00Z"),
            "2026-11-20T09:59:00Z"
        );
    }

    #[test]
    fn a_campaign_calls_from_its_start_to_its_end() {
        let none = CallingHours::none();
        let term = r#","startAt":"2026-11-20T09:00:00+01:00","endAt":"2026-11-21T09:00:00Z""#;
        let cases = [
            ("2026-11-19T00:00:00Z", "2026-11-20T08:00:00Z"),
            ("2026-11-21T08:59:59Z", "2026-11-21T08:59:59Z"),
            ("2026-11-21T09:00:00Z", ""),
        ];
        for (now, then) in cases {
            assert_eq!(when(term, &none, "+12125550100", None, now), then, "{now}");
        }
        // The window opens at the very end.
        let window = format!(r#"{term},"window":{{"start":"09:00","end":"10:00","timezone":"UTC"}}"#);
        assert_eq!(when(&window, &none, "+12125550100", None, "2026-11-20T10:00:00Z"), "");
        assert_eq!(opens_at(&spec(&window), at("2026-11-20T07:00:00Z")), Some(at("2026-11-20T09:00:00Z")));
        assert_eq!(opens_at(&spec(&window), at("2026-11-20T10:00:00Z")), None);
        for bad in
            [r#""startAt":"2026-11-20T09:00:00Z","endAt":"2026-11-20T09:00:00Z""#, r#""endAt":"tomorrow""#]
        {
            let json = format!(r#"{{"id":"c","assistantId":"a","phoneNumberId":"p",{bad}}}"#);
            let error = serde_json::from_str::<Spec>(&json).expect_err(bad).to_string();
            assert!(error.contains("endAt") && !error.contains("tomorrow"), "{error}");
        }
    }

    #[test]
    fn rules_are_replaced_and_added() {
        let law = CallingHours::parse(
            r#"{"rules":{"*":{"start":"10:00","end":"19:00"},"+33":null,"+4930":{"spans":[{"start":"12:00","end":"13:00"}]}}}"#,
        )
        .expect("good rules");
        let now = "2026-11-21T03:00:00Z";
        for (number, then) in [
            ("+12125550100", "2026-11-21T15:00:00Z"),
            ("+13055550100", "2026-11-21T13:00:00Z"), // Florida's stays as it was.
            ("+33612345678", "2026-11-21T03:00:00Z"),
            ("+4930123456", "2026-11-21T11:00:00Z"),
            ("+4989123456", "2026-11-21T09:00:00Z"),
        ] {
            assert_eq!(when("", &law, number, None, now), then, "{number}");
        }
        let only =
            CallingHours::parse(r#"{"base":"none","rules":{"+4930":{"start":"12:00","end":"13:00"}}}"#);
        assert_eq!(when("", &only.expect("good rules"), "+13055550100", None, now), now);
        for bad in [
            "",
            "some",
            "{}",
            r#"{"rules":{"33":null}}"#,
            r#"{"rules":{"+":null}}"#,
            r#"{"rules":{"*":{"start":"10:00"}}}"#,
            r#"{"rules":{"*":{"start":"10:00","end":"19:00","timezone":"UTC"}}}"#,
            r#"{"base":"all","rules":{}}"#,
        ] {
            assert!(CallingHours::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_opening_is_found_in_little_time() {
        // The worst: 42 zones that never meet for a year.
        let (spec, law) = (spec(r#","window":{"start":"09:00","end":"18:00"}"#), CallingHours::default());
        let number = "+18005550100".parse().expect("E.164");
        let person = Person { number: Some(&number), timezone: None, is_promised: false };
        let began = std::time::Instant::now();
        for day in 0..20 {
            let now = at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(24 * day);
            assert_eq!(opens(&spec, &law, &person, now), None);
        }
        let each = began.elapsed() / 20;
        println!("never, in 42 zones: {each:?}");
        assert!(each < std::time::Duration::from_millis(100), "{each:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Of several zones and rules, the opening is the first minute at which each by itself is open.
        #[test]
        fn the_opening_is_the_first_minute_that_all_allow(
            number in prop::sample::select(vec![
                "+12125550100", "+13055550100", "+12082550100", "+12198880100", "+33612345678", "+61412345678",
                "+17095550100", "+97714123456", "+5511987654321", "+18005550100", "+4930123456", "+685123456",
            ]),
            start in 0..24_u8,
            length in 1..20_u8,
            now in 1_767_225_600..1_798_761_600_i64,
        ) {
            let end = match (start + length) % 24 { 0 => "24:00".to_owned(), hour => format!("{hour:02}:00") };
            let spec = spec(&format!(r#","window":{{"start":"{start:02}:00","end":"{end}"}}"#));
            let law = CallingHours::default();
            let number: PhoneNumber = number.parse().expect("E.164");
            let person = Person { number: Some(&number), timezone: None, is_promised: false };
            let now = Timestamp::from_second(now - now % 60).expect("an instant");
            let window = spec.window.as_ref().expect("it has one").parts().0;
            let all_open = |minute: Timestamp| {
                person.zones().iter().all(|zone| {
                    [window, law.hours(&number).expect("there is a rule for all")]
                        .iter()
                        .all(|hours| hours.opens(minute, minute + SignedDuration::from_mins(1), zone) == Some(minute))
                })
            };
            let found = opens(&spec, &law, &person, now);
            let last = found.map_or(now + SignedDuration::from_hours(60), |found| found);
            let mut minute = now;
            while minute < last {
                prop_assert!(!all_open(minute), "{number} is open at {minute}, told {found:?}");
                minute += SignedDuration::from_mins(1);
            }
            prop_assert!(found.is_none_or(all_open), "{number} is closed at {found:?}");
        }
    }
}
