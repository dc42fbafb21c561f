//! What webhooks tell: lines taken and freed as calls begin and end, callers answered or refused.
//!
//! Nothing in a message is trusted beyond "this happened to this call". A reservation it names is a
//! claim: it counts if that line is on the ledger and its lead has this call, or none yet.

use crate::config::Callers;
use crate::core::ids::{AgentName, CallId, ClaimKey, NameCode, PhoneNumber};
use crate::core::lead::{End, Lead, LeadState};
use crate::core::line::{Kind, LineKey, Token};
use crate::core::pool::{Pool, Rule};
use crate::core::refusal::{Fate, Refuser};
use crate::logging::chain;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::table::ledger::Observed;
use crate::vapi::message::{CallEvent, Happened};

use super::App;
use super::settle::Settled;

/// How long a webhook's answer may wait for Vapi, in the rare case that it asks back.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a caller waits for the table before they are answered without it. Vapi gives up after 7.5 s, the way there
/// and the function's start included.
const CALLERS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// What an event came to, for logs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A line is held that was not.
    Taken,
    /// A line is free, or the end of a call is on record.
    Ended,
    /// A dialed call is known by its id now.
    Bound,
    /// The state was there already.
    None,
    /// The call's end does not yet say what it means for the lead; the report or the pass will.
    Waiting,
    /// The call belongs to an organisation that is not of this pool.
    OtherOrg,
}

/// The answer to an assistant request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This assistant takes the call.
    Assistant(String),
    /// The caller hears this, and the call is over.
    Refusal(String),
    /// The caller is connected with this number, and the line is free again.
    Forward(PhoneNumber),
}

impl App {
    /// Moves the ledger on an event of a call. Any order and any number of times lead to one state (P8).
    pub async fn observe(&self, event: &CallEvent) -> Result<Effect, TableError> {
        let pool = self.table.read_pool().await?;
        if self.is_other_org(&pool, event.org.as_ref()) {
            return Ok(Effect::OtherOrg);
        }
        // Before its end is settled: that leaves the lead waiting for the call that it is promised.
        self.hear_wishes(&event.call, (event.org.as_ref(), &event.claims), &event.wishes).await?;
        let effect = Box::pin(self.observe_in(&pool, event)).await?;
        self.hear_talk(event).await?;
        Ok(effect)
    }

    async fn observe_in(&self, pool: &Pool, event: &CallEvent) -> Result<Effect, TableError> {
        match &event.happened {
            Happened::Nothing => Ok(Effect::None),
            Happened::Live => match self.ours(pool, event).await? {
                Some(lead) => self.observe_dialed(&lead, &event.call).await,
                None => {
                    let codes = self.known_by(pool, &event.codes(), event.org.as_ref());
                    self.observe_live(pool, &event.call, event.kind, &codes).await
                }
            },
            // Each call's end is told twice at least: the second time there is one read to do.
            Happened::Ended(_)
                if !event.claims.iter().any(|claim| holds(pool, claim))
                    && self.is_over(pool, &event.call).await? =>
            {
                Ok(Effect::None)
            }
            Happened::Ended(end) => match self.ours(pool, event).await? {
                Some(lead) => {
                    let effect = self.observe_end(pool, &lead, &event.call, end).await?;
                    // One call, two lines: a message without its claim came before the dial's answer.
                    if effect == Effect::Ended
                        && let Some(lease) = pool.lease(&LineKey::Observed(event.call.clone()))
                    {
                        self.free(pool, &lease, None).await?;
                    }
                    Ok(effect)
                }
                None => {
                    self.explain_blocked(&event.call, (event.kind, &event.codes()), end, pool).await;
                    self.end_observed(pool, &event.call, end).await?;
                    Ok(Effect::Ended)
                }
            },
        }
    }

    /// Whether a call holds no line of its own and its end is on record: nothing is left to do.
    async fn is_over(&self, pool: &Pool, call: &CallId) -> Result<bool, TableError> {
        let held = pool.lines.contains_key(&LineKey::Observed(call.clone()));
        Ok(!held && self.table.read_ended(call).await?.is_some())
    }

    /// The lead that a call was dialed for, if it was: the one that has this call (its message may
    /// have been stripped of its claim), else the one it claims, if that waits for a call.
    async fn ours(&self, pool: &Pool, event: &CallEvent) -> Result<Option<Lead>, TableError> {
        // A line of its own: not ours, or ours and seen before the dial's answer told so. Its end has to
        // find the lead then; nothing else is worth the reading.
        let observed = pool.lines.get(&LineKey::Observed(event.call.clone()));
        if observed.is_some_and(|token| token.kind() != Kind::Foreign || event.happened == Happened::Live) {
            return Ok(None);
        }
        let mut waiting = None;
        for claim in event.claims.iter().filter(|claim| holds(pool, claim)) {
            let lead = self.table.read_lead(&claim.campaign, &claim.lead).await?;
            match lead.filter(|lead| lead.claims == claim.claim) {
                Some(lead) if is_bound_to(&lead, &event.call) => return Ok(Some(lead)),
                // While its dial is being made, a sign of life moves nothing.
                Some(lead) if is_dialing(&lead) && event.happened == Happened::Live => return Ok(Some(lead)),
                Some(lead) if lead.lease().is_some() && !is_bound(&lead) => waiting = waiting.or(Some(lead)),
                _ => {}
            }
        }
        if matches!(event.kind, Some(Kind::Inbound | Kind::Web)) {
            return Ok(None);
        }
        // The stored call decides before any claim does.
        let leads = self.table.read_leads(&held_claims(pool)).await?;
        Ok(leads.into_iter().find(|lead| is_bound_to(lead, &event.call)).or(waiting))
    }

