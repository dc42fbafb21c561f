//! The life of a call: a task that sleeps until each turn, writes it into the world and posts it.

use std::sync::Arc;

use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::time::Instant;

use crate::{
    config::Traffic,
    fate::{self, About, Fate, Step},
    inbound::{self, Answer},
    messages::{Snapshot, Status},
    request::Given,
    shared::Shared,
    truth::CallKind,
    webhooks::Outbox,
    world::{Begun, NewCall},
};

/// Leads an outbound call, which has just begun, to its end.
pub(crate) fn lead_outbound(sim: &Arc<Shared>, begun: Begun, fate: Fate) {
    let mut life = Life::of(sim, begun);
    sim.spawn(async move {
        life.post(Status { name: "queued", ..Default::default() });
        life.lead(fate).await;
    });
}

/// A caller of an org: takes a line and is led to the end of the call, or hears a busy signal.
pub(crate) fn ring_in(sim: &Arc<Shared>, org: usize) {
    let traffic = sim.orgs[org].traffic.borrow().clone();
    let (nth, answers) = {
        let org = &mut sim.world().orgs[org];
        org.callers += 1;
        (org.callers, org.setup.answers(&traffic.inbound_phone_number_id))
    };
    // A number that is set up says who answers, or that the server is to be asked.
    let by_traffic = || (!traffic.ask_assistant).then(|| traffic.assistant_id.clone());
    let assistant_id = answers.unwrap_or_else(by_traffic);
    let asks = assistant_id.is_none();
    let key = fate::key(sim.seed, About::Inbound, org as u64, nth);
    // One caller in twenty withholds the number.
    let number = (!key.is_multiple_of(20)).then(|| format!("+1555555{:04}", 1000 + key % 9000));
    let given = Given {
        assistant_id,
        phone_number_id: Some(traffic.inbound_phone_number_id.clone()),
        customer: number.as_deref().map(customer),
        number,
        ..Given::default()
    };
    let Some(begun) = begin(sim, org, CallKind::Inbound, key, given, 1) else { return };
    let life = Life::of(sim, begun);
    sim.spawn(lead_inbound(life, key, asks));
}

/// A visitor of a web page who starts to talk; the same.
pub(crate) fn web_visit(sim: &Arc<Shared>, org: usize) {
    let Traffic { assistant_id, .. } = sim.orgs[org].traffic.borrow().clone();
    let nth = {
        let visits = &mut sim.world().orgs[org].web_visits;
        *visits += 1;
        *visits
    };
    let key = fate::key(sim.seed, About::Web, org as u64, nth);
    let given = Given { assistant_id: Some(assistant_id), ..Given::default() };
    let Some(begun) = begin(sim, org, CallKind::Web, key, given, 1) else { return };
    let mut life = Life::of(sim, begun);
    let fate = sim.inbound_fate(key, &Given::default());
    sim.spawn(async move { life.lead(fate).await });
}

/// A call that an org makes by itself: from the dashboard, or from another system. It takes so many lines;
/// if they are not free it is lost.
pub(crate) fn dial_out(sim: &Arc<Shared>, org: usize, lines: u8) {
    let traffic = sim.orgs[org].traffic.borrow().clone();
    let nth = {
        let dials = &mut sim.world().orgs[org].dials;
        *dials += 1;
        *dials
    };
    let key = fate::key(sim.seed, About::Dial, org as u64, nth);
    let number = format!("+1555556{:04}", 1000 + key % 9000);
    let given = Given {
        assistant_id: Some(traffic.assistant_id),
        phone_number_id: Some(traffic.inbound_phone_number_id),
        customer: Some(customer(&number)),
        number: Some(number),
        ..Given::default()
    };
    let max_seconds = given.max_seconds();
    let Some(begun) = begin(sim, org, CallKind::Outbound, key, given, lines) else { return };
    let fate = {
        let world = sim.world();
        fate::outbound(key, &world.telephony, &world.faults, max_seconds)
    };
    lead_outbound(sim, begun, fate);
}

fn customer(number: &str) -> Box<RawValue> {
    to_raw_value(&json!({"number": number})).expect("a text is always JSON")
}

fn begin(sim: &Shared, org: usize, kind: CallKind, key: u64, given: Given, lines: u8) -> Option<Begun> {
    let now = sim.clock.now_ms();
    let call =
        NewCall { id: sim.call_id(key, now), org, key, kind, given: Arc::new(given), lines, arrived_ms: now };
    sim.world().begin(now, call).ok()
}

