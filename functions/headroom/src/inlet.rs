//! The campaign queue, as whoever takes a campaign message over HTTP sees it.

use aws_sdk_sqs::Client;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::core::parts::parts;

/// The message is not, or not wholly, on the queue. Sent again, it does no harm.
#[derive(Debug, thiserror::Error)]
#[error("SQS did not take a campaign message")]
pub struct InletError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The queue of campaign messages.
#[derive(Debug, Clone)]
pub struct Inlet {
    client: Client,
    url: String,
}

/// Parts of a message on their way at once.
const AT_ONCE: usize = 4;

impl Inlet {
    /// The queue at `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Puts a campaign message on the queue, in parts that it takes. When this returns, it is not lost any more.
    pub async fn send(&self, body: &str) -> Result<(), InletError> {
        let parts = parts(body).map_err(|error| InletError(Box::new(error)))?;
        let send = |part| async {
            let message = self.client.send_message().queue_url(&self.url).message_body(part);
            message.send().await.map(|_| ()).map_err(|error| InletError(Box::new(error)))
        };
        stream::iter(parts.into_iter().map(send)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}
