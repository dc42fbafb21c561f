//! A Vapi account over its API: what is set up there, and changes to it, one request at a time.
//!
//! Objects stay raw JSON: they are the user's, of many shapes, and what is not read here must not be lost here. Lists
//! have no cursor and a thousand entries at most; further ones are found by the time of creation.
//!
//! Reads and changes may be repeated, since the same change twice is one; the making of a credential may not, so who
//! makes one looks for it first. Vapi counts requests by the minute: a 429 is waited for.

use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use headroom::core::timers::Timers;
use headroom::flows::{Clock as _, SystemClock};
use headroom::vapi::transport::{Https, NoAnswer, Transport as _};
use headroom::vapi::{Secret, VapiError, error_message};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

/// A kind of object that an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Organization,
    PhoneNumber,
    Assistant,
    Squad,
    Tool,
    Credential,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Organization => "/org",
            Self::PhoneNumber => "/phone-number",
            Self::Assistant => "/assistant",
            Self::Squad => "/squad",
            Self::Tool => "/tool",
            Self::Credential => "/credential",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "organisation",
            Self::PhoneNumber => "phone number",
            Self::Assistant => "assistant",
            Self::Squad => "squad",
            Self::Tool => "tool",
            Self::Credential => "credential",
        })
    }
}

/// One object, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) value: Map<String, Value>,
}

impl Object {
    pub(crate) fn new(kind: Kind, value: Value) -> Option<Self> {
        let Value::Object(value) = value else { return None };
        let id = value.get("id")?.as_str()?.to_owned();
        Some(Self { kind, id, value })
    }

    /// Its name and id, for people: a phone number shows its last two digits, a name no control characters.
    pub(crate) fn label(&self) -> String {
        let text =
            |name: &str| self.value.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let function = || self.value.get("function")?.get("name")?.as_str();
        let name = text("name").or_else(function).map(|name| {
            name.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>()
        });
        let name = name.or_else(|| {
            let number: Vec<char> = text("number")?.chars().collect();
            Some(format!("+…{}", number[number.len().saturating_sub(2)..].iter().collect::<String>()))
        });
        match name {
            Some(name) => format!("{name} ({})", self.id),
            None => self.id.clone(),
        }
    }
}

/// What there is in one organisation's account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) numbers: Vec<Object>,
    pub(crate) assistants: Vec<Object>,
    pub(crate) squads: Vec<Object>,
    pub(crate) tools: Vec<Object>,
    /// Nothing if the key may not see them.
    pub(crate) credentials: Option<Vec<Object>>,
    /// Nothing if the key may not see it, which is usual.
    pub(crate) org: Option<Object>,
}

impl Account {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Object> {
        [&self.numbers, &self.assistants, &self.squads, &self.tools].into_iter().flatten().chain(&self.org)
    }

    /// The organisation's id, as its objects say.
    pub(crate) fn org_id(&self) -> Option<&str> {
        let own = self.org.as_ref().map(|org| org.id.as_str());
        let objects = self.all().chain(self.credentials.iter().flatten());
        own.or_else(|| objects.into_iter().find_map(|object| object.value.get("orgId")?.as_str()))
    }
}

