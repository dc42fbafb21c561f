//! What a function is told from outside: the one place that reads the environment.
//!
//! A value of the form `ssm:NAME` is read from Parameter Store at start, so that secrets stand in
//! no environment and no template.

use std::collections::{HashMap, HashSet};
use std::fmt;

use aws_config::SdkConfig;
use http::Uri;

use crate::core::hours::CallingHours;
use crate::core::ids::{NameCode, OrgId, OrgName, PhoneNumber};
use crate::core::people::{Often, OftenError};
use crate::core::pool::Policy;
use crate::logging::chain;
use crate::vapi::Secret;

/// Why a function does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable without which nothing goes.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable that does not say what it must.
    #[error("{name}: {problem}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong, without the value.
        problem: String,
    },
    /// A key of nobody.
    #[error("HEADROOM_VAPI_KEY has a key for an organisation that HEADROOM_ORGS does not name")]
    KeyOfNobody,
    /// Parameter Store did not answer.
    #[error("Parameter Store did not give the parameters that the environment names")]
    Parameters(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Parameter Store has no such parameter.
    #[error("{name} names the parameter {parameter}, which does not exist")]
    NoParameter {
        /// The variable.
        name: &'static str,
        /// The parameter.
        parameter: String,
    },
}

/// The variables, `ssm:` references already replaced by what they stand for.
#[derive(Debug, Default)]
pub struct Environment {
    values: HashMap<&'static str, Secret>,
}

const TABLE: &str = "HEADROOM_TABLE";
const WAKE_QUEUE_URL: &str = "HEADROOM_WAKE_QUEUE_URL";
const VAPI_URL: &str = "HEADROOM_VAPI_URL";
const VAPI_KEY: &str = "HEADROOM_VAPI_KEY";
const WEBHOOK_SECRETS: &str = "HEADROOM_WEBHOOK_SECRETS";
const LIMIT: &str = "HEADROOM_LIMIT";
const CAP: &str = "HEADROOM_CAP";
const HEADROOM: &str = "HEADROOM_HEADROOM";
const ADOPT_LIMIT: &str = "HEADROOM_ADOPT_LIMIT";
const ORGS: &str = "HEADROOM_ORGS";
const INBOUND_ASSISTANTS: &str = "HEADROOM_INBOUND_ASSISTANTS";
const BUSY_MESSAGE: &str = "HEADROOM_BUSY_MESSAGE";
const OVERFLOW_NUMBERS: &str = "HEADROOM_OVERFLOW_NUMBERS";
const ADMIN_TOKEN: &str = "HEADROOM_ADMIN_TOKEN";
const REJECT: &str = "HEADROOM_REJECT";
const CALLING_HOURS: &str = "HEADROOM_CALLING_HOURS";
const CALLS_PER_PERSON: &str = "HEADROOM_CALLS_PER_PERSON";
const CAMPAIGN_QUEUE_URL: &str = "HEADROOM_CAMPAIGN_QUEUE_URL";
const EVENTS: &str = "HEADROOM_EVENTS";
const EVENTS_QUEUE_URL: &str = "HEADROOM_EVENTS_QUEUE_URL";
const EVENTS_SOURCE: &str = "HEADROOM_EVENTS_SOURCE";
const EVENTS_URL: &str = "HEADROOM_EVENTS_URL";
const EVENTS_SECRETS: &str = "HEADROOM_EVENTS_SECRETS";
const EVENTS_BUS: &str = "HEADROOM_EVENTS_BUS";

const NAMES: [&str; 24] = [
    TABLE,
    WAKE_QUEUE_URL,
    VAPI_URL,
    VAPI_KEY,
    WEBHOOK_SECRETS,
    LIMIT,
    CAP,
    HEADROOM,
    ADOPT_LIMIT,
    ORGS,
    INBOUND_ASSISTANTS,
    BUSY_MESSAGE,
    OVERFLOW_NUMBERS,
    ADMIN_TOKEN,
    REJECT,
    CALLING_HOURS,
    CALLS_PER_PERSON,
    CAMPAIGN_QUEUE_URL,
    EVENTS,
    EVENTS_QUEUE_URL,
    EVENTS_SOURCE,
    EVENTS_URL,
    EVENTS_SECRETS,
    EVENTS_BUS,
];

