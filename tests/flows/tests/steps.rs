//! The steps of a lead against the engine: from every state, every step, each taken twice; the
//! order of the queue; and the intake that fills it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

use flows::{World, policy};
use headroom::core::campaign::CampaignState;
use headroom::core::fair::Lanes;
use headroom::core::ids::{CallId, CampaignCode, ClaimKey, LeadId, LeadRef, MessageCode};
use headroom::core::lead::{Counts, End, Lead, LeadState, Outcome};
use headroom::core::line::{Kind, Token};
use headroom::core::pool::Tally;
use headroom::core::retry::Missed;
use headroom::flows::Clock as _;
use headroom::flows::intake::{IntakeError, TakenIn};
use headroom::table::campaigns::Opened;
use headroom::table::leads::{LeadCount, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn call(name: &str) -> CallId {
    name.parse().unwrap()
}

fn later(world: &World, seconds: i64) -> Timestamp {
    world.clock.now() + SignedDuration::from_secs(seconds)
}

fn token(world: &World, nonce: u32) -> Token {
    Token::new(Kind::Outbound, world.clock.now(), nonce)
}

/// Where a lead stands before a step. All but the first two have one claim behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// There is no such lead.
    Nowhere,
    /// Ready, never claimed.
    Ready,
    /// Ready, its first claim given back.
    Back,
    Dialing,
    Unknown,
    /// In the call "call-a".
    Live,
    Done,
    Failed,
}

const EVERYWHERE: [At; 8] =
    [At::Nowhere, At::Ready, At::Back, At::Dialing, At::Unknown, At::Live, At::Done, At::Failed];

