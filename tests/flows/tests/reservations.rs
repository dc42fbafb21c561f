//! Reserves, example by example: each test is one of the statements that the reserves were specified by, with its
//! numbers, on the real engine. To queue means to be refused a line: leads stay ready until one is free, callers
//! hear that all lines are busy. Browser calls and chats are only observed and cannot be refused; they count.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::sync::Arc;

use flows::{World, policy};
use headroom::config::{Assistants, Callers, Overflow};
use headroom::core::ids::{CampaignCode, ClaimKey, LeadRef, NameCode};
use headroom::core::lead::End;
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::pool::{Counts, Pool, Rule};
use headroom::core::reserve::{Binding, Reserve, ReserveError};
use headroom::flows::Clock as _;
use headroom::flows::observe::Answer;
use headroom::flows::operate::{Asked, ChangeError};
use headroom::flows::status::PoolStatus;
use headroom::table::ledger::{Freed, Observed, Taken};
use headroom::vapi::calls::Wishes;
use headroom::vapi::message::{CallEvent, Happened};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// Kinds that are refused where there is no line for them. What holds for one holds for the other.
const REFUSABLE: [Kind; 2] = [Kind::Outbound, Kind::Inbound];

/// A pool, and the calls in it by agent.
struct Scene {
    world: World,
    calls: u32,
    held: Vec<(&'static str, Kind, LineKey)>,
}

impl Scene {
    /// A pool of `limit` lines, all of which outbound may use.
    async fn of(limit: u32) -> Self {
        let world = World::start(policy(limit, u32::MAX, 0)).await.unwrap();
        world.table().open_campaign(&code("by hand"), (0, 0), &[]).await.unwrap();
        Self { world, calls: 0, held: Vec::new() }
    }

    /// The same with lines of one kind reserved for some agents.
    async fn with(limit: u32, kind: Kind, reserves: &[(&str, u32)]) -> Self {
        let scene = Self::of(limit).await;
        for (agent, lines) in reserves {
            scene.reserve(agent, of_kind(kind, *lines)).await;
        }
        scene
    }

    async fn change(&self, asked: Asked) -> Result<Pool, ChangeError> {
        self.world.app.change(&asked, "ops").await.map(|(_, now)| now)
    }

    async fn reserve(&self, agent: &str, reserve: Reserve) -> Pool {
        self.change(reserve_of(agent, reserve)).await.unwrap()
    }

    async fn limit(&self, lines: u32) -> Pool {
        self.change(Asked { limit: Some(lines), ..Asked::default() }).await.unwrap()
    }

    async fn pool(&self) -> Pool {
        let pool = self.world.table().read_pool().await.unwrap();
        assert_eq!(pool.counts, Counts::of(pool.lines.values()));
        assert_eq!(pool.uses, pool.uses_of(&pool.reserves, &pool.quotas));
        pool
    }

    async fn status(&self) -> PoolStatus {
        self.world.app.status().await.unwrap().pools.remove(0)
    }

    /// Whether one more call of an agent starts.
    async fn start(&mut self, agent: &'static str, kind: Kind) -> bool {
        self.calls += 1;
        let started = match kind {
            Kind::Outbound => self.dial(agent).await,
            Kind::Inbound => self.answer(agent).await,
            Kind::Foreign | Kind::Web | Kind::Chat => {
                let id = format!("call-{}", self.calls);
                let seen = self.world.observed(&id, kind, Some(agent)).await.unwrap();
                assert!(matches!(seen, Observed::Taken(_)), "what is observed is recorded");
                Some(LineKey::Observed(id.parse().unwrap()))
            }
        };
        let is_started = started.is_some();
        self.held.extend(started.map(|key| (agent, kind, key)));
        is_started
    }

    async fn dial(&self, agent: &str) -> Option<LineKey> {
        let (campaign, now) = (code("by hand"), self.world.clock.now());
        let lead = LeadRef::of(&format!("lead-{}", self.calls).parse().unwrap());
        let key = LineKey::Claim(ClaimKey { campaign: campaign.clone(), lead, claim: 1 });
        let token = Token::new(Kind::Outbound, now, self.calls).known_by([&NameCode::of(agent)]);
        let (pool, lease) = (self.pool().await, Lease { key: key.clone(), token });
        let room = pool.room(&campaign, None, &[NameCode::of(agent)], now);
        let taken = self.world.table().take(&pool, &campaign, None, &[lease], now).await.unwrap();
        let granted = matches!(taken, Taken::Granted(_));
        assert_eq!(granted, room.lines > 0, "the decision and the write agree");
        granted.then_some(key)
    }

    async fn answer(&self, agent: &str) -> Option<LineKey> {
        let call = format!("call-{}", self.calls).parse().unwrap();
        let answer = answer(&self.world, &format!("call-{}", self.calls), agent).await;
        matches!(answer, Answer::Assistant(_)).then_some(LineKey::Observed(call))
    }

    /// How many of so many calls start.
    async fn starts(&mut self, agent: &'static str, kind: Kind, calls: u32) -> u32 {
        let mut started = 0;
        for _ in 0..calls {
            started += u32::from(self.start(agent, kind).await);
        }
        started
    }

    /// One call of an agent ends.
    async fn end(&mut self, agent: &str, kind: Kind) {
        let place = self.held.iter().position(|(held, of, _)| *held == agent && *of == kind).unwrap();
        let (_, _, key) = self.held.remove(place);
        let pool = self.pool().await;
        let lease = pool.lease(&key).unwrap();
        let freed = self.world.table().free(&pool, &lease, None).await.unwrap();
        assert!(matches!(freed, Freed::Freed(_)));
    }

