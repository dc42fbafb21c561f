//! Callbacks: what a lead is promised, and what its campaign has promised, kept and missed.
//!
//! | attribute of a lead | holds |
//! |---|---|
//! | `cb` `cb_claim` | what it is promised, as [`Promise`](crate::core::callback::Promise) has it; there while the promise stands, and no longer |
//! | `cb_heard` | what it was promised for, as text |
//! | `lane` | while the promise stands: the lane of callbacks, so that a claim that is undone goes back there |
//! | `own` | with the first promise: what `lane` was, of a warm lead |
//!
//! | attribute of a campaign | holds |
//! |---|---|
//! | `cb_made` `cb_kept` `cb_missed` | promises, counted |
//! | `cb_done` `cb_failed` | leads that came back from there since all were last counted; the ledger counts them still |
//!
//! A promise and its count, and its end and its count, are one transaction each: counted once, whoever dies when. They
//! are rare beside calls.

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Select, TransactWriteItem, Update};
use jiff::Timestamp;

use super::attributes::{Reader, n, s, texts};
use super::both::Both;
use super::leads::{Settling, Step, lead_of, pk, sk, step_of};
use super::queue::{BACK_IN_LANE, due_us, queue};
use super::{Conditional as _, Table, TableError};
use crate::core::callback::{Fate, Heard, Tally};
use crate::core::campaign::{Campaign, CampaignState};
use crate::core::event::{Event, What};
use crate::core::fair::Lane;
use crate::core::ids::{CallId, CampaignCode, MessageCode};
use crate::core::kpi::Ended;
use crate::core::lead::{Lead, LeadState, Outcome};