    async fn observe_dialed(&self, lead: &Lead, call: &CallId) -> Result<Effect, TableError> {
        match &lead.state {
            // The dial had no clear answer, and here is one. While it is still being made, its own
            // answer will bind it.
            LeadState::Unknown { .. } => {
                self.table.bind(&lead.claim(), call, None).await?;
                tracing::info!(line.key = %lead.claim(), call.id = %call, "unknown dial found by its webhook");
                Ok(Effect::Bound)
            }
            _ => Ok(Effect::None),
        }
    }

    /// Records a live call that Headroom did not dial, with the codes that are to be kept with its line.
    pub(super) async fn observe_live(
        &self,
        pool: &Pool,
        call: &CallId,
        kind: Option<Kind>,
        codes: &[NameCode],
    ) -> Result<Effect, TableError> {
        let Some(kind) = kind else { return Ok(Effect::None) };
        if pool.lines.contains_key(&LineKey::Observed(call.clone()))
            || self.table.read_ended(call).await?.is_some()
        {
            return Ok(Effect::None);
        }
        let (item, effect) = match self.take_line(pool, call, kind, codes, false).await? {
            Observed::Taken(item) => {
                tracing::info!(call.id = %call, kind = kind.name(), lines.total = item.counts.total, "line taken");
                (item, Effect::Taken)
            }
            // By another message just now, or by this one with its answer lost.
            Observed::AlreadyHeld(item) | Observed::Full(item) => (item, Effect::None),
            Observed::Moved => return Ok(Effect::None),
        };
        // The end may have come in between: it is on record then, and found nothing to free.
        self.keep_line(&item, call).await?;
        Ok(effect)
    }

    pub(super) async fn observe_end(
        &self,
        pool: &Pool,
        lead: &Lead,
        call: &CallId,
        end: &End,
    ) -> Result<Effect, TableError> {
        let end = if end.is_conclusive() {
            end.clone()
        } else {
            // Rare: something broke, and whether the person had answered decides if they are called
            // again. Vapi's own record says; without it the report or the pass settles this.
            match tokio::time::timeout(PATIENCE, self.get_call(call)).await {
                Ok(Ok(Some(found))) if found.has_ended() => found.end,
                Ok(Ok(_)) => return Ok(Effect::Waiting),
                Ok(Err(error)) => {
                    tracing::warn!(call.id = %call, error = chain(&error), "the end of a call is left to the pass");
                    return Ok(Effect::Waiting);
                }
                Err(_) => {
                    tracing::warn!(call.id = %call, "Vapi is slow; the end of a call is left to the pass");
                    return Ok(Effect::Waiting);
                }
            }
        };
        Ok(match self.settle(pool, lead, Some(call), &end).await? {
            Settled::Now => Effect::Ended,
            Settled::NotHere => Effect::None,
        })
    }

