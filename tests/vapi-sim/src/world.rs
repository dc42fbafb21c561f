//! The state of the simulated subscription: its lines, its orgs' calls, and the record of all that happened.
//!
//! A plain struct behind one mutex. Every method is a step that either happens as a whole or not at all:
//! a line is counted and taken in the same one. Nothing in here waits, sends or draws chance.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
    sync::Arc,
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    config::{Config, Counter, Faults, Telephony, Webhook},
    request::Given,
    setup::{Account, Setup},
    truth::{Blocked, CallKind, CallSeen, CallTruth, LineChange, LinesHeld, OrgLines, Truth, WebhookCounts},
};

/// The subscription.
pub(crate) struct World {
    pub(crate) lines: u32,
    /// The main one, then the others.
    pub(crate) orgs: Vec<Org>,
    pub(crate) telephony: Telephony,
    pub(crate) faults: Faults,
    pub(crate) counter: Counter,
    pub(crate) counts: Counts,
    /// In the order of creation; never shortened, so that an index stays good.
    pub(crate) calls: Vec<Call>,
    pub(crate) timeline: Vec<LineChange>,
    /// How long a simulated second is on the wall, in milliseconds.
    second_ms: f64,
    live: LinesHeld,
    by_id: HashMap<Uuid, usize>,
    hangups: HashMap<usize, oneshot::Sender<()>>,
    posts_by_number: HashMap<String, u64>,
    dials: BTreeMap<String, u64>,
    dials_by_name: BTreeMap<String, u64>,
    blocked: Vec<Blocked>,
}

/// One org of the subscription.
pub(crate) struct Org {
    pub(crate) webhook: Option<Webhook>,
    pub(crate) callers: u64,
    pub(crate) web_visits: u64,
    /// Outbound calls that it made by itself, or tried to.
    pub(crate) dials: u64,
    pub(crate) setup: Setup,
    held: OrgLines,
}

/// Running totals of the truth.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) refused_by_us: u64,
    pub(crate) assistant_requests: u64,
    pub(crate) webhooks: WebhookCounts,
    posts: u64,
    pub(crate) over_limit_answers: u64,
    blocked_while_outbound_live: u64,
    peak_lines: u32,
    peak_outbound: u32,
}

/// One call, with the moments of its life.
pub(crate) struct Call {
    pub(crate) id: Uuid,
    /// The index of the org that it belongs to.
    pub(crate) org: usize,
    /// Where its fate, and those of its webhooks, are drawn from.
    pub(crate) key: u64,
    pub(crate) kind: CallKind,
    pub(crate) given: Arc<Given>,
    /// Lines that it takes: two if it is a voice simulation.
    pub(crate) lines: u8,
    pub(crate) arrived_ms: f64,
    pub(crate) created_ms: f64,
    pub(crate) ringing_ms: Option<f64>,
    pub(crate) started_ms: Option<f64>,
    pub(crate) ended_ms: Option<f64>,
    pub(crate) ended_reason: Option<&'static str>,
    ended_webhook_ms: Option<f64>,
    ended_webhook_accepted: bool,
    holds_line: bool,
}

/// A call about to be.
pub(crate) struct NewCall {
    pub(crate) id: Uuid,
    pub(crate) org: usize,
    pub(crate) key: u64,
    pub(crate) kind: CallKind,
    pub(crate) given: Arc<Given>,
    pub(crate) lines: u8,
    pub(crate) arrived_ms: f64,
}

/// A call that has begun. Whoever holds this leads it to its end.
pub(crate) struct Begun {
    pub(crate) index: usize,
    /// Resolves when someone ends the call from outside.
    pub(crate) hangup: oneshot::Receiver<()>,
}

impl World {
    pub(crate) fn new(config: &Config, second_ms: f64, now: f64) -> Self {
        let new = |id: &str, webhook: &Option<Webhook>, account: &Account| {
            Org::new(id, webhook.clone(), Setup::new(account.clone(), id, config.seed, now))
        };
        let others = config.orgs.iter().map(|org| new(&org.org_id, &org.webhook, &org.account));
        Self {
            lines: config.lines,
            orgs: iter::once(new(&config.org_id, &config.webhook, &config.account)).chain(others).collect(),
            telephony: config.telephony.clone(),
            faults: config.faults.clone(),
            counter: config.counter.clone(),
            counts: Counts::default(),
            calls: Vec::new(),
            timeline: Vec::new(),
            second_ms,
            live: LinesHeld::default(),
            by_id: HashMap::new(),
            hangups: HashMap::new(),
            posts_by_number: HashMap::new(),
            dials: BTreeMap::new(),
            dials_by_name: BTreeMap::new(),
            blocked: Vec::new(),
        }
    }

    /// Counts a valid `POST /call`, and says how many there were for this number before.
    pub(crate) fn note_post(&mut self, number: &str) -> u64 {
        self.counts.posts += 1;
        let posts = self.posts_by_number.entry(number.to_owned()).or_default();
        *posts += 1;
        *posts - 1
    }