const REFERENCE: &str = "ssm:";

/// The stack whose function this process is on Lambda: the function's name without the part behind the last dash, as the
/// template names them. Nothing elsewhere. For logs, which begin before the configuration is read.
pub fn stack() -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "the environment is read in this module only")]
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").ok()?;
    Some(function.rsplit_once('-').map_or(function.clone(), |(stack, _)| stack.to_owned()))
}

impl Environment {
    /// The process's environment, with its references to Parameter Store resolved.
    pub async fn load(aws: &SdkConfig) -> Result<Self, ConfigError> {
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        let mut environment = Self::from_lookup(|name| std::env::var(name).ok());
        environment.resolve(aws).await?;
        Ok(environment)
    }

    /// Variables from anywhere: the local runner's flags, a test's table. Empty ones count as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let values = NAMES
            .into_iter()
            .filter_map(|name| Some((name, Secret::new(lookup(name).filter(|value| !value.is_empty())?))))
            .collect();
        Self { values }
    }

    async fn resolve(&mut self, aws: &SdkConfig) -> Result<(), ConfigError> {
        let references: Vec<(&'static str, String)> = self
            .values
            .iter()
            .filter_map(|(name, value)| Some((*name, value.reveal().strip_prefix(REFERENCE)?.to_owned())))
            .collect();
        if references.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<String> = references.iter().map(|(_, parameter)| parameter.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let found = aws_sdk_ssm::Client::new(aws)
            .get_parameters()
            .set_names(Some(wanted))
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| ConfigError::Parameters(Box::new(error)))?;
        for (name, parameter) in references {
            let value = found
                .parameters()
                .iter()
                .find(|found| found.name() == Some(&parameter))
                .and_then(|found| found.value())
                .ok_or(ConfigError::NoParameter { name, parameter })?;
            self.values.insert(name, Secret::new(value));
        }
        Ok(())
    }

    fn optional(&self, name: &'static str) -> Option<&str> {
        self.values.get(name).map(Secret::reveal)
    }

    fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.optional(name).unwrap_or("false") {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ConfigError::Invalid { name, problem: "is not true or false".into() }),
        }
    }

    fn number(&self, name: &'static str, default: u32) -> Result<u32, ConfigError> {
        self.optional(name).map_or(Ok(default), |text| {
            text.trim()
                .parse()
                .map_err(|_| ConfigError::Invalid { name, problem: "is not a whole number".into() })
        })
    }
}

/// A comma-separated list without empty entries.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty())
}

/// Where the table is.
#[derive(Debug, Clone)]
pub struct Store {
    /// Name of the DynamoDB table.
    pub table: String,
}

impl Store {
    /// Reads `HEADROOM_TABLE`.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { table: env.required(TABLE)?.to_owned() })
    }
}

/// Where Vapi is, and by which keys it knows us: for whoever asks it anything.
#[derive(Debug, Clone)]
pub struct Access {
    /// Base URL of Vapi's API.
    pub vapi_url: String,
    /// Vapi's private keys.
    pub keys: Keys,
}

/// Vapi's private keys: one for each organisation that Headroom dials for, or asks for its calls.
#[derive(Debug, Clone)]
pub struct Keys {
    /// That of the organisation without a name.
    pub main: Secret,
    /// Those of further organisations, by their names.
    pub others: HashMap<OrgName, Secret>,
}

impl Keys {
    /// A key alone.
    pub fn one(key: impl Into<String>) -> Self {
        Self { main: Secret::new(key), others: HashMap::new() }
    }

