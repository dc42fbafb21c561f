//! The announcer: delivers events from their queue to who listens, an EventBridge bus or a web server.
//!
//! Each event at least once. One that was not taken comes again, later and later ([`again_after`]), and after a day or so
//! goes to the dead-letter queue, where it keeps: redriven, it is delivered as it was. Events may come in any order, and
//! again; a repeat has the same id.
//!
//! | dies after | what is left | then |
//! |---|---|---|
//! | the message came | the message | it is visible again when its time is up |
//! | the receiver took it | the same | it is delivered again, under the same id |

pub mod signature;

use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use headroom::config::{Hook, Listener, Listeners};
use headroom::flows::{Clock, SystemClock};
use headroom::logging::chain;
use serde::Deserialize;

use crate::signature::{SIGNATURE, TIMESTAMP, signatures};

/// What the bus knows us by.
pub const SOURCE: &str = "headroom";
/// The header with the event's id.
pub const EVENT_ID: &str = "x-headroom-event-id";
/// How long a receiver may take. All of a batch are sent at once, within the function's time.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that a message is kept back.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long after its `receives`-th delivery failed a message comes again: a second, then twice as long each time, an
/// hour at most.
pub fn again_after(receives: u32) -> Duration {
    Duration::from_secs(1 << receives.saturating_sub(1).min(12)).min(LONGEST)
}

/// The function, connected.
pub struct Announcer {
    to: To,
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
    clock: Box<dyn Clock>,
}

enum To {
    Bus { client: aws_sdk_eventbridge::Client, name: String },
    Hook { client: reqwest::Client, hook: Hook },
}

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("the message is no event")]
    Unreadable,
    #[error("the receiver answered {0}")]
    Refused(u16),
    #[error("the receiver did not answer")]
    NoAnswer(#[source] reqwest::Error),
    #[error("EventBridge did not answer")]
    NoBus(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("EventBridge did not take it: {0}")]
    NotPut(String),
}

/// As much of an event as its delivery needs. What else it says is the listener's.
#[derive(Deserialize)]
struct Head {
    id: String,
    #[serde(rename = "type")]
    name: String,
}

/// An event on its way.
struct Told<'a> {
    head: Head,
    body: &'a str,
}

impl Announcer {
    /// The function for who listens; `events` and `sqs` are used as far as they are needed.
    ///
    /// # Errors
    /// If there is no HTTP client to be had.
    pub fn new(
        listeners: Listeners,
        events: aws_sdk_eventbridge::Client,
        sqs: aws_sdk_sqs::Client,
    ) -> Result<Self, reqwest::Error> {
        let to = match listeners.listener {
            Listener::Bus(name) => To::Bus { client: events, name },
            Listener::Webhook(hook) => {
                let client = reqwest::Client::builder()
                    // Whoever answers with another address might name one that only we can reach.
                    .redirect(reqwest::redirect::Policy::none())
                    .retry(reqwest::retry::never())
                    .no_proxy()
                    .connect_timeout(PATIENCE / 2)
                    .timeout(PATIENCE)
                    .user_agent(concat!("headroom/", env!("CARGO_PKG_VERSION")))
                    .build()?;
                To::Hook { client, hook }
            }
        };
        Ok(Self { to, sqs, queue_url: listeners.source, clock: Box::new(SystemClock) })
    }

    /// Delivers one batch. Events that were not taken are reported, so that only they come back.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let told: Vec<Option<Told<'_>>> = event.records.iter().map(read).collect();
        let readable: Vec<&Told<'_>> = told.iter().flatten().collect();
        let mut results = match &self.to {
            To::Bus { client, name } => put(client, name, &readable).await,
            To::Hook { client, hook } => {
                let now = self.clock.now().as_second();
                futures::future::join_all(readable.iter().map(|told| post(client, hook, now, told))).await
            }
        }
        .into_iter();
        let mut response = SqsBatchResponse::default();
        for (message, told) in event.records.iter().zip(&told) {
            let result = match told {
                Some(_) => results.next().unwrap_or(Err(Undelivered::Unreadable)),
                None => Err(Undelivered::Unreadable),
            };
            let id = told.as_ref().map(|told| told.head.id.as_str());
            match result {
                Ok(()) => tracing::info!(event.id = id, "event delivered"),
                Err(error) => {
                    let receives = receives(message);
                    tracing::warn!(event.id = id, receives, error = chain(&error), "event not delivered");
                    self.later(message, again_after(receives)).await;
                    let mut failure = BatchItemFailure::default();
                    failure.item_identifier = message.message_id.clone().unwrap_or_default();
                    response.batch_item_failures.push(failure);
                }
            }
        }
        response
    }

    /// Lets a message come again after `delay`. If it cannot be said, it comes when its time is up.
    async fn later(&self, message: &SqsMessage, delay: Duration) {
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
        let sent = self
            .sqs
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .set_receipt_handle(message.receipt_handle.clone())
            .visibility_timeout(seconds)
            .send()
            .await;
        if let Err(error) = sent {
            tracing::warn!(error = chain(&error), "an event comes again at the queue's time");
        }
    }
}

fn read(message: &SqsMessage) -> Option<Told<'_>> {
    let body = message.body.as_deref()?;
    Some(Told { head: serde_json::from_str(body).ok()?, body })
}

fn receives(message: &SqsMessage) -> u32 {
    let count = message.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Posts one event. Any answer but a 2xx is a refusal, and none is read.
async fn post(client: &reqwest::Client, hook: &Hook, now: i64, told: &Told<'_>) -> Result<(), Undelivered> {
    let request = client
        .post(hook.reveal())
        .header("content-type", "application/json")
        .header(EVENT_ID, &told.head.id)
        .header(TIMESTAMP, now)
        .header(SIGNATURE, signatures(&hook.secrets, now, told.body))
        .body(told.body.to_owned());
    // The address may have a secret in it.
    let answer = request.send().await.map_err(|error| Undelivered::NoAnswer(error.without_url()))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(Undelivered::Refused(status.as_u16())) }
}

/// Puts a batch on a bus: as many as the queue gives at once are as many as it takes.
async fn put(
    client: &aws_sdk_eventbridge::Client,
    bus: &str,
    told: &[&Told<'_>],
) -> Vec<Result<(), Undelivered>> {
    if told.is_empty() {
        return Vec::new();
    }
    let entry = |told: &&Told<'_>| {
        PutEventsRequestEntry::builder()
            .source(SOURCE)
            .detail_type(&told.head.name)
            .detail(told.body)
            .event_bus_name(bus)
            .build()
    };
    match client.put_events().set_entries(Some(told.iter().map(entry).collect())).send().await {
        Ok(put) => {
            let mut answers = put.entries().iter();
            let result = |_| match answers.next() {
                Some(entry) if entry.error_code().is_none() && entry.event_id().is_some() => Ok(()),
                entry => {
                    let code = entry.and_then(|entry| entry.error_code()).unwrap_or("no answer for it");
                    Err(Undelivered::NotPut(code.to_owned()))
                }
            };
            told.iter().map(result).collect()
        }
        Err(error) => {
            let error = chain(&error);
            told.iter().map(|_| Err(Undelivered::NoBus(error.clone().into()))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_comes_later_and_later() {
        let seconds = |receives| again_after(receives).as_secs();
        assert_eq!([0, 1, 2, 3, 12, 13, 24, u32::MAX].map(seconds), [1, 1, 2, 4, 2048, 3600, 3600, 3600]);
    }
}
