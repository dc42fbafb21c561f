//! What each refusal leaves behind: one record for a caller, and for a campaign one for each time it waits.
//!
//! Nothing rests on a record. A caller is answered and a campaign served whether it could be written or not;
//! where it could not, the log says so.

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::Campaign;
use crate::core::ended::Group;
use crate::core::ids::{CallId, NameCode};
use crate::core::lead::End;
use crate::core::line::{Kind, LineKey};
use crate::core::pool::Pool;
use crate::core::refusal::{Asker, Fate, Known, Means, Refusal, Refuser};
use crate::logging::chain;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::table::usage::UsageHour;
use crate::vapi::calls::Call;

use super::App;
use super::observe::PATIENCE;
use super::reject::rejects;

/// What the mean length of calls is taken from.
const USAGE: SignedDuration = SignedDuration::from_hours(24);
/// After so many passes without a look, what stood in a campaign's way is on record as new.
const ROW: i32 = 3;
/// Due leads that are looked at for one that may be called.
const LOOKED_AT: usize = 16;
/// When to look again for a lead that may be called, if there was none.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// Records of blocked callers under way at once.
const RECORDS_AT_ONCE: usize = 50;

impl App {
    /// Records why a caller, or a browser, found no line: once for each call.
    pub(super) async fn explain_refused(
        &self,
        call: &CallId,
        (kind, codes): (Kind, &[NameCode]),
        by: Refuser,
        fate: Fate,
        pool: &Pool,
    ) {
        let own = LineKey::Observed(call.clone());
        let asker = Asker { kind, codes, campaign: None, own: Some(&own) };
        let record = async {
            let refusal = self.refusal(&asker, by, fate, pool).await;
            self.table.record_refusal(call, &refusal).await
        };
        match tokio::time::timeout(PATIENCE, record).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(call.id = %call, error = chain(&error), "a refusal is not on record");
            }
            Err(_) => tracing::warn!(call.id = %call, "the table is slow; a refusal is not on record"),
        }
    }

    /// Records a caller whom Vapi itself turned away, if the end of their call says so.
    pub(super) async fn explain_blocked(
        &self,
        call: &CallId,
        (kind, codes): (Option<Kind>, &[NameCode]),
        end: &End,
        pool: &Pool,
    ) {
        if let Some(kind) = blocked(kind, end) {
            tracing::warn!(call.id = %call, kind = kind.name(), "caller blocked by Vapi: its own lines were full");
            tracing::trace!(target: METRICS, CallersBlocked = 1_u32);
            self.explain_refused(call, (kind, codes), Refuser::Vapi, Fate::Blocked, pool).await;
        }
    }

    /// The same for calls that Vapi lists and nobody told of.
    pub(super) async fn explain_listed(&self, calls: &[Call], pool: &Pool) {
        let blocked: Vec<&Call> =
            calls.iter().filter(|call| call.has_ended() && blocked(call.kind, &call.end).is_some()).collect();
        for few in blocked.chunks(RECORDS_AT_ONCE) {
            let explain = few.iter().map(|call| async {
                // They are listed again and again: a read is cheaper than a write that is refused.
                if let Ok(None) = self.table.read_refusal(&call.id).await {
                    self.explain_blocked(&call.id, (call.kind, &call.codes), &call.end, pool).await;
                }
            });
            futures::future::join_all(explain).await;
        }
    }

    /// Records what a campaign waits for: when it begins to wait, and then no more than once for each pass,
    /// however often somebody looks.
    pub(super) async fn explain_waiting(&self, campaign: &Campaign, by: Refuser, pool: &Pool) {
        if let Err(error) = self.record_waiting(campaign, by, pool).await {
            let campaign = &campaign.spec.id;
            tracing::warn!(campaign.id = %campaign, error = chain(&error), "what a campaign waits for is not on record");
        }
    }

    async fn record_waiting(&self, campaign: &Campaign, by: Refuser, pool: &Pool) -> Result<(), TableError> {
        let now = self.clock.now();
        let pass = SignedDuration::try_from(self.timers.pass_interval()).unwrap_or(SignedDuration::MAX);
        if by != Refuser::Vapi && self.memory.is_explained(&campaign.code, now) {
            return Ok(());
        }
        let last = self.table.read_waiting(&campaign.code).await?;
        // What Vapi itself says is news whenever the pool's own rules stood in the way before.
        let is_news = |last: &Refusal| by == Refuser::Vapi && last.rule != by.name();
        let before = if last.as_ref().is_some_and(is_news) { now } else { now - pass };
        if let Some(last) = last.as_ref().filter(|last| last.at > before) {
            self.memory.note_explained(&campaign.code, now, last.at + pass);
            return Ok(());
        }
        // A dial was on its way for some time, and outbound rests by now.
        let fresh = if by == Refuser::Vapi {
            Some(self.table.read_pool().await?)
        } else if self.has_callable(campaign, now).await? {
            None
        } else {
            self.memory.note_explained(&campaign.code, now, now + LOOK_AGAIN);
            return Ok(());
        };
        let pool = fresh.as_ref().unwrap_or(pool);
        let codes = campaign.spec.codes();
        let asker = Asker { kind: Kind::Outbound, codes: &codes, campaign: Some(campaign), own: None };
        let is_rejected = matches!(by, Refuser::Rule(rule) if rejects(rule)) && self.rejects(campaign, pool);
        let fate = if is_rejected { Fate::Rejected } else { Fate::Waits };
        let mut refusal = self.refusal(&asker, by, fate, pool).await;
        let granted = last_grant(campaign, pool);
        let goes_on = |last: &Refusal| {
            // Each dial that Vapi refuses was granted a line here.
            let nothing_granted = by == Refuser::Vapi || granted.is_none_or(|granted| granted <= last.at);
            last.rule == refusal.rule && last.at > now - pass * ROW && nothing_granted
        };
        if let Some(last) = last.filter(goes_on) {
            refusal.since = last.since;
        }
        self.table.record_waiting(&campaign.code, &refusal, before).await.map(|_| ())
    }

    /// Whether a lead of a campaign is due that may be called at `now`: else nobody is refused a line.
    async fn has_callable(&self, campaign: &Campaign, now: Timestamp) -> Result<bool, TableError> {
        let ready = self.table.ready_leads(&campaign.code, campaign.lanes, now, LOOKED_AT).await?;
        Ok(ready.iter().any(|lead| self.opens(&campaign.spec, lead, now) == Some(now)))
    }

    async fn refusal(&self, asker: &Asker<'_>, by: Refuser, fate: Fate, pool: &Pool) -> Refusal {
        let now = self.clock.now();
        let read = tokio::try_join!(self.table.list_campaigns(), self.means(now));
        // Who holds the lines is on the ledger; without the rest there are codes for names, and typical lengths.
        let (campaigns, means) = read.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "a refusal is recorded without names and lengths");
            Default::default()
        });
        let known = Known { campaigns: &campaigns, means, timers: &self.timers };
        Refusal::of(asker, by, fate, pool, &known, now)
    }

    /// The mean lengths of the last day's calls.
    pub(super) async fn means(&self, now: Timestamp) -> Result<Means, TableError> {
        let hours = self.table.read_usage(now - USAGE, now).await?;
        Ok(Means {
            inbound: mean(&hours, &["inboundPhoneCall"]),
            outbound: mean(&hours, &["outboundPhoneCall"]),
            web: mean(&hours, &["webCall", "vapi.websocketCall"]),
        })
    }
}