async fn lead_inbound(mut life: Life, key: u64, asks: bool) {
    life.post(Status { name: "ringing", ..Default::default() });
    if asks {
        // The line is held while the server thinks. The ringing update is on its way at the same time,
        // so the server may see either of them first.
        match inbound::ask(&life.sim, life.begun.index, &life.snapshot).await {
            Answer::Taken(change) => life.answer(change),
            Answer::Forwarded(destination) => {
                life.destination = Some(destination);
                return life.lead(fate::forwarded()).await;
            }
            Answer::Refused { reason, debugging } => {
                life.sim.world().counts.refused_by_us += 1;
                life.inbound_debugging = Some(debugging);
                return life.lead(fate::refused(reason)).await;
            }
        }
    }
    let given = Arc::clone(&life.sim.world().calls[life.begun.index].given);
    let fate = life.sim.inbound_fate(key, &given);
    life.lead(fate).await;
}

impl Shared {
    fn inbound_fate(&self, key: u64, given: &Given) -> Fate {
        let world = self.world();
        fate::inbound(key, &world.telephony, world.faults.stuck, given.max_seconds())
    }
}

/// What a call's task holds on to.
struct Life {
    sim: Arc<Shared>,
    begun: Begun,
    snapshot: Snapshot,
    outbox: Outbox,
    started_ms: Option<f64>,
    destination: Option<Arc<RawValue>>,
    inbound_debugging: Option<serde_json::Value>,
}

impl Life {
    fn of(sim: &Arc<Shared>, begun: Begun) -> Self {
        let (snapshot, key) = {
            let world = sim.world();
            let call = &world.calls[begun.index];
            (Snapshot::of(call, &sim.url, &sim.orgs[call.org].id), call.key)
        };
        Self {
            outbox: Outbox::open(sim, begun.index, key),
            sim: Arc::clone(sim),
            begun,
            snapshot,
            started_ms: None,
            destination: None,
            inbound_debugging: None,
        }
    }

    /// The server said who takes this call.
    fn answer(&mut self, change: impl FnOnce(&mut Given)) {
        let mut world = self.sim.world();
        let call = &mut world.calls[self.begun.index];
        change(Arc::make_mut(&mut call.given));
        self.snapshot = Snapshot::of(call, &self.sim.url, &self.sim.orgs[call.org].id);
    }

    /// Goes through the steps of a fate, counted from now, unless someone ends the call before.
    async fn lead(&mut self, fate: Fate) {
        // Deadlines count from one moment, so that small delays do not add up.
        let began = Instant::now();
        for (at, step) in fate.steps {
            let due = began + self.sim.clock.wall(at);
            let step = tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => step,
                _ = &mut self.begun.hangup => Step::Ended("manually-canceled"),
            };
            self.take(step);
            if let Step::Ended(reason) = step {
                self.sim.sleep(fate.report_after).await;
                return self.report(reason);
            }
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.sim.clock.now_ms();
        let (name, ended_reason) = {
            let mut world = self.sim.world();
            let index = self.begun.index;
            let call = &mut world.calls[index];
            match step {
                Step::Ringing => {
                    call.ringing_ms = Some(now);
                    ("ringing", None)
                }
                Step::InProgress => {
                    call.started_ms = Some(now);
                    self.started_ms = Some(now);
                    ("in-progress", None)
                }
                Step::Forwarding => ("forwarding", None),
                Step::Ended(reason) => {
                    world.end(now, index, reason);
                    ("ended", Some(reason))
                }
            }
        };
        let inbound_debugging = self.inbound_debugging.take();
        self.post(Status {
            name,
            ended_reason,
            started_ms: self.started_ms,
            destination: self.destination.clone().filter(|_| name == "forwarding"),
            inbound_debugging,
        });
    }

    fn post(&mut self, status: Status) {
        let now = self.sim.clock.now_ms();
        let snapshot = &self.snapshot;
        self.outbox.post(status.name == "ended", || snapshot.status_update(now, &status));
    }

    fn report(&mut self, reason: &'static str) {
        let now = self.sim.clock.now_ms();
        let ended_ms = self.sim.world().calls[self.begun.index].ended_ms.unwrap_or(now);
        let (snapshot, started_ms) = (&self.snapshot, self.started_ms);
        self.outbox.post(false, || snapshot.end_of_call_report(now, reason, started_ms, ended_ms));
    }
}
