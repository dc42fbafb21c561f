//! The life of campaigns: what each write of it changes and refuses, and what becomes of leads and calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use std::sync::Arc;
use std::time::Duration;

use flows::{World, policy};
use headroom::core::campaign::{Campaign, CampaignState};
use headroom::core::fair::Lane;
use headroom::core::ids::{CallId, CampaignCode, CampaignId, ClaimKey, LeadRef};
use headroom::core::lead::LeadState;
use headroom::core::life::{ACTS, Act, Unreached, Wish};
use headroom::flows::Clock as _;
use headroom::flows::campaigns::CampaignError;
use headroom::table::campaigns::Changed;
use headroom::table::leads::LeadCount;
use jiff::SignedDuration;
use serde_json::{Value, json};

const PAUSE: Wish = Wish::Pause { reason: None };
const RERUN: Wish = Wish::Rerun { only: Vec::new() };

async fn world() -> World {
    let world = World::start(policy(100, 100, 0)).await.unwrap();
    world.vapi.answers(201, r#"{"id": "dialed"}"#);
    world
}

fn message(leads: std::ops::Range<u32>, draft: bool) -> String {
    let lead = |n: u32| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") });
    let leads: Vec<Value> = leads.map(lead).collect();
    let campaign = json!({ "id": "c", "assistantId": "as", "phoneNumberId": "ph", "maxConcurrency": 50 });
    json!({ "campaign": campaign, "draft": draft, "leads": leads }).to_string()
}

async fn take_in(world: &World, leads: std::ops::Range<u32>, draft: bool) {
    world.app.take_in(message(leads, draft).as_bytes()).await.unwrap();
}

async fn dispatch(world: &World) {
    let until = world.clock.now() + SignedDuration::from_mins(1);
    Arc::new(world.app.clone()).dispatch(until).await.unwrap();
}

fn id() -> CampaignId {
    "c".parse().unwrap()
}

fn code() -> CampaignCode {
    CampaignCode::of(&id())
}

fn lead_ref(lead: u32) -> LeadRef {
    LeadRef::of(&lead.to_string().parse().unwrap())
}

fn claim(lead: u32) -> ClaimKey {
    ClaimKey { campaign: code(), lead: lead_ref(lead), claim: 1 }
}

async fn ask(world: &World, wish: Wish) -> Campaign {
    world.app.ask_campaign(&id(), &wish, "ada").await.unwrap()
}

async fn campaign(world: &World) -> Campaign {
    world.table().read_campaign(&code()).await.unwrap().unwrap()
}

async fn state(world: &World, lead: u32) -> LeadState {
    world.table().read_lead(&code(), &lead_ref(lead)).await.unwrap().unwrap().state
}

fn failed(reason: &str) -> LeadState {
    LeadState::Failed { reason: reason.into() }
}

/// Ends a live lead's call for this reason, as Vapi's webhook would.
async fn end(world: &World, lead: u32, reason: &str) {
    use headroom::core::lead::End;
    let claim = claim(lead);
    let lead = world.table().read_lead(&claim.campaign, &claim.lead).await.unwrap().unwrap();
    let call: Option<CallId> = lead.call.clone();
    let end = End { reason: Some(reason.to_owned()), connected: None };
    let pool = world.table().read_pool().await.unwrap();
    world.app.settle(&pool, &lead, call.as_ref(), &end).await.unwrap();
}

#[tokio::test]
async fn a_draft_waits_until_it_is_started() {
    let world = world().await;
    take_in(&world, 0..3, true).await;
    take_in(&world, 3..5, true).await;
    dispatch(&world).await;
    assert!(world.vapi.take_asked().is_empty());
    assert_eq!((campaign(&world).await.state, campaign(&world).await.leads), (CampaignState::Draft, Some(5)));
    // A message of a known campaign starts nothing.
    take_in(&world, 5..6, false).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Draft);
    assert_eq!(ask(&world, Wish::Start).await.state, CampaignState::Running);
    dispatch(&world).await;
    assert_eq!(world.vapi.take_asked().len(), 6);
}

