//! The records of refusals: why a caller found no line, and what a campaign waits for. Nothing decides by
//! them; they are for people who ask.

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::ids::{CallId, CampaignCode};
use crate::core::refusal::Refusal;

/// How long a record is kept: complaints come after the month's bill.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

impl Table {
    /// Records why a caller found no line. A first record is kept. Returns whether this one was the first.
    ///
    /// Condition: there is no record yet.
    pub async fn record_refusal(&self, call: &CallId, refusal: &Refusal) -> Result<bool, TableError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item_of(format!("CALL#{call}"), "REFUSED", refusal)))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        let written = put.send().await.outcome("record a refusal", |_| None)?;
        Ok(matches!(written, Written::Applied(_)))
    }

    /// Why a caller found no line, if they did not.
    pub async fn read_refusal(&self, call: &CallId) -> Result<Option<Refusal>, TableError> {
        self.read_refusal_at("read a refusal", format!("CALL#{call}"), "REFUSED").await
    }

    /// Records what a campaign waits for, over what is on record of it. Returns whether it was recorded.
    ///
    /// Condition: there is none on record, or one from `before` at the latest. So of many who look at a full
    /// pool at once, one writes.
    pub async fn record_waiting(
        &self,
        campaign: &CampaignCode,
        refusal: &Refusal,
        before: Timestamp,
    ) -> Result<bool, TableError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item_of(format!("C#{}", campaign.as_str()), "WAITS", refusal)))
            .condition_expression("attribute_not_exists(pk) OR seen <= :before")
            .expression_attribute_values(":before", ms(before))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        let written = put.send().await.outcome("record what a campaign waits for", |_| None)?;
        Ok(matches!(written, Written::Applied(_)))
    }

    /// What a campaign waited for when it was last on record. It stays there when the waiting is over.
    pub async fn read_waiting(&self, campaign: &CampaignCode) -> Result<Option<Refusal>, TableError> {
        self.read_refusal_at("read what a campaign waits for", format!("C#{}", campaign.as_str()), "WAITS")
            .await
    }

    /// Not consistent: half as dear, and a record that is missed is written again or read a moment later.
    async fn read_refusal_at(
        &self,
        operation: &'static str,
        pk: String,
        sk: &str,
    ) -> Result<Option<Refusal>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .send()
            .await
            .map_err(TableError::call(operation))?;
        read.item.as_ref().map(refusal_of).transpose()
    }
}

fn item_of(pk: String, sk: &str, refusal: &Refusal) -> Item {
    let json = serde_json::to_string(refusal).expect("texts, numbers and instants are JSON");
    let fields = [
        ("pk", s(pk)),
        ("sk", s(sk)),
        ("why", s(json)),
        ("seen", ms(refusal.at)),
        ("ttl", n((refusal.at + KEPT).as_second())),
    ];
    Item::from(fields.map(|(name, value)| (name.to_owned(), value)))
}

fn refusal_of(item: &Item) -> Result<Refusal, TableError> {
    let read = Reader::new(item, "refusal");
    serde_json::from_str(read.text("why")?).map_err(|error| read.error("why", &error.to_string()))
}
