//! Vapi slow, then 429, then gone, then back, over HTTP: the cap and the breaker follow, callers are let in all the
//! while, nobody is dialed twice, and the campaign comes to its end. Prints the timeline.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vapi_sim::{Config, Faults, Telephony, Traffic};

use crate::server::{Flags, Server, campaign, free_port, vapi};

const LEADS: u32 = 600;
const SPEED: f64 = 60.0;
const PATIENCE: Duration = Duration::from_secs(180);

/// Everybody is called once, and talks for a minute or so.
fn people() -> Telephony {
    Telephony { setup_failure: 0.0, talk_seconds_mean: 60.0, ..Telephony::default() }
}

/// Callers take less than the headroom leaves them.
fn callers() -> Traffic {
    Traffic { inbound_per_hour: 60.0, ask_assistant: true, ..Traffic::default() }
}

/// What a user sees of it: the cap, why, and Vapi's breaker.
fn seen(status: &Value) -> (u64, String, String) {
    let health = &status["pools"][0]["health"];
    let why = health["why"].as_str().unwrap_or("well").to_owned();
    let breakers = health["breakers"].as_array().cloned().unwrap_or_default();
    let vapi = breakers.iter().find(|breaker| breaker["dependency"] == "vapi");
    let state = vapi.and_then(|vapi| vapi["state"].as_str()).unwrap_or("closed").to_owned();
    (health["cap"].as_u64().expect("a cap"), why, state)
}

/// The timeline: what was seen when it changed.
struct Timeline {
    began: Instant,
    last: Option<(u64, String, String)>,
}

impl Timeline {
    /// Watches for so long, or until the campaign is finished if that is sooner. Gives the lowest cap, every reason
    /// and every state of the breaker that was seen.
    #[allow(clippy::print_stdout, reason = "figures for people")]
    async fn watch(
        &mut self,
        phase: &str,
        server: &Server,
        span: Duration,
    ) -> (u64, Vec<String>, Vec<String>) {
        let (began, mut lowest, mut whys, mut states) = (Instant::now(), u64::MAX, Vec::new(), Vec::new());
        while began.elapsed() < span {
            let status = server.status().await;
            let now = seen(&status);
            if self.last.as_ref() != Some(&now) {
                let (outbound, inbound) = (&status["pools"][0]["outbound"], &status["pools"][0]["inbound"]);
                let seconds = self.began.elapsed().as_secs_f64();
                let (cap, why, state) = &now;
                println!(
                    "{seconds:6.2} s  {phase:9} cap {cap:2}  {why:11} breaker {state:9} outbound {outbound}, inbound {inbound}"
                );
            }
            lowest = lowest.min(now.0);
            whys.push(now.1.clone());
            states.push(now.2.clone());
            self.last = Some(now);
            if status["campaigns"][0]["finished"] == true {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (lowest, whys, states)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_then_429_then_gone_then_back() {
    let port = free_port().await;
    let config =
        Config { speed: SPEED, lines: 20, telephony: people(), traffic: callers(), ..Config::default() };
    let sim = vapi(port, config).await;
    let url = sim.url();
    let flags =
        Flags { vapi_url: &url, data: None, log: None, limit: 20, cap: 14, headroom: 6, speed: SPEED };
    let server = Server::start(port, &flags).await;
    let mut message: Value = serde_json::from_str(&campaign("weather", 0..LEADS)).expect("JSON");
    message["campaign"]["maxDurationSeconds"] = json!(120);
    assert_eq!(server.post_campaign(message.to_string()).await.status(), 202);

    let mut timeline = Timeline { began: Instant::now(), last: None };
    let seconds = Duration::from_secs;
    timeline.watch("well", &server, seconds(5)).await;

    sim.set_faults(Faults { slow_seconds: 150.0, ..Faults::default() });
    let (slow, whys, _) = timeline.watch("slow", &server, seconds(10)).await;
    assert!(slow < 14 && whys.iter().any(|why| why == "slow"), "slow answers lower the cap: {slow}");

    sim.set_faults(Faults { refuse_429: 1.0, ..Faults::default() });
    let (refused, whys, states) = timeline.watch("429", &server, seconds(6)).await;
    assert!(refused < 14 && whys.iter().any(|why| why == "throttled"), "so do refusals: {refused}");
    assert!(states.iter().all(|state| state == "closed"), "a Vapi that refuses is well");

    sim.set_faults(Faults { reset: 1.0, ..Faults::default() });
    let (_, _, states) = timeline.watch("gone", &server, seconds(15)).await;
    assert!(states.iter().any(|state| state == "open"), "no answer opens the breaker");
    let callers_before = sim.truth().callers;

    sim.set_faults(Faults::default());
    timeline.watch("back", &server, PATIENCE).await;
    let status = server.finish(PATIENCE).await;
    sim.set_traffic(Traffic { inbound_per_hour: 0.0, ..callers() });
    server.drain(seconds(60)).await;
    // Sixteen quiet minutes at this speed, at most, and what a breaker needs.
    let well = Instant::now();
    while seen(&server.status().await) != (14, "well".into(), "closed".into()) {
        assert!(well.elapsed() < seconds(40), "all is as before: {}", server.status().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let truth = sim.truth();
    sim.stop();
    let leads = &status["campaigns"][0]["leads"];
    let over = ["done", "failed"].map(|state| leads[state].as_u64().unwrap_or_default());
    assert_eq!(over.iter().sum::<u64>(), u64::from(LEADS), "every lead has its outcome: {status}");
    assert!(truth.dials_by_name.values().all(|dials| *dials == 1), "no attempt rang twice");
    assert!(truth.dials.values().all(|dials| *dials == 1), "nobody was called more often than asked");
    assert_eq!(truth.dials.len(), LEADS as usize, "and everybody was");
    assert!(callers_before > 10 && truth.callers > callers_before, "callers came all the while");
    assert_eq!((truth.blocked_inbound, truth.refused_by_us), (0, 0), "and each found a line");
    println!("{LEADS} leads, {} callers: {}", truth.callers, truth.summary());
}
