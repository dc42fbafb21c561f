//! Campaigns: the message that brings one in, what it may ask for, and the state it is in.

use std::num::NonZeroU32;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fair::{Lane, Lanes, Share, Weight};
use super::hours::{check_term, read_instant};
use super::ids::{AgentName, CampaignCode, CampaignId, LeadId, LeadRef, NameCode, OrgName, PhoneNumber};
use super::kpi::Figures;
use super::life::{Act, NewHours, Sweep, Unreached};
use super::pacing::{self, Batch, Ramp};
use super::retry::Retry;
use super::window::{Window, zone};
use super::zones::zones;

/// Which of two waiting campaigns goes first. Ordered: the first variant is served first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Alarms.
    Emergency,
    /// Very important people.
    Vip,
    /// Above the rest.
    High,
    /// The default.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

/// Longest call if the campaign names none, in seconds: Vapi's own default.
const DEFAULT_MAX_DURATION: u32 = 600;

fn default_max_duration() -> u32 {
    DEFAULT_MAX_DURATION
}

/// What a campaign asks for: the `campaign` part of the message, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, try_from = "UncheckedSpec")]
pub struct Spec {
    /// Chosen by the user.
    #[serde(serialize_with = "write_id")]
    pub id: CampaignId,
    /// Vapi assistant; this or the squad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_id: Option<String>,
    /// Vapi squad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squad_id: Option<String>,
    /// Vapi's id of the number that calls out.
    pub phone_number_id: String,
    /// The user's name for who does the talking.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_agent")]
    pub agent: Option<AgentName>,
    /// The organisation whose key dials; none is the one of the first key.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_org")]
    pub org: Option<OrgName>,
    /// Who goes first.
    pub priority: Priority,
    /// Its part of the lines beside campaigns of the same priority.
    #[serde(skip_serializing_if = "Weight::is_default")]
    pub weight: Weight,
    /// What it is guaranteed, whatever its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Calls begun in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<NonZeroU32>,
    /// Steps by which it gets more lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// So many leads, and the next when their calls are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Most lines that this campaign may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<NonZeroU32>,
    /// Longest call in seconds, 10 to 43,200. It bounds how long a line can be held.
    pub max_duration_seconds: u32,
    /// When people may be called; none means whenever the law allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Nobody is dialed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Nobody is dialed from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// When they are called again.
    pub retry: Retry,
    /// The class that those are served in who are promised a call; VIP if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_priority: Option<Priority>,
}

