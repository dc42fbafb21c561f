//! The minute pass: makes right what events left undone. It takes no hints, asks Vapi for one page
//! of calls rather than for each line, and calls the same functions as the events do.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::core::campaign::{Campaign, CampaignState};
use crate::core::ended::is_unanswered;
use crate::core::ids::{CallId, CampaignCode, ClaimKey, LeadRef, OrgName};
use crate::core::lead::{End, Lead, LeadState, Outcome};
use crate::core::line::{Lease, LineKey, Token};
use crate::core::pool::Pool;
use crate::logging::chain;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::table::changes::Wanted;
use crate::table::leads::Step;
use crate::table::ledger::LeadEnd;
use crate::vapi::calls::{Call, Listing};

use super::App;
use super::announce::Share;
use super::observe::{Effect, held_claims, holds};
use super::orgs::Listings;
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
    /// Dials without an answer, of which that was not known when the pass began.
    pub unknown: u32,
    /// Lines freed by the ceiling alone, without proof.
    pub ceiling: u32,
    /// Organisations whose calls Vapi did not list.
    pub unlisted: u32,
    /// Callers since the last pass whom nobody answered: Vapi's question did not come here, or no answer went back.
    pub unanswered: u32,
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
/// Looks for more of them: many who were put off to one opening are due in its first seconds.
const DUE_LOOKS: usize = 10;
/// The longest call that Vapi allows: the bound on calls that Headroom did not start.
const LONGEST_CALL: SignedDuration = SignedDuration::from_hours(12);
/// How long a pass goes on telling what has happened: the function's time is up some seconds later.
const TIME_TO_TELL: SignedDuration = SignedDuration::from_secs(25);
/// Why a lead is over whose call nobody can tell anything about.
const LOST_FROM_SIGHT: &str = "no proof of its end until the ceiling";

impl App {
    /// One pass. Whatever goes wrong with it, what has happened is told.
    pub async fn reconcile(&self) -> Result<Pass, TableError> {
        let pass = Box::pin(self.make_right()).await;
        if self.outlet.is_some() {
            // As they are now: some have finished in this pass.
            match self.table.list_campaigns().await {
                Ok(campaigns) => {
                    self.announce(&campaigns, Share::All, self.clock.now() + TIME_TO_TELL).await;
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "events not told; the next pass tells them")
                }
            }
        }
        pass
    }

    async fn make_right(&self) -> Result<Pass, TableError> {
        self.table.ensure_pool(self.policy).await?;
        let pool = self.spread_lines(self.follow_policy(self.table.read_pool().await?).await?).await?;
        let campaigns = self.table.list_campaigns().await?;
        let look = Look::around(self, &pool, &campaigns).await?;
        self.hear_listed_wishes(&look.listings).await;
        let ended = look.listings.calls().filter(|call| call.has_ended());
        let told = ended.filter_map(|call| Some((call.id.clone(), call.talk?))).collect();
        let pass = look.reconcile().await?;
        self.log_health(&pool).await?;
        measure(&pool, &campaigns, &pass);
        let mut running = false;
        for campaign in &campaigns {
            match campaign.state {
                CampaignState::Running => {
                    self.finish_if_over(campaign, &pool).await?;
                    self.wake_when_due(campaign).await?;
                    running = true;
                }
                CampaignState::Finished | CampaignState::Cancelled => {
                    running |= self.look_after_over(campaign, &pool).await?;
                }
                // The dispatcher goes on with what is left undone.
                CampaignState::Cancelling | CampaignState::Rerunning { .. } => running = true,
                CampaignState::Draft | CampaignState::Paused { .. } => {}
            }
        }
        if running {
            self.wake_dispatcher(Duration::ZERO).await;
        }
        // Last: figures hold up no call.
        self.add_up(&campaigns, &pool, &told).await?;
        Ok(pass)
    }

    /// Applies a changed configuration, or a changed limit that Vapi reported. What an operator
    /// set in between stays until the configuration itself changes.
    async fn follow_policy(&self, pool: Pool) -> Result<Pool, TableError> {
        let configured = self.policy.to_string();
        let (policy, configured, by) = if pool.configured.as_ref() != Some(&configured) {
            (self.policy, Some(configured), "configuration")
        } else {
            let seen = pool.seen_limit.filter(|seen| self.adopt_limit && *seen != pool.policy.limit());
            match seen.and_then(|seen| pool.policy.with_limit(seen).ok()) {
                Some(policy) => (policy, None, "vapi"),
                None => return Ok(pool),
            }
        };
        let wanted = Wanted { policy, configured, ..Wanted::of(&pool) };
        if self.table.change_policy(&pool, &wanted, by, self.clock.now()).await? {
            tracing::info!(from = %Wanted::of(&pool), to = %wanted, by, "policy changed");
        }
        self.table.read_pool().await
    }

    /// How many callers of the last minute nobody answered, by Vapi's word.
    fn unanswered(&self, listings: &Listings, now: Timestamp) -> u32 {
        let last_pass = now - self.timers.pass_interval();
        let is_new = |call: &&Call| call.ended.is_some_and(|ended| ended > last_pass);
        let mut unanswered = 0;
        for call in listings.calls().filter(is_new) {
            let reason = call.end.reason_text();
            if is_unanswered(reason) {
                tracing::error!(call.id = %call.id, reason, "caller not answered: Vapi asked, and had no answer it could use");
                unanswered += 1;
            }
        }
        unanswered
    }

    /// Wakes the dispatcher for the leads that fall due before the next pass.
    async fn wake_when_due(&self, campaign: &Campaign) -> Result<(), TableError> {
        let mut from = self.clock.now();
        let next_pass = from + self.timers.pass_interval();
        for _ in 0..DUE_LOOKS {
            let mut due =
                self.table.due_between(&campaign.code, campaign.lanes, from, next_pass, DUE_WAKES).await?;
            let are_all = due.len() < DUE_WAKES as usize;
            due.dedup_by_key(|due| due.as_second());
            for due in &due {
                self.wake_at(*due).await;
            }
            // Whoever else is due in that second is called with them.
            let Some(last) = due.last().filter(|_| !are_all) else { break };
            from = Timestamp::from_second(last.as_second() + 1).unwrap_or(next_pass);
        }
        Ok(())
    }
}

