//! Every recorded, composed and hostile Vapi body in `events/vapi`, met by the real handler: what it
//! answers, and what becomes of the ledger, the lead and the record of the call.
//!
//! The table of cases names every file of that folder. "Nothing changes" means that a scan of the
//! whole table shows the same items before and after.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::{CallId, ClaimKey, NameCode};
use headroom::core::lead::{Lead, LeadState};
use headroom::core::line::{Kind, LineKey, Token};
use headroom::core::pool::{Counts, Pool, Tally};
use headroom::core::retry::Tried;
use headroom::flows::Clock as _;
use headroom::vapi::dial::{Dialed, Limits};
use headroom::vapi::{Secret, VapiError};
use jiff::{SignedDuration, Timestamp};
use lambda_http::{Body, Request};
use serde_json::{Value, json};
use webhook::Webhook;

const SECRET: &str = "a-secret-of-the-tests";
/// The outbound call of the fixtures.
const CALL: &str = "019d2ad0-6eb1-7aac-9377-0000000000a1";
/// The organisation of the fixtures.
const ORG: &str = "0b5d7c1e-0000-4000-8000-00000000a001";
/// The reservation that the fixtures carry: none of ours.
const RESERVATION: &str = "rsv-7f3a";
const ASSISTANT: &str = "as-inbound";
const BUSY: &str = "Every line is taken.";

/// What is there before the body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seed {
    /// An empty pool.
    Nothing,
    /// A lead whose call is the fixtures' outbound call.
    Bound,
    /// A lead whose dial is under way. The body carries a reservation that is not ours.
    Dialing,
    /// The same, and the body carries this lead's reservation.
    DialingOurs,
    /// A lead whose dial had no clear answer, and the body carries its reservation.
    UnknownOurs,
    /// A line held by the body's own call.
    Held(Kind),
    /// The body's own call is on record as ended.
    Ended,
    /// Every line held by other callers.
    Full,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Not one item changes.
    None,
    /// The call's end goes on record, and that is all.
    OnRecord,
    /// The call takes a line of this kind.
    Takes(Kind),
    /// The call's line is free, and its end on record.
    Frees,
    /// The lead is done, its line free, the end on record.
    Done,
    /// The lead has failed, its line free, the end on record.
    Failed,
    /// The lead is ready again after so many seconds; the attempt counts.
    Again(i64),
    /// The lead is ready again after so many seconds; the attempt is spared.
    Spared(i64),
    /// The lead is back in its place, nothing counts, outbound rests, and what it waits for is on record.
    BackAndRest,
    /// Why the caller found no line goes on record, and that is all.
    Refuses,
    /// The lead's call is known now.
    Binds,
}

