//! What `headroom vapi` prints. What may be secret is not shown: headers' values, secrets, what follows a URL's path.

use serde_json::{Map, Value, json};

use super::account::Kind;
use super::plan::{Change, Finding, Plan, without_secrets};

/// One member that changes, as lines: each value inside that differs, before and after.
pub(crate) fn diff(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let leaves = |members: &Map<String, Value>| {
        let mut leaves = Vec::new();
        for (name, value) in members {
            flatten(name, value, &mut leaves);
        }
        leaves
    };
    let (before, after) = (leaves(before), leaves(after));
    let find = |leaves: &[(String, Value)], path: &str| {
        leaves.iter().find(|(found, _)| found == path).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let gone = before.iter().filter(|(path, _)| after.iter().all(|(other, _)| other != path));
    let differs = |path: &&String| find(&before, path) != find(&after, path);
    let paths: Vec<&String> = after.iter().chain(gone).map(|(path, _)| path).filter(differs).collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or_default();
    let line = |path: &String| {
        let (from, to) = (words(path, &find(&before, path)), words(path, &find(&after, path)));
        format!("{path:width$}  {from} → {to}")
    };
    paths.into_iter().map(line).collect()
}

/// Objects are opened; a plan to repeat and a list are one value.
fn flatten(path: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(object) if !path.ends_with(".backoffPlan") => {
            for (name, value) in object {
                flatten(&format!("{path}.{}", clean(name)), value, leaves);
            }
        }
        Value::Null => {}
        value => leaves.push((path.to_owned(), value.clone())),
    }
}

fn words(path: &str, value: &Value) -> String {
    if value.is_null() {
        return "none".to_owned();
    }
    if is_secret(path) {
        return "***".to_owned();
    }
    match value {
        Value::String(text) if path.ends_with(".url") => clean(&without_secrets(text)),
        Value::String(text) => clean(text),
        Value::Array(list) => {
            let words: Vec<_> =
                list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), clean)).collect();
            format!("[{}]", words.join(", "))
        }
        Value::Object(plan) => {
            let get = |name: &str| plan.get(name).cloned().unwrap_or_default();
            let kind = get("type").as_str().map_or_else(String::new, clean);
            format!("{kind}, {} times, {} s", get("maxRetries"), get("baseDelaySeconds"))
        }
        value => value.to_string(),
    }
}

/// Whether what is at a path may be secret.
fn is_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains(".headers.")
        || path.contains("secret")
        || path.contains("token")
        || path.contains("password")
}

/// Text from elsewhere, cut short and without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Members as JSON, without what may be secret.
pub(crate) fn masked(members: &Map<String, Value>) -> Value {
    fn mask(path: &str, value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                let inside =
                    object.iter().map(|(name, value)| (name.clone(), mask(&format!("{path}.{name}"), value)));
                Value::Object(inside.collect())
            }
            Value::Null => Value::Null,
            _ if is_secret(path) => "***".into(),
            Value::String(text) if path.ends_with(".url") => without_secrets(text).into(),
            value => value.clone(),
        }
    }
    Value::Object(members.iter().map(|(name, value)| (name.clone(), mask(name, value))).collect())
}

/// A plan as text.
pub(crate) fn plan(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        lines.push(format!("  {} {}", change.kind, change.label));
        lines.extend(diff(&change.before, &change.after).into_iter().map(|line| format!("    {line}")));
        if change.loses_secret {
            lines.push(
                "    its older secret is not shown by Vapi, and is not kept: note it if you may go back"
                    .to_owned(),
            );
        }
    }
    if !plan.findings.is_empty() {
        lines.push("Left as it is:".to_owned());
    }
    for Finding { kind, label, text, flags, hint, .. } in &plan.findings {
        lines.push(format!("  {kind} {label}: {}", clean_long(text)));
        if let Some(hint) = hint {
            lines.push(format!("    {}", clean_long(hint)));
        }
        if let Some(flags) = flags {
            lines.push(format!("    to change it, add {flags}"));
        }
    }
    lines
}

fn clean_long(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A plan as JSON.
pub(crate) fn plan_json(plan: &Plan) -> Value {
    let change = |change: &Change| {
        let (before, after) = (masked(&change.before), masked(&change.after));
        json!({ "kind": change.kind, "id": change.id, "before": before, "after": after })
    };
    let changes: Vec<_> = plan.changes.iter().map(change).collect();
    json!({ "changes": changes, "findings": plan.findings })
}

/// So many of a kind, in words.
pub(crate) fn count(count: usize, kind: Kind) -> String {
    format!("{count} {kind}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn only_what_differs_is_shown_and_nothing_secret() {
        let before = map(
            json!({"server": {"url": "https://u:p@a.example/x?key=hush", "timeoutSeconds": 7, "secret": "hush",
            "headers": {"X-Key": "hush"}, "backoffPlan": null}, "assistantId": "a\u{1b}b"}),
        );
        let plan = json!({"type": "fixed", "maxRetries": 5, "baseDelaySeconds": 2});
        let after = map(
            json!({"server": {"url": "https://b.example/vapi", "timeoutSeconds": 7, "backoffPlan": plan},
            "assistantId": null}),
        );
        let lines = diff(&before, &after);
        assert_eq!(
            lines,
            [
                "server.backoffPlan    none → fixed, 5 times, 2 s",
                "server.url            https://a.example/x?… → https://b.example/vapi",
                "assistantId           a b → none",
                "server.headers.X-Key  *** → none",
                "server.secret         *** → none",
            ]
        );
        let shown = format!("{}{}", masked(&before), masked(&after));
        assert!(!shown.contains("hush") && shown.contains("https://a.example/x?…"), "{shown}");
        assert!(diff(&before, &before).is_empty());
    }
}
