//! Whose turn it is: the queue of a campaign's ready leads, which is an index of them by lane and turn.
//!
//! An entry shows the lead's `claims` and clock (`tz`) beside the keys. It may be behind: a lead that was claimed a moment
//! ago may still be there, and one that came a moment ago may not.
//!
//! A lead whose person may not be called at its turn is put off: its `due` is moved to when they may be, and `was` keeps
//! the turn that it had, for an edit of its campaign's hours to give it back. `was_claim` tells for which claim that is:
//! once it is made or fenced off, the lead has been dialed, promised a call, or run again since, and `was` is nothing any
//! more.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use jiff::Timestamp;

use super::attributes::{Item, Reader, n, s};
use super::leads::{pk, reference_of, shown_number, sk, zone_of};
use super::{Conditional as _, READY_INDEX, Table, TableError, Written};
use crate::core::fair::{Lane, Lanes};
use crate::core::ids::{CampaignCode, ClaimKey, LeadRef};
use crate::core::lead::ReadyLead;

/// Where a lane of a campaign is in the index.
pub(super) fn queue(campaign: &CampaignCode, lane: Lane) -> AttributeValue {
    match lane {
        Lane::Normal => s(campaign.as_str()),
        Lane::High => s(format!("{}+", campaign.as_str())),
        Lane::Callback => s(format!("{}!", campaign.as_str())),
    }
}

/// Puts a lead back into its lane; `:q` is that of ordinary ones.
pub(super) const BACK_IN_LANE: &str = "q = if_not_exists(lane, :q)";

/// The index orders by microseconds, so that leads of one message keep their order.
pub(super) fn due_us(instant: Timestamp) -> AttributeValue {
    n(instant.as_microsecond())
}

