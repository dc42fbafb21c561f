//! The life of campaigns: what people ask of them, and the sweeps over their leads that follow.
//!
//! A wish is one conditional write of the campaign's item. The dispatcher reads that item before each taking of lines,
//! and a dial that was held up reads it again, so a pause or a cancel holds within a second; calls go on (P6).
//!
//! Cancelling ends the leads that wait, rerunning makes ready those that failed, new hours bring those forward that were
//! put off by the old ones: one write for each, of the lead alone, by whoever dispatches first. A sweep is held for
//! [`crate::core::timers::Timers::settling`] at a time.
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | the wish, or the edit | a campaign that is cancelling or rerunning, or has new hours | the next wake-up or pass sweeps |
//! | some leads | the others as they were | once nobody holds the sweep, the next one goes on where it was |
//! | all leads, before the figures | the campaign still cancelling or rerunning, none left to move | the same |
//! | the figures | counters of a campaign that is over on the ledger | the pass takes them off |
//!
//! A dispatcher that was held up for over a second may put a lead off by the old hours behind the sweep: it waits until
//! they open. A write of a sweep that is applied minutes late finds the lead in another rerun, or over, and changes
//! nothing; or, if the lead came in while the rerun was being asked for, makes it ready in a campaign that is over. The
//! pass looks for such leads for a day.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::campaign::{Campaign, CampaignState, Spec};
use crate::core::ids::{CampaignCode, CampaignId, LeadRef};
use crate::core::lead::{Lead, LeadState};
use crate::core::life::{Act, EditError, NewHours, Next, Unreached, Wish, edited};
use crate::core::pool::Pool;
use crate::core::refusal::Refusal;
use crate::table::TableError;
use crate::table::campaigns::Changed;

use super::App;
use super::callbacks::CallbackFigures;
use super::dispatch::TIME_TO_END;
use super::kpi::Forecast;
use super::status::CampaignStatus;

/// Why a wish was not met.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// There is no such campaign.
    #[error("there is no campaign {0}")]
    Unknown(CampaignId),
    /// Not as things are.
    #[error("{id} stays {state}: {why}")]
    Not {
        /// The campaign.
        id: CampaignId,
        /// Its state.
        state: &'static str,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The settings cannot be so.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Others kept changing it.
    #[error("the campaign changed at each of {TRIES} tries; try again")]
    Busy,
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] TableError),
}

const TRIES: u32 = 10;
/// Leads that a sweep reads, and moves before it says how far it has come: some hundred milliseconds' worth.
const PAGE: i32 = 1_000;
/// Leads of them being written at once.
const WRITES_AT_ONCE: usize = 32;
/// So long after a change of a campaign's hours nobody puts leads off by the old ones: that is done on no older a look,
/// unless a dispatcher is held up.
const NEW_HOURS_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// Two openings are as far apart as that at least. Those who are put off to one are microseconds apart.
const A_MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// For how long after its last rerun the pass looks for a late lead of a campaign that is over.
const LATE: SignedDuration = SignedDuration::from_hours(24);
/// After this a sweep that found none to move though the index shows some looks again.
const INDEX_LAG: Duration = Duration::from_secs(1);
/// After this one that could not tell how its campaign's leads ended looks again.
const UNTOLD: Duration = Duration::from_secs(30);

impl App {
    /// Does what `by` wants of a campaign. Returns it as it is then. What is so already is no change, and leaves no record.
    pub async fn ask_campaign(
        &self,
        id: &CampaignId,
        wish: &Wish,
        by: &str,
    ) -> Result<Campaign, CampaignError> {
        for _ in 0..TRIES {
            let seen = self.known(id).await?;
            let now = self.clock.now();
            let to = match wish.after(&seen.state, by, now) {
                Next::To(to) => to,
                Next::Already => return Ok(seen),
                Next::Not(why) => {
                    return Err(CampaignError::Not { id: id.clone(), state: seen.state.name(), why });
                }
            };
            let act = Act::new(now, by, &wish.done());
            if let Changed::Now(campaign) = self.table.change_campaign(&seen, &to, &act).await? {
                tracing::info!(campaign.id = %id, from = seen.state.name(), to = to.name(), by, "campaign changed");
                self.wake_dispatcher(Duration::ZERO).await;
                return Ok(*campaign);
            }
        }
        Err(CampaignError::Busy)
    }

