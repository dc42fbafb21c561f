//! The record that a call has ended. It outlives the call's line, so that a message that comes late
//! cannot take a line again (P8).

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::ids::CallId;
use crate::core::lead::End;

/// How long the record is kept. Webhooks were seen a day late; a week is beyond any retry.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);

impl Table {
    /// Records that a call has ended. A first record is kept. Returns whether this one was the first.
    ///
    /// Condition: there is no record yet.
    pub async fn record_ended(&self, call: &CallId, end: &End, now: Timestamp) -> Result<bool, TableError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(format!("CALL#{call}")))
            .item("sk", s("CALL"))
            .item("ended", ms(now))
            .item("ttl", n((now + KEPT).as_second()))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        if let Some(reason) = &end.reason {
            put = put.item("reason", s(reason));
        }
        if let Some(connected) = end.connected {
            put = put.item("conn", aws_sdk_dynamodb::types::AttributeValue::Bool(connected));
        }
        let written = put.send().await.outcome("record an ended call", |_| None)?;
        Ok(matches!(written, Written::Applied(_)))
    }

    /// The end of a call, if it is on record. Consistent: whoever takes a line for an observed call
    /// reads this after the taking, and the end writes it before the freeing, so one sees the other.
    pub async fn read_ended(&self, call: &CallId) -> Result<Option<End>, TableError> {
        Ok(self.read_end(call).await?.map(|(_, end)| end))
    }

    /// The same with the instant at which it was recorded.
    pub async fn read_end(&self, call: &CallId) -> Result<Option<(Timestamp, End)>, TableError> {
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
        read.item.as_ref().map(end_of).transpose()
    }
}

fn end_of(item: &Item) -> Result<(Timestamp, End), TableError> {
    let read = Reader::new(item, "ended call");
    let end = End {
        reason: read.text_if("reason")?.map(str::to_owned),
        connected: item.get("conn").and_then(|value| value.as_bool().ok().copied()),
    };
    Ok((read.instant("ended")?, end))
}
