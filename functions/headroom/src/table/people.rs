//! People: who does not want to be called, and when each was dialed last. One item a person, by their number, for all
//! campaigns and organisations of the pool; and for each who said no one more, so that they can be listed.
//!
//! | attribute | holds |
//! |---|---|
//! | `dials` | the dials of the last 30 days, as text, the oldest first |
//! | `no_at` `no_by` | since when they do not want to be called, and who says so |
//! | `ttl` | when the item may go: 30 days after the last dial, never once they said no |
//!
//! Who changed the list, and for how many people, is kept beside it, an item a change, without anybody's number.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;

use super::attributes::{Item, Reader, ms, n, s};
use super::{Conditional as _, Table, TableError, Written};
use crate::core::ids::PhoneNumber;
use crate::core::people::{Dialed, ListChange, ListWish, MONTH, Person, Refused};

impl Table {
    fn person(&self, number: &PhoneNumber) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", s(format!("PERSON#{}", number.reveal())))
            .key("sk", s("PERSON"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    fn refused_pk(&self) -> String {
        format!("NOCALL#{}", self.pool())
    }

    fn refused_log_pk(&self) -> String {
        format!("{}#LOG", self.refused_pk())
    }

    /// Keeps what an operator does to the list, under a number that nobody else draws at the same instant. Again for the
    /// same one, it says what came of it.
    pub async fn record_list_change(&self, change: &ListChange, nonce: u32) -> Result<(), TableError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.refused_log_pk()))
            // Thirteen digits, so that keys are in the order of time.
            .item("sk", s(format!("{:013}#{nonce:08x}", change.at.as_millisecond())))
            .item("at", ms(change.at))
            .item("who", s(&change.by))
            .item("what", s(change.wish.name()))
            .item("named", n(change.named));
        if let Some(changed) = change.changed {
            put = put.item("changed", n(changed));
        }
        put.send().await.map(|_| ()).map_err(TableError::call("record a change of the list"))
    }

    /// What operators did to the list last, the newest first.
    pub async fn list_list_changes(&self, most: i32) -> Result<Vec<ListChange>, TableError> {
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(self.refused_log_pk()))
            .scan_index_forward(false)
            .limit(most)
            .send()
            .await
            .map_err(TableError::call("list the changes of the list"))?;
        let change = |item: &Item| {
            let read = Reader::new(item, "change of the list");
            Ok(ListChange {
                at: read.instant("at")?,
                by: read.text("who")?.to_owned(),
                wish: match read.text("what")? {
                    "add" => ListWish::Add,
                    "remove" => ListWish::Remove,
                    _ => return Err(read.error("what", "is no change")),
                },
                named: read.number("named")?,
                changed: read.number_if("changed")?,
            })
        };
        found.items().iter().map(change).collect()
    }

    /// What is known of a person, consistently; nothing is known of most.
    pub async fn read_person(&self, number: &PhoneNumber) -> Result<Person, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(format!("PERSON#{}", number.reveal())))
            .key("sk", s("PERSON"))
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::call("read what is known of a person"))?;
        person_of(&read.item.unwrap_or_default())
    }

    /// Remembers the dials to a person, who has been read as `known`.
    ///
    /// Condition: they have not said no, and nobody has dialed them since. Returns the person as they are if it did
    /// not hold. Our own write whose answer was lost counts as made.
    pub async fn remember_dials(
        &self,
        number: &PhoneNumber,
        known: &Person,
        dials: &[Dialed],
    ) -> Result<Option<Person>, TableError> {
        let latest = dials.iter().map(|dialed| dialed.at).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut condition = String::from("attribute_not_exists(no_at) AND ");
        let mut update = self
            .person(number)
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", n((latest + MONTH).as_second()));
        update = if dials.is_empty() {
            update.update_expression("SET #ttl = :ttl REMOVE dials")
        } else {
            let update = update.update_expression("SET dials = :dials, #ttl = :ttl");
            update.expression_attribute_values(":dials", s(text(dials)))
        };
        if known.dialed.is_empty() {
            condition.push_str("attribute_not_exists(dials)");
        } else {
            condition.push_str("dials = :known");
            update = update.expression_attribute_values(":known", s(text(&known.dialed)));
        }
        match update.condition_expression(condition).send().await.outcome("remember a dial", |_| None)? {
            Written::Applied(_) => Ok(None),
            Written::Refused(item) => {
                let now = person_of(&item.unwrap_or_default())?;
                let is_ours = now.refused.is_none() && now.dialed == dials;
                Ok((!is_ours).then_some(now))
            }
        }
    }

    /// Puts a person on the list of those who are not to be called, in the name of `by`. First what dials ask, then the
    /// list: who dies in between has not answered, and is asked again.
    ///
    /// Condition: they are not on it. Returns whether they were not.
    pub async fn refuse_calls(
        &self,
        number: &PhoneNumber,
        by: &str,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let sent = self
            .person(number)
            .update_expression("SET no_at = :now, no_by = :by REMOVE #ttl")
            .condition_expression("attribute_not_exists(no_at)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":by", s(by))
            .send()
            .await;
        let refused = match sent.outcome("put a person on the list", |_| None)? {
            Written::Applied(_) => None,
            Written::Refused(item) => person_of(&item.unwrap_or_default())?.refused,
        };
        let is_new = refused.is_none();
        let Refused { at, by } = refused.unwrap_or(Refused { at: now, by: by.to_owned() });
        self.client
            .put_item()
            .table_name(&self.name)
            .item("pk", s(self.refused_pk()))
            .item("sk", s(number.reveal()))
            .item("no_at", ms(at))
            .item("no_by", s(by))
            .send()
            .await
            .map_err(TableError::call("list a person who is not to be called"))?;
        Ok(is_new)
    }

    /// Takes a person off the list. From the list first: who dies in between leaves them uncalled, not unlisted for
    /// good, since taking them off again goes through. Returns whether they were on it.
    pub async fn allow_calls(&self, number: &PhoneNumber, now: Timestamp) -> Result<bool, TableError> {
        self.client
            .delete_item()
            .table_name(&self.name)
            .key("pk", s(self.refused_pk()))
            .key("sk", s(number.reveal()))
            .send()
            .await
            .map_err(TableError::call("take a person off the list"))?;
        let sent = self
            .person(number)
            .update_expression("SET #ttl = :ttl REMOVE no_at, no_by")
            .condition_expression("attribute_exists(no_at)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", n((now + MONTH).as_second()))
            .send()
            .await;
        Ok(matches!(sent.outcome("let a person be called again", |_| None)?, Written::Applied(_)))
    }

    /// Those who are not to be called, in the order of their numbers, up to `most` after a number.
    pub async fn list_refused(
        &self,
        after: Option<&PhoneNumber>,
        most: i32,
    ) -> Result<Vec<(PhoneNumber, Refused)>, TableError> {
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", s(self.refused_pk()))
            .expression_attribute_values(":after", s(after.map_or("+", PhoneNumber::reveal)))
            .limit(most)
            .send()
            .await
            .map_err(TableError::call("list those who are not to be called"))?;
        let row = |item: &Item| {
            let read = Reader::new(item, "refused person");
            Ok((
                read.parsed("sk")?,
                Refused { at: read.instant("no_at")?, by: read.text("no_by")?.to_owned() },
            ))
        };
        found.items().iter().map(row).collect()
    }
}

fn text(dials: &[Dialed]) -> String {
    dials.iter().map(Dialed::to_string).collect::<Vec<_>>().join(" ")
}

fn person_of(item: &Item) -> Result<Person, TableError> {
    let read = Reader::new(item, "person");
    let dials = read.text_if("dials")?.unwrap_or_default();
    let dialed = dials.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let refused = match read.text_if("no_by")? {
        Some(by) => Some(Refused { at: read.instant("no_at")?, by: by.to_owned() }),
        None => None,
    };
    Ok(Person { refused, dialed: dialed.map_err(|()| read.error("dials", "does not parse"))? })
}
