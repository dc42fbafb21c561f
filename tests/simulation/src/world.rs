//! One history: everything around the processes, from the first message to the moment at which all is
//! accounted for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use headroom::core::ids::{CampaignCode, LeadRef};
use headroom::core::pool::Policy;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use vapi_sim::{CallTruth, Config, Faults as VapiFaults, Sim, Traffic, Webhook, WebhookAuth};

use crate::clock::TrueClock;
use crate::dynamo::{Answer, Dynamo, Request};
use crate::faults::{Faults, Point, Script};
use crate::functions::{Functions, SECRET};
use crate::plan::{Campaign, Change, LATE, Plan};
use crate::promises::{Moment, Promises, Said, Violation};
use crate::queues::{Queue, Queues};
use crate::scripted::Scripted;
use crate::trace::Trace;
use crate::weaken::Part;

/// The table's name.
pub const TABLE: &str = "headroom";

/// How many batches of a queue are dealt with at once, as in the template.
const AT_ONCE: usize = 2;
/// Between two passes.
const MINUTE: Duration = Duration::from_secs(60);
/// How long after the last fault everything has to be over at the latest: dead letters redriven six
/// minutes apart, retries, calls that last to their limit, lines that wait for the ceiling.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// The world of one history.
pub struct World {
    /// What it is made of.
    pub plan: Plan,
    /// The true time.
    pub clock: TrueClock,
    /// The queues.
    pub queues: Queues,
    /// The functions' instances.
    pub functions: Functions,
    dynamo: Mutex<Dynamo>,
    faults: Mutex<Faults>,
    trace: Mutex<Trace>,
    promises: Mutex<Promises>,
    policy: Mutex<Policy>,
    deployment: AtomicU32,
    vapi: OnceLock<Sim>,
    scripted: OnceLock<Arc<Scripted>>,
    names: Vec<(String, String)>,
    broken: watch::Sender<Option<Violation>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.plan.seed).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What a task of this thread's history panicked with.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

/// A task that panics ends silently: from here on it leaves word.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.set(Some(info.to_string()));
            before(info);
        }));
    });
    PANIC.take();
}

/// What became of a history.
#[derive(Debug)]
pub struct History {
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Its events, if they were kept.
    pub trace: Vec<String>,
    /// What tells it from another history.
    pub digest: u64,
    /// Calls of processes.
    pub calls: u64,
    /// Faults that struck them.
    pub faults: u64,
    /// Checks of promises.
    pub checks: u64,
    /// How long it lasted.
    pub seconds: f64,
    /// Seconds of simulated phone calls.
    pub call_seconds: f64,
    /// Its calls in order, where a script asked for exact faults.
    pub points: Vec<Point>,
    /// The parts of its writes' conditions, if they were collected.
    pub parts: BTreeSet<Part>,
    /// When its claims, dials and lines moved, if that was kept.
    pub moments: Vec<Moment>,
    /// The simulated Vapi's calls, if the moments were kept.
    pub phone_calls: Vec<CallTruth>,
}

/// How a history is looked at, and what is taken out of it.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Whether the trace is kept.
    pub keep_trace: bool,
    /// A part of a condition that the engine does not see.
    pub without: Option<Part>,
    /// Whether the parts of all conditions are collected.
    pub keep_parts: bool,
    /// Whether it is kept when claims, dials and lines moved.
    pub keep_moments: bool,
}

/// Runs a history in this thread.
pub fn run(plan: Plan, script: Script, setup: Setup) -> History {
    catch_panics();
    // The SDK's jitter and the tokens draw from here.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread without sockets asks the machine for nothing");
    runtime.block_on(async move {
        let world = World::new(plan, script, setup);
        let violation = world.clone().unfold().await;
        world.retire();
        let panicked = PANIC.take().map(|text| Violation { promise: "no panic", text });
        world.history(panicked.or(violation))
    })
}

