//! How far the ledger is from what Vapi says: lines that others use and nobody tells of shrink what outbound may take,
//! and the difference is told by both its numbers.
//!
//! | when | compared with | believed for |
//! |---|---|---|
//! | each dial's answer that carries figures | the ledger, when the line was taken and now | until a pass has surely looked |
//! | the pass, from the newest answer to a call that is still up | all calls that the ledger and every list know | minutes |
//!
//! Where nobody else uses lines, an answer costs neither a read nor a write. Else it costs a read, and a write when what
//! is believed changes ([`crate::core::unseen::Sight::moves`]): for each line that comes to be others' one, once more in
//! 15 s for those that come back, and one in half a minute where nothing changes; times the items of the ledger.
//!
//! A dispatcher that dies before it has weighed an answer leaves the figures on the lead: the next answer, or the pass,
//! weighs them.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::App;
use super::dial::Dial;
use super::orgs::Listings;
use crate::core::lead::Lead;
use crate::core::line::{LineKey, Token};
use crate::core::pool::Pool;
use crate::core::unseen::{Known, Sight, Spans, Unseen};
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::vapi::dial::Limits;

/// How long a suspicion is believed that no list was compared with: until the next pass has surely looked. Vapi counts
/// the same lines to it, whosever they are.
const SUSPECTED: SignedDuration = SignedDuration::from_secs(75);
/// How soon an answer with less lowers it.
const STEADY: SignedDuration = SignedDuration::from_secs(15);
/// How long an estimate of the pass is believed if no newer answer confirms it: until a few passes have looked.
const ESTIMATED: SignedDuration = SignedDuration::from_mins(3);
/// Older figures tell nothing of the present.
const FRESH: SignedDuration = SignedDuration::from_secs(90);
/// How often an answer is weighed anew because another one was noted in between.
const WEIGHED: usize = 3;

impl App {
    /// After a dial, answered at `at`: what Vapi's own figures show beyond what the ledger knows, outbound leaves alone
    /// at once.
    pub(super) async fn weigh(&self, dial: &Dial, at: Timestamp, limits: &Limits) -> Result<(), TableError> {
        let (Some(_), Some(used)) = (limits.limit, limits.used()) else { return Ok(()) };
        let before = &dial.pool;
        // A call that was not made holds its line still.
        let own = u32::from(!limits.blocked);
        let held = |pool: &Pool| (pool.counts.total + own).saturating_sub(1);
        if used <= held(before) && before.unseen(at) == 0 {
            return Ok(());
        }
        let spans = Spans { believed: self.timers.scaled(SUSPECTED), steady: self.timers.scaled(STEADY) };
        for _ in 0..WEIGHED {
            // Read anew: a caller may have come while the dial was under way.
            let pool = self.table.read_pool().await?;
            let known = held(&pool).max(held(before));
            let old = |(key, token): &(&LineKey, &Token)| {
                **key != dial.lease.key
                    && before.lines.get(*key) == Some(*token)
                    && token.since() + self.timers.blur() <= at
            };
            let surely = pool.lines.iter().filter(old).count() as u32 + own;
            let sight = Sight { least: used.saturating_sub(known), most: used.saturating_sub(surely) };
            let Some(unseen) = sight.moves(pool.unseen, at, spans) else { return Ok(()) };
            let lines = unseen.map_or(0, |unseen| unseen.lines);
            if lines > pool.unseen(at) {
                tracing::warn!(
                    lines.vapi = used,
                    lines.ledger = pool.counts.total,
                    lines.unseen = lines,
                    "Vapi counts more lines in use than the ledger: outbound holds back"
                );
            }
            if self.table.note_unseen(&pool, unseen).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// In a pass: estimates the lines that others use from the newest figures, and says how far the ledger is off. By those
    /// figures if there are fresh ones, since they count everybody's lines; else by as many as the lists are `apart` from
    /// the ledger.
    pub(super) async fn calibrate<'a>(
        &self,
        pool: &Pool,
        leads: impl Iterator<Item = &'a Lead>,
        listings: &Listings,
        apart: i64,
    ) -> Result<(), TableError> {
        let now = self.clock.now();
        let newest = leads.filter_map(|lead| lead.figures).max_by_key(|figures| figures.at);
        let fresh = newest.filter(|figures| figures.at + self.timers.scaled(FRESH) >= now);
        // Without the lists, who is known is not known.
        let are_complete = listings.are_complete();
        let Some(figures) = fresh.filter(|_| are_complete) else {
            if are_complete {
                tracing::trace!(target: METRICS, LedgerDrift = apart);
            }
            if pool.unseen.is_some_and(|unseen| unseen.until <= now) {
                self.table.note_unseen(pool, None).await?;
            }
            return Ok(());
        };
        let known = known(pool, listings);
        let sight = figures.unseen(known.iter().copied(), self.timers.blur());
        let lines = sight.least;
        let (vapi, counted) = (figures.used, figures.counted(&known));
        let drift = i64::from(vapi) - i64::from(counted);
        tracing::info!(
            lines.vapi = vapi,
            lines.ledger = counted,
            unseen = lines,
            drift,
            "ledger compared with Vapi"
        );
        tracing::trace!(target: METRICS, LedgerDrift = drift, UnseenLines = lines);
        let left_out = figures.left_out(known, self.timers.blur());
        if left_out > 0 {
            tracing::warn!(
                lines.vapi = vapi,
                lines.left_out = left_out,
                "Vapi's figures leave out calls that its lists show: do all organisations share one subscription?"
            );
        }
        if pool.unseen.is_some_and(|believed| sight.leaves(believed, figures.at, now)) {
            return Ok(());
        }
        let unseen =
            (lines > 0).then(|| Unseen { lines, at: figures.at, until: now + self.timers.scaled(ESTIMATED) });
        if unseen.is_none() && pool.unseen.is_none() {
            return Ok(());
        }
        self.table.note_unseen(pool, unseen).await?;
        Ok(())
    }
}

/// Every call that the lists or the ledger know.
fn known(pool: &Pool, listings: &Listings) -> Vec<Known> {
    let calls: Vec<_> = listings.calls().filter(|call| call.is_live() || call.has_ended()).collect();
    let ids: HashSet<_> = calls.iter().map(|call| &call.id).collect();
    let claims: HashSet<_> = calls.iter().filter_map(|call| call.claim.as_ref()).collect();
    let listed = calls.iter().map(|call| {
        // Over, and nobody says since when: perhaps since now.
        let until = call.has_ended().then(|| call.ended.unwrap_or(Timestamp::MAX));
        (call.created.unwrap_or(Timestamp::MIN), until)
    });
    let others = pool.lines.iter().filter(|(key, _)| match key {
        LineKey::Claim(claim) => !claims.contains(claim),
        LineKey::Observed(call) => !ids.contains(call),
    });
    listed.chain(others.map(|(_, token)| (token.since(), None))).collect()
}
