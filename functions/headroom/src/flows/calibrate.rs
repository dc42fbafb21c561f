//! How far the ledger is from what Vapi says: lines that others use and nobody tells of shrink what outbound may take,
//! and the difference is told by both its numbers.
//!
//! | when | compared with | believed for |
//! |---|---|---|
//! | a dial's answer shows no more room than callers are to have | the ledger at that instant | seconds, until the pass |
//! | the pass, from the newest answer to a call that is still up | all calls that the ledger and every list know | minutes |

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::App;
use super::orgs::Listings;
use crate::core::ids::LineKey;
use crate::core::lead::Lead;
use crate::core::pool::Pool;
use crate::core::unseen::{Known, Unseen};
use crate::table::TableError;
use crate::vapi::dial::Limits;

/// How long a suspicion is believed that no list was compared with: a call that Vapi still counts for a moment after
/// its end looks like somebody else's.
const SUSPECTED: SignedDuration = SignedDuration::from_secs(15);
/// How long an estimate of the pass is believed if no newer answer confirms it: until a few passes have looked.
const ESTIMATED: SignedDuration = SignedDuration::from_mins(3);
/// Older figures tell nothing of the present.
const FRESH: SignedDuration = SignedDuration::from_secs(90);

impl App {
    /// After a dial: if Vapi's own figures show no more room than callers are to have, and the ledger does not know
    /// why, outbound holds back at once. `seen` is the pool when the line was taken.
    pub(super) async fn suspect(&self, seen: &Pool, limits: &Limits) -> Result<(), TableError> {
        let (Some(limit), Some(used)) = (limits.limit, limits.used()) else { return Ok(()) };
        if limit - used > seen.policy.headroom() && !limits.blocked {
            return Ok(());
        }
        // Read anew: a caller may have come while the dial was under way.
        let pool = self.table.read_pool().await?;
        let now = self.clock.now();
        // A call that was not made holds its line still.
        let known =
            pool.counts.total.max(seen.counts.total) - u32::from(limits.blocked).min(pool.counts.total);
        let lines = used.saturating_sub(known);
        if lines <= pool.unseen(now) {
            return Ok(());
        }
        tracing::warn!(
            lines.vapi = used,
            lines.ledger = pool.counts.total,
            lines.unseen = lines,
            "Vapi counts more lines in use than the ledger: outbound holds back"
        );
        let until = now + self.timers.scaled(SUSPECTED);
        self.table.note_unseen(&pool, Some(Unseen { lines, at: now, until })).await
    }

    /// In a pass: estimates the lines that others use from the newest figures, and says how far the ledger is off.
    pub(super) async fn calibrate<'a>(
        &self,
        pool: &Pool,
        leads: impl Iterator<Item = &'a Lead>,
        listings: &Listings,
    ) -> Result<(), TableError> {
        let now = self.clock.now();
        let newest = leads.filter_map(|lead| lead.figures).max_by_key(|figures| figures.at);
        let fresh = newest.filter(|figures| figures.at + self.timers.scaled(FRESH) >= now);
        // Without the lists, who is known is not known.
        let Some(figures) = fresh.filter(|_| listings.are_complete()) else {
            return match pool.unseen {
                Some(unseen) if unseen.until <= now => self.table.note_unseen(pool, None).await,
                _ => Ok(()),
            };
        };
        let known = known(pool, listings);
        let lines = figures.unseen(known.iter().copied());
        let (vapi, counted) = (figures.used, figures.counted(&known));
        tracing::info!(
            lines.vapi = vapi,
            lines.ledger = counted,
            // These two are metrics by their names, which the template knows.
            unseen = lines,
            drift = i64::from(vapi) - i64::from(counted),
            "ledger compared with Vapi"
        );
        let left_out = figures.left_out(known);
        if left_out > 0 {
            tracing::warn!(
                lines.vapi = vapi,
                lines.left_out = left_out,
                "Vapi's figures leave out calls that its lists show: do all organisations share one subscription?"
            );
        }
        let unseen =
            (lines > 0).then(|| Unseen { lines, at: figures.at, until: now + self.timers.scaled(ESTIMATED) });
        if unseen.is_none() && pool.unseen.is_none() {
            return Ok(());
        }
        self.table.note_unseen(pool, unseen).await
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
