//! Logs: JSON on Lambda, one line an event, no raw bodies, no phone numbers, no secrets. Libraries tell those at the finest
//! levels, whole requests with their headers; of theirs nothing finer than `info` is logged, whatever is asked for.

use std::error::Error;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config;
use crate::metrics::{Embedded, METRICS};

/// Sends logs as JSON to standard output, at the level that `RUST_LOG` asks for (default `info`), and figures beside
/// them whatever it asks for.
pub fn init_json() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_filter(filter)
        .with_filter(filter_fn(|event| may_be_told(event.target(), event.level())));
    let figures = config::stack().map(|stack| {
        Embedded::new(&stack, std::io::stdout).with_filter(filter_fn(|event| event.target() == METRICS))
    });
    tracing_subscriber::registry().with(logs).with(figures).init();
}

/// The crates that keep this module's promise at every level: ours.
const OURS: [&str; 7] =
    ["headroom", "webhook", "dispatcher", "reconciler", "backfill", "console", "announcer"];

/// Whether an event may be in a log.
fn may_be_told(target: &str, level: &Level) -> bool {
    let of = target.split_once("::").map_or(target, |(of, _)| of);
    target != METRICS && (*level <= Level::INFO || OURS.contains(&of))
}

/// An error with its causes on one line. Each error's text says its own part only.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        // AWS errors repeat their source; say it once.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_library_tells_whole_requests_however_much_is_asked_for() {
        for target in
            ["lambda_runtime::layers::api_response", "aws_smithy_runtime::client", "hyper", "headroomer"]
        {
            assert!(may_be_told(target, &Level::INFO) && !may_be_told(target, &Level::DEBUG), "{target}");
            assert!(!may_be_told(target, &Level::TRACE), "{target}");
        }
        assert!(may_be_told("headroom::flows::dial", &Level::TRACE) && may_be_told("webhook", &Level::DEBUG));
        assert!(!may_be_told(METRICS, &Level::TRACE), "figures are no log");
    }
}
