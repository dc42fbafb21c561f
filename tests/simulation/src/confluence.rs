//! P8: any order, any number of times. Every word over the events of one call, up to six of them, is run
//! through the real handlers, and all have to end in the same state.
//!
//! A word is *complete* if each event of its scenario occurs in it: all orders, all repetitions. It
//! is *lossy* if some are missing, but not every end: then the rest is lost. What is the same:
//!
//! - all complete words lead to one state by themselves, before any pass, where the scenario
//!   promises that; and
//! - all words, complete and lossy, lead to one state after two passes with Vapi telling the truth.
//!
//! The state is the whole table: the ledger with its counters and lines, the lead, the campaign, the
//! call's record, without the instants in it ([`state`]). The answer to a dial comes once in
//! every word: without it the scenario is the one whose answer was lost.
//!
//! Words of all lengths share few states. So the states are explored ([`states`]): from each that some
//! word reaches, each event is run once, from the beginning, behind the shortest such word. That
//! takes two prefixes for the same if they lead to the same state, looked at closely. Therefore each word
//! up to a given length, and some of the longest, are run by themselves as well, and compared with what
//! the states foretell.

pub mod course;
pub mod scenarios;
pub mod state;
pub mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use course::Ran;
use scenarios::{Event, Scenario, scenarios};
use states::States;

/// Events in the longest words that are counted.
pub const LONGEST: usize = 6;

/// What the words of one scenario came to.
#[derive(Debug)]
pub struct Confluence {
    /// The scenario.
    pub scenario: Scenario,
    /// Words in which every event occurs.
    pub complete: u64,
    /// Words that lack an event, but not the end.
    pub lossy: u64,
    /// Words that were run one by one.
    pub replayed: u64,
    /// States on the way.
    pub states: usize,
    /// The states that complete words end in by themselves, each with the first such word.
    pub alone: BTreeMap<String, Vec<Event>>,
    /// The states that all words end in after the passes, each with the first such word.
    pub settled: BTreeMap<String, Vec<Event>>,
    /// A word that, run by itself, did not come to the state that was foretold.
    pub unforetold: Option<Vec<Event>>,
}

impl Confluence {
    /// Whether all words agree.
    pub fn holds(&self) -> bool {
        let unbroken = self.settled.keys().chain(self.alone.keys()).all(|state| !state.contains("BROKEN"));
        let one = self.settled.len() == 1 && (self.alone.len() == 1 || !self.scenario.decides_alone());
        one && unbroken && self.unforetold.is_none()
    }

    fn note(&mut self, ran: &Ran, word: &[Event]) {
        if self.scenario.is_complete(word) {
            self.alone.entry(ran.alone.clone()).or_insert_with(|| word.to_vec());
        }
        self.settled.entry(ran.settled.clone()).or_insert_with(|| word.to_vec());
    }

    /// What differs, for people.
    pub fn differences(&self) -> String {
        let mut text = format!("{}\n", self.scenario.name);
        for (what, states) in [("by themselves", &self.alone), ("after the passes", &self.settled)] {
            for (state, word) in states {
                text.push_str(&format!("{what}: {}\n{state}", spelled(word)));
            }
        }
        if let Some(word) = &self.unforetold {
            text.push_str(&format!("not foretold: {}\n", spelled(word)));
        }
        text
    }
}

impl fmt::Display for Confluence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { complete, lossy, replayed, states, alone, settled, .. } = self;
        let alone = match (alone.len(), self.scenario.decides_alone()) {
            (count, false) => format!("({count})"),
            (count, true) => count.to_string(),
        };
        let verdict = if self.holds() { "" } else { "  DIFFERENT" };
        write!(
            f,
            "{complete:>8} {lossy:>8} {replayed:>8} {states:>6} {alone:>5} {:>7}  {}{verdict}",
            settled.len(),
            self.scenario.name
        )
    }
}

/// The head of the table whose lines [`Confluence`]s are.
pub const HEAD: &str = "complete    lossy replayed states alone settled  scenario";

/// A word, for people.
pub fn spelled(word: &[Event]) -> String {
    word.iter().map(Event::to_string).collect::<Vec<_>>().join(", ")
}

/// The longest words of each scenario that are run one by one in any case, drawn by chance.
const SAMPLES: u64 = 4;

/// Checks every scenario: all words up to [`LONGEST`], and those up to `longest` one by one.
pub fn check(longest: usize, threads: usize) -> Vec<Confluence> {
    let scenarios = scenarios();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(place) else { return };
                    let confluence = check_one(scenario, longest);
                    done.lock().expect("no thread panics with it").push((place, confluence));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics with it");
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, confluence)| confluence).collect()
}

fn check_one(scenario: &Scenario, longest: usize) -> Confluence {
    let states = States::explore(scenario);
    let mut confluence = Confluence {
        scenario: scenario.clone(),
        complete: 0,
        lossy: 0,
        replayed: 0,
        states: states.len(),
        alone: BTreeMap::new(),
        settled: BTreeMap::new(),
        unforetold: None,
    };
    for (ran, count, word) in states.words(scenario) {
        if scenario.is_word(&word) {
            confluence.note(ran, &word);
            let complete = scenario.is_complete(&word);
            *(if complete { &mut confluence.complete } else { &mut confluence.lossy }) += count;
        }
    }
    let samples = (0..SAMPLES).map(|sample| sample_of(scenario, sample));
    for word in words_upto(scenario, longest).into_iter().chain(samples) {
        let ran = course::run(scenario, &word, |_| None).expect("nothing is known to it");
        confluence.replayed += 1;
        confluence.note(&ran, &word);
        if ran != *states.after(&word) {
            confluence.unforetold.get_or_insert(word);
        }
    }
    confluence
}

fn words_upto(scenario: &Scenario, longest: usize) -> Vec<Vec<Event>> {
    let mut words = Vec::new();
    let mut prefixes = vec![Vec::new()];
    while let Some(prefix) = prefixes.pop() {
        if prefix.len() < longest {
            let longer = scenario.events.iter().filter(|event| scenario.may_follow(&prefix, **event));
            prefixes.extend(longer.map(|event| [prefix.as_slice(), &[*event]].concat()));
        }
        if scenario.is_word(&prefix) {
            words.push(prefix);
        }
    }
    words
}

/// One of the longest words, by chance, the same in every run.
fn sample_of(scenario: &Scenario, sample: u64) -> Vec<Event> {
    let mut chance = fastrand::Rng::with_seed(sample);
    loop {
        let mut word = Vec::new();
        while word.len() < LONGEST {
            let event = scenario.events[chance.usize(..scenario.events.len())];
            if scenario.may_follow(&word, event) {
                word.push(event);
            }
        }
        if scenario.is_word(&word) {
            return word;
        }
    }
}
