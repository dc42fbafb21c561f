//! How a request gets to Vapi and its answer back: over HTTPS, or, in a simulation, to a simulated
//! Vapi in the same process.
//!
//! One request in, one answer or none out. Nothing here repeats a request, follows a redirect or
//! reads a body; what an answer means is [`super::dial`]'s and [`super::calls`]'s to say.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::{Secret, VapiError};
use crate::core::timers::Timers;

/// Why there is no answer. What matters is whether the request can have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The request never left.
    #[error("the request did not leave")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It left, or may have, and nothing usable came back in time.
    #[error("the answer was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A way to Vapi.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends one request, whose URI is a path with its query, and waits for the whole answer, for
    /// `patience` at most.
    fn send(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Response<Vec<u8>>, NoAnswer>>;
}

/// Vapi's API over the network.
#[derive(Debug)]
pub struct Https {
    client: reqwest::Client,
    base: String,
}

/// How long an unused connection is kept. One that the other side has closed meanwhile costs a dial
/// its clear answer, and so a line for a minute; a new one costs milliseconds.
const IDLE: Duration = Duration::from_secs(15);
/// The longest answer that is read: a page of calls comes with their transcripts.
const MOST_BYTES: usize = 64 * 1024 * 1024;

impl Https {
    /// The API at `base` (no slash at the end is needed) with a private key.
    pub fn new(base: &str, key: &Secret, timers: &Timers) -> Result<Self, VapiError> {
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", key.reveal())).map_err(|_| VapiError::Key)?;
        bearer.set_sensitive(true);
        let client = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE)
            .connect_timeout(timers.read_timeout() / 2)
            .build()
            .map_err(VapiError::Client)?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }
}

impl Transport for Https {
    fn send(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Response<Vec<u8>>, NoAnswer>> {
        let (parts, body) = request.into_parts();
        let request = self
            .client
            .request(parts.method, format!("{}{}", self.base, parts.uri))
            .timeout(patience)
            .headers(parts.headers)
            .body(body);
        Box::pin(async move {
            let mut answer = request.send().await.map_err(|error| {
                // The URL may name the network's inside, and says nothing that the request does not.
                let not_sent = error.is_connect() || error.is_builder();
                let source = Box::new(error.without_url());
                if not_sent { NoAnswer::NotSent(source) } else { NoAnswer::Lost(source) }
            })?;
            let mut whole = Response::new(Vec::new());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            let lost = |error: reqwest::Error| NoAnswer::Lost(Box::new(error.without_url()));
            while let Some(piece) = answer.chunk().await.map_err(lost)? {
                whole.body_mut().extend_from_slice(&piece);
                if whole.body().len() > MOST_BYTES {
                    return Err(NoAnswer::Lost("it is longer than any answer of Vapi's".into()));
                }
            }
            Ok(whole)
        })
    }
}
