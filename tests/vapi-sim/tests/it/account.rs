//! An account under test: a simulation, a client of its API, and the server that its webhooks go to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vapi_sim::{Config, Range, Sim, Telephony, Truth, Webhook, WebhookAuth};

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) raw: String,
    pub(crate) message: Value,
}

#[derive(Clone, Default)]
struct Inbox {
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Value>>,
}

/// One org of the subscription: its key, and the server that hears of its calls.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) sim: Sim,
    key: &'static str,
    http: reqwest::Client,
    inbox: Inbox,
}

/// Everyone answers and talks for a minute on average; the API answers at once.
pub(crate) fn config(speed: f64) -> Config {
    let telephony = Telephony {
        answer: 1.0,
        no_answer: 0.0,
        busy: 0.0,
        voicemail: 0.0,
        setup_failure: 0.0,
        ring_seconds: Range(2.0, 4.0),
        talk_seconds_mean: 60.0,
        api_latency_ms: Range(0.0, 0.0),
        ..Telephony::default()
    };
    Config { seed: 42, speed, telephony, ..Config::default() }
}

impl Account {
    /// Starts it all; the main org's webhooks carry this proof.
    pub(crate) async fn open(config: Config, auth: WebhookAuth) -> Self {
        Self::open_with(config, |config, url| config.webhook = Some(Webhook { url, auth })).await
    }

    /// The same with every org's webhooks sent to the same server.
    pub(crate) async fn open_for_all(config: Config) -> Self {
        let auth = WebhookAuth::None;
        Self::open_with(config, |config, url| {
            let webhook = Some(Webhook { url, auth });
            config.orgs.iter_mut().for_each(|org| org.webhook = webhook.clone());
            config.webhook = webhook;
        })
        .await
    }

    async fn open_with(mut config: Config, point: impl FnOnce(&mut Config, String)) -> Self {
        let inbox = Inbox { answer: Arc::new(Mutex::new(json!({}))), ..Inbox::default() };
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/vapi", server.local_addr().unwrap());
        let router = Router::new().route("/vapi", post(receive)).with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(server, router).await });
        point(&mut config, url);
        let sim = Sim::start(config, TcpListener::bind("127.0.0.1:0").await.unwrap());
        // Reading the machine's certificates is most of the work of making a client, and needless here.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let http = http.timeout(Duration::from_millis(500)).build().unwrap();
        Self { sim, key: "sim-private-key", http, inbox }
    }

    /// The same with another org's key.
    pub(crate) fn with_key(&self, key: &'static str) -> Self {
        Self { key, ..self.clone() }
    }

    /// What the server says to an `assistant-request`.
    pub(crate) fn will_answer(&self, answer: Value) {
        *self.inbox.answer.lock().unwrap() = answer;
    }

    pub(crate) async fn dial(&self, number: &str, name: &str) -> reqwest::Result<(u16, Value)> {
        let body = json!({
            "assistantId": "front-desk", "phoneNumberId": "line-1", "name": name,
            "customer": {"number": number}, "metadata": {"reservationId": name},
            "assistantOverrides": {"maxDurationSeconds": 300, "metadata": {"reservationId": name}},
        });
        self.post("/call", body).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> reqwest::Result<(u16, Value)> {
        let request = self.http.post(format!("{}{path}", self.sim.url())).json(&body);
        let answer = request.bearer_auth(self.key).send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.put(format!("{}{path}", self.sim.url())).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> reqwest::Result<(u16, Value)> {
        let request = self.http.patch(format!("{}{path}", self.sim.url())).json(&body);
        let answer = request.bearer_auth(self.key).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The status of an answer, and a header of it.
    pub(crate) async fn header(&self, path: &str, name: &str) -> (u16, Option<String>) {
        let request = self.http.get(format!("{}{path}", self.sim.url()));
        let answer = request.bearer_auth(self.key).send().await.unwrap();
        let header = answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), header)
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
        let request = self.http.delete(format!("{}{path}", self.sim.url()));
        request.bearer_auth(self.key).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.http.get(format!("{}{path}", self.sim.url()));
        let answer = request.bearer_auth(self.key).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until the truth is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Truth) -> bool) -> Truth {
        for _ in 0..1000 {
            let truth = self.sim.truth();
            if wanted(&truth) {
                return truth;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to this: {:#}", self.sim.truth().summary());
    }

    /// Waits until so many webhooks came, and a little for those that should not come.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        for _ in 0..1000 {
            if self.inbox.received.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.inbox.received.lock().unwrap().clone()
    }
}

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let raw = String::from_utf8(body.to_vec()).unwrap();
    let message = serde_json::from_str::<Value>(&raw).unwrap()["message"].take();
    let answer =
        if message["type"] == "assistant-request" { inbox.answer.lock().unwrap().clone() } else { json!({}) };
    inbox.received.lock().unwrap().push(Received { headers, raw, message });
    Json(answer)
}
