//! What campaigns' calls come to: the talk that reports tell, the rounds of the minute pass that add all up, and how it
//! is shown. Where each call is counted, and why there, is in [`crate::core::kpi`].
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | a lead's outcome | its call counted, its talk untold | the report tells it, or the pass does, by Vapi's list or its record |
//! | some leads of a round | the figures of the round before | the next pass begins where this one did |
//! | the round's figures | nothing | |
//!
//! A pass reads 20 pages at most, those campaigns first whose figures are the oldest, and writes one item for each
//! campaign that it looked at. Where nothing moves it looks every quarter of an hour, and not at all once figures are final.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::App;
use crate::core::campaign::{Campaign, CampaignState};
use crate::core::hours::opens_at;
use crate::core::ids::CallId;
use crate::core::kpi::{Came, Kept, LATELY, Life, Pace, Round, Sums};
use crate::core::pool::Pool;
use crate::logging::chain;
use crate::table::TableError;
use crate::table::kpi::LeadCalls;
use crate::vapi::message::{CallEvent, Happened};

/// Leads on a page.
const PAGE: i32 = 1_000;
/// Pages that a pass reads.
const PAGES: usize = 20;
/// Pages of one campaign among them.
const PAGES_OF_ONE: usize = 5;
/// How often a campaign is looked at whose calls stand still.
const IDLE: SignedDuration = SignedDuration::from_mins(15);
/// For how long a call's talk is asked for. After that it counts as it is, with none.
const ASKED: SignedDuration = SignedDuration::from_hours(24);
/// For how long only the report and the list are waited for.
const RECENT: SignedDuration = SignedDuration::from_mins(10);
/// Calls that a pass asks Vapi for one by one.
const READS: usize = 20;

impl App {
    /// Adds what a report tells of how long its call talked.
    pub(super) async fn hear_talk(&self, event: &CallEvent) -> Result<(), TableError> {
        let (Happened::Ended(end), Some(talk)) = (&event.happened, event.talk) else { return Ok(()) };
        if !Came::of(end).is_some_and(Came::is_answered) {
            return Ok(());
        }
        for claim in &event.claims {
            if self.table.tell_talk(&claim.campaign, &claim.lead, &event.call, talk).await? {
                break;
            }
        }
        Ok(())
    }

    /// Adds up what the campaigns' calls came to. `told`: how long the calls talked that Vapi's list showed as ended.
    pub(super) async fn add_up(
        &self,
        campaigns: &[Campaign],
        pool: &Pool,
        told: &HashMap<CallId, SignedDuration>,
    ) -> Result<(), TableError> {
        let now = self.clock.now();
        let mut due: Vec<&Campaign> =
            campaigns.iter().filter(|campaign| self.is_due(campaign, pool, now)).collect();
        due.sort_by_key(|campaign| campaign.kpi.kept.as_ref().map(|kept| kept.at));
        let (mut pages, mut reads) = (PAGES, READS);
        for campaign in due {
            if pages == 0 {
                break;
            }
            self.add_up_one(campaign, told, &mut pages, &mut reads).await?;
        }
        Ok(())
    }

    /// Whether a campaign's figures may have moved since they were added up.
    fn is_due(&self, campaign: &Campaign, pool: &Pool, now: Timestamp) -> bool {
        let Some(kept) = &campaign.kpi.kept else {
            return campaign.state != CampaignState::Draft;
        };
        let is_over = campaign.state.is_over();
        if is_over && kept.is_final(life(campaign)) {
            return false;
        }
        let is_new = is_over && kept.over != Some(life(campaign));
        let is_idle = kept.still && kept.round.is_none() && pool.come(&campaign.code).0 == 0;
        is_new || !is_idle || now >= kept.at + self.timers.scaled(IDLE)
    }

    async fn add_up_one(
        &self,
        campaign: &Campaign,
        told: &HashMap<CallId, SignedDuration>,
        pages: &mut usize,
        reads: &mut usize,
    ) -> Result<(), TableError> {
        let before = campaign.kpi.kept.as_ref();
        let (life, is_over) = (life(campaign), campaign.state.is_over());
        // One that began in another life has leads that have moved since.
        let begun = before.and_then(|kept| kept.round.clone());
        let mut round = begun
            .filter(|round| round.life == life && round.is_over == is_over)
            .unwrap_or(Round { began: self.clock.now(), life, is_over, after: None, sums: Sums::default() });
        let mut left = (*pages).min(PAGES_OF_ONE);
        while left > 0 {
            let (leads, last) = self.table.page_calls(&campaign.code, round.after.as_ref(), PAGE).await?;
            (left, *pages) = (left - 1, *pages - 1);
            for lead in leads {
                let sums = self.tell_untold(campaign, lead, told, reads).await?;
                round.sums = round.sums.plus(sums);
            }
            let is_through = last.is_none();
            round.after = last;
            if is_through {
                let kept = Kept::after(before, round, self.timers.scaled(LATELY));
                return self.table.keep_figures(campaign, &kept).await.map(|_| ());
            }
        }
        let kept = match before {
            Some(kept) => Kept { round: Some(round), ..kept.clone() },
            // The first round of a large campaign: so far it has none.
            None => {
                let none = Round { sums: Sums::default(), after: None, is_over: false, ..round.clone() };
                Kept { round: Some(round), ..Kept::after(None, none, LATELY) }
            }
        };
        self.table.keep_figures(campaign, &kept).await.map(|_| ())
    }