    /// Merges `patch` into a campaign's settings, in the name of `by`, for the dials to come. Returns the campaign as it
    /// is then.
    pub async fn edit_campaign(
        &self,
        id: &CampaignId,
        patch: &Map<String, Value>,
        by: &str,
    ) -> Result<Campaign, CampaignError> {
        for _ in 0..TRIES {
            let seen = self.known(id).await?;
            let (spec, what) = edited(&seen.spec, patch)?;
            if what.is_empty() {
                return Ok(seen);
            }
            let act = Act::new(self.clock.now(), by, &what);
            if let Changed::Now(campaign) = self.table.edit_campaign(&seen, &spec, &act).await? {
                tracing::info!(campaign.id = %id, change = what, by, "campaign's settings changed");
                self.wake_dispatcher(Duration::ZERO).await;
                if let Some(hours) = &campaign.new_hours {
                    self.wake_at(hours.since + NEW_HOURS_AFTER).await;
                }
                return Ok(*campaign);
            }
        }
        Err(CampaignError::Busy)
    }

    async fn known(&self, id: &CampaignId) -> Result<Campaign, CampaignError> {
        let campaign = self.table.read_campaign(&CampaignCode::of(id)).await?;
        // Codes are short: another id may have the same one.
        campaign.filter(|campaign| campaign.spec.id == *id).ok_or_else(|| CampaignError::Unknown(id.clone()))
    }

    /// A campaign as it is now, if its leads are being called.
    pub(super) async fn running(&self, code: &CampaignCode) -> Result<Option<Campaign>, TableError> {
        let campaign = self.table.read_campaign(code).await?;
        Ok(campaign.filter(|campaign| campaign.state == CampaignState::Running))
    }

    /// Whether the leads of a campaign are to be moved on: it is being cancelled or rerun, or its hours were changed.
    pub(super) fn is_swept(&self, campaign: &Campaign) -> bool {
        match campaign.state {
            CampaignState::Cancelling | CampaignState::Rerunning { .. } => true,
            CampaignState::Running => {
                let is_seen = |hours: &NewHours| hours.since + NEW_HOURS_AFTER <= self.clock.now();
                campaign.new_hours.as_ref().is_some_and(is_seen)
            }
            CampaignState::Draft
            | CampaignState::Paused { .. }
            | CampaignState::Cancelled
            | CampaignState::Finished => false,
        }
    }

    /// Moves on the leads of a campaign that [is swept](App::is_swept), for as long as nobody else does and there is
    /// time before `until`.
    pub(super) async fn sweep(&self, seen: &Campaign, until: Timestamp) -> Result<(), TableError> {
        let now = self.clock.now();
        if seen.sweep.held_until.is_some_and(|held| now < held) {
            return Ok(());
        }
        let held = held_until(now, self.timers.settling());
        let Some(campaign) = self.table.hold_sweep(seen, now, held).await? else { return Ok(()) };
        let mut sweep = Holder { app: self, campaign, held, until };
        let again = match &sweep.campaign.state {
            CampaignState::Cancelling => sweep.end_waiting().await?,
            CampaignState::Rerunning { only, after } => {
                let (only, after) = (only.clone(), after.clone());
                sweep.make_ready(&only, after).await?
            }
            CampaignState::Running => match sweep.campaign.new_hours.clone() {
                // Changed once more since the campaigns were listed: that edit has its own wake-up.
                Some(hours) if self.is_swept(&sweep.campaign) => sweep.bring_forward(hours).await?,
                Some(_) | None => sweep.let_go().await.map(|()| None)?,
            },
            CampaignState::Draft
            | CampaignState::Paused { .. }
            | CampaignState::Cancelled
            | CampaignState::Finished => None,
        };
        if let Some(delay) = again {
            self.wake_dispatcher(delay).await;
        }
        Ok(())
    }

