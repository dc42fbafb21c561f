//! Where a number may be: from its beginning, by the numbering plans, to time zones.
//!
//! The table is a text that is searched as it stands; nothing is built at start. It is libphonenumber's, made by
//! `data/zones.py`, which says what is done to it. A mobile number in most countries, and a service number anywhere,
//! may be in any zone of its country. And people take their numbers with them: who knows better names the zone.

use jiff::tz::TimeZone;

use super::ids::PhoneNumber;
use super::window::zone;

const TABLE: &str = include_str!("../../data/zones.txt");

/// The zones that a number's owner may be in; none if nobody knows.
pub fn zones(number: &PhoneNumber) -> Vec<TimeZone> {
    let digits = number.reveal().trim_start_matches('+');
    let longest = (1..=digits.len()).rev().find_map(|length| find(&digits[..length]));
    let zones: Result<Vec<TimeZone>, _> =
        longest.unwrap_or_default().split(' ').filter(|name| !name.is_empty()).map(zone).collect();
    // Of several zones each counts: without one that is not known, the others would allow too much.
    zones.unwrap_or_default()
}

/// What the table says of exactly this beginning.
fn find(prefix: &str) -> Option<&'static str> {
    let (mut low, mut high) = (0, TABLE.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = TABLE[..middle].rfind('\n').map_or(0, |newline| newline + 1);
        let end = TABLE[middle..].find('\n').map_or(TABLE.len(), |newline| middle + newline);
        let (key, names) = TABLE[start..end].split_once(' ').unwrap_or((&TABLE[start..end], ""));
        match key.cmp(prefix) {
            std::cmp::Ordering::Equal => return Some(names),
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: &str) -> Vec<String> {
        let zones = zones(&number.parse().expect("E.164"));
        zones.iter().map(|zone| zone.iana_name().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn the_longest_beginning_counts() {
        assert_eq!(names("+12125550100"), ["America/New_York"]);
        assert_eq!(names("+12705550100"), ["America/New_York"]);
        assert_eq!(names("+12702020100"), ["America/Chicago"]);
        assert_eq!(names("+4930123456"), ["Europe/Berlin"]);
        assert_eq!(names("+33612345678"), ["Europe/Paris"]);
        assert_eq!(names("+97714123456"), ["Asia/Katmandu"]);
    }

    #[test]
    fn who_may_be_anywhere_has_all_zones_of_the_country() {
        // Freephone, a mobile number, and a landline of the same country.
        assert!(names("+18005550100").len() > 30);
        assert!(names("+61412345678").len() > 4);
        assert_eq!(names("+61291234567"), ["Australia/Sydney"]);
        assert!(names("+79161234567").len() > 10);
    }

    #[test]
    fn nobody_knows_of_numbers_of_no_country() {
        assert_eq!(names("+80012345678"), [] as [&str; 0]);
        assert_eq!(names("+99912345678"), [] as [&str; 0]);
    }

    #[test]
    fn the_table_is_sorted_and_each_of_its_zones_is_known() {
        let lines: Vec<_> = TABLE.lines().skip_while(|line| line.starts_with('#')).collect();
        assert!(lines.len() > 2000, "{}", lines.len());
        assert!(lines.is_sorted_by_key(|line| line.split(' ').next()));
        for line in lines {
            let (prefix, names) = line.split_once(' ').expect("a prefix and its zones");
            assert!(prefix.bytes().all(|digit| digit.is_ascii_digit()), "{line}");
            assert!(names.split(' ').all(|name| zone(name).is_ok()), "{line}");
            assert_eq!(find(prefix), Some(names));
        }
    }
}
