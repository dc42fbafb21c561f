//! In which item of the ledger an observed call has its line. With one item there is nothing to ask.
//!
//! A dialed call's line is where its token says, and the lead has the token. Of an observed call each message comes
//! on its own, several at once, and each may choose another item. So the choice is written on the call's own record
//! first, and whoever takes a line looks at the record again afterwards, as for the call's end:
//!
//! | who | writes | then reads, and frees its line if |
//! |---|---|---|
//! | takes a line in item a | the line in a | the record: it names another item, or the end |
//! | moves the call from a to b, because a is full | the record | item a: the call has got a line there |
//!
//! Whichever order they meet in, one sees the other. What a process leaves undone that dies in between, the pass
//! finds: one call with lines in two items.

use crate::core::ids::{CallId, NameCode};
use crate::core::line::{Kind, LineKey};
use crate::core::pool::Pool;
use crate::table::TableError;
use crate::table::ledger::Observed;

use super::App;

/// How often a call is placed anew because the ledger was spread over other items meanwhile.
const TRIES: usize = 3;

impl App {
    /// Takes a line for an observed call; if `only_free`, only one that is free for it. `pool` is as it was last
    /// seen. The pool that comes back is the item that was looked at last.
    pub(super) async fn take_line(
        &self,
        pool: &Pool,
        call: &CallId,
        kind: Kind,
        codes: &[NameCode],
        only_free: bool,
    ) -> Result<Observed, TableError> {
        let mut read = None;
        for _ in 0..TRIES {
            let pool = read.as_ref().unwrap_or(pool);
            let taken = if pool.is_spread() {
                self.take_placed(pool, call, kind, codes, only_free).await?
            } else {
                self.take_from(pool, call, kind, codes, only_free).await?
            };
            if !matches!(taken, Observed::Moved) {
                return Ok(taken);
            }
            read = Some(self.table.read_pool().await?);
        }
        Err(TableError::Contended("place a call"))
    }

    async fn take_from(
        &self,
        item: &Pool,
        call: &CallId,
        kind: Kind,
        codes: &[NameCode],
        only_free: bool,
    ) -> Result<Observed, TableError> {
        let now = self.clock.now();
        if only_free {
            self.table.take_answered(item, call, codes, now).await
        } else {
            self.table.take_observed(item, call, kind, codes, now).await
        }
    }

    async fn take_placed(
        &self,
        pool: &Pool,
        call: &CallId,
        kind: Kind,
        codes: &[NameCode],
        only_free: bool,
    ) -> Result<Observed, TableError> {
        // Perhaps from when there was one item only, and its choice was on no record.
        let key = LineKey::Observed(call.clone());
        if let Some(item) = pool.items().iter().find(|item| item.lines.contains_key(&key)) {
            return Ok(Observed::AlreadyHeld(item.clone()));
        }
        let choices = pool.for_observed(codes, kind);
        let best = choices[0];
        let mut free = choices.iter().filter(|item| item.refusal(codes, kind).is_none());
        let now = self.clock.now();
        let mut record = self.table.place_call(call, best.shard.index, now).await?;
        let mut left = Vec::new();
        let taken = loop {
            let Some(at) = record.shard else { return Ok(Observed::Moved) };
            let item = pool.live_items().iter().find(|item| item.shard.index == at);
            // Placed when there were more items, or in one that this reading does not know of.
            let taken = match item {
                Some(item) => self.take_from(item, call, kind, codes, only_free).await?,
                None => Observed::Moved,
            };
            let next = match taken {
                Observed::Moved => Some(best),
                Observed::Full(_) => free.find(|next| next.shard.index != at).copied(),
                Observed::Taken(_) | Observed::AlreadyHeld(_) => None,
            };
            match next.filter(|next| next.shard.index != at) {
                Some(next) => {
                    record = self.table.move_call(call, at, next.shard.index, now).await?;
                    if record.end.is_some() {
                        break taken;
                    }
                    left.push(at);
                }
                None => break taken,
            }
        };
        left.retain(|at| record.shard != Some(*at));
        if !left.is_empty() {
            self.free_strays(&self.table.read_pool().await?, call, record.shard).await?;
        }
        match taken {
            // There is room, but no item's.
            Observed::Full(_) if self.table.spread_lines(pool).await? => Ok(Observed::Moved),
            taken => Ok(taken),
        }
    }

    /// Moves lines between the items of the ledger, if there are several or should be, and their shares are not as
    /// they should be. Done by whoever looks for lines, and by every pass.
    pub(super) async fn spread_lines(&self, pool: Pool) -> Result<Pool, TableError> {
        if !self.table.spread_lines(&pool).await? {
            return Ok(pool);
        }
        let now = self.table.read_pool().await?;
        let share = |item: &Pool| item.policy.limit();
        let (was, shares): (Vec<u32>, Vec<u32>) =
            (pool.items().iter().map(share).collect(), now.items().iter().map(share).collect());
        tracing::info!(
            ?was,
            ?shares,
            lines.limit = now.policy.limit(),
            "lines spread over the ledger's items"
        );
        Ok(now)
    }

    /// After a line was taken for a call, in `item`: frees it if the call's record says that the call is over, or that
    /// its line is in another item. Returns whether the line stays.
    pub(super) async fn keep_line(&self, item: &Pool, call: &CallId) -> Result<bool, TableError> {
        let record = self.table.read_record(call).await?;
        if let Some(end) = record.end {
            self.end_observed(item, call, &end).await?;
            return Ok(false);
        }
        let is_elsewhere = item.is_spread() && record.shard.is_some_and(|shard| shard != item.shard.index);
        if is_elsewhere && let Some(lease) = item.lease(&LineKey::Observed(call.clone())) {
            tracing::warn!(call.id = %call, "line freed: the call has one in another item of the ledger");
            self.free(item, &lease, None).await?;
        }
        Ok(!is_elsewhere)
    }

    /// Frees a call's lines in other items than the one that it belongs to.
    pub(super) async fn free_strays(
        &self,
        pool: &Pool,
        call: &CallId,
        home: Option<u8>,
    ) -> Result<(), TableError> {
        let key = LineKey::Observed(call.clone());
        for lease in pool.items().iter().filter_map(|item| item.lease(&key)) {
            if home.is_some_and(|home| home != lease.token.shard()) {
                tracing::warn!(call.id = %call, "line freed: the call belongs to another item of the ledger");
                self.free(pool, &lease, None).await?;
            }
        }
        Ok(())
    }
}
