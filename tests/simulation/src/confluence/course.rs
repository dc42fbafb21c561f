//! One word, run: a call's dial up to where it stands when the first event comes, then the events, one
//! after the other, through the real handlers; then, with Vapi telling the truth, two passes.

use std::sync::Arc;
use std::time::Duration;

use headroom::core::ids::NameCode;
use headroom::core::pool::Policy;
use headroom::core::reserve::Reserve;
use headroom::flows::operate::Asked;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vapi_sim::{Counter, Faults as VapiFaults, Telephony, Traffic};

use super::scenarios::{Caller, Event, Scenario, Tells};
use super::state::{Look, text_of};
use crate::faults::Rates;
use crate::functions::SECRET;
use crate::hours::Hours;
use crate::plan::{Campaign, Plan, agent};
use crate::scripted::{DialAnswer, Scripted, Word};
use crate::world::World;

/// Between two passes.
const MINUTE: Duration = Duration::from_secs(60);

/// What a word led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// The state, as closely as it decides what comes next.
    pub close: String,
    /// The state, as far as it is final.
    pub alone: String,
    /// The same after two passes with Vapi telling the truth.
    pub settled: String,
}

/// Runs a word in this thread. `is_known` is asked whether what follows its state is known already; then
/// there is nothing more to find out, and the state's place among the known ones is returned.
pub fn run(
    scenario: &Scenario,
    word: &[Event],
    is_known: impl FnOnce(&str) -> Option<usize>,
) -> Result<Ran, usize> {
    // Tokens and ways draw from here.
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread without sockets asks the machine for nothing");
    runtime.block_on(async {
        let mut course = Course::begin(scenario).await;
        for event in word {
            course.happen(*event).await;
        }
        let close = course.close();
        let ran = match is_known(&close) {
            Some(place) => Err(place),
            None => {
                let alone = course.state(Look::Final);
                course.settle().await;
                Ok(Ran { close, alone, settled: course.state(Look::Final) })
            }
        };
        course.world.retire();
        ran
    })
}

/// A world without chance: one campaign of one lead, and more lines than it needs.
fn plan() -> Plan {
    let leads = vec![("l0".to_owned(), "+15555550000".to_owned())];
    Plan {
        seed: 1,
        lines: 4,
        policy: Policy::new(4, 2, 1).expect("four lines are a pool"),
        sizes: Default::default(),
        adopt_limit: false,
        often: Default::default(),
        campaigns: vec![Campaign {
            id: "c0".into(),
            leads,
            attempts: 2,
            again: Default::default(),
            cap: None,
            max_seconds: 60,
            agent: None,
            org: None,
            turn: Default::default(),
        }],
        telephony: Telephony::default(),
        traffic: Traffic { inbound_per_hour: 0.0, web_per_hour: 0.0, ..Traffic::default() },
        vapi: VapiFaults::default(),
        rates: Rates::default(),
        counter: Counter::default(),
        sibling: None,
        outages: Vec::new(),
        repeats: 0.0,
        stale: 0.0,
        schedule: (0.0, 0.0),
        skew: Duration::ZERO,
        chaos: Duration::ZERO,
        aftermath: Duration::ZERO,
        changes: Vec::new(),
        forwards: false,
        rejects: "",
        hours: Hours::default(),
        backfill: false,
        life: Default::default(),
        events: false,
    }
}

struct Course<'a> {
    scenario: &'a Scenario,
    world: Arc<World>,
    vapi: Arc<Scripted>,
    /// The dispatcher, while it waits for the dial's answer.
    waiting: Option<JoinHandle<Vec<u64>>>,
    began: Timestamp,
}

