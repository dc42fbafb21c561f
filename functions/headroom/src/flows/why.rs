//! Why a call or a lead is where it is: refused, held, waiting, or over. For people who ask; nothing here writes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::campaign::Campaign;
use crate::core::health::Needs;
use crate::core::ids::{CallId, CampaignCode, CampaignId, ClaimKey, LeadId, LeadRef};
use crate::core::lead::{Lead, LeadState};
use crate::core::life::NO_LINE;
use crate::core::line::{Kind, LineKey};
use crate::core::pool::{Pool, Rule};
use crate::core::refusal::{Asker, Basis, Expected, Known, Refusal, Refuser, expected};
use crate::table::TableError;
use crate::table::leads::Turn;

use super::App;
use super::observe::held_claims;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It was asked of a call.
    Call(WhyCall),
    /// It was asked of a lead.
    Lead(WhyLead),
}

/// How a call stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyCall {
    /// Vapi's id of it.
    pub id: String,
    /// The instant of the answer.
    pub at: Timestamp,
    /// The line that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Its end, as far as it is on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Why it found no line, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// A line that a call holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// `inbound`, `outbound`, `foreign`, `web` or `chat`.
    pub kind: String,
    /// When it was taken.
    pub since: Timestamp,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it was recorded.
    pub at: Timestamp,
    /// As Vapi spells it.
    pub reason: String,
}

/// How a lead stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyLead {
    /// The campaign's id.
    pub campaign: String,
    /// The lead's id; its last digits alone if that is the number.
    pub lead: String,
    /// The instant of the answer.
    pub at: Timestamp,
    /// `ready`, `dialing`, `unknown`, `live`, `done` or `failed`.
    pub state: String,
    /// Attempts that counted.
    pub attempts: u32,
    /// Most attempts that may.
    pub max_attempts: u32,
    /// Its latest call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Why its latest call ended; of a lead that is over, why it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The line that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// The record of what its campaign was refused last, if that was since its turn came, and it waits or ended for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// What a ready lead waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// From when on it is to be called.
    pub due: Timestamp,
    /// What stands in its way.
    pub obstacle: Obstacle,
    /// Leads of its campaign that come before it; [`MOST_AHEAD`] stands for any number from there on.
    pub ahead: u32,
}

/// What stands in a lead's way, the first that does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Obstacle {
    /// Its campaign is paused, or not running for another reason.
    Paused {
        /// Why, and what to do.
        reason: String,
    },
    /// Its time has not come: it came in later, is to be called again later, or its window opens then.
    Due {
        /// When it comes.
        until: Timestamp,
    },
    /// It may not be called now: its window or the hours by law are closed, or its campaign has not begun.
    Window {
        /// When it opens; nothing if it does not any more, and the lead is about to end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// There is no line for it.
    Line {
        /// The rule that refuses one.
        rule: String,
        /// When one is expected.
        expected: Expected,
    },
    /// Nothing: the dispatcher is on its way, or is at the leads and campaigns before it.
    Turn,
}

