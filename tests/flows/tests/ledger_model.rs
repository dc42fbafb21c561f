//! Random rows of ledger operations on the engine, compared after every step with a model that is
//! written here from the promises alone: it knows no attribute, no condition and none of the
//! library's decisions.
//!
//! Reads are forced to be stale, and operations are sent twice, as the SDK does when a write was
//! applied and its answer lost. A failing row is printed and shrunk by proptest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::collections::BTreeMap;
use std::sync::Arc;

use flows::{World, policy, start};
use headroom::core::ids::{
    CallId, CampaignCode, CampaignId, ClaimKey, Kind, LeadId, LeadRef, Lease, LineKey, Token,
};
use headroom::core::pool::{Counts, Policy, Pool, Rule, Tally};
use headroom::flows::Clock as _;
use headroom::table::Table;
use headroom::table::ledger::{Freed, LeadEnd, Observed, Rest, Taken};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::task::JoinSet;

/// One step. Small numbers stand for things, so that steps meet each other often.
#[derive(Debug, Clone)]
enum Op {
    /// Take lines for claims of a campaign, on the word of a pool read `stale` steps ago.
    Take {
        campaign: u8,
        leads: Vec<u8>,
        claim: u32,
        nonce: u32,
        own: Option<u32>,
        stale: u8,
        twice: bool,
    },
    /// Take again exactly what the `back`-th last grant took.
    TakeAgain {
        back: u8,
        stale: u8,
    },
    Observe {
        call: u8,
        kind: Kind,
        twice: bool,
    },
    Answer {
        call: u8,
        stale: u8,
        twice: bool,
    },
    /// Free the `n`-th held line.
    Free {
        n: u8,
        end: Option<LeadEnd>,
        twice: bool,
    },
    /// Free the `n`-th held line with a token that it was not taken with.
    FreeWrong {
        n: u8,
        end: Option<LeadEnd>,
    },
    /// Free a line that was freed before.
    FreeOld {
        n: u8,
        end: Option<LeadEnd>,
    },
    SetPolicy {
        limit: u32,
        cap: u32,
        headroom: u32,
        configured: bool,
        stale: u8,
        twice: bool,
    },
    Rest {
        seconds: u8,
        count: u32,
        twice: bool,
    },
    EndRests,
    Open {
        campaign: u8,
        settled: (u32, u32),
        twice: bool,
    },
    /// Close with the present figures, or with others.
    Close {
        campaign: u8,
        off: (u32, u32),
        twice: bool,
    },
    Note {
        org: Option<u8>,
        limit: Option<u32>,
        twice: bool,
    },
    Advance {
        millis: u16,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let stale = || prop_oneof![4 => Just(0_u8), 1 => 1_u8..12];
    let end = || prop_oneof![Just(None), Just(Some(LeadEnd::Done)), Just(Some(LeadEnd::Failed))];
    let kind = proptest::sample::select(Kind::ALL.to_vec());
    prop_oneof![
        8 => (0_u8..3, proptest::sample::subsequence((0_u8..6).collect::<Vec<_>>(), 1..=4), 1_u32..3, 0_u32..2,
              proptest::option::of(0_u32..6), stale(), any::<bool>())
            .prop_map(|(campaign, leads, claim, nonce, own, stale, twice)| {
                Op::Take { campaign, leads, claim, nonce, own, stale, twice }
            }),
        2 => (0_u8..4, stale()).prop_map(|(back, stale)| Op::TakeAgain { back, stale }),
        3 => (0_u8..8, kind, any::<bool>()).prop_map(|(call, kind, twice)| Op::Observe { call, kind, twice }),
        3 => (0_u8..8, stale(), any::<bool>()).prop_map(|(call, stale, twice)| Op::Answer { call, stale, twice }),
        8 => (any::<u8>(), end(), any::<bool>()).prop_map(|(n, end, twice)| Op::Free { n, end, twice }),
        1 => (any::<u8>(), end()).prop_map(|(n, end)| Op::FreeWrong { n, end }),
        1 => (any::<u8>(), end()).prop_map(|(n, end)| Op::FreeOld { n, end }),
        2 => (1_u32..12, 0_u32..12, 0_u32..6, any::<bool>(), stale(), any::<bool>())
            .prop_map(|(limit, cap, headroom, configured, stale, twice)| {
                Op::SetPolicy { limit, cap, headroom, configured, stale, twice }
            }),
        1 => (0_u8..4, 0_u32..5, any::<bool>()).prop_map(|(seconds, count, twice)| Op::Rest { seconds, count, twice }),
        1 => Just(Op::EndRests),
        2 => (0_u8..3, (0_u32..3, 0_u32..3), any::<bool>())
            .prop_map(|(campaign, settled, twice)| Op::Open { campaign, settled, twice }),
        2 => (0_u8..3, prop_oneof![2 => Just((0, 0)), 1 => Just((0, 1)), 1 => Just((1, 0))], any::<bool>())
            .prop_map(|(campaign, off, twice)| Op::Close { campaign, off, twice }),
        1 => (proptest::option::of(0_u8..3), proptest::option::of(1_u32..20), any::<bool>())
            .prop_map(|(org, limit, twice)| Op::Note { org, limit, twice }),
        3 => (0_u16..3000).prop_map(|millis| Op::Advance { millis }),
    ]
}

fn code(n: u8) -> CampaignCode {
    CampaignCode::of(&format!("campaign-{n}").parse::<CampaignId>().unwrap())
}

fn call(n: u8) -> CallId {
    match n {
        // Not every id is a UUID, and not every UUID is printed in the usual way.
        0 => "call_kat123".parse().unwrap(),
        1 => "019D2AD0-7C40-7AAC-9377-0000000000B1".parse().unwrap(),
        n => format!("019d2ad0-7c40-7aac-9377-0000000000b{n}").parse().unwrap(),
    }
}

fn lease(campaign: u8, lead: u8, claim: u32, nonce: u32, now: Timestamp) -> Lease {
    let lead = LeadRef::of(&format!("lead-{lead}").parse::<LeadId>().unwrap());
    let key = LineKey::Claim(ClaimKey { campaign: code(campaign), lead, claim });
    Lease { key, token: Token::new(Kind::Outbound, now, nonce) }
}

/// The ledger as it should be, and what was seen of it before.
struct Model {
    pool: Pool,
    /// The pool after each step, for stale reads.
    seen: Vec<Pool>,
    grants: Vec<(CampaignCode, Option<u32>, Vec<Lease>)>,
    freed: Vec<Lease>,
    came_to: BTreeMap<&'static str, u32>,
}

impl Model {
    fn new(policy: Policy) -> Self {
        let pool = Pool {
            policy,
            revision: 1,
            counts: Counts::default(),
            lines: Default::default(),
            campaigns: Default::default(),
            hold_until: Timestamp::UNIX_EPOCH,
            hold_count: 0,
            org: None,
            seen_limit: None,
            configured: Some(format!("{}/{}/{}", policy.limit(), policy.cap(), policy.headroom())),
        };
        Self {
            seen: vec![pool.clone()],
            pool,
            grants: Vec::new(),
            freed: Vec::new(),
            came_to: BTreeMap::new(),
        }
    }

