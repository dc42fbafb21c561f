//! `POST /call`: what is sent, and what each answer means for the line and the lead.

use http::Method;
use http::header::RETRY_AFTER;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::calls::{object, text};
use super::transport::NoAnswer;
use super::{Vapi, error_message};
use crate::core::campaign::Spec;
use crate::core::ids::{CallId, ClaimKey, OrgId};
use crate::core::lead::Lead;
use crate::core::timers::Timers;

/// What a call has to tell, whatever else its assistant is set to. The rest is much, many times in a call.
pub const HEARD: [&str; 2] = ["status-update", "end-of-call-report"];

/// What an assistant's tools ask. Told where there is such a tool: without it, the tool would go without an answer.
const ASKED: [&str; 3] = ["tool-calls", "transfer-destination-request", "handoff-destination-request"];

/// Vapi's figures on the subscription's lines at the creation of a call. Hints: what they count is
/// documented in two ways, and the ledger decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Whether the call was blocked for want of lines.
    pub blocked: bool,
    /// Lines of the subscription.
    pub limit: Option<u32>,
    /// Lines that are left, this call's among them or not: both is documented.
    pub remaining: Option<u32>,
}

impl Limits {
    /// Lines that Vapi counts as used, at least; nothing if it does not say, or contradicts itself.
    pub fn used(&self) -> Option<u32> {
        let remaining = self.remaining.or(self.blocked.then_some(0))?;
        self.limit?.checked_sub(remaining)
    }
}

/// What came of asking for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialed {
    /// The call exists.
    Created {
        /// Its id.
        call: CallId,
        /// The organisation our key belongs to.
        org: Option<OrgId>,
        /// Vapi's figures.
        limits: Limits,
    },
    /// No line was left at Vapi. If an id came along, the call may exist all the same.
    OverLimit {
        /// The id in a 2xx answer.
        call: Option<CallId>,
        /// Vapi's figures.
        limits: Limits,
    },
    /// Too many requests: surely not created. Not before `until`.
    Throttled {
        /// When the rate window ends.
        until: Timestamp,
    },
    /// Refused for this lead's sake: surely not created, and never will be.
    BadLead {
        /// Vapi's words.
        message: String,
    },
    /// Refused for the campaign's sake: every other of it would be too.
    BadCampaign {
        /// Vapi's words.
        message: String,
    },
    /// Refused for the key's or the account's sake: so would be every other of the organisation.
    BadAccount {
        /// Vapi's words.
        message: String,
    },
    /// The request never left: surely not created.
    NotSent {
        /// The network's words.
        message: String,
    },
    /// No clear answer: the call may exist.
    Unclear {
        /// What there was instead of an answer.
        message: String,
    },
}

impl Dialed {
    /// The call, if the answer names one.
    pub fn call(&self) -> Option<&CallId> {
        match self {
            Self::Created { call, .. } => Some(call),
            Self::OverLimit { call, .. } => call.as_ref(),
            Self::Throttled { .. }
            | Self::NotSent { .. }
            | Self::BadLead { .. }
            | Self::BadCampaign { .. }
            | Self::BadAccount { .. }
            | Self::Unclear { .. } => None,
        }
    }

    /// Whether the call surely does not exist.
    pub fn is_not_made(&self) -> bool {
        match self {
            Self::Created { .. } | Self::Unclear { .. } => false,
            Self::OverLimit { call, .. } => call.is_none(),
            Self::Throttled { .. }
            | Self::NotSent { .. }
            | Self::BadLead { .. }
            | Self::BadCampaign { .. }
            | Self::BadAccount { .. } => true,
        }
    }
}

