//! The queue of events, as whoever tells them sees it. What becomes of them behind it is the announcer's business.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

/// The events are not on the queue, for all that is known.
#[derive(Debug, thiserror::Error)]
#[error("SQS did not take events")]
pub struct OutletError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The queue of events.
#[derive(Debug, Clone)]
pub struct Outlet {
    client: Client,
    url: String,
}

/// Events that SQS takes with one request. The longest, a pause with its reason, has some hundred bytes.
pub const AT_ONCE: usize = 10;

impl Outlet {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Puts up to [`AT_ONCE`] events, as texts, on the queue. Returns which of them are there, by their places: those are not lost
    /// any more.
    pub async fn send(&self, events: &[String]) -> Result<Vec<usize>, OutletError> {
        let entry = |(place, event): (usize, &String)| {
            let entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(event);
            entry.build().expect("an id and a body are given")
        };
        let entries = events.iter().take(AT_ONCE).enumerate().map(entry).collect();
        let batch = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let sent = batch.send().await.map_err(|error| OutletError(Box::new(error)))?;
        let places = sent.successful().iter().filter_map(|entry| entry.id().parse().ok());
        Ok(places.filter(|place| *place < events.len()).collect())
    }
}