fn write_id<S: Serializer>(id: &CampaignId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

fn write_agent<S: Serializer>(agent: &Option<AgentName>, serializer: S) -> Result<S::Ok, S::Error> {
    agent.as_ref().map(AgentName::as_str).serialize(serializer)
}

fn write_org<S: Serializer>(org: &Option<OrgName>, serializer: S) -> Result<S::Ok, S::Error> {
    org.as_ref().map(OrgName::as_str).serialize(serializer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UncheckedSpec {
    id: String,
    assistant_id: Option<String>,
    squad_id: Option<String>,
    phone_number_id: String,
    agent: Option<String>,
    org: Option<String>,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    weight: Weight,
    share: Option<Share>,
    per_second: Option<NonZeroU32>,
    ramp: Option<Ramp>,
    batch: Option<Batch>,
    max_concurrency: Option<NonZeroU32>,
    #[serde(default = "default_max_duration")]
    max_duration_seconds: u32,
    window: Option<Window>,
    #[serde(default, deserialize_with = "read_instant")]
    start_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "read_instant")]
    end_at: Option<Timestamp>,
    #[serde(default)]
    retry: Retry,
    callback_priority: Option<Priority>,
}

impl TryFrom<UncheckedSpec> for Spec {
    type Error = String;
    fn try_from(spec: UncheckedSpec) -> Result<Self, String> {
        let id = spec.id.parse().map_err(|error| format!("campaign.id: {error}"))?;
        if spec.assistant_id.is_some() == spec.squad_id.is_some() {
            return Err("campaign: give assistantId or squadId, one of the two".into());
        }
        let ids = [&spec.assistant_id, &spec.squad_id, &Some(spec.phone_number_id.clone())];
        if ids.into_iter().flatten().any(|id| id.is_empty() || id.len() > 64) {
            return Err("campaign: assistantId, squadId and phoneNumberId have 1 to 64 characters".into());
        }
        let agent = spec.agent.map(|agent| agent.parse()).transpose();
        let agent = agent.map_err(|error| format!("campaign.agent: {error}"))?;
        let org = spec.org.filter(|org| org != OrgName::MAIN).map(|org| org.parse()).transpose();
        let org = org.map_err(|error| format!("campaign.org: {error}"))?;
        if !(10..=43_200).contains(&spec.max_duration_seconds) {
            return Err("campaign.maxDurationSeconds is 10 to 43200".into());
        }
        check_term(spec.start_at, spec.end_at)?;
        Ok(Self {
            id,
            assistant_id: spec.assistant_id,
            squad_id: spec.squad_id,
            phone_number_id: spec.phone_number_id,
            agent,
            org,
            priority: spec.priority,
            weight: spec.weight,
            share: spec.share,
            per_second: spec.per_second,
            ramp: spec.ramp,
            batch: spec.batch,
            max_concurrency: spec.max_concurrency,
            max_duration_seconds: spec.max_duration_seconds,
            window: spec.window,
            start_at: spec.start_at,
            end_at: spec.end_at,
            retry: spec.retry,
            callback_priority: spec.callback_priority,
        })
    }
}

impl Spec {
    /// What every call that Headroom dials is known by, last of all: the member of a quota for all of them.
    pub const ALL: &str = "*";

    /// Whether its people may be called at the same times as another's.
    pub fn has_hours_of(&self, other: &Self) -> bool {
        let hours = |spec: &Self| (spec.window.clone(), spec.start_at, spec.end_at);
        hours(self) == hours(other)
    }

    /// What its calls are known by, the most telling first.
    pub fn codes(&self) -> Vec<NameCode> {
        let ids = [&self.squad_id, &self.assistant_id, &Some(self.phone_number_id.clone())];
        let name = self.agent.iter().map(AgentName::code);
        let ids = ids.into_iter().flatten().map(|id| NameCode::of(id));
        let all = NameCode::of(Self::ALL);
        name.chain(ids).chain(self.org.iter().map(OrgName::code)).chain([all]).collect()
    }

    /// How fast it may go.
    pub fn pace(&self) -> pacing::Asked<'_> {
        pacing::Asked {
            lines: self.max_concurrency,
            per_second: self.per_second,
            ramp: self.ramp.as_ref(),
            batch: self.batch,
        }
    }

    /// The longest call as a span.
    pub fn max_duration(&self) -> SignedDuration {
        SignedDuration::from_secs(self.max_duration_seconds.into())
    }
}

/// Whether a campaign's leads are being called. How it gets from one state to another is in [`super::life`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignState {
    /// Not yet: they are taken in, and wait until somebody starts the campaign.
    Draft,
    /// They are, as lines allow.
    Running,
    /// They are not, for this reason, until somebody resumes the campaign. Live calls go on.
    Paused {
        /// What happened and what to do, for people.
        reason: String,
        /// The person who paused it; nobody, if Headroom did by itself.
        by: Option<String>,
        /// Since when.
        at: Option<Timestamp>,
    },
    /// They are not, ever again: those that wait are being ended, live calls go on to their own end.
    Cancelling,
    /// They are not, and each has its final outcome.
    Cancelled,
    /// Not yet: those who were not reached are being made ready again.
    Rerunning {
        /// Which of them.
        only: Vec<Unreached>,
        /// The last lead that was looked at, in the order of their references.
        after: Option<LeadRef>,
    },
    /// Each has its final outcome.
    Finished,
}

impl CampaignState {
    /// The state's name in the table, in JSON and in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Rerunning { .. } => "rerunning",
            Self::Finished => "finished",
        }
    }

    /// Whether each of its leads has its final outcome.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Finished | Self::Cancelled => true,
            Self::Draft | Self::Running | Self::Paused { .. } | Self::Cancelling | Self::Rerunning { .. } => {
                false
            }
        }
    }

    /// Why none of its leads is being called now, for people; nothing if they are.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Self::Running => None,
            Self::Draft => Some("it is a draft: start it"),
            Self::Paused { reason, .. } => Some(reason),
            Self::Cancelling => Some("it is being cancelled"),
            Self::Cancelled => Some("it is cancelled"),
            Self::Rerunning { .. } => Some("those who were not reached are being made ready again"),
            Self::Finished => Some("it is finished"),
        }
    }
}