    /// Reads `KEY, NAME=KEY, …`: one secret to keep, however many organisations.
    ///
    /// # Errors
    /// If it is no such list; nothing of it is shown.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::Invalid {
            name: VAPI_KEY,
            problem: "is not one key, and NAME=KEY for each further organisation".into(),
        };
        let (mut main, mut others) = (None, HashMap::new());
        for entry in list(text) {
            let known = match entry.split_once('=') {
                None => main.replace(Secret::new(entry)).is_some(),
                Some((name, key)) => {
                    let (name, key) = (name.trim().parse().map_err(|_| invalid())?, key.trim());
                    key.is_empty() || others.insert(name, Secret::new(key)).is_some()
                }
            };
            if known {
                return Err(invalid());
            }
        }
        Ok(Self { main: main.ok_or(ConfigError::Missing(VAPI_KEY))?, others })
    }
}

/// Vapi's own address.
pub const VAPI: &str = "https://api.vapi.ai";

impl Access {
    /// Reads `HEADROOM_VAPI_URL` (default Vapi's) and `HEADROOM_VAPI_KEY`.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            vapi_url: env.optional(VAPI_URL).unwrap_or(VAPI).to_owned(),
            keys: Keys::parse(env.required(VAPI_KEY)?)?,
        })
    }
}

/// How lines may be used: what every function that moves the ledger needs.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Where wake-ups for the dispatcher go.
    pub wake_queue_url: String,
    /// The configured policy. It is applied when it changes; what an operator sets in between stays.
    pub policy: Policy,
    /// Whether a changed limit that Vapi reports is taken over.
    pub adopt_limit: bool,
    /// Organisations whose calls count besides the one that the key belongs to.
    pub orgs: Vec<OrgSettings>,
    /// Whose leads do not wait for a line.
    pub rejects: Rejects,
    /// When the law lets people be called.
    pub calling_hours: CallingHours,
    /// Most calls to one person.
    pub often: Often,
    /// Whether ends of leads and changes of campaigns are to be told.
    pub announces: bool,
}

/// A further organisation on the same subscription.
#[derive(Debug, Clone)]
pub struct OrgSettings {
    /// What campaigns and quotas call it.
    pub name: OrgName,
    /// What Vapi calls it.
    pub id: OrgId,
}

impl OrgSettings {
    /// Reads `NAME=ORG_ID, …`, or bare ids, which are their own names. The first key's organisation is `main`.
    ///
    /// # Errors
    /// If it is no such list, or names one twice.
    pub fn parse(orgs: &str) -> Result<Vec<Self>, ConfigError> {
        let invalid = |problem| ConfigError::Invalid { name: ORGS, problem };
        let mut parsed: Vec<Self> = Vec::new();
        for entry in list(orgs) {
            let (name, id) = entry.split_once('=').unwrap_or((entry, entry));
            let name: OrgName = name.trim().parse().map_err(|error| invalid(format!("{error}")))?;
            let id = id.trim().parse().map_err(|error| invalid(format!("{error}")))?;
            if parsed.iter().any(|org| org.name == name || org.id == id) {
                return Err(invalid(format!("names {name} twice, or its id")));
            }
            if name.as_str() == OrgName::MAIN {
                return Err(invalid(format!("{name} is what the first key's own organisation is called")));
            }
            parsed.push(Self { name, id });
        }
        Ok(parsed)
    }
}

impl Lines {
    /// Reads `HEADROOM_WAKE_QUEUE_URL`, `HEADROOM_LIMIT` (10, `none` for a subscription without one),
    /// `HEADROOM_CAP` (the limit), `HEADROOM_HEADROOM` (0), `HEADROOM_ADOPT_LIMIT` (false), `HEADROOM_ORGS` (none)
    /// `HEADROOM_REJECT` (nobody), `HEADROOM_CALLING_HOURS` (`default`), `HEADROOM_CALLS_PER_PERSON` (3/20: 3 in a day,
    /// 20 in 30 days) and `HEADROOM_EVENTS` (false).
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let limit = match env.optional(LIMIT).map(str::trim) {
            Some("none") => Policy::UNLIMITED,
            _ => env.number(LIMIT, 10)?,
        };
        let policy = Policy::new(limit, env.number(CAP, limit)?, env.number(HEADROOM, 0)?)
            .map_err(|error| ConfigError::Invalid { name: LIMIT, problem: error.to_string() })?;
        let adopt_limit = env.flag(ADOPT_LIMIT)?;
        let orgs = OrgSettings::parse(env.optional(ORGS).unwrap_or_default())?;
        let rejects = Rejects::parse(env.optional(REJECT).unwrap_or_default())?;
        let wake_queue_url = env.required(WAKE_QUEUE_URL)?.to_owned();
        let calling_hours = CallingHours::parse(env.optional(CALLING_HOURS).unwrap_or("default"))
            .map_err(|error| ConfigError::Invalid { name: CALLING_HOURS, problem: chain(&error) })?;
        let often = env.optional(CALLS_PER_PERSON).map_or_else(|| Ok(Often::usual()), str::parse);
        let often = often.map_err(|error: OftenError| ConfigError::Invalid {
            name: CALLS_PER_PERSON,
            problem: error.to_string(),
        })?;
        let announces = env.flag(EVENTS)?;
        Ok(Self { wake_queue_url, policy, adopt_limit, orgs, rejects, calling_hours, often, announces })
    }
}

