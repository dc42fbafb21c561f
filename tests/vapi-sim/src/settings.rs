//! Changing settings while the simulation runs, and which of them make sense.

use serde::Serialize;

use crate::config::{Counter, Faults, Telephony, Traffic};

/// Settings that can be changed while the simulation runs, in part and from JSON.
pub trait Settings: Serialize + serde::de::DeserializeOwned {
    /// Says what makes no sense, if anything does.
    fn check(&self) -> Result<(), String>;

    /// These settings with the given members replaced. An unknown member is an error, since a fault
    /// that is misspelt would otherwise make a test pass.
    fn merged(&self, change: serde_json::Value) -> Result<Self, String> {
        let serde_json::Value::Object(change) = change else { return Err("a JSON object is wanted".into()) };
        let mut whole = serde_json::to_value(self).map_err(|error| error.to_string())?;
        for (name, value) in change {
            whole[name.as_str()] = value;
        }
        let merged: Self = serde_json::from_value(whole).map_err(|error| error.to_string())?;
        merged.check()?;
        Ok(merged)
    }
}

impl Settings for Faults {
    fn check(&self) -> Result<(), String> {
        let webhook = [self.webhook_lost, self.webhook_doubled, self.webhook_late];
        let answer = [
            self.answer_lost,
            self.answer_hangs,
            self.refuse_429,
            self.error_5xx_before,
            self.error_5xx_after,
            self.reset,
        ];
        let ends = [self.carrier_fails, self.model_fails, self.voice_fails, self.transcriber_fails];
        for shares in [&webhook[..], &answer[..], &ends[..], &[self.stuck]] {
            if shares.iter().any(|share| !(0.0..=1.0).contains(share))
                || shares.iter().sum::<f64>() > 1.0 + 1e-9
            {
                return Err(
                    "shares are from 0 to 1, and so is the sum of those that exclude each other".into()
                );
            }
        }
        if !self.webhook_late_seconds.is_ordered()
            || self.list_lag_seconds.is_nan()
            || self.list_lag_seconds < 0.0
            || self.slow_seconds.is_nan()
            || self.slow_seconds < 0.0
        {
            return Err("seconds are not negative, and the smaller number comes first".into());
        }
        Ok(())
    }
}

impl Settings for Counter {
    fn check(&self) -> Result<(), String> {
        if self.lag_seconds.is_nan() || self.lag_seconds < 0.0 {
            return Err("seconds are not negative".into());
        }
        Ok(())
    }
}

impl Settings for Traffic {
    fn check(&self) -> Result<(), String> {
        let sensible = |rate: f64| (0.0..=1e7).contains(&rate);
        if ![self.inbound_per_hour, self.web_per_hour, self.dials_per_hour].into_iter().all(sensible) {
            return Err("rates are calls per simulated hour, from 0 to ten million".into());
        }
        if !matches!(self.lines_per_dial, 1 | 2) {
            return Err("a call takes one line, a voice simulation two".into());
        }
        Ok(())
    }
}

impl Settings for Telephony {
    fn check(&self) -> Result<(), String> {
        let shares = [self.answer, self.no_answer, self.busy, self.voicemail, self.setup_failure];
        if shares.iter().any(|share| share.is_nan() || *share < 0.0) || shares.iter().sum::<f64>() <= 0.0 {
            return Err("shares are not negative, and at least one of them is above zero".into());
        }
        if !self.ring_seconds.is_ordered() || !self.api_latency_ms.is_ordered() {
            return Err("times are not negative, and the smaller number comes first".into());
        }
        if !(self.talk_seconds_mean >= 5.0 && self.inbound_talk_seconds_mean >= 5.0) {
            return Err("no talk is shorter than 5 s, so no mean is either".into());
        }
        Ok(())
    }
}