/// A campaign as the table keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Its short stand-in in keys.
    pub code: CampaignCode,
    /// What it asks for.
    pub spec: Spec,
    /// When its first message was taken in.
    pub created: Timestamp,
    /// Whether its leads are being called.
    pub state: CampaignState,
    /// Leads taken in so far; none while the first message is still being taken in, and a campaign
    /// of which nothing is counted yet cannot be finished.
    pub leads: Option<u32>,
    /// Leads reached and leads failed, as of the last time it finished. While it runs, the ledger
    /// has the current figures.
    pub settled: (u32, u32),
    /// Where its leads may be found.
    pub lanes: Lanes,
    /// Changes that people have made to it.
    pub revision: u64,
    /// Its reruns.
    pub run: u32,
    /// When the last one was asked for.
    pub reran: Option<Timestamp>,
    /// What people did to it last, the oldest first.
    pub acts: Vec<Act>,
    /// What its leads were promised.
    pub callbacks: super::callback::Tally,
    /// How far its leads have been ended, made ready again or brought forward, while they are.
    pub sweep: Sweep,
    /// Its hours were changed, and not all who were put off have been looked at since.
    pub new_hours: Option<NewHours>,
    /// What its calls came to.
    pub kpi: Figures,
    /// What happened to it that others are still to be told, as [`super::event::Event::text`] has it.
    pub untold: Vec<String>,
}

/// A lead as a message brings it in.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLead {
    /// Its place in the message's `leads`, from 0.
    pub index: usize,
    /// Chosen by the user; the number if they chose none.
    pub id: LeadId,
    /// Whom to call.
    pub number: PhoneNumber,
    /// For Vapi's `customer.name`, cut to the 40 characters that Vapi takes.
    pub name: Option<String>,
    /// The person's own zone.
    pub timezone: Option<TimeZone>,
    /// For the assistant's template, as a JSON object.
    pub variables: Option<String>,
    /// Where in the queue it stands.
    pub lane: Lane,
}

/// A lead that is not taken in, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLead {
    /// Its place in the message's `leads`, from 0.
    pub index: usize,
    /// What is wrong, without the number.
    pub reason: String,
}

/// Something that may come over the campaign queue.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// A campaign with leads: a new one, or more for one that is known.
    Leads {
        /// What the campaign asks for.
        spec: Box<Spec>,
        /// The leads that can be called, in order.
        leads: Vec<NewLead>,
        /// Those that cannot.
        bad: Vec<BadLead>,
        /// Whether a campaign that is new waits until somebody starts it.
        draft: bool,
    },
    /// Resume a paused campaign: `{"resume": "renewals-may"}`.
    Resume(CampaignId),
}

/// Why a whole message is refused. The text is for the log, the metric and whoever sent it.
#[derive(Debug, thiserror::Error)]
#[error("not a campaign message: {0}")]
pub struct MessageError(String);

/// Most bytes one lead's variables may have: an item is paid for by size, and Vapi's limits are near.
const MAX_VARIABLES: usize = 16 * 1024;

/// Most bytes one lead may have, everything included: a message on the queue has room for some.
const MAX_LEAD: usize = 64 * 1024;

impl Message {
    /// Reads a campaign message. A lead that is no good does not stop the others.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body<'a> {
            campaign: Option<Spec>,
            #[serde(borrow, default)]
            leads: Vec<&'a RawValue>,
            resume: Option<String>,
            #[serde(default)]
            draft: bool,
        }
        if body.trim_ascii_start().first().is_none_or(|first| *first != b'{') {
            return Err(MessageError("it is not a JSON object".into()));
        }
        let body: Body<'_> =
            serde_json::from_slice(body).map_err(|error| MessageError(without_value(&error)))?;
        match (body.campaign, body.resume) {
            (Some(spec), None) => {
                // No room ahead: what is no lead takes two bytes to send, and a lead a hundred to keep.
                let (mut leads, mut bad) = (Vec::new(), Vec::new());
                for (index, raw) in body.leads.into_iter().enumerate() {
                    match read_lead(index, raw.get(), &spec) {
                        Ok(lead) => leads.push(lead),
                        Err(reason) => bad.push(BadLead { index, reason }),
                    }
                }
                Ok(Self::Leads { spec: Box::new(spec), leads, bad, draft: body.draft })
            }
            (None, Some(id)) => {
                id.parse().map(Self::Resume).map_err(|error| MessageError(format!("resume: {error}")))
            }
            _ => Err(MessageError("it needs \"campaign\" (with \"leads\"), or \"resume\"".into())),
        }
    }
}

/// Why a lead is refused whose clock matters and is not known.
pub const NO_ZONE: &str = "its number does not tell a time zone, and it names none: give it a timezone";