/// Whose outbound leads end at once where there is no line for them. All others' wait in their order. Callers
/// need no such choice: who has a number in [`Overflow`] waits there, and who has none is refused.
///
/// Agents are told apart by their whole names here, not by codes: an ended lead cannot be taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejects {
    agents: HashSet<String>,
    all: bool,
}

impl Rejects {
    /// Whether the leads of an agent that is known by these names and ids are rejected.
    pub fn outbound_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.all || names.into_iter().any(|name| self.agents.contains(name))
    }

    /// Reads `AGENT.outbound, *.outbound`.
    ///
    /// # Errors
    /// If it is no such list.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let problem = "is not a list of AGENT.outbound, with * for all agents; callers without a line are forwarded \
                       or refused by HEADROOM_OVERFLOW_NUMBERS";
        let mut rejects = Self::default();
        for entry in list(text) {
            match entry.strip_suffix(".outbound").map(str::trim) {
                None | Some("") => {
                    return Err(ConfigError::Invalid { name: REJECT, problem: problem.into() });
                }
                Some("*") => rejects.all = true,
                Some(agent) => {
                    rejects.agents.insert(agent.to_owned());
                }
            }
        }
        Ok(rejects)
    }
}

/// Who is let in and how callers are answered: what the webhook needs.
#[derive(Debug, Clone)]
pub struct Callers {
    /// The secrets of which a webhook must carry one.
    pub secrets: Vec<Secret>,
    /// Which assistant answers which number.
    pub assistants: Assistants,
    /// What a caller hears when every line is taken. Never empty: Vapi would say its own error text.
    pub busy_message: String,
    /// Where callers are forwarded to instead.
    pub overflow: Overflow,
}

/// Numbers outside of Vapi that callers are forwarded to when there is no line for them, by agent: a queue at
/// the telephone provider, a voice mailbox, people. Who has none hears the busy message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overflow {
    by_agent: HashMap<NameCode, PhoneNumber>,
    default: Option<PhoneNumber>,
}

impl Overflow {
    /// The number for the first of these codes that has one, or for all others.
    pub fn of<'a>(&self, codes: impl IntoIterator<Item = &'a NameCode>) -> Option<&PhoneNumber> {
        codes.into_iter().find_map(|code| self.by_agent.get(code)).or(self.default.as_ref())
    }

    /// Reads `AGENT=NUMBER, *=NUMBER`.
    ///
    /// # Errors
    /// If it is no such list; the numbers are not shown.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let problem = "is not a list of AGENT=NUMBER in E.164, with * for all others";
        let invalid = || ConfigError::Invalid { name: OVERFLOW_NUMBERS, problem: problem.into() };
        let mut overflow = Self::default();
        for entry in list(text) {
            let (agent, number) = entry.split_once('=').ok_or_else(invalid)?;
            let number = number.trim().parse().map_err(|_| invalid())?;
            match agent.trim() {
                "" => return Err(invalid()),
                "*" => overflow.default = Some(number),
                agent => {
                    overflow.by_agent.insert(NameCode::of(agent), number);
                }
            }
        }
        Ok(overflow)
    }
}

/// Which assistant answers callers, by Vapi's phone number id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assistants {
    by_number: HashMap<String, String>,
    default: Option<String>,
}

