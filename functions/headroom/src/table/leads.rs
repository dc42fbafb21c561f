//! Leads: each its own item, moved from state to state by conditional writes.
//!
//! `st` is the state; `q` (the campaign's code, with `+` behind it for the lane of warm leads, `!` for that of people who
//! are promised a call) is there only while the
//! lead is ready, which is what puts it into the index; `lane` is what `q` is set to again after a claim, for leads
//! that stand in another lane than the ordinary one; `due` stays through a claim, so that a lead that goes back untouched goes
//! back to its place in the queue. Nothing else writes `claims`.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::both::Both;
use super::events::is_untold;
use super::kpi::{came_attribute, only};
use super::ledger::pool_of;
use super::queue::{BACK_IN_LANE, due_us, put_off_from, queue};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::callback::{Callbacks, Promise};
use crate::core::campaign::NewLead;
use crate::core::fair::Lane;
use crate::core::ids::{CallId, CampaignCode, ClaimKey, LeadRef, MessageCode, PhoneNumber};
use crate::core::kpi::Ended;
use crate::core::lead::{Counts, Lead, LeadState, Outcome};
use crate::core::life::CANCELLED;
use crate::core::line::Token;
use crate::core::retry::{Missed, Tried};
use crate::core::unseen::Figures;
use crate::core::window::zone;

/// What the storing of a new lead came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is new and ready.
    New,
    /// It was there already, in whatever state; nothing changed.
    Known,
    /// It was there already, and this very message had brought it.
    Again,
    /// Another lead's id has the same short reference: this one cannot be stored.
    Collision,
}

/// What the ending of a ready lead came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedReady {
    /// It is over for this reason, and counted.
    Now,
    /// It is not ready any more, was claimed since, or its latest claim's line is still to be freed.
    NotReady,
    /// Its campaign has no counters on the ledger: nothing was changed.
    NotOpen,
}

/// What a step of a lead came to. A refused step shows the lead as it is, if there is one.
#[derive(Debug)]
pub enum Step {
    /// The lead has moved.
    Moved(Box<Lead>),
    /// It stands where this step does not start from.
    Refused(Option<Box<Lead>>),
}

pub(super) fn pk(campaign: &CampaignCode) -> AttributeValue {
    s(format!("C#{}", campaign.as_str()))
}

pub(super) fn sk(lead: &LeadRef) -> AttributeValue {
    s(format!("L#{}", lead.as_str()))
}