    fn count(&mut self, outcome: &'static str) {
        *self.came_to.entry(outcome).or_default() += 1;
    }

    fn stale(&self, by: u8) -> Pool {
        self.seen[self.seen.len().saturating_sub(1 + usize::from(by))].clone()
    }

    /// P1, in the words of the design: with these lines, the total leaves the headroom free,
    /// outbound stays within its cap, the campaign within its own, and nothing rests.
    fn may_take(&self, campaign: &CampaignCode, own: Option<u32>, lines: usize, now: Timestamp) -> bool {
        let (policy, counts, lines) = (self.pool.policy, self.pool.counts, lines as i64);
        let fits = |used: u32, most: i64| i64::from(used) + lines <= most;
        let Some(tally) = self.pool.campaigns.get(campaign) else { return false };
        fits(counts.total, i64::from(policy.limit()) - i64::from(policy.headroom()))
            && fits(counts.outbound, policy.cap().into())
            && own.is_none_or(|own| fits(tally.held, own.into()))
            && now >= self.pool.hold_until
    }

    /// Whether the lines are granted.
    fn take(
        &mut self,
        read: &Pool,
        campaign: &CampaignCode,
        own: Option<u32>,
        leases: &[Lease],
        now: Timestamp,
    ) -> bool {
        if leases.iter().all(|lease| self.pool.lines.get(&lease.key) == Some(&lease.token)) {
            self.count("granted before");
            return true;
        }
        let free = leases.iter().all(|lease| !self.pool.lines.contains_key(&lease.key));
        let may = self.may_take(campaign, own, leases.len(), now);
        let refusal = match (free, read.revision == self.pool.revision, may) {
            (true, true, true) => None,
            (false, ..) => Some("refused: held"),
            (_, false, _) => Some("refused: policy"),
            (.., false) => Some(match self.pool.room(campaign, own, now).rule {
                _ if !self.pool.campaigns.contains_key(campaign) => "refused: not open",
                Rule::Headroom => "refused: headroom",
                Rule::Cap => "refused: cap",
                Rule::CampaignCap => "refused: campaign cap",
                Rule::HoldOff => "refused: rest",
            }),
        };
        if let Some(refusal) = refusal {
            self.count(refusal);
            return false;
        }
        self.count("granted");
        self.pool.campaigns.get_mut(campaign).unwrap().held += leases.len() as u32;
        self.pool.lines.extend(leases.iter().map(|lease| (lease.key.clone(), lease.token.clone())));
        self.grants.push((campaign.clone(), own, leases.to_vec()));
        true
    }

