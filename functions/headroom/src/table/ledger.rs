//! The ledger: one item per pool with its policy, its counters and a map of the held lines. A large pool has
//! several, each a whole ledger with its share of the policy ([`crate::core::shard`]); what is said here holds for
//! each of them. Items after the first have partition keys of their own, since a partition takes 1,000 write units
//! a second until DynamoDB has found out that it is hot.
//!
//! Counters and lines change in the same conditional write, so they agree by construction (P7).
//! Nothing else writes `ntot`, `nout`, `nfrn`, `ninb`, `nweb`, `nchat`, `nshr`, `own`, `pace`, `lns` or `cmp`.
//!
//! Whether a line comes from a reserve or from the shared ones, and to which it goes back, depends on the
//! reserves. So whatever moves a line is conditioned on the revision it was decided for, and on which side of
//! its reserve the agent is; what has moved on in between is decided again on the pool that refused it.
//!
//! | attribute | holds |
//! |---|---|
//! | `lim` `cap` `hroom` `rev` | the policy and its revision |
//! | `buy` | purchased lines among `lim`, if there are any |
//! | `rsv` `quo` | maps: agent → its reserve; quota → what it bounds |
//! | `ntot` `nout` `nfrn` `ninb` `nweb` `nchat` | held lines: all, outbound, the foreign part of it, inbound, web, chat |
//! | `own` `nshr` | map: reserve or quota → lines held by its own calls; lines held beyond reserves |
//! | `pace` | map: quota → calls begun today, and when the next may begin |
//! | `lns` | map: line key → token, packed |
//! | `cmp` | map: campaign code → `h` held, `d` done, `f` failed, `k` what its calls are known by; and how far it has come: |
//! | | `p` its own rate's pace, `b` begun of its batch, `z` its last line freed, `r` its ramp's step, `n` `a` `x` calls ended, answered, broken, `s` line-time |
//! | `rest_until` `rests` | outbound rests until; rests in a row |
//! | `unseen` | lines that others are believed to use without anybody telling, as of when and until when |
//! | `org` `seen` `conf` | what Vapi said: our organisation, its limit; the policy last configured |
//! | `nlive` | if there are several items: how many of them lines are taken in |
//! | `fmt` | the table's format, if it is not the first: [`super::FORMAT`] |
//! | `whole` | in the first of several: `lim`, `cap`, `hroom` and `rsv` of all together, and their number `items` |
//!
//! `rsv`, `own`, `cmp` and `lns` are of the item alone; `org`, `seen` and `conf` are in the first one only.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, Update};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, FORMAT, Table, TableError, Written};
use crate::core::ids::{AgentName, CallId, CampaignCode, ClaimKey, NameCode, OrgId, QuotaName};
use crate::core::line::{Kind, Lease, LineKey, Token};
use crate::core::pacing::{Calls, Met, Own, Progress, Step};
use crate::core::pool::{Counts, Policy, Pool, Source, Tally};
use crate::core::quota::{Pace, Quota, Quotas};
use crate::core::reserve::{BucketKey, Reserve, Reserves, Uses};
use crate::core::shard::{Shard, Whole};
use crate::core::unseen::Unseen;

/// What a taking of outbound lines came to.
#[derive(Debug)]
pub enum Taken {
    /// The lines are held.
    Granted(Pool),
    /// Not one of them is: the pool as it was says which rule refused, or which key is held already.
    Refused(Pool),
}

/// What the recording of an observed call came to.
#[derive(Debug)]
pub enum Observed {
    /// Its line is held now.
    Taken(Pool),
    /// It was held before.
    AlreadyHeld(Pool),
    /// The pool is full, and the line was only to be taken if it was not.
    Full(Pool),
    /// The ledger was spread over other items meanwhile: what was decided on is no more.
    Moved,
}

/// What a freeing came to.
#[derive(Debug)]
pub enum Freed {
    /// The line is free again; the pool as it is now.
    Freed(Box<Pool>),
    /// Nothing was held by this lease: freed before, or taken by somebody else since.
    NotHeld,
}

/// What the freeing of a line is counted as, besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadEnd {
    /// The lead was reached: it is over.
    Done,
    /// The lead is over without being reached.
    Failed,
    /// The call was surely not made: it is none of a quota's day.
    NotMade,
}

/// What the freeing of a line is counted for besides its lead: its campaign's pace, and its part of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Until when it was held.
    pub until: Timestamp,
    /// What its call came to, if its campaign is on a ramp.
    pub met: Option<Met>,
}

/// A rest for outbound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// No outbound call before this.
    pub until: Timestamp,
    /// Rests in a row, this one included.
    pub count: u32,
}

/// How often a line is decided on anew because reserves, or which side of its reserve an agent is on, moved in
/// between. Each time on the pool that refused the write before, so another call has moved each time.
const DECISIONS: usize = 12;

impl Table {
    /// The keys of an item of the ledger.
    pub(super) fn ledger_key(&self, shard: u8) -> (String, String) {
        let pk = self.pool_pk();
        (if shard == 0 { pk } else { format!("{pk}#{shard}") }, format!("LEDGER#{shard}"))
    }

