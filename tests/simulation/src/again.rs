//! Retries: what a campaign says of them, and whether Vapi saw it kept.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vapi_sim::CallTruth;

/// When somebody is called again, by the reason that Vapi tells: most calls that may end so, and how many seconds
/// after the first and after each further one.
#[derive(Debug, Clone, Copy)]
pub struct Again {
    rules: [(&'static str, &'static str, u32, [u32; 2]); 3],
}

impl Default for Again {
    fn default() -> Self {
        Self {
            rules: [
                ("busy", "customer-busy", 20, [60, 60]),
                ("noAnswer", "customer-did-not-answer", 20, [120, 120]),
                ("voicemail", "voicemail", 1, [120, 120]),
            ],
        }
    }
}

impl Again {
    /// Rules of a seed.
    pub fn of(c: &mut fastrand::Rng) -> Self {
        let mut again = Self::default();
        for (_, _, most, after) in &mut again.rules {
            *most = c.u32(1..=3);
            *after = [c.u32(20..=150), c.u32(20..=150)];
        }
        again
    }

    /// As a campaign's `retry` says it.
    pub fn outcomes(&self) -> Value {
        let rules = self.rules.iter().map(|(name, _, most, after)| {
            let after = after.map(|seconds| format!("{seconds}s"));
            ((*name).to_owned(), json!({ "attempts": most, "after": after }))
        });
        // No history lasts for the two hours that would be meant otherwise.
        let failed = ("setupFailure".to_owned(), json!({ "after": ["2m"] }));
        Value::Object(rules.chain([failed]).collect())
    }

    /// What is wrong with calling a person at `now` who had these calls before, on clocks that are `skew` off at most.
    pub fn wrong(&self, before: &[CallTruth], now: Timestamp, skew: SignedDuration) -> Option<String> {
        for (_, reason, most, after) in &self.rules {
            let alike: Vec<&CallTruth> =
                before.iter().filter(|call| call.ended_reason.as_deref() == Some(reason)).collect();
            if alike.len() >= *most as usize {
                return Some(format!("{} calls ended with {reason}, {most} may", alike.len()));
            }
            let latest = before.iter().filter_map(|call| call.ended_at_ms).fold(0.0, f64::max);
            let is_latest = |call: &&&CallTruth| call.ended_at_ms == Some(latest);
            if alike.iter().any(|call| is_latest(&call)) {
                let seconds = after[(alike.len() - 1).min(1)];
                let early = latest as i64 + i64::from(seconds) * 1000 - now.as_millisecond();
                // One clock decided when the call is due, another that it is.
                if early > 2 * skew.as_millis() as i64 + 1000 {
                    return Some(format!("{early} ms before the {seconds} s after {reason} are over"));
                }
            }
        }
        None
    }
}
