//! Changes of policy and reserves: each is made with its record or not at all, once, and among calls that come and
//! go; and calls come and go while one is made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use flows::{Stub, World, policy, start};
use headroom::core::ids::{CampaignCode, NameCode};
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::pool::{Counts, Pool};
use headroom::core::reserve::{Binding, Reserve, ReserveError, Reserves};
use headroom::flows::operate::{Asked, ChangeError};
use headroom::flows::{Clock as _, main_pool};
use headroom::table::Table;
use headroom::table::changes::{Change, Wanted};
use headroom::table::ledger::{Freed, Observed};
use headroom_local::engines::local_aws;
use jiff::SignedDuration;
use serde_json::json;
use tokio::task::JoinSet;

fn lines(inbound: u32, outbound: u32) -> Reserve {
    Reserve { inbound, outbound, ..Reserve::default() }
}

fn reserve(agent: &str, reserve: Reserve) -> Asked {
    Asked { reserve: Some((agent.parse().unwrap(), reserve)), ..Asked::default() }
}

async fn changes(world: &World) -> Vec<Change> {
    world.table().list_changes(100).await.unwrap()
}

/// P7, and that what was changed is what is recorded.
async fn consistent(world: &World) -> Pool {
    let pool = world.table().read_pool().await.unwrap();
    assert_eq!(pool.counts, Counts::of(pool.lines.values()));
    assert_eq!(pool.uses, pool.uses_of(&pool.reserves, &pool.quotas));
    let mut changes = changes(world).await;
    changes.reverse();
    // Every revision but the first has the record of the change that led to it.
    let recorded: Vec<u64> = changes.iter().map(|change| change.revision).collect();
    assert_eq!(recorded, (2..=pool.revision).collect::<Vec<_>>());
    assert!(changes.windows(2).all(|two| two[0].to == two[1].from), "{changes:#?}");
    assert!(changes.last().is_none_or(|last| last.to == Wanted::of(&pool).to_string()));
    pool
}

#[tokio::test]
async fn a_change_is_recorded_with_who_when_from_and_to() {
    let world = World::start(policy(20, 15, 2)).await.unwrap();
    assert_eq!(changes(&world).await, []);
    let pooled = Reserve { binding: Binding::Pooled, web: 1, ..lines(0, 2) };
    let steps = [
        (
            Asked { cap: Some(12), headroom: Some(3), ..Asked::default() },
            "ada",
            "limit 20, cap 12, headroom 3",
        ),
        (reserve("sales", lines(3, 4)), "ada", "limit 20, cap 12, headroom 3, sales inbound 3 outbound 4"),
        (
            Asked { limit: Some(30), ..reserve("care", pooled) },
            "bob",
            "limit 30, cap 12, headroom 3, care outbound 2 web 1 pooled, sales inbound 3 outbound 4",
        ),
        (
            reserve("sales", Reserve::default()),
            "ada",
            "limit 30, cap 12, headroom 3, care outbound 2 web 1 pooled",
        ),
    ];
    let mut from = "limit 20, cap 15, headroom 2".to_owned();
    let mut expected = Vec::new();
    for (n, (asked, by, to)) in steps.into_iter().enumerate() {
        world.clock.advance(SignedDuration::from_secs(10));
        world.wakes.take_asked();
        let (before, now) = world.app.change(&asked, by).await.unwrap();
        assert_eq!((before.revision, now.revision), (n as u64 + 1, n as u64 + 2));
        assert_eq!(world.wakes.take_asked().len(), 1, "there may be room now");
        let (at, to) = (world.clock.now(), to.to_owned());
        expected.insert(0, Change { revision: now.revision, at, by: by.to_owned(), from, to: to.clone() });
        from = to;
    }
    assert_eq!(changes(&world).await, expected);
    assert_eq!(world.table().list_changes(2).await.unwrap(), expected[..2], "the latest");
    consistent(&world).await;
}

#[tokio::test]
async fn who_calls_somebody_one_of_their_own_changes_the_record_too() {
    let world = World::start(policy(20, 15, 2)).await.unwrap();
    world.app.change(&reserve("sales", lines(3, 0)), "ada").await.unwrap();
    let members = [NameCode::of("as-sales")].into_iter().collect();
    world.app.change(&reserve("sales", Reserve { members, ..lines(3, 0) }), "ada").await.unwrap();
    let latest = &changes(&world).await[0];
    assert_ne!(latest.from, latest.to);
}

