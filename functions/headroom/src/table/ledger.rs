//! The ledger: one item per pool with its policy, its counters and a map of the held lines.
//!
//! Counters and lines change in the same conditional write, so they agree by construction (P7).
//! Nothing else writes `ntot`, `nout`, `nfrn`, `ninb`, `nweb`, `lns` or `cmp`.
//!
//! | attribute | holds |
//! |---|---|
//! | `lim` `cap` `hroom` `rev` | the policy and its revision |
//! | `ntot` `nout` `nfrn` `ninb` `nweb` | held lines: all, outbound, the foreign part of it, inbound, web |
//! | `lns` | map: line key → token |
//! | `cmp` | map: campaign code → `h` held, `d` done, `f` failed |
//! | `rest_until` `rests` | outbound rests until; rests in a row |
//! | `org` `seen` `conf` | what Vapi said: our organisation, its limit; the policy last configured |

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::ids::{CallId, CampaignCode, ClaimKey, Kind, Lease, LineKey, OrgId, Token};
use crate::core::pool::{Counts, Policy, Pool, Tally};

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
}

/// What a freeing came to.
#[derive(Debug)]
pub enum Freed {
    /// The line is free again; the pool as it is now.
    Freed(Pool),
    /// Nothing was held by this lease: freed before, or taken by somebody else since.
    NotHeld,
}

/// How a lead ended, where the line that is freed was its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadEnd {
    /// Reached.
    Done,
    /// Over without being reached.
    Failed,
}

/// A rest for outbound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// No outbound call before this.
    pub until: Timestamp,
    /// Rests in a row, this one included.
    pub count: u32,
}

