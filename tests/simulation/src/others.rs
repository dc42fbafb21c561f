//! What is promised about lines that others of the subscription use: a call of a known organisation is counted once,
//! a stranger's message moves nothing, and an estimate of what nobody tells of is never more than the truth.
//!
//! An estimate is compared with what Vapi's counter had in use when its figures were told, without the calls that
//! could be known then. Where clocks, answers and the counter are further off than the code allows for, that is left
//! out: nobody could tell.

use headroom::core::line::LineKey;
use jiff::Timestamp;
use vapi_sim::{CallTruth, Config, Sim};

use crate::items::Ledger;
use crate::plan::{Plan, SIBLING_ID, Sight};
use crate::promises::{Checked, ensure};

/// What Headroom allows for between Vapi's counter and the times that it reads.
const ALLOWED_MS: f64 = 5000.0;
/// A suspicion that no list was compared with is believed for so long, an estimate of the pass for longer.
const SUSPECTED_MS: i64 = 75_000;
/// Believed without a confirmation for no longer than this.
const LONGEST_MS: i64 = 180_000;
/// The list goes back as far as this at least.
const LISTED_MS: f64 = 9.0 * 60e3;

/// How far apart things are in a history, and who else is there.
#[derive(Debug, Default)]
pub struct Others {
    sight: Option<Sight>,
    skew_ms: f64,
    lag_ms: f64,
    list_lag_ms: f64,
    latency_ms: f64,
    is_exact: bool,
}

impl Others {
    pub(crate) fn of(plan: &Plan) -> Self {
        let skew_ms = plan.skew.as_secs_f64() * 1e3;
        let lag_ms = plan.counter.lag_seconds * 1e3;
        // A call is made halfway through its request.
        let latency_ms = plan.telephony.api_latency_ms.1 / 2.0 + 20.0;
        Self {
            sight: plan.sibling.as_ref().map(|sibling| sibling.sight),
            skew_ms,
            lag_ms,
            list_lag_ms: plan.vapi.list_lag_seconds * 1e3,
            latency_ms,
            is_exact: skew_ms + lag_ms + latency_ms < ALLOWED_MS && plan.rates.freeze == 0.0,
        }
    }

    /// Whether webhooks or a list tell of the organisation's calls.
    pub(crate) fn knows(&self, org: &str) -> bool {
        org == Config::default().org_id || self.sight.is_some_and(Sight::is_known)
    }

    /// Lines that every clock believes to be others'.
    pub(crate) fn believed(&self, ledger: &Ledger, now: Timestamp) -> i64 {
        let latest = now.as_millisecond() + self.skew_ms.ceil() as i64;
        ledger.unseen.filter(|unseen| unseen.until > latest).map_or(0, |unseen| unseen.lines)
    }

    /// The ledger was written: what is new on it about others is true.
    pub(crate) fn written(&self, before: &Ledger, ledger: &Ledger, vapi: &Sim, now: Timestamp) -> Checked {
        ensure(ledger.org.as_deref() != Some(SIBLING_ID), "P7", || {
            "the first key is taken for the other organisation's".into()
        })?;
        for (key, _) in ledger.new_since(before) {
            let Ok(LineKey::Observed(id)) = key.parse() else { continue };
            let call = vapi.calls(|call| call.id.to_string() == id.as_str());
            let is_ours = call.iter().all(|call| self.knows(&call.org_id));
            ensure(is_ours || before.org.is_none(), "P7", || {
                format!("the line of {id} was taken for a call of an organisation that is none of the pool's")
            })?;
        }
        match ledger.unseen.filter(|_| ledger.unseen != before.unseen) {
            Some(unseen) if unseen.until - unseen.at > SUSPECTED_MS => self.estimated(unseen, vapi, now),
            _ => Ok(()),
        }
    }

    /// A pass estimates the lines that nobody tells of.
    fn estimated(&self, unseen: Estimate, vapi: &Sim, now: Timestamp) -> Checked {
        let longest = now.as_millisecond() + LONGEST_MS + self.skew_ms.ceil() as i64;
        ensure(unseen.until <= longest, "P1", || {
            format!("an estimate is believed for {} ms too long", unseen.until - longest)
        })?;
        if !self.is_exact {
            return Ok(());
        }
        let at = unseen.at as f64;
        let (from, to) = (at - self.skew_ms - self.latency_ms, at + self.skew_ms);
        let begun_by = to + 1.0;
        let calls = vapi.calls(|call| call.held_line);
        let counted = calls.iter().filter(|call| {
            call.created_at_ms <= begun_by
                && call.ended_at_ms.is_none_or(|end| end + self.lag_ms + 1.0 >= from)
        });
        let most: i64 =
            counted.map(|call| i64::from(call.lines) - i64::from(self.is_listed(call, from))).sum();
        ensure(unseen.lines <= most, "P1", || {
            format!("{} lines are believed to be others', who could have {most} at most", unseen.lines)
        })
    }

    /// Whether each list that was read after `at` shows this call, at one time or another of its life.
    fn is_listed(&self, call: &CallTruth, at: f64) -> bool {
        let age = at - call.created_at_ms;
        self.knows(&call.org_id) && age >= self.list_lag_ms && age <= LISTED_MS
    }

    /// When all is over, nobody else is believed to use a line.
    pub(crate) fn at_end(&self, ledger: &Ledger, now: Timestamp) -> Checked {
        let believed = self.believed(ledger, now);
        ensure(believed == 0, "P1", || format!("{believed} lines are still believed to be others'"))
    }
}

/// Lines that others are believed to use, as the item says: as of when, and until when, in milliseconds of the Unix
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    pub(crate) lines: i64,
    pub(crate) at: i64,
    pub(crate) until: i64,
}

impl Estimate {
    pub(crate) fn of(text: &str) -> Self {
        let words: Vec<i64> = text.split(' ').map(|word| word.parse().unwrap_or(-1)).collect();
        Self { lines: words[0], at: words[1], until: words[2] }
    }
}