#[tokio::test]
async fn who_did_what_is_kept_and_what_is_so_already_is_no_act() {
    let world = world().await;
    take_in(&world, 0..1, false).await;
    let paused = ask(&world, Wish::Pause { reason: Some("lunch".into()) }).await;
    let at = Some(world.clock.now());
    assert_eq!(paused.state, CampaignState::Paused { reason: "lunch".into(), by: Some("ada".into()), at });
    assert_eq!(ask(&world, PAUSE).await, paused, "paused already");
    for _ in 0..6 {
        ask(&world, Wish::Resume).await;
        ask(&world, PAUSE).await;
    }
    let acts = campaign(&world).await.acts;
    assert_eq!(acts.len(), ACTS);
    assert!(acts.iter().all(|act| act.by == "ada" && act.at == world.clock.now()));
    assert_eq!(acts.last().unwrap().what, "paused");
    let refused = world.app.ask_campaign(&id(), &RERUN, "ada").await.unwrap_err();
    assert!(matches!(&refused, CampaignError::Not { state: "paused", .. }), "{refused}");
    let unknown = world.app.ask_campaign(&"nobody".parse().unwrap(), &PAUSE, "ada").await;
    assert!(matches!(unknown, Err(CampaignError::Unknown(_))));
}

#[tokio::test]
async fn a_change_is_made_once_and_only_on_what_was_read() {
    let world = world().await;
    take_in(&world, 0..1, false).await;
    let table = world.table();
    let act = |what: &str| Act::new(world.clock.now(), "ada", what);
    let seen = campaign(&world).await;
    let cancelling = CampaignState::Cancelling;
    let paused = CampaignState::Paused { reason: "x".into(), by: Some("ada".into()), at: None };
    let made = |changed: Changed| matches!(changed, Changed::Now(_));
    assert!(made(table.change_campaign(&seen, &paused, &act("paused")).await.unwrap()));
    // Our own, whose answer was lost; another's; and one that read the state that it is in again by now.
    assert!(made(table.change_campaign(&seen, &paused, &act("paused")).await.unwrap()));
    assert!(!made(table.change_campaign(&seen, &cancelling, &act("cancelled")).await.unwrap()));
    let second = campaign(&world).await;
    assert!(made(table.change_campaign(&second, &CampaignState::Running, &act("resumed")).await.unwrap()));
    assert!(!made(table.change_campaign(&seen, &cancelling, &act("cancelled")).await.unwrap()));
    // Headroom's own pause is no act, and yet the state is another one.
    let third = campaign(&world).await;
    table.pause_campaign(&third, "the assistant is gone", world.clock.now()).await.unwrap();
    assert!(!made(table.change_campaign(&third, &cancelling, &act("cancelled")).await.unwrap()));
    // Settings are changed whatever the state is, by one who has read them as they are.
    let fourth = campaign(&world).await;
    let mut spec = fourth.spec.clone();
    spec.max_concurrency = None;
    assert!(made(table.edit_campaign(&fourth, &spec, &act("edited")).await.unwrap()));
    assert!(!made(table.edit_campaign(&fourth, &fourth.spec, &act("edited back")).await.unwrap()));
    assert!(!made(table.edit_campaign(&seen, &fourth.spec, &act("edited back")).await.unwrap()));
    assert_eq!(campaign(&world).await.spec.max_concurrency, None);
    // One that is not there is not made.
    let nobody = Campaign { code: CampaignCode::of(&"nobody".parse().unwrap()), ..seen };
    assert!(!made(table.change_campaign(&nobody, &paused, &act("paused")).await.unwrap()));
    assert!(!made(table.edit_campaign(&nobody, &spec, &act("edited")).await.unwrap()));
    assert!(table.read_campaign(&nobody.code).await.unwrap().is_none());
}

#[tokio::test]
async fn an_edit_holds_for_the_next_dial_and_a_message_changes_nothing() {
    let world = world().await;
    take_in(&world, 0..4, false).await;
    let edit = |patch: Value| {
        let patch = patch.as_object().unwrap().clone();
        let app = world.app.clone();
        async move { app.edit_campaign(&id(), &patch, "ada").await }
    };
    let edited = edit(json!({ "maxConcurrency": 2, "priority": "high" })).await.unwrap();
    assert_eq!(edited.acts.last().unwrap().what, "maxConcurrency 50 → 2, priority normal → high");
    assert_eq!(edit(json!({ "maxConcurrency": 2 })).await.unwrap().revision, edited.revision, "so already");
    for fixed in ["id", "assistantId", "phoneNumberId", "maxDurationSeconds"] {
        let refused = edit(json!({ fixed: "x" })).await;
        assert!(matches!(refused, Err(CampaignError::Edit(_))), "{fixed}: {refused:?}");
    }
    take_in(&world, 0..4, false).await;
    dispatch(&world).await;
    assert_eq!(world.vapi.take_asked().len(), 2, "the cap of now, not of the message");
    assert_eq!(campaign(&world).await.spec.max_concurrency.unwrap().get(), 2);
}