    /// Lines of an agent's own reserve that its calls hold, and what they hold beyond it.
    async fn of_agent(&self, agent: &str) -> (u32, u32) {
        let status = self.status().await;
        let reserve = status.reserves.iter().find(|reserve| reserve.agent == agent).unwrap();
        (reserve.held - reserve.beyond, reserve.beyond)
    }

    /// Shared lines: in use, and in all.
    async fn shared(&self) -> (u32, u32) {
        let status = self.status().await;
        (status.shared, status.shared_lines)
    }

    async fn total(&self) -> u32 {
        self.pool().await.counts.total
    }
}

fn code(campaign: &str) -> CampaignCode {
    // Codes are of ids, and ids have no spaces.
    CampaignCode::of(&campaign.replace(' ', "-").parse().unwrap())
}

fn of_kind(kind: Kind, lines: u32) -> Reserve {
    let mut reserve = Reserve::default();
    match kind {
        Kind::Inbound => reserve.inbound = lines,
        Kind::Outbound | Kind::Foreign => reserve.outbound = lines,
        Kind::Web => reserve.web = lines,
        Kind::Chat => reserve.chat = lines,
    }
    reserve
}

/// As the diagram lists them: browser calls, chats, outbound calls, callers.
fn of_kinds(web: u32, chat: u32, outbound: u32, inbound: u32) -> Reserve {
    Reserve { web, chat, outbound, inbound, ..Reserve::default() }
}

fn reserve_of(agent: &str, reserve: Reserve) -> Asked {
    Asked { reserve: Some((agent.parse().unwrap(), reserve)), ..Asked::default() }
}

/// What a caller on a bare number gets whom this assistant would answer.
async fn answer(world: &World, call: &str, assistant: &str) -> Answer {
    answer_or_forward(world, call, assistant, Overflow::default()).await
}

async fn answer_or_forward(world: &World, call: &str, assistant: &str, overflow: Overflow) -> Answer {
    let callers = Callers {
        secrets: Vec::new(),
        assistants: Assistants::everywhere(assistant),
        busy_message: "busy".to_owned(),
        overflow,
    };
    let event = CallEvent {
        call: call.parse().unwrap(),
        org: None,
        kind: Some(Kind::Inbound),
        assistants: vec![NameCode::of(assistant)],
        number: None,
        claims: Vec::new(),
        wishes: Wishes::default(),
        talk: None,
        happened: Happened::Live,
    };
    world.app.answer(&event, &callers).await.unwrap()
}

/// Takes in a campaign of an agent.
async fn campaign(world: &World, id: &str, agent: &str, leads: u32) {
    ranked(world, id, "normal", agent, leads).await;
}

/// Takes in a campaign of an agent with a priority.
async fn ranked(world: &World, id: &str, priority: &str, agent: &str, leads: u32) {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") })).collect();
    let campaign =
        json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph", "agent": agent, "priority": priority });
    let message = json!({ "campaign": campaign, "leads": leads });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
    // The next one is younger.
    world.clock.advance(SignedDuration::from_secs(1));
}

/// One invocation of the dispatcher; whom it dialed, by campaign.
async fn dispatch(world: &World) -> BTreeMap<String, Vec<u32>> {
    // Each invocation's calls have an id of their own: the end of one is no end of a later one.
    let id = format!("call-{}", world.clock.now().as_second());
    world.vapi.answers(201, json!({ "id": id }).to_string());
    world.vapi.take_asked();
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(1));
    let mut dialed: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for asked in world.vapi.take_asked() {
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/call"));
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let metadata = &body["assistantOverrides"]["metadata"];
        let lead = metadata["leadId"].as_str().unwrap().parse().unwrap();
        dialed.entry(metadata["campaignId"].as_str().unwrap().to_owned()).or_default().push(lead);
    }
    // Dials that were started together reach Vapi in any order.
    dialed.values_mut().for_each(|leads| leads.sort_unstable());
    dialed
}

fn dialed<const N: usize>(of: [(&str, Vec<u32>); N]) -> BTreeMap<String, Vec<u32>> {
    of.into_iter().map(|(campaign, leads)| (campaign.to_owned(), leads)).collect()
}

/// The call of a lead ends well.
async fn hang_up(world: &World, campaign: &str, lead: u32) {
    let (code, lead) = (code(campaign), LeadRef::of(&lead.to_string().parse().unwrap()));
    let lead = world.table().read_lead(&code, &lead).await.unwrap().unwrap();
    let headroom::core::lead::LeadState::Live { call, .. } = lead.state.clone() else { panic!("in a call") };
    let pool = world.table().read_pool().await.unwrap();
    let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
    world.app.settle(&pool, &lead, Some(&call), &end).await.unwrap();
}

async fn ready(world: &World, campaign: &str) -> u32 {
    let campaigns = world.app.status().await.unwrap().campaigns;
    campaigns.iter().find(|status| status.id == campaign).unwrap().leads.ready
}

/// S1-10: all busy → new outbound and new inbound are blocked until a line is free.
#[tokio::test]
async fn s1_10_all_busy_blocks_both_directions_until_a_line_is_free() {
    for kind in REFUSABLE {
        let mut scene = Scene::of(10).await;
        assert_eq!(scene.starts("A", kind, 10).await, 10);
        for refused in REFUSABLE {
            assert!(!scene.start("A", refused).await);
            assert!(!scene.start("B", refused).await);
        }
        scene.end("A", kind).await;
        assert!(scene.start("B", Kind::Inbound).await);
        assert!(!scene.start("B", Kind::Outbound).await);
    }
}

