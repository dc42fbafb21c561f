//! How a history unfolds: who is started when, what changes on the way, when nothing goes wrong any more,
//! and when all is over. And what is left of it afterwards.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use headroom::core::ids::CampaignCode;
use headroom::core::life::Wish;
use headroom::core::pool::Policy;
use headroom::core::reserve::Reserve;
use headroom::flows::operate::Asked;
use serde_json::{Value, json};
use tokio::time::Instant;
use vapi_sim::{CallSeen, CallTruth, Counter, Faults as VapiFaults, Traffic};

use crate::faults::{Point, Script};
use crate::life::{Ask, is_over};
use crate::meter::Used;
use crate::plan::{AGENTS, Change, LATE, Plan, SIBLING_ID, agent};
use crate::process::Function;
use crate::promises::{Moment, Violation};
use crate::queues::Queue;
use crate::weaken::Part;
use crate::world::{World, lock};

/// How long a pass waits for the list of calls, as the functions are configured.
const PATIENCE_MS: f64 = 10_000.0;

/// How many batches of a queue are dealt with at once, as in the template.
const AT_ONCE: usize = 2;
/// Between two passes.
const MINUTE: Duration = Duration::from_secs(60);
/// How long after the last fault everything has to be over at the latest: dead letters redriven six
/// minutes apart, retries, calls that last to their limit, lines that wait for the ceiling.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

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
    /// What its functions asked of AWS, in the words of [`calls`](crate::calls).
    pub called: BTreeSet<String>,
    /// What each function used of AWS, if it was kept.
    pub used: BTreeMap<Function, Used>,
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
    /// A line of infra/calls.txt that counts as not being there.
    pub unlisted: Option<&'static str>,
    /// Whether it is kept when claims, dials and lines moved.
    pub keep_moments: bool,
    /// Whether it is kept what the functions use of AWS.
    pub keep_used: bool,
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
                tokio::spawn(async move {
                    let up = |call: &CallSeen<'_>| call.is_live && call.held_line;
                    // A list that takes longer than a pass waits for is none.
                    let is_told = world.is_calm() && world.plan.telephony.api_latency_ms.1 < PATIENCE_MS;
                    let known = if is_told { world.vapi().calls(up) } else { Vec::new() };
                    if world.reconcile().await {
                        world.check_passed(&known);
                    }
                });
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
            Change::Operate(asked) => {
                self.note("operated", || format!("an operator asks for {asked:?}"));
                let world = self.clone();
                tokio::spawn(async move { world.operate(asked).await });
            }
            Change::Ask(id, ask) => {
                self.note("asked", || format!("somebody asks of {id}: {ask:?}"));
                let world = self.clone();
                tokio::spawn(async move { world.ask(id, ask).await });
            }
            Change::Lines(lines) => {
                self.note("lines", || format!("Vapi has {lines} lines from now on"));
                self.vapi().set_lines(lines);
            }
            Change::Refuse(number) => {
                let world = self.clone();
                tokio::spawn(async move { world.refuse(&number).await });
            }
            Change::CallBack(wish) => {
                tokio::spawn(self.clone().call_back(wish));
            }
            Change::Trouble(trouble) => {
                self.note("trouble", || format!("from now on: {trouble:?}"));
                self.vapi().set_faults(trouble.faults(&self.plan.vapi));
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

    /// A person says no to the assistant, which calls its tool until it is told that this was noted.
    async fn refuse(self: &Arc<Self>, number: &str) {
        self.note("refuses", || "a person does not want to be called any more".into());
        let body = json!({ "message": {
            "type": "tool-calls", "call": { "id": "said-no" }, "customer": { "number": number },
            "toolCallList": [{ "id": "use-1", "function": { "name": "do_not_call", "arguments": {} } }],
        } });
        loop {
            let request = http::Request::post("/vapi")
                .header("x-vapi-secret", crate::functions::SECRET)
                .body(body.to_string().into_bytes())
                .expect("a constant request is one");
            let answer = self.webhook(request).await;
            if answer.is_some_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
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
        self.vapi().set_counter(Counter::default());
        let quiet = |traffic: &Traffic| Traffic {
            inbound_per_hour: 0.0,
            web_per_hour: 0.0,
            dials_per_hour: 0.0,
            ..traffic.clone()
        };
        self.vapi().set_traffic(quiet(&self.plan.traffic));
        if let Some(sibling) = &self.plan.sibling {
            self.vapi().set_org_traffic(SIBLING_ID, quiet(&sibling.traffic));
        }
        for _ in 0..self.plan.life.reruns {
            self.until_all_over(lines).await?;
            self.rerun_all().await;
        }
        // A rerun that somebody asked for in time may be carried out as late as now.
        loop {
            self.until_all_over(lines).await?;
            self.note("over", || "every lead has its outcome".into());
            while self.vapi().live().total() > 0 {
                tokio::time::sleep(MINUTE / 2).await;
            }
            tokio::time::sleep(self.plan.aftermath).await;
            if self.is_over() {
                break;
            }
        }
        self.until_well().await?;
        self.until_counted().await?;
        lock(&self.promises).at_end(self.vapi(), self.clock.now())
    }

    /// Waits until every lead has its outcome, and every campaign with it.
    async fn until_all_over(self: &Arc<Self>, lines: u32) -> Result<(), Violation> {
        let latest = Instant::now() + PATIENCE;
        while !self.is_over() {
            if Instant::now() > latest {
                let promises = lock(&self.promises);
                let left = (
                    &promises.leads,
                    &promises.campaigns,
                    promises.ledger.values().map(|item| &item.lines).collect::<Vec<_>>(),
                );
                let text = format!("not over {PATIENCE:?} after the last fault: {left:?}");
                return Err(Violation { promise: "P4", text });
            }
            self.redrive()?;
            self.start_drafts().await;
            self.mend(lines).await;
            tokio::time::sleep(MINUTE / 2).await;
        }
        Ok(())
    }

    /// Gives outbound the lines that an operator may have taken from it, by a wish that came as late as this.
    async fn mend(self: &Arc<Self>, lines: u32) {
        let numbers = Asked { limit: Some(lines), cap: Some(99), headroom: Some(0), ..Asked::default() };
        let none = |name| Asked { reserve: Some((agent(name), Reserve::default())), ..Asked::default() };
        for asked in [numbers].into_iter().chain(AGENTS.map(none)) {
            self.operate(asked).await;
        }
    }

    /// Starts what is still a draft.
    async fn start_drafts(self: &Arc<Self>) {
        for id in &self.plan.life.drafts {
            if self.state_of(id).as_deref() == Some("draft") {
                self.ask(id.clone(), Ask::Wish(Wish::Start)).await;
            }
        }
    }

    /// Those who were not reached are called once more.
    async fn rerun_all(self: &Arc<Self>) {
        for campaign in &self.plan.campaigns {
            self.note("rerun", || format!("{} is rerun", campaign.id));
            let only = self.plan.life.only.clone();
            self.ask(campaign.id.clone(), Ask::Wish(Wish::Rerun { only })).await;
        }
    }

    fn state_of(&self, id: &str) -> Option<String> {
        let code = CampaignCode::of(&id.parse().expect("plans give good ids"));
        lock(&self.promises).campaigns.get(code.as_str()).map(|seen| seen.state.clone())
    }

    fn is_over(&self) -> bool {
        let promises = lock(&self.promises);
        let leads: usize = self.plan.campaigns.iter().map(|campaign| campaign.leads.len()).sum();
        promises.leads.len() == leads
            && promises.leads.values().all(|lead| lead.is_over() && !lead.is_untold())
            && promises.campaigns.values().all(|campaign| is_over(&campaign.state) && campaign.untold == 0)
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
        let ids = self.plan.campaigns.iter().map(|campaign| campaign.id.clone());
        let paused: Vec<_> = ids.filter(|id| self.state_of(id).as_deref() == Some("paused")).collect();
        for id in paused {
            self.note("resumed", || format!("{id} is resumed"));
            self.queues.campaigns.send(json!({ "resume": id }).to_string(), Duration::ZERO);
        }
        Ok(())
    }
}
