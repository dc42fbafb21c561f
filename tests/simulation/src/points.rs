//! Every fault point: each call that each handler makes in a reference scenario, with each thing that
//! can go wrong there; and then, after each of these, each call that follows, with each of them again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headroom::core::ids::NameCode;
use headroom::core::pool::Policy;
use headroom::core::reserve::Reserve;
use headroom::core::shard::Sizes;
use headroom::flows::operate::Asked;
use vapi_sim::{Counter, Faults as VapiFaults, OverLimitShape, Range, Telephony, Traffic};

use crate::faults::{Fault, LATEST_DIAL, Point, Rates, Script, Service};
use crate::history::{History, Setup, run};
use crate::hours::Hours;
use crate::plan::{Campaign, Change, Plan, SIBLING, Sibling, Sight, agent};
use crate::process::Function;
use crate::promises::Violation;

/// A small history in which nothing goes wrong by chance.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is made of.
    pub plan: Plan,
}

/// What goes wrong at a point. Singly: a crash before, applied and then a crash, applied but the answer
/// lost, an error, doubled, delayed past every lease, frozen past every lease after it or before. In pairs
/// the crash after and the freezes are left out: to everybody else they are the lost answer and the delay.
pub fn kinds(service: Service, pairs: bool) -> Vec<Fault> {
    // Longer than any lease; a dial cannot be under way for that long (see `LATEST_DIAL`).
    let late = if service == Service::Dial { LATEST_DIAL } else { Duration::from_secs(150) };
    let all = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::AnswerLost,
        Fault::Error,
        Fault::Doubled(Duration::from_secs(150)),
        Fault::Delayed(late),
        Fault::Freeze(Duration::from_secs(150)),
        Fault::Stall(Duration::from_secs(150)),
    ];
    let in_pairs = |fault: &Fault| !matches!(fault, Fault::CrashAfter | Fault::Freeze(_) | Fault::Stall(_));
    all.into_iter().filter(|fault| fault.suits(service) && (!pairs || in_pairs(fault))).collect()
}

/// The reference scenarios.
pub fn scenarios() -> Vec<Scenario> {
    let plan = |leads: u32, vapi: VapiFaults, traffic: Traffic| {
        let leads = (0..leads).map(|lead| (format!("l{lead}"), format!("+155555500{lead:02}"))).collect();
        let campaign = Campaign {
            id: "c0".into(),
            leads,
            attempts: 2,
            again: Default::default(),
            cap: None,
            max_seconds: 60,
            agent: None,
            org: None,
            turn: Default::default(),
        };
        let message = campaign.message(&campaign.leads);
        Plan {
            seed: 3,
            lines: 2,
            policy: Policy::new(2, 1, 0).expect("two lines are a pool"),
            sizes: Sizes::default(),
            adopt_limit: false,
            often: Default::default(),
            campaigns: vec![campaign],
            telephony: Telephony {
                answer: 0.7,
                no_answer: 0.3,
                busy: 0.0,
                voicemail: 0.0,
                setup_failure: 0.0,
                ring_seconds: Range(2.0, 5.0),
                talk_seconds_mean: 15.0,
                inbound_talk_seconds_mean: 20.0,
                api_latency_ms: Range(50.0, 100.0),
                ..Telephony::default()
            },
            traffic,
            vapi,
            rates: Rates::default(),
            counter: Counter::default(),
            sibling: None,
            outages: Vec::new(),
            repeats: 0.0,
            stale: 0.0,
            schedule: (0.0, 0.0),
            skew: Duration::ZERO,
            chaos: Duration::from_secs(60),
            aftermath: Duration::from_secs(240),
            changes: vec![(Duration::from_secs(1), Change::Send(message))],
            forwards: false,
            rejects: "",
            hours: Hours::default(),
            backfill: true,
            life: Default::default(),
            events: true,
        }
    };
    let callers = Traffic { inbound_per_hour: 60.0, ask_assistant: true, ..Traffic::default() };
    let full = |shape| VapiFaults { over_limit_shape: shape, ..VapiFaults::default() };
    let mut crowded = plan(2, full(OverLimitShape::EndedLater), Traffic::default());
    crowded.lines = 1;
    crowded.changes.push((Duration::ZERO, Change::ForeignDial));
    let mut blocked = plan(1, full(OverLimitShape::Created201), Traffic::default());
    blocked.lines = 1;
    blocked.changes.push((Duration::ZERO, Change::ForeignDial));
    let mut reserved = plan(1, VapiFaults::default(), Traffic { ask_assistant: false, ..callers.clone() });
    reserved.lines = 3;
    reserved.policy = Policy::new(3, 3, 0).expect("three lines are a pool");
    let wishes = [("desk", 1, 0), ("sales", 0, 1), ("desk", 0, 0)];
    reserved.changes.extend(wishes.into_iter().zip([0, 20, 40]).map(
        |((name, inbound, outbound), second)| {
            let members = [NameCode::of(if name == "desk" { &callers.assistant_id } else { "as" })].into();
            let reserve = Reserve { inbound, outbound, members, ..Reserve::default() };
            let asked = Asked { reserve: Some((agent(name), reserve)), ..Asked::default() };
            (Duration::from_secs(second), Change::Operate(asked))
        },
    ));
    let mut several = plan(2, VapiFaults::default(), callers.clone());
    several.lines = 5;
    several.policy = Policy::new(4, 4, 0).expect("four lines are a pool");
    several.sizes = Sizes { single: 1, shard: 2 };
    several.changes.extend([(15, 5), (40, 1)].map(|(second, limit)| {
        (Duration::from_secs(second), Change::Operate(Asked { limit: Some(limit), ..Asked::default() }))
    }));
    let mut beside = plan(1, VapiFaults::default(), Traffic::default());
    beside.lines = 3;
    beside.policy = Policy::new(3, 3, 0).expect("three lines are a pool");
    let own =
        Traffic { inbound_per_hour: 120.0, dials_per_hour: 120.0, lines_per_dial: 2, ..Traffic::default() };
    beside.sibling =
        Some(Sibling { sight: Sight::Key, traffic: own, unlisted: Duration::ZERO..Duration::ZERO });
    beside.campaigns[0].org = Some(SIBLING);
    let message = beside.campaigns[0].message(&beside.campaigns[0].leads);
    beside.changes = vec![(Duration::from_secs(1), Change::Send(message))];
    vec![
        Scenario { name: "two people, all well", plan: plan(2, VapiFaults::default(), Traffic::default()) },
        Scenario { name: "callers beside a campaign", plan: plan(1, VapiFaults::default(), callers.clone()) },
        Scenario {
            name: "no webhook arrives",
            plan: plan(1, VapiFaults { webhook_lost: 1.0, ..VapiFaults::default() }, Traffic::default()),
        },
        Scenario {
            name: "no dial is answered",
            plan: plan(1, VapiFaults { answer_lost: 1.0, ..VapiFaults::default() }, Traffic::default()),
        },
        Scenario {
            name: "dials break before the call is made",
            plan: plan(1, VapiFaults { reset: 1.0, ..VapiFaults::default() }, Traffic::default()),
        },
        Scenario { name: "Vapi is full, and says so later", plan: crowded },
        Scenario { name: "Vapi is full, and gives an id", plan: blocked },
        Scenario { name: "reserves come and go", plan: reserved },
        Scenario { name: "lines in several items", plan: several },
        Scenario { name: "a sibling organisation", plan: beside },
    ]
}

