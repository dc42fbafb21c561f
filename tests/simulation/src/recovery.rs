//! How long a lost message or a lost answer is felt, and what it costs: measured over many calm
//! histories in which one thing goes wrong, all the time or once.
//!
//! The schedule is the template's (a pass every minute), the timers are the defaults, the clocks are
//! exact, and Vapi's list is up to twenty seconds behind. What is compared with is the history of the
//! same seed in which nothing goes wrong.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headroom::core::line::LineKey;
use headroom::core::pool::Policy;
use vapi_sim::{Counter, Faults as VapiFaults, Range as Between, Telephony, Traffic};

use crate::faults::{Fault, Point, Rates, Script, Service};
use crate::history::{History, Setup, run};
use crate::hours::Hours;
use crate::plan::{Campaign, Change, Plan};
use crate::process::Function;
use crate::promises::{Step, Violation};

/// How long things go wrong in a history.
const CHAOS: Duration = Duration::from_secs(14 * 60);
/// What begins later than this before the end of that is not measured: it may end in the calm.
const MARGIN: Duration = Duration::from_secs(8 * 60);
/// No dial that is answered takes this long.
const ANSWERED: Duration = Duration::from_secs(1);
/// A line is free this long after its call's end at the latest.
const LINE_PROMISE: Duration = Duration::from_secs(90);
/// It is known this long after a dial what came of it at the latest.
const DIAL_PROMISE: Duration = Duration::from_secs(180);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// From the true end of a call to the freeing of its line.
    End,
    /// From the claim to the moment at which it is known what came of the dial.
    Dial,
}

/// One thing that goes wrong.
struct Case {
    name: &'static str,
    from: From,
    promise: Duration,
    /// At Vapi, all the time.
    faults: VapiFaults,
    /// Once, with one dial of the campaign.
    strike: Option<Fault>,
    /// Whether others call meanwhile.
    busy: bool,
}

fn cases() -> Vec<Case> {
    let none = VapiFaults::default;
    let dial = |name, faults| Case {
        name,
        from: From::Dial,
        promise: DIAL_PROMISE,
        faults,
        strike: None,
        busy: true,
    };
    // Whose calls are made is found by them; callers would only blur the cost.
    let alone = |name, faults| Case { busy: false, ..dial(name, faults) };
    let once = |name, fault| Case { strike: Some(fault), ..dial(name, none()) };
    vec![
        Case {
            from: From::End,
            promise: LINE_PROMISE,
            ..dial("no message comes: a call's end", VapiFaults { webhook_lost: 1.0, ..none() })
        },
        alone("call made, answer lost", VapiFaults { answer_lost: 1.0, ..none() }),
        alone("call made, answer hangs", VapiFaults { answer_hangs: 1.0, ..none() }),
        alone(
            "call made, answer and messages lost",
            VapiFaults { answer_lost: 1.0, webhook_lost: 1.0, ..none() },
        ),
        dial("no call made, each dial breaks", VapiFaults { reset: 1.0, ..none() }),
        once("no call made, one dial breaks", Fault::Broken),
        once("no call made, its process dies", Fault::CrashBefore),
        once("call made, its process dies", Fault::CrashAfter),
        alone("no call made, nobody else calls", VapiFaults { reset: 1.0, ..none() }),
    ]
}

/// A history in which nothing goes wrong, and its seed decides the rest.
fn calm(seed: u64, busy: bool) -> Plan {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x7ec0_0e4e);
    let c = &mut chance;
    let leads = (0..8).map(|lead| (format!("l{lead}"), format!("+155555500{lead:02}"))).collect();
    let campaign = Campaign {
        id: "c0".into(),
        leads,
        attempts: 1,
        again: Default::default(),
        cap: Some(2),
        max_seconds: 240,
        agent: None,
        org: None,
        turn: Default::default(),
    };
    // At any time between two passes.
    let sent = Duration::from_millis(c.u64(0..60_000));
    let (talk, lag, callers) = (c.f64() * 60.0 + 10.0, c.f64() * 20.0, f64::from(c.u32(240..480)));
    let callers = if busy { callers } else { 0.0 };
    Plan {
        seed,
        lines: 20,
        policy: Policy::new(20, 10, 2).expect("twenty lines are a pool"),
        sizes: Default::default(),
        adopt_limit: false,
        often: Default::default(),
        changes: vec![(sent, Change::Send(campaign.message(&campaign.leads)))],
        campaigns: vec![campaign],
        telephony: Telephony {
            ring_seconds: Between(2.0, 15.0),
            talk_seconds_mean: talk,
            inbound_talk_seconds_mean: talk,
            setup_failure: 0.0,
            api_latency_ms: Between(20.0, 400.0),
            ..Telephony::default()
        },
        traffic: Traffic { inbound_per_hour: callers, ask_assistant: c.bool(), ..Traffic::default() },
        vapi: VapiFaults { list_lag_seconds: lag, ..VapiFaults::default() },
        rates: Rates::default(),
        counter: Counter::default(),
        sibling: None,
        outages: Vec::new(),
        repeats: 0.0,
        stale: 0.0,
        schedule: (0.0, 0.0),
        skew: Duration::ZERO,
        chaos: CHAOS,
        aftermath: Duration::from_secs(360),
        forwards: false,
        rejects: "",
        hours: Hours::default(),
        backfill: false,
        life: Default::default(),
        events: false,
    }
}

