//! What a request is for: the name of the function of the table, the queue or Vapi that sends it. So
//! traces, tables of fault points and the code speak of the same steps.

use serde_json::Value;

use crate::dynamo::Request;

/// The table's function behind a request to DynamoDB.
///
/// # Panics
/// If there is no rule for it: a new write needs its name here, or it would be no fault point.
pub fn of_dynamo(request: &Request) -> &'static str {
    let json = &request.json;
    let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
    let sk = |at: &Value| at["sk"]["S"].as_str().unwrap_or_default().to_owned();
    match request.operation.as_str() {
        "GetItem" if sk(&json["Key"]) == "HEALTH" => "read_health",
        "PutItem" if sk(&json["Item"]) == "HEALTH" => "note_health",
        "GetItem" if sk(&json["Key"]) == "REFUSED" => "read_refusal",
        "GetItem" if sk(&json["Key"]) == "WAITS" => "read_waiting",
        "PutItem" if sk(&json["Item"]) == "REFUSED" => "record_refusal",
        "PutItem" if sk(&json["Item"]) == "WAITS" => "record_waiting",
        "GetItem" if sk(&json["Key"]) == "PERSON" => "read_person",
        "PutItem" if json["Item"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("NOCALL#")) => {
            "refuse_calls, list"
        }
        "GetItem" => by_key(
            &sk(&json["Key"]),
            "read_pool",
            "read_campaign",
            "read_lead",
            "read_ended",
            "read_checkpoint",
            "read_change",
        ),
        "PutItem" => by_key(
            &sk(&json["Item"]),
            "ensure_pool",
            "put_campaign",
            "put_lead",
            "record_ended",
            "write_checkpoint",
            "none",
        ),
        "BatchGetItem" => "read_leads",
        "TransactWriteItems" if request.text.contains("SET lim = ") => "change_policy",
        "TransactWriteItems" if request.text.contains("SET st = :failed") => "end_ready",
        "TransactWriteItems" if request.text.contains("SET st = :st") => "settle_promised",
        "TransactWriteItems" if request.text.contains("SET cb = :at") => "promise",
        "TransactWriteItems" => "count_message",
        "Query" if json["IndexName"].is_string() => match text("KeyConditionExpression") {
            keys if keys.contains(":untold") => "untold_leads",
            keys if keys.contains("BETWEEN") => "due_between",
            keys if keys.contains("due") => "ready_leads",
            _ => "first_due",
        },
        "Query" if text("KeyConditionExpression").contains(":last") => "page_leads",
        "Query" if text("KeyConditionExpression").contains(":campaign") => "list_campaigns",
        "Query" if text("KeyConditionExpression").contains(":lead") => "count_leads",
        "Query" if text("KeyConditionExpression").contains(":change") => "list_changes",
        "Query" => "list_usage",
        "UpdateItem" => match sk(&json["Key"]) {
            key if key.starts_with("LEDGER") => {
                of_ledger(&text("UpdateExpression"), &text("ConditionExpression"))
            }
            key if key.starts_with("L#") => of_lead(json, &text("UpdateExpression")),
            key if key == "PERSON" && text("UpdateExpression").contains("dials") => "remember_dials",
            key if key == "PERSON" => "refuse_calls",
            key if key == "CALL" => of_call(&text("UpdateExpression")),
            _ => of_campaign(json, &text("UpdateExpression")),
        },
        "CreateTable" => "create",
        other => panic!("no name for {other}: {}", request.text),
    }
}

fn by_key(
    sk: &str,
    ledger: &'static str,
    campaign: &'static str,
    lead: &'static str,
    call: &'static str,
    checkpoint: &'static str,
    change: &'static str,
) -> &'static str {
    match sk {
        "CHECKPOINT" => checkpoint,
        "CALL" => call,
        sk if sk.starts_with("LEDGER") => ledger,
        sk if sk.starts_with("C#") => campaign,
        sk if sk.starts_with("L#") => lead,
        sk if sk.starts_with("R#") => change,
        hour if hour.starts_with("H#") => "put_hour",
        other => panic!("no name for an item {other}"),
    }
}

