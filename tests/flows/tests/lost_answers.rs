//! Writes that were applied although their answer was lost: a proxy before the engine passes the
//! request on and cuts the connection when the answer comes. The SDK asks again, the condition no
//! longer holds, and the outcome is told from a refusal all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flows::engine;
use headroom::core::campaign::{CampaignState, Message};
use headroom::core::ids::{CampaignCode, ClaimKey, LeadRef, MessageCode};
use headroom::core::lead::{End, Outcome};
use headroom::core::line::{Kind, Lease, LineKey, Token};
use headroom::core::pool::{Counts, Policy, Tally};
use headroom::core::reserve::{Reserve, Reserves};
use headroom::flows::main_pool;
use headroom::table::Table;
use headroom::table::changes::Wanted;
use headroom::table::leads::{EndedReady, Step, Stored};
use headroom::table::ledger::{Freed, LeadEnd, Observed, Taken};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// A table behind a proxy that loses answers when told to.
struct Lossy {
    table: Table,
    to_lose: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
}

impl Lossy {
    async fn start() -> Self {
        let engine = engine::dynamo_url().await.expect("an engine");
        let engine = engine.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (to_lose, lost) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (losing, counting) = (to_lose.clone(), lost.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&engine).await.expect("the engine listens");
                tokio::spawn(pass_on(client, server, losing.clone(), counting.clone()));
            }
        });
        let table = Table::new(
            aws_sdk_dynamodb::Client::from_conf(engine::config(&url).build()),
            engine::table_name(),
            main_pool(),
        );
        table.create().await.expect("a table");
        table.ensure_pool(Policy::new(10, 10, 0).expect("a policy")).await.expect("a pool");
        Self { table, to_lose, lost }
    }

    /// The table, losing the answer to the next request.
    fn losing(&self) -> &Table {
        self.to_lose.store(1, Ordering::SeqCst);
        &self.table
    }

    fn lost(&self) -> u32 {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, to_lose: Arc<AtomicU32>, lost: Arc<AtomicU32>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_server.read(&mut answer).await {
        // The engine answers after it has written: what is lost here was done.
        if to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            lost.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to_client.write_all(&answer[..read]).await.is_err() {
            break;
        }
    }
    requests.abort();
}

#[tokio::test]
async fn every_step_of_a_call_survives_the_loss_of_its_answer() {
    let lossy = Lossy::start().await;
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("an instant");
    let body = br#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p"},"leads":[{"id":"l","number":"+14155550100"}]}"#;
    let Ok(Message::Leads { spec, leads, .. }) = Message::parse(body) else { panic!("a campaign") };
    let (code, message) = (CampaignCode::of(&spec.id), MessageCode::of(body));

    // Taken in: once, and counted once.
    lossy.losing().put_campaign(&spec, &CampaignState::Running, now).await.expect("stored");
    let stored = lossy.losing().put_lead(&code, &message, &leads[0], now).await.expect("stored");
    assert!(matches!(stored, Stored::New | Stored::Again));
    lossy.losing().count_message(&code, &message, 1).await.expect("counted");
    assert_eq!(lossy.table.read_campaign(&code).await.expect("read").expect("there").leads, Some(1));
    lossy.losing().open_campaign(&code, (0, 0), &[]).await.expect("opened");

    // Dialed: the line is ours, and so is the lead.
    let claim = ClaimKey { campaign: code.clone(), lead: LeadRef::of(&leads[0].id), claim: 1 };
    let lease = Lease { key: LineKey::Claim(claim.clone()), token: Token::new(Kind::Outbound, now, 7) };
    let pool = lossy.table.read_pool().await.expect("read");
    let taken =
        lossy.losing().take(&pool, &code, None, std::slice::from_ref(&lease), now).await.expect("taken");
    assert!(matches!(taken, Taken::Granted(_)), "our own tokens in the old item are no refusal: {taken:?}");
    // Another who takes the same line is refused, whatever happens to the answer.
    let other = Lease { token: Token::new(Kind::Outbound, now, 8), ..lease.clone() };
    let taken =
        lossy.losing().take(&pool, &code, None, std::slice::from_ref(&other), now).await.expect("refused");
    assert!(matches!(taken, Taken::Refused(_)), "{taken:?}");
    let deadline = now + SignedDuration::from_mins(1);
    let step = lossy.losing().claim(&claim, &lease.token, deadline).await.expect("claimed");
    assert!(matches!(step, Step::Moved(_)), "{step:?}");
    let step = lossy.losing().claim(&claim, &other.token, deadline).await.expect("refused");
    assert!(matches!(step, Step::Refused(_)), "{step:?}");
    let call = "call-a".parse().expect("an id");
    let step = lossy.losing().bind(&claim, &call, None).await.expect("bound");
    assert!(matches!(step, Step::Moved(_)), "{step:?}");

    // Ended: the outcome stands, once, and the line is counted once.
    let step = lossy
        .losing()
        .settle(&claim, Some(&call), &Outcome::Done, "customer-ended-call", None)
        .await
        .expect("settled");
    let (Step::Moved(lead) | Step::Refused(Some(lead))) = step else { panic!("the lead is there") };
    assert_eq!((lead.state.name(), lead.attempts), ("done", 1));
    let end = End { reason: Some("customer-ended-call".into()), connected: Some(true) };
    lossy.losing().record_ended(&call, &end, now).await.expect("recorded");
    let freed = lossy.losing().free(&pool, &lease, Some(LeadEnd::Done)).await.expect("freed");
    assert!(matches!(freed, Freed::NotHeld), "the second try finds the line free: {freed:?}");

    // A caller: one line, however often it is asked for.
    let caller = "call-b".parse().expect("an id");
    let seen = lossy.losing().take_observed(&pool, &caller, Kind::Inbound, &[], now).await.expect("taken");
    assert!(matches!(seen, Observed::AlreadyHeld(_)), "{seen:?}");

    // An answered caller, the same.
    let answered = "call-c".parse().expect("an id");
    let seen = lossy.losing().take_answered(&pool, &answered, &[], now).await.expect("taken");
    assert!(matches!(seen, Observed::AlreadyHeld(_)), "{seen:?}");
    let pool = lossy.table.read_pool().await.expect("read");
    let lease = pool.lease(&LineKey::Observed(answered)).expect("held");
    lossy.table.free(&pool, &lease, None).await.expect("freed");

    let pool = lossy.table.read_pool().await.expect("read");
    assert_eq!((pool.counts.total, pool.counts.inbound, pool.campaigns[&code].done), (1, 1, 1));
    assert_eq!(pool.counts, Counts::of(pool.lines.values()));
    assert_eq!(lossy.lost(), 14, "every answer that was to be lost was lost");
}

