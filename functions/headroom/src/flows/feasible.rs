//! On what terms a campaign would be called, for [`crate::core::feasible`]: which lines it would get, beside whom, how
//! fast, and how calls went lately. Reads only, and takes no list: whoever has the leads does the reckoning.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::App;
use crate::core::campaign::{Campaign, CampaignState, Spec};
use crate::core::feasible::{Odds, Other};
use crate::core::kpi::Sums;
use crate::core::line::Kind;
use crate::core::pool::Pool;
use crate::table::TableError;
use crate::table::usage::UsageHour;

/// How far back usage tells how many callers there are and how long calls last.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Calls that are enough to tell how calls go.
const ENOUGH: u64 = 50;
/// How long a call holds its line if nothing is known, in seconds.
pub const ASSUMED_SECONDS: f64 = 120.0;
/// Calls for each lead of another campaign that has no figures yet.
const ASSUMED_CALLS: f64 = 1.5;

/// The terms of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// As of when.
    pub now: Timestamp,
    /// How many times faster than life time goes.
    pub speed: f64,
    /// Lines that are reserved for its agent's dials.
    pub own: f64,
    /// Lines that it shares with other campaigns, without those that callers have on the average.
    pub shared: f64,
    /// Most lines that it may hold.
    pub lines: f64,
    /// What allows it no more, for people.
    pub lines_bound: String,
    /// Lines that callers had on the average lately.
    pub callers: f64,
    /// The campaigns that go first or have their part.
    pub others: Vec<Other>,
    /// Calls begun in a second at most, and what says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<(f64, String)>,
    /// Calls begun in a day at most, and what says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<(f64, String)>,
    /// Calls to one person within 24 hours at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_person: Option<u32>,
    /// How calls came lately; none if there were too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odds: Option<Odds>,
    /// How long a call holds its line, in seconds.
    pub call_seconds: f64,
    /// What the last two rest on, for people.
    pub rests_on: String,
    /// The hours by law, as [`crate::core::hours::CallingHours::parse`] reads them.
    pub hours: String,
}

impl App {
    /// The terms on which a campaign would be called now.
    pub async fn terms(&self, spec: &Spec) -> Result<Terms, TableError> {
        let now = self.clock.now();
        let (pool, campaigns, usage) = tokio::try_join!(
            self.table.read_pool(),
            self.table.list_campaigns(),
            self.table.read_usage(now - REMEMBERED, now)
        )?;
        let (odds, call_seconds, rests_on) = lately(spec, &campaigns, &usage);
        let callers = callers(&usage);
        let codes = spec.codes();
        let own = pool.reserves.bucket(&codes, Kind::Outbound).map_or(0, |bucket| bucket.reserved);
        let shared = (f64::from(pool.shared_for_outbound()) - callers).max(0.0);
        let (lines, lines_bound) = lines(spec, &pool, own, shared);
        let quotas = || pool.quotas.of(&codes);
        let per_second = quotas().filter_map(|(name, quota)| {
            Some((f64::from(quota.per_second?.get()), format!("the quota {name}")))
        });
        let own_rate = spec.per_second.map(|rate| (f64::from(rate.get()), "its own perSecond".to_owned()));
        let per_day = quotas()
            .filter_map(|(name, quota)| Some((f64::from(quota.per_day?.get()), format!("the quota {name}"))));
        let least = |a: &(f64, String), b: &(f64, String)| a.0.total_cmp(&b.0);
        Ok(Terms {
            now,
            speed: self.timers.speed(),
            own: own.into(),
            shared: shared.min(pool.policy.cap().into()),
            lines,
            lines_bound,
            callers,
            others: self.others(spec, &campaigns, &pool, call_seconds),
            per_second: per_second.chain(own_rate).min_by(least),
            per_day: per_day.min_by(least),
            per_person: self.often.per_day.map(std::num::NonZeroU32::get),
            odds,
            call_seconds,
            rests_on,
            hours: self.calling_hours.to_text(),
        })
    }