/// The pool's figures, once for each pass.
fn measure(pool: &Pool, campaigns: &[Campaign], pass: &Pass) {
    let running = campaigns.iter().filter(|campaign| campaign.state == CampaignState::Running);
    let waiting = running.map(|campaign| {
        let (done, failed) = pool.over(campaign);
        let (held, _) = pool.come(&campaign.code);
        campaign.leads.unwrap_or_default().saturating_sub(held + done + failed)
    });
    // By Headroom, for what somebody has to mend. What a person paused is as they want it.
    let stopped =
        campaigns.iter().filter(|campaign| matches!(campaign.state, CampaignState::Paused { by: None, .. }));
    let counts = &pool.counts;
    tracing::trace!(
        target: METRICS,
        LinesInbound = counts.inbound,
        LinesOutbound = counts.outbound.saturating_sub(counts.foreign),
        LinesForeign = counts.foreign,
        LinesWeb = counts.web,
        LinesFree = pool.free(),
        Backlog = waiting.sum::<u32>(),
        UnknownDials = pass.unknown,
        LinesByCeiling = pass.ceiling,
        VapiUnlisted = pass.unlisted,
        CallersUnanswered = pass.unanswered,
        CampaignsPaused = stopped.count() as u32,
    );
}

/// What a pass sees: the ledger, the leads that hold lines, and Vapi's list of calls, read in this
/// order. A call that is not in the list was not there when the leads were read.
struct Look<'a> {
    app: &'a App,
    pool: &'a Pool,
    now: Timestamp,
    leads: HashMap<(CampaignCode, LeadRef), Lead>,
    /// The calls of those leads.
    bound: HashSet<CallId>,
    listings: Listings,
    /// The organisation of each campaign that has one of its own.
    orgs: HashMap<CampaignCode, OrgName>,
    pass: Pass,
    /// What went wrong first.
    failed: Option<TableError>,
}

