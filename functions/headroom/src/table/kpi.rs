//! What calls came to, on the items of their leads, and added up on those of their campaigns.
//!
//! A lead's item counts its calls in the write that settles each ([`Table::settle`]), under one attribute for each thing
//! that a call may come to, and how long they held lines (`line_ms`) and talked (`talk_ms`). `untold` is the set of its
//! answered calls whose talk nobody has told yet; a call leaves it in the write that adds its talk, so it is added once.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

use super::attributes::{Item, Reader, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::campaign::Campaign;
use crate::core::ids::{CallId, CampaignCode, LeadRef};
use crate::core::kpi::{Came, Figures, Kept, Sums};
use crate::core::line::Token;

/// A lead's calls.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadCalls {
    /// Which lead.
    pub lead: LeadRef,
    /// Its calls so far, and itself.
    pub sums: Sums,
    /// Its calls whose talk is not known yet.
    pub untold: Vec<CallId>,
    /// When the latest of its calls was begun.
    pub since: Option<Timestamp>,
}

/// Where a lead's calls are counted by what they came to; there from the first one on.
pub(super) fn came_attribute(came: Came) -> &'static str {
    match came {
        Came::Reached => "n_done",
        Came::Dropped => "n_drop",
        Came::NoAnswer => "n_noans",
        Came::Busy => "n_busy",
        Came::Voicemail => "n_vm",
        Came::SetupFailure => "n_setup",
        Came::BadNumber => "n_num",
        Came::BadSetting => "n_conf",
        Came::Blocked => "n_block",
        Came::Cancelled => "n_canc",
        Came::Unknown => "n_unk",
    }
}

/// A call as a set of one.
pub(super) fn only(call: &CallId) -> AttributeValue {
    AttributeValue::Ss(vec![call.as_str().to_owned()])
}

impl Table {
    /// Adds how long an answered call of a lead's talked. Returns whether this was the first to tell.
    ///
    /// Condition: it is a call of this lead's whose talk was not told yet.
    pub async fn tell_talk(
        &self,
        campaign: &CampaignCode,
        lead: &LeadRef,
        call: &CallId,
        talk: SignedDuration,
    ) -> Result<bool, TableError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(format!("C#{}", campaign.as_str())))
            .key("sk", s(format!("L#{}", lead.as_str())))
            .update_expression("SET talk_ms = if_not_exists(talk_ms, :none) + :talk DELETE untold :calls")
            .condition_expression("contains(untold, :call)")
            .expression_attribute_values(":none", n(0))
            .expression_attribute_values(":talk", n(talk.as_millis().max(0)))
            .expression_attribute_values(":calls", only(call))
            .expression_attribute_values(":call", s(call.as_str()))
            .send()
            .await;
        Ok(matches!(sent.outcome("tell how long a call talked", |_| None)?, Written::Applied(_)))
    }

    /// Up to `most` leads of a campaign with their calls, in the order of their references, behind `after`, consistently;
    /// and the last one's reference, if there may be more.
    pub async fn page_calls(
        &self,
        campaign: &CampaignCode,
        after: Option<&LeadRef>,
        most: i32,
    ) -> Result<(Vec<LeadCalls>, Option<LeadRef>), TableError> {
        let from = after.map_or_else(|| "L#".to_owned(), |after| format!("L#{} ", after.as_str()));
        let came = Came::ALL.map(came_attribute).join(", ");
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :last")
            .expression_attribute_values(":pk", s(format!("C#{}", campaign.as_str())))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":last", s("L$"))
            .projection_expression(format!("sk, st, tok, talk_ms, line_ms, untold, {came}"))
            .limit(most)
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("add up the calls"))?;
        let leads: Vec<LeadCalls> = found.items().iter().map(calls_of).collect::<Result<_, _>>()?;
        let last = leads.last().map(|lead| lead.lead.clone());
        Ok((leads, last.filter(|_| found.last_evaluated_key.is_some())))
    }

    /// Keeps a campaign's figures. Returns whether they are kept.
    ///
    /// Condition: those that are kept are the ones of `seen` still. So a write that comes late changes nothing.
    pub async fn keep_figures(&self, seen: &Campaign, kept: &Kept) -> Result<bool, TableError> {
        let text = serde_json::to_string(kept).expect("figures are numbers and instants");
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(format!("C#{}", seen.code.as_str())))
            .update_expression("SET kpi = :kpi")
            .expression_attribute_values(":kpi", s(text));
        let update = match &seen.kpi.text {
            Some(before) => {
                update.condition_expression("kpi = :before").expression_attribute_values(":before", s(before))
            }
            None => update.condition_expression("attribute_exists(pk) AND attribute_not_exists(kpi)"),
        };
        Ok(matches!(update.send().await.outcome("keep a campaign's figures", |_| None)?, Written::Applied(_)))
    }
}

fn calls_of(item: &Item) -> Result<LeadCalls, TableError> {
    let read = Reader::new(item, "lead");
    let lead = read.text("sk")?.strip_prefix("L#").and_then(|text| text.parse().ok());
    let untold = item.get("untold").and_then(|set| set.as_ss().ok()).map_or(&[][..], Vec::as_slice);
    let untold: Vec<CallId> = untold.iter().filter_map(|call| call.parse().ok()).collect();
    let token: Option<Token> = read.parsed_if("tok")?;
    let sums = Sums {
        leads: 1,
        over: matches!(read.text("st")?, "done" | "failed").into(),
        untold: 0,
        talk_ms: read.number_if("talk_ms")?.unwrap_or_default(),
        line_ms: read.number_if("line_ms")?.unwrap_or_default(),
        ..Sums::default()
    };
    let sums = Came::ALL.into_iter().try_fold(sums, |sums, came| {
        let calls = read.number_if(came_attribute(came))?;
        Ok::<_, TableError>(sums.with(came, calls.unwrap_or_default()))
    })?;
    Ok(LeadCalls {
        lead: lead.ok_or_else(|| read.error("sk", "is not a lead's"))?,
        sums,
        untold,
        since: token.map(|token| token.since()),
    })
}

/// A campaign's figures. Those of another version are none: the next round makes them anew.
pub(super) fn figures_of(read: &Reader<'_>) -> Result<Figures, TableError> {
    let text = read.text_if("kpi")?;
    Ok(Figures {
        kept: text.and_then(|text| serde_json::from_str(text).ok()),
        text: text.map(str::to_owned),
        reopened: read.number_if("reopened")?.unwrap_or_default(),
    })
}