    fn observe(&mut self, call: &CallId, kind: Kind, now: Timestamp) -> &'static str {
        let key = LineKey::Observed(call.clone());
        if self.pool.lines.contains_key(&key) {
            self.count("held");
            return "held";
        }
        self.count("taken");
        self.pool.lines.insert(key, Token::new(kind, now, 0));
        "taken"
    }

    fn answer(&mut self, read: &Pool, call: &CallId, now: Timestamp) -> &'static str {
        let held = self.pool.lines.contains_key(&LineKey::Observed(call.clone()));
        let room = self.pool.counts.total < self.pool.policy.limit() && read.revision == self.pool.revision;
        if held || room {
            return self.observe(call, Kind::Inbound, now);
        }
        self.count("full");
        "full"
    }

    /// Whether a line came back.
    fn free(&mut self, lease: &Lease, end: Option<LeadEnd>) -> bool {
        if self.pool.lines.get(&lease.key) != Some(&lease.token) {
            self.count(if self.pool.lines.contains_key(&lease.key) {
                "not freed: taken since"
            } else {
                "not freed"
            });
            return false;
        }
        self.count("freed");
        self.pool.lines.remove(&lease.key);
        if let LineKey::Claim(claim) = &lease.key {
            let tally = self.pool.campaigns.get_mut(&claim.campaign).unwrap();
            tally.held -= 1;
            match end {
                Some(LeadEnd::Done) => tally.done += 1,
                Some(LeadEnd::Failed) => tally.failed += 1,
                None => {}
            }
        }
        self.freed.push(lease.clone());
        true
    }

    fn rest(&mut self, rest: Rest) {
        // One that is over sooner than the present one changes nothing.
        if self.pool.hold_until < rest.until {
            self.pool.hold_until = rest.until;
            self.pool.hold_count = rest.count;
        }
    }

    fn set_policy(&mut self, read: &Pool, policy: Policy, configured: Option<&str>) -> bool {
        if read.revision != self.pool.revision {
            self.count("policy not changed");
            return false;
        }
        self.count(if policy.limit() < self.pool.counts.total {
            "limit below use"
        } else {
            "policy changed"
        });
        self.pool.policy = policy;
        self.pool.revision += 1;
        if let Some(configured) = configured {
            self.pool.configured = Some(configured.to_owned());
        }
        true
    }

    fn close(&mut self, code: &CampaignCode, tally: Tally) {
        let now = self.pool.campaigns.get(code);
        if now.is_some_and(|now| now.held == 0 && (now.done, now.failed) == (tally.done, tally.failed)) {
            self.count("closed");
            self.pool.campaigns.remove(code);
        } else {
            self.count("not closed");
        }
    }

    /// What the lines add up to is not kept here but counted, each time.
    fn settle(&mut self) {
        self.pool.counts = Counts::of(self.pool.lines.values());
        self.seen.push(self.pool.clone());
    }
}

