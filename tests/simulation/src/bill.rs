//! What Headroom costs on AWS: 1,000 outbound calls, 1,000 callers, 1,000 web calls, and a month in which nobody calls.
//!
//! Histories in which nothing goes wrong, with the template's schedule and settings: the real handlers, each call with the
//! messages that the simulated Vapi sends of it, and the minute pass beside. Capacity is the engine's own count, a refused
//! write by the item in its way; what a call costs is what such a history uses beyond an idle one of the same length.
//! Prices are in [`PRICES`], what cannot be counted here is assumed in [`ASSUMED`]. Free tiers are left out, and so are
//! storage, traffic out of AWS, and what Vapi bills.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headroom::core::people::Often;
use headroom::core::pool::Policy;
use headroom::metrics::METRICS;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use vapi_sim::{Counter, Faults as VapiFaults, Range as Between, Telephony, Traffic};

use crate::faults::{Rates, Script};
use crate::history::{History, Setup, run};
use crate::meter::{Units, Used};
use crate::plan::{Campaign, Change, Plan};
use crate::process::Function;
use crate::promises::Violation;
use crate::world::lock;

/// Dollars for each, in us-east-1, on demand, without free tiers, as known in November 2026. Those that count are on the
/// services' pricing pages at aws.amazon.com.
#[derive(Debug, Clone, Copy)]
pub struct Prices {
    /// A million write units of DynamoDB.
    pub writes: f64,
    /// A million read units of DynamoDB.
    pub reads: f64,
    /// A million requests to SQS.
    pub messages: f64,
    /// A million invocations of functions.
    pub invocations: f64,
    /// A million gigabyte-seconds of functions on x86.
    pub gigabyte_seconds: f64,
    /// A million requests to an HTTP API.
    pub requests: f64,
    /// A gigabyte of logs taken in.
    pub logs: f64,
    /// A metric of one's own for a month.
    pub metric: f64,
    /// An alarm for a month.
    pub alarm: f64,
    /// A dashboard for a month.
    pub dashboard: f64,
}

/// The prices.
pub const PRICES: Prices = Prices {
    writes: 0.625,
    reads: 0.125,
    messages: 0.40,
    invocations: 0.20,
    gigabyte_seconds: 16.6667,
    requests: 1.00,
    logs: 0.50,
    metric: 0.30,
    alarm: 0.10,
    dashboard: 3.00,
};

/// What is not counted but taken for granted.
#[derive(Debug, Clone, Copy)]
pub struct Assumed {
    /// Milliseconds of computation of an invocation; what it waits for others is measured, on virtual time.
    pub computation_ms: f64,
    /// How long Vapi takes to answer, in milliseconds.
    pub vapi_ms: Between,
    /// Bytes of log of an invocation, Lambda's own lines included.
    pub log_bytes: f64,
    /// Requests of Lambda to an idle queue in a minute: five pollers that wait for 20 s each, as Lambda's documentation has
    /// it for a mapping with a maximum concurrency.
    pub polls: f64,
    /// Hours of a month.
    pub month: f64,
}

/// The assumptions.
pub const ASSUMED: Assumed = Assumed {
    computation_ms: 3.0,
    vapi_ms: Between(200.0, 800.0),
    log_bytes: 1000.0,
    polls: 15.0,
    month: 730.0,
};

/// Memory of each function, as in the template.
const GIGABYTES: f64 = 0.25;

const TEMPLATE: &str = include_str!("../../../infra/template.yaml");

/// The resources of a type that every stack has.
fn always_there(of: &str) -> usize {
    let lines: Vec<&str> = TEMPLATE.lines().map(str::trim).collect();
    let of = format!("Type: {of}");
    lines.windows(2).filter(|two| two[0] == of && two[1] != "Condition: HasEvents").count()
}

