//! What the functions do, step by step, with everything they need passed in as an [`App`].
//!
//! | flow | function | from | to |
//! |---|---|---|---|
//! | [`feasible`] | console | a campaign that is not sent yet | the terms that it would have |
//! | [`intake`] | dispatcher | a campaign message | leads that are ready |
//! | [`dispatch`] | dispatcher | free lines and ready leads | lines taken, dials begun |
//! | [`announce`] | dispatcher, reconciler | what has happened | events on their queue |
//! | [`campaigns`] | console, dispatcher | a person's wish | a campaign's state, and its leads moved on |
//! | [`callable`] | dispatcher | ready leads | those that may be called now |
//! | [`callbacks`] | webhook, console | when a person wants to be called | a promise, kept or missed |
//! | [`dial`] | dispatcher | a taken line and its lead | a call |
//! | [`health`] | dispatcher, webhook, reconciler | how calls go | a cap that adapts, breakers |
//! | [`reject`] | dispatcher | leads that shall not wait for a line | their end |
//! | [`observe`] | webhook | a server message | lines taken and freed |
//! | [`settle`] | webhook, dispatcher, reconciler | the end of a dialed call | the lead's outcome, a free line |
//! | [`reconcile`] | reconciler | the ledger, the leads and Vapi's list | the same state that all events would have led to |
//! | [`backfill`] | backfill | Vapi's analytics | usage by the hour |
//! | [`calibrate`] | dispatcher, reconciler | Vapi's figures | what outbound leaves to others |
//! | [`operate`] | console, local runner | an operator's wish | the policy and the reserves |
//! | [`orgs`] | all | an organisation of the subscription | its key, its calls |
//! | [`people`] | dispatcher, webhook | a person's number | whether they may be called, their word that they may not |
//! | [`refusals`] | dispatcher, webhook, reconciler | a refusal | the record of it |
//! | [`why`] | console, local runner | a call, or a lead | why it waits, was refused or ended |
//! | [`kpi`] | webhook, reconciler | how calls ended, and for how long people talked | a campaign's figures |
//! | [`status`] | console, local runner | the ledger and the campaigns | figures for people |
//!
//! The order of writes is what survives a crash between any two of them:
//! a dial takes the line, then claims the lead, then asks Vapi, then binds; an end writes the lead's
//! outcome, then the call's record, then frees the line. While a line is held, the pass finds its
//! call again; a lead is never without both a place in the queue and a line.

pub mod announce;
pub mod backfill;
pub mod calibrate;
pub mod callable;
pub mod callbacks;
pub mod campaigns;
pub mod dial;
pub mod dispatch;
pub mod feasible;
pub mod health;
pub mod intake;
pub mod kpi;
mod memory;
pub mod observe;
pub mod operate;
pub mod orgs;
pub mod people;
mod place;
pub mod reconcile;
pub mod refusals;
pub mod reject;
pub mod settle;
pub mod status;
pub mod why;

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use jiff::Timestamp;

pub use self::memory::Memory;
use self::orgs::Org;
use crate::config::{Access, Lines, Rejects, Store};
use crate::core::hours::CallingHours;
use crate::core::ids::PoolId;
use crate::core::people::Often;
use crate::core::pool::Policy;
use crate::core::timers::Timers;
use crate::logging::chain;
use crate::outlet::Outlet;
use crate::table::Table;
use crate::vapi::{Vapi, VapiError};
use crate::wake::WakeQueue;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where time is injected from")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Everything that a flow works with.
#[derive(Clone)]
pub struct App {
    /// The table.
    pub table: Table,
    /// Vapi, for those who ask it anything.
    pub vapi: Option<Vapi>,
    /// Wake-ups for the dispatcher.
    pub wake: WakeQueue,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the random part of a token comes from.
    pub nonce: fn() -> u32,
    /// The spans that decisions rest on.
    pub timers: Timers,
    /// The configured policy.
    pub policy: Policy,
    /// Whether a limit that Vapi reports is taken over.
    pub adopt_limit: bool,
    /// The organisations of the subscription besides the key's own.
    pub orgs: Vec<Org>,
    /// Whose leads do not wait for a line.
    pub rejects: Rejects,
    /// What this process knows of campaigns already.
    pub memory: Memory,
    /// When the law lets people be called.
    pub calling_hours: CallingHours,
    /// Most calls to one person.
    pub often: Often,
    /// Where events go, for those who tell them; what is to be told is [`Table::announcing`]'s to say.
    pub outlet: Option<Outlet>,
}