impl Table {
    /// Stores a lead that a message brought, as ready from `due` on.
    ///
    /// Condition: there is none of that reference yet.
    pub async fn put_lead(
        &self,
        campaign: &CampaignCode,
        message: &MessageCode,
        lead: &NewLead,
        due: Timestamp,
    ) -> Result<Stored, TableError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", pk(campaign))
            .item("sk", sk(&LeadRef::of(&lead.id)))
            .item("id", s(lead.id.as_str()))
            .item("num", s(lead.number.reveal()))
            .item("msg", s(message.as_str()))
            .item("st", s(LeadState::Ready.name()))
            .item("q", queue(campaign, lead.lane))
            .item("due", due_us(due))
            .item("claims", n(0))
            .item("att", n(0))
            .item("spared", n(0))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if lead.lane != Lane::Normal {
            put = put.item("lane", queue(campaign, lead.lane));
        }
        if let Some(name) = &lead.name {
            put = put.item("name", s(name));
        }
        put = put.item("tz", s(clock_of(lead)));
        if let Some(variables) = &lead.variables {
            put = put.item("vars", s(variables));
        }
        match put.send().await.outcome("store a lead", |_| None)? {
            Written::Applied(_) => Ok(Stored::New),
            Written::Refused(item) => {
                let item = item.unwrap_or_default();
                let known = Reader::new(&item, "lead");
                Ok(if known.text("id")? != lead.id.as_str() {
                    Stored::Collision
                } else if known.text("msg")? == message.as_str() {
                    Stored::Again
                } else {
                    Stored::Known
                })
            }
        }
    }

    /// How many leads a campaign has, and how many of them are over: done, failed. Consistent, and
    /// reads the whole campaign, so it is for the moment at which one seems finished.
    pub async fn count_leads(&self, campaign: &CampaignCode) -> Result<LeadCount, TableError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :lead)")
            .expression_attribute_values(":pk", pk(campaign))
            .expression_attribute_values(":lead", s("L#"))
            .projection_expression("st")
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut count = LeadCount::default();
        while let Some(item) = pages.try_next().await.map_err(TableError::call("count leads"))? {
            count.total += 1;
            match Reader::new(&item, "lead").text("st")? {
                "done" => count.done += 1,
                "failed" => count.failed += 1,
                _ => {}
            }
        }
        Ok(count)
    }

    /// One lead, consistently.
    pub async fn read_lead(
        &self,
        campaign: &CampaignCode,
        lead: &LeadRef,
    ) -> Result<Option<Lead>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", pk(campaign))
            .key("sk", sk(lead))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read a lead"))?;
        read.item.as_ref().map(lead_of).transpose()
    }

    /// One lead, consistently, with when its turn is and why its latest call ended, for whoever asks after it.
    pub async fn read_turn(
        &self,
        campaign: &CampaignCode,
        lead: &LeadRef,
    ) -> Result<Option<(Lead, Turn)>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", pk(campaign))
            .key("sk", sk(lead))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read a lead"))?;
        read.item.as_ref().map(|item| Ok((lead_of(item)?, turn_of(item)?))).transpose()
    }

    /// Many leads, consistently, in no order; those that are not there are left out.
    pub async fn read_leads(&self, claims: &[ClaimKey]) -> Result<Vec<Lead>, TableError> {
        const PAGE: usize = 100;
        // Two claims of one lead are one item, and a batch that names an item twice is refused.
        let named: BTreeSet<_> = claims.iter().map(|claim| (&claim.campaign, &claim.lead)).collect();
        let named: Vec<_> = named.into_iter().collect();
        let mut leads = Vec::with_capacity(named.len());
        for page in named.chunks(PAGE) {
            let key = |(campaign, lead): &(&CampaignCode, &LeadRef)| {
                Item::from([("pk".to_owned(), pk(campaign)), ("sk".to_owned(), sk(lead))])
            };
            let keys = page.iter().map(key).collect::<Vec<_>>();
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .expect("keys are given");
            let mut left = Some(HashMap::from([(self.name.clone(), wanted)]));
            // A batch may come back in parts; each round brings at least one item or fails.
            while let Some(request) = left.take().filter(|request| !request.is_empty()) {
                let read = self
                    .client
                    .batch_get_item()
                    .set_request_items(Some(request))
                    .send()
                    .await
                    .map_err(TableError::call("read leads"))?;
                for item in read.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                    leads.push(lead_of(&item)?);
                }
                left = read.unprocessed_keys;
            }
        }
        Ok(leads)
    }

    fn step(&self, claim: &ClaimKey) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", pk(&claim.campaign))
            .key("sk", sk(&claim.lead))
            .expression_attribute_values(":claim", n(claim.claim))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// ready → dialing, for a claim whose line is held by `token`.
    ///
    /// Condition: ready, and this claim is its next. Our own claim whose answer was lost counts as made.
    pub async fn claim(
        &self,
        claim: &ClaimKey,
        token: &Token,
        deadline: Timestamp,
    ) -> Result<Step, TableError> {
        let step = self
            .step(claim)
            .update_expression(
                "SET st = :dialing, claims = :claim, tok = :tok, deadline = :deadline REMOVE q, vcall",
            )
            .condition_expression("st = :ready AND claims = :before")
            .expression_attribute_values(":before", n(claim.claim - 1))
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":dialing", s("dialing"))
            .expression_attribute_values(":tok", s(token.as_str()))
            .expression_attribute_values(":deadline", ms(deadline));
        let step = step_of(step.send().await.outcome("claim a lead", |output| output.attributes)?)?;
        Ok(match step {
            Step::Refused(Some(lead))
                if lead.claims == claim.claim
                    && matches!(&lead.state, LeadState::Dialing { token: held, .. } if held == token) =>
            {
                Step::Moved(lead)
            }
            other => other,
        })
    }

    /// ready → ready, with a claim number used up that was never claimed: whoever still means to make
    /// this claim is refused from here on, however late its write comes. Only then may the line that
    /// was taken for it be freed.
    ///
    /// Condition: ready, and this claim is its next.
    pub async fn fence(&self, claim: &ClaimKey) -> Result<Step, TableError> {
        let step = self
            .step(claim)
            .update_expression("SET claims = :claim")
            .condition_expression("st = :ready AND claims = :before")
            .expression_attribute_values(":before", n(claim.claim - 1))
            .expression_attribute_values(":ready", s("ready"));
        step_of(step.send().await.outcome("fence a claim off", |output| output.attributes)?)
    }

    /// dialing or unknown → live: the claim's call is known. Again for the same call changes nothing.
    ///
    /// Condition: this claim is the latest, and it has no call or this one.
    /// What Vapi said of its lines with the call's creation is kept beside it.
    pub async fn bind(
        &self,
        claim: &ClaimKey,
        call: &CallId,
        figures: Option<Figures>,
    ) -> Result<Step, TableError> {
        let (told, step) = match figures {
            Some(figures) => {
                let step = self.step(claim).expression_attribute_values(":fig", s(figures.to_string()));
                (", fig = :fig", step)
            }
            None => ("", self.step(claim)),
        };
        let step = step
            .update_expression(format!("SET st = :live, vcall = :call{told} REMOVE deadline"))
            .condition_expression(
                "claims = :claim AND (st IN (:dialing, :unknown) OR (st = :live AND vcall = :call))",
            )
            .expression_attribute_values(":live", s("live"))
            .expression_attribute_values(":dialing", s("dialing"))
            .expression_attribute_values(":unknown", s("unknown"))
            .expression_attribute_values(":call", s(call.as_str()));
        step_of(step.send().await.outcome("bind a call", |output| output.attributes)?)
    }

    /// dialing → unknown: the dial had no clear answer. `deadline`: after it the call, if there is
    /// one, has been created.
    ///
    /// Condition: this claim is the latest and dialing.
    pub async fn mark_unknown(&self, claim: &ClaimKey, deadline: Timestamp) -> Result<Step, TableError> {
        let step = self
            .step(claim)
            .update_expression("SET st = :unknown, deadline = :deadline")
            .condition_expression("claims = :claim AND st = :dialing")
            .expression_attribute_values(":unknown", s("unknown"))
            .expression_attribute_values(":dialing", s("dialing"))
            .expression_attribute_values(":deadline", ms(deadline));
        step_of(step.send().await.outcome("mark a dial unknown", |output| output.attributes)?)
    }

    /// dialing or unknown → ready: the claim's call was never made. The lead goes back to its place
    /// in the queue, and nothing counts.
    ///
    /// Condition: this claim is the latest, and no call of it is known.
    pub async fn give_back(&self, claim: &ClaimKey) -> Result<Step, TableError> {
        let step = self
            .step(claim)
            .update_expression(format!("SET st = :ready, {BACK_IN_LANE} REMOVE deadline"))
            .condition_expression("claims = :claim AND st IN (:dialing, :unknown)")
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":dialing", s("dialing"))
            .expression_attribute_values(":unknown", s("unknown"))
            .expression_attribute_values(":q", queue(&claim.campaign, Lane::Normal));
        step_of(step.send().await.outcome("give a lead back", |output| output.attributes)?)
    }

    /// A claim is over → done, failed, or ready again. `call` is the call that ended, if one is known; it counts as
    /// `ended` among the lead's calls, if it does.
    ///
    /// Condition: this claim is the latest and not over, it has no other call, and its lead is promised none
    /// ([`Table::settle_promised`] is for that). So the outcome of a claim is written once, by whoever comes first (P8).
    pub async fn settle(
        &self,
        claim: &ClaimKey,
        call: Option<&CallId>,
        outcome: &Outcome,
        reason: &str,
        ended: Option<Ended>,
    ) -> Result<Step, TableError> {
        let mut settling = Settling::of(claim, call, outcome, reason, ended);
        if let Outcome::Again { .. } = outcome {
            settling.set.push_str(", ");
            settling.set.push_str(BACK_IN_LANE);
            settling.values.insert(":q".into(), queue(&claim.campaign, Lane::Normal));
        }
        if let Some(untold) = self.untold_queue()
            && !matches!(outcome, Outcome::Again { .. })
        {
            settling.mark_untold(untold);
        }
        settling.condition.push_str(" AND attribute_not_exists(cb)");
        let step = self.settle_step(claim, settling).send().await;
        step_of(step.outcome("settle a lead", |output| output.attributes)?)
    }

    /// The write of a claim's end.
    pub(super) fn settle_step(&self, claim: &ClaimKey, settling: Settling) -> UpdateItemFluentBuilder {
        self.step(claim)
            .update_expression(settling.expression())
            .condition_expression(settling.condition)
            .set_expression_attribute_names(Some(settling.names).filter(|names| !names.is_empty()))
            .set_expression_attribute_values(Some(settling.values))
    }

    /// ready → failed, without a line and without a call: for a lead that is not to be called any more.
    ///
    /// A transaction: the lead's end, and its count on the ledger. Condition: ready, with this claim its next; the
    /// line of its latest claim, in the item `shard` of the ledger, is free, and its campaign has its counters there.
    /// An end whose answer was lost is known by its reason in the old item, whoever wrote it: it was counted with it.
    pub async fn end_ready(
        &self,
        next: &ClaimKey,
        shard: u8,
        reason: &str,
    ) -> Result<EndedReady, TableError> {
        let end =
            Update::builder().table_name(&self.name).key("pk", pk(&next.campaign)).key("sk", sk(&next.lead));
        let end = match self.untold_queue() {
            Some(untold) => end
                .update_expression("SET st = :failed, reason = :reason, q = :untold REMOVE cb, cb_claim")
                .expression_attribute_values(":untold", untold),
            None => end.update_expression("SET st = :failed, reason = :reason REMOVE q, cb, cb_claim"),
        };
        let end = end
            .condition_expression("st = :ready AND claims = :before")
            .expression_attribute_values(":failed", s("failed"))
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":reason", s(reason))
            .expression_attribute_values(":before", n(next.claim - 1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("the table, the key and the update are given");
        let last = ClaimKey { claim: next.claim - 1, ..next.clone() };
        let both = [
            TransactWriteItem::builder().update(end).build(),
            TransactWriteItem::builder().update(self.failure_counted(&last, shard)).build(),
        ];
        let own = MessageCode::of(next.to_string().as_bytes());
        let [lead, ledger] = match self.write_both("end a lead that is ready", both, &own).await? {
            Both::Applied => return Ok(EndedReady::Now),
            Both::Refused(refused, _) => refused,
        };
        if let Some(lead) = lead {
            let old = (!lead.is_empty()).then(|| lead_of(&lead)).transpose()?;
            let same = old.is_some_and(|lead| {
                lead.claims + 1 == next.claim
                    && matches!(lead.state, LeadState::Failed { reason: known } if known == reason)
            });
            return Ok(if same { EndedReady::Now } else { EndedReady::NotReady });
        }
        let Some(ledger) = ledger else { return Ok(EndedReady::NotReady) };
        let is_open =
            pool_of(Some(ledger).filter(|item| !item.is_empty()))?.campaigns.contains_key(&next.campaign);
        Ok(if is_open { EndedReady::NotReady } else { EndedReady::NotOpen })
    }

    /// Up to `most` leads of a campaign in the order of their references, behind `after`, consistently; and the last
    /// one's reference, if there may be more.
    pub async fn page_leads(
        &self,
        campaign: &CampaignCode,
        after: Option<&LeadRef>,
        most: i32,
    ) -> Result<(Vec<(Lead, Turn)>, Option<LeadRef>), TableError> {
        // References are of one length and have no space in them.
        let from = after.map_or_else(|| "L#".to_owned(), |after| format!("L#{} ", after.as_str()));
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :last")
            .expression_attribute_values(":pk", pk(campaign))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":last", s("L$"))
            .limit(most)
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("list leads"))?;
        let leads: Vec<(Lead, Turn)> = found
            .items()
            .iter()
            .map(|item| Ok((lead_of(item)?, turn_of(item)?)))
            .collect::<Result<_, _>>()?;
        let last = leads.last().map(|(lead, _)| lead.lead.clone());
        Ok((leads, last.filter(|_| found.last_evaluated_key.is_some())))
    }

    /// ready → failed, because its campaign is cancelled. It is not counted on the ledger: that would be a write of the
    /// same item for each of 100,000 leads. The campaign's leads are counted when all are over. Returns whether it was
    /// ready.
    ///
    /// Condition: ready, and not made so by a later rerun than `run`.
    pub async fn cancel_lead(
        &self,
        campaign: &CampaignCode,
        lead: &LeadRef,
        run: u32,
    ) -> Result<bool, TableError> {
        let end =
            self.client.update_item().table_name(&self.name).key("pk", pk(campaign)).key("sk", sk(lead));
        let end = match self.untold_queue() {
            Some(untold) => end
                .update_expression("SET st = :failed, reason = :reason, q = :untold REMOVE cb, cb_claim")
                .expression_attribute_values(":untold", untold),
            None => end.update_expression("SET st = :failed, reason = :reason REMOVE q, cb, cb_claim"),
        };
        let sent = end
            .condition_expression("st = :ready AND (attribute_not_exists(run) OR run <= :run)")
            .expression_attribute_values(":failed", s("failed"))
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":reason", s(CANCELLED))
            .expression_attribute_values(":run", n(run))
            .send()
            .await;
        Ok(matches!(sent.outcome("cancel a lead", |_| None)?, Written::Applied(_)))
    }

    /// failed → ready from `due` on, with fresh attempts, in its campaign's rerun `run`. One claim number is used up, so
    /// that whoever still means to make one of before is refused. `lane` is the lead's own. Returns whether it was made
    /// ready now.
    ///
    /// Condition: failed, and not made ready by this rerun, or a later one, before: once it has failed again, it stays
    /// so. Where somebody listens, its end has been told.
    pub async fn rerun_lead(
        &self,
        campaign: &CampaignCode,
        (lead, lane): (&LeadRef, Lane),
        run: u32,
        due: Timestamp,
    ) -> Result<bool, TableError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", pk(campaign))
            .key("sk", sk(lead))
            .update_expression(format!(
                "SET st = :ready, q = :q, lane = :q, due = :due, att = :zero, spared = :zero, run = :run, \
                 claims = claims + :one REMOVE {}",
                Missed::ALL.map(tried_attribute).join(", ")
            ))
            .condition_expression(if self.announces {
                "st = :failed AND (attribute_not_exists(run) OR run < :run) AND attribute_not_exists(q)"
            } else {
                "st = :failed AND (attribute_not_exists(run) OR run < :run)"
            })
            .expression_attribute_values(":failed", s("failed"))
            .expression_attribute_values(":ready", s("ready"))
            .expression_attribute_values(":q", queue(campaign, lane))
            .expression_attribute_values(":due", due_us(due))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":run", n(run))
            .send()
            .await;
        Ok(matches!(sent.outcome("make a lead ready again", |_| None)?, Written::Applied(_)))
    }
}