fn times(twice: bool) -> usize {
    1 + usize::from(twice)
}

/// The name of an outcome, and the pool that came with it.
fn observed(outcome: Observed) -> (&'static str, Pool) {
    match outcome {
        Observed::Taken(pool) => ("taken", pool),
        Observed::AlreadyHeld(pool) => ("held", pool),
        Observed::Full(pool) => ("full", pool),
    }
}

/// Plays one step on both sides, compares what each says it came to, then everything there is.
async fn step(world: &World, model: &mut Model, op: &Op) -> Result<(), TestCaseError> {
    let (table, now) = (world.table(), world.clock.now());
    // The pool that came with the last answer, to be equal to the model's, too.
    let mut told: Option<Pool> = None;
    let nth = |model: &Model, n: u8| -> Option<Lease> {
        let lines = &model.pool.lines;
        let (key, token) = lines.iter().nth(usize::from(n) % lines.len().max(1))?;
        Some(Lease { key: key.clone(), token: token.clone() })
    };
    match op {
        Op::Take { campaign, leads, claim, nonce, own, stale, twice } => {
            let leases: Vec<Lease> =
                leads.iter().map(|lead| lease(*campaign, *lead, *claim, *nonce, now)).collect();
            let (read, code) = (model.stale(*stale), code(*campaign));
            for _ in 0..times(*twice) {
                take(table, model, &read, &code, *own, &leases, now, &mut told).await?;
                model.pool.counts = Counts::of(model.pool.lines.values());
            }
        }
        Op::TakeAgain { back, stale } => {
            let index = model.grants.len().checked_sub(1 + usize::from(*back));
            if let Some((code, own, leases)) = index.map(|index| model.grants[index].clone()) {
                let read = model.stale(*stale);
                take(table, model, &read, &code, own, &leases, now, &mut told).await?;
            }
        }
        Op::Observe { call: n, kind, twice } => {
            for _ in 0..times(*twice) {
                let (name, pool) = observed(table.take_observed(&call(*n), *kind, now).await.unwrap());
                prop_assert_eq!(name, model.observe(&call(*n), *kind, now));
                told = Some(pool);
            }
        }
        Op::Answer { call: n, stale, twice } => {
            let read = model.stale(*stale);
            for _ in 0..times(*twice) {
                let (name, pool) = observed(table.take_answered(&read, &call(*n), now).await.unwrap());
                prop_assert_eq!(name, model.answer(&read, &call(*n), now));
                told = Some(pool);
            }
        }
        Op::Free { n, end, twice } => {
            if let Some(lease) = nth(model, *n) {
                for _ in 0..times(*twice) {
                    told = free(table, model, &lease, *end).await?;
                }
            }
        }
        Op::FreeWrong { n, end } => {
            if let Some(held) = nth(model, *n) {
                // The same kind and another instant: what a later taking of the line would have.
                let token =
                    Token::new(held.token.kind(), held.token.since() + SignedDuration::from_hours(1), 7);
                told = free(table, model, &Lease { token, ..held }, *end).await?;
            }
        }
        Op::FreeOld { n, end } => {
            if !model.freed.is_empty() {
                let lease = model.freed[usize::from(*n) % model.freed.len()].clone();
                told = free(table, model, &lease, *end).await?;
            }
        }
        Op::SetPolicy { limit, cap, headroom, configured, stale, twice } => {
            let (policy, read) = (policy(*limit, *cap, *headroom), model.stale(*stale));
            let text = policy.to_string();
            let text = configured.then_some(text.as_str());
            for _ in 0..times(*twice) {
                let changed = table.set_policy(&read, policy, text).await.unwrap();
                prop_assert_eq!(changed, model.set_policy(&read, policy, text));
            }
        }
        Op::Rest { seconds, count, twice } => {
            let rest = Rest { until: now + SignedDuration::from_secs((*seconds).into()), count: *count };
            for _ in 0..times(*twice) {
                table.rest(rest).await.unwrap();
                model.rest(rest);
            }
        }
        Op::EndRests => {
            table.end_rests().await.unwrap();
            model.pool.hold_count = 0;
        }
        Op::Open { campaign, settled: (done, failed), twice } => {
            for _ in 0..times(*twice) {
                table.open_campaign(&code(*campaign), (*done, *failed)).await.unwrap();
                let tally = Tally { held: 0, done: *done, failed: *failed };
                model.pool.campaigns.entry(code(*campaign)).or_insert(tally);
            }
        }
        Op::Close { campaign, off, twice } => {
            let code = code(*campaign);
            let mut tally = model.pool.campaigns.get(&code).copied().unwrap_or_default();
            tally.done += off.0;
            tally.failed += off.1;
            for _ in 0..times(*twice) {
                table.close_campaign(&code, tally).await.unwrap();
                model.close(&code, tally);
            }
        }
        Op::Note { org, limit, twice } => {
            let org = org.map(|n| format!("org-{n}").parse().unwrap());
            for _ in 0..times(*twice) {
                table.note_vapi(org.as_ref(), *limit).await.unwrap();
                model.pool.org = model.pool.org.take().or_else(|| org.clone());
                model.pool.seen_limit = limit.or(model.pool.seen_limit);
            }
        }
        Op::Advance { millis } => world.clock.advance(SignedDuration::from_millis(i64::from(*millis))),
    }
    model.settle();
    // The answer to a write shows the whole pool as the write left it; where there was none, it is read.
    let pool = match told {
        Some(pool) => pool,
        None => table.read_pool().await.unwrap(),
    };
    prop_assert_eq!(&pool, &model.pool);
    // P7, without the model's help.
    prop_assert_eq!(pool.counts, Counts::of(pool.lines.values()));
    for (code, tally) in &pool.campaigns {
        let held =
            pool.lines.keys().filter(|key| matches!(key, LineKey::Claim(claim) if claim.campaign == *code));
        prop_assert_eq!(tally.held as usize, held.count());
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "a step of a test")]
async fn take(
    table: &Table,
    model: &mut Model,
    read: &Pool,
    code: &CampaignCode,
    own: Option<u32>,
    leases: &[Lease],
    now: Timestamp,
    told: &mut Option<Pool>,
) -> Result<(), TestCaseError> {
    let before = model.pool.lines.len();
    let room = model.pool.room(code, own, now).lines as usize;
    let (granted, pool) = match table.take(read, code, own, leases, now).await.unwrap() {
        Taken::Granted(pool) => (true, pool),
        Taken::Refused(pool) => (false, pool),
    };
    prop_assert_eq!(granted, model.take(read, code, own, leases, now));
    // P1, from the side of the decision: what the write grants fits into the room there was.
    if model.pool.lines.len() > before {
        prop_assert!(leases.len() <= room, "granted {} with room for {}", leases.len(), room);
    }
    *told = Some(pool);
    Ok(())
}

