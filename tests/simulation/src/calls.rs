//! What each function asks of AWS, in the words of its role. `infra/calls.txt` lists it, and the rules of the
//! template hold each role against that list, both ways. Here is what the list rests on: no history may make a call that
//! is not in it, and `tests/flows/tests/calls.rs` sees each of them made.
//!
//! What Lambda does with a role by itself, and what the configuration reads at start, is not a call of a
//! handler: the wiring in the template says it all.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

/// The list: lines of function, action and resource, and for a deletion the keys.
const LISTED: &str = include_str!("../../../infra/calls.txt");

/// What a role has to allow: an action, and the resource by its name in the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(String);

impl Call {
    /// The calls that a request to DynamoDB counts as. A transaction is each of its parts.
    ///
    /// # Panics
    /// If a transaction has a part that none had before.
    pub fn of_dynamo(operation: &str, request: &Value) -> Vec<Self> {
        if operation != "TransactWriteItems" {
            return vec![Self::of(operation, request)];
        }
        let parts = request["TransactItems"].as_array().into_iter().flatten();
        let parts = parts.flat_map(|part| part.as_object().into_iter().flatten());
        parts
            .map(|(kind, part)| match kind.as_str() {
                "Put" | "Update" | "Delete" => Self::of(&format!("{kind}Item"), part),
                other => panic!("no transaction has had a part {other} before"),
            })
            .collect()
    }

    fn of(operation: &str, request: &Value) -> Self {
        let index = request["IndexName"].as_str().map(|index| format!("/index/{index}")).unwrap_or_default();
        let keys = if operation == "DeleteItem" { family(&request["Key"]["pk"]["S"]) } else { String::new() };
        Self(format!("dynamodb:{operation} Table{index}{keys}"))
    }

    /// A message sent to the queue of this URL.
    ///
    /// # Panics
    /// If it is none of the stack's queues.
    pub fn send_to(queue_url: &str) -> Self {
        let queue = match queue_url.rsplit('/').next() {
            Some("wake") => "WakeQueue",
            Some("campaigns") => "CampaignsQueue",
            Some("events") => "EventsQueue",
            _ => panic!("no function has sent to {queue_url} before"),
        };
        Self(format!("sqs:SendMessage {queue}"))
    }

    /// The line of the list for it.
    pub fn by(&self, function: &str) -> String {
        format!("{function} {}", self.0)
    }
}

/// A partition key, with what comes after the pool's name left open. What can be deleted is worth telling apart from the
/// rest.
fn family(pk: &Value) -> String {
    let pk = pk.as_str().unwrap_or_default();
    match pk.rsplit_once('#') {
        Some((family, _)) if family.contains('#') => format!(" {family}#*"),
        _ => format!(" {pk}"),
    }
}

/// The lines of the list, spaces made one.
pub fn listed() -> &'static BTreeSet<String> {
    static LINES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let lines = LISTED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    });
    &LINES
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transaction_is_each_of_its_parts() {
        let request = json!({ "TransactItems": [
            { "Update": { "Key": { "pk": { "S": "POOL#main" } } } },
            { "Delete": { "Key": { "pk": { "S": "POOL#main#3" } } } },
        ] });
        let calls = Call::of_dynamo("TransactWriteItems", &request);
        let lines: Vec<_> = calls.iter().map(|call| call.by("console")).collect();
        assert_eq!(
            lines,
            ["console dynamodb:UpdateItem Table", "console dynamodb:DeleteItem Table POOL#main#*"]
        );
    }

    #[test]
    fn an_index_is_a_resource_of_its_own() {
        let calls = Call::of_dynamo("Query", &json!({ "IndexName": "ready" }));
        assert_eq!(calls, [Call("dynamodb:Query Table/index/ready".to_owned())]);
    }
}