/// The end of a claim as expressions, but for where the lead stands afterwards.
pub(super) struct Settling {
    pub(super) set: String,
    pub(super) remove: String,
    add: &'static str,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Item,
}

impl Settling {
    pub(super) fn of(
        claim: &ClaimKey,
        call: Option<&CallId>,
        outcome: &Outcome,
        reason: &str,
        ended: Option<Ended>,
    ) -> Self {
        let (state, counts) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::Failed => ("failed", None),
            Outcome::Uncalled => ("failed", Some(Counts::Nothing)),
            Outcome::Again { counts, .. } => ("ready", Some(*counts)),
        };
        let mut set = String::from("SET st = :st, reason = :reason");
        let mut names = HashMap::new();
        let values = [
            (":claim", n(claim.claim)),
            (":st", s(state)),
            (":reason", s(reason)),
            (":live", s("live")),
            (":dialing", s("dialing")),
            (":unknown", s("unknown")),
        ];
        let mut values = Item::from(values.map(|(name, value)| (name.to_owned(), value)));
        match counts {
            None | Some(Counts::Called) => set.push_str(", att = att + :one"),
            Some(Counts::Attempt(missed)) => {
                set.push_str(", att = att + :one, #m = if_not_exists(#m, :none) + :one");
                names.insert("#m".into(), tried_attribute(missed).into());
                values.insert(":none".into(), n(0));
            }
            Some(Counts::Spared) => set.push_str(", spared = spared + :one"),
            Some(Counts::Nothing | Counts::PutOff) => {}
        }
        let counts_attempt = !matches!(counts, Some(Counts::Nothing | Counts::PutOff));
        if counts_attempt || ended.is_some() {
            values.insert(":one".into(), n(1));
        }
        if let Some(Ended { came, line }) = ended {
            set.push_str(
                ", #came = if_not_exists(#came, :zero) + :one, line_ms = if_not_exists(line_ms, :zero) + :line",
            );
            names.insert("#came".into(), came_attribute(came).into());
            values.insert(":zero".into(), n(0));
            values.insert(":line".into(), n(line.as_millis().max(0)));
        }
        // What does not count at all keeps its place in the queue.
        if let Outcome::Again { due, counts } = outcome
            && *counts != Counts::Nothing
        {
            set.push_str(", due = :due");
            values.insert(":due".into(), due_us(*due));
        }
        let mut condition = String::from("claims = :claim AND st IN (:live, :dialing, :unknown)");
        if let Some(call) = call {
            set.push_str(", vcall = :call");
            condition.push_str(" AND (attribute_not_exists(vcall) OR vcall = :call)");
            values.insert(":call".into(), s(call.as_str()));
        }
        let mut add = "";
        if let (Some(call), true) = (call, ended.is_some_and(|ended| ended.came.is_answered())) {
            add = " ADD untold :untold";
            values.insert(":untold".into(), only(call));
        }
        // Token and call stay: with them the pass can do what a function that dies here leaves undone,
        // and tells the line of this claim from one that was taken for it too late.
        Self { set, remove: "deadline".into(), add, condition, names, values }
    }

    /// The lead is over, and its end is to be told.
    pub(super) fn mark_untold(&mut self, untold: AttributeValue) {
        self.set.push_str(", q = :end_untold");
        self.values.insert(":end_untold".into(), untold);
    }

    /// The update as a whole.
    pub(super) fn expression(&self) -> String {
        format!("{} REMOVE {}{}", self.set, self.remove, self.add)
    }
}