/// Why Vapi did not do what it was asked. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(
        "Vapi does not take the key of {0}: it must be the private key of that organisation (dashboard, API Keys); \
         the public key reads and sets nothing"
    )]
    Key(String),
    #[error("Vapi does not let this key do {0}")]
    Forbidden(String),
    #[error("{0}: Vapi knows no such thing; is it another organisation's?")]
    Unknown(String),
    #[error("Vapi refused {what} ({status}): {message}")]
    Refused { what: String, status: u16, message: String },
    #[error("Vapi did not answer {what} ({why}), however often it was asked")]
    Down { what: String, why: String },
    #[error("Vapi's answer to {0} cannot be read")]
    Unreadable(String),
    #[error("more than a thousand of {0} were made at the same instant: Vapi's API does not list them all")]
    Endless(&'static str),
    #[error(transparent)]
    Client(#[from] VapiError),
}

/// One organisation's account, by its key.
#[derive(Debug)]
pub(crate) struct Client {
    /// What the organisation is called here.
    pub(crate) name: String,
    transport: Https,
}

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often what failed is tried.
const TRIES: u32 = 4;
/// Before the second try; doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that a 429 is waited for: Vapi's windows are a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(61);
/// Most entries of a list.
const PAGE: usize = 1000;

impl Client {
    pub(crate) fn new(base: &str, name: &str, key: &Secret) -> Result<Self, ApiError> {
        Ok(Self { name: name.to_owned(), transport: Https::new(base, key, &Timers::at_speed(1.0))? })
    }

    /// Everything that a plan looks at.
    pub(crate) async fn read_all(&self) -> Result<Account, ApiError> {
        Ok(Account {
            numbers: self.list(Kind::PhoneNumber).await?,
            assistants: self.list(Kind::Assistant).await?,
            squads: self.list(Kind::Squad).await?,
            tools: self.list(Kind::Tool).await?,
            credentials: allowed(self.list(Kind::Credential).await)?,
            org: allowed(self.read_own().await)?.flatten(),
        })
    }

    /// All objects of a kind.
    pub(crate) async fn list(&self, kind: Kind) -> Result<Vec<Object>, ApiError> {
        let mut found = self.page(kind, "").await?;
        if found.len() < PAGE {
            return Ok(found);
        }
        let mut known: HashSet<String> = found.iter().map(|object| object.id.clone()).collect();
        // In which order lists come is not documented: on from the oldest that is known, then from the newest.
        for (bound, oldest) in [("createdAtLe", true), ("createdAtGe", false)] {
            loop {
                let created = found.iter().filter_map(|object| object.value.get("createdAt")?.as_str());
                let Some(edge) = (if oldest { created.min() } else { created.max() }) else { break };
                let page = self.page(kind, &format!("&{bound}={edge}")).await?;
                let (length, before) = (page.len(), found.len());
                found.extend(page.into_iter().filter(|object| known.insert(object.id.clone())));
                if length < PAGE {
                    break;
                }
                if found.len() == before {
                    return Err(ApiError::Endless(kind.path()));
                }
            }
        }
        Ok(found)
    }

    async fn page(&self, kind: Kind, bounds: &str) -> Result<Vec<Object>, ApiError> {
        let path = format!("{}?limit={PAGE}{bounds}", kind.path());
        let what = format!("GET {}", kind.path());
        match self.ask(Method::GET, &path, None, &what, true).await? {
            Value::Array(list) => Ok(list.into_iter().filter_map(|value| Object::new(kind, value)).collect()),
            _ => Err(ApiError::Unreadable(what)),
        }
    }

    async fn read_own(&self) -> Result<Option<Object>, ApiError> {
        let own = match self.ask(Method::GET, "/org", None, "GET /org", true).await? {
            // A person's session sees a list; which of them a key is of would be a guess.
            Value::Array(mut list) if list.len() == 1 => list.remove(0),
            own => own,
        };
        Ok(Object::new(Kind::Organization, own))
    }

    /// One object as it is now.
    pub(crate) async fn read(&self, kind: Kind, id: &str) -> Result<Object, ApiError> {
        if kind == Kind::Organization {
            return self.read_own().await?.ok_or_else(|| ApiError::Unknown("GET /org".to_owned()));
        }
        let path = format!("{}/{}", kind.path(), encoded(id));
        let what = format!("GET {path}");
        let value = self.ask(Method::GET, &path, None, &what, true).await?;
        Object::new(kind, value).ok_or(ApiError::Unreadable(what))
    }

    /// Replaces the members of an object that are named, each as a whole; null takes one away.
    pub(crate) async fn change(
        &self,
        object: &Object,
        members: &Map<String, Value>,
    ) -> Result<Object, ApiError> {
        let mut body = members.clone();
        if object.kind == Kind::PhoneNumber {
            // Vapi wants to be told which provider's rules apply.
            body.insert("provider".to_owned(), object.value.get("provider").cloned().unwrap_or_default());
        }
        let path = format!("{}/{}", object.kind.path(), encoded(&object.id));
        let what = format!("PATCH {path}");
        let value = self.ask(Method::PATCH, &path, Some(&Value::Object(body)), &what, true).await?;
        Object::new(object.kind, value).ok_or(ApiError::Unreadable(what))
    }

    /// Makes a credential. Not repeated where it may have been made: look for it.
    pub(crate) async fn make_credential(&self, body: &Value) -> Result<Object, ApiError> {
        let what = "POST /credential";
        let value = self.ask(Method::POST, "/credential", Some(body), what, false).await?;
        Object::new(Kind::Credential, value).ok_or_else(|| ApiError::Unreadable(what.to_owned()))
    }

    pub(crate) async fn delete_credential(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("/credential/{}", encoded(id));
        let what = format!("DELETE {path}");
        match self.ask(Method::DELETE, &path, None, &what, true).await {
            // A repetition finds nothing left.
            Ok(_) | Err(ApiError::Unknown(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
        may_repeat: bool,
    ) -> Result<Value, ApiError> {
        let mut pause = PAUSE;
        let mut tried = 1;
        loop {
            let (why, wait, may_repeat) = match self.send(&method, path, body).await {
                Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                    ("429: too many requests".to_owned(), Some(said_wait(&answer)), true)
                }
                Ok(answer) if answer.status().is_server_error() => {
                    (answer.status().to_string(), None, may_repeat)
                }
                Ok(answer) => return self.read_answer(&answer, what),
                Err(NoAnswer::NotSent(_)) => ("no connection".to_owned(), None, true),
                Err(NoAnswer::Lost(_)) => ("the answer was lost".to_owned(), None, may_repeat),
            };
            if !may_repeat || tried == TRIES {
                return Err(ApiError::Down { what: what.to_owned(), why });
            }
            if let Some(wait) = wait.filter(|wait| *wait > Duration::from_secs(3)) {
                let _ = writeln!(std::io::stderr(), "Vapi's rate limit: on in {} s", wait.as_secs());
            }
            tokio::time::sleep(wait.unwrap_or(pause)).await;
            (pause, tried) = (pause * 2, tried + 1);
        }
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Vec<u8>>, NoAnswer> {
        let mut request = Request::new(body.map(|body| body.to_string().into_bytes()).unwrap_or_default());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(|error| NoAnswer::NotSent(Box::new(error)))?;
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.transport.send(request, PATIENCE).await
    }

    fn read_answer(&self, answer: &Response<Vec<u8>>, what: &str) -> Result<Value, ApiError> {
        let what = what.to_owned();
        match answer.status() {
            status if status.is_success() => {
                serde_json::from_slice(answer.body()).map_err(|_| ApiError::Unreadable(what))
            }
            StatusCode::UNAUTHORIZED => Err(ApiError::Key(self.name.clone())),
            StatusCode::FORBIDDEN => Err(ApiError::Forbidden(what)),
            StatusCode::NOT_FOUND => Err(ApiError::Unknown(what)),
            status => {
                let message = error_message(answer.body());
                Err(ApiError::Refused { what, status: status.as_u16(), message })
            }
        }
    }
}

/// What a key may not see is nothing; an organisation's settings usually are not to be seen.
fn allowed<T>(read: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ApiError::Forbidden(_) | ApiError::Unknown(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long a 429 asks to wait; without a word, until Vapi's next window, which begins with the minute.
fn said_wait(answer: &Response<Vec<u8>>) -> Duration {
    let said = answer.headers().get(RETRY_AFTER).and_then(|said| said.to_str().ok()?.trim().parse().ok());
    let to_next_minute = || 60 - SystemClock.now().as_second().rem_euclid(60).unsigned_abs();
    Duration::from_secs(said.unwrap_or_else(to_next_minute)).min(LONGEST_WAIT)
}

/// An id as a segment of a path: ids are UUIDs, and a file that holds others must not reach elsewhere.
fn encoded(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if matches!(id, "." | "..") {
        return "%2E".repeat(id.len());
    }
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_show_no_numbers_and_no_control_characters() {
        let label = |value| Object::new(Kind::PhoneNumber, value).map(|object| object.label());
        assert_eq!(label(json!({"id": "n", "number": "+14155550142"})).as_deref(), Some("+…42 (n)"));
        assert_eq!(label(json!({"id": "n", "name": "a\u{1b}[2Jb"})).as_deref(), Some("a [2Jb (n)"));
        assert_eq!(label(json!({"id": "n", "name": " ", "number": ""})).as_deref(), Some("n"));
        assert_eq!(label(json!({"id": 7})), None);
        let tool = Object::new(Kind::Tool, json!({"id": "t", "function": {"name": "optOut"}}));
        assert_eq!(tool.map(|tool| tool.label()).as_deref(), Some("optOut (t)"));
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_a_path() {
        assert_eq!(encoded("7b9d0c52-41fe"), "7b9d0c52-41fe");
        assert_eq!(encoded("../org?x=1#é"), "..%2Forg%3Fx%3D1%23%C3%A9");
        assert_eq!(encoded(".."), "%2E%2E");
    }
}