#[derive(Debug, Clone)]
struct Case {
    file: &'static str,
    seed: Seed,
    status: u16,
    says: Value,
    effect: Effect,
    /// What Vapi answers when asked for the call.
    vapi: Option<(u16, &'static str)>,
}

impl Case {
    fn says(mut self, body: Value) -> Self {
        self.says = body;
        self
    }
    fn vapi(mut self, status: u16, file: &'static str) -> Self {
        self.vapi = Some((status, file));
        self
    }
}

fn ok(file: &'static str, seed: Seed, effect: Effect) -> Case {
    Case { file, seed, status: 200, says: json!({}), effect, vapi: None }
}

/// Refused as unreadable: nothing changes.
fn bad(file: &'static str) -> Case {
    Case { status: 400, ..ok(file, Seed::Bound, Effect::None) }
}

/// Bodies that are lists of bodies, to be sent one after the other.
const SEQUENCES: [&str; 2] = ["hostile.duplicate-ended.json", "hostile.ended-then-late-in-progress.json"];

fn cases() -> Vec<Case> {
    use Effect::*;
    use Seed::*;
    const MIN: i64 = 60;
    const HOUR: i64 = 60 * MIN;
    let answered = json!({ "assistantId": ASSISTANT });
    let refused = json!({ "error": BUSY });
    vec![
        // Answers of Vapi's API, and of ours: no server messages.
        bad("api.401.json"),
        bad("api.429.json"),
        bad("api.5xx.html.json"),
        bad("api.analytics.calls-by-reason.response.json"),
        bad("api.analytics.concurrency.request.json"),
        bad("api.analytics.concurrency.response.json"),
        bad("api.get-call.404.json"),
        bad("api.get-call.ended.json"),
        bad("api.get-call.in-progress.json"),
        bad("api.get-call.never-connected.json"),
        bad("api.org-limits.response.json"),
        bad("api.post-call.201.concurrency-blocked.json"),
        bad("api.post-call.201.json"),
        bad("api.post-call.201.last-slot.json"),
        bad("api.post-call.201.no-limits.json"),
        bad("api.post-call.400.over-concurrency.json"),
        bad("api.post-call.400.over-concurrency.old.json"),
        bad("api.post-call.400.validation.json"),
        bad("api.post-call.batch.201.json"),
        bad("api.post-call.request.json"),
        bad("assistant-request.response.assistant-id.json"),
        bad("assistant-request.response.destination.json"),
        bad("assistant-request.response.error.json"),
        bad("auth.hmac-vectors.json"),
        bad("campaign.v2.create.201.json"),
        // Callers on a bare number.
        ok("assistant-request.docs.json", Nothing, Takes(Kind::Inbound)).says(answered.clone()),
        ok("assistant-request.docs.json", Full, Refuses).says(refused.clone()),
        ok("assistant-request.json", Nothing, Takes(Kind::Inbound)).says(answered.clone()),
        ok("assistant-request.json", Held(Kind::Inbound), None).says(answered.clone()),
        ok("assistant-request.json", Full, Refuses).says(refused.clone()),
        ok("assistant-request.json", Ended, None).says(refused.clone()),
        ok("assistant-request.withheld-caller.json", Nothing, Takes(Kind::Inbound)).says(answered),
        ok("assistant-request.withheld-caller.json", Full, Refuses).says(refused),
        // Vapi's own campaigns.
        ok("campaign.event.contact-completed.json", Bound, None),
        ok("campaign.predial.json", Nothing, None).says(json!({ "eligible": true })),
        ok("campaign.predial.json", Full, None).says(json!({ "eligible": false })),
        // Nothing to do with lines.
        ok("conversation-update.json", Bound, None),
        ok("conversation-update.json", Nothing, None),
        ok("hang.json", Bound, None),
        ok("hang.json", Nothing, None),
        ok("tool-calls.json", Bound, None).says(json!({ "results": [] })),
        ok("tool-calls.call-me-back.json", Bound, None).says(json!({ "results": [{
            "toolCallId": "call_abc123",
            "result": "Not confirmed: this call belongs to no campaign, so that there is nobody to note the time for.",
        }] })),
        ok("hostile.callback-at.json", Bound, Done),
        ok("unknown-type.json", Bound, None),
        ok("unknown-type.json", Nothing, None),
        ok("status-update.scheduled.json", Bound, None),
        ok("status-update.scheduled.json", Nothing, None),
        // Reports.
        ok("end-of-call-report.inbound.json", Held(Kind::Inbound), Frees),
        ok("end-of-call-report.inbound.json", Nothing, OnRecord),
        ok("end-of-call-report.inbound.json", Ended, None),
        ok("end-of-call-report.outbound.json", Bound, Done),
        ok("end-of-call-report.outbound.json", DialingOurs, Done),
        ok("end-of-call-report.outbound.json", UnknownOurs, Done),
        ok("end-of-call-report.outbound.json", Dialing, OnRecord),
        ok("end-of-call-report.outbound.no-answer.json", Bound, Again(2 * HOUR)),
        ok("end-of-call-report.web.2024.json", Held(Kind::Web), Frees),
        ok("end-of-call-report.web.2024.json", Nothing, OnRecord),
        // Hostile and malformed.
        bad("hostile.bom-and-bad-utf8.txt"),
        ok("hostile.call-beside-message.json", Bound, None),
        bad("hostile.call-id-empty.json"),
        bad("hostile.call-id-is-object.json"),
        bad("hostile.call-id-key-injection.json"),
        ok("hostile.call-missing.json", Bound, None),
        // What it costs is no matter of ours; that it is over is.
        ok("hostile.cost-string.json", Bound, Done),
        ok("hostile.duplicate-ended.json", Bound, Done),
        ok("hostile.duplicate-ended.json", Held(Kind::Foreign), Frees),
        ok("hostile.duplicate-ended.json", Nothing, OnRecord),
        bad("hostile.duplicate-keys.txt"),
        bad("hostile.empty.txt"),
        ok("hostile.ended-then-late-in-progress.json", Bound, Done),
        ok("hostile.ended-then-late-in-progress.json", Held(Kind::Foreign), Frees),
        ok("hostile.ended-then-late-in-progress.json", Nothing, OnRecord),
        bad("hostile.message-array.json"),
        bad("hostile.message-null.json"),
        ok("hostile.metadata-claims-other-campaign.json", Bound, Done),
        ok("hostile.metadata-deep.json", Bound, Done),
        ok("hostile.metadata-not-object.json", Bound, Done),
        ok("hostile.number-rtl-and-nul.json", Bound, Done),
        ok("hostile.org-mismatch.json", Bound, None),
        ok("hostile.org-mismatch.json", Nothing, None),
        ok("hostile.org-mismatch.json", Held(Kind::Foreign), None),
        ok("hostile.status-case.json", Bound, None),
        ok("hostile.status-case.json", Nothing, None),
        ok("hostile.status-not-found.json", Bound, None),
        ok("hostile.status-not-found.json", Nothing, None),
        ok("hostile.status-unknown.json", Bound, None),
        ok("hostile.status-unknown.json", Nothing, None),
        ok("hostile.timestamp-far-future.json", Bound, Done),
        ok("hostile.timestamp-negative-float.json", Bound, Done),
        ok("hostile.timestamp-string.json", Bound, Done),
        bad("hostile.top-level-array.json"),
        bad("hostile.truncated.txt"),
        // Callers.
        ok("status-update.inbound.ended.invalid-assistant.json", Held(Kind::Inbound), None),
        ok("status-update.inbound.ended.json", Held(Kind::Inbound), Frees),
        ok("status-update.inbound.ended.json", Nothing, OnRecord),
        ok("status-update.inbound.ended.json", Ended, None),
        ok("status-update.inbound.ended.rejected-by-us.json", Nothing, OnRecord),
        ok("status-update.inbound.ended.rejected-by-us.json", Full, OnRecord),
        ok("status-update.inbound.forwarding.json", Held(Kind::Inbound), None),
        ok("status-update.inbound.forwarding.json", Nothing, Takes(Kind::Inbound)),
        ok("status-update.inbound.in-progress.json", Nothing, Takes(Kind::Inbound)),
        ok("status-update.inbound.in-progress.json", Held(Kind::Inbound), None),
        ok("status-update.inbound.in-progress.json", Ended, None),
        // Real whatever the counters say.
        ok("status-update.inbound.in-progress.json", Full, Takes(Kind::Inbound)),
        ok("status-update.inbound.ringing.json", Nothing, Takes(Kind::Inbound)),
        // Dialed calls, and what others dial.
        ok("status-update.outbound.ended.concurrency-limit.json", Bound, BackAndRest),
        ok("status-update.outbound.ended.customer-busy.json", Bound, Again(15 * MIN)),
        ok("status-update.outbound.ended.customer-did-not-answer.json", Bound, Again(2 * HOUR)),
        ok("status-update.outbound.ended.customer-ended-call.json", Bound, Done),
        ok("status-update.outbound.ended.customer-ended-call.json", DialingOurs, Done),
        ok("status-update.outbound.ended.customer-ended-call.json", UnknownOurs, Done),
        ok("status-update.outbound.ended.customer-ended-call.json", Dialing, OnRecord),
        ok("status-update.outbound.ended.customer-ended-call.json", Held(Kind::Foreign), Frees),
        ok("status-update.outbound.ended.customer-ended-call.json", Nothing, OnRecord),
        // What these mean for the lead, Vapi's own record says; without it the line stays held.
        ok("status-update.outbound.ended.no-reason.json", Bound, Done).vapi(200, "api.get-call.ended.json"),
        ok("status-update.outbound.ended.no-reason.json", Bound, None)
            .vapi(200, "api.get-call.in-progress.json"),
        ok("status-update.outbound.ended.no-reason.json", Bound, None).vapi(404, "api.get-call.404.json"),
        ok("status-update.outbound.ended.no-reason.json", Bound, None).vapi(522, "api.5xx.html.json"),
        ok("status-update.outbound.ended.no-reason.json", Held(Kind::Foreign), Frees),
        ok("status-update.outbound.ended.unknown-reason.json", Bound, Done)
            .vapi(200, "api.get-call.ended.json"),
        ok("status-update.outbound.ended.unknown-reason.json", Bound, Spared(30))
            .vapi(200, "api.get-call.never-connected.json"),
        ok("status-update.outbound.ended.unknown-reason.json", Held(Kind::Foreign), Frees),
        ok("status-update.outbound.ended.transport-never-connected.json", Bound, Spared(30)),
        ok("status-update.outbound.ended.voicemail.json", Bound, Failed),
        ok("status-update.outbound.forwarding.json", Bound, None),
        ok("status-update.outbound.forwarding.json", Nothing, Takes(Kind::Foreign)),
        ok("status-update.outbound.in-progress.json", Bound, None),
        ok("status-update.outbound.in-progress.json", Nothing, Takes(Kind::Foreign)),
        ok("status-update.outbound.in-progress.json", Ended, None),
        // Its own dial's answer binds it.
        ok("status-update.outbound.in-progress.json", DialingOurs, None),
        ok("status-update.outbound.in-progress.json", UnknownOurs, Binds),
        // Without a type nobody knows what kind of line it would be.
        ok("status-update.outbound.in-progress.lean.json", Bound, None),
        ok("status-update.outbound.in-progress.lean.json", Nothing, None),
        ok("status-update.outbound.queued.json", Bound, None),
        ok("status-update.outbound.queued.json", UnknownOurs, Binds),
        ok("status-update.outbound.queued.json", Nothing, Takes(Kind::Foreign)),
        ok("status-update.outbound.ringing.json", Bound, None),
        ok("status-update.outbound.ringing.json", UnknownOurs, Binds),
        // Browser and websocket calls.
        ok("status-update.web.ended.2024.json", Held(Kind::Web), Frees),
        ok("status-update.web.ended.2024.json", Nothing, OnRecord),
        ok("status-update.web.ended.json", Held(Kind::Web), Frees),
        ok("status-update.web.ended.json", Nothing, OnRecord),
        ok("status-update.web.in-progress.json", Nothing, Takes(Kind::Web)),
        ok("status-update.web.in-progress.json", Held(Kind::Web), None),
        ok("status-update.web.in-progress.json", Ended, None),
        ok("status-update.web.queued.json", Nothing, Takes(Kind::Web)),
        ok("status-update.websocket.ended.json", Held(Kind::Web), Frees),
        ok("status-update.websocket.in-progress.json", Nothing, Takes(Kind::Web)),
        ok("status-update.websocket.in-progress.json", Full, Takes(Kind::Web)),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events/vapi")
}

fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

fn fixture_text(file: &str) -> String {
    String::from_utf8(fixture(file)).unwrap()
}

fn files() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The bodies to send for one file.
fn bodies(file: &str) -> Vec<Vec<u8>> {
    if !SEQUENCES.contains(&file) {
        return vec![fixture(file)];
    }
    let bodies: Vec<Value> = serde_json::from_slice(&fixture(file)).unwrap();
    bodies.iter().map(|body| body.to_string().into_bytes()).collect()
}

/// The call that the first body of a file is about, or the fixtures' caller if it names none.
fn call_of(file: &str) -> CallId {
    let body = &bodies(file)[0];
    // One of them is too deep for a parser that keeps everything.
    if String::from_utf8_lossy(body).contains(CALL) {
        return CALL.parse().unwrap();
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let call = body["message"]["call"]["id"].as_str().and_then(|id| id.parse().ok());
    call.unwrap_or_else(|| "019d2ad0-7c40-7aac-9377-0000000000b1".parse().unwrap())
}

fn handler(world: &World, secrets: &[&str]) -> Webhook {
    let callers = Callers {
        secrets: secrets.iter().copied().map(Secret::new).collect(),
        assistants: Assistants::everywhere(ASSISTANT),
        busy_message: BUSY.to_owned(),
        overflow: Overflow::default(),
    };
    Webhook::new(world.app.clone(), callers)
}

async fn send(webhook: &Webhook, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let mut request = Request::new(Body::Binary(body.to_vec()));
    *request.method_mut() = lambda_http::http::Method::POST;
    *request.uri_mut() = "https://headroom.example.invalid/vapi".parse().unwrap();
    for (name, value) in headers {
        let name: lambda_http::http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = webhook.handle(request).await;
    let body: &[u8] = answer.body();
    (answer.status().as_u16(), serde_json::from_slice(body).unwrap())
}

async fn post(webhook: &Webhook, body: &[u8]) -> (u16, Value) {
    send(webhook, &[("x-vapi-secret", SECRET)], body).await
}

/// A world as a seed has it, and the claim of its lead.
async fn seeded(world: &World, seed: Seed, call: &CallId) -> (World, ClaimKey) {
    let world = world.beside(policy(10, 7, 3)).await.unwrap();
    let (table, now) = (world.table(), world.clock.now());
    table.note_vapi(Some(&ORG.parse().unwrap()), None).await.unwrap();
    let claim: ClaimKey = "codeAreference1".parse().unwrap();
    let claim = match seed {
        Seed::Nothing => claim,
        Seed::Held(kind) => {
            world.observed(call.as_str(), kind, None).await.unwrap();
            claim
        }
        Seed::Ended => {
            let end = headroom::core::lead::End { reason: None, connected: None };
            table.record_ended(call, &end, now).await.unwrap();
            claim
        }
        Seed::Full => {
            for n in 0..10 {
                world.observed(&format!("other-{n}"), Kind::Inbound, None).await.unwrap();
            }
            claim
        }
        Seed::Bound | Seed::Dialing | Seed::DialingOurs | Seed::UnknownOurs => {
            let claim = world.lead("renewals", "lead-1").await.unwrap();
            world.dialing(&claim).await.unwrap();
            match seed {
                Seed::Bound => table.bind(&claim, &CALL.parse().unwrap(), None).await.map(|_| ()).unwrap(),
                Seed::UnknownOurs => table.mark_unknown(&claim, now).await.map(|_| ()).unwrap(),
                _ => {}
            }
            claim
        }
    };
    (world, claim)
}

/// Replaces the fixtures' reservation by a real one, byte for byte otherwise.
fn rewritten(body: &[u8], claim: &ClaimKey) -> Vec<u8> {
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.contains(RESERVATION));
    text.replace(RESERVATION, &claim.to_string()).into_bytes()
}

/// By what the agent of a call is known: who is to answer it, else the first of the ids that the call carries;
/// a caller on a bare number is for whom the configuration says.
fn agent_of(body: &[u8]) -> Option<NameCode> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let message = &body["message"];
    if message["type"] == "assistant-request" {
        return Some(NameCode::of(ASSISTANT));
    }
    let id = |name: &str| message["call"][name].as_str();
    let is_caller = message["call"]["type"] == "inboundPhoneCall";
    let assistant = id("squadId").or(id("assistantId")).or(is_caller.then_some(ASSISTANT));
    assistant.or(id("phoneNumberId")).map(NameCode::of)
}

fn with(mut pool: Pool, call: &CallId, kind: Kind, agent: Option<&NameCode>, now: Timestamp) -> Pool {
    let token = Token::new(kind, now, 0);
    let token = token.known_by(agent);
    pool.lines.insert(LineKey::Observed(call.clone()), token);
    added_up(pool)
}

/// Nothing is reserved here: every line is a shared one.
fn added_up(mut pool: Pool) -> Pool {
    pool.counts = Counts::of(pool.lines.values());
    pool.uses.shared = pool.counts.total;
    pool
}

fn without(mut pool: Pool, key: &LineKey) -> Pool {
    let was = pool.lines.remove(key);
    assert!(was.is_some(), "the seed holds the line that is expected to come back");
    if let LineKey::Claim(claim) = key {
        pool.campaigns.get_mut(&claim.campaign).unwrap().held -= 1;
    }
    added_up(pool)
}

/// What differs between two scans, by key.
fn changed(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// Plays one case and compares everything there is with what is expected.
async fn play(engine: &World, case: &Case) {
    let call = call_of(case.file);
    let (world, claim) = seeded(engine, case.seed, &call).await;
    let webhook = handler(&world, &[SECRET]);
    world.clock.advance(SignedDuration::from_secs(1));
    let now = world.clock.now();
    if let Some((status, file)) = case.vapi {
        world.vapi.answers(status, fixture_text(file));
    }
    world.wakes.take_asked();
    world.vapi.take_asked();
    let (dump, (pool, lead)) = (world.dump().await.unwrap(), world.state(&claim).await.unwrap());

    let ours = matches!(case.seed, Seed::DialingOurs | Seed::UnknownOurs);
    for body in bodies(case.file) {
        let body = if ours { rewritten(&body, &claim) } else { body };
        let (status, says) = post(&webhook, &body).await;
        assert_eq!(status, case.status, "{case:?}: {says}");
        if status == 200 {
            assert_eq!(says, case.says, "{case:?}");
        } else {
            let says = says.to_string();
            assert!(
                !says.contains("00000000") && !says.contains("55555"),
                "{case:?} quotes the body: {says}"
            );
        }
    }

    let (after, (pool_now, lead_now)) = (world.dump().await.unwrap(), world.state(&claim).await.unwrap());
    let wakes = world.wakes.take_asked().len();
    let asked = world.vapi.take_asked();
    if case.vapi.is_some() {
        let wanted = [("GET".to_owned(), format!("/call/{CALL}"))];
        let asked: Vec<_> = asked.into_iter().map(|asked| (asked.method, asked.path)).collect();
        assert_eq!(asked, wanted, "{case:?}");
    } else {
        assert!(asked.is_empty(), "{case:?} asked Vapi: {asked:?}");
    }
    let ledger = "POOL#main LEDGER#0".to_owned();
    let record = format!("CALL#{call} CALL");
    let refusal = format!("CALL#{call} REFUSED");
    let waits = format!("C#{} WAITS", claim.campaign.as_str());
    let item = format!("C#{} L#{}", claim.campaign.as_str(), claim.lead.as_str());
    let key = LineKey::Claim(claim.clone());
    let held = pool.lines.get(&key).map(|token| now.duration_since(token.since()));
    let tally = |pool: &mut Pool, change: &dyn Fn(&mut Tally)| {
        change(pool.campaigns.get_mut(&claim.campaign).unwrap());
    };
    // Whatever moves it, the lead remembers the call.
    let its_call = call.clone();
    let moved = |state: fn(&Lead) -> LeadState, attempts, spared| {
        let call = Some(its_call.clone());
        lead.clone().map(|lead| Lead { state: state(&lead), call, attempts, spared, ..lead })
    };
    let (mut wanted_pool, wanted_lead, wanted_items, woken) = match case.effect {
        Effect::None => (pool, lead, vec![], false),
        Effect::OnRecord => (pool, lead, vec![record], false),
        Effect::Refuses => (pool, lead, vec![refusal], false),
        Effect::Takes(kind) => {
            // The first message of a call that tells of its agent takes its line.
            let agent = bodies(case.file).iter().find_map(|body| agent_of(body));
            (with(pool, &call, kind, agent.as_ref(), now), lead, vec![ledger], false)
        }
        Effect::Frees => (without(pool, &LineKey::Observed(call)), lead, vec![ledger, record], false),
        Effect::Binds => {
            let live = |lead: &Lead| {
                let token = lead.lease().unwrap().token;
                LeadState::Live { token, call: CALL.parse().unwrap() }
            };
            (pool, moved(live, 0, 0), vec![item], false)
        }
        Effect::Done | Effect::Failed => {
            let done = case.effect == Effect::Done;
            let mut pool = without(pool, &key);
            tally(&mut pool, &|tally| if done { tally.done += 1 } else { tally.failed += 1 });
            // The reason is compared below: it may be Vapi's own.
            let lead = lead_now.clone().map(|now| Lead { attempts: 1, spared: 0, ..now });
            let state = &lead.as_ref().unwrap().state;
            assert_eq!(state.name(), if done { "done" } else { "failed" }, "{case:?}");
            (pool, lead, vec![item, ledger, record], true)
        }
        Effect::Again(_) => {
            let tried = lead_now.as_ref().map(|lead| lead.tried).unwrap_or_default();
            assert_ne!(tried, Tried::default(), "{case:?}");
            let lead = moved(|_| LeadState::Ready, 1, 0).map(|lead| Lead { tried, ..lead });
            (without(pool, &key), lead, vec![item, ledger, record], true)
        }
        Effect::Spared(_) => {
            // A failure of somebody's, which their breaker counts.
            let health = "POOL#main HEALTH".to_owned();
            (without(pool, &key), moved(|_| LeadState::Ready, 0, 1), vec![item, ledger, record, health], true)
        }
        Effect::BackAndRest => {
            let mut pool = without(pool, &key);
            pool.hold_until = now + SignedDuration::from_secs(2);
            pool.hold_count = 1;
            // Outbound yields, too.
            let health = "POOL#main HEALTH".to_owned();
            (pool, moved(|_| LeadState::Ready, 0, 0), vec![item, ledger, record, waits, health], true)
        }
    };
    // The line-time that its call had counts for the campaign's turn.
    if let Some(held) = held.filter(|_| !wanted_pool.lines.contains_key(&key)) {
        tally(&mut wanted_pool, &|tally| tally.progress.served_ms += held.as_millis() as i64);
    }
    assert_eq!(pool_now, wanted_pool, "{case:?}");
    assert_eq!(lead_now, wanted_lead, "{case:?}");
    assert_eq!(changed(&dump, &after), BTreeSet::from_iter(wanted_items), "{case:?}");
    assert_eq!(wakes > 0, woken, "{case:?}");
    let due = match case.effect {
        Effect::Again(seconds) | Effect::Spared(seconds) => {
            Some((now + SignedDuration::from_secs(seconds)).as_microsecond())
        }
        // Its place is that of the moment it was taken in: a second ago.
        Effect::BackAndRest | Effect::Binds => Some((now - SignedDuration::from_secs(1)).as_microsecond()),
        _ => Option::None,
    };
    if let Some(due) = due {
        assert_eq!(world.due_us(&claim).await.unwrap(), due, "{case:?}");
    }
    world.vapi.answers(500, "{}");
}

#[test]
fn the_cases_name_every_file_and_no_other() {
    let named: BTreeSet<String> = cases().iter().map(|case| case.file.to_owned()).collect();
    assert_eq!(named, files());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_body_has_its_answer_and_its_effect() {
    // Two engines side by side: each case is quick, and there are many.
    let mut halves = tokio::task::JoinSet::new();
    for half in 0..2 {
        halves.spawn(async move {
            let engine = World::start(policy(10, 7, 3)).await.unwrap();
            for case in cases().iter().skip(half).step_by(2) {
                Box::pin(play(&engine, case)).await;
            }
        });
    }
    halves.join_all().await;
}

#[tokio::test]
async fn nothing_is_let_in_without_a_secret() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let (world, _) = seeded(&engine, Seed::Bound, &CALL.parse().unwrap()).await;
    let webhook = handler(&world, &[SECRET]);
    let before = world.dump().await.unwrap();
    let attempts: [&[(&str, &str)]; 4] = [
        &[],
        &[("x-vapi-secret", "another")],
        &[("authorization", "Bearer another")],
        &[("x-signature", "00"), ("x-timestamp", "1774540000000")],
    ];
    for file in files() {
        for headers in attempts {
            let (status, _) = send(&webhook, headers, &fixture(&file)).await;
            assert_eq!(status, 401, "{file} {headers:?}");
        }
    }
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn each_of_the_three_ways_in_is_open() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let body = fixture("status-update.outbound.ended.customer-ended-call.json");
    for headers in [[("x-vapi-secret", SECRET)], [("authorization", "Bearer a-secret-of-the-tests")]] {
        let (world, claim) = seeded(&engine, Seed::Bound, &CALL.parse().unwrap()).await;
        // The older of two secrets is still good.
        let webhook = handler(&world, &["a-newer-secret", SECRET]);
        assert_eq!(send(&webhook, &headers, &body).await.0, 200);
        assert_eq!(world.state(&claim).await.unwrap().1.unwrap().state.name(), "done", "{headers:?}");
    }

    // Signed: the recorded vectors, whose call nobody knows, so that its end goes on record.
    let vectors: Value = serde_json::from_slice(&fixture("auth.hmac-vectors.json")).unwrap();
    let body = vectors["body"].as_str().unwrap().as_bytes();
    for vector in vectors["vectors"].as_array().unwrap() {
        let (world, _) = seeded(&engine, Seed::Nothing, &CALL.parse().unwrap()).await;
        world.clock.advance(
            Timestamp::from_millisecond(1_786_546_871_500).unwrap().duration_since(world.clock.now()),
        );
        let webhook = handler(&world, &[SECRET, vectors["secret"].as_str().unwrap()]);
        let headers: Vec<(&str, &str)> = vector["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        assert_eq!(send(&webhook, &headers, body).await.0, 200);
        assert!(world.dump().await.unwrap().contains_key("CALL#call_kat123 CALL"));
        // The same message again, much later: only without a time in it is it still good.
        world.clock.advance(SignedDuration::from_mins(10));
        let timed = headers.iter().any(|(name, _)| *name == "x-timestamp");
        assert_eq!(send(&webhook, &headers, body).await.0, if timed { 401 } else { 200 });
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_not_served() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let webhook = handler(&world, &[SECRET]);
    for (method, path, status) in
        [("GET", "/vapi", 405), ("PUT", "/vapi", 405), ("POST", "/", 404), ("POST", "/vapi/x", 404)]
    {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("https://headroom.example.invalid{path}").parse().unwrap();
        request.headers_mut().insert("x-vapi-secret", SECRET.parse().unwrap());
        assert_eq!(webhook.handle(request).await.status().as_u16(), status, "{method} {path}");
    }
}

/// All bodies, forwards and backwards, on a pool with one call of every sort: none is answered
/// with 5xx, and the counters are what the lines add up to after each (P7).
#[tokio::test]
async fn no_row_of_bodies_breaks_the_ledger() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let (world, claim) = seeded(&engine, Seed::Bound, &CALL.parse().unwrap()).await;
    let (dialing, unknown) =
        (world.lead("renewals", "l2").await.unwrap(), world.lead("renewals", "l3").await.unwrap());
    world.dialing(&dialing).await.unwrap();
    world.dialing(&unknown).await.unwrap();
    world.table().mark_unknown(&unknown, world.clock.now()).await.unwrap();
    let webhook = handler(&world, &[SECRET]);
    let files: Vec<String> = files().into_iter().collect();
    for file in files.iter().chain(files.iter().rev()) {
        for body in bodies(file) {
            let (status, _) = post(&webhook, &body).await;
            assert!(status < 500, "{file}: {status}");
            let pool = world.table().read_pool().await.unwrap();
            assert_eq!(pool.counts, Counts::of(pool.lines.values()), "{file}");
        }
    }
    // The bound lead is over; the two whose reservation nobody named are as they were.
    let (pool, lead) = world.state(&claim).await.unwrap();
    assert_eq!(lead.unwrap().state.name(), "done");
    let Tally { held, done, failed, .. } = pool.campaigns[&claim.campaign];
    assert_eq!((held, done, failed), (2, 1, 0));
    assert_eq!(pool.counts, Counts { total: 2, outbound: 2, ..Counts::default() });
}

/// A call's messages in every order, each also twice, lead to the same state (P8).
#[tokio::test]
async fn every_order_of_a_calls_messages_has_one_end() {
    let rows: [(Seed, [&str; 4]); 2] = [
        (
            Seed::Bound,
            [
                "status-update.outbound.ringing.json",
                "status-update.outbound.in-progress.json",
                "status-update.outbound.ended.customer-ended-call.json",
                "end-of-call-report.outbound.json",
            ],
        ),
        (
            Seed::Nothing,
            [
                "status-update.inbound.ringing.json",
                "assistant-request.json",
                "status-update.inbound.ended.json",
                "end-of-call-report.inbound.json",
            ],
        ),
    ];
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    for (seed, files) in rows {
        let mut ends = Vec::new();
        for order in 0..24 {
            let (world, claim) = seeded(&engine, seed, &CALL.parse().unwrap()).await;
            let webhook = handler(&world, &[SECRET]);
            let mut left = files.to_vec();
            let mut n = order;
            while !left.is_empty() {
                let body = fixture(left.remove(n % left.len()));
                n /= left.len() + 1;
                for _ in 0..2 {
                    assert_eq!(post(&webhook, &body).await.0, 200);
                }
            }
            ends.push(world.state(&claim).await.unwrap());
        }
        assert!(ends[0].0.lines.is_empty(), "{files:?}: every line is back");
        for (order, end) in ends.iter().enumerate() {
            assert_eq!(*end, ends[0], "{files:?} in order {order}");
        }
    }
}

/// Two leads, of which the second is dialing or live; the first one's call ends, and says that it
/// was made for the second. The stored call decides.
async fn stolen_claim(second_is_live: bool) {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let (world, first) = seeded(&engine, Seed::Bound, &CALL.parse().unwrap()).await;
    let second = world.lead("renewals", "lead-2").await.unwrap();
    world.dialing(&second).await.unwrap();
    if second_is_live {
        world.table().bind(&second, &"another-call".parse().unwrap(), None).await.unwrap();
    }
    let before = world.state(&second).await.unwrap().1;
    let text = fixture_text("hostile.metadata-claims-other-campaign.json");
    let body = text.replace("rsv-0000", &second.to_string());
    assert_ne!(body, text);
    let webhook = handler(&world, &[SECRET]);
    assert_eq!(post(&webhook, body.as_bytes()).await.0, 200);
    let (pool, lead) = world.state(&second).await.unwrap();
    assert_eq!(lead, before, "the lead that was named is untouched");
    assert!(pool.lines.contains_key(&LineKey::Claim(second)));
    let (pool, lead) = world.state(&first).await.unwrap();
    assert_eq!(lead.unwrap().state.name(), "done", "the lead whose call it is is settled");
    assert!(!pool.lines.contains_key(&LineKey::Claim(first)));
}

#[tokio::test]
async fn a_claim_of_a_lead_with_another_call_is_ignored() {
    stolen_claim(true).await;
}

#[tokio::test]
async fn a_claim_of_a_lead_that_waits_for_a_call_does_not_outdo_the_calls_own_lead() {
    stolen_claim(false).await;
}

/// A message whose claim is over, or was never made, is that of somebody else's call.
#[tokio::test]
async fn a_claim_that_holds_no_line_counts_for_nothing() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let (world, claim) = seeded(&engine, Seed::Nothing, &CALL.parse().unwrap()).await;
    let lead = world.lead("renewals", "lead-1").await.unwrap();
    let webhook = handler(&world, &[SECRET]);
    let before = world.state(&lead).await.unwrap();
    for claim in [&lead, &claim] {
        let body = rewritten(&fixture("status-update.outbound.ended.customer-ended-call.json"), claim);
        assert_eq!(post(&webhook, &body).await.0, 200);
        assert_eq!(world.state(&lead).await.unwrap(), before);
    }
}

/// JSON arrays where the contract has objects: positions are no names.
#[tokio::test]
async fn a_list_is_not_read_as_an_object() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let (world, _) = seeded(&engine, Seed::Bound, &CALL.parse().unwrap()).await;
    let webhook = handler(&world, &[SECRET]);
    let before = world.dump().await.unwrap();
    let call = json!({ "id": CALL, "orgId": ORG, "type": "outboundPhoneCall" });
    let message = json!({ "type": "status-update", "status": "ended", "endedReason": "customer-ended-call", "call": call });
    let bodies = [
        json!([message]),
        json!({ "message": ["status-update", "ended", "customer-ended-call", null, call, null] }),
        json!({ "message": { "type": "status-update", "status": "ended", "endedReason": "customer-ended-call",
            "call": [CALL, ORG, "outboundPhoneCall", null, null, null, null, null, null, null, null] } }),
    ];
    for body in bodies {
        let (status, _) = post(&webhook, body.to_string().as_bytes()).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(world.dump().await.unwrap(), before, "{body}");
    }
}

// Answers of Vapi's API, met by the client.

async fn dialed(world: &World, status: u16, body: String) -> Dialed {
    world.vapi.answers(status, body);
    world.vapi.take_asked();
    let (world, claim) = seeded(world, Seed::DialingOurs, &CALL.parse().unwrap()).await;
    let lead = world.state(&claim).await.unwrap().1.unwrap();
    let campaign = world.table().read_campaign(&claim.campaign).await.unwrap().unwrap();
    let dialed = world.asked().dial(&campaign.spec, &lead, world.clock.now()).await;
    let asked = world.vapi.take_asked();
    assert_eq!(asked.len(), 1, "one request, never repeated");
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/call"));
    // The claim goes along in three places, and every key of ours is one that Vapi is known to take.
    let sent: Value = serde_json::from_str(&asked[0].body).unwrap();
    let claim = claim.to_string();
    assert_eq!(sent["name"], claim);
    assert_eq!(sent["metadata"]["reservationId"], claim);
    assert_eq!(sent["assistantOverrides"]["metadata"]["reservationId"], claim);
    assert_eq!(sent["assistantOverrides"]["maxDurationSeconds"], 600);
    assert_eq!(sent["customer"]["number"], "+15555550100");
    let known: Value = serde_json::from_slice(&fixture("api.post-call.request.json")).unwrap();
    assert!(sent.as_object().unwrap().keys().all(|key| known.get(key).is_some()), "{sent}");
    dialed
}

#[tokio::test]
async fn every_recorded_answer_to_a_dial_has_its_meaning() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let (call, org) = (CALL.parse::<CallId>().unwrap(), Some(ORG.parse().unwrap()));
    let limits = |blocked, remaining| Limits { blocked, limit: Some(10), remaining: Some(remaining) };
    let created = |limits| Dialed::Created { call: call.clone(), org: org.clone(), limits };
    let cases = [
        (201, "api.post-call.201.json", created(limits(false, 8))),
        (201, "api.post-call.201.last-slot.json", created(limits(false, 1))),
        (201, "api.post-call.201.no-limits.json", created(Limits::default())),
        (
            201,
            "api.post-call.201.concurrency-blocked.json",
            Dialed::OverLimit { call: Some(call.clone()), limits: limits(true, 0) },
        ),
        (
            400,
            "api.post-call.400.over-concurrency.json",
            Dialed::OverLimit { call: None, limits: limits(true, 0) },
        ),
        (
            400,
            "api.post-call.400.over-concurrency.old.json",
            Dialed::OverLimit { call: None, limits: Limits::default() },
        ),
        // The clock stands at 40 seconds past the minute; the rate is counted by the minute.
        (429, "api.429.json", Dialed::Throttled { until: world.clock.now() + SignedDuration::from_secs(20) }),
    ];
    for (status, file, meaning) in cases {
        assert_eq!(dialed(&world, status, fixture_text(file)).await, meaning, "{file}");
    }
    let refused = dialed(&world, 400, fixture_text("api.post-call.400.validation.json")).await;
    assert!(
        matches!(&refused, Dialed::BadLead { message } if message.contains("customer.number")),
        "{refused:?}"
    );
    let refused = dialed(&world, 401, fixture_text("api.401.json")).await;
    assert!(
        matches!(&refused, Dialed::BadAccount { message } if message.contains("Invalid Key")),
        "{refused:?}"
    );
    let gateway: Value = serde_json::from_slice(&fixture("api.5xx.html.json")).unwrap();
    let status = gateway["http_status"].as_u64().unwrap() as u16;
    let unclear = dialed(&world, status, gateway["body"].as_str().unwrap().to_owned()).await;
    assert!(matches!(unclear, Dialed::Unclear { .. }), "{unclear:?}");
    // Never sent for one customer; if it came, it would be no proof of a call of ours.
    let batch = dialed(&world, 201, fixture_text("api.post-call.batch.201.json")).await;
    assert!(!matches!(batch, Dialed::Created { .. }), "{batch:?}");
}

#[tokio::test]
async fn every_recorded_call_is_read_back() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let call: CallId = CALL.parse().unwrap();
    let get = async |status, file| {
        world.vapi.answers(status, fixture_text(file));
        world.asked().get_call(&call).await
    };
    let ended = get(200, "api.get-call.ended.json").await.unwrap().unwrap();
    assert!(ended.has_ended() && !ended.is_live());
    assert_eq!(ended.end.reason.as_deref(), Some("customer-ended-call"));
    assert_eq!((ended.id.as_str(), ended.end.connected), (CALL, Some(true)));
    assert_eq!((ended.kind, ended.claim), (Some(Kind::Foreign), None), "the reservation is none of ours");
    assert_eq!(ended.created, "2026-03-26T15:43:16.145Z".parse().ok());

