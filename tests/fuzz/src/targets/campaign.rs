//! `Message::parse`: a campaign message, from the queue or from `POST /campaigns`.

use headroom::core::campaign::{BadLead, Message, NewLead, Spec};
use headroom::core::hours::{CallingHours, Person, opens, opens_at};
use headroom::core::ids::{CampaignCode, LeadRef};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Target;
use crate::checks::{ensure, is_id, reads_back, says_no_number};
use crate::corpus::{self, Corpus};
use crate::measure::{Bounds, Outcome};

pub(super) const NAME: &str = "campaign";

pub(super) fn target() -> anyhow::Result<Target> {
    let corpus = corpus();
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| corpus.body(rng)),
        run: Box::new(run),
        // A refused lead has a reason for each two bytes that it may be.
        bounds: Bounds { memory_per_byte: 128, ..Bounds::READING },
        short: 8000,
        expected: &["leads", "some bad leads", "resume", "refused"],
    })
}

/// Campaign messages of every form.
pub(super) fn corpus() -> Corpus {
    let lead = json!({
        "id": "crm-123", "number": "+14155550100", "name": "Ada", "timezone": "America/New_York",
        "variables": { "plan": "gold", "visits": [1, 2.5, null, { "deep": "é" }] },
    });
    let full = json!({
        "campaign": {
            "id": "renewals-may", "assistantId": "as", "phoneNumberId": "ph", "agent": "sales",
            "priority": "vip", "maxConcurrency": 20, "maxDurationSeconds": 900,
            "window": { "days": ["mon", "tue", "sun"], "start": "09:00", "end": "24:00", "timezone": "recipient" },
            "retry": { "maxAttempts": 3, "noAnswerAfter": "2h", "busyAfter": "15m", "voicemail": "retry" },
        },
        "leads": [lead, { "number": "+4930123456" }, { "number": "+14155550101", "timezone": "Asia/Tokyo" }],
    });
    let squad = json!({
        "campaign": {
            "id": "night", "squadId": "sq", "phoneNumberId": "ph",
            "window": { "start": "22:00", "end": "02:00", "timezone": "Europe/Berlin" },
        },
    });
    let term = json!({
        "campaign": {
            "id": "term", "squadId": "sq", "phoneNumberId": "ph",
            "startAt": "2026-03-23T12:00:00Z", "endAt": "2026-03-29T12:00:00+02:00",
            "window": {
                "spans": [{ "start": "10:00", "end": "13:00" }, { "days": ["fri"], "start": "22:00", "end": "02:00" }],
                "holidays": ["2026-03-25", "2026-12-25"],
            },
        },
        "leads": [{ "number": "+18005550100" }, { "number": "+80012345678" }],
    });
    let resume = json!({ "resume": "renewals-may" });
    let mut sample: Value =
        serde_json::from_slice(&corpus::sample("campaign.sample.json")).expect("the sample is JSON");
    // Its first leads are like its last ones, and a small message is read often.
    sample["leads"].as_array_mut().expect("the sample has leads").truncate(20);
    let made = [full, squad, term, resume, sample].map(|message| message.to_string().into_bytes());
    Corpus::new(made.into_iter().chain(corpus::kept(NAME)), 1024 * 1024)
}

fn run(input: &[u8]) -> Outcome {
    match Message::parse(input) {
        Err(error) => {
            says_no_number(&error.to_string(), input)?;
            Ok("refused")
        }
        Ok(Message::Resume(id)) => {
            is_id(id.as_str(), 64, |c| c.is_ascii_graphic())?;
            reads_back(&id)?;
            Ok("resume")
        }
        Ok(Message::Leads { spec, leads, bad, .. }) => {
            check_spec(&spec)?;
            leads.iter().try_for_each(|lead| check_lead(&spec, lead))?;
            bad.iter().try_for_each(|lead| says_no_number(&lead.reason, input))?;
            check_places(&leads, &bad)?;
            Ok(if bad.is_empty() { "leads" } else { "some bad leads" })
        }
    }
}

/// A campaign is stored as JSON, and compared with what is stored when its message comes again.
fn check_spec(spec: &Spec) -> Result<(), String> {
    is_id(spec.id.as_str(), 64, |c| c.is_ascii_graphic())?;
    let code = CampaignCode::of(&spec.id);
    ensure(code.as_str().parse().as_ref() == Ok(&code), || format!("{code:?} does not read back"))?;
    let stored = serde_json::to_string(spec).map_err(|error| format!("cannot be stored: {error}"))?;
    ensure(stored.len() <= 4096, || format!("the campaign is stored in {} bytes", stored.len()))?;
    let read: Spec =
        serde_json::from_str(&stored).map_err(|error| format!("{stored} does not read back: {error}"))?;
    ensure(read == *spec, || format!("{spec:?} reads back as {read:?}"))?;
    ensure((10..=43_200).contains(&spec.max_duration_seconds), || "a call without an end".into())?;
    for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let opens = opens_at(spec, now);
        ensure(opens.is_none_or(|at| at >= now), || format!("opens at {opens:?}, before {now}"))?;
    }
    Ok(())
}

fn check_lead(spec: &Spec, lead: &NewLead) -> Result<(), String> {
    is_id(lead.id.as_str(), 128, |c| !c.is_control())?;
    let reference = LeadRef::of(&lead.id);
    ensure(reference.as_str().parse().as_ref() == Ok(&reference), || {
        format!("{reference:?} does not read back")
    })?;
    let digits = lead.number.reveal().strip_prefix('+').unwrap_or_default();
    is_id(digits, 15, |c| c.is_ascii_digit())?;
    ensure(!format!("{:?} {}", lead.number, lead.number).contains(digits), || "a number prints".into())?;
    let name = lead.name.as_deref().unwrap_or("a");
    ensure((1..=40).contains(&name.chars().count()), || format!("a name of {} bytes", name.len()))?;
    if let Some(variables) = &lead.variables {
        ensure(variables.len() <= 16 * 1024, || format!("variables of {} bytes", variables.len()))?;
        // The dial sends them only if they read.
        serde_json::from_str::<Map<String, Value>>(variables)
            .map_err(|error| format!("variables that no dial would send: {error}"))?;
    }
    if let Some(zone) = &lead.timezone {
        // How the table keeps it.
        let name = zone.iana_name().ok_or("a zone without a name")?;
        let again = headroom::core::window::zone(name);
        ensure(again.as_ref() == Ok(zone), || format!("{zone:?} reads back as {again:?}"))?;
    }
    let person = Person { number: Some(&lead.number), timezone: lead.timezone.as_ref(), is_promised: false };
    let law = CallingHours::default();
    let needs_zone = spec.window.as_ref().is_some_and(|window| window.needs_recipient_zone());
    ensure(!needs_zone || !person.zones().is_empty(), || "a lead whose clock nobody knows was taken".into())?;
    for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let opens = opens(spec, &law, &person, now);
        ensure(opens.is_none_or(|at| at >= now), || format!("opens at {opens:?}, before {now}"))?;
    }
    Ok(())
}

/// Each lead of the message is among the good or among the bad, once.
fn check_places(leads: &[NewLead], bad: &[BadLead]) -> Result<(), String> {
    let mut places: Vec<usize> =
        leads.iter().map(|lead| lead.index).chain(bad.iter().map(|lead| lead.index)).collect();
    places.sort_unstable();
    ensure(places.iter().enumerate().all(|(n, place)| n == *place), || "a lead is lost or doubled".into())
}
