//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use headroom::core::people::Often;
use headroom::core::pool::Policy;

/// Headroom on one machine: keeps a Vapi account's inbound lines answerable while campaigns dial.
///
/// Without a command it rehearses: a sample campaign against a simulated Vapi, with callers beside
/// it, time sped up, and a summary at the end. Exit code 0 only if the promises held.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do; rehearse if nothing is named.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The rehearsal.
    #[command(flatten)]
    pub(crate) rehearsal: RehearsalArgs,
}

/// What there is besides the rehearsal.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep running against a Vapi, with the state on disk.
    Serve(ServeArgs),
    /// Print lines and calls by day, from the usage table.
    Usage(UsageArgs),
    /// Show the lines: what is reserved for whom, what is shared, and who holds what now.
    Lines(LinesArgs),
    /// Reserve lines for an agent's calls alone, or show what is reserved for it.
    Reserve(ReserveArgs),
    /// Bound the calls of a phone number, a SIP trunk or an organisation, or show what bounds them.
    Quota(QuotaArgs),
    /// Print or change how many lines the pool has.
    Limit(LimitArgs),
    /// Print or change the most lines that outbound may hold.
    Cap(NumberArgs),
    /// Print or change the shared lines that outbound leaves free for the next callers.
    Headroom(NumberArgs),
    /// Print who changed what, the newest first.
    Changes(ChangesArgs),
    /// Say why a call was refused, or why a lead waits or ended: which rule, who held the lines, and when one is
    /// expected.
    Why(WhyArgs),
    /// Begin, watch and steer campaigns, send them leads, and fetch their results.
    Campaign {
        /// What to do.
        #[command(subcommand)]
        command: crate::campaign_args::CampaignCommand,
    },
    /// Keep the list of people who are not to be called, by whatever campaign.
    DoNotCall {
        /// What to do.
        #[command(subcommand)]
        command: crate::do_not_call::DoNotCallCommand,
    },
    /// Set up a Vapi account so that Headroom hears of its calls, or take that back.
    Vapi {
        /// What to do.
        #[command(subcommand)]
        command: crate::vapi::args::VapiCommand,
    },
    /// Run the embedded DynamoDB and SQS alone, for functions under `cargo lambda watch`; prints
    /// the environment that they need.
    Engines,
}

/// The rehearsal's flags.
#[derive(Debug, Clone, Args)]
pub(crate) struct RehearsalArgs {
    /// Leads of the campaign.
    #[arg(long, default_value_t = 200)]
    pub(crate) leads: u32,
    /// Lines of the simulated subscription.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lines: u32,
    /// Most lines that outbound may hold [default: lines − headroom].
    #[arg(long)]
    pub(crate) cap: Option<u32>,
    /// Lines that outbound leaves free for the next callers.
    #[arg(long, default_value_t = 3)]
    pub(crate) headroom: u32,
    /// Callers per simulated hour.
    #[arg(long, default_value_t = 24.0)]
    pub(crate) inbound_per_hour: f64,
    /// Web calls per simulated hour.
    #[arg(long, default_value_t = 4.0)]
    pub(crate) web_per_hour: f64,
    /// Mean length of an answered outbound call, in simulated seconds.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) talk_seconds: f64,
    /// Attempts per lead [default: as in the sample campaign].
    #[arg(long)]
    pub(crate) attempts: Option<u32>,
    /// How many times faster than real life.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) speed: f64,
    /// Seed of the simulated world.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Something to go wrong, as NAME=SHARE; may be repeated. Names: webhook-lost, webhook-doubled,
    /// webhook-late, answer-lost, answer-hangs, refuse-429, error-5xx-before, error-5xx-after,
    /// reset, stuck, carrier-fails, model-fails, voice-fails, transcriber-fails; list-lag-seconds and
    /// slow-seconds take seconds, over-limit-shape a shape (http400, mixed, …).
    #[arg(long = "fault", value_name = "NAME=VALUE")]
    pub(crate) faults: Vec<String>,
    /// Plain lines instead of a live view.
    #[arg(long)]
    pub(crate) plain: bool,
}