/// The pause comes after the dispatcher has listed the campaigns: it takes no line on that old reading.
#[tokio::test]
async fn a_pause_holds_for_a_dispatcher_that_is_at_work() {
    let world = world().await;
    // 120 leads are three takings.
    take_in(&world, 0..120, false).await;
    let app = Arc::new(world.app.clone());
    let until = world.clock.now() + SignedDuration::from_mins(1);
    let work = tokio::spawn({
        let app = app.clone();
        async move { app.dispatch(until).await }
    });
    while world.table().read_pool().await.unwrap().counts.total == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ask(&world, PAUSE).await;
    let held = world.table().read_pool().await.unwrap().counts.total;
    work.await.unwrap().unwrap();
    let total = world.table().read_pool().await.unwrap().counts.total;
    // One more taking may have been under way.
    assert!(total <= held + 40 && total <= 50, "{held} lines at the pause, {total} in the end");
    dispatch(&world).await;
    assert_eq!(world.table().read_pool().await.unwrap().counts.total, total);
}

/// A quota of one call a second spaces dials out: those that wait for their second look again.
#[tokio::test]
async fn a_dial_that_waits_for_its_second_sees_the_pause() {
    use headroom::core::quota::Quota;
    use headroom::flows::operate::Asked;
    let mut world = world().await;
    world.app.clock = Arc::new(headroom::flows::SystemClock);
    let members = [headroom::core::ids::NameCode::of("ph")].into();
    let quota = Quota { per_second: std::num::NonZeroU32::new(1), members, ..Quota::default() };
    let asked = Asked { quota: Some(("trunk".parse().unwrap(), quota)), ..Asked::default() };
    world.app.change(&asked, "ops").await.unwrap();
    take_in(&world, 0..3, false).await;
    let app = Arc::new(world.app.clone());
    let until = app.clock.now() + SignedDuration::from_mins(1);
    // Whatever is dialed now or waits for its second.
    app.dispatch(until).await.unwrap();
    world.vapi.take_asked();
    let work = tokio::spawn({
        let app = app.clone();
        async move { app.dispatch(until).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    ask(&world, PAUSE).await;
    work.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(world.vapi.take_asked().len() <= 1, "at most the one that was under way");
    for lead in 0..3 {
        assert!(!matches!(state(&world, lead).await, LeadState::Dialing { .. }), "given back");
    }
}

#[tokio::test]
async fn a_cancelled_campaign_ends_those_that_wait_and_lets_calls_go_on() {
    let world = world().await;
    take_in(&world, 0..60, false).await;
    // Two in calls, one that waits for a retry, the rest ready.
    for lead in 0..3 {
        world.live(&claim(lead), &format!("call-{lead}").parse().unwrap()).await.unwrap();
    }
    end(&world, 2, "customer-busy").await;
    assert_eq!(state(&world, 2).await, LeadState::Ready);
    ask(&world, Wish::Cancel).await;
    dispatch(&world).await;
    assert!(world.vapi.take_asked().is_empty(), "nobody is dialed");
    for lead in 2..60 {
        assert_eq!(state(&world, lead).await, failed("cancelled"), "{lead}");
    }
    for lead in 0..2 {
        assert_eq!(state(&world, lead).await.name(), "live", "nobody is cut off");
    }
    assert_eq!(campaign(&world).await.state, CampaignState::Cancelling, "two calls go on");
    let status = world.app.campaign(&id(), true).await.unwrap();
    assert_eq!((status.status.leads.live, status.status.leads.failed, status.status.leads.ready), (2, 58, 0));
    assert_eq!(status.outcomes.unwrap(), [("cancelled".to_owned(), 58), ("live".to_owned(), 2)].into());
    // One was reached, the other one was busy: that was its last attempt.
    end(&world, 0, "customer-ended-call").await;
    end(&world, 1, "customer-busy").await;
    assert_eq!(state(&world, 1).await, failed("customer-busy"));
    dispatch(&world).await;
    let over = campaign(&world).await;
    assert_eq!((over.state, over.settled, over.leads), (CampaignState::Cancelled, (1, 59), Some(60)));
    assert!(world.table().read_pool().await.unwrap().campaigns.is_empty());
}

#[tokio::test]
async fn leads_that_come_late_to_a_cancelled_campaign_end_as_the_others() {
    let world = world().await;
    take_in(&world, 0..2, false).await;
    ask(&world, Wish::Cancel).await;
    dispatch(&world).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Cancelled);
    take_in(&world, 2..4, false).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Cancelling);
    dispatch(&world).await;
    let over = campaign(&world).await;
    assert_eq!((over.state, over.settled, over.leads), (CampaignState::Cancelled, (0, 4), Some(4)));
    assert_eq!(state(&world, 3).await, failed("cancelled"));
}

/// Whoever has the sweep has died: nobody touches it for as long as it is held, then the next one goes on.
#[tokio::test]
async fn a_sweep_is_one_dispatchers_and_goes_on_after_its_death() {
    let world = world().await;
    take_in(&world, 0..5, false).await;
    let cancelling = ask(&world, Wish::Cancel).await;
    let (table, now) = (world.table(), world.clock.now());
    let until = now + SignedDuration::from_secs(30);
    let held = table.hold_sweep(&cancelling, now, until).await.unwrap().unwrap();
    assert_eq!(held.sweep.held_until, Some(until));
    assert!(table.hold_sweep(&cancelling, now, until).await.unwrap().is_none(), "one at a time");
    table.cancel_lead(&code(), &lead_ref(0), 0).await.unwrap();
    dispatch(&world).await;
    assert_eq!(state(&world, 1).await, LeadState::Ready);
    world.clock.advance(SignedDuration::from_secs(31));
    dispatch(&world).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Cancelled);
    // The dead one's last words come late, and to nobody.
    assert!(!table.sweep_on(&cancelling, until, until, 7, None).await.unwrap());
    assert!(table.hold_sweep(&cancelling, until, until).await.unwrap().is_none());
    assert_eq!(campaign(&world).await.sweep.moved, 0);
}