impl Table {
    fn ledger(&self) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s("LEDGER#0"))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Creates an empty pool unless there is one. Never changes one that is there.
    pub async fn ensure_pool(&self, policy: Policy) -> Result<(), TableError> {
        let pool = Pool::new(policy);
        let empty = || AttributeValue::M(Item::new());
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.pool_pk()))
            .item("sk", s("LEDGER#0"))
            .item("lim", n(policy.limit()))
            .item("cap", n(policy.cap()))
            .item("hroom", n(policy.headroom()))
            .item("rev", n(pool.revision))
            .item("ntot", n(0))
            .item("nout", n(0))
            .item("nfrn", n(0))
            .item("ninb", n(0))
            .item("nweb", n(0))
            .item("lns", empty())
            .item("cmp", empty())
            .item("rest_until", n(0))
            .item("rests", n(0))
            .item("conf", s(policy.to_string()))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        put.outcome("create the pool", |_| None).map(|_| ())
    }

    /// The pool as it is at this instant.
    pub async fn read_pool(&self) -> Result<Pool, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s("LEDGER#0"))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read the pool"))?;
        pool_of(read.item)
    }

    /// Takes one line for each of `leases`, all or none (P1).
    ///
    /// Condition: the policy is still `pool`'s; with these lines total stays within limit −
    /// headroom, outbound within the cap and the campaign within its own; no rest; none of the keys
    /// is held. A grant whose answer was lost is known by its tokens in the old item.
    pub async fn take(
        &self,
        pool: &Pool,
        campaign: &CampaignCode,
        campaign_cap: Option<u32>,
        leases: &[Lease],
        now: Timestamp,
    ) -> Result<Taken, TableError> {
        let lines = i64::try_from(leases.len()).expect("a pool has fewer lines than 2^63");
        let upto = |most: u32| n(i64::from(most) - lines);
        let mut set = String::from("SET ntot = ntot + :n, nout = nout + :n, cmp.#c.h = cmp.#c.h + :n");
        let mut condition = String::from(
            "rev = :rev AND ntot <= :total AND nout <= :cap AND rest_until <= :now AND cmp.#c.h <= :own",
        );
        let mut update = self
            .ledger()
            .expression_attribute_names("#c", campaign.as_str())
            .expression_attribute_values(":n", n(lines))
            .expression_attribute_values(":rev", n(pool.revision))
            .expression_attribute_values(":total", upto(pool.ceiling_total()))
            .expression_attribute_values(":cap", upto(pool.policy.cap()))
            .expression_attribute_values(":own", upto(campaign_cap.unwrap_or(u32::MAX)))
            .expression_attribute_values(":now", ms(now));
        for (i, lease) in leases.iter().enumerate() {
            set.push_str(&format!(", lns.#k{i} = :t{i}"));
            condition.push_str(&format!(" AND attribute_not_exists(lns.#k{i})"));
            update = update
                .expression_attribute_names(format!("#k{i}"), lease.key.to_string())
                .expression_attribute_values(format!(":t{i}"), s(lease.token.as_str()));
        }
        let sent = update.update_expression(set).condition_expression(condition).send().await;
        match sent.outcome("take lines", |output| output.attributes)? {
            Written::Applied(item) => Ok(Taken::Granted(pool_of(item)?)),
            Written::Refused(item) => {
                let pool = pool_of(item)?;
                let ours = leases.iter().all(|lease| pool.lines.get(&lease.key) == Some(&lease.token));
                Ok(if ours { Taken::Granted(pool) } else { Taken::Refused(pool) })
            }
        }
    }

    /// Records a call that Headroom did not start. It is real, so it is recorded whatever the
    /// counters say, and may push the total past the limit.
    ///
    /// Condition: it is not recorded yet.
    pub async fn take_observed(
        &self,
        call: &CallId,
        kind: Kind,
        now: Timestamp,
    ) -> Result<Observed, TableError> {
        self.observe(call, kind, now, None).await
    }

    /// Records a caller whom Headroom is asked to answer, if the pool has a line for them.
    ///
    /// Condition: not recorded yet, total < limit, and the policy is still `pool`'s.
    pub async fn take_answered(
        &self,
        pool: &Pool,
        call: &CallId,
        now: Timestamp,
    ) -> Result<Observed, TableError> {
        self.observe(call, Kind::Inbound, now, Some(pool)).await
    }

    async fn observe(
        &self,
        call: &CallId,
        kind: Kind,
        now: Timestamp,
        room_of: Option<&Pool>,
    ) -> Result<Observed, TableError> {
        let key = LineKey::Observed(call.clone());
        let token = Token::new(kind, now, 0);
        let mut condition = String::from("attribute_not_exists(lns.#k)");
        let mut update = self
            .ledger()
            .update_expression(format!("SET ntot = ntot + :one, lns.#k = :t{}", counters(kind, '+')))
            .expression_attribute_names("#k", key.to_string())
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":t", s(token.as_str()));
        if let Some(pool) = room_of {
            condition.push_str(" AND ntot < :lim AND rev = :rev");
            update = update
                .expression_attribute_values(":lim", n(pool.policy.limit()))
                .expression_attribute_values(":rev", n(pool.revision));
        }
        let sent = update.condition_expression(condition).send().await;
        match sent.outcome("record an observed call", |output| output.attributes)? {
            Written::Applied(item) => Ok(Observed::Taken(pool_of(item)?)),
            Written::Refused(item) => {
                let pool = pool_of(item)?;
                Ok(if pool.lines.contains_key(&key) {
                    Observed::AlreadyHeld(pool)
                } else {
                    Observed::Full(pool)
                })
            }
        }
    }

    /// Frees a line, and in the same write counts the lead that ended with it.
    ///
    /// Condition: the line is held by this very token. So a second freeing changes nothing (P8),
    /// and no counter can go below zero (P7).
    pub async fn free(&self, lease: &Lease, end: Option<LeadEnd>) -> Result<Freed, TableError> {
        let kind = lease.token.kind();
        let mut set = format!("SET ntot = ntot - :one{}", counters(kind, '-'));
        let mut update = self
            .ledger()
            .condition_expression("lns.#k = :t")
            .expression_attribute_names("#k", lease.key.to_string())
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":t", s(lease.token.as_str()));
        if let LineKey::Claim(ClaimKey { campaign, .. }) = &lease.key {
            set.push_str(", cmp.#c.h = cmp.#c.h - :one");
            match end {
                Some(LeadEnd::Done) => set.push_str(", cmp.#c.d = cmp.#c.d + :one"),
                Some(LeadEnd::Failed) => set.push_str(", cmp.#c.f = cmp.#c.f + :one"),
                None => {}
            }
            update = update.expression_attribute_names("#c", campaign.as_str());
        }
        set.push_str(" REMOVE lns.#k");
        let sent = update.update_expression(set).send().await;
        match sent.outcome("free a line", |output| output.attributes)? {
            Written::Applied(item) => Ok(Freed::Freed(pool_of(item)?)),
            Written::Refused(_) => Ok(Freed::NotHeld),
        }
    }

    /// Lets outbound rest.
    ///
    /// Condition: it does not rest for longer already.
    pub async fn rest(&self, rest: Rest) -> Result<(), TableError> {
        let sent = self
            .ledger()
            .update_expression("SET rest_until = :until, rests = :rests")
            .condition_expression("rest_until < :until")
            .expression_attribute_values(":until", ms(rest.until))
            .expression_attribute_values(":rests", n(rest.count))
            .send()
            .await;
        sent.outcome("let outbound rest", |_| None).map(|_| ())
    }

    /// Ends the row of rests: a dial has gone through.
    pub async fn end_rests(&self) -> Result<(), TableError> {
        let sent = self
            .ledger()
            .update_expression("SET rests = :zero")
            .expression_attribute_values(":zero", n(0))
            .send()
            .await;
        sent.outcome("end the rests", |_| None).map(|_| ())
    }

    /// Changes the policy; held lines stay held (P6). `configured` is what the configuration asks
    /// for, if this change comes from there.
    ///
    /// Condition: nothing changed it since `pool` was read. Returns whether it was changed.
    pub async fn set_policy(
        &self,
        pool: &Pool,
        policy: Policy,
        configured: Option<&str>,
    ) -> Result<bool, TableError> {
        let mut set = String::from("SET lim = :lim, cap = :cap, hroom = :hroom, rev = rev + :one");
        let mut update = self
            .ledger()
            .condition_expression("rev = :rev")
            .expression_attribute_values(":lim", n(policy.limit()))
            .expression_attribute_values(":cap", n(policy.cap()))
            .expression_attribute_values(":hroom", n(policy.headroom()))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":rev", n(pool.revision));
        if let Some(configured) = configured {
            set.push_str(", conf = :conf");
            update = update.expression_attribute_values(":conf", s(configured));
        }
        let sent = update.update_expression(set).send().await;
        Ok(matches!(sent.outcome("change the policy", |_| None)?, Written::Applied(_)))
    }

    /// Notes what Vapi said of itself: the organisation our key belongs to, the limit it counts to.
    /// Only a first organisation is kept: a key belongs to one.
    pub async fn note_vapi(&self, org: Option<&OrgId>, limit: Option<u32>) -> Result<(), TableError> {
        let mut sets = Vec::new();
        let mut update = self.ledger();
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

    /// Makes sure that a campaign under way has its counters on the ledger, from `settled` (done,
    /// failed) if it had none. Counters that are there stay as they are.
    pub async fn open_campaign(&self, code: &CampaignCode, settled: (u32, u32)) -> Result<(), TableError> {
        let tally = Item::from(
            [("h", n(0)), ("d", n(settled.0)), ("f", n(settled.1))].map(|(k, v)| (k.to_owned(), v)),
        );
        let sent = self
            .ledger()
            .update_expression("SET cmp.#c = if_not_exists(cmp.#c, :tally)")
            .expression_attribute_names("#c", code.as_str())
            .expression_attribute_values(":tally", AttributeValue::M(tally))
            .send()
            .await;
        sent.outcome("open a campaign on the ledger", |_| None).map(|_| ())
    }

    /// Takes a finished campaign's counters off the ledger.
    ///
    /// Condition: they are still `tally`, with no line held. Otherwise they stay.
    pub async fn close_campaign(&self, code: &CampaignCode, tally: Tally) -> Result<(), TableError> {
        let sent = self
            .ledger()
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

/// The counters besides the total that a line of this kind moves.
fn counters(kind: Kind, sign: char) -> String {
    let names: &[&str] = match kind {
        Kind::Inbound => &["ninb"],
        Kind::Web => &["nweb"],
        Kind::Outbound => &["nout"],
        Kind::Foreign => &["nout", "nfrn"],
    };
    names.iter().map(|name| format!(", {name} = {name} {sign} :one")).collect()
}

fn pool_of(item: Option<Item>) -> Result<Pool, TableError> {
    let item = item.ok_or(TableError::NoLedger)?;
    let read = Reader::new(&item, "ledger");
    let policy = Policy::new(read.number("lim")?, read.number("cap")?, read.number("hroom")?)
        .map_err(|error| read.error("lim", &error.to_string()))?;
    let mut lines = BTreeMap::new();
    for (key, token) in read.map("lns")? {
        let parsed = token.as_s().ok().and_then(|token| token.parse::<Token>().ok());
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
        campaigns.insert(
            code,
            Tally { held: tally.number("h")?, done: tally.number("d")?, failed: tally.number("f")? },
        );
    }
    Ok(Pool {
        policy,
        revision: read.number("rev")?,
        counts: Counts {
            total: read.number("ntot")?,
            outbound: read.number("nout")?,
            foreign: read.number("nfrn")?,
            inbound: read.number("ninb")?,
            web: read.number("nweb")?,
        },
        lines,
        campaigns,
        hold_until: read.instant("rest_until")?,
        hold_count: read.number("rests")?,
        org: read.parsed_if("org")?,
        seen_limit: read.number_if("seen")?,
        configured: read.text_if("conf")?.map(str::to_owned),
    })
}