impl Assistants {
    /// One assistant for every number.
    pub fn everywhere(assistant: impl Into<String>) -> Self {
        Self { by_number: HashMap::new(), default: Some(assistant.into()) }
    }

    /// The assistant for a number.
    pub fn of(&self, phone_number_id: Option<&str>) -> Option<&str> {
        phone_number_id
            .and_then(|number| self.by_number.get(number))
            .or(self.default.as_ref())
            .map(String::as_str)
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut assistants = Self::default();
        for entry in list(text) {
            match entry.split_once('=').map(|(number, assistant)| (number.trim(), assistant.trim())) {
                Some((_, "")) | None => {
                    let problem = "is not a list of PHONE_NUMBER_ID=ASSISTANT_ID, with * for all others";
                    return Err(ConfigError::Invalid { name: INBOUND_ASSISTANTS, problem: problem.into() });
                }
                Some(("*", assistant)) => assistants.default = Some(assistant.to_owned()),
                Some((number, assistant)) => {
                    assistants.by_number.insert(number.to_owned(), assistant.to_owned());
                }
            }
        }
        Ok(assistants)
    }
}

/// What a refused caller hears if nothing else is configured.
pub const DEFAULT_BUSY_MESSAGE: &str =
    "All our lines are busy at the moment. Please call again in a few minutes.";

impl Callers {
    /// Reads `HEADROOM_WEBHOOK_SECRETS`, `HEADROOM_INBOUND_ASSISTANTS` (none) and
    /// `HEADROOM_BUSY_MESSAGE` (a sentence) and `HEADROOM_OVERFLOW_NUMBERS` (none).
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let secrets: Vec<Secret> = list(env.required(WEBHOOK_SECRETS)?).map(Secret::new).collect();
        if secrets.is_empty() {
            return Err(ConfigError::Missing(WEBHOOK_SECRETS));
        }
        Ok(Self {
            secrets,
            assistants: Assistants::parse(env.optional(INBOUND_ASSISTANTS).unwrap_or_default())?,
            busy_message: env.optional(BUSY_MESSAGE).unwrap_or(DEFAULT_BUSY_MESSAGE).to_owned(),
            overflow: Overflow::parse(env.optional(OVERFLOW_NUMBERS).unwrap_or_default())?,
        })
    }
}

/// Who may look and change: what the console needs.
#[derive(Debug, Clone)]
pub struct Operators {
    /// What a request must carry as its bearer token.
    pub token: Secret,
    /// Where campaign messages go.
    pub campaign_queue_url: String,
}

impl Operators {
    /// Reads `HEADROOM_ADMIN_TOKEN` and `HEADROOM_CAMPAIGN_QUEUE_URL`.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        // A blank one would let in whoever sends an empty token.
        let token = env.required(ADMIN_TOKEN)?.trim();
        if token.is_empty() {
            Err(ConfigError::Missing(ADMIN_TOKEN))
        } else {
            let campaign_queue_url = env.required(CAMPAIGN_QUEUE_URL)?.to_owned();
            Ok(Self { token: Secret::new(token), campaign_queue_url })
        }
    }
}

/// Where those who tell events put them.
#[derive(Debug, Clone)]
pub struct Telling {
    /// The queue of events, if anybody listens.
    pub queue_url: Option<String>,
}

impl Telling {
    /// Reads `HEADROOM_EVENTS` (false) and, if it is true, `HEADROOM_EVENTS_QUEUE_URL`.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let is_on = env.flag(EVENTS)?;
        let queue_url = is_on.then(|| env.required(EVENTS_QUEUE_URL)).transpose()?;
        Ok(Self { queue_url: queue_url.map(str::to_owned) })
    }
}

/// Who listens: what the announcer needs.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// The queue that events come from, to say when one that was not delivered comes again.
    pub source: String,
    /// Who.
    pub listener: Listener,
}

/// Who listens to events.
#[derive(Debug, Clone)]
pub enum Listener {
    /// An EventBridge bus, by its name or ARN.
    Bus(String),
    /// A web server.
    Webhook(Hook),
}

