//! People who want to be called at a time of theirs, and what is promised about it: nobody is called before it, a wish
//! that was taken is one promise however often it is told, each promise is kept or missed once, or its lead ended with a
//! reason for it, and none is counted for what it was not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headroom::core::ids::ClaimKey;
use headroom::core::line::Token;
use headroom::flows::callbacks::CallbackError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vapi_sim::CallTruth;

use crate::functions::SECRET;
use crate::items::{number, text};
use crate::plan::{Campaign, Change, some_time};
use crate::process::Function;
use crate::promises::{Checked, ensure};
use crate::world::{World, lock};

/// Somebody wants to be called.
#[derive(Debug, Clone)]
pub struct CallBack {
    campaign: String,
    lead: String,
    number: String,
    /// So long after they say it.
    after: Duration,
    told: Told,
}

/// Who tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The assistant's tool in the next call, and its report once more when that call is over.
    Tool,
    /// The report of a call that is over, and perhaps settled.
    Report,
    /// Somebody at the console.
    Console,
}

/// In a third of the seeds, drawn apart from all else.
pub(crate) fn draw(
    seed: u64,
    campaigns: &[Campaign],
    chaos: Duration,
    changes: &mut Vec<(Duration, Change)>,
) {
    let c = &mut fastrand::Rng::with_seed(seed ^ 0x0000_ca11_bac0);
    if c.u8(0..3) > 0 {
        return;
    }
    for campaign in campaigns {
        for (lead, number) in &campaign.leads {
            // One of them asks again and again.
            let times = if c.u8(0..12) == 0 { 7 } else { u8::from(c.u8(0..3) == 0) * c.u8(1..=2) };
            for _ in 0..times {
                let wish = CallBack {
                    campaign: campaign.id.clone(),
                    lead: lead.clone(),
                    number: number.clone(),
                    after: Duration::from_secs(c.u64(20..700)),
                    told: [Told::Tool, Told::Report, Told::Console][c.usize(0..3)],
                };
                changes.push((some_time(c, chaos), Change::CallBack(wish)));
            }
        }
    }
}

/// How long somebody waits for a call to say it in.
const WAITS: u32 = 60;
/// Between two looks for one, and two tries to tell.
const LOOK: Duration = Duration::from_secs(2);
/// Most promises to one lead.
const MOST: usize = 5;
/// How late a dial may be that keeps a promise.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Why leads end that are promised a call.
const REASONS: [&str; 3] = ["cancelled", "window_closed", "do_not_call"];

impl World {
    /// A person, or somebody for them, says when they want to be called.
    pub(crate) async fn call_back(self: Arc<Self>, wish: CallBack) {
        if wish.told == Told::Console {
            return self.ask_for_call(&wish).await;
        }
        for _ in 0..WAITS {
            let live = wish.told == Told::Tool;
            let calls = self.vapi().calls(|call| {
                call.held_line && call.number == Some(&*wish.number) && (!live || call.is_live)
            });
            let Some(call) = calls.into_iter().rfind(|call| live || call.ended_reason.is_some()) else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let at = self.in_a_while(&wish);
            if live {
                self.use_tool(&wish, &call, at).await;
            }
            // The report of the same call: what the tool has told is told once more.
            for _ in 0..WAITS {
                let calls = self.vapi().calls(|other| other.id.to_string() == call.id);
                if let Some(over) = calls.into_iter().find(|call| call.ended_reason.is_some()) {
                    return self.report(&wish, &over, at).await;
                }
                tokio::time::sleep(LOOK * 5).await;
            }
            return;
        }
    }

    fn in_a_while(&self, wish: &CallBack) -> Timestamp {
        let at = self.clock.now() + SignedDuration::try_from(wish.after).expect("minutes");
        Timestamp::from_second(at.as_second() + 1).expect("in range")
    }

