//! What goes wrong with one call of one process, and who decides that it does.

use std::ops::Range;
use std::time::Duration;

use crate::process::{Function, Process};

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// DynamoDB.
    Dynamo,
    /// SQS.
    Queue,
    /// Vapi, for a request that may be repeated.
    Vapi,
    /// Vapi, for the one that may not: `POST /call`.
    Dial,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process dies before the request leaves.
    CrashBefore,
    /// The request is carried out, and the process dies before it knows.
    CrashAfter,
    /// It is carried out, and the connection breaks instead of an answer.
    AnswerLost,
    /// It is carried out, and no answer ever comes.
    AnswerHangs,
    /// It is refused for the moment, and not carried out: throttled, 5xx, a conflict.
    Error,
    /// The connection breaks before it is carried out.
    Broken,
    /// It is carried out twice, the second time this much later.
    Doubled(Duration),
    /// It is carried out this late; its sender has long given up.
    Delayed(Duration),
    /// It is carried out, and the process stands still for this long before it sees the answer.
    Freeze(Duration),
    /// The process stands still for this long before the request leaves.
    Stall(Duration),
}

/// A request to AWS carries its time in its signature and is refused once that is five minutes old: no
/// write is applied later than this after it was sent.
pub const LATEST_WRITE: Duration = Duration::from_secs(290);

/// The longest that a `POST /call` is taken to be under way. Its sender gives up after 20 s and holds
/// the line for another 30 s before it believes that nothing came of it; the clocks may differ.
pub const LATEST_DIAL: Duration = Duration::from_secs(25);

impl Fault {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash before",
            Self::CrashAfter => "crash after",
            Self::AnswerLost => "answer lost",
            Self::AnswerHangs => "answer hangs",
            Self::Error => "error",
            Self::Broken => "broken",
            Self::Doubled(_) => "doubled",
            Self::Delayed(_) => "delayed",
            Self::Freeze(_) => "freeze",
            Self::Stall(_) => "stall",
        }
    }

    /// Whether it can happen to a call of `service` without breaking what no client can mend: Vapi knows
    /// no idempotency key, so a dial that the network doubles, or delays for minutes, rings twice.
    pub fn suits(self, service: Service) -> bool {
        match (self, service) {
            // Nor can it know that it was frozen after it looked at the clock for the last time.
            (Self::Doubled(_) | Self::Stall(_), Service::Dial) => false,
            (Self::Delayed(span), Service::Dial) => span <= LATEST_DIAL,
            _ => true,
        }
    }
}

/// Rates of faults, as shares of calls. The random mode of a history.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// [`Fault::CrashBefore`] and [`Fault::CrashAfter`].
    pub crash: f64,
    /// [`Fault::AnswerLost`] and [`Fault::AnswerHangs`].
    pub lost: f64,
    /// [`Fault::Error`] and [`Fault::Broken`].
    pub error: f64,
    /// [`Fault::Doubled`].
    pub doubled: f64,
    /// [`Fault::Delayed`].
    pub delayed: f64,
    /// [`Fault::Freeze`] and [`Fault::Stall`].
    pub freeze: f64,
}

impl Rates {
    /// What happens to one call.
    pub fn draw(&self, chance: &mut fastrand::Rng, service: Service) -> Option<Fault> {
        let mut point = chance.f64();
        let mut struck = |share: f64| {
            let hit = point < share;
            point -= share;
            hit
        };
        let late = |chance: &mut fastrand::Rng, most: Duration| {
            // Short ones are the common ones; some outlast every lease.
            let share = chance.f64();
            Duration::from_millis((most.as_millis() as f64 * share * share) as u64)
        };
        let fault = if struck(self.crash) {
            if chance.bool() { Fault::CrashBefore } else { Fault::CrashAfter }
        } else if struck(self.lost) {
            if chance.bool() { Fault::AnswerLost } else { Fault::AnswerHangs }
        } else if struck(self.error) {
            if chance.bool() { Fault::Error } else { Fault::Broken }
        } else if struck(self.doubled) {
            Fault::Doubled(late(chance, LATEST_WRITE))
        } else if struck(self.delayed) {
            Fault::Delayed(late(chance, if service == Service::Dial { LATEST_DIAL } else { LATEST_WRITE }))
        } else if struck(self.freeze) {
            let span = late(chance, Duration::from_secs(400));
            if chance.bool() { Fault::Freeze(span) } else { Fault::Stall(span) }
        } else {
            return None;
        };
        Some(fault).filter(|fault| fault.suits(service))
    }
}

/// Some time in which a service is out of reach: each call of it fails, as [`Fault::Error`] or
/// [`Fault::Broken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub service: Service,
    /// From when to when, from the beginning of the history.
    pub span: Range<Duration>,
}

/// One call of a history, as a place for a fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Point {
    /// Its place among all calls of the history; the first is 1.
    pub nth: u64,
    /// Who called.
    pub function: Function,
    /// Whom.
    pub service: Service,
    /// What for.
    pub name: &'static str,
}

/// Who decides.
#[derive(Debug, Clone)]
pub enum Script {
    /// Chance, at the plan's rates.
    Chance,
    /// Exactly these: the place among all calls, and the fault.
    Exactly(Vec<(u64, Fault)>),
}

/// The decisions of one history, and its calls so far.
#[derive(Debug)]
pub struct Faults {
    script: Script,
    rates: Rates,
    outages: Vec<Outage>,
    chance: fastrand::Rng,
    calls: u64,
    /// All calls, where a script needs to know them.
    points: Vec<Point>,
    keep_points: bool,
    struck: u64,
}

impl Faults {
    /// Decisions by `script`.
    pub fn new(script: Script, rates: Rates, outages: Vec<Outage>, seed: u64) -> Self {
        let keep_points = matches!(script, Script::Exactly(_));
        Self {
            script,
            rates,
            outages,
            chance: fastrand::Rng::with_seed(seed),
            calls: 0,
            points: Vec::new(),
            keep_points,
            struck: 0,
        }
    }

    /// What happens to this call, which is made at `at` from the beginning.
    pub fn strike(
        &mut self,
        process: &Process,
        service: Service,
        name: &'static str,
        at: Duration,
    ) -> Option<Fault> {
        self.calls += 1;
        if self.keep_points {
            self.points.push(Point { nth: self.calls, function: process.function, service, name });
        }
        let fault = match &self.script {
            _ if self.is_out(service, at) => {
                Some(if self.chance.bool() { Fault::Error } else { Fault::Broken })
            }
            // It takes the order, and can say nothing any more.
            _ if service == Service::Dial && self.is_out(Service::Vapi, at) && self.chance.bool() => {
                Some(Fault::AnswerLost)
            }
            Script::Chance => self.rates.draw(&mut self.chance, service),
            Script::Exactly(faults) => {
                faults.iter().find(|(nth, _)| *nth == self.calls).map(|(_, fault)| *fault)
            }
        };
        self.struck += u64::from(fault.is_some());
        fault
    }

    /// Whether a service is out of reach.
    pub fn is_out(&self, service: Service, at: Duration) -> bool {
        self.outages.iter().any(|outage| outage.service == service && outage.span.contains(&at))
    }

    /// From now on nothing goes wrong.
    pub fn calm(&mut self) {
        self.rates = Rates::default();
        self.outages.clear();
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Faults so far.
    pub fn struck(&self) -> u64 {
        self.struck
    }

    /// The calls, in order.
    pub fn take_points(&mut self) -> Vec<Point> {
        std::mem::take(&mut self.points)
    }

    /// A number from this history's chance.
    pub fn chance(&mut self) -> &mut fastrand::Rng {
        &mut self.chance
    }
}
