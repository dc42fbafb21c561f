//! The states that a call's events lead to, and which event leads from which to which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::course::{Ran, run};
use super::scenarios::{Event, Scenario};

/// Every state that words up to [`super::LONGEST`] reach; the first is where all begin.
#[derive(Debug)]
pub struct States {
    reached: Vec<Ran>,
    next: HashMap<(usize, Event), usize>,
}

impl States {
    /// Finds them, breadth first, so that each is reached by a shortest word.
    pub fn explore(scenario: &Scenario) -> Self {
        let mut states = Self { reached: Vec::new(), next: HashMap::new() };
        let mut words = Vec::new();
        states.arrive(scenario, Vec::new(), &mut words);
        let mut at = 0;
        while at < words.len() {
            let word = words[at].clone();
            for event in scenario.events.iter().filter(|event| scenario.may_follow(&word, **event)) {
                if word.len() < super::LONGEST {
                    let to = states.arrive(scenario, [word.as_slice(), &[*event]].concat(), &mut words);
                    states.next.insert((at, *event), to);
                }
            }
            at += 1;
        }
        states
    }

    /// The state that a word leads to. A new one is added, with the word that reached it.
    fn arrive(&mut self, scenario: &Scenario, word: Vec<Event>, words: &mut Vec<Vec<Event>>) -> usize {
        let known = |close: &str| self.reached.iter().position(|known| known.close == close);
        match run(scenario, &word, known) {
            Err(place) => place,
            Ok(ran) => {
                self.reached.push(ran);
                words.push(word);
                words.len() - 1
            }
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.reached.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.reached.is_empty()
    }

    /// What a word leads to.
    pub fn after(&self, word: &[Event]) -> &Ran {
        &self.reached[word.iter().fold(0, |at, event| self.next[&(at, *event)])]
    }

    /// Every word up to [`super::LONGEST`], those taken together that lead to the same state and have the
    /// same events in them: what they lead to, how many they are, and one of them.
    pub fn words(&self, scenario: &Scenario) -> Vec<(&Ran, u64, Vec<Event>)> {
        let mut all = Vec::new();
        let mut level = BTreeMap::from([((0, BTreeSet::new()), (1, Vec::new()))]);
        for _ in 0..super::LONGEST {
            let mut longer = BTreeMap::new();
            for ((at, events), (count, word)) in &level {
                for (place, event) in scenario.events.iter().enumerate() {
                    if scenario.may_follow(word, *event) {
                        let mut events: BTreeSet<usize> = BTreeSet::clone(events);
                        events.insert(place);
                        let word = || [word.as_slice(), &[*event]].concat();
                        let entry = longer.entry((self.next[&(*at, *event)], events));
                        entry.or_insert_with(|| (0, word())).0 += count;
                    }
                }
            }
            level = longer;
            all.extend(
                level.iter().map(|((at, _), (count, word))| (&self.reached[*at], *count, word.clone())),
            );
        }
        all
    }
}
