//! Fuzzing of everything that reads what comes from outside: webhooks and their headers, campaign
//! messages, Vapi's answers, ids, the environment.
//!
//! An execution is one input given to the real code through its public functions. Inputs are made
//! from recorded ones by structured and by plain changes, all drawn from a seed: execution `n` of a
//! seed is always the same input, whatever came before. Each execution must not panic, must keep
//! what its target promises, and must stay within a time and a memory that grow with its input at
//! most linearly.
//!
//! | what | how |
//! |---|---|
//! | a short run of every target, and all saved findings | `cargo test -p fuzz` |
//! | a long run | `cargo run --release -p fuzz -- --seconds 600` |
//! | one target | `cargo run --release -p fuzz -- campaign --seconds 600` |
//! | one execution again | `cargo run --release -p fuzz -- campaign --seed 7 --execution 1234` |
//! | a saved input again | `cargo run --release -p fuzz -- campaign --input FILE` |
//!
//! An input that found something belongs into `corpus/<target>/`, made small by hand: the test
//! replays every file there, and runs change them further.
//!
//! There is no guidance by coverage: on a stable toolchain that takes a second build of everything
//! with instrumentation and a runtime in C++. The recorded bodies reach the code that matters
//! instead, and each run counts what its executions came to, so that a target that only ever
//! refuses is seen.

pub mod bytes;
pub mod checks;
pub mod corpus;
pub mod frame;
pub mod json;
pub mod measure;
pub mod run;
pub mod targets;
pub mod words;

use peak_alloc::PeakAlloc;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Counts what is allocated, for the bounds on memory.
#[global_allocator]
pub(crate) static ALLOCATED: PeakAlloc = PeakAlloc;

/// One of several, by chance.
pub(crate) fn pick<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

/// One of several pieces.
pub(crate) fn piece<T: ?Sized>(rng: &mut StdRng, of: &[&'static T]) -> &'static T {
    of[rng.random_range(0..of.len())]
}

/// A size: small most of the time, up to 4 KiB often enough, up to `most` now and then.
pub(crate) fn size(rng: &mut StdRng, most: usize) -> usize {
    let bits = match rng.random_range(0..100) {
        0..70 => rng.random_range(0..6),
        70..98 => rng.random_range(6..12),
        _ => rng.random_range(12..=most.max(4096).ilog2()),
    };
    rng.random_range(1_usize << bits..2 << bits).min(most)
}