/// A step of the claim with the given number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// By the token with this nonce; the one that dials has nonce 0.
    Claim(u32, u32),
    Bind(u32, &'static str),
    MarkUnknown(u32),
    GiveBack(u32),
    Settle(u32, Option<&'static str>, Ends),
    /// The number is that of the claim that would be next.
    PutOff(u32),
    Fence(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Done,
    Failed,
    Attempt,
    Spared,
    Untouched,
}

/// What a step comes to: the state it leads to, or nothing at all.
type Becomes = Option<&'static str>;

/// Every step, and for each place what it comes to there: a state's name, or `-` where the step is
/// refused and nothing may change.
fn moves() -> Vec<(Move, [Becomes; 8])> {
    use Move::*;
    let row = |text: &'static str| -> [Becomes; 8] {
        let words: Vec<Becomes> = text.split_whitespace().map(|word| (word != "-").then_some(word)).collect();
        words.try_into().unwrap()
    };
    let mut moves = vec![
        //                 nowhere  ready    back     dialing  unknown  live  done  failed
        (Claim(1, 0), row("-        dialing  -        dialing  -        -     -     -")),
        (Claim(1, 9), row("-        dialing  -        -        -        -     -     -")),
        (Claim(2, 0), row("-        -        dialing  -        -        -     -     -")),
        (Claim(3, 0), row("-        -        -        -        -        -     -     -")),
        (Fence(1), row("-            ready    -        -        -        -     -     -")),
        (Fence(2), row("-            -        ready    -        -        -     -     -")),
        (Bind(1, "call-a"), row("-   -        -        live     live     live  -     -")),
        (Bind(1, "call-b"), row("-   -        -        live     live     -     -     -")),
        (Bind(2, "call-a"), row("-   -        -        -        -        -     -     -")),
        (MarkUnknown(1), row("-      -        -        unknown  -        -     -     -")),
        (MarkUnknown(2), row("-      -        -        -        -        -     -     -")),
        (GiveBack(1), row("-         -        -        ready    ready    -     -     -")),
        (GiveBack(2), row("-         -        -        -        -        -     -     -")),
        (PutOff(1), row("-         ready    -        -        -        -     -     -")),
        (PutOff(2), row("-         -        ready    -        -        -     -     -")),
        (PutOff(3), row("-         -        -        -        -        -     -     -")),
    ];
    for ends in [Ends::Done, Ends::Failed, Ends::Attempt, Ends::Spared, Ends::Untouched] {
        let to = match ends {
            Ends::Done => "done",
            Ends::Failed => "failed",
            Ends::Attempt | Ends::Spared | Ends::Untouched => "ready",
        };
        let three = [None, None, None, Some(to), Some(to), Some(to), None, None];
        let two = [None, None, None, Some(to), Some(to), None, None, None];
        moves.push((Settle(1, Some("call-a"), ends), three));
        moves.push((Settle(1, Some("call-b"), ends), two));
        moves.push((Settle(1, None, ends), three));
        moves.push((Settle(2, Some("call-a"), ends), [None; 8]));
    }
    moves
}

/// A world with one lead, brought to where it should be by the steps themselves.
async fn standing(engine: &World, at: At) -> (World, ClaimKey) {
    let world = engine.beside(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("renewals", if at == At::Nowhere { "another" } else { "lead-1" }).await.unwrap();
    let lead = LeadRef::of(&"lead-1".parse::<LeadId>().unwrap());
    let claim = ClaimKey { lead, ..claim };
    let table = world.table();
    if !matches!(at, At::Nowhere | At::Ready) {
        let claimed = table.claim(&claim, &token(&world, 0), later(&world, 60)).await.unwrap();
        assert!(matches!(claimed, Step::Moved(_)));
    }
    let settled = |outcome| {
        let (table, claim) = (table.clone(), claim.clone());
        async move { table.settle(&claim, None, &outcome, "before", None).await }
    };
    let step = match at {
        At::Nowhere | At::Ready | At::Dialing => return (world, claim),
        At::Back => table.give_back(&claim).await,
        At::Unknown => table.mark_unknown(&claim, later(&world, 30)).await,
        At::Live => table.bind(&claim, &call("call-a"), None).await,
        At::Done => settled(Outcome::Done).await,
        At::Failed => settled(Outcome::Failed).await,
    };
    assert!(matches!(step.unwrap(), Step::Moved(_)), "{at:?}");
    (world, claim)
}

/// When a lead is due that is to be called again, in seconds from now.
const AGAIN: i64 = 900;

/// Takes a step; what it shows of the lead, and whether it moved.
async fn take(world: &World, first: &ClaimKey, step: Move) -> Option<(bool, Option<Lead>)> {
    let claim = |claim| ClaimKey { claim, ..first.clone() };
    let table = world.table();
    let taken = match step {
        Move::Claim(n, nonce) => table.claim(&claim(n), &token(world, nonce), later(world, 60)).await,
        Move::Fence(n) => table.fence(&claim(n)).await,
        Move::Bind(n, id) => table.bind(&claim(n), &call(id), None).await,
        Move::MarkUnknown(n) => table.mark_unknown(&claim(n), later(world, 30)).await,
        Move::GiveBack(n) => table.give_back(&claim(n)).await,
        Move::Settle(n, id, ends) => {
            let again = |counts| Outcome::Again { due: later(world, AGAIN), counts };
            let outcome = match ends {
                Ends::Done => Outcome::Done,
                Ends::Failed => Outcome::Failed,
                Ends::Attempt => again(Counts::Attempt(Missed::Busy)),
                Ends::Spared => again(Counts::Spared),
                Ends::Untouched => again(Counts::Nothing),
            };
            table.settle(&claim(n), id.map(call).as_ref(), &outcome, "why", None).await
        }
        Move::PutOff(n) => {
            table.put_off(&claim(n), later(world, 0), later(world, AGAIN)).await.unwrap();
            return None;
        }
    };
    Some(match taken.unwrap() {
        Step::Moved(lead) => (true, Some(*lead)),
        Step::Refused(lead) => (false, lead.map(|lead| *lead)),
    })
}

#[tokio::test]
async fn every_step_from_every_state_moves_or_is_refused_and_again_changes_nothing() {
    let engine = World::start(policy(10, 10, 0)).await.unwrap();
    let (moves, mut moved) = (moves(), 0);
    for (place, at) in EVERYWHERE.into_iter().enumerate() {
        let (mut world, mut claim) = standing(&engine, at).await;
        for (step, outcomes) in &moves {
            let what = format!("{step:?} from {at:?}");
            let before = world.dump().await.unwrap();
            let (_, lead) = world.state(&claim).await.unwrap();
            let taken = take(&world, &claim, *step).await;
            let after = world.dump().await.unwrap();
            let (_, now) = world.state(&claim).await.unwrap();
            if let Some((is_moved, shown)) = taken {
                assert_eq!(is_moved, outcomes[place].is_some(), "{what}");
                assert_eq!(shown, now, "{what}: the answer shows the lead as it is");
            }
            let Some(state) = outcomes[place] else {
                assert_eq!(after, before, "{what} is refused and changes nothing");
                continue;
            };
            moved += 1;
            let (lead, now) = (lead.unwrap(), now.unwrap());
            assert_eq!(now.state.name(), state, "{what}");
            check(&world, &what, *step, &lead, &now).await;

            // The same step again, as when its answer was lost: whatever it says, nothing moves twice.
            let _ = take(&world, &claim, *step).await;
            assert_eq!(world.dump().await.unwrap(), after, "{what}, twice");
            (world, claim) = standing(&engine, at).await;
        }
    }
    assert_eq!(moved, 16 + 5 * 8, "as many transitions as the table allows");
}

/// What a step that moved a lead did to the rest of it.
async fn check(world: &World, what: &str, step: Move, was: &Lead, now: &Lead) {
    let due = world.due_us(&now.claim()).await.unwrap();
    // The clock stands still: the lead was taken in, and due, at this very instant.
    let mut due_now = later(world, 0).as_microsecond();
    let (mut attempts, mut spared, mut claims) = (was.attempts, was.spared, was.claims);
    let mut tried = was.tried;
    match step {
        Move::Claim(n, nonce) => {
            claims = n;
            let LeadState::Dialing { token: held, deadline } = &now.state else { panic!("{what}") };
            assert_eq!((held, *deadline), (&token(world, nonce), later(world, 60)), "{what}");
        }
        Move::Bind(_, id) => {
            let LeadState::Live { token: held, call: bound } = &now.state else { panic!("{what}") };
            assert_eq!((held, bound), (&token(world, 0), &call(id)), "{what}");
        }
        Move::MarkUnknown(_) => {
            let LeadState::Unknown { token: held, deadline } = &now.state else { panic!("{what}") };
            assert_eq!((held, *deadline), (&token(world, 0), later(world, 30)), "{what}");
        }
        Move::Fence(n) => claims = n,
        Move::GiveBack(_) => {}
        Move::Settle(_, _, ends) => match ends {
            Ends::Done | Ends::Failed => {
                attempts += 1;
                let (LeadState::Done { reason } | LeadState::Failed { reason }) = &now.state else {
                    panic!("{what}")
                };
                assert_eq!(reason, "why", "{what}");
            }
            Ends::Attempt => {
                (attempts, due_now) = (attempts + 1, later(world, AGAIN).as_microsecond());
                tried = tried.with(Missed::Busy, tried.of(Missed::Busy) + 1);
            }
            Ends::Spared => (spared, due_now) = (spared + 1, later(world, AGAIN).as_microsecond()),
            Ends::Untouched => {}
        },
        Move::PutOff(_) => due_now = later(world, AGAIN).as_microsecond(),
    }
    assert_eq!((now.attempts, now.spared, now.claims, due), (attempts, spared, claims, due_now), "{what}");
    assert_eq!(now.tried, tried, "{what}");
    // In the queue if and only if it is ready, under the claim that comes next.
    let queue =
        world.table().ready_leads(&now.campaign, Lanes::default(), later(world, AGAIN), 10).await.unwrap();
    let next: Vec<u32> = queue.iter().map(|lead| lead.next.claim).collect();
    assert_eq!(next, if now.state == LeadState::Ready { vec![claims + 1] } else { vec![] }, "{what}");
}

/// A campaign message with these leads, by id.
fn message(campaign: &str, leads: &[Value]) -> String {
    json!({ "campaign": { "id": campaign, "assistantId": "as", "phoneNumberId": "ph" }, "leads": leads })
        .to_string()
}

fn lead(id: &str) -> Value {
    json!({ "id": id, "number": "+15555550100" })
}

fn leads(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|n| json!({ "id": format!("lead-{n}"), "number": format!("+1555{n:07}") })).collect()
}

async fn take_in(world: &World, body: &str) -> TakenIn {
    world.app.take_in(body.as_bytes()).await.unwrap()
}

fn code(campaign: &str) -> CampaignCode {
    CampaignCode::of(&campaign.parse().unwrap())
}

fn reference(id: &str) -> LeadRef {
    LeadRef::of(&id.parse().unwrap())
}

async fn queue(world: &World, campaign: &str, seconds: i64) -> Vec<LeadRef> {
    let ready = world
        .table()
        .ready_leads(&code(campaign), Lanes::default(), later(world, seconds), 10_000)
        .await
        .unwrap();
    ready.into_iter().map(|lead| lead.next.lead).collect()
}

fn references(ids: &[&str]) -> Vec<LeadRef> {
    ids.iter().map(|id| reference(id)).collect()
}

/// A list that comes while its window is closed is dialed in its order when that opens.
#[tokio::test]
async fn who_is_put_off_keeps_their_place() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let ids: Vec<String> = (0..40).map(|n| format!("lead-{n}")).collect();
    let leads: Vec<_> =
        (0..40).map(|n| json!({ "id": ids[n], "number": format!("+44207123{n:04}") })).collect();
    let window = json!({ "start": "20:00", "end": "21:00", "timezone": "recipient" });
    let campaign = json!({ "id": "c", "assistantId": "as", "phoneNumberId": "ph", "window": window });
    // A long list comes in several messages, and each is looked at as it comes.
    for leads in leads.chunks(15) {
        world.clock.advance(SignedDuration::from_secs(2));
        take_in(&world, &json!({ "campaign": campaign, "leads": leads }).to_string()).await;
        let until = world.clock.now() + SignedDuration::from_mins(1);
        assert_eq!(std::sync::Arc::new(world.app.clone()).dispatch(until).await.unwrap().taken, 0);
    }
    assert!(queue(&world, "c", 1).await.is_empty());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(queue(&world, "c", 24 * 3600).await, references(&ids));
}