/// What a lead's item says besides its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// From when on it is called, or was.
    pub due: Timestamp,
    /// The turn that it had, if its person was not to be called then and it has waited since.
    pub put_off_from: Option<Timestamp>,
    /// Where in its campaign's queue it stands.
    pub lane: Lane,
    /// Why its latest call ended, if one has.
    pub reason: Option<String>,
    /// Whether it is over, and others are still to be told.
    pub is_untold: bool,
}

/// A campaign's leads, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeadCount {
    /// All of them.
    pub total: u32,
    /// Reached.
    pub done: u32,
    /// Over without being reached.
    pub failed: u32,
}

impl LeadCount {
    /// Whether each has its final outcome.
    pub fn all_over(&self) -> bool {
        self.done + self.failed == self.total
    }
}

pub(super) fn step_of(written: Written) -> Result<Step, TableError> {
    let boxed = |item: Item| lead_of(&item).map(Box::new);
    match written {
        Written::Applied(item) => {
            let item = item.ok_or(TableError::Item { item: "lead", problem: "did not come back".into() })?;
            Ok(Step::Moved(boxed(item)?))
        }
        Written::Refused(item) => Ok(Step::Refused(item.map(boxed).transpose()?)),
    }
}

fn turn_of(item: &Item) -> Result<Turn, TableError> {
    let read = Reader::new(item, "lead");
    Ok(Turn {
        due: read.microsecond("due")?,
        put_off_from: put_off_from(&read)?,
        lane: if read.has("cb") { Lane::Callback } else { own_lane(&read)? },
        reason: read.text_if("reason")?.map(str::to_owned),
        is_untold: is_untold(&read)?,
    })
}