impl<'a> Look<'a> {
    async fn around(app: &'a App, pool: &'a Pool, campaigns: &[Campaign]) -> Result<Self, TableError> {
        let now = app.clock.now();
        let leads = app.table.read_leads(&held_claims(pool)).await?;
        let since = look_back(app, pool, &leads, now);
        let bound = leads.iter().filter_map(|lead| bound_call(lead).cloned()).collect();
        let leads: HashMap<_, _> =
            leads.into_iter().map(|lead| ((lead.campaign.clone(), lead.lead.clone()), lead)).collect();
        let org = |campaign: &Campaign| Some((campaign.code.clone(), campaign.spec.org.clone()?));
        let orgs = campaigns.iter().filter_map(org).collect();
        let listings = app.list_calls(since).await;
        let unknown = leads.values().filter(|lead| matches!(lead.state, LeadState::Unknown { .. }));
        let (listed, unknown) = (listings.calls().count() as u32, unknown.count() as u32);
        let unanswered = app.unanswered(&listings, now);
        let pass = Pass { listed, unknown, unlisted: listings.unanswered(), unanswered, ..Pass::default() };
        Ok(Self { app, pool, now, leads, bound, listings, orgs, pass, failed: None })
    }

    async fn reconcile(mut self) -> Result<Pass, TableError> {
        let listed: Vec<Call> = self.listings.calls().cloned().collect();
        if self.pool.org.is_none()
            && let Some(listing) = self.listings.of(None)
            && let Some(org) = listing.calls.iter().find_map(|call| call.org.clone())
        {
            self.app.table.note_vapi(Some(&org), None).await?;
        }
        let live = listed.iter().filter(|call| call.is_live()).count();
        if live != self.pool.counts.total as usize {
            tracing::info!(ledger = self.pool.counts.total, vapi = live, "ledger and Vapi's list differ");
        }
        self.app.calibrate(self.pool, self.leads.values(), &self.listings, self.apart()).await?;
        let unlisted = self.see_listed(&listed).await;
        self.see_unlisted(unlisted).await;
        self.find_missed(&listed).await?;
        self.app.explain_listed(&listed, self.pool).await;
        self.failed.map_or(Ok(self.pass), Err)
    }

    /// Lines by which the lists differ from the ledger: live calls that hold none, or with a minus held ones whose call is
    /// over, whichever are more; where no webhook arrives, there are as many of both. Lines that no list shows, of calls
    /// from before it or of dials under way, are not compared, nor are calls that may have begun, or ended, since the ledger
    /// was read.
    fn apart(&self) -> i64 {
        let holds = |call: &Call| {
            let claimed = call.claim.as_ref().is_some_and(|claim| holds(self.pool, claim));
            claimed
                || self.bound.contains(&call.id)
                || self.pool.lines.contains_key(&LineKey::Observed(call.id.clone()))
        };
        let calls = || self.listings.calls();
        let read = self.now - self.app.timers.clock_skew();
        let is_old = |at: Option<Timestamp>| at.is_some_and(|at| at < read);
        let is_missed =
            |call: &&Call| call.is_live() && call.kind.is_some() && is_old(call.created) && !holds(call);
        let is_over = |call: &&Call| call.has_ended() && is_old(call.ended) && holds(call);
        let missed = calls().filter(is_missed).count() as i64;
        let over = calls().filter(is_over).count() as i64;
        if missed >= over { missed } else { -over }
    }