    /// A campaign that is over: its counters go off the ledger, if whoever finished it died before that, and a lead that
    /// a late write of a rerun has made ready gets its campaign back.
    pub(super) async fn look_after_over(&self, campaign: &Campaign, pool: &Pool) -> Result<bool, TableError> {
        self.table.close_campaign(pool, &campaign.code).await?;
        let is_late = |reran: Timestamp| self.clock.now() < reran + LATE;
        if campaign.reran.is_some_and(is_late)
            && self.table.first_due(&campaign.code, campaign.lanes).await?.is_some()
        {
            return match campaign.state {
                CampaignState::Cancelled => self.table.recancel_campaign(&campaign.code).await,
                _ => self.table.reopen_campaign(campaign, self.clock.now()).await,
            };
        }
        Ok(false)
    }
}

/// To the millisecond, as the table keeps it: the instant is what tells one holder from another.
fn held_until(now: Timestamp, span: SignedDuration) -> Timestamp {
    let until = now + span;
    Timestamp::from_millisecond(until.as_millisecond()).unwrap_or(until)
}

/// Who has a sweep.
struct Holder<'a> {
    app: &'a App,
    campaign: Campaign,
    held: Timestamp,
    until: Timestamp,
}

impl Holder<'_> {
    /// Ends the leads that wait. Returns when to look again: nothing if somebody else has the sweep, or the campaign is
    /// over, or waits for its calls, whose ends wake the dispatcher.
    async fn end_waiting(&mut self) -> Result<Option<Duration>, TableError> {
        let table = &self.app.table;
        let (code, run) = (self.campaign.code.clone(), self.campaign.run);
        loop {
            if self.is_late() {
                return self.let_go().await.map(|()| Some(Duration::ZERO));
            }
            let waiting = table.waiting_leads(&code, self.campaign.lanes, PAGE).await?;
            if waiting.is_empty() {
                break;
            }
            let mut ended = 0;
            for few in waiting.chunks(WRITES_AT_ONCE) {
                let ends = few.iter().map(|lead| table.cancel_lead(&code, lead, run));
                let ends = futures::future::try_join_all(ends).await?;
                ended += ends.into_iter().filter(|ended| *ended).count() as u32;
            }
            if ended == 0 {
                // The index is behind: all of these are over, or under way.
                return self.let_go().await.map(|()| Some(INDEX_LAG));
            }
            if !self.goes_on(ended, None).await? {
                return Ok(None);
            }
        }
        let pool = table.read_pool().await?;
        self.app.finish_if_over(&self.campaign, &pool).await?;
        self.let_go().await.map(|()| None)
    }

    /// Makes those ready who were not reached. Returns when to look again.
    async fn make_ready(
        &mut self,
        only: &[Unreached],
        mut after: Option<LeadRef>,
    ) -> Result<Option<Duration>, TableError> {
        let table = &self.app.table;
        let code = self.campaign.code.clone();
        // Off the ledger first: counters that are there would stay as they were before the rerun.
        let pool = table.read_pool().await?;
        if pool.campaigns.contains_key(&code) {
            table.close_campaign(&pool, &code).await?;
            if table.read_pool().await?.campaigns.contains_key(&code) {
                return self.let_go().await.map(|()| Some(INDEX_LAG));
            }
        }
        loop {
            if self.is_late() {
                return self.let_go().await.map(|()| Some(Duration::ZERO));
            }
            let (leads, last) = table.page_leads(&code, after.as_ref(), PAGE).await?;
            let now = self.app.clock.now();
            let chosen: Vec<_> = leads
                .iter()
                .filter(|(lead, _)| Unreached::of(&lead.state).is_some_and(|why| only.contains(&why)))
                // In their old order, and none of them later than now.
                .map(|(lead, turn)| ((&lead.lead, lead.lane), turn.due.min(now)))
                .collect();
            // Ready again, they would not show any more that they had ended.
            let untold: Vec<&Lead> =
                leads.iter().filter(|(_, turn)| turn.is_untold).map(|(lead, _)| lead).collect();
            if !self.app.tell_ends(&self.campaign, &untold).await? {
                return self.let_go().await.map(|()| Some(UNTOLD));
            }
            let mut moved = 0;
            for few in chosen.chunks(WRITES_AT_ONCE) {
                let moves =
                    few.iter().map(|(lead, due)| table.rerun_lead(&code, *lead, self.campaign.run, *due));
                let moves = futures::future::try_join_all(moves).await?;
                moved += moves.into_iter().filter(|moved| *moved).count() as u32;
            }
            let Some(last) = last else { break };
            if !self.goes_on(moved, Some(&last)).await? {
                return Ok(None);
            }
            after = Some(last);
        }
        // Read anew: a lead that is promised a call comes back in between.
        let campaign = table.read_campaign(&code).await?.unwrap_or_else(|| self.campaign.clone());
        let counted = table.count_leads(&code).await?;
        if table.run_again(&Campaign { run: self.campaign.run, ..campaign }, counted).await? {
            let again = counted.total - counted.done - counted.failed;
            tracing::info!(campaign.id = %self.campaign.spec.id, leads = again, "campaign runs again");
        }
        Ok(Some(Duration::ZERO))
    }

    /// Gives their turns back to those who were put off and may be called earlier by the new hours, or never: whoever
    /// chooses leads calls them, puts them off anew in their order, or ends them. Returns when to look again.
    async fn bring_forward(&mut self, hours: NewHours) -> Result<Option<Duration>, TableError> {
        let table = &self.app.table;
        let mut after = hours.after.clone();
        loop {
            if self.is_late() {
                return self.let_go().await.map(|()| Some(Duration::ZERO));
            }
            let (leads, last) = table.page_leads(&self.campaign.code, after.as_ref(), PAGE).await?;
            let now = self.app.clock.now();
            let is_earlier =
                |lead: &Lead, due: Timestamp| match self.app.opens(&self.campaign.spec, lead, now) {
                    Some(opens) if opens > now => due.duration_since(opens) >= A_MINUTE,
                    Some(_) | None => due > now,
                };
            let earlier: Vec<_> = leads
                .iter()
                .filter(|(lead, turn)| lead.state == LeadState::Ready && is_earlier(lead, turn.due))
                .filter_map(|(lead, turn)| Some((lead.next(), turn.due, turn.put_off_from?)))
                .collect();
            let mut moved = 0;
            for few in earlier.chunks(WRITES_AT_ONCE) {
                let moves = few.iter().map(|(next, due, was)| table.bring_forward(next, *due, *was));
                let moves = futures::future::try_join_all(moves).await?;
                moved += moves.into_iter().filter(|moved| *moved).count() as u32;
            }
            let Some(last) = last else { break };
            if !self.goes_on(moved, Some(&last)).await? {
                return Ok(None);
            }
            after = Some(last);
        }
        table.hours_settled(&self.campaign.code, self.held, &hours).await?;
        Ok(Some(Duration::ZERO))
    }

    fn is_late(&self) -> bool {
        self.app.clock.now() + TIME_TO_END >= self.until
    }

    /// Says how far it has come, and holds on. Returns whether this one still has the sweep.
    async fn goes_on(&mut self, moved: u32, after: Option<&LeadRef>) -> Result<bool, TableError> {
        let until = held_until(self.app.clock.now(), self.app.timers.settling());
        let is_held = self.app.table.sweep_on(&self.campaign, self.held, until, moved, after).await?;
        self.held = until;
        Ok(is_held)
    }

    /// Leaves the rest to others.
    async fn let_go(&self) -> Result<(), TableError> {
        let now = self.app.clock.now();
        self.app.table.sweep_on(&self.campaign, self.held, now, 0, None).await.map(|_| ())
    }
}