/// The mean length of calls of these types; nothing if none is known.
fn mean(hours: &[UsageHour], types: &[&str]) -> Option<SignedDuration> {
    let volumes = hours.iter().flat_map(|hour| &hour.by_type);
    let volumes = volumes.filter(|(kind, _)| types.contains(&kind.as_str()));
    let (calls, minutes) =
        volumes.fold((0, 0.0), |sum, (_, volume)| (sum.0 + volume.calls, sum.1 + volume.minutes));
    let seconds = minutes * 60.0 / calls as f64;
    (seconds.is_finite() && seconds > 0.0).then(|| SignedDuration::from_secs_f64(seconds.min(43_200.0)))
}

/// The kind of a call that Vapi turned away because its lines were full.
fn blocked(kind: Option<Kind>, end: &End) -> Option<Kind> {
    let over_limit = end.reason.as_deref().map(Group::of) == Some(Group::OverLimit);
    kind.filter(|kind| over_limit && matches!(kind, Kind::Inbound | Kind::Web))
}

/// When a campaign was last granted a line, as far as its held lines show. One that was granted and came back
/// between two looks is not noticed.
fn last_grant(campaign: &Campaign, pool: &Pool) -> Option<Timestamp> {
    let own = pool.lines.iter().filter(|(key, _)| match key {
        LineKey::Claim(claim) => claim.campaign == campaign.code,
        LineKey::Observed(_) => false,
    });
    own.map(|(_, token)| token.since()).max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::table::usage::Volume;

    #[test]
    fn a_mean_is_of_its_own_types_and_of_calls_that_were_made() {
        let hour = |calls, minutes| {
            let volume = |calls, minutes| Volume { calls, minutes };
            let by_type = [("webCall", volume(1, 90.0)), ("inboundPhoneCall", volume(calls, minutes))];
            let by_type: BTreeMap<_, _> = by_type.map(|(kind, volume)| (kind.to_owned(), volume)).into();
            UsageHour { start: Timestamp::UNIX_EPOCH, peak: 1, by_type }
        };
        let hours = [hour(1, 1.0), hour(0, 0.0), hour(3, 9.0)];
        assert_eq!(mean(&hours, &["inboundPhoneCall"]), Some(SignedDuration::from_secs(150)));
        assert_eq!(mean(&hours, &["outboundPhoneCall"]), None);
        assert_eq!(mean(&hours[1..2], &["inboundPhoneCall"]), None);
    }
}
