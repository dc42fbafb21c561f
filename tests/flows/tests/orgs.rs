//! Several organisations on one subscription, with the simulated Vapi over real HTTP: whose key dials, whose calls are
//! found, what each holds, and what is believed of those that nobody tells of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use flows::{World, policy};
use headroom::config::{Access, Keys, OrgSettings};
use headroom::core::campaign::CampaignState;
use headroom::core::ids::CampaignCode;
use headroom::core::pool::Pool;
use headroom::core::timers::Timers;
use headroom::flows::orgs::Org;
use headroom::flows::{App, SystemClock};
use headroom::table::ledger::Rest;
use headroom::vapi::Vapi;
use jiff::SignedDuration;
use serde_json::json;
use tokio::net::TcpListener;
use vapi_sim::{Config, Counter, Range, Remaining, Sim, Telephony};

const SUPPORT: &str = "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d0b1";
const UNKNOWN: &str = "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d0c1";

/// A subscription of three organisations: ours, one that we have a key of, and one that nobody told us of.
struct Scene {
    sim: Sim,
    app: Arc<App>,
    _world: World,
}

impl Scene {
    async fn of(lines: u32, cap: u32, headroom: u32) -> Self {
        Self::with(lines, cap, headroom, Timers::default()).await
    }

    async fn with(lines: u32, cap: u32, headroom: u32, timers: Timers) -> Self {
        let org = |id: &str, key: &str| vapi_sim::Org {
            org_id: id.into(),
            api_key: key.into(),
            ..vapi_sim::Org::default()
        };
        let config = Config {
            lines,
            orgs: vec![org(SUPPORT, "support-key"), org(UNKNOWN, "unknown-key")],
            // Calls last until the test ends them.
            telephony: Telephony {
                answer: 1.0,
                no_answer: 0.0,
                busy: 0.0,
                voicemail: 0.0,
                setup_failure: 0.0,
                ring_seconds: Range(0.0, 0.1),
                talk_seconds_mean: 100_000.0,
                inbound_talk_seconds_mean: 100_000.0,
                ..Telephony::default()
            },
            ..Config::default()
        };
        let key = config.api_key.clone();
        let sim = Sim::start(config, TcpListener::bind("127.0.0.1:0").await.unwrap());
        let world = World::start(policy(lines, cap, headroom)).await.unwrap();
        let keys = Keys::parse(&format!("{key}, support=support-key")).unwrap();
        let access = Access { vapi_url: sim.url(), keys };
        let orgs = OrgSettings::parse(&format!("support={SUPPORT}")).unwrap();
        let app = App {
            vapi: Some(Vapi::new(&access.vapi_url, &access.keys.main, timers.clone()).unwrap()),
            orgs: Org::all(Some(&access), orgs, &timers).unwrap(),
            clock: Arc::new(SystemClock),
            timers,
            ..world.app.clone()
        };
        Self { sim, app: Arc::new(app), _world: world }
    }

    async fn send(&self, id: &str, org: Option<&str>, leads: usize) {
        let mut campaign = json!({ "id": id, "assistantId": "as", "phoneNumberId": "ph" });
        if let Some(org) = org {
            campaign["org"] = json!(org);
        }
        let leads: Vec<_> = (0..leads).map(|n| json!({ "number": format!("+1555{n:07}") })).collect();
        let message = json!({ "campaign": campaign, "leads": leads });
        self.app.take_in(message.to_string().as_bytes()).await.unwrap();
    }

    async fn dispatch(&self) -> Pool {
        let until = self.app.clock.now() + SignedDuration::from_mins(2);
        self.app.dispatch(until).await.unwrap();
        self.pool().await
    }

    async fn pass(&self) -> Pool {
        self.app.reconcile().await.unwrap();
        self.pool().await
    }

    async fn pool(&self) -> Pool {
        let pool = self.app.table.read_pool().await.unwrap();
        assert_eq!(pool.uses, pool.uses_of(&pool.reserves, &pool.quotas));
        pool
    }

    /// The next dial is one that goes ahead alone.
    async fn one_at_first(&self) {
        let rest = Rest { until: self.app.clock.now(), count: 1 };
        self.app.table.rest(&self.pool().await, rest).await.unwrap();
    }

    fn unseen(&self, pool: &Pool) -> u32 {
        pool.unseen(self.app.clock.now())
    }

    /// Live calls of an organisation.
    fn live(&self, org: &str) -> Vec<String> {
        let truth = self.sim.truth();
        truth
            .calls
            .iter()
            .filter(|call| call.held_line && call.ended_at_ms.is_none() && call.org_id == org)
            .map(|call| call.id.to_string())
            .collect()
    }

