//! Releases beside each other: what an earlier release has left in the table is gone on with by today's code, and a table of
//! a later format is left alone.
//!
//! `formats/1.json` is a table of the first release in the middle of everything, once with a ledger of one item and once of
//! several. A release that writes what those before it did not adds its own:
//! `cargo test -p flows --test formats -- --ignored` writes the one of today's [`FORMAT`]; earlier ones are never written again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flows::{Stub, World, policy, start};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::campaign::CampaignState;
use headroom::core::ids::{CampaignCode, ClaimKey, NameCode};
use headroom::core::lead::LeadState;
use headroom::core::life::Wish;
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::people::ListWish;
use headroom::core::quota::Quota;
use headroom::core::reserve::Reserve;
use headroom::core::shard::Sizes;
use headroom::core::unseen::Unseen;
use headroom::flows::observe::Answer;
use headroom::flows::operate::Asked;
use headroom::flows::{Clock as _, main_pool};
use headroom::table::leads::Step;
use headroom::table::ledger::{Rest, Taken};
use headroom::table::usage::{UsageHour, Volume};
use headroom::table::{FORMAT, Table, TableError};
use headroom::vapi::Secret;
use headroom::vapi::message::ServerMessage;
use headroom_local::engines::local_aws;
use jiff::{SignedDuration, Timestamp};
use lambda_http::{Body, Request};
use serde_json::{Value, json};
use webhook::Webhook;

const SECRET: &str = "secret";
const ASSISTANT: &str = "desk";
/// One item for all lines, and one for each four.
const LEDGERS: [(&str, Sizes); 2] =
    [("one item", Sizes { single: 1000, shard: 500 }), ("several items", Sizes { single: 4, shard: 4 })];

fn file(format: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("formats/{format}.json"))
}

fn stored(format: u32) -> Value {
    serde_json::from_slice(&std::fs::read(file(format)).unwrap()).unwrap()
}

async fn world(sizes: Sizes, events: &Stub) -> World {
    let mut world = World::start(policy(12, 10, 1)).await.unwrap().with_sizes(sizes).telling(events);
    // So that dials are kept with the people they were made to.
    world.app.often = "9/90".parse().unwrap();
    world
}

/// A queue of events that takes none, so that all of them are left to be told.
async fn deaf() -> Stub {
    Stub::start(200, json!({ "Successful": [], "Failed": [] }).to_string()).await.unwrap()
}

fn webhook(world: &World) -> Webhook {
    let callers = Callers {
        secrets: vec![Secret::new(SECRET)],
        assistants: Assistants::everywhere(ASSISTANT),
        busy_message: "busy".into(),
        overflow: Overflow::default(),
    };
    Webhook::new(world.app.clone(), callers)
}

/// What Vapi is answered when it sends this.
async fn post(world: &World, message: Value) -> (u16, Value) {
    let mut request = Request::new(Body::from(json!({ "message": message }).to_string()));
    *request.method_mut() = lambda_http::http::Method::POST;
    *request.uri_mut() = "https://headroom.example.invalid/vapi".parse().unwrap();
    request.headers_mut().insert("x-vapi-secret", SECRET.parse().unwrap());
    let answer = webhook(world).handle(request).await;
    let body: &[u8] = answer.body();
    (answer.status().as_u16(), serde_json::from_slice(body).unwrap())
}

/// The report of a call that was made for a claim.
fn report(world: &World, claim: &ClaimKey, call: &str, reason: &str) -> Value {
    let now = world.clock.now();
    let mut report = json!({
        "type": "end-of-call-report", "endedReason": reason, "endedAt": now.to_string(),
        "call": { "id": call, "type": "outboundPhoneCall", "name": claim.to_string() },
    });
    if reason == "customer-ended-call" {
        report["startedAt"] = (now - SignedDuration::from_secs(20)).to_string().into();
    }
    report
}