/// Runs a plan with these faults at its calls, and keeps what is measured.
fn history(plan: Plan, faults: Vec<(u64, Fault)>) -> History {
    run(plan, Script::Exactly(faults), Setup { keep_moments: true, ..Setup::default() })
}

/// Requests by whom they went to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requests {
    /// DynamoDB.
    pub dynamo: u64,
    /// SQS.
    pub queue: u64,
    /// Vapi.
    pub vapi: u64,
    /// Those of them that the minute pass made.
    pub pass: u64,
}

impl Requests {
    fn add(&mut self, points: &[Point]) {
        for point in points {
            *match point.service {
                Service::Dynamo => &mut self.dynamo,
                Service::Queue => &mut self.queue,
                Service::Vapi | Service::Dial => &mut self.vapi,
            } += 1;
            self.pass += u64::from(point.function == Function::Reconciler);
        }
    }

    fn all(self) -> u64 {
        self.dynamo + self.queue + self.vapi
    }
}

/// What was measured of one thing that goes wrong.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// The longest that it may be felt.
    pub promise: Duration,
    /// How long it was felt, each time; shortest first.
    pub delays: Vec<Duration>,
    /// Requests of the histories with it.
    pub with: Requests,
    /// Requests of the same histories without it.
    pub without: Requests,
    /// Histories that broke a promise of another kind: seed and promise.
    pub broken: Vec<(u64, Violation)>,
}

impl Row {
    fn of(case: &Case) -> Self {
        let Case { name, promise, .. } = *case;
        let (with, without) = (Requests::default(), Requests::default());
        Self { name, promise, delays: Vec::new(), with, without, broken: Vec::new() }
    }

    /// The delay that this share of all does not exceed.
    ///
    /// # Panics
    /// If it was never felt.
    pub fn quantile(&self, share: f64) -> Duration {
        self.delays[((self.delays.len() - 1) as f64 * share).round() as usize]
    }

    /// Whether it was felt, never for too long, and nothing else broke.
    pub fn holds(&self) -> bool {
        !self.delays.is_empty() && self.quantile(1.0) <= self.promise && self.broken.is_empty()
    }

    /// Requests more, or fewer, for each time that it struck: to DynamoDB, to SQS, to Vapi; and
    /// those of them that the minute pass made.
    pub fn cost(&self) -> [f64; 4] {
        let each = |with: u64, without: u64| (with as f64 - without as f64) / self.delays.len().max(1) as f64;
        [
            each(self.with.dynamo, self.without.dynamo),
            each(self.with.queue, self.without.queue),
            each(self.with.vapi, self.without.vapi),
            each(self.with.pass, self.without.pass),
        ]
    }

    fn add(&mut self, case: &Case, seed: u64, struck: &History, calm: &History) {
        if let Some(violation) = &struck.violation {
            self.broken.push((seed, violation.clone()));
            return;
        }
        self.delays.extend(delays(case, struck));
        self.with.add(&struck.points);
        self.without.add(&calm.points);
    }
}

