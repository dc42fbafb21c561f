//! Lambda's part: a `bootstrap` is started, asks for its next event over HTTP, and answers it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use headroom::flows::{Clock as _, SystemClock};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// The longest that a start or an invocation may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a function says.
enum Said {
    /// That it is ready for an event.
    Next(Instant),
    /// Its answer.
    Answer(Answer),
}

/// An answer to an event.
pub(crate) struct Answer {
    /// Whether it is an error's.
    pub(crate) failed: bool,
    /// Its body.
    pub(crate) body: String,
}

/// The two ends of a function's conversation.
struct Api {
    said: mpsc::UnboundedSender<Said>,
    events: Mutex<mpsc::UnboundedReceiver<String>>,
}

/// A function that runs.
pub(crate) struct Function {
    child: Child,
    api: JoinHandle<()>,
    logged: JoinHandle<usize>,
    said: mpsc::UnboundedReceiver<Said>,
    events: mpsc::UnboundedSender<String>,
}

impl Function {
    /// Starts it with an environment of its own. And how long it took until it asked for its first event.
    pub(crate) async fn start(
        binary: &Path,
        environment: &HashMap<String, String>,
    ) -> anyhow::Result<(Self, Duration)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (says, said) = mpsc::unbounded_channel();
        let (events, waiting) = mpsc::unbounded_channel();
        let state = Arc::new(Api { said: says, events: Mutex::new(waiting) });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/2018-06-01/runtime/init/error", post(failed))
            .with_state(state);
        let api = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, routes).await;
        });
        let began = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let mut log = child.stdout.take().context("it was asked for")?;
        let logged = tokio::spawn(async move {
            let mut lines = Vec::new();
            let _ = log.read_to_end(&mut lines).await;
            lines.len()
        });
        let mut function = Self { child, api, logged, said, events };
        let ready = function.ready().await.with_context(|| format!("{} is not ready", binary.display()))?;
        Ok((function, ready - began))
    }

    async fn hear(&mut self) -> anyhow::Result<Said> {
        tokio::select! {
            said = self.said.recv() => said.context("the API is gone"),
            ended = self.child.wait() => Err(anyhow!("it ended: {}", ended?)),
            () = tokio::time::sleep(PATIENCE) => Err(anyhow!("it has said nothing for {PATIENCE:?}")),
        }
    }

    async fn ready(&mut self) -> anyhow::Result<Instant> {
        match self.hear().await? {
            Said::Next(at) => Ok(at),
            Said::Answer(answer) => bail!("{}", answer.body),
        }
    }

    /// Gives it an event and waits until it is ready for another one.
    pub(crate) async fn invoke(&mut self, event: &str) -> anyhow::Result<Answer> {
        self.events.send(event.to_owned()).context("it does not wait for events")?;
        let Said::Answer(answer) = self.hear().await? else { bail!("it gave no answer") };
        self.ready().await?;
        Ok(answer)
    }

    /// The most memory that it has had, in kilobytes.
    pub(crate) fn peak_memory_kb(&self) -> anyhow::Result<u64> {
        let id = self.child.id().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(peak.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Ends it. And how much it has logged, in bytes.
    pub(crate) async fn stop(mut self) -> anyhow::Result<usize> {
        self.child.kill().await?;
        self.api.abort();
        Ok(self.logged.await?)
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let _ = api.said.send(Said::Next(Instant::now()));
    let Some(event) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemClock.now().as_millisecond() + 60_000;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:0:function:figures".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0".to_owned()),
    ];
    (headers, event).into_response()
}

async fn answered(State(api): State<Arc<Api>>, body: Bytes) -> StatusCode {
    said(&api, false, &body)
}

async fn failed(State(api): State<Arc<Api>>, body: Bytes) -> StatusCode {
    said(&api, true, &body)
}

fn said(api: &Api, failed: bool, body: &[u8]) -> StatusCode {
    let body = String::from_utf8_lossy(body).into_owned();
    let _ = api.said.send(Said::Answer(Answer { failed, body }));
    StatusCode::ACCEPTED
}