/// The claims that are in a call, with it.
async fn live(world: &World) -> Vec<(ClaimKey, String)> {
    let mut live = Vec::new();
    for key in world.table().read_pool().await.unwrap().lines.into_keys() {
        let LineKey::Claim(claim) = key else { continue };
        let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
        if let LeadState::Live { call, .. } = &lead.state {
            live.push((claim, call.to_string()));
        }
    }
    live
}

fn is_of(campaign: &str) -> impl Fn(&&(ClaimKey, String)) -> bool {
    let code = CampaignCode::of(&campaign.parse().unwrap());
    move |(claim, _)| claim.campaign == code
}

async fn dispatch(world: &World) {
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
}

async fn send(world: &World, id: &str, settings: Value, leads: u32, more: Value) {
    let mut campaign = json!({
        "id": id, "assistantId": "as", "phoneNumberId": "trunk",
        "retry": { "maxAttempts": 2, "noAnswerAfter": "5m", "busyAfter": "5m", "jitter": 0 },
    });
    campaign.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let number = 100 * id.len() as u32;
    let lead = |n: u32| {
        let mut lead = json!({ "id": format!("{n}"), "number": format!("+1555555{:04}", number + n) });
        if n == 0 {
            lead.as_object_mut().unwrap().extend(
                json!({ "name": "Ada", "timezone": "America/New_York", "variables": { "plan": "gold" },
                        "priority": "high" })
                .as_object()
                .unwrap()
                .clone(),
            );
        }
        lead
    };
    let mut message = json!({ "campaign": campaign, "leads": (0..leads).map(lead).collect::<Vec<_>>() });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(1));
}

async fn ask(world: &World, campaign: &str, wish: Wish) {
    world.app.ask_campaign(&campaign.parse().unwrap(), &wish, "ada").await.unwrap();
}

/// Takes a line for a claim, in the first item of the ledger that has one.
async fn hold(world: &World, claim: &ClaimKey) -> Lease {
    let (table, now) = (world.table(), world.clock.now());
    let pool = table.read_pool().await.unwrap();
    for item in pool.items() {
        let shard = item.shard.index;
        table.join_campaign(shard, &claim.campaign, &[]).await.unwrap();
        let token = Token::new(Kind::Outbound, now, claim.claim).in_shard(shard);
        let lease = Lease { key: LineKey::Claim(claim.clone()), token };
        let taken = table.take(item, &claim.campaign, None, std::slice::from_ref(&lease), now).await.unwrap();
        if matches!(taken, Taken::Granted(_)) {
            return lease;
        }
    }
    panic!("no item has a line for {claim}: {pool:?}");
}

