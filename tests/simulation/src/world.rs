//! Everything around the processes of one history: the engine, the queues, Vapi, the decisions about
//! faults, the promises, the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use headroom::core::ids::{CampaignCode, LeadRef};
use headroom::core::pool::Policy;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::watch;
use vapi_sim::{CallTruth, Config, Org, Sim, Webhook, WebhookAuth};

use crate::calls::{self, Call};
use crate::clock::TrueClock;
use crate::dynamo::{Answer, Dynamo, Request};
use crate::events::Events;
use crate::faults::{Faults, Script};
use crate::functions::{Functions, SECRET};
use crate::history::{History, Setup};
use crate::items::Said;
use crate::life::Lives;
use crate::meter::Meter;
use crate::others::Others;
use crate::plan::{Campaign, Plan, SIBLING, SIBLING_ID, SIBLING_KEY};
use crate::process::Function;
use crate::promises::{Promises, Violation};
use crate::queues::Queues;
use crate::scripted::Scripted;
use crate::trace::Trace;
use crate::wishes::Wishes;

/// The table's name.
pub const TABLE: &str = "headroom";

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
    pub(crate) promises: Mutex<Promises>,
    pub(crate) policy: Mutex<Policy>,
    pub(crate) deployment: AtomicU32,
    vapi: OnceLock<Sim>,
    scripted: OnceLock<Arc<Scripted>>,
    called: Mutex<BTreeSet<String>>,
    pub(crate) meter: Mutex<Meter>,
    unlisted: Option<&'static str>,
    names: Vec<(String, String)>,
    pub(crate) broken: watch::Sender<Option<Violation>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.plan.seed).finish_non_exhaustive()
    }
}