impl Table {
    fn campaign_counted(&self, code: &CampaignCode, counters: &[&str]) -> UpdateBuilder {
        let counted =
            counters.iter().map(|counter| format!("{counter} = if_not_exists({counter}, :none) + :one"));
        Update::builder()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", code.as_str())))
            .update_expression(format!("SET {}", counted.collect::<Vec<_>>().join(", ")))
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":one", n(1))
    }

    /// Promises a lead a call at `at`, for what was `heard`. One that waits, or is over, is ready in the lane of callbacks
    /// then, with one claim number used up, so that whoever still means to call it before is refused; one that is in a
    /// call keeps its claim, and the claim's end sees the promise. A finished campaign runs again. Returns whether it is
    /// promised now.
    ///
    /// A transaction: the lead and its campaign's counts. Condition: the lead is where `seen` says, in the same claim, and
    /// has heard of nothing since; the campaign is in the state of `campaign`. That the lead had ended is among what the
    /// campaign has to tell, where somebody listens.
    pub async fn promise(
        &self,
        seen: &Lead,
        campaign: &Campaign,
        (at, now): (Timestamp, Timestamp),
        heard: &Heard,
    ) -> Result<bool, TableError> {
        let under_way = seen.lease().is_some();
        let claims = if under_way { seen.claims } else { seen.claims + 1 };
        let mut set = String::from(
            "SET cb = :at, cb_claim = :claims, cb_heard = :heard, due = :at, lane = :lane, claims = :claims",
        );
        let mut lead = Update::builder();
        if !under_way {
            set.push_str(", st = :ready, q = :lane");
            lead = lead.expression_attribute_values(":ready", s("ready"));
        }
        if seen.lane == Lane::High {
            set.push_str(", own = :own");
            lead = lead.expression_attribute_values(":own", queue(&seen.campaign, Lane::High));
        }
        let mut condition = String::from("st = :was AND claims = :before AND ");
        let known: Vec<String> = seen.callbacks.heard.iter().map(Heard::to_string).collect();
        if known.is_empty() {
            condition.push_str("attribute_not_exists(cb_heard)");
        } else {
            condition.push_str("cb_heard = :known");
            lead = lead.expression_attribute_values(":known", s(known.join(" ")));
        }
        let lead = lead
            .table_name(&self.name)
            .key("pk", pk(&seen.campaign))
            .key("sk", sk(&seen.lead))
            .update_expression(set)
            .condition_expression(condition)
            .expression_attribute_values(":at", due_us(at))
            .expression_attribute_values(":claims", n(claims))
            .expression_attribute_values(":heard", s(seen.callbacks.text_with(heard)))
            .expression_attribute_values(":lane", queue(&seen.campaign, Lane::Callback))
            .expression_attribute_values(":was", s(seen.state.name()))
            .expression_attribute_values(":before", n(seen.claims))
            .build()
            .expect("the table, the key and the update are given");
        let mut counters = vec!["cb_made"];
        match seen.state {
            LeadState::Done { .. } => counters.push("cb_done"),
            LeadState::Failed { .. } => counters.push("cb_failed"),
            LeadState::Ready
            | LeadState::Dialing { .. }
            | LeadState::Unknown { .. }
            | LeadState::Live { .. } => {}
        }
        if campaign.state == CampaignState::Finished {
            // Its figures are final no more.
            counters.push("reopened");
        }
        let mut counted = self
            .campaign_counted(&campaign.code, &counters)
            .condition_expression("st = :st")
            .expression_attribute_values(":st", s(campaign.state.name()));
        let mut set = counted.get_update_expression().clone().unwrap_or_default();
        let (code, id) = (&campaign.code, &campaign.spec.id);
        // Ready again, the lead shows no more that it had ended.
        let mut events: Vec<String> =
            Event::of_lead(seen, id, now).map(|ended| ended.text()).into_iter().collect();
        if campaign.state == CampaignState::Finished {
            set.push_str(", st = :running");
            counted = counted.expression_attribute_values(":running", s("running"));
            events.push(Event::of_campaign(code, id, now, What::Resumed { by: None }).text());
        }
        if self.announces && !events.is_empty() {
            set.push_str(", ev = list_append(if_not_exists(ev, :no_ev), :ev)");
            counted = counted
                .expression_attribute_values(":no_ev", texts(Vec::<String>::new()))
                .expression_attribute_values(":ev", texts(events));
        }
        let counted = counted.update_expression(set);
        let counted = counted.build().expect("the table, the key and the update are given");
        let both = [
            TransactWriteItem::builder().update(lead).build(),
            TransactWriteItem::builder().update(counted).build(),
        ];
        let own = MessageCode::of(heard.to_string().as_bytes());
        Ok(matches!(self.write_both("promise a call", both, &own).await?, Both::Applied))
    }

    /// The same as [`Table::settle`] for a lead that is promised a call, which has this `fate` by it. `seen` is the lead as
    /// it was read.
    ///
    /// If the promise is kept or missed, a transaction with its campaign's count. Condition: as there, with the promise
    /// still that of `seen`.
    pub async fn settle_promised(
        &self,
        seen: &Lead,
        call: Option<&CallId>,
        outcome: &Outcome,
        (reason, ended): (&str, Option<Ended>),
        fate: Fate,
    ) -> Result<Step, TableError> {
        let claim = seen.claim();
        let Some(promise) = seen.callbacks.promise else {
            return self.settle(&claim, call, outcome, reason, ended).await;
        };
        let mut settling = Settling::of(&claim, call, outcome, reason, ended);
        settling.condition.push_str(" AND cb = :cb AND cb_claim = :made");
        settling.values.insert(":cb".into(), due_us(promise.at));
        settling.values.insert(":made".into(), n(promise.claim));
        let is_again = matches!(outcome, Outcome::Again { .. });
        if let Some(untold) = self.untold_queue().filter(|_| !is_again) {
            settling.mark_untold(untold);
        }
        if fate == Fate::Stands {
            if is_again {
                settling.set.push_str(", ");
                settling.set.push_str(BACK_IN_LANE);
                settling.values.insert(":q".into(), queue(&claim.campaign, Lane::Callback));
            }
        } else {
            settling.set.push_str(if is_again { ", q = :q, lane = :q" } else { ", lane = :q" });
            settling.values.insert(":q".into(), queue(&claim.campaign, seen.lane));
            settling.remove.push_str(", cb, cb_claim");
        }
        let counter = match fate {
            Fate::Kept => "cb_kept",
            Fate::Missed(_) => "cb_missed",
            Fate::Stands | Fate::Ended => {
                let step = self.settle_step(&claim, settling).send().await;
                return step_of(
                    step.outcome("settle a lead that is promised a call", |output| output.attributes)?,
                );
            }
        };
        let end = Update::builder()
            .table_name(&self.name)
            .key("pk", pk(&claim.campaign))
            .key("sk", sk(&claim.lead))
            .update_expression(settling.expression())
            .condition_expression(settling.condition)
            .set_expression_attribute_names(Some(settling.names).filter(|names| !names.is_empty()))
            .set_expression_attribute_values(Some(settling.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("the table, the key and the update are given");
        let counted = self
            .campaign_counted(&claim.campaign, &[counter])
            .condition_expression("attribute_exists(pk)")
            .build()
            .expect("the table, the key and the update are given");
        let both = [
            TransactWriteItem::builder().update(end).build(),
            TransactWriteItem::builder().update(counted).build(),
        ];
        let own = MessageCode::of(claim.to_string().as_bytes());
        match self.write_both("settle a lead that is promised a call", both, &own).await? {
            // A transaction shows nothing of what it wrote.
            Both::Applied => {
                let lead = self.read_lead(&claim.campaign, &claim.lead).await?;
                let lead = lead.ok_or(TableError::Item { item: "lead", problem: "is gone".into() })?;
                Ok(Step::Moved(Box::new(lead)))
            }
            Both::Refused([Some(item), _], _) => {
                let lead = (!item.is_empty()).then(|| lead_of(&item)).transpose()?;
                Ok(Step::Refused(lead.map(Box::new)))
            }
            Both::Refused([None, _], error) => Err(error),
        }
    }

    /// How many of a campaign's leads wait for the call that they are promised, due by `until` if that is given. No more
    /// than `most` are counted.
    pub async fn count_callbacks(
        &self,
        campaign: &CampaignCode,
        until: Option<Timestamp>,
        most: u32,
    ) -> Result<u32, TableError> {
        let keys = if until.is_some() { "q = :q AND due <= :now" } else { "q = :q" };
        let mut query = self
            .ready(campaign, Lane::Callback, keys)
            .select(Select::Count)
            .limit(i32::try_from(most).unwrap_or(i32::MAX));
        if let Some(until) = until {
            query = query.expression_attribute_values(":now", due_us(until));
        }
        let found = query.send().await.map_err(TableError::call("count the callbacks"))?;
        Ok(found.count().try_into().unwrap_or_default())
    }
}

/// A campaign's promises, from its item.
pub(super) fn tally_of(read: &Reader<'_>) -> Result<Tally, TableError> {
    let number = |name| Ok(read.number_if(name)?.unwrap_or_default());
    Ok(Tally {
        made: number("cb_made")?,
        kept: number("cb_kept")?,
        missed: number("cb_missed")?,
        undone: (number("cb_done")?, number("cb_failed")?),
    })
}