    fn ledger(&self, shard: u8) -> UpdateItemFluentBuilder {
        let (pk, sk) = self.ledger_key(shard);
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Creates an empty pool unless there is one. Never changes one that is there. A large one is one item, too,
    /// until the first pass spreads it.
    pub async fn ensure_pool(&self, policy: Policy) -> Result<(), TableError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(self.empty_item(0, policy, 1)))
            .item("conf", s(policy.to_string()))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        put.outcome("create the pool", |_| None).map(|_| ())
    }

    /// An item of the ledger that holds nothing, without reserves.
    pub(super) fn empty_item(&self, shard: u8, policy: Policy, revision: u64) -> Item {
        let empty = || AttributeValue::M(Item::new());
        let (pk, sk) = self.ledger_key(shard);
        let attributes = [
            ("pk", s(pk)),
            ("sk", s(sk)),
            ("lim", n(policy.limit())),
            ("cap", n(policy.cap())),
            ("hroom", n(policy.headroom())),
            ("rev", n(revision)),
            ("ntot", n(0)),
            ("nout", n(0)),
            ("nfrn", n(0)),
            ("ninb", n(0)),
            ("nweb", n(0)),
            ("nchat", n(0)),
            ("nshr", n(0)),
            ("rsv", empty()),
            ("own", empty()),
            ("lns", empty()),
            ("cmp", empty()),
            ("rest_until", n(0)),
            ("rests", n(0)),
        ];
        attributes.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The pool as it is at this instant, all its items summed up if it has several. One read if it has one.
    pub async fn read_pool(&self) -> Result<Pool, TableError> {
        for _ in 0..DECISIONS {
            let first = self.read_item(0).await?.ok_or(TableError::NoLedger)?;
            let Some(whole) = &first.shard.whole else { return Ok(first) };
            let others = (1..whole.items).map(|shard| self.read_item(shard));
            let others = futures::future::try_join_all(others).await?;
            let items: Option<Vec<Pool>> = std::iter::once(Some(first)).chain(others).collect();
            if let Some(pool) = items.and_then(Pool::sum) {
                return Ok(pool);
            }
        }
        Err(TableError::Contended("read the pool"))
    }

    async fn read_item(&self, shard: u8) -> Result<Option<Pool>, TableError> {
        let (pk, sk) = self.ledger_key(shard);
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read the pool"))?;
        read.item.map(|item| pool_of(Some(item))).transpose()
    }

    /// Takes one line for each of `leases`, all or none, and all from one source (P1, P2). They are of one
    /// campaign, which is on the ledger, and known by the same codes; `pool` is the item that their tokens name,
    /// `own` its share of
    /// what bounds the campaign alone.
    ///
    /// Condition: policy, reserves, quotas and what others are believed to use are still `pool`'s; with these lines
    /// and those of others the total stays within the limit, outbound within the cap and the campaign within its own;
    /// they fit into the agent's own reserve, or that is full and shared use stays within shared − headroom; they fit
    /// into each quota that they count in, whose pace allows so many dials and was moved on by nobody else, as well as
    /// into the campaign's own rate; into its batch, or all calls of the last one are over and rested; by the step that
    /// its ramp is at, if this is the first item; no rest; none of the keys is held. A grant whose answer was lost is known by its tokens in the old item.
    pub async fn take(
        &self,
        pool: &Pool,
        campaign: &CampaignCode,
        own: impl Into<Own>,
        leases: &[Lease],
        now: Timestamp,
    ) -> Result<Taken, TableError> {
        let ours = |pool: &Pool| leases.iter().all(|lease| pool.lines.get(&lease.key) == Some(&lease.token));
        let codes = leases.first().map(|lease| pool.codes(&lease.key, &lease.token)).unwrap_or_default();
        let own = own.into();
        if (pool.slots(campaign, &own, &codes, now) as usize) < leases.len() {
            // Decided by the pace as it was seen, which the write would only have to be unmoved for.
            let pool = self.read_pool().await?;
            return Ok(if ours(&pool) { Taken::Granted(pool) } else { Taken::Refused(pool) });
        }
        let lines = i64::try_from(leases.len()).expect("a pool has fewer lines than 2^63");
        let upto = |most: u32| n(i64::from(most) - lines);
        let unseen = pool.unseen(now);
        let upto_others = |most: u32| n(i64::from(most) - i64::from(unseen) - lines);
        let mut set = String::from("SET ntot = ntot + :n, nout = nout + :n, cmp.#c.h = cmp.#c.h + :n");
        let mut condition = String::from(
            "rev = :rev AND ntot <= :total AND nout <= :cap AND rest_until <= :now AND cmp.#c.h <= :own",
        );
        let mut update = self
            .ledger(pool.shard.index)
            .expression_attribute_names("#c", campaign.as_str())
            .expression_attribute_values(":n", n(lines))
            .expression_attribute_values(":rev", n(pool.revision))
            .expression_attribute_values(":total", upto_others(pool.policy.limit()))
            .expression_attribute_values(":cap", upto(pool.policy.cap()))
            .expression_attribute_values(":own", upto(own.lines.unwrap_or(u32::MAX)))
            .expression_attribute_values(":now", ms(now));
        condition.push_str(&format!(" AND {}", same_unseen(pool)));
        update = with_unseen(update, pool);
        let source = pool.source(&codes, Kind::Outbound);
        if let Some(bucket) = source.bucket() {
            set.push_str(", own.#b = own.#b + :n");
            update = update.expression_attribute_names("#b", bucket.key.as_str());
        }
        match &source {
            Source::Reserve(bucket) => {
                condition.push_str(" AND own.#b <= :room");
                update = update.expression_attribute_values(":room", upto(bucket.reserved));
            }
            Source::Shared(full) => {
                set.push_str(", nshr = nshr + :n");
                condition.push_str(" AND nshr <= :shared");
                update =
                    update.expression_attribute_values(":shared", upto_others(pool.shared_for_outbound()));
                if let Some(bucket) = full {
                    condition.push_str(" AND own.#b >= :reserved");
                    update = update.expression_attribute_values(":reserved", n(bucket.reserved));
                }
            }
        }
        let mut paces = pool.paces_after(campaign, &own, &codes, leases.len() as u32, now).into_iter();
        for (i, (name, quota)) in pool.quotas.of(&codes).enumerate() {
            let key = BucketKey::quota(name);
            set.push_str(&format!(", own.#q{i} = own.#q{i} + :n"));
            update = update.expression_attribute_names(format!("#q{i}"), key.as_str());
            if let Some(most) = quota.lines {
                condition.push_str(&format!(" AND own.#q{i} <= :quota{i}"));
                update = update.expression_attribute_values(format!(":quota{i}"), upto(most.get()));
            }
            if let Some(after) = quota.is_paced().then(|| paces.next()).flatten() {
                set.push_str(&format!(", pace.#q{i} = :pace{i}"));
                condition.push_str(&format!(" AND {}", unmoved(pool, &key, i)));
                update = update.expression_attribute_values(format!(":pace{i}"), s(after.to_string()));
                update = with_pace(update, pool, &key, i);
            }
        }
        let (held, progress) = pool.come(campaign);
        if let Some(pace) = paces.next() {
            set.push_str(", cmp.#c.p = :pace");
            update = update.expression_attribute_values(":pace", s(pace.to_string()));
            match progress.pace {
                Some(was) => {
                    condition.push_str(" AND cmp.#c.p = :paced");
                    update = update.expression_attribute_values(":paced", s(was.to_string()));
                }
                None => condition.push_str(" AND attribute_not_exists(cmp.#c.p)"),
            }
        }
        if let Some(batch) = own.batch {
            let begun = if held > 0 { progress.begun } else { None };
            set.push_str(match (held, begun) {
                (0, _) => ", cmp.#c.b = :n",
                // It has batches since its calls were begun: they are part of the first one.
                (_, None) => ", cmp.#c.b = cmp.#c.h + :n",
                (_, Some(_)) => ", cmp.#c.b = cmp.#c.b + :n",
            });
            if held == 0 {
                condition.push_str(" AND cmp.#c.h = :zero");
                if !batch.pause.is_zero() {
                    condition.push_str(" AND (attribute_not_exists(cmp.#c.z) OR cmp.#c.z <= :rested)");
                    update = update.expression_attribute_values(":rested", ms(now - batch.pause));
                }
            } else {
                let counted = if begun.is_some() { "cmp.#c.b" } else { "cmp.#c.h" };
                condition.push_str(&format!(" AND cmp.#c.h > :zero AND {counted} <= :batch"));
                update = update.expression_attribute_values(":batch", upto(batch.leads.get()));
            }
            update = update.expression_attribute_values(":zero", n(0));
        }
        // The ramp's step is on the first item; in the others it is as it was read.
        if own.step.is_some() && pool.shard.index == 0 {
            match progress.step {
                Some(step) => {
                    condition.push_str(" AND cmp.#c.r = :step");
                    update = update.expression_attribute_values(":step", s(step.to_string()));
                }
                None => condition.push_str(" AND attribute_not_exists(cmp.#c.r)"),
            }
        }
        if let Some(served) = own.served_ms {
            // What a line freed at this instant would add is lost: some seconds of many minutes.
            set.push_str(", cmp.#c.s = :served");
            update = update.expression_attribute_values(":served", n(served));
        }
        for (i, lease) in leases.iter().enumerate() {
            set.push_str(&format!(", lns.#k{i} = :t{i}"));
            condition.push_str(&format!(" AND attribute_not_exists(lns.#k{i})"));
            update = update
                .expression_attribute_names(format!("#k{i}"), lease.key.to_string())
                .expression_attribute_values(format!(":t{i}"), packed(&lease.token));
        }
        let sent = update.update_expression(set).condition_expression(condition).send().await;
        match sent.outcome("take lines", |output| output.attributes)? {
            Written::Applied(item) => Ok(Taken::Granted(pool_of(item)?)),
            // Gone since: it had drained.
            Written::Refused(None) if pool.shard.index > 0 => Ok(Taken::Refused(self.read_pool().await?)),
            Written::Refused(item) => {
                let pool = pool_of(item)?;
                Ok(if ours(&pool) { Taken::Granted(pool) } else { Taken::Refused(pool) })
            }
        }
    }

    /// Records a call that Headroom did not start. It is real, so it is recorded whatever the
    /// counters say, and may push the total past the limit. `pool` is as it was last seen: the item
    /// that its line is to be in.
    ///
    /// Condition: it is not recorded yet.
    pub async fn take_observed(
        &self,
        pool: &Pool,
        call: &CallId,
        kind: Kind,
        codes: &[NameCode],
        now: Timestamp,
    ) -> Result<Observed, TableError> {
        self.observe(pool, &observed(pool, call, kind, codes, now), false).await
    }

    /// Records a caller whom Headroom is asked to answer, if there is a line for them: in the own reserve of
    /// the agent that is to answer, else among the shared ones.
    ///
    /// Condition: not recorded yet, total < limit, and the reserve or the shared lines have room.
    pub async fn take_answered(
        &self,
        pool: &Pool,
        call: &CallId,
        codes: &[NameCode],
        now: Timestamp,
    ) -> Result<Observed, TableError> {
        self.observe(pool, &observed(pool, call, Kind::Inbound, codes, now), true).await
    }

    /// Records an observed call; with `room`, only if there is a line for it.
    async fn observe(&self, pool: &Pool, lease: &Lease, room: bool) -> Result<Observed, TableError> {
        let (codes, kind) = (lease.token.codes(), lease.token.kind());
        let mut seen = None;
        for _ in 0..DECISIONS {
            let pool = seen.as_ref().unwrap_or(pool);
            match self.put_line(pool, &pool.source(&codes, kind), lease, room).await? {
                Written::Applied(item) => return Ok(Observed::Taken(pool_of(item)?)),
                // Gone since: it had drained.
                Written::Refused(None) if pool.shard.index > 0 => return Ok(Observed::Moved),
                Written::Refused(item) => {
                    let now = pool_of(item)?;
                    if now.is_spread() && !pool.is_spread() {
                        return Ok(Observed::Moved);
                    }
                    if now.lines.contains_key(&lease.key) {
                        return Ok(Observed::AlreadyHeld(now));
                    }
                    // Decided on what is still so: there is no line.
                    if room && now.refusal(&codes, kind).is_some() {
                        return Ok(Observed::Full(now));
                    }
                    seen = Some(now);
                }
            }
        }
        Err(TableError::Contended("record a call"))
    }

    /// One line from `source`, if it is not held and `pool` is still what the source was decided on; with
    /// `room`, only if the source has one.
    async fn put_line(
        &self,
        pool: &Pool,
        source: &Source,
        lease: &Lease,
        room: bool,
    ) -> Result<Written, TableError> {
        let mut set = format!("SET ntot = ntot + :one, lns.#k = :t{}", counters(lease.token.kind(), '+'));
        let mut condition = String::from("attribute_not_exists(lns.#k) AND rev = :rev");
        let mut update = self
            .ledger(lease.token.shard())
            .expression_attribute_names("#k", lease.key.to_string())
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":rev", n(pool.revision))
            .expression_attribute_values(":t", packed(&lease.token));
        if let Some(bucket) = source.bucket() {
            set.push_str(", own.#b = own.#b + :one");
            let full = if matches!(source, Source::Shared(_)) { ">=" } else { "<" };
            condition.push_str(&format!(" AND own.#b {full} :reserved"));
            update = update
                .expression_attribute_names("#b", bucket.key.as_str())
                .expression_attribute_values(":reserved", n(bucket.reserved));
        }
        if matches!(source, Source::Shared(_)) {
            set.push_str(", nshr = nshr + :one");
        }
        for (i, key) in pool.quotas.keys(&lease.token.codes()).enumerate() {
            set.push_str(&format!(", own.#q{i} = own.#q{i} + :one"));
            update = update.expression_attribute_names(format!("#q{i}"), key.as_str());
        }
        if room {
            condition.push_str(" AND ntot < :lim");
            update = update.expression_attribute_values(":lim", n(pool.policy.limit()));
            if matches!(source, Source::Shared(_)) {
                condition.push_str(" AND nshr < :shared");
                update = update.expression_attribute_values(":shared", n(pool.shared()));
            }
        }
        let sent = update.update_expression(set).condition_expression(condition).send().await;
        sent.outcome("take a line", |output| output.attributes)
    }

    /// Frees a line, and in the same write counts the lead that ended with it. `pool` is as it was last seen.
    /// The line goes back to the shared ones while its agent holds more than its reserve.
    ///
    /// Condition: the line is held by this very token. So a second freeing changes nothing (P8),
    /// and no counter can go below zero (P7).
    pub async fn free(&self, pool: &Pool, lease: &Lease, end: Option<LeadEnd>) -> Result<Freed, TableError> {
        self.free_used(pool, lease, end, None).await
    }

    /// The same, counting what the line was used for. Without, its campaign has had a line for nothing.
    pub async fn free_used(
        &self,
        pool: &Pool,
        lease: &Lease,
        end: Option<LeadEnd>,
        used: Option<Used>,
    ) -> Result<Freed, TableError> {
        let shard = lease.token.shard();
        let mut seen = match pool.item(shard) {
            Some(item) => item.clone(),
            None => match self.read_item(shard).await? {
                Some(item) => item,
                None => return Ok(Freed::NotHeld),
            },
        };
        for _ in 0..DECISIONS {
            match self.take_off(&seen, lease, end, used).await? {
                Written::Applied(item) => return Ok(Freed::Freed(Box::new(pool_of(item)?))),
                Written::Refused(None) if shard > 0 => return Ok(Freed::NotHeld),
                Written::Refused(item) => {
                    let now = pool_of(item)?;
                    if now.lines.get(&lease.key) != Some(&lease.token) {
                        return Ok(Freed::NotHeld);
                    }
                    seen = now;
                }
            }
        }
        Err(TableError::Contended("free a line"))
    }

    async fn take_off(
        &self,
        pool: &Pool,
        lease: &Lease,
        end: Option<LeadEnd>,
        used: Option<Used>,
    ) -> Result<Written, TableError> {
        let kind = lease.token.kind();
        let mut set = format!("SET ntot = ntot - :one{}", counters(kind, '-'));
        let mut condition = String::from("lns.#k = :t AND rev = :rev");
        let mut update = self
            .ledger(lease.token.shard())
            .expression_attribute_names("#k", lease.key.to_string())
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":rev", n(pool.revision))
            .expression_attribute_values(":t", packed(&lease.token));
        let codes = pool.codes(&lease.key, &lease.token);
        let bucket = pool.reserves.bucket(&codes, kind);
        let beyond = bucket.as_ref().is_none_or(|bucket| pool.uses.held(&bucket.key) > bucket.reserved);
        if let Some(bucket) = &bucket {
            set.push_str(", own.#b = own.#b - :one");
            condition.push_str(&format!(" AND own.#b {} :reserved", if beyond { ">" } else { "<=" }));
            update = update
                .expression_attribute_names("#b", bucket.key.as_str())
                .expression_attribute_values(":reserved", n(bucket.reserved));
        }
        if beyond {
            set.push_str(", nshr = nshr - :one");
        }
        for (i, (name, quota)) in pool.quotas.of(&codes).enumerate() {
            let key = BucketKey::quota(name);
            set.push_str(&format!(", own.#q{i} = own.#q{i} - :one"));
            update = update.expression_attribute_names(format!("#q{i}"), key.as_str());
            if end == Some(LeadEnd::NotMade) && quota.per_day.is_some() {
                condition.push_str(&format!(" AND {}", unmoved(pool, &key, i)));
                update = with_pace(update, pool, &key, i);
                // Without one, the quota was set after the line was taken.
                if let Some(pace) = pool.paces.get(&key) {
                    let less = pace.without_one(lease.token.since());
                    set.push_str(&format!(", pace.#q{i} = :pace{i}"));
                    update = update.expression_attribute_values(format!(":pace{i}"), s(less.to_string()));
                }
            }
        }
        if let LineKey::Claim(ClaimKey { campaign, .. }) = &lease.key {
            set.push_str(", cmp.#c.h = cmp.#c.h - :one");
            match end {
                Some(LeadEnd::Done) => set.push_str(", cmp.#c.d = cmp.#c.d + :one"),
                Some(LeadEnd::Failed) => set.push_str(", cmp.#c.f = cmp.#c.f + :one"),
                Some(LeadEnd::NotMade) | None => {}
            }
            let has_batches = pool.come(campaign).1.begun.is_some();
            if has_batches && end == Some(LeadEnd::NotMade) {
                set.push_str(", cmp.#c.b = cmp.#c.b - :one");
            }
            if let Some(Used { until, met }) = used {
                let held_ms = until.duration_since(lease.token.since()).as_millis().max(0);
                let mut count = |name: &str, more: &str| {
                    set.push_str(&format!(", cmp.#c.{name} = if_not_exists(cmp.#c.{name}, :zero) + {more}"));
                };
                count("s", ":held");
                if met.is_some() {
                    count("n", ":one");
                }
                match met {
                    Some(Met::Answered) => count("a", ":one"),
                    Some(Met::Error) => count("x", ":one"),
                    Some(Met::Unanswered) | None => {}
                }
                update = update
                    .expression_attribute_values(":held", n(held_ms))
                    .expression_attribute_values(":zero", n(0));
                if has_batches {
                    set.push_str(", cmp.#c.z = :until");
                    update = update.expression_attribute_values(":until", ms(until));
                }
            }
            update = update.expression_attribute_names("#c", campaign.as_str());
        }
        set.push_str(" REMOVE lns.#k");
        let sent = update.update_expression(set).condition_expression(condition).send().await;
        sent.outcome("free a line", |output| output.attributes)
    }

    /// Lets outbound rest, in every item of `pool`.
    ///
    /// Condition: it does not rest for longer already.
    pub async fn rest(&self, pool: &Pool, rest: Rest) -> Result<(), TableError> {
        let rests = pool.items().iter().map(|item| self.rest_in(item.shard.index, rest));
        futures::future::try_join_all(rests).await.map(|_| ())
    }

    async fn rest_in(&self, shard: u8, rest: Rest) -> Result<(), TableError> {
        let sent = self
            .ledger(shard)
            .update_expression("SET rest_until = :until, rests = :rests")
            .condition_expression("rest_until < :until")
            .expression_attribute_values(":until", ms(rest.until))
            .expression_attribute_values(":rests", n(rest.count))
            .send()
            .await;
        sent.outcome("let outbound rest", |_| None).map(|_| ())
    }

    /// Ends the row of rests, in every item of `pool`: a dial has gone through.
    ///
    /// Condition: the item is there. One that has drained is gone, and must not come back as nothing but this.
    pub async fn end_rests(&self, pool: &Pool) -> Result<(), TableError> {
        let ends = pool.items().iter().map(|item| self.end_rests_in(item.shard.index));
        futures::future::try_join_all(ends).await.map(|_| ())
    }

    async fn end_rests_in(&self, shard: u8) -> Result<(), TableError> {
        let sent = self
            .ledger(shard)
            .update_expression("SET rests = :zero")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":zero", n(0))
            .send()
            .await;
        sent.outcome("end the rests", |_| None).map(|_| ())
    }

    /// Notes what Vapi said of itself: the organisation our key belongs to, the limit it counts to.
    /// Only a first organisation is kept: a key belongs to one.
    pub async fn note_vapi(&self, org: Option<&OrgId>, limit: Option<u32>) -> Result<(), TableError> {
        let mut sets = Vec::new();
        let mut update = self.ledger(0);
        if let Some(org) = org {
            sets.push("org = if_not_exists(org, :org)");
            update = update.expression_attribute_values(":org", s(org.as_str()));
        }
        if let Some(limit) = limit {
            sets.push("seen = :seen");
            update = update.expression_attribute_values(":seen", n(limit));
        }
        if sets.is_empty() {
            return Ok(());
        }
        let sent = update.update_expression(format!("SET {}", sets.join(", "))).send().await;
        sent.outcome("note what Vapi said", |_| None).map(|_| ())
    }

    /// Notes an estimate of the lines that others use, or that there is none: in every item of `pool` its part of them.
    ///
    /// Returns whether every item has its part now.
    ///
    /// Condition, for each: the estimate in it is still the one of `pool`.
    pub async fn note_unseen(&self, pool: &Pool, unseen: Option<Unseen>) -> Result<bool, TableError> {
        let parts = pool.share_unseen(unseen.map_or(0, |unseen| unseen.lines));
        let notes = pool.items().iter().map(|item| {
            // What drains gives outbound nothing anyway.
            let lines = parts.get(usize::from(item.shard.index)).copied().unwrap_or_default();
            let part = unseen.filter(|_| lines > 0).map(|unseen| Unseen { lines, ..unseen });
            self.note_unseen_in(item, part)
        });
        let noted = futures::future::try_join_all(notes).await?;
        Ok(noted.into_iter().all(|noted| noted))
    }

    async fn note_unseen_in(&self, item: &Pool, unseen: Option<Unseen>) -> Result<bool, TableError> {
        if unseen == item.unseen {
            return Ok(true);
        }
        let update = with_unseen(self.ledger(item.shard.index), item).condition_expression(same_unseen(item));
        let update = match unseen {
            Some(unseen) => update
                .update_expression("SET unseen = :now")
                .expression_attribute_values(":now", s(unseen.to_string())),
            None => update.update_expression("REMOVE unseen"),
        };
        let noted = update.send().await.outcome("note the unseen lines", |_| None)?;
        Ok(matches!(noted, Written::Applied(_)))
    }

    /// Makes sure that a campaign under way has its counters on the ledger, from `settled` (done,
    /// failed) if it had none, and what its calls are known by. Counters that are there stay as they are.
    pub async fn open_campaign(
        &self,
        code: &CampaignCode,
        settled: (u32, u32),
        codes: &[NameCode],
    ) -> Result<(), TableError> {
        let sent = self.campaign_counters(0, code, settled, codes).send().await;
        sent.outcome("open a campaign on the ledger", |_| None).map(|_| ())
    }

    /// The same for the campaign's counters in another item, which begin at nothing: their sums are the campaign's.
    ///
    /// Condition: the item is there. It may have drained and be gone.
    pub async fn join_campaign(
        &self,
        shard: u8,
        code: &CampaignCode,
        codes: &[NameCode],
    ) -> Result<(), TableError> {
        let sent = self.campaign_counters(shard, code, (0, 0), codes);
        let sent = sent.condition_expression("attribute_exists(pk)").send().await;
        sent.outcome("open a campaign on the ledger", |_| None).map(|_| ())
    }

    fn campaign_counters(
        &self,
        shard: u8,
        code: &CampaignCode,
        settled: (u32, u32),
        codes: &[NameCode],
    ) -> UpdateItemFluentBuilder {
        let codes: String = codes.iter().map(NameCode::as_str).collect();
        let tally = [("h", n(0)), ("d", n(settled.0)), ("f", n(settled.1)), ("k", s(codes))];
        let tally = Item::from(tally.map(|(k, v)| (k.to_owned(), v)));
        self.ledger(shard)
            .update_expression("SET cmp.#c = if_not_exists(cmp.#c, :tally)")
            .expression_attribute_names("#c", code.as_str())
            .expression_attribute_values(":tally", AttributeValue::M(tally))
    }

    /// Moves a campaign on its ramp, or back. Returns the ledger's first item, as it is now or as it was.
    ///
    /// Condition: the campaign has counters there, and is at the step that this was decided on. Of several who decide at
    /// once, one does; our own move whose answer was lost is in the item that comes back.
    pub async fn move_step(
        &self,
        code: &CampaignCode,
        was: Option<Step>,
        step: Step,
    ) -> Result<Option<Pool>, TableError> {
        let condition = match was {
            Some(_) => "cmp.#c.r = :was",
            None => "attribute_exists(cmp.#c) AND attribute_not_exists(cmp.#c.r)",
        };
        let mut update = self
            .ledger(0)
            .update_expression("SET cmp.#c.r = :step")
            .condition_expression(condition)
            .expression_attribute_names("#c", code.as_str())
            .expression_attribute_values(":step", s(step.to_string()));
        if let Some(was) = was {
            update = update.expression_attribute_values(":was", s(was.to_string()));
        }
        match update.send().await.outcome("move a campaign on its ramp", |output| output.attributes)? {
            Written::Applied(item) | Written::Refused(item) => {
                item.map(|item| pool_of(Some(item))).transpose()
            }
        }
    }

    /// Counts one more failed lead, which is ready after its claim `last` and ends without another, in the item that
    /// this claim's line was on.
    ///
    /// Condition: the campaign's counters are on the ledger, and that claim's line is not: whoever frees it counts
    /// the lead's end with it.
    pub(super) fn failure_counted(&self, last: &ClaimKey, shard: u8) -> Update {
        let (pk, sk) = self.ledger_key(shard);
        Update::builder()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .update_expression("SET cmp.#c.f = cmp.#c.f + :one")
            .condition_expression("attribute_exists(cmp.#c) AND attribute_not_exists(lns.#k)")
            .expression_attribute_names("#c", last.campaign.as_str())
            .expression_attribute_names("#k", last.to_string())
            .expression_attribute_values(":one", n(1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("the table, the key and the update are given")
    }

    /// Takes a finished campaign's counters off the ledger, off every item of `pool` that has some. The first one's
    /// go last: they are what says that others have some.
    ///
    /// Condition, for each: they are still what they are in `pool`, with no line held. Otherwise they stay.
    pub async fn close_campaign(&self, pool: &Pool, code: &CampaignCode) -> Result<(), TableError> {
        for item in pool.items().iter().rev() {
            if let Some(tally) = item.campaigns.get(code) {
                self.close_campaign_in(item.shard.index, code, tally).await?;
            }
        }
        Ok(())
    }

    async fn close_campaign_in(
        &self,
        shard: u8,
        code: &CampaignCode,
        tally: &Tally,
    ) -> Result<(), TableError> {
        let sent = self
            .ledger(shard)
            .update_expression("REMOVE cmp.#c")
            .condition_expression("cmp.#c.h = :zero AND cmp.#c.d = :d AND cmp.#c.f = :f")
            .expression_attribute_names("#c", code.as_str())
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":d", n(tally.done))
            .expression_attribute_values(":f", n(tally.failed))
            .send()
            .await;
        sent.outcome("close a campaign on the ledger", |_| None).map(|_| ())
    }
}

