//! Vapi: the HTTP client, and the tolerant parsing of what comes back and of what it sends.
//!
//! Types are written by hand and take only what Headroom uses: real payloads carry `null` where
//! the specification says string, unknown values, and fields of any depth beside ours.

pub mod analytics;
pub mod calls;
pub mod dial;
pub mod message;
pub mod signature;

use std::fmt;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::core::timers::Timers;

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
        source: reqwest::Error,
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
    http: reqwest::Client,
    base: String,
    timers: Timers,
}

/// How long an unused connection is kept. One that the other side has closed meanwhile costs a dial
/// its clear answer, and so a line for a minute; a new one costs milliseconds.
const IDLE: std::time::Duration = std::time::Duration::from_secs(15);

/// Most bytes of an answer that are kept for a message to people.
const MESSAGE_LEN: usize = 300;

impl Vapi {
    /// A client for the API at `base` (no slash at the end is needed) with a private key.
    pub fn new(base: &str, key: &Secret, timers: Timers) -> Result<Self, VapiError> {
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", key.reveal())).map_err(|_| VapiError::Key)?;
        bearer.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE)
            .connect_timeout(timers.read_timeout() / 2)
            .timeout(timers.read_timeout())
            .build()
            .map_err(VapiError::Client)?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), timers })
    }

    /// Opens the connection, so that the first real request does not pay for it. Any answer will do.
    pub async fn warm(&self) {
        let _ = self.http.head(&self.base).send().await;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request that changes nothing and reads its JSON answer.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        request: &'static str,
        builder: reqwest::RequestBuilder,
    ) -> Result<T, VapiError> {
        let no_answer =
            |source: reqwest::Error| VapiError::NoAnswer { request, source: source.without_url() };
        let answer = builder.send().await.map_err(no_answer)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(no_answer)?;
        if !status.is_success() {
            return Err(VapiError::Status {
                request,
                status: status.as_u16(),
                message: error_message(&body),
            });
        }
        serde_json::from_slice(&body).map_err(|source| VapiError::Unreadable { request, source })
    }
}

/// Vapi's words in an error body: `message` is a string or a list of strings, or there is only
/// `error`, or it is not JSON at all. Digits in long rows are masked: validation quotes numbers.
fn error_message(body: &[u8]) -> String {
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
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
