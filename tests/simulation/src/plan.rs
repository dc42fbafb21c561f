//! What a seed decides before its history begins: the pool, the campaigns, the people, the callers, and
//! which things go wrong and how often. Each seed goes its own way: some faults are off in it, some
//! are frequent, so that rare meetings of two of them happen somewhere.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use headroom::core::ids::{AgentName, NameCode};
use headroom::core::people::Often;
use headroom::core::pool::Policy;
use headroom::core::quota::Quota;
use headroom::core::reserve::{Binding, Reserve};
use headroom::core::shard::Sizes;
use headroom::flows::operate::Asked;
use serde_json::{Value, json};
use vapi_sim::{
    Counter, Faults as VapiFaults, OverLimitShape, Range as Between, Remaining, Telephony, Traffic,
};

use crate::again::Again;
use crate::callbacks::{self, CallBack};
use crate::faults::{Outage, Rates, Service};
use crate::hours::Hours;
use crate::life::{self, Ask, Life};
use crate::troubles::{self, Trouble};
use crate::turns::{self, Turn};

/// A change from outside in mid-history.
#[derive(Debug, Clone)]
pub enum Change {
    /// A deployment with another policy: new processes have it, those at work go on with the old one.
    Deploy(Policy),
    /// An operator changes the policy or a reserve.
    Operate(Asked),
    /// Lines bought or given back at Vapi.
    Lines(u32),
    /// Something that calls need gets into trouble, or out of it.
    Trouble(Trouble),
    /// A campaign message.
    Send(String),
    /// Somebody dials from the dashboard.
    ForeignDial,
    /// A person says in a call that they do not want to be called any more: their number.
    Refuse(String),
    /// A person wants to be called at a time of theirs.
    CallBack(CallBack),
    /// Somebody asks something of the campaign of this id.
    Ask(String, Ask),
}

/// One campaign, as far as its end is checked.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Its id.
    pub id: String,
    /// Whose calls it makes.
    pub agent: Option<&'static str>,
    /// Its leads' ids and numbers.
    pub leads: Vec<(String, String)>,
    /// Most counted attempts at a lead.
    pub attempts: u32,
    /// When a lead is called again, by how its call ended.
    pub again: Again,
    /// Most lines at once.
    pub cap: Option<u32>,
    /// Longest call, in seconds.
    pub max_seconds: u32,
    /// The organisation whose key dials, if it is not the first one.
    pub org: Option<&'static str>,
    /// Its turn beside others, and its pace.
    pub turn: Turn,
}

/// Another organisation on the same subscription, with calls of its own.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// How its calls are known of.
    pub sight: Sight,
    /// They.
    pub traffic: Traffic,
    /// When nobody can list its calls, though those of the first key.
    pub unlisted: Range<Duration>,
}

/// How the calls of another organisation are known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// There is its key, and its webhooks arrive.
    Webhooks,
    /// There is its key: the pass lists its calls.
    Key,
    /// Only Vapi's figures tell.
    Figures,
    /// The same, and its webhooks arrive although nobody has heard of it.
    Stranger,
}

impl Sight {
    /// Whether the organisation is one of the pool's.
    pub fn is_known(self) -> bool {
        matches!(self, Self::Webhooks | Self::Key)
    }

    /// Whether its webhooks arrive.
    pub fn has_webhooks(self) -> bool {
        matches!(self, Self::Webhooks | Self::Stranger)
    }
}

/// What campaigns call the other organisation.
pub const SIBLING: &str = "sibling";
/// What Vapi calls it.
pub const SIBLING_ID: &str = "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d011";
/// Its key.
pub const SIBLING_KEY: &str = "sim-sibling-key";

