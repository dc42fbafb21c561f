//! What happened, one line an event, for people; and its digest, to tell two histories apart.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The record of one history.
#[derive(Debug, Default)]
pub struct Trace {
    keep: bool,
    lines: Vec<String>,
    digest: DefaultHasher,
    events: u64,
}

impl Trace {
    /// A record that keeps its lines, or only their digest.
    pub fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Adds an event. `text` is only put together if lines are kept; `mark` goes into the digest.
    pub fn add(&mut self, seconds: f64, mark: impl std::hash::Hash, text: impl FnOnce() -> String) {
        self.events += 1;
        seconds.to_bits().hash(&mut self.digest);
        mark.hash(&mut self.digest);
        if self.keep {
            let (minutes, seconds) = ((seconds / 60.0) as u64, seconds % 60.0);
            self.lines.push(format!("{minutes:>4}:{seconds:06.3}  {}", text()));
        }
    }

    /// The lines, oldest first.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// A number that two equal histories share.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }
}
