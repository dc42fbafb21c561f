//! Dispatching: while a line is free and a lead may be called, take the line and begin its dial.
//!
//! Whose line it is says a plan ([`crate::core::fair`]) on the pool and the campaigns as they are now, made anew after every
//! write. Its campaigns are asked for leads in their order and only until the lines are used: a line that comes free
//! costs one query however many campaigns there are, and those in which nobody was to be called a moment ago none. From
//! waking to taking a line it is four reads, two of them side by side: campaigns and health, the pool, the leads.
//!
//! Dies between any two steps: a plan is nothing but what was read, and what was taken is found as in [`super::dial`]. A ramp's
//! step is one write of its own; whoever comes next decides again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::core::callback;
use crate::core::campaign::{Campaign, CampaignState};
use crate::core::fair::{self, Contender, Lanes, Lines, Weight};
use crate::core::health::Health;
use crate::core::ids::{CampaignCode, NameCode, OrgName};
use crate::core::lead::ReadyLead;
use crate::core::line::{Kind, Lease, LineKey, Token};
use crate::core::pacing::Own;
use crate::core::pool::{Pool, Room, Rule, Source};
use crate::core::refusal::Refuser;
use crate::core::reserve::BucketKey;
use crate::metrics::METRICS;
use crate::table::TableError;
use crate::table::ledger::Taken;

use super::App;
use super::announce::Share;
use super::dial::{Dial, LOOK_AGAIN};
use super::reject::rejects;

/// Lines taken with one write. The expression's length bounds it, and the pool's item stays cool.
const LINES_AT_ONCE: u32 = 40;
/// Dials of one invocation under way at once.
const DIALS_AT_ONCE: usize = 200;
/// What an invocation leaves itself to come to its end.
pub(super) const TIME_TO_END: SignedDuration = SignedDuration::from_secs(5);
/// Refused takings in a row after which an invocation leaves the field to the others.
const REFUSALS: u32 = 4;

/// What an invocation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// Lines taken.
    pub taken: u32,
    /// Takings refused.
    pub refused: u32,
    /// When the first line was taken.
    pub first: Option<Timestamp>,
}

impl App {
    /// Dials for the running campaigns as lines allow (P1), each as many as its plan says ([`fair`]), by lane and due
    /// time. Returns when each dial has its answer, and starts none that could not get it before `until`.
    pub async fn dispatch(self: &Arc<Self>, until: Timestamp) -> Result<Dispatched, TableError> {
        // The list before the pool: whom it names has what room the pool says, or more.
        let look = self.look().await?;
        let pool = self.spread_lines(self.table.read_pool().await?).await?;
        // Beside the dialing, which waits for nobody who listens.
        let (telling, listed) = (self.clone(), self.outlet.as_ref().map(|_| look.campaigns.clone()));
        let told = async move {
            if let Some(campaigns) = listed {
                telling.announce(&campaigns, Share::Some, until).await;
            }
        };
        let (dials, done) = (JoinSet::new(), Dispatched::default());
        let mut dispatch = Dispatch { app: self, look, pool, dials, done, until };
        let campaigns = dispatch.look.campaigns.iter();
        let swept: Vec<Campaign> = campaigns.filter(|campaign| self.is_swept(campaign)).cloned().collect();
        let (mut result, ()) = futures::future::join(Box::pin(dispatch.serve()), Box::pin(told)).await;
        for campaign in &swept {
            if result.is_ok() {
                result = self.sweep(campaign, until).await;
            }
        }
        // Whatever went wrong: what was taken is dialed to its end.
        while dispatch.dials.join_next().await.is_some() {}
        result.map(|()| dispatch.done)
    }

    /// A look at all campaigns, and at how well outbound is going.
    async fn look(&self) -> Result<Look, TableError> {
        let at = self.clock.now();
        let (campaigns, health) = tokio::try_join!(self.table.list_campaigns(), self.table.read_health())?;
        Ok(Look { at, campaigns, health })
    }

    /// What bounds a campaign alone.
    pub(super) fn own(&self, campaign: &Campaign, pool: &Pool) -> Own {
        Own::of(&campaign.spec.pace(), &pool.come(&campaign.code).1, &self.timers)
    }

    /// A campaign of an organisation that nobody can dial for.
    async fn pause_for_key(&self, campaign: &Campaign) -> Result<(), TableError> {
        let org = campaign.spec.org.as_ref().map(OrgName::as_str).unwrap_or_default();
        let reason = format!(
            "there is no key for the organisation {org}: name it in HEADROOM_ORGS, give its key in HEADROOM_VAPI_KEY, \
             then resume the campaign"
        );
        if self.table.pause_campaign(campaign, &reason, self.clock.now()).await? {
            tracing::error!(campaign.id = %campaign.spec.id, reason, "campaign paused");
        }
        Ok(())
    }

