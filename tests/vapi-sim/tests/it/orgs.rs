//! Several orgs on one subscription: one pool of lines, and each org's own calls.

use serde_json::{Value, json};
use vapi_sim::{CallKind, Config, LinesHeld, Org, Traffic, WebhookAuth};

use crate::account::{Account, config};

const OTHER: &str = "0b5d7c1e-0000-4000-8000-00000000b002";

/// Two orgs on `lines` lines. The other one's webhooks are sent to the same server, if it has any.
async fn two_orgs(lines: u32, speed: f64, traffic: Traffic, is_heard: bool) -> Account {
    let other = Org { org_id: OTHER.into(), api_key: "other-key".into(), traffic, ..Org::default() };
    let config = Config { lines, orgs: vec![other], ..config(speed) };
    if is_heard {
        Account::open_for_all(config).await
    } else {
        Account::open(config, WebhookAuth::None).await
    }
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_org_sees_its_own_calls_only() {
    let account = two_orgs(10, 1.0, Traffic::default(), false).await;
    let (_, ours) = account.dial("+15555550100", "ours").await.unwrap();
    let (status, theirs) = account.with_key("other-key").dial("+15555550101", "theirs").await.unwrap();
    assert_eq!((status, &theirs["orgId"]), (201, &json!(OTHER)));
    assert_ne!(ours["orgId"], theirs["orgId"]);
    for (key, own, foreign) in [("sim-private-key", &ours, &theirs), ("other-key", &theirs, &ours)] {
        let client = account.with_key(key);
        assert_eq!(ids(&client.get("/call").await.1), [own["id"].as_str().unwrap()]);
        let read = |call: &Value| format!("/call/{}", call["id"].as_str().unwrap());
        assert_eq!(client.get(&read(own)).await.1["orgId"], own["orgId"]);
        assert_eq!(client.get(&read(foreign)).await.0, 404);
    }
    assert_eq!(account.with_key("no-key").get("/call").await.0, 401);
    let orgs: Vec<_> =
        account.sim.truth().orgs.into_iter().map(|org| (org.org_id, org.held.outbound)).collect();
    assert_eq!(orgs, [(config(1.0).org_id, 1), (OTHER.into(), 1)]);
}

#[tokio::test]
async fn all_orgs_share_the_lines() {
    let account = two_orgs(2, 1.0, Traffic::default(), false).await;
    let (_, first) = account.dial("+15555550100", "ours").await.unwrap();
    assert_eq!(first["subscriptionLimits"]["remainingConcurrentCalls"], 1);
    account.sim.ring_in_to(OTHER);
    assert_eq!(account.dial("+15555550101", "ours").await.unwrap().0, 400);
    account.sim.ring_in();
    let truth = account.sim.truth();
    assert_eq!((truth.callers, truth.blocked_inbound, truth.live.total()), (2, 1, 2));
}

#[tokio::test]
async fn analytics_are_the_subscriptions_for_lines_and_the_orgs_for_calls() {
    let account = two_orgs(10, 1.0, Traffic::default(), false).await;
    account.dial("+15555550100", "ours").await.unwrap();
    let other = account.with_key("other-key");
    for number in ["+15555550101", "+15555550102"] {
        other.dial(number, "theirs").await.unwrap();
    }
    let query = |table: &str, operation: &str, column: &str| {
        let query = json!({"name": "q", "table": table, "timeRange": {"step": "minute"},
            "operations": [{"operation": operation, "column": column, "alias": "n"}]});
        json!({"queries": [query]})
    };
    let count = |(_, body): (u16, Value)| -> u64 {
        let row = body[0]["result"].as_array().unwrap().last().unwrap()["n"].clone();
        row.as_u64().or_else(|| row.as_str()?.parse().ok()).unwrap()
    };
    for (client, calls) in [(&account, 1), (&other, 2)] {
        let lines = client.post("/analytics", query("subscription", "max", "concurrency")).await.unwrap();
        let own = client.post("/analytics", query("call", "count", "id")).await.unwrap();
        assert_eq!((count(lines), count(own)), (3, calls));
    }
}

#[tokio::test]
async fn an_org_has_its_own_server_and_traffic() {
    let traffic = Traffic { assistant_id: "night-desk".into(), ..Traffic::default() };
    let account = two_orgs(10, 600.0, traffic.clone(), true).await;
    account.sim.ring_in_to(OTHER);
    account.sim.ring_in();
    let received = account.received(8).await;
    let of = |org: &str| received.iter().filter(|webhook| webhook.message["call"]["orgId"] == org).count();
    assert_eq!((of(OTHER), of(&config(1.0).org_id), received.len()), (4, 4, 8));
    let assistants: Vec<_> =
        received.iter().filter(|webhook| webhook.message["call"]["assistantId"] == "night-desk").collect();
    assert_eq!(assistants.len(), 4);

    let account = two_orgs(10, 600.0, traffic, false).await;
    account.sim.ring_in_to(OTHER);
    account.until(|truth| truth.calls[0].ended_at_ms.is_some()).await;
    assert_eq!((account.received(0).await.len(), account.sim.truth().webhooks.sent), (0, 0));
}

#[tokio::test]
async fn the_controls_reach_every_org() {
    let account = two_orgs(10, 3600.0, Traffic::default(), false).await;
    let path = format!("/sim/traffic?org={OTHER}");
    let (status, traffic) = account.put(&path, json!({"inboundPerHour": 3600})).await;
    assert_eq!((status, &traffic["inboundPerHour"]), (200, &json!(3600.0)));
    let truth = account.until(|truth| truth.callers > 10).await;
    assert!(truth.calls.iter().all(|call| call.org_id == OTHER), "nobody calls the main org");
    account.sim.set_org_traffic(OTHER, Traffic::default());
    assert_eq!(account.post("/sim/ring-in?org=nobody", json!({})).await.unwrap().0, 404);
    let (_, summary) = account.get("/sim/summary").await;
    assert_eq!(summary["orgs"][1]["orgId"], OTHER);
}

/// The main org's callers are the same ones whoever else is on the subscription.
#[tokio::test]
async fn another_org_changes_nothing_for_the_main_one() {
    let callers = async |orgs: Vec<Org>| {
        let traffic = Traffic { inbound_per_hour: 720.0, ..Traffic::default() };
        let account =
            Account::open(Config { lines: 1000, traffic, orgs, ..config(3600.0) }, WebhookAuth::None).await;
        let main = config(1.0).org_id;
        let mut calls =
            account.until(|truth| truth.calls.iter().filter(|c| c.org_id == main).count() >= 20).await.calls;
        calls.retain(|call| call.org_id == main);
        calls.into_iter().take(20).map(|call| call.number).collect::<Vec<_>>()
    };
    let busy = Traffic { inbound_per_hour: 2000.0, web_per_hour: 500.0, ..Traffic::default() };
    let other = Org { traffic: busy, ..Org::default() };
    assert_eq!(callers(vec![]).await, callers(vec![other]).await);
}

#[tokio::test]
async fn who_held_the_lines_is_known_of_every_blocked_call() {
    let account = two_orgs(5, 1.0, Traffic::default(), false).await;
    let main = config(1.0).org_id;
    account.dial("+15555550100", "claim").await.unwrap();
    let nameless = json!({"assistantId": "a", "phoneNumberId": "p", "customer": {"number": "+15555550101"}});
    account.post("/call", nameless).await.unwrap();
    account.with_key("other-key").dial("+15555550102", "their own").await.unwrap();
    account.sim.ring_in_to(OTHER);
    account.sim.dial_from(OTHER, 1);
    assert_eq!(account.sim.truth().blocked.len(), 0);

    account.sim.ring_in();
    account.sim.dial_from(OTHER, 2);
    account.dial("+15555550103", "claim-2").await.unwrap();
    let truth = account.sim.truth();
    let who: Vec<_> = truth.blocked.iter().map(|b| (b.org_id.as_str(), b.kind, b.lines)).collect();
    let wanted =
        [(&*main, CallKind::Inbound, 1), (OTHER, CallKind::Outbound, 2), (&*main, CallKind::Outbound, 1)];
    assert_eq!(who, wanted);
    assert_eq!((truth.posts, truth.over_limit_answers, truth.blocked_inbound), (4, 1, 1));
    for blocked in &truth.blocked {
        let held: Vec<_> =
            blocked.orgs.iter().map(|org| (org.org_id.as_str(), org.held, org.named)).collect();
        let of_main = LinesHeld { outbound: 2, ..LinesHeld::default() };
        let of_other = LinesHeld { outbound: 2, inbound: 1, ..LinesHeld::default() };
        assert_eq!(held, [(&*main, of_main, 1), (OTHER, of_other, 1)]);
        assert_eq!((blocked.limit, blocked.held.total(), blocked.named()), (5, 5, 2));
    }
}

#[tokio::test]
async fn an_org_makes_calls_by_itself() {
    let traffic = Traffic { dials_per_hour: 3600.0, ..Traffic::default() };
    let account = two_orgs(100, 3600.0, traffic, true).await;
    let truth = account.until(|truth| truth.calls.len() > 10).await;
    assert!(truth.calls.iter().all(|call| (call.org_id.as_str(), call.kind) == (OTHER, CallKind::Outbound)));
    assert_eq!((truth.posts, truth.dials.len()), (0, 0), "no request asked for them");
    account.put(&format!("/sim/traffic?org={OTHER}"), json!({"dialsPerHour": 0})).await;
    let truth = account.until(|truth| truth.live.total() == 0).await;
    let received = account.received(5 * truth.calls.len()).await;
    assert!(received.iter().all(|webhook| webhook.message["call"]["type"] == "outboundPhoneCall"));
    let (_, listed) = account.with_key("other-key").get("/call?limit=1000").await;
    assert_eq!(listed.as_array().unwrap().len(), truth.calls.len());
    assert_eq!(account.get("/call").await.1, json!([]));
}

#[tokio::test]
async fn a_voice_simulation_takes_two_lines() {
    let account = two_orgs(4, 1.0, Traffic { lines_per_dial: 2, ..Traffic::default() }, false).await;
    account.sim.dial_from(OTHER, 2);
    let (_, created) = account.dial("+15555550100", "a").await.unwrap();
    assert_eq!(created["subscriptionLimits"]["remainingConcurrentCalls"], 1);
    assert_eq!(account.post("/sim/dial", json!({"lines": 2})).await.unwrap().0, 202);
    let truth = account.sim.truth();
    assert_eq!((truth.live.total(), truth.peak_lines, truth.blocked.len()), (3, 3, 1), "one line is not two");
    assert_eq!(account.post("/sim/dial", json!({})).await.unwrap().0, 202);
    assert_eq!(account.sim.truth().live.total(), 4);
    assert_eq!(account.post("/sim/dial", json!({"lines": 3})).await.unwrap().0, 400);

    assert!(
        truth.calls.iter().chain(&account.sim.truth().calls[2..]).all(|call| account.sim.end_call(&call.id))
    );
    let truth = account.until(|truth| truth.live.total() == 0).await;
    assert_eq!(truth.timeline.iter().map(|change| i32::from(change.delta)).sum::<i32>(), 0);
    assert_eq!(truth.calls.iter().map(|call| call.lines).collect::<Vec<_>>(), [2, 1, 1]);

    let path = format!("/sim/traffic?org={OTHER}");
    assert_eq!(account.put(&path, json!({"linesPerDial": 3})).await.0, 400);
    account.put(&path, json!({"dialsPerHour": 36000})).await;
    let truth = account.until(|truth| truth.calls.len() > 4).await;
    assert!(truth.calls[3..].iter().all(|call| call.lines == 2));
}