/// S1-12: inbound, outbound and web share one pool; so does what somebody else dials.
#[tokio::test]
async fn s1_12_all_kinds_share_the_pool() {
    let mut scene = Scene::of(Kind::ALL.len() as u32).await;
    for kind in Kind::ALL {
        assert!(scene.start("A", kind).await);
    }
    let status = scene.status().await;
    assert_eq!((status.inbound, status.outbound, status.foreign, status.web, status.chat), (1, 2, 1, 1, 1));
    assert_eq!((status.total, status.free), (5, 0));
    for kind in REFUSABLE {
        assert!(!scene.start("A", kind).await);
    }
}

/// S1-13: limit 10, 6 inbound and 3 outbound → one line is left, for any kind.
#[tokio::test]
async fn s1_13_one_line_is_left_for_any_kind() {
    for kind in Kind::ALL {
        let mut scene = Scene::of(10).await;
        assert_eq!(scene.starts("A", Kind::Inbound, 6).await, 6);
        assert_eq!(scene.starts("A", Kind::Outbound, 3).await, 3);
        assert_eq!(scene.status().await.free, 1);
        assert!(scene.start("A", kind).await);
        for kind in REFUSABLE {
            assert!(!scene.start("A", kind).await);
        }
    }
}

/// S1-27, S1-28: the limit and what remains of it at a call's creation. Ours is told by the ledger; Vapi's limit
/// is noted where it differs, and its remaining lines, which count otherwise in each answer, are never used.
#[tokio::test]
async fn s1_27_and_28_the_limit_and_what_remains_of_it() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    campaign(&world, "c", "A", 2).await;
    let status = async || world.app.status().await.unwrap().pools.remove(0);
    assert_eq!((status().await.limit, status().await.free), (10, 10));
    let until = world.clock.now() + SignedDuration::from_mins(1);
    for (limit, remaining, seen) in [(10, -1, None), (12, 11, Some(12))] {
        let limits = json!({ "concurrencyBlocked": false, "concurrencyLimit": limit, "remainingConcurrentCalls": remaining });
        world.vapi.answers(201, json!({ "id": "call-a", "subscriptionLimits": limits }).to_string());
        world
            .app
            .change(&Asked { cap: Some(status().await.outbound + 1), ..Asked::default() }, "ops")
            .await
            .unwrap();
        Arc::new(world.app.clone()).dispatch(until).await.unwrap();
        assert_eq!(world.table().read_pool().await.unwrap().seen_limit, seen);
    }
    assert_eq!((status().await.limit, status().await.free), (10, 8));
}

/// S4-04: a start takes a line, an end frees it for the next call.
#[tokio::test]
async fn s4_04_a_start_takes_a_line_and_an_end_frees_it() {
    for (first, next) in REFUSABLE.into_iter().flat_map(|kind| REFUSABLE.map(|next| (kind, next))) {
        let mut scene = Scene::of(1).await;
        assert!(scene.start("A", first).await);
        assert!(!scene.start("B", next).await);
        scene.end("A", first).await;
        assert_eq!(scene.total().await, 0);
        assert!(scene.start("B", next).await);
    }
}

/// S4-05: all full → new calls wait until a line is free.
#[tokio::test]
async fn s4_05_new_calls_wait_until_a_line_is_free() {
    let scene = Scene::of(3).await;
    let world = &scene.world;
    campaign(world, "c", "A", 5).await;
    assert_eq!(dispatch(world).await, dialed([("c", vec![0, 1, 2])]));
    assert_eq!((ready(world, "c").await, dispatch(world).await), (2, BTreeMap::new()));
    assert_eq!(answer(world, "caller", "A").await, Answer::Refusal("busy".into()));
    hang_up(world, "c", 1).await;
    assert_eq!(dispatch(world).await, dialed([("c", vec![3])]));
    assert_eq!(ready(world, "c").await, 1);
}

/// S4-06: one pool for web, chat, outbound and inbound.
#[tokio::test]
async fn s4_06_one_pool_for_all_kinds_of_calls() {
    let mut scene = Scene::of(4).await;
    for kind in [Kind::Web, Kind::Chat, Kind::Outbound, Kind::Inbound] {
        assert!(scene.start("A", kind).await);
    }
    assert_eq!(scene.shared().await, (4, 4));
    for (refused, ended) in [(Kind::Outbound, Kind::Chat), (Kind::Inbound, Kind::Web)] {
        assert!(!scene.start("B", refused).await);
        scene.end("A", ended).await;
        assert!(scene.start("B", refused).await);
    }
}

/// S4-07: by default everything is shared, first come, first served.
#[tokio::test]
async fn s4_07_by_default_everything_is_shared() {
    for kind in REFUSABLE {
        let mut scene = Scene::of(5).await;
        for agent in ["A", "B", "B", "C", "A"] {
            assert!(scene.start(agent, kind).await);
        }
        assert_eq!(scene.shared().await, (5, 5));
        for agent in ["A", "B", "C", "D"] {
            assert!(!scene.start(agent, kind).await);
        }
        scene.end("B", kind).await;
        assert!(scene.start("D", kind).await, "whoever comes first");
        assert!(!scene.start("B", kind).await);
    }
}

/// S4-08: with a reserve there is capacity even at peak.
#[tokio::test]
async fn s4_08_a_reserve_is_there_at_peak() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 3)]).await;
        assert_eq!(scene.starts("B", kind, 20).await, 7);
        assert_eq!(scene.starts("A", kind, 20).await, 3);
    }
}

/// S4-09: 20 lines, A up to 20, B up to 20, together at most 20.
#[tokio::test]
async fn s4_09_shared_lines_are_for_each_and_at_most_all_together() {
    for kind in REFUSABLE {
        for (a, b) in [(20, 0), (0, 20), (13, 7)] {
            let mut scene = Scene::of(20).await;
            assert_eq!((scene.starts("A", kind, a).await, scene.starts("B", kind, b).await), (a, b));
            assert_eq!((scene.starts("A", kind, 1).await, scene.starts("B", kind, 1).await), (0, 0));
        }
    }
}