/// Where a lead stands without a promise. `lane` may be that of a promise, `own` tells then of a warm lead.
fn own_lane(read: &Reader<'_>) -> Result<Lane, TableError> {
    let is_warm =
        read.text_if("own")?.is_some() || read.text_if("lane")?.is_some_and(|lane| lane.ends_with('+'));
    Ok(if is_warm { Lane::High } else { Lane::Normal })
}

fn callbacks_of(read: &Reader<'_>) -> Result<Callbacks, TableError> {
    let promise = match read.has("cb") {
        true => Some(Promise { at: read.microsecond("cb")?, claim: read.number("cb_claim")? }),
        false => None,
    };
    let heard = read.text_if("cb_heard")?.unwrap_or_default();
    let heard = heard.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    Ok(Callbacks { promise, heard: heard.map_err(|()| read.error("cb_heard", "does not parse"))? })
}

pub(super) fn reference_of(read: &Reader<'_>) -> Result<LeadRef, TableError> {
    let reference = read.text("sk")?.strip_prefix("L#").and_then(|text| text.parse().ok());
    reference.ok_or_else(|| read.error("sk", "is not a lead's"))
}

/// What tells a lead's hours, for the index, which shows this attribute and not the number: the zone that it names,
/// if it does, and the number.
fn clock_of(lead: &NewLead) -> String {
    let number = lead.number.reveal();
    match lead.timezone.as_ref().and_then(|zone| zone.iana_name()) {
        Some(zone) => format!("{zone} {number}"),
        None => number.to_owned(),
    }
}

