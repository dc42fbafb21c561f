//! Two organisations on one subscription: one has a campaign, the other receives calls and dials from outside
//! Headroom. Whether it is known by its webhooks, by its key alone, or by nothing but Vapi's figures: no caller is blocked
//! by our outbound while Vapi's own figures show room.
//!
//! Said by Vapi's own books: of the outbound calls that are up when a caller is blocked, none was dialed when Vapi's
//! counter, as the answer to that dial tells it, left less than the headroom, and it could be known. What is not told of
//! at once is felt for a while, so a dial is to blame only beyond the reaction time of the way in which the others are
//! known: counted from the last instant at which it would have been right; where nothing but figures tells, from the
//! first answer that showed it to be wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{CallKind, CallTruth, Config, Org, Telephony, Traffic, Truth, Webhook, WebhookAuth};

use crate::server::{Flags, Folder, SECRET, Server, campaign, free_port, vapi};

const LINES: u32 = 20;
const HEADROOM: u32 = 4;
const LEADS: u32 = 120;
const SPEED: f64 = 30.0;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long machines may take for what is instantaneous, on the wall.
const SLACK: Duration = Duration::from_secs(1);
/// After so long without an answer an estimate has faded: the next dial finds out anew.
const SILENCE_SECONDS: f64 = 75.0;

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
            // The next answer shows it, once it is read and weighed: at this speed, a second of a loaded machine.
            Self::NotAtAll => 30.0,
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

/// A dial of ours, by Vapi's own books.
struct Dial {
    at: f64,
    /// When its call ended.
    until: f64,
    /// Lines that were free right after it, as its answer tells.
    left: u32,
    /// Lines of the other organisation then.
    others: u32,
    /// The last instant before at which one more dial would have left callers their headroom.
    was_right: f64,
}

impl Dial {
    fn is_late(&self) -> bool {
        self.left < HEADROOM
    }
}

/// Our dials, the first of them first.
fn dials(truth: &Truth) -> Vec<Dial> {
    let until = |call: &CallTruth| call.ended_at_ms.unwrap_or(f64::MAX);
    let up = |at: f64| {
        truth.calls.iter().filter(move |call| call.held_line && call.created_at_ms <= at && until(call) > at)
    };
    let lines =
        |calls: &mut dyn Iterator<Item = &CallTruth>| calls.map(|call| u32::from(call.lines)).sum::<u32>();
    let is_others = |call: &&CallTruth| call.org_id == Org::default().org_id;
    let mut dials: Vec<Dial> = Vec::new();
    for call in truth.calls.iter().filter(|call| call.name.is_some() && call.held_line) {
        let at = call.created_at_ms;
        dials.push(Dial {
            at,
            until: until(call),
            left: LINES.checked_sub(lines(&mut up(at))).expect("Vapi counts no more than there are"),
            others: lines(&mut up(at).filter(is_others)),
            was_right: was_right(truth, at),
        });
    }
    dials.sort_by(|one, other| one.at.total_cmp(&other.at));
    dials
}

/// The last instant up to `at` at which one more dial would have left callers their headroom.
fn was_right(truth: &Truth, at: f64) -> f64 {
    let (mut held, mut right_until) = (0_i64, f64::MIN);
    for change in truth.timeline.iter().take_while(|change| change.at_ms <= at) {
        // As long as nothing moves it stays right.
        if i64::from(LINES) - held > i64::from(HEADROOM) {
            right_until = change.at_ms;
        }
        held += i64::from(change.delta);
    }
    right_until
}

/// Since when it was known by the answers to the dials before it that the `nth` one would leave callers too little; its
/// own instant if the last answer did not show it.
fn known_since(dials: &[Dial], nth: usize) -> f64 {
    let (mut since, dial) = (dials[nth].at, &dials[nth]);
    let own = LINES - dial.left - dial.others;
    for answered in dials[..nth].iter().rev() {
        let is_silence = since - answered.at > SILENCE_SECONDS * 1e3 / SPEED;
        if is_silence || own + answered.others <= LINES - HEADROOM {
            break;
        }
        since = answered.at;
    }
    since
}

/// How long before each dial that left callers less than the headroom it was known better.
fn reactions(known: Known, dials: &[Dial]) -> Vec<(&Dial, Duration)> {
    let late = dials.iter().enumerate().filter(|(_, dial)| dial.is_late());
    late.map(|(nth, dial)| {
        let told = if known == Known::NotAtAll { known_since(dials, nth) } else { f64::MIN };
        (dial, Duration::from_secs_f64((dial.at - dial.was_right.max(told)).max(0.0) / 1e3))
    })
    .collect()
}

/// Checks what came of it, and says it.
fn check(known: Known, seen: &Seen) -> String {
    let Seen { truth, unseen, took } = seen;
    let dials = dials(truth);
    let late = reactions(known, &dials);
    let allowed = Duration::from_secs_f64(known.reaction_seconds() / SPEED) + SLACK;
    let longest = late.iter().map(|(_, reaction)| *reaction).max().unwrap_or_default();
    let blocked: Vec<_> = truth.blocked.iter().filter(|blocked| blocked.kind == CallKind::Inbound).collect();
    let mut beside_late = 0;
    for caller in &blocked {
        let is_up = |dial: &Dial| dial.at <= caller.at_ms && caller.at_ms < dial.until;
        let up: Vec<_> = late.iter().filter(|(dial, _)| is_up(dial)).collect();
        beside_late += usize::from(!up.is_empty());
        for (dial, reaction) in up {
            assert!(
                *reaction <= allowed,
                "{known:?}: a caller was blocked beside a call that left {} lines, {reaction:.2?} after it was known better",
                dial.left
            );
        }
    }
    assert!(longest <= allowed, "{known:?}: a dial left too little, {longest:.2?} after it was known better");
    assert_eq!(truth.dials.len(), LEADS as usize, "everybody was called");
    assert!(truth.dials.values().all(|dials| *dials == 1), "and once");
    assert_eq!(truth.live.total(), 0);
    let callers = truth.calls.iter().filter(|call| call.kind == CallKind::Inbound).count() as u64
        + truth.blocked_inbound;
    let of_other = truth.calls.iter().filter(|call| call.org_id == Org::default().org_id);
    let (other_callers, other_dials): (Vec<_>, Vec<_>) =
        of_other.partition(|call| call.kind == CallKind::Inbound);
    assert!(other_callers.len() > 10 && other_dials.len() > 5, "there were others");
    let by_us = blocked.iter().filter(|blocked| blocked.named() > LINES - HEADROOM).count();
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
        "{known:?}: {callers} callers ({} of the other organisation), {} blocked, {} of them beside outbound, \
         {beside_late} beside a dial that came too late; {} own dials of the other organisation; outbound {} calls in {seconds:.0} s on {:.1} lines; {} dials left \
         less than {HEADROOM} lines, {} of them after it was known better, by {longest:.2?} at most (simulated {:.0} s); at \
         most {unseen} lines unseen",
        other_callers.len(),
        truth.blocked_inbound,
        truth.blocked_inbound_while_outbound_live,
        other_dials.len(),
        dials.len(),
        line_ms / 1e3 * SPEED / seconds,
        late.len(),
        late.iter().filter(|(_, reaction)| !reaction.is_zero()).count(),
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