async fn free(
    table: &Table,
    model: &mut Model,
    lease: &Lease,
    end: Option<LeadEnd>,
) -> Result<Option<Pool>, TestCaseError> {
    let (freed, pool) = match table.free(lease, end).await.unwrap() {
        Freed::Freed(pool) => (true, Some(pool)),
        Freed::NotHeld => (false, None),
    };
    prop_assert_eq!(freed, model.free(lease, end));
    // A second freeing, told to the same step, finds the pool as the first left it.
    Ok(pool)
}

/// Plays a row, and tells how often each outcome came up.
async fn play(world: &World, ops: &[Op]) -> Result<BTreeMap<&'static str, u32>, TestCaseError> {
    let first = policy(10, 7, 3);
    let world = world.beside(first).await.unwrap();
    let mut model = Model::new(first);
    for (n, op) in ops.iter().enumerate() {
        let result = step(&world, &mut model, op).await;
        result.map_err(|error| TestCaseError::fail(format!("step {n}, {op:?}: {error}")))?;
    }
    prop_assert_eq!(world.table().read_pool().await.unwrap(), model.pool);
    Ok(model.came_to)
}

/// Campaigns are open and lines are taken before chance begins: an empty ledger teaches little.
fn opening() -> Vec<Op> {
    (0..2).map(|campaign| Op::Open { campaign, settled: (0, 0), twice: false }).collect()
}