fn of_ledger(update: &str, condition: &str) -> &'static str {
    if update.starts_with("SET cmp.#c.r = ") {
        "move_step"
    } else if update.contains("unseen") {
        "note_unseen"
    } else if update.contains("rest_until = ") {
        "rest"
    } else if update.contains("rests = ") {
        "end_rests"
    } else if update.contains("ntot + :n,") {
        "take"
    } else if update.contains("ntot + :one") {
        if condition.contains(":lim") { "take_answered" } else { "take_observed" }
    } else if update.contains("ntot - :one") {
        "free"
    } else if update.contains("if_not_exists(cmp") {
        "open_campaign"
    } else if update.contains("REMOVE cmp") {
        "close_campaign"
    } else if update.contains("org = ") || update.contains("seen = ") {
        "note_vapi"
    } else {
        panic!("no name for a write of the ledger: {update}")
    }
}

fn of_lead(json: &Value, update: &str) -> &'static str {
    let gives = |name: &str| json["ExpressionAttributeValues"].get(name).is_some();
    if update == "REMOVE q" {
        "lead_told"
    } else if update.contains("st = :dialing") {
        "claim"
    } else if update.contains("st = :live") {
        "bind"
    } else if update.contains("st = :unknown") {
        "mark_unknown"
    } else if update.contains("st = :st") && gives(":cb") {
        "settle_promised"
    } else if update.contains("st = :st") {
        "settle"
    } else if update.contains("DELETE untold") {
        "tell_talk"
    } else if update.contains("att = :zero") {
        "rerun_lead"
    } else if update.contains("st = :failed") {
        "cancel_lead"
    } else if update.contains("st = :ready") {
        "give_back"
    } else if update.contains("claims = :claim") {
        "fence"
    } else if update.contains("was = due") {
        "put_off"
    } else if update.contains("due = :to") {
        "bring_forward"
    } else {
        panic!("no name for a write of a lead: {update}")
    }
}

fn of_call(update: &str) -> &'static str {
    if update.contains("ended = ") {
        "record_ended"
    } else if update.contains("if_not_exists(shd") {
        "place_call"
    } else if update.contains("shd = :to") {
        "move_call"
    } else {
        panic!("no name for a write of a call's record: {update}")
    }
}

fn of_campaign(json: &Value, update: &str) -> &'static str {
    let gives = |name: &str| json["ExpressionAttributeValues"].get(name).is_some();
    match update {
        update if update.contains("kpi = :kpi") => "keep_figures",
        "REMOVE ev" => "campaign_told",
        update if update.contains(":total") => "finish_campaign",
        update if update.contains("lanes = ") => "note_lanes",
        update if update.contains("st = :to") => "change_campaign",
        update if update.contains("spec = :spec") => "edit_campaign",
        update if update.contains("REMOVE hours_at") => "hours_settled",
        update if update.contains("swept_until = :until") && gives(":held") => "sweep_on",
        update if update.contains("swept_until = :until") => "hold_sweep",
        update if update.contains("st = :cancelling") => "recancel_campaign",
        _ if gives(":rerunning") => "run_again",
        update if update.contains("st = :paused") => "pause_campaign",
        update if update.contains("st = :running") => "reopen_campaign",
        other => panic!("no name for a write of a campaign: {other}"),
    }
}

/// The request to Vapi.
pub fn of_vapi(method: &http::Method, path: &str) -> &'static str {
    match (method.as_str(), path) {
        ("POST", "/call") => "POST /call",
        ("POST", "/analytics") => "POST /analytics",
        ("GET", path) if path.starts_with("/call?") => "GET /call",
        ("GET", path) if path.starts_with("/call/") => "GET /call/{id}",
        ("HEAD", "/") => "HEAD /",
        _ => panic!("the functions have never asked {method} {path} before: does it end a call (P6)?"),
    }
}