    /// How many calls were made to a number.
    pub(crate) fn dials_to(&self, number: &str) -> u64 {
        self.dials.get(number).copied().unwrap_or_default()
    }

    /// Lines that are held as Vapi counts them: those of live calls, and those of calls whose end its
    /// counter has not noticed yet.
    fn counted_lines(&self, now: f64) -> u32 {
        let noticed_ms = now - self.counter.lag_seconds * self.second_ms;
        let recent = self.timeline.iter().rev().take_while(|change| change.at_ms > noticed_ms);
        self.live.total() + recent.map(|change| u32::from(change.delta.min(0).unsigned_abs())).sum::<u32>()
    }

    /// Lines that are free as Vapi counts them.
    pub(crate) fn free_lines(&self, now: f64) -> u32 {
        self.lines.saturating_sub(self.counted_lines(now))
    }

    /// Begins a call if there are the lines for it, and takes them. If there are not, writes down who
    /// held them and gives the call back.
    pub(crate) fn begin(&mut self, now: f64, call: NewCall) -> Result<Begun, NewCall> {
        if self.free_lines(now) < u32::from(call.lines) {
            self.note_refusal(now, &call);
            return Err(call);
        }
        let begun = self.add(now, call, true);
        self.change_lines(now, begun.index, 1);
        self.counts.peak_lines = self.counts.peak_lines.max(self.live.total());
        self.counts.peak_outbound = self.counts.peak_outbound.max(self.live.outbound);
        Ok(begun)
    }

    /// Writes down that a call was made because a request asked for it.
    pub(crate) fn note_dial(&mut self, index: usize) {
        let given = &self.calls[index].given;
        for (of, dials) in [(&given.number, &mut self.dials), (&given.name, &mut self.dials_by_name)] {
            if let Some(of) = of {
                *dials.entry(of.clone()).or_default() += 1;
            }
        }
    }

    /// Begins a call that never holds a line: one that was accepted over the limit, to be ended soon.
    pub(crate) fn begin_without_line(&mut self, now: f64, call: NewCall) -> Begun {
        self.add(now, call, false)
    }

    /// Ends a call and frees its lines. Nothing else frees a line, and a second end changes nothing.
    pub(crate) fn end(&mut self, now: f64, index: usize, reason: &'static str) {
        let call = &mut self.calls[index];
        if call.ended_ms.is_some() {
            return;
        }
        call.ended_ms = Some(now);
        call.ended_reason = Some(reason);
        self.hangups.remove(&index);
        if call.holds_line {
            self.change_lines(now, index, -1);
        }
    }

    /// Asks whoever leads a call to end it. False if there is no such live call.
    pub(crate) fn hang_up(&mut self, id: &str) -> bool {
        let hangup = self.find(id).and_then(|index| self.hangups.remove(&index));
        hangup.is_some_and(|hangup| hangup.send(()).is_ok())
    }