/// What the calls of a history are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One campaign's, on all lines.
    Outbound,
    /// Callers', to a number that asks who is to answer.
    Inbound,
    /// Browsers', to an assistant.
    Web,
    /// There are none.
    None,
}

/// Seconds that people talk on the average.
const TALK: f64 = 60.0;

/// The history of about so many calls on so many lines.
fn plan(calls: Calls, lines: u32, count: u32) -> Plan {
    let only = |kind| if calls == kind { f64::from(count) } else { 0.0 };
    let people = if calls == Calls::Outbound { count } else { 0 };
    let leads = (0..people).map(|n| (format!("crm-{n:06}"), format!("+1415{:07}", 5_000_000 + n)));
    let campaign = Campaign {
        id: "renewals-may".into(),
        leads: leads.collect(),
        attempts: 1,
        again: Default::default(),
        cap: None,
        max_seconds: 600,
        agent: None,
        org: None,
        turn: Default::default(),
    };
    let hours = match calls {
        Calls::Outbound => f64::from(count) * 1.5 * TALK / f64::from(lines) / 3600.0 + 0.5,
        // As many at once as half of the lines.
        Calls::Inbound | Calls::Web => f64::from(count) * TALK / (0.5 * f64::from(lines)) / 3600.0,
        Calls::None => 6.0,
    };
    let send = Change::Send(campaign.message(&campaign.leads));
    let is_outbound = calls == Calls::Outbound;
    Plan {
        seed: 1,
        lines,
        policy: Policy::new(lines, lines, 0).expect("some lines are a pool"),
        sizes: Default::default(),
        adopt_limit: true,
        often: Often::usual(),
        changes: if is_outbound { vec![(Duration::from_secs(1), send)] } else { Vec::new() },
        campaigns: if is_outbound { vec![campaign] } else { Vec::new() },
        telephony: Telephony {
            talk_seconds_mean: TALK,
            inbound_talk_seconds_mean: TALK,
            api_latency_ms: ASSUMED.vapi_ms,
            ..Telephony::default()
        },
        traffic: Traffic {
            inbound_per_hour: only(Calls::Inbound) / hours,
            web_per_hour: only(Calls::Web) / hours,
            ask_assistant: true,
            ..Traffic::default()
        },
        vapi: VapiFaults::default(),
        rates: Rates::default(),
        counter: Counter::default(),
        sibling: None,
        outages: Vec::new(),
        repeats: 0.0,
        stale: 0.0,
        schedule: (0.0, 0.0),
        skew: Duration::ZERO,
        chaos: Duration::from_secs_f64(hours * 3600.0),
        aftermath: Duration::from_secs(360),
        forwards: false,
        rejects: "",
        hours: Default::default(),
        backfill: calls == Calls::None,
        life: Default::default(),
        events: false,
    }
}

/// Finds the metrics of a history: each name with each value of its dimensions, as CloudWatch bills them.
#[derive(Debug, Clone, Default)]
struct Metrics(Arc<Mutex<BTreeSet<String>>>);

impl<S: Subscriber> Layer<S> for Metrics {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != METRICS {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut metrics = lock(&self.0);
        for name in fields.numbers {
            if !fields.dimensions.is_empty() {
                metrics.insert(format!("{name} {}", fields.dimensions.join(" ")));
            }
            metrics.insert(name.to_owned());
        }
    }
}