impl<'a> Course<'a> {
    async fn begin(scenario: &'a Scenario) -> Self {
        let word = match scenario.tells {
            Tells::Over => Word::Ended,
            Tells::Follows => Word::Live,
            Tells::Always(word) => word,
        };
        let (kind, dial) = match scenario.caller {
            Caller::Other(kind) => (kind, None),
            Caller::Ours(dial) => ("outboundPhoneCall", Some(dial)),
        };
        let answer = dial.unwrap_or(DialAnswer::Lost);
        let vapi = Arc::new(Scripted::new(kind, dial.is_none(), scenario.ending, answer, word));
        let world = World::still(plan(), vapi.clone());
        // One line of each kind is reserved, so that what takes and frees has to know from where.
        let members = [NameCode::of("as"), NameCode::of("ph")].into();
        let reserve = Reserve { inbound: 1, outbound: 1, web: 1, members, ..Reserve::default() };
        let asked = Asked { reserve: Some((agent("desk"), reserve)), ..Asked::default() };
        assert!(world.operate(asked).await, "three of four lines can be reserved");
        let mut waiting = None;
        if dial.is_some() {
            let dispatcher = dispatch(&world).await;
            vapi.dialed().await;
            match answer {
                DialAnswer::Held => waiting = Some(dispatcher),
                DialAnswer::Given | DialAnswer::Lost => {
                    drop(dispatcher.await.expect("the dispatcher comes to its end"))
                }
            }
        }
        // A while later, so that what was there before is known by its time.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let began = world.clock.now();
        Self { scenario, world, vapi, waiting, began }
    }

    async fn happen(&mut self, event: Event) {
        if event.is_end() && self.scenario.tells == Tells::Follows {
            self.vapi.set_word(Word::Ended);
        }
        match event {
            Event::Request => self.send("assistant-request", None, true).await,
            Event::Status(status) => self.send("status-update", Some(status), true).await,
            Event::Ended => self.send("status-update", Some("ended"), true).await,
            Event::Report => self.send("end-of-call-report", None, true).await,
            Event::StrippedStatus(status) => self.send("status-update", Some(status), false).await,
            Event::StrippedEnded => self.send("status-update", Some("ended"), false).await,
            Event::StrippedReport => self.send("end-of-call-report", None, false).await,
            Event::Answer => {
                self.vapi.release();
                let dispatcher = self.waiting.take().expect("a dial is answered once");
                dispatcher.await.expect("the dispatcher comes to its end");
            }
            Event::Pass => assert!(self.world.reconcile().await, "the pass goes through"),
        }
    }

    /// Delivers a server message, as Vapi words it.
    async fn send(&self, kind: &str, status: Option<&str>, claimed: bool) {
        let ending = self.scenario.ending;
        let mut message = json!({ "type": kind, "call": self.vapi.call(claimed) });
        if let Some(status) = status {
            message["status"] = json!(status);
        }
        if status == Some("ended") || kind == "end-of-call-report" {
            message["endedReason"] = ending.reason.map_or(Value::Null, Value::from);
        }
        // Only a report tells when the call was answered.
        if kind == "end-of-call-report" && ending.connected {
            message["startedAt"] = json!(crate::clock::BEGIN);
        }
        let request = http::Request::post("/vapi")
            .header("x-vapi-secret", SECRET)
            .body(json!({ "message": message }).to_string().into_bytes())
            .expect("a constant request is one");
        let answer = self.world.webhook(request).await.expect("nothing breaks here");
        assert_eq!(answer.status(), 200, "{message}");
    }

    /// Every message that comes has come, and Vapi tells the truth.
    async fn settle(&mut self) {
        // No word ends here: it goes on with the answer.
        if self.waiting.is_some() {
            return;
        }
        self.vapi.set_word(Word::Ended);
        for _ in 0..2 {
            assert!(self.world.reconcile().await, "the pass goes through");
            tokio::time::sleep(MINUTE).await;
        }
    }

    fn state(&self, look: Look) -> String {
        let broken = self.world.violation().map(|violation| format!("BROKEN {violation}\n"));
        broken.unwrap_or_default() + &text_of(&self.world.items(), self.began, look)
    }

    /// The state with all that decides what comes next: the table, what Vapi says, and who waits for it.
    fn close(&self) -> String {
        let open = if self.waiting.is_some() { "its answer is awaited" } else { "" };
        format!("{}Vapi says {:?} {open}\n", self.state(Look::Close), self.vapi.word())
    }
}

/// The campaign comes, and its lead is dialed.
async fn dispatch(world: &Arc<World>) -> JoinHandle<Vec<u64>> {
    let campaign = &world.plan.campaigns[0];
    world.queues.campaigns.send(campaign.message(&campaign.leads), Duration::ZERO);
    let batch = world.queues.campaigns.receive(&mut fastrand::Rng::with_seed(1), 0.0).await;
    let world = world.clone();
    tokio::spawn(async move { world.dispatch(&batch).await })
}