/// A lead that ends without a line is counted once, however often its end is sent; one that was claimed meanwhile
/// does not end, with the answer lost as without.
#[tokio::test]
async fn the_end_of_a_ready_lead_survives_the_loss_of_its_answer() {
    let lossy = Lossy::start().await;
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("an instant");
    let body = br#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p"},"leads":[{"id":"l","number":"+14155550100"}]}"#;
    let Ok(Message::Leads { spec, leads, .. }) = Message::parse(body) else { panic!("a campaign") };
    let code = CampaignCode::of(&spec.id);
    lossy.table.put_lead(&code, &MessageCode::of(body), &leads[0], now).await.expect("stored");
    lossy.table.open_campaign(&code, (0, 0), &[]).await.expect("opened");
    let next = ClaimKey { campaign: code.clone(), lead: LeadRef::of(&leads[0].id), claim: 1 };
    for _ in 0..2 {
        let ended = lossy.losing().end_ready(&next, 0, "no line: cap").await.expect("answered");
        assert_eq!(ended, EndedReady::Now);
        let pool = lossy.table.read_pool().await.expect("read");
        assert_eq!(pool.campaigns[&code], Tally { failed: 1, ..Tally::default() });
    }
    let other = lossy.losing().end_ready(&next, 0, "for another reason").await.expect("answered");
    assert_eq!(other, EndedReady::NotReady);
    assert_eq!(lossy.lost(), 3, "every answer that was to be lost was lost");
}

/// A change whose answer was lost was made once, with one record; another's on the same word is refused, with its
/// answer lost as without.
#[tokio::test]
async fn a_change_survives_the_loss_of_its_answer() {
    let lossy = Lossy::start().await;
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("an instant");
    let reserve = Reserve { inbound: 3, ..Reserve::default() };
    let pool = lossy.table.read_pool().await.expect("read");
    let reserves = Reserves::new([("sales".parse().expect("a name"), reserve)]).expect("one agent");
    let wanted = Wanted { reserves, ..Wanted::of(&pool) };
    assert!(lossy.losing().change_policy(&pool, &wanted, "ada", now).await.expect("answered"));
    let changed = lossy.table.read_pool().await.expect("read");
    assert_eq!((changed.revision, &changed.reserves), (2, &wanted.reserves));

    let other = Wanted { policy: Policy::new(9, 9, 0).expect("a policy"), ..wanted.clone() };
    let minute = SignedDuration::from_mins(1);
    for (wanted, by, at) in [
        (&other, "ada", now),
        (&wanted, "bob", now),
        (&wanted, "ada", now + minute),
        (&Wanted::of(&pool), "ada", now),
    ] {
        assert!(!lossy.table.change_policy(&pool, wanted, by, at).await.expect("answered"));
        assert!(!lossy.losing().change_policy(&pool, wanted, by, at).await.expect("answered"));
    }
    assert_eq!(lossy.table.read_pool().await.expect("read"), changed);
    let changes = lossy.table.list_changes(10).await.expect("listed");
    assert_eq!(
        changes.iter().map(|change| (change.revision, change.by.as_str())).collect::<Vec<_>>(),
        [(2, "ada")]
    );
    // It is known by its record also when others have changed more since.
    assert!(lossy.table.change_policy(&changed, &other, "bob", now).await.expect("answered"));
    assert!(lossy.losing().change_policy(&pool, &wanted, "ada", now).await.expect("answered"));
    assert_eq!(lossy.table.list_changes(10).await.expect("listed").len(), 2);
    assert_eq!(lossy.lost(), 6, "every answer that was to be lost was lost");
}