#[derive(Default)]
struct Fields {
    numbers: Vec<&'static str>,
    dimensions: Vec<String>,
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, _: f64) {
        self.numbers.push(field.name());
    }

    fn record_i64(&mut self, field: &Field, _: i64) {
        self.numbers.push(field.name());
    }

    fn record_u64(&mut self, field: &Field, _: u64) {
        self.numbers.push(field.name());
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.dimensions.push(value.to_owned());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// What a history used.
#[derive(Debug, Clone)]
pub struct Row {
    /// Whose calls.
    pub calls: Calls,
    /// On how many lines.
    pub lines: u32,
    /// How many there were.
    pub count: u64,
    /// Hours that it lasted.
    pub hours: f64,
    /// What each function used.
    pub used: BTreeMap<Function, Used>,
    /// The metrics that there were.
    pub metrics: BTreeSet<String>,
    /// What broke, if a promise did.
    pub violation: Option<Violation>,
}

/// The functions whose work calls are. What operators do is no part of a bill, and the hourly backfill does as much
/// whoever calls: it is the idle history's alone.
const COUNTED: [Function; 3] = [Function::Webhook, Function::Dispatcher, Function::Reconciler];
/// Those of an idle stack.
const IDLE: [Function; 2] = [Function::Reconciler, Function::Backfill];

impl Row {
    /// Runs the history of about so many calls on so many lines.
    pub fn of(calls: Calls, lines: u32, count: u32) -> Self {
        let found = Metrics::default();
        let setup = Setup { keep_moments: true, keep_used: true, ..Setup::default() };
        let listening = tracing_subscriber::registry().with(found.clone());
        let history: History = tracing::subscriber::with_default(listening, || {
            run(plan(calls, lines, count), Script::Exactly(Vec::new()), setup)
        });
        let metrics = std::mem::take(&mut *lock(&found.0));
        Self {
            calls,
            lines,
            count: history.phone_calls.len() as u64,
            hours: history.seconds / 3600.0,
            used: history.used,
            metrics,
            violation: history.violation,
        }
    }

    fn used(&self, by: &[Function]) -> impl Iterator<Item = (Function, &Used)> {
        by.iter().filter_map(|function| Some((*function, self.used.get(function)?)))
    }

    /// Units of the requests that are these.
    fn units(&self, are: impl Fn(Function, &str) -> bool) -> Units {
        let mut all = Units::default();
        for (function, used) in self.used(&COUNTED) {
            used.units.iter().filter(|(name, _)| are(function, name)).for_each(|(_, units)| all.add(*units));
        }
        all
    }

    /// What of AWS these functions took.
    fn taken(&self, by: &[Function]) -> Taken {
        let mut units = Units::default();
        self.used(by).for_each(|(_, used)| units.add(used.units()));
        let of = |function| self.used.get(&function).map_or(0, |used| used.invocations);
        let invocations: u64 = self.used(by).map(|(_, used)| used.invocations).sum();
        let seconds: f64 = self.used(by).map(|(_, used)| used.ran.as_secs_f64()).sum();
        let sent: u64 = self.used(by).map(|(_, used)| used.sent).sum();
        // Each batch is received and deleted.
        let batches = 2 * of(Function::Dispatcher);
        let computed = invocations as f64 * ASSUMED.computation_ms / 1e3;
        Taken([
            units.writes,
            units.reads,
            (sent + batches) as f64,
            invocations as f64,
            (seconds + computed) * GIGABYTES,
            of(Function::Webhook) as f64,
            invocations as f64 * ASSUMED.log_bytes / 1e9,
        ])
    }
}

/// Amounts of what is billed by use.
#[derive(Debug, Clone, Copy)]
struct Taken([f64; 7]);

const NAMES: [&str; 7] = [
    "DynamoDB, write units",
    "DynamoDB, read units",
    "SQS, requests",
    "Lambda, invocations",
    "Lambda, GB-seconds",
    "HTTP API, requests",
    "logs, GB",
];

impl Taken {
    fn each(self, change: impl Fn(usize, f64) -> f64) -> Self {
        let mut taken = self.0;
        taken.iter_mut().enumerate().for_each(|(at, amount)| *amount = change(at, *amount));
        Self(taken)
    }

    /// Dollars for each.
    fn dollars(self) -> Self {
        let p = PRICES;
        let millions = [p.writes, p.reads, p.messages, p.invocations, p.gigabyte_seconds, p.requests];
        self.each(|at, amount| millions.get(at).map_or(amount * p.logs, |price| amount * price / 1e6))
    }

    fn sum(self) -> f64 {
        self.0.iter().sum()
    }
}

/// Most write units of a call, from its start to its end: on the average of each history.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Whose calls.
    pub calls: Calls,
    /// On how many lines.
    pub lines: u32,
    /// The write units.
    pub writes: f64,
}

