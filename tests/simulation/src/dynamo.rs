//! DynamoDB in this process: requests of the real SDK, as it puts them on the wire, carried out by the
//! embedded engine.

use std::collections::{BTreeSet, HashMap};

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock::TrueClock;
use crate::weaken::{self, Part};

/// An answer on the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

impl Answer {
    fn good(body: String) -> Self {
        Self { status: 200, body }
    }

    /// An error of DynamoDB's, by its short name.
    pub fn error(status: u16, name: &str) -> Self {
        let body = json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"),
            "message": "injected by the simulation",
        });
        Self { status, body: body.to_string() }
    }

    /// What a transaction answers that met another one.
    pub fn conflict() -> Self {
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons [None, TransactionConflict]",
            "CancellationReasons": [{ "Code": "None" }, { "Code": "TransactionConflict", "Message": "conflict" }],
        });
        Self { status: 400, body: body.to_string() }
    }
}

/// A request: the operation, and its body both as text and read.
#[derive(Debug)]
pub struct Request {
    /// Such as `UpdateItem`.
    pub operation: String,
    /// The body as it came.
    pub text: String,
    /// The same, read.
    pub json: Value,
}

/// The engine of one history.
pub struct Dynamo {
    db: Database,
    /// The last answers of the index, by what was asked for.
    seen: HashMap<String, Answer>,
    without: Option<Part>,
    parts: Option<BTreeSet<Part>>,
}

impl Dynamo {
    /// An empty engine, which does not see the part of a condition that it shall be `without`, and
    /// collects the parts of all if `keep_parts`.
    pub fn new(clock: TrueClock, without: Option<Part>, keep_parts: bool) -> Self {
        let db = Database::memory_with_clock(std::sync::Arc::new(clock)).expect("memory is there");
        Self { db, seen: HashMap::new(), without, parts: keep_parts.then(BTreeSet::new) }
    }

    /// Carries out a request, which is sent by the function `name` of the table. `stale`: if it is to the
    /// index, answer as the last time.
    pub fn carry_out(&mut self, name: &'static str, request: &Request, stale: bool) -> Answer {
        let of_index = request.json["IndexName"].as_str().map(|_| {
            let (q, what) =
                (&request.json["ExpressionAttributeValues"][":q"], &request.json["KeyConditionExpression"]);
            format!("{q} {what} {}", request.json["Limit"])
        });
        if stale && let Some(answer) = of_index.as_ref().and_then(|key| self.seen.get(key)) {
            return answer.clone();
        }
        if let Some(parts) = &mut self.parts {
            parts.extend(weaken::parts(name, &request.json));
        }
        let weak = self
            .without
            .as_ref()
            .filter(|part| part.write == name)
            .and_then(|part| weaken::without(&part.text, &request.json));
        let weak = weak.map(|json| json.to_string());
        let answer = match self.run(&request.operation, weak.as_ref().unwrap_or(&request.text)) {
            Ok(body) => Answer::good(body),
            Err(error) => Answer { status: error.status_code(), body: error.to_json() },
        };
        if let Some(key) = of_index {
            self.seen.insert(key, answer.clone());
        }
        answer
    }

    /// The parts that were collected.
    pub fn take_parts(&mut self) -> BTreeSet<Part> {
        self.parts.take().unwrap_or_default()
    }

    fn run(&self, operation: &str, text: &str) -> Result<String, DynoxideError> {
        let db = &self.db;
        match operation {
            "GetItem" => write(&db.get_item(read(text)?)?),
            "PutItem" => write(&db.put_item(read(text)?)?),
            "UpdateItem" => write(&db.update_item(read(text)?)?),
            "BatchGetItem" => write(&db.batch_get_item(read(text)?)?),
            "BatchWriteItem" => write(&db.batch_write_item(read(text)?)?),
            "TransactWriteItems" => write(&db.transact_write_items(read(text)?)?),
            "Query" => write(&db.query(read(text)?)?),
            "CreateTable" => write(&db.create_table(read(text)?)?),
            other => panic!("the functions have never sent {other} before: teach the simulation"),
        }
    }

    /// An item as it is, in DynamoDB's JSON; nothing if it is not there.
    pub fn item(&self, table: &str, key: &Value) -> Option<Value> {
        let request = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        let answer = self.run("GetItem", &request.to_string()).expect("a key that was written can be read");
        let mut answer: Value = serde_json::from_str(&answer).expect("the engine answers JSON");
        Some(answer["Item"].take()).filter(|item| !item.is_null())
    }

    /// Every item of a table, in DynamoDB's JSON, as long as they fit on one page.
    pub fn items(&self, table: &str) -> Vec<Value> {
        let request = json!({ "TableName": table, "ConsistentRead": true }).to_string();
        let scan = read(&request).and_then(|request| self.db.scan(request));
        let answer = scan.and_then(|answer| write(&answer)).expect("a table that was made can be read");
        let mut answer: Value = serde_json::from_str(&answer).expect("the engine answers JSON");
        assert!(answer["LastEvaluatedKey"].is_null(), "the table has more than one page");
        serde_json::from_value(answer["Items"].take()).expect("a scan answers with items")
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, DynoxideError> {
    serde_json::from_str(text).map_err(|error| DynoxideError::SerializationException(error.to_string()))
}

fn write(answer: &impl Serialize) -> Result<String, DynoxideError> {
    serde_json::to_string(answer).map_err(|error| DynoxideError::SerializationException(error.to_string()))
}
