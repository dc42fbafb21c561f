//! Takes one condition out of the requests on their way to the engine, to see that it is missed. What no
//! history misses is either not needed or not tested.

use std::collections::BTreeSet;

use serde_json::Value;

/// The environment variable that takes a part out of the table's tests: `write: part`.
pub const WITHOUT: &str = "HEADROOM_WITHOUT";

/// One part of a condition: which write it is of, and the part, its keys' numbers left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The write's name in the table module.
    pub write: &'static str,
    /// Such as `ntot <= :total`.
    pub text: String,
}

/// The parts of a request's conditions.
pub fn parts(write: &'static str, json: &Value) -> BTreeSet<Part> {
    let mut parts = BTreeSet::new();
    for condition in conditions(json) {
        parts.extend(split(condition).into_iter().map(|part| Part { write, text: plain(part) }));
    }
    parts
}

/// The request without the part of this text, numbers of keys given or left out; nothing if it has none such.
pub fn without(part: &str, json: &Value) -> Option<Value> {
    let part = plain(part);
    let part = part.as_str();
    if !conditions(json).iter().any(|c| split(c).iter().any(|p| plain(p) == part)) {
        return None;
    }
    let mut json = json.clone();
    match json["TransactItems"].as_array_mut() {
        Some(items) => {
            for item in items {
                let operations = ["Put", "Update", "Delete"];
                if let Some(operation) = operations.into_iter().find(|operation| item[operation].is_object())
                {
                    weaken(&mut item[operation], part);
                }
            }
        }
        None => weaken(&mut json, part),
    }
    Some(json)
}

fn conditions(json: &Value) -> Vec<&str> {
    let items = json["TransactItems"].as_array();
    let nested =
        items.into_iter().flatten().flat_map(|item| [&item["Put"], &item["Update"], &item["Delete"]]);
    nested.chain([json]).filter_map(|request| request["ConditionExpression"].as_str()).collect()
}

/// The parts of a condition that are joined by AND, brackets kept together.
fn split(condition: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in condition.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && condition[at..].starts_with(" AND ") => {
                parts.push(&condition[from..at]);
                from = at + " AND ".len();
            }
            _ => {}
        }
    }
    parts.push(&condition[from..]);
    parts
}

fn plain(part: &str) -> String {
    part.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn weaken(request: &mut Value, part: &str) {
    let Some(condition) = request["ConditionExpression"].as_str() else { return };
    let left: Vec<_> = split(condition).into_iter().filter(|p| plain(p) != part).collect();
    let left = left.join(" AND ");
    let Some(fields) = request.as_object_mut() else { return };
    if left.is_empty() {
        fields.remove("ConditionExpression");
    } else {
        fields.insert("ConditionExpression".into(), left.into());
    }
    // DynamoDB refuses a request that gives a name or a value it does not use.
    let expressions: String = ["ConditionExpression", "UpdateExpression"]
        .iter()
        .filter_map(|name| fields.get(*name)?.as_str())
        .map(|text| format!("{text} "))
        .collect();
    for given in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        let Some(map) = fields.get_mut(given).and_then(Value::as_object_mut) else { continue };
        map.retain(|name, _| uses(&expressions, name));
        if map.is_empty() {
            fields.remove(given);
        }
    }
}

fn uses(expressions: &str, name: &str) -> bool {
    expressions.match_indices(name).any(|(at, _)| {
        let next = expressions[at + name.len()..].chars().next();
        next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_part_goes_and_takes_its_values_along() {
        let request = json!({
            "UpdateExpression": "SET a = :a",
            "ConditionExpression": "rev = :rev AND (b = :a OR c = :c) AND attribute_not_exists(lns.#k0) AND attribute_not_exists(lns.#k1)",
            "ExpressionAttributeNames": { "#k0": "x", "#k1": "y" },
            "ExpressionAttributeValues": { ":a": 1, ":rev": 2, ":c": 3 },
        });
        let texts: Vec<_> = parts("take", &request).into_iter().map(|part| part.text).collect();
        assert_eq!(texts, ["(b = :a OR c = :c)", "attribute_not_exists(lns.#k)", "rev = :rev"]);
        let weak = without("attribute_not_exists(lns.#k)", &request).expect("it has the part");
        assert_eq!(weak["ConditionExpression"], "rev = :rev AND (b = :a OR c = :c)");
        assert!(weak.get("ExpressionAttributeNames").is_none());
        assert_eq!(weak["ExpressionAttributeValues"], request["ExpressionAttributeValues"]);
        assert_eq!(without("attribute_not_exists(lns.#k1)", &request), Some(weak), "written as it is sent");
        assert!(without("ntot <= :total", &request).is_none());
    }
}