    async fn ask_for_call(self: &Arc<Self>, wish: &CallBack) {
        let at = self.in_a_while(wish);
        for _ in 0..WAITS {
            self.note("calls back", || format!("somebody asks for a call of {} at {at}", wish.lead));
            let (id, lead) = (wish.campaign.parse(), wish.lead.parse());
            let asked = headroom::core::callback::Asked::At(at);
            let done = self.invoke(Function::Console, |app| async move {
                let (Ok(id), Ok(lead)) = (id, lead) else { return None };
                Some(app.call_back(&id, &lead, &asked, "ada").await)
            });
            match done.await.flatten() {
                Some(Ok(_)) => {
                    let told = lock(&self.promises).callbacks.accepted(&wish.number, at);
                    return told.unwrap_or_else(|violation| self.violated(violation));
                }
                Some(Err(CallbackError::Not(_) | CallbackError::Unknown(_))) => return,
                Some(Err(CallbackError::Table(_))) | None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn said_in(wish: &CallBack, call: &CallTruth, kind: &str, more: Value) -> Value {
        let mut message = json!({
            "type": kind, "customer": { "number": wish.number },
            "call": {
                "id": call.id, "orgId": call.org_id, "type": "outboundPhoneCall", "name": call.name,
                "metadata": { "reservationId": call.name },
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        json!({ "message": message })
    }

    async fn tell(self: &Arc<Self>, message: &Value) -> Option<Value> {
        for _ in 0..WAITS {
            let request = http::Request::post("/vapi")
                .header("x-vapi-secret", SECRET)
                .body(message.to_string().into_bytes())
                .expect("a constant request is one");
            if let Some(answer) = self.webhook(request).await
                && answer.status().is_success()
            {
                return Some(serde_json::from_slice(answer.body()).unwrap_or_default());
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    async fn use_tool(self: &Arc<Self>, wish: &CallBack, call: &CallTruth, at: Timestamp) {
        self.note("calls back", || format!("{} wants to be called at {at}", wish.lead));
        let tool = json!({ "name": "call_me_back", "arguments": { "at": at } });
        let list = json!({ "toolCallList": [{ "id": "use-1", "function": tool }] });
        let Some(answer) = self.tell(&Self::said_in(wish, call, "tool-calls", list)).await else { return };
        let said = answer["results"][0]["result"].as_str().unwrap_or_default();
        if said.starts_with("Confirmed") {
            let told = lock(&self.promises).callbacks.accepted(&wish.number, at);
            told.unwrap_or_else(|violation| self.violated(violation));
        }
    }

    async fn report(self: &Arc<Self>, wish: &CallBack, call: &CallTruth, at: Timestamp) {
        self.note("calls back", || format!("a report says that {} wants to be called at {at}", wish.lead));
        let mut more = json!({
            "endedReason": call.ended_reason,
            "analysis": { "structuredData": { "callbackAt": at } },
        });
        if let Some(started) = call.started_at_ms {
            let started = Timestamp::from_millisecond(started as i64).expect("in range");
            more["startedAt"] = json!(started);
        }
        if self.tell(&Self::said_in(wish, call, "end-of-call-report", more)).await.is_none() {
            return;
        }
        let now = self.clock.now();
        let told = {
            let promises = lock(&self.promises);
            let is_free = self.plan.hours.are_none() && !promises.is_refused(&wish.number);
            promises.callbacks.reported(&wish.number, &call.id, at, now, is_free)
        };
        told.unwrap_or_else(|violation| self.violated(violation));
    }
}

/// What is promised to a lead, as its item tells.
#[derive(Debug, Clone, Default)]
struct Seen {
    number: String,
    campaign: String,
    state: String,
    call: Option<String>,
    token: Option<String>,
    attempts: i64,
    /// The instant in microseconds, and the claims when it was made.
    promise: Option<(i64, i64)>,
    /// Call, use, seconds.
    heard: Vec<(String, String, i64)>,
}

impl Seen {
    fn of(campaign: &str, item: &Value) -> Self {
        let heard = text(item, "cb_heard").unwrap_or_default();
        let words = heard.split_whitespace().filter_map(|word| {
            let (whose, at) = word.rsplit_once('@')?;
            let (call, tool) = whose.split_once('/')?;
            Some((call.to_owned(), tool.to_owned(), at.parse().ok()?))
        });
        Self {
            number: text(item, "num").unwrap_or_default(),
            campaign: campaign.to_owned(),
            state: text(item, "st").unwrap_or_default(),
            call: text(item, "vcall"),
            token: text(item, "tok"),
            attempts: number(item, "att"),
            promise: item.get("cb").map(|_| (number(item, "cb"), number(item, "cb_claim"))),
            heard: words.collect(),
        }
    }
}

/// Promised calls, as the items tell.
#[derive(Debug, Default)]
pub struct Callbacks {
    leads: BTreeMap<(String, String), Seen>,
    /// Campaign code → kept, missed, by what the leads said when they were.
    ended: BTreeMap<String, (i64, i64)>,
    /// Campaign code → made, kept, missed, as it counts them.
    counted: BTreeMap<String, (i64, i64, i64)>,
    /// The codes of the campaigns that are cancelled, or being.
    cancelled: BTreeSet<String>,
}

impl Callbacks {
    /// A campaign's item was written.
    pub(crate) fn campaign_written(&mut self, code: &str, item: &Value) {
        let counted = (number(item, "cb_made"), number(item, "cb_kept"), number(item, "cb_missed"));
        self.counted.insert(code.to_owned(), counted);
        if text(item, "st").is_some_and(|state| state.starts_with("cancel")) {
            self.cancelled.insert(code.to_owned());
        } else {
            self.cancelled.remove(code);
        }
    }

    /// A lead's item was written by the table's function `by`.
    pub(crate) fn lead_written(&mut self, by: &str, at: &(String, String), item: &Value) -> Checked {
        let now = Seen::of(&at.0, item);
        let before = self.leads.insert(at.clone(), now.clone()).unwrap_or_default();
        ensure(now.heard.len() <= MOST && now.heard.starts_with(&before.heard), "callback", || {
            format!("a lead of {} heard {:?} and then {:?}", at.0, before.heard, now.heard)
        })?;
        for (nth, (call, _, second)) in now.heard.iter().enumerate() {
            // An operator may come back to a time that was given up; a call's words are meant once.
            let others = if call == "-" { nth.saturating_sub(1)..nth } else { 0..nth };
            let twice = now.heard[others].iter().any(|other| (&other.0, &other.2) == (call, second));
            ensure(!twice, "callback", || format!("one wish is two promises: {:?}", now.heard))?;
        }
        let is_over = matches!(now.state.as_str(), "done" | "failed");
        ensure(!is_over || now.promise.is_none(), "callback", || {
            format!("a lead of {} is {} and is promised a call", at.0, now.state)
        })?;
        let in_lane = text(item, "q").is_some_and(|queue| queue.ends_with('!'));
        ensure(now.state != "ready" || in_lane == now.promise.is_some(), "callback", || {
            format!("a lead of {} is promised {:?}, and stands in {:?}", at.0, now.promise, text(item, "q"))
        })?;
        let (Some((promised, _)), None) = (before.promise, now.promise) else { return Ok(()) };
        // What is promised ends with a call, or with its lead.
        let reason = text(item, "reason").unwrap_or_default();
        let for_a_reason = REASONS.contains(&reason.as_str()) || reason.starts_with("no line");
        if now.state == "failed" && for_a_reason {
            return Ok(());
        }
        ensure(by == "settle_promised" && now.attempts == before.attempts + 1, "callback", || {
            format!("a promise to a lead of {} is gone by {by}: {now:?}", at.0)
        })?;
        let began =
            now.token.as_ref().and_then(|token| token.parse::<Token>().ok()).map(|token| token.since());
        let late = began.map(|began| began.as_microsecond() - promised);
        ensure(late.is_some_and(|late| late >= 0), "callback", || {
            format!("a promise to a lead of {} ended with a call of before it: {late:?} µs", at.0)
        })?;
        let in_time = late.is_some_and(|late| late <= TOLERANCE.as_micros() as i64) && now.call.is_some();
        let ended = self.ended.entry(at.0.clone()).or_default();
        if in_time {
            ended.0 += 1
        } else {
            ended.1 += 1
        }
        Ok(())
    }

    /// A wish was answered with a confirmation.
    fn accepted(&self, number: &str, at: Timestamp) -> Checked {
        let second = at.as_second();
        let mut leads = self.leads.values().filter(|seen| seen.number == number);
        ensure(leads.any(|seen| seen.heard.iter().any(|heard| heard.2 == second)), "callback", || {
            format!("a call at {at} was confirmed, and nobody noted it")
        })
    }

    /// A report was answered. If its lead has still that call, and nothing stands in the way (`is_free`), it is noted.
    fn reported(&self, number: &str, call: &str, at: Timestamp, now: Timestamp, is_free: bool) -> Checked {
        let in_time = at > now + SignedDuration::from_secs(60);
        let has_room = |seen: &&Seen| {
            seen.number == number && seen.call.as_deref() == Some(call) && seen.heard.len() < MOST
        };
        let lead = self.leads.values().find(has_room).filter(|_| is_free && in_time);
        let noted = |seen: &Seen| seen.heard.iter().any(|heard| heard.2 == at.as_second());
        let is_cancelled = |seen: &Seen| self.cancelled.contains(&seen.campaign);
        ensure(lead.is_none_or(|seen| noted(seen) || is_cancelled(seen)), "callback", || {
            format!("a report asked for a call at {at}, and nobody noted it: {lead:?}")
        })
    }

    /// Whether a lead is promised a call.
    pub(crate) fn is_promised(&self, at: &(String, String)) -> bool {
        self.leads.get(at).is_some_and(|seen| seen.promise.is_some())
    }

    /// Whether a lead of a campaign ever was.
    pub(crate) fn knows(&self, code: &str) -> bool {
        self.counted.get(code).is_some_and(|(made, ..)| *made > 0)
    }

    /// How often a lead was.
    pub(crate) fn promised(&self, at: &(String, String)) -> i64 {
        self.leads.get(at).map_or(0, |seen| seen.heard.len() as i64)
    }

    /// How often the leads of a campaign with this number were.
    pub(crate) fn promised_to(&self, code: &str, number: &str) -> i64 {
        let of = |seen: &&Seen| seen.campaign == code && seen.number == number;
        self.leads.values().filter(of).map(|seen| seen.heard.len() as i64).sum()
    }

    /// A dial arrives at Vapi, on clocks that are `skew` off at most.
    pub(crate) fn dialed(&self, claim: &ClaimKey, now: Timestamp, skew: SignedDuration) -> Checked {
        let at = (claim.campaign.as_str().to_owned(), claim.lead.as_str().to_owned());
        let Some((promised, made)) = self.leads.get(&at).and_then(|seen| seen.promise) else { return Ok(()) };
        // One that was under way already when they asked.
        if i64::from(claim.claim) <= made {
            return Ok(());
        }
        let early = promised - (now + skew).as_microsecond();
        ensure(early <= 0, "callback", || {
            format!("{claim} is dialed {} s before its time", early / 1_000_000)
        })
    }

    /// In the end each promise is counted, and each end of one.
    pub(crate) fn at_end(&self) -> Checked {
        for (code, (made, kept, missed)) in &self.counted {
            let leads = self.leads.values().filter(|seen| seen.campaign == *code);
            let heard: i64 = leads.map(|seen| seen.heard.len() as i64).sum();
            let ended = self.ended.get(code).copied().unwrap_or_default();
            ensure((*made, (*kept, *missed)) == (heard, ended), "callback", || {
                format!(
                    "campaign {code} counts {made} promises, {kept} kept and {missed} missed, its leads {heard} and {ended:?}"
                )
            })?;
        }
        Ok(())
    }
}
