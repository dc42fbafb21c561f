//! The present figures for people and scripts: lines by kind, campaigns by what became of their leads.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::campaign::{Campaign, CampaignState};
use crate::core::health::{Health, Needs};
use crate::core::hours::opens_at;
use crate::core::ids::{AgentName, OrgName, PoolId};
use crate::core::lead::{Lead, LeadState};
use crate::core::line::Kind;
use crate::core::pacing::{Own, Ramp};
use crate::core::pool::Pool;
pub use crate::core::refusal::HeldLine;
use crate::core::reserve::{BucketKey, Reserve};
use crate::core::timers::Timers;
use crate::table::TableError;

use super::App;
use super::health::HealthStatus;
use super::kpi::KpiStatus;
use super::observe::held_claims;
use super::orgs::Org;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The pools.
    pub pools: Vec<PoolStatus>,
    /// The campaigns, in the order in which they are served.
    pub campaigns: Vec<CampaignStatus>,
}

/// A pool, in lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub id: String,
    /// Lines it has.
    pub limit: u32,
    /// The part of them that was purchased on top of the plan's, as far as somebody said so.
    #[serde(default)]
    pub purchased: u32,
    /// Most that outbound may hold.
    pub cap: u32,
    /// Shared lines that outbound leaves free for the next callers.
    pub headroom: u32,
    /// Held now.
    pub total: u32,
    /// Held by outbound, foreign included.
    pub outbound: u32,
    /// Held by outbound calls that Headroom did not dial.
    pub foreign: u32,
    /// Held by callers.
    pub inbound: u32,
    /// Held by browser and websocket calls.
    pub web: u32,
    /// Held by chats.
    pub chat: u32,
    /// Held out of the shared lines.
    pub shared: u32,
    /// Lines that are reserved for nobody.
    pub shared_lines: u32,
    /// What is reserved for whom.
    pub reserves: Vec<ReserveStatus>,
    /// What bounds some of the calls besides.
    #[serde(default)]
    pub quotas: Vec<QuotaStatus>,
    /// Whether more is reserved than the limit, because that has fallen.
    pub over_reserved: bool,
    /// Held by nobody.
    pub free: u32,
    /// Lines that others are believed to use without anybody telling; outbound leaves them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<UnseenStatus>,
    /// How well outbound is going. Only in a [`Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// Until when outbound rests, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resting_until: Option<String>,
    /// What each organisation holds, if there are several. They share the lines: this is a view, not a division.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orgs: Vec<OrgStatus>,
    /// The items that the lines are spread over, if they are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardStatus>,
    /// The held lines, the longest held first. Only in a [`Status`]: it takes the campaigns to name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Vec<HeldLine>>,
}

/// One of several items of the ledger, in lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its share of the limit.
    pub limit: u32,
    /// Its share of the cap.
    pub cap: u32,
    /// Its share of the headroom.
    pub headroom: u32,
    /// Its share of all reserves.
    pub reserved: u64,
    /// Held in it.
    pub total: u32,
    /// Held in it by outbound.
    pub outbound: u32,
}

/// An estimate of the lines that others use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenStatus {
    /// So many.
    pub lines: u32,
    /// As of then.
    pub at: Timestamp,
}

/// Lines held by one organisation's calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgStatus {
    /// Its name; `main` is the first key's.
    pub name: String,
    /// Of all kinds.
    pub total: u32,
    /// By callers.
    pub inbound: u32,
    /// By outbound calls, foreign ones among them.
    pub outbound: u32,
    /// By outbound calls that Headroom did not dial.
    pub foreign: u32,
    /// By browser and websocket calls.
    pub web: u32,
}

/// What is reserved for one agent, in lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReserveStatus {
    /// The agent.
    pub agent: String,
    /// `strict` or `pooled`.
    pub binding: String,
    /// For callers.
    pub inbound: u32,
    /// For outbound calls.
    pub outbound: u32,
    /// For browser and websocket calls.
    pub web: u32,
    /// For chats.
    pub chat: u32,
    /// Held by the agent's calls of the kinds above.
    pub held: u32,
    /// The part of `held` that goes beyond the reserve and is shared use.
    pub beyond: u32,
}

