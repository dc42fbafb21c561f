//! Retries, on the engine: when a lead is called again by how its calls ended, and the quiet hours that a retry waits
//! for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use flows::{World, policy, start};
use headroom::core::ids::{CampaignCode, ClaimKey, LeadRef};
use headroom::core::lead::{End, LeadState};
use headroom::table::usage::UsageHour;
use jiff::{SignedDuration, Timestamp, Unit};

/// A world with one lead of a campaign with this `retry`.
async fn world(retry: &str) -> (World, ClaimKey) {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let body = format!(
        r#"{{"campaign": {{"id": "c", "assistantId": "a", "phoneNumberId": "p", "retry": {retry}}},
            "leads": [{{"id": "l", "number": "+14155550100"}}]}}"#
    );
    world.app.take_in(body.as_bytes()).await.unwrap();
    let campaign = CampaignCode::of(&"c".parse().unwrap());
    let claim = ClaimKey { campaign, lead: LeadRef::of(&"l".parse().unwrap()), claim: 1 };
    (world, claim)
}

/// Dials the lead once more, ends the call, and says in how many seconds the lead is due; none if it is over.
async fn call(world: &World, claim: &mut ClaimKey, reason: &str) -> Option<i64> {
    let id = format!("call-{}", claim.claim).parse().unwrap();
    world.live(claim, &id).await.unwrap();
    let (pool, lead) = world.state(claim).await.unwrap();
    let end = End { reason: Some(reason.to_owned()), connected: None };
    world.app.settle(&pool, &lead.unwrap(), Some(&id), &end).await.unwrap();
    let (pool, lead) = world.state(claim).await.unwrap();
    assert_eq!(pool.counts.total, 0);
    let due = Timestamp::from_microsecond(world.due_us(claim).await.unwrap()).unwrap();
    claim.claim += 1;
    let is_ready = lead.unwrap().state == LeadState::Ready;
    is_ready.then(|| due.duration_since(start()).as_secs())
}

#[tokio::test]
async fn each_outcome_is_counted_by_itself_and_all_of_them_together() {
    let (world, mut claim) = world(
        r#"{"maxAttempts": 5, "jitter": 0, "busyAfter": "1m",
            "outcomes": {"noAnswer": {"attempts": 3, "after": ["10m", "1h"]}, "voicemail": {"attempts": 2}}}"#,
    )
    .await;
    for (reason, due) in [
        ("customer-did-not-answer", Some(600)),
        ("customer-busy", Some(60)),
        ("customer-did-not-answer", Some(3600)),
        ("voicemail", Some(7200)),
        ("customer-busy", None),
    ] {
        assert_eq!(call(&world, &mut claim, reason).await, due, "{reason}, claim {}", claim.claim);
    }
}

#[tokio::test]
async fn an_outcome_that_has_come_too_often_ends_the_lead() {
    let (world, mut claim) = world(
        r#"{"maxAttempts": 9, "jitter": 0, "outcomes": {"voicemail": {"attempts": 2, "after": ["5m"]}}}"#,
    )
    .await;
    assert_eq!(call(&world, &mut claim, "voicemail").await, Some(300));
    assert_eq!(call(&world, &mut claim, "customer-busy").await, Some(900));
    assert_eq!(call(&world, &mut claim, "voicemail").await, None);
}

#[tokio::test]
async fn a_retry_waits_for_the_quiet_hour_that_the_last_days_tell_of() {
    let (world, mut claim) = world(r#"{"preferQuietHours": true, "jitter": 0}"#).await;
    let hour =
        start().round(jiff::TimestampRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Floor)).unwrap();
    // The fewest lines were in use five hours from now, on each of three days.
    let hours = |day: i64, ahead: i64, peak| UsageHour {
        start: hour + SignedDuration::from_hours(ahead - 24 * day),
        peak,
        by_type: Default::default(),
    };
    let days =
        (1..=3).flat_map(|day| (0..24).map(move |ahead| hours(day, ahead, if ahead == 5 { 1 } else { 8 })));
    world.table().put_usage(&days.collect::<Vec<_>>()).await.unwrap();

    let due = call(&world, &mut claim, "customer-busy").await.unwrap();
    let due = start() + SignedDuration::from_secs(due);
    let quiet = hour + SignedDuration::from_hours(5);
    assert!(quiet <= due && due < quiet + SignedDuration::from_hours(1), "due at {due}");
}