pub(super) fn zone_of(read: &Reader<'_>) -> Result<Option<jiff::tz::TimeZone>, TableError> {
    let named = read.text_if("tz")?.and_then(|text| text.split(' ').find(|word| !word.starts_with('+')));
    named.map(zone).transpose().map_err(|_| read.error("tz", "is not a known zone"))
}

/// The number as far as the index shows it.
pub(super) fn shown_number(read: &Reader<'_>) -> Result<Option<PhoneNumber>, TableError> {
    let number = read.text_if("tz")?.and_then(|text| text.split(' ').find(|word| word.starts_with('+')));
    number.map(str::parse).transpose().map_err(|_| read.error("tz", "has something that is no number"))
}

/// Where a lead's attempts are counted by what they came to; there from the first one on.
fn tried_attribute(missed: Missed) -> &'static str {
    match missed {
        Missed::NoAnswer => "att_noans",
        Missed::Busy => "att_busy",
        Missed::Voicemail => "att_vm",
        Missed::SetupFailure => "att_setup",
        Missed::Dropped => "att_drop",
    }
}

fn tried_of(read: &Reader<'_>) -> Result<Tried, TableError> {
    Missed::ALL.into_iter().try_fold(Tried::default(), |tried, missed| {
        let attempts = read.number_if(tried_attribute(missed))?;
        Ok(attempts.map_or(tried, |attempts| tried.with(missed, attempts)))
    })
}