#[tokio::test]
async fn a_sweep_that_is_held_goes_on_and_is_let_go_by_its_holder() {
    let world = world().await;
    take_in(&world, 0..5, false).await;
    let cancelling = ask(&world, Wish::Cancel).await;
    let (table, now) = (world.table(), world.clock.now());
    let (first, second) = (now + SignedDuration::from_secs(30), now + SignedDuration::from_secs(40));
    table.hold_sweep(&cancelling, now, first).await.unwrap().unwrap();
    assert!(table.sweep_on(&cancelling, first, second, 2, None).await.unwrap());
    assert!(
        !table.sweep_on(&cancelling, first, second, 2, None).await.unwrap(),
        "it has another token by now"
    );
    assert!(table.hold_sweep(&cancelling, first, second).await.unwrap().is_none(), "it was held on to");
    assert!(table.sweep_on(&cancelling, second, now, 1, None).await.unwrap());
    let held = table.hold_sweep(&cancelling, now, first).await.unwrap().unwrap();
    assert_eq!(held.sweep.moved, 3);
}

/// Four leads: reached, busy to the end, a bad number, cancelled by a person at Vapi.
async fn finished(world: &World) {
    let spec =
        json!({ "id": "c", "assistantId": "as", "phoneNumberId": "ph", "retry": { "maxAttempts": 1 } });
    let leads: Vec<Value> =
        (0..4).map(|n| json!({ "id": format!("{n}"), "number": format!("+1555{n:07}") })).collect();
    let message = json!({ "campaign": spec, "leads": leads }).to_string();
    world.app.take_in(message.as_bytes()).await.unwrap();
    let reasons =
        ["customer-ended-call", "customer-busy", "twilio-reported-customer-misdialed", "manually-canceled"];
    for (lead, reason) in reasons.into_iter().enumerate() {
        let lead = lead as u32;
        world.live(&claim(lead), &format!("call-{lead}").parse().unwrap()).await.unwrap();
        end(world, lead, reason).await;
    }
    dispatch(world).await;
    let over = campaign(world).await;
    assert_eq!((over.state, over.settled), (CampaignState::Finished, (1, 3)));
}