#[test]
fn every_short_row_of_operations_leaves_the_ledger_as_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::start(policy(10, 7, 3))).unwrap();
    let config = Config { cases: 30, max_shrink_iters: 100, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let rows = proptest::collection::vec(op(), 40);
    let result = runner.run(&rows, |row| {
        let ops: Vec<Op> = opening().into_iter().chain(row).collect();
        runtime.block_on(play(&world, &ops)).map(|_| ())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn one_long_row_of_operations_leaves_the_ledger_as_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::start(policy(10, 7, 3))).unwrap();
    // Always the same row: a change that breaks it breaks it every time.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"headroom ledger, one long row...");
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let row = proptest::collection::vec(op(), 2_000).new_tree(&mut runner).unwrap().current();
    let ops: Vec<Op> = opening().into_iter().chain(row).collect();
    let came_to = runtime.block_on(play(&world, &ops)).unwrap();
    // A row in which some outcome hardly comes up proves little about it.
    let outcomes = [
        "granted",
        "granted before",
        "refused: held",
        "refused: policy",
        "refused: not open",
        "refused: headroom",
        "refused: cap",
        "refused: campaign cap",
        "refused: rest",
        "taken",
        "held",
        "full",
        "freed",
        "not freed",
        "not freed: taken since",
        "policy changed",
        "limit below use",
        "policy not changed",
        "closed",
        "not closed",
    ];
    for outcome in outcomes {
        assert!(came_to.get(outcome).is_some_and(|times| *times >= 5), "{outcome} is rare: {came_to:?}");
    }
}

/// Many takers, each with its own idea of the pool, get what the policy allows and no line more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_for_lines_grants_exactly_what_the_policy_allows() {
    // limit, cap, headroom, callers there already, the campaign's own cap → lines granted.
    let cases = [
        ((10, 10, 0), 0, None, 10),
        ((10, 7, 3), 0, None, 7),
        ((10, 10, 3), 2, None, 5),
        ((10, 4, 0), 0, None, 4),
        ((10, 10, 0), 0, Some(3), 3),
        ((10, 10, 10), 0, None, 0),
    ];
    let engine = World::start(policy(1, 1, 0)).await.unwrap();
    for ((limit, cap, headroom), callers, own, expected) in cases {
        let world = Arc::new(engine.beside(policy(limit, cap, headroom)).await.unwrap());
        let (table, now) = (world.table(), world.clock.now());
        table.open_campaign(&code(0), (0, 0)).await.unwrap();
        for n in 0..callers {
            table.take_observed(&call(n), Kind::Inbound, now).await.unwrap();
        }
        let read = table.read_pool().await.unwrap();
        let mut racers = JoinSet::new();
        for racer in 0..64 {
            let (world, read) = (world.clone(), read.clone());
            racers.spawn(async move {
                let lease = lease(0, racer, 1, racer.into(), now);
                let taken = world.table().take(&read, &code(0), own, std::slice::from_ref(&lease), now).await;
                matches!(taken.unwrap(), Taken::Granted(_)).then_some(lease)
            });
        }
        let granted: Vec<Lease> = racers.join_all().await.into_iter().flatten().collect();
        let pool = table.read_pool().await.unwrap();
        assert_eq!(granted.len(), expected, "{limit}/{cap}/{headroom}");
        assert_eq!(pool.counts.outbound as usize, expected);
        assert_eq!(pool.counts, Counts::of(pool.lines.values()));
        assert!(granted.iter().all(|lease| pool.lines.get(&lease.key) == Some(&lease.token)));

        // And back again: of 16 releases of each line, one frees it.
        let mut racers = JoinSet::new();
        for lease in granted.iter().flat_map(|lease| std::iter::repeat_n(lease.clone(), 16)) {
            let world = world.clone();
            racers.spawn(async move {
                let freed = world.table().free(&lease, Some(LeadEnd::Done)).await;
                usize::from(matches!(freed.unwrap(), Freed::Freed(_)))
            });
        }
        let freed: usize = racers.join_all().await.into_iter().sum();
        assert_eq!(freed, expected);
        let pool = table.read_pool().await.unwrap();
        let tally = Tally { held: 0, done: expected as u32, failed: 0 };
        assert_eq!((pool.counts.outbound, pool.campaigns[&code(0)]), (0, tally));
    }
}

