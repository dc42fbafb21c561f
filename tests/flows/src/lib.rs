//! What the flow tests share: a world of the embedded DynamoDB engine, a clock that stands still
//! until it is set, and servers that give one answer, as Vapi or as the queue of wake-ups.
//!
//! Nothing here decides anything; the code under test is the library's own.

mod calls;
pub mod engine;
mod meter;
mod stored;
mod without;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use headroom::config::Rejects;
use headroom::core::hours::CallingHours;
use headroom::core::ids::{CallId, CampaignCode, ClaimKey, NameCode};
use headroom::core::lead::Lead;
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::people::Often;
use headroom::core::pool::{Policy, Pool};
use headroom::core::shard::Sizes;
use headroom::core::timers::Timers;
use headroom::flows::{App, Clock, Memory, main_pool, random_nonce};
use headroom::outlet::Outlet;
use headroom::table::Table;
use headroom::table::leads::Step;
use headroom::table::ledger::{Observed, Taken};
use headroom::vapi::{Secret, Vapi};
use headroom::wake::WakeQueue;
use headroom_local::engines::local_aws;
use headroom_sim::calls::Call;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::calls::Calls;
use crate::meter::Meter;
use crate::without::Without;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct StillClock(Mutex<Timestamp>);

impl StillClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock on, or back.
    pub fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`Stub`] was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request line's method.
    pub method: String,
    /// The request line's path, with its query.
    pub path: String,
    /// The body, as text.
    pub body: String,
}

/// What makes a [`Stub`]'s answers, each a status and a body.
type Answering = Box<dyn FnMut(&Asked) -> (u16, String) + Send>;

/// An HTTP server on loopback that gives everybody the same answer, or the one that the test makes, and remembers who
/// asked. `{n}` in the answer is a number that is never given twice.
pub struct Stub {
    /// Where it listens.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Answering>>,
}

impl Stub {
    /// A server that answers with this status and body.
    pub async fn start(status: u16, body: impl Into<String>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for a stub")?;
        let stub = Self {
            url: format!("http://{}", listener.local_addr()?),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(always(status, body.into()))),
        };
        let (asked, answer) = (stub.asked.clone(), stub.answer.clone());
        let numbers = Arc::new(AtomicU32::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answer, numbers) = (asked.clone(), answer.clone(), numbers.clone());
                tokio::spawn(async move {
                    let Ok(request) = read_request(&stream).await else { return };
                    let (status, body) = answer.lock().unwrap_or_else(PoisonError::into_inner)(&request);
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                    let body = body.replace("{n}", &numbers.fetch_add(1, Ordering::Relaxed).to_string());
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = write_all(&stream, format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Ok(stub)
    }

    /// Answers with this from now on.
    pub fn answers(&self, status: u16, body: impl Into<String>) {
        self.answers_by(always(status, body.into()));
    }

    /// Answers with what this makes from now on.
    pub fn answers_by(&self, answering: impl FnMut(&Asked) -> (u16, String) + Send + 'static) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(answering);
    }

    /// What was asked since the last time this was called.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn always(status: u16, body: String) -> Answering {
    Box::new(move |_| (status, body.clone()))
}

async fn read_request(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, length)| length.trim().parse::<usize>().ok())
                .unwrap_or_default();
            let start = end + 4;
            if bytes.len() >= start + length {
                let mut words = head.split_whitespace().map(str::to_owned);
                return Ok(Asked {
                    method: words.next().unwrap_or_default(),
                    path: words.next().unwrap_or_default(),
                    body: String::from_utf8_lossy(&bytes[start..start + length]).into_owned(),
                });
            }
        }
        stream.readable().await?;
        let mut piece = [0; 16 * 1024];
        match stream.try_read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A table of its own, with everything that a flow needs around it.
pub struct World {
    /// What the functions share. Its clock is `clock`.
    pub app: App,
    /// The time, to be moved by the test.
    pub clock: Arc<StillClock>,
    /// Vapi, as one answer. Says 500 until told otherwise.
    pub vapi: Arc<Stub>,
    /// The queue of wake-ups, as one answer.
    pub wakes: Arc<Stub>,
    client: Client,
    meter: Meter,
    calls: Calls,
    name: String,
    sizes: Sizes,
}