    /// Marks a campaign as finished if every one of its leads is over.
    pub(super) async fn finish_if_over(&self, campaign: &Campaign, pool: &Pool) -> Result<(), TableError> {
        if campaign.leads.is_none() || pool.come(&campaign.code).0 > 0 {
            return Ok(());
        }
        let first = self.table.first_due(&campaign.code, campaign.lanes).await?;
        if first.is_none() { self.finish(campaign, pool).await } else { Ok(()) }
    }

    /// The same, for one of whose leads none is ready and none holds a line, as far as is known.
    async fn finish(&self, campaign: &Campaign, pool: &Pool) -> Result<(), TableError> {
        let counted = self.table.count_leads(&campaign.code).await?;
        if counted.all_over() && self.table.finish_campaign(campaign, counted, self.clock.now()).await? {
            self.table.close_campaign(pool, &campaign.code).await?;
            if self.table.announces() {
                // Its last event is told by the next dispatcher.
                self.wake_dispatcher(std::time::Duration::ZERO).await;
            }
            tracing::info!(
                campaign.id = %campaign.spec.id,
                leads = counted.total,
                done = counted.done,
                failed = counted.failed,
                "campaign finished"
            );
        }
        Ok(())
    }
}

/// What the lines are planned on, beside the pool.
pub(super) struct Look {
    /// When it was begun.
    at: Timestamp,
    campaigns: Vec<Campaign>,
    health: Health,
}

/// One invocation at work.
pub(super) struct Dispatch<'a> {
    pub(super) app: &'a Arc<App>,
    look: Look,
    pub(super) pool: Pool,
    pub(super) dials: JoinSet<()>,
    done: Dispatched,
    pub(super) until: Timestamp,
}

/// A running campaign in an invocation.
struct Entry {
    campaign: Arc<Campaign>,
    /// When it was read.
    looked: Timestamp,
    codes: Vec<NameCode>,
    /// Of its due callbacks alone, so many; else it is of all of its leads.
    callbacks: Option<u32>,
    /// Whether it is left out from here on: it has nobody to call, or others take its lines at the same time.
    is_out: bool,
    /// What keeps it from lines that there are: how well outbound is going.
    held_back: Option<Rule>,
    /// Whether lines were taken for it.
    has_taken: bool,
    refusals: u32,
}

impl Entry {
    fn known_by(&self) -> (CampaignCode, bool) {
        (self.campaign.code.clone(), self.callbacks.is_some())
    }

    /// The lanes that it is served from. Those of all leads begin with that of callbacks: where both are of one class, a
    /// due callback is not passed by the campaign's other leads.
    fn lanes(&self) -> Lanes {
        if self.callbacks.is_some() { Lanes::CALLBACK } else { self.campaign.lanes }
    }
}

/// Who is served next.
struct Next {
    /// Which of the entries.
    place: usize,
    /// So many lines.
    lines: u32,
    /// Where they come from, if not from the shared ones.
    reserve: Option<BucketKey>,
    /// The line-time that it is to count as having had, in milliseconds.
    served_ms: Option<i64>,
}

/// What the serving of one campaign came to.
enum Served {
    /// So many lines were taken.
    Taken(u32),
    /// None was, and it is to be planned anew.
    Nothing,
    /// There is no time left.
    Late,
}