/// The line of a call that Headroom did not dial.
fn observed(pool: &Pool, call: &CallId, kind: Kind, codes: &[NameCode], now: Timestamp) -> Lease {
    let token = Token::new(kind, now, 0).in_shard(pool.shard.index).known_by(codes);
    Lease { key: LineKey::Observed(call.clone()), token }
}

/// The condition that the estimate of others' lines is still the pool's; [`with_unseen`] gives its value.
fn same_unseen(pool: &Pool) -> &'static str {
    if pool.unseen.is_some() { "unseen = :unseen" } else { "attribute_not_exists(unseen)" }
}

fn with_unseen(update: UpdateItemFluentBuilder, pool: &Pool) -> UpdateItemFluentBuilder {
    match pool.unseen {
        Some(unseen) => update.expression_attribute_values(":unseen", s(unseen.to_string())),
        None => update,
    }
}

/// The condition that the `i`th quota's pace is still the pool's; [`with_pace`] gives its value.
fn unmoved(pool: &Pool, key: &BucketKey, i: usize) -> String {
    if pool.paces.contains_key(key) {
        format!("pace.#q{i} = :was{i}")
    } else {
        format!("attribute_not_exists(pace.#q{i})")
    }
}

fn with_pace(
    update: UpdateItemFluentBuilder,
    pool: &Pool,
    key: &BucketKey,
    i: usize,
) -> UpdateItemFluentBuilder {
    match pool.paces.get(key) {
        Some(pace) => update.expression_attribute_values(format!(":was{i}"), s(pace.to_string())),
        None => update,
    }
}