impl World {
    /// An empty pool with this policy on an engine of its own, or on the one that the environment names.
    pub async fn start(policy: Policy) -> anyhow::Result<Self> {
        let mut config = engine::config(&engine::dynamo_url().await?);
        if let Some(without) = Without::asked() {
            config = config.interceptor(without);
        }
        let meter = Meter::default();
        let calls = Calls::default();
        let config = config.interceptor(meter.clone()).interceptor(calls.clone());
        let client = Client::from_conf(config.build());
        let vapi = Arc::new(Stub::start(500, "{}").await?);
        let sent = json!({ "MessageId": "m", "MD5OfMessageBody": "0" }).to_string();
        let wakes = Arc::new(Stub::start(200, sent).await?);
        let timers = Timers::default();
        let clock = Arc::new(StillClock::at(start()));
        let queue = format!("{}/000000000000/wake", wakes.url);
        let app = App {
            table: Table::new(client.clone(), "none", main_pool()),
            vapi: Some(Vapi::new(&vapi.url, &Secret::new("key"), timers.clone())?),
            wake: WakeQueue::new(aws_sdk_sqs::Client::new(&local_aws(&wakes.url)), queue),
            clock: clock.clone(),
            nonce: random_nonce,
            timers,
            policy,
            adopt_limit: false,
            orgs: Vec::new(),
            rejects: Rejects::default(),
            memory: Memory::default(),
            calling_hours: CallingHours::none(),
            often: Often::default(),
            outlet: None,
        };
        let world = Self {
            app,
            clock,
            vapi,
            wakes,
            client,
            meter,
            calls,
            name: "none".into(),
            sizes: Sizes::default(),
        };
        world.beside(policy).await
    }

    /// Vapi, as the functions that ask it anything have it.
    pub fn asked(&self) -> &Vapi {
        self.app.vapi.as_ref().expect("a world has Vapi's key")
    }