/// Leads before one are counted up to here.
pub const MOST_AHEAD: u32 = 1000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// Nothing of that name is known.
    #[error(
        "nothing is known of it. Ask with Vapi's id of a call of the last days, or with CAMPAIGN/LEAD by the ids that \
         the campaign message gave; a lead without an id has its number for one"
    )]
    Unknown,
    /// The table did not answer.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl App {
    /// Explains a call (by Vapi's id) or a lead (`CAMPAIGN/LEAD`).
    pub async fn why(&self, id: &str) -> Result<Why, WhyError> {
        // Either id may have a slash in it.
        for (at, _) in id.match_indices('/') {
            if let (Ok(campaign), Ok(lead)) = (id[..at].parse(), id[at + 1..].parse())
                && let Some(why) = self.why_lead(&campaign, &lead).await?
            {
                return Ok(Why::Lead(why));
            }
        }
        match id.parse() {
            Ok(call) => self.why_call(&call).await?.map(Why::Call).ok_or(WhyError::Unknown),
            Err(_) => Err(WhyError::Unknown),
        }
    }

    async fn why_call(&self, call: &CallId) -> Result<Option<WhyCall>, TableError> {
        let (end, refusal) = tokio::try_join!(self.table.read_end(call), self.table.read_refusal(call))?;
        let pool = self.table.read_pool().await?;
        let held = match pool.lines.get(&LineKey::Observed(call.clone())) {
            Some(token) => Some(Held { kind: token.kind().name().to_owned(), since: token.since() }),
            None if end.is_none() => {
                let leads = self.table.read_leads(&held_claims(&pool)).await?;
                leads.iter().find(|lead| lead.call.as_ref() == Some(call)).and_then(held)
            }
            None => None,
        };
        let ended = end.map(|(at, end)| Ended { at, reason: end.reason_text().to_owned() });
        let is_known = held.is_some() || ended.is_some() || refusal.is_some();
        let at = self.clock.now();
        Ok(is_known.then(|| WhyCall { id: call.to_string(), at, held, ended, refusal }))
    }

    async fn why_lead(&self, campaign: &CampaignId, lead: &LeadId) -> Result<Option<WhyLead>, TableError> {
        let (code, reference) = (CampaignCode::of(campaign), LeadRef::of(lead));
        let read =
            tokio::try_join!(self.table.read_campaign(&code), self.table.read_turn(&code, &reference))?;
        let (Some(known), Some((found, turn))) = read else { return Ok(None) };
        // Codes are short: another id may have the same one.
        if known.spec.id != *campaign || found.id != *lead {
            return Ok(None);
        }
        let is_ready = found.state == LeadState::Ready;
        let waits = if is_ready { Some(self.waits(&known, &found, &turn).await?) } else { None };
        let reason = match &found.state {
            LeadState::Done { reason } | LeadState::Failed { reason } => Some(reason.clone()),
            _ => turn.reason,
        };
        let is_rejected = !is_ready && reason.as_ref().is_some_and(|reason| reason.starts_with(NO_LINE));
        let refusal = if is_ready || is_rejected { self.table.read_waiting(&code).await? } else { None };
        Ok(Some(WhyLead {
            campaign: campaign.to_string(),
            lead: without_number(found.id.as_str(), &found),
            at: self.clock.now(),
            state: found.state.name().to_owned(),
            attempts: found.attempts,
            max_attempts: known.spec.retry.max_attempts.get(),
            call: found.call.as_ref().map(ToString::to_string),
            reason: reason.map(|reason| without_number(&reason, &found)),
            held: held(&found),
            waits,
            refusal: refusal.filter(|refusal| refusal.at >= turn.due),
        }))
    }

    async fn waits(&self, campaign: &Campaign, lead: &Lead, turn: &Turn) -> Result<Waits, TableError> {
        let (ahead, pool) = tokio::try_join!(
            self.table.count_before(
                &campaign.code,
                campaign.lanes,
                (turn.lane, turn.due),
                self.clock.now(),
                MOST_AHEAD
            ),
            self.table.read_pool(),
        )?;
        let obstacle = match self.obstacle(campaign, lead, turn, &pool) {
            Some(obstacle) => obstacle,
            None => self.refused(campaign, &pool).await?.unwrap_or(Obstacle::Turn),
        };
        Ok(Waits { due: turn.due, obstacle, ahead })
    }

    /// What stands in a lead's way whatever lines are free.
    fn obstacle(&self, campaign: &Campaign, lead: &Lead, turn: &Turn, pool: &Pool) -> Option<Obstacle> {
        let now = self.clock.now();
        if let Some(reason) = campaign.state.why_not() {
            return Some(Obstacle::Paused { reason: reason.to_owned() });
        }
        if now < turn.due {
            return Some(Obstacle::Due { until: turn.due });
        }
        let until = self.opens(&campaign.spec, lead, now);
        if until != Some(now) {
            return Some(Obstacle::Window { until });
        }
        let next = lead.claims + 1;
        let taken = LineKey::Claim(ClaimKey { claim: next, ..lead.claim() });
        pool.lines.contains_key(&taken).then_some(Obstacle::Turn)
    }

    /// The rule that refuses a campaign a line now.
    async fn refused(&self, campaign: &Campaign, pool: &Pool) -> Result<Option<Obstacle>, TableError> {
        let now = self.clock.now();
        let codes = campaign.spec.codes();
        let own = self.own(campaign, pool);
        let (_, room) = pool.roomiest(&campaign.code, own, &codes, now);
        let health = self.table.read_health().await?;
        let room = self.held_back(&health, room, pool, campaign);
        if room.lines > 0 {
            return Ok(None);
        }
        let (campaigns, means) = tokio::try_join!(self.table.list_campaigns(), self.means(now))?;
        let asker = Asker { kind: Kind::Outbound, codes: &codes, campaign: Some(campaign), own: None };
        let known = Known { campaigns: &campaigns, means, timers: &self.timers };
        let mut expected = expected(&asker, Refuser::Rule(room.rule), pool, &known, now);
        if room.rule == Rule::Breaker {
            let next = health.opens(&Needs::of(&campaign.spec), now, &self.timers);
            expected = Expected { next, latest: next, basis: Basis::Breaker };
        }
        Ok(Some(Obstacle::Line { rule: room.rule.name().to_owned(), expected }))
    }
}

/// The line that a lead holds.
fn held(lead: &Lead) -> Option<Held> {
    lead.lease().map(|lease| Held { kind: lease.token.kind().name().to_owned(), since: lease.token.since() })
}

/// A text with the lead's number cut down to its last digits: ids may be numbers, and reasons may quote them.
fn without_number(text: &str, lead: &Lead) -> String {
    let (whole, shown) = (lead.number.reveal(), lead.number.to_string());
    text.replace(whole, &shown).replace(&whole[1..], &shown)
}