    /// The campaigns that would go before it, or have their part beside it. Leads of its own that wait go first.
    fn others(&self, spec: &Spec, campaigns: &[Campaign], pool: &Pool, call_seconds: f64) -> Vec<Other> {
        let running = campaigns.iter().filter(|other| other.state == CampaignState::Running);
        let competing = running.filter(|other| other.spec.priority <= spec.priority);
        let other = |other: &Campaign| {
            let (done, failed) = pool.over(other);
            let left = other.leads.unwrap_or_default().saturating_sub(done + failed);
            let pace = other.kpi.kept.as_ref().and_then(crate::core::kpi::Kept::pace);
            let each =
                pace.map_or(ASSUMED_CALLS * call_seconds, |pace| pace.calls_per_lead * pace.line_seconds);
            let most = other.spec.max_concurrency.map_or(pool.policy.cap(), |most| most.get());
            Other {
                id: other.spec.id.to_string(),
                ahead: other.spec.priority < spec.priority || other.spec.id == spec.id,
                weight: other.spec.weight.get().into(),
                lines: most.into(),
                line_seconds: f64::from(left) * each,
            }
        };
        competing.map(other).filter(|other| other.line_seconds > 0.0).collect()
    }
}

/// Most lines that a campaign may hold, and why no more.
fn lines(spec: &Spec, pool: &Pool, own: u32, shared: f64) -> (f64, String) {
    let policy = pool.policy;
    let in_all = f64::from(own) + shared;
    let bound = |lines: u32, what: String| (f64::from(lines), what);
    let free = match (own, policy.headroom()) {
        (0, 0) => format!("the {in_all:.1} lines that callers leave of {}", policy.limit()),
        (0, headroom) => {
            format!(
                "the {in_all:.1} lines that callers and a headroom of {headroom} leave of {}",
                policy.limit()
            )
        }
        (own, _) => format!("{own} reserved lines and {shared:.1} shared ones"),
    };
    let mut bounds = vec![bound(policy.cap(), format!("the cap of {} lines", policy.cap())), (in_all, free)];
    bounds.extend(
        spec.max_concurrency.map(|most| bound(most.get(), format!("its own maxConcurrency of {most}"))),
    );
    bounds.extend(pool.quotas.of(&spec.codes()).filter_map(|(name, quota)| {
        let lines = quota.lines?.get();
        Some(bound(lines, format!("the quota {name} of {lines} lines")))
    }));
    bounds.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a cap")
}

/// How calls came and how long they held lines: those of the same assistant if they are enough, else all, else usage.
fn lately(spec: &Spec, campaigns: &[Campaign], usage: &[UsageHour]) -> (Option<Odds>, f64, String) {
    let alike = |other: &Spec| other.assistant_id == spec.assistant_id && other.squad_id == spec.squad_id;
    let add = |is: &dyn Fn(&Spec) -> bool| {
        let kept =
            campaigns.iter().filter(|other| is(&other.spec)).filter_map(|other| other.kpi.kept.as_ref());
        kept.fold(Sums::default(), |sum, kept| sum.plus(kept.sums))
    };
    for (sums, whose) in [(add(&alike), "this assistant's"), (add(&|_| true), "all campaigns'")] {
        if let Some(odds) = Odds::of(&sums, ENOUGH) {
            let seconds = (sums.line_ms as f64 / 1000.0 / sums.calls() as f64).max(0.01);
            return (Some(odds), seconds, format!("{whose} {} calls so far", sums.calls()));
        }
    }
    let outbound = usage.iter().filter_map(|hour| hour.by_type.get("outboundPhoneCall"));
    let (calls, minutes) =
        outbound.fold((0, 0.0), |(calls, minutes), volume| (calls + volume.calls, minutes + volume.minutes));
    if calls >= ENOUGH {
        let seconds = (minutes * 60.0 / calls as f64).max(0.01);
        return (None, seconds, format!("the last week's {calls} outbound calls; who answers is assumed"));
    }
    (None, ASSUMED_SECONDS, "nothing: too few calls are known, so all of it is assumed".to_owned())
}

/// Lines that callers and browsers had on the average, over the hours that are known.
fn callers(usage: &[UsageHour]) -> f64 {
    if usage.is_empty() {
        return 0.0;
    }
    let of = |hour: &UsageHour| -> f64 {
        let kinds = hour.by_type.iter().filter(|(kind, _)| kind.as_str() != "outboundPhoneCall");
        kinds.map(|(_, volume)| volume.minutes).sum()
    };
    usage.iter().map(of).sum::<f64>() / 60.0 / usage.len() as f64
}
