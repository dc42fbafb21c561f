//! Vapi's answers, read by the real client: a dial, one call, the list of calls, the analytics.

use std::collections::HashSet;
use std::time::Duration;

use headroom::vapi::calls::Call;
use headroom::vapi::dial::Dialed;
use jiff::SignedDuration;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Target;
use super::ask::{Answer, Line, Made, Question, now};
use crate::checks::{chain, ensure, is_id, key_safe, reads_back, says_no_number};
use crate::corpus::{self, Corpus};
use crate::frame::Frame;
use crate::measure::{Bounds, Outcome};
use crate::pick;

pub(super) const NAME: &str = "answers";

pub(super) fn target() -> anyhow::Result<Target> {
    let line = Line::open()?;
    let corpora = Corpora::read();
    Ok(Target {
        name: NAME,
        generate: Box::new(move |rng| corpora.generate(rng).write()),
        run: Box::new(move |input| run(&line, input)),
        // A server and a client in between, each with the body in its hands; and a list is asked for
        // up to 15 times.
        bounds: Bounds {
            time: Duration::from_millis(500),
            time_per_byte: Duration::from_micros(60),
            memory: 4 * 1024 * 1024,
            memory_per_byte: 320,
        },
        short: 2000,
        expected: &[
            "created",
            "over the limit",
            "throttled",
            "bad lead",
            "bad campaign",
            "unclear",
            "call",
            "no call",
            "calls",
            "hours",
            "refused",
        ],
    })
}

struct Corpora {
    dial: Corpus,
    calls: Corpus,
    lists: Corpus,
    history: Corpus,
    kept: Vec<Frame>,
}

