//! The routes of campaigns: what each asks for, and what it is answered.

use headroom::core::callback::Asked;
use headroom::core::campaign::{Campaign, Message};
use headroom::core::ids::{CampaignId, LeadId, LeadRef};
use headroom::core::life::{Unreached, Wish};
use headroom::flows::callbacks::CallbackError;
use headroom::flows::campaigns::CampaignError;
use headroom::logging::chain;
use headroom::table::TableError;
use lambda_http::Request;
use lambda_http::http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Console, Refusal, asked};

/// What a path under `/campaigns` speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// All of them.
    All,
    /// On what terms one would be called that is not there yet.
    Check,
    /// One.
    One(&'a str),
    /// What somebody wants of one: `start`, `pause`, `resume`, `cancel` or `rerun`.
    Wish(&'a str, &'static str),
    /// What became of its leads.
    Results(&'a str),
    /// The calls that its leads are promised.
    Callbacks(&'a str),
}

/// The path of campaigns.
pub const CAMPAIGNS: &str = "/campaigns";
const WISHES: [&str; 5] = ["start", "pause", "resume", "cancel", "rerun"];
const RESULTS: &str = "results";
const CALLBACKS: &str = "callbacks";
const CHECK: &str = "check";
/// Largest campaign message: 100,000 leads with variables. Lambda takes a tenth of it.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Leads on a page of results.
const LEADS: i32 = 500;
const MOST_LEADS: i32 = 1_000;
/// Longest reason of a pause, in characters.
const LONGEST_REASON: usize = 200;

impl<'a> Place<'a> {
    /// An id may have a slash in it, and API Gateway hands paths over decoded: what stands last says what is asked.
    pub(crate) fn of(path: &'a str, method: &Method) -> Option<Self> {
        let rest = path.strip_prefix(CAMPAIGNS)?;
        if rest.is_empty() {
            return Some(Self::All);
        }
        let id = rest.strip_prefix('/').filter(|id| !id.is_empty())?;
        if id == CHECK && *method == Method::POST {
            return Some(Self::Check);
        }
        let of = |last: &str| id.strip_suffix(last)?.strip_suffix('/').filter(|id| !id.is_empty());
        if let Some((id, wish)) = WISHES.iter().find_map(|wish| Some((of(wish)?, *wish)))
            && *method == Method::POST
        {
            return Some(Self::Wish(id, wish));
        }
        match (of(RESULTS), of(CALLBACKS)) {
            (Some(id), _) if *method == Method::GET => Some(Self::Results(id)),
            (_, Some(id)) if *method == Method::POST => Some(Self::Callbacks(id)),
            _ => Some(Self::One(id)),
        }
    }

    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Self::All => &[Method::GET, Method::POST],
            Self::One(_) => &[Method::GET, Method::PATCH],
            Self::Wish(..) | Self::Callbacks(_) | Self::Check => &[Method::POST],
            Self::Results(_) => &[Method::GET],
        }
    }
}

impl Console {
    /// Answers a request about campaigns.
    pub(crate) async fn campaigns(&self, place: &Place<'_>, request: &Request) -> Result<Value, Refusal> {
        let is_get = *request.method() == Method::GET;
        match place {
            Place::All if is_get => {
                let status = self.app.status().await?;
                Ok(json!({ "campaigns": status.campaigns }))
            }
            Place::All => self.take_in(request).await,
            Place::Check => self.check_campaign(request).await,
            Place::One(id) if is_get => self.show(id, request).await,
            Place::One(id) => self.edit(id, request).await,
            Place::Wish(id, wish) => self.wish(id, wish, request).await,
            Place::Results(id) => self.results(id, request).await,
            Place::Callbacks(id) => self.call_back(id, request).await,
        }
    }

    async fn take_in(&self, request: &Request) -> Result<Value, Refusal> {
        let body = std::str::from_utf8(request.body()).map_err(|_| "the body is not UTF-8".to_owned())?;
        // Whoever posts it wants to know now, not from a dead-letter queue.
        let message = Message::parse(body.as_bytes()).map_err(|refused| refused.to_string())?;
        self.inlet.send(body).await.map_err(|failed| {
            tracing::error!(error = chain(&failed), "a campaign message was not accepted");
            Refusal::NotAccepted
        })?;
        Ok(match message {
            Message::Leads { spec, mut leads, mut bad, draft } => {
                // As it will be taken in.
                self.app.refuse_without_zone(&spec, &mut leads, &mut bad);
                let refused = bad.iter().map(|lead| json!({ "index": lead.index, "reason": lead.reason }));
                json!({
                    "campaign": spec.id.as_str(),
                    "draft": draft,
                    "leads": leads.len(),
                    "refused": refused.collect::<Vec<_>>(),
                })
            }
            Message::Resume(id) => json!({ "campaign": id.as_str() }),
        })
    }

