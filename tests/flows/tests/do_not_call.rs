//! The do-not-call list as operators change it, on the engine: many people at once, any number of times, on record, and
//! without a number where none belongs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy, start};
use headroom::core::ids::PhoneNumber;
use headroom::core::lead::LeadState;
use headroom::core::people::{ListChange, ListWish};
use headroom::flows::Clock as _;
use jiff::SignedDuration;

fn numbers(count: u32) -> Vec<PhoneNumber> {
    (0..count).map(|n| format!("+141555501{n:02}").parse().unwrap()).collect()
}

#[tokio::test]
async fn a_change_is_made_once_and_recorded_without_numbers() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let people = numbers(40);
    // One named twice, one on the list already, as when somebody died in the middle of it.
    assert!(world.table().refuse_calls(&people[7], "bob", start()).await.unwrap());
    let named = [people.as_slice(), &people[..1]].concat();
    assert_eq!(world.app.change_refused(ListWish::Add, &named, "ada").await.unwrap(), 39);
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(world.app.change_refused(ListWish::Add, &named, "ada").await.unwrap(), 0);
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(world.app.change_refused(ListWish::Remove, &people[1..], "eve").await.unwrap(), 39);
    let record = |seconds, by: &str, wish, named, changed| ListChange {
        at: start() + SignedDuration::from_secs(seconds),
        by: by.into(),
        wish,
        named,
        changed: Some(changed),
    };
    let told = world.table().list_list_changes(10).await.unwrap();
    let all = [
        record(2, "eve", ListWish::Remove, 39, 39),
        record(1, "ada", ListWish::Add, 40, 0),
        record(0, "ada", ListWish::Add, 40, 39),
    ];
    assert_eq!(told, all);
    let kept = world.table().list_refused(None, 50).await.unwrap();
    assert_eq!(kept.len(), 1);
    let said = world.app.who_refused(&people[..2]).await.unwrap();
    assert_eq!(said[0].as_ref().map(|refused| &*refused.by), Some("ada"));
    assert_eq!(said[1], None);
    let dump = world.dump().await.unwrap();
    let log: Vec<_> = dump.iter().filter(|(key, _)| key.starts_with("NOCALL#main#LOG")).collect();
    assert_eq!(log.len(), 3);
    assert!(log.iter().all(|(key, item)| !format!("{key}{item}").contains("4155550")));
}

#[tokio::test]
async fn a_change_whose_maker_died_says_that_some_were_changed() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let asked = ListChange { at: start(), by: "ada".into(), wish: ListWish::Add, named: 3, changed: None };
    world.table().record_list_change(&asked, 1).await.unwrap();
    assert_eq!(world.table().list_list_changes(10).await.unwrap(), [asked]);
}

#[tokio::test]
async fn a_lead_that_waits_ends_at_its_dial() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("renewals", "lead-1").await.unwrap();
    let number = ["+15555550100".parse().unwrap()];
    assert_eq!(world.app.change_refused(ListWish::Add, &number, "ada").await.unwrap(), 1);
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
    let (pool, lead) = world.state(&claim).await.unwrap();
    assert_eq!(lead.unwrap().state, LeadState::Failed { reason: "do_not_call".into() });
    assert_eq!(pool.counts.total, 0);
    assert!(world.vapi.take_asked().iter().all(|asked| asked.method != "POST"));
}