/// What a history is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Lines at Vapi when it begins.
    pub lines: u32,
    /// The configured policy when it begins.
    pub policy: Policy,
    /// How many lines an item of the ledger has at most.
    pub sizes: Sizes,
    /// Whether the limit that Vapi reports is taken over.
    pub adopt_limit: bool,
    /// Most calls to one person.
    pub often: Often,
    /// The campaigns.
    pub campaigns: Vec<Campaign>,
    /// How people and the API behave.
    pub telephony: Telephony,
    /// Who calls in.
    pub traffic: Traffic,
    /// Who else is on the subscription.
    pub sibling: Option<Sibling>,
    /// How well Vapi counts its lines.
    pub counter: Counter,
    /// What goes wrong at Vapi while it is not calm.
    pub vapi: VapiFaults,
    /// What goes wrong at the processes' edges while it is not calm.
    pub rates: Rates,
    /// When a service is out of reach.
    pub outages: Vec<Outage>,
    /// Share of messages that are received twice.
    pub repeats: f64,
    /// Share of index reads that are answered from the past.
    pub stale: f64,
    /// Share of passes that the schedule forgets, and that it starts twice.
    pub schedule: (f64, f64),
    /// How far clocks are off at most.
    pub skew: Duration,
    /// How long things go wrong.
    pub chaos: Duration,
    /// How long a history goes on when all is over: nothing may move any more.
    pub aftermath: Duration,
    /// What happens when, from the beginning.
    pub changes: Vec<(Duration, Change)>,
    /// Whether callers who find no line are forwarded.
    pub forwards: bool,
    /// Whose leads do not wait for a line, as `HEADROOM_REJECT` says it.
    pub rejects: &'static str,
    /// When people may be called.
    pub hours: Hours,
    /// Whether the hourly backfill runs, for which some hours are missing.
    pub backfill: bool,
    /// How its campaigns live.
    pub life: Life,
    /// Whether somebody is told what happens.
    pub events: bool,
}

/// A message that can never be read.
const POISON: &str = "{\"campaign\": 7}";
/// The lead whose message comes when nothing goes wrong any more: it must not become a dead letter.
pub const LATE: &str = "late";