/// S4-10: 20 lines, A has 15, B asks for 10 → 5 start, 5 wait.
#[tokio::test]
async fn s4_10_what_does_not_fit_waits() {
    let scene = Scene::of(20).await;
    let world = &scene.world;
    campaign(world, "a", "A", 15).await;
    assert_eq!(dispatch(world).await, dialed([("a", (0..15).collect())]));
    campaign(world, "b", "B", 10).await;
    assert_eq!(dispatch(world).await, dialed([("b", (0..5).collect())]));
    assert_eq!((ready(world, "b").await, scene.total().await), (5, 20));
}

/// S4-11: no other agent can use reserved lines; critical calls never wait.
#[tokio::test]
async fn s4_11_critical_calls_never_wait() {
    let scene = Scene::with(10, Kind::Outbound, &[("critical", 4)]).await;
    let world = &scene.world;
    campaign(world, "bulk", "bulk", 30).await;
    assert_eq!(dispatch(world).await, dialed([("bulk", (0..6).collect())]));
    campaign(world, "critical", "critical", 4).await;
    assert_eq!(dispatch(world).await, dialed([("critical", (0..4).collect())]));

    let mut scene = Scene::with(10, Kind::Inbound, &[("critical", 4)]).await;
    for kind in [Kind::Inbound, Kind::Outbound] {
        scene.starts("bulk", kind, 30).await;
    }
    assert_eq!((scene.total().await, scene.starts("critical", Kind::Inbound, 4).await), (6, 4));
}

/// S4-12: 20 lines; A has 12 (web 2, chat 3, outbound 4, inbound 3), B has 5 (1, 1, 2, 1); 3 are shared.
#[tokio::test]
async fn s4_12_the_diagram_adds_up() {
    let mut scene = Scene::of(20).await;
    let reserves = [("A", of_kinds(2, 3, 4, 3)), ("B", of_kinds(1, 1, 2, 1))];
    for (agent, reserve) in reserves {
        scene.reserve(agent, reserve).await;
    }
    let pool = scene.pool().await;
    let sums: Vec<u32> = pool.reserves.iter().map(|(_, reserve)| reserve.total()).collect();
    assert_eq!((sums, pool.shared(), pool.reserves.total()), (vec![12, 5], 3, 17));
    let kinds = [Kind::Web, Kind::Chat, Kind::Outbound, Kind::Inbound];
    for (agent, lines) in [("A", [2, 3, 4, 3]), ("B", [1, 1, 2, 1])] {
        for (kind, lines) in kinds.into_iter().zip(lines) {
            assert_eq!(scene.starts(agent, kind, lines).await, lines);
        }
    }
    assert_eq!((scene.total().await, scene.shared().await), (17, (0, 3)));
    assert_eq!((scene.of_agent("A").await, scene.of_agent("B").await), ((12, 0), (5, 0)));
    // The rest is for whoever comes first.
    for (agent, kind) in [("B", Kind::Inbound), ("C", Kind::Outbound), ("A", Kind::Outbound)] {
        assert!(scene.start(agent, kind).await);
    }
    assert_eq!(scene.shared().await, (3, 3));
    for (agent, kind) in [("A", Kind::Inbound), ("B", Kind::Outbound), ("C", Kind::Inbound)] {
        assert!(!scene.start(agent, kind).await);
    }
}

/// S4-13: the key rule: a guaranteed reserve, and shared lines beyond it.
#[tokio::test]
async fn s4_13_a_guaranteed_reserve_and_shared_lines_beyond_it() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 3), ("B", 2)]).await;
        assert_eq!(scene.starts("A", kind, 20).await, 3 + 5);
        assert_eq!(scene.of_agent("A").await, (3, 5));
        assert_eq!(scene.starts("B", kind, 20).await, 2, "guaranteed, whatever A holds");
    }
}

/// S4-14: the walkthrough in five steps.
#[tokio::test]
async fn s4_14_walkthrough() {
    for kind in REFUSABLE {
        // 1: 20 lines, A has 12, B has 5, 3 are shared.
        let mut scene = Scene::with(20, kind, &[("A", 12), ("B", 5)]).await;
        assert_eq!(scene.shared().await, (0, 3));
        // 2: A starts 12 calls.
        assert_eq!(scene.starts("A", kind, 12).await, 12);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((12, 0), (0, 3)));
        // 3: A starts 3 more.
        assert_eq!(scene.starts("A", kind, 3).await, 3);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((12, 3), (3, 3)));
        assert!(!scene.start("A", kind).await);
        assert!(!scene.start("C", kind).await);
        // 4: B starts 5, all at once through its reserve.
        assert_eq!(scene.starts("B", kind, 5).await, 5);
        assert_eq!((scene.of_agent("B").await, scene.shared().await), ((5, 0), (3, 3)));
        // 5: the pool is full, and the next call of either waits until a line is free.
        assert_eq!(scene.total().await, 20);
        assert!(!scene.start("A", kind).await);
        assert!(!scene.start("B", kind).await);
        scene.end("A", kind).await;
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((12, 2), (2, 3)));
        assert!(scene.start("B", kind).await, "a shared line is whoever's comes first");
        assert_eq!(scene.of_agent("B").await, (5, 1));
        assert!(!scene.start("A", kind).await);
    }
}

