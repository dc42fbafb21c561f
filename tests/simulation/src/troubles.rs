//! What calls need fails for a while: Vapi is slow, refuses or errs, the carrier, the model, the voice or the transcriber
//! fails. And what is promised of outbound's health: its cap stays between one line and the policy's, nobody dials past
//! it or an open breaker, callers find their lines all the same, and when the trouble is over, all is as before within
//! a bound.
//!
//! Whether a dial was held back is read off the item as it was written a while before: who takes a line has read it
//! a moment earlier. Where processes are frozen or writes late, nobody could tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use vapi_sim::Faults as VapiFaults;

use crate::items::{Ledger, number, text};
use crate::plan::{Change, Plan};
use crate::promises::{Checked, Violation, ensure};
use crate::world::World;

/// What is in trouble.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// Nothing any more.
    Over,
    /// `POST /call` takes so many seconds longer.
    Slow(f64),
    /// This share of it is refused with 429.
    Throttled(f64),
    /// This share of it is answered with 500.
    Errors(f64),
    /// This share of its connections is cut.
    Cut(f64),
    /// This share of calls fails for the carrier.
    Carrier(f64),
    /// For the model.
    Model(f64),
    /// For the voice.
    Voice(f64),
    /// For the transcriber.
    Transcriber(f64),
}

impl Trouble {
    /// What goes wrong at Vapi, on top of what does anyway.
    pub fn faults(self, anyway: &VapiFaults) -> VapiFaults {
        // A request suffers one fault at most, so the trouble is all that dials meet.
        let alone = VapiFaults {
            refuse_429: 0.0,
            error_5xx_before: 0.0,
            error_5xx_after: 0.0,
            reset: 0.0,
            answer_lost: 0.0,
            answer_hangs: 0.0,
            ..anyway.clone()
        };
        let anyway = anyway.clone();
        match self {
            Self::Over => anyway,
            Self::Slow(slow_seconds) => VapiFaults { slow_seconds, ..anyway },
            Self::Throttled(refuse_429) => VapiFaults { refuse_429, ..alone },
            Self::Errors(error_5xx_before) => VapiFaults { error_5xx_before, ..alone },
            Self::Cut(reset) => VapiFaults { reset, ..alone },
            Self::Carrier(carrier_fails) => VapiFaults { carrier_fails, ..anyway },
            Self::Model(model_fails) => VapiFaults { model_fails, ..anyway },
            Self::Voice(voice_fails) => VapiFaults { voice_fails, ..anyway },
            Self::Transcriber(transcriber_fails) => VapiFaults { transcriber_fails, ..anyway },
        }
    }
}

/// The draw for a seed in which there is trouble: two in five. From a draw of its own: all else is as without it.
pub(crate) fn draw(seed: u64) -> Option<fastrand::Rng> {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x7e0b_1e55);
    (chance.u8(0..5) < 2).then_some(chance)
}

/// Some spans of trouble, one after the other.
pub(crate) fn befall(t: &mut fastrand::Rng, chaos: Duration, changes: &mut Vec<(Duration, Change)>) {
    let mut at = chaos.mul_f64(t.f64() * 0.2);
    for _ in 0..t.u8(1..=3) {
        let share = if t.bool() { 1.0 } else { 0.5 + t.f64() / 2.0 };
        let troubles = [
            Trouble::Slow(1.0 + t.f64() * 4.0),
            Trouble::Throttled(share),
            Trouble::Errors(share),
            Trouble::Cut(share),
            Trouble::Carrier(share),
            Trouble::Carrier(share),
            Trouble::Model(share),
            Trouble::Voice(share),
            Trouble::Transcriber(share),
        ];
        changes.push((at, Change::Trouble(troubles[t.usize(0..troubles.len())])));
        at += chaos.mul_f64(0.1 + t.f64() * 0.4);
        changes.push((at.min(chaos.mul_f64(0.99)), Change::Trouble(Trouble::Over)));
        at += chaos.mul_f64(t.f64() * 0.2);
        if at >= chaos {
            break;
        }
    }
}

/// Callers are refused for want of lines alone.
pub(crate) fn refused_for_lines(item: &Value) -> Checked {
    let refusal: Value = serde_json::from_str(&text(item, "why").unwrap_or_default()).unwrap_or_default();
    let rule = refusal["rule"].as_str().unwrap_or_default();
    ensure(matches!(rule, "limit" | "shared" | "vapi"), "P1", || {
        format!("a caller was refused by the rule {rule}, which is for outbound alone")
    })
}

/// The longest that a breaker stays open, in milliseconds.
const LONGEST_MS: i64 = 4 * 60_000;
/// Good calls that close a breaker.
const PROBES: i64 = 3;
/// Who takes lines read the item this long before at most, in milliseconds: a few calls at the SDK's patience.
const READ_MS: i64 = 45_000;
/// The same where no call of theirs fails.
const READ_AT_ONCE_MS: i64 = 10_000;
/// A quiet minute.
const QUIET_MS: i64 = 60_000;
/// After the last failure: the longest delay of a breaker, ten minutes until it is forgotten, sixteen steps of the
/// cap, a minute each; and some for clocks and passes.
const WELL_WITHIN: Duration = Duration::from_secs((4 + 10 + 16 + 2) * 60);

