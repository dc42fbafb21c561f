//! Changes of policy, reserves and quotas: each is one transaction of the ledger and of its own record, so that none
//! is made without a record and none recorded without being made. If the ledger has several items, all whose share
//! changes are in it ([`super::shards`]).

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::ledger::packed;
use super::shards::Several;
use super::{Table, TableError};
use crate::core::ids::NameCode;
use crate::core::pool::{Policy, Pool};
use crate::core::quota::{Pace, Quotas};
use crate::core::reserve::{BucketKey, Reserves};

/// Policy, reserves and quotas as they are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The numbers.
    pub policy: Policy,
    /// The reserves.
    pub reserves: Reserves,
    /// The quotas.
    pub quotas: Quotas,
    /// What the configuration asks for, if this change comes from there.
    pub configured: Option<String>,
}

impl Wanted {
    /// What a pool has.
    pub fn of(pool: &Pool) -> Self {
        Self {
            policy: pool.policy,
            reserves: pool.reserves.clone(),
            quotas: pool.quotas.clone(),
            configured: None,
        }
    }
}

impl Wanted {
    /// Whether the held lines count anew: against other reserves or quotas than those of `pool`.
    pub(super) fn counts_anew(&self, pool: &Pool) -> bool {
        (&self.reserves, &self.quotas) != (&pool.reserves, &pool.quotas)
    }
}

/// As people read it: `limit 20, cap 15, headroom 2, sales inbound 3 outbound 4`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.policy;
        write!(f, "limit {}", policy.limit())?;
        if policy.purchased() > 0 {
            write!(f, " ({} included, {} purchased)", policy.included(), policy.purchased())?;
        }
        write!(f, ", cap {}, headroom {}", policy.cap(), policy.headroom())?;
        for (agent, reserve) in self.reserves.iter() {
            write!(f, ", {agent}")?;
            let kinds = [
                ("inbound", reserve.inbound),
                ("outbound", reserve.outbound),
                ("web", reserve.web),
                ("chat", reserve.chat),
            ];
            for (kind, lines) in kinds.into_iter().filter(|(_, lines)| *lines > 0) {
                write!(f, " {kind} {lines}")?;
            }
            if reserve.binding != Default::default() {
                write!(f, " {}", reserve.binding.name())?;
            }
            write_members(f, &reserve.members)?;
        }
        for (name, quota) in self.quotas.iter() {
            write!(f, ", quota {name}")?;
            let bounds =
                [("lines", quota.lines), ("per-second", quota.per_second), ("per-day", quota.per_day)];
            for (bound, most) in bounds.into_iter().filter_map(|(bound, most)| Some((bound, most?))) {
                write!(f, " {bound} {most}")?;
            }
            write_members(f, &quota.members)?;
        }
        Ok(())
    }
}

/// By codes, since no more is kept of them: that they are others now is on record all the same.
fn write_members(f: &mut fmt::Formatter<'_>, members: &BTreeSet<NameCode>) -> fmt::Result {
    for (n, member) in members.iter().enumerate() {
        write!(f, "{}{}", if n == 0 { " members " } else { " " }, member.as_str())?;
    }
    Ok(())
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision that it led to.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// By whom: as the operator calls themself, or `configuration` or `vapi`.
    pub by: String,
    /// What it was.
    pub from: String,
    /// What it became.
    pub to: String,
}

/// Longest name of an operator that is kept, in characters.
const BY_LEN: usize = 80;

impl Table {
    /// Changes policy, reserves and quotas, in the name of `by`; held lines stay held (P6), and count anew against
    /// the new ones. Returns whether it was changed.
    ///
    /// Condition: nothing changed any of them since `pool` was read, and, if reserves or quotas change, no line
    /// moved, and no pace: what lines use is counted from those of `pool`. Our own change whose answer was lost is
    /// known by its record.
    pub async fn change_policy(
        &self,
        pool: &Pool,
        wanted: &Wanted,
        by: &str,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        const OPERATION: &str = "change the policy";
        let change = Change {
            revision: pool.revision + 1,
            at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
            by: by.chars().take(BY_LEN).collect(),
            from: Wanted::of(pool).to_string(),
            to: wanted.to_string(),
        };
        let record = Put::builder()
            .table_name(&self.name)
            .item("pk", s(self.pool_pk()))
            .item("sk", s(record_key(change.revision)))
            .item("at", ms(change.at))
            .item("who", s(&change.by))
            .item("was", s(&change.from))
            .item("is", s(&change.to))
            .build()
            .expect("the table and the item are given");
        let mut writes = self.moves(pool, wanted);
        writes.push(TransactWriteItem::builder().put(record).build());
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = sent else { return Ok(true) };
        match error.as_service_error() {
            // Its condition, or another write of the ledger at the same instant: either way it has moved on.
            Some(TransactWriteItemsError::TransactionCanceledException(_)) => {
                Ok(self.read_change(change.revision).await?.is_some_and(|made| made == change))
            }
            _ => Err(TableError::call(OPERATION)(error)),
        }
    }

