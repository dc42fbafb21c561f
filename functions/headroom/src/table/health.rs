//! How well outbound is going: one small item beside the ledger. What it means is [`crate::core::health`]'s to say.
//!
//! | attribute | holds |
//! |---|---|
//! | `rev` | the revision: one more with each write |
//! | `low` | the lowered cap, if it is |
//! | `bad` | good and bad answers since the first bad one, if there is one |
//! | `usual` | how long answers take |
//! | `brk` | map: breaker → how it stands |

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::attributes::{Item, Reader, n, s};
use super::{Conditional as _, Table, TableError};
use crate::core::health::{Health, Written};

impl Table {
    /// How well outbound is going, consistently; where nothing is stored, nothing is wrong.
    pub async fn read_health(&self) -> Result<Health, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(self.pool_pk()))
            .key("sk", s("HEALTH"))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read the health"))?;
        read.item.as_ref().map_or(Ok(Health::default()), health_of)
    }

    /// Writes what `health`, as it was read, has become. Returns whether it was written.
    ///
    /// Condition: nobody has written since. A repetition of our own write whose answer was lost looks the same; who
    /// counts its news once more does no harm.
    pub async fn note_health(&self, health: &Health) -> Result<bool, TableError> {
        let Written { lowered, troubles, usual, breakers } = health.written();
        let breakers = breakers.into_iter().map(|(key, breaker)| (key, s(breaker))).collect();
        let mut item = Item::from(
            [
                ("pk", s(self.pool_pk())),
                ("sk", s("HEALTH")),
                ("rev", n(health.revision + 1)),
                ("brk", AttributeValue::M(breakers)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        for (name, text) in [("low", lowered), ("bad", troubles), ("usual", usual)] {
            item.extend(text.map(|text| (name.to_owned(), s(text))));
        }
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let put = match health.revision {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            revision => {
                put.condition_expression("rev = :rev").expression_attribute_values(":rev", n(revision))
            }
        };
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        let written = put.send().await.outcome("note the health", |_| None)?;
        Ok(matches!(written, super::Written::Applied(_)))
    }
}

fn health_of(item: &Item) -> Result<Health, TableError> {
    let read = Reader::new(item, "health");
    let text = |name| Ok::<_, TableError>(read.text_if(name)?.map(str::to_owned));
    let breakers = Reader::new(read.map("brk")?, "health's breakers");
    let breaker = |key: &String| Ok((key.clone(), breakers.text(key)?.to_owned()));
    let written = Written {
        lowered: text("low")?,
        troubles: text("bad")?,
        usual: text("usual")?,
        breakers: read.map("brk")?.keys().map(breaker).collect::<Result<_, TableError>>()?,
    };
    Health::read(read.number("rev")?, &written).map_err(|error| read.error("a part", &error.to_string()))
}
