//! Usage by the hour, as Vapi's analytics told it, and how far the filling has come.
//!
//! An hour with an item is known, an idle one with zeros; an hour without one is not known yet.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::{Table, TableError};

/// Calls of one type that started in one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Volume {
    /// How many.
    pub calls: u64,
    /// Their minutes.
    pub minutes: f64,
}

/// One hour of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageHour {
    /// When the hour starts, UTC.
    pub start: Timestamp,
    /// Most lines in use at once, over all organisations of the subscription.
    pub peak: u32,
    /// Calls by Vapi's call type.
    pub by_type: BTreeMap<String, Volume>,
}

/// Writes under way at once: each is its own request.
const WRITES_AT_ONCE: usize = 16;

impl Table {
    fn usage_pk(&self) -> String {
        format!("USAGE#{}", self.pool())
    }

    /// Stores hours, over whatever was known of them before: filling twice changes nothing.
    pub async fn put_usage(&self, hours: &[UsageHour]) -> Result<(), TableError> {
        let writes: Vec<_> = hours.iter().map(|hour| self.put_hour(hour)).collect();
        futures::stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }

    async fn put_hour(&self, hour: &UsageHour) -> Result<(), TableError> {
        let item = item_of(self.usage_pk(), hour);
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await;
        put.map(|_| ()).map_err(TableError::call("store an hour of usage"))
    }

    /// The known hours that start in `from..until`, in order.
    pub async fn read_usage(&self, from: Timestamp, until: Timestamp) -> Result<Vec<UsageHour>, TableError> {
        let items: Vec<Item> = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :until")
            .expression_attribute_values(":pk", s(self.usage_pk()))
            .expression_attribute_values(":from", s(hour_sk(from)))
            .expression_attribute_values(":until", s(hour_sk(until)))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(TableError::call("read usage"))?;
        let mut hours: Vec<UsageHour> = items.iter().map(hour_of).collect::<Result<_, _>>()?;
        hours.retain(|hour| hour.start < until);
        Ok(hours)
    }

    /// Up to when usage is filled, if it ever was.
    pub async fn read_checkpoint(&self) -> Result<Option<Timestamp>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(self.usage_pk()))
            .key("sk", s("CHECKPOINT"))
            .send()
            .await
            .map_err(TableError::call("read the checkpoint"))?;
        read.item.as_ref().map(|item| Reader::new(item, "checkpoint").instant("upto")).transpose()
    }

    /// Remembers up to when usage is filled.
    pub async fn write_checkpoint(&self, upto: Timestamp) -> Result<(), TableError> {
        self.client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.usage_pk()))
            .item("sk", s("CHECKPOINT"))
            .item("upto", ms(upto))
            .send()
            .await
            .map(|_| ())
            .map_err(TableError::call("write the checkpoint"))
    }
}

/// Hours sort as text: whole seconds in UTC always have the same width.
fn hour_sk(start: Timestamp) -> String {
    format!("H#{}", start.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

fn item_of(pk: String, hour: &UsageHour) -> Item {
    let by_type = hour.by_type.iter().map(|(kind, volume)| {
        let volume = Item::from([
            ("calls".to_owned(), n(volume.calls)),
            ("minutes".to_owned(), n(format!("{:.3}", volume.minutes))),
        ]);
        (kind.clone(), AttributeValue::M(volume))
    });
    Item::from([
        ("pk".to_owned(), s(pk)),
        ("sk".to_owned(), s(hour_sk(hour.start))),
        ("start".to_owned(), ms(hour.start)),
        ("peak".to_owned(), n(hour.peak)),
        ("by_type".to_owned(), AttributeValue::M(by_type.collect())),
    ])
}

fn hour_of(item: &Item) -> Result<UsageHour, TableError> {
    let read = Reader::new(item, "usage");
    let by_type = read.map("by_type")?.iter().map(|(kind, volume)| {
        let volume = volume.as_m().map_err(|_| read.error("by_type", "has an entry that is no map"))?;
        let volume = Reader::new(volume, "usage by type");
        Ok((kind.clone(), Volume { calls: volume.number("calls")?, minutes: volume.number("minutes")? }))
    });
    Ok(UsageHour {
        start: read.instant("start")?,
        peak: read.number("peak")?,
        by_type: by_type.collect::<Result<_, TableError>>()?,
    })
}