impl Corpora {
    fn read() -> Self {
        let most = 256 * 1024;
        let refusals = || [corpus::recorded("api.4"), corpus::recorded("api.5")].concat();
        let calls = corpus::recorded("api.get-call");
        let list = |times: usize| {
            let page: Vec<&str> =
                calls.iter().filter_map(|call| std::str::from_utf8(call).ok()).cycle().take(times).collect();
            format!("[{}]", page.join(",")).into_bytes()
        };
        // A page of a list is 200 calls: the next one is asked for. Short calls keep it small.
        let short = |n: usize| {
            let at = now() - SignedDuration::from_secs(60 * n as i64);
            format!(r#"{{"id":"c-{n}","status":"ended","type":"webCall","createdAt":"{at}"}}"#)
        };
        let page: Vec<String> = (0..200).map(short).collect();
        let page = format!("[{}]", page.join(",")).into_bytes();
        let history = corpus::recorded("api.analytics").into_iter().map(|answer| {
            // As if our queries had been asked.
            let text = String::from_utf8_lossy(&answer).into_owned();
            text.replacen("\"name\":", "\"name\":\"headroom peaks\",\"was\":", 1).into_bytes()
        });
        let ours = br#"[{"name":"headroom peaks","result":[{"date":"2026-03-25T00:00:00Z","concurrency":"31"}]},{"name":"headroom volumes","result":[{"date":"2026-03-25T01:00:00Z","type":"webCall","calls":2,"minutes":null}]}]"#;
        Self {
            dial: Corpus::new([corpus::recorded("api.post-call"), refusals()].concat(), most),
            lists: Corpus::new([list(0), list(3), page], most),
            calls: Corpus::new([calls.clone(), refusals()].concat(), most),
            history: Corpus::new(history.chain([ours.to_vec()]), most),
            kept: corpus::kept_frames(NAME),
        }
    }

    fn generate(&self, rng: &mut StdRng) -> Frame {
        if !self.kept.is_empty() && rng.random_bool(0.05) {
            let mut frame = pick(rng, &self.kept).clone();
            frame.change_head(rng, &["retry-after", ":status", ":asked"], 4096);
            return frame;
        }
        let (asked, corpus) = *pick(
            rng,
            &[
                ("dial", &self.dial),
                ("dial", &self.dial),
                ("get", &self.calls),
                ("list", &self.lists),
                ("history", &self.history),
            ],
        );
        const STATUSES: [&str; 14] = [
            "200", "201", "204", "301", "400", "401", "402", "403", "404", "408", "422", "429", "500", "522",
        ];
        let status = if rng.random_bool(0.6) { "201" } else { *pick(rng, &STATUSES) };
        let mut frame =
            Frame { head: Vec::new(), body: corpus.body(rng) }.with(":asked", asked).with(":status", status);
        if rng.random_bool(0.1) {
            frame = frame.with("retry-after", "7");
            frame.change_head(rng, &["retry-after", "content-encoding", "location", "set-cookie"], 4096);
        }
        if rng.random_bool(0.05) {
            frame = frame.with(":missing", rng.random_range(1..100).to_string());
        }
        frame
    }
}

fn run(line: &Line, input: &[u8]) -> Outcome {
    let frame = Frame::read(input);
    let question = match frame.text(":asked") {
        Some("get") => Question::Get,
        Some("list") => Question::List,
        Some("history") => Question::History,
        _ => Question::Dial,
    };
    let mut headers = frame.headers();
    for ours in ["connection", "content-length", "transfer-encoding"] {
        headers.remove(ours);
    }
    let number = |name: &str| frame.text(name).and_then(|text| text.parse::<u16>().ok());
    let status = number(":status").filter(|status| (200..600).contains(status)).unwrap_or(201);
    let missing = number(":missing").unwrap_or_default().into();
    // These have no body whatever is sent.
    let body = if matches!(status, 204 | 304) { Vec::new() } else { frame.body };
    let answer = Answer { status, headers, body, missing };
    match line.ask(question, &answer) {
        Made::Dialed(dialed) => check_dialed(&dialed, &answer, input),
        Made::Call(Ok(None)) => Ok("no call"),
        Made::Call(Ok(Some(call))) => check_call(&call).map(|()| "call"),
        Made::Listing(Ok(listing)) => {
            listing.calls.iter().try_for_each(check_call)?;
            let ids: HashSet<_> = listing.calls.iter().map(|call| &call.id).collect();
            ensure(ids.len() == listing.calls.len(), || "a call is listed twice".into())?;
            Ok("calls")
        }
        Made::History(Ok(history)) => {
            for row in history.peaks.iter().chain(&history.volumes) {
                let figures = ["concurrency", "calls", "minutes", "id"].map(|alias| row.number(alias));
                ensure(figures.iter().all(|figure| figure.is_finite() && *figure >= 0.0), || {
                    format!("figures are {figures:?}")
                })?;
            }
            Ok("hours")
        }
        Made::Call(Err(error)) | Made::Listing(Err(error)) | Made::History(Err(error)) => {
            says_no_number(&chain(&error), input).map(|()| "refused")
        }
    }
}

fn check_call(call: &Call) -> Result<(), String> {
    is_id(call.id.as_str(), 64, key_safe)?;
    call.claim.iter().try_for_each(reads_back)?;
    let reason = call.end.reason.as_deref().unwrap_or_default();
    ensure(reason.len() <= 1024, || format!("a reason of {} bytes is kept", reason.len()))?;
    ensure(!(call.is_live() && call.has_ended()), || "a call both lives and has ended".into())
}

/// A line is taken for good on a clear answer only, and freed on a clear answer only.
fn check_dialed(dialed: &Dialed, answer: &Answer, input: &[u8]) -> Outcome {
    let status = answer.status;
    let is_whole = answer.missing == 0;
    let (came_to, fits, message) = match dialed {
        Dialed::Created { call, org, .. } => {
            is_id(call.as_str(), 64, key_safe)?;
            org.iter().try_for_each(|org| is_id(org.as_str(), 64, key_safe))?;
            ("created", (200..300).contains(&status) && is_whole, "")
        }
        Dialed::OverLimit { call, limits } => {
            call.iter().try_for_each(|call| is_id(call.as_str(), 64, key_safe))?;
            ensure(limits.limit != Some(0), || "a subscription of no lines".into())?;
            ("over the limit", (200..500).contains(&status) && is_whole, "")
        }
        Dialed::Throttled { until } => {
            let wait = until.duration_since(now());
            ensure(!wait.is_negative() && wait <= SignedDuration::from_hours(1), || format!("waits {wait}"))?;
            ("throttled", status == 429, "")
        }
        Dialed::BadLead { message } => ("bad lead", matches!(status, 400 | 422), &**message),
        Dialed::BadCampaign { message } => ("bad campaign", (400..500).contains(&status), &**message),
        Dialed::BadAccount { message } => ("bad account", (400..500).contains(&status), &**message),
        Dialed::Unclear { message } => ("unclear", true, &**message),
        Dialed::NotSent { message } => ("not sent", false, &**message),
    };
    ensure(fits, || format!("an answer of {status} came to {dialed:?}"))?;
    says_no_number(message, input)?;
    Ok(came_to)
}