/// S4-15: idle reserved lines are not lent: A has 12, uses 4 → 8 are not there for B.
#[tokio::test]
async fn s4_15_idle_reserved_lines_are_not_lent() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 12)]).await;
        assert_eq!(scene.starts("A", kind, 4).await, 4);
        assert_eq!(scene.starts("B", kind, 20).await, 8);
        assert_eq!((scene.total().await, scene.status().await.free), (12, 8));
        assert_eq!(scene.starts("A", kind, 20).await, 8);
    }
}

/// S4-16: who can use what: its own reserve only the agent, always; shared any agent, after its own reserve is
/// full; another's reserve never.
#[tokio::test]
async fn s4_16_who_can_use_what() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 3), ("B", 3)]).await;
        // Another's reserve: never, whether one has a reserve oneself or not.
        assert_eq!(scene.starts("C", kind, 20).await, 4);
        assert_eq!(scene.starts("A", kind, 20).await, 3);
        // Its own: always.
        assert_eq!(scene.starts("B", kind, 20).await, 3);
        // Shared: first come, first served, the own reserve being full.
        scene.end("C", kind).await;
        assert!(scene.start("A", kind).await);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((3, 1), (4, 4)));
        // An agent with room in its own reserve takes no shared line.
        scene.end("B", kind).await;
        scene.end("C", kind).await;
        assert!(scene.start("B", kind).await);
        assert_eq!((scene.of_agent("B").await, scene.shared().await), ((3, 0), (3, 4)));
    }
}

/// S4-17: its own reserve first, then shared.
#[tokio::test]
async fn s4_17_the_own_reserve_comes_first() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(6, kind, &[("A", 2)]).await;
        for expected in [(1, 0), (2, 0), (2, 1), (2, 2)] {
            assert!(scene.start("A", kind).await);
            assert_eq!((scene.of_agent("A").await, scene.shared().await), (expected, (expected.1, 4)));
        }
    }
}

/// S4-18: 10 reserved, 7 calls → 7 from the reserve, none shared.
#[tokio::test]
async fn s4_18_fewer_calls_than_reserved() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 10)]).await;
        assert_eq!(scene.starts("A", kind, 7).await, 7);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((7, 0), (0, 10)));
    }
}

/// S4-19: 10 reserved, 14 calls → 10 from the reserve, 4 shared.
#[tokio::test]
async fn s4_19_more_calls_than_reserved() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 10)]).await;
        assert_eq!(scene.starts("A", kind, 14).await, 14);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((10, 4), (4, 10)));
    }
}

/// S4-20: 5 shared lines, all in use; B has 8 and starts 6 → all 6 through its reserve.
#[tokio::test]
async fn s4_20_a_reserve_is_there_while_shared_is_full() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(13, kind, &[("B", 8)]).await;
        assert_eq!(scene.starts("A", kind, 9).await, 5);
        assert_eq!(scene.shared().await, (5, 5));
        assert_eq!(scene.starts("B", kind, 6).await, 6);
        assert_eq!((scene.of_agent("B").await, scene.shared().await), ((6, 0), (5, 5)));
    }
}

/// S4-21: C has no reserve → shared lines only; these full → it waits.
#[tokio::test]
async fn s4_21_without_a_reserve_there_are_only_shared_lines() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 8)]).await;
        assert_eq!(scene.starts("C", kind, 5).await, 2);
        assert_eq!((scene.total().await, scene.shared().await), (2, (2, 2)));
        scene.end("C", kind).await;
        assert!(scene.start("C", kind).await);
    }
}

/// S4-23: pick an agent, set numbers for web, chat, outbound, inbound, save.
#[tokio::test]
async fn s4_23_a_reserve_is_added() {
    let scene = Scene::of(20).await;
    scene.reserve("A", of_kinds(1, 2, 3, 4)).await;
    let status = scene.status().await;
    let [reserve] = &status.reserves[..] else { panic!("one reserve: {status:?}") };
    assert_eq!((reserve.web, reserve.chat, reserve.outbound, reserve.inbound), (1, 2, 3, 4));
    assert_eq!((reserve.agent.as_str(), reserve.binding.as_str()), ("A", "strict"));
    assert_eq!(status.shared_lines, 10);
}

/// S4-24: a reserve is edited; the others stay as they are.
#[tokio::test]
async fn s4_24_a_reserve_is_edited() {
    let mut scene = Scene::with(20, Kind::Inbound, &[("A", 5), ("B", 4)]).await;
    assert_eq!(scene.starts("A", Kind::Inbound, 6).await, 6);
    assert_eq!((scene.of_agent("A").await, scene.shared().await), ((5, 1), (1, 11)));
    scene.reserve("A", of_kinds(0, 0, 2, 8)).await;
    assert_eq!((scene.of_agent("A").await, scene.of_agent("B").await), ((6, 0), (0, 0)));
    assert_eq!((scene.shared().await, scene.pool().await.reserves.total()), ((0, 6), 14));
}

/// S4-25: to remove is to set all to zero; the lines are shared at once.
#[tokio::test]
async fn s4_25_a_removed_reserve_is_shared_at_once() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 6)]).await;
        assert_eq!((scene.starts("A", kind, 2).await, scene.starts("B", kind, 20).await), (2, 4));
        let pool = scene.reserve("A", Reserve::default()).await;
        assert_eq!((pool.reserves.iter().count(), pool.shared(), pool.uses.shared), (0, 10, 6));
        assert_eq!(scene.starts("B", kind, 20).await, 4);
    }
}

/// S4-26: changes hold at once; a reserve lowered below its use keeps its calls, and binds the next one.
#[tokio::test]
async fn s4_26_changes_hold_at_once_and_for_the_next_call() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 8)]).await;
        assert_eq!(scene.starts("A", kind, 8).await, 8);
        let before = scene.pool().await.lines;
        scene.reserve("A", of_kind(kind, 3)).await;
        assert_eq!(scene.pool().await.lines, before, "nobody is cut off");
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((3, 5), (5, 7)));
        // The next call meets the new numbers.
        assert_eq!((scene.starts("B", kind, 20).await, scene.starts("A", kind, 1).await), (2, 0));
    }
}