    async fn check_campaign(&self, request: &Request) -> Result<Value, Refusal> {
        let message = Message::parse(request.body()).map_err(|refused| refused.to_string())?;
        let Message::Leads { spec, .. } = message else {
            return Err("send a campaign message; its leads are not looked at".to_owned().into());
        };
        let terms = self.app.terms(&spec).await?;
        Ok(serde_json::to_value(terms).expect("numbers, texts and instants are JSON"))
    }

    async fn show(&self, id: &str, request: &Request) -> Result<Value, Refusal> {
        let with_outcomes = match request.uri().query().unwrap_or_default() {
            "" => false,
            "outcomes=true" => true,
            _ => return Err("the query may be outcomes=true alone".to_owned().into()),
        };
        let detail = self.app.campaign(&campaign(id)?, with_outcomes).await?;
        Ok(serde_json::to_value(detail).expect("figures, texts and instants are JSON"))
    }

    async fn edit(&self, id: &str, request: &Request) -> Result<Value, Refusal> {
        let (id, by) = (campaign(id)?, asked::by(request.headers())?);
        let changed = self.app.edit_campaign(&id, &patch(request.body())?, by).await?;
        Ok(shown(&changed))
    }

    async fn wish(&self, id: &str, wish: &str, request: &Request) -> Result<Value, Refusal> {
        let (id, by) = (campaign(id)?, asked::by(request.headers())?);
        let changed = self.app.ask_campaign(&id, &wanted(wish, request.body())?, by).await?;
        Ok(shown(&changed))
    }

    async fn call_back(&self, id: &str, request: &Request) -> Result<Value, Refusal> {
        let (id, by) = (campaign(id)?, asked::by(request.headers())?);
        let (lead, asked) = callback(request.body())?;
        let promised = self.app.call_back(&id, &lead, &asked, by).await?;
        Ok(json!({
            "campaign": id.as_str(),
            "at": promised.at,
            "clock": promised.clock(),
            "moved": promised.is_moved,
            "known": promised.is_known,
        }))
    }

    async fn results(&self, id: &str, request: &Request) -> Result<Value, Refusal> {
        let (after, most) = page(request.uri().query().unwrap_or_default())?;
        let results = self.app.results(&campaign(id)?, after.as_ref(), most).await?;
        Ok(serde_json::to_value(results).expect("texts, numbers and instants are JSON"))
    }
}

impl From<CallbackError> for Refusal {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::Unknown(_) => Self::Unknown(error.to_string()),
            CallbackError::Not(_) => Self::Conflict(error.to_string()),
            CallbackError::Table(TableError::Contended(_)) => Self::Busy(error.to_string()),
            CallbackError::Table(failed) => failed.into(),
        }
    }
}

impl From<CampaignError> for Refusal {
    fn from(error: CampaignError) -> Self {
        match error {
            CampaignError::Unknown(_) => Self::Unknown(error.to_string()),
            CampaignError::Not { .. } | CampaignError::Edit(_) => Self::Conflict(error.to_string()),
            CampaignError::Busy => Self::Busy(error.to_string()),
            CampaignError::Table(failed) => failed.into(),
        }
    }
}

fn shown(campaign: &Campaign) -> Value {
    let why = campaign.state.why_not();
    json!({
        "id": campaign.spec.id.as_str(),
        "state": campaign.state.name(),
        "reason": why,
        "act": campaign.acts.last().map(|act| json!({ "at": act.at, "by": act.by, "what": act.what })),
    })
}

fn campaign(encoded: &str) -> Result<CampaignId, String> {
    let text = percent_decode_str(encoded).decode_utf8();
    let text = text.map_err(|_| "the id in the path is not UTF-8".to_owned())?;
    text.parse().map_err(|error| format!("the id in the path: {error}"))
}

