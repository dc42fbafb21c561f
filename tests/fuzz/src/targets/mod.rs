//! What is fuzzed: each target makes inputs, gives them to the real code, and checks what it
//! promises.

mod answers;
mod ask;
mod campaign;
mod config;
mod ids;
mod leads;
mod message;
mod parts;
mod signature;
mod webhook;

use rand::rngs::StdRng;

use crate::measure::{Bounds, Outcome};

/// Makes an input. All chance comes from the generator.
pub type Generate = dyn Fn(&mut StdRng) -> Vec<u8>;

/// Gives an input to the code and checks what comes of it.
pub type Run = dyn Fn(&[u8]) -> Outcome;

/// Something that reads what comes from outside.
pub struct Target {
    /// Its name on the command line and of its corpus folder.
    pub name: &'static str,
    /// Makes its inputs.
    pub generate: Box<Generate>,
    /// Reads one.
    pub run: Box<Run>,
    /// What one execution may cost.
    pub bounds: Bounds,
    /// Executions of a short run, a few seconds on a slow build.
    pub short: u64,
    /// What a short run comes to at least once: a target that only ever refuses tests little.
    pub expected: &'static [&'static str],
}

/// A target's name and how it is made ready.
pub type Make = (&'static str, fn() -> anyhow::Result<Target>);

/// All targets, the cheap ones first.
pub const ALL: [Make; 9] = [
    (ids::NAME, ids::target),
    (config::NAME, config::target),
    (message::NAME, message::target),
    (signature::NAME, signature::target),
    (campaign::NAME, campaign::target),
    (leads::NAME, leads::target),
    (parts::NAME, parts::target),
    (answers::NAME, answers::target),
    (webhook::NAME, webhook::target),
];
