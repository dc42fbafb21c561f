//! People are called when their window, the law and their campaign's term allow it, and at no other time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may panic, and one prints its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flows::{StillClock, World, policy};
use futures::future::BoxFuture;
use headroom::core::campaign::Campaign;
use headroom::core::hours::CallingHours;
use headroom::core::ids::{CampaignCode, LeadRef};
use headroom::core::lead::{End, Lead, LeadState};
use headroom::core::life::Wish;
use headroom::core::line::LineKey;
use headroom::flows::{App, Clock as _};
use headroom::vapi::Vapi;
use headroom::vapi::transport::{NoAnswer, Transport};
use http::{Request, Response};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A Vapi that takes every call and remembers whom it called when.
#[derive(Debug)]
struct Phone {
    clock: Arc<StillClock>,
    dials: Mutex<Vec<(Timestamp, String)>>,
}

impl Transport for Phone {
    fn send(
        &self,
        request: Request<Vec<u8>>,
        _: Duration,
    ) -> BoxFuture<'_, Result<Response<Vec<u8>>, NoAnswer>> {
        let json: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut dials = self.dials.lock().unwrap();
        if let Some(number) = json["customer"]["number"].as_str() {
            dials.push((self.clock.now(), number.to_owned()));
        }
        let id = json!({ "id": format!("call-{}", dials.len()) }).to_string();
        let answer = Response::builder().status(201).body(id.into_bytes()).unwrap();
        Box::pin(async move { Ok(answer) })
    }
}

/// A world in which nobody answers the phone.
struct Ringing {
    app: Arc<App>,
    world: World,
    phone: Arc<Phone>,
}

impl Ringing {
    async fn start(law: &str, now: &str) -> Self {
        let world = World::start(policy(400, 400, 0)).await.unwrap();
        let now: Timestamp = now.parse().unwrap();
        world.clock.advance(now.duration_since(world.clock.now()));
        let phone = Arc::new(Phone { clock: world.clock.clone(), dials: Mutex::default() });
        let app = Arc::new(App {
            vapi: Some(Vapi::over(phone.clone(), world.app.timers.clone())),
            calling_hours: CallingHours::parse(law).unwrap(),
            ..world.app.clone()
        });
        Self { app, world, phone }
    }

    async fn send(&self, id: &str, more: Value, leads: Vec<Value>) -> usize {
        let mut campaign = json!({ "id": id, "assistantId": "a", "phoneNumberId": "p" });
        campaign.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message = json!({ "campaign": campaign, "leads": leads });
        self.app.take_in(message.to_string().as_bytes()).await.unwrap().bad.len()
    }

    /// One look at who may be called; those who are do not answer. How many.
    async fn ring(&self) -> usize {
        let before = self.dials().len();
        self.app.dispatch(self.app.clock.now() + SignedDuration::from_mins(1)).await.unwrap();
        let pool = self.world.table().read_pool().await.unwrap();
        let claims: Vec<_> = pool
            .lines
            .keys()
            .filter_map(|key| if let LineKey::Claim(claim) = key { Some(claim.clone()) } else { None })
            .collect();
        let end = End { reason: Some("customer-did-not-answer".into()), connected: None };
        for lead in self.world.table().read_leads(&claims).await.unwrap() {
            self.app.settle(&pool, &lead, lead.call.as_ref(), &end).await.unwrap();
        }
        self.dials().len() - before
    }

    async fn after(&self, span: SignedDuration) -> usize {
        self.world.clock.advance(span);
        self.ring().await
    }

    fn dials(&self) -> Vec<(Timestamp, String)> {
        self.phone.dials.lock().unwrap().clone()
    }

    async fn lead(&self, campaign: &str, lead: &str) -> Lead {
        let code = CampaignCode::of(&campaign.parse().unwrap());
        self.world.table().read_lead(&code, &LeadRef::of(&lead.parse().unwrap())).await.unwrap().unwrap()
    }

