//! What a call costs in write units: the ledger is one item, and each write of it is paid by its size.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;

use flows::{World, policy};
use headroom::core::ids::{CallId, CampaignCode, LeadRef, NameCode};
use headroom::core::lead::End;
use headroom::core::line::Kind;
use headroom::core::reserve::Reserve;
use headroom::flows::Clock as _;
use headroom::flows::operate::Asked;
use headroom::vapi::message::ServerMessage;
use jiff::SignedDuration;
use serde_json::json;

const AGENTS: [&str; 3] = ["sales", "support", "billing"];

/// Three agents with reserves of two kinds, each known by two ids.
async fn world(limit: u32) -> World {
    let world = World::start(policy(limit, limit, 1)).await.unwrap();
    for agent in AGENTS {
        let members = ["assistant", "number"].map(|id| NameCode::of(&format!("{agent} {id}")));
        let reserve = Reserve { inbound: 1, outbound: 1, members: members.into(), ..Reserve::default() };
        let asked = Asked { reserve: Some((agent.parse().unwrap(), reserve)), ..Asked::default() };
        world.app.change(&asked, "ops").await.unwrap();
    }
    world
}

/// Write units of an outbound call's start with its binding, of its end, and of what its report adds, while so many lines
/// are held; and the ledger's bytes meanwhile. So many of the lines are callers', the others of one campaign.
async fn cost(lines: u32, callers: u32) -> (f64, f64, f64, usize) {
    let world = world(lines + 10).await;
    let (app, table) = (Arc::new(world.app.clone()), world.table());
    let until = world.clock.now() + SignedDuration::from_mins(1);
    let id = |n: u32| format!("019d2ad0-7c40-7aac-9377-{n:012}");
    let dial = async |leads: std::ops::Range<u32>| {
        let last = leads.end;
        let leads: Vec<_> =
            leads.map(|n| json!({ "id": format!("lead-{n}"), "number": format!("+1555{n:07}") })).collect();
        let campaign = json!({ "id": "c", "assistantId": "a", "phoneNumberId": "p", "agent": "sales" });
        app.take_in(json!({ "campaign": campaign, "leads": leads }).to_string().as_bytes()).await.unwrap();
        world.vapi.answers(201, json!({ "id": id(last), "orgId": "org" }).to_string());
        world.take_write_units();
        app.dispatch(until).await.unwrap();
        world.take_write_units()
    };
    for n in 0..callers {
        let agent = AGENTS[n as usize % AGENTS.len()];
        world.observed(&id(1000 + n), Kind::Inbound, Some(agent)).await.unwrap();
    }
    dial(0..lines - callers - 1).await;
    let start = dial(lines..lines + 1).await;
    let bytes = world.ledger_bytes().await.unwrap();
    let pool = table.read_pool().await.unwrap();
    assert_eq!(pool.lines.len(), lines as usize);

    let lead = LeadRef::of(&format!("lead-{lines}").parse().unwrap());
    let lead = table.read_lead(&CampaignCode::of(&"c".parse().unwrap()), &lead).await.unwrap().unwrap();
    let call: CallId = id(lines + 1).parse().unwrap();
    let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
    world.take_write_units();
    app.settle(&pool, &lead, Some(&call), &end).await.unwrap();
    let end = world.take_write_units();
    let instants = ["2026-03-26T15:43:24.200Z", "2026-03-26T15:44:36.700Z"];
    let called =
        json!({ "id": call.as_str(), "type": "outboundPhoneCall", "name": lead.claim().to_string() });
    let report = json!({ "message": { "type": "end-of-call-report", "endedReason": "customer-ended-call",
        "startedAt": instants[0], "endedAt": instants[1], "call": called } });
    let report = ServerMessage::parse(report.to_string().as_bytes()).unwrap();
    let ServerMessage::Call(report) = report else { panic!("a call's message") };
    app.observe(&report).await.unwrap();
    (start, end, world.take_write_units(), bytes)
}

/// A start takes its line, claims its lead (which leaves the index of ready ones) and binds its call; an end writes
/// the outcome and the record, and frees the line. What depends on the lines held is the ledger's share in both.
#[tokio::test]
async fn an_outbound_call_costs_seven_write_units_at_ten_lines_and_eleven_at_a_hundred() {
    for (lines, callers, start, end, bytes) in [
        (10, 0, 4.0, 3.0, 1024),
        (10, 5, 4.0, 3.0, 1024),
        // Of less than 3 KB: each write of it is one unit less.
        (100, 0, 6.0, 5.0, 3 * 1024),
        (100, 50, 6.0, 5.0, 3 * 1024),
    ] {
        let now = cost(lines, callers).await;
        println!(
            "{lines} lines, {callers} callers': start {}, end {}, report {}, ledger {} bytes",
            now.0, now.1, now.2, now.3
        );
        // How long an answered call talked: one unit, and none for a call that nobody answered.
        let report = 1.0;
        assert!(
            now.0 <= start && now.1 <= end && now.2 <= report && now.3 <= bytes,
            "{lines} lines: {now:?}"
        );
    }
}