/// What is promised.
pub const MOST: [Most; 6] = [
    Most { calls: Calls::Outbound, lines: 10, writes: 9.0 },
    Most { calls: Calls::Outbound, lines: 100, writes: 12.1 },
    Most { calls: Calls::Inbound, lines: 10, writes: 5.0 },
    Most { calls: Calls::Inbound, lines: 100, writes: 7.1 },
    Most { calls: Calls::Web, lines: 10, writes: 3.1 },
    Most { calls: Calls::Web, lines: 100, writes: 5.1 },
];

/// What taking a campaign in asks for, before any call of it begins.
const INTAKE: [&str; 4] = ["put_campaign", "put_lead", "count_message", "open_campaign"];

/// The bill.
#[derive(Debug, Clone)]
pub struct Bill {
    /// A history of each kind of calls.
    pub rows: Vec<Row>,
    /// The idle one.
    pub idle: Row,
}

impl Bill {
    /// Counts about so many calls of each kind, at 10 lines and at 100.
    pub fn of(count: u32) -> Self {
        // Each history is a thread's own.
        std::thread::scope(|scope| {
            let started = MOST.map(|most| scope.spawn(move || Row::of(most.calls, most.lines, count)));
            let idle = Row::of(Calls::None, 10, 0);
            let rows = started.into_iter().map(|row| row.join().expect("a history does not panic"));
            Self { rows: rows.collect(), idle }
        })
    }

    /// What a call of a row takes beyond what an idle stack does meanwhile.
    fn of_call(&self, row: &Row) -> Taken {
        let (all, idle) = (row.taken(&COUNTED), self.idle.taken(&COUNTED));
        all.each(|at, amount| (amount - idle.0[at] * row.hours / self.idle.hours) / row.count as f64)
    }

    /// Write units of a call from its start to its end: what the webhook and the dispatcher write for it.
    pub fn start_to_end(&self, row: &Row) -> f64 {
        let is_call = |function, name: &str| {
            matches!(function, Function::Webhook | Function::Dispatcher) && !INTAKE.contains(&name)
        };
        row.units(is_call).writes / row.count as f64
    }

    /// What does not hold, in words.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (row, most) in self.rows.iter().zip(MOST) {
            if let Some(violation) = &row.violation {
                broken.push(format!("{:?} at {} lines: {violation}", row.calls, row.lines));
            }
            let writes = self.start_to_end(row);
            if writes > most.writes {
                let text = format!("{writes:.2} write units a call, {} at most", most.writes);
                broken.push(format!("{:?} at {} lines: {text}", row.calls, row.lines));
            }
        }
        broken
    }

    /// What a month costs in which nobody calls: what for, and how much.
    fn idle_month(&self) -> Vec<(String, f64)> {
        let queues = always_there("AWS::Lambda::EventSourceMapping");
        let alarms = always_there("AWS::CloudWatch::Alarm");
        let (metrics, month) = (self.idle.metrics.len(), ASSUMED.month);
        let passes = self.idle.taken(&IDLE).each(|_, amount| amount * month / self.idle.hours);
        let polls = queues as f64 * ASSUMED.polls * 60.0 * month;
        let passes: Vec<_> = NAMES.into_iter().zip(passes.0).zip(passes.dollars().0).collect();
        let mut items = vec![
            (format!("{metrics} metrics"), metrics as f64 * PRICES.metric),
            ("1 dashboard".to_owned(), PRICES.dashboard),
            (format!("{alarms} alarms"), alarms as f64 * PRICES.alarm),
            (format!("SQS, {polls:.0} empty receives of {queues} queues"), polls * PRICES.messages / 1e6),
        ];
        let passes = passes.into_iter().filter(|((_, amount), _)| *amount > 0.0);
        items.extend(passes.map(|((name, amount), dollars)| {
            (format!("{name} of the passes: {}", amount_of(amount)), dollars)
        }));
        items.sort_by(|one, other| other.1.total_cmp(&one.1));
        items
    }
}