/// The value, whoever panicked with it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: Plan, script: Script, setup: Setup) -> Arc<Self> {
        let clock = TrueClock::start(plan.hours.begin());
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
            faults: Mutex::new(Faults::new(script, plan.rates.clone(), plan.outages.clone(), plan.seed)),
            trace: Mutex::new(Trace::new(setup.keep_trace)),
            promises: Mutex::new(Promises::about(
                asked.collect::<BTreeMap<_, _>>(),
                Others::of(&plan),
                plan.hours.clone(),
                Wishes::new(plan.often.counts()),
                Lives::of(&plan, |id| {
                    CampaignCode::of(&id.parse().expect("plans give good ids")).as_str().to_owned()
                }),
                setup.keep_moments,
            )),
            policy: Mutex::new(plan.policy),
            deployment: AtomicU32::new(0),
            vapi: OnceLock::new(),
            scripted: OnceLock::new(),
            called: Mutex::default(),
            meter: Mutex::new(Meter::new(setup.keep_used)),
            unlisted: setup.unlisted,
            names,
            broken: watch::Sender::new(None),
            plan,
        });
        lock(&world.promises).turns.shows = world.plan.shows_turns();
        lock(&world.promises).know_bounds(&world.plan);
        lock(&world.promises).events = Events::new(world.plan.events);
        let webhook =
            Webhook { url: "http://headroom.invalid/vapi".into(), auth: WebhookAuth::Hmac(SECRET.into()) };
        let sibling = world.plan.sibling.as_ref().map(|sibling| Org {
            org_id: SIBLING_ID.into(),
            api_key: SIBLING_KEY.into(),
            webhook: sibling.sight.has_webhooks().then(|| webhook.clone()),
            traffic: sibling.traffic.clone(),
            account: vapi_sim::Account::default(),
        });
        let config = Config {
            seed: world.plan.seed,
            speed: 1.0,
            lines: world.plan.lines,
            webhook: Some(webhook),
            telephony: world.plan.telephony.clone(),
            traffic: world.plan.traffic.clone(),
            faults: world.plan.vapi.clone(),
            counter: world.plan.counter.clone(),
            orgs: sibling.into_iter().collect(),
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

    /// A promise was broken. The first one ends the history.
    pub(crate) fn violated(&self, violation: Violation) {
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
        if about == "PERSON" {
            // Its key is the number.
            return "a person".into();
        }
        if about.starts_with("LEDGER") || about == "CALL" {
            about = json["Key"]["pk"]["S"]
                .as_str()
                .or(json["Item"]["pk"]["S"].as_str())
                .unwrap_or_default()
                .to_owned();
        }
        about
    }

    /// A function asks AWS for this: its role has to allow it.
    pub(crate) fn called(&self, function: Function, call: &Call) {
        let line = call.by(function.name());
        if !calls::listed().contains(&line) || self.unlisted == Some(line.as_str()) {
            let text = format!("{line} is not in infra/calls.txt");
            self.violated(Violation { promise: "no call that the role does not allow", text });
        }
        lock(&self.called).insert(line);
    }

    /// A process's request is about to be carried out.
    pub(crate) fn asked_by(&self, process: u32, name: &str) {
        lock(&self.promises).turns.asked_by(process, name, self.clock.now());
    }

    /// Carries a request out, and checks the promises if it has written anything.
    pub fn carry_out(&self, request: &Request, name: &'static str) -> Answer {
        let stale = self.plan.stale > 0.0 && self.faults().chance().f64() < self.plan.stale;
        let mut dynamo = lock(&self.dynamo);
        let answer = dynamo.carry_out(name, request, stale);
        let refused =
            answer.body.contains("ConditionalCheckFailed") || answer.body.contains("TransactionCanceled");
        if refused {
            lock(&self.promises).turns.refused(name, self.clock.now());
        }
        if answer.status != 200 && !refused {
            let text = format!("the engine refused {name}: {} {}", answer.body, request.text);
            self.violated(Violation { promise: "a request that DynamoDB takes", text });
        }
        if answer.status == 200 {
            let keys = written_keys(request);
            for key in &keys {
                let (pk, sk) = (key["pk"]["S"].as_str(), key["sk"]["S"].as_str());
                let (Some(pk), Some(sk)) = (pk, sk) else { continue };
                let mut promises = lock(&self.promises);
                let checked = match dynamo.item(TABLE, key) {
                    Some(item) => promises.written(name, (pk, sk), &item, self.vapi(), self.clock.now()),
                    None => promises.deleted(sk),
                };
                if let Err(violation) = checked {
                    self.violated(violation);
                }
            }
            // Items that are written together say something together.
            if let Err(violation) = lock(&self.promises).sums_up(name) {
                self.violated(violation);
            }
        }
        answer
    }

    /// A dial arrives at Vapi.
    pub fn check_dial(&self, request: &http::Request<Vec<u8>>) {
        let json: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (key, number) = (text(&json["name"]), text(&json["customer"]["number"]));
        let is_siblings = request
            .headers()
            .get(http::header::AUTHORIZATION)
            .is_some_and(|bearer| bearer.to_str().is_ok_and(|bearer| bearer.ends_with(SIBLING_KEY)));
        let org = is_siblings.then_some(SIBLING);
        let skew = SignedDuration::try_from(self.plan.skew).expect("seconds fit");
        let clocks = (self.clock.now(), skew);
        if let Err(violation) = lock(&self.promises).dialed(&key, &number, org, self.vapi(), clocks) {
            self.violated(violation);
        }
    }

    /// A server message was answered with 200.
    pub fn check_answered(&self, message: &Said) {
        // A write that the network delivers twice or late may come after any answer: the pass undoes it.
        let rates = &self.plan.rates;
        // And a scripted Vapi may say of a call whose end it told that it goes on.
        let on_time = rates.doubled == 0.0 && rates.delayed == 0.0 && self.scripted.get().is_none();
        if let Err(violation) = lock(&self.promises).answered(message, on_time) {
            self.violated(violation);
        }
    }

    /// A pass went through that began when `known` were up.
    pub(crate) fn check_passed(&self, known: &[CallTruth]) {
        let adopts = self.plan.adopt_limit;
        if let Err(violation) = lock(&self.promises).passed(adopts, known, self.vapi()) {
            self.violated(violation);
        }
    }

    /// Whether the sibling's calls cannot be listed now.
    pub(crate) fn is_unlisted(&self) -> bool {
        let sibling = self.plan.sibling.as_ref();
        sibling.is_some_and(|sibling| sibling.unlisted.contains(&self.clock.elapsed()))
    }

    /// Whether a message is a stranger's, and comes before anybody can tell: until the first list or answer says
    /// whose the key is, whoever signs is taken for one of the pool's.
    pub(crate) fn is_untold(&self, message: &Said) -> bool {
        let is_strange = self.plan.sibling.as_ref().is_some_and(|sibling| !sibling.sight.is_known());
        let org = lock(&self.promises).ledger.get("LEDGER#0").and_then(|ledger| ledger.org.clone());
        is_strange && message.org == SIBLING_ID && org.is_none()
    }

    /// The table as the template declares it.
    pub(crate) fn create_table(&self) {
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
    pub(crate) fn fill_before(&self) {
        let upto = self.clock.now() - jiff::SignedDuration::from_hours(2);
        let text = json!({ "TableName": TABLE, "Item": {
            "pk": { "S": "USAGE#main" }, "sk": { "S": "CHECKPOINT" }, "upto": { "N": upto.as_millisecond().to_string() },
        }});
        let request = Request { operation: "PutItem".into(), text: text.to_string(), json: text };
        let answer = lock(&self.dynamo).carry_out("write_checkpoint", &request, false);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// What became of it.
    pub(crate) fn history(&self, violation: Option<Violation>) -> History {
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
            called: std::mem::take(&mut *lock(&self.called)),
            used: std::mem::take(&mut lock(&self.meter).used),
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
                    } else if item["Delete"].is_object() {
                        item["Delete"]["Key"].clone()
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
