//! People's wishes: nobody is dialed without their leave having been asked in the very write that remembers the dial,
//! and whoever has said no is dialed no more.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::items::text;
use crate::promises::{Checked, ensure};

/// What is on record of each person, by their numbers.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Whether dials are remembered at all.
    counts: bool,
    people: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    refused: bool,
    dials: Vec<String>,
}

impl Wishes {
    /// With dials remembered, or not.
    pub fn new(counts: bool) -> Self {
        Self { counts, people: BTreeMap::new() }
    }

    /// A person's item was written.
    pub fn written(&mut self, number: &str, item: &Value) -> Checked {
        let dials = text(item, "dials").unwrap_or_default();
        let now = Seen {
            refused: text(item, "no_by").is_some(),
            dials: dials.split_whitespace().map(str::to_owned).collect(),
        };
        let before = self.people.insert(number.to_owned(), now.clone()).unwrap_or_default();
        ensure(!before.refused || now.refused, "wish", || "a person's no was forgotten".into())?;
        let is_new = |dial: &&String| !before.dials.contains(*dial);
        ensure(!before.refused || !now.dials.iter().any(|dial| is_new(&dial)), "wish", || {
            "somebody has leave to dial a person who has said no".into()
        })
    }

    /// A person is dialed for a claim.
    pub fn dialed(&self, number: &str, claim: &str) -> Checked {
        let asked = self.people.get(number).is_some_and(|seen| {
            seen.dials
                .iter()
                .any(|dial| dial.split_once(':').is_some_and(|(_, for_claim)| for_claim == claim))
        });
        ensure(asked || !self.counts, "wish", || {
            format!("{claim} is dialed, and nobody asked whether it may be")
        })
    }

    /// Whether a person has said no.
    pub(crate) fn is_refused(&self, number: &str) -> bool {
        self.people.get(number).is_some_and(|seen| seen.refused)
    }

    /// People who have said no.
    pub fn refused(&self) -> usize {
        self.people.values().filter(|seen| seen.refused).count()
    }
}