    /// A lead's calls, with the talk of those added of which nobody has told yet and Vapi can.
    async fn tell_untold(
        &self,
        campaign: &Campaign,
        lead: LeadCalls,
        told: &HashMap<CallId, SignedDuration>,
        reads: &mut usize,
    ) -> Result<Sums, TableError> {
        let LeadCalls { lead, mut sums, untold, since } = lead;
        let age = since.map_or(SignedDuration::MAX, |since| self.clock.now().duration_since(since));
        for call in untold {
            let mut talk = told.get(&call).copied();
            let is_asked = age > self.timers.scaled(RECENT) && age <= ASKED && *reads > 0;
            if talk.is_none() && is_asked {
                *reads -= 1;
                talk = match self.get_call(&call).await {
                    Ok(found) => found.filter(|call| call.has_ended()).and_then(|call| call.talk),
                    Err(error) => {
                        tracing::warn!(call.id = %call, error = chain(&error), "how long a call talked is not known");
                        None
                    }
                };
            }
            match talk {
                // Told by its report meanwhile, it is in the next round.
                Some(talk) if self.table.tell_talk(&campaign.code, &lead, &call, talk).await? => {
                    sums.talk_ms += u64::try_from(talk.as_millis()).unwrap_or_default();
                }
                Some(_) => sums.untold += 1,
                None if age <= ASKED => sums.untold += 1,
                None => {}
            }
        }
        Ok(sums)
    }

    /// When a campaign will be through if it goes on as lately, and what that rests on; nothing if it does not run, or
    /// nobody can tell yet.
    pub(super) async fn forecast(
        &self,
        campaign: &Campaign,
        left: u32,
    ) -> Result<Option<Forecast>, TableError> {
        if campaign.state != CampaignState::Running {
            return Ok(None);
        }
        let Some(pace) = campaign.kpi.kept.as_ref().and_then(Kept::pace) else { return Ok(None) };
        let now = self.clock.now();
        // Those whose turn is next stand for the rest.
        let sample = self
            .table
            .ready_leads_from(&campaign.code, campaign.lanes, Timestamp::UNIX_EPOCH, SAMPLE)
            .await?;
        let opens = |at: Timestamp| match sample.is_empty() {
            true => opens_at(&campaign.spec, at),
            false => sample.iter().filter_map(|lead| self.opens(&campaign.spec, lead, at)).min(),
        };
        let at = pace.finish(left.into(), self.timers.speed(), now, opens);
        Ok(at.map(|at| Forecast { at, pace }))
    }
}

/// Leads that a forecast takes the hours of.
const SAMPLE: i32 = 5;

fn life(campaign: &Campaign) -> Life {
    (campaign.run, campaign.kpi.reopened)
}

/// What a campaign's calls came to, for people and scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KpiStatus {
    /// As of when.
    pub as_of: Timestamp,
    /// Whether they will not move any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Calls that were made.
    pub attempts: u64,
    /// Those that somebody answered, a person and no machine.
    pub answered: u64,
    /// Answered out of all, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_rate: Option<f64>,
    /// How long people talked.
    pub talk_seconds: f64,
    /// Answered calls whose length is not known yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untold: u64,
    /// How long calls held lines.
    pub line_seconds: f64,
    /// The same for each person reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_seconds_per_reached: Option<f64>,
    /// Calls by what they came to.
    pub outcomes: BTreeMap<String, u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl KpiStatus {
    /// A campaign's figures, if there are any yet.
    pub(super) fn of(campaign: &Campaign) -> Option<Self> {
        let kept = campaign.kpi.kept.as_ref()?;
        let sums = &kept.sums;
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let outcomes = Came::ALL.into_iter().map(|came| (came.name().to_owned(), sums.of(came)));
        Some(Self {
            as_of: kept.at,
            is_final: campaign.state.is_over() && kept.is_final(life(campaign)),
            attempts: sums.calls(),
            answered: sums.answered(),
            connect_rate: sums.connect_rate(),
            talk_seconds: seconds(sums.talk_ms),
            untold: sums.untold,
            line_seconds: seconds(sums.line_ms),
            line_seconds_per_reached: sums.line_seconds_per_reached(),
            outcomes: outcomes.filter(|(_, calls)| *calls > 0).collect(),
        })
    }
}

/// When a campaign will be through.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// When.
    pub at: Timestamp,
    /// If it goes on like this.
    #[serde(flatten)]
    pub pace: Pace,
}