#[tokio::test]
async fn the_queue_is_in_the_order_of_the_lists_and_of_the_messages() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    // Ids whose references are in another order than the ids.
    take_in(&world, &message("c", &["z", "m", "a"].map(lead))).await;
    world.clock.advance(SignedDuration::from_millis(1));
    take_in(&world, &message("c", &["k", "z", "b"].map(lead))).await;
    // Another campaign's leads stand in another queue.
    take_in(&world, &message("other", &["y"].map(lead))).await;
    let all = references(&["z", "m", "a", "k", "b"]);
    assert_eq!(queue(&world, "c", 1).await, all);
    assert_eq!(queue(&world, "other", 1).await, references(&["y"]));
    let first = world.table().ready_leads(&code("c"), Lanes::default(), later(&world, 1), 2).await.unwrap();
    assert_eq!(
        first.iter().map(|lead| &lead.next.lead).collect::<Vec<_>>(),
        all[..2].iter().collect::<Vec<_>>()
    );

    // Claimed leads leave the queue; one that is given back has its old place.
    let claim = |id, claim| ClaimKey { campaign: code("c"), lead: reference(id), claim };
    let table = world.table();
    for id in ["z", "m", "k"] {
        world.dialing(&claim(id, 1)).await.unwrap();
    }
    assert_eq!(queue(&world, "c", 1).await, references(&["a", "b"]));
    table.give_back(&claim("m", 1)).await.unwrap();
    assert_eq!(queue(&world, "c", 1).await, references(&["m", "a", "b"]));

    // One that is to be called again has a new one, later, and is not due before.
    let again = |seconds, counts| Outcome::Again { due: later(&world, seconds), counts };
    table
        .settle(&claim("z", 1), None, &again(60, Counts::Attempt(Missed::Busy)), "customer-busy", None)
        .await
        .unwrap();
    table.settle(&claim("k", 1), None, &again(60, Counts::Nothing), "over the limit", None).await.unwrap();
    assert_eq!(queue(&world, "c", 59).await, references(&["m", "a", "k", "b"]));
    assert_eq!(queue(&world, "c", 61).await, references(&["m", "a", "k", "b", "z"]));
    let due = table
        .due_between(&code("c"), Lanes::default(), later(&world, 1), later(&world, 100), 10)
        .await
        .unwrap();
    assert_eq!(due, [later(&world, 60)]);

    table.put_off(&claim("a", 1), later(&world, 0), later(&world, 30)).await.unwrap();
    assert_eq!(queue(&world, "c", 29).await, references(&["m", "k", "b"]));
    assert_eq!(queue(&world, "c", 31).await, references(&["m", "k", "b", "a"]));
    // Twice, as by two dispatchers: it keeps the turn that it had at first, and has it again.
    table.put_off(&claim("a", 1), later(&world, 0), later(&world, 90)).await.unwrap();
    let (_, turn) = table.read_turn(&code("c"), &reference("a")).await.unwrap().unwrap();
    assert_eq!(turn.due, later(&world, 30));
    let was = turn.put_off_from.unwrap();
    assert!(!table.bring_forward(&claim("a", 1), later(&world, 90), was).await.unwrap());
    assert!(table.bring_forward(&claim("a", 1), later(&world, 30), was).await.unwrap());
    assert_eq!(queue(&world, "c", 1).await, references(&["m", "a", "k", "b"]));
    // One that was claimed since is somebody's: what was once its turn is nothing.
    table.put_off(&claim("a", 1), later(&world, 0), later(&world, 30)).await.unwrap();
    world.dialing(&claim("a", 1)).await.unwrap();
    table.settle(&claim("a", 1), None, &again(30, Counts::Spared), "over the limit", None).await.unwrap();
    let (_, turn) = table.read_turn(&code("c"), &reference("a")).await.unwrap().unwrap();
    assert_eq!((turn.due, turn.put_off_from), (later(&world, 30), None));
    assert!(!table.bring_forward(&claim("a", 2), later(&world, 30), was).await.unwrap());
    assert_eq!(queue(&world, "c", 29).await, references(&["m", "k", "b"]));
    assert!(table.first_due(&code("c"), Lanes::default()).await.unwrap().is_some());
    assert!(table.first_due(&code("none"), Lanes::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_long_list_is_taken_in_whole_and_a_second_time_changes_nothing() {
    const LEADS: usize = 2_000;
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let messages: Vec<String> =
        (0..4).map(|part| message("long", &leads(part * LEADS / 4..(part + 1) * LEADS / 4))).collect();
    for body in &messages {
        let taken = take_in(&world, body).await;
        assert_eq!((taken.new as usize, taken.known, taken.bad.len()), (LEADS / 4, 0, 0));
        world.clock.advance(SignedDuration::from_millis(10));
    }
    let campaign = world.table().read_campaign(&code("long")).await.unwrap().unwrap();
    assert_eq!((campaign.leads, &campaign.state), (Some(LEADS as u32), &CampaignState::Running));
    let counted = world.table().count_leads(&code("long")).await.unwrap();
    assert_eq!(counted, LeadCount { total: LEADS as u32, done: 0, failed: 0 });
    // The queue has them all, in order, over every message.
    let wanted: Vec<LeadRef> = (0..LEADS).map(|n| reference(&format!("lead-{n}"))).collect();
    assert!(queue(&world, "long", 1).await == wanted, "the queue is the list");

    let before = world.dump().await.unwrap();
    world.clock.advance(SignedDuration::from_hours(1));
    let again = take_in(&world, &messages[2]).await;
    assert_eq!((again.new, again.known as usize), (0, LEADS / 4));
    assert!(world.dump().await.unwrap() == before, "a repeated message changes nothing");
    // Overlapping ones add what is new.
    let more = take_in(&world, &message("long", &leads(LEADS - 5..LEADS + 5))).await;
    assert_eq!((more.new, more.known), (5, 5));
    let campaign = world.table().read_campaign(&code("long")).await.unwrap().unwrap();
    assert_eq!(campaign.leads, Some(LEADS as u32 + 5));
}

#[tokio::test]
async fn bad_leads_are_named_and_the_good_ones_beside_them_kept() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let body = message(
        "mixed",
        &[
            lead("a"),
            json!({ "id": "b", "number": "5555550100" }),
            json!({ "id": "c", "number": "+15555550101", "timezone": "Mars/Olympus" }),
            lead("d"),
            json!("e"),
            // Twice in one list: one person, one lead.
            lead("a"),
        ],
    );
    let taken = take_in(&world, &body).await;
    assert_eq!((taken.new, taken.known), (2, 1));
    assert_eq!(taken.bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(taken.bad.iter().all(|bad| !bad.reason.contains("55555")), "{:?}", taken.bad);
    assert_eq!(queue(&world, "mixed", 1).await.len(), 2);
    let campaign = world.table().read_campaign(&code("mixed")).await.unwrap().unwrap();
    assert_eq!(campaign.leads, Some(2), "what is counted is what is there");
    let before = world.dump().await.unwrap();
    take_in(&world, &body).await;
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn a_message_that_is_none_leaves_no_trace() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let before = world.dump().await.unwrap();
    let no_number = r#"{"campaign":{"id":"c","assistantId":"a"},"leads":[]}"#;
    for body in ["", "{}", "[]", "{\"leads\":[]}", no_number, r#"{"resume":"a b"}"#] {
        let error = world.app.take_in(body.as_bytes()).await.unwrap_err();
        assert!(matches!(error, IntakeError::Refused(_)) && !error.is_temporary(), "{body}: {error:?}");
    }
    let error = world.app.take_in(br#"{"resume":"nobody"}"#).await.unwrap_err();
    assert!(matches!(error, IntakeError::NoCampaign(_)) && !error.is_temporary());
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn the_first_settings_of_a_campaign_stay() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    take_in(&world, &message("c", &[lead("a")])).await;
    let other = message("c", &[lead("b")]).replace("\"as\"", "\"another\"");
    assert_eq!(take_in(&world, &other).await.new, 1);
    let campaign = world.table().read_campaign(&code("c")).await.unwrap().unwrap();
    assert_eq!((campaign.spec.assistant_id.as_deref(), campaign.leads), (Some("as"), Some(2)));
}

/// Two ids with one short code: the second campaign is refused, and the first is untouched.
#[tokio::test]
async fn ids_that_meet_in_one_code_are_told_apart() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    // Found by search: 30 bits of a hash are few enough to meet.
    let (mut seen, mut twins) = (std::collections::HashMap::new(), None);
    for n in 0..400_000_u32 {
        if let Some(twin) = seen.insert(code(&n.to_string()), n) {
            twins = Some((twin.to_string(), n.to_string()));
            break;
        }
    }
    let (first, second) = twins.expect("400,000 ids make about 75 pairs that meet in 30 bits");
    take_in(&world, &message(&first, &[lead("a")])).await;
    let before = world.dump().await.unwrap();
    let error = world.app.take_in(message(&second, &[lead("b")]).as_bytes()).await.unwrap_err();
    assert!(matches!(error, IntakeError::CodeTaken(_)) && !error.is_temporary(), "{error:?}");
    let resumed = world.app.take_in(json!({ "resume": second }).to_string().as_bytes()).await;
    assert!(matches!(resumed, Err(IntakeError::NoCampaign(_))), "it is not the first one's resume");
    assert_eq!(world.dump().await.unwrap(), before);
}

/// Brings a campaign of one lead to its end, as the flows do.
async fn finished(world: &World, campaign: &str) -> ClaimKey {
    let claim = world.lead(campaign, "first").await.unwrap();
    let lease = world.live(&claim, &call("call-a")).await.unwrap();
    let table = world.table();
    table.settle(&claim, Some(&call("call-a")), &Outcome::Done, "customer-ended-call", None).await.unwrap();
    let pool = table.read_pool().await.unwrap();
    table.free(&pool, &lease, Some(headroom::table::ledger::LeadEnd::Done)).await.unwrap();
    let stored = table.read_campaign(&claim.campaign).await.unwrap().unwrap();
    let counted = table.count_leads(&claim.campaign).await.unwrap();
    assert!(counted.all_over());
    assert!(table.finish_campaign(&stored, counted, world.clock.now()).await.unwrap());
    assert!(!table.finish_campaign(&stored, counted, world.clock.now()).await.unwrap(), "once");
    let pool = table.read_pool().await.unwrap();
    let Tally { held, done, failed, .. } = pool.campaigns[&claim.campaign];
    assert_eq!((held, done, failed), (0, 1, 0));
    table.close_campaign(&pool, &claim.campaign).await.unwrap();
    claim
}

#[tokio::test]
async fn more_leads_open_a_finished_campaign_again() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = finished(&world, "c").await;
    let state = async || world.table().read_campaign(&claim.campaign).await.unwrap().unwrap();
    assert_eq!((state().await.state, state().await.settled), (CampaignState::Finished, (1, 0)));
    assert!(world.table().read_pool().await.unwrap().campaigns.is_empty());

    // The message that is known brings nothing, so it stays finished.
    let before = world.dump().await.unwrap();
    let known = message("c", &[json!({ "id": "first", "number": "+15555550100" })]);
    assert_eq!(take_in(&world, &known).await.known, 1);
    assert_eq!(world.dump().await.unwrap(), before);
    // So does one without leads.
    take_in(&world, &message("c", &[])).await;
    assert_eq!(world.dump().await.unwrap(), before);

    assert_eq!(take_in(&world, &message("c", &[lead("second")])).await.new, 1);
    assert_eq!((state().await.state, state().await.leads), (CampaignState::Running, Some(2)));
    // Its figures go on from where they were.
    let status = &world.app.status().await.unwrap().campaigns[0];
    assert_eq!((status.leads.ready, status.leads.done, status.finished), (1, 1, false));
}

/// A dispatcher that meets a campaign before the first of its leads is stored sees no lead that is
/// not over, and yet it is not over.
#[tokio::test]
async fn a_campaign_that_is_being_taken_in_is_not_finished() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let app = std::sync::Arc::new(world.app.clone());
    let empty = message("c", &[]);
    let Ok(headroom::core::campaign::Message::Leads { spec, .. }) =
        headroom::core::campaign::Message::parse(empty.as_bytes())
    else {
        panic!("a campaign was sent")
    };
    let state = async || world.table().read_campaign(&code("c")).await.unwrap().unwrap().state;
    let until = world.clock.now() + SignedDuration::from_mins(5);
    world.table().put_campaign(&spec, &CampaignState::Running, world.clock.now()).await.unwrap();
    app.dispatch(until).await.unwrap();
    assert_eq!(state().await, CampaignState::Running);
    // Taken in to the end, it has no leads, and is over.
    take_in(&world, &empty).await;
    app.dispatch(until).await.unwrap();
    assert_eq!(state().await, CampaignState::Finished);
}