    /// The same with items of the ledger of another size.
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.app.table = self.app.table.with_sizes(sizes);
        self.sizes = sizes;
        self
    }

    /// The same where events are told, to a queue that is one answer.
    pub fn telling(mut self, queue: &Stub) -> Self {
        self.app.table = self.app.table.announcing(true);
        let sqs = aws_sdk_sqs::Client::new(&local_aws(&queue.url));
        self.app.outlet = Some(Outlet::new(sqs, format!("{}/000000000000/events", queue.url)));
        self
    }

    /// Another, independent pool on the same engine, with the same clients: cheaper than a new world.
    pub async fn beside(&self, policy: Policy) -> anyhow::Result<Self> {
        let name = engine::table_name();
        let table = Table::new(self.client.clone(), &name, main_pool()).with_sizes(self.sizes);
        table.create().await?;
        table.ensure_pool(policy).await?;
        let clock = Arc::new(StillClock::at(start()));
        Ok(Self {
            app: App { table, clock: clock.clone(), policy, ..self.app.clone() },
            clock,
            vapi: self.vapi.clone(),
            wakes: self.wakes.clone(),
            client: self.client.clone(),
            meter: self.meter.clone(),
            calls: self.calls.clone(),
            name,
            sizes: self.sizes,
        })
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.app.table
    }

    /// What was asked of the engine since the last time this was called, the test's own reads included.
    pub fn take_calls(&self) -> BTreeSet<Call> {
        self.calls.take()
    }

    /// Write units that were consumed since the last time this was called, as the engine counts them.
    pub fn take_write_units(&self) -> f64 {
        self.meter.take()
    }

    /// The ledger's size, as DynamoDB counts it: what its writes are paid by.
    pub async fn ledger_bytes(&self) -> anyhow::Result<usize> {
        let key = |key: &str| AttributeValue::S(key.to_owned());
        let pk = key(&format!("POOL#{}", self.table().pool()));
        let read = self.client.get_item().table_name(&self.name).key("pk", pk).key("sk", key("LEDGER#0"));
        let item = read.consistent_read(true).send().await?.item.context("no ledger")?;
        Ok(item.iter().map(|(name, value)| name.len() + bytes(value)).sum())
    }

    /// Every item of the table, by its key: two equal dumps are two equal states.
    pub async fn dump(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut items = BTreeMap::new();
        let mut from = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.name)
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await?;
            for item in page.items() {
                let key = |name| item.get(name).and_then(|key: &AttributeValue| key.as_s().ok().cloned());
                let key = format!("{} {}", key("pk").unwrap_or_default(), key("sk").unwrap_or_default());
                items.insert(key, plain(&AttributeValue::M(item.clone())));
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// The due time of a lead, in microseconds, as stored: no function of the table shows it.
    pub async fn due_us(&self, claim: &ClaimKey) -> anyhow::Result<i64> {
        let key = format!("C#{} L#{}", claim.campaign.as_str(), claim.lead.as_str());
        let dump = self.dump().await?;
        let due = dump.get(&key).and_then(|item| item["due"].as_str()).context("no such lead")?;
        Ok(due.parse()?)
    }

    /// Takes in a campaign of one lead and gives the claim that would be the lead's first.
    pub async fn lead(&self, campaign: &str, lead: &str) -> anyhow::Result<ClaimKey> {
        let message = json!({
            // Without jitter, so that a test can tell when a lead is due.
            "campaign": { "id": campaign, "assistantId": "as", "phoneNumberId": "ph", "retry": { "jitter": 0 } },
            "leads": [{ "id": lead, "number": "+15555550100" }],
        });
        self.app.take_in(message.to_string().as_bytes()).await?;
        Ok(ClaimKey {
            campaign: CampaignCode::of(&campaign.parse()?),
            lead: headroom::core::ids::LeadRef::of(&lead.parse()?),
            claim: 1,
        })
    }

    /// Takes the line of a claim and claims its lead, as a dial does before it asks Vapi.
    pub async fn dialing(&self, claim: &ClaimKey) -> anyhow::Result<Lease> {
        let now = self.clock.now();
        self.table().open_campaign(&claim.campaign, (0, 0), &[]).await?;
        let token = Token::new(Kind::Outbound, now, claim.claim);
        let lease = Lease { key: LineKey::Claim(claim.clone()), token };
        let pool = self.table().read_pool().await?;
        let taken =
            self.table().take(&pool, &claim.campaign, None, std::slice::from_ref(&lease), now).await?;
        anyhow::ensure!(matches!(taken, Taken::Granted(_)), "the line was refused");
        let deadline = now + self.app.timers.dial_deadline();
        let claimed = self.table().claim(claim, &lease.token, deadline).await?;
        anyhow::ensure!(matches!(claimed, Step::Moved(_)), "the lead was refused");
        Ok(lease)
    }

    /// A lead whose call is `call`.
    pub async fn live(&self, claim: &ClaimKey, call: &CallId) -> anyhow::Result<Lease> {
        let lease = self.dialing(claim).await?;
        let bound = self.table().bind(claim, call, None).await?;
        anyhow::ensure!(matches!(bound, Step::Moved(_)), "the call was refused");
        Ok(lease)
    }

    /// Records a call that Headroom did not start, as one of `agent`'s if that is given.
    pub async fn observed(&self, call: &str, kind: Kind, agent: Option<&str>) -> anyhow::Result<Observed> {
        let pool = self.table().read_pool().await?;
        let agent = agent.map(NameCode::of);
        let now = self.clock.now();
        Ok(self.table().take_observed(&pool, &call.parse()?, kind, agent.as_slice(), now).await?)
    }

    /// The pool and the lead of a claim, as they are now.
    pub async fn state(&self, claim: &ClaimKey) -> anyhow::Result<(Pool, Option<Lead>)> {
        let pool = self.table().read_pool().await?;
        Ok((pool, self.table().read_lead(&claim.campaign, &claim.lead).await?))
    }
}

/// Where every clock starts: some time after the recorded calls.
pub fn start() -> Timestamp {
    Timestamp::from_second(1_774_540_000).expect("a second of 2026 is an instant")
}

/// A policy that is known to be good.
pub fn policy(limit: u32, cap: u32, headroom: u32) -> Policy {
    Policy::new(limit, cap, headroom).expect("tests give a limit above 0")
}

/// An attribute as JSON, numbers as text.
fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::M(map) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        AttributeValue::S(text) | AttributeValue::N(text) => json!(text),
        other => json!(format!("{other:?}")),
    }
}

/// The size of a value by DynamoDB's rules: text as it is, two digits of a number to a byte and one more, three
/// bytes for a map and one for each of its entries.
fn bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + bytes(value)).sum::<usize>()
        }
        _ => 1,
    }
}
