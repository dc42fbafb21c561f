//! What an account needs so that Headroom hears of every call and is asked by every caller, against what it has.
//!
//! | member | of | wanted |
//! |---|---|---|
//! | `server` | numbers, assistants, the organisation, tools that say that a person does not want to be called | Headroom's URL, a credential that signs, a plan to repeat what failed |
//! | `serverMessages` | assistants | `status-update`, `end-of-call-report`, and what its tools ask |
//! | `assistantId`, `squadId`, `workflowId` | numbers that are named with `--gate` | none |
//!
//! A `PATCH` replaces each member that it names as a whole, so `server` is what was read with Headroom's own fields
//! changed: all others stay. What another server hears of now is not taken from it unless it is named, and neither are
//! the questions of an assistant's tools, which Headroom would leave unanswered; both are findings instead.

use std::collections::HashSet;

use headroom::vapi::dial::HEARD;
use headroom::vapi::message::{CALL_BACK, DO_NOT_CALL};
use reqwest::Url;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::account::{Account, Kind, Object};

/// What is wanted.
pub(crate) struct Wanted<'a> {
    /// Headroom's webhook.
    pub(crate) url: &'a Url,
    /// The credential that its messages are to be signed with.
    pub(crate) credential: &'a str,
    /// What is taken from the server that hears of it now.
    pub(crate) take: &'a [String],
    /// Numbers whose callers are to be asked of Headroom.
    pub(crate) gate: &'a [String],
}

/// What has to be changed in one object: its members that change, before and after. Null is a member that is not there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) before: Map<String, Value>,
    pub(crate) after: Map<String, Value>,
    /// It has a secret of the older kind that Vapi does not show, which cannot be restored.
    pub(crate) loses_secret: bool,
}

/// Something that Headroom does not hear of or is not asked, and that is not changed unasked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    #[serde(skip)]
    pub(crate) label: String,
    /// Stable, for scripts.
    pub(crate) code: &'static str,
    /// What it is, and what it means.
    pub(crate) text: String,
    /// What to add to the command so that it changes.
    pub(crate) flags: Option<String>,
    /// What to do besides, or by hand.
    pub(crate) hint: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    pub(crate) findings: Vec<Finding>,
}

/// Who answers the callers of a number.
const WHO: [&str; 3] = ["assistantId", "squadId", "workflowId"];
/// What a tool without a place of its own asks of the server, by the tool's type.
const ASKED: [(&str, &str); 3] = [
    ("function", "tool-calls"),
    ("transferCall", "transfer-destination-request"),
    ("handoff", "handoff-destination-request"),
];

/// What to change in an account, and what to tell of it.
pub(crate) fn plan(account: &Account, wanted: &Wanted<'_>) -> Plan {
    let mut plan = Plan::default();
    for object in account.all() {
        plan.changes.extend(change(account, object, wanted));
        match object.kind {
            Kind::PhoneNumber => tell_of_number(account, object, wanted, &mut plan.findings),
            Kind::Assistant => tell_of_assistant(account, object, wanted, &mut plan.findings),
            Kind::Squad => tell_of_squad(object, wanted, &mut plan.findings),
            Kind::Tool | Kind::Organization => tell_of_server(object, wanted, &mut plan.findings),
            Kind::Credential => {}
        }
    }
    plan
}