#[tokio::test]
async fn a_rerun_calls_those_again_who_were_not_reached_and_nobody_else() {
    let world = world().await;
    finished(&world).await;
    world.vapi.take_asked();
    assert_eq!(ask(&world, RERUN).await.state.name(), "rerunning");
    // The dispatcher makes them ready; the next one dials.
    dispatch(&world).await;
    let again = campaign(&world).await;
    assert_eq!((again.state, again.settled, again.run), (CampaignState::Running, (1, 2), 1));
    let lead = world.table().read_lead(&code(), &lead_ref(1)).await.unwrap().unwrap();
    assert_eq!((lead.state, lead.attempts, lead.claims), (LeadState::Ready, 0, 2));
    for (lead, name) in [(0, "done"), (2, "failed"), (3, "failed")] {
        assert_eq!(state(&world, lead).await.name(), name, "{lead}");
    }
    dispatch(&world).await;
    assert_eq!(world.vapi.take_asked().len(), 1);
    assert_eq!(state(&world, 1).await.name(), "live");
    let status = world.app.status().await.unwrap();
    let leads = status.campaigns[0].leads;
    assert_eq!((leads.ready, leads.live, leads.done, leads.failed), (0, 1, 1, 2));
}

#[tokio::test]
async fn a_rerun_calls_only_whom_it_is_to() {
    let world = world().await;
    finished(&world).await;
    for (only, lead) in [(Unreached::Voicemail, None), (Unreached::Cancelled, Some(3))] {
        ask(&world, Wish::Rerun { only: vec![only] }).await;
        dispatch(&world).await;
        for at in 0..4 {
            assert_eq!(state(&world, at).await == LeadState::Ready, Some(at) == lead, "{only}: {at}");
        }
        if lead.is_none() {
            dispatch(&world).await;
            assert_eq!(campaign(&world).await.state, CampaignState::Finished, "nobody is left to call");
        }
    }
    assert_eq!(campaign(&world).await.run, 2);
}

#[tokio::test]
async fn a_lead_is_made_ready_once_in_a_rerun_and_by_no_older_one() {
    let world = world().await;
    finished(&world).await;
    let (table, lead, now) = (world.table(), lead_ref(1), world.clock.now());
    assert!(table.rerun_lead(&code(), (&lead, Lane::Normal), 2, now).await.unwrap());
    for run in 1..=2 {
        assert!(!table.rerun_lead(&code(), (&lead, Lane::Normal), run, now).await.unwrap(), "it is ready");
        assert!(
            !table.rerun_lead(&code(), (&lead_ref(0), Lane::Normal), run, now).await.unwrap(),
            "it was reached"
        );
    }
    // A sweep of the cancelling before the rerun comes late.
    assert!(!table.cancel_lead(&code(), &lead, 1).await.unwrap());
    assert!(table.cancel_lead(&code(), &lead, 2).await.unwrap());
    for run in 1..=2 {
        assert!(
            !table.rerun_lead(&code(), (&lead, Lane::Normal), run, now).await.unwrap(),
            "it has ended in this rerun"
        );
    }
    assert!(table.rerun_lead(&code(), (&lead, Lane::Normal), 3, now).await.unwrap());
    assert_eq!(world.due_us(&claim(1)).await.unwrap(), now.as_microsecond());
    assert!(!table.cancel_lead(&code(), &lead_ref(9), 3).await.unwrap(), "there is none");
    assert!(!table.rerun_lead(&code(), (&lead_ref(9), Lane::Normal), 3, now).await.unwrap(), "there is none");
}

/// A dispatcher took a line for a claim before the campaign was cancelled, and comes to claim it after the rerun.
#[tokio::test]
async fn a_claim_from_before_a_rerun_is_refused() {
    use headroom::core::line::{Kind, Token};
    use headroom::table::leads::Step;
    let world = world().await;
    take_in(&world, 0..1, false).await;
    ask(&world, Wish::Cancel).await;
    dispatch(&world).await;
    ask(&world, Wish::Rerun { only: vec![Unreached::Cancelled] }).await;
    dispatch(&world).await;
    assert_eq!(state(&world, 0).await, LeadState::Ready);
    let now = world.clock.now();
    let late = world.table().claim(&claim(0), &Token::new(Kind::Outbound, now, 1), now).await.unwrap();
    assert!(matches!(late, Step::Refused(Some(_))), "{late:?}");
}

