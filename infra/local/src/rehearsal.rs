//! The main job: the whole system against a simulated Vapi, a sample campaign, callers beside it,
//! time sped up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use headroom::config::{Access, Assistants, Callers, DEFAULT_BUSY_MESSAGE, Keys, Overflow, Rejects};
use headroom::core::hours::CallingHours;
use headroom::core::people::Often;
use headroom::core::pool::Policy;
use headroom::flows::status::Status;
use headroom::vapi::Secret;
use headroom_local::system::{Settings, System};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vapi_sim::{Config, Faults, Settings as _, Sim, Telephony, Traffic, Webhook, WebhookAuth};

use crate::args::RehearsalArgs;
use crate::verdict::{Terms, Verdict};
use crate::view::View;

/// The sample campaign.
const SAMPLE: &str = include_str!("../../../events/campaign.sample.json");
/// What the simulated Vapi is asked to present; it never leaves this process.
const WEBHOOK_SECRET: &str = "rehearsal";

/// Runs the rehearsal. Whether the promises held.
pub(crate) async fn run(args: &RehearsalArgs) -> anyhow::Result<bool> {
    let cap = args.cap.unwrap_or(args.lines.saturating_sub(args.headroom));
    let terms =
        Terms { lines: args.lines, cap, headroom: args.headroom, leads: args.leads, speed: args.speed };
    let traffic = Traffic {
        inbound_per_hour: args.inbound_per_hour,
        web_per_hour: args.web_per_hour,
        ask_assistant: true,
        ..Traffic::default()
    };
    let sim_config = Config {
        seed: args.seed,
        speed: args.speed,
        lines: args.lines,
        telephony: Telephony { talk_seconds_mean: args.talk_seconds, ..Telephony::default() },
        faults: faults(&args.faults)?,
        ..Config::default()
    };
    let quiet = Traffic { inbound_per_hour: 0.0, web_per_hour: 0.0, ..traffic.clone() };

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let webhook = Webhook {
        url: format!("http://{}{}", listener.local_addr()?, webhook::PATH),
        auth: WebhookAuth::Hmac(WEBHOOK_SECRET.to_owned()),
    };
    let key = sim_config.api_key.clone();
    let sim = Sim::start(
        Config { webhook: Some(webhook), traffic: quiet.clone(), ..sim_config },
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let settings = Settings {
        vapi: Access { vapi_url: sim.url(), keys: Keys::one(key) },
        orgs: Vec::new(),
        callers: Callers {
            secrets: vec![Secret::new(WEBHOOK_SECRET)],
            assistants: Assistants::everywhere(traffic.assistant_id.clone()),
            busy_message: DEFAULT_BUSY_MESSAGE.to_owned(),
            overflow: Overflow::default(),
        },
        admin_token: Secret::new(uuid::Uuid::new_v4().to_string()),
        data: None,
        policy: Policy::new(args.lines, cap, args.headroom)?,
        adopt_limit: false,
        rejects: Rejects::default(),
        // Nobody is called.
        calling_hours: CallingHours::none(),
        often: Often::default(),
        events: None,
        speed: args.speed,
    };
    let system = System::start(settings, listener).await?;
    println!(
        "{} leads, {} lines (outbound at most {cap}, {} left free for callers), {} callers an hour, {}x as fast as life",
        args.leads, args.lines, args.headroom, args.inbound_per_hour, args.speed
    );
    sim.set_traffic(traffic);
    system.accept(&campaign(args)?).await?;

    let started = Instant::now();
    let mut view = View::new(args.plain, terms);
    let status = loop {
        let status = system.app.status().await?;
        view.show(&status, &sim.truth());
        if status.campaigns.first().is_some_and(|campaign| campaign.finished) {
            break status;
        }
        if let Some(reason) = status.campaigns.first().and_then(|campaign| campaign.reason.as_deref()) {
            bail!("the campaign paused: {reason}");
        }
        tokio::time::sleep(view.interval()).await;
    };
    sim.set_traffic(quiet);
    let status = settle(&system, &sim, args.speed, status).await?;
    view.end();

    let verdict = Verdict::of(terms, &sim.truth(), &status.pools[0], status.campaigns.first());
    println!("\nWhat the simulated Vapi saw, after {:.1} s:\n\n{verdict}", started.elapsed().as_secs_f64());
    let broken = verdict.broken();
    for words in &broken {
        println!("BROKEN: {words}");
    }
    if broken.is_empty() {
        println!("The promises held.");
    }
    sim.stop();
    system.stop().await;
    Ok(broken.is_empty())
}

/// Lets the calls that are still up end, and lost messages be made up for. What is held after a
/// quarter of an hour of simulated time is held for good.
async fn settle(system: &System, sim: &Sim, speed: f64, mut status: Status) -> anyhow::Result<Status> {
    let patience = Duration::from_secs_f64(15.0 * 60.0 / speed) + Duration::from_secs(20);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && (status.pools[0].total > 0 || sim.truth().live.total() > 0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = system.app.status().await?;
    }
    Ok(status)
}

/// The sample campaign with as many leads as asked for.
fn campaign(args: &RehearsalArgs) -> anyhow::Result<String> {
    let mut message: Value = serde_json::from_str(SAMPLE).context("the sample campaign is not JSON")?;
    if let Some(attempts) = args.attempts {
        message["campaign"]["retry"]["maxAttempts"] = json!(attempts);
    }
    let leads = message["leads"].as_array_mut().context("the sample campaign has no leads")?;
    leads.truncate(args.leads as usize);
    for n in leads.len()..args.leads as usize {
        let number = format!("+1555{:07}", 6_000_000 + n);
        leads.push(json!({ "id": format!("made-{n}"), "number": number, "name": format!("Person {n}") }));
    }
    Ok(message.to_string())
}

/// `webhook-lost=0.05` and the like.
fn faults(given: &[String]) -> anyhow::Result<Faults> {
    let mut change = serde_json::Map::new();
    for fault in given {
        let (name, value) =
            fault.split_once('=').with_context(|| format!("--fault {fault}: write NAME=VALUE"))?;
        let mut words = name.split('-');
        let mut key = words.next().unwrap_or_default().to_owned();
        for word in words {
            let mut letters = word.chars();
            key.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            key.push_str(letters.as_str());
        }
        let value = value.parse::<f64>().map_or_else(|_| json!(value), |number| json!(number));
        change.insert(key, value);
    }
    Faults::default().merged(Value::Object(change)).map_err(|error| anyhow::anyhow!("--fault: {error}"))
}