/// Callers race with outbound and with each other: no caller is turned away while a line is free,
/// and the last lines go to callers alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_of_callers_and_outbound_leaves_the_headroom_to_callers() {
    let engine = World::start(policy(1, 1, 0)).await.unwrap();
    let world = Arc::new(engine.beside(policy(10, 10, 3)).await.unwrap());
    let (table, now) = (world.table(), world.clock.now());
    table.open_campaign(&code(0), (0, 0)).await.unwrap();
    let read = table.read_pool().await.unwrap();
    let mut racers = JoinSet::new();
    for racer in 0..64_u8 {
        let (world, read) = (world.clone(), read.clone());
        racers.spawn(async move {
            if racer % 2 == 0 {
                let lease = lease(0, racer, 1, 0, now);
                let taken =
                    world.table().take(&read, &code(0), None, std::slice::from_ref(&lease), now).await;
                let _ = taken.unwrap();
                return 0;
            }
            let caller = format!("caller-{racer}").parse().unwrap();
            let answered = world.table().take_answered(&read, &caller, now).await.unwrap();
            usize::from(matches!(answered, Observed::Taken(_)))
        });
    }
    let answered: usize = racers.join_all().await.into_iter().sum();
    let pool = table.read_pool().await.unwrap();
    assert_eq!(pool.counts.total, 10, "32 callers fill whatever is left");
    assert_eq!(pool.counts.inbound as usize, answered);
    assert!(pool.counts.outbound <= 7 && pool.counts.inbound >= 3);
    assert_eq!(pool.counts, Counts::of(pool.lines.values()));
}

/// Vapi's word to wait for a minute is not undone by the short rest of a dial that failed otherwise.
#[tokio::test]
async fn a_shorter_rest_does_not_end_a_longer_one() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let (table, now) = (world.table(), start());
    let until = |seconds| now + SignedDuration::from_secs(seconds);
    table.rest(Rest { until: until(60), count: 1 }).await.unwrap();
    table.rest(Rest { until: until(2), count: 1 }).await.unwrap();
    assert_eq!(table.read_pool().await.unwrap().hold_until, until(60));
    let caller = call(2);
    table.take_observed(&caller, Kind::Inbound, now).await.unwrap();
    let lease = table.read_pool().await.unwrap().lease(&LineKey::Observed(caller)).unwrap();
    table.free(&lease, None).await.unwrap();
    assert_eq!(table.read_pool().await.unwrap().hold_until, until(60));
}

/// A token is that of one taking: a line that was freed and taken again is not freed by
/// the first taker's lease.
#[tokio::test]
async fn a_lease_does_not_outlive_its_line() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let (table, now) = (world.table(), start());
    table.open_campaign(&code(0), (0, 0)).await.unwrap();
    let (first, second) = (lease(0, 1, 1, 1, now), lease(0, 1, 1, 2, now));
    for held in [&first, &second] {
        let read = table.read_pool().await.unwrap();
        let taken = table.take(&read, &code(0), None, std::slice::from_ref(held), now).await.unwrap();
        assert!(matches!(taken, Taken::Granted(_)));
        if held == &first {
            assert!(matches!(table.free(&first, None).await.unwrap(), Freed::Freed(_)));
        }
    }
    assert!(matches!(table.free(&first, Some(LeadEnd::Done)).await.unwrap(), Freed::NotHeld));
    assert_eq!(table.read_pool().await.unwrap().lines.len(), 1);
    assert!(matches!(table.free(&second, None).await.unwrap(), Freed::Freed(_)));
}