    fn end_all_of(&self, org: &str) {
        assert!(self.live(org).iter().all(|call| self.sim.end_call(call)));
    }
}

#[tokio::test]
async fn s0_08_a_campaign_is_dialed_by_its_organisations_key() {
    let scene = Scene::of(10, 10, 0).await;
    scene.send("ours", None, 2).await;
    scene.send("theirs", Some("support"), 3).await;
    let pool = scene.dispatch().await;
    assert_eq!((pool.counts.outbound, scene.live(SUPPORT).len()), (5, 3));
    let status = &scene.app.status().await.unwrap().pools[0];
    let held: Vec<_> = status.orgs.iter().map(|org| (org.name.as_str(), org.total, org.outbound)).collect();
    assert_eq!(held, [("main", 2, 2), ("support", 3, 3)]);
    // Their ends are found in their own organisation's list.
    scene.end_all_of(SUPPORT);
    assert_eq!(scene.pass().await.counts.outbound, 2);
}

#[tokio::test]
async fn a_campaign_of_an_organisation_without_a_key_is_paused_and_says_what_to_do() {
    let scene = Scene::of(10, 10, 0).await;
    scene.send("c", Some("sales"), 2).await;
    assert_eq!(scene.dispatch().await.counts.total, 0);
    let code = CampaignCode::of(&"c".parse().unwrap());
    let campaign = scene.app.table.read_campaign(&code).await.unwrap().unwrap();
    let CampaignState::Paused { reason, .. } = campaign.state else { panic!("{:?}", campaign.state) };
    assert!(reason.contains("sales") && reason.contains("HEADROOM_VAPI_KEY"), "{reason}");
}

#[tokio::test]
async fn s1_14_and_15_calls_of_a_sibling_count_and_are_shown_as_its_own() {
    let scene = Scene::of(10, 10, 0).await;
    scene.sim.dial_from(SUPPORT, 1);
    scene.sim.dial_from(SUPPORT, 1);
    scene.sim.ring_in_to(SUPPORT);
    let pool = scene.pass().await;
    assert_eq!((pool.counts.total, pool.counts.foreign, pool.counts.inbound), (3, 2, 1));
    let status = &scene.app.status().await.unwrap().pools[0];
    let held: Vec<_> = status.orgs.iter().map(|org| (org.name.as_str(), org.total, org.foreign)).collect();
    assert_eq!(held, [("main", 0, 0), ("support", 3, 2)]);
    scene.send("c", None, 20).await;
    assert_eq!(
        scene.dispatch().await.counts.total,
        10,
        "one organisation's calls are lines that the other lacks"
    );
    scene.end_all_of(SUPPORT);
    assert_eq!(scene.pass().await.counts.total, 7);
}

#[tokio::test]
async fn s1_39_lines_of_somebody_unknown_are_estimated_and_left_alone() {
    let scene = Scene::of(10, 10, 3).await;
    for _ in 0..4 {
        scene.sim.dial_from(UNKNOWN, 1);
    }
    scene.send("c", None, 20).await;
    // One at first, which finds out: 10 lines, 4 of somebody else's, 3 for callers.
    scene.one_at_first().await;
    scene.dispatch().await;
    let pool = scene.pass().await;
    assert_eq!((pool.counts.outbound, scene.unseen(&pool)), (1, 4));
    let pool = scene.dispatch().await;
    assert_eq!(pool.counts.outbound, 3, "10 lines, 3 for callers, 4 of somebody else's");
    assert_eq!(scene.app.status().await.unwrap().pools[0].unseen.map(|unseen| unseen.lines), Some(4));

    // They hang up; the next answer tells.
    scene.end_all_of(UNKNOWN);
    let ours = scene
        .sim
        .truth()
        .calls
        .into_iter()
        .find(|call| call.ended_at_ms.is_none() && call.name.is_some())
        .unwrap();
    scene.sim.end_call(&ours.id.to_string());
    scene.pass().await;
    // An ended call counts for some seconds, to be sure.
    tokio::time::sleep(Duration::from_secs(6)).await;
    scene.dispatch().await;
    let pool = scene.pass().await;
    assert_eq!(scene.unseen(&pool), 0, "{:?}", pool.unseen);
    assert_eq!(scene.dispatch().await.counts.outbound, 7);
}