/// One campaign, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignDetail {
    /// Its state and figures.
    #[serde(flatten)]
    pub status: CampaignStatus,
    /// Its settings.
    pub campaign: Spec,
    /// When its first message was taken in.
    pub created: Timestamp,
    /// Its reruns so far.
    pub reruns: u32,
    /// What people did to it last, the oldest first.
    pub acts: Vec<ActStatus>,
    /// What its leads wait for, if they have waited for a line lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Refusal>,
    /// What its leads were promised, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callbacks: Option<CallbackFigures>,
    /// When it will be through, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// Leads by their reason, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<BTreeMap<String, u32>>,
}

/// What somebody did to a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActStatus {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What.
    pub what: String,
}

/// A page of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The leads, in no order that means anything.
    pub leads: Vec<LeadResult>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What became of a lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeadResult {
    /// The user's id for it.
    pub id: String,
    /// Its number, whole.
    pub number: String,
    /// `done`, `failed`, or where it is now.
    pub outcome: String,
    /// Why its last call ended, or why there was none.
    pub reason: Option<String>,
    /// Counted attempts, of its campaign's last run.
    pub attempts: u32,
    /// Vapi's id of its last call.
    pub call_id: Option<String>,
    /// When that was dialed.
    pub dialed_at: Option<Timestamp>,
}