impl World {
    fn new(plan: Plan, script: Script, setup: Setup) -> Arc<Self> {
        let clock = TrueClock::start();
        let code = |campaign: &Campaign| {
            CampaignCode::of(&campaign.id.parse().expect("plans give good ids")).as_str().to_owned()
        };
        let mut names = Vec::new();
        for campaign in &plan.campaigns {
            for (lead, _) in &campaign.leads {
                let reference = LeadRef::of(&lead.parse().expect("plans give good ids"));
                names.push((
                    format!("{}{}", code(campaign), reference.as_str()),
                    format!("{}/{lead}/", campaign.id),
                ));
                names.push((reference.as_str().to_owned(), lead.clone()));
            }
            names.push((code(campaign), campaign.id.clone()));
        }
        let asked = plan.campaigns.iter().map(|campaign| (code(campaign), campaign.clone()));
        let world = Arc::new(Self {
            clock,
            queues: Queues::new(),
            functions: Functions::default(),
            dynamo: Mutex::new(Dynamo::new(clock, setup.without, setup.keep_parts)),
            faults: Mutex::new(Faults::new(script, plan.rates.clone(), plan.seed)),
            trace: Mutex::new(Trace::new(setup.keep_trace)),
            promises: Mutex::new(Promises::about(asked.collect::<BTreeMap<_, _>>(), setup.keep_moments)),
            policy: Mutex::new(plan.policy),
            deployment: AtomicU32::new(0),
            vapi: OnceLock::new(),
            scripted: OnceLock::new(),
            names,
            broken: watch::Sender::new(None),
            plan,
        });
        let config = Config {
            seed: world.plan.seed,
            speed: 1.0,
            lines: world.plan.lines,
            webhook: Some(Webhook {
                url: "http://headroom.invalid/vapi".into(),
                auth: WebhookAuth::Hmac(SECRET.into()),
            }),
            telephony: world.plan.telephony.clone(),
            traffic: world.plan.traffic.clone(),
            faults: world.plan.vapi.clone(),
            ..Config::default()
        };
        let receiver = Arc::downgrade(&world);
        let vapi = Sim::in_process(
            config,
            clock.now(),
            Arc::new(move |request| {
                let receiver = receiver.clone();
                Box::pin(async move {
                    let world = receiver.upgrade()?;
                    // In a task of its own: who sent it may give up, and the function goes on.
                    tokio::spawn(async move { world.webhook(request).await }).await.ok()?
                })
            }),
        );
        assert!(world.vapi.set(vapi).is_ok(), "a world has one Vapi");
        world
    }

    /// A world in which nothing happens by itself, and in which Vapi says what `scripted` says.
    pub(crate) fn still(plan: Plan, scripted: Arc<Scripted>) -> Arc<Self> {
        let world = Self::new(plan, Script::Exactly(Vec::new()), Setup::default());
        assert!(world.scripted.set(scripted).is_ok(), "a world has one Vapi");
        world.create_table();
        world
    }

    /// What Vapi answers. Nothing if the connection breaks.
    pub(crate) async fn ask_vapi(&self, request: http::Request<Vec<u8>>) -> Option<http::Response<Vec<u8>>> {
        match self.scripted.get() {
            Some(scripted) => scripted.answer(&request).await,
            None => self.vapi().ask(request).await,
        }
    }

    /// Every item of the table.
    pub(crate) fn items(&self) -> Vec<Value> {
        lock(&self.dynamo).items(TABLE)
    }

