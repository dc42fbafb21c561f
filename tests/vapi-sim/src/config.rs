//! What a simulation is made of: the subscription and its orgs, where webhooks go, how people answer, who
//! calls in, and what goes wrong.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::setup::Account;

/// Everything a simulation starts from. Its own key, id, webhook and traffic are those of the main org.
#[derive(Clone, Debug)]
pub struct Config {
    /// All chance comes from this.
    pub seed: u64,
    /// Simulated seconds per wall second.
    pub speed: f64,
    /// The subscription's limit of concurrent calls.
    pub lines: u32,
    /// The main org's private key, which its API requests must carry as a bearer token.
    pub api_key: String,
    /// The main org's id; a UUID.
    pub org_id: String,
    /// Where the main org's server messages go. Without it none are sent.
    pub webhook: Option<Webhook>,
    /// How called people and the API behave.
    pub telephony: Telephony,
    /// The main org's calls that nobody asked for through the API.
    pub traffic: Traffic,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// How well Vapi counts its own lines.
    pub counter: Counter,
    /// What the main org has set up.
    pub account: Account,
    /// The other orgs on the subscription. All share its lines, and each sees only its own calls.
    pub orgs: Vec<Org>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            speed: 1.0,
            lines: 10,
            api_key: "sim-private-key".into(),
            org_id: "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d001".into(),
            webhook: None,
            telephony: Telephony::default(),
            traffic: Traffic::default(),
            faults: Faults::default(),
            counter: Counter::default(),
            account: Account::default(),
            orgs: Vec::new(),
        }
    }
}

/// An org beside the main one. Its id and its key are its own: the first org with either has it.
#[derive(Clone, Debug)]
pub struct Org {
    /// Its id; a UUID.
    pub org_id: String,
    /// Its private key.
    pub api_key: String,
    /// Where its server messages go. Without it nobody hears of its calls.
    pub webhook: Option<Webhook>,
    /// Its calls that nobody asked for through the API.
    pub traffic: Traffic,
    /// What it has set up.
    pub account: Account,
}

impl Default for Org {
    fn default() -> Self {
        Self {
            org_id: "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d011".into(),
            api_key: "sim-other-private-key".into(),
            webhook: None,
            traffic: Traffic::default(),
            account: Account::default(),
        }
    }
}

/// Where server messages go, and how they prove where they come from.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The whole URL, path included.
    pub url: String,
    /// The proof.
    pub auth: WebhookAuth,
}

/// How a webhook proves where it comes from.
#[derive(Clone)]
pub enum WebhookAuth {
    /// Not at all.
    None,
    /// `X-Vapi-Secret: <secret>`.
    Secret(String),
    /// `Authorization: Bearer <token>`.
    Bearer(String),
    /// `x-signature`: hex SHA-256 HMAC over `{timestamp}.{body}`; `x-timestamp`: epoch milliseconds.
    Hmac(String),
}

impl std::fmt::Debug for WebhookAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(..)",
            Self::Bearer(_) => "Bearer(..)",
            Self::Hmac(_) => "Hmac(..)",
        })
    }
}

/// From the first number to the second, evenly. Written `4,28` on the command line, `[4, 28]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range(pub f64, pub f64);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once(',').ok_or("two numbers with a comma between them")?;
        let number = |part: &str| part.trim().parse::<f64>().map_err(|error| error.to_string());
        let range = Self(number(low)?, number(high)?);
        if range.is_ordered() {
            Ok(range)
        } else {
            Err("the first number is the smaller one, and not negative".into())
        }
    }
}

impl Range {
    pub(crate) fn is_ordered(self) -> bool {
        0.0 <= self.0 && self.0 <= self.1 && self.1.is_finite()
    }
}

/// How called people and the API behave. Seconds are simulated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Telephony {
    /// Share of outbound calls that a person answers. The five shares need not add up to one.
    pub answer: f64,
    /// Share that rings out.
    pub no_answer: f64,
    /// Share that is busy.
    pub busy: f64,
    /// Share that a machine answers.
    pub voicemail: f64,
    /// Share that never gets as far as the carrier.
    pub setup_failure: f64,
    /// How long it rings before someone answers; ringing out takes the longest.
    pub ring_seconds: Range,
    /// Mean talk of an answered outbound call; never below 5 s, cut off at `maxDurationSeconds`.
    pub talk_seconds_mean: f64,
    /// Mean talk of an inbound or web call.
    pub inbound_talk_seconds_mean: f64,
    /// How talk times spread around their mean.
    pub talk_shape: TalkShape,
    /// How long the API takes to answer, in WALL milliseconds. A call is created halfway through.
    pub api_latency_ms: Range,
}

impl Default for Telephony {
    fn default() -> Self {
        Self {
            answer: 0.45,
            no_answer: 0.30,
            busy: 0.05,
            voicemail: 0.17,
            setup_failure: 0.03,
            ring_seconds: Range(4.0, 28.0),
            talk_seconds_mean: 90.0,
            inbound_talk_seconds_mean: 120.0,
            talk_shape: TalkShape::Exponential,
            api_latency_ms: Range(2.0, 15.0),
        }
    }
}

/// How talk times spread around their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TalkShape {
    /// Memoryless, as the loss formulas of Erlang assume.
    Exponential,
    /// Most talks short, a few very long.
    Lognormal,
}