/// What all of them came to.
#[derive(Debug, Default)]
pub struct Covered {
    /// Fault points of the scenario by function and call, with what goes wrong at each: run, of all.
    pub singles: (usize, usize),
    /// Pairs: run, of all.
    pub pairs: (usize, usize),
    /// Places, by function: each call it made.
    pub places: BTreeMap<Function, HashSet<&'static str>>,
    /// What broke: the faults, and the promise.
    pub broken: Vec<(Vec<(u64, Fault)>, Violation)>,
}

/// The first call of each kind after the `after`-th one: a function, and what it calls for.
fn places(points: &[Point], after: u64) -> Vec<Point> {
    let mut seen = HashSet::new();
    let new = |point: &&Point| point.nth > after && seen.insert((point.function, point.name));
    points.iter().filter(new).cloned().collect()
}

fn faults_at(places: &[Point], pairs: bool) -> Vec<(u64, Fault)> {
    places
        .iter()
        .flat_map(|place| kinds(place.service, pairs).into_iter().map(|fault| (place.nth, fault)))
        .collect()
}

/// Runs a scenario with each fault, and with each pair if `pairs`.
pub fn cover(
    scenario: &Scenario,
    pairs: bool,
    threads: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Covered {
    let history = |faults: &[(u64, Fault)]| -> History {
        run(scenario.plan.clone(), Script::Exactly(faults.to_vec()), Setup::default())
    };
    let calm = history(&[]);
    let covered = Mutex::new(Covered::default());
    let note = |faults: &[(u64, Fault)], history: &History| {
        if let Some(violation) = &history.violation {
            let mut covered = covered.lock().expect("no thread panics with it");
            covered.broken.push((faults.to_vec(), violation.clone()));
        }
    };
    note(&[], &calm);
    let singles = faults_at(&places(&calm.points, 0), pairs);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(first) = singles.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = history(&[*first]);
                    note(&[*first], &one);
                    let seconds =
                        if pairs { faults_at(&places(&one.points, first.0), true) } else { Vec::new() };
                    for second in &seconds {
                        let both = [*first, *second];
                        note(&both, &history(&both));
                    }
                    let mut covered = covered.lock().expect("no thread panics with it");
                    covered.singles.0 += 1;
                    covered.pairs.0 += seconds.len();
                    covered.pairs.1 += seconds.len();
                    for point in &one.points {
                        covered.places.entry(point.function).or_default().insert(point.name);
                    }
                    progress(covered.singles.0, singles.len());
                }
            });
        }
    });
    let mut covered = covered.into_inner().expect("no thread panics with it");
    covered.singles.1 = singles.len();
    covered
}
