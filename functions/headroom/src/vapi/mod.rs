//! Vapi: the HTTP client, and the tolerant parsing of what comes back and of what it sends.
//!
//! Types are written by hand and take only what Headroom uses: real payloads carry `null` where
//! the specification says string, unknown values, and fields of any depth beside ours.

pub mod analytics;
pub mod calls;
pub mod dial;
pub mod message;
pub mod signature;
pub mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use serde_json::error::Category;

use crate::core::timers::Timers;
use transport::{Https, NoAnswer, Transport};

/// A text that must not be seen: keys, secrets. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself. Not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why Vapi could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum VapiError {
    /// The client could not be made.
    #[error("HEADROOM_VAPI_KEY has characters that no HTTP header may have")]
    Key,
    /// The client could not be made.
    #[error("no HTTP client could be made")]
    Client(#[source] reqwest::Error),
    /// No answer.
    #[error("Vapi did not answer {request}")]
    NoAnswer {
        /// What was asked.
        request: &'static str,
        /// The network's word.
        #[source]
        source: NoAnswer,
    },
    /// An answer that says no.
    #[error("Vapi answered {request} with {status}: {message}")]
    Status {
        /// What was asked.
        request: &'static str,
        /// HTTP status.
        status: u16,
        /// Vapi's words, cut short.
        message: String,
    },
    /// An answer that cannot be read.
    #[error("Vapi's answer to {request} cannot be read")]
    Unreadable {
        /// What was asked.
        request: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// A client of Vapi's API. Never repeats a request by itself: `POST /call` must not ring twice, and
/// for everything else the next pass is the repetition.
#[derive(Debug, Clone)]
pub struct Vapi {
    transport: Arc<dyn Transport>,
    timers: Timers,
}

/// Most bytes of an answer that are kept for a message to people.
const MESSAGE_LEN: usize = 300;

impl Vapi {
    /// A client for the API at `base` (no slash at the end is needed) with a private key.
    pub fn new(base: &str, key: &Secret, timers: Timers) -> Result<Self, VapiError> {
        Ok(Self::over(Arc::new(Https::new(base, key, &timers)?), timers))
    }

    /// A client that reaches Vapi in another way.
    pub fn over(transport: Arc<dyn Transport>, timers: Timers) -> Self {
        Self { transport, timers }
    }

    /// Opens the connection, so that the first real request does not pay for it. Any answer will do.
    pub async fn warm(&self) {
        let _ = self.send(Method::HEAD, "/", None, self.timers.read_timeout()).await;
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
        patience: Duration,
    ) -> Result<Response<Vec<u8>>, NoAnswer> {
        let mut request = Request::new(json.map(|json| json.to_string().into_bytes()).unwrap_or_default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| NoAnswer::NotSent(Box::new(error)))?;
        if json.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.transport.send(request, patience).await
    }

    /// Sends a request that changes nothing and reads its JSON answer.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        request: &'static str,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> Result<T, VapiError> {
        let answer = self
            .send(method, path, json, self.timers.read_timeout())
            .await
            .map_err(|source| VapiError::NoAnswer { request, source })?;
        let (status, body) = (answer.status(), answer.body());
        if !status.is_success() {
            return Err(VapiError::Status { request, status: status.as_u16(), message: error_message(body) });
        }
        serde_json::from_slice(body).map_err(|error| unreadable(request, &error))
    }
}

/// serde's words quote the value that did not fit, which may be a phone number; kept is where
/// reading stopped.
fn unreadable(request: &'static str, error: &serde_json::Error) -> VapiError {
    let problem = match error.classify() {
        Category::Eof => "it ends too early",
        Category::Data => "a value does not fit",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    let (line, column) = (error.line(), error.column());
    let source = serde::de::Error::custom(format_args!("{problem}, line {line}, column {column}"));
    VapiError::Unreadable { request, source }
}

/// Vapi's words in an error body: `message` is a string or a list of strings, or there is only
/// `error`, or it is not JSON at all. Digits in long rows are masked: validation quotes numbers.
pub fn error_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "lenient")]
        message: Option<Words>,
        #[serde(default, deserialize_with = "lenient")]
        error: Option<Words>,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Words>, D::Error> {
        let raw =
            <Option<Box<serde_json::value::RawValue>> as serde::Deserialize>::deserialize(deserializer)?;
        Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(Body { message: Some(words), .. }) | Ok(Body { error: Some(words), .. }) => match words {
            Words::One(text) => text,
            Words::Many(texts) => texts.join("; "),
        },
        _ => String::from_utf8_lossy(&body[..body.len().min(MESSAGE_LEN)]).into_owned(),
    };
    mask_numbers(&text)
}

/// Cuts a text short and hides every row of seven digits or more, however they are spaced: it may
/// be a phone number.
fn mask_numbers(text: &str) -> String {
    let mut masked = String::new();
    let mut row = String::new();
    let end_row = |row: &mut String, masked: &mut String| {
        let digits = row.chars().filter(char::is_ascii_digit).count();
        masked.push_str(if digits >= 7 { "…" } else { row });
        row.clear();
    };
    for c in text.chars().take(MESSAGE_LEN) {
        if c.is_ascii_digit() || (!row.is_empty() && matches!(c, ' ' | '-' | '.' | '(' | ')')) {
            row.push(c);
        } else {
            end_row(&mut row, &mut masked);
            masked.push(if c.is_control() { ' ' } else { c });
        }
    }
    end_row(&mut row, &mut masked);
    masked.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_messages_are_read_from_every_shape_and_hide_numbers() {
        let cases: [(&str, &str); 7] = [
            (r#"{"message":"Rate limit exceeded","statusCode":429}"#, "Rate limit exceeded"),
            (
                r#"{"message":["a must be a UUID","b is required"],"error":"Bad Request"}"#,
                "a must be a UUID; b is required",
            ),
            (r#"{"error":"Over Concurrency Limit"}"#, "Over Concurrency Limit"),
            ("<html>522</html>", "<html>522</html>"),
            (r#"{"message":{"deep":1},"error":"number +14155550100 is bad"}"#, "number +…is bad"),
            (r#"{"message":"+1 (415) 555-0100, code 400"}"#, "+…, code 400"),
            ("", ""),
        ];
        for (body, message) in cases {
            assert_eq!(error_message(body.as_bytes()), message);
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_is_not_quoted() {
        let error = serde_json::from_str::<Vec<String>>("[14155550100]").expect_err("no string");
        let said = crate::logging::chain(&unreadable("GET /call", &error));
        assert!(said.ends_with("cannot be read: a value does not fit, line 1, column 12"), "{said}");
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