fn amount_of(amount: f64) -> String {
    if amount >= 1000.0 { format!("{amount:.0}") } else { format!("{amount:.2}") }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, of: &dyn Fn(&Row) -> String| {
            write!(f, "{name:<34}")?;
            self.rows.iter().try_for_each(|row| write!(f, "{:>16}", of(row)))?;
            writeln!(f)
        };
        line(f, "a call", &|row| format!("{:?}", row.calls).to_lowercase())?;
        line(f, "  lines", &|row| row.lines.to_string())?;
        line(f, "  calls counted", &|row| row.count.to_string())?;
        line(f, "  write units, start to end", &|row| format!("{:.2}", self.start_to_end(row)))?;
        for (at, name) in NAMES.into_iter().enumerate().take(6) {
            line(f, &format!("  {name}"), &|row| format!("{:.2}", self.of_call(row).0[at]))?;
        }
        for function in [Function::Webhook, Function::Dispatcher] {
            line(f, &format!("  {} invoked, ms each", function.name()), &|row| {
                let used = row.used.get(&function).cloned().unwrap_or_default();
                let ms = used.ran.as_secs_f64() * 1e3 / used.invocations.max(1) as f64;
                let invoked = used.invocations as f64 / row.count as f64;
                if invoked == 0.0 { "-".to_owned() } else { format!("{invoked:.2}, {ms:.0}") }
            })?;
        }
        line(f, "\ndollars for 1,000 calls", &|_| String::new())?;
        for (at, name) in NAMES.into_iter().enumerate() {
            line(f, &format!("  {name}"), &|row| format!("{:.4}", 1e3 * self.of_call(row).dollars().0[at]))?;
        }
        line(f, "  in all", &|row| format!("{:.4}", 1e3 * self.of_call(row).dollars().sum()))?;

        writeln!(f, "\ndollars for an idle month")?;
        let items = self.idle_month();
        for (name, dollars) in &items {
            writeln!(f, "  {name:<58}{dollars:>8.2}")?;
        }
        writeln!(f, "  {:<58}{:>8.2}", "in all", items.iter().map(|(_, dollars)| dollars).sum::<f64>())?;
        let busy: BTreeSet<&String> = self.rows.iter().flat_map(|row| &row.metrics).collect();
        let more = busy.iter().filter(|metric| !self.idle.metrics.contains(**metric)).count();
        writeln!(
            f,
            "  and {:.2} at most for {more} metrics that only calls bring, by the hours that have them",
            more as f64 * PRICES.metric
        )?;
        self.broken().iter().try_for_each(|words| writeln!(f, "BROKEN {words}"))
    }
}

/// Each request to DynamoDB by who asks and what for, with its units for a call: where a call's units go.
pub struct Detail<'a>(pub &'a Row);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { calls, lines, count, .. } = self.0;
        writeln!(f, "{calls:?} at {lines} lines: requests, write units and read units a call")?;
        let all = [Function::Webhook, Function::Dispatcher, Function::Reconciler, Function::Backfill];
        for (function, used) in self.0.used(&all) {
            for (name, units) in &used.units {
                let each = |amount: f64| amount / (*count).max(1) as f64;
                let Units { requests, writes, reads } = *units;
                let numbers = [each(requests as f64), each(writes), each(reads)];
                write!(f, "  {:<34}", format!("{} {name}", function.name()))?;
                numbers.iter().try_for_each(|number| write!(f, "{number:>10.3}"))?;
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