    /// Answers a caller on a bare number, whatever becomes of the table. Vapi has given the call a line of the subscription before it
    /// asks, so where nobody can tell whether the ledger has one for it, the caller is answered: turned away they would be for
    /// our sake alone. Their line is taken by the messages that follow, or by the pass, as that of any call which is there.
    pub async fn answer_anyway(&self, event: &CallEvent, callers: &Callers) -> Answer {
        let error = match tokio::time::timeout(CALLERS_PATIENCE, self.answer(event, callers)).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => chain(&error),
            Err(_) => "the table is slow".to_owned(),
        };
        let Some(assistant) = callers.assistants.of(event.number.as_deref()) else {
            tracing::error!(call.id = %event.call, error, "caller refused: no assistant is configured for their number");
            count_without_assistant();
            return Answer::Refusal(callers.busy_message.clone());
        };
        tracing::error!(call.id = %event.call, error, "caller answered without a line on the ledger");
        Answer::Assistant(assistant.to_owned())
    }

    /// Answers a caller on a bare number, if there is a line and an assistant for them.
    pub async fn answer(&self, event: &CallEvent, callers: &Callers) -> Result<Answer, TableError> {
        let refusal = || Answer::Refusal(callers.busy_message.clone());
        let pool = self.table.read_pool().await?;
        if self.is_other_org(&pool, event.org.as_ref()) {
            tracing::warn!(
                call.id = %event.call,
                org.id = event.org.as_ref().map(|org| org.as_str()),
                "caller refused: of another organisation; if it shares the lines, name it in HEADROOM_ORGS"
            );
            tracing::trace!(target: METRICS, CallersRefused = 1_u32, Rule = "organisation");
            return Ok(refusal());
        }
        let Some(assistant) = callers.assistants.of(event.number.as_deref()) else {
            tracing::error!(
                call.id = %event.call,
                phone_number.id = event.number,
                "caller refused: no assistant is configured for this number; set HEADROOM_INBOUND_ASSISTANTS"
            );
            count_without_assistant();
            return Ok(refusal());
        };
        if self.table.read_ended(&event.call).await?.is_some() {
            return Ok(refusal());
        }
        let mut codes = vec![NameCode::of(assistant)];
        codes.extend(event.codes());
        let telling = self.known_by(&pool, &codes, event.org.as_ref());
        match self.take_line(&pool, &event.call, Kind::Inbound, &telling, true).await? {
            Observed::Taken(now) => {
                if !self.keep_line(&now, &event.call).await? {
                    return Ok(refusal());
                }
                tracing::info!(call.id = %event.call, lines.total = now.counts.total, "caller answered");
                Ok(Answer::Assistant(assistant.to_owned()))
            }
            // Its `ringing` came first and was recorded, whether there was a line or not, and perhaps as
            // another agent's: a bare number's does not say who will answer.
            Observed::AlreadyHeld(now) if now.is_within(&held_by(&now, &event.call), Kind::Inbound) => {
                Ok(Answer::Assistant(assistant.to_owned()))
            }
            Observed::Moved => Ok(refusal()),
            Observed::AlreadyHeld(now) | Observed::Full(now) => {
                let name = telling.iter().find_map(|code| now.reserves.agent(code)).map(AgentName::code);
                let overflow = callers.overflow.of(name.iter().chain(&codes)).cloned();
                let rule = now.refusal(&telling, Kind::Inbound).unwrap_or(Rule::Limit);
                tracing::warn!(
                    call.id = %event.call,
                    rule = rule.name(),
                    lines.limit = now.policy.limit(),
                    lines.reserved = now.reserves.total(),
                    lines.shared = now.uses.shared,
                    lines.inbound = now.counts.inbound,
                    lines.outbound = now.counts.outbound,
                    lines.web = now.counts.web,
                    forwarded = overflow.is_some(),
                    "caller refused: no line is free for them"
                );
                tracing::trace!(target: METRICS, CallersRefused = 1_u32, Rule = rule.name());
                let fate = if overflow.is_some() { Fate::Forwarded } else { Fate::Busy };
                let who = (Kind::Inbound, telling.as_slice());
                self.explain_refused(&event.call, who, Refuser::Rule(rule), fate, &now).await;
                Ok(overflow.map_or_else(refusal, Answer::Forward))
            }
        }
    }

    /// Whether an outbound call could start now, for a Vapi campaign that asks before it dials. It
    /// reserves nothing, and does not say whose calls it makes: reserves are not for it.
    pub async fn outbound_could_start(&self) -> Result<bool, TableError> {
        let (pool, now) = (self.table.read_pool().await?, self.clock.now());
        let has_room = |item: &Pool| {
            let unseen = item.unseen(now);
            item.free() > unseen
                && item.uses.shared.saturating_add(unseen) < item.shared_for_outbound()
                && item.counts.outbound < item.policy.cap()
        };
        Ok(now >= pool.hold_until && pool.live_items().iter().any(has_room))
    }
}

/// Nobody is configured to answer a caller: a refusal as much as that for want of a line.
fn count_without_assistant() {
    tracing::trace!(target: METRICS, CallersRefused = 1_u32, Rule = "assistant");
}

/// What the line of an observed call is known by.
fn held_by(pool: &Pool, call: &CallId) -> Vec<NameCode> {
    pool.lines.get(&LineKey::Observed(call.clone())).map(Token::codes).unwrap_or_default()
}

/// Whether a claim holds a line.
pub(super) fn holds(pool: &Pool, claim: &ClaimKey) -> bool {
    pool.lines.contains_key(&LineKey::Claim(claim.clone()))
}

/// The claims that hold lines.
pub(super) fn held_claims(pool: &Pool) -> Vec<ClaimKey> {
    pool.lines
        .keys()
        .filter_map(|key| match key {
            LineKey::Claim(claim) => Some(claim.clone()),
            LineKey::Observed(_) => None,
        })
        .collect()
}

fn is_bound_to(lead: &Lead, call: &CallId) -> bool {
    matches!(&lead.state, LeadState::Live { call: bound, .. } if bound == call)
}

fn is_bound(lead: &Lead) -> bool {
    matches!(lead.state, LeadState::Live { .. })
}

fn is_dialing(lead: &Lead) -> bool {
    matches!(lead.state, LeadState::Dialing { .. })
}
