//! Logs: JSON on Lambda, one line an event, no raw bodies, no phone numbers, no secrets.

use std::error::Error;

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
        .with_filter(filter_fn(|event| event.target() != METRICS));
    let figures = config::stack().map(|stack| {
        Embedded::new(&stack, std::io::stdout).with_filter(filter_fn(|event| event.target() == METRICS))
    });
    tracing_subscriber::registry().with(logs).with(figures).init();
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