/// S4-29: nothing shared → agents cannot exceed their reserves even while others are idle.
#[tokio::test]
async fn s4_29_with_nothing_shared_nobody_exceeds_their_reserve() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(10, kind, &[("A", 4), ("B", 6)]).await;
        assert_eq!((scene.starts("A", kind, 10).await, scene.starts("C", kind, 1).await), (4, 0));
        assert_eq!((scene.total().await, scene.shared().await), (4, (0, 0)));
    }
}

/// S4-31: at the limit calls wait and go out in order as lines become free; none is dropped. In the order of the list
/// within a campaign, and of priority among campaigns; equal ones share by weight.
#[tokio::test]
async fn s4_31_waiting_calls_go_out_in_order_and_none_is_dropped() {
    let scene = Scene::of(2).await;
    let world = &scene.world;
    ranked(world, "first", "high", "A", 4).await;
    campaign(world, "second", "B", 3).await;
    assert_eq!(dispatch(world).await, dialed([("first", vec![0, 1])]));
    let order = [("first", 2), ("first", 3), ("second", 0), ("second", 1), ("second", 2)];
    let mut under_way = std::collections::VecDeque::from([("first", 0), ("first", 1)]);
    for (campaign, lead) in order {
        let (ended, of) = under_way.pop_front().unwrap();
        hang_up(world, ended, of).await;
        assert_eq!(dispatch(world).await, dialed([(campaign, vec![lead])]));
        under_way.push_back((campaign, lead));
    }
    for (campaign, lead) in under_way {
        hang_up(world, campaign, lead).await;
    }
    dispatch(world).await;
    let campaigns = world.app.status().await.unwrap().campaigns;
    let done: Vec<_> = campaigns.iter().map(|campaign| (campaign.finished, campaign.leads.done)).collect();
    assert_eq!(done, [(true, 4), (true, 3)]);
}

/// S4-32: more reserved than there are lines is refused, with the numbers.
#[tokio::test]
async fn s4_32_more_reserved_than_lines_is_refused() {
    let scene = Scene::with(20, Kind::Inbound, &[("A", 12), ("B", 5)]).await;
    let before = scene.pool().await;
    let refused = scene.change(reserve_of("C", of_kinds(1, 1, 1, 1))).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Reserve(ReserveError::TooMany { asked: 21, limit: 20, .. })));
    assert_eq!(refused.to_string(), "21 lines would be reserved, and the pool has 20: A 12, B 5, C 4");
    assert!(scene.change(reserve_of("A", of_kind(Kind::Inbound, 16))).await.is_err());
    assert_eq!(scene.pool().await, before);
    // Up to the limit is fine, and more with a higher limit in the same change.
    let both = Asked { limit: Some(21), ..reserve_of("C", of_kinds(1, 1, 1, 1)) };
    assert_eq!(scene.change(both).await.unwrap().shared(), 0);
}

/// S4-33: reserves are set by kind, out of one pool, and an agent's total is the sum of its kinds.
#[tokio::test]
async fn s4_33_an_agents_reserve_is_the_sum_of_its_kinds() {
    let mut scene = Scene::of(10).await;
    let pool = scene.reserve("A", of_kinds(1, 2, 1, 3)).await;
    assert_eq!((pool.reserves.total(), pool.shared()), (7, 3));
    assert_eq!(scene.starts("B", Kind::Inbound, 20).await, 3);
    for (kind, lines) in [(Kind::Web, 1), (Kind::Chat, 2), (Kind::Outbound, 1), (Kind::Inbound, 3)] {
        assert_eq!(scene.starts("A", kind, lines).await, lines);
    }
    assert_eq!((scene.of_agent("A").await, scene.total().await), ((7, 0), 10));
}

/// S4-34: nothing configured → all agents compete equally.
#[tokio::test]
async fn s4_34_without_reserves_all_agents_compete_equally() {
    for kind in REFUSABLE {
        for (first, second) in [("A", "B"), ("B", "A")] {
            let mut scene = Scene::of(8).await;
            assert_eq!((scene.starts(first, kind, 6).await, scene.starts(second, kind, 6).await), (6, 2));
        }
    }
}

/// S4-35: a change while calls are active is for new calls only; active ones are never interrupted.
#[tokio::test]
async fn s4_35_a_change_is_for_new_calls_only() {
    let scene = Scene::with(6, Kind::Outbound, &[("A", 4)]).await;
    let world = &scene.world;
    campaign(world, "a", "A", 10).await;
    assert_eq!(dispatch(world).await, dialed([("a", (0..6).collect())]));
    let lines = scene.pool().await.lines;
    scene.reserve("A", Reserve::default()).await;
    scene.reserve("B", of_kind(Kind::Outbound, 5)).await;
    scene.limit(5).await;
    assert_eq!((scene.pool().await.lines, dispatch(world).await), (lines, BTreeMap::new()));
    // Each ends as it would have, and counts as done.
    for lead in 0..6 {
        hang_up(world, "a", lead).await;
    }
    assert_eq!((scene.total().await, dispatch(world).await), (0, BTreeMap::new()), "all is B's now");
    assert_eq!(world.app.status().await.unwrap().campaigns[0].leads.done, 6);
}