    let live = get(200, "api.get-call.in-progress.json").await.unwrap().unwrap();
    assert!(live.is_live() && !live.has_ended());

    let never = get(200, "api.get-call.never-connected.json").await.unwrap().unwrap();
    assert!(never.has_ended());
    assert_eq!(never.end.connected, Some(false));

    assert_eq!(get(404, "api.get-call.404.json").await.unwrap(), None);
    let refused = get(401, "api.401.json").await;
    assert!(matches!(refused, Err(VapiError::Status { status: 401, .. })), "{refused:?}");
    assert!(get(200, "api.5xx.html.json").await.is_err(), "no call, no answer");

    let calls =
        ["api.get-call.ended.json", "api.get-call.in-progress.json", "api.get-call.never-connected.json"];
    world.vapi.answers(200, format!("[{}]", calls.map(fixture_text).join(",")));
    let since = "2026-03-26T00:00:00Z".parse().unwrap();
    let listing = world.asked().list_calls(since).await.unwrap();
    assert!(listing.complete);
    let ids: Vec<&str> = listing.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, [CALL, "019d2ad0-6eb1-7aac-9377-0000000000a9"], "each call once");
    assert_eq!(listing.newest(), "2026-08-22T10:55:30Z".parse().ok());
}

#[tokio::test]
async fn recorded_analytics_are_read_as_the_queries_ask_for_them() {
    let world = World::start(policy(10, 7, 3)).await.unwrap();
    let (start, end) = ("2026-03-25T00:00:00Z".parse().unwrap(), "2026-03-27T00:00:00Z".parse().unwrap());
    world.vapi.answers(200, "[]");
    world.asked().history(start, end).await.unwrap();
    let asked: Value = serde_json::from_str(&world.vapi.take_asked()[0].body).unwrap();
    // The documented request, as part of ours.
    let documented: Value =
        serde_json::from_slice(&fixture("api.analytics.concurrency.request.json")).unwrap();
    for field in ["table", "operations"] {
        assert_eq!(asked["queries"][0][field], documented["queries"][0][field]);
    }
    assert_eq!(asked["queries"][0]["timeRange"]["step"], "hour");

    let mut answers = Vec::new();
    for (query, file) in
        ["api.analytics.concurrency.response.json", "api.analytics.calls-by-reason.response.json"]
            .iter()
            .enumerate()
    {
        let mut answer: Value = serde_json::from_slice(&fixture(file)).unwrap();
        answer[0]["name"] = asked["queries"][query]["name"].clone();
        answers.push(answer[0].clone());
    }
    world.vapi.answers(200, json!(answers).to_string());
    let history = world.asked().history(start, end).await.unwrap();
    let peaks: Vec<f64> = history.peaks.iter().map(|row| row.number("concurrency")).collect();
    assert_eq!(peaks, [0.0, 1.0, 1.0]);
    let figures: Vec<_> = history
        .volumes
        .iter()
        .map(|row| (row.text("endedReason"), row.number("countId"), row.number("sumDuration")))
        .collect();
    assert_eq!(figures, [(Some("customer-ended-call"), 31.0, 44.2), (None, 2.0, 0.0)]);
}

/// What the handler answers a caller with has the keys that Vapi is known to take.
#[tokio::test]
async fn our_answers_to_callers_look_like_the_documented_ones() {
    let engine = World::start(policy(10, 7, 3)).await.unwrap();
    let documented = |file| serde_json::from_slice::<Value>(&fixture(file)).unwrap();
    for (seed, file) in [
        (Seed::Nothing, "assistant-request.response.assistant-id.json"),
        (Seed::Full, "assistant-request.response.error.json"),
    ] {
        let (world, _) = seeded(&engine, seed, &CALL.parse().unwrap()).await;
        let (_, says) = post(&handler(&world, &[SECRET]), &fixture("assistant-request.json")).await;
        let known = documented(file);
        for (key, value) in says.as_object().unwrap() {
            assert!(known.get(key).is_some_and(Value::is_string), "{key} is not in {file}");
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "an empty text is Vapi's own error");
        }
    }
}
