//! Values that parsers stumble over: words with a meaning, limits of numbers and of times, texts
//! that are no texts, and things that are deep, long or many.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::{pick, piece, size};

/// Keys that the readers know, to be put where they are not expected.
pub const KEYS: [&str; 42] = [
    "id",
    "message",
    "type",
    "status",
    "call",
    "orgId",
    "metadata",
    "reservationId",
    "name",
    "createdAt",
    "startedAt",
    "endedReason",
    "phoneNumberId",
    "phoneNumber",
    "assistantOverrides",
    "campaign",
    "leads",
    "resume",
    "number",
    "timezone",
    "variables",
    "window",
    "days",
    "start",
    "end",
    "retry",
    "maxAttempts",
    "noAnswerAfter",
    "busyAfter",
    "voicemail",
    "priority",
    "maxConcurrency",
    "maxDurationSeconds",
    "agent",
    "assistantId",
    "squadId",
    "error",
    "subscriptionLimits",
    "concurrencyBlocked",
    "concurrencyLimit",
    "result",
    "date",
];

/// Texts that mean something to one reader or another, or nearly do.
const TEXTS: [&str; 92] = [
    "",
    " ",
    "null",
    "true",
    "0",
    "-1",
    "*",
    "~",
    "~~",
    "recipient",
    "status-update",
    "end-of-call-report",
    "assistant-request",
    "tool-calls",
    "campaign.predial",
    "hang",
    "ended",
    "ENDED",
    "queued",
    "ringing",
    "in-progress",
    "forwarding",
    "scheduled",
    "not-found",
    "inboundPhoneCall",
    "outboundPhoneCall",
    "webCall",
    "vapi.websocketCall",
    "customer-ended-call",
    "customer-busy",
    "voicemail",
    "call.start.error-",
    "call.start.error-subscription-concurrency-limit-reached",
    "call.in-progress.error-providerfault-outbound-sip-503-service-unavailable",
    "Over Concurrency Limit.",
    "customer.number must be a valid phone number",
    "+14155550123",
    "14155550123",
    "+1 (415) 555-0123",
    "+0000000",
    "+1234567",
    "+123456789012345",
    "+1234567890123456",
    "call +14155550123, expected a name",
    "\", expected 14155550123",
    "emergency",
    "vip",
    "high",
    "low",
    "stop",
    "retry",
    "mon",
    "sun",
    "24:00",
    "00:00",
    "09:00",
    "23:59",
    "9:0",
    "25:00",
    "-1:00",
    "0009:00",
    "2h",
    "15m",
    "30d",
    "720h",
    "1.5h",
    "PT15M",
    "P30D",
    "PT0.000000001S",
    "-2h",
    "99999999999999999999h",
    "1h 1h",
    "UTC",
    "Etc/UTC",
    "Etc/Unknown",
    "etc/unknown",
    "america/new_york",
    "America/New_York",
    "Europe/Berlin",
    "Mars/Olympus",
    "../../etc/passwd",
    "1970-01-01T00:00:00Z",
    "9999-12-30T22:00:00.9Z",
    "-009999-01-02T01:59:59Z",
    "2026-03-26T15:43:16.145Z",
    "2026-02-30T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "AAAAABBBBBBBBB1",
    "AAAAABBBBBBBBB999999999",
    "AAAAABBBBBBBBB9999999999",
    "019d2ad0-6eb1-7aac-9377-0000000000a1",
    "019D2AD0-6EB1-7AAC-9377-0000000000A1",
];

/// Numbers at and beyond the limits of what holds them.
const NUMBERS: [&str; 26] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "9",
    "10",
    "20",
    "21",
    "43200",
    "43201",
    "255",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e400",
    "-1e400",
    "1e-400",
    "14155550123",
    "0.1415555012345678901234567890",
];

/// Pieces of JSON that are not JSON, or only to some readers.
const BROKEN: [&str; 22] = [
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\u0000""#,
    r#""\x""#,
    r#""\u12""#,
    "\"\u{202e}\"",
    "\"\u{0}\"",
    "\"\n\"",
    "\"\u{feff}\"",
    "\"é漢字🙂\"",
    "NaN",
    "Infinity",
    "01",
    "1.",
    "+1",
    ".5",
    "'a'",
    "[1,]",
    "{\"a\":1,}",
    "nul",
    "\"",
];

/// A word of some reader's own.
pub fn text(rng: &mut StdRng) -> &'static str {
    piece(rng, &TEXTS)
}

/// A JSON value, as text, that is seldom where it is expected.
pub fn odd_value(rng: &mut StdRng, most: usize) -> String {
    match rng.random_range(0..16) {
        0 => "null".into(),
        1 => pick(rng, &["true", "false", "[]", "{}", "\"\""]).to_string(),
        2..=3 => pick(rng, &NUMBERS).to_string(),
        4..=8 => quoted(text(rng)),
        9 => quoted(&format!("{}{}", text(rng), text(rng))),
        10 => pick(rng, &BROKEN).to_string(),
        11 => number(rng, most),
        12..=13 => quoted(&long_text(rng, most)),
        14 => deep(rng, most),
        _ => many(rng, most),
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text of one repeated piece.
pub fn long_text(rng: &mut StdRng, most: usize) -> String {
    let piece = pick(rng, &["a", " ", "7", "+1415", "\"", "\\", "é", "🙂", "\u{0}", "-", ",", "a=b,", "\n"]);
    piece.repeat(size(rng, most).div_ceil(piece.len()))
}

fn number(rng: &mut StdRng, most: usize) -> String {
    let digits = size(rng, most);
    match rng.random_range(0..4) {
        0 => "7".repeat(digits),
        1 => format!("0.{}1", "0".repeat(digits)),
        2 => format!("-1{}", "0".repeat(digits)),
        _ => format!("1e{}{}", if rng.random() { "" } else { "-" }, "9".repeat(digits.min(40))),
    }
}

/// Something nested, closed or cut off in the middle.
fn deep(rng: &mut StdRng, most: usize) -> String {
    let (open, close) = *pick(rng, &[("[", "]"), ("{\"a\":", "}"), ("[[],", "]"), ("{\"metadata\":", "}")]);
    // Around the depth at which readers give up, or far beyond.
    let levels = if rng.random() { rng.random_range(120..136) } else { size(rng, most) / open.len() + 1 };
    let close = if rng.random_bool(0.9) { close.repeat(levels) } else { String::new() };
    let inner = pick(rng, &["0", "null", "\"x\"", "{}", "[]"]);
    format!("{}{inner}{close}", open.repeat(levels))
}

/// A list or an object with many members.
fn many(rng: &mut StdRng, most: usize) -> String {
    let item =
        *pick(rng, &["0", "{}", "[]", "null", "\"\"", "[0]", "{\"a\":0}", "{\"id\":\"c\"}", "\"mon\""]);
    let times = size(rng, most) / (item.len() + 1) + 1;
    if rng.random() {
        return format!("[{}]", vec![item; times].join(","));
    }
    let same = rng.random_bool(0.3);
    let members: Vec<String> =
        (0..times).map(|n| format!("\"k{}\":{item}", if same { 0 } else { n })).collect();
    format!("{{{}}}", members.join(","))
}
