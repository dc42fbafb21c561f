//! What an org has set up: phone numbers, assistants, squads, tools, credentials, and settings of its own.
//!
//! Objects are JSON as clients see it, with the rules that decide what a `PATCH` does to them: a member that it
//! names is replaced as a whole, however deep; null takes it away; what the server alone writes is refused. Every
//! version is kept, so that a read can lag behind. What is write-only at Vapi is not shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    clock::{iso, parse_iso},
    config::{Webhook, WebhookAuth},
    fate::{self, About},
    request::Given,
};

/// What an org has set up at first, and what goes wrong when it is read or changed. Objects are as the API shows
/// them; an id and times of creation are made up where there are none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// Numbers. Where one is listed, callers of it are answered as it says and its webhooks go where it says.
    pub phone_numbers: Vec<Value>,
    /// Assistants. The same of their webhooks.
    pub assistants: Vec<Value>,
    /// Squads.
    pub squads: Vec<Value>,
    /// Tools.
    pub tools: Vec<Value>,
    /// Credentials, their secrets included.
    pub credentials: Vec<Value>,
    /// The org's own settings, if a private key may read and change them; usually it is refused.
    pub org: Option<Value>,
    /// What goes wrong.
    pub faults: AccountFaults,
}

/// What goes wrong when an account is read or changed. Counted, and not drawn: what a set-up meets is to depend on
/// its own requests alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountFaults {
    /// So many requests get 429, to be tried again after a second.
    pub refuse_429: u32,
    /// So many requests get 503; nothing is done.
    pub error_5xx_before: u32,
    /// So many changes are made, and their connection is closed without an answer.
    pub answer_lost: u32,
    /// After so many changes every request gets 522, in HTML.
    pub down_after_changes: Option<u32>,
    /// Credentials can be neither read nor made with a private key.
    pub no_credentials: bool,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/phone-number`
    PhoneNumber,
    /// `/assistant`
    Assistant,
    /// `/squad`
    Squad,
    /// `/tool`
    Tool,
    /// `/credential`
    Credential,
}

/// What one org has set up now, and had before.
pub(crate) struct Setup {
    org_id: String,
    objects: Vec<Object>,
    own: Option<Object>,
    pub(crate) faults: AccountFaults,
    seed: u64,
    made: u64,
}

struct Object {
    kind: Option<Kind>,
    id: String,
    created_ms: f64,
    /// Each with the moment since when it is so; nothing once it is deleted.
    versions: Vec<(f64, Option<Map<String, Value>>)>,
}

/// The messages that `serverMessages` may name.
const MESSAGES: [&str; 15] = [
    "assistant.started",
    "conversation-update",
    "end-of-call-report",
    "function-call",
    "handoff-destination-request",
    "hang",
    "model-output",
    "phone-call-control",
    "speech-update",
    "status-update",
    "tool-calls",
    "transcript",
    "transfer-destination-request",
    "transfer-update",
    "user-interrupted",
];
/// What only the server writes.
const READ_ONLY: [&str; 5] = ["id", "orgId", "createdAt", "updatedAt", "isServerUrlSecretSet"];
/// Who answers the callers of a number; shown even where it is nobody.
const WHO: [&str; 3] = ["assistantId", "squadId", "workflowId"];

impl Setup {
    pub(crate) fn new(account: Account, org_id: &str, seed: u64, now: f64) -> Self {
        let Account { phone_numbers, assistants, squads, tools, credentials, org, faults } = account;
        let mut setup =
            Self { org_id: org_id.to_owned(), objects: Vec::new(), own: None, faults, seed, made: 0 };
        for (kind, values) in [
            (Kind::Credential, credentials),
            (Kind::Tool, tools),
            (Kind::Squad, squads),
            (Kind::Assistant, assistants),
            (Kind::PhoneNumber, phone_numbers),
        ] {
            for value in values {
                // Long ago, and one after the other: a list has an order.
                let long_ago = now - 1e9 + setup.made as f64 * 1e3;
                setup.add(kind, value, long_ago);
            }
        }
        setup.own = org.map(|org| Object {
            kind: None,
            id: org_id.to_owned(),
            created_ms: 0.0,
            versions: vec![(0.0, Some(object(org)))],
        });
        setup
    }

    fn add(&mut self, kind: Kind, value: Value, now: f64) -> Value {
        let key = fate::key(self.seed, About::Account, fate::hash(&self.org_id), self.made);
        self.made += 1;
        let mut value = object(value);
        value.retain(|_, value| !value.is_null());
        let mut default = |name: &str, made_up: String| {
            value.entry(name).or_insert_with(|| made_up.into()).as_str().unwrap_or_default().to_owned()
        };
        let bytes = (u128::from(key) << 64 | u128::from(fate::mix(key, 1))).to_be_bytes();
        let id = default("id", uuid::Builder::from_random_bytes(bytes).into_uuid().to_string());
        default("orgId", self.org_id.clone());
        let created = default("createdAt", iso(now));
        default("updatedAt", iso(now));
        let created_ms = parse_iso(&created).unwrap_or(now);
        let shown = shown(kind, &value);
        self.objects.push(Object { kind: Some(kind), id, created_ms, versions: vec![(now, Some(value))] });
        shown
    }

    fn find(&mut self, kind: Kind, id: &str) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.kind == Some(kind) && object.id == id)
    }

    /// One object, as a read shows it that knows nothing after `as_of`.
    pub(crate) fn read(&mut self, kind: Kind, id: &str, as_of: f64) -> Option<Value> {
        Some(shown(kind, self.find(kind, id)?.at(as_of)?))
    }

    /// All of a kind, the newest first, with the moment of their creation.
    pub(crate) fn list(&self, kind: Kind, as_of: f64) -> Vec<(f64, Value)> {
        let of_kind = self.objects.iter().filter(|object| object.kind == Some(kind));
        let mut listed: Vec<_> =
            of_kind.filter_map(|object| Some((object.created_ms, shown(kind, object.at(as_of)?)))).collect();
        listed.sort_by(|a, b| b.0.total_cmp(&a.0));
        listed
    }

    /// All of a kind as they are in truth, secrets included, in the order of creation.
    pub(crate) fn truth(&self, kind: Kind) -> Vec<Value> {
        let of_kind = self.objects.iter().filter(|object| object.kind == Some(kind));
        of_kind.filter_map(|object| object.now().cloned().map(Value::Object)).collect()
    }

    /// Makes an object; the error is the list of what is wrong with it.
    pub(crate) fn create(&mut self, kind: Kind, value: Value, now: f64) -> Result<Value, Vec<String>> {
        let plan = &value["authenticationPlan"];
        let mut wrong = Vec::new();
        if value["provider"] != "custom-credential" {
            wrong.push("the simulator knows the provider custom-credential alone".to_owned());
        }
        let needed = match plan["type"].as_str() {
            Some("hmac") => &["secretKey", "algorithm"][..],
            Some("bearer") => &["token"],
            _ => {
                wrong.push("authenticationPlan.type must be one of: oauth2, hmac, bearer".to_owned());
                &[]
            }
        };
        for name in needed.iter().filter(|name| !plan[**name].is_string()) {
            wrong.push(format!("authenticationPlan.{name} must be a string"));
        }
        if value["name"].as_str().is_some_and(|name| !(1..=40).contains(&name.chars().count())) {
            wrong.push("name must be longer than or equal to 1 and shorter than or equal to 40".to_owned());
        }
        if wrong.is_empty() { Ok(self.add(kind, value, now)) } else { Err(wrong) }
    }

    /// Changes an object; nothing if there is none, and an error is the list of what is wrong.
    pub(crate) fn patch(
        &mut self,
        kind: Kind,
        id: &str,
        change: Value,
        now: f64,
    ) -> Option<Result<Value, Vec<String>>> {
        let present = self.find(kind, id)?.now()?.clone();
        let Value::Object(change) = change else {
            return Some(Err(vec!["the body must be an object".to_owned()]));
        };
        let wrong = self.wrong(kind, &present, &change);
        if !wrong.is_empty() {
            return Some(Err(wrong));
        }
        let object = self.find(kind, id)?;
        Some(Ok(shown(kind, object.change(change, now))))
    }

    /// Deletes an object; false if there is none.
    pub(crate) fn delete(&mut self, kind: Kind, id: &str, now: f64) -> bool {
        let Some(object) = self.find(kind, id).filter(|object| object.now().is_some()) else { return false };
        object.versions.push((now, None));
        true
    }

    /// The org's own settings, if a private key may see them.
    pub(crate) fn own(&self, as_of: f64) -> Option<Value> {
        Some(Value::Object(self.own.as_ref()?.at(as_of)?.clone()))
    }

    /// Changes them.
    pub(crate) fn patch_own(&mut self, change: Value, now: f64) -> Option<Value> {
        let Value::Object(change) = change else { return None };
        Some(Value::Object(self.own.as_mut()?.change(change, now).clone()))
    }

    fn wrong(&self, kind: Kind, present: &Map<String, Value>, change: &Map<String, Value>) -> Vec<String> {
        let mut wrong = Vec::new();
        for name in READ_ONLY.iter().chain((kind == Kind::Tool).then_some(&"type")) {
            if change.contains_key(*name) {
                wrong.push(format!("property {name} should not exist"));
            }
        }
        if kind == Kind::PhoneNumber && change.get("provider") != present.get("provider") {
            wrong.push("provider must be the number's own".to_owned());
        }
        if let Some(server) = change.get("server").filter(|server| !server.is_null()) {
            self.check_server(server, &mut wrong);
        }
        if let Some(messages) = change.get("serverMessages").filter(|messages| !messages.is_null()) {
            let known = |message: &Value| message.as_str().is_some_and(|name| MESSAGES.contains(&name));
            if !messages.as_array().is_some_and(|messages| messages.iter().all(known)) {
                wrong.push(format!("each value in serverMessages must be one of: {}", MESSAGES.join(", ")));
            }
        }
        wrong
    }

    fn check_server(&self, server: &Value, wrong: &mut Vec<String>) {
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if !server.is_object() || !server["url"].as_str().is_some_and(is_url) {
            wrong.push("server.url must be a valid URL".to_owned());
        }
        if let Some(id) = server["credentialId"].as_str() {
            let is_it = |object: &&Object| object.kind == Some(Kind::Credential) && object.id == id;
            if self.objects.iter().find(is_it).and_then(Object::now).is_none() {
                wrong.push("server.credentialId must be the id of a credential".to_owned());
            }
        }
        let plan = &server["backoffPlan"];
        let in_range = |name: &str| plan[name].as_f64().is_some_and(|n| (0.0..=10.0).contains(&n));
        let is_plan = in_range("maxRetries")
            && in_range("baseDelaySeconds")
            && matches!(plan["type"].as_str(), Some("fixed" | "exponential"));
        if !(plan.is_null() || is_plan) {
            wrong.push(
                "server.backoffPlan wants a type, maxRetries and baseDelaySeconds from 0 to 10".to_owned(),
            );
        }
    }

    fn set_up(&self, kind: Kind, id: Option<&String>) -> Option<&Map<String, Value>> {
        let of = |object: &&Object| object.kind == Some(kind) && Some(&object.id) == id;
        self.objects.iter().find(of)?.now()
    }

    /// Where the messages about a call go if its assistant or its number says so, the assistant first.
    pub(crate) fn server_of(&self, given: &Given) -> Option<Webhook> {
        let assistant = self.set_up(Kind::Assistant, given.assistant_id.as_ref());
        let number = self.set_up(Kind::PhoneNumber, given.phone_number_id.as_ref());
        let server = [assistant, number]
            .into_iter()
            .flatten()
            .filter_map(|object| object.get("server"))
            .find(|server| server["url"].is_string())?;
        let url = server["url"].as_str()?.to_owned();
        let credential = server["credentialId"].as_str().map(str::to_owned);
        let plan = self.set_up(Kind::Credential, credential.as_ref()).map(|own| &own["authenticationPlan"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let auth = match plan {
            Some(plan) if plan["type"] == "hmac" => WebhookAuth::Hmac(text(&plan["secretKey"])),
            Some(plan) => WebhookAuth::Bearer(text(&plan["token"])),
            None if server["secret"].is_string() => WebhookAuth::Secret(text(&server["secret"])),
            None => WebhookAuth::None,
        };
        Some(Webhook { url, auth })
    }

    /// The assistant that answers callers of a number, nobody if it is to ask; nothing if the number is not set up.
    pub(crate) fn answers(&self, number: &str) -> Option<Option<String>> {
        let number = self.set_up(Kind::PhoneNumber, Some(&number.to_owned()))?;
        Some(WHO.iter().find_map(|who| number.get(*who)?.as_str()).map(str::to_owned))
    }
}

impl Object {
    fn at(&self, as_of: f64) -> Option<&Map<String, Value>> {
        self.versions.iter().rev().find(|(since, _)| *since <= as_of)?.1.as_ref()
    }

    fn now(&self) -> Option<&Map<String, Value>> {
        self.versions.last()?.1.as_ref()
    }

    /// Each member that is named is replaced as a whole; null takes it away.
    fn change(&mut self, change: Map<String, Value>, now: f64) -> &Map<String, Value> {
        let mut value = self.now().cloned().unwrap_or_default();
        for (name, to) in change {
            if to.is_null() {
                value.remove(&name);
            } else {
                value.insert(name, to);
            }
        }
        value.insert("updatedAt".to_owned(), iso(now).into());
        self.versions.push((now, Some(value)));
        self.now().expect("this version was just written")
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// An object as the API shows it: secrets are write-only, but for those of tools.
fn shown(kind: Kind, value: &Map<String, Value>) -> Value {
    let mut value = value.clone();
    let hide = |value: &mut Map<String, Value>, within: &str, names: &[&str]| {
        let object = value.get_mut(within).and_then(Value::as_object_mut);
        object.is_some_and(|object| names.iter().filter(|name| object.remove(**name).is_some()).count() > 0)
    };
    match kind {
        Kind::Assistant => {
            let is_set = hide(&mut value, "server", &["secret"]);
            value.insert("isServerUrlSecretSet".to_owned(), json!(is_set));
        }
        Kind::PhoneNumber => {
            hide(&mut value, "server", &["secret"]);
            for who in WHO {
                value.entry(who).or_insert(Value::Null);
            }
        }
        Kind::Credential => {
            hide(&mut value, "authenticationPlan", &["secretKey", "token"]);
        }
        Kind::Squad | Kind::Tool => {}
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let number = json!({"id": "n", "provider": "twilio", "name": "front",
            "server": {"url": "https://a.example", "timeoutSeconds": 7, "secret": "s"}});
        let account = Account { phone_numbers: vec![number], ..Account::default() };
        Setup::new(account, "org", 1, 2e9)
    }

    #[test]
    fn a_named_member_is_replaced_as_a_whole_and_null_takes_it_away() {
        let mut setup = setup();
        let change = json!({"provider": "twilio", "server": {"url": "https://b.example"}});
        let shown = setup.patch(Kind::PhoneNumber, "n", change, 3e9).unwrap().unwrap();
        assert_eq!(shown["server"], json!({"url": "https://b.example"}));
        assert_eq!((&shown["name"], &shown["assistantId"]), (&json!("front"), &Value::Null));
        let change = json!({"provider": "twilio", "server": null});
        let shown = setup.patch(Kind::PhoneNumber, "n", change, 4e9).unwrap().unwrap();
        assert!(shown.get("server").is_none());
        // A read from before shows what was before.
        assert_eq!(setup.read(Kind::PhoneNumber, "n", 3.5e9).unwrap()["server"]["url"], "https://b.example");
    }

    #[test]
    fn what_vapi_refuses_is_refused() {
        let mut setup = setup();
        for (change, text) in [
            (json!({"server": null}), "provider"),
            (json!({"provider": "vapi"}), "provider"),
            (json!({"provider": "twilio", "id": "m"}), "property id should not exist"),
            (json!({"provider": "twilio", "server": {"url": 1}}), "server.url"),
            (
                json!({"provider": "twilio", "server": {"url": "https://a", "credentialId": "c"}}),
                "credential",
            ),
            (
                json!({"provider": "twilio", "server": {"url": "https://a",
                    "backoffPlan": {"type": "fixed", "maxRetries": 11, "baseDelaySeconds": 1}}}),
                "backoffPlan",
            ),
            (json!({"provider": "twilio", "serverMessages": ["ended"]}), "serverMessages"),
        ] {
            let wrong = setup.patch(Kind::PhoneNumber, "n", change.clone(), 3e9).unwrap().unwrap_err();
            assert!(wrong.iter().any(|line| line.contains(text)), "{change}: {wrong:?}");
        }
        assert!(setup.patch(Kind::PhoneNumber, "m", json!({}), 3e9).is_none());
        assert_eq!(setup.truth(Kind::PhoneNumber)[0]["server"]["secret"], "s");
        assert!(setup.read(Kind::PhoneNumber, "n", 3e9).unwrap()["server"].get("secret").is_none());
    }
}