/// A quota, in lines and calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaStatus {
    /// Its name.
    pub name: String,
    /// Most lines at once.
    pub lines: Option<u32>,
    /// Most calls begun in a second.
    pub per_second: Option<u32>,
    /// Most calls begun in a day, UTC.
    pub per_day: Option<u32>,
    /// Held by its calls of all kinds.
    pub held: u32,
    /// Calls that Headroom began today, if they are counted.
    pub dialed_today: Option<u32>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignStatus {
    /// Its id.
    pub id: String,
    /// `draft`, `running`, `paused`, `cancelling`, `cancelled`, `rerunning` or `finished`; `scheduled` before its start.
    pub state: String,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who paused it, if a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Most lines that it may hold, if it has a bound of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u32>,
    /// What its leads wait for, if it is the same for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Whether every lead has its final outcome.
    pub finished: bool,
    /// How many leads are where.
    pub leads: LeadsByState,
    /// How far it has come by its own pace, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<PaceStatus>,
    /// What its calls came to so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kpis: Option<KpiStatus>,
}

/// How far a campaign has come by its own pace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaceStatus {
    /// Most lines at once: its cap, or its ramp's step if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// Calls begun in a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Where on its ramp it is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How many steps its ramp has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Since when it is at that step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Calls that ended at that step and are judged, of them answered, and broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<[u32; 3]>,
    /// Leads of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Leads begun of the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u32>,
}

impl PaceStatus {
    fn of(campaign: &Campaign, pool: &Pool, timers: &Timers) -> Option<Self> {
        let spec = &campaign.spec;
        if spec.per_second.is_none() && spec.ramp.is_none() && spec.batch.is_none() {
            return None;
        }
        let progress = pool.come(&campaign.code).1;
        let own = Own::of(&spec.pace(), &progress, timers);
        let step = progress.step.filter(|_| spec.ramp.is_some());
        let judged = step.map(|step| progress.calls.since(step.calls));
        Some(Self {
            lines: own.lines,
            per_second: spec.per_second.map(NonZeroU32::get),
            step: own.step.map(|step| step.nth),
            steps: spec.ramp.as_ref().map(Ramp::steps),
            since: step.map(|step| step.since),
            judged: judged.map(|calls| [calls.ended, calls.answered, calls.errors]),
            batch: spec.batch.map(|batch| batch.leads.get()),
            begun: progress.begun.filter(|_| spec.batch.is_some()),
        })
    }
}

/// What all of a campaign's leads wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `start`: the campaign's; `window`: its window, or the hours by law of its leads; `breaker`: what its calls need is
    /// out of order, and is tried again then.
    #[serde(rename = "for")]
    pub what: String,
    /// When it comes; of a window on the recipients' own clocks, when it opens for the first of them.
    pub until: Timestamp,
}

const START: &str = "start";
const WINDOW: &str = "window";
const BREAKER: &str = "breaker";

/// Leads by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadsByState {
    /// Waiting, for a line or for their time.
    pub ready: u32,
    /// Being asked for at Vapi.
    pub dialing: u32,
    /// Asked for without a clear answer.
    pub unknown: u32,
    /// In a call.
    pub live: u32,
    /// Reached.
    pub done: u32,
    /// Over without being reached.
    pub failed: u32,
}

impl LeadsByState {
    /// All of them.
    pub fn all(&self) -> u32 {
        self.ready + self.dialing + self.unknown + self.live + self.done + self.failed
    }
}

impl App {
    /// The present figures. Reads the ledger, the campaigns, and the leads that hold lines.
    pub async fn status(&self) -> Result<Status, TableError> {
        let (pool, campaigns) = tokio::try_join!(self.table.read_pool(), self.table.list_campaigns())?;
        let active = self.table.read_leads(&held_claims(&pool)).await?;
        let now = self.clock.now();
        let held_by = held_lines(&pool, &campaigns, &self.orgs);
        let orgs = if self.orgs.is_empty() { Vec::new() } else { by_org(&self.orgs, &held_by) };
        let health = Some(self.health_status(&pool, &campaigns).await?);
        let known = self.table.read_health().await?;
        let mut shown = Vec::with_capacity(campaigns.len());
        for campaign in &campaigns {
            let waiting = self.waiting(campaign, &known, now).await?;
            shown.push(CampaignStatus::of(campaign, &pool, &active, waiting, &self.timers));
        }
        let pool = PoolStatus {
            held_by: Some(held_by),
            orgs,
            health,
            ..PoolStatus::of(self.table.pool(), &pool, now)
        };
        Ok(Status { pools: vec![pool], campaigns: shown })
    }