#[tokio::test]
async fn a_campaign_is_not_finished_over_leads_that_came_meanwhile() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "first").await.unwrap();
    world.dialing(&claim).await.unwrap();
    let table = world.table();
    table.settle(&claim, None, &Outcome::Failed, "customer-busy", None).await.unwrap();
    let stored = table.read_campaign(&claim.campaign).await.unwrap().unwrap();
    let counted = table.count_leads(&claim.campaign).await.unwrap();
    take_in(&world, &message("c", &[lead("second")])).await;
    assert!(!table.finish_campaign(&stored, counted, world.clock.now()).await.unwrap());
    let now = table.read_campaign(&claim.campaign).await.unwrap().unwrap();
    assert_eq!((now.state, now.leads), (CampaignState::Running, Some(2)));
}

#[tokio::test]
async fn a_paused_campaign_takes_leads_in_and_waits_for_its_resume() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let claim = world.lead("c", "first").await.unwrap();
    let (table, now) = (world.table(), world.clock.now());
    let state = async || table.read_campaign(&claim.campaign).await.unwrap().unwrap();
    assert!(table.pause_campaign(&state().await, "the assistant is gone", now).await.unwrap());
    assert!(!table.pause_campaign(&state().await, "again", now).await.unwrap(), "the first reason stays");
    let paused = CampaignState::Paused { reason: "the assistant is gone".into(), by: None, at: Some(now) };
    take_in(&world, &message("c", &[lead("second")])).await;
    assert_eq!((state().await.state, state().await.leads), (paused, Some(2)));
    let counted = table.count_leads(&claim.campaign).await.unwrap();
    assert!(
        !table.finish_campaign(&state().await, counted, now).await.unwrap(),
        "a paused one does not finish"
    );
    assert!(!table.reopen_campaign(&state().await, now).await.unwrap(), "new leads resume nothing");

    for _ in 0..2 {
        let resumed = take_in(&world, r#"{"resume":"c"}"#).await;
        assert_eq!((resumed.campaign.as_str(), resumed.new, resumed.known), ("c", 0, 0));
        assert_eq!((state().await.state, state().await.leads), (CampaignState::Running, Some(2)));
    }
    assert_eq!(queue(&world, "c", 1).await, references(&["first", "second"]));
    // To resume what is finished changes nothing.
    finished(&world, "over").await;
    let before = world.dump().await.unwrap();
    take_in(&world, r#"{"resume":"over"}"#).await;
    assert_eq!(world.dump().await.unwrap(), before);
}

#[tokio::test]
async fn the_first_word_about_an_end_stays() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let (table, now, id) = (world.table(), world.clock.now(), call("call-a"));
    let end = |reason: &str| End { reason: Some(reason.to_owned()), connected: None };
    assert_eq!(table.read_ended(&id).await.unwrap(), None);
    assert!(table.record_ended(&id, &end("customer-busy"), now).await.unwrap());
    assert!(!table.record_ended(&id, &end("voicemail"), now).await.unwrap());
    assert_eq!(table.read_ended(&id).await.unwrap(), Some(end("customer-busy")));
}