impl Dispatch<'_> {
    /// Serves the campaigns in rounds: each on a fresh look at all of them, and for no more lines than were free at that
    /// look. So a line that comes free meanwhile is for those who are first in line by then.
    async fn serve(&mut self) -> Result<(), TableError> {
        let app = self.app;
        let mut before = Vec::new();
        loop {
            app.memory.keep(&self.look.campaigns);
            let entries = self.entries(before).await?;
            let (entries, is_over) = self.round(entries).await?;
            let now = app.clock.now();
            if is_over || self.next(&entries, &self.pool.lines_for_outbound(now)).is_none() {
                return self.leave(&entries).await;
            }
            before = entries;
            self.look = app.look().await?;
            self.pool = app.table.read_pool().await?;
        }
    }

    /// The campaigns that may be served, with what this invocation knows of them.
    async fn entries(&mut self, before: Vec<Entry>) -> Result<Vec<Entry>, TableError> {
        let (app, looked) = (self.app, self.look.at);
        let campaigns = std::mem::take(&mut self.look.campaigns);
        let mut known: HashMap<_, _> = before.into_iter().map(|entry| (entry.known_by(), entry)).collect();
        let mut entries = Vec::new();
        for campaign in campaigns.into_iter().filter(|campaign| campaign.state == CampaignState::Running) {
            if app.vapi_of(campaign.spec.org.as_ref()).is_none() {
                app.pause_for_key(&campaign).await?;
                continue;
            }
            let is_open = self.is_open(&campaign).await?;
            // Before its other leads, and whether its window is open or not.
            let callbacks = Some(app.due_callbacks(&campaign).await?).filter(|due| *due > 0);
            if !is_open && callbacks.is_none() {
                app.finish_if_over(&campaign, &self.pool).await?;
                continue;
            }
            self.judge(&campaign).await?;
            let is_dry = app.memory.is_dry(&campaign, &self.pool, app.clock.now());
            let campaign = Arc::new(campaign);
            let ordinary = is_open.then_some((None, is_dry));
            for (callbacks, is_dry) in callbacks.map(|due| (Some(due), false)).into_iter().chain(ordinary) {
                let (campaign, codes) = (campaign.clone(), campaign.spec.codes());
                let mut entry = Entry {
                    campaign,
                    looked,
                    codes,
                    callbacks,
                    is_out: false,
                    held_back: None,
                    has_taken: false,
                    refusals: 0,
                };
                if let Some(before) = known.remove(&entry.known_by()) {
                    (entry.refusals, entry.has_taken) = (before.refusals, before.has_taken);
                }
                entry.is_out = is_dry || self.is_crowded(entry.refusals);
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Moves a campaign on its ramp, if its calls say so.
    async fn judge(&mut self, campaign: &Campaign) -> Result<(), TableError> {
        let app = self.app;
        let (Some(ramp), Some(tally)) = (&campaign.spec.ramp, self.pool.campaigns.get(&campaign.code)) else {
            return Ok(());
        };
        let was = tally.progress.step;
        let Some(step) = ramp.judge(&tally.progress, app.clock.now(), &app.timers) else { return Ok(()) };
        if let Some(item) = app.table.move_step(&campaign.code, was, step).await? {
            let (lines, step) = (ramp.lines(step), step.nth);
            tracing::info!(campaign.id = %campaign.spec.id, step, lines, from = was.map(|was| was.nth), "ramp");
            self.now_is(item).await?;
        }
        Ok(())
    }

    /// Takes lines by one plan after another until those that were free are used. Returns whether the invocation has
    /// done what it can.
    async fn round(&mut self, mut entries: Vec<Entry>) -> Result<(Vec<Entry>, bool), TableError> {
        // After a dial without a clear answer, one goes ahead to see whether Vapi is well: a line
        // whose dial has no answer is held for minutes.
        let probing = self.pool.hold_count > 0;
        let mut free = self.pool.lines_for_outbound(self.app.clock.now());
        if probing {
            free.total = free.total.min(1);
        }
        while let Some(next) = self.next(&entries, &free) {
            match self.take(&mut entries[next.place], next.lines, next.served_ms).await? {
                Served::Taken(_) if probing => return Ok((entries, true)),
                Served::Taken(lines) => free.take(next.reserve.as_ref(), lines),
                Served::Nothing => {}
                Served::Late => return Ok((entries, true)),
            }
        }
        Ok((entries, false))
    }

    /// Who is to be served next, out of the lines of `free` that are still there.
    fn next(&self, entries: &[Entry], free: &Lines) -> Option<Next> {
        let now = self.app.clock.now();
        let lines = self.pool.lines_for_outbound(now).at_most(free);
        let mut served: HashMap<&CampaignCode, SignedDuration> = HashMap::new();
        for (key, token) in &self.pool.lines {
            if let LineKey::Claim(claim) = key {
                *served.entry(&claim.campaign).or_default() += now.duration_since(token.since());
            }
        }
        let contenders: Vec<Contender> = entries
            .iter()
            .map(|entry| {
                let Campaign { code, spec, created, .. } = &*entry.campaign;
                let (held, progress) = self.pool.come(code);
                let own = self.app.own(&entry.campaign, &self.pool);
                let reserve = match self.pool.source(&entry.codes, Kind::Outbound) {
                    Source::Reserve(bucket) => Some(bucket.key),
                    Source::Shared(_) => None,
                };
                let most =
                    if entry.is_out { 0 } else { self.pool.room_in_all(code, &own, &entry.codes, now) };
                if let Some(due) = entry.callbacks {
                    // For these lines alone, whatever its other leads have had.
                    return Contender {
                        code: code.clone(),
                        created: *created,
                        priority: callback::priority(spec),
                        weight: Weight::default(),
                        share: None,
                        held: 0,
                        served: SignedDuration::ZERO,
                        most: most.min(due),
                        reserve,
                    };
                }
                let live = served.get(code).copied().unwrap_or_default();
                Contender {
                    code: code.clone(),
                    created: *created,
                    priority: spec.priority,
                    weight: spec.weight,
                    share: spec.share,
                    held,
                    served: SignedDuration::from_millis(progress.served_ms) + live,
                    most,
                    reserve,
                }
            })
            .collect();
        let (place, wanted) = fair::plan(&contenders, &lines).into_iter().next()?;
        // What its lines have had so far comes on top when they are freed.
        let live = served.get(&contenders[place].code).copied().unwrap_or_default();
        let lifted = fair::lifted(&contenders, &contenders[place]);
        let lifted = lifted.filter(|_| entries[place].callbacks.is_none());
        let served_ms = lifted.map(|served| (served - live).as_millis() as i64).filter(|ms| *ms > 0);
        Some(Next { place, lines: wanted, reserve: contenders[place].reserve.clone(), served_ms })
    }

    /// Takes up to `lines` lines for a campaign, with one write, and begins their dials.
    async fn take(
        &mut self,
        entry: &mut Entry,
        lines: u32,
        served_ms: Option<i64>,
    ) -> Result<Served, TableError> {
        let app = self.app;
        let now = app.clock.now();
        if now.duration_since(entry.looked) > LOOK_AGAIN {
            let Some(fresh) = app.running(&entry.campaign.code).await? else {
                entry.is_out = true;
                return Ok(Served::Nothing);
            };
            (entry.campaign, entry.looked) = (Arc::new(fresh), now);
        }
        let (campaign, looked, codes) = (entry.campaign.clone(), entry.looked, &entry.codes);
        let code = &campaign.code;
        let now = app.clock.now();
        if now + 2 * app.timers.dial_timeout() > self.until {
            app.wake_at(now).await;
            return Ok(Served::Late);
        }
        let own = app.own(&campaign, &self.pool);
        let (item, room) = self.pool.roomiest(code, own, codes, now);
        let (shard, room) = (item.shard.index, app.held_back(&self.look.health, room, &self.pool, &campaign));
        if room.lines == 0 {
            // Not for want of a line: nothing that this invocation frees is for it.
            entry.is_out = true;
            entry.held_back = Some(room.rule);
            return Ok(Served::Nothing);
        }
        while self.dials.try_join_next().is_some() {}
        let wanted = lines.min(room.lines).min(LINES_AT_ONCE) as usize;
        let leads = self.callable(&campaign, entry.lanes(), wanted, now).await?;
        if leads.is_empty() {
            entry.is_out = true;
            if entry.callbacks.is_none() {
                self.note_dry(&campaign).await?;
            }
            return Ok(Served::Nothing);
        }
        if self.pool.item(shard).is_some_and(|item| !item.campaigns.contains_key(code)) {
            self.open(&campaign, shard).await?;
        }
        let Some(item) = self.pool.item(shard) else { return Ok(Served::Nothing) };
        let lease = |lead: ReadyLead| Lease {
            key: LineKey::Claim(lead.next),
            token: Token::new(Kind::Outbound, now, (app.nonce)()).in_shard(shard),
        };
        let leases: Vec<Lease> = leads.into_iter().take(wanted).map(lease).collect();
        let shares =
            (self.pool.own_share(code, &own, codes, item, now), self.pool.for_taking(item, codes, now));
        let (Some(own), Some(item)) = shares else { return Ok(Served::Nothing) };
        // The part that other items have counted is theirs.
        let elsewhere = self.pool.come(code).1.served_ms - item.come(code).1.served_ms;
        let own = Own { served_ms: served_ms.map(|served| served - elsewhere), ..own };
        // What the health leaves is little, and others may be taking it.
        let item = if room.rule.is_health() { Cow::Owned(item.held_to(room)) } else { item };
        match app.table.take(&item, code, own, &leases, now).await? {
            Taken::Granted(taken) => {
                (entry.refusals, entry.has_taken) = (0, true);
                let lines = leases.len() as u32;
                self.done.taken += lines;
                self.done.first.get_or_insert(now);
                let starts = item.starts(code, &own, codes, lines, now);
                self.now_is(taken).await?;
                let deadline = now + app.timers.dial_deadline();
                let pool = Arc::new(self.pool.clone());
                for (lease, start) in leases.into_iter().zip(starts) {
                    let LineKey::Claim(claim) = lease.key.clone() else { continue };
                    tracing::info!(campaign.id = %campaign.spec.id, line.key = %claim, "line taken");
                    let (campaign, pool) = (campaign.clone(), pool.clone());
                    self.start(Dial { campaign, looked, claim, lease, start, deadline, pool }).await;
                }
                Ok(Served::Taken(lines))
            }
            Taken::Refused(item) => {
                entry.refusals += 1;
                self.done.refused += 1;
                self.now_is(item).await?;
                entry.is_out = self.is_crowded(entry.refusals);
                Ok(Served::Nothing)
            }
        }
    }

    /// Whether so many takings for a campaign were refused that others are at it. Each item may be full by now.
    fn is_crowded(&self, refusals: u32) -> bool {
        refusals >= REFUSALS + self.pool.items().len() as u32 - 1
    }

    /// Nobody of a campaign is to be called now: it is over, or waits for somebody's time.
    async fn note_dry(&self, campaign: &Campaign) -> Result<(), TableError> {
        let (app, pool) = (self.app, &self.pool);
        let next = app.table.first_due(&campaign.code, campaign.lanes).await?;
        if next.is_none() && campaign.leads.is_some() && pool.come(&campaign.code).0 == 0 {
            return app.finish(campaign, pool).await;
        }
        let now = app.clock.now();
        if next.is_none_or(|next| next > now) {
            app.memory.note_dry(campaign, pool, next, now);
        }
        Ok(())
    }

    /// Leaves the campaigns that there is no room for, so that they are found again.
    async fn leave(&mut self, entries: &[Entry]) -> Result<(), TableError> {
        let app = self.app;
        for Entry { campaign, codes, callbacks, is_out, held_back, has_taken, .. } in entries {
            let now = app.clock.now();
            let own = app.own(campaign, &self.pool);
            let (_, room) = self.pool.roomiest(&campaign.code, own, codes, now);
            let room = held_back.map_or(room, |rule| Room { lines: 0, rule });
            if room.lines > 0 || (*is_out && held_back.is_none()) {
                continue;
            }
            tracing::debug!(campaign.id = %campaign.spec.id, rule = room.rule.name(), "no room");
            tracing::trace!(target: METRICS, OutboundWaits = 1_u32, Rule = room.rule.name());
            // Whoever frees a line wakes the dispatcher if the ledger knows of a campaign that waits.
            let is_open = self.pool.campaigns.contains_key(&campaign.code);
            if !is_open && app.table.first_due(&campaign.code, campaign.lanes).await?.is_some() {
                self.open(campaign, 0).await?;
            }
            // Only after lines were taken, or each wake-up in between would send one more.
            if room.rule == Rule::Pace
                && *has_taken
                && let Some(again) = self.pool.paced_until(&campaign.code, &own, codes)
            {
                app.wake_at(again).await;
            }
            app.explain_waiting(campaign, Refuser::Rule(room.rule), &self.pool).await;
            if rejects(room.rule) && callbacks.is_none() && app.rejects(campaign, &self.pool) {
                self.reject(campaign).await?;
            }
        }
        Ok(())
    }

    /// One item of the ledger as it is now.
    async fn now_is(&mut self, item: Pool) -> Result<(), TableError> {
        if !self.pool.update(item) {
            self.pool = self.app.table.read_pool().await?;
        }
        Ok(())
    }

    /// Puts a campaign's counters on the ledger: on its first item, and on the one that lines are to be taken in.
    pub(super) async fn open(&mut self, campaign: &Campaign, shard: u8) -> Result<(), TableError> {
        let table = &self.app.table;
        // Read anew: others may have finished it since it was listed, and its figures with it.
        if let Some(fresh) = table.read_campaign(&campaign.code).await? {
            if !self.pool.items()[0].campaigns.contains_key(&campaign.code) {
                table.open_campaign(&campaign.code, fresh.settled, &fresh.spec.codes()).await?;
            }
            if shard > 0 {
                table.join_campaign(shard, &campaign.code, &fresh.spec.codes()).await?;
            }
            self.pool = table.read_pool().await?;
        }
        Ok(())
    }

    async fn start(&mut self, dial: Dial) {
        if self.dials.len() >= DIALS_AT_ONCE {
            self.dials.join_next().await;
        }
        let app = self.app.clone();
        self.dials.spawn(async move { app.dial(dial).await });
    }
}