/// S4-X1: a strict reserve binds each kind by itself, so that an agent's campaigns cannot take its callers' lines;
/// a pooled one serves all kinds.
#[tokio::test]
async fn s4_x1_a_reserve_binds_kinds_strictly_or_all_together() {
    for (binding, dials, callers) in [(Binding::Strict, 2 + 4, 4), (Binding::Pooled, 6 + 4, 0)] {
        let mut scene = Scene::of(10).await;
        scene.reserve("A", Reserve { binding, ..of_kinds(0, 0, 2, 4) }).await;
        assert_eq!(scene.starts("A", Kind::Outbound, 20).await, dials, "{binding:?}");
        assert_eq!(scene.starts("A", Kind::Inbound, 20).await, callers, "{binding:?}");
        assert_eq!(scene.of_agent("A").await, (6, 4), "{binding:?}");
    }
}

/// S4-X2: 12 reserved lowered to 5 with 12 active: the 7 beyond count as shared use, nothing shared is admitted
/// until one is free, and the limit is never passed.
#[tokio::test]
async fn s4_x2_lowering_a_reserve_below_use() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 12), ("B", 5)]).await;
        assert_eq!((scene.starts("A", kind, 12).await, scene.starts("B", kind, 2).await), (12, 2));
        // With 12 for B, 20 − 5 − 12 leave 3 shared, and 7 are in use: 4 more than there are.
        scene.reserve("A", of_kind(kind, 5)).await;
        assert_eq!(scene.shared().await, (7, 10));
        scene.reserve("B", of_kind(kind, 12)).await;
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((5, 7), (7, 3)));
        for _ in 0..5 {
            assert_eq!((scene.starts("A", kind, 1).await, scene.starts("C", kind, 1).await), (0, 0));
            scene.end("A", kind).await;
        }
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((5, 2), (2, 3)));
        assert_eq!(scene.starts("C", kind, 5).await, 1);
        // What was promised to B is there all the while.
        assert_eq!(scene.starts("B", kind, 20).await, 10);
        assert_eq!(scene.total().await, 20);
    }
}

/// S4-X3: the limit falls from 20 to 10 with 15 active: nobody is cut off and nobody admitted until fewer than 10
/// are.
#[tokio::test]
async fn s4_x3_a_limit_that_falls_below_use_drains() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 8)]).await;
        assert_eq!((scene.starts("A", kind, 5).await, scene.starts("B", kind, 10).await), (5, 10));
        assert_eq!(scene.limit(10).await.counts.total, 15);
        for active in (10..=15).rev() {
            assert_eq!(scene.total().await, active);
            assert_eq!(scene.starts("A", kind, 1).await, 0, "a reserve is no line beyond the limit");
            scene.end("B", kind).await;
        }
        assert_eq!((scene.total().await, scene.shared().await), (9, (4, 2)));
        assert_eq!((scene.starts("B", kind, 1).await, scene.starts("A", kind, 2).await), (0, 1));
    }
}

/// S4-X4: the limit falls below what is reserved: flagged, nothing is shared, reserves compete for what there is,
/// and the sum may be brought down step by step.
#[tokio::test]
async fn s4_x4_a_limit_that_falls_below_the_reserves_is_flagged() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 8), ("B", 7)]).await;
        assert!(!scene.status().await.over_reserved);
        let pool = scene.limit(10).await;
        assert_eq!(
            (pool.shared(), pool.shared_for_outbound(), scene.status().await.over_reserved),
            (0, 0, true)
        );
        assert_eq!((scene.starts("C", kind, 1).await, scene.starts("A", kind, 20).await), (0, 8));
        assert_eq!((scene.starts("B", kind, 20).await, scene.total().await), (2, 10));
        let raised = scene.change(reserve_of("B", of_kind(kind, 8))).await;
        assert!(matches!(raised, Err(ChangeError::Reserve(ReserveError::TooMany { .. }))));
        for (agent, lines) in [("A", 6), ("B", 4)] {
            assert!(scene.status().await.over_reserved);
            scene.reserve(agent, of_kind(kind, lines)).await;
        }
        assert!(!scene.status().await.over_reserved);
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((6, 2), (2, 0)));
    }
}

/// S4-X5: what has room in its own reserve passes what waits for shared lines; each of them keeps its order.
#[tokio::test]
async fn s4_x5_a_campaign_with_its_own_reserve_free_passes_one_that_waits() {
    let scene = Scene::with(5, Kind::Outbound, &[("A", 2)]).await;
    let world = &scene.world;
    ranked(world, "shared", "high", "B", 6).await;
    campaign(world, "own", "A", 5).await;
    assert_eq!(dispatch(world).await, dialed([("own", vec![0, 1]), ("shared", vec![0, 1, 2])]));
    assert_eq!((ready(world, "shared").await, ready(world, "own").await), (3, 3));
    // A line of the reserve is A's, though B's campaign goes before it.
    hang_up(world, "own", 1).await;
    assert_eq!(dispatch(world).await, dialed([("own", vec![2])]));
    // A shared one is the higher campaign's, in its order.
    hang_up(world, "shared", 1).await;
    assert_eq!(dispatch(world).await, dialed([("shared", vec![3])]));
    // With both, each has its own.
    hang_up(world, "shared", 0).await;
    hang_up(world, "own", 0).await;
    assert_eq!(dispatch(world).await, dialed([("own", vec![3]), ("shared", vec![4])]));
}

/// One invocation fills the own reserve and then the shared lines, however many leads of the first are still being
/// claimed: they stand before the others in the index until then.
#[tokio::test]
async fn one_invocation_fills_the_reserve_and_the_shared_lines() {
    for (limit, reserved) in [(15, 12), (30, 27), (60, 0)] {
        let scene = Scene::with(limit, Kind::Outbound, &[("A", reserved)]).await;
        campaign(&scene.world, "c", "A", limit + 20).await;
        assert_eq!(dispatch(&scene.world).await, dialed([("c", (0..limit).collect())]), "{limit} {reserved}");
    }
}

