//! The dispatcher: takes campaigns in from SQS, and dials while lines are free.
//!
//! It is invoked by two queues: campaign messages, and wake-ups. The backlog is in the table, so
//! when lines are full it returns at once and holds no message back.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use headroom::flows::App;
use headroom::flows::intake::IntakeError;
use headroom::logging::chain;
use headroom::metrics::METRICS;
use headroom::wake;
use jiff::{SignedDuration, Timestamp};

/// How long an invocation may run where nobody says: the template's limit.
const TIME_LIMIT: SignedDuration = SignedDuration::from_mins(1);

/// Handles one batch. Messages that could not be stored are reported, so that only they come back;
/// one that can never be goes the same way, into the dead-letter queue.
///
/// `deadline_ms`: when the invocation ends, in epoch milliseconds.
pub async fn handle(app: &Arc<App>, event: SqsEvent, deadline_ms: i64) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let mut woken = None;
    for message in &event.records {
        let body = message.body.as_deref().unwrap_or_default();
        if body == wake::BODY {
            woken = woken.into_iter().chain(sent(message)).min();
            continue;
        }
        if body == wake::LATER {
            continue;
        }
        if let Err(error) = app.take_in(body.as_bytes()).await {
            report(message, &error);
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    let now = app.clock.now();
    // Emulators send the time that is left where Lambda sends an instant.
    let until = Timestamp::from_millisecond(deadline_ms)
        .ok()
        .filter(|deadline| *deadline > now)
        .unwrap_or(now + TIME_LIMIT);
    match app.dispatch(until).await {
        Ok(done) if done.taken > 0 => {
            tracing::info!(lines.taken = done.taken, refused = done.refused, "dispatched");
            if let (Some(woken), Some(first)) = (woken, done.first) {
                let refill_ms = first.duration_since(woken).as_millis().max(0) as u64;
                tracing::trace!(target: METRICS, RefillMs = refill_ms);
            }
        }
        Ok(_) => {}
        Err(error) => {
            tracing::error!(error = chain(&error), "dispatch broke off; the next wake-up goes on");
            tracing::trace!(target: METRICS, DispatchFailed = 1_u32);
        }
    }
    response
}

/// When a message was sent, as its queue says.
fn sent(message: &SqsMessage) -> Option<Timestamp> {
    let ms = message.attributes.get("SentTimestamp")?.parse().ok()?;
    Timestamp::from_millisecond(ms).ok()
}

fn report(message: &SqsMessage, error: &IntakeError) {
    let id = message.message_id.as_deref();
    if error.is_temporary() {
        tracing::error!(message.id = id, error = chain(error), "campaign message not stored; it comes again");
    } else {
        tracing::error!(message.id = id, error = chain(error), "campaign message refused");
        tracing::trace!(target: METRICS, MessagesRefused = 1_u32);
    }
}