/// The clocks of two machines differ by this at most: they are set by the network.
pub const MOST_SKEW: Duration = Duration::from_secs(10);

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let c = &mut chance;
        // What others do is drawn apart: it leaves the rest of the seed as it was.
        let o = &mut fastrand::Rng::with_seed(seed ^ 0x0017_0be5);
        let lines = c.u32(1..=8);
        let policy = some_policy(c, lines);
        let chaos = Duration::from_secs(c.u64(240..1200));
        let mut campaigns: Vec<Campaign> = (0..c.u8(1..=2)).map(|n| Campaign::of(c, n)).collect();
        let retries = &mut fastrand::Rng::with_seed(seed ^ 0x00a9_a140);
        for campaign in &mut campaigns {
            if retries.bool() {
                campaign.again = Again::of(retries);
            }
        }
        let mut changes = Vec::new();
        let sibling = (o.u8(0..5) < 2).then(|| some_sibling(o, chaos));
        if let Some(sibling) = sibling.as_ref().filter(|sibling| sibling.sight.is_known()) {
            for campaign in &mut campaigns {
                campaign.org = o.bool().then_some(SIBLING);
            }
            if sibling.sight == Sight::Webhooks && o.bool() {
                let most = NonZeroU32::new(o.u32(1..=lines));
                for (at, lines) in [(some_time(o, chaos / 2), most), (chaos + Duration::from_secs(1), None)] {
                    let quota = Some((SIBLING.parse().expect("a name"), Quota { lines, ..Quota::default() }));
                    changes.push((at, Change::Operate(Asked { quota, ..Asked::default() })));
                }
            }
        }
        if o.u8(0..4) == 0 {
            campaigns[0].lengthen(o);
            swing(o, lines, policy, chaos, &mut changes);
        }
        if let Some(t) = &mut troubles::draw(seed) {
            campaigns[0].lengthen(t);
            troubles::befall(t, chaos, &mut changes);
        }
        let turns = turns::draw(seed, &mut campaigns);
        let hours = if turns.shown { Hours::default() } else { Hours::of(seed, &mut campaigns, chaos) };
        for campaign in &campaigns {
            campaign.messages(c, chaos, &mut changes);
        }
        if c.bool() {
            // When all is well again, one more lead comes, and a message that nobody can read beside it.
            let late = (LATE.to_owned(), "+15555579999".to_owned());
            let after = chaos + Duration::from_secs(1);
            changes.push((after, Change::Send(campaigns[0].message(std::slice::from_ref(&late)))));
            changes.push((after, Change::Send(POISON.into())));
            campaigns[0].leads.push(late);
        }
        if c.bool() {
            let policy = some_policy(c, lines);
            changes.push((some_time(c, chaos), Change::Deploy(policy)));
        }
        if c.bool() {
            let lines = c.u32(1..=10);
            changes.push((some_time(c, chaos), Change::Lines(lines)));
        }
        for _ in 0..c.u8(0..4) {
            changes.push((some_time(c, chaos), Change::ForeignDial));
        }
        if c.u8(0..3) > 0 {
            // In some histories somebody turns the knobs all the time.
            let wishes = if c.u8(0..5) == 0 { 60 } else { c.u8(1..6) };
            for nth in 0..wishes {
                let at = if nth < 2 { Duration::from_secs(c.u64(0..5)) } else { some_time(c, chaos) };
                changes.push((at, Change::Operate(some_wish(c, lines))));
            }
        }
        if c.u8(0..3) == 0 {
            let quota = some_quota(c, lines);
            changes.push((some_time(c, chaos / 2), Change::Operate(quota.clone())));
            // Lifted in the end: a day's calls may be used up, and nobody wants to wait for the next.
            let lifted = quota.quota.map(|(name, _)| (name, Quota::default()));
            let calm = chaos + Duration::from_secs(1);
            changes.push((calm, Change::Operate(Asked { quota: lifted, ..Asked::default() })));
        }
        // Its people are in no zone: where a law holds, their hours may be tomorrow.
        if let Some((campaign, more)) = crate::trunks::met_often(seed, chaos).filter(|_| hours.is_lawless()) {
            campaigns.push(campaign);
            changes.extend(more);
        }
        hours.write(&mut changes);
        changes.extend(hours.edits());
        let sometimes = |c: &mut fastrand::Rng, most: f64| if c.bool() { 0.0 } else { c.f64() * most };
        // More than anybody is called here, so that dials are remembered; who is called too often waits for days.
        let people = &mut fastrand::Rng::with_seed(seed ^ 0x0007_0717);
        let often = if people.u8(0..3) > 0 { "100/100" } else { "none" }.parse().expect("a constant");
        for (_, number) in campaigns.iter().flat_map(|campaign| &campaign.leads) {
            if people.u8(0..6) == 0 {
                changes.push((some_time(people, chaos), Change::Refuse(number.clone())));
            }
        }
        callbacks::draw(seed, &campaigns, chaos, &mut changes);
        let mut plan = Self {
            seed,
            lines: if c.u8(0..4) == 0 { c.u32(1..=lines) } else { lines },
            policy,
            sizes: some_sizes(seed),
            adopt_limit: c.bool(),
            often,
            telephony: Telephony {
                ring_seconds: Between(2.0, 15.0),
                talk_seconds_mean: c.f64() * 60.0 + 10.0,
                inbound_talk_seconds_mean: c.f64() * 60.0 + 10.0,
                setup_failure: sometimes(c, 0.2),
                api_latency_ms: Between(20.0, if c.u8(0..5) == 0 { 15_000.0 } else { 400.0 }),
                ..Telephony::default()
            },
            traffic: Traffic {
                inbound_per_hour: sometimes(c, 120.0),
                web_per_hour: sometimes(c, 40.0),
                ask_assistant: c.bool(),
                dials_per_hour: if o.u8(0..4) == 0 { o.f64() * 60.0 } else { 0.0 },
                lines_per_dial: o.u8(1..=2),
                ..Traffic::default()
            },
            sibling,
            counter: some_counter(o),
            vapi: VapiFaults {
                webhook_lost: sometimes(c, 0.3),
                webhook_doubled: sometimes(c, 0.3),
                webhook_late: sometimes(c, 0.3),
                webhook_late_seconds: Between(1.0, 240.0),
                answer_lost: sometimes(c, 0.1),
                answer_hangs: sometimes(c, 0.1),
                refuse_429: sometimes(c, 0.1),
                error_5xx_before: sometimes(c, 0.1),
                error_5xx_after: sometimes(c, 0.1),
                reset: sometimes(c, 0.1),
                over_limit_shape: OverLimitShape::Mixed,
                list_lag_seconds: sometimes(c, 20.0),
                stuck: sometimes(c, 0.1),
                ..VapiFaults::default()
            },
            rates: Rates {
                crash: sometimes(c, 0.03),
                lost: sometimes(c, 0.03),
                error: sometimes(c, 0.06),
                doubled: sometimes(c, 0.03),
                delayed: sometimes(c, 0.02),
                freeze: sometimes(c, 0.01),
            },
            outages: some_outages(c, chaos),
            repeats: sometimes(c, 0.3),
            stale: sometimes(c, 0.2),
            schedule: (sometimes(c, 0.2), sometimes(c, 0.2)),
            skew: if c.bool() { Duration::ZERO } else { MOST_SKEW.mul_f64(c.f64()) },
            forwards: c.u8(0..4) == 0,
            backfill: c.u8(0..4) == 0,
            campaigns,
            changes,
            hours,
            chaos,
            // The longest freeze, a pass after it, and some time for that.
            aftermath: Duration::from_secs(480),
            rejects: ["sales.outbound", "*.outbound", "", "", ""][c.usize(0..5)],
            life: Life::default(),
            events: fastrand::Rng::with_seed(seed ^ 0x00e7_e275).bool(),
        };
        plan.telephony.setup_failure = turns.failing.unwrap_or(plan.telephony.setup_failure);
        if plan.sibling.is_some() && o.u8(0..4) > 0 {
            // Exact enough for the estimates of others' lines to be checked.
            plan.skew = plan.skew.min(Duration::from_secs(1));
            plan.rates.freeze = 0.0;
            plan.telephony.api_latency_ms.1 = 400.0;
            plan.counter.lag_seconds = plan.counter.lag_seconds.min(3.0);
        }
        if turns.shown {
            plan.show_turns();
        } else {
            life::draw(&mut plan);
        }
        plan
    }
}