/// How well outbound is going, as the item says.
#[derive(Debug, Default)]
pub(crate) struct HealthSeen {
    skew_ms: i64,
    /// Whether what was read is acted on at once.
    is_prompt: bool,
    /// Within so many milliseconds.
    read_ms: i64,
    /// The largest cap that outbound has had.
    top: i64,
    /// When the item was written last, in milliseconds.
    at: i64,
    /// The lowered cap, and when it moved last.
    low: Option<(i64, i64)>,
    /// Until when each breaker that has opened is.
    until: BTreeMap<String, i64>,
}

impl HealthSeen {
    pub(crate) fn of(plan: &Plan) -> Self {
        let rates = &plan.rates;
        let never_fails = rates.error == 0.0 && rates.lost == 0.0 && plan.outages.is_empty();
        Self {
            skew_ms: plan.skew.as_millis() as i64,
            is_prompt: rates.freeze == 0.0 && rates.delayed == 0.0 && rates.doubled == 0.0,
            read_ms: if never_fails { READ_AT_ONCE_MS } else { READ_MS },
            ..Self::default()
        }
    }

    /// The item was written.
    pub(crate) fn written(
        &mut self,
        item: &Value,
        ledger: &BTreeMap<String, Ledger>,
        now: Timestamp,
    ) -> Checked {
        let whole = |item: &Ledger| item.whole.as_ref().map_or(item.cap, |whole| whole.cap);
        self.top = self.top.max(ledger.get("LEDGER#0").map_or(0, whole));
        self.at = now.as_millisecond();
        let numbers =
            |text: &str| -> Vec<i64> { text.split(' ').map(|word| word.parse().unwrap_or(-1)).collect() };
        self.low = text(item, "low").map(|low| {
            let low = numbers(&low);
            (low[0], low[3])
        });
        if let Some((lines, _)) = self.low {
            ensure((1..self.top.max(2)).contains(&lines), "P1", || {
                format!("the lowered cap is {lines}, the policy's has been {} at most", self.top)
            })?;
        }
        let breakers = item["brk"]["M"].as_object().cloned().unwrap_or_default();
        self.until.clear();
        for (key, breaker) in breakers {
            let words = numbers(breaker["S"].as_str().unwrap_or_default());
            if let (Some(until), Some(good)) = (words.get(6), words.get(7)) {
                let longest = self.at + LONGEST_MS + self.skew_ms;
                ensure(*until <= longest, "P4", || {
                    format!("the breaker {key} is open for {} ms too long", until - longest)
                })?;
                ensure(*good < PROBES, "P4", || {
                    format!("the breaker {key} has seen {good} calls go well and is not closed")
                })?;
                self.until.insert(key, *until);
            }
        }
        ensure(number(item, "rev") > 0, "P7", || "the health has no revision".into())
    }

    /// Lines were taken for outbound, on top of `before`: the cap has room for them, and no breaker is open. All campaigns
    /// have one number and one assistant here.
    pub(crate) fn taken(&self, before: &Ledger, ours: i64, items: usize, now: Timestamp) -> Checked {
        let now = now.as_millisecond();
        if !self.is_prompt || now - self.at < self.read_ms {
            return Ok(());
        }
        let latest = now + self.skew_ms;
        for (key, until) in &self.until {
            ensure(*until <= latest, "P1", || {
                format!("{ours} lines for outbound while the breaker {key} is open for {} ms", until - latest)
            })?;
        }
        let Some((lines, moved)) = self.low.filter(|_| items == 1 && !self.until.contains_key("a")) else {
            return Ok(());
        };
        let top = before.cap.min(before.limit);
        let quiet = (latest - moved) / QUIET_MS;
        let most = lines + quiet * (top + 15) / 16;
        let held = before.outbound - before.foreign;
        ensure(held + ours <= most, "P1", || {
            format!("{ours} lines for outbound on top of {held}, the lowered cap being {most}")
        })
    }
}

impl World {
    /// Waits until outbound is well again, as the console says: the breakers closed, the cap the policy's. Nothing goes
    /// wrong any more, and nobody dials.
    pub(crate) async fn until_well(self: &Arc<Self>) -> Checked {
        let latest = Instant::now() + WELL_WITHIN;
        loop {
            let Some(health) = self.health().await else { return Ok(()) };
            let open = health.breakers.iter().any(|breaker| breaker.state != "closed");
            if health.cap == health.of && !open {
                return Ok(());
            }
            if Instant::now() > latest {
                let text = format!("not well {WELL_WITHIN:?} after the end: {health:?}");
                return Err(Violation { promise: "P4", text });
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