    /// Goes through the held lines whose call is in the list, or that have no call yet. Returns the
    /// others: a lease and its call.
    async fn see_listed(&mut self, listed: &[Call]) -> Vec<(Lease, CallId)> {
        let by_call: HashMap<&CallId, &Call> = listed.iter().map(|call| (&call.id, call)).collect();
        let by_claim: HashMap<&ClaimKey, &Call> =
            listed.iter().filter_map(|call| Some((call.claim.as_ref()?, call))).collect();
        let mut unlisted = Vec::new();
        let mut once = HashSet::new();
        for lease in self.pool.leases() {
            if let LineKey::Observed(call) = &lease.key
                && self.pool.is_spread()
                && !once.insert(call.clone())
            {
                let freed = self.free_second(call).await;
                self.keep_going(&lease, freed);
                continue;
            }
            let (claim, call) = match &lease.key {
                LineKey::Observed(call) => (None, Some(call.clone())),
                LineKey::Claim(claim) => match self.current(claim, &lease).await {
                    Ok(Some(lead)) => (Some(claim), bound_call(lead).cloned()),
                    Ok(None) => continue,
                    Err(error) => {
                        self.keep_going(&lease, Err(error));
                        continue;
                    }
                },
            };
            let seen = match (&call, claim) {
                (Some(call), _) => by_call.get(call),
                (None, claim) => claim.and_then(|claim| by_claim.get(claim)),
            };
            let done = match (seen, call) {
                (Some(seen), _) => self.see(&lease, seen).await,
                (None, Some(call)) => {
                    unlisted.push((lease, call));
                    continue;
                }
                (None, None) => self.see_unanswered(&lease).await,
            };
            self.keep_going(&lease, done);
        }
        unlisted
    }

    /// Asks for the calls that the list does not show, one by one, the longest-held lines first.
    async fn see_unlisted(&mut self, mut unlisted: Vec<(Lease, CallId)>) {
        unlisted.sort_by_key(|(lease, _)| lease.token.since());
        let asked = unlisted.len().min(SINGLE_READS);
        // Where they are more, each has its turn within a few passes.
        let passes = self.now.as_second() / 60;
        if unlisted.len() > asked {
            let turn = (passes.unsigned_abs() as usize * asked) % unlisted.len();
            unlisted.rotate_left(turn);
        }
        let reads: Vec<_> = unlisted[..asked].iter().map(|(_, call)| self.app.get_call(call)).collect();
        let mut found = futures::future::join_all(reads).await.into_iter();
        for (lease, call) in &unlisted {
            match found.next().and_then(|answer| answer.ok().flatten()) {
                Some(found) => {
                    let seen = self.see(lease, &found).await;
                    self.keep_going(lease, seen);
                }
                // Not found is as often "not yet" as "over": no proof of anything.
                None => {
                    let seen = self.look_at_ceiling(lease, Some(call)).await;
                    self.keep_going(lease, seen);
                }
            }
        }
    }

    /// One line that cannot be dealt with does not stop the pass from dealing with the others.
    fn keep_going(&mut self, lease: &Lease, done: Result<(), TableError>) {
        if let Err(error) = done {
            tracing::error!(line.key = %lease.key, error = chain(&error), "line not reconciled");
            self.failed = self.failed.take().or(Some(error));
        }
    }

    /// The lead of a held line.
    fn lead(&self, key: &LineKey) -> Option<&Lead> {
        match key {
            LineKey::Claim(claim) => self.leads.get(&(claim.campaign.clone(), claim.lead.clone())),
            LineKey::Observed(_) => None,
        }
    }

    /// The lead of a held line, if the line is still its latest claim's and that is under way.
    /// Lines that outlived their claim are freed here: the claim was never made, or its outcome was
    /// written and its function died before it freed the line.
    async fn current(&self, claim: &ClaimKey, lease: &Lease) -> Result<Option<&Lead>, TableError> {
        let lead = self.lead(&lease.key);
        let claims = lead.map_or(0, |lead| lead.claims);
        let timers = &self.app.timers;
        if claim.claim > claims {
            if self.now > lease.token.since() + timers.dial_deadline() + timers.settling() {
                self.free_unclaimed(claim, lease).await?;
            }
            return Ok(None);
        }
        let Some(lead) = lead else { return Ok(None) };
        // In a ledger of several items, another dispatcher may have taken a line for the same claim in another one.
        if claim.claim == claims && lead.lease().is_some_and(|held| !self.pool.is_spread() || held == *lease)
        {
            return Ok(Some(lead));
        }
        // Events free their line right after the outcome; leave them the time to.
        if self.now > lease.token.since() + timers.settling() {
            // Only the line that the outcome was written under is counted with it.
            let its_own = claim.claim == claims && lead.token.as_ref() == Some(&lease.token);
            let end = if its_own { lead_end(lead) } else { None };
            if let Some(call) = lead.call.as_ref().filter(|_| its_own) {
                // Its function may have died before it wrote the record, too.
                self.app.table.record_ended(call, &settled_before(lead), self.now).await?;
            }
            tracing::warn!(line.key = %claim, "line freed: its call was settled before");
            self.app.free(self.pool, lease, end).await?;
        }
        Ok(None)
    }