fn read_lead(index: usize, json: &str, spec: &Spec) -> Result<NewLead, String> {
    #[derive(Deserialize)]
    struct Unchecked<'a> {
        id: Option<String>,
        number: String,
        name: Option<String>,
        timezone: Option<String>,
        #[serde(borrow)]
        variables: Option<&'a RawValue>,
        #[serde(default)]
        priority: Lane,
    }
    if !json.starts_with('{') {
        return Err("it is not a JSON object".into());
    }
    if json.len() > MAX_LEAD {
        return Err(format!("it has more than {MAX_LEAD} bytes"));
    }
    let lead: Unchecked<'_> = serde_json::from_str(json).map_err(|error| without_value(&error))?;
    let number: PhoneNumber = lead.number.parse().map_err(|error| format!("{error}"))?;
    let id = match lead.id {
        Some(id) => id.parse().map_err(|error| format!("{error}"))?,
        None => LeadId::from_number(&number),
    };
    let timezone = lead.timezone.as_deref().map(zone).transpose().map_err(|error| error.to_string())?;
    let is_on_their_clock = spec.window.as_ref().is_some_and(Window::needs_recipient_zone);
    if timezone.is_none() && is_on_their_clock && zones(&number).is_empty() {
        return Err(NO_ZONE.into());
    }
    let variables = lead.variables.map(RawValue::get).filter(|json| *json != "null");
    if variables.is_some_and(|json| !json.starts_with('{')) {
        return Err("variables is not an object".into());
    }
    if variables.is_some_and(|json| json.len() > MAX_VARIABLES) {
        return Err(format!("variables has more than {MAX_VARIABLES} bytes"));
    }
    // Passing a value on is easier than reading it: half a surrogate pair, 1e999 or 200 levels would
    // be noticed by the dial only, when it is too late to say so.
    if variables.is_some_and(|json| serde_json::from_str::<Map<String, Value>>(json).is_err()) {
        return Err("variables cannot be read: too deep, a number too large, or text that is none".into());
    }
    let name = lead.name.map(|name| name.chars().filter(|c| !c.is_control()).take(40).collect::<String>());
    Ok(NewLead {
        index,
        id,
        number,
        name: name.filter(|name| !name.is_empty()),
        timezone,
        variables: variables.map(str::to_owned),
        lane: lead.priority,
    })
}

