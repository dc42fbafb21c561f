//! The whole system, wired: what the template declares, as one value.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use announcer::Announcer;
use anyhow::Context as _;
use console::Console;
use headroom::config::{Access, Callers, Hook, Listener, Listeners, OrgSettings, Rejects};
use headroom::core::hours::CallingHours;
use headroom::core::people::Often;
use headroom::core::pool::Policy;
use headroom::core::timers::Timers;
use headroom::flows::orgs::Org;
use headroom::flows::{App, Memory, SystemClock, main_pool, random_nonce};
use headroom::inlet::Inlet;
use headroom::logging::chain;
use headroom::outlet::Outlet;
use headroom::table::Table;
use headroom::vapi::{Secret, Vapi};
use headroom::wake::WakeQueue;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use webhook::Webhook;

use crate::engines::{Engines, local_aws};
use crate::inbox::Inbox;
use crate::queues::EventSource;
use crate::server;

/// What a system is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where Vapi is, and its private keys.
    pub vapi: Access,
    /// The organisations of the subscription besides the first key's own.
    pub orgs: Vec<OrgSettings>,
    /// Who is let in and how callers are answered.
    pub callers: Callers,
    /// What the console's routes and `POST /campaigns` must carry.
    pub admin_token: Secret,
    /// Where the state is; in memory if not given.
    pub data: Option<PathBuf>,
    /// How lines may be used.
    pub policy: Policy,
    /// Whether a limit that Vapi reports is taken over.
    pub adopt_limit: bool,
    /// Whose leads do not wait for a line.
    pub rejects: Rejects,
    /// When the law lets people be called.
    pub calling_hours: CallingHours,
    /// Most calls to one person.
    pub often: Often,
    /// Who listens to events.
    pub events: Option<Hook>,
    /// How many times faster than real life.
    pub speed: f64,
}

/// A running system.
pub struct System {
    /// The functions' common part.
    pub app: Arc<App>,
    /// The engines beneath.
    pub engines: Arc<Engines>,
    /// Where it listens.
    pub address: SocketAddr,
    inbox: Inbox,
    tasks: JoinSet<()>,
}

/// The name of the table.
pub const TABLE: &str = "headroom";

impl System {
    /// Starts everything and returns when it answers requests on `listener`.
    pub async fn start(settings: Settings, listener: TcpListener) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let timers = Timers::at_speed(settings.speed);
        let timeout = Duration::from_secs(60);
        // Six times the function's time-out in the template; here a retry need not wait so long.
        let engines = Engines::start(settings.data.as_deref(), address, 30).await?;
        let sqs_url =
            engines.wake_url.strip_suffix("/000000000000/wake").unwrap_or(&engines.wake_url).to_owned();
        let dynamo = aws_sdk_dynamodb::Client::new(&local_aws(&engines.dynamo_url));
        let table = Table::new(dynamo, TABLE, main_pool()).announcing(settings.events.is_some());
        let sqs = || aws_sdk_sqs::Client::new(&local_aws(&sqs_url));
        // By way of the own address, too.
        let outlet = settings.events.is_some().then(|| Outlet::new(sqs(), &engines.events_url));
        table.create().await.context("the table could not be made")?;
        table.ensure_pool(settings.policy).await?;
        let vapi = Vapi::new(&settings.vapi.vapi_url, &settings.vapi.keys.main, timers.clone())?;
        let app = Arc::new(App {
            table,
            vapi: Some(vapi.clone()),
            wake: WakeQueue::new(sqs(), &engines.wake_url),
            clock: Arc::new(SystemClock),
            nonce: random_nonce,
            timers: timers.clone(),
            policy: settings.policy,
            adopt_limit: settings.adopt_limit,
            orgs: Org::all(Some(&settings.vapi), settings.orgs, &timers)?,
            rejects: settings.rejects,
            memory: Memory::default(),
            calling_hours: settings.calling_hours,
            often: settings.often,
            outlet,
        });
        let inbox = Inbox::open(settings.data.as_deref())?;
        let outbox = Inbox::outbox(settings.data.as_deref())?;
        let engines = Arc::new(engines);
        let mut system = Self {
            app: app.clone(),
            engines: engines.clone(),
            address,
            inbox: inbox.clone(),
            tasks: JoinSet::new(),
        };

        let webhook = Arc::new(Webhook::new((*app).clone(), settings.callers));
        // By way of the own address, where what is sent to the queue is kept first.
        let inlet = Inlet::new(sqs(), &engines.campaigns_url);
        let edge = server::Edge {
            webhook,
            console: Arc::new(Console::new((*app).clone(), settings.admin_token, inlet)),
            engines: engines.clone(),
            inbox: inbox.clone(),
            outbox: outbox.clone(),
        };
        system.tasks.spawn(server::serve(listener, edge));

        // As the template has them.
        for (url, batch, concurrency) in [(&engines.campaigns_url, 5, 2), (&engines.wake_url, 10, 10)] {
            let source = EventSource { url: url.clone(), batch, concurrency };
            let dispatched = app.clone();
            let dispatch = move |event| {
                let app = dispatched.clone();
                async move {
                    let deadline = app.clock.now().as_millisecond() + timeout.as_millis() as i64;
                    dispatcher::handle(&app, event, deadline).await
                }
            };
            system.tasks.spawn(source.run(engines.sqs.clone(), inbox.clone(), dispatch));
        }
        if let Some(hook) = settings.events {
            let listeners =
                Listeners { source: engines.events_url.clone(), listener: Listener::Webhook(hook) };
            let bus = aws_sdk_eventbridge::Client::new(&local_aws(&sqs_url));
            let announcer = Arc::new(Announcer::new(listeners, bus, sqs())?);
            let source = EventSource { url: engines.events_url.clone(), batch: 10, concurrency: 2 };
            let announce = move |event| {
                let announcer = announcer.clone();
                async move { announcer.handle(event).await }
            };
            system.tasks.spawn(source.run(engines.sqs.clone(), outbox.clone(), announce));
            for body in outbox.left()? {
                engines.send_event(body).await?;
            }
        }
        let reconciled = app.clone();
        system.tasks.spawn(every(timers.pass_interval(), move || {
            let app = reconciled.clone();
            async move {
                if let Err(error) = reconciler::handle(&app).await {
                    tracing::error!(error = chain(&error), "pass broke off; the next one starts over");
                }
            }
        }));
        let filled = app.clone();
        system.tasks.spawn(every(timers.backfill_interval(), move || {
            let (app, vapi) = (filled.clone(), vapi.clone());
            async move {
                if let Err(error) = backfill::handle(&app.table, &vapi, app.clock.now()).await {
                    tracing::warn!(
                        error = chain(&error),
                        "backfill broke off; the next one goes on from there"
                    );
                }
            }
        }));
        for body in inbox.left()? {
            tracing::info!("a message from before the restart is taken in");
            if let Err(error) = engines.send_campaign(body).await {
                tracing::error!(%error, "a message from before the restart stays in the inbox");
            }
        }
        Ok(system)
    }

    /// Accepts a campaign message as the queue does: when this returns, it is not lost any more.
    pub async fn accept(&self, body: &str) -> anyhow::Result<()> {
        self.inbox.accept(&self.engines, body).await
    }

    /// Stops answering and dialing. What is in the table stays.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A schedule: now, and then again and again, `interval` after the last start, never two at once.
async fn every<F: Future<Output = ()>>(interval: Duration, run: impl Fn() -> F) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        run().await;
    }
}
