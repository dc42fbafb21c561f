//! Every id and every small text with a form of its own: what is taken fits its rules, and what is
//! printed reads back as the same.

use std::collections::BTreeSet;

use headroom::core::callback::{Asked, Heard};
use headroom::core::ended::Group;
use headroom::core::ids::{
    CallId, CampaignCode, CampaignId, ClaimKey, LeadId, LeadRef, MessageCode, OrgId, PhoneNumber, PoolId,
};
use headroom::core::line::{Kind, LineKey, Token};
use headroom::core::retry::Retry;
use headroom::core::window::{Window, zone};
use jiff::Timestamp;
use serde_json::json;

use super::Target;
use crate::checks::{ensure, is_id, key_safe, reads_back, says_no_number};
use crate::corpus::{self, Corpus};
use crate::measure::{Bounds, Outcome};

pub(super) const NAME: &str = "ids";

pub(super) fn target() -> anyhow::Result<Target> {
    let corpus = Corpus::new(texts(), 64 * 1024);
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| corpus.body(rng)),
        run: Box::new(run),
        bounds: Bounds::READING,
        short: 15000,
        expected: &["claim", "line", "token", "id", "number", "zone", "window", "span", "time", "none"],
    })
}

/// A text of each form, and every word of the recorded bodies.
fn texts() -> BTreeSet<Vec<u8>> {
    let token = |kind, nonce| Token::new(kind, Timestamp::UNIX_EPOCH, nonce).as_str().to_owned();
    let call: CallId = "019d2ad0-6eb1-7aac-9377-0000000000a1".parse().expect("a UUID is an id");
    let line = LineKey::Observed(call).to_string();
    let mut texts: BTreeSet<Vec<u8>> =
        [token(Kind::Inbound, 0), token(Kind::Outbound, 262_143), line].map(String::into_bytes).into();
    for form in [
        "+14155550100",
        "AAAAABBBBBBBBB12",
        "~~call_kat123",
        "America/New_York",
        "2h 15m",
        "PT1H",
        "09:00",
        "2026-05-04T17:00",
        "2026-05-04T17:00:00+02:00",
        "2026-05-04 17:00:30.5",
    ] {
        texts.insert(form.into());
    }
    texts.insert(
        json!({ "days": ["mon", "sun"], "start": "22:00", "end": "02:00", "timezone": "UTC" })
            .to_string()
            .into(),
    );
    let recorded = corpus::recorded("").concat();
    let words = recorded.split(|byte| *byte == b'"').filter(|word| (1..120).contains(&word.len()));
    texts.extend(words.take(4000).map(<[u8]>::to_vec));
    texts.extend(corpus::kept(NAME));
    texts
}

fn run(input: &[u8]) -> Outcome {
    reads_as_code(input)?;
    let text = &*String::from_utf8_lossy(input);
    let _ = Group::of(text);
    let kinds = [
        ("claim", claim(text)?),
        ("token", token(text)?),
        ("number", number(text)?),
        ("span", span(text)?),
        ("window", window(input)?),
        ("zone", zone_name(text)?),
        ("time", time(text)?),
        ("line", line(text)?),
        ("id", plain(text)?),
    ];
    Ok(kinds.into_iter().find(|(_, taken)| *taken).map_or("none", |(kind, _)| kind))
}

/// A time that somebody asks to be called at: the same wherever it is printed, at a whole second, and the last of the
/// instants that it may be.
fn time(text: &str) -> Result<bool, String> {
    let Ok(asked) = text.parse::<Asked>() else { return Ok(false) };
    reads_back(&asked)?;
    let zones =
        ["Pacific/Kiritimati", "Europe/Berlin", "Pacific/Pago_Pago"].map(|name| zone(name).expect("a zone"));
    let Ok(at) = asked.instant(&zones) else { return Ok(true) };
    ensure(at.subsec_nanosecond() == 0, || format!("{at} is no whole second"))?;
    let alone = zones.iter().filter_map(|zone| asked.instant(std::slice::from_ref(zone)).ok());
    ensure(alone.max() == Some(at), || format!("{asked} is {at}, and later somewhere"))?;
    ensure(matches!(asked, Asked::At(_)) == asked.instant(&[]).is_ok(), || format!("{asked} is somewhere"))?;
    reads_back(&Heard::from_operator(at)).map(|()| true)
}

fn reads_as_code(input: &[u8]) -> Result<(), String> {
    let code = MessageCode::of(input);
    is_id(code.as_str(), 8, key_safe)
}