/// What to change in one object; nothing if it is as wanted, or is not to be touched unasked.
pub(crate) fn change(account: &Account, object: &Object, wanted: &Wanted<'_>) -> Option<Change> {
    let is_named = |ids: &[String]| ids.contains(&object.id);
    let gates = object.kind == Kind::PhoneNumber && is_named(wanted.gate);
    let takes = gates || is_named(wanted.take);
    let has_server = match object.kind {
        Kind::PhoneNumber | Kind::Assistant | Kind::Organization => true,
        Kind::Tool => is_ours(&object.value),
        Kind::Squad | Kind::Credential => false,
    };
    let place = Place::of(&object.value, wanted.url);
    let is_free = match place {
        Place::Here => true,
        Place::None => questions_here(account, object).is_empty(),
        Place::Elsewhere(_) => false,
    };
    let mut after = Map::new();
    if has_server && (is_free || takes) {
        let present = server(&object.value);
        let pointed = pointed(present.as_ref(), wanted);
        if present.as_ref() != Some(&pointed) {
            after.insert("server".to_owned(), Value::Object(pointed));
        }
        if object.kind == Kind::Assistant {
            let messages = messages(account, &object.value);
            if object.value.get("serverMessages") != Some(&messages) {
                after.insert("serverMessages".to_owned(), messages);
            }
        }
    }
    if gates {
        for who in WHO.iter().filter(|who| object.value.get(**who).is_some_and(|id| !id.is_null())) {
            after.insert((*who).to_owned(), Value::Null);
        }
    }
    if after.is_empty() {
        return None;
    }
    let is_set = object.value.get("isServerUrlSecretSet") == Some(&Value::Bool(true));
    Some(Change {
        kind: object.kind,
        id: object.id.clone(),
        label: object.label(),
        before: members(&object.value, after.keys()),
        loses_secret: is_set && after.contains_key("server"),
        after,
    })
}

/// Whether the messages of an object go to Headroom.
pub(crate) fn is_here(object: &Object, wanted: &Wanted<'_>) -> bool {
    Place::of(&object.value, wanted.url) == Place::Here
}

/// Members of an object by their names; null for one that is not there.
pub(crate) fn members<'a>(
    value: &Map<String, Value>,
    names: impl Iterator<Item = &'a String>,
) -> Map<String, Value> {
    names
        .map(|name| {
            let member = match name.as_str() {
                "server" => server(value).map(Value::Object),
                name => value.get(name).cloned(),
            };
            (name.clone(), member.unwrap_or_default())
        })
        .collect()
}

/// Where the messages of an object go.
#[derive(Debug, PartialEq)]
enum Place {
    None,
    Here,
    Elsewhere(String),
}

impl Place {
    fn of(value: &Map<String, Value>, url: &Url) -> Self {
        let server = server(value);
        let text = server.as_ref().and_then(|server| server.get("url")?.as_str()).map(str::trim);
        match text.filter(|text| !text.is_empty()) {
            None => Self::None,
            Some(text) if is_same(text, url) => Self::Here,
            Some(text) => Self::Elsewhere(text.to_owned()),
        }
    }
}

fn is_same(text: &str, url: &Url) -> bool {
    let trimmed = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    Url::parse(text).is_ok_and(|other| trimmed(&other) == trimmed(url))
}

/// The server of an object: older ones have its URL alone, beside all else.
fn server(value: &Map<String, Value>) -> Option<Map<String, Value>> {
    match value.get("server") {
        Some(Value::Object(server)) => Some(server.clone()),
        _ => {
            let url = value.get("serverUrl")?.as_str().filter(|url| !url.is_empty())?;
            Some(Map::from_iter([("url".to_owned(), url.into())]))
        }
    }
}

/// A server as it was, but Headroom's.
fn pointed(present: Option<&Map<String, Value>>, wanted: &Wanted<'_>) -> Map<String, Value> {
    let mut server = present.cloned().unwrap_or_default();
    let url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !is_same(&url, wanted.url) {
        server.insert("url".to_owned(), wanted.url.as_str().into());
        // Another server's secret is none of Headroom's business.
        server.remove("secret");
    }
    server.insert("credentialId".to_owned(), wanted.credential.into());
    if !server.get("backoffPlan").is_some_and(repeats_enough) {
        let plan = json!({
            "type": "exponential", "maxRetries": 5, "baseDelaySeconds": 2, "excludedStatusCodes": [400, 401, 403],
        });
        server.insert("backoffPlan".to_owned(), plan);
    }
    // Goes before the credential, and no message would be let in.
    let headers = server.get_mut("headers").and_then(Value::as_object_mut);
    let is_empty = headers.is_some_and(|headers| {
        let before = headers.len();
        headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        before > 0 && headers.is_empty()
    });
    if is_empty {
        server.remove("headers");
    }
    // What is encrypted cannot be read here.
    server.remove("encryptedPaths");
    server
}