/// The counters besides the total that a line of this kind moves.
fn counters(kind: Kind, sign: char) -> String {
    let names: &[&str] = match kind {
        Kind::Inbound => &["ninb"],
        Kind::Web => &["nweb"],
        Kind::Outbound => &["nout"],
        Kind::Foreign => &["nout", "nfrn"],
        Kind::Chat => &["nchat"],
    };
    names.iter().map(|name| format!(", {name} = {name} {sign} :one")).collect()
}

/// A token as the ledger keeps it.
pub(super) fn packed(token: &Token) -> AttributeValue {
    AttributeValue::B(Blob::new(token.packed()))
}

pub(super) fn pool_of(item: Option<Item>) -> Result<Pool, TableError> {
    let item = item.ok_or(TableError::NoLedger)?;
    let read = Reader::new(&item, "ledger");
    // Before all else: nothing of a later format is what it seems.
    if let Some(newer) = read.number_if("fmt")?.filter(|format| *format > FORMAT) {
        return Err(TableError::Newer(newer));
    }
    let shard = shard_of(&item, &read)?;
    let policy = if shard.live > 1 || shard.index > 0 || shard.whole.is_some() {
        Policy::share(read.number("lim")?, read.number("cap")?, read.number("hroom")?)
    } else {
        policy_of(&read)?
    };
    let mut lines = BTreeMap::new();
    for (key, token) in read.map("lns")? {
        let parsed = token.as_b().ok().and_then(|token| Token::unpacked(token.as_ref()).ok());
        match (key.parse::<LineKey>(), parsed) {
            (Ok(key), Some(token)) => lines.insert(key, token),
            _ => return Err(read.error("lns", "has an entry that is no line")),
        };
    }
    let mut campaigns = BTreeMap::new();
    for (code, tally) in read.map("cmp")? {
        let code = code.parse().map_err(|_| read.error("cmp", "has a key that is no campaign code"))?;
        let tally = tally.as_m().map_err(|_| read.error("cmp", "has an entry that is no map"))?;
        let tally = Reader::new(tally, "campaign counters");
        let codes = tally.text_if("k")?.unwrap_or_default();
        let codes = NameCode::split(codes).map_err(|_| tally.error("k", "is no codes"))?;
        campaigns.insert(
            code,
            Tally {
                codes,
                held: tally.number("h")?,
                done: tally.number("d")?,
                failed: tally.number("f")?,
                progress: progress_of(&tally)?,
            },
        );
    }
    let reserves = reserves_of(&read)?;
    let mut quotas = Vec::new();
    for (name, quota) in read.map_if("quo")?.into_iter().flatten() {
        let parsed = quota.as_s().ok().and_then(|quota| quota.parse::<Quota>().ok());
        match (name.parse::<QuotaName>(), parsed) {
            (Ok(name), Some(quota)) => quotas.push((name, quota)),
            _ => return Err(read.error("quo", "has an entry that is no quota")),
        }
    }
    let quotas = Quotas::new(quotas).map_err(|error| read.error("quo", &error.to_string()))?;
    let mut paces = BTreeMap::new();
    for (key, pace) in read.map_if("pace")?.into_iter().flatten() {
        let parsed = pace.as_s().ok().and_then(|pace| pace.parse::<Pace>().ok());
        let pace = parsed.ok_or_else(|| read.error("pace", "has an entry that is no pace"))?;
        paces.insert(BucketKey::from(key.clone()), pace);
    }
    let own = read.map("own")?;
    let own_counts = Reader::new(own, "reserve counters");
    let own = own.keys().map(|key| Ok((BucketKey::from(key.clone()), own_counts.number(key)?)));
    let own = own.collect::<Result<_, TableError>>()?;
    Ok(Pool {
        policy,
        reserves,
        quotas,
        paces,
        revision: read.number("rev")?,
        counts: Counts {
            total: read.number("ntot")?,
            outbound: read.number("nout")?,
            foreign: read.number("nfrn")?,
            inbound: read.number("ninb")?,
            web: read.number("nweb")?,
            chat: read.number("nchat")?,
        },
        uses: Uses { own, shared: read.number("nshr")? },
        lines,
        campaigns,
        hold_until: read.instant("rest_until")?,
        hold_count: read.number("rests")?,
        org: read.parsed_if("org")?,
        unseen: read.parsed_if("unseen")?,
        seen_limit: read.number_if("seen")?,
        configured: read.text_if("conf")?.map(str::to_owned),
        shard,
    })
}

