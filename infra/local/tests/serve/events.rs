//! Events as others get them: posted by the real process to a real web server, signed; also when that is down for a
//! while, and when the process is killed in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use vapi_sim::{Config, Telephony};

use crate::server::{Flags, Folder, Server, campaign, free_port, vapi};

const SECRETS: [&str; 2] = ["event-secret-new", "event-secret-old"];

/// A receiver as somebody would write it by the README.
#[derive(Clone, Default)]
struct Receiver {
    /// Event by its id, and how often it came.
    got: Arc<Mutex<BTreeMap<String, (Value, u32)>>>,
    is_down: Arc<std::sync::atomic::AtomicBool>,
    refused: Arc<std::sync::atomic::AtomicU32>,
}

impl Receiver {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hooks/t0ken", listener.local_addr().expect("bound"));
        let router = Router::new().route("/hooks/t0ken", post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, std::sync::atomic::Ordering::Relaxed);
    }

    fn of(&self, name: &str) -> Vec<Value> {
        let got = self.got.lock().expect("nobody panics with it");
        got.values().filter(|(event, _)| event["type"] == name).map(|(event, _)| event.clone()).collect()
    }

    async fn wait_for(&self, name: &str, count: usize) {
        let started = Instant::now();
        while self.of(name).len() < count {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{name}: {} of {count}",
                self.of(name).len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8], secret: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(text("x-headroom-timestamp").as_bytes());
    mac.update(b".");
    mac.update(body);
    let good = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
    text("x-headroom-signature").split(',').any(|signature| signature == good)
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    use std::sync::atomic::Ordering::Relaxed;
    if receiver.is_down.load(Relaxed) {
        receiver.refused.fetch_add(1, Relaxed);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    // Whichever of the two is known here.
    assert!(SECRETS.iter().all(|secret| is_signed(&headers, &body, secret)), "signed");
    assert!(!is_signed(&headers, &body, "another"));
    let mut event: Value = serde_json::from_slice(&body).expect("JSON");
    let id = event["id"].as_str().expect("an id").to_owned();
    assert_eq!(headers["x-headroom-event-id"], *id);
    if event["type"] == "lead.ended" {
        event["at"].take();
    }
    let mut got = receiver.got.lock().expect("nobody panics with it");
    let (before, times) = got.entry(id).or_insert_with(|| (event.clone(), 0));
    assert_eq!(*before, event, "a repeat says the same");
    *times += 1;
    StatusCode::NO_CONTENT
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_for_a_while_gets_every_event() {
    const LEADS: u32 = 30;
    let (receiver, folder) = (Receiver::default(), Folder::new());
    let url = receiver.start().await;
    let port = free_port().await;
    let telephony = Telephony { talk_seconds_mean: 20.0, setup_failure: 0.0, ..Telephony::default() };
    let sim = vapi(port, Config { telephony, speed: 60.0, ..Config::default() }).await;
    let log = folder.0.join("log");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let flags = Flags {
        vapi_url: &sim.url(),
        data: Some(&folder.0),
        log: Some(&log),
        limit: 10,
        cap: 10,
        headroom: 0,
        speed: 60.0,
    };
    let both = SECRETS.join(",");
    let more = ["--events-url", &url, "--events-secret", &both];
    let keys = Config::default().api_key;
    receiver.set_down(true);
    let server = Server::start_with(port, &flags, &keys, &more).await;
    let sent = campaign("c", 0..LEADS);
    assert_eq!(server.post_campaign(sent).await.status(), 202);
    server.finish(Duration::from_secs(60)).await;
    let started = Instant::now();
    while receiver.refused.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is tried");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Killed: what was on the queue is on disk, what was not yet is marked in the table.
    drop(server);
    receiver.set_down(false);
    let server = Server::start_with(port, &flags, &keys, &more).await;
    receiver.wait_for("lead.ended", LEADS as usize).await;
    receiver.wait_for("campaign.finished", 1).await;
    receiver.wait_for("campaign.started", 1).await;
    // None under two ids.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut leads: Vec<String> = receiver
        .of("lead.ended")
        .iter()
        .map(|event| event["lead"].as_str().unwrap_or_default().to_owned())
        .collect();
    leads.sort();
    leads.dedup();
    assert_eq!((leads.len(), receiver.of("lead.ended").len()), (LEADS as usize, LEADS as usize));
    let finished = &receiver.of("campaign.finished")[0];
    assert_eq!((&finished["leads"], &finished["state"]), (&Value::from(LEADS), &Value::from("finished")));
    assert_eq!(receiver.of("campaign.started").len(), 1);
    let got = receiver.got.lock().expect("nobody panics with it");
    assert!(got.values().all(|(event, _)| !event.to_string().contains("+1555")));
    drop(got);
    drop(server);
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("event not delivered") && log.contains("event delivered"), "{log}");
    assert!(!log.contains("t0ken") && !log.contains("event-secret"));
    sim.stop();
}

#[test]
fn an_address_that_others_could_read_along_is_refused() {
    let serve = |url: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(["serve", "--listen", "127.0.0.1:0", "--vapi-key", "k", "--webhook-secret", "s"])
            .args(["--events-url", url, "--events-secret", "x"])
            .output()
            .expect("the binary runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let told = serve("http://example.com/t0ken");
    assert!(
        told.contains("HEADROOM_EVENTS_URL") && told.contains("not https") && !told.contains("t0ken"),
        "{told}"
    );
}