/// Plays until the table has of everything, and stops in the middle of it.
async fn play(world: &World) {
    let (app, table) = (&world.app, world.table());
    let calls = json!({ "id": "call-{n}", "status": "queued" }).to_string();
    table.note_vapi(Some(&"org-1".parse().unwrap()), Some(12)).await.unwrap();
    table.spread_lines(&table.read_pool().await.unwrap()).await.unwrap();
    let lines =
        Reserve { inbound: 1, outbound: 1, members: [NameCode::of("x")].into(), ..Reserve::default() };
    // Where there are several items, a rate's calls have the first one's lines alone: too few for what follows.
    let is_spread = table.read_pool().await.unwrap().is_spread();
    let quota = Quota {
        lines: 9.try_into().ok(),
        per_second: 50.try_into().ok().filter(|_| !is_spread),
        per_day: 500.try_into().ok().filter(|_| !is_spread),
        members: [NameCode::of("trunk")].into(),
    };
    for asked in [
        Asked { purchased: Some(2), ..Asked::default() },
        Asked { reserve: Some(("desk".parse().unwrap(), lines)), ..Asked::default() },
        Asked { quota: Some(("carrier".parse().unwrap(), quota)), ..Asked::default() },
    ] {
        app.change(&asked, "ops").await.unwrap();
    }
    let refusing = ["+15555550900".parse().unwrap(), "+15555550503".parse().unwrap()];
    app.change_refused(ListWish::Add, &refusing, "ops").await.unwrap();

    send(world, "short", json!({}), 1, json!({})).await;
    send(world, "renew", json!({ "agent": "sales", "perSecond": 20, "weight": 2 }), 20, json!({})).await;
    let steps = json!([{ "lines": 2 }, { "lines": 5, "after": "5m" }]);
    send(world, "paced!", json!({ "ramp": steps, "batch": { "leads": 2, "pause": "5m" } }), 4, json!({}))
        .await;
    send(world, "paused!", json!({}), 4, json!({})).await;
    send(world, "cancelled", json!({}), 3, json!({})).await;
    let later = (start() + SignedDuration::from_hours(2)).to_string();
    send(world, "scheduled!", json!({ "startAt": later }), 2, json!({})).await;
    send(world, "still-draft", json!({}), 2, json!({ "draft": true })).await;
    ask(world, "paused!", Wish::Pause { reason: Some("lunch".into()) }).await;
    world.vapi.answers(201, calls.as_str());
    dispatch(world).await;

    // One is reached, one is not there, one is busy, one asks to be called later.
    for (claim, call) in live(world).await.iter().filter(is_of("short")) {
        post(world, report(world, claim, call, "customer-ended-call")).await;
    }
    for (claim, call) in live(world).await.iter().filter(is_of("paced!")).take(1) {
        post(world, report(world, claim, call, "customer-ended-call")).await;
    }
    let reasons = ["customer-ended-call", "customer-did-not-answer", "customer-busy", "customer-ended-call"];
    for (n, reason) in reasons.into_iter().enumerate() {
        let (claim, call) = 'live: {
            for _ in 0..20 {
                let live = live(world).await;
                if let Some(live) = live.iter().find(is_of("renew")) {
                    break 'live live.clone();
                }
                // Its line is another one's then.
                if let Some((claim, call)) = live.iter().find(is_of("cancelled")) {
                    post(world, report(world, claim, call, "customer-ended-call")).await;
                }
                world.clock.advance(SignedDuration::from_secs(1));
                dispatch(world).await;
            }
            panic!("nobody of the campaign is in a call: {:?}", world.app.status().await.unwrap());
        };
        if n == 3 {
            let at = (world.clock.now() + SignedDuration::from_hours(1)).to_string().parse().unwrap();
            let whose = (None, std::slice::from_ref(&claim));
            app.hear_callback(&call.parse().unwrap(), whose, Some(&at), Some("u")).await.unwrap().unwrap();
        }
        assert_eq!(post(world, report(world, &claim, &call, reason)).await.0, 200);
    }
    ask(world, "cancelled", Wish::Cancel).await;
    world.clock.advance(SignedDuration::from_secs(20));
    dispatch(world).await;

    // A pass: what is over is finished, figures are added up.
    world.vapi.answers(200, "[]");
    app.reconcile().await.unwrap();
    let volume = [("inboundPhoneCall".to_owned(), Volume { calls: 3, minutes: 1.5 })];
    let hour = UsageHour { start: start(), peak: 4, by_type: volume.into() };
    table.put_usage(&[hour]).await.unwrap();
    table.write_checkpoint(start()).await.unwrap();

    // A dial whose function is gone, one that has not got so far, and some without an answer.
    let up = live(world).await;
    for (claim, call) in up.iter().take(up.len().saturating_sub(3).min(5)) {
        post(world, report(world, claim, call, "customer-did-not-answer")).await;
    }
    for lead in ["dialing", "claimed"] {
        let claim = world.lead("renew", lead).await.unwrap();
        let lease = hold(world, &claim).await;
        if lead == "dialing" {
            let deadline = world.clock.now() + app.timers.dial_deadline();
            assert!(matches!(table.claim(&claim, &lease.token, deadline).await.unwrap(), Step::Moved(_)));
        }
    }
    world.vapi.answers(500, "{}");
    dispatch(world).await;
    assert!(!live(world).await.is_empty());

    // Callers until there is no line for the next.
    for kind in [Kind::Inbound, Kind::Web, Kind::Foreign] {
        world.observed(&format!("seen-{}", kind.name()), kind, Some("desk")).await.unwrap();
    }
    let mut callers = 0;
    loop {
        let call = json!({ "id": format!("caller-{callers}"), "type": "inboundPhoneCall" });
        let (_, said) = post(world, json!({ "type": "assistant-request", "call": call })).await;
        callers += 1;
        assert!(callers < 20);
        if said["error"].is_string() {
            break;
        }
    }
    dispatch(world).await;
    let pool = table.read_pool().await.unwrap();
    let (at, until) = (world.clock.now(), world.clock.now() + SignedDuration::from_secs(60));
    table.note_unseen(&pool, Some(Unseen { lines: 3, at, until })).await.unwrap();
    table.rest(&pool, Rest { until, count: 1 }).await.unwrap();
    let dump = world.dump().await.unwrap();
    let held: BTreeSet<&str> = dump.values().filter_map(|item| item["st"].as_str()).collect();
    for state in ["ready", "dialing", "unknown", "live", "done", "failed", "running", "paused", "draft"] {
        assert!(held.contains(state), "nothing is {state}: {held:?}");
    }
}

