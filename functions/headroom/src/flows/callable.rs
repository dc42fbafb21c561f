//! Which of a campaign's leads may be called now: one rule (`App::opens`), asked when leads are chosen and once more
//! right before `POST /call`. Those who may be called later are put off until then, so that no dispatcher looks at them
//! before; those who never may be again end as failed, for [`WINDOW_CLOSED`].
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | putting some leads off | the others, still due | the next dispatcher puts them off |
//! | ending some leads | the others, still ready | the next dispatcher ends them: it looks at all that are due, and at those whose turn would come at the campaign's end or later |

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::{BadLead, Campaign, NO_ZONE, NewLead, Spec};
use crate::core::fair::Lanes;
use crate::core::hours::{Person, WINDOW_CLOSED, needs_zone, opens, opens_at};
use crate::core::lead::{Lead, ReadyLead};
use crate::core::line::LineKey;
use crate::table::TableError;

use super::App;
use super::dispatch::{Dispatch, TIME_TO_END};

/// Ready leads read beyond the room: some in the index were claimed a moment ago.
const SPARE_LEADS: usize = 8;
/// Leads put off at once, or ended on one reading of the index.
const AT_ONCE: usize = 64;
/// Leads that came within so long after their campaign keep their order when they are put off to one opening; the first
/// of the later ones are called so long after it.
const IN_ORDER: SignedDuration = SignedDuration::from_secs(10);
/// Where a dial finds that a lead is not to be called any more: the dispatchers have this long to end it before it
/// would be chosen again.
const SET_ASIDE: SignedDuration = SignedDuration::from_hours(24);

impl App {
    /// The first instant from `now` on at which a person may be called for a campaign; none if they may never be again.
    pub(super) fn opens<'a>(
        &self,
        spec: &Spec,
        person: impl Into<Person<'a>>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        opens(spec, &self.calling_hours, &person.into(), now)
    }

    /// Takes those leads out of a message whose clock has to be known for the campaign and is not.
    pub fn refuse_without_zone(&self, spec: &Spec, leads: &mut Vec<NewLead>, bad: &mut Vec<BadLead>) {
        leads.retain(|lead| {
            let person =
                Person { number: Some(&lead.number), timezone: lead.timezone.as_ref(), is_promised: false };
            let is_good = !needs_zone(spec, &self.calling_hours, &lead.number) || !person.zones().is_empty();
            if !is_good {
                bad.push(BadLead { index: lead.index, reason: NO_ZONE.to_owned() });
            }
            is_good
        });
    }

    /// Puts a lead off that was claimed and given back because it may not be called now.
    ///
    /// Dies before: the lead is due at once, and whoever chooses leads puts it off.
    pub(super) async fn put_off(&self, lead: &Lead, opens: Option<Timestamp>) -> Result<(), TableError> {
        let now = self.clock.now();
        self.table.put_off(&lead.next(), now, opens.unwrap_or(now + SET_ASIDE)).await
    }
}

impl Dispatch<'_> {
    /// Whether anybody of a campaign may be called now. Ends those whose turn would come too late.
    pub(super) async fn is_open(&mut self, campaign: &Campaign) -> Result<bool, TableError> {
        let now = self.app.clock.now();
        let opens = opens_at(&campaign.spec, now);
        let end = campaign.spec.end_at;
        let too_late = match (opens, end) {
            (None, _) => Some(Timestamp::UNIX_EPOCH),
            (Some(_), end) => end,
        };
        if let Some(from) = too_late {
            self.end_from(campaign, campaign.lanes.ordinary(), from).await?;
        }
        // No window closes for those who are promised a call.
        if let Some(end) = end.filter(|_| campaign.lanes.callback) {
            let from = if now >= end { Timestamp::UNIX_EPOCH } else { end };
            self.end_from(campaign, Lanes::CALLBACK, from).await?;
        }
        Ok(opens == Some(now))
    }

    /// Ends the ready leads in these lanes of a campaign whose turn comes at `from` or later.
    async fn end_from(
        &mut self,
        campaign: &Campaign,
        lanes: Lanes,
        from: Timestamp,
    ) -> Result<(), TableError> {
        let most = AT_ONCE as i32;
        while self.app.clock.now() + TIME_TO_END < self.until {
            let late = self.app.table.ready_leads_from(&campaign.code, lanes, from, most).await?;
            let late = self.without_lines(late);
            // Others have changed the campaign, paused it perhaps: the next look shows what that means for its leads.
            if late.is_empty() || !self.is_as_seen(campaign).await? {
                return Ok(());
            }
            // None ended: the index is behind, or those are others' by now.
            if self.end_leads(campaign, late, WINDOW_CLOSED).await? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a campaign still runs, by the settings that it was seen with.
    async fn is_as_seen(&self, seen: &Campaign) -> Result<bool, TableError> {
        let now = self.app.running(&seen.code).await?;
        Ok(now.is_some_and(|now| now.revision == seen.revision))
    }

    /// Ready leads in these of its lanes that may be called now and hold no line.
    pub(super) async fn callable(
        &mut self,
        campaign: &Campaign,
        lanes: Lanes,
        wanted: usize,
        now: Timestamp,
    ) -> Result<Vec<ReadyLead>, TableError> {
        // Those that are being dialed may not be claimed yet, and stand before the others until they are.
        let spare = SPARE_LEADS + self.dials.len();
        let (mut page, mut moved) = (wanted, 0);
        let mut campaign = Cow::Borrowed(campaign);
        while self.app.clock.now() + TIME_TO_END < self.until {
            let ready = self.app.table.ready_leads(&campaign.code, lanes, now, page + spare).await?;
            if ready.is_empty() {
                break;
            }
            let (mut open, mut later, mut never) = (Vec::new(), Vec::new(), Vec::new());
            for lead in ready {
                match self.app.opens(&campaign.spec, &lead, now) {
                    Some(opens) if opens == now => open.push(lead),
                    Some(opens) => later.push((lead, opens)),
                    None => never.push(lead),
                }
            }
            // In their order then as well: as far apart as they came, and those who came as one a microsecond.
            let put_off = (moved..).zip(&later).map(|(place, (lead, opens))| {
                let behind = lead.due.duration_since(campaign.created).clamp(SignedDuration::ZERO, IN_ORDER);
                let place = SignedDuration::from_micros(place);
                let turn = *opens + behind + place;
                let is_open = self.app.opens(&campaign.spec, lead, turn) == Some(turn);
                self.app.table.put_off(&lead.next, now, if is_open { turn } else { *opens + place })
            });
            futures::future::try_join_all(put_off).await?;
            moved += later.len() as i64;
            let mut never = self.without_lines(never);
            if !never.is_empty() && !self.is_as_seen(&campaign).await? {
                never.clear();
            }
            let ended = self.end_leads(&campaign, never, WINDOW_CLOSED).await?;
            let open = self.without_lines(open);
            if !open.is_empty() || (later.is_empty() && ended == 0) {
                return Ok(open);
            }
            // Many more may be closed. Somebody may have changed its hours, or paused it, meanwhile.
            page = wanted.max(AT_ONCE);
            let Some(now) = self.app.running(&campaign.code).await? else { break };
            campaign = Cow::Owned(now);
        }
        Ok(Vec::new())
    }

    fn without_lines(&self, mut leads: Vec<ReadyLead>) -> Vec<ReadyLead> {
        leads.retain(|lead| !self.pool.lines.contains_key(&LineKey::Claim(lead.next.clone())));
        leads
    }
}
