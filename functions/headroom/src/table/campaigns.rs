//! Campaigns: what each asks for, its state, and how many leads it has.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::both::Both;
use super::{Conditional as _, Table, TableError, Written};
use crate::core::campaign::{Campaign, CampaignState, Spec};
use crate::core::fair::Lanes;
use crate::core::ids::{CampaignCode, CampaignId, MessageCode};

/// What the storing of a campaign came to.
#[derive(Debug)]
pub enum Opened {
    /// It is new.
    New,
    /// It was there; nothing changed.
    Known(Box<Campaign>),
    /// Another campaign's id has the same short code: this one cannot be stored.
    Collision,
}

/// What `lanes` says if there are leads of high priority.
const HIGH_LANE: &str = "high";

impl Table {
    fn campaign(&self, code: &CampaignCode) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", code.as_str())))
    }

    /// Stores a campaign as running, without leads.
    ///
    /// Condition: there is none of that code yet.
    pub async fn put_campaign(&self, spec: &Spec, now: Timestamp) -> Result<Opened, TableError> {
        let json = serde_json::to_string(spec).expect("a campaign's fields are texts and numbers");
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.pool_pk()))
            .item("sk", s(format!("C#{}", CampaignCode::of(&spec.id).as_str())))
            .item("id", s(spec.id.as_str()))
            .item("spec", s(json))
            .item("st", s(CampaignState::Running.name()))
            .item("created", ms(now))
            .item("done", n(0))
            .item("failed", n(0))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await.outcome("store a campaign", |_| None)? {
            Written::Applied(_) => Ok(Opened::New),
            Written::Refused(item) => {
                let known = campaign_of(&item.unwrap_or_default())?;
                Ok(if known.spec.id == spec.id { Opened::Known(Box::new(known)) } else { Opened::Collision })
            }
        }
    }

    /// One campaign, consistently.
    pub async fn read_campaign(&self, code: &CampaignCode) -> Result<Option<Campaign>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", code.as_str())))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read a campaign"))?;
        read.item.as_ref().map(campaign_of).transpose()
    }

    /// All campaigns of the pool in the order in which their leads are served: by priority, then age.
    pub async fn list_campaigns(&self) -> Result<Vec<Campaign>, TableError> {
        let items: Vec<Item> = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :campaign)")
            .expression_attribute_values(":pk", s(self.pool_pk()))
            .expression_attribute_values(":campaign", s("C#"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(TableError::call("list the campaigns"))?;
        let mut campaigns: Vec<Campaign> = items.iter().map(campaign_of).collect::<Result<_, _>>()?;
        campaigns.sort_by(|a, b| {
            (a.spec.priority, a.created, &a.code).cmp(&(b.spec.priority, b.created, &b.code))
        });
        Ok(campaigns)
    }

    /// Counts the leads that a message brought, once for each message however often it comes.
    ///
    /// A transaction: that the message is counted, and the count. Condition: this
    /// message is not counted yet.
    pub async fn count_message(
        &self,
        code: &CampaignCode,
        message: &MessageCode,
        leads: u32,
    ) -> Result<(), TableError> {
        let counted = Put::builder()
            .table_name(&self.name)
            .item("pk", s(format!("C#{}", code.as_str())))
            .item("sk", s(format!("M#{}", message.as_str())))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .expect("the table and the item are given");
        let count = Update::builder()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", code.as_str())))
            .update_expression("SET leads = if_not_exists(leads, :none) + :leads")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":leads", n(leads))
            .build()
            .expect("the table, the key and the update are given");
        let both = [
            TransactWriteItem::builder().put(counted).build(),
            TransactWriteItem::builder().update(count).build(),
        ];
        match self.write_both("count a message's leads", both, message).await? {
            Both::Applied | Both::Refused([Some(_), _], _) => Ok(()),
            Both::Refused([None, _], error) => Err(error),
        }
    }

    /// Notes that a campaign has leads in these lanes, before any is stored: where it is not noted, nobody looks.
    ///
    /// Condition: there is such a campaign.
    pub async fn note_lanes(&self, code: &CampaignCode, lanes: Lanes) -> Result<(), TableError> {
        if !lanes.high {
            return Ok(());
        }
        let sent = self
            .campaign(code)
            .update_expression("SET lanes = :lanes")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":lanes", s(HIGH_LANE))
            .send()
            .await;
        sent.outcome("note a campaign's lanes", |_| None).map(|_| ())
    }

    /// finished → running: leads have come since. Returns whether it was finished.
    pub async fn reopen_campaign(&self, code: &CampaignCode) -> Result<bool, TableError> {
        let sent = self
            .campaign(code)
            .update_expression("SET st = :running")
            .condition_expression("st = :finished")
            .expression_attribute_values(":finished", s("finished"))
            .expression_attribute_values(":running", s("running"))
            .send()
            .await;
        Ok(matches!(sent.outcome("reopen a campaign", |_| None)?, Written::Applied(_)))
    }

    /// running → paused. Live calls go on (P6). Returns whether it was running.
    pub async fn pause_campaign(&self, code: &CampaignCode, reason: &str) -> Result<bool, TableError> {
        let sent = self
            .campaign(code)
            .update_expression("SET st = :paused, reason = :reason")
            .condition_expression("st = :running")
            .expression_attribute_values(":paused", s("paused"))
            .expression_attribute_values(":running", s("running"))
            .expression_attribute_values(":reason", s(reason))
            .send()
            .await;
        Ok(matches!(sent.outcome("pause a campaign", |_| None)?, Written::Applied(_)))
    }

    /// paused → running. Returns whether it was paused.
    pub async fn resume_campaign(&self, code: &CampaignCode) -> Result<bool, TableError> {
        let sent = self
            .campaign(code)
            .update_expression("SET st = :running REMOVE reason")
            .condition_expression("st = :paused")
            .expression_attribute_values(":paused", s("paused"))
            .expression_attribute_values(":running", s("running"))
            .send()
            .await;
        Ok(matches!(sent.outcome("resume a campaign", |_| None)?, Written::Applied(_)))
    }

    /// running → finished, with its final figures.
    ///
    /// Condition: still running, and no lead was added to the `leads` it had when they were counted.
    /// Returns whether it is finished.
    pub async fn finish_campaign(
        &self,
        campaign: &Campaign,
        counted: super::leads::LeadCount,
    ) -> Result<bool, TableError> {
        let Some(leads) = campaign.leads else { return Ok(false) };
        let sent = self
            .campaign(&campaign.code)
            .update_expression("SET st = :finished, leads = :total, done = :done, failed = :failed")
            .condition_expression("st = :running AND leads = :leads")
            .expression_attribute_values(":finished", s("finished"))
            .expression_attribute_values(":running", s("running"))
            .expression_attribute_values(":leads", n(leads))
            .expression_attribute_values(":total", n(counted.total))
            .expression_attribute_values(":done", n(counted.done))
            .expression_attribute_values(":failed", n(counted.failed))
            .send()
            .await;
        Ok(matches!(sent.outcome("finish a campaign", |_| None)?, Written::Applied(_)))
    }
}

fn campaign_of(item: &Item) -> Result<Campaign, TableError> {
    let read = Reader::new(item, "campaign");
    let code = read.text("sk")?.strip_prefix("C#").and_then(|code| code.parse().ok());
    let state = match read.text("st")? {
        "running" => CampaignState::Running,
        "finished" => CampaignState::Finished,
        "paused" => CampaignState::Paused { reason: read.text("reason")?.to_owned() },
        _ => return Err(read.error("st", "is not a state")),
    };
    let _: CampaignId = read.parsed("id")?;
    Ok(Campaign {
        code: code.ok_or_else(|| read.error("sk", "is not a campaign's"))?,
        spec: serde_json::from_str(read.text("spec")?)
            .map_err(|error| read.error("spec", &error.to_string()))?,
        created: read.instant("created")?,
        state,
        leads: read.number_if("leads")?,
        settled: (read.number("done")?, read.number("failed")?),
        lanes: Lanes { high: read.text_if("lanes")? == Some(HIGH_LANE) },
    })
}