const PATCH_EXAMPLE: &str = r#"send {"maxConcurrency": 20, "priority": "high", "window": null}, or any setting of the campaign that may change"#;

/// The body of `PATCH /campaigns/{id}`.
fn patch(body: &[u8]) -> Result<Map<String, Value>, String> {
    let patch: Map<String, Value> = asked::parse(body, PATCH_EXAMPLE)?;
    if patch.is_empty() {
        return Err(format!("the body names nothing to change; {PATCH_EXAMPLE}"));
    }
    Ok(patch)
}

/// The body of `POST /campaigns/{id}/{wish}`, which may be empty.
fn wanted(wish: &str, body: &[u8]) -> Result<Wish, String> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pause {
        reason: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rerun {
        #[serde(default)]
        outcomes: Vec<String>,
    }
    let is_empty = body.trim_ascii().is_empty();
    match wish {
        "pause" => {
            let example = r#"send nothing, or {"reason": "…"}"#;
            let Pause { reason } = if is_empty { Pause::default() } else { asked::parse(body, example)? };
            let is_good = |reason: &String| {
                (1..=LONGEST_REASON).contains(&reason.chars().count())
                    && !reason.chars().any(char::is_control)
            };
            if reason.as_ref().is_some_and(|reason| !is_good(reason)) {
                return Err(format!("reason: 1 to {LONGEST_REASON} characters without control characters"));
            }
            Ok(Wish::Pause { reason })
        }
        "rerun" => {
            let example = r#"send nothing, or {"outcomes": ["no-answer", "busy"]}"#;
            let Rerun { outcomes } = if is_empty { Rerun::default() } else { asked::parse(body, example)? };
            let only: Result<Vec<Unreached>, _> = outcomes.iter().map(|outcome| outcome.parse()).collect();
            let mut only = only.map_err(|error| format!("outcomes: {error}"))?;
            only.sort();
            only.dedup();
            Ok(Wish::Rerun { only })
        }
        _ if !is_empty && body.trim_ascii() != b"{}" => Err(format!("{wish} is asked for without a body")),
        "start" => Ok(Wish::Start),
        "resume" => Ok(Wish::Resume),
        _ => Ok(Wish::Cancel),
    }
}

/// The body of `POST /campaigns/{id}/callbacks`. A lead that was given no id is known by its number. What cannot be read is
/// refused without quoting it: it may be a number.
fn callback(body: &[u8]) -> Result<(LeadId, Asked), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        lead: Option<String>,
        number: Option<String>,
        at: String,
    }
    let example = r#"send {"lead": "ID", "at": "2026-05-04T17:00"}; "number" may stand for "lead" if it was given no id"#;
    let Body { lead, number, at } = asked::parse(body, example)?;
    let lead = match (lead, number) {
        (Some(lead), None) | (None, Some(lead)) => lead,
        _ => return Err(format!("the body names \"lead\" or \"number\", one of the two; {example}")),
    };
    let lead = lead.parse().map_err(|_| format!("that is no lead's id; {example}"))?;
    Ok((lead, at.parse::<Asked>().map_err(|error| format!("at: {error}"))?))
}

