//! `headroom`: the local runner's command line.
#![allow(clippy::print_stdout, reason = "a command line prints")]

mod args;
mod callback;
mod campaign;
mod campaign_args;
mod check;
mod do_not_call;
mod kpi;
mod lines;
mod operator;
mod progress;
mod rehearsal;
mod s3;
mod sheet;
mod source;
mod vapi;
mod verdict;
mod view;
mod why;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use headroom::config::{Access, Assistants, Callers, Hook, Keys, OrgSettings, Overflow, Rejects};
use headroom::core::hours::CallingHours;
use headroom::core::people::Often;
use headroom::core::pool::Policy;
use headroom::flows::{Clock as _, SystemClock, aws_config, main_pool};
use headroom::table::Table;
use headroom::vapi::Secret;
use headroom_local::engines::{Engines, local_aws};
use headroom_local::system::{Settings, System, TABLE};
use headroom_local::usage;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Cli, Command, ServeArgs, UsageArgs};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let level =
        if matches!(cli.command, Some(Command::Serve(_))) { LevelFilter::INFO } else { LevelFilter::ERROR };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    match cli.command {
        Some(Command::Serve(args)) => serve(args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Engines) => run_engines().await.map(|()| ExitCode::SUCCESS),
        Some(Command::Usage(args)) => print_usage(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Lines(args)) => operator::show_lines(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Reserve(args)) => operator::reserve(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Quota(args)) => operator::quota(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Limit(args)) => operator::set_limit(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Cap(args)) => operator::set("cap", &args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Headroom(args)) => operator::set("headroom", &args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Changes(args)) => operator::show_changes(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Why(args)) => operator::show_why(&args).await.map(|()| ExitCode::SUCCESS),
        Some(Command::DoNotCall { command }) => do_not_call::run(&command).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Vapi { command }) => {
            let done = vapi::run(&command).await?;
            Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Command::Campaign { command }) => campaign::run(&command).await.map(|()| ExitCode::SUCCESS),
        None => {
            let held = rehearsal::run(&cli.rehearsal).await?;
            Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let (admin_token, made) = match args.admin_token {
        Some(token) => (token, false),
        None => (uuid::Uuid::new_v4().to_string(), true),
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}: choose another --listen", args.listen))?;
    let events = match &args.events_url {
        Some(url) => Some(Hook::parse(url, args.events_secret.as_deref().unwrap_or_default())?),
        None => None,
    };
    let listener_host = events.as_ref().map(|hook| hook.host().to_owned());
    let settings = Settings {
        vapi: Access { vapi_url: args.vapi_url.clone(), keys: Keys::parse(&args.vapi_key)? },
        orgs: OrgSettings::parse(&args.orgs)?,
        callers: Callers {
            secrets: args.webhook_secrets.into_iter().map(Secret::new).collect(),
            assistants: args.inbound_assistant.map(Assistants::everywhere).unwrap_or_default(),
            busy_message: args.busy_message,
            overflow: Overflow::parse(&args.overflow_numbers)?,
        },
        admin_token: Secret::new(&admin_token),
        data: args.data.clone(),
        policy: Policy::new(args.limit, args.cap.unwrap_or(args.limit), args.headroom)?,
        adopt_limit: args.adopt_limit,
        rejects: Rejects::parse(&args.reject)?,
        calling_hours: calling_hours(args.calling_hours.as_deref(), args.speed)?,
        often: args.calls_per_person.unwrap_or_else(|| often_at(args.speed)),
        events,
        speed: args.speed,
    };
    let system = System::start(settings, listener).await?;
    println!("Headroom listens on http://{}", system.address);
    println!("  Vapi's server URL     POST /vapi");
    println!("  campaigns             POST /campaigns, or SQS at {}", system.engines.campaigns_url);
    println!("  figures and changes   headroom lines --url http://{}", system.address);
    if let Some(host) = listener_host {
        println!("  events                posted to {host}");
    }
    if made {
        println!("  admin token           {admin_token}");
    }
    match &args.data {
        Some(data) => println!("  state                 {}", data.display()),
        None => println!("  state                 in memory only; --data DIR keeps it"),
    }
    stop_asked().await?;
    tracing::info!("stopping; calls go on, and the next start finds them");
    system.stop().await;
    Ok(())
}