#[tokio::test]
async fn a_finish_of_the_run_before_finishes_nothing() {
    let world = world().await;
    finished(&world).await;
    let table = world.table();
    ask(&world, RERUN).await;
    let rerunning = campaign(&world).await;
    dispatch(&world).await;
    // As one saw it that ran before the rerun.
    let before = Campaign { run: 0, ..campaign(&world).await };
    let counted = LeadCount { total: 4, done: 1, failed: 3 };
    assert!(!table.finish_campaign(&before, counted, world.clock.now()).await.unwrap());
    assert!(!table.run_again(&rerunning, counted).await.unwrap(), "it runs");
    let paused = ask(&world, PAUSE).await;
    assert!(!table.finish_campaign(&paused, counted, world.clock.now()).await.unwrap());
    assert!(!table.recancel_campaign(&code()).await.unwrap());
    assert_eq!(campaign(&world).await.settled, (1, 2));
    // Another rerun's leads are still being made ready.
    let cancelling = ask(&world, Wish::Cancel).await;
    let now = world.clock.now();
    let before = Campaign { run: 0, ..cancelling };
    assert!(table.hold_sweep(&before, now, now).await.unwrap().is_none());
    dispatch(&world).await;
    let second = ask(&world, RERUN).await;
    assert!(!table.run_again(&rerunning, counted).await.unwrap());
    assert!(table.hold_sweep(&rerunning, world.clock.now(), world.clock.now()).await.unwrap().is_none());
    assert!(table.run_again(&second, counted).await.unwrap());
    let before = Campaign { run: 1, ..campaign(&world).await };
    assert!(!table.finish_campaign(&before, counted, world.clock.now()).await.unwrap());
}

/// A write of a sweep comes minutes late, when its campaign is over: the pass gives the lead its campaign back.
#[tokio::test]
async fn a_lead_made_ready_too_late_is_not_lost() {
    let world = world().await;
    world.vapi.answers(200, "[]");
    finished(&world).await;
    ask(&world, Wish::Rerun { only: vec![Unreached::Voicemail] }).await;
    dispatch(&world).await;
    dispatch(&world).await;
    assert_eq!(campaign(&world).await.state, CampaignState::Finished);
    assert!(
        world.table().rerun_lead(&code(), (&lead_ref(1), Lane::Normal), 1, world.clock.now()).await.unwrap()
    );
    world.app.reconcile().await.unwrap();
    assert_eq!(campaign(&world).await.state, CampaignState::Running);
}

#[tokio::test]
async fn results_come_in_pages_and_each_lead_once() {
    let world = world().await;
    finished(&world).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.app.results(&id(), after.as_ref(), 3).await.unwrap();
        seen.extend(page.leads);
        match page.next {
            Some(next) => after = Some(next.parse().unwrap()),
            None => break,
        }
    }
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(seen.len(), 4);
    assert_eq!(seen.iter().map(|lead| lead.id.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    let first = &seen[1];
    assert_eq!(
        (first.number.as_str(), first.outcome.as_str(), first.attempts),
        ("+15550000001", "failed", 1)
    );
    assert_eq!((first.reason.as_deref(), first.call_id.as_deref()), (Some("customer-busy"), Some("call-1")));
    assert!(first.dialed_at.is_some());
}

/// What a lead costs in write units, without its calls: to store it, to cancel it, to make it ready again. None of it
/// is a write of the ledger, and the campaign's own item is written once for each page.
#[tokio::test]
async fn a_lead_costs_two_writes_to_move_and_none_of_the_ledger() {
    const LEADS: u32 = 600;
    let world = world().await;
    world.take_write_units();
    take_in(&world, 0..LEADS, true).await;
    let stored = world.take_write_units();
    ask(&world, Wish::Cancel).await;
    let ledger = world.table().read_pool().await.unwrap();
    world.take_write_units();
    dispatch(&world).await;
    let cancelled = world.take_write_units();
    assert_eq!(campaign(&world).await.settled, (0, LEADS));
    ask(&world, Wish::Rerun { only: vec![Unreached::Cancelled] }).await;
    world.take_write_units();
    dispatch(&world).await;
    let rerun = world.take_write_units();
    assert_eq!(campaign(&world).await.state, CampaignState::Running);
    assert_eq!(world.table().read_pool().await.unwrap().revision, ledger.revision);
    let each = [stored, cancelled, rerun].map(|units| units / f64::from(LEADS));
    println!(
        "write units for each of {LEADS} leads: stored {:.2}, cancelled {:.2}, rerun {:.2}",
        each[0], each[1], each[2]
    );
    assert!(each.iter().all(|units| *units < 3.0), "{each:?}");
}
