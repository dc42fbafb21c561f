//! The command line.

use std::{net::SocketAddr, str::FromStr};

use clap::{Args as ClapArgs, Parser};
use vapi_sim::{
    Account, Config, Counter, Faults, Org, OverLimitShape, Range, Remaining, Settings, TalkShape, Telephony,
    Traffic, Webhook, WebhookAuth,
};

/// A simulated Vapi: API, telephony, line limit, webhooks, faults.
///
/// Prints its URL; on Ctrl-C, what really happened, as JSON. While it runs, without a key:
/// GET /sim/truth (everything), GET /sim/summary (the counts), PUT /sim/lines {"lines": 20},
/// PUT /sim/faults {"webhookLost": 0.1}, PUT /sim/counter {"lagSeconds": 20},
/// PUT /sim/traffic {"inboundPerHour": 60}, PUT /sim/telephony {"answer": 1}, POST /sim/ring-in,
/// POST /sim/dial {"lines": 2} (a call that the org makes by itself), PUT /sim/account
/// {"phoneNumbers": [..], "assistants": [..], ..} (what the org has set up, anew). A PUT changes the members it
/// names and answers with all of them. Traffic, account, ring-in and dial are the main org's; with ?org=ID,
/// that org's.
#[derive(Parser)]
#[command(name = "vapi-sim", version, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where to listen; the controls want no key, so keep it on the loopback address
    #[arg(long, default_value = "127.0.0.1:8099", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// The subscription's limit of concurrent calls
    #[arg(long, default_value_t = 10)]
    lines: u32,
    /// Simulated seconds per wall second
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// All chance comes from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The main org's private key, which requests must carry as a bearer token
    #[arg(long, default_value_t = Config::default().api_key)]
    api_key: String,
    /// The main org
    #[arg(long, default_value_t = Config::default().org_id, value_name = "UUID")]
    org_id: String,
    /// Another org on the same lines, with its own key and traffic (members as in PUT /sim/traffic);
    /// webhook=URL sends its messages there, with the main org's proof. May be repeated
    #[arg(long = "org", value_name = "UUID,KEY[,NAME=VALUE..]")]
    orgs: Vec<OrgArg>,
    #[command(flatten)]
    webhook: WebhookArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    telephony: TelephonyArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Webhooks")]