/// Calls that nobody asked for through the API. They arrive at random (Poisson) moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// Callers per simulated hour.
    pub inbound_per_hour: f64,
    /// Web calls per simulated hour.
    pub web_per_hour: f64,
    /// Outbound calls per simulated hour that the org makes by itself: from the dashboard, or from another
    /// system.
    pub dials_per_hour: f64,
    /// Lines that each of those takes: 1, or 2 if they are voice simulations.
    pub lines_per_dial: u8,
    /// The number has no assistant: the server is asked with `assistant-request` what to do.
    pub ask_assistant: bool,
    /// The number that callers dial, and that the org's own calls come from.
    pub inbound_phone_number_id: String,
    /// The assistant of that number when the server is not asked, of web calls and of the org's own.
    pub assistant_id: String,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            inbound_per_hour: 0.0,
            web_per_hour: 0.0,
            dials_per_hour: 0.0,
            lines_per_dial: 1,
            ask_assistant: false,
            inbound_phone_number_id: "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d002".into(),
            assistant_id: "7b9d0c52-41fe-4c0a-9d6e-52a7b1c3d003".into(),
        }
    }
}

/// What goes wrong, as shares from 0 to 1 unless said otherwise. All zero by default.
///
/// Webhook faults strike `status-update` and `end-of-call-report`; answer faults strike `POST /call`.
/// A request or a message suffers at most one of its faults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// Webhooks that are never sent.
    pub webhook_lost: f64,
    /// Webhooks that are sent twice.
    pub webhook_doubled: f64,
    /// Webhooks that are sent late, after messages that were written later.
    pub webhook_late: f64,
    /// How late, in simulated seconds.
    pub webhook_late_seconds: Range,
    /// Call made, then the connection is closed without an answer.
    pub answer_lost: f64,
    /// Call made, and no answer until the client gives up.
    pub answer_hangs: f64,
    /// 429, no call made.
    pub refuse_429: f64,
    /// 500 with a JSON body, no call made.
    pub error_5xx_before: f64,
    /// 522 with an HTML body, call made.
    pub error_5xx_after: f64,
    /// Connection reset, no call made.
    pub reset: f64,
    /// What a `POST /call` gets when every line is taken.
    pub over_limit_shape: OverLimitShape,
    /// For so many simulated seconds reads do not show a new call, or a change of one.
    pub list_lag_seconds: f64,
    /// Connected calls that stay in progress until their `maxDurationSeconds`.
    pub stuck: f64,
    /// So many simulated seconds are added to how long `POST /call` takes to answer.
    pub slow_seconds: f64,
    /// Outbound calls that the carrier fails before they ring.
    pub carrier_fails: f64,
    /// Connected outbound calls that end within seconds because the model fails.
    pub model_fails: f64,
    /// The same for the voice.
    pub voice_fails: f64,
    /// The same for the transcriber.
    pub transcriber_fails: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            webhook_lost: 0.0,
            webhook_doubled: 0.0,
            webhook_late: 0.0,
            webhook_late_seconds: Range(5.0, 60.0),
            answer_lost: 0.0,
            answer_hangs: 0.0,
            refuse_429: 0.0,
            error_5xx_before: 0.0,
            error_5xx_after: 0.0,
            reset: 0.0,
            over_limit_shape: OverLimitShape::default(),
            list_lag_seconds: 0.0,
            stuck: 0.0,
            slow_seconds: 0.0,
            carrier_fails: 0.0,
            model_fails: 0.0,
            voice_fails: 0.0,
            transcriber_fails: 0.0,
        }
    }
}

/// How well Vapi counts the lines of the subscription, and what it says of them; exactly, by default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Counter {
    /// For so many simulated seconds after its end a call still counts against the limit.
    pub lag_seconds: f64,
    /// The figures in `subscriptionLimits`.
    pub remaining: Remaining,
}

/// What `subscriptionLimits` says, on which Vapi's documents and answers disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Remaining {
    /// `remainingConcurrentCalls` are the lines left for others: the call just made has taken its own.
    #[default]
    Excludes,
    /// They include the line of the call just made.
    Includes,
    /// They are always -1.
    MinusOne,
    /// There is no `concurrencyLimit`, as of a subscription without one.
    NoLimit,
    /// There are no figures. The whole object is absent, except where it says `concurrencyBlocked`.
    Absent,
    /// Any of the others in each answer, by the seed.
    Mixed,
}

impl Remaining {
    /// Everything that can be said; [`Remaining::Mixed`] picks one of these.
    pub const CONCRETE: [Self; 5] =
        [Self::Excludes, Self::Includes, Self::MinusOne, Self::NoLimit, Self::Absent];
}

/// What a `POST /call` gets when every line is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OverLimitShape {
    /// 400 with a message and `subscriptionLimits`.
    #[default]
    Http400,
    /// 400 with the older `{"error": "Over Concurrency Limit"}`.
    Http400Old,
    /// 429 whose message names the concurrency limit.
    Http429,
    /// 404 with "reach concurrency limit".
    Http404,
    /// 201 with an id and `concurrencyBlocked: true`; no such call exists afterwards.
    #[serde(rename = "created-201")]
    Created201,
    /// 201 as ever, then the call ends with the concurrency reason. It never holds a line.
    EndedLater,
    /// Any of the others, by the seed.
    Mixed,
}

impl OverLimitShape {
    /// Every shape that can be met; [`OverLimitShape::Mixed`] picks one of these.
    pub const CONCRETE: [Self; 6] =
        [Self::Http400, Self::Http400Old, Self::Http429, Self::Http404, Self::Created201, Self::EndedLater];
}

impl FromStr for OverLimitShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

impl FromStr for Remaining {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

impl FromStr for TalkShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}
