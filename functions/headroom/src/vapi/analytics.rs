//! `POST /analytics`: the history of lines in use and of calls, by the hour.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Vapi, VapiError};

/// One row: the hour it starts, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Start of the hour.
    pub date: Timestamp,
    values: Map<String, Value>,
}

impl Row {
    /// A figure by its alias. Vapi promises no types: numbers, numeric strings and null were seen.
    pub fn number(&self, alias: &str) -> f64 {
        let number = match self.values.get(alias) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite() && *number >= 0.0).unwrap_or_default()
    }

    /// A group column.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.values.get(column)?.as_str()
    }
}

/// The rows of each query, by its name. Hours in which nothing happened have none.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Most lines in use at once, over the whole subscription: alias `concurrency`.
    pub peaks: Vec<Row>,
    /// Calls and their minutes by type: aliases `calls` and `minutes`, column `type`.
    pub volumes: Vec<Row>,
}

const PEAKS: &str = "headroom peaks";
const VOLUMES: &str = "headroom volumes";

impl Vapi {
    /// The history from `start` until `end`, by the hour in UTC.
    pub async fn history(&self, start: Timestamp, end: Timestamp) -> Result<History, VapiError> {
        #[derive(Deserialize)]
        struct Answer {
            name: String,
            #[serde(default)]
            result: Vec<Map<String, Value>>,
        }
        let range = json!({ "start": start, "end": end, "step": "hour", "timezone": "UTC" });
        let body = json!({ "queries": [
            {
                "name": PEAKS, "table": "subscription", "timeRange": range,
                "operations": [{ "operation": "max", "column": "concurrency", "alias": "concurrency" }],
            },
            {
                "name": VOLUMES, "table": "call", "timeRange": range, "groupBy": ["type"],
                "operations": [
                    { "operation": "count", "column": "id", "alias": "calls" },
                    { "operation": "sum", "column": "duration", "alias": "minutes" },
                ],
            },
        ]});
        let answers: Vec<Answer> =
            self.read("POST /analytics", Method::POST, "/analytics", Some(&body)).await?;
        let mut by_name: BTreeMap<String, Vec<Row>> =
            answers.into_iter().map(|answer| (answer.name, rows(answer.result))).collect();
        Ok(History {
            peaks: by_name.remove(PEAKS).unwrap_or_default(),
            volumes: by_name.remove(VOLUMES).unwrap_or_default(),
        })
    }
}

/// A row without a date that can be read says nothing of any hour.
fn rows(result: Vec<Map<String, Value>>) -> Vec<Row> {
    result
        .into_iter()
        .filter_map(|values| Some(Row { date: values.get("date")?.as_str()?.parse().ok()?, values }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_whatever_their_type() {
        let result = serde_json::from_str(
            r#"[{"date":"2026-03-25T00:00:00.000Z","a":"31","b":44.2,"c":null,"d":-1,"type":"webCall"},{"a":1},{"date":7}]"#,
        );
        let rows = rows(result.expect("JSON"));
        assert_eq!(rows.len(), 1);
        let figures: Vec<_> = ["a", "b", "c", "d", "e"].map(|alias| rows[0].number(alias)).into();
        assert_eq!(figures, [31.0, 44.2, 0.0, 0.0, 0.0]);
        assert_eq!(rows[0].text("type"), Some("webCall"));
    }
}