/// The pool that a function serves. One stack is one pool.
pub fn main_pool() -> PoolId {
    "main".parse().expect("letters are an id")
}

/// A number that nobody else draws at the same instant: from the machine's randomness.
pub fn random_nonce() -> u32 {
    rand::random()
}

/// How long a start waits for the table, and for Vapi. With [`observe`]'s patience for callers it is less than Vapi's own.
const START_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Headroom's patience with AWS: five tries with jitter, each bounded in time, so that a function
/// never hangs on one lost answer.
pub fn aws_patience() -> (RetryConfig, TimeoutConfig) {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(std::time::Duration::from_secs(2))
        .operation_attempt_timeout(std::time::Duration::from_secs(3))
        .operation_timeout(std::time::Duration::from_secs(9))
        .build();
    (RetryConfig::standard().with_max_attempts(5), timeouts)
}

/// The configuration of the environment, with [`aws_patience`].
pub async fn aws_config() -> SdkConfig {
    let (retries, timeouts) = aws_patience();
    aws_config::defaults(BehaviorVersion::latest())
        .retry_config(retries)
        .timeout_config(timeouts)
        .load()
        .await
}

impl App {
    /// Connects a function to the world it is configured for, and prepares it. `access`: to Vapi, if it asks it anything.
    pub async fn connect(
        aws: &SdkConfig,
        store: &Store,
        access: Option<&Access>,
        lines: Lines,
    ) -> Result<Self, StartError> {
        let timers = Timers::default();
        let table = Table::new(aws_sdk_dynamodb::Client::new(aws), &store.table, main_pool())
            .announcing(lines.announces);
        let vapi = access.map(|access| Vapi::new(&access.vapi_url, &access.keys.main, timers.clone()));
        let vapi = vapi.transpose()?;
        let orgs = Org::all(access, lines.orgs, &timers)?;
        let app = Self {
            table,
            vapi,
            wake: WakeQueue::new(aws_sdk_sqs::Client::new(aws), lines.wake_queue_url),
            clock: Arc::new(SystemClock),
            nonce: random_nonce,
            timers,
            policy: lines.policy,
            adopt_limit: lines.adopt_limit,
            orgs,
            rejects: lines.rejects,
            memory: Memory::default(),
            calling_hours: lines.calling_hours,
            often: lines.often,
            outlet: None,
        };
        app.prepare().await;
        Ok(app)
    }

    /// The same for a function that tells what happens.
    pub fn telling(self, outlet: Option<Outlet>) -> Self {
        Self { outlet, ..self }
    }

    /// Opens the connections, so that the first invocation does not, and makes sure that the pool exists.
    ///
    /// Who starts while the table does not answer starts all the same, since a caller may be waiting for it; each
    /// invocation says for itself what it could not do, and the pass makes sure of the pool again.
    pub async fn prepare(&self) {
        let ensure = tokio::time::timeout(START_PATIENCE, self.table.ensure_pool(self.policy));
        let warm = async {
            if let Some(vapi) = &self.vapi {
                vapi.warm().await;
            }
        };
        let (_, ensured) = tokio::join!(tokio::time::timeout(START_PATIENCE, warm), ensure);
        match ensured {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = chain(&error), "started without the table"),
            Err(_) => tracing::error!("started without the table: it does not answer"),
        }
    }

    /// Wakes the dispatcher; a wake-up that cannot be sent is logged and left to the minute pass.
    async fn wake_dispatcher(&self, delay: std::time::Duration) {
        if let Err(error) = self.wake.send(delay).await {
            tracing::warn!(error = chain(&error), "no wake-up sent; the next pass sends one");
        }
    }

    /// Wakes the dispatcher at an instant.
    async fn wake_at(&self, at: Timestamp) {
        let delay = at.duration_since(self.clock.now());
        self.wake_dispatcher(std::time::Duration::try_from(delay).unwrap_or_default()).await;
    }
}

/// Why a function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The environment.
    #[error("the configuration is not complete")]
    Config(#[from] crate::config::ConfigError),
    /// Vapi's client.
    #[error("Vapi cannot be asked")]
    Vapi(#[from] VapiError),
}