    /// A line whose claim was never made. Its function is dead, or frozen, or its write is still under
    /// way: fenced off first, the claim cannot be made any more, and no lead is left without its line.
    async fn free_unclaimed(&self, claim: &ClaimKey, lease: &Lease) -> Result<(), TableError> {
        match self.app.table.fence(claim).await? {
            // Once more is harmless: the line is freed by its token.
            Step::Moved(_) => {}
            Step::Refused(Some(lead)) if lead.state == LeadState::Ready && lead.claims >= claim.claim => {}
            // It ended without a line: nobody claims it any more.
            Step::Refused(Some(lead)) if lead.state.is_over() => {}
            Step::Refused(None) => {}
            // Claimed just now: the next pass sees it.
            Step::Refused(Some(_)) => return Ok(()),
        }
        tracing::warn!(line.key = %claim, "line freed: its claim was never made");
        self.app.free(self.pool, lease, Some(LeadEnd::NotMade)).await.map(|_| ())
    }

    /// A held line whose call Vapi shows.
    async fn see(&mut self, lease: &Lease, call: &Call) -> Result<(), TableError> {
        let Some(lead) = self.lead(&lease.key) else { return self.see_observed(lease, call).await };
        let overdue = match &lead.state {
            LeadState::Unknown { .. } => true,
            LeadState::Dialing { deadline, .. } => self.now > *deadline,
            _ => false,
        };
        if call.has_ended() {
            self.app.settle(self.pool, lead, Some(&call.id), &call.end).await?;
            self.pass.ended += 1;
        } else if overdue && call.is_live() {
            let claim = lead.claim();
            if let Step::Moved(_) = self.app.table.bind(&claim, &call.id, None).await? {
                tracing::info!(line.key = %claim, call.id = %call.id, "unknown dial found in the list");
                self.pass.adopted += 1;
            }
        } else {
            self.look_at_ceiling(lease, Some(&call.id)).await?;
        }
        Ok(())
    }

    /// The same, under a line of its own.
    async fn see_observed(&mut self, lease: &Lease, call: &Call) -> Result<(), TableError> {
        if self.bound.contains(&call.id) {
            // A message without its claim came before the dial's answer: one call, two lines.
            tracing::warn!(call.id = %call.id, "line freed: the call is held by its claim");
            self.app.free(self.pool, lease, None).await.map(|_| ())
        } else if call.has_ended() {
            self.pass.ended += 1;
            self.app.end_observed(self.pool, &call.id, &call.end).await
        } else {
            self.look_at_ceiling(lease, Some(&call.id)).await
        }
    }

    /// An observed call with lines in two items of the ledger: who took or moved one of them died before it looked.
    async fn free_second(&self, call: &CallId) -> Result<(), TableError> {
        let record = self.app.table.read_record(call).await?;
        self.app.free_strays(self.pool, call, record.shard).await
    }

    /// A dial without an answer that Vapi does not show. Absence is proof only in a list that is
    /// complete from before the dial on, and has shown calls made after the last instant at which this
    /// one can have been, or is still without it minutes later in an account where nothing else moves.
    async fn see_unanswered(&mut self, lease: &Lease) -> Result<(), TableError> {
        let Some(lead) = self.lead(&lease.key) else { return Ok(()) };
        let settled = match &lead.state {
            // Its function died, or is frozen: what it sent last may still be in the making.
            LeadState::Dialing { deadline, .. } => *deadline + self.app.timers.settling(),
            LeadState::Unknown { deadline, .. } => *deadline,
            _ => return Ok(()),
        };
        let late = settled + self.app.timers.absence();
        let listing = self.listings.of(self.orgs.get(&lead.campaign));
        let newest = listing.and_then(Listing::newest);
        let is_complete = listing.is_some_and(|listing| listing.complete);
        let shown_later = newest.is_some_and(|newest| newest > settled) || self.now > late;
        if self.now <= settled || !is_complete || !shown_later {
            return self.look_at_ceiling(lease, None).await;
        }
        let claim = lead.claim();
        if let Step::Moved(_) = self.app.table.give_back(&claim).await? {
            tracing::info!(line.key = %claim, "dial made no call: lead given back");
            self.app.free(self.pool, lease, Some(LeadEnd::NotMade)).await?;
            self.pass.given_back += 1;
        }
        Ok(())
    }