/// How long the fault was felt, each time that it struck in a history.
fn delays(case: &Case, history: &History) -> Vec<Duration> {
    let ms_of = |step: Step| {
        let of = history.moments.iter().filter(move |moment| moment.step == step);
        of.map(|moment| (moment.of.as_str(), moment.at.as_microsecond() as f64 / 1e3))
            .collect::<HashMap<_, _>>()
    };
    let began = history.moments.first().map_or(0.0, |moment| moment.at.as_millisecond() as f64);
    let latest = began + (CHAOS - MARGIN).as_millis() as f64;
    let (starts, ends) = match case.from {
        From::End => {
            let calls = history.phone_calls.iter().filter(|call| call.ended_webhook_at_ms.is_none());
            let ends = calls.filter_map(|call| Some((call, call.ended_at_ms?)));
            // A dialed call is held by its claim, any other by its id.
            let lines = ends.flat_map(|(call, at)| {
                let observed = call.id.parse().ok().map(|id| LineKey::Observed(id).to_string());
                call.name.clone().into_iter().chain(observed).map(move |line| (line, at))
            });
            (lines.collect::<Vec<_>>(), ms_of(Step::Freed))
        }
        From::Dial => {
            let claims = ms_of(Step::Claimed).into_iter().map(|(claim, at)| (claim.to_owned(), at));
            (claims.collect(), ms_of(Step::Known))
        }
    };
    let span = |(of, start): (String, f64)| {
        // A caller whom no message told of may be gone before a pass has seen them: they held no line.
        let felt = Duration::from_secs_f64((ends.get(of.as_str())? - start).max(0.0) / 1e3);
        let struck = case.strike.is_none() || felt > ANSWERED;
        Some(felt).filter(|_| struck && start < latest)
    };
    starts.into_iter().filter_map(span).collect()
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Seeds.
    pub seeds: u64,
    /// One row for each thing that goes wrong.
    pub rows: Vec<Row>,
}

impl Recovery {
    /// Whether every row holds.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

/// Measures over these seeds, on so many threads. `progress` is told how many seeds are done.
pub fn measure(seeds: Range<u64>, threads: usize, progress: impl Fn(u64) + Sync) -> Recovery {
    let cases = cases();
    let rows = Mutex::new(cases.iter().map(Row::of).collect::<Vec<_>>());
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let undisturbed = [false, true].map(|busy| history(calm(seed, busy), Vec::new()));
                    for (nth, case) in cases.iter().enumerate() {
                        let calm = &undisturbed[usize::from(case.busy)];
                        let struck = history_of(case, seed, calm);
                        rows.lock().expect("no thread panics with it")[nth].add(case, seed, &struck, calm);
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no thread panics with it");
    for row in &mut rows {
        row.delays.sort();
        row.broken.sort_by_key(|(seed, _)| *seed);
    }
    Recovery { seeds: seeds.end - seeds.start, rows }
}

/// The history of a seed in which this goes wrong.
fn history_of(case: &Case, seed: u64, undisturbed: &History) -> History {
    let mut plan = calm(seed, case.busy);
    plan.vapi = VapiFaults { list_lag_seconds: plan.vapi.list_lag_seconds, ..case.faults.clone() };
    let strike = case.strike.map(|fault| {
        // Up to the fault both histories are one, so the dial has the same place in both.
        let dials: Vec<_> =
            undisturbed.points.iter().filter(|point| point.service == Service::Dial).collect();
        (dials[seed as usize % dials.len()].nth, fault)
    });
    history(plan, strike.into_iter().collect())
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds; seconds until it is made right, and requests more for each time", self.seeds)?;
        writeln!(
            f,
            "{:<38}{:>7}{:>9}{:>9}{:>9}{:>9}{:>10}{:>7}{:>7}{:>7}{:>9}",
            "", "times", "median", "p99", "longest", "promise", "DynamoDB", "SQS", "Vapi", "pass", "requests"
        )?;
        for row in &self.rows {
            write!(f, "{:<38}{:>7}", row.name, row.delays.len())?;
            if !row.delays.is_empty() {
                for share in [0.5, 0.99, 1.0] {
                    write!(f, "{:>9.1}", row.quantile(share).as_secs_f64())?;
                }
                let [dynamo, queue, vapi, pass] = row.cost();
                let ratio = row.with.all() as f64 / row.without.all().max(1) as f64;
                write!(
                    f,
                    "{:>9}{dynamo:>+10.1}{queue:>+7.1}{vapi:>+7.1}{pass:>+7.1}   × {ratio:.3}",
                    row.promise.as_secs()
                )?;
            }
            writeln!(f, "{}", if row.holds() { "" } else { "   BROKEN" })?;
        }
        for (name, (seed, violation)) in
            self.rows.iter().flat_map(|row| row.broken.iter().map(move |broken| (row.name, broken)))
        {
            writeln!(f, "{name}, seed {seed}: {violation}")?;
        }
        Ok(())
    }
}