/// Another organisation with callers, and mostly with a dialer of its own, whose calls may take two lines each.
fn some_sibling(o: &mut fastrand::Rng, chaos: Duration) -> Sibling {
    let sight = [Sight::Webhooks, Sight::Key, Sight::Figures, Sight::Stranger][o.usize(0..4)];
    let traffic = Traffic {
        inbound_per_hour: o.f64() * 120.0,
        web_per_hour: if o.bool() { 0.0 } else { o.f64() * 20.0 },
        dials_per_hour: if o.u8(0..4) == 0 { 0.0 } else { o.f64() * 60.0 },
        lines_per_dial: o.u8(1..=2),
        ask_assistant: sight.has_webhooks() && o.bool(),
        ..Traffic::default()
    };
    let from = some_time(o, chaos);
    let span = if o.bool() { Duration::ZERO } else { Duration::from_secs(o.u64(60..400)) };
    Sibling { sight, traffic, unlisted: from..(from + span).min(chaos) }
}

fn some_counter(o: &mut fastrand::Rng) -> Counter {
    let lag_seconds = match o.u8(0..4) {
        0 => o.f64() * 3.0,
        1 => o.f64() * 30.0,
        _ => 0.0,
    };
    let remaining = [Remaining::Excludes, Remaining::Includes, Remaining::MinusOne, Remaining::Mixed];
    let remaining = if o.bool() { Remaining::Excludes } else { remaining[o.usize(0..4)] };
    Counter { lag_seconds, remaining }
}

