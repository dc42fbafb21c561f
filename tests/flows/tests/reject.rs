//! Leads that do not wait for a line: who fails and for which reason, who does not, and that each is counted once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy};
use headroom::config::Rejects;
use headroom::core::campaign::CampaignState;
use headroom::core::fair::Lanes;
use headroom::core::ids::{CampaignCode, ClaimKey, LeadRef};
use headroom::core::lead::LeadState;
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::pool::{Policy, Tally};
use headroom::core::refusal::Fate;
use headroom::core::reserve::Reserve;
use headroom::flows::Clock as _;
use headroom::flows::operate::Asked;
use headroom::flows::why::Why;
use headroom::table::leads::{EndedReady, Step};
use headroom::table::ledger::{Rest, Taken};
use jiff::SignedDuration;
use serde_json::{Value, json};

async fn world(policy: Policy, rejects: &str) -> World {
    let mut world = World::start(policy).await.unwrap();
    world.app.rejects = Rejects::parse(rejects).unwrap();
    world.vapi.answers(201, r#"{"id": "dialed"}"#);
    world
}

async fn campaign(world: &World, id: &str, leads: u32, more: Value) {
    let leads: Vec<Value> =
        (0..leads).map(|n| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") })).collect();
    let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph", "agent": "sales" });
    campaign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = json!({ "campaign": campaign, "leads": leads });
    world.app.take_in(message.to_string().as_bytes()).await.unwrap();
}

async fn dispatch(world: &World) {
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
}

fn code(campaign: &str) -> CampaignCode {
    CampaignCode::of(&campaign.parse().unwrap())
}

fn first(campaign: &str, lead: u32) -> ClaimKey {
    ClaimKey { campaign: code(campaign), lead: LeadRef::of(&lead.to_string().parse().unwrap()), claim: 1 }
}

async fn states(world: &World, campaign: &str, leads: u32) -> Vec<LeadState> {
    let mut states = Vec::new();
    for n in 0..leads {
        let claim = first(campaign, n);
        states.push(world.table().read_lead(&code(campaign), &claim.lead).await.unwrap().unwrap().state);
    }
    states
}

fn failed(reason: &str) -> LeadState {
    LeadState::Failed { reason: reason.into() }
}

#[tokio::test]
async fn leads_beyond_the_lines_fail_at_once_and_are_counted() {
    let world = world(policy(5, 2, 0), "sales.outbound").await;
    campaign(&world, "c", 40, json!({})).await;
    dispatch(&world).await;
    let states = states(&world, "c", 40).await;
    assert!(states[..2].iter().all(|state| state.name() == "live"), "{states:?}");
    assert!(states[2..].iter().all(|state| *state == failed("no line: cap")), "{states:?}");
    let pool = world.table().read_pool().await.unwrap();
    let Tally { held, done, failed, .. } = pool.campaigns[&code("c")];
    assert_eq!((held, done, failed), (2, 0, 38));
    let Why::Lead(why) = world.app.why("c/39").await.unwrap() else { panic!("it is a lead") };
    let refusal = why.refusal.unwrap();
    assert_eq!((why.state.as_str(), refusal.rule.as_str(), refusal.fate), ("failed", "cap", Fate::Rejected));
}

#[tokio::test]
async fn a_campaign_without_any_line_is_over_at_once() {
    let world = world(policy(1, 1, 0), "*.outbound").await;
    world.observed("caller", Kind::Inbound, None).await.unwrap();
    campaign(&world, "c", 3, json!({})).await;
    dispatch(&world).await;
    assert_eq!(states(&world, "c", 3).await, vec![failed("no line: headroom"); 3]);
    let campaign = world.table().read_campaign(&code("c")).await.unwrap().unwrap();
    assert_eq!((campaign.state, campaign.settled), (CampaignState::Finished, (0, 3)));
    assert!(world.table().read_pool().await.unwrap().campaigns.is_empty());
}

#[tokio::test]
async fn only_the_agents_that_are_named_reject_by_any_of_their_names() {
    for (rejects, members, rejected) in [
        ("", &[][..], false),
        ("support.outbound", &[], false),
        ("sales.outbound", &[], true),
        ("as.outbound", &[], true),
        ("ph.outbound", &[], true),
        ("team.outbound", &[], false),
        ("team.outbound", &["sales"], true),
    ] {
        let world = world(policy(3, 0, 0), rejects).await;
        if !members.is_empty() {
            let members = members.iter().map(|member| headroom::core::ids::NameCode::of(member)).collect();
            let reserve = Reserve { outbound: 1, members, ..Reserve::default() };
            let asked = Asked { reserve: Some(("team".parse().unwrap(), reserve)), ..Asked::default() };
            world.app.change(&asked, "ops").await.unwrap();
        }
        campaign(&world, "c", 1, json!({})).await;
        dispatch(&world).await;
        let is_over = states(&world, "c", 1).await[0].name() == "failed";
        assert_eq!(is_over, rejected, "{rejects} {members:?}");
    }
}

/// What passes by itself makes nobody fail, nor does a lead whose time has not come.
#[tokio::test]
async fn rests_windows_and_later_turns_reject_nobody() {
    let world = world(policy(3, 0, 0), "*.outbound").await;
    let closed = json!({ "window": { "start": "00:00", "end": "00:01", "timezone": "UTC" } });
    campaign(&world, "closed", 1, closed).await;
    campaign(&world, "later", 1, json!({})).await;
    let due = world.clock.now() + SignedDuration::from_hours(1);
    world.table().put_off(&first("later", 0), world.clock.now(), due).await.unwrap();
    dispatch(&world).await;
    assert_eq!(states(&world, "closed", 1).await, [LeadState::Ready]);
    assert_eq!(states(&world, "later", 1).await, [LeadState::Ready]);

    campaign(&world, "rests", 1, json!({})).await;
    let pool = world.table().read_pool().await.unwrap();
    world.table().rest(&pool, Rest { until: due, count: 1 }).await.unwrap();
    dispatch(&world).await;
    assert_eq!(states(&world, "rests", 1).await, [LeadState::Ready]);
    // The rest is over, the cap is as before.
    world.clock.advance(SignedDuration::from_mins(61));
    dispatch(&world).await;
    for id in ["rests", "later"] {
        assert_eq!(states(&world, id, 1).await, [failed("no line: cap")], "{id}");
    }
    assert_eq!(states(&world, "closed", 1).await, [LeadState::Ready]);
}

#[tokio::test]
async fn only_a_ready_lead_of_an_open_campaign_ends_and_is_counted_once() {
    let world = world(policy(3, 3, 0), "").await;
    campaign(&world, "c", 2, json!({})).await;
    let (table, next) = (world.table(), first("c", 0));
    let untouched = world.dump().await.unwrap();
    assert_eq!(table.end_ready(&next, 0, "why").await.unwrap(), EndedReady::NotOpen);
    assert_eq!(world.dump().await.unwrap(), untouched);
    table.open_campaign(&code("c"), (0, 0), &[]).await.unwrap();

    // Of another claim than its next.
    let later = ClaimKey { claim: 2, ..next.clone() };
    assert_eq!(table.end_ready(&later, 0, "why").await.unwrap(), EndedReady::NotReady);
    assert_eq!(states(&world, "c", 1).await, [LeadState::Ready]);
    // Claimed, and what would be its next.
    world.dialing(&next).await.unwrap();
    let before = world.dump().await.unwrap();
    for next in [&next, &later] {
        assert_eq!(table.end_ready(next, 0, "why").await.unwrap(), EndedReady::NotReady);
    }
    assert_eq!(world.dump().await.unwrap(), before);

    let other = first("c", 1);
    for _ in 0..3 {
        assert_eq!(table.end_ready(&other, 0, "why").await.unwrap(), EndedReady::Now);
    }
    assert_eq!(states(&world, "c", 2).await[1], failed("why"));
    assert_eq!(table.read_pool().await.unwrap().campaigns[&code("c")].failed, 1);
    // Nobody finds it in the queue any more, or can claim it.
    assert!(table.first_due(&code("c"), Lanes::default()).await.unwrap().is_none());
    let token = Token::new(Kind::Outbound, world.clock.now(), 7);
    let claimed = table.claim(&other, &token, world.clock.now()).await.unwrap();
    assert!(matches!(claimed, Step::Refused(Some(_))), "{claimed:?}");
}

/// Whoever frees the line of a lead's latest claim counts the lead's end with it: ended before, it would count twice.
#[tokio::test]
async fn a_lead_does_not_end_before_the_line_of_its_latest_claim_is_free() {
    let world = world(policy(3, 3, 0), "").await;
    let claim = world.lead("c", "0").await.unwrap();
    let lease = world.dialing(&claim).await.unwrap();
    let table = world.table();
    table.give_back(&claim).await.unwrap();
    let next = ClaimKey { claim: 2, ..claim.clone() };
    assert_eq!(table.end_ready(&next, 0, "why").await.unwrap(), EndedReady::NotReady);
    assert_eq!(states(&world, "c", 1).await, [LeadState::Ready]);
    table.free(&table.read_pool().await.unwrap(), &lease, None).await.unwrap();
    assert_eq!(table.end_ready(&next, 0, "why").await.unwrap(), EndedReady::Now);
    assert_eq!(table.read_pool().await.unwrap().campaigns[&code("c")].failed, 1);
}

/// A dispatcher took a line for a lead and died; the lead was rejected before anybody claimed it.
#[tokio::test]
async fn a_line_that_was_taken_for_a_lead_that_ended_meanwhile_comes_back() {
    let world = world(policy(3, 3, 0), "").await;
    campaign(&world, "c", 1, json!({})).await;
    let (table, next, now) = (world.table(), first("c", 0), world.clock.now());
    table.open_campaign(&code("c"), (0, 0), &[]).await.unwrap();
    let lease = Lease { key: LineKey::Claim(next.clone()), token: Token::new(Kind::Outbound, now, 7) };
    let pool = table.read_pool().await.unwrap();
    let taken = table.take(&pool, &code("c"), None, &[lease], now).await.unwrap();
    assert!(matches!(taken, Taken::Granted(_)), "{taken:?}");
    assert_eq!(table.end_ready(&next, 0, "why").await.unwrap(), EndedReady::Now);
    world.vapi.answers(200, "[]");
    world.clock.advance(SignedDuration::from_mins(2));
    world.app.reconcile().await.unwrap();
    let pool = table.read_pool().await.unwrap();
    assert_eq!((pool.counts.total, pool.campaigns[&code("c")].failed), (0, 1));
}
