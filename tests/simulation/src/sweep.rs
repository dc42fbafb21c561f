//! Many histories, on all cores.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::faults::Script;
use crate::history::{Setup, run};
use crate::plan::Plan;
use crate::promises::Violation;
use crate::weaken::Part;

/// What many histories came to.
#[derive(Debug, Default, Clone)]
pub struct Swept {
    /// Histories.
    pub histories: u64,
    /// Calls of processes in them.
    pub calls: u64,
    /// Faults that struck these.
    pub faults: u64,
    /// Checks of promises.
    pub checks: u64,
    /// Simulated hours of history.
    pub hours: f64,
    /// Simulated hours of phone calls.
    pub call_hours: f64,
    /// How long it took.
    pub took: Duration,
    /// The seeds that broke a promise, the smallest first.
    pub broken: Vec<(u64, Violation)>,
    /// What the functions asked of AWS in them.
    pub called: BTreeSet<String>,
}

/// What is swept, and when to stop.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// No new history after this.
    pub at_most: Option<Duration>,
    /// Threads.
    pub threads: usize,
    /// Whether the first broken promise ends it.
    pub stop_at_first: bool,
    /// A part of a condition to leave out.
    pub without: Option<Part>,
}

impl Sweep {
    /// These seeds on all cores, to the end.
    pub fn of(from: u64, seeds: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { from, seeds, at_most: None, threads, stop_at_first: true, without: None }
    }

    /// Runs the histories. `progress` is told now and then how many are done.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Swept {
        let began = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let all = Mutex::new(Swept::default());
        std::thread::scope(|threads| {
            for _ in 0..self.threads {
                threads.spawn(|| {
                    loop {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        let late = self.at_most.is_some_and(|most| began.elapsed() > most);
                        if nth >= self.seeds || late || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let seed = self.from + nth;
                        let setup = Setup { without: self.without.clone(), ..Setup::default() };
                        let history = run(Plan::of(seed), Script::Chance, setup);
                        let mut all = all.lock().expect("no thread panics with it");
                        all.histories += 1;
                        all.calls += history.calls;
                        all.faults += history.faults;
                        all.checks += history.checks;
                        all.hours += history.seconds / 3600.0;
                        all.call_hours += history.call_seconds / 3600.0;
                        all.called.extend(history.called);
                        if let Some(violation) = history.violation {
                            all.broken.push((seed, violation));
                            stop.store(self.stop_at_first, Ordering::Relaxed);
                        }
                        let done = all.histories;
                        drop(all);
                        progress(done);
                    }
                });
            }
        });
        let mut all = all.into_inner().expect("no thread panics with it");
        all.broken.sort_by_key(|(seed, _)| *seed);
        all.took = began.elapsed();
        all
    }
}
