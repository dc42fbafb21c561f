//! Campaigns: what each asks for, its state, and how many leads it has.
//!
//! What people change ([`Table::change_campaign`], [`Table::edit_campaign`]) counts a revision on, so that a write that
//! is applied late or twice changes nothing any more. What follows by itself (an end, a pause of our own) does not.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s, texts};
use super::both::Both;
use super::callbacks::tally_of;
use super::events::{event_value, untold_of};
use super::kpi::figures_of;
use super::leads::LeadCount;
use super::{Conditional as _, Table, TableError, Written};
use crate::core::campaign::{Campaign, CampaignState, Spec};
use crate::core::event::{Event, What};
use crate::core::fair::Lanes;
use crate::core::ids::{CampaignCode, CampaignId, LeadRef, MessageCode};
use crate::core::life::{ACTS, Act, NewHours, Sweep};

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

/// What a change by a person came to.
#[derive(Debug)]
pub enum Changed {
    /// It is made; the campaign as it is now.
    Now(Box<Campaign>),
    /// The campaign has moved on since it was read: the change may have another meaning.
    Moved,
}

impl Table {
    pub(super) fn campaign(&self, code: &CampaignCode) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", code.as_str())))
    }

    /// Stores a campaign without leads, as `state`: running, or a draft.
    ///
    /// Condition: there is none of that code yet.
    pub async fn put_campaign(
        &self,
        spec: &Spec,
        state: &CampaignState,
        now: Timestamp,
    ) -> Result<Opened, TableError> {
        let json = serde_json::to_string(spec).expect("a campaign's fields are texts and numbers");
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.pool_pk()))
            .item("sk", s(format!("C#{}", CampaignCode::of(&spec.id).as_str())))
            .item("id", s(spec.id.as_str()))
            .item("spec", s(json))
            .item("st", s(state.name()))
            .item("created", ms(now))
            .item("done", n(0))
            .item("failed", n(0))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match self.announces && *state == CampaignState::Running {
            true => {
                let started = What::Started { by: None };
                let event = Event::of_campaign(&CampaignCode::of(&spec.id), &spec.id, now, started);
                put.item("ev", event_value(&event))
            }
            false => put,
        };
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
    pub async fn reopen_campaign(&self, campaign: &Campaign, now: Timestamp) -> Result<bool, TableError> {
        let Campaign { code, spec, .. } = campaign;
        let event = Event::of_campaign(code, &spec.id, now, What::Resumed { by: None });
        let (told, update) = self.with_event(self.campaign(code), Some(event));
        let sent = update
            .update_expression(format!("SET st = :running{told} ADD reopened :one"))
            .expression_attribute_values(":one", n(1))
            .condition_expression("st = :finished")
            .expression_attribute_values(":finished", s("finished"))
            .expression_attribute_values(":running", s("running"))
            .send()
            .await;
        Ok(matches!(sent.outcome("reopen a campaign", |_| None)?, Written::Applied(_)))
    }

    /// cancelled → cancelling: leads have come since. Returns whether it was cancelled.
    pub async fn recancel_campaign(&self, code: &CampaignCode) -> Result<bool, TableError> {
        let sent = self
            .campaign(code)
            .update_expression("SET st = :cancelling ADD reopened :one")
            .expression_attribute_values(":one", n(1))
            .condition_expression("st = :cancelled")
            .expression_attribute_values(":cancelled", s("cancelled"))
            .expression_attribute_values(":cancelling", s("cancelling"))
            .send()
            .await;
        Ok(matches!(sent.outcome("cancel a campaign's late leads", |_| None)?, Written::Applied(_)))
    }

    /// running → paused, by Headroom itself. Live calls go on (P6). Returns whether it was running.
    pub async fn pause_campaign(
        &self,
        campaign: &Campaign,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let Campaign { code, spec, .. } = campaign;
        let paused = What::Paused { reason: reason.to_owned(), by: None };
        let event = Event::of_campaign(code, &spec.id, now, paused);
        let (told, update) = self.with_event(self.campaign(code), Some(event));
        let sent = update
            .update_expression(format!(
                "SET st = :paused, reason = :reason, paused_at = :at{told} REMOVE paused_by"
            ))
            .expression_attribute_values(":at", ms(now))
            .condition_expression("st = :running")
            .expression_attribute_values(":paused", s("paused"))
            .expression_attribute_values(":running", s("running"))
            .expression_attribute_values(":reason", s(reason))
            .send()
            .await;
        Ok(matches!(sent.outcome("pause a campaign", |_| None)?, Written::Applied(_)))
    }

    /// From state to state, as a person asked for it. Live calls go on (P6).
    ///
    /// Condition: state and revision are still those of `seen`. Our own change whose answer was lost is known by its
    /// act in the old item.
    pub async fn change_campaign(
        &self,
        seen: &Campaign,
        to: &CampaignState,
        act: &Act,
    ) -> Result<Changed, TableError> {
        let (mut set, mut remove) = (String::from("SET st = :to"), vec!["swept_until", "swept"]);
        let event = What::of_change(&seen.state, to, &act.by)
            .map(|what| Event::of_campaign(&seen.code, &seen.spec.id, act.at, what));
        let (told, update) = self.with_event(self.campaign(&seen.code), event);
        set.push_str(told);
        let mut update = update.expression_attribute_values(":to", s(to.name()));
        match to {
            CampaignState::Paused { reason, by, at } => {
                set.push_str(", reason = :reason, paused_by = :by, paused_at = :at");
                update = update
                    .expression_attribute_values(":reason", s(reason))
                    .expression_attribute_values(":by", s(by.as_deref().unwrap_or(&act.by)))
                    .expression_attribute_values(":at", ms(at.unwrap_or(act.at)));
            }
            CampaignState::Rerunning { only, .. } => {
                set.push_str(", run = :run, reran = :reran, rerun_only = :only");
                remove.extend(["rerun_after", "reason", "paused_by", "paused_at"]);
                update = update
                    .expression_attribute_values(":run", n(seen.run + 1))
                    .expression_attribute_values(":reran", ms(act.at))
                    .expression_attribute_values(
                        ":only",
                        texts(only.iter().map(|unreached| unreached.name())),
                    );
            }
            CampaignState::Draft
            | CampaignState::Running
            | CampaignState::Cancelling
            | CampaignState::Cancelled
            | CampaignState::Finished => remove.extend(["reason", "paused_by", "paused_at"]),
        }
        let update = update.expression_attribute_values(":from", s(seen.state.name()));
        self.send_act(update, (set, remove, "st = :from AND "), seen, act, "change a campaign").await
    }

    /// Gives a campaign other settings, for the dials to come.
    ///
    /// Condition: its revision is still that of `seen`, so nobody else has changed them since. Our own change whose
    /// answer was lost is known by its act in the old item.
    pub async fn edit_campaign(
        &self,
        seen: &Campaign,
        spec: &Spec,
        act: &Act,
    ) -> Result<Changed, TableError> {
        let json = serde_json::to_string(spec).expect("a campaign's fields are texts and numbers");
        let mut update = self.campaign(&seen.code).expression_attribute_values(":spec", s(json));
        let (mut set, mut remove) = (String::from("SET spec = :spec"), Vec::new());
        if !spec.has_hours_of(&seen.spec) {
            set.push_str(", hours_at = :at");
            remove.push("hours_after");
            if seen.state == CampaignState::Running {
                // Whoever is looking at the leads does so for hours that are over.
                remove.extend(["swept_until", "swept"]);
            }
            update = update.expression_attribute_values(":at", ms(act.at));
        }
        self.send_act(update, (set, remove, ""), seen, act, "change a campaign's settings").await
    }

    async fn send_act(
        &self,
        update: UpdateItemFluentBuilder,
        (set, remove, condition): (String, Vec<&str>, &str),
        seen: &Campaign,
        act: &Act,
        operation: &'static str,
    ) -> Result<Changed, TableError> {
        let next = seen.revision + 1;
        let known = seen.acts.len().saturating_sub(ACTS - 1);
        let acts = seen.acts[known..].iter().chain([act]).map(text_of);
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
        // A campaign that nobody has changed yet has no revision.
        let (same, update) = match seen.revision {
            0 => ("attribute_not_exists(rev) AND attribute_exists(pk)", update),
            revision => ("rev = :rev", update.expression_attribute_values(":rev", n(revision))),
        };
        let sent = update
            .update_expression(format!("{set}, rev = :next, acts = :acts{remove}"))
            .condition_expression(format!("{condition}{same}"))
            .expression_attribute_values(":next", n(next))
            .expression_attribute_values(":acts", texts(acts))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let (item, applied) = match sent.outcome(operation, |output| output.attributes)? {
            Written::Applied(item) => (item, true),
            Written::Refused(item) => (item, false),
        };
        let Some(now) = item.as_ref().map(campaign_of).transpose()? else { return Ok(Changed::Moved) };
        let is_ours = applied || (now.revision == next && now.acts.last() == Some(act));
        Ok(if is_ours { Changed::Now(Box::new(now)) } else { Changed::Moved })
    }

    /// The condition that a campaign is still in the rerun of `seen`, and a write of it that gives the value.
    fn in_run(&self, seen: &Campaign) -> (&'static str, UpdateItemFluentBuilder) {
        let update = self.campaign(&seen.code);
        match seen.run {
            0 => ("attribute_not_exists(run)", update),
            run => ("run = :run", update.expression_attribute_values(":run", n(run))),
        }
    }

    /// Begins a sweep over a campaign's leads, or goes on with one, until `until`. The campaign as it is now; nothing
    /// if somebody else has the sweep, or there is none any more.
    ///
    /// Condition: the campaign is still in the state of `seen`, in its rerun, and nobody has its sweep.
    pub async fn hold_sweep(
        &self,
        seen: &Campaign,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Campaign>, TableError> {
        let (run, update) = self.in_run(seen);
        let sent = update
            .update_expression("SET swept_until = :until")
            .condition_expression(format!(
                "st = :from AND {run} AND (attribute_not_exists(swept_until) OR swept_until <= :now)"
            ))
            .expression_attribute_values(":from", s(seen.state.name()))
            .expression_attribute_values(":until", ms(until))
            .expression_attribute_values(":now", ms(now))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match sent.outcome("begin a sweep", |output| output.attributes)? {
            Written::Applied(item) => item.as_ref().map(campaign_of).transpose(),
            Written::Refused(_) => Ok(None),
        }
    }

    /// The sweep of `seen` has moved so many leads on, and has come to `after`. It is held until `until`, which is the past
    /// for whoever lets go of it. Returns whether it was still held by this holder.
    ///
    /// Condition: it is held until `held`; and its campaign's hours have not been changed again, if it goes by them.
    pub async fn sweep_on(
        &self,
        seen: &Campaign,
        held: Timestamp,
        until: Timestamp,
        moved: u32,
        after: Option<&LeadRef>,
    ) -> Result<bool, TableError> {
        let mut set = String::from("SET swept_until = :until, swept = if_not_exists(swept, :none) + :moved");
        let mut update = self
            .campaign(&seen.code)
            .expression_attribute_values(":held", ms(held))
            .expression_attribute_values(":until", ms(until))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":moved", n(moved));
        if let Some(after) = after {
            let is_rerun = matches!(seen.state, CampaignState::Rerunning { .. });
            set.push_str(if is_rerun { ", rerun_after = :after" } else { ", hours_after = :after" });
            update = update.expression_attribute_values(":after", s(after.as_str()));
        }
        let mut condition = "swept_until = :held";
        if let (CampaignState::Running, Some(hours)) = (&seen.state, &seen.new_hours) {
            condition = "swept_until = :held AND hours_at = :since";
            update = update.expression_attribute_values(":since", ms(hours.since));
        }
        let sent = update.update_expression(set).condition_expression(condition).send().await;
        Ok(matches!(sent.outcome("go on with a sweep", |_| None)?, Written::Applied(_)))
    }

    /// All leads of a campaign have been looked at since its hours were changed, by the sweep that is held until `held`.
    ///
    /// Condition: it still is, and they have not been changed again.
    pub async fn hours_settled(
        &self,
        code: &CampaignCode,
        held: Timestamp,
        hours: &NewHours,
    ) -> Result<(), TableError> {
        let sent = self
            .campaign(code)
            .update_expression("REMOVE hours_at, hours_after, swept_until, swept")
            .condition_expression("swept_until = :held AND hours_at = :since")
            .expression_attribute_values(":held", ms(held))
            .expression_attribute_values(":since", ms(hours.since))
            .send()
            .await;
        sent.outcome("end a sweep", |_| None).map(|_| ())
    }

    /// rerunning → running, with the figures of those who stay reached or failed.
    ///
    /// Condition: this rerun's leads were still being made ready, and none was promised a call since the campaign was read.
    /// Returns whether it runs again by this.
    pub async fn run_again(&self, campaign: &Campaign, counted: LeadCount) -> Result<bool, TableError> {
        let (promises, update) = same_promises(campaign, self.campaign(&campaign.code));
        let sent = update
            .update_expression(
                "SET st = :running, done = :done, failed = :failed \
                 REMOVE swept_until, swept, rerun_only, rerun_after, cb_done, cb_failed",
            )
            .condition_expression(format!("st = :rerunning AND run = :run AND {promises}"))
            .expression_attribute_values(":running", s("running"))
            .expression_attribute_values(":rerunning", s("rerunning"))
            .expression_attribute_values(":run", n(campaign.run))
            .expression_attribute_values(":done", n(counted.done))
            .expression_attribute_values(":failed", n(counted.failed))
            .send()
            .await;
        Ok(matches!(sent.outcome("run a campaign again", |_| None)?, Written::Applied(_)))
    }

    /// running → finished, or cancelling → cancelled, with its final figures.
    ///
    /// Condition: still in the state in which it was read, in the same rerun, and no lead was added to the `leads` it had when they were counted,
    /// nor came back since, being promised a call.
    /// Returns whether it is finished.
    pub async fn finish_campaign(
        &self,
        campaign: &Campaign,
        counted: LeadCount,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let Some(leads) = campaign.leads else { return Ok(false) };
        let over = match campaign.state {
            CampaignState::Running => CampaignState::Finished,
            CampaignState::Cancelling => CampaignState::Cancelled,
            CampaignState::Draft
            | CampaignState::Paused { .. }
            | CampaignState::Rerunning { .. }
            | CampaignState::Cancelled
            | CampaignState::Finished => return Ok(false),
        };
        let (run, update) = self.in_run(campaign);
        let (promises, update) = same_promises(campaign, update);
        let LeadCount { total, done, failed } = counted;
        let finished = What::Finished { state: over.name().to_owned(), leads: total, done, failed };
        let event = Event::of_campaign(&campaign.code, &campaign.spec.id, now, finished);
        let (told, update) = self.with_event(update, Some(event));
        let sent = update
            .update_expression(format!(
                "SET st = :over, leads = :total, done = :done, failed = :failed{told} REMOVE swept_until, swept, \
                 cb_done, cb_failed"
            ))
            .condition_expression(format!("st = :from AND leads = :leads AND {run} AND {promises}"))
            .expression_attribute_values(":over", s(over.name()))
            .expression_attribute_values(":from", s(campaign.state.name()))
            .expression_attribute_values(":leads", n(leads))
            .expression_attribute_values(":total", n(counted.total))
            .expression_attribute_values(":done", n(counted.done))
            .expression_attribute_values(":failed", n(counted.failed))
            .send()
            .await;
        Ok(matches!(sent.outcome("finish a campaign", |_| None)?, Written::Applied(_)))
    }
}