/// Whether a plan of somebody's own repeats what failed often enough, and what failed on Headroom's side.
fn repeats_enough(plan: &Value) -> bool {
    let excluded = plan["excludedStatusCodes"].as_array().into_iter().flatten();
    plan["maxRetries"].as_f64().is_some_and(|retries| retries >= 3.0)
        && excluded.filter_map(Value::as_u64).all(|status| (400..500).contains(&status) && status != 429)
}

/// What an assistant is to tell the server: what it was told to tell, and what Headroom needs of it. Told nothing, it
/// tells much, many times in a call; then just what is needed.
fn messages(account: &Account, assistant: &Map<String, Value>) -> Value {
    let mut wanted: Vec<&str> = HEARD.to_vec();
    let tools = tools_of(account, assistant);
    for (kind, asks) in ASKED {
        if tools.iter().any(|tool| kind_of(tool) == kind) {
            wanted.push(asks);
        }
    }
    match assistant.get("serverMessages").and_then(Value::as_array) {
        None => json!(wanted),
        Some(present) => {
            let mut messages = present.clone();
            messages.extend(
                wanted
                    .into_iter()
                    .map(Value::from)
                    .filter(|message| !present.contains(message))
                    .collect::<Vec<_>>(),
            );
            Value::Array(messages)
        }
    }
}

fn kind_of(tool: &Map<String, Value>) -> &str {
    tool.get("type").and_then(Value::as_str).unwrap_or("function")
}

/// The tools of an assistant, its own and those that it names.
fn tools_of<'a>(account: &'a Account, assistant: &'a Map<String, Value>) -> Vec<&'a Map<String, Value>> {
    let model = assistant.get("model").and_then(Value::as_object);
    let list = |name: &str| model.and_then(|model| model.get(name)?.as_array()).into_iter().flatten();
    let named: HashSet<&str> = list("toolIds").filter_map(Value::as_str).collect();
    let of_account =
        account.tools.iter().filter(|tool| named.contains(tool.id.as_str())).map(|tool| &tool.value);
    list("tools").filter_map(Value::as_object).chain(of_account).collect()
}

fn function_name(tool: &Map<String, Value>) -> Option<&str> {
    tool.get("function")?.get("name")?.as_str()
}

/// A tool that is Headroom's to answer: its use says that a person does not want to be called, or when they want to be.
fn is_ours(tool: &Map<String, Value>) -> bool {
    kind_of(tool) == "function"
        && function_name(tool).is_some_and(|name| DO_NOT_CALL.contains(&name) || CALL_BACK.contains(&name))
}

/// What the tools of an assistant ask of the server that is the assistant's, its number's or the organisation's.
fn questions(account: &Account, assistant: &Map<String, Value>) -> Vec<String> {
    let asks = |tool: &&Map<String, Value>| {
        let has = |name: &str| tool.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        match kind_of(tool) {
            "function" => server(tool).is_none() && !is_ours(tool),
            "transferCall" | "handoff" => server(tool).is_none() && !has("destinations"),
            _ => false,
        }
    };
    let name =
        |tool: &Map<String, Value>| function_name(tool).unwrap_or(kind_of(tool)).chars().take(40).collect();
    tools_of(account, assistant).into_iter().filter(asks).map(name).collect()
}

