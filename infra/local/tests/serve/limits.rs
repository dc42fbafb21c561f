//! The limit moves while a campaign runs: lowered far below what is in use it drains and cuts nobody off, raised it is
//! filled at once. Told by an operator to the running process, and found in Vapi's own figures.

use std::time::{Duration, Instant};

use serde_json::Value;
use vapi_sim::{Config, Sim, Telephony, Truth};

use crate::server::{Flags, Server, campaign, free_port, vapi};

const LEADS: u32 = 150;
const HEADROOM: u32 = 5;
const SPEED: f64 = 20.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// Before, lowered and raised.
const LIMITS: [u32; 3] = [20, 10, 40];

/// How long people talk, in seconds: so long that a slow machine fills all lines before the first are free again, and, when
/// nothing depends on that any more, a minute or so.
const TALK: [f64; 2] = [400.0, 60.0];

/// Everybody answers, and talks for so long.
fn people(talk_seconds_mean: f64) -> Telephony {
    Telephony {
        answer: 1.0,
        no_answer: 0.0,
        busy: 0.0,
        voicemail: 0.0,
        setup_failure: 0.0,
        talk_seconds_mean,
        ..Telephony::default()
    }
}

async fn start(lines: u32, more: &[&str]) -> (Sim, Server) {
    let port = free_port().await;
    let sim =
        vapi(port, Config { speed: SPEED, lines, telephony: people(TALK[0]), ..Config::default() }).await;
    let flags = Flags {
        vapi_url: &sim.url(),
        data: None,
        log: None,
        limit: LIMITS[0],
        cap: LIMITS[2],
        headroom: HEADROOM,
        speed: SPEED,
    };
    let server = Server::start_with(port, &flags, &Config::default().api_key, more).await;
    assert_eq!(server.post_campaign(campaign("while-it-moves", 0..LEADS)).await.status(), 202);
    (sim, server)
}

