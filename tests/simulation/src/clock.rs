//! Virtual time. It stands still while anything can be done, and jumps to the next timer when nothing
//! can: hours of calls take milliseconds, and the same seed sees the same instants.

use std::time::Duration;

use headroom::flows::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where histories begin, but for some that are about hours: a Monday at noon, UTC.
pub const BEGIN: &str = "2026-03-23T12:00:00Z";

/// The true time of a history. A process reads it through its own, skewed [`ProcessClock`].
#[derive(Debug, Clone, Copy)]
pub struct TrueClock {
    began: Instant,
    begin: Timestamp,
}

impl TrueClock {
    /// A clock that shows this instant now. Within a runtime whose time is paused.
    pub fn start(begin: &str) -> Self {
        let begin = begin.parse().expect("plans begin at an instant");
        Self { began: Instant::now(), begin }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).expect("a history lasts hours");
        self.begin + passed
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// Time since the history began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The clock of one process: the true time, off by a constant.
#[derive(Debug, Clone, Copy)]
pub struct ProcessClock {
    /// The true time.
    pub of: TrueClock,
    /// What is added to it.
    pub skew: SignedDuration,
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.of.now() + self.skew
    }
}

/// The engine's clock, for what it stamps by itself.
impl dynoxide::storage_backend::Clock for TrueClock {
    fn now_unix_secs(&self) -> u64 {
        self.now().as_second().unsigned_abs()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.now().as_microsecond() as f64 / 1e6
    }
}
