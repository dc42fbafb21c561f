//! The dispatcher: takes campaigns in from SQS, and dials while lines are free.
//!
//! It is invoked by two queues: campaign messages, and wake-ups. The backlog is in the table, so
//! when lines are full it returns at once and holds no message back.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use headroom::flows::App;
use headroom::flows::intake::IntakeError;
use headroom::logging::chain;
use headroom::wake;
use jiff::SignedDuration;

/// How long an invocation may run where nobody says: the template's limit.
const TIME_LIMIT: SignedDuration = SignedDuration::from_mins(1);

/// Handles one batch. Messages that could not be stored are reported, so that only they come back;
/// one that can never be goes the same way, into the dead-letter queue.
///
/// `deadline_ms`: when the invocation ends, in epoch milliseconds.
pub async fn handle(app: &Arc<App>, event: SqsEvent, deadline_ms: i64) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in &event.records {
        let body = message.body.as_deref().unwrap_or_default();
        if body == wake::BODY {
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
    let until = jiff::Timestamp::from_millisecond(deadline_ms)
        .ok()
        .filter(|deadline| *deadline > now)
        .unwrap_or(now + TIME_LIMIT);
    match app.dispatch(until).await {
        Ok(done) if done.taken > 0 => {
            tracing::info!(lines.taken = done.taken, refused = done.refused, "dispatched")
        }
        Ok(_) => {}
        Err(error) => tracing::error!(error = chain(&error), "dispatch broke off; the next wake-up goes on"),
    }
    response
}

fn report(message: &SqsMessage, error: &IntakeError) {
    let id = message.message_id.as_deref();
    if error.is_temporary() {
        tracing::error!(message.id = id, error = chain(error), "campaign message not stored; it comes again");
    } else {
        tracing::error!(message.id = id, error = chain(error), "campaign message refused");
    }
}