impl Table {
    /// A query of the index for one lane of a campaign.
    pub(super) fn ready(&self, campaign: &CampaignCode, lane: Lane, keys: &str) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.name).index_name(READY_INDEX);
        query.key_condition_expression(keys).expression_attribute_values(":q", queue(campaign, lane))
    }

    /// Up to `most` ready leads of a campaign that are due at `now`: lane by lane, the oldest first. From the index,
    /// so one that was claimed a moment ago may still be among them; its claim then fails.
    pub async fn ready_leads(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<ReadyLead>, TableError> {
        let mut ready = Vec::new();
        for lane in lanes.iter() {
            let found = self
                .ready(campaign, lane, "q = :q AND due <= :now")
                .expression_attribute_values(":now", due_us(now))
                .limit(i32::try_from(most - ready.len()).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(TableError::call("list the ready leads"))?;
            for item in found.items() {
                ready.push(ready_of(campaign, lane, item)?);
            }
            if ready.len() >= most {
                break;
            }
        }
        Ok(ready)
    }

    /// Up to `most` ready leads of each of a campaign's lanes that fall due at `from` or later, those of the index.
    pub async fn ready_leads_from(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
        from: Timestamp,
        most: i32,
    ) -> Result<Vec<ReadyLead>, TableError> {
        let mut ready = Vec::new();
        for lane in lanes.iter() {
            let found = self
                .ready(campaign, lane, "q = :q AND due >= :from")
                .expression_attribute_values(":from", due_us(from))
                .limit(most)
                .send()
                .await
                .map_err(TableError::call("list the leads that are ready later"))?;
            for item in found.items() {
                ready.push(ready_of(campaign, lane, item)?);
            }
        }
        Ok(ready)
    }

    /// When ready leads of a campaign fall due between `from` and `until`, up to `most` of them.
    pub async fn due_between(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
        from: Timestamp,
        until: Timestamp,
        most: i32,
    ) -> Result<Vec<Timestamp>, TableError> {
        let mut due = Vec::new();
        for lane in lanes.iter() {
            let found = self
                .ready(campaign, lane, "q = :q AND due BETWEEN :from AND :until")
                .expression_attribute_values(":from", due_us(from))
                .expression_attribute_values(":until", due_us(until))
                .limit(most)
                .send()
                .await
                .map_err(TableError::call("find the leads that fall due"))?;
            for item in found.items() {
                due.push(Reader::new(item, "lead").microsecond("due")?);
            }
        }
        due.sort();
        due.truncate(usize::try_from(most).unwrap_or_default());
        Ok(due)
    }

    /// When the first ready lead of a campaign is due, be it past or to come; nothing if none is ready.
    pub async fn first_due(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
    ) -> Result<Option<Timestamp>, TableError> {
        let mut first = None;
        for lane in lanes.iter() {
            let found = self
                .ready(campaign, lane, "q = :q")
                .limit(1)
                .send()
                .await
                .map_err(TableError::call("look for ready leads"))?;
            let due =
                found.items().first().map(|item| Reader::new(item, "lead").microsecond("due")).transpose()?;
            first = due.into_iter().chain(first).min();
        }
        Ok(first)
    }

    /// Leads of a campaign that are ready, whatever their turn: up to `most` of each lane, the oldest turn first. From
    /// the index, so one that ended a moment ago may still be among them.
    pub async fn waiting_leads(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
        most: i32,
    ) -> Result<Vec<LeadRef>, TableError> {
        let mut waiting = Vec::new();
        for lane in lanes.iter() {
            let found = self
                .ready(campaign, lane, "q = :q")
                .limit(most)
                .send()
                .await
                .map_err(TableError::call("list the leads that wait"))?;
            for item in found.items() {
                waiting.push(reference_of(&Reader::new(item, "lead"))?);
            }
        }
        Ok(waiting)
    }

    /// How many ready leads of a campaign come before one of a lane that is due at an instant, up to `most`: all that
    /// are due by now in the lanes before, and in its own those that fall due before.
    pub async fn count_before(
        &self,
        campaign: &CampaignCode,
        lanes: Lanes,
        (lane, due): (Lane, Timestamp),
        now: Timestamp,
        most: u32,
    ) -> Result<u32, TableError> {
        let mut before: u32 = 0;
        for other in lanes.iter().filter(|other| *other <= lane) {
            let until = if other == lane { due } else { now };
            let found = self
                .ready(campaign, other, "q = :q AND due < :due")
                .expression_attribute_values(":due", due_us(until))
                .select(Select::Count)
                .limit(i32::try_from(most).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(TableError::call("count the leads before one"))?;
            before = before.saturating_add(found.count().try_into().unwrap_or_default()).min(most);
        }
        Ok(before)
    }

    /// Puts a ready lead off that is due at `now`: its turn comes when it may be called, at `opens`.
    ///
    /// Condition: still ready and due, with this claim its next. What was put off already keeps the turn that it had.
    pub async fn put_off(&self, next: &ClaimKey, now: Timestamp, opens: Timestamp) -> Result<(), TableError> {
        let step = self
            .turn(next)
            .update_expression("SET was = due, was_claim = :next, due = :opens")
            .condition_expression("st = :ready AND claims = :before AND due <= :now")
            .expression_attribute_values(":next", n(next.claim))
            .expression_attribute_values(":opens", due_us(opens))
            .expression_attribute_values(":now", due_us(now));
        step.send().await.outcome("put a lead off", |_| None).map(|_| ())
    }

    /// Brings a lead forward that was put off until `due`. Returns whether it was.
    ///
    /// Condition: still ready and put off until then, with this claim its next.
    pub async fn bring_forward(
        &self,
        next: &ClaimKey,
        due: Timestamp,
        to: Timestamp,
    ) -> Result<bool, TableError> {
        let step = self
            .turn(next)
            .update_expression("SET due = :to")
            .condition_expression("st = :ready AND claims = :before AND was_claim = :next AND due = :due")
            .expression_attribute_values(":next", n(next.claim))
            .expression_attribute_values(":to", due_us(to))
            .expression_attribute_values(":due", due_us(due));
        Ok(matches!(step.send().await.outcome("bring a lead forward", |_| None)?, Written::Applied(_)))
    }

    /// A write of the turn of a lead that is ready for a claim.
    fn turn(&self, next: &ClaimKey) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", pk(&next.campaign))
            .key("sk", sk(&next.lead))
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":before", n(next.claim - 1))
    }
}

/// The turn that a lead had before it was put off, if it still waits because of that.
pub(super) fn put_off_from(read: &Reader<'_>) -> Result<Option<Timestamp>, TableError> {
    let next = read.number::<u32>("claims")? + 1;
    (read.number_if("was_claim")? == Some(next)).then(|| read.microsecond("was")).transpose()
}

fn ready_of(campaign: &CampaignCode, lane: Lane, item: &Item) -> Result<ReadyLead, TableError> {
    let read = Reader::new(item, "lead");
    let claims: u32 = read.number("claims")?;
    let next = ClaimKey { campaign: campaign.clone(), lead: reference_of(&read)?, claim: claims + 1 };
    let due = read.microsecond("due")?;
    Ok(ReadyLead { next, number: shown_number(&read)?, timezone: zone_of(&read)?, lane, due })
}