/// A web server that events are posted to.
#[derive(Clone)]
pub struct Hook {
    url: Uri,
    /// What events are signed with: each of several, while they are being changed.
    pub secrets: Vec<Secret>,
}

/// Without the path, in which some servers have their secret.
impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Hook {
    /// Reads an address, `https` or, on this machine, `http`; and secrets, separated by commas.
    ///
    /// # Errors
    /// If it is no such address, or there is no secret; neither is shown.
    pub fn parse(url: &str, secrets: &str) -> Result<Self, ConfigError> {
        let invalid = |problem: &str| ConfigError::Invalid { name: EVENTS_URL, problem: problem.into() };
        let url: Uri = url.trim().parse().map_err(|_| invalid("is not an address"))?;
        let (scheme, authority) = (url.scheme_str().unwrap_or_default(), url.authority());
        let Some(authority) = authority else { return Err(invalid("is not https://HOST/PATH")) };
        if authority.as_str().contains('@') {
            return Err(invalid("has a user in it: the signature is what a receiver checks"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_here =
            host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !(scheme == "https" || scheme == "http" && is_here) {
            return Err(invalid("is not https: events would go over the network for all to read"));
        }
        let secrets: Vec<Secret> = list(secrets).map(Secret::new).collect();
        if secrets.is_empty() {
            return Err(ConfigError::Missing(EVENTS_SECRETS));
        }
        Ok(Self { url, secrets })
    }

    /// The whole address. Not for logs.
    pub fn reveal(&self) -> String {
        self.url.to_string()
    }

    /// Whose it is.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

impl Listeners {
    /// Reads `HEADROOM_EVENTS_SOURCE`, and either `HEADROOM_EVENTS_URL` with `HEADROOM_EVENTS_SECRETS` or
    /// `HEADROOM_EVENTS_BUS`.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let source = env.required(EVENTS_SOURCE)?.to_owned();
        let listener = match (env.optional(EVENTS_URL), env.optional(EVENTS_BUS)) {
            (None, None) => return Err(ConfigError::Missing(EVENTS_URL)),
            (None, Some(bus)) => Listener::Bus(bus.trim().to_owned()),
            (Some(url), None) => Listener::Webhook(Hook::parse(url, env.required(EVENTS_SECRETS)?)?),
            (Some(_), Some(_)) => {
                let problem = "is not set together with HEADROOM_EVENTS_BUS: let the bus call the address";
                return Err(ConfigError::Invalid { name: EVENTS_URL, problem: problem.into() });
            }
        };
        Ok(Self { source, listener })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_to_one_listener_over_an_address_that_nobody_reads_along() {
        let source = (EVENTS_SOURCE, "https://sqs/events");
        let read = |more: &[(&str, &str)]| Listeners::from_env(&env(&[&[source], more].concat()));
        for url in [
            "https://example.com/hook/t0ken?x=1",
            "http://127.0.0.1:9/",
            "http://[::1]:9/a",
            "http://localhost/a",
        ] {
            let listeners = read(&[(EVENTS_URL, url), (EVENTS_SECRETS, "a, b")]).expect(url);
            let Listener::Webhook(hook) = &listeners.listener else { panic!("{url} is an address") };
            assert_eq!((hook.reveal().as_str(), hook.secrets.len()), (url, 2));
            assert!(!format!("{listeners:?}").contains("t0ken"));
        }
        for bad in [
            "http://example.com/hook",
            "ftp://127.0.0.1/",
            "https://",
            "example.com",
            "https://ada:pw@example.com/",
            "http://127.0.0.1.example.com/",
            "http://10.0.0.1/",
            "x y",
        ] {
            let error = read(&[(EVENTS_URL, bad), (EVENTS_SECRETS, "a")]).expect_err(bad).to_string();
            assert!(error.starts_with(EVENTS_URL) && !error.contains("example"), "{error}");
        }
        assert!(
            read(&[(EVENTS_URL, "https://example.com/")]).is_err(),
            "nobody could tell them from others'"
        );
        assert!(read(&[]).is_err());
        assert!(matches!(read(&[(EVENTS_BUS, "default")]).expect("a bus").listener, Listener::Bus(_)));
        let both = [(EVENTS_URL, "https://example.com/"), (EVENTS_SECRETS, "a"), (EVENTS_BUS, "default")];
        assert!(read(&both).is_err());
        assert!(Telling::from_env(&env(&[(EVENTS, "true")])).is_err());
        let on = [(EVENTS, "true"), (EVENTS_QUEUE_URL, "q")];
        assert_eq!(Telling::from_env(&env(&on)).expect("on").queue_url.as_deref(), Some("q"));
        assert_eq!(Telling::from_env(&env(&on[1..])).expect("off").queue_url, None);
    }

    fn env(pairs: &[(&str, &str)]) -> Environment {
        let pairs: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment::from_lookup(|name| pairs.get(name).cloned())
    }

    #[test]
    fn a_missing_variable_stops_the_function_with_its_name() {
        let error = Store::from_env(&env(&[])).expect_err("no table");
        assert_eq!(error.to_string(), "HEADROOM_TABLE is not set");
        let error = Access::from_env(&env(&[(VAPI_KEY, "")])).expect_err("no key");
        assert_eq!(error.to_string(), "HEADROOM_VAPI_KEY is not set");
        let error = Lines::from_env(&env(&[])).expect_err("no queue");
        assert_eq!(error.to_string(), "HEADROOM_WAKE_QUEUE_URL is not set");
        assert!(Callers::from_env(&env(&[(WEBHOOK_SECRETS, " , ")])).is_err());
        assert!(Operators::from_env(&env(&[(ADMIN_TOKEN, " ")])).is_err());
    }

    #[test]
    fn values_that_do_not_fit_are_named_and_not_shown() {
        for (name, value) in [(LIMIT, "ten"), (LIMIT, "0"), (CAP, "-1"), (ADOPT_LIMIT, "yes"), (ORGS, "a b")]
        {
            let error = Lines::from_env(&env(&[(WAKE_QUEUE_URL, "u"), (name, value)])).expect_err(value);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn numbers_have_their_own_assistants_or_the_default() {
        let callers =
            Callers::from_env(&env(&[(WEBHOOK_SECRETS, "a, b"), (INBOUND_ASSISTANTS, "n1=x, *=y")]));
        let callers = callers.expect("good");
        assert_eq!(callers.secrets.len(), 2);
        assert_eq!(callers.assistants.of(Some("n1")), Some("x"));
        assert_eq!(callers.assistants.of(Some("n2")), Some("y"));
        assert_eq!(callers.assistants.of(None), Some("y"));
        assert!(Assistants::parse("n1").is_err());
    }

    #[test]
    fn agents_reject_by_their_whole_names() {
        let some = Rejects::parse("sales.outbound, vip.desk.outbound").expect("good");
        assert!(some.outbound_of(["number", "sales"]) && some.outbound_of(["vip.desk"]));
        assert!(!some.outbound_of(["sales team", "vip", "*"]) && !some.outbound_of([]));
        assert!(Rejects::parse("*.outbound").expect("good").outbound_of([]));
        assert_eq!(Rejects::parse(" ,").expect("nobody"), Rejects::default());
        for bad in ["sales", "sales.inbound", ".outbound", "sales.outbound=1"] {
            assert!(Rejects::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agents_have_their_own_overflow_or_the_default() {
        let overflow = Overflow::parse("desk=+15555550101, *=+15555550102").expect("good");
        let of = |codes: &[&str]| {
            let codes: Vec<_> = codes.iter().map(|code| NameCode::of(code)).collect();
            overflow.of(&codes).map(|number| number.reveal().to_owned())
        };
        assert_eq!(of(&["assistant", "desk"]).as_deref(), Some("+15555550101"));
        assert_eq!(of(&["assistant"]).as_deref(), Some("+15555550102"));
        assert_eq!(Overflow::default().of(&[NameCode::of("desk")]), None);
        for bad in ["desk", "desk=5550101", "=+15555550101", "desk="] {
            let error = Overflow::parse(bad).expect_err(bad);
            assert!(!error.to_string().contains("555"), "{error}");
        }
    }
}