struct WebhookArgs {
    /// Where server messages go; without it none are sent
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Send this as X-Vapi-Secret
    #[arg(long, value_name = "SECRET", requires = "webhook", group = "auth")]
    webhook_secret: Option<String>,
    /// Send this as a bearer token
    #[arg(long, value_name = "TOKEN", requires = "webhook", group = "auth")]
    webhook_bearer: Option<String>,
    /// Sign with this: x-signature, x-timestamp
    #[arg(long, value_name = "SECRET", requires = "webhook", group = "auth")]
    webhook_hmac: Option<String>,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Traffic that nobody asked for (per simulated hour)")]
struct TrafficArgs {
    /// Callers
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    inbound_per_hour: f64,
    /// Web calls
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    web_per_hour: f64,
    /// Outbound calls that the org makes by itself, from the dashboard or another system
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    dials_per_hour: f64,
    /// Lines that each of those takes: 2 for voice simulations
    #[arg(long, default_value_t = 1, value_name = "LINES")]
    lines_per_dial: u8,
    /// The number has no assistant: ask the server with assistant-request
    #[arg(long)]
    ask_assistant: bool,
    /// The number that callers dial
    #[arg(long, default_value_t = Traffic::default().inbound_phone_number_id, value_name = "UUID")]
    inbound_phone_number_id: String,
    /// The assistant of that number if the server is not asked, and of web calls
    #[arg(long, default_value_t = Traffic::default().assistant_id, value_name = "UUID")]
    assistant_id: String,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Telephony (shares of outbound calls; simulated seconds)")]
struct TelephonyArgs {
    /// Share answered by a person; the five shares need not add up to one
    #[arg(long, default_value_t = Telephony::default().answer, value_name = "SHARE")]
    answer: f64,
    /// Share that rings out
    #[arg(long, default_value_t = Telephony::default().no_answer, value_name = "SHARE")]
    no_answer: f64,
    /// Share that is busy
    #[arg(long, default_value_t = Telephony::default().busy, value_name = "SHARE")]
    busy: f64,
    /// Share answered by a machine
    #[arg(long, default_value_t = Telephony::default().voicemail, value_name = "SHARE")]
    voicemail: f64,
    /// Share that never connects
    #[arg(long, default_value_t = Telephony::default().setup_failure, value_name = "SHARE")]
    setup_failure: f64,
    /// How long it rings [default: 4,28]
    #[arg(long, value_name = "MIN,MAX")]
    ring_seconds: Option<Range>,
    /// Mean talk of an answered outbound call
    #[arg(long, default_value_t = Telephony::default().talk_seconds_mean, value_name = "SECONDS")]
    talk_seconds_mean: f64,
    /// Mean talk of an inbound or web call
    #[arg(long, default_value_t = Telephony::default().inbound_talk_seconds_mean, value_name = "SECONDS")]
    inbound_talk_seconds_mean: f64,
    /// How talk times spread: exponential or lognormal
    #[arg(long, default_value = "exponential", value_name = "SHAPE")]
    talk_shape: TalkShape,
    /// How long the API takes to answer, in wall milliseconds [default: 2,15]
    #[arg(long, value_name = "MIN,MAX")]
    api_latency_ms: Option<Range>,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Faults (shares from 0 to 1)")]
struct FaultArgs {
    /// Webhooks never sent
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    webhook_lost: f64,
    /// Webhooks sent twice
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    webhook_doubled: f64,
    /// Webhooks sent late and out of order
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    webhook_late: f64,
    /// How late, in simulated seconds [default: 5,60]
    #[arg(long, value_name = "MIN,MAX")]
    webhook_late_seconds: Option<Range>,
    /// POST /call: call made, connection closed without an answer
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    answer_lost: f64,
    /// POST /call: call made, never an answer
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    answer_hangs: f64,
    /// POST /call: 429, no call made
    #[arg(long = "refuse-429", default_value_t = 0.0, value_name = "SHARE")]
    refuse_429: f64,
    /// POST /call: 500, no call made
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    error_5xx_before: f64,
    /// POST /call: 522 with an HTML body, call made
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    error_5xx_after: f64,
    /// POST /call: connection reset, no call made
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    reset: f64,
    /// POST /call when every line is taken: http400, http400Old, http429, http404, created201,
    /// endedLater or mixed
    #[arg(long, default_value = "http400", value_name = "SHAPE")]
    over_limit_shape: OverLimitShape,
    /// For so many simulated seconds reads do not show a call or a change of it
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    list_lag_seconds: f64,
    /// Connected calls that last until their maxDurationSeconds
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    stuck: f64,
    /// So many simulated seconds are added to how long POST /call takes to answer
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    slow_seconds: f64,
    /// Outbound calls that the carrier fails before they ring
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    carrier_fails: f64,
    /// Connected outbound calls that end because the model fails
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    model_fails: f64,
    /// The same for the voice
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    voice_fails: f64,
    /// The same for the transcriber
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    transcriber_fails: f64,
    /// For so many simulated seconds after its end a call still counts against the limit
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    counter_lag_seconds: f64,
    /// What subscriptionLimits says: excludes or includes the call just made, minusOne, noLimit,
    /// absent or mixed
    #[arg(long, default_value = "excludes", value_name = "SHAPE")]
    remaining: Remaining,
}

/// One `--org`.
#[derive(Clone)]
struct OrgArg {
    org_id: String,
    api_key: String,
    webhook: Option<String>,
    traffic: Traffic,
}

impl FromStr for OrgArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::to_owned);
        let (Some(org_id), Some(api_key)) = (parts.next(), parts.next()) else {
            return Err("a UUID and a key with a comma between them".into());
        };
        let mut members = serde_json::Map::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or("NAME=VALUE after the key")?;
            members.insert(name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
        }
        let webhook = members.remove("webhook").and_then(|url| url.as_str().map(str::to_owned));
        Ok(Self { org_id, api_key, webhook, traffic: Traffic::default().merged(members.into())? })
    }
}

impl OrgArg {
    fn with(self, auth: &WebhookAuth) -> Org {
        let webhook = self.webhook.map(|url| Webhook { url, auth: auth.clone() });
        Org { org_id: self.org_id, api_key: self.api_key, webhook, traffic: self.traffic, ..Org::default() }
    }
}

