//! A Vapi of one call, which says of it what it is told to say. For checks that are about the order of
//! things and not about what a telephone does: there the simulated Vapi would decide too much.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::clock::BEGIN;

/// The one call's id.
pub const CALL: &str = "0b0b0b0b-0000-4000-8000-000000000001";
/// The organisation that it belongs to.
pub const ORG: &str = "0a0a0a0a-0000-4000-8000-00000000000a";

/// What becomes of the answer to the dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialAnswer {
    /// It comes at once.
    Given,
    /// It comes when [`Scripted::release`] says so.
    Held,
    /// It never comes, and the call is made.
    Lost,
}

/// What Vapi says when it is asked about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// It is in progress.
    Live,
    /// It has ended.
    Ended,
    /// There is no such call: Vapi says so of calls that are being made or stored.
    Unheard,
    /// Nothing: it is down.
    Silent,
}

/// How the call ends.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// As Vapi spells it, if it says.
    pub reason: Option<&'static str>,
    /// Whether somebody answered the telephone.
    pub connected: bool,
}

/// A Vapi of one call.
#[derive(Debug)]
pub struct Scripted {
    kind: &'static str,
    ending: Ending,
    dial_answer: DialAnswer,
    state: Mutex<State>,
    dialed: Notify,
    released: Notify,
}

#[derive(Debug)]
struct State {
    word: Word,
    /// Whether the call was made.
    exists: bool,
    /// The claim that the dial gave it.
    claim: Option<String>,
}

impl Scripted {
    /// A Vapi with a call of Vapi's type `kind`. An outbound one is there once it is dialed, unless it
    /// is `foreign`.
    pub fn new(
        kind: &'static str,
        foreign: bool,
        ending: Ending,
        dial_answer: DialAnswer,
        word: Word,
    ) -> Self {
        let exists = foreign || kind != "outboundPhoneCall";
        let state = Mutex::new(State { word, exists, claim: None });
        Self { kind, ending, dial_answer, state, dialed: Notify::new(), released: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says from now on.
    pub fn set_word(&self, word: Word) {
        self.state().word = word;
    }

    /// What it says now.
    pub fn word(&self) -> Word {
        self.state().word
    }

    /// Waits until the call is dialed.
    pub async fn dialed(&self) {
        self.dialed.notified().await;
    }

    /// Lets the dial's answer go.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// The call as it was when it was made, as every message carries it; `claimed` or stripped of what
    /// tells whose it is.
    pub fn call(&self, claimed: bool) -> Value {
        let mut call = json!({
            "id": CALL, "orgId": ORG, "type": self.kind, "status": "queued", "createdAt": BEGIN, "phoneNumberId": "ph",
        });
        if let Some(claim) = self.state().claim.as_ref().filter(|_| claimed) {
            call["name"] = json!(claim);
            call["metadata"] = json!({ "reservationId": claim });
            call["assistantOverrides"] = json!({ "metadata": { "reservationId": claim } });
        }
        call
    }

    /// The call as it is now.
    fn present(&self) -> Value {
        let mut call = self.call(true);
        let has_ended = self.word() == Word::Ended;
        call["status"] = json!(if has_ended { "ended" } else { "in-progress" });
        if has_ended && let Some(reason) = self.ending.reason {
            call["endedReason"] = json!(reason);
        }
        if self.ending.connected {
            call["startedAt"] = json!(BEGIN);
        }
        call
    }

    /// The answer to a request. Nothing if the connection breaks.
    pub async fn answer(&self, request: &Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/call") => self.dial(request.body()).await,
            ("HEAD", _) => Some(respond(200, &json!({}))),
            ("GET", path) => Some(self.read(path)),
            (method, path) => panic!("{method} {path} is not in the script"),
        }
    }

    fn read(&self, path: &str) -> Response<Vec<u8>> {
        let (word, exists) = (self.word(), self.state().exists);
        match (word, path) {
            (Word::Silent, _) => {
                respond(500, &json!({ "message": "Internal server error", "statusCode": 500 }))
            }
            (Word::Live | Word::Ended, "/call") if exists => respond(200, &json!([self.present()])),
            (_, "/call") => respond(200, &json!([])),
            (Word::Live | Word::Ended, _) if exists => respond(200, &self.present()),
            _ => respond(404, &json!({ "message": "Not Found", "statusCode": 404 })),
        }
    }

    async fn dial(&self, body: &[u8]) -> Option<Response<Vec<u8>>> {
        let body: Value = serde_json::from_slice(body).expect("a dial is JSON");
        {
            let mut state = self.state();
            assert!(!state.exists, "the script has one call");
            state.exists = true;
            state.claim = body["name"].as_str().map(str::to_owned);
        }
        self.dialed.notify_one();
        match self.dial_answer {
            DialAnswer::Given => {}
            DialAnswer::Held => self.released.notified().await,
            DialAnswer::Lost => return None,
        }
        Some(respond(201, &self.call(true)))
    }
}

fn respond(status: u16, body: &Value) -> Response<Vec<u8>> {
    let mut answer = Response::new(body.to_string().into_bytes());
    *answer.status_mut() = status.try_into().expect("a status of three digits");
    answer
}