/// The flags of `serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen. Beyond loopback, put TLS in front.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Vapi's address.
    #[arg(long, default_value = headroom::config::VAPI)]
    pub(crate) vapi_url: String,
    /// Vapi's private key, and after it NAME=KEY for each further organisation, separated by commas.
    #[arg(long, env = "HEADROOM_VAPI_KEY", hide_env_values = true)]
    pub(crate) vapi_key: String,
    /// Further organisations on the same subscription: NAME=ORG_ID, separated by commas.
    #[arg(long, env = "HEADROOM_ORGS", default_value = "", hide_default_value = true)]
    pub(crate) orgs: String,
    /// The secret that webhooks carry; may be repeated while it is being changed.
    #[arg(
        long = "webhook-secret",
        env = "HEADROOM_WEBHOOK_SECRETS",
        hide_env_values = true,
        required = true,
        value_delimiter = ','
    )]
    pub(crate) webhook_secrets: Vec<String>,
    /// What operators and POST /campaigns must carry as a bearer token [default: a random one, printed].
    #[arg(long, env = "HEADROOM_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
    /// Folder of the state. In memory if not given.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Lines of the subscription, or none if it has no limit.
    #[arg(long, default_value = "10", value_parser = limit)]
    pub(crate) limit: u32,
    /// Most lines that outbound may hold [default: limit].
    #[arg(long)]
    pub(crate) cap: Option<u32>,
    /// Lines that outbound leaves free for the next callers.
    #[arg(long, default_value_t = 0)]
    pub(crate) headroom: u32,
    /// Take over a changed limit that Vapi reports.
    #[arg(long)]
    pub(crate) adopt_limit: bool,
    /// Assistant that answers callers on numbers without one of their own.
    #[arg(long)]
    pub(crate) inbound_assistant: Option<String>,
    /// What a caller hears when every line is taken.
    #[arg(long, default_value = headroom::config::DEFAULT_BUSY_MESSAGE)]
    pub(crate) busy_message: String,
    /// Numbers that callers are forwarded to instead: AGENT=NUMBER, separated by commas, * for all others.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) overflow_numbers: String,
    /// Agents whose leads fail at once where there is no line, instead of waiting: AGENT.outbound, separated by
    /// commas, *.outbound for all.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reject: String,
    /// When people may be called by law: default, none, rules as JSON, or the name of a file with them [default:
    /// default; none at another speed than 1, where nobody is called].
    #[arg(long, env = "HEADROOM_CALLING_HOURS")]
    pub(crate) calling_hours: Option<String>,
    /// Most calls to one person by all campaigns together, within 24 hours and within 30 days: 3/20, or 3/20/24h with
    /// how far apart two leads with one number are called (five minutes), or none [default: 3/20; none with --speed, a rehearsal in which nobody is called].
    #[arg(long)]
    pub(crate) calls_per_person: Option<Often>,
    /// Where events are posted to: campaigns that start, are paused and finish, leads that end. https, or http on this
    /// machine.
    #[arg(long, env = "HEADROOM_EVENTS_URL", hide_env_values = true, requires = "events_secret")]
    pub(crate) events_url: Option<String>,
    /// What events are signed with; several, separated by commas, while it is being changed.
    #[arg(long, env = "HEADROOM_EVENTS_SECRETS", hide_env_values = true)]
    pub(crate) events_secret: Option<String>,
    /// Divide Headroom's own timers by this, for a simulated Vapi that runs so much faster.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) speed: f64,
}

/// The flags of `usage`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UsageArgs {
    /// Folder of a local runner's state. Without it, the table that HEADROOM_TABLE names on AWS.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Days to show, up to now.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
}

/// Which Headroom an operator speaks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConsoleArgs {
    /// Where it is: a local runner, or the ConsoleUrl of a deployed stack.
    #[arg(long, env = "HEADROOM_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: reqwest::Url,
    /// Its admin token.
    #[arg(long, env = "HEADROOM_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) admin_token: String,
}

/// Who changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct ByArgs {
    /// The name that the change is recorded under.
    #[arg(long, env = "USER", default_value = "console")]
    pub(crate) by: String,
}