/// Which page: the query of `GET /campaigns/{id}/results`.
fn page(query: &str) -> Result<(Option<LeadRef>, i32), String> {
    let (mut after, mut most) = (None, LEADS);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("after", lead)) => {
                let lead = lead.parse().map_err(|_| "after: take it from the page before".to_owned())?;
                after = Some(lead);
            }
            Some(("limit", number)) => {
                most = number
                    .parse()
                    .ok()
                    .filter(|most| (1..=MOST_LEADS).contains(most))
                    .ok_or_else(|| format!("limit: a number from 1 to {MOST_LEADS}"))?;
            }
            _ => return Err("the query may have after=… and limit=N".into()),
        }
    }
    Ok((after, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_last_in_a_path_says_what_is_asked() {
        let (get, post, patch) = (Method::GET, Method::POST, Method::PATCH);
        for (path, method, place) in [
            ("/campaigns", &get, Some(Place::All)),
            ("/campaigns", &post, Some(Place::All)),
            ("/campaigns/may", &get, Some(Place::One("may"))),
            ("/campaigns/check", &post, Some(Place::Check)),
            ("/campaigns/check", &get, Some(Place::One("check"))),
            ("/campaigns/renewals/may", &patch, Some(Place::One("renewals/may"))),
            ("/campaigns/renewals%2Fmay/pause", &post, Some(Place::Wish("renewals%2Fmay", "pause"))),
            ("/campaigns/renewals/may/rerun", &post, Some(Place::Wish("renewals/may", "rerun"))),
            ("/campaigns/may/results", &get, Some(Place::Results("may"))),
            ("/campaigns/renewals/may/callbacks", &post, Some(Place::Callbacks("renewals/may"))),
            ("/campaigns/may/callbacks", &get, Some(Place::One("may/callbacks"))),
            // A campaign of that name.
            ("/campaigns/pause", &get, Some(Place::One("pause"))),
            ("/campaigns/results", &get, Some(Place::One("results"))),
            ("/campaigns/may/pause", &get, Some(Place::One("may/pause"))),
            ("/campaigns/", &get, None),
            ("/campaign", &get, None),
            ("/campaignsmay", &get, None),
        ] {
            assert_eq!(Place::of(path, method), place, "{method} {path}");
        }
        assert!(campaign("renewals%2Fmay").is_ok());
        for id in ["%ff", "a%20b", "%00", &"x".repeat(65)] {
            assert!(campaign(id).is_err(), "{id}");
        }
    }

    #[test]
    fn wishes_have_no_body_or_theirs() {
        let pause = |reason: Option<&str>| Wish::Pause { reason: reason.map(str::to_owned) };
        assert_eq!(wanted("pause", b""), Ok(pause(None)));
        assert_eq!(wanted("pause", br#"{"reason":"lunch"}"#), Ok(pause(Some("lunch"))));
        assert_eq!(wanted("start", b" {} "), Ok(Wish::Start));
        assert_eq!(wanted("cancel", b""), Ok(Wish::Cancel));
        assert_eq!(wanted("rerun", b""), Ok(Wish::Rerun { only: Vec::new() }));
        let both = vec![Unreached::NoAnswer, Unreached::Busy];
        assert_eq!(
            wanted("rerun", br#"{"outcomes":["busy","no-answer","busy"]}"#),
            Ok(Wish::Rerun { only: both })
        );
        for (wish, body) in [
            ("start", r#"{"at":1}"#),
            ("resume", "x"),
            ("pause", "[]"),
            ("pause", r#"{"reason":""}"#),
            ("pause", r#"{"reason":"a\nb"}"#),
            ("pause", r#"{"why":"x"}"#),
            ("rerun", r#"{"outcomes":["reached"]}"#),
            ("rerun", r#"{"outcomes":"busy"}"#),
        ] {
            assert!(wanted(wish, body.as_bytes()).is_err(), "{wish} {body}");
        }
        let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(201));
        assert!(wanted("pause", long.as_bytes()).is_err());
    }

    #[test]
    fn a_callback_is_for_one_lead_at_one_time() {
        for body in [
            r#"{"lead":"crm-1","at":"2026-05-04T17:00"}"#,
            r#"{"number":"+14155550100","at":"2026-05-04T17:00Z"}"#,
        ] {
            assert!(callback(body.as_bytes()).is_ok(), "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"lead":"crm-1"}"#,
            r#"{"at":"2026-05-04T17:00"}"#,
            r#"{"lead":"crm-1","number":"+14155550100","at":"2026-05-04T17:00"}"#,
            r#"{"number":"+14155550100","at":"soon"}"#,
            r#"{"number":"+14155550100\u0000","at":"2026-05-04T17:00"}"#,
        ] {
            let error = callback(body.as_bytes()).expect_err(body);
            assert!(!error.contains("4155550100"), "{error}");
        }
    }

    #[test]
    fn pages_are_asked_for_by_what_the_one_before_said() {
        assert_eq!(page(""), Ok((None, 500)));
        let after: LeadRef = "AbCdEfGhI".parse().expect("a reference");
        assert_eq!(page("after=AbCdEfGhI&limit=1000"), Ok((Some(after), 1000)));
        for query in ["after=", "after=%27", "limit=0", "limit=1001", "limit=x", "page=2", "after"] {
            assert!(page(query).is_err(), "{query}");
        }
        assert!(patch(b"{}").is_err() && patch(b"[]").is_err() && patch(b"").is_err());
        assert!(patch(br#"{"maxConcurrency":5}"#).is_ok());
    }
}