impl Vapi {
    /// Asks for one call. One request, never repeated (P3); the claim goes along in three places,
    /// so that the call can be known again by whichever of them Vapi gives back.
    pub async fn dial(&self, spec: &Spec, lead: &Lead, now: Timestamp) -> Dialed {
        let body = body(spec, lead, &lead.claim());
        let answer = match self.send(Method::POST, "/call", Some(&body), self.timers.dial_timeout()).await {
            Ok(answer) => answer,
            Err(error @ NoAnswer::NotSent(_)) => return Dialed::NotSent { message: error_chain(&error) },
            Err(error @ NoAnswer::Lost(_)) => return Dialed::Unclear { message: error_chain(&error) },
        };
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<i64>().ok())
            .filter(|seconds| (0..=3600).contains(seconds));
        classify(answer.status().as_u16(), answer.body(), retry_after, now, &self.timers)
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn body(spec: &Spec, lead: &Lead, claim: &ClaimKey) -> serde_json::Value {
    let variables = lead.variables.as_deref().and_then(|json| serde_json::from_str(json).ok());
    let metadata = json!({
        "reservationId": claim.to_string(),
        "campaignId": spec.id.as_str(),
        "leadId": lead.id.as_str(),
    });
    let mut overrides = json!({
        "metadata": metadata,
        "maxDurationSeconds": spec.max_duration_seconds,
        "serverMessages": HEARD.iter().chain(&ASKED).collect::<Vec<_>>(),
    });
    if let Some(variables @ serde_json::Value::Object(_)) = variables {
        overrides["variableValues"] = variables;
    }
    let mut customer = json!({ "number": lead.number.reveal() });
    if let Some(name) = &lead.name {
        customer["name"] = json!(name);
    }
    let mut body = json!({
        "phoneNumberId": spec.phone_number_id,
        "customer": customer,
        "name": claim.to_string(),
        "metadata": metadata,
        "assistantOverrides": overrides,
    });
    if let Some(assistant) = &spec.assistant_id {
        body["assistantId"] = json!(assistant);
    }
    if let Some(squad) = &spec.squad_id {
        body["squadId"] = json!(squad);
    }
    body
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    org_id: Option<String>,
    #[serde(borrow)]
    subscription_limits: Option<&'a RawValue>,
}

impl Answer<'_> {
    /// Figures that are missing, negative or no numbers are taken as not given.
    fn limits(&self) -> Limits {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            concurrency_blocked: Option<serde_json::Value>,
            concurrency_limit: Option<serde_json::Value>,
            remaining_concurrent_calls: Option<serde_json::Value>,
        }
        let number = |figure: Option<serde_json::Value>| u32::try_from(figure?.as_u64()?).ok();
        let raw = self.subscription_limits.and_then(|raw| object::<Raw>(raw.get()).ok());
        raw.map_or_else(Limits::default, |raw| Limits {
            blocked: raw.concurrency_blocked == Some(serde_json::Value::Bool(true)),
            limit: number(raw.concurrency_limit).filter(|limit| *limit > 0),
            remaining: number(raw.remaining_concurrent_calls),
        })
    }
}

/// Whether a refusal names what all of an organisation's calls have in common.
fn is_about_account(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["credit", "billing", "wallet", "subscription", "frozen"].iter().any(|word| message.contains(word))
}

