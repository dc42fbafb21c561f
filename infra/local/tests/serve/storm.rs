//! The promises over real sockets while everything goes wrong at once: two thousand people, every
//! fault of the simulated Vapi switched on, callers and web calls beside it, and the process killed
//! in the middle, again and again.
//!
//! Times are in proportion to what Headroom rests on (see `core::timers`): at this speed a list that
//! lags is some 0.2 s behind, a dial settles for 1 s, and Vapi makes a call within milliseconds.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{Config, Faults, OverLimitShape, Range, Telephony, Traffic, Truth};

use crate::server::{Flags, Folder, Server, campaign, free_port, vapi};

const LEADS: u32 = 2_000;
/// Lines at Vapi. The ledger believes in a few more.
const LINES: u32 = 100;
const LIMIT: u32 = 104;
/// Lines at Vapi for a twentieth of the campaign: however slow the machine is, the limit is met, in every shape.
const FEWER_LINES: u32 = 12;
const CAP: u32 = 96;
const HEADROOM: u32 = 2;
const SPEED: f64 = 60.0;
/// The process is killed when so many leads are over; the second time, Vapi has fewer lines when it is back.
const KILLS: [u32; 3] = [LEADS / 5, LEADS / 2, LEADS * 4 / 5];
/// How long nobody listens then: callers and messages find a closed door.
const DOWN: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(240);

fn every_fault() -> Faults {
    Faults {
        webhook_lost: 0.05,
        webhook_doubled: 0.1,
        webhook_late: 0.1,
        webhook_late_seconds: Range(5.0, 60.0),
        answer_lost: 0.007,
        answer_hangs: 0.003,
        refuse_429: 0.003,
        error_5xx_before: 0.005,
        error_5xx_after: 0.005,
        reset: 0.005,
        over_limit_shape: OverLimitShape::Mixed,
        list_lag_seconds: 12.0,
        stuck: 0.02,
        ..Faults::default()
    }
}

/// People who are called once: a failed set-up is dialed again without counting, and is left out.
fn people() -> Telephony {
    Telephony {
        talk_seconds_mean: 30.0,
        inbound_talk_seconds_mean: 40.0,
        setup_failure: 0.0,
        ..Telephony::default()
    }
}

fn callers() -> Traffic {
    Traffic { inbound_per_hour: 300.0, web_per_hour: 60.0, ask_assistant: true, ..Traffic::default() }
}

fn message() -> String {
    let mut message: Value = serde_json::from_str(&campaign("storm", 0..LEADS)).expect("JSON");
    message["campaign"]["maxDurationSeconds"] = json!(120);
    message.to_string()
}

/// Leads of the campaign that are over.
fn over(status: &Value) -> u32 {
    let leads = &status["campaigns"][0]["leads"];
    let of = |name: &str| leads[name].as_u64().unwrap_or_default() as u32;
    of("done") + of("failed")
}

/// Waits until so many leads are over.
async fn reach(server: &Server, leads: u32) {
    let began = Instant::now();
    loop {
        let status = server.status().await;
        if over(&status) >= leads {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "it goes on to {leads}: {status}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_leads_through_every_fault_and_three_kills() {
    let (port, folder) = (free_port().await, Folder::new());
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let log = folder.0.join("server.log");
    let config = Config {
        speed: SPEED,
        lines: LINES,
        telephony: people(),
        traffic: callers(),
        faults: every_fault(),
        ..Config::default()
    };
    let sim = vapi(port, config).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: Some(&folder.0),
        log: Some(&log),
        limit: LIMIT,
        cap: CAP,
        headroom: HEADROOM,
        speed: SPEED,
    };
    let began = Instant::now();
    let mut server = Server::start(port, &flags).await;
    assert_eq!(server.post_campaign(message()).await.status(), 202);
    for killed_at in KILLS {
        reach(&server, killed_at).await;
        drop(server); // SIGKILL
        tokio::time::sleep(DOWN).await;
        server = Server::start(port, &flags).await;
        if killed_at == KILLS[1] {
            sim.set_lines(FEWER_LINES);
            reach(&server, killed_at + LEADS / 20).await;
            sim.set_lines(LINES);
        }
    }
    reach(&server, LEADS).await;
    let status = server.finish(PATIENCE).await;
    sim.set_traffic(Traffic { inbound_per_hour: 0.0, web_per_hour: 0.0, ..callers() });
    server.drain(Duration::from_secs(60)).await;
    let took = began.elapsed();

    let truth = sim.truth();
    sim.stop();
    assert_eq!(over(&status), LEADS, "every lead has one outcome: {status}");
    held(&truth);
    met(&truth);
    unnamed(&truth, &log);
    println!("{LEADS} leads in {took:.1?}: {}", truth.summary());
}

/// What was promised, by the simulated Vapi's own books.
fn held(truth: &Truth) {
    let twice: Vec<_> = truth.dials_by_name.iter().filter(|(_, dials)| **dials > 1).collect();
    assert!(twice.is_empty(), "an attempt rang twice: {twice:?}");
    let again: Vec<_> = truth.dials.iter().filter(|(_, dials)| **dials > 1).collect();
    assert!(again.is_empty(), "a person was called more often than asked: {again:?}");
    assert_eq!(truth.dials.len(), LEADS as usize, "everybody was called");
    assert!(truth.peak_outbound <= CAP, "outbound stayed under its cap: {}", truth.peak_outbound);
    assert_eq!(truth.live.total(), 0, "no call is up whose line is free: {:?}", truth.live);
}

/// That it was a storm: each fault struck.
fn met(truth: &Truth) {
    let stuck =
        truth.calls.iter().filter(|call| call.ended_reason.as_deref() == Some("exceeded-max-duration"));
    let struck = [
        ("webhooks lost", truth.webhooks.lost),
        ("webhooks doubled", truth.webhooks.doubled),
        ("webhooks late", truth.webhooks.late),
        ("webhooks at a closed door", truth.webhooks.failed),
        ("dials over the limit", truth.over_limit_answers),
        ("dials that made no call", truth.posts - u64::from(LEADS)),
        ("callers", truth.callers),
        ("stuck calls", stuck.count() as u64),
    ];
    for (what, times) in struck {
        assert!(times > 0, "no {what}");
    }
}

/// Nobody's number is in the log.
fn unnamed(truth: &Truth, log: &Path) {
    let log = std::fs::read_to_string(log).expect("the server's log");
    assert!(log.lines().count() > LEADS as usize, "the log was kept");
    let numbers: HashSet<&str> =
        truth.calls.iter().filter_map(|call| call.number.as_deref()?.strip_prefix('+')).collect();
    let named =
        log.lines().find(|line| line.split(|c: char| !c.is_ascii_digit()).any(|run| numbers.contains(run)));
    assert_eq!(named, None, "a phone number is in the log");
}
