//! Figures for CloudWatch, in its embedded metric format: a line of the log that CloudWatch turns into metrics by itself,
//! without a request of ours.
//!
//! Who has a figure says so as an event of its own target, `tracing::trace!(target: METRICS, LinesFree = 3)`. Fields with
//! a number are metrics, those with a text are dimensions beside the stack's name; a name that ends with `Ms` is in
//! milliseconds, any other a count. No log shows these events, and where no [`Embedded`] listens, as in the local runner,
//! they cost nothing.
//!
//! | metric | from | says |
//! |---|---|---|
//! | `LinesInbound` `LinesOutbound` `LinesForeign` `LinesWeb` `LinesFree` | reconciler | the pool, each minute |
//! | `Backlog` | reconciler | leads of running campaigns that are not over |
//! | `UnknownDials` | reconciler | dials whose answer was lost, not yet told made from not made |
//! | `LedgerDrift` `UnseenLines` | reconciler | Vapi's count of lines minus ours; what outbound leaves to others |
//! | `VapiUnlisted` | reconciler | organisations whose calls Vapi did not list |
//! | `CampaignsPaused` | reconciler | campaigns that Headroom paused by itself, until somebody mends the cause |
//! | `AdaptedCap` `LoweredLines` `OpenBreakers` | reconciler | outbound's health |
//! | `LinesByCeiling` | reconciler | lines freed without proof of their call's end |
//! | `CallersRefused` by `Rule` | webhook | callers who found no line, or (`assistant`) nobody to answer them, or called another organisation (`organisation`) |
//! | `CallersBlocked` | webhook, reconciler | callers whom Vapi itself turned away |
//! | `CallersUnanswered` | reconciler | callers of whom Vapi asked here, and had no answer it could use |
//! | `WebhookUnauthenticated` | webhook | requests without the secret |
//! | `WebhookMs` | webhook | from a message's coming to its answer |
//! | `OutboundWaits` by `Rule` | dispatcher | campaigns that an invocation left waiting |
//! | `RefillMs` | dispatcher | from the wake-up that a freed line sends to the next taking |
//! | `DispatchFailed` | dispatcher | invocations that broke off |
//! | `LeadsRefused` `MessagesRefused` | dispatcher | what of campaign messages cannot be called |

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};

use crate::flows::{Clock, SystemClock};

/// The target of events that are figures.
pub const METRICS: &str = "headroom_metrics";

/// The namespace of all of them in CloudWatch.
const NAMESPACE: &str = "Headroom";
/// The dimension that every metric has: two stacks of one account are told apart by it.
const STACK: &str = "Stack";

/// Writes figures as lines of the log.
#[derive(Debug, Clone)]
pub struct Embedded<W> {
    stack: String,
    out: W,
}

impl<W> Embedded<W> {
    /// For the functions of a stack, to `out`, which on Lambda is standard output.
    pub fn new(stack: &str, out: W) -> Self {
        Self { stack: stack.to_owned(), out }
    }

    /// One line of the log for the figures of an event; nothing if it has none.
    fn line(&self, figures: Figures, at_ms: i64) -> Option<String> {
        if figures.numbers.is_empty() {
            return None;
        }
        let unit = |name: &str| if name.ends_with("Ms") { "Milliseconds" } else { "Count" };
        let metrics: Vec<Value> =
            figures.numbers.keys().map(|name| json!({ "Name": name, "Unit": unit(name) })).collect();
        let dimensions: Vec<&str> =
            std::iter::once(STACK).chain(figures.texts.keys().map(String::as_str)).collect();
        // Without the other dimensions as well, or there would be no sum over them.
        let sets = if dimensions.len() > 1 { vec![vec![STACK], dimensions] } else { vec![dimensions] };
        let mut line = json!({
            "_aws": {
                "Timestamp": at_ms,
                "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics }],
            },
            STACK: self.stack,
        });
        let root = line.as_object_mut().expect("it was made as an object");
        root.extend(figures.texts);
        root.extend(figures.numbers);
        Some(line.to_string())
    }
}

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for Embedded<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != METRICS {
            return;
        }
        let mut figures = Figures::default();
        event.record(&mut figures);
        if let Some(line) = self.line(figures, SystemClock.now().as_millisecond()) {
            // A figure that cannot be written is not worth failing for. One write: no other line comes between.
            let _ = self.out.make_writer().write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Figures {
    numbers: Map<String, Value>,
    texts: Map<String, Value>,
}

impl Visit for Figures {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.numbers.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.numbers.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.insert(field.name().to_owned(), value.into());
    }

    /// Anything else is no figure.
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic while it is held").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn numbers_are_metrics_and_texts_are_dimensions() {
        let kept = Kept::default();
        let out = kept.clone();
        let figures = Embedded::new("prod", move || out.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(figures), || {
            tracing::info!(LinesFree = 3_u32, "no figure of ours");
            tracing::trace!(target: METRICS, LinesFree = 3_u32, WebhookMs = 1.5);
            tracing::trace!(target: METRICS, Rule = "headroom", CallersRefused = 1_u32);
            tracing::trace!(target: METRICS, "nothing to count");
        });
        let text =
            String::from_utf8(kept.0.lock().expect("no panic while it is held").clone()).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let directive = |line: &Value| line["_aws"]["CloudWatchMetrics"][0].clone();
        assert_eq!(lines.len(), 2);
        assert!(lines[0]["_aws"]["Timestamp"].as_i64() > Some(1_700_000_000_000), "{}", lines[0]);
        assert_eq!((&lines[0]["LinesFree"], &lines[0]["WebhookMs"]), (&json!(3), &json!(1.5)));
        assert_eq!(lines[0]["Stack"], "prod");
        assert_eq!(
            directive(&lines[0]),
            json!({
                "Namespace": "Headroom",
                "Dimensions": [["Stack"]],
                "Metrics": [{ "Name": "LinesFree", "Unit": "Count" }, { "Name": "WebhookMs", "Unit": "Milliseconds" }],
            })
        );
        assert_eq!(directive(&lines[1])["Dimensions"], json!([["Stack"], ["Stack", "Rule"]]));
        assert_eq!(lines[1]["Rule"], "headroom");
    }
}