    /// One campaign's present figures.
    pub(super) async fn campaign_status(&self, campaign: &Campaign) -> Result<CampaignStatus, TableError> {
        let pool = self.table.read_pool().await?;
        let mut claims = held_claims(&pool);
        claims.retain(|claim| claim.campaign == campaign.code);
        let (active, health) = tokio::try_join!(self.table.read_leads(&claims), self.table.read_health())?;
        let waiting = self.waiting(campaign, &health, self.clock.now()).await?;
        Ok(CampaignStatus::of(campaign, &pool, &active, waiting, &self.timers))
    }

    /// What all of a campaign's leads wait for, if it is their time and not a line.
    async fn waiting(
        &self,
        campaign: &Campaign,
        health: &Health,
        now: Timestamp,
    ) -> Result<Option<Waiting>, TableError> {
        if campaign.state != CampaignState::Running {
            return Ok(None);
        }
        if let Some(until) = campaign.spec.start_at.filter(|start| *start > now) {
            return Ok(Some(Waiting { what: START.into(), until }));
        }
        let mut opens = opens_at(&campaign.spec, now);
        if opens == Some(now) {
            // Who is put off is due when their own clock allows it: the first of them tells.
            let first =
                self.table.ready_leads_from(&campaign.code, campaign.lanes, Timestamp::UNIX_EPOCH, 1).await?;
            let Some(first) = first.first() else { return Ok(None) };
            opens = self.opens(&campaign.spec, first, now);
        }
        let closed = opens.filter(|opens| *opens != now).map(|until| (WINDOW, until));
        let broken =
            || health.opens(&Needs::of(&campaign.spec), now, &self.timers).map(|until| (BREAKER, until));
        Ok(closed.or_else(broken).map(|(what, until)| Waiting { what: what.into(), until }))
    }
}

impl CampaignStatus {
    /// A campaign's figures, from the ledger and the leads that hold lines.
    fn of(
        campaign: &Campaign,
        pool: &Pool,
        active: &[Lead],
        waiting: Option<Waiting>,
        timers: &Timers,
    ) -> Self {
        let (done, mut failed) = pool.over(campaign);
        // What a sweep has moved is counted when it is through.
        let moved = campaign.sweep.moved;
        match &campaign.state {
            CampaignState::Cancelling => failed += moved,
            CampaignState::Rerunning { .. } => failed = failed.saturating_sub(moved),
            CampaignState::Draft
            | CampaignState::Running
            | CampaignState::Paused { .. }
            | CampaignState::Cancelled
            | CampaignState::Finished => {}
        }
        let mut leads = LeadsByState { done, failed, ..LeadsByState::default() };
        for lead in active.iter().filter(|lead| lead.campaign == campaign.code) {
            match lead.state {
                LeadState::Dialing { .. } => leads.dialing += 1,
                LeadState::Unknown { .. } => leads.unknown += 1,
                LeadState::Live { .. } => leads.live += 1,
                LeadState::Ready | LeadState::Done { .. } | LeadState::Failed { .. } => {}
            }
        }
        let elsewhere = done + failed + leads.dialing + leads.unknown + leads.live;
        leads.ready = campaign.leads.unwrap_or_default().saturating_sub(elsewhere);
        let (reason, by, since) = match &campaign.state {
            CampaignState::Paused { reason, by, at } => (Some(reason.clone()), by.clone(), *at),
            CampaignState::Draft
            | CampaignState::Running
            | CampaignState::Cancelling
            | CampaignState::Cancelled
            | CampaignState::Rerunning { .. }
            | CampaignState::Finished => (None, None, None),
        };
        Self {
            id: campaign.spec.id.to_string(),
            state: match &waiting {
                Some(waiting) if waiting.what == START => "scheduled".to_owned(),
                _ => campaign.state.name().to_owned(),
            },
            waiting,
            pace: PaceStatus::of(campaign, pool, timers),
            kpis: KpiStatus::of(campaign),
            finished: campaign.state.is_over(),
            reason,
            by,
            since,
            cap: campaign.spec.max_concurrency.map(NonZeroU32::get),
            leads,
        }
    }
}

