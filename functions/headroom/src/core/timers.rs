//! Every span of time that Headroom decides by, in one place.

use std::time::Duration;

use jiff::SignedDuration;

/// The spans of time that decisions rest on.
///
/// For rehearsals against a simulated Vapi that runs K times faster, [`Timers::at_speed`] divides
/// them by K, down to what real networks and processes need.
#[derive(Debug, Clone, PartialEq)]
pub struct Timers {
    speed: f64,
}

impl Default for Timers {
    fn default() -> Self {
        Self { speed: 1.0 }
    }
}

impl Timers {
    /// Timers that run `speed` times faster; 1 is real life. Anything below 1 or not finite counts as 1.
    pub fn at_speed(speed: f64) -> Self {
        Self { speed: if speed.is_finite() { speed.max(1.0) } else { 1.0 } }
    }

    /// How many times faster than real life.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// A span that a user or Vapi gave in real-life time, at this speed.
    pub fn scaled(&self, real: SignedDuration) -> SignedDuration {
        SignedDuration::from_secs_f64(real.as_secs_f64() / self.speed)
    }

    fn divided(&self, seconds: u64, at_least_ms: u64) -> Duration {
        Duration::from_secs_f64(seconds as f64 / self.speed).max(Duration::from_millis(at_least_ms))
    }

    /// Between two reconciler passes where a runner keeps the schedule itself.
    pub fn pass_interval(&self) -> Duration {
        self.divided(60, 250)
    }

    /// Between two backfills where a runner keeps the schedule itself.
    pub fn backfill_interval(&self) -> Duration {
        self.divided(3600, 5_000)
    }

    /// How long `POST /call` may take before its answer counts as lost.
    pub fn dial_timeout(&self) -> Duration {
        self.divided(20, 3_000)
    }

    /// How long any other request to Vapi may take.
    pub fn read_timeout(&self) -> Duration {
        self.divided(10, 3_000)
    }

    /// From the taking of a line to the last instant at which its dial can have been answered or given
    /// up. No dial is begun that could take longer.
    pub fn dial_deadline(&self) -> SignedDuration {
        signed(self.divided(40, 8_000))
    }

    /// After a dial was given up, or its deadline has passed, how long the call may still be in the making
    /// at Vapi. The list must have shown calls made later than that before absence is proof.
    pub fn settling(&self) -> SignedDuration {
        signed(self.divided(30, 1_000))
    }

    /// How much later the list must still be without an unanswered dial's call, where it shows no other
    /// call made since, for its absence to be proof. With [`Timers::settling`] before it, longer than the
    /// minute that Vapi's own example waits for; with a pass each minute after it, an unknown dial is
    /// settled within three.
    pub fn absence(&self) -> SignedDuration {
        signed(self.divided(45, 5_000))
    }

    /// How long before a held line's taking the list of calls is read from: clocks differ.
    pub fn clock_skew(&self) -> SignedDuration {
        SignedDuration::from_secs(30)
    }

    /// Vapi may count a call for this long after its end, and not yet one that was made this long ago; clocks differ
    /// by no more.
    pub fn blur(&self) -> SignedDuration {
        signed(self.divided(5, 250))
    }

    /// Dialing rests this long after the `consecutive`-th over-limit or overloaded answer in a row:
    /// 2 s, doubling up to 32 s.
    pub fn hold_off(&self, consecutive: u32) -> SignedDuration {
        signed(self.divided(2 << consecutive.saturating_sub(1).min(4), 100))
    }

    /// A breaker that has opened for the `row`-th time in a row lets nothing ahead for this long: 15 s,
    /// doubling up to 4 min.
    pub fn breaker_delay(&self, row: u32) -> SignedDuration {
        signed(self.divided(15 << row.saturating_sub(1).min(4), 400))
    }

    /// A probe that has not failed for this long is in the way of no other one. Longer than a dial may take, and
    /// than a telephone rings.
    pub fn probing(&self) -> SignedDuration {
        signed(self.divided(120, 4_000))
    }

    /// Without trouble for this long, outbound's lowered cap rises by a step.
    pub fn quiet(&self) -> SignedDuration {
        signed(self.divided(60, 250))
    }

    /// After this, a failure says nothing any more.
    pub fn forgetting(&self) -> SignedDuration {
        signed(self.divided(600, 10_000))
    }

    /// A lead whose set-up failed by no fault of its own is tried again after this: 30 s, doubling.
    pub fn setup_backoff(&self, failures: u32) -> SignedDuration {
        signed(self.divided(30 << failures.saturating_sub(1).min(5), 200))
    }

    /// After this since its taking, a line is free whatever else is known: the longest call that was
    /// asked for, a minute of ringing on each side, and a wide margin. The only end without proof (P5).
    pub fn line_ceiling(&self, max_call: SignedDuration) -> SignedDuration {
        self.scaled(max_call + SignedDuration::from_mins(12)).max(SignedDuration::from_secs(15))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).expect("a span of at most hours fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_cannot_outlive_its_deadline_at_any_speed() {
        for speed in [0.0, 1.0, 5.0, 60.0, 1e6, f64::NAN] {
            let timers = Timers::at_speed(speed);
            assert!(signed(timers.dial_timeout()) * 2 <= timers.dial_deadline(), "{speed}");
        }
    }

    #[test]
    fn hold_off_doubles_and_stops_growing() {
        let timers = Timers::default();
        let seconds: Vec<_> = (0..8).map(|n| timers.hold_off(n).as_secs()).collect();
        assert_eq!(seconds, [2, 2, 4, 8, 16, 32, 32, 32]);
    }
}