/// The condition that no lead of a campaign was promised a call since it was read, for which one comes back that was over;
/// and a write that gives its value.
fn same_promises(
    seen: &Campaign,
    update: UpdateItemFluentBuilder,
) -> (&'static str, UpdateItemFluentBuilder) {
    match seen.callbacks.made {
        0 => ("attribute_not_exists(cb_made)", update),
        made => ("cb_made = :made", update.expression_attribute_values(":made", n(made))),
    }
}

fn campaign_of(item: &Item) -> Result<Campaign, TableError> {
    let read = Reader::new(item, "campaign");
    let code = read.text("sk")?.strip_prefix("C#").and_then(|code| code.parse().ok());
    let state = match read.text("st")? {
        "running" => CampaignState::Running,
        "finished" => CampaignState::Finished,
        "paused" => CampaignState::Paused {
            reason: read.text("reason")?.to_owned(),
            by: read.text_if("paused_by")?.map(str::to_owned),
            at: read.instant_if("paused_at")?,
        },
        "draft" => CampaignState::Draft,
        "cancelling" => CampaignState::Cancelling,
        "cancelled" => CampaignState::Cancelled,
        "rerunning" => {
            let only = read.texts("rerun_only")?;
            CampaignState::Rerunning {
                // One that this version has never heard of is one that it cannot choose.
                only: only.into_iter().filter_map(|name| name.parse().ok()).collect(),
                after: read.parsed_if("rerun_after")?,
            }
        }
        _ => return Err(read.error("st", "is not a state")),
    };
    let _: CampaignId = read.parsed("id")?;
    let callbacks = tally_of(&read)?;
    Ok(Campaign {
        code: code.ok_or_else(|| read.error("sk", "is not a campaign's"))?,
        spec: serde_json::from_str(read.text("spec")?)
            .map_err(|error| read.error("spec", &error.to_string()))?,
        created: read.instant("created")?,
        state,
        leads: read.number_if("leads")?,
        settled: (read.number("done")?, read.number("failed")?),
        lanes: Lanes::new(callbacks.made > 0, read.text_if("lanes")? == Some(HIGH_LANE)),
        callbacks,
        revision: read.number_if("rev")?.unwrap_or_default(),
        run: read.number_if("run")?.unwrap_or_default(),
        reran: read.instant_if("reran")?,
        acts: read.texts("acts")?.into_iter().filter_map(act_of).collect(),
        sweep: Sweep {
            held_until: read.instant_if("swept_until")?,
            moved: read.number_if("swept")?.unwrap_or_default(),
        },
        new_hours: match read.instant_if("hours_at")? {
            Some(since) => Some(NewHours { since, after: read.parsed_if("hours_after")? }),
            None => None,
        },
        kpi: figures_of(&read)?,
        untold: untold_of(&read)?,
    })
}

/// An act as the item keeps it: its milliseconds, who and what.
fn text_of(act: &Act) -> String {
    format!("{}\t{}\t{}", act.at.as_millisecond(), act.by, act.what)
}

fn act_of(text: &str) -> Option<Act> {
    let mut parts = text.splitn(3, '\t');
    let at = Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?;
    Some(Act { at, by: parts.next()?.to_owned(), what: parts.next()?.to_owned() })
}
