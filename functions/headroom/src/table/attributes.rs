//! Reading and writing attribute values.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::TableError;

/// An item as DynamoDB sends it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// A string attribute.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A list of strings.
pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> AttributeValue {
    AttributeValue::L(texts.into_iter().map(s).collect())
}

/// Epoch milliseconds.
pub(super) fn ms(instant: Timestamp) -> AttributeValue {
    n(instant.as_millisecond())
}

/// Reads one item's attributes, naming what is missing or does not fit.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    item: &'a Item,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of an item of the kind `what`.
    pub(super) fn new(item: &'a Item, what: &'static str) -> Self {
        Self { item, what }
    }

    /// The error that an attribute is missing or not what it should be.
    pub(super) fn error(&self, name: &str, problem: &str) -> TableError {
        TableError::Item { item: self.what, problem: format!("{name} {problem}") }
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, TableError> {
        value.ok_or_else(|| self.error(name, "is missing"))
    }

    /// An optional string.
    pub(super) fn text_if(&self, name: &str) -> Result<Option<&'a str>, TableError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "is not a string")),
        }
    }

    /// Whether there is an attribute of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.item.contains_key(name)
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, TableError> {
        self.required(name, self.text_if(name)?)
    }

    /// An optional string that is one of our types.
    pub(super) fn parsed_if<T: FromStr>(&self, name: &str) -> Result<Option<T>, TableError> {
        self.text_if(name)?
            .map(|text| text.parse().map_err(|_| self.error(name, "does not parse")))
            .transpose()
    }

    /// A string that is one of our types.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<T, TableError> {
        self.required(name, self.parsed_if(name)?)
    }

    /// An optional number.
    pub(super) fn number_if<T: FromStr>(&self, name: &str) -> Result<Option<T>, TableError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => {
                text.parse().map(Some).map_err(|_| self.error(name, "is not a number in its range"))
            }
            Some(_) => Err(self.error(name, "is not a number")),
        }
    }

    /// A number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<T, TableError> {
        self.required(name, self.number_if(name)?)
    }

    /// An instant kept as epoch milliseconds.
    pub(super) fn instant(&self, name: &str) -> Result<Timestamp, TableError> {
        Timestamp::from_millisecond(self.number(name)?).map_err(|_| self.error(name, "is not an instant"))
    }

    /// The same, if it is there.
    pub(super) fn instant_if(&self, name: &str) -> Result<Option<Timestamp>, TableError> {
        self.has(name).then(|| self.instant(name)).transpose()
    }

    /// An instant kept as epoch microseconds.
    pub(super) fn microsecond(&self, name: &str) -> Result<Timestamp, TableError> {
        Timestamp::from_microsecond(self.number(name)?).map_err(|_| self.error(name, "is not an instant"))
    }

    /// A list of strings; empty if it is not there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, TableError> {
        match self.item.get(name) {
            None => Ok(Vec::new()),
            Some(AttributeValue::L(list)) => list
                .iter()
                .map(|text| {
                    text.as_s().map(String::as_str).map_err(|_| self.error(name, "is not of strings"))
                })
                .collect(),
            Some(_) => Err(self.error(name, "is not a list")),
        }
    }

    /// An optional map.
    pub(super) fn map_if(&self, name: &str) -> Result<Option<&'a Item>, TableError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::M(map)) => Ok(Some(map)),
            Some(_) => Err(self.error(name, "is not a map")),
        }
    }

    /// A map.
    pub(super) fn map(&self, name: &str) -> Result<&'a Item, TableError> {
        self.required(name, self.map_if(name)?)
    }
}