pub(super) fn lead_of(item: &Item) -> Result<Lead, TableError> {
    let read = Reader::new(item, "lead");
    let campaign = read.text("pk")?.strip_prefix("C#").and_then(|code| code.parse().ok());
    let reason = || read.text_if("reason").map(|reason| reason.unwrap_or_default().to_owned());
    let token: Option<Token> = read.parsed_if("tok")?;
    let held = || token.clone().ok_or_else(|| read.error("tok", "is missing"));
    let state = match read.text("st")? {
        "ready" => LeadState::Ready,
        "dialing" => LeadState::Dialing { token: held()?, deadline: read.instant("deadline")? },
        "unknown" => LeadState::Unknown { token: held()?, deadline: read.instant("deadline")? },
        "live" => LeadState::Live { token: held()?, call: read.parsed("vcall")? },
        "done" => LeadState::Done { reason: reason()? },
        "failed" => LeadState::Failed { reason: reason()? },
        _ => return Err(read.error("st", "is not a state")),
    };
    Ok(Lead {
        campaign: campaign.ok_or_else(|| read.error("pk", "is not a campaign's"))?,
        lead: reference_of(&read)?,
        id: read.parsed("id")?,
        number: read.parsed("num")?,
        name: read.text_if("name")?.map(str::to_owned),
        timezone: zone_of(&read)?,
        variables: read.text_if("vars")?.map(str::to_owned),
        state,
        token,
        call: read.parsed_if("vcall")?,
        figures: read.parsed_if("fig")?,
        claims: read.number("claims")?,
        attempts: read.number("att")?,
        tried: tried_of(&read)?,
        spared: read.number("spared")?,
        lane: own_lane(&read)?,
        callbacks: callbacks_of(&read)?,
    })
}