/// What would be asked of Headroom, which does not answer it, if this object without a server had Headroom's.
fn questions_here(account: &Account, object: &Object) -> Vec<String> {
    match object.kind {
        Kind::Assistant => questions(account, &object.value),
        Kind::PhoneNumber => {
            let id = object.value.get("assistantId").and_then(Value::as_str);
            let answers = account.assistants.iter().find(|assistant| Some(assistant.id.as_str()) == id);
            // An assistant with a server of its own asks there.
            let asks_on = answers.filter(|assistant| server(&assistant.value).is_none());
            asks_on.map(|assistant| questions(account, &assistant.value)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// A URL for people: what may be secret in it is not shown.
pub(crate) fn without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "no URL".to_owned() };
    let had_query = url.query().is_some();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    format!("{url}{}", if had_query { "?…" } else { "" })
}

fn finding(object: &Object, code: &'static str, text: String) -> Finding {
    let Object { kind, id, .. } = object;
    Finding { kind: *kind, id: id.clone(), label: object.label(), code, text, flags: None, hint: None }
}

fn is_left(object: &Object, wanted: &Wanted<'_>) -> bool {
    !wanted.take.contains(&object.id) && !wanted.gate.contains(&object.id)
}

fn tell_of_number(account: &Account, number: &Object, wanted: &Wanted<'_>, findings: &mut Vec<Finding>) {
    let take = Some(format!("--take {}", number.id));
    if is_left(number, wanted) {
        if let Place::Elsewhere(url) = Place::of(&number.value, wanted.url) {
            let text = format!(
                "its messages go to {}: Headroom hears of its calls by the minute pass alone, and is asked by no caller",
                without_secrets(&url)
            );
            findings.push(Finding { flags: take.clone(), ..finding(number, "elsewhere", text) });
        } else if let asked @ [_, ..] = &questions_here(account, number)[..]
            && Place::of(&number.value, wanted.url) == Place::None
        {
            let text = format!(
                "its assistant asks the server that is not its own: {}. Headroom would not answer, so it is left as it is",
                asked.join(", ")
            );
            let hint = Some("give these tools a server of their own first".to_owned());
            findings.push(Finding { flags: take, hint, ..finding(number, "asks", text) });
        }
    }
    let own = WHO.iter().find_map(|who| Some((*who, number.value.get(*who)?.as_str()?)));
    // On AWS the list is a parameter of the stack, and what is set takes the place of what was.
    let known = |id: &str| {
        let entry = format!("{}={id}", number.id);
        format!(
            "HEADROOM_INBOUND_ASSISTANTS={entry} (on AWS: infra/deploy InboundAssistants=…,{entry}, after those that it has)"
        )
    };
    if let Some(("assistantId", id)) = own.filter(|_| wanted.gate.contains(&number.id)) {
        let text = "from now on Headroom says who answers its callers: without an assistant for it they hear the busy message";
        let hint = Some(format!("before you apply it: {}", known(id)));
        findings.push(Finding { hint, ..finding(number, "gated", text.to_owned()) });
    }
    if let Some((who, id)) = own.filter(|_| !wanted.gate.contains(&number.id)) {
        let (who, article) = (who.trim_end_matches("Id"), if who.starts_with('a') { "an" } else { "a" });
        let text = format!(
            "it has {article} {who} of its own ({id}): its callers are counted, but Headroom is not asked, and can neither refuse \
             nor forward them when lines are full"
        );
        let hint =
            (who == "assistant").then(|| format!("Headroom must know who answers then: {}", known(id)));
        let flags = Some(format!("--gate {}", number.id));
        findings.push(Finding { flags, hint, ..finding(number, "bypass", text) });
    }
    let hooks = number.value.get("hooks").and_then(Value::as_array).into_iter().flatten();
    if hooks.into_iter().any(|hook| hook["on"] == "call.ringing") {
        let text = "a hook on call.ringing takes its callers before anybody is asked".to_owned();
        let hint = Some("take the hook off the number in the dashboard".to_owned());
        findings.push(Finding { hint, ..finding(number, "hook", text) });
    }
}

fn tell_of_assistant(
    account: &Account,
    assistant: &Object,
    wanted: &Wanted<'_>,
    findings: &mut Vec<Finding>,
) {
    let take = Some(format!("--take {}", assistant.id));
    match Place::of(&assistant.value, wanted.url) {
        Place::Elsewhere(url) if is_left(assistant, wanted) => {
            let text = format!(
                "its server goes before its number's: messages of its calls go to {}, and Headroom frees their lines \
                 only with the minute pass",
                without_secrets(&url)
            );
            let asked = questions(account, &assistant.value);
            let hint = (!asked.is_empty()).then(|| {
                format!(
                    "first give these tools a server of their own, Headroom does not answer them: {}",
                    asked.join(", ")
                )
            });
            findings.push(Finding { flags: take, hint, ..finding(assistant, "elsewhere", text) });
        }
        Place::None if is_left(assistant, wanted) => {
            let asked = questions(account, &assistant.value);
            if !asked.is_empty() {
                let text = format!(
                    "its tools ask the server of its number or organisation: {}. Headroom would not answer, so it is left \
                     as it is; where that server is Headroom's, they are not answered now",
                    asked.join(", ")
                );
                let hint = Some("give these tools a server of their own first".to_owned());
                findings.push(Finding { flags: take, hint, ..finding(assistant, "asks", text) });
            }
        }
        _ => {}
    }
    let list = assistant.value.get("serverMessages").and_then(Value::as_array).into_iter().flatten();
    if list.into_iter().any(|message| message == "phone-call-control") {
        let text = "it asks for phone-call-control: Vapi then leaves hanging up and forwarding to the server"
            .to_owned();
        let hint = Some("take it off its server messages in the dashboard".to_owned());
        findings.push(Finding { hint, ..finding(assistant, "phone-call-control", text) });
    }
    // Tools that the account lists are told of by themselves.
    let own = assistant.value.get("model").and_then(|model| model.get("tools")?.as_array());
    for tool in own.into_iter().flatten().filter_map(Value::as_object).filter(|tool| is_ours(tool)) {
        if let Place::Elsewhere(url) = Place::of(tool, wanted.url) {
            let text = format!(
                "its tool {} tells {}: Headroom does not hear that a person does not want to be called",
                function_name(tool).unwrap_or_default(),
                without_secrets(&url)
            );
            let hint = Some("point the tool to Headroom in the dashboard".to_owned());
            findings.push(Finding { hint, ..finding(assistant, "refusal-tool", text) });
        }
    }
}

/// What a squad changes in its members goes before what they have; to change it is to send all members anew.
fn tell_of_squad(squad: &Object, wanted: &Wanted<'_>, findings: &mut Vec<Finding>) {
    let members = squad.value.get("members").and_then(Value::as_array).into_iter().flatten();
    let inside = members.flat_map(|member| [&member["assistantOverrides"], &member["assistant"]]);
    for settings in inside.chain(squad.value.get("membersOverrides")).filter_map(Value::as_object) {
        let hint = Some("change the squad in the dashboard".to_owned());
        if let Place::Elsewhere(url) = Place::of(settings, wanted.url) {
            let text = format!("it sends its members' messages to {}", without_secrets(&url));
            findings.push(Finding { hint: hint.clone(), ..finding(squad, "elsewhere", text) });
        }
        if let Some(messages) = settings.get("serverMessages").and_then(Value::as_array)
            && HEARD.iter().any(|needed| !messages.iter().any(|message| message == needed))
        {
            let text = format!("its members do not tell {}", HEARD.join(" and "));
            findings.push(Finding { hint, ..finding(squad, "messages", text) });
        }
    }
}

fn tell_of_server(object: &Object, wanted: &Wanted<'_>, findings: &mut Vec<Finding>) {
    let means = match object.kind {
        Kind::Tool if is_ours(&object.value) => {
            "Headroom does not hear that a person does not want to be called"
        }
        Kind::Organization => "Headroom does not hear of calls whose assistant and number name no server",
        _ => return,
    };
    if let Place::Elsewhere(url) = Place::of(&object.value, wanted.url)
        && is_left(object, wanted)
    {
        let text = format!("it tells {}: {means}", without_secrets(&url));
        let flags = Some(format!("--take {}", object.id));
        let code = if object.kind == Kind::Tool { "refusal-tool" } else { "elsewhere" };
        findings.push(Finding { flags, ..finding(object, code, text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://headroom.example/vapi";

    fn objects(kind: Kind, values: Value) -> Vec<Object> {
        values
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|value| Object::new(kind, value.clone()))
            .collect()
    }

    fn planned(account: &Account, take: &[&str], gate: &[&str]) -> Plan {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let url = URL.parse().expect("a URL");
        plan(account, &Wanted { url: &url, credential: "c", take: &owned(take), gate: &owned(gate) })
    }

    fn good(url: &str) -> Value {
        json!({"url": url, "credentialId": "c", "backoffPlan": {"type": "fixed", "maxRetries": 4, "baseDelaySeconds": 1}})
    }

    fn codes(plan: &Plan) -> Vec<(&str, &str)> {
        plan.findings.iter().map(|finding| (finding.id.as_str(), finding.code)).collect()
    }

    #[test]
    fn what_is_as_wanted_is_left_and_what_is_nobodys_is_set() {
        let numbers = json!([
            {"id": "good", "server": good("https://headroom.example/vapi/")},
            {"id": "bare", "assistantId": null},
            {"id": "old", "serverUrl": URL},
        ]);
        let account = Account { numbers: objects(Kind::PhoneNumber, numbers), ..Account::default() };
        let plan = planned(&account, &[], &[]);
        let ids: Vec<_> = plan.changes.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(ids, ["bare", "old"]);
        assert_eq!(plan.changes[0].before["server"], Value::Null);
        assert_eq!(plan.changes[0].after["server"]["backoffPlan"]["maxRetries"], 5);
        assert_eq!(plan.changes[1].before["server"], json!({"url": URL}));
        assert!(plan.findings.is_empty());
    }

    #[test]
    fn a_server_keeps_every_field_that_is_not_headrooms() {
        let server = json!({
            "url": "https://theirs.example?key=k", "timeoutSeconds": 7, "staticIpAddressesEnabled": true, "secret": "theirs",
            "headers": {"X-Tenant": "t", "authorization": "Basic x"}, "encryptedPaths": ["a"], "later": {"new": [1]},
            "backoffPlan": {"type": "fixed", "maxRetries": 9, "baseDelaySeconds": 1, "excludedStatusCodes": [503]},
        });
        let account = Account {
            numbers: objects(Kind::PhoneNumber, json!([{"id": "n", "name": "front", "server": server}])),
            ..Account::default()
        };
        let plan = planned(&account, &[], &[]);
        assert!(plan.changes.is_empty());
        assert_eq!(codes(&plan), [("n", "elsewhere")]);
        assert!(plan.findings[0].text.contains("https://theirs.example/?…:"), "{:?}", plan.findings);
        let plan = planned(&account, &["n"], &[]);
        let backoff = json!({
            "type": "exponential", "maxRetries": 5, "baseDelaySeconds": 2, "excludedStatusCodes": [400, 401, 403],
        });
        let expected = json!({
            "url": URL, "credentialId": "c", "timeoutSeconds": 7, "staticIpAddressesEnabled": true,
            "headers": {"X-Tenant": "t"}, "later": {"new": [1]}, "backoffPlan": backoff,
        });
        assert_eq!(plan.changes[0].after, Map::from_iter([("server".to_owned(), expected)]));
        assert_eq!(plan.changes[0].before["server"], server);
        assert!(plan.findings.is_empty());
    }

    #[test]
    fn a_number_with_an_assistant_of_its_own_is_told_of_and_gated_by_name() {
        let numbers = json!([
            {"id": "n", "assistantId": "a", "squadId": null, "server": good(URL), "hooks": [{"on": "call.ringing"}]},
        ]);
        let account = Account { numbers: objects(Kind::PhoneNumber, numbers), ..Account::default() };
        let plan = planned(&account, &[], &[]);
        assert!(plan.changes.is_empty());
        assert_eq!(codes(&plan), [("n", "bypass"), ("n", "hook")]);
        assert_eq!(plan.findings[0].flags.as_deref(), Some("--gate n"));
        assert!(
            plan.findings[0]
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("HEADROOM_INBOUND_ASSISTANTS=n=a "))
        );
        let plan = planned(&account, &[], &["n"]);
        assert_eq!(plan.changes[0].after, Map::from_iter([("assistantId".to_owned(), Value::Null)]));
        assert_eq!(plan.changes[0].before, Map::from_iter([("assistantId".to_owned(), json!("a"))]));
        assert_eq!(codes(&plan), [("n", "gated"), ("n", "hook")]);
        assert!(plan.findings[0].hint.as_deref().is_some_and(|hint| hint.contains("…,n=a")));
    }

    #[test]
    fn an_assistant_whose_tools_ask_its_server_is_not_touched_unasked() {
        let tools = json!([
            {"id": "t1", "type": "function", "function": {"name": "book"}},
            {"id": "t2", "type": "function", "function": {"name": "doNotCall"}},
            {"id": "t3", "type": "function", "function": {"name": "find"}, "server": {"url": "https://theirs.example"}},
            {"id": "t4", "type": "function", "function": {"name": "optOut"}, "server": {"url": "https://theirs.example"}},
        ]);
        let assistants = json!([
            {"id": "plain"},
            {"id": "asks", "model": {"toolIds": ["t1", "t3"]}},
            {"id": "moves", "model": {"tools": [{"type": "transferCall"}]}},
            {"id": "safe", "model": {"toolIds": ["t2", "t3"], "tools": [{"type": "transferCall", "destinations": [1]}]},
             "serverMessages": ["hang", "status-update"]},
        ]);
        let account = Account {
            numbers: objects(Kind::PhoneNumber, json!([{"id": "n", "assistantId": "asks"}])),
            assistants: objects(Kind::Assistant, assistants),
            tools: objects(Kind::Tool, tools),
            ..Account::default()
        };
        let plan = planned(&account, &[], &[]);
        let ids: Vec<_> = plan.changes.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(ids, ["plain", "safe", "t2"]);
        assert_eq!(
            codes(&plan),
            [("n", "asks"), ("n", "bypass"), ("asks", "asks"), ("moves", "asks"), ("t4", "refusal-tool")]
        );
        let messages = |id: &str| {
            let change = plan.changes.iter().find(|change| change.id == id).expect("a change");
            change.after["serverMessages"].clone()
        };
        assert_eq!(messages("plain"), json!(["status-update", "end-of-call-report"]));
        let all =
            ["hang", "status-update", "end-of-call-report", "tool-calls", "transfer-destination-request"];
        assert_eq!(messages("safe"), json!(all));
        assert_eq!(planned(&account, &["asks", "n"], &[]).changes.len(), 5);
    }

    #[test]
    fn squads_and_inline_tools_that_tell_others_are_told_of() {
        let squads = json!([{"id": "s", "membersOverrides": {"serverMessages": ["status-update"]},
            "members": [{"assistantId": "a", "assistantOverrides": {"server": {"url": "https://theirs.example"}}}, 7]}]);
        let tool = json!({"type": "function", "function": {"name": "opt_out"}, "server": {"url": "https://x.example"}});
        let assistants = json!([{"id": "a", "server": good(URL), "model": {"tools": [tool]},
            "serverMessages": ["status-update", "end-of-call-report", "tool-calls", "phone-call-control"]}]);
        let account = Account {
            assistants: objects(Kind::Assistant, assistants),
            squads: objects(Kind::Squad, squads),
            ..Account::default()
        };
        let plan = planned(&account, &[], &[]);
        assert!(plan.changes.is_empty(), "{:?}", plan.changes);
        assert_eq!(
            codes(&plan),
            [("a", "phone-call-control"), ("a", "refusal-tool"), ("s", "elsewhere"), ("s", "messages")]
        );
    }

    #[test]
    fn what_was_planned_and_done_is_planned_no_more() {
        let shapes = json!([
            {"id": "1"}, {"id": "2", "server": {}}, {"id": "3", "server": "odd"}, {"id": "4", "serverUrl": URL},
            {"id": "5", "server": {"url": "https://x.example", "headers": {"Authorization": "y"}, "backoffPlan": 7}},
            {"id": "6", "serverMessages": []}, {"id": "7", "serverMessages": {"odd": 1}, "model": {"tools": [3]}},
            {"id": "8", "isServerUrlSecretSet": true, "server": {"url": URL, "secret": "s"}},
        ]);
        let ids = ["1", "2", "3", "4", "5", "6", "7", "8"];
        for kind in [Kind::PhoneNumber, Kind::Assistant, Kind::Organization] {
            let mut list = objects(kind, shapes.clone());
            let account = |list: Vec<Object>| Account { assistants: list, ..Account::default() };
            let plan = planned(&account(list.clone()), &ids, &[]);
            assert_eq!(plan.changes.len(), ids.len(), "{kind}");
            for (object, change) in list.iter_mut().zip(plan.changes) {
                object.value.extend(change.after);
            }
            let again = planned(&account(list), &ids, &[]);
            assert!(again.changes.is_empty() && again.findings.is_empty(), "{again:?}");
        }
    }
}