/// What an answer with this status and body means. `retry_after`: that header, in seconds.
fn classify(status: u16, body: &[u8], retry_after: Option<i64>, now: Timestamp, timers: &Timers) -> Dialed {
    let answer: Option<Answer<'_>> = std::str::from_utf8(body).ok().and_then(|json| object(json).ok());
    let limits = answer.as_ref().map(Answer::limits).unwrap_or_default();
    let call = answer.as_ref().and_then(|answer| answer.id.as_deref()?.parse::<CallId>().ok());
    let message = error_message(body);
    let says_limit = message.to_ascii_lowercase().contains("concurrency limit");
    let named = |message: &str| format!("Vapi answered {status}: {message}");
    match status {
        200..=299 if limits.blocked => Dialed::OverLimit { call, limits },
        200..=299 => match call {
            Some(call) => {
                let org = answer.and_then(|answer| answer.org_id?.parse().ok());
                Dialed::Created { call, org, limits }
            }
            None => Dialed::Unclear { message: format!("Vapi answered {status} without a call id") },
        },
        400..=499 if limits.blocked || says_limit => Dialed::OverLimit { call: None, limits },
        429 => {
            // The rate is counted by the minute of the UTC clock.
            let seconds = retry_after.unwrap_or_else(|| 60 - now.as_second().rem_euclid(60));
            Dialed::Throttled { until: now + timers.scaled(SignedDuration::from_secs(seconds)) }
        }
        // Timed out on their side, or too early: whether it was made is anyone's guess.
        408 | 425 => Dialed::Unclear { message: named(&message) },
        400 | 422 if message.to_ascii_lowercase().contains("customer") => {
            Dialed::BadLead { message: named(&message) }
        }
        401 | 402 => Dialed::BadAccount { message: named(&message) },
        400..=499 if is_about_account(&message) => Dialed::BadAccount { message: named(&message) },
        400..=499 => Dialed::BadCampaign { message: named(&message) },
        _ => Dialed::Unclear { message: named(&message) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Dialed {
        let now = Timestamp::from_second(130).expect("in range");
        classify(status, body.as_bytes(), None, now, &Timers::default())
    }

    #[test]
    fn every_over_limit_shape_is_over_limit() {
        let shapes = [
            (
                400,
                r#"{"message":"Over Concurrency Limit.","error":"Bad Request","subscriptionLimits":{"concurrencyBlocked":true}}"#,
            ),
            (400, r#"{"error": "Over Concurrency Limit"}"#),
            (404, r#"{"message":"reach concurrency limit"}"#),
            (429, r#"{"message":"concurrency limit reached","statusCode":429}"#),
            (
                403,
                r#"{"subscriptionLimits":{"concurrencyBlocked":true,"concurrencyLimit":10,"remainingConcurrentCalls":-1}}"#,
            ),
            (201, r#"{"id":"a","subscriptionLimits":{"concurrencyBlocked":true,"concurrencyLimit":10}}"#),
        ];
        for (status, body) in shapes {
            assert!(matches!(meaning(status, body), Dialed::OverLimit { .. }), "{status} {body}");
        }
    }

    #[test]
    fn a_created_call_has_an_id_and_figures_are_hints() {
        let body = r#"{"subscriptionLimits":{"concurrencyBlocked":false,"concurrencyLimit":10,"remainingConcurrentCalls":"8"},"id":"c-1","orgId":"o-1","metadata":[1]}"#;
        let Dialed::Created { call, org, limits } = meaning(201, body) else { panic!("created") };
        assert_eq!((call.as_str(), org.expect("an org").as_str(), limits.limit), ("c-1", "o-1", Some(10)));
        for odd in [
            r#"{"id":"c"}"#,
            r#"{"id":"c","subscriptionLimits":[]}"#,
            r#"{"id":"c","subscriptionLimits":{"concurrencyLimit":-1}}"#,
        ] {
            assert!(
                matches!(meaning(201, odd), Dialed::Created { limits: Limits { limit: None, .. }, .. }),
                "{odd}"
            );
        }
    }

    #[test]
    fn what_is_not_clear_is_unclear() {
        for (status, body) in [
            (201, ""),
            (201, "{}"),
            (200, "[]"),
            (201, r#"{"id":{"S":"x"}}"#),
            (201, r#"{"id":"a b"}"#),
            (500, r#"{"message":"oops"}"#),
            (522, "<html>522</html>"),
            (302, ""),
            (408, ""),
        ] {
            assert!(matches!(meaning(status, body), Dialed::Unclear { .. }), "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_is_for_the_lead_or_for_the_campaign() {
        let lead = r#"{"message":["customer.number must be a valid phone number in the E.164 format"],"statusCode":400}"#;
        assert!(matches!(meaning(400, lead), Dialed::BadLead { .. }));
        for (status, body) in [
            (400, r#"{"message":"Couldn't find assistant"}"#),
            (404, r#"{"message":"Not Found"}"#),
            (403, "{}"),
        ] {
            assert!(matches!(meaning(status, body), Dialed::BadCampaign { .. }), "{status} {body}");
        }
        for (status, body) in [
            (401, r#"{"message":"Invalid Key."}"#),
            (402, "{}"),
            (400, r#"{"message":"Your wallet has not enough credits"}"#),
        ] {
            assert!(matches!(meaning(status, body), Dialed::BadAccount { .. }), "{status} {body}");
        }
    }

    #[test]
    fn throttling_lasts_to_the_end_of_the_minute_or_as_told() {
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        let body = r#"{"message":"Rate limit exceeded","statusCode":429}"#;
        assert_eq!(meaning(429, body), Dialed::Throttled { until: at(180) });
        let told = |speed, seconds| classify(429, b"", Some(seconds), at(130), &Timers::at_speed(speed));
        assert_eq!(told(1.0, 7), Dialed::Throttled { until: at(137) });
        assert_eq!(told(10.0, 50), Dialed::Throttled { until: at(135) });
    }
}
