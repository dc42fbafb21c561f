//! Two organisations on one subscription: one has a campaign, the other receives calls and dials from outside
//! Headroom. Whether it is known by its webhooks, by its key alone, or by nothing but Vapi's figures, outbound leaves
//! callers of both the lines that the figures known at each dial say they are to have.
//!
//! What is not told of at once is felt for a while. A dial that leaves callers less than the headroom comes too late
//! to be blamed only within the reaction time of the way in which the others are known: counted from the last
//! instant at which it would have been right, or from the first answer after a silence in which nobody told anything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{CallKind, Config, Org, Telephony, Traffic, Truth, Webhook, WebhookAuth};

use crate::server::{Flags, Folder, SECRET, Server, campaign, free_port, vapi};

const LINES: u32 = 20;
const HEADROOM: u32 = 4;
const LEADS: u32 = 120;
const SPEED: f64 = 30.0;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long machines may take for what is instantaneous, on the wall.
const SLACK: Duration = Duration::from_secs(1);
/// After so long without an answer an estimate has faded, or is about to: the next dial finds out anew.
const SILENCE_SECONDS: f64 = 90.0;

/// How the other organisation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Webhooks,
    Key,
    NotAtAll,
}

impl Known {
    /// The longest that a call of the other organisation may go unnoticed, in simulated seconds.
    fn reaction_seconds(self) -> f64 {
        match self {
            Self::Webhooks => 0.0,
            // The next pass lists it.
            Self::Key => 60.0,
            // A dial's answer shows it; suspected for 15 s, until a pass finds it confirmed.
            Self::NotAtAll => 75.0,
        }
    }
}

fn people() -> Telephony {
    Telephony {
        talk_seconds_mean: 30.0,
        inbound_talk_seconds_mean: 40.0,
        setup_failure: 0.0,
        ..Telephony::default()
    }
}

fn sibling(port: u16, known: Known) -> Org {
    let webhook = || Webhook {
        url: format!("http://127.0.0.1:{port}/vapi"),
        auth: WebhookAuth::Secret(SECRET.to_owned()),
    };
    let traffic = Traffic {
        inbound_per_hour: 240.0,
        dials_per_hour: 120.0,
        // What nobody tells of may as well take two lines each.
        lines_per_dial: if known == Known::NotAtAll { 2 } else { 1 },
        ..Traffic::default()
    };
    Org { webhook: (known == Known::Webhooks).then(webhook), traffic, ..Org::default() }
}

/// What came of it.
struct Seen {
    truth: Truth,
    /// Most lines that the status said were believed to be others'.
    unseen: u64,
    took: Duration,
}

