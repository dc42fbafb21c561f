//! Time: the wall clock that stamps every body, and how fast simulated seconds pass on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::time::Instant;

/// A wall clock that never steps back, and the pace of simulated time.
pub(crate) struct Clock {
    started: Instant,
    started_ms: f64,
    speed: f64,
}

impl Clock {
    /// The one place that asks the machine for the time of day. From here on time is counted
    /// monotonically, so that the order of events in the truth is the order in which they happened.
    #[allow(
        clippy::disallowed_methods,
        reason = "the simulated Vapi is an outside world with a clock of its own"
    )]
    pub(crate) fn start(speed: f64) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a machine that runs this was set to a date after 1970");
        Self::at(since_epoch.as_secs_f64() * 1e3, speed)
    }

    /// A clock that shows `started_ms` now and goes on as the runtime's time does: with the machine's, or
    /// in virtual time where that is paused.
    pub(crate) fn at(started_ms: f64, speed: f64) -> Self {
        Self { started: Instant::now(), started_ms, speed: speed.max(1e-3) }
    }

    /// When the simulation began, in epoch milliseconds.
    pub(crate) fn started_ms(&self) -> f64 {
        self.started_ms
    }

    /// Now, in epoch milliseconds with fractions.
    pub(crate) fn now_ms(&self) -> f64 {
        self.started_ms + self.started.elapsed().as_secs_f64() * 1e3
    }

    /// How long `seconds` of simulated time take on the wall.
    pub(crate) fn wall(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.speed).clamp(0.0, 1e8))
    }
}

/// A moment as bodies print it: `2026-03-26T15:43:16.145Z`.
pub(crate) fn iso(ms: f64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms as i64).unwrap_or_default())
}

/// A moment as queries give it, in epoch milliseconds.
pub(crate) fn parse_iso(text: &str) -> Option<f64> {
    text.parse::<Timestamp>().ok().map(|at| at.as_millisecond() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_three_decimals_both_ways() {
        assert_eq!(iso(1_774_539_796_000.7), "2026-03-26T15:43:16.000Z");
        assert_eq!(parse_iso("2026-03-26T15:43:16.145Z"), Some(1_774_539_796_145.0));
        assert_eq!(parse_iso("yesterday"), None);
    }

    #[test]
    fn speed_divides_simulated_time() {
        assert_eq!(Clock::start(60.0).wall(90.0), Duration::from_millis(1500));
    }
}