#[tokio::test]
async fn what_is_refused_leaves_neither_change_nor_record() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    world.app.change(&reserve("a", lines(4, 4)), "ada").await.unwrap();
    world.wakes.take_asked();
    let before = world.dump().await.unwrap();
    let too_many = world.app.change(&reserve("b", lines(2, 1)), "ada").await.unwrap_err();
    assert_eq!(too_many.to_string(), "11 lines would be reserved, and the pool has 10: a 8, b 3");
    // The new limit is what counts.
    let lower = Asked { limit: Some(9), ..reserve("b", lines(1, 1)) };
    let too_many = world.app.change(&lower, "ada").await.unwrap_err();
    assert!(matches!(too_many, ChangeError::Reserve(ReserveError::TooMany { asked: 10, limit: 9, .. })));
    let nothing = world.app.change(&Asked { limit: Some(0), ..Asked::default() }, "ada").await.unwrap_err();
    assert!(matches!(nothing, ChangeError::Policy(_)));
    let members = [NameCode::of("a")].into_iter().collect();
    let same = world.app.change(&reserve("b", Reserve { members, ..lines(1, 0) }), "ada").await.unwrap_err();
    assert!(matches!(same, ChangeError::Reserve(ReserveError::Ambiguous { .. })));
    assert_eq!(world.dump().await.unwrap(), before);
    assert!(world.wakes.take_asked().is_empty());
}

/// One that was decided on an old word is refused whole: by a changed policy, and by a line that moved since if
/// lines are to be counted anew.
#[tokio::test]
async fn a_change_on_an_old_word_leaves_neither_change_nor_record() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let (table, now) = (world.table(), world.clock.now());
    let empty = table.read_pool().await.unwrap();
    let numbers = Wanted { policy: policy(8, 8, 1), ..Wanted::of(&empty) };
    let reserves = Reserves::new([("a".parse().unwrap(), lines(2, 0))]).unwrap();
    let reserved = Wanted { reserves, ..Wanted::of(&empty) };

    world.observed("caller", Kind::Inbound, Some("a")).await.unwrap();
    let before = world.dump().await.unwrap();
    assert!(!table.change_policy(&empty, &reserved, "ada", now).await.unwrap());
    assert_eq!(world.dump().await.unwrap(), before);
    // Numbers alone do not depend on who holds lines.
    assert!(table.change_policy(&empty, &numbers, "ada", now).await.unwrap());

    let (fresh, before) = (table.read_pool().await.unwrap(), world.dump().await.unwrap());
    for wanted in [&reserved, &Wanted { policy: policy(9, 9, 0), ..numbers.clone() }] {
        assert!(!table.change_policy(&empty, wanted, "bob", now).await.unwrap());
    }
    assert_eq!(world.dump().await.unwrap(), before);
    // The same lines are not enough: they must be held by the same calls.
    let lease = fresh.lease(&LineKey::Observed("caller".parse().unwrap())).unwrap();
    assert!(matches!(table.free(&fresh, &lease, None).await.unwrap(), Freed::Freed(_)));
    world.observed("another", Kind::Inbound, None).await.unwrap();
    let wanted = Wanted { policy: fresh.policy, ..reserved };
    assert!(!table.change_policy(&fresh, &wanted, "bob", now).await.unwrap());
    let fresh = table.read_pool().await.unwrap();
    assert!(table.change_policy(&fresh, &wanted, "bob", now).await.unwrap());
    assert_eq!(consistent(&world).await.uses.shared, 1);
}

/// Lowered below what is reserved: allowed, since the subscription decides and not we, and flagged.
#[tokio::test]
async fn a_limit_below_the_reserves_is_allowed_and_flagged() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    world.app.change(&reserve("a", lines(4, 4)), "ada").await.unwrap();
    assert!(!world.app.status().await.unwrap().pools[0].over_reserved);
    let (_, now) = world.app.change(&Asked { limit: Some(5), ..Asked::default() }, "ada").await.unwrap();
    assert_eq!((now.policy.limit(), now.reserves.total(), now.shared()), (5, 8, 0));
    let status = world.app.status().await.unwrap().pools.remove(0);
    assert!(status.over_reserved);
    assert_eq!((status.shared_lines, status.limit), (0, 5));
    consistent(&world).await;
}