/// Whether a text is taken; what refuses it must not repeat it.
fn taken<T, E: std::error::Error>(read: Result<T, E>, text: &str) -> Result<Option<T>, String> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) => says_no_number(&error.to_string(), text.as_bytes()).map(|()| None),
    }
}

fn claim(text: &str) -> Result<bool, String> {
    let Some(claim) = taken(text.parse::<ClaimKey>(), text)? else { return Ok(false) };
    reads_back(&claim)?;
    ensure(claim.claim > 0 && claim.to_string() == text, || format!("{text:?} was taken as {claim:?}"))?;
    ensure(claim.campaign.as_str().len() == 5 && claim.lead.as_str().len() == 9, || {
        format!("{claim:?} has parts of other lengths")
    })?;
    Ok(true)
}

fn line(text: &str) -> Result<bool, String> {
    let Some(line) = taken(text.parse::<LineKey>(), text)? else { return Ok(false) };
    reads_back(&line)?;
    is_id(&line.to_string(), 65, |c| c.is_ascii_graphic() && !['"', '\\'].contains(&c))?;
    if let LineKey::Observed(call) = &line {
        is_id(call.as_str(), 64, key_safe)?;
    }
    Ok(true)
}

fn token(text: &str) -> Result<bool, String> {
    let Some(token) = taken(text.parse::<Token>(), text)? else { return Ok(false) };
    ensure(token.as_str() == text, || format!("{text:?} was taken as {token:?}"))?;
    let again = Token::new(token.kind(), token.since(), 0);
    ensure(again.since() == token.since() && again.kind() == token.kind(), || {
        format!("{token:?} says {} and {again:?} {}", token.since(), again.since())
    })?;
    Ok(true)
}

fn number(text: &str) -> Result<bool, String> {
    let Some(number) = taken(text.parse::<PhoneNumber>(), text)? else { return Ok(false) };
    ensure(number.reveal() == text, || "a number was changed".into())?;
    reads_back(&LeadId::from_number(&number))?;
    says_no_number(&format!("{number} {number:?}"), text.as_bytes())?;
    Ok(true)
}

fn plain(text: &str) -> Result<bool, String> {
    let mut any = false;
    if let Some(id) = taken(text.parse::<CallId>(), text)? {
        is_id(id.as_str(), 64, key_safe)?;
        reads_back(&id)?;
        reads_back(&LineKey::Observed(id))?;
        any = true;
    }
    if let Some(id) = taken(text.parse::<CampaignId>(), text)? {
        is_id(id.as_str(), 64, |c| c.is_ascii_graphic())?;
        reads_back(&id)?;
        is_id(CampaignCode::of(&id).as_str(), 5, key_safe)?;
        any = true;
    }
    if let Some(id) = taken(text.parse::<LeadId>(), text)? {
        is_id(id.as_str(), 128, |c| !c.is_control())?;
        reads_back(&id)?;
        is_id(LeadRef::of(&id).as_str(), 9, key_safe)?;
        any = true;
    }
    any |= taken(text.parse::<OrgId>(), text)?.map(|id| reads_back(&id)).transpose()?.is_some();
    any |= taken(text.parse::<PoolId>(), text)?.map(|id| reads_back(&id)).transpose()?.is_some();
    Ok(any)
}

fn zone_name(text: &str) -> Result<bool, String> {
    let Some(found) = taken(zone(text), text)? else { return Ok(false) };
    let name =
        found.iana_name().ok_or_else(|| format!("{text:?} is taken for a zone, and none has that name"))?;
    ensure(zone(name).as_ref() == Ok(&found), || format!("{text:?} reads back as another zone"))?;
    Ok(true)
}

fn window(input: &[u8]) -> Result<bool, String> {
    let Ok(window) = serde_json::from_slice::<Window>(input) else { return Ok(false) };
    let stored = serde_json::to_string(&window).map_err(|error| format!("cannot be stored: {error}"))?;
    let again = serde_json::from_str::<Window>(&stored);
    ensure(again.as_ref().is_ok_and(|again| *again == window), || format!("reads back as {again:?}"))?;
    Ok(true)
}

fn span(text: &str) -> Result<bool, String> {
    let json = json!({ "busyAfter": text }).to_string();
    let Ok(retry) = serde_json::from_str::<Retry>(&json) else { return Ok(false) };
    let stored = serde_json::to_string(&retry).map_err(|error| format!("cannot be stored: {error}"))?;
    let again = serde_json::from_str::<Retry>(&stored);
    ensure(again.as_ref().is_ok_and(|again| *again == retry), || format!("{text:?} is stored as {stored}"))?;
    Ok(true)
}
