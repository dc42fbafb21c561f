//! Two writes in one transaction: both are carried out, or neither.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;

use super::attributes::Item;
use super::{Table, TableError};
use crate::core::ids::MessageCode;

/// What two writes at once came to.
pub(super) enum Both {
    /// Both are applied.
    Applied,
    /// Neither is. For each: the old item if its condition did not hold and the write asked for it, or an empty one;
    /// nothing if its condition held.
    Refused([Option<Item>; 2], TableError),
}

/// Tries while the same items are being written by others.
const CONFLICTS: u32 = 8;

impl Table {
    /// Carries out both or neither. Where another write of one of the items is under way, it is tried again, after
    /// delays that `own` alone has: the SDK does not try that again by itself.
    pub(super) async fn write_both(
        &self,
        operation: &'static str,
        both: [TransactWriteItem; 2],
        own: &MessageCode,
    ) -> Result<Both, TableError> {
        let mut attempt = 1;
        loop {
            let sent =
                self.client.transact_write_items().set_transact_items(Some(both.to_vec())).send().await;
            let Err(error) = sent else { return Ok(Both::Applied) };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons()
                }
                _ => return Err(TableError::call(operation)(error)),
            };
            let refused = [0, 1].map(|nth| {
                let reason =
                    reasons.get(nth).filter(|reason| reason.code() == Some("ConditionalCheckFailed"));
                reason.map(|reason| reason.item().cloned().unwrap_or_default())
            });
            if refused.iter().any(Option::is_some) {
                return Ok(Both::Refused(refused, TableError::call(operation)(error)));
            }
            if attempt == CONFLICTS
                || !reasons.iter().any(|reason| reason.code() == Some("TransactionConflict"))
            {
                return Err(TableError::call(operation)(error));
            }
            tokio::time::sleep(own.conflict_delay(attempt)).await;
            attempt += 1;
        }
    }
}