/// Of many who change at once each gets through, and the records are one chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_meet_are_made_one_after_the_other() {
    let world = Arc::new(World::start(policy(100, 10, 0)).await.unwrap());
    let mut racing = JoinSet::new();
    for n in 0..8_u32 {
        let world = world.clone();
        racing.spawn(async move {
            let asked = reserve(&format!("agent-{n}"), lines(n + 1, 0));
            world.app.change(&asked, &format!("operator {n}")).await.map(|_| ())
        });
    }
    for made in racing.join_all().await {
        made.unwrap();
    }
    let pool = consistent(&world).await;
    assert_eq!((pool.reserves.total(), pool.revision), (36, 9));
    assert_eq!(changes(&world).await.iter().filter(|change| change.by.starts_with("operator")).count(), 8);
}

/// A change needs an instant at which no line moves, between its reading and its writing. Callers of agents whose
/// reserves change come and go all the while, and each gets a line and gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_get_through_a_storm_of_calls_and_calls_through_changes() {
    const CHANGES: u32 = 25;
    /// Each caller moves a line twice, so that these make some hundred movements a second.
    const CALLERS: u32 = 2;
    let world = Arc::new(World::start(policy(50, 50, 0)).await.unwrap());
    let (over, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (world, over, moved) = (world.clone(), over.clone(), moved.clone());
        callers.spawn(async move {
            let (table, agent) = (world.table(), NameCode::of("sales"));
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let call = format!("call-{caller}-{n}").parse().unwrap();
                let pool = table.read_pool().await.unwrap();
                let now = world.clock.now();
                let taken =
                    table.take_answered(&pool, &call, std::slice::from_ref(&agent), now).await.unwrap();
                let Observed::Taken(pool) = taken else { panic!("there are lines for all: {taken:?}") };
                tokio::time::sleep(Duration::from_millis(10)).await;
                let lease = pool.lease(&LineKey::Observed(call)).unwrap();
                let freed = table.free(&pool, &lease, None).await.unwrap();
                assert!(matches!(freed, Freed::Freed(_)), "{freed:?}");
                moved.fetch_add(2, Ordering::Relaxed);
            }
        });
    }
    for n in 0..CHANGES {
        // Below use and above it, strict and pooled, and none.
        let binding = if n % 2 == 0 { Binding::Strict } else { Binding::Pooled };
        let asked = reserve("sales", Reserve { binding, ..lines(n % 4, n % 3) });
        world.app.change(&asked, "ada").await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers.join_all().await {
        caller
    }
    let pool = consistent(&world).await;
    assert_eq!((pool.counts.total, pool.uses.shared), (0, 0));
    let moved = moved.load(Ordering::Relaxed);
    assert!(moved > CHANGES, "it was no storm: {moved} lines moved during {CHANGES} changes");
}

/// While a transaction is at work on the ledger, DynamoDB refuses other writes of it. They are tried again, and
/// soon: a caller waits for the answer.
#[tokio::test]
async fn a_write_that_meets_a_change_is_tried_again() {
    let conflict = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
        "message": "Transaction is ongoing for the item",
    });
    let stub = Stub::start(400, conflict.to_string()).await.unwrap();
    let table = Table::new(aws_sdk_dynamodb::Client::new(&local_aws(&stub.url)), "none", main_pool());
    let (pool, call) = (Pool::new(policy(10, 10, 0)), "call-a".parse().unwrap());
    let campaign = CampaignCode::of(&"c".parse().unwrap());
    let lease = Lease {
        key: LineKey::Observed("call-b".parse().unwrap()),
        token: Token::new(Kind::Inbound, start(), 0),
    };
    let began = Instant::now();
    assert!(table.take_answered(&pool, &call, &[], start()).await.is_err());
    assert_eq!(stub.take_asked().len(), 5);
    assert!(table.free(&pool, &lease, None).await.is_err());
    assert_eq!(stub.take_asked().len(), 5);
    assert!(table.open_campaign(&campaign, (0, 0), &[]).await.is_err());
    assert_eq!(stub.take_asked().len(), 5);
    assert!(table.ensure_pool(policy(10, 10, 0)).await.is_err());
    assert_eq!(stub.take_asked().len(), 5);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
