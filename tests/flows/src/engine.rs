//! Which DynamoDB the tests' tables are on: an embedded engine of their own, or the one that
//! `HEADROOM_TEST_ENDPOINT` names. The second is for an independent implementation, so that what the code
//! rests on is not one engine's habit; `tests/second-engine` runs the tests so.

use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use headroom::flows::random_nonce;
use headroom_local::engines::{Engines, local_aws};

/// The variable that names another engine, by its URL.
const ENDPOINT: &str = "HEADROOM_TEST_ENDPOINT";

/// Patience with an engine that serves all tests, one request after the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the engine answers: on loopback, or wherever the environment says.
///
/// # Errors
/// If the embedded engine does not start.
pub async fn dynamo_url() -> anyhow::Result<String> {
    if let Some(url) = other() {
        return Ok(url);
    }
    // No queue of the engine's own is used: wake-ups go to a stub.
    Ok(Engines::start(None, ([127, 0, 0, 1], 9).into(), 30).await?.dynamo_url)
}

/// How the SDK reaches the engine at `url`.
pub fn config(url: &str) -> Builder {
    let config = Builder::from(&local_aws(url));
    if other().is_none() {
        return config;
    }
    config.timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build())
}

#[allow(clippy::disallowed_methods, reason = "no function reads this: it asks the tests")]
fn other() -> Option<String> {
    std::env::var(ENDPOINT).ok()
}

/// A table's name that no other test has, nor an earlier run: all of them may be on one engine.
pub fn table_name() -> String {
    format!("headroom-{:08x}{:08x}", random_nonce(), random_nonce())
}