/// The intake dies at the worst place, after its leads and before their count: the message comes
/// again, and the count is right.
#[tokio::test]
async fn a_count_that_was_not_written_is_made_good() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let body = message("c", &["a", "b", "c"].map(lead));
    let table = world.table();
    let headroom::core::campaign::Message::Leads { spec, leads, .. } =
        headroom::core::campaign::Message::parse(body.as_bytes()).unwrap()
    else {
        panic!("leads were sent")
    };
    assert!(matches!(
        table.put_campaign(&spec, &CampaignState::Running, world.clock.now()).await.unwrap(),
        Opened::New
    ));
    for lead in &leads[..2] {
        table.put_lead(&code("c"), &MessageCode::of(body.as_bytes()), lead, world.clock.now()).await.unwrap();
    }
    let taken = take_in(&world, &body).await;
    assert_eq!((taken.new, taken.known), (1, 2));
    let campaign = table.read_campaign(&code("c")).await.unwrap().unwrap();
    assert_eq!(campaign.leads, Some(3));
}

/// Two messages of one campaign at once: one that is known, and one whose leads are stored and not
/// counted yet. Whoever comes last, the count is what is there.
#[tokio::test]
async fn a_repeated_message_beside_a_new_one_does_not_spoil_the_count() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    let (known, new) = (message("c", &["a", "b", "c"].map(lead)), message("c", &["d", "e"].map(lead)));
    take_in(&world, &known).await;
    let Ok(headroom::core::campaign::Message::Leads { leads, .. }) =
        headroom::core::campaign::Message::parse(new.as_bytes())
    else {
        panic!("leads were sent")
    };
    // The new message up to its count, then all of the known one, then the count.
    for lead in &leads {
        world
            .table()
            .put_lead(&code("c"), &MessageCode::of(new.as_bytes()), lead, world.clock.now())
            .await
            .unwrap();
    }
    take_in(&world, &known).await;
    for _ in 0..2 {
        world.table().count_message(&code("c"), &MessageCode::of(new.as_bytes()), 2).await.unwrap();
    }
    let status = &world.app.status().await.unwrap().campaigns[0];
    assert_eq!(status.leads.ready, 5);
}

#[tokio::test]
async fn many_leads_are_read_at_once_and_those_that_are_not_there_left_out() {
    let world = World::start(policy(10, 10, 0)).await.unwrap();
    take_in(&world, &message("c", &leads(0..150))).await;
    let claims: Vec<ClaimKey> = (0..160)
        .map(|n| ClaimKey { campaign: code("c"), lead: reference(&format!("lead-{n}")), claim: 1 })
        .collect();
    let read = world.table().read_leads(&claims).await.unwrap();
    let ids: std::collections::BTreeSet<_> = read.iter().map(|lead| lead.id.as_str()).collect();
    assert_eq!((read.len(), ids.len()), (150, 150));
    assert!(world.table().read_leads(&[]).await.unwrap().is_empty());
}