/// What people are shown: the status, and the reasons of some calls and leads.
async fn shown(world: &World) -> Value {
    let mut why = BTreeMap::new();
    for id in ["renew/0", "renew/5", "paused!/1", "scheduled!/1", "short/0", "seen-inbound", "caller-0"] {
        why.insert(id, serde_json::to_value(world.app.why(id).await.unwrap()).unwrap());
    }
    json!({ "status": serde_json::to_value(world.app.status().await.unwrap()).unwrap(), "why": why })
}

/// Everything that is in `before` is in `now`, too.
fn kept(before: &Value, now: &Value, at: &str) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, value) in before {
                kept(value, now.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"));
            }
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            before
                .iter()
                .zip(now)
                .enumerate()
                .for_each(|(n, (before, now))| kept(before, now, &format!("{at}.{n}")));
        }
        _ => assert_eq!(before, now, "{at}"),
    }
}

/// The names of attributes that the items of each kind have, with those within the maps whose names are fixed.
fn attributes(items: &[Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in items {
        let key = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let (pk, sk) = (key("pk"), key("sk"));
        let (first, then) = (pk.split('#').next().unwrap(), sk.split('#').next().unwrap());
        // Numbers of people, and instants, are no kinds.
        let then = if then.starts_with(|first: char| first.is_ascii_uppercase()) { then } else { "" };
        let log = if pk.ends_with("#LOG") { " log" } else { "" };
        for (name, value) in item.as_object().unwrap() {
            let at = format!("{first} {then}{log}: {name}");
            match (name.as_str(), &value["M"], value["S"].as_str()) {
                ("cmp", Value::Object(campaigns), _) => {
                    for counted in campaigns.values().filter_map(|counters| counters["M"].as_object()) {
                        names.extend(counted.keys().map(|name| format!("{at}.*.{name}")));
                    }
                }
                ("whole", Value::Object(whole), _) => {
                    names.extend(whole.keys().map(|name| format!("{at}.{name}")));
                }
                (_, _, Some(text)) if text.starts_with('{') => {
                    let json: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
                    names.extend(json.keys().map(|name| format!("{at}.{name}")));
                }
                _ => {}
            }
            names.insert(at);
        }
    }
    names
}

/// Vapi as it goes on: the calls of before are up until the test ends them, and each dial becomes one.
#[derive(Default)]
struct Book {
    /// Name and instant of each dial that was made here.
    dials: Vec<(String, Timestamp)>,
    ended: BTreeSet<String>,
}

fn answer(book: &Mutex<Book>, asked: &flows::Asked, now: Timestamp) -> (u16, String) {
    let mut book = book.lock().unwrap();
    let shown = |n: usize, (name, at): &(String, Timestamp), book: &Book| {
        let id = format!("new-{n}");
        let status = if book.ended.contains(&id) { "ended" } else { "in-progress" };
        json!({ "id": id, "name": name, "type": "outboundPhoneCall", "status": status, "createdAt": at.to_string(),
                "endedReason": "customer-ended-call", "startedAt": at.to_string(), "endedAt": at.to_string() })
    };
    if asked.method == "POST" && asked.path == "/call" {
        let dial: Value = serde_json::from_str(&asked.body).unwrap();
        book.dials.push((dial["name"].as_str().unwrap().to_owned(), now));
        let id = format!("new-{}", book.dials.len() - 1);
        (201, json!({ "id": id, "status": "queued" }).to_string())
    } else if asked.path.starts_with("/call?") {
        let calls: Vec<Value> =
            book.dials.iter().enumerate().map(|(n, dial)| shown(n, dial, &book)).collect();
        (200, Value::from(calls).to_string())
    } else {
        (404, "{}".into())
    }
}

/// Goes on with what an earlier release has left, until everything is over.
async fn go_on(before: &Value, sizes: Sizes) {
    let told = |count: usize| {
        let entry = |id| json!({ "Id": format!("{id}"), "MessageId": "m", "MD5OfMessageBody": "0" });
        json!({ "Successful": (0..count).map(entry).collect::<Vec<_>>(), "Failed": [] }).to_string()
    };
    let events = Stub::start(200, told(10)).await.unwrap();
    let world = world(sizes, &events).await;
    world.load(before["items"].as_array().unwrap()).await.unwrap();
    let at: Timestamp = before["at"].as_str().unwrap().parse().unwrap();
    world.clock.advance(at.duration_since(world.clock.now()));
    kept(&before["shown"], &shown(&world).await, "shown");

    let book = Arc::new(Mutex::new(Book::default()));
    let (known, clock) = (book.clone(), world.clock.clone());
    world.vapi.answers_by(move |asked| answer(&known, asked, clock.now()));
    let rung: BTreeSet<String> = live(&world).await.into_iter().map(|(claim, _)| claim.to_string()).collect();
    assert!(!rung.is_empty());
    ask(&world, "paused!", Wish::Resume).await;
    ask(&world, "still-draft", Wish::Start).await;

    // The calls of those who are not leads end, and then those of the leads, round by round.
    let others: Vec<String> = world
        .table()
        .read_pool()
        .await
        .unwrap()
        .lines
        .into_keys()
        .filter_map(|key| match key {
            LineKey::Observed(call) => Some(call.to_string()),
            LineKey::Claim(_) => None,
        })
        .collect();
    assert!(others.len() >= 3);
    for call in others {
        let ended = json!({ "type": "status-update", "status": "ended", "endedReason": "customer-ended-call",
            "call": { "id": call } });
        assert_eq!(post(&world, ended).await.0, 200, "{call}");
    }
    let mut states = Vec::new();
    for _ in 0..40 {
        for (claim, call) in live(&world).await {
            assert_eq!(post(&world, report(&world, &claim, &call, "customer-ended-call")).await.0, 200);
            book.lock().unwrap().ended.insert(call);
        }
        world.clock.advance(SignedDuration::from_mins(6));
        dispatch(&world).await;
        world.app.reconcile().await.unwrap();
        states = world.table().list_campaigns().await.unwrap();
        let is_over =
            |state: &CampaignState| matches!(state, CampaignState::Finished | CampaignState::Cancelled);
        if states.iter().all(|campaign| is_over(&campaign.state)) {
            break;
        }
    }
    let states: BTreeMap<_, _> =
        states.iter().map(|one| (one.spec.id.to_string(), one.state.name())).collect();
    for (campaign, state) in &states {
        assert_eq!(*state, if campaign == "cancelled" { "cancelled" } else { "finished" }, "{campaign}");
    }
    assert_eq!(states.len(), 7);
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!((pool.counts.total, pool.lines.len(), pool.campaigns.len()), (0, 0, 0), "every line is back");

    // Nobody was dialed for an attempt that had rung before, nobody twice for one; and who said no was not dialed.
    let dials: Vec<String> = book.lock().unwrap().dials.iter().map(|(name, _)| name.clone()).collect();
    let once: BTreeSet<&String> = dials.iter().collect();
    assert_eq!(once.len(), dials.len());
    assert!(once.iter().all(|name| !rung.contains(*name)), "{dials:?}");
    let dump = world.dump().await.unwrap();
    let ends: BTreeMap<&str, usize> =
        dump.iter().filter(|(key, _)| key.contains(" L#")).fold(BTreeMap::new(), |mut ends, (_, lead)| {
            *ends.entry(lead["st"].as_str().unwrap()).or_default() += 1;
            ends
        });
    let leads: usize = ends.values().sum();
    assert_eq!(ends["done"] + ends["failed"], leads, "{ends:?}");
    let refused = world.vapi.take_asked().iter().filter(|asked| asked.body.contains("+15555550503")).count();
    assert_eq!(refused, 0, "somebody on the list was called");
    // The promise that was made before was kept.
    let renew =
        world.table().read_campaign(&CampaignCode::of(&"renew".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!((renew.callbacks.made, renew.callbacks.kept), (1, 1));
    let status = world.app.status().await.unwrap();
    for campaign in &status.campaigns {
        assert!(campaign.finished && campaign.leads.done + campaign.leads.failed > 0, "{campaign:?}");
    }
    // What was left to be told was told: the end of each lead, once at least.
    let told: String = events.take_asked().into_iter().map(|asked| asked.body).collect();
    assert!(told.matches("lead.ended/").count() >= leads);
}

#[tokio::test]
async fn what_the_first_release_left_is_gone_on_with() {
    let stored = stored(1);
    for (name, sizes) in LEDGERS {
        Box::pin(go_on(&stored[name], sizes)).await;
    }
}

/// A rename would be no error to anybody: the attribute would just be absent.
#[tokio::test]
async fn each_attribute_of_earlier_releases_is_still_in_use() {
    for (name, sizes) in LEDGERS {
        let of = |format| attributes(stored(format)[name]["items"].as_array().unwrap());
        let before: BTreeSet<String> = (1..=FORMAT).flat_map(of).collect();
        let mut today = BTreeSet::new();
        // Which news of a strained Vapi is heard first differs from time to time.
        for _ in 0..3 {
            let world = world(sizes, &deaf().await).await;
            play(&world).await;
            today.extend(attributes(&world.save().await.unwrap()));
            if today.is_superset(&before) {
                break;
            }
        }
        let lost: Vec<_> = before.difference(&today).collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
    }
}

#[tokio::test]
#[ignore = "writes the file of today's format, before a release; run by `cargo test -p flows --test formats -- --ignored`"]
async fn write_down_what_this_release_leaves() {
    let mut stored = BTreeMap::new();
    for (name, sizes) in LEDGERS {
        let world = world(sizes, &deaf().await).await;
        play(&world).await;
        let at = world.clock.now().to_string();
        let (items, shown) = (world.save().await.unwrap(), shown(&world).await);
        stored.insert(name, json!({ "at": at, "items": items, "shown": shown }));
    }
    let text = serde_json::to_string_pretty(&stored).unwrap();
    std::fs::write(file(FORMAT), text + "\n").unwrap();
}

/// Raises the number of the table's format, as a later release would: with the revision, in the same write.
async fn upgrade(world: &World) {
    let mut items = world.save().await.unwrap();
    items.retain(|item| item["sk"]["S"].as_str().unwrap().starts_with("LEDGER#"));
    for ledger in &mut items {
        let revision: u64 = ledger["rev"]["N"].as_str().unwrap().parse().unwrap();
        ledger["rev"] = json!({ "N": (revision + 1).to_string() });
        ledger["fmt"] = json!({ "N": (FORMAT + 1).to_string() });
        // As such a release may spell it: nothing of it is looked at.
        ledger["quo"] = json!({ "S": "another spelling" });
    }
    world.load(&items).await.unwrap();
}

#[tokio::test]
async fn a_table_of_a_later_format_is_left_alone() {
    for (_, sizes) in LEDGERS {
        let world = world(sizes, &deaf().await).await;
        let claim = world.lead("renewals", "lead-1").await.unwrap();
        world.table().spread_lines(&world.table().read_pool().await.unwrap()).await.unwrap();
        world.observed("before", Kind::Inbound, None).await.unwrap();
        // What a process of this release has read, which goes on after the later one has come.
        let stale = world.table().read_pool().await.unwrap();
        upgrade(&world).await;
        let before = world.dump().await.unwrap();

        let refused = world.table().read_pool().await.unwrap_err();
        assert!(matches!(refused, TableError::Newer(newer) if newer == FORMAT + 1), "{refused}");
        assert!(refused.to_string().contains("deploy the newer release again"));
        let app = Arc::new(world.app.clone());
        let until = world.clock.now() + SignedDuration::from_mins(1);
        assert!(matches!(app.dispatch(until).await, Err(TableError::Newer(_))));
        assert!(matches!(app.reconcile().await, Err(TableError::Newer(_))));
        let ended = json!({ "type": "status-update", "status": "ended", "call": { "id": "before" } });
        assert_eq!(post(&world, ended).await.0, 500, "it comes again");
        // A caller is none the worse for it.
        let call = json!({ "id": "caller", "type": "inboundPhoneCall" });
        let asked = json!({ "type": "assistant-request", "call": call });
        assert_eq!(post(&world, asked).await, (200, json!({ "assistantId": ASSISTANT })));

        // On what was read before: each write that moves a line is refused, and sees why.
        let (table, now) = (world.table(), world.clock.now());
        let before_call = stale.lease(&LineKey::Observed("before".parse().unwrap())).unwrap();
        let freed = table.free(&stale, &before_call, None).await;
        assert!(matches!(freed, Err(TableError::Newer(_))), "{freed:?}");
        let observed = table.take_observed(&stale, &"late".parse().unwrap(), Kind::Inbound, &[], now).await;
        assert!(matches!(observed, Err(TableError::Newer(_))), "{observed:?}");
        let token = Token::new(Kind::Outbound, now, 1);
        let lease = Lease { key: LineKey::Claim(claim.clone()), token };
        let taken = table.take(&stale, &claim.campaign, None, &[lease], now).await;
        assert!(matches!(taken, Err(TableError::Newer(_))), "{taken:?}");
        let changed = world.app.change(&Asked { cap: Some(1), ..Asked::default() }, "ops").await;
        assert!(changed.is_err());
        assert_eq!(world.dump().await.unwrap(), before, "nothing was written");
    }
}

/// The table does not answer at all: the start goes on without it, and so does the caller, within Vapi's patience.
#[tokio::test]
async fn a_caller_is_answered_while_the_table_is_down() {
    let mut world = World::start(policy(10, 7, 3)).await.unwrap();
    let nobody = aws_sdk_dynamodb::Client::new(&local_aws("http://127.0.0.1:9"));
    let table = std::mem::replace(&mut world.app.table, Table::new(nobody, "none", main_pool()));
    let began = Instant::now();
    world.app.prepare().await;
    let call = json!({ "id": "caller", "type": "inboundPhoneCall" });
    let asked = json!({ "type": "assistant-request", "call": call });
    assert_eq!(post(&world, asked.clone()).await, (200, json!({ "assistantId": ASSISTANT })));
    assert!(began.elapsed() < Duration::from_millis(7000), "{:?}", began.elapsed());
    // What else Vapi tells, it is to tell again.
    let live = json!({ "type": "status-update", "status": "in-progress",
        "call": { "id": "caller", "type": "inboundPhoneCall" } });
    assert_eq!(post(&world, live.clone()).await.0, 500);
    world.app.table = table;
    assert_eq!(post(&world, live).await.0, 200);
    assert_eq!(world.table().read_pool().await.unwrap().counts.inbound, 1);
    // By now it is held, and asking again gives the same answer.
    let ServerMessage::AssistantRequest(event) =
        ServerMessage::parse(json!({ "message": asked }).to_string().as_bytes()).unwrap()
    else {
        panic!("a caller")
    };
    let callers = Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere(ASSISTANT),
        busy_message: "busy".into(),
        overflow: Overflow::default(),
    };
    assert_eq!(world.app.answer_anyway(&event, &callers).await, Answer::Assistant(ASSISTANT.into()));
}
