//! Promises that several targets check.

use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Fails unless `holds`.
pub fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

/// Digits in a row that may be a phone number.
const NUMBER: usize = 7;

/// Fails if `said`, a text for people and logs, has a row of digits that stands in `input`, too, or
/// is longer than such a text may be.
pub fn says_no_number(said: &str, input: &[u8]) -> Result<(), String> {
    ensure(said.len() <= 2000, || format!("a text of {} bytes is meant for a log", said.len()))?;
    // Where reading stopped may be far along.
    let told: Vec<&str> = said.split("column ").enumerate().map(|(n, part)| after_place(n, part)).collect();
    for row in told.iter().flat_map(|part| part.split(|c: char| !c.is_ascii_digit())) {
        let is_input = || input.windows(row.len()).any(|window| window == row.as_bytes());
        ensure(row.len() < NUMBER || !is_input(), || format!("a text tells {row}: {said}"))?;
    }
    Ok(())
}

fn after_place(n: usize, part: &str) -> &str {
    if n == 0 { part } else { part.trim_start_matches(|c: char| c.is_ascii_digit()) }
}

/// An error with all its sources, as logs show it.
pub fn chain(error: &dyn std::error::Error) -> String {
    headroom::logging::chain(error)
}

/// Fails unless what was read prints as a text that reads back as the same.
pub fn reads_back<T: FromStr + Display + Debug + PartialEq>(value: &T) -> Result<(), String>
where
    T::Err: Debug,
{
    let text = value.to_string();
    let again = text.parse::<T>();
    ensure(again.as_ref().is_ok_and(|again| again == value), || {
        format!("{value:?} prints as {text:?}, which reads as {again:?}")
    })
}

/// Fails unless a text id has 1 to `most` bytes, all of them allowed.
pub fn is_id(text: &str, most: usize, allowed: impl Fn(char) -> bool) -> Result<(), String> {
    let good = !text.is_empty() && text.len() <= most && text.chars().all(allowed);
    ensure(good, || format!("{text:?} was taken for an id"))
}

/// What Vapi's ids may be made of: safe inside a key of the table.
pub fn key_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