#[tokio::test]
async fn outbound_holds_back_as_soon_as_vapi_shows_no_more_room_than_callers_are_to_have() {
    let scene = Scene::of(10, 10, 3).await;
    // A voice simulation takes two lines.
    for _ in 0..3 {
        scene.sim.dial_from(UNKNOWN, 2);
    }
    scene.send("c", None, 20).await;
    scene.one_at_first().await;
    // 6 in use, one dialed: 3 are left, which is what callers are to have. No other dispatcher dials.
    for _ in 0..3 {
        scene.dispatch().await;
    }
    let pool = scene.pool().await;
    assert_eq!((pool.counts.outbound, scene.unseen(&pool)), (1, 6));
    assert!(scene.sim.truth().blocked.is_empty());
}

/// Another's lines are believed by the first answer that shows them, and less by a later one: far from any bound.
#[tokio::test]
async fn every_answer_is_weighed() {
    let scene = Scene::with(30, 30, 3, Timers::at_speed(30.0)).await;
    scene.send("c", None, 4).await;
    scene.one_at_first().await;
    let pool = scene.dispatch().await;
    assert_eq!((pool.counts.outbound, pool.unseen), (1, None), "nobody else: nothing is noted");
    for _ in 0..4 {
        scene.sim.dial_from(UNKNOWN, 1);
    }
    for lines in [4, 2] {
        scene.one_at_first().await;
        assert_eq!(scene.unseen(&scene.dispatch().await), lines);
        // Two hang up, and for half a second (15 s at this speed) nothing is taken back.
        scene.live(UNKNOWN).iter().take(2).for_each(|call| assert!(scene.sim.end_call(call)));
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    scene.one_at_first().await;
    let pool = scene.dispatch().await;
    assert_eq!((pool.counts.outbound, pool.unseen), (4, None), "they have all gone");
}

/// Ended calls that Vapi's counter keeps for a while look like somebody else's. Outbound gives way to as many as that
/// and never to more, for as long as it lasts.
#[tokio::test]
async fn a_counter_that_lags_costs_outbound_its_share_and_no_more() {
    const LAG: f64 = 0.3;
    let scene = Scene::with(10, 10, 3, Timers::at_speed(30.0)).await;
    scene.sim.set_counter(Counter { lag_seconds: LAG, ..Counter::default() });
    scene.send("c", None, 60).await;
    assert_eq!(scene.dispatch().await.counts.outbound, 7);
    let (mut used, mut most) = (Vec::new(), 0);
    for _ in 0..20 {
        let first = scene.live(&Config::default().org_id).remove(0);
        assert!(scene.sim.end_call(&first));
        // Its end is in the list; its line is dialed again at once, and Vapi's counter knows nothing of it yet.
        scene.pass().await;
        let pool = scene.dispatch().await;
        used.push(pool.counts.outbound);
        most = most.max(scene.unseen(&pool));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // One each 150 ms and more: two within the lag, and one that is just being dialed again.
    assert!(most > 0, "there was something to take for somebody else's");
    assert!(used.iter().all(|used| *used >= 7 - 3), "{used:?}, {most} lines unseen");
    let mean = f64::from(used.iter().sum::<u32>()) / used.len() as f64;
    assert!(mean >= 7.0 - 2.5, "{used:?}");
    // No call ends any more: what is believed does, without an answer that says so. Three minutes at this speed if a
    // pass believes it, which an answer that was long on its way makes it do.
    let calm = Instant::now();
    loop {
        let pool = scene.dispatch().await;
        if (pool.counts.outbound, scene.unseen(&pool)) == (7, 0) {
            break;
        }
        assert!(calm.elapsed() < Duration::from_secs(15), "{pool:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn figures_that_say_nothing_or_contradict_themselves_are_survived() {
    for remaining in [Remaining::MinusOne, Remaining::NoLimit, Remaining::Absent] {
        let scene = Scene::of(6, 6, 2).await;
        scene.sim.set_counter(Counter { remaining, ..Counter::default() });
        scene.send("c", None, 20).await;
        let pool = scene.dispatch().await;
        let pool = (pool.counts.outbound, scene.pass().await);
        assert_eq!((pool.0, pool.1.unseen), (4, None), "{remaining:?}");
    }
}

#[tokio::test]
async fn figures_that_count_the_call_itself_make_nobody_else() {
    let scene = Scene::of(6, 6, 2).await;
    scene.sim.set_counter(Counter { remaining: Remaining::Includes, ..Counter::default() });
    scene.send("c", None, 20).await;
    assert_eq!(scene.dispatch().await.counts.outbound, 4);
    assert_eq!(scene.pass().await.unseen, None);
}
