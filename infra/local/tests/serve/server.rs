//! A `headroom serve` process, its simulated Vapi, and how a test speaks to them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use vapi_sim::{Config, Sim, Webhook, WebhookAuth};

pub(crate) const SECRET: &str = "whsec-test";
pub(crate) const TOKEN: &str = "admin-test";

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("headroom-test-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The process. Killed when dropped: never gracefully, which is what the tests are about.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What differs between the tests.
pub(crate) struct Flags<'a> {
    pub(crate) vapi_url: &'a str,
    pub(crate) data: Option<&'a Path>,
    /// Where what a user would read on the terminal is kept; errors alone, on this terminal, if not given.
    pub(crate) log: Option<&'a Path>,
    pub(crate) limit: u32,
    pub(crate) cap: u32,
    pub(crate) headroom: u32,
    pub(crate) speed: f64,
}

/// A port that is free now. The kernel does not hand it out again at once.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").port()
}

impl Server {
    /// Starts `headroom serve` and waits until it answers.
    pub(crate) async fn start(port: u16, flags: &Flags<'_>) -> Self {
        Self::start_with(port, flags, &Config::default().api_key, &[]).await
    }

    /// The same with other keys, and with more flags.
    pub(crate) async fn start_with(port: u16, flags: &Flags<'_>, keys: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
        command
            .arg("serve")
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--vapi-url", flags.vapi_url, "--vapi-key", keys])
            .args(["--webhook-secret", SECRET, "--admin-token", TOKEN])
            .args(["--limit", &flags.limit.to_string(), "--cap", &flags.cap.to_string()])
            .args(["--headroom", &flags.headroom.to_string(), "--speed", &flags.speed.to_string()])
            .args(["--inbound-assistant", "assistant-in"])
            // Numbers of nowhere are called, at any hour that the tests run.
            .args(["--calling-hours", "none"])
            .args(more)
            .stdout(Stdio::null());
        match flags.log {
            Some(log) => {
                let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
                command.env("RUST_LOG", "info").stderr(log);
            }
            None => {
                command.env("RUST_LOG", "error");
            }
        }
        if let Some(data) = flags.data {
            command.arg("--data").arg(data);
        }
        let child = command.spawn().expect("the binary starts");
        let server = Self { child, url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new() };
        let started = Instant::now();
        while server.try_status().await.is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "the server answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// The most memory that the process has had at once, in KiB.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }

    pub(crate) async fn try_status(&self) -> Option<Value> {
        let answer = self.http.get(format!("{}/status", self.url)).bearer_auth(TOKEN).send().await.ok()?;
        answer.json().await.ok()
    }

    /// The figures. Asked for again once: a kept connection may be one that the server has just
    /// closed, after a body it did not want to read to its end.
    pub(crate) async fn status(&self) -> Value {
        match self.try_status().await {
            Some(status) => status,
            None => self.try_status().await.expect("a status"),
        }
    }

    pub(crate) async fn post_campaign(&self, body: String) -> reqwest::Response {
        let url = format!("{}/campaigns", self.url);
        self.http.post(url).bearer_auth(TOKEN).body(body).send().await.expect("an answer")
    }

    /// Waits until the first campaign is finished.
    pub(crate) async fn finish(&self, patience: Duration) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status().await;
            if status["campaigns"][0]["finished"] == true {
                return status;
            }
            assert!(started.elapsed() < patience, "the campaign finishes: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until no line is held.
    pub(crate) async fn drain(&self, patience: Duration) {
        let started = Instant::now();
        while self.status().await["pools"][0]["total"] != 0 {
            assert!(started.elapsed() < patience, "every line comes back: {}", self.status().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A simulated Vapi that sends its webhooks to a server on `port`.
pub(crate) async fn vapi(port: u16, config: Config) -> Sim {
    let webhook = Webhook {
        url: format!("http://127.0.0.1:{port}/vapi"),
        auth: WebhookAuth::Secret(SECRET.to_owned()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    Sim::start(Config { webhook: Some(webhook), ..config }, listener)
}

/// A campaign message with `leads` leads that are called once each.
pub(crate) fn campaign(id: &str, leads: std::ops::Range<u32>) -> String {
    let leads: Vec<Value> =
        leads.map(|n| json!({ "id": format!("lead-{n}"), "number": format!("+1555{n:07}") })).collect();
    json!({
        "campaign": { "id": id, "assistantId": "assistant-out", "phoneNumberId": "number-out", "retry": { "maxAttempts": 1 } },
        "leads": leads,
    })
    .to_string()
}