/// The flags of `lines`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LinesArgs {
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
    /// The answer of GET /status, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `reserve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReserveArgs {
    /// The agent.
    pub(crate) agent: String,
    /// How many lines of a kind: inbound=N, outbound=N, web=N, chat=N. A kind that is not named stays as it is;
    /// without any, the reserve is shown.
    #[arg(value_name = "KIND=N", value_parser = share)]
    pub(crate) shares: Vec<(Share, u32)>,
    /// All the lines serve the agent's calls of any kind.
    #[arg(long, conflicts_with = "strict")]
    pub(crate) pooled: bool,
    /// Each kind's lines serve that kind alone, as at first.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Id of an assistant, squad or phone number that the agent is known by; may be repeated. Those given
    /// replace those of before.
    #[arg(long = "member", value_name = "ID")]
    pub(crate) members: Vec<String>,
    /// Take the reserve away: its lines are shared again.
    #[arg(long, conflicts_with_all = ["shares", "pooled", "strict", "members"])]
    pub(crate) remove: bool,
    /// The console's answer, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) by: ByArgs,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The flags of `quota`.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuotaArgs {
    /// The quota's name, of your choosing.
    pub(crate) name: String,
    /// What it allows: lines=N at once, per-second=N and per-day=N calls begun by Headroom, N or none. A bound that
    /// is not named stays as it is; without any, the quota is shown.
    #[arg(value_name = "BOUND=N", value_parser = bound)]
    pub(crate) bounds: Vec<(Bound, Option<u32>)>,
    /// Id of a phone number, organisation, assistant or squad whose calls count; may be repeated. Those given
    /// replace those of before.
    #[arg(long = "member", value_name = "ID")]
    pub(crate) members: Vec<String>,
    /// Take the quota away.
    #[arg(long, conflicts_with_all = ["bounds", "members"])]
    pub(crate) remove: bool,
    /// The console's answer, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) by: ByArgs,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// What a quota may bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Lines,
    PerSecond,
    PerDay,
}

fn bound(text: &str) -> Result<(Bound, Option<u32>), String> {
    let (bound, most) = text.split_once('=').ok_or("say it as BOUND=N, such as lines=10")?;
    let bound = match bound {
        "lines" => Bound::Lines,
        "per-second" => Bound::PerSecond,
        "per-day" => Bound::PerDay,
        _ => return Err("the bounds are lines, per-second and per-day".to_owned()),
    };
    if most == "none" {
        return Ok((bound, None));
    }
    let most = most.parse().ok().filter(|most| *most > 0);
    Ok((bound, Some(most.ok_or("N is a whole number above 0, or none")?)))
}

/// A kind of line that may be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Inbound,
    Outbound,
    Web,
    Chat,
}

fn share(text: &str) -> Result<(Share, u32), String> {
    let (kind, lines) = text.split_once('=').ok_or("say it as KIND=N, such as inbound=3")?;
    let kind = match kind {
        "inbound" => Share::Inbound,
        "outbound" => Share::Outbound,
        "web" => Share::Web,
        "chat" => Share::Chat,
        _ => return Err("the kinds are inbound, outbound, web and chat".to_owned()),
    };
    let lines = lines.parse().map_err(|_| format!("{lines:?} is not a number of lines"))?;
    Ok((kind, lines))
}

/// The flags of `limit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArgs {
    /// The new number, or none for a subscription without a limit; without it, the present one is printed.
    #[arg(value_parser = limit)]
    pub(crate) lines: Option<u32>,
    /// How many of them were purchased on top of what the plan includes.
    #[arg(long)]
    pub(crate) purchased: Option<u32>,
    /// The console's answer, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) by: ByArgs,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

fn limit(text: &str) -> Result<u32, String> {
    if text == "none" {
        return Ok(Policy::UNLIMITED);
    }
    text.parse().map_err(|_| "it is a whole number of lines, or none".to_owned())
}

/// The flags of `cap` and `headroom`.
#[derive(Debug, Clone, Args)]
pub(crate) struct NumberArgs {
    /// The new number; without it, the present one is printed.
    pub(crate) lines: Option<u32>,
    /// The console's answer, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) by: ByArgs,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The flags of `changes`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChangesArgs {
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
    /// How many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// The answer of GET /changes, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `why`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhyArgs {
    /// Vapi's id of a call, or a lead as CAMPAIGN/LEAD.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
    /// The answer of GET /why/ID, for scripts.
    #[arg(long)]
    pub(crate) json: bool,
}