    async fn status(&self, campaign: &str) -> Value {
        let status = serde_json::to_value(self.app.status().await.unwrap()).unwrap();
        let campaigns = status["campaigns"].as_array().unwrap();
        campaigns.iter().find(|shown| shown["id"] == campaign).unwrap().clone()
    }
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn closed(lead: &Lead) -> bool {
    lead.state == LeadState::Failed { reason: "window_closed".into() }
}

/// Twelve zones by the numbers of their people, with each other day of a clock change.
const PEOPLE: [(&str, &str); 12] = [
    ("+1212555", "America/New_York"),
    ("+1312555", "America/Chicago"),
    ("+1808555", "Pacific/Honolulu"),
    ("+4930123", "Europe/Berlin"),
    ("+336123", "Europe/Paris"),
    ("+353123", "Europe/Dublin"),
    ("+977141", "Asia/Kathmandu"),
    ("+68512", "Pacific/Apia"),
    ("+813123", "Asia/Tokyo"),
    ("+6129123", "Australia/Sydney"),
    ("+5511912", "America/Sao_Paulo"),
    ("+302101", "Europe/Athens"),
];

/// The same people in zones that they name.
const NAMED: [(&str, &str); 12] = [
    ("+1212555", "America/New_York"),
    ("+1212556", "America/St_Johns"),
    ("+1212557", "Australia/Lord_Howe"),
    ("+1212558", "Europe/Berlin"),
    ("+1212559", "Europe/Dublin"),
    ("+1312555", "Asia/Kathmandu"),
    ("+1312556", "Pacific/Apia"),
    ("+1312557", "Pacific/Chatham"),
    ("+1312558", "Africa/Casablanca"),
    ("+1312559", "America/Santiago"),
    ("+1808555", "Asia/Tehran"),
    ("+1808556", "Atlantic/Azores"),
];

/// Half an hour at a time for some weeks, eight people in each zone, called again every 37 hours. Prints who
/// was called when, and fails if anybody was when `allowed` says not, by the clock on their wall.
async fn weeks(
    law: &str,
    window: Value,
    people: &[(&str, &str)],
    names_zones: bool,
    (from, weeks): (&str, i64),
    allowed: impl Fn(&str, i8, u16) -> bool,
) {
    let ringing = Ringing::start(law, from).await;
    let mut homes = BTreeMap::new();
    let mut leads = Vec::new();
    for (prefix, zone) in people {
        for nth in 0..8 {
            let number = format!("{prefix}{nth:04}");
            let mut lead = json!({ "number": number });
            if names_zones {
                lead["timezone"] = json!(zone);
            }
            leads.push(lead);
            homes.insert(number, *zone);
        }
    }
    let retry = json!({ "maxAttempts": 20, "noAnswerAfter": "37h" });
    let mut campaign = json!({ "retry": retry });
    if window.is_object() {
        campaign["window"] = window;
    }
    assert_eq!(ringing.send("world", campaign, leads).await, 0);
    let until = ringing.app.clock.now() + hours(24 * 7 * weeks);
    while ringing.app.clock.now() < until {
        ringing.ring().await;
        ringing.world.clock.advance(SignedDuration::from_mins(30));
    }

    let mut seen: BTreeMap<&str, (usize, BTreeSet<String>, BTreeSet<i32>)> = BTreeMap::new();
    let mut outside = 0;
    for (at, number) in ringing.dials() {
        let zone = homes[&number];
        let local = at.to_zoned(TimeZone::get(zone).unwrap());
        let day = local.date().weekday().to_monday_zero_offset();
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        outside += usize::from(!allowed(&number, day, minute));
        let (dials, times, offsets) = seen.entry(zone).or_default();
        *dials += 1;
        times.insert(local.strftime("%H:%M").to_string());
        offsets.insert(local.offset().seconds());
    }
    let total: usize = seen.values().map(|(dials, ..)| dials).sum();
    println!("{total} dials in {weeks} weeks from {from}, {outside} of them outside what is allowed");
    for (zone, (dials, times, offsets)) in &seen {
        let (first, last) = (times.first().unwrap(), times.last().unwrap());
        println!("  {zone:22} {dials:4} dials, from {first} to {last} on the wall, offsets {offsets:?}");
        assert!(*dials >= 8 * 5, "{zone} is called");
    }
    assert_eq!((outside, seen.len()), (0, people.len()));
    let changed = seen.values().filter(|(_, _, offsets)| offsets.len() > 1).count();
    assert!(changed >= 4, "clocks change in some of the zones: {changed}");
}

/// What the windows of the seasons below say, by hand: weekdays 9:00 to 12:30 and 13:30 to 20:00, the night of
/// Saturday to Sunday from 23:30 to 3:15, in which clocks change.
fn spanned(day: i8, minute: u16) -> bool {
    let weekday = day < 5 && ((540..750).contains(&minute) || (810..1200).contains(&minute));
    weekday || (day == 5 && minute >= 1410) || (day == 6 && minute < 195)
}

fn spans() -> Value {
    json!({ "spans": [
        { "days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "12:30" },
        { "days": ["mon", "tue", "wed", "thu", "fri"], "start": "13:30", "end": "20:00" },
        { "days": ["sat"], "start": "23:30", "end": "03:15" },
    ]})
}

/// What is built in, by hand.
fn lawful(number: &str, day: i8, minute: u16) -> bool {
    let hours = |from: u16, to: u16| (from * 60..to * 60).contains(&minute);
    match number {
        france if france.starts_with("+33") => day < 5 && (hours(10, 13) || hours(14, 20)),
        australia if australia.starts_with("+61") => (day < 5 && hours(9, 20)) || (day == 5 && hours(9, 17)),
        _ => hours(8, 21),
    }
}

/// New York forward on 8 March, Europe on 29 March; Sydney, Lord Howe and Chatham back on 5 April.
#[tokio::test]
async fn nobody_is_called_outside_their_hours_in_spring() {
    weeks("none", spans(), &NAMED, true, ("2026-03-06T00:00:00Z", 5), |_, day, minute| spanned(day, minute))
        .await;
}

/// Sydney and Lord Howe forward on 4 October, Europe back on 25 October, New York on 1 November.
#[tokio::test]
async fn nobody_is_called_outside_their_hours_in_autumn() {
    weeks("none", spans(), &NAMED, true, ("2026-10-02T00:00:00Z", 5), |_, day, minute| spanned(day, minute))
        .await;
}

/// By their numbers alone, with no window but the law.
#[tokio::test]
async fn the_law_is_kept_where_the_number_tells_the_zone() {
    weeks("default", Value::Null, &PEOPLE, false, ("2026-10-20T00:00:00Z", 3), lawful).await;
}

#[tokio::test]
async fn who_cannot_be_called_before_the_end_is_given_up() {
    // A Thursday, noon in London.
    let ringing = Ringing::start("none", "2026-06-04T11:00:00Z").await;
    let lead = |id: &str, zone: &str| json!({ "id": id, "number": "+4930123456", "timezone": zone });
    let leads =
        vec![lead("here", "Europe/London"), lead("there", "America/Los_Angeles"), lead("late", "Asia/Tokyo")];
    let window = json!({ "start": "09:00", "end": "18:00" });
    // Until 17:00 in London, 9:00 in Los Angeles, after midnight in Tokyo.
    let campaign = json!({
        "window": window, "endAt": "2026-06-04T17:00:00+01:00", "retry": { "maxAttempts": 3, "noAnswerAfter": "4h", "jitter": 0 },
    });
    ringing.send("c", campaign, leads).await;
    assert_eq!(ringing.ring().await, 1);
    assert!(closed(&ringing.lead("c", "there").await), "it opens at the very end");
    assert!(closed(&ringing.lead("c", "late").await));
    // The retry at four comes in time, the one at eight would not.
    assert!(!closed(&ringing.lead("c", "here").await));
    assert_eq!(ringing.after(hours(4)).await, 1);
    let here = ringing.lead("c", "here").await;
    assert_eq!((here.attempts, &here.state), (2, &LeadState::Ready));
    assert_eq!(ringing.after(SignedDuration::from_mins(1)).await, 0);
    assert!(closed(&ringing.lead("c", "here").await));
    ringing.ring().await;
    let status = ringing.status("c").await;
    assert_eq!((&status["finished"], &status["leads"]["failed"]), (&json!(true), &json!(3)));
}

#[tokio::test]
async fn who_waits_when_the_end_comes_is_given_up() {
    let ringing = Ringing::start("none", "2026-06-04T11:00:00Z").await;
    // Nobody may be called: a rest, then the end.
    let campaign = json!({ "startAt": "2026-06-04T12:00:00Z", "endAt": "2026-06-04T13:00:00Z" });
    let leads = (0..150).map(|n| json!({ "number": format!("+1212555{n:04}") })).collect();
    ringing.send("c", campaign, leads).await;
    assert_eq!(ringing.ring().await, 0);
    let status = ringing.status("c").await;
    assert_eq!(status["state"], "scheduled");
    assert_eq!(status["waiting"], json!({ "for": "start", "until": "2026-06-04T12:00:00Z" }));
    assert_eq!(ringing.after(hours(2)).await, 0);
    ringing.ring().await;
    let status = ringing.status("c").await;
    assert_eq!((&status["finished"], &status["leads"]["failed"]), (&json!(true), &json!(150)));
    // More come after the end: they end as well.
    ringing.send("c", json!({}), vec![json!({ "number": "+12125559999" })]).await;
    assert_eq!(ringing.ring().await, 0);
    ringing.ring().await;
    assert!(closed(&ringing.lead("c", "+12125559999").await));
    assert_eq!(ringing.status("c").await["leads"]["failed"], 151);
}

#[tokio::test]
async fn a_campaign_says_that_it_waits_for_a_window_and_until_when() {
    // Nine in the evening in New York.
    let ringing = Ringing::start("default", "2026-06-05T01:00:00Z").await;
    let once = json!({ "maxAttempts": 1 });
    ringing.send("law", json!({ "retry": once }), vec![json!({ "number": "+12125550100" })]).await;
    let window = json!({ "start": "09:00", "end": "18:00", "timezone": "Europe/London" });
    ringing
        .send("fixed", json!({ "window": window, "retry": once }), vec![json!({ "number": "+442071234567" })])
        .await;
    assert_eq!(ringing.ring().await, 0);
    let waiting = |until: &str| json!({ "for": "window", "until": until });
    assert_eq!(ringing.status("law").await["waiting"], waiting("2026-06-05T12:00:00Z"));
    assert_eq!(ringing.status("fixed").await["waiting"], waiting("2026-06-05T08:00:00Z"));
    // Who is put off is put off to that instant, and nothing is written for them until then.
    let before = ringing.world.dump().await.unwrap();
    assert_eq!(ringing.after(hours(6)).await, 0);
    assert_eq!(ringing.world.dump().await.unwrap(), before);
    assert_eq!(ringing.after(hours(1)).await, 1);
    assert_eq!(ringing.after(hours(3)).await, 0);
    assert_eq!(ringing.after(hours(1)).await, 1);
    assert_eq!(ringing.status("law").await["waiting"], Value::Null);
}

/// Three in New York, the first of whom was just called and did not answer, and one in London, where it is night; by a
/// window that has closed for all of them since, to open in the morning.
async fn put_off() -> Ringing {
    let ringing = Ringing::start("none", "2026-06-04T23:50:00Z").await;
    let window = json!({ "start": "09:00", "end": "20:00", "timezone": "recipient" });
    let retry = json!({ "maxAttempts": 2, "noAnswerAfter": "PT1H", "jitter": 0 });
    let campaign = json!({ "window": window, "retry": retry });
    ringing.send("c", campaign.clone(), vec![json!({ "number": "+12125550100" })]).await;
    assert_eq!(ringing.ring().await, 1);
    let others = ["+12125550109", "+12125550101", "+442071234567"];
    ringing.world.clock.advance(SignedDuration::from_mins(20));
    ringing.send("c", campaign, others.iter().map(|number| json!({ "number": number })).collect()).await;
    assert_eq!(ringing.ring().await, 0);
    ringing
}

impl Ringing {
    async fn edit(&self, window: Value) {
        let patch = json!({ "window": window });
        self.app.edit_campaign(&"c".parse().unwrap(), patch.as_object().unwrap(), "ada").await.unwrap();
    }

    async fn wish(&self, wish: Wish) {
        self.app.ask_campaign(&"c".parse().unwrap(), &wish, "ada").await.unwrap();
    }

    async fn campaign(&self) -> Campaign {
        let code = CampaignCode::of(&"c".parse().unwrap());
        self.world.table().read_campaign(&code).await.unwrap().unwrap()
    }

    /// Those who were called since the first `known` dials, in their order.
    fn called(&self, known: usize) -> Vec<String> {
        self.dials()[known..].iter().map(|(_, number)| number.clone()).collect()
    }
}

/// A window is widened in the evening: who may be called by it is called then, in their old order, and nobody else.
#[tokio::test]
async fn new_hours_bring_those_forward_who_were_put_off_by_the_old_ones() {
    let ringing = put_off().await;
    ringing.edit(json!({ "end": "22:00" })).await;
    // Whoever looked a moment ago may still go by the old ones.
    assert_eq!(ringing.ring().await, 0);
    ringing.after(SignedDuration::from_secs(1)).await;
    ringing.ring().await;
    assert_eq!(ringing.called(1), ["+12125550109", "+12125550101"]);
    assert_eq!(ringing.campaign().await.new_hours, None, "nothing is left to look at");
    // The one who did not answer has their hour, London its morning.
    assert_eq!(ringing.after(SignedDuration::from_mins(39)).await, 0);
    assert_eq!(ringing.after(SignedDuration::from_mins(1)).await, 1);
    assert_eq!(ringing.called(3), ["+12125550100"]);
    // At two in the morning there: an earlier opening than the old one, and not yet.
    ringing.edit(json!({ "start": "03:00", "end": "22:00" })).await;
    ringing.after(SignedDuration::from_secs(1)).await;
    let before = ringing.dials().len();
    ringing.after(hours(1)).await;
    assert!(!ringing.called(before).contains(&"+442071234567".to_owned()));
    ringing.after(SignedDuration::from_mins(11)).await;
    assert!(ringing.called(before).contains(&"+442071234567".to_owned()));
}

#[tokio::test]
async fn new_hours_of_a_paused_campaign_hold_when_it_is_resumed() {
    let ringing = put_off().await;
    ringing.wish(Wish::Pause { reason: None }).await;
    ringing.edit(json!({ "end": "22:00" })).await;
    ringing.after(SignedDuration::from_secs(1)).await;
    assert!(ringing.campaign().await.new_hours.is_some());
    ringing.wish(Wish::Resume).await;
    ringing.ring().await;
    ringing.ring().await;
    assert_eq!(ringing.called(1), ["+12125550109", "+12125550101"]);
}

/// Whoever brings leads forward has died at it: the next one goes on when nobody holds them any more. Hours that are
/// changed again meanwhile are begun with at once.
#[tokio::test]
async fn new_hours_outlive_whoever_looks_at_the_leads() {
    let ringing = put_off().await;
    let table = ringing.world.table();
    ringing.edit(json!({ "end": "21:00" })).await;
    ringing.world.clock.advance(SignedDuration::from_secs(1));
    let now = ringing.world.clock.now();
    let until = now + ringing.app.timers.settling();
    table.hold_sweep(&ringing.campaign().await, now, until).await.unwrap().unwrap();
    assert_eq!(ringing.ring().await, 0);
    ringing.after(ringing.app.timers.settling()).await;
    ringing.ring().await;
    assert_eq!(ringing.called(1), ["+12125550109", "+12125550101"]);

    let ringing = put_off().await;
    let table = ringing.world.table();
    ringing.edit(json!({ "end": "19:00" })).await;
    ringing.world.clock.advance(SignedDuration::from_secs(1));
    let now = ringing.world.clock.now();
    let first = table.hold_sweep(&ringing.campaign().await, now, now + hours(1)).await.unwrap().unwrap();
    ringing.edit(json!({ "end": "22:00" })).await;
    ringing.after(SignedDuration::from_secs(1)).await;
    ringing.ring().await;
    assert_eq!(ringing.called(1), ["+12125550109", "+12125550101"]);
    // What whoever goes by the hours of before says is said to nobody, even with the sweep in hand.
    ringing.edit(json!({ "end": "21:30" })).await;
    ringing.world.clock.advance(SignedDuration::from_secs(1));
    let now = ringing.world.clock.now();
    let until = now + hours(1);
    let last = table.hold_sweep(&ringing.campaign().await, now, until).await.unwrap().unwrap();
    let (before, settled) = (first.new_hours.clone().unwrap(), last.new_hours.clone().unwrap());
    table.hours_settled(&last.code, until, &before).await.unwrap();
    assert_eq!(ringing.campaign().await.new_hours, last.new_hours);
    assert!(!table.sweep_on(&first, until, until, 1, None).await.unwrap());
    table.hours_settled(&last.code, until, &settled).await.unwrap();
    assert_eq!(ringing.campaign().await.new_hours, None);
}

#[tokio::test]
async fn a_lead_whose_clock_nobody_knows_is_refused_where_it_matters() {
    let leads =
        || vec![json!({ "number": "+80012345678" }), json!({ "number": "+80012345679", "timezone": "UTC" })];
    let any_time = Ringing::start("none", "2026-06-05T03:00:00Z").await;
    assert_eq!(any_time.send("c", json!({}), leads()).await, 0);
    assert_eq!(any_time.ring().await, 2);
    let by_law = Ringing::start("default", "2026-06-05T03:00:00Z").await;
    assert_eq!(by_law.send("c", json!({}), leads()).await, 1);
    assert_eq!(by_law.ring().await, 0);
    assert_eq!(by_law.after(hours(5)).await, 1);
}