    /// The update of one item of the ledger, to what it is to have; `several` of them share what is wanted.
    pub(super) fn policy_update(&self, pool: &Pool, wanted: &Wanted, several: Option<&Several>) -> Update {
        let mut set = String::from("SET lim = :lim, cap = :cap, hroom = :hroom, rev = :next");
        if (wanted.policy.purchased(), pool.policy.purchased()) != (0, 0) {
            set.push_str(", buy = :buy");
        }
        // What Vapi said last was of before: only what it says from now on is followed.
        let limit = several.map_or(wanted.policy, |several| several.wanted.policy).limit();
        let was = pool.shard.whole.as_ref().map_or(pool.policy, |whole| whole.policy).limit();
        let is_overtaken = pool.seen_limit.is_some() && limit != was;
        if is_overtaken {
            set.push_str(", seen = :seen");
        }
        let mut condition = String::from("rev = :rev");
        let (pk, sk) = self.ledger_key(pool.shard.index);
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .expression_attribute_values(":lim", n(wanted.policy.limit()))
            .expression_attribute_values(":cap", n(wanted.policy.cap()))
            .expression_attribute_values(":hroom", n(wanted.policy.headroom()))
            .expression_attribute_values(
                ":next",
                n(several.map_or(pool.revision + 1, |several| several.revision)),
            )
            .expression_attribute_values(":rev", n(pool.revision));
        if is_overtaken {
            update = update.expression_attribute_values(":seen", n(limit));
        }
        if set.contains(":buy") {
            update = update.expression_attribute_values(":buy", n(wanted.policy.purchased()));
        }
        if let Some(configured) = &wanted.configured {
            set.push_str(", conf = :conf");
            update = update.expression_attribute_values(":conf", s(configured));
        }
        if wanted.counts_anew(pool) {
            let uses = pool.uses_of(&wanted.reserves, &wanted.quotas);
            let kept = |name| pool.paces.get_key_value(&BucketKey::quota(name));
            let paces = paces_value(wanted.quotas.iter().filter_map(|(name, _)| kept(name)));
            // A line that was taken and freed since has moved its quota's pace on, and left no other trace.
            if pool.quotas.iter().next().is_some() {
                let unmoved = if pool.paces.is_empty() {
                    " AND (attribute_not_exists(pace) OR pace = :was)"
                } else {
                    " AND pace = :was"
                };
                condition.push_str(unmoved);
                update = update.expression_attribute_values(":was", paces_value(pool.paces.iter()));
            }
            let own = uses.own.iter().map(|(key, held)| (key.as_str().to_owned(), n(held)));
            let lines = pool.lines.iter().map(|(key, token)| (key.to_string(), packed(token)));
            set.push_str(", rsv = :rsv, quo = :quo, pace = :pace, own = :own, nshr = :nshr");
            condition.push_str(" AND lns = :lns");
            update = update
                .expression_attribute_values(":rsv", reserves_value(&wanted.reserves))
                .expression_attribute_values(":quo", quotas_value(&wanted.quotas))
                .expression_attribute_values(":pace", paces)
                .expression_attribute_values(":own", AttributeValue::M(own.collect()))
                .expression_attribute_values(":lns", AttributeValue::M(lines.collect()))
                .expression_attribute_values(":nshr", n(uses.shared));
        }
        if let Some(several) = several {
            (set, condition, update) = several.join(pool, wanted, (set, condition, update));
        }
        update
            .update_expression(set)
            .condition_expression(condition)
            .build()
            .expect("the table, the key and the update are given")
    }

    async fn read_change(&self, revision: u64) -> Result<Option<Change>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s(record_key(revision)))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read a change"))?;
        read.item.as_ref().map(change_of).transpose()
    }

    /// The latest changes, the newest first.
    pub async fn list_changes(&self, most: u32) -> Result<Vec<Change>, TableError> {
        let page = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :change)")
            .expression_attribute_values(":pk", s(self.pool_pk()))
            .expression_attribute_values(":change", s(PREFIX))
            .scan_index_forward(false)
            .limit(most.try_into().unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(TableError::call("list the changes"))?;
        page.items().iter().map(change_of).collect()
    }
}

/// Reserves as the ledger keeps them.
pub(super) fn reserves_value(reserves: &Reserves) -> AttributeValue {
    let agents = reserves.iter().map(|(agent, reserve)| (agent.to_string(), s(reserve.to_string())));
    AttributeValue::M(agents.collect())
}

fn paces_value<'a>(paces: impl Iterator<Item = (&'a BucketKey, &'a Pace)>) -> AttributeValue {
    AttributeValue::M(paces.map(|(key, pace)| (key.as_str().to_owned(), s(pace.to_string()))).collect())
}

/// Quotas as the ledger keeps them.
pub(super) fn quotas_value(quotas: &Quotas) -> AttributeValue {
    let quotas = quotas.iter().map(|(name, quota)| (name.to_string(), s(quota.to_string())));
    AttributeValue::M(quotas.collect())
}

const PREFIX: &str = "R#";

/// Ten digits, so that keys are in the order of revisions.
fn record_key(revision: u64) -> String {
    format!("{PREFIX}{revision:010}")
}

fn change_of(item: &Item) -> Result<Change, TableError> {
    let read = Reader::new(item, "change");
    let revision = read.text("sk")?.strip_prefix(PREFIX).and_then(|revision| revision.parse().ok());
    Ok(Change {
        revision: revision.ok_or_else(|| read.error("sk", "is not a change's"))?,
        at: read.instant("at")?,
        by: read.text("who")?.to_owned(),
        from: read.text("was")?.to_owned(),
        to: read.text("is")?.to_owned(),
    })
}
