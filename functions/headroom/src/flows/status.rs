//! The present figures for people and scripts: lines by kind, campaigns by what became of their leads.

use serde::Serialize;

use crate::core::campaign::CampaignState;
use crate::core::lead::LeadState;
use crate::table::TableError;

use super::App;
use super::observe::held_claims;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The pools.
    pub pools: Vec<PoolStatus>,
    /// The campaigns, in the order in which they are served.
    pub campaigns: Vec<CampaignStatus>,
}

/// A pool, in lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub id: String,
    /// Lines it has.
    pub limit: u32,
    /// Most that outbound may hold.
    pub cap: u32,
    /// Left free for the next callers.
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
    /// Held out of the shared lines. There are no reserved ones besides the headroom.
    pub shared: u32,
    /// Held by nobody.
    pub free: u32,
    /// Until when outbound rests, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resting_until: Option<String>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CampaignStatus {
    /// Its id.
    pub id: String,
    /// `running`, `paused` or `finished`.
    pub state: &'static str,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether every lead has its final outcome.
    pub finished: bool,
    /// How many leads are where.
    pub leads: LeadsByState,
}

/// Leads by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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

impl App {
    /// The present figures. Reads the ledger, the campaigns, and the leads that hold lines.
    pub async fn status(&self) -> Result<Status, TableError> {
        let (pool, campaigns) = tokio::try_join!(self.table.read_pool(), self.table.list_campaigns())?;
        let active = self.table.read_leads(&held_claims(&pool)).await?;
        let now = self.clock.now();
        let campaigns = campaigns
            .into_iter()
            .map(|campaign| {
                let tally = pool.campaigns.get(&campaign.code);
                let (done, failed) = match (&campaign.state, tally) {
                    (CampaignState::Finished, _) | (_, None) => campaign.settled,
                    (_, Some(tally)) => (tally.done, tally.failed),
                };
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
                CampaignStatus {
                    id: campaign.spec.id.to_string(),
                    state: campaign.state.name(),
                    finished: campaign.state == CampaignState::Finished,
                    reason: match campaign.state {
                        CampaignState::Paused { reason } => Some(reason),
                        CampaignState::Running | CampaignState::Finished => None,
                    },
                    leads,
                }
            })
            .collect();
        let pool = PoolStatus {
            id: self.table.pool().to_string(),
            limit: pool.policy.limit(),
            cap: pool.policy.cap(),
            headroom: pool.policy.headroom(),
            total: pool.counts.total,
            outbound: pool.counts.outbound,
            foreign: pool.counts.foreign,
            inbound: pool.counts.inbound,
            web: pool.counts.web,
            shared: pool.counts.total,
            free: pool.free(),
            resting_until: (now < pool.hold_until).then(|| pool.hold_until.to_string()),
        };
        Ok(Status { pools: vec![pool], campaigns })
    }
}