/// Waits for something, and says how long it took.
async fn wait(what: &str, server: &Server, is_so: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let status = server.status().await;
        if is_so(&status["pools"][0]) {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until outbound has every line that the limit leaves it.
async fn filled(sim: &Sim, server: &Server, limit: u32) -> Duration {
    let began = Instant::now();
    while sim.live().outbound < limit - HEADROOM {
        assert!(began.elapsed() < PATIENCE, "outbound fills {limit}: {}", server.status().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

/// How long filling the lines of a higher limit may take, where a machine took `first` for the first ones: they are half as
/// many.
fn at_once(first: Duration) -> Duration {
    Duration::from_secs(1) + 3 * first
}

/// Waits until all is dialed that was taken before the limit fell: no line is held without a call. Gives the instant, and
/// how many calls were up.
async fn all_dialed(sim: &Sim, server: &Server) -> (f64, usize) {
    let began = Instant::now();
    loop {
        let status = server.status().await;
        let held = status["pools"][0]["total"].as_u64().expect("a pool has a total");
        let (live, at) = (sim.live().total(), now_ms());
        if held <= live.into() {
            return (at, live as usize);
        }
        assert!(began.elapsed() < PATIENCE, "{held} lines are held, {live} calls are up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lines held right after each dial that was made between two instants, by Vapi's books.
fn held_after_dials(truth: &Truth, from: f64, to: f64) -> Vec<i64> {
    let mut held = 0;
    let changes = truth.timeline.iter().map(|change| {
        held += i64::from(change.delta);
        (change, held)
    });
    let dials = changes.filter(|(change, _)| change.delta > 0 && (from..to).contains(&change.at_ms));
    dials.map(|(_, held)| held).collect()
}

#[allow(clippy::disallowed_methods, reason = "for a comparison with the simulated Vapi's books")]
fn now_ms() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}

/// After the limit fell at `from`, until it rose at `to`: nobody was cut off, and no dial was made but below it.
fn drained(truth: &Truth, live: usize, from: f64, to: f64) {
    let up: Vec<_> = truth
        .calls
        .iter()
        .filter(|call| call.created_at_ms < from && call.ended_at_ms.is_none_or(|end| end > from))
        .collect();
    assert!(up.len() + 1 >= live, "{} of {live} calls were up when it fell", up.len());
    for call in &truth.calls {
        let reason = call.ended_reason.as_deref().unwrap_or_default();
        assert!(!reason.contains("cancel"), "a call was cut off: {reason}");
    }
    let held = held_after_dials(truth, from, to);
    assert!(!held.is_empty(), "it went on below the new limit");
    let most = i64::from(LIMITS[1] - HEADROOM);
    assert!(held.iter().all(|held| *held <= most), "lines held after each dial, {most} at most: {held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_limit_drains_and_fills_under_a_campaign() {
    let (sim, server) = start(LIMITS[2], &[]).await;
    let first = filled(&sim, &server, LIMITS[0]).await;
    let says = server.typed(&format!("limit {}", LIMITS[1]));
    assert!(says.0, "{}", says.1);
    let (fell, live) = all_dialed(&sim, &server).await;
    sim.set_telephony(people(TALK[1]));
    assert!(live > LIMITS[1] as usize, "it falls below use: {live}");
    let drained_in = wait("it drains", &server, |pool| pool["total"].as_u64() < Some(5)).await;
    wait("and goes on", &server, |pool| pool["total"] == LIMITS[1] - HEADROOM).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    sim.set_telephony(people(TALK[0]));
    let rose = now_ms();
    let says = server.typed(&format!("limit {}", LIMITS[2]));
    assert!(says.0, "{}", says.1);
    let filled_in = filled(&sim, &server, LIMITS[2]).await;
    assert!(
        filled_in < at_once(first),
        "a higher limit is filled at once: {filled_in:?}, the first in {first:?}"
    );
    sim.set_telephony(people(TALK[1]));
    server.finish(PATIENCE).await;
    server.drain(PATIENCE).await;
    let truth = sim.truth();
    sim.stop();
    drained(&truth, live, fell, rose);
    assert_eq!(truth.dials.len(), LEADS as usize);
    println!("operator: drained to below 5 in {drained_in:.2?}, filled 40 lines in {filled_in:.2?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_vapis_figures_is_followed_down_and_up() {
    let (sim, server) = start(LIMITS[0], &["--adopt-limit"]).await;
    let first = filled(&sim, &server, LIMITS[0]).await;
    sim.set_lines(LIMITS[1]);
    let live = sim.live().total() as usize;
    let down_in = wait("it follows down", &server, |pool| pool["limit"] == LIMITS[1]).await;
    let (fell, _) = all_dialed(&sim, &server).await;
    sim.set_telephony(people(TALK[1]));
    let refused = sim.truth().over_limit_answers;
    wait("it drains and goes on", &server, |pool| pool["total"] == LIMITS[1] - HEADROOM).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    sim.set_telephony(people(TALK[0]));
    let rose = now_ms();
    sim.set_lines(LIMITS[2]);
    let up_in = wait("it follows up", &server, |pool| pool["limit"] == LIMITS[2]).await;
    let filled_in = filled(&sim, &server, LIMITS[2]).await;
    // The next answer tells, the next pass follows.
    let most = Duration::from_secs_f64(120.0 / SPEED) + Duration::from_secs(2);
    assert!(
        up_in < most && filled_in < at_once(first),
        "{up_in:?}, then {filled_in:?}, the first in {first:?}"
    );
    sim.set_telephony(people(TALK[1]));
    server.finish(PATIENCE).await;
    server.drain(PATIENCE).await;
    let truth = sim.truth();
    sim.stop();
    drained(&truth, 0, fell, rose);
    assert!(live >= 14 && refused < 40, "{live} calls were up, and Vapi refused {refused} dials");
    assert_eq!(truth.dials.len(), LEADS as usize);
    println!(
        "figures: down in {down_in:.2?} after {refused} refusals, up in {up_in:.2?}, filled 40 lines {filled_in:.2?} later"
    );
}
