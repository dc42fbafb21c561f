//! One execution: whether it panics, how long it takes, how much memory it needs at once.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::ALLOCATED;

/// What an execution of an input may cost: a part that is always free, and one for each byte.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Time for an empty input.
    pub time: Duration,
    /// Time for each byte more.
    pub time_per_byte: Duration,
    /// Bytes in use at once for an empty input.
    pub memory: usize,
    /// Bytes in use at once for each byte more.
    pub memory_per_byte: usize,
}

impl Bounds {
    /// For what reads bytes and nothing else. Generous, since machines are noisy and test builds are
    /// slow: what is to be found grows faster than its input, or has no bound.
    pub const READING: Self = Self {
        time: Duration::from_millis(50),
        time_per_byte: Duration::from_nanos(if cfg!(debug_assertions) { 3000 } else { 300 }),
        memory: 512 * 1024,
        memory_per_byte: 64,
    };
}

/// What an execution cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Wall time.
    pub time: Duration,
    /// Bytes in use at once, beyond those in use before.
    pub memory: usize,
}

/// What an execution came to: a word for the counts, or what is wrong.
pub type Outcome = Result<&'static str, String>;

thread_local! {
    /// The panic that was caught last on this thread, with its place.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether this thread is in an execution: any other panic is somebody else's.
    static EXECUTING: Cell<bool> = const { Cell::new(false) };
}

/// Only one execution is measured at a time: memory is counted over all threads.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs one input and checks what it cost.
pub fn execute(
    run: &dyn Fn(&[u8]) -> Outcome,
    bounds: Bounds,
    input: &[u8],
) -> Result<(&'static str, Cost), String> {
    hear_panics();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (outcome, mut cost) = once(run, input);
    let outcome = outcome?;
    let length = u32::try_from(input.len()).unwrap_or(u32::MAX);
    let time = bounds.time + bounds.time_per_byte * length;
    let memory = bounds.memory + bounds.memory_per_byte * input.len();
    // Somebody else's load looks like ours; the least of some tries is nearly ours alone.
    for _ in 0..3 {
        if cost.time <= time && cost.memory <= memory {
            return Ok((outcome, cost));
        }
        let (_, again) = once(run, input);
        cost = Cost { time: cost.time.min(again.time), memory: cost.memory.min(again.memory) };
    }
    if cost.time > time {
        return Err(format!("takes {:?} for {} bytes; {time:?} would be fine", cost.time, input.len()));
    }
    if cost.memory > memory {
        return Err(format!("needs {} bytes for {} bytes; {memory} would be fine", cost.memory, input.len()));
    }
    Ok((outcome, cost))
}

fn once(run: &dyn Fn(&[u8]) -> Outcome, input: &[u8]) -> (Outcome, Cost) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    let start = Instant::now();
    EXECUTING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(input)));
    EXECUTING.set(false);
    let time = start.elapsed();
    let memory = ALLOCATED.peak_usage().saturating_sub(before);
    let outcome = outcome.unwrap_or_else(|_| {
        let text = PANIC.with_borrow_mut(Option::take);
        Err(text.unwrap_or_else(|| "panicked".into()))
    });
    (outcome, Cost { time, memory })
}

/// Keeps the text of each panic instead of printing it: finding one is no failure of this program.
/// Where a panic aborts, there is no time later, so the run under way is told right here.
fn hear_panics() {
    static HEARD: Once = Once::new();
    HEARD.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !EXECUTING.get() {
                return before(info);
            }
            let text = info.to_string();
            if cfg!(panic = "abort") {
                crate::run::found_at_last(&text);
            }
            PANIC.set(Some(text));
        }));
    });
}