fn progress_of(tally: &Reader<'_>) -> Result<Progress, TableError> {
    let count = |name| tally.number_if(name).map(Option::unwrap_or_default);
    Ok(Progress {
        pace: tally.parsed_if("p")?,
        begun: tally.number_if("b")?,
        idle_since: tally.number_if::<i64>("z")?.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        step: tally.parsed_if("r")?,
        calls: Calls { ended: count("n")?, answered: count("a")?, errors: count("x")? },
        served_ms: tally.number_if("s")?.unwrap_or_default(),
    })
}

fn policy_of(read: &Reader<'_>) -> Result<Policy, TableError> {
    let purchased = read.number_if("buy")?.unwrap_or_default();
    Policy::new(read.number("lim")?, read.number("cap")?, read.number("hroom")?)
        .and_then(|policy| policy.with_purchased(purchased))
        .map_err(|error| read.error("lim", &error.to_string()))
}

fn reserves_of(read: &Reader<'_>) -> Result<Reserves, TableError> {
    let mut agents = Vec::new();
    for (agent, reserve) in read.map("rsv")? {
        let parsed = reserve.as_s().ok().and_then(|reserve| reserve.parse::<Reserve>().ok());
        match (agent.parse::<AgentName>(), parsed) {
            (Ok(agent), Some(reserve)) => agents.push((agent, reserve)),
            _ => return Err(read.error("rsv", "has an entry that is no reserve")),
        }
    }
    Reserves::new(agents).map_err(|error| read.error("rsv", &error.to_string()))
}

fn shard_of(item: &Item, read: &Reader<'_>) -> Result<Shard, TableError> {
    let index = read.text("sk")?.strip_prefix("LEDGER#").and_then(|index| index.parse().ok());
    let whole = match item.get("whole") {
        None => None,
        Some(_) => {
            let whole = Reader::new(read.map("whole")?, "ledger's sum");
            let (policy, reserves) = (policy_of(&whole)?, reserves_of(&whole)?);
            Some(Whole { policy, reserves, items: whole.number("items")? })
        }
    };
    Ok(Shard {
        index: index.ok_or_else(|| read.error("sk", "is no ledger's"))?,
        live: read.number_if("nlive")?.unwrap_or(1),
        whole,
        items: Vec::new(),
    })
}