/// serde's messages quote the value that did not fit; a lead's values are personal. A field that
/// nobody knows is named if it is a word, since that is a slip of the pen; else it may be anything.
fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // From the right: the value comes first, and may have the same words in it.
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text };
    let field = found.strip_prefix("unknown field `").and_then(|field| field.strip_suffix('`'));
    match field.filter(|field| field.len() <= 32 && field.bytes().all(|b| b.is_ascii_alphabetic())) {
        Some(field) => format!("unknown field `{field}`, expected {expected}"),
        None => format!("a field does not fit: expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Message, MessageError> {
        Message::parse(json.as_bytes())
    }

    fn bad_leads(campaign_extra: &str, leads: &str) -> Vec<BadLead> {
        let json = format!(
            r#"{{"campaign":{{"id":"c","assistantId":"a","phoneNumberId":"p"{campaign_extra}}},"leads":{leads}}}"#
        );
        match parse(&json).expect("the campaign is good") {
            Message::Leads { bad, .. } => bad,
            Message::Resume(_) => panic!("no resume was sent"),
        }
    }

    #[test]
    fn the_contracts_example_is_read_whole() {
        let json = r#"{"campaign": {"id": "renewals-may", "assistantId": "as", "phoneNumberId": "ph", "agent": "sales",
              "priority": "normal", "maxConcurrency": 20,
              "window": {"days": ["mon","tue","wed","thu","fri"], "start": "09:00", "end": "18:00", "timezone": "recipient"},
              "retry": {"maxAttempts": 3, "noAnswerAfter": "2h", "busyAfter": "15m", "voicemail": "stop"}},
             "leads": [{"id": "crm-123", "number": "+14155550100", "name": "Ada", "timezone": "America/New_York", "variables": {"plan": "gold"}}]}"#;
        let Message::Leads { spec, leads, bad, .. } = parse(json).expect("reads") else {
            panic!("no resume")
        };
        assert!(bad.is_empty());
        assert_eq!(leads.len(), 1);
        assert_eq!(leads[0].variables.as_deref(), Some(r#"{"plan": "gold"}"#));
        assert_eq!(spec.retry, Retry::default());
        let stored = serde_json::to_string(&spec).expect("serialises");
        assert_eq!(serde_json::from_str::<Spec>(&stored).expect("reads back"), *spec);
    }

    #[test]
    fn only_the_required_fields_are_required() {
        let json = r#"{"campaign":{"id":"c","squadId":"s","phoneNumberId":"p"},"leads":[{"number":"+14155550100"}]}"#;
        let Message::Leads { spec, leads, .. } = parse(json).expect("reads") else { panic!("no resume") };
        assert_eq!(leads[0].id.as_str(), "+14155550100");
        assert_eq!(spec.max_duration_seconds, 600);
        assert!(parse(r#"{"campaign":{"id":"c","squadId":"s","phoneNumberId":"p"}}"#).is_ok(), "0 leads");
    }

    #[test]
    fn a_draft_is_asked_for() {
        for (draft, expected) in [("", false), (r#","draft":false"#, false), (r#","draft":true"#, true)] {
            let json = format!(r#"{{"campaign":{{"id":"c","squadId":"s","phoneNumberId":"p"}}{draft}}}"#);
            let Message::Leads { draft, .. } = parse(&json).expect("reads") else { panic!("no resume") };
            assert_eq!(draft, expected, "{json}");
        }
    }

    #[test]
    fn a_bad_lead_is_named_by_its_index_and_never_by_its_number() {
        let bad = bad_leads(
            "",
            r#"[{"number":"+14155550100"},{"number":"4155550101"},{"number":"+14155550102","timezone":"Mars/Olympus"},
                {"number":12},{"id":"x"},{"number":"+14155550103","variables":[1]},7,{"id":"a\u0000b","number":"+14155550104"}]"#,
        );
        let indexes: Vec<_> = bad.iter().map(|lead| lead.index).collect();
        assert_eq!(indexes, [1, 2, 3, 4, 5, 6, 7]);
        assert!(bad.iter().all(|lead| !lead.reason.contains("415555")), "{bad:?}");
    }

    #[test]
    fn a_lead_without_a_zone_is_refused_where_the_window_needs_one() {
        let window = r#","window":{"start":"09:00","end":"18:00"}"#;
        let leads = r#"[{"number":"+80012345678"},{"number":"+80012345679","timezone":"UTC"},{"number":"+14155550100"}]"#;
        let bad = bad_leads(window, leads);
        assert_eq!((bad.len(), bad[0].index, bad[0].reason.as_str()), (1, 0, NO_ZONE));
        assert_eq!(bad_leads("", leads).len(), 0);
    }

    #[test]
    fn a_refusal_never_quotes_what_was_sent() {
        let number = "+14155550100";
        for field in [
            format!(r#""{number}":1"#),
            format!(r#""priority":"{number}""#),
            format!(r#""maxConcurrency":"x, expected {number}""#),
            format!(r#""window":{{"days":["{number}"],"start":"09:00","end":"18:00"}}"#),
        ] {
            let json = format!(r#"{{"campaign":{{{field}}},"leads":[]}}"#);
            let error = parse(&json).expect_err(&json).to_string();
            assert!(!error.contains(&number[1..]) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn variables_that_no_dial_could_send_are_refused() {
        let deep = format!("{}0{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        for variables in [deep.as_str(), r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#] {
            let leads = format!(r#"[{{"number":"+14155550100","variables":{variables}}}]"#);
            assert_eq!(bad_leads("", &leads).len(), 1, "{variables}");
        }
    }

    #[test]
    fn a_campaign_that_does_not_parse_is_refused_with_the_reason() {
        let cases = [
            ("", "object"),
            ("[]", "object"),
            ("{", "EOF"),
            ("{}", "campaign"),
            (r#"{"leads":[]}"#, "campaign"),
            (r#"{"campaign":{"id":"c","phoneNumberId":"p"}}"#, "assistantId or squadId"),
            (
                r#"{"campaign":{"id":"c","assistantId":"a","squadId":"s","phoneNumberId":"p"}}"#,
                "one of the two",
            ),
            (r#"{"campaign":{"id":"c","assistantId":"a"}}"#, "phoneNumberId"),
            (r#"{"campaign":{"id":"a b","assistantId":"a","phoneNumberId":"p"}}"#, "campaign.id"),
            (
                r#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p","maxConcurency":3}}"#,
                "maxConcurency",
            ),
            (r#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p","maxConcurrency":0}}"#, "zero"),
            (
                r#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p","maxDurationSeconds":5}}"#,
                "43200",
            ),
            (
                r#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p","retry":{"busyAfter":"-5m"}}}"#,
                "30 days",
            ),
            (
                r#"{"campaign":{"id":"c","assistantId":"a","phoneNumberId":"p","window":{"start":"9","end":"18:00"}}}"#,
                "09:00",
            ),
            (r#"{"resume":""}"#, "empty"),
        ];
        for (json, part) in cases {
            let error = parse(json).expect_err(json).to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err(), "depth does not overflow the stack");
    }
}
