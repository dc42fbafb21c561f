//! The backfill: every hour, Vapi's analytics into the usage table.

use headroom::flows::backfill::{BackfillError, backfill};
use headroom::table::Table;
use headroom::vapi::Vapi;
use jiff::Timestamp;

/// One filling up to `now`, with a line about it in the log.
pub async fn handle(table: &Table, vapi: &Vapi, now: Timestamp) -> Result<(), BackfillError> {
    let filled = backfill(table, vapi, now).await?;
    tracing::info!(from = %filled.from, until = %filled.until, hours = filled.hours, "backfill done");
    Ok(())
}
