//! Wake-ups for the dispatcher: messages that say "look again", and nothing else.
//!
//! A lost wake-up costs time, never a call: the minute pass sends one too.

use std::time::Duration;

use aws_sdk_sqs::Client;

/// The wake-up could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("SQS did not take a wake-up")]
pub struct WakeError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The queue of wake-ups.
#[derive(Debug, Clone)]
pub struct WakeQueue {
    client: Client,
    url: String,
}

/// What a wake-up looks like. Everything worth knowing is in the table.
pub const BODY: &str = r#"{"wake":"lines"}"#;
/// The same for later: when it was sent is not when there was something to do.
pub const LATER: &str = r#"{"wake":"later"}"#;

/// The longest that SQS keeps a message back.
const LONGEST_DELAY: Duration = Duration::from_secs(900);

impl WakeQueue {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Wakes the dispatcher after `delay`, rounded up to whole seconds and at most 15 minutes.
    pub async fn send(&self, delay: Duration) -> Result<(), WakeError> {
        let seconds = delay.min(LONGEST_DELAY).as_secs_f64().ceil() as i32;
        let message = self.client.send_message().queue_url(&self.url);
        let message = match seconds {
            0 => message.message_body(BODY),
            seconds => message.message_body(LATER).delay_seconds(seconds),
        };
        message.send().await.map(|_| ()).map_err(|error| WakeError(Box::new(error)))
    }
}