/// S4-X6: the line that comes back is a shared one as long as the agent holds more than its reserve, whichever of
/// its calls has ended.
#[tokio::test]
async fn s4_x6_the_shared_line_comes_back_first() {
    for kind in REFUSABLE {
        let mut scene = Scene::with(20, kind, &[("A", 14)]).await;
        assert_eq!(scene.starts("A", kind, 15).await, 15);
        assert_eq!(scene.shared().await, (1, 6));
        // The oldest call, the first that the reserve was used for.
        scene.end("A", kind).await;
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((14, 0), (0, 6)));
        scene.end("A", kind).await;
        assert_eq!((scene.of_agent("A").await, scene.shared().await), ((13, 0), (0, 6)));
        assert_eq!(
            scene.starts("B", kind, 20).await,
            6,
            "the thirteenth line left a reserved one, not a shared one"
        );
    }
}

/// P1 with reserves: headroom is of shared lines, and an agent's own reserve needs none; the cap binds both.
#[tokio::test]
async fn headroom_is_of_shared_lines_and_the_cap_of_all() {
    for (cap, headroom, own, others) in
        [(20, 3, 4, 13), (20, 0, 4, 16), (20, 16, 4, 0), (20, 99, 4, 0), (6, 3, 4, 2)]
    {
        let mut scene = Scene::with(20, Kind::Outbound, &[("A", 4)]).await;
        scene.change(Asked { cap: Some(cap), headroom: Some(headroom), ..Asked::default() }).await.unwrap();
        assert_eq!(scene.starts("A", Kind::Outbound, 4).await, own, "{cap}/{headroom}");
        assert_eq!(scene.starts("B", Kind::Outbound, 20).await, others, "{cap}/{headroom}");
        let left = if cap == 20 { headroom.min(16) } else { 14 };
        assert_eq!(scene.starts("B", Kind::Inbound, 20).await, left, "callers have what outbound leaves");
    }
}

/// A caller whose `ringing` was recorded first is answered if the line it got is one that it may have.
#[tokio::test]
async fn a_caller_who_was_seen_ringing_is_answered_within_reserves_only() {
    let mut scene = Scene::with(4, Kind::Inbound, &[("A", 2)]).await;
    assert_eq!(scene.starts("B", Kind::Inbound, 2).await, 2);
    for (call, agent, answered) in [("ringing-b", "B", false), ("ringing-a", "A", true)] {
        scene.world.observed(call, Kind::Inbound, Some(agent)).await.unwrap();
        // B's third caller is real and recorded, and holds more than there is to share.
        let expected =
            if answered { Answer::Assistant(agent.into()) } else { Answer::Refusal("busy".into()) };
        assert_eq!(answer(&scene.world, call, agent).await, expected);
    }
    let pool = scene.pool().await;
    assert_eq!(pool.refusal(&[NameCode::of("B")], Kind::Inbound), Some(Rule::Limit));
}

/// A bare number's `ringing` does not say who will answer: its line is counted as the number's, and no full reserve
/// of the agent that is to answer makes it one that it may have.
#[tokio::test]
async fn a_caller_who_was_seen_ringing_under_another_name_does_not_take_a_reserved_line() {
    for (others, expected) in [(1, Answer::Assistant("B".into())), (2, Answer::Refusal("busy".into()))] {
        let mut scene = Scene::with(5, Kind::Inbound, &[("A", 2), ("B", 1)]).await;
        assert_eq!(scene.starts("C", Kind::Inbound, others).await, others);
        assert!(scene.start("B", Kind::Inbound).await);
        scene.world.observed("ringing", Kind::Inbound, Some("a number")).await.unwrap();
        assert_eq!(scene.shared().await, (others + 1, 2));
        assert_eq!(answer(&scene.world, "ringing", "B").await, expected);
    }
}

/// Calls are an agent's by its name, and by each id that it is known by.
#[tokio::test]
async fn an_agent_is_known_by_its_member_ids() {
    let members = ["as-sales", "ph-sales"].map(NameCode::of).into_iter().collect();
    let mut scene = Scene::of(4).await;
    scene.reserve("sales", Reserve { members, ..of_kind(Kind::Inbound, 3) }).await;
    assert_eq!(scene.starts("as-other", Kind::Inbound, 5).await, 1);
    for assistant in ["as-sales", "ph-sales", "sales"] {
        assert!(scene.start(assistant, Kind::Inbound).await, "{assistant}");
    }
    assert_eq!((scene.of_agent("sales").await, scene.shared().await), ((3, 0), (1, 1)));
}

/// S2-19, S2-20: a queue or a mailbox outside of Vapi, by agent, instead of a sentence and the end of the call.
#[tokio::test]
async fn callers_without_a_line_are_forwarded_where_the_operator_says_so() {
    let world = World::start(policy(2, 2, 0)).await.unwrap();
    world.app.change(&reserve_of("desk", of_kinds(0, 0, 0, 1)), "ada").await.unwrap();
    let overflow = || Overflow::parse("desk=+15555550101, other=+15555550102").unwrap();
    let mut answers = Vec::new();
    for (call, assistant) in [("a", "desk"), ("b", "desk"), ("c", "desk"), ("d", "other"), ("e", "third")] {
        answers.push(answer_or_forward(&world, call, assistant, overflow()).await);
    }
    let to = |number: &str| Answer::Forward(number.parse().unwrap());
    let by = |assistant: &str| Answer::Assistant(assistant.to_owned());
    let busy = Answer::Refusal("busy".to_owned());
    assert_eq!(answers, [by("desk"), by("desk"), to("+15555550101"), to("+15555550102"), busy]);
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, 2, "who is forwarded holds no line");
}