    /// The promise that was broken first, if one was.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.broken.borrow().clone()
    }

    /// The simulated Vapi.
    pub fn vapi(&self) -> &Sim {
        self.vapi.get().expect("it is there from the beginning")
    }

    /// The decisions about faults.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// The policy that new processes are configured with.
    pub fn policy(&self) -> Policy {
        *lock(&self.policy)
    }

    /// Which deployment is the present one.
    pub fn deployment(&self) -> u32 {
        self.deployment.load(Ordering::Relaxed)
    }

    /// Adds an event to the trace.
    pub fn note(&self, mark: impl std::hash::Hash, text: impl FnOnce() -> String) {
        lock(&self.trace).add(self.clock.seconds(), mark, text);
    }

    fn violated(&self, violation: Violation) {
        self.note("violated", || format!("BROKEN {violation}"));
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            broken.get_or_insert(violation);
            first
        });
    }

    /// What a request to DynamoDB is about.
    pub fn about(&self, request: &Request) -> String {
        let json = &request.json;
        let at =
            |key: &Value| key["sk"]["S"].as_str().unwrap_or_default().trim_start_matches("L#").to_owned();
        let names = json["ExpressionAttributeNames"].as_object();
        let keys = names.into_iter().flatten().filter(|(name, _)| name.starts_with("#k"));
        let mut keys: Vec<_> = keys.filter_map(|(_, key)| key.as_str()).collect();
        keys.sort_unstable();
        let mut about = if keys.is_empty() { at(&json["Key"]) + &at(&json["Item"]) } else { keys.join(" ") };
        if about.starts_with("LEDGER") || about == "CALL" {
            about = json["Key"]["pk"]["S"]
                .as_str()
                .or(json["Item"]["pk"]["S"].as_str())
                .unwrap_or_default()
                .to_owned();
        }
        about
    }

    /// Carries a request out, and checks the promises if it has written anything.
    pub fn carry_out(&self, request: &Request, name: &'static str) -> Answer {
        let stale = self.plan.stale > 0.0 && self.faults().chance().f64() < self.plan.stale;
        let mut dynamo = lock(&self.dynamo);
        let answer = dynamo.carry_out(name, request, stale);
        let refused =
            answer.body.contains("ConditionalCheckFailed") || answer.body.contains("TransactionCanceled");
        if answer.status != 200 && !refused {
            let text = format!("the engine refused {name}: {} {}", answer.body, request.text);
            self.violated(Violation { promise: "a request that DynamoDB takes", text });
        }
        if answer.status == 200 {
            for key in written_keys(request) {
                let (pk, sk) = (key["pk"]["S"].as_str(), key["sk"]["S"].as_str());
                let (Some(pk), Some(sk), Some(item)) = (pk, sk, dynamo.item(TABLE, &key)) else { continue };
                let checked = lock(&self.promises).written(pk, sk, &item, self.vapi(), self.clock.now());
                if let Err(violation) = checked {
                    self.violated(violation);
                }
            }
        }
        answer
    }

    /// A dial arrives at Vapi.
    pub fn check_dial(&self, body: &[u8]) {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (key, number) = (text(&json["name"]), text(&json["customer"]["number"]));
        if let Err(violation) = lock(&self.promises).dialed(&key, &number, self.vapi()) {
            self.violated(violation);
        }
    }

    /// A server message was answered with 200.
    pub fn check_answered(&self, message: &Said) {
        // A write that the network delivers twice or late may come after any answer: the pass undoes it.
        let rates = &self.plan.rates;
        let on_time = rates.doubled == 0.0 && rates.delayed == 0.0;
        if let Err(violation) = lock(&self.promises).answered(message, on_time) {
            self.violated(violation);
        }
    }

    /// The whole history. The first broken promise ends it.
    async fn unfold(self: Arc<Self>) -> Option<Violation> {
        self.create_table();
        for queue in 0..2 {
            for place in 0..AT_ONCE {
                tokio::spawn(self.clone().poll(queue, place as u64));
            }
        }
        tokio::spawn(self.clone().schedule());
        if self.plan.backfill {
            self.fill_before();
            tokio::spawn(self.clone().backfills());
        }
        for (after, change) in self.plan.changes.clone() {
            let world = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                world.change(change);
            });
        }
        let mut broken = self.broken.subscribe();
        tokio::select! {
            biased;
            broken = broken.wait_for(Option::is_some) => broken.expect("the sender is in self").clone(),
            over = self.until_over() => over.err(),
        }
    }

    fn create_table(&self) {
        let key = |name: &str, role: &str| json!({ "AttributeName": name, "KeyType": role });
        let attribute = |name: &str, of: &str| json!({ "AttributeName": name, "AttributeType": of });
        let text = json!({
            "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk", "S"), attribute("sk", "S"), attribute("q", "S"), attribute("due", "N")],
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "ready", "KeySchema": [key("q", "HASH"), key("due", "RANGE")],
                "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["claims", "tz"] },
            }],
        });
        let request = Request { operation: "CreateTable".into(), text: text.to_string(), json: text };
        let answer = lock(&self.dynamo).carry_out("create", &request, false);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Usage is filled up to a few hours ago.
    fn fill_before(&self) {
        let upto = self.clock.now() - jiff::SignedDuration::from_hours(2);
        let text = json!({ "TableName": TABLE, "Item": {
            "pk": { "S": "USAGE#main" }, "sk": { "S": "CHECKPOINT" }, "upto": { "N": upto.as_millisecond().to_string() },
        }});
        let request = Request { operation: "PutItem".into(), text: text.to_string(), json: text };
        let answer = lock(&self.dynamo).carry_out("write_checkpoint", &request, false);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn queue(&self, which: usize) -> &Queue {
        if which == 0 { &self.queues.campaigns } else { &self.queues.wake }
    }

    /// Deals with the batches of a queue, one after the other.
    async fn poll(self: Arc<Self>, queue: usize, place: u64) {
        let mut chance = fastrand::Rng::with_seed(self.plan.seed ^ (queue as u64) << 8 ^ place << 16);
        loop {
            let repeats = if self.is_calm() { 0.0 } else { self.plan.repeats };
            let batch = self.queue(queue).receive(&mut chance, repeats).await;
            let done = self.dispatch(&batch).await;
            for id in done {
                self.queue(queue).delete(id);
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.clock.seconds() >= self.plan.chaos.as_secs_f64()
    }

    /// Starts a pass every minute, as the schedule does, whatever the one before is doing.
    async fn schedule(self: Arc<Self>) {
        let mut chance = fastrand::Rng::with_seed(self.plan.seed ^ 0x5eed);
        loop {
            tokio::time::sleep(MINUTE).await;
            let (forgets, doubles) = if self.is_calm() { (0.0, 0.0) } else { self.plan.schedule };
            if chance.f64() < forgets {
                continue;
            }
            for _ in 0..1 + u8::from(chance.f64() < doubles) {
                let world = self.clone();
                tokio::spawn(async move { world.reconcile().await });
            }
        }
    }

    async fn backfills(self: Arc<Self>) {
        loop {
            let world = self.clone();
            tokio::spawn(async move { world.backfill().await });
            tokio::time::sleep(MINUTE * 60).await;
        }
    }

    fn change(self: &Arc<Self>, change: Change) {
        match change {
            Change::Send(body) => {
                self.note("message", || format!("a campaign message of {} bytes", body.len()));
                self.queues.campaigns.send(body, Duration::ZERO);
            }
            Change::Deploy(policy) => {
                self.note("deployed", || format!("deployment: limit/cap/headroom {policy}"));
                *lock(&self.policy) = policy;
                self.deployment.fetch_add(1, Ordering::Relaxed);
            }
            Change::Lines(lines) => {
                self.note("lines", || format!("Vapi has {lines} lines from now on"));
                self.vapi().set_lines(lines);
            }
            Change::ForeignDial => {
                let body = json!({ "assistantId": "as", "phoneNumberId": "ph", "customer": { "number": "+19995550100" } });
                let world = self.clone();
                tokio::spawn(async move {
                    world.note("foreign", || "somebody dials from the dashboard".into());
                    let request = http::Request::post("/call")
                        .header("authorization", "Bearer sim-private-key")
                        .header("content-type", "application/json")
                        .body(body.to_string().into_bytes())
                        .expect("a constant request is one");
                    world.vapi().ask(request).await
                });
            }
        }
    }

    /// Waits for the faults to end and for everything to be over; then checks that it is, and stays so.
    async fn until_over(self: &Arc<Self>) -> Result<(), Violation> {
        tokio::time::sleep(self.plan.chaos).await;
        self.note("calm", || "from now on nothing goes wrong any more".into());
        self.faults().calm();
        self.vapi().set_faults(VapiFaults::default());
        // An operator may leave outbound no line at all, and callers may take every one: so that each
        // lead must come to its end from here on, both are mended.
        let lines = self.plan.lines.max(2);
        self.vapi().set_lines(lines);
        self.change(Change::Deploy(Policy::new(lines, 99, 0).expect("two lines are a pool")));
        let quiet = Traffic { inbound_per_hour: 0.0, web_per_hour: 0.0, ..self.plan.traffic.clone() };
        self.vapi().set_traffic(quiet);
        let latest = Instant::now() + PATIENCE;
        while !self.is_over() {
            if Instant::now() > latest {
                let promises = lock(&self.promises);
                let left = (
                    &promises.leads,
                    &promises.campaigns,
                    promises.ledger.as_ref().map(|ledger| &ledger.lines),
                );
                let text = format!("not over {PATIENCE:?} after the last fault: {left:?}");
                return Err(Violation { promise: "P4", text });
            }
            self.redrive()?;
            tokio::time::sleep(MINUTE / 2).await;
        }
        self.note("over", || "every lead has its outcome".into());
        while self.vapi().live().total() > 0 {
            tokio::time::sleep(MINUTE / 2).await;
        }
        tokio::time::sleep(self.plan.aftermath).await;
        lock(&self.promises).at_end(self.vapi())
    }

    fn is_over(&self) -> bool {
        let promises = lock(&self.promises);
        let leads: usize = self.plan.campaigns.iter().map(|campaign| campaign.leads.len()).sum();
        promises.leads.len() == leads
            && promises.leads.values().all(|lead| lead.is_over())
            && promises.campaigns.values().all(|campaign| campaign.state == "finished")
    }

    /// What an operator does when all is well again: looks after dead letters and paused campaigns.
    fn redrive(&self) -> Result<(), Violation> {
        for body in self.queues.campaigns.take_dead() {
            if serde_json::from_str::<Value>(&body).is_ok_and(|message| message["leads"].is_array()) {
                let late = body.contains(LATE);
                if late {
                    let text = "a good message became a dead letter although nothing went wrong".into();
                    return Err(Violation { promise: "P4", text });
                }
                self.note("redriven", || "a dead letter goes back into the queue".into());
                self.queues.campaigns.send(body, Duration::ZERO);
            }
        }
        let paused = {
            let promises = lock(&self.promises);
            self.plan
                .campaigns
                .iter()
                .filter(|campaign| {
                    let code = CampaignCode::of(&campaign.id.parse().expect("plans give good ids"));
                    promises.campaigns.get(code.as_str()).is_some_and(|seen| seen.state == "paused")
                })
                .map(|campaign| campaign.id.clone())
                .collect::<Vec<_>>()
        };
        for id in paused {
            self.note("resumed", || format!("{id} is resumed"));
            self.queues.campaigns.send(json!({ "resume": id }).to_string(), Duration::ZERO);
        }
        Ok(())
    }

    fn history(&self, violation: Option<Violation>) -> History {
        let named = |line: String| {
            self.names.iter().fold(line, |line, (hash, name)| line.replace(hash.as_str(), name))
        };
        let now = self.clock.now().as_millisecond() as f64;
        let calls = self.vapi().calls(|call| call.held_line);
        let call_ms: f64 =
            calls.iter().map(|call| call.ended_at_ms.unwrap_or(now) - call.created_at_ms).sum();
        let mut trace = lock(&self.trace);
        let mut faults = self.faults();
        let mut promises = lock(&self.promises);
        let moments = promises.take_moments();
        let phone_calls = if moments.is_empty() { Vec::new() } else { calls };
        History {
            violation,
            trace: trace.take_lines().into_iter().map(named).collect(),
            digest: trace.digest(),
            calls: faults.calls(),
            faults: faults.struck(),
            checks: promises.checks(),
            seconds: self.clock.seconds(),
            call_seconds: call_ms / 1e3,
            points: faults.take_points(),
            parts: lock(&self.dynamo).take_parts(),
            moments,
            phone_calls,
        }
    }
}

/// The keys of the items that a request may have written.
fn written_keys(request: &Request) -> Vec<Value> {
    let json = &request.json;
    let of_item = |item: &Value| json!({ "pk": item["pk"], "sk": item["sk"] });
    match request.operation.as_str() {
        "UpdateItem" => vec![json["Key"].clone()],
        "PutItem" => vec![of_item(&json["Item"])],
        "TransactWriteItems" => {
            let items = json["TransactItems"].as_array().into_iter().flatten();
            items
                .map(|item| {
                    if item["Put"].is_object() {
                        of_item(&item["Put"]["Item"])
                    } else {
                        item["Update"]["Key"].clone()
                    }
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What a request to Vapi is about.
pub fn about_vapi(request: &http::Request<Vec<u8>>) -> String {
    let json: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    json["name"]
        .as_str()
        .map_or_else(|| request.uri().path().trim_start_matches("/call").to_owned(), str::to_owned)
}