/// The hours by law that a flag names. A rehearsal, at another speed than life's, calls nobody.
fn calling_hours(asked: Option<&str>, speed: f64) -> anyhow::Result<CallingHours> {
    let asked = asked.unwrap_or(if speed == 1.0 { "default" } else { "none" }).trim();
    let is_file = !matches!(asked, "default" | "none") && !asked.starts_with('{');
    let text = if is_file {
        std::fs::read_to_string(asked).with_context(|| format!("--calling-hours: {asked} cannot be read"))?
    } else {
        asked.to_owned()
    };
    CallingHours::parse(&text).context("--calling-hours")
}

async fn stop_asked() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The engines, with the table made, and what `cargo lambda watch --env-file` wants to know.
async fn run_engines() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let engines = Engines::start(None, address, 360).await?;
    local_table(&engines).create().await?;
    println!("AWS_REGION=us-east-1\nAWS_ACCESS_KEY_ID=local\nAWS_SECRET_ACCESS_KEY=local");
    println!("AWS_ENDPOINT_URL_DYNAMODB={}\nAWS_ENDPOINT_URL_SQS=http://{address}", engines.dynamo_url);
    println!("HEADROOM_TABLE={TABLE}\nHEADROOM_WAKE_QUEUE_URL={}", engines.wake_url);
    println!("HEADROOM_VAPI_URL=http://127.0.0.1:8099\nHEADROOM_VAPI_KEY=sim-private-key");
    println!("HEADROOM_WEBHOOK_SECRETS=sample-secret\nHEADROOM_INBOUND_ASSISTANTS=\"*=assistant\"");
    println!("HEADROOM_LIMIT=10\nHEADROOM_CAP=7\nHEADROOM_HEADROOM=3\nHEADROOM_CALLING_HOURS=none");
    tokio::select! {
        () = headroom_local::server::serve_sqs(listener, engines.into()) => Ok(()),
        asked = stop_asked() => asked,
    }
}

fn local_table(engines: &Engines) -> Table {
    Table::new(aws_sdk_dynamodb::Client::new(&local_aws(&engines.dynamo_url)), TABLE, main_pool())
}

/// Most calls to one person if nobody says: in a rehearsal, whose time is not real, nobody is called.
fn often_at(speed: f64) -> Often {
    if speed > 1.0 { Often::default() } else { Often::usual() }
}

async fn print_usage(args: &UsageArgs) -> anyhow::Result<()> {
    let table = match &args.data {
        Some(data) => {
            anyhow::ensure!(
                data.join("table.db").exists(),
                "{} holds no state of a local runner",
                data.display()
            );
            let engines = Engines::start(Some(data), ([127, 0, 0, 1], 0).into(), 30).await?;
            local_table(&engines)
        }
        None => {
            let aws = aws_config().await;
            let env = headroom::config::Environment::load(&aws).await?;
            let store = headroom::config::Store::from_env(&env)?;
            Table::new(aws_sdk_dynamodb::Client::new(&aws), store.table, main_pool())
        }
    };
    let hour = jiff::SignedDuration::from_hours(1).as_secs();
    let now = jiff::Timestamp::from_second(SystemClock.now().as_second() / hour * hour)?;
    let from = now - jiff::SignedDuration::from_hours(24 * i64::from(args.days));
    let (hours, known) = tokio::try_join!(table.read_usage(from, now), table.read_checkpoint())?;
    let limit = table.read_pool().await.ok().map(|pool| pool.policy.limit());
    print!("{}", usage::report(&hours, from, now, known, limit));
    Ok(())
}
