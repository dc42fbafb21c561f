//! The minute pass: makes right what events left undone. It takes no hints, asks Vapi for one page
//! of calls rather than for each line, and calls the same functions as the events do.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::CampaignState;
use crate::core::ids::{CallId, CampaignCode, ClaimKey, LeadRef, Lease, LineKey, Token};
use crate::core::lead::{End, Lead, LeadState, Outcome};
use crate::core::pool::Pool;
use crate::logging::chain;
use crate::table::TableError;
use crate::table::leads::Step;
use crate::vapi::calls::{Call, Listing};

use super::App;
use super::observe::{Effect, held_claims};
use super::settle::lead_end;

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Calls that Vapi listed.
    pub listed: u32,
    /// Calls whose end was not known here.
    pub ended: u32,
    /// Live calls that were not known here.
    pub found: u32,
    /// Dials without an answer that turned out to be calls.
    pub adopted: u32,
    /// Dials that surely made no call.
    pub given_back: u32,
    /// Lines freed by the ceiling alone, without proof.
    pub ceiling: u32,
}

/// Calls asked for one by one in a pass, the longest-held lines first.
const SINGLE_READS: usize = 20;
/// How far back the list goes even if no line is held: calls whose every message was lost.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(10);
/// How far back it goes at most. Calls from before are asked for one by one, a few in each pass: a
/// single long call must not make every pass read the calls of hours.
const LONGEST_LOOK_BACK: SignedDuration = SignedDuration::from_hours(1);
/// Wake-ups ahead for leads that fall due before the next pass.
const DUE_WAKES: i32 = 20;
/// The longest call that Vapi allows: the bound on calls that Headroom did not start.
const LONGEST_CALL: SignedDuration = SignedDuration::from_hours(12);
/// Why a lead is over whose call nobody can tell anything about.
const LOST_FROM_SIGHT: &str = "no proof of its end until the ceiling";

type Leads = HashMap<(CampaignCode, LeadRef), Lead>;

impl App {
    /// One pass.
    pub async fn reconcile(&self) -> Result<Pass, TableError> {
        self.table.ensure_pool(self.policy).await?;
        let pool = self.follow_policy(self.table.read_pool().await?).await?;
        let mut pass = Pass::default();
        self.reconcile_lines(&pool, &mut pass).await?;

        let campaigns = self.table.list_campaigns().await?;
        let mut running = false;
        for campaign in campaigns.iter().filter(|campaign| campaign.state == CampaignState::Running) {
            self.finish_if_over(campaign, &pool).await?;
            self.wake_when_due(&campaign.code).await?;
            running = true;
        }
        if running {
            self.wake_dispatcher(Duration::ZERO).await;
        }
        Ok(pass)
    }

    /// Applies a changed configuration, or a changed limit that Vapi reported. What an operator
    /// set in between stays until the configuration itself changes.
    async fn follow_policy(&self, pool: Pool) -> Result<Pool, TableError> {
        let configured = self.policy.to_string();
        let (policy, configured) = if pool.configured.as_ref() != Some(&configured) {
            (self.policy, Some(configured.as_str()))
        } else {
            let seen = pool.seen_limit.filter(|seen| self.adopt_limit && *seen != pool.policy.limit());
            match seen.and_then(|seen| pool.policy.with_limit(seen).ok()) {
                Some(policy) => (policy, None),
                None => return Ok(pool),
            }
        };
        if self.table.set_policy(&pool, policy, configured).await? {
            tracing::info!(from = %pool.policy, to = %policy, "policy changed (limit/cap/headroom)");
        }
        self.table.read_pool().await
    }