    /// Frees a line that is held for longer than its call can have lasted, whatever Vapi says.
    async fn look_at_ceiling(&mut self, lease: &Lease, call: Option<&CallId>) -> Result<(), TableError> {
        let held = self.now.duration_since(lease.token.since());
        let timers = &self.app.timers;
        // Hardly any line is held this long; only then is it worth a read.
        if held <= timers.line_ceiling(SignedDuration::ZERO) {
            return Ok(());
        }
        match self.lead(&lease.key) {
            Some(lead) => {
                let Some(campaign) = self.app.table.read_campaign(&lead.campaign).await? else {
                    return Ok(());
                };
                if held > timers.line_ceiling(campaign.spec.max_duration()) {
                    tracing::warn!(line.key = %lead.claim(), "line freed by the ceiling; its lead is not called again");
                    self.app.settle_as(self.pool, lead, call, &lost_from_sight(), &Outcome::Failed).await?;
                    self.pass.ceiling += 1;
                }
            }
            None => {
                if let Some(call) = call
                    && held > timers.line_ceiling(LONGEST_CALL)
                {
                    tracing::warn!(call.id = %call, "line freed by the ceiling");
                    self.app.end_observed(self.pool, call, &lost_from_sight()).await?;
                    self.pass.ceiling += 1;
                }
            }
        }
        Ok(())
    }

    /// Live calls in the list that hold no line: their messages were lost, or never sent.
    async fn find_missed(&mut self, listed: &[Call]) -> Result<(), TableError> {
        for call in listed.iter().filter(|call| call.is_live() && !self.bound.contains(&call.id)) {
            if let Some(claim) = &call.claim {
                if self.pool.lines.contains_key(&LineKey::Claim(claim.clone())) {
                    continue;
                }
                // Taken since the ledger was read?
                let lead = self.app.table.read_lead(&claim.campaign, &claim.lead).await?;
                if lead.is_some_and(|lead| lead.claims == claim.claim && lead.lease().is_some()) {
                    continue;
                }
            }
            let codes = self.app.known_by(self.pool, &call.codes, call.org.as_ref());
            if self.app.observe_live(self.pool, &call.id, call.kind, &codes).await? == Effect::Taken {
                self.pass.found += 1;
            }
        }
        Ok(())
    }
}

/// From when on calls are listed: before every dial without an answer, since its absence must mean
/// something, and before every other held line that is not too old for that.
fn look_back(app: &App, pool: &Pool, leads: &[Lead], now: Timestamp) -> Timestamp {
    let unanswered = |lead: &&Lead| bound_call(lead).is_none();
    let unanswered = leads.iter().filter(unanswered).filter_map(Lead::lease).map(|lease| lease.token.since());
    let oldest = pool.lines.values().map(Token::since).min().unwrap_or(now);
    let since =
        oldest.min(now - app.timers.scaled(LOOK_BACK)).max(now - app.timers.scaled(LONGEST_LOOK_BACK));
    unanswered.min().map_or(since, |unanswered| unanswered.min(since)) - app.timers.clock_skew()
}

fn bound_call(lead: &Lead) -> Option<&CallId> {
    match &lead.state {
        LeadState::Live { call, .. } => Some(call),
        _ => None,
    }
}

/// The end of a call that was settled without being recorded, as the lead remembers it.
pub(super) fn settled_before(lead: &Lead) -> End {
    match &lead.state {
        LeadState::Done { reason } | LeadState::Failed { reason } => {
            End { reason: Some(reason.clone()), connected: None }
        }
        _ => End { reason: None, connected: None },
    }
}

fn lost_from_sight() -> End {
    End { reason: Some(LOST_FROM_SIGHT.to_owned()), connected: None }
}