/// The lines fall to half of what they were, and rise to four times that: at Vapi, and perhaps by an operator's wish
/// or a deployment as well.
fn swing(
    o: &mut fastrand::Rng,
    lines: u32,
    policy: Policy,
    chaos: Duration,
    changes: &mut Vec<(Duration, Change)>,
) {
    let fewer = lines.div_ceil(2);
    let told = o.u8(0..4);
    for (lines, from) in [(fewer, 0.1), (fewer * 4, 0.5)] {
        let at = chaos.mul_f64(from + o.f64() * 0.3);
        changes.push((at, Change::Lines(lines)));
        let (limit, cap) = (Some(lines), Some(lines));
        let at = at + Duration::from_secs(o.u64(0..30));
        match told {
            0 => changes.push((at, Change::Operate(Asked { limit, cap, ..Asked::default() }))),
            1 => {
                let policy =
                    Policy::new(lines, lines, policy.headroom()).expect("there is at least one line");
                changes.push((at, Change::Deploy(policy)));
            }
            _ => {}
        }
    }
}

/// In a third of the seeds a few lines are several items. From a draw of its own: all else is as without it.
fn some_sizes(seed: u64) -> Sizes {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x5bd1_e995);
    if chance.u8(0..3) > 0 {
        return Sizes::default();
    }
    Sizes { single: chance.u32(1..=3), shard: chance.u32(1..=4) }
}

pub(crate) fn some_time(c: &mut fastrand::Rng, until: Duration) -> Duration {
    until.mul_f64(c.f64())
}

/// In two of five seeds, a service is gone for some minutes; some of them answer everything but the dials.
fn some_outages(c: &mut fastrand::Rng, chaos: Duration) -> Vec<Outage> {
    if c.u8(0..5) > 1 {
        return Vec::new();
    }
    let services = [Service::Dynamo, Service::Queue, Service::Vapi, Service::Vapi, Service::Dial];
    let service = services[c.usize(0..services.len())];
    let from = some_time(c, chaos);
    vec![Outage { service, span: from..from + Duration::from_secs(c.u64(10..400)) }]
}

/// What an operator may ask for: another reserve for an agent, or other numbers.
fn some_wish(c: &mut fastrand::Rng, lines: u32) -> Asked {
    if c.u8(0..4) == 0 {
        let policy = some_policy(c, lines);
        return Asked {
            limit: c.bool().then_some(policy.limit()),
            cap: c.bool().then_some(policy.cap()),
            headroom: c.bool().then_some(policy.headroom()),
            ..Asked::default()
        };
    }
    let nth = c.usize(0..AGENTS.len());
    // The callers' assistant is the first agent's, the dashboard's and the campaigns' the second's.
    let assistant = if nth == 0 { Traffic::default().assistant_id } else { "as".into() };
    let few = |c: &mut fastrand::Rng| if c.bool() { 0 } else { c.u32(0..=lines.div_ceil(2)) };
    let reserve = Reserve {
        inbound: few(c),
        outbound: few(c),
        web: few(c),
        chat: if c.u8(0..8) == 0 { 1 } else { 0 },
        binding: if c.bool() { Binding::Strict } else { Binding::Pooled },
        members: [NameCode::of(&assistant)].into(),
    };
    Asked { reserve: Some((agent(AGENTS[nth]), reserve)), ..Asked::default() }
}

