//! What is still to be told: marks that stand in the very writes that end leads and change campaigns, so that none of
//! these can be lost, and are taken off when the event is on its queue.
//!
//! A lead that is over and untold is in the index `ready` under a `q` of its own (`E#<pool>`), which it is not in
//! otherwise; a campaign's item keeps its untold events as a list, `ev`. Only where somebody listens
//! ([`Table::announcing`]): else there is no mark, no read and no write.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::attributes::{Item, Reader, n, s, texts};
use super::leads::{pk, reference_of, sk};
use super::{Conditional as _, READY_INDEX, Table, TableError, Written};
use crate::core::event::Event;
use crate::core::ids::{CampaignCode, ClaimKey};

/// What `q` begins with for a lead whose end is to be told. No campaign's code has such a sign in it.
const UNTOLD: &str = "E#";

/// Whether a lead's `q` says that its end is to be told.
pub(super) fn is_untold(read: &Reader<'_>) -> Result<bool, TableError> {
    Ok(read.text_if("q")?.is_some_and(|queue| queue.starts_with(UNTOLD)))
}

/// Events as a campaign's item keeps them: as they are told, so that another version's are told, too.
pub(super) fn untold_of(read: &Reader<'_>) -> Result<Vec<String>, TableError> {
    Ok(read.texts("ev")?.into_iter().map(str::to_owned).collect())
}

impl Table {
    /// The mark of a lead that ends, if anybody listens.
    pub(super) fn untold_queue(&self) -> Option<AttributeValue> {
        self.announces.then(|| s(format!("{UNTOLD}{}", self.pool)))
    }

    /// What a write of a campaign sets besides, so that an event is told: nothing if nobody listens.
    pub(super) fn with_event(
        &self,
        update: UpdateItemFluentBuilder,
        event: Option<Event>,
    ) -> (&'static str, UpdateItemFluentBuilder) {
        match event.filter(|_| self.announces) {
            Some(event) => {
                let update = update
                    .expression_attribute_values(":ev", event_value(&event))
                    .expression_attribute_values(":no_ev", AttributeValue::L(Vec::new()));
                (", ev = list_append(if_not_exists(ev, :no_ev), :ev)", update)
            }
            None => ("", update),
        }
    }

    /// Up to `most` leads whose end is to be told, by their claims, from the index: one that was told a moment ago may
    /// still be among them.
    pub async fn untold_leads(&self, most: i32) -> Result<Vec<ClaimKey>, TableError> {
        let Some(queue) = self.untold_queue() else { return Ok(Vec::new()) };
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(READY_INDEX)
            .key_condition_expression("q = :untold")
            .expression_attribute_values(":untold", queue)
            .limit(most)
            .send()
            .await
            .map_err(TableError::call("list the leads whose end is to be told"))?;
        let claim = |item: &Item| {
            let read = Reader::new(item, "lead");
            let campaign = read.text("pk")?.strip_prefix("C#").and_then(|code| code.parse().ok());
            Ok(ClaimKey {
                campaign: campaign.ok_or_else(|| read.error("pk", "is not a campaign's"))?,
                lead: reference_of(&read)?,
                claim: read.number("claims")?,
            })
        };
        found.items().iter().map(claim).collect()
    }

    /// The end of a lead, by its last claim, is on the queue of events. Again changes nothing.
    ///
    /// Condition: it has ended under no later claim; that end is to be told, too.
    pub async fn lead_told(&self, claim: &ClaimKey) -> Result<(), TableError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", pk(&claim.campaign))
            .key("sk", sk(&claim.lead))
            .update_expression("REMOVE q")
            .condition_expression("claims = :told")
            .expression_attribute_values(":told", n(claim.claim))
            .send()
            .await;
        sent.outcome("note that the end of a lead is told", |_| None).map(|_| ())
    }

    /// These events of a campaign, all that its item had, are on the queue. Returns whether there are no others.
    ///
    /// Condition: no event has come since; else all are told again.
    pub async fn campaign_told(&self, code: &CampaignCode, events: &[String]) -> Result<bool, TableError> {
        let sent = self
            .campaign(code)
            .update_expression("REMOVE ev")
            .condition_expression("ev = :told")
            .expression_attribute_values(":told", texts(events))
            .send()
            .await;
        Ok(matches!(sent.outcome("note that a campaign's events are told", |_| None)?, Written::Applied(_)))
    }
}

/// One event, as the list that is appended.
pub(super) fn event_value(event: &Event) -> AttributeValue {
    texts([event.text()])
}
