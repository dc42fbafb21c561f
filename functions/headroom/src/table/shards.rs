//! The items of a ledger that has several: how lines, numbers and reserves move from one to another. Always in one
//! transaction, so that there is no instant at which two have the same line, and none at which nobody has it.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};

use super::attributes::{ms, n, s};
use super::changes::{Wanted, quotas_value, reserves_value};
use super::{Table, TableError};
use crate::core::pool::Pool;
use crate::core::reserve::Uses;
use crate::core::spread::{Share, spread};

/// What the items of a ledger have in common once they are several, or when they have been.
#[derive(Debug)]
pub(super) struct Several {
    /// The revision that this change leads to: higher than each item's, so that nothing that was decided before it,
    /// on whichever item, is written after it.
    pub(super) revision: u64,
    live: u8,
    items: u8,
    /// What they have together.
    pub(super) wanted: Wanted,
}

impl Table {
    /// Spreads the lines anew over the ledger's items if they are spread as they should not be: after the limit has
    /// crossed a size, when an item that drains can give something back, when one has been filled beyond its share.
    /// Returns whether anything moved. No change of policy, so there is no record of it.
    pub async fn spread_lines(&self, pool: &Pool) -> Result<bool, TableError> {
        if !pool.is_lopsided(self.sizes) {
            return Ok(false);
        }
        let writes = self.moves(pool, &Wanted::of(pool));
        // The first item is always among them, with a new revision; alone, it would stay as it is.
        if writes.len() < 2 {
            return Ok(false);
        }
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = sent else { return Ok(true) };
        match error.as_service_error() {
            // Lines have moved: the next pass tries again.
            Some(TransactWriteItemsError::TransactionCanceledException(_)) => Ok(false),
            _ => Err(TableError::call("spread the lines")(error)),
        }
    }

    /// What is to be written for a ledger to have what is `wanted`: its first item, every other one whose share is
    /// another then, new ones, and the end of those that have drained.
    ///
    /// Condition: no item has changed since `pool` was read, none holds more than it did beyond what it will have,
    /// and in those whose reserves change no line moved.
    pub(super) fn moves(&self, pool: &Pool, wanted: &Wanted) -> Vec<TransactWriteItem> {
        let live = self.sizes.shards(wanted.policy);
        let items = pool.items();
        let drained = items.iter().rev().take_while(|item| item.shard.index >= live && item.holds_nothing());
        let (kept, drained) = items.split_at(items.len() - drained.count());
        if live == 1 && items.len() == 1 {
            let update = self.policy_update(pool, wanted, None);
            return vec![TransactWriteItem::builder().update(update).build()];
        }
        let shares = spread(wanted.policy, &wanted.reserves, live, kept);
        let several =
            Several { revision: pool.revision + 1, live, items: shares.len() as u8, wanted: wanted.clone() };
        let renumbered = live != pool.shard.live;
        let mut writes = Vec::with_capacity(shares.len() + 1);
        for (index, Share { policy, reserves }) in shares.into_iter().enumerate() {
            let configured = wanted.configured.clone().filter(|_| index == 0);
            let share = Wanted { policy, reserves, quotas: wanted.quotas.clone(), configured };
            let write = TransactWriteItem::builder();
            match kept.get(index) {
                Some(item) => {
                    let is_same = item.policy == share.policy && !share.counts_anew(item);
                    if index > 0 && is_same && !renumbered {
                        continue;
                    }
                    writes.push(write.update(self.policy_update(item, &share, Some(&several))).build());
                }
                None => writes.push(write.put(self.new_item(index as u8, pool, &share, &several)).build()),
            }
        }
        writes.extend(
            drained.iter().map(|item| TransactWriteItem::builder().delete(self.drained(item)).build()),
        );
        writes
    }

    fn new_item(&self, shard: u8, pool: &Pool, share: &Wanted, several: &Several) -> Put {
        let mut item = self.empty_item(shard, share.policy, several.revision);
        let own = Uses::of(&share.reserves, &share.quotas, []).own;
        let own = own.into_keys().map(|key| (key.as_str().to_owned(), n(0)));
        item.insert("own".to_owned(), AttributeValue::M(own.collect()));
        item.insert("rsv".to_owned(), reserves_value(&share.reserves));
        item.insert("quo".to_owned(), quotas_value(&share.quotas));
        item.insert("pace".to_owned(), AttributeValue::M([].into()));
        item.insert("nlive".to_owned(), n(several.live));
        item.insert("rest_until".to_owned(), ms(pool.hold_until));
        item.insert("rests".to_owned(), n(pool.hold_count));
        Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .expect("the table and the item are given")
    }

    fn drained(&self, item: &Pool) -> Delete {
        let (pk, sk) = self.ledger_key(item.shard.index);
        Delete::builder()
            .table_name(&self.name)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .condition_expression(
                "rev = :rev AND lns = :none AND cmp = :none AND (attribute_not_exists(pace) OR pace = :none)",
            )
            .expression_attribute_values(":rev", n(item.revision))
            .expression_attribute_values(":none", AttributeValue::M([].into()))
            .build()
            .expect("the table and the key are given")
    }
}

impl Several {
    /// Adds to the update of an item what makes it one of several: what they have in common, and that it holds no
    /// more beyond its new share than was counted in when the others' shares were decided on.
    pub(super) fn join(
        &self,
        item: &Pool,
        share: &Wanted,
        (mut set, mut condition, mut update): (String, String, UpdateBuilder),
    ) -> (String, String, UpdateBuilder) {
        let is_first = item.shard.index == 0;
        if self.items > 1 {
            set.push_str(", nlive = :nlive");
            update = update.expression_attribute_values(":nlive", n(self.live));
            if is_first {
                let Wanted { policy, reserves, .. } = &self.wanted;
                let whole = [
                    ("lim", n(policy.limit())),
                    ("buy", n(policy.purchased())),
                    ("cap", n(policy.cap())),
                    ("hroom", n(policy.headroom())),
                    ("rsv", reserves_value(reserves)),
                    ("items", n(self.items)),
                ];
                let whole = whole.map(|(name, value)| (name.to_owned(), value));
                set.push_str(", whole = :whole");
                update = update.expression_attribute_values(":whole", AttributeValue::M(whole.into()));
            }
        } else {
            set.push_str(" REMOVE whole, nlive");
        }
        // Where reserves or quotas change, no line moves anyway.
        if !share.counts_anew(item) {
            let policy = share.policy;
            let shared = u64::from(policy.limit()).saturating_sub(share.reserves.total());
            let most = [
                ("ntot", u64::from(policy.limit()), item.counts.total),
                ("nout", policy.cap().into(), item.counts.outbound),
                ("nshr", shared.saturating_sub(policy.headroom().into()), item.uses.shared),
            ];
            for (counter, size, held) in most {
                condition.push_str(&format!(" AND {counter} <= :most_{counter}"));
                update =
                    update.expression_attribute_values(format!(":most_{counter}"), n(size.max(held.into())));
            }
        }
        (set, condition, update)
    }
}