/// What may bound the campaigns' number, the dashboard's calls among them, or the callers' assistant.
fn some_quota(c: &mut fastrand::Rng, lines: u32) -> Asked {
    let bound =
        |c: &mut fastrand::Rng, most| c.bool().then(|| NonZeroU32::new(c.u32(1..=most)).expect("1 at least"));
    let (per_second, per_day) = (bound(c, 3), bound(c, 12));
    let lines = bound(c, lines).or(per_second.or(per_day).is_none().then_some(NonZeroU32::MIN));
    let member = if c.u8(0..4) == 0 { Traffic::default().assistant_id } else { "ph".into() };
    let quota = Quota { lines, per_second, per_day, members: [NameCode::of(&member)].into() };
    Asked { quota: Some(("trunk".parse().expect("a name"), quota)), ..Asked::default() }
}

/// The agents that lines may be reserved for.
pub const AGENTS: [&str; 2] = ["desk", "sales"];

/// An agent's name.
pub fn agent(name: &str) -> AgentName {
    name.parse().expect("plans give good names")
}

fn some_policy(c: &mut fastrand::Rng, lines: u32) -> Policy {
    let (cap, headroom) = (c.u32(1..=lines), c.u32(0..lines));
    Policy::new(lines, cap, headroom).expect("there is at least one line")
}

impl Campaign {
    fn of(c: &mut fastrand::Rng, nth: u8) -> Self {
        let id = format!("c{nth}");
        let leads = (0..c.u32(1..=6))
            .map(|lead| (format!("l{lead}"), format!("+1555557{nth:01}{lead:03}")))
            .collect();
        Self {
            id,
            leads,
            attempts: c.u32(1..=3),
            again: Again::default(),
            cap: if c.bool() { None } else { Some(c.u32(1..=3)) },
            max_seconds: c.u32(30..=240),
            agent: if c.bool() { None } else { Some(AGENTS[c.usize(0..AGENTS.len())]) },
            org: None,
            turn: Turn::default(),
        }
    }

    /// With so many leads that it lasts for most of a history.
    fn lengthen(&mut self, o: &mut fastrand::Rng) {
        let more = self.leads.len() as u32..o.u32(12..=20);
        self.leads.extend(more.map(|lead| (format!("l{lead}"), format!("+155555700{lead:02}"))));
        self.cap = None;
    }

    /// The message that brings some of its leads.
    pub fn message(&self, leads: &[(String, String)]) -> String {
        let leads: Vec<Value> = leads.iter().map(|(id, number)| self.lead(id, number)).collect();
        let mut campaign = json!({
            "id": self.id, "assistantId": "as", "phoneNumberId": "ph", "maxDurationSeconds": self.max_seconds,
            "retry": { "maxAttempts": self.attempts, "outcomes": self.again.outcomes() },
        });
        if let Some(agent) = self.agent {
            campaign["agent"] = json!(agent);
        }
        if let Some(org) = self.org {
            campaign["org"] = json!(org);
        }
        if let Some(cap) = self.cap {
            campaign["maxConcurrency"] = json!(cap);
        }
        self.turn.ask(&mut campaign);
        json!({ "campaign": campaign, "leads": leads }).to_string()
    }

    fn lead(&self, id: &str, number: &str) -> Value {
        let mut lead = json!({ "id": id, "number": number });
        if self.turn.warm.contains(id) {
            lead["priority"] = json!("high");
        }
        lead
    }

    /// In one message or two, the second one some time later; sometimes the first one once more.
    fn messages(&self, c: &mut fastrand::Rng, chaos: Duration, changes: &mut Vec<(Duration, Change)>) {
        let at = c.usize(1..=self.leads.len());
        let (first, second) = self.leads.split_at(at);
        let first = self.message(first);
        changes.push((Duration::from_secs(c.u64(0..60)), Change::Send(first.clone())));
        if !second.is_empty() {
            changes.push((some_time(c, chaos), Change::Send(self.message(second))));
        }
        if c.u8(0..4) == 0 {
            changes.push((some_time(c, chaos), Change::Send(first)));
        }
    }
}