async fn run(known: Known) -> Seen {
    let (port, folder) = (free_port().await, Folder::new());
    let other = sibling(port, known);
    let callers = Traffic { inbound_per_hour: 120.0, ..Traffic::default() };
    let config = Config {
        speed: SPEED,
        lines: LINES,
        telephony: people(),
        traffic: callers.clone(),
        orgs: vec![other.clone()],
        ..Config::default()
    };
    let main_key = config.api_key.clone();
    let sim = vapi(port, config).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: Some(&folder.0),
        log: None,
        limit: LINES,
        cap: LINES,
        headroom: HEADROOM,
        speed: SPEED,
    };
    let named = format!("sibling={}", other.org_id);
    let keys = format!("{main_key},sibling={}", other.api_key);
    let server = match known {
        Known::NotAtAll => Server::start(port, &flags).await,
        Known::Webhooks | Known::Key => Server::start_with(port, &flags, &keys, &["--orgs", &named]).await,
    };
    let began = Instant::now();
    assert_eq!(server.post_campaign(campaign("beside-others", 0..LEADS)).await.status(), 202);
    let mut unseen = 0;
    loop {
        let status = server.status().await;
        unseen = unseen.max(status["pools"][0]["unseen"]["lines"].as_u64().unwrap_or_default());
        if status["campaigns"][0]["finished"] == true {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{known:?}: the campaign finishes: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    let quiet = |traffic: Traffic| Traffic { inbound_per_hour: 0.0, dials_per_hour: 0.0, ..traffic };
    sim.set_traffic(quiet(callers));
    sim.set_org_traffic(&other.org_id, quiet(other.traffic));
    server.drain(Duration::from_secs(60)).await;
    let calm = Instant::now();
    while sim.live().total() > 0 {
        assert!(calm.elapsed() < PATIENCE, "calls end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.drain(Duration::from_secs(60)).await;
    let truth = sim.truth();
    sim.stop();
    Seen { truth, unseen, took }
}

/// A dial of ours.
struct Dial {
    at: f64,
    /// Lines that were free right after it.
    left: u32,
    /// The last instant before at which one more dial would have left callers their headroom.
    was_right: f64,
}

/// Our dials with what they left, by Vapi's own books.
fn dials(truth: &Truth) -> Vec<Dial> {
    let ours: Vec<f64> =
        truth.calls.iter().filter(|call| call.name.is_some()).map(|call| call.created_at_ms).collect();
    let (mut held, mut right_until, mut dials) = (0_i64, f64::MIN, Vec::new());
    for change in &truth.timeline {
        let before = i64::from(LINES) - held;
        held += i64::from(change.delta);
        // As long as nothing moves it stays right.
        if before > i64::from(HEADROOM) {
            right_until = change.at_ms;
        }
        let is_ours = change.kind == CallKind::Outbound && change.delta > 0 && ours.contains(&change.at_ms);
        if is_ours {
            let left = u32::try_from(i64::from(LINES) - held).expect("Vapi counts no more than there are");
            dials.push(Dial { at: change.at_ms, left, was_right: right_until });
        }
    }
    assert_eq!(dials.len(), ours.len());
    dials
}

/// Checks each dial that left less than the headroom: nobody could have known. Returns how many these were, and the
/// longest reaction on the wall.
fn late(known: Known, dials: &[Dial]) -> (usize, Duration) {
    let second_ms = 1e3 / SPEED;
    let allowed = known.reaction_seconds() * second_ms + SLACK.as_secs_f64() * 1e3;
    let (mut late, mut longest) = (0, 0.0_f64);
    let (mut last, mut told) = (f64::MIN, f64::MIN);
    for dial in dials {
        if dial.at - last > SILENCE_SECONDS * second_ms {
            told = dial.at;
        }
        last = dial.at;
        if dial.left < HEADROOM {
            late += 1;
            let blind = if known == Known::NotAtAll { dial.was_right.max(told) } else { dial.was_right };
            longest = longest.max(dial.at - blind);
            assert!(
                dial.at - blind <= allowed,
                "{known:?}: a dial left {} lines, {:.0} ms after it was known better",
                dial.left,
                dial.at - blind
            );
        }
    }
    (late, Duration::from_secs_f64(longest / 1e3))
}

/// Checks what came of it, and says it.
fn check(known: Known, seen: &Seen) -> String {
    let Seen { truth, unseen, took } = seen;
    let dials = dials(truth);
    let (late, longest) = late(known, &dials);
    assert_eq!(truth.dials.len(), LEADS as usize, "everybody was called");
    assert!(truth.dials.values().all(|dials| *dials == 1), "and once");
    assert_eq!(truth.live.total(), 0);
    let callers = truth.calls.iter().filter(|call| call.kind == CallKind::Inbound).count() as u64
        + truth.blocked_inbound;
    let of_other = truth.calls.iter().filter(|call| call.org_id == Org::default().org_id);
    let (other_callers, other_dials): (Vec<_>, Vec<_>) =
        of_other.partition(|call| call.kind == CallKind::Inbound);
    assert!(other_callers.len() > 10 && other_dials.len() > 5, "there were others");
    let blocked = truth.blocked.iter().filter(|blocked| blocked.kind == CallKind::Inbound);
    let by_us = blocked.filter(|blocked| blocked.named() > LINES - HEADROOM).count();
    assert_eq!(by_us, 0, "{known:?}: no caller was blocked by outbound alone");
    if known == Known::NotAtAll {
        assert!(*unseen > 0, "the status showed the others' lines");
    }
    let seconds = took.as_secs_f64() * SPEED;
    let line_ms: f64 = truth
        .calls
        .iter()
        .filter(|call| call.name.is_some())
        .map(|call| call.ended_at_ms.unwrap_or(call.created_at_ms) - call.created_at_ms)
        .sum();
    format!(
        "{known:?}: {callers} callers ({} of the other organisation), {} blocked, {} of them beside outbound; {} own \
         dials of the other organisation; outbound {} calls in {seconds:.0} s on {:.1} lines; {late} dials left less \
         than {HEADROOM} lines, the latest {longest:.2?} after it was known better (simulated {:.0} s); at most {unseen} lines unseen",
        other_callers.len(),
        truth.blocked_inbound,
        truth.blocked_inbound_while_outbound_live,
        other_dials.len(),
        dials.len(),
        line_ms / 1e3 * SPEED / seconds,
        longest.as_secs_f64() * SPEED,
    )
}

/// One after the other: each is measured on a machine that does nothing else for it.
#[tokio::test(flavor = "multi_thread")]
async fn outbound_leaves_callers_of_both_organisations_their_lines() {
    for known in [Known::Webhooks, Known::Key, Known::NotAtAll] {
        println!("{}", check(known, &run(known).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_organisations_call_takes_a_line_and_a_strangers_does_not() {
    let port = free_port().await;
    let telephony = Telephony { answer: 1.0, no_answer: 0.0, busy: 0.0, voicemail: 0.0, ..people() };
    let sim = vapi(port, Config { telephony, ..Config::default() }).await;
    let flags =
        Flags { vapi_url: &sim.url(), data: None, log: None, limit: 10, cap: 10, headroom: 0, speed: 1.0 };
    let named = format!("sibling={}", Org::default().org_id);
    let key = Config::default().api_key;
    let server = Server::start_with(port, &flags, &key, &["--orgs", &named]).await;
    // Whose the key is, the first dial's answer tells.
    assert_eq!(server.post_campaign(campaign("own", 0..1)).await.status(), 202);
    let is_dialed = async |server: &Server| server.status().await["pools"][0]["outbound"] == 1;
    let began = Instant::now();
    while !is_dialed(&server).await || sim.live().total() == 0 {
        assert!(began.elapsed() < PATIENCE, "it is dialed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let say = async |id: u32, org: &str, status: &str| -> Value {
        let call = json!({ "id": format!("019d2ad0-6eb1-7aac-9377-{id:012}"), "type": "inboundPhoneCall", "orgId": org });
        let message = json!({ "message": { "type": "status-update", "status": status, "call": call } });
        let post = server.http.post(format!("{}/vapi", server.url)).header("x-vapi-secret", SECRET);
        assert_eq!(post.body(message.to_string()).send().await.expect("an answer").status(), 200);
        server.status().await["pools"][0]["inbound"].clone()
    };
    assert_eq!(say(1, "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d099", "in-progress").await, 0, "a stranger's");
    assert_eq!(say(2, &Org::default().org_id, "in-progress").await, 1, "the named one's");
    assert_eq!(say(3, &Config::default().org_id, "in-progress").await, 2, "our own");
    assert_eq!(say(2, "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d099", "ended").await, 2, "not a stranger's to end");
    assert_eq!(say(2, &Org::default().org_id, "ended").await, 1);
    sim.stop();
}