/// How long after its last refusal a campaign still counts as waiting: the record is renewed once a minute.
const WAITING: SignedDuration = SignedDuration::from_mins(3);

impl App {
    /// One campaign: its state, figures and settings, who did what, and what it waits for. `with_outcomes` counts its
    /// leads by reason, for which all of them are read.
    pub async fn campaign(
        &self,
        id: &CampaignId,
        with_outcomes: bool,
    ) -> Result<CampaignDetail, CampaignError> {
        let campaign = self.known(id).await?;
        let status = self.campaign_status(&campaign).await?;
        let is_running = campaign.state == CampaignState::Running;
        let waits = if is_running { self.table.read_waiting(&campaign.code).await? } else { None };
        let since = self.clock.now() - self.timers.scaled(WAITING);
        let callbacks = self.callback_figures(&campaign).await?;
        let leads = &status.leads;
        let left = leads.ready + leads.dialing + leads.unknown + leads.live;
        let forecast = self.forecast(&campaign, left).await?;
        let outcomes = if with_outcomes { Some(self.outcomes(&campaign.code).await?) } else { None };
        Ok(CampaignDetail {
            status,
            created: campaign.created,
            reruns: campaign.run,
            acts: campaign
                .acts
                .iter()
                .map(|Act { at, by, what }| ActStatus { at: *at, by: by.clone(), what: what.clone() })
                .collect(),
            waits: waits.filter(|refusal| refusal.at >= since),
            callbacks,
            forecast,
            outcomes,
            campaign: campaign.spec,
        })
    }

    async fn outcomes(&self, code: &CampaignCode) -> Result<BTreeMap<String, u32>, TableError> {
        let (mut outcomes, mut after) = (BTreeMap::new(), None);
        loop {
            let (leads, last) = self.table.page_leads(code, after.as_ref(), 1_000).await?;
            for (lead, _) in leads {
                let why = match &lead.state {
                    LeadState::Done { reason } | LeadState::Failed { reason } => without_sentence(reason),
                    LeadState::Ready
                    | LeadState::Dialing { .. }
                    | LeadState::Unknown { .. }
                    | LeadState::Live { .. } => lead.state.name(),
                };
                *outcomes.entry(why.to_owned()).or_insert(0) += 1;
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(outcomes),
            }
        }
    }

    /// Up to `most` of a campaign's leads behind `after`, with what became of each.
    pub async fn results(
        &self,
        id: &CampaignId,
        after: Option<&LeadRef>,
        most: i32,
    ) -> Result<Results, CampaignError> {
        let campaign = self.known(id).await?;
        let (leads, last) = self.table.page_leads(&campaign.code, after, most).await?;
        let result = |(lead, turn): (Lead, crate::table::leads::Turn)| LeadResult {
            id: lead.id.as_str().to_owned(),
            number: lead.number.reveal().to_owned(),
            outcome: lead.state.name().to_owned(),
            reason: turn.reason,
            attempts: lead.attempts,
            call_id: lead.call.map(|call| call.as_str().to_owned()),
            dialed_at: lead.token.map(|token| token.since()),
        };
        Ok(Results {
            leads: leads.into_iter().map(result).collect(),
            next: last.map(|last| last.as_str().to_owned()),
        })
    }
}

/// A reason to count by: Vapi's sentences about single numbers are all one.
fn without_sentence(reason: &str) -> &str {
    let is_word = !reason.contains(' ') || reason.starts_with("no ");
    if is_word { reason } else { "refused by Vapi" }
}
