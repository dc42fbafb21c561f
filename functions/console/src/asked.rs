//! What operators send: read once, refused with what is wrong and what to send instead.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use headroom::core::ids::NameCode;
use headroom::core::pool::Policy;
use headroom::core::quota::Quota;
use headroom::core::reserve::Reserve;
use headroom::flows::operate::{Asked, Kept};
use lambda_http::http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Beyond what stands for no limit at all, a number is a slip.
const MOST_LINES: u32 = Policy::UNLIMITED;
/// More calls a second than any carrier takes.
const MOST_PER_SECOND: u32 = 1_000;
/// Each costs the ledger four bytes in every write.
const MOST_MEMBERS: usize = 100;
/// Vapi's ids are UUIDs.
const LONGEST_MEMBER: usize = 128;
/// As long as the change log keeps it.
const LONGEST_BY: usize = 80;
const MOST_CHANGES: u32 = 1_000;
const CHANGES: u32 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinesBody {
    limit: Option<u32>,
    purchased: Option<u32>,
    cap: Option<u32>,
    headroom: Option<u32>,
}

const LINES_EXAMPLE: &str = r#"send {"limit": 20, "cap": 15, "headroom": 2}, or any of these"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveBody {
    #[serde(default)]
    inbound: u32,
    #[serde(default)]
    outbound: u32,
    #[serde(default)]
    web: u32,
    #[serde(default)]
    chat: u32,
    binding: Option<String>,
    members: Option<Vec<String>>,
}

const RESERVE_EXAMPLE: &str =
    r#"send {"inbound": 3, "outbound": 4}; "web", "chat", "binding" and "members" may be added"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct QuotaBody {
    lines: Option<NonZeroU32>,
    per_second: Option<NonZeroU32>,
    per_day: Option<NonZeroU32>,
    members: Option<Vec<String>>,
}

const QUOTA_EXAMPLE: &str =
    r#"send {"lines": 10, "perSecond": 1, "perDay": 100, "members": ["ID"]}, or any of these"#;

/// The body of `PATCH /lines`.
pub(crate) fn lines(body: &[u8]) -> Result<Asked, String> {
    let LinesBody { limit, purchased, cap, headroom } = parse(body, LINES_EXAMPLE)?;
    if limit.or(purchased).or(cap).or(headroom).is_none() {
        return Err(format!("the body names nothing to change; {LINES_EXAMPLE}"));
    }
    let numbers =
        [("limit", limit, 1), ("purchased", purchased, 0), ("cap", cap, 0), ("headroom", headroom, 0)];
    for (name, lines, least) in numbers {
        check(name, lines.unwrap_or(least), least)?;
    }
    Ok(Asked { limit, purchased, cap, headroom, ..Asked::default() })
}

/// The body of `PUT /reserves/{agent}`, and what of the agent's reserve it leaves as it is.
pub(crate) fn reserve(body: &[u8]) -> Result<(Reserve, Kept), String> {
    let ReserveBody { inbound, outbound, web, chat, binding, members } = parse(body, RESERVE_EXAMPLE)?;
    for (name, lines) in [("inbound", inbound), ("outbound", outbound), ("web", web), ("chat", chat)] {
        check(name, lines, 0)?;
    }
    let kept = Kept { binding: binding.is_none(), members: members.is_none() };
    let binding = binding.map(|binding| binding.parse()).transpose();
    let binding = binding.map_err(|error| format!("binding: {error}"))?.unwrap_or_default();
    let members = codes(&members.unwrap_or_default())?;
    Ok((Reserve { inbound, outbound, web, chat, binding, members }, kept))
}

/// The body of `PUT /quotas/{name}`, and what of the quota it leaves as it is.
pub(crate) fn quota(body: &[u8]) -> Result<(Quota, Kept), String> {
    let QuotaBody { lines, per_second, per_day, members } = parse(body, QUOTA_EXAMPLE)?;
    if lines.or(per_second).or(per_day).is_none() {
        return Err(format!("the body bounds nothing; {QUOTA_EXAMPLE}. DELETE lifts a quota"));
    }
    if per_second.is_some_and(|rate| rate.get() > MOST_PER_SECOND) {
        return Err(format!("perSecond: more than {MOST_PER_SECOND} calls a second are a slip"));
    }
    let kept = Kept { members: members.is_none(), ..Kept::default() };
    let members = codes(&members.unwrap_or_default())?;
    Ok((Quota { lines, per_second, per_day, members }, kept))
}

/// What members are known by.
fn codes(members: &[String]) -> Result<BTreeSet<NameCode>, String> {
    if members.len() > MOST_MEMBERS {
        return Err(format!("members: {} are too many, {MOST_MEMBERS} at most", members.len()));
    }
    let is_id = |member: &String| {
        let length = member.chars().count();
        (1..=LONGEST_MEMBER).contains(&length) && !member.chars().any(char::is_control)
    };
    if let Some(index) = members.iter().position(|member| !is_id(member)) {
        return Err(format!(
            "members[{index}] is no id of an assistant, squad, phone number or organisation: \
             1 to {LONGEST_MEMBER} characters without control characters"
        ));
    }
    Ok(members.iter().map(|member| NameCode::of(member)).collect())
}

/// In whose name: the header `X-Headroom-By`.
pub(crate) fn by(headers: &HeaderMap) -> Result<&str, String> {
    let Some(by) = headers.get("x-headroom-by") else { return Ok("console") };
    let by = std::str::from_utf8(by.as_bytes()).ok().map(str::trim);
    by.filter(|by| (1..=LONGEST_BY).contains(&by.chars().count()) && !by.chars().any(char::is_control))
        .ok_or_else(|| format!("X-Headroom-By is not 1 to {LONGEST_BY} printable characters"))
}

