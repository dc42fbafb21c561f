//! One run of the checker, and what it found.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZero;
use std::time::{Duration, Instant};

use stateright::{Checker as _, Expectation, HasDiscoveries, Model as _};

use crate::config::Config;
use crate::model::{Action, Protocol};

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// States, counting those that differ only in names as one.
    pub unique: usize,
    /// Steps taken, from all of them.
    pub total: usize,
    /// How many steps deep the search went.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Broken promises, each with the steps that lead there.
    pub broken: Vec<(&'static str, Vec<Action>)>,
    /// States that had to be found and were not.
    pub missing: Vec<&'static str>,
}

/// Visits every state of a world.
pub fn check(config: Config) -> Report {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    run(config, threads, HasDiscoveries::All, None)
}

/// Looks for a shortest way to break `promise`, up to `steps` steps.
pub fn find(config: Config, promise: &'static str, steps: usize) -> Option<Vec<Action>> {
    // The checker keeps the last way it found, not the first: so step by step. One thread, so that it is the
    // same way each time.
    (1..=steps).find_map(|steps| {
        let finish = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
        let found = run(config, 1, finish, Some(steps + 2)).broken;
        found.into_iter().find(|(name, _)| *name == promise).map(|(_, actions)| actions)
    })
}

fn run(config: Config, threads: usize, finish: HasDiscoveries, depth: Option<usize>) -> Report {
    let began = Instant::now();
    let properties = Protocol { config }.properties();
    let mut builder = Protocol { config }.checker().threads(threads).finish_when(finish);
    if let Some(depth) = depth {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let sort = |failure: bool| {
        properties.iter().filter(move |p| (p.expectation == Expectation::Always) == failure).map(|p| p.name)
    };
    Report {
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        broken: sort(true).filter_map(|name| Some((name, found.get(name)?.clone().into_actions()))).collect(),
        missing: sort(false).filter(|name| !found.contains_key(name)).collect(),
    }
}

impl Report {
    /// Whether every promise is kept in every state, and every state that had to be found was.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unique, total, depth, took, .. } = self;
        write!(f, "{unique} states, {total} steps, depth {depth}, {:.1} s", took.as_secs_f64())?;
        for (name, actions) in &self.broken {
            write!(f, "\n  broken: {name}")?;
            for action in actions {
                write!(f, "\n    {action:?}")?;
            }
        }
        for name in &self.missing {
            write!(f, "\n  never found: {name}")?;
        }
        Ok(())
    }
}
