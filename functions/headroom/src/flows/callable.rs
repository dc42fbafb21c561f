//! Which of a campaign's leads may be called now.

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::Campaign;
use crate::core::ids::LineKey;
use crate::core::lead::ReadyLead;
use crate::table::TableError;

use super::dispatch::{Dispatch, TIME_TO_END};

/// Ready leads read beyond the room: some in the index were claimed a moment ago.
const SPARE_LEADS: usize = 8;
/// Leads put off at once whose window is closed.
const POSTPONED_AT_ONCE: usize = 64;

impl Dispatch<'_> {
    /// Ready leads whose window is open and that hold no line. Those whose own clock says that it is
    /// closed are put off until it opens.
    pub(super) async fn callable(
        &self,
        campaign: &Campaign,
        wanted: usize,
        now: Timestamp,
    ) -> Result<Vec<ReadyLead>, TableError> {
        // Those that are being dialed may not be claimed yet, and stand before the others until they are.
        let spare = SPARE_LEADS + self.dials.len();
        let Some(window) = &campaign.spec.window else {
            let ready =
                self.app.table.ready_leads(&campaign.code, campaign.lanes, now, wanted + spare).await?;
            return Ok(self.without_lines(ready));
        };
        // One clock for all: nobody need be put off, the pass looks again every minute.
        if !window.needs_recipient_zone() && window.opens(now, None) != Some(now) {
            return Ok(Vec::new());
        }
        let page = wanted.max(POSTPONED_AT_ONCE) + spare;
        while self.app.clock.now() + TIME_TO_END < self.until {
            let ready = self.app.table.ready_leads(&campaign.code, campaign.lanes, now, page).await?;
            if ready.is_empty() {
                break;
            }
            let opens = |lead: &ReadyLead| window.opens(now, lead.timezone.as_ref());
            let (open, closed): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|lead| opens(lead) == Some(now));
            let put_off = closed.iter().map(|lead| {
                // Unknown means never: such a lead is refused at the intake, so this is a guard.
                let due = opens(lead).unwrap_or(now + SignedDuration::from_hours(24));
                self.app.table.postpone(&lead.next, due)
            });
            futures::future::try_join_all(put_off).await?;
            let open = self.without_lines(open);
            if !open.is_empty() || closed.is_empty() {
                return Ok(open);
            }
        }
        Ok(Vec::new())
    }

    fn without_lines(&self, mut leads: Vec<ReadyLead>) -> Vec<ReadyLead> {
        leads.retain(|lead| !self.pool.lines.contains_key(&LineKey::Claim(lead.next.clone())));
        leads
    }
}
