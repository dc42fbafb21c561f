//! Event sources: what AWS does between a queue and its function, on the embedded SQS.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_model::input::{DeleteMessageInput, ReceiveMessageInput};
use tokio::sync::Semaphore;

use crate::inbox::Inbox;

/// A queue that invokes a function.
pub struct EventSource {
    /// The queue's URL.
    pub url: String,
    /// Most messages per invocation.
    pub batch: i32,
    /// Most invocations at once.
    pub concurrency: usize,
}

impl EventSource {
    /// Receives, invokes, deletes what was dealt with, also from `inbox`, where it was kept; what was not comes again when
    /// its visibility ends. Never returns.
    pub async fn run<F, W>(self, sqs: Arc<RustackSqs>, inbox: Inbox, function: F)
    where
        F: Fn(SqsEvent) -> W,
        W: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.concurrency));
        loop {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            let input = ReceiveMessageInput {
                queue_url: self.url.clone(),
                max_number_of_messages: Some(self.batch),
                wait_time_seconds: Some(20),
                message_system_attribute_names: vec!["ApproximateReceiveCount".to_owned()],
                ..ReceiveMessageInput::default()
            };
            let messages = match sqs.receive_message(input).await {
                Ok(output) => output.messages,
                Err(error) => {
                    tracing::error!(?error, "the embedded SQS did not answer");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if messages.is_empty() {
                continue;
            }
            let mut event = SqsEvent::default();
            for message in messages {
                let mut record = SqsMessage::default();
                record.message_id = message.message_id;
                record.receipt_handle = message.receipt_handle;
                record.body = message.body;
                record.attributes = message.attributes;
                record.event_source = Some("aws:sqs".to_owned());
                event.records.push(record);
            }
            let (sqs, inbox, url) = (sqs.clone(), inbox.clone(), self.url.clone());
            let invoked = function(event.clone());
            tokio::spawn(async move {
                let response = invoked.await;
                for record in event.records {
                    let id = record.message_id.as_deref().unwrap_or_default();
                    if response.batch_item_failures.iter().any(|failure| failure.item_identifier == id) {
                        continue;
                    }
                    inbox.done(record.body.as_deref().unwrap_or_default());
                    let input = DeleteMessageInput {
                        queue_url: url.clone(),
                        receipt_handle: record.receipt_handle.unwrap_or_default(),
                    };
                    if let Err(error) = sqs.delete_message(input).await {
                        tracing::warn!(?error, "the embedded SQS did not delete a message; it comes again");
                    }
                }
                drop(slot);
            });
        }
    }
}
