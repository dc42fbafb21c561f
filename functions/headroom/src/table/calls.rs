//! The record of a call: that it has ended, and, where the ledger has several items, in which of them its line is if
//! Headroom did not dial it. The record outlives the call's line, so that a message that comes late cannot take a
//! line again (P8).

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::ids::CallId;
use crate::core::lead::End;

/// How long the record is kept. Webhooks were seen a day late; a week is beyond any retry.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);

/// What is on record of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Which item of the ledger its line is in, or is to be. Only where the ledger had several.
    pub shard: Option<u8>,
    /// Its end.
    pub end: Option<End>,
    /// When that was recorded.
    pub ended: Option<Timestamp>,
}

impl Table {
    fn call(&self, call: &CallId, now: Timestamp) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(format!("CALL#{call}")))
            .key("sk", s("CALL"))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", n((now + KEPT).as_second()))
    }

    /// Records that a call has ended. A first record is kept. Returns whether this one was the first.
    ///
    /// Condition: there is no end on record yet.
    pub async fn record_ended(&self, call: &CallId, end: &End, now: Timestamp) -> Result<bool, TableError> {
        let mut set = String::from("SET ended = :now, #ttl = :ttl");
        let mut update = self.call(call, now).expression_attribute_values(":now", ms(now));
        if let Some(reason) = &end.reason {
            set.push_str(", reason = :reason");
            update = update.expression_attribute_values(":reason", s(reason));
        }
        if let Some(connected) = end.connected {
            set.push_str(", conn = :conn");
            update = update.expression_attribute_values(":conn", AttributeValue::Bool(connected));
        }
        let sent = update
            .update_expression(set)
            .condition_expression("attribute_not_exists(ended)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None)
            .send()
            .await;
        Ok(matches!(sent.outcome("record an ended call", |_| None)?, Written::Applied(_)))
    }

    /// Records in which item of the ledger an observed call is to have its line, unless that is on record. Whoever
    /// takes a line for a call does this before, and looks at the record once more afterwards. Returns the record.
    pub async fn place_call(&self, call: &CallId, shard: u8, now: Timestamp) -> Result<Record, TableError> {
        let sent = self
            .call(call, now)
            .update_expression("SET shd = if_not_exists(shd, :shd), #ttl = if_not_exists(#ttl, :ttl)")
            .expression_attribute_values(":shd", n(shard))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match sent.outcome("place a call", |output| output.attributes)? {
            Written::Applied(item) | Written::Refused(item) => record_of(&item.unwrap_or_default()),
        }
    }

    /// Records that an observed call is to have its line in another item. Whoever does this looks afterwards whether
    /// the call has got one in the item `from`, and frees it. Returns the record as it is then.
    ///
    /// Condition: it is still to be in the item `from`, and the call has not ended.
    pub async fn move_call(
        &self,
        call: &CallId,
        from: u8,
        to: u8,
        now: Timestamp,
    ) -> Result<Record, TableError> {
        let sent = self
            .call(call, now)
            .update_expression("SET shd = :to, #ttl = :ttl")
            .condition_expression("shd = :from AND attribute_not_exists(ended)")
            .expression_attribute_values(":from", n(from))
            .expression_attribute_values(":to", n(to))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent.outcome("move a call", |output| output.attributes)? {
            Written::Applied(item) | Written::Refused(item) => record_of(&item.unwrap_or_default()),
        }
    }

    /// What is on record of a call. Consistent: whoever takes a line for an observed call reads this after the
    /// taking, and the end writes it before the freeing, so one sees the other.
    pub async fn read_record(&self, call: &CallId) -> Result<Record, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(format!("CALL#{call}")))
            .key("sk", s("CALL"))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read a call's record"))?;
        read.item.as_ref().map_or(Ok(Record::default()), record_of)
    }

    /// The end of a call, if it is on record.
    pub async fn read_ended(&self, call: &CallId) -> Result<Option<End>, TableError> {
        Ok(self.read_record(call).await?.end)
    }

    /// The same with the instant at which it was recorded.
    pub async fn read_end(&self, call: &CallId) -> Result<Option<(Timestamp, End)>, TableError> {
        let Record { end, ended, .. } = self.read_record(call).await?;
        Ok(ended.zip(end))
    }
}

fn record_of(item: &Item) -> Result<Record, TableError> {
    let (ended, end) = item.contains_key("ended").then(|| end_of(item)).transpose()?.unzip();
    Ok(Record { shard: Reader::new(item, "call").number_if("shd")?, end, ended })
}

fn end_of(item: &Item) -> Result<(Timestamp, End), TableError> {
    let read = Reader::new(item, "ended call");
    let end = End {
        reason: read.text_if("reason")?.map(str::to_owned),
        connected: item.get("conn").and_then(|value| value.as_bool().ok().copied()),
    };
    Ok((read.instant("ended")?, end))
}