    /// The index of the call with this id.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(&Uuid::try_parse(id).ok()?).copied()
    }

    /// Where the messages about a call go.
    pub(crate) fn webhook(&self, index: usize) -> Option<Webhook> {
        let call = &self.calls[index];
        let org = &self.orgs[call.org];
        org.setup.server_of(&call.given).or_else(|| org.webhook.clone())
    }

    /// Writes down that the `ended` update of a call leaves now.
    pub(crate) fn note_ended_webhook(&mut self, now: f64, index: usize) {
        self.calls[index].ended_webhook_ms.get_or_insert(now);
    }

    /// Writes down that the `ended` update of a call was accepted.
    pub(crate) fn note_ended_webhook_accepted(&mut self, index: usize) {
        self.calls[index].ended_webhook_accepted = true;
    }

    /// What really happened up to now.
    pub(crate) fn truth(&self, now: f64) -> Truth {
        let counts = &self.counts;
        let blocked = |kind| self.blocked.iter().filter(|blocked| blocked.kind == kind).count() as u64;
        Truth {
            lines: self.lines,
            live: self.live,
            counted: self.counted_lines(now),
            orgs: self.held_by_org(),
            peak_lines: counts.peak_lines,
            peak_outbound: counts.peak_outbound,
            callers: self.orgs.iter().map(|org| org.callers).sum(),
            blocked_inbound: blocked(CallKind::Inbound),
            blocked_inbound_while_outbound_live: counts.blocked_while_outbound_live,
            blocked_web: blocked(CallKind::Web),
            refused_by_us: counts.refused_by_us,
            assistant_requests: counts.assistant_requests,
            posts: counts.posts,
            over_limit_answers: counts.over_limit_answers,
            webhooks: counts.webhooks,
            dials: self.dials.clone(),
            dials_by_name: self.dials_by_name.clone(),
            calls: self.calls.iter().map(|call| self.truth_of(call)).collect(),
            timeline: self.timeline.clone(),
            blocked: self.blocked.clone(),
        }
    }

    /// Lines held now.
    pub(crate) fn live(&self) -> LinesHeld {
        self.live
    }

    /// The calls that `is` picks.
    pub(crate) fn calls_where(&self, is: impl Fn(&CallSeen<'_>) -> bool) -> Vec<CallTruth> {
        let seen = |call: &&Call| {
            is(&CallSeen {
                id: call.id,
                name: call.given.name.as_deref(),
                number: call.given.number.as_deref(),
                held_line: call.holds_line,
                is_live: call.ended_ms.is_none(),
            })
        };
        self.calls.iter().filter(seen).map(|call| self.truth_of(call)).collect()
    }

    /// Counts the lines of a call as taken (1), or as given back (-1).
    fn change_lines(&mut self, now: f64, index: usize, sign: i8) {
        let call = &self.calls[index];
        let (kind, delta) = (call.kind, sign * call.lines as i8);
        let of_org = &mut self.orgs[call.org].held;
        let change = |lines: &mut u32| *lines = lines.strict_add_signed(delta.into());
        change(self.live.of(kind));
        change(of_org.held.of(kind));
        if call.given.name.is_some() {
            change(&mut of_org.named);
        }
        self.timeline.push(LineChange { at_ms: now, kind, delta });
    }

    fn note_refusal(&mut self, now: f64, call: &NewCall) {
        if call.kind == CallKind::Inbound && self.live.outbound > 0 {
            self.counts.blocked_while_outbound_live += 1;
        }
        self.blocked.push(Blocked {
            at_ms: now,
            org_id: self.orgs[call.org].held.org_id.clone(),
            kind: call.kind,
            lines: call.lines,
            limit: self.lines,
            counted: self.counted_lines(now),
            held: self.live,
            orgs: self.held_by_org(),
        });
    }

    fn held_by_org(&self) -> Vec<OrgLines> {
        self.orgs.iter().map(|org| org.held.clone()).collect()
    }

    fn add(&mut self, now: f64, call: NewCall, holds_line: bool) -> Begun {
        let index = self.calls.len();
        let NewCall { id, org, key, kind, given, lines, arrived_ms } = call;
        let (sender, hangup) = oneshot::channel();
        self.hangups.insert(index, sender);
        self.by_id.insert(id, index);
        self.calls.push(Call {
            id,
            org,
            key,
            kind,
            given,
            lines,
            arrived_ms,
            created_ms: now,
            ringing_ms: None,
            started_ms: None,
            ended_ms: None,
            ended_reason: None,
            ended_webhook_ms: None,
            ended_webhook_accepted: false,
            holds_line,
        });
        Begun { index, hangup }
    }

    fn truth_of(&self, call: &Call) -> CallTruth {
        CallTruth {
            id: call.id.to_string(),
            org_id: self.orgs[call.org].held.org_id.clone(),
            kind: call.kind,
            number: call.given.number.clone(),
            name: call.given.name.clone(),
            post_at_ms: call.arrived_ms,
            created_at_ms: call.created_ms,
            started_at_ms: call.started_ms,
            ended_at_ms: call.ended_ms,
            ended_reason: call.ended_reason.map(str::to_owned),
            ended_webhook_at_ms: call.ended_webhook_ms,
            ended_webhook_accepted: call.ended_webhook_accepted,
            held_line: call.holds_line,
            lines: call.lines,
        }
    }
}

impl Org {
    fn new(id: &str, webhook: Option<Webhook>, setup: Setup) -> Self {
        let held = OrgLines { org_id: id.to_owned(), ..OrgLines::default() };
        Self { webhook, callers: 0, web_visits: 0, dials: 0, setup, held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_when_the_counter_has_noticed_it() {
        let counter = Counter { lag_seconds: 30.0, ..Counter::default() };
        let mut world = World::new(&Config { lines: 3, counter, ..Config::default() }, 10.0, 0.0);
        let call = |n: u64, lines| NewCall {
            id: Uuid::from_u128(n.into()),
            org: 0,
            key: n,
            kind: CallKind::Outbound,
            given: Arc::new(Given::default()),
            lines,
            arrived_ms: 0.0,
        };
        for (n, lines) in [(0, 2), (1, 1)] {
            assert!(world.begin(1000.0, call(n, lines)).is_ok());
        }
        world.end(2000.0, 0, "customer-ended-call");
        world.end(2100.0, 1, "customer-ended-call");
        let free = [2100.0, 2299.0, 2300.0, 2399.0, 2400.0].map(|now| world.free_lines(now));
        assert_eq!(free, [0, 0, 2, 2, 3]);
        assert!(world.begin(2299.0, call(2, 1)).is_err());
        assert_eq!((world.blocked[0].held.total(), world.blocked[0].counted), (0, 3));
        world.counter.lag_seconds = 0.0;
        assert_eq!((world.free_lines(2100.0), world.truth(2100.0).counted), (3, 0));
    }
}