/// How many changes: the query of `GET /changes`.
pub(crate) fn most(query: &str) -> Result<u32, String> {
    if query.is_empty() {
        return Ok(CHANGES);
    }
    query
        .strip_prefix("limit=")
        .and_then(|most| most.parse().ok())
        .filter(|most| (1..=MOST_CHANGES).contains(most))
        .ok_or_else(|| format!("the query may be limit=N alone, with N from 1 to {MOST_CHANGES}"))
}

/// A body that is a JSON object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, String> {
    // A list would be taken for an object's values in their order.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if !is_object {
        return Err(format!("the body is no JSON object; {example}"));
    }
    serde_json::from_slice(body).map_err(|error| format!("the body cannot be used: {error}; {example}"))
}

fn check(name: &str, lines: u32, least: u32) -> Result<(), String> {
    if (least..=MOST_LINES).contains(&lines) {
        Ok(())
    } else {
        Err(format!("{name}: {lines} is not a number of lines from {least} to {MOST_LINES}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom::core::reserve::Binding;

    #[test]
    fn lines_are_any_of_three_numbers() {
        let asked = |limit, cap, headroom| Asked { limit, cap, headroom, ..Asked::default() };
        assert_eq!(lines(br#"{"limit":20}"#), Ok(asked(Some(20), None, None)));
        assert_eq!(lines(br#" {"cap":0,"headroom":1000000}"#), Ok(asked(None, Some(0), Some(1_000_000))));
        assert_eq!(
            lines(br#"{"limit":0}"#).as_ref().map_err(String::as_str),
            Err("limit: 0 is not a number of lines from 1 to 1000000")
        );
        assert_eq!(
            lines(br#"{"lim":1}"#).expect_err("a slip"),
            "the body cannot be used: unknown field `lim`, expected one of `limit`, `purchased`, `cap`, \
             `headroom` at line 1 column 6; send {\"limit\": 20, \"cap\": 15, \"headroom\": 2}, or any of these"
        );
        let bad: [&[u8]; 14] = [
            b"",
            b"{}",
            b"{",
            b"[]",
            b"[20,15,2]",
            b"null",
            b"20",
            br#"{"limit":null}"#,
            br#"{"limit":"20"}"#,
            br#"{"limit":-1}"#,
            br#"{"limit":2.5}"#,
            br#"{"cap":1000001}"#,
            br#"{"limit":1,"limit":2}"#,
            b"{\"limit\":1}\xff",
        ];
        for body in bad {
            assert!(lines(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_reserve_keeps_what_is_not_named() {
        let both = Kept { binding: true, members: true };
        let some = Reserve { inbound: 3, outbound: 4, ..Reserve::default() };
        assert_eq!(reserve(br#"{"inbound":3,"outbound":4}"#), Ok((some.clone(), both)));
        let members = [NameCode::of("a"), NameCode::of("b")].into();
        let pooled = Reserve { binding: Binding::Pooled, members, ..some };
        assert_eq!(
            reserve(br#"{"inbound":3,"outbound":4,"binding":"pooled","members":["a","b","a"]}"#),
            Ok((pooled, Kept::default()))
        );
        for body in [
            r#"{"calls":1}"#.to_owned(),
            r#"{"inbound":1000001}"#.to_owned(),
            r#"{"inbound":-1}"#.to_owned(),
            r#"{"binding":"loose"}"#.to_owned(),
            r#"{"members":[""]}"#.to_owned(),
            r#"{"members":["a\u0000"]}"#.to_owned(),
            r#"{"members":"a"}"#.to_owned(),
            format!(r#"{{"members":["{}"]}}"#, "x".repeat(129)),
            format!(r#"{{"members":[{}"b"]}}"#, r#""a","#.repeat(100)),
        ] {
            assert!(reserve(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_quota_bounds_something() {
        let some = NonZeroU32::new;
        let bounds = Quota { lines: some(10), per_second: some(1), per_day: some(100), ..Quota::default() };
        let kept = Kept { members: true, ..Kept::default() };
        assert_eq!(quota(br#"{"lines":10,"perSecond":1,"perDay":100}"#), Ok((bounds, kept)));
        let members = [NameCode::of("number")].into();
        let daily = Quota { per_day: some(9), members, ..Quota::default() };
        assert_eq!(quota(br#"{"perDay":9,"members":["number"]}"#), Ok((daily, Kept::default())));
        for body in
            ["{}", r#"{"members":["a"]}"#, r#"{"lines":0}"#, r#"{"perSecond":1001}"#, r#"{"lines":"9"}"#]
        {
            assert!(quota(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn who_changes_is_printable_or_the_console() {
        let by_header = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-headroom-by", value.try_into().expect("a header"));
            by(&headers).map(str::to_owned).ok()
        };
        assert_eq!(by(&HeaderMap::new()), Ok("console"));
        assert_eq!(by_header(b"ada"), Some("ada".into()));
        assert_eq!(by_header("Zoë".as_bytes()), Some("Zoë".into()));
        assert_eq!(by_header("x".repeat(81).as_bytes()), None);
        assert_eq!(by_header(b" "), None);
        assert_eq!(by_header(b"\xff"), None);
        assert_eq!(by_header("a\u{85}b".as_bytes()), None);
    }

    #[test]
    fn changes_are_asked_for_by_number() {
        assert_eq!(most(""), Ok(50));
        assert_eq!(most("limit=1000"), Ok(1000));
        for query in
            ["limit=0", "limit=1001", "limit=", "limit=-1", "limit=5&limit=6", "most=5", "limit=99999999999"]
        {
            assert!(most(query).is_err(), "{query}");
        }
    }
}