    async fn reconcile_lines(&self, pool: &Pool, pass: &mut Pass) -> Result<(), TableError> {
        let now = self.clock.now();
        let leads = self.table.read_leads(&held_claims(pool)).await?;
        let leads: Leads =
            leads.into_iter().map(|lead| ((lead.campaign.clone(), lead.lead.clone()), lead)).collect();
        let oldest = pool.lines.values().map(Token::since).min().unwrap_or(now);
        let since =
            oldest.min(now - self.timers.scaled(LOOK_BACK)).max(now - self.timers.scaled(LONGEST_LOOK_BACK))
                - self.timers.clock_skew();
        // After the leads: a call that is not in this list was not there when they were read.
        let listing = match self.vapi.list_calls(since).await {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "Vapi did not list its calls; only ceilings are looked at"
                );
                Listing::unanswered()
            }
        };
        pass.listed = listing.calls.len() as u32;
        if pool.org.is_none()
            && let Some(org) = listing.calls.iter().find_map(|call| call.org.clone())
        {
            self.table.note_vapi(Some(&org), None).await?;
        }
        let live = listing.calls.iter().filter(|call| call.is_live()).count();
        if live != pool.counts.total as usize {
            tracing::info!(ledger = pool.counts.total, vapi = live, "ledger and Vapi's list differ");
        }
        let by_call: HashMap<&CallId, &Call> = listing.calls.iter().map(|call| (&call.id, call)).collect();
        let by_claim: HashMap<&ClaimKey, &Call> =
            listing.calls.iter().filter_map(|call| Some((call.claim.as_ref()?, call))).collect();

        let mut unlisted = Vec::new();
        for (key, token) in &pool.lines {
            let lease = Lease { key: key.clone(), token: token.clone() };
            match key {
                LineKey::Observed(call) => match by_call.get(call) {
                    Some(call) => self.see_observed(pool, call, &leads, &lease, now, pass).await?,
                    None => unlisted.push((lease, call.clone(), None)),
                },
                LineKey::Claim(claim) => {
                    let lead = leads.get(&(claim.campaign.clone(), claim.lead.clone()));
                    let Some(lead) = self.current(claim, lead, &lease, now).await? else { continue };
                    let bound = match &lead.state {
                        LeadState::Live { call, .. } => Some(call),
                        _ => None,
                    };
                    let seen = bound.map_or_else(|| by_claim.get(claim), |call| by_call.get(call));
                    match (seen, bound) {
                        (Some(call), _) => self.see_dialed(lead, call, now, pass).await?,
                        (None, Some(call)) => unlisted.push((lease, call.clone(), Some(lead))),
                        (None, None) => self.see_unanswered(lead, &lease, &listing, now, pass).await?,
                    }
                }
            }
        }
        unlisted.sort_by_key(|(lease, ..)| lease.token.since());
        // If the list was not answered, these would not be either, and each would wait for its time-out.
        let asked = if listing.answered { unlisted.len().min(SINGLE_READS) } else { 0 };
        let reads: Vec<_> = unlisted[..asked].iter().map(|(_, call, _)| self.vapi.get_call(call)).collect();
        let mut found = futures::future::join_all(reads).await.into_iter();
        for (lease, call, lead) in &unlisted {
            match (found.next().and_then(|answer| answer.ok().flatten()), lead) {
                (Some(found), Some(lead)) => self.see_dialed(lead, &found, now, pass).await?,
                (Some(found), None) => self.see_observed(pool, &found, &leads, lease, now, pass).await?,
                // Not found is as often "not yet" as "over": no proof of anything.
                (None, Some(lead)) => self.look_at_ceiling_of(lead, lease, Some(call), now, pass).await?,
                (None, None) => self.look_at_ceiling(pool, call, lease, now, pass).await?,
            }
        }
        self.find_missed(pool, &listing, &leads, pass).await
    }

    /// The lead of a held line, if the line is still its latest claim's and that is under way.
    /// Lines that outlived their claim are freed here: the claim was never made, or its outcome was
    /// written and its function died before it freed the line.
    async fn current<'a>(
        &self,
        claim: &ClaimKey,
        lead: Option<&'a Lead>,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<&'a Lead>, TableError> {
        let claims = lead.map_or(0, |lead| lead.claims);
        if claim.claim > claims {
            let deadline = lease.token.since() + self.timers.dial_deadline();
            if now > deadline + self.timers.settling() {
                tracing::warn!(line.key = %claim, "line freed: its claim was never made");
                self.free(lease, None).await?;
            }
            return Ok(None);
        }
        let Some(lead) = lead else { return Ok(None) };
        if claim.claim == claims && lead.lease().is_some() {
            return Ok(Some(lead));
        }
        let end = if claim.claim == claims { lead_end(lead) } else { None };
        // Events free their line right after the outcome; leave them the time to.
        if now > lease.token.since() + self.timers.settling() {
            tracing::warn!(line.key = %claim, "line freed: its call was settled before");
            self.free(lease, end).await?;
        }
        Ok(None)
    }

    /// A dialed call that Vapi shows.
    async fn see_dialed(
        &self,
        lead: &Lead,
        call: &Call,
        now: Timestamp,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        let overdue = match &lead.state {
            LeadState::Unknown { .. } => true,
            LeadState::Dialing { deadline, .. } => now > *deadline,
            _ => false,
        };
        if call.has_ended() {
            pass.ended += 1;
            self.settle(lead, Some(&call.id), &call.end).await?;
        } else if overdue && call.is_live() {
            if let Step::Moved(_) = self.table.bind(&lead.claim(), &call.id).await? {
                pass.adopted += 1;
                tracing::info!(line.key = %lead.claim(), call.id = %call.id, "unknown dial found in the list");
            }
        } else if let Some(lease) = lead.lease() {
            self.look_at_ceiling_of(lead, &lease, Some(&call.id), now, pass).await?;
        }
        Ok(())
    }

    /// A dial without an answer that Vapi does not show. Absence is proof only once the list has
    /// shown calls made after the last instant at which this one can have been.
    async fn see_unanswered(
        &self,
        lead: &Lead,
        lease: &Lease,
        listing: &Listing,
        now: Timestamp,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        let (LeadState::Dialing { deadline, .. } | LeadState::Unknown { deadline, .. }) = &lead.state else {
            return Ok(());
        };
        if now > *deadline && listing.complete && listing.newest().is_some_and(|newest| newest > *deadline) {
            if let Step::Moved(_) = self.table.give_back(&lead.claim()).await? {
                pass.given_back += 1;
                tracing::info!(line.key = %lead.claim(), "dial made no call: lead given back");
                self.free(lease, None).await?;
            }
            return Ok(());
        }
        self.look_at_ceiling_of(lead, lease, None, now, pass).await
    }

    /// An observed call that Vapi shows, under a line of its own.
    async fn see_observed(
        &self,
        pool: &Pool,
        call: &Call,
        leads: &Leads,
        lease: &Lease,
        now: Timestamp,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        let dialed = leads
            .values()
            .any(|lead| matches!(&lead.state, LeadState::Live { call: bound, .. } if *bound == call.id));
        if dialed {
            // A message without its claim came before the dial's answer: one call, two lines.
            tracing::warn!(call.id = %call.id, "line freed: the call is held by its claim");
            self.free(lease, None).await?;
        } else if call.has_ended() {
            pass.ended += 1;
            self.end_observed(pool, &call.id, &call.end).await?;
        } else {
            self.look_at_ceiling(pool, &call.id, lease, now, pass).await?;
        }
        Ok(())
    }

    async fn look_at_ceiling(
        &self,
        pool: &Pool,
        call: &CallId,
        lease: &Lease,
        now: Timestamp,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        if now > lease.token.since() + self.timers.line_ceiling(LONGEST_CALL) {
            pass.ceiling += 1;
            tracing::warn!(call.id = %call, "line freed by the ceiling alone");
            self.end_observed(pool, call, &lost_from_sight()).await?;
        }
        Ok(())
    }

    async fn look_at_ceiling_of(
        &self,
        lead: &Lead,
        lease: &Lease,
        call: Option<&CallId>,
        now: Timestamp,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        let Some(campaign) = self.table.read_campaign(&lead.campaign).await? else { return Ok(()) };
        if now > lease.token.since() + self.timers.line_ceiling(campaign.spec.max_duration()) {
            pass.ceiling += 1;
            tracing::warn!(line.key = %lead.claim(), "line freed by the ceiling alone; the lead is not called again");
            self.settle_as(lead, call, &lost_from_sight(), &Outcome::Failed).await?;
        }
        Ok(())
    }

    /// Live calls in the list that hold no line: their messages were lost, or never sent.
    async fn find_missed(
        &self,
        pool: &Pool,
        listing: &Listing,
        leads: &Leads,
        pass: &mut Pass,
    ) -> Result<(), TableError> {
        for call in listing.calls.iter().filter(|call| call.is_live()) {
            let held = call
                .claim
                .as_ref()
                .is_some_and(|claim| pool.lines.contains_key(&LineKey::Claim(claim.clone())))
                || leads.values().any(
                    |lead| matches!(&lead.state, LeadState::Live { call: bound, .. } if *bound == call.id),
                );
            // A claim that is not in the snapshot may have been made since.
            let ours = match &call.claim {
                Some(claim) if !held => {
                    let lead = self.table.read_lead(&claim.campaign, &claim.lead).await?;
                    lead.is_some_and(|lead| lead.claims == claim.claim && lead.lease().is_some())
                }
                _ => held,
            };
            if !ours && self.observe_live(pool, &call.id, call.kind).await? == Effect::Taken {
                pass.found += 1;
            }
        }
        Ok(())
    }

    /// Wakes the dispatcher for the leads that fall due before the next pass.
    async fn wake_when_due(&self, campaign: &CampaignCode) -> Result<(), TableError> {
        let now = self.clock.now();
        let next_pass = now + self.timers.pass_interval();
        let mut seconds = self.table.due_between(campaign, now, next_pass, DUE_WAKES).await?;
        seconds.dedup_by_key(|due| due.as_second());
        for due in seconds {
            self.wake_at(due).await;
        }
        Ok(())
    }
}

fn lost_from_sight() -> End {
    End { reason: Some(LOST_FROM_SIGHT.to_owned()), connected: None }
}