impl PoolStatus {
    /// The figures of a pool at `now`, without who holds what.
    pub fn of(id: &PoolId, pool: &Pool, now: Timestamp) -> Self {
        Self {
            id: id.to_string(),
            limit: pool.policy.limit(),
            purchased: pool.policy.purchased(),
            cap: pool.policy.cap(),
            headroom: pool.policy.headroom(),
            total: pool.counts.total,
            outbound: pool.counts.outbound,
            foreign: pool.counts.foreign,
            inbound: pool.counts.inbound,
            web: pool.counts.web,
            chat: pool.counts.chat,
            shared: pool.uses.shared,
            shared_lines: pool.shared(),
            reserves: pool
                .reserves
                .iter()
                .map(|(agent, reserve)| reserve_status(pool, agent, reserve))
                .collect(),
            quotas: pool
                .quotas
                .iter()
                .map(|(name, quota)| {
                    let key = BucketKey::quota(name);
                    QuotaStatus {
                        name: name.to_string(),
                        lines: quota.lines.map(NonZeroU32::get),
                        per_second: quota.per_second.map(NonZeroU32::get),
                        per_day: quota.per_day.map(NonZeroU32::get),
                        held: pool.uses.held(&key),
                        dialed_today: quota.per_day.map(|_| pool.pace(&key).dialed_today(now)),
                    }
                })
                .collect(),
            over_reserved: pool.reserves.total() > u64::from(pool.policy.limit()),
            free: pool.free(),
            unseen: pool
                .unseen
                .filter(|_| pool.unseen(now) > 0)
                .map(|unseen| UnseenStatus { lines: unseen.lines, at: unseen.at }),
            health: None,
            resting_until: (now < pool.hold_until).then(|| pool.hold_until.to_string()),
            orgs: Vec::new(),
            shards: pool.shard.items.iter().map(ShardStatus::of).collect(),
            held_by: None,
        }
    }
}

impl ShardStatus {
    fn of(item: &Pool) -> Self {
        Self {
            limit: item.policy.limit(),
            cap: item.policy.cap(),
            headroom: item.policy.headroom(),
            reserved: item.reserves.total(),
            total: item.counts.total,
            outbound: item.counts.outbound,
        }
    }
}

/// Who holds the lines, the longest held first.
fn held_lines(pool: &Pool, campaigns: &[Campaign], orgs: &[Org]) -> Vec<HeldLine> {
    let held_line = |(key, token)| {
        let codes = pool.codes(key, token);
        let org = orgs.iter().find(|org| codes.contains(&org.name.code()));
        let org = org.map_or(OrgName::MAIN, |org| org.name.as_str());
        let org = (!orgs.is_empty()).then(|| org.to_owned());
        HeldLine { org, ..HeldLine::of(key, token, pool, campaigns) }
    };
    let mut held: Vec<HeldLine> = pool.lines.iter().map(held_line).collect();
    held.sort_by_key(|line| line.since);
    held
}

/// The held lines, counted by organisation, the first key's first.
fn by_org(orgs: &[Org], held: &[HeldLine]) -> Vec<OrgStatus> {
    let names = std::iter::once(OrgName::MAIN).chain(orgs.iter().map(|org| org.name.as_str()));
    let status = |name: &str| {
        let lines = || held.iter().filter(|line| line.org.as_deref() == Some(name));
        let count = |kinds: &[Kind]| {
            lines().filter(|line| kinds.iter().any(|kind| line.kind == kind.name())).count() as u32
        };
        OrgStatus {
            name: name.to_owned(),
            total: lines().count() as u32,
            inbound: count(&[Kind::Inbound]),
            outbound: count(&[Kind::Outbound, Kind::Foreign]),
            foreign: count(&[Kind::Foreign]),
            web: count(&[Kind::Web]),
        }
    };
    names.map(status).collect()
}

fn reserve_status(pool: &Pool, agent: &AgentName, reserve: &Reserve) -> ReserveStatus {
    let buckets = pool.reserves.buckets_of(agent);
    let (mut held, mut beyond) = (0, 0);
    for bucket in buckets {
        let own = pool.uses.held(&bucket.key);
        held += own;
        beyond += own.saturating_sub(bucket.reserved);
    }
    ReserveStatus {
        agent: agent.to_string(),
        binding: reserve.binding.name().to_owned(),
        inbound: reserve.inbound,
        outbound: reserve.outbound,
        web: reserve.web,
        chat: reserve.chat,
        held,
        beyond,
    }
}