impl Args {
    /// The configuration, if it makes sense.
    pub(crate) fn into_config(self) -> Result<Config, String> {
        let (w, r, t, f) = (self.webhook, self.traffic, self.telephony, self.faults);
        let auth = match (w.webhook_secret, w.webhook_bearer, w.webhook_hmac) {
            (Some(secret), ..) => WebhookAuth::Secret(secret),
            (_, Some(token), _) => WebhookAuth::Bearer(token),
            (.., Some(secret)) => WebhookAuth::Hmac(secret),
            _ => WebhookAuth::None,
        };
        let telephony = Telephony {
            answer: t.answer,
            no_answer: t.no_answer,
            busy: t.busy,
            voicemail: t.voicemail,
            setup_failure: t.setup_failure,
            ring_seconds: t.ring_seconds.unwrap_or(Telephony::default().ring_seconds),
            talk_seconds_mean: t.talk_seconds_mean,
            inbound_talk_seconds_mean: t.inbound_talk_seconds_mean,
            talk_shape: t.talk_shape,
            api_latency_ms: t.api_latency_ms.unwrap_or(Telephony::default().api_latency_ms),
        };
        let traffic = Traffic {
            inbound_per_hour: r.inbound_per_hour,
            web_per_hour: r.web_per_hour,
            dials_per_hour: r.dials_per_hour,
            lines_per_dial: r.lines_per_dial,
            ask_assistant: r.ask_assistant,
            inbound_phone_number_id: r.inbound_phone_number_id,
            assistant_id: r.assistant_id,
        };
        let faults = Faults {
            webhook_lost: f.webhook_lost,
            webhook_doubled: f.webhook_doubled,
            webhook_late: f.webhook_late,
            webhook_late_seconds: f.webhook_late_seconds.unwrap_or(Faults::default().webhook_late_seconds),
            answer_lost: f.answer_lost,
            answer_hangs: f.answer_hangs,
            refuse_429: f.refuse_429,
            error_5xx_before: f.error_5xx_before,
            error_5xx_after: f.error_5xx_after,
            reset: f.reset,
            over_limit_shape: f.over_limit_shape,
            list_lag_seconds: f.list_lag_seconds,
            stuck: f.stuck,
            slow_seconds: f.slow_seconds,
            carrier_fails: f.carrier_fails,
            model_fails: f.model_fails,
            voice_fails: f.voice_fails,
            transcriber_fails: f.transcriber_fails,
        };
        let counter = Counter { lag_seconds: f.counter_lag_seconds, remaining: f.remaining };
        telephony.check()?;
        traffic.check()?;
        faults.check()?;
        counter.check()?;
        let orgs = self.orgs.into_iter().map(|org| org.with(&auth)).collect::<Vec<_>>();
        if !(self.speed > 0.0 && self.speed.is_finite()) {
            return Err("the speed is above zero".into());
        }
        Ok(Config {
            seed: self.seed,
            speed: self.speed,
            lines: self.lines,
            api_key: self.api_key,
            org_id: self.org_id,
            webhook: w.webhook.map(|url| Webhook { url, auth }),
            telephony,
            traffic,
            faults,
            counter,
            account: Account::default(),
            orgs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_is_an_id_a_key_and_what_it_does() {
        let args = Args::try_parse_from([
            "vapi-sim",
            "--org=org-2,key-2",
            "--org=org-3,key-3,inboundPerHour=60,assistantId=desk,webhook=http://127.0.0.1:1/vapi",
        ])
        .unwrap();
        let orgs = args.into_config().unwrap().orgs;
        let quiet = (orgs[0].api_key.as_str(), orgs[0].traffic.inbound_per_hour, orgs[0].webhook.is_none());
        assert_eq!(quiet, ("key-2", 0.0, true));
        let busy = (orgs[1].org_id.as_str(), orgs[1].traffic.inbound_per_hour, orgs[1].webhook.is_none());
        assert_eq!(busy, ("org-3", 60.0, false));
        assert_eq!(orgs[1].traffic.assistant_id, "desk");
        for wrong in ["--org=org-2", "--org=org-2,key-2,inbound", "--org=org-2,key-2,inboundPerDay=1"] {
            assert!(Args::try_parse_from(["vapi-sim", wrong]).is_err(), "{wrong}");
        }
    }
}
