//! Usage history: Vapi's analytics into the usage table, by the hour.
//!
//! Filling is overwriting: an hour filled twice is filled once. The checkpoint says how far it has
//! come; the last hours before it are read again, since Vapi does not say how fresh its figures are.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::table::usage::{UsageHour, Volume};
use crate::table::{Table, TableError};
use crate::vapi::analytics::History;
use crate::vapi::{Vapi, VapiError};

/// Why a backfill broke off. What was filled before stays, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Vapi's part.
    #[error("usage could not be asked for")]
    Vapi(#[from] VapiError),
    /// The table's part.
    #[error("usage could not be stored")]
    Table(#[from] TableError),
}

/// What a backfill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// From this hour on.
    pub from: Timestamp,
    /// Up to this one, which is not over yet.
    pub until: Timestamp,
    /// Hours stored.
    pub hours: u32,
}

/// How far back the first filling goes.
const FIRST: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How much before the checkpoint is read again.
const AGAIN: SignedDuration = SignedDuration::from_hours(6);
/// How much is asked for at once.
const CHUNK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Fills the usage table up to the last full hour, in chunks with a checkpoint after each.
pub async fn backfill(table: &Table, vapi: &Vapi, now: Timestamp) -> Result<Filled, BackfillError> {
    let until = hour(now);
    let from = match table.read_checkpoint().await? {
        Some(checkpoint) => hour(checkpoint.min(until)) - AGAIN,
        None => until - FIRST,
    };
    let mut filled = Filled { from, until, hours: 0 };
    let mut start = from;
    while start < until {
        let end = (start + CHUNK).min(until);
        let hours = hours(start, end, &vapi.history(start, end).await?);
        table.put_usage(&hours).await?;
        table.write_checkpoint(end).await?;
        filled.hours += hours.len() as u32;
        tracing::info!(from = %start, until = %end, "usage filled");
        start = end;
    }
    Ok(filled)
}

/// The hour that an instant is in.
fn hour(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(3600)).expect("an earlier second of the same hour")
}

/// Every hour of `start..end`, zero where the history says nothing: in a period that Vapi has
/// answered for, nothing means idle.
fn hours(start: Timestamp, end: Timestamp, history: &History) -> Vec<UsageHour> {
    let mut hours: BTreeMap<Timestamp, UsageHour> = BTreeMap::new();
    let mut at = start;
    while at < end {
        hours.insert(at, UsageHour { start: at, peak: 0, by_type: BTreeMap::new() });
        at += SignedDuration::from_hours(1);
    }
    for row in &history.peaks {
        if let Some(usage) = hours.get_mut(&hour(row.date)) {
            usage.peak = usage.peak.max(row.number("concurrency") as u32);
        }
    }
    for row in &history.volumes {
        if let (Some(usage), Some(kind)) = (hours.get_mut(&hour(row.date)), row.text("type")) {
            let volume = usage.by_type.entry(kind.chars().take(40).collect()).or_insert(Volume::default());
            volume.calls += row.number("calls") as u64;
            volume.minutes += row.number("minutes");
        }
    }
    hours.into_values().collect()
}
