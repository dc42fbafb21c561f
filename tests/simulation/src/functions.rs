//! The functions as Lambda runs them: instances that are started cold, serve one invocation at a time,
//! are used again, die, and run for no longer than they may. The handlers are the real ones.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use aws_sdk_dynamodb::config::{
    Credentials, SharedAsyncSleep, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use headroom::config::{Assistants, Callers, Overflow, Rejects};
use headroom::core::timers::Timers;
use headroom::flows::health::HealthStatus;
use headroom::flows::operate::Asked;
use headroom::flows::orgs::Org;
use headroom::flows::{App, Memory, aws_patience, main_pool};
use headroom::outlet::Outlet;
use headroom::table::Table;
use headroom::vapi::{Secret, Vapi};
use headroom::wake::WakeQueue;
use jiff::SignedDuration;
use lambda_http::http::{Request, Response};
use tokio::time::Instant;
use webhook::Webhook;

use crate::boundary::{Aws, Timers as SdkTimers, ToVapi};
use crate::clock::ProcessClock;
use crate::faults::Service;
use crate::items::Said;
use crate::life::Ask;
use crate::plan::{SIBLING, SIBLING_ID, SIBLING_KEY};
use crate::process::{Function, Process};
use crate::queues::Message;
use crate::world::{TABLE, World, lock};

/// What signs the webhooks.
pub const SECRET: &str = "secret";
/// The key of the simulated Vapi's main organisation.
const MAIN_KEY: &str = "sim-private-key";

/// A process with its handler's state.
struct Instance {
    process: Arc<Process>,
    app: Arc<App>,
    /// Which deployment it belongs to.
    deployment: u32,
}

/// The instances that wait for work.
#[derive(Default)]
pub struct Functions {
    idle: Mutex<HashMap<Function, Vec<Instance>>>,
    started: AtomicU32,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

fn nonce() -> u32 {
    // Seeded for each history by the thread that runs it.
    fastrand::u32(..)
}

impl World {
    fn instance(self: &Arc<Self>, function: Function) -> (Instance, bool) {
        let deployment = self.deployment();
        let mut idle = self.functions.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.entry(function).or_default();
        waiting.retain(|instance| instance.deployment == deployment);
        if let Some(instance) = waiting.pop() {
            return (instance, false);
        }
        drop(idle);
        let id = self.functions.started.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.plan.skew.as_millis() as i64;
        let skew = SignedDuration::from_millis(self.faults().chance().i64(-most..=most));
        let process = Arc::new(Process::new(function, id, skew));
        let app = Arc::new(self.app(&process));
        (Instance { process, app, deployment }, true)
    }

    /// What `App::connect` puts together, with this history's edges.
    fn app(self: &Arc<Self>, process: &Arc<Process>) -> App {
        let (retries, timeouts) = aws_patience();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url("http://aws.invalid")
            .credentials_provider(SharedCredentialsProvider::new(credentials()))
            .http_client(Aws { world: self.clone(), process: process.clone() })
            .sleep_impl(SharedAsyncSleep::new(SdkTimers(process.clone())))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries)
            .timeout_config(timeouts)
            .build();
        // Each process has its own retry quota; the SDK would share one among all in this process.
        let quota = || RetryPartition::custom("one process").token_bucket(TokenBucket::default()).build();
        let dynamo = aws_sdk_dynamodb::config::Builder::from(&aws).retry_partition(quota()).build();
        let sqs = aws_sdk_sqs::config::Builder::from(&aws).retry_partition(quota()).build();
        let timers = Timers::default();
        let (policy, adopt_limit) = (self.policy(), self.plan.adopt_limit);
        let vapi = |key| {
            Vapi::over(
                Arc::new(ToVapi { world: self.clone(), process: process.clone(), key }),
                timers.clone(),
            )
        };
        let known = self.plan.sibling.as_ref().filter(|sibling| sibling.sight.is_known());
        let orgs = known.map(|_| Org {
            name: SIBLING.parse().expect("a name"),
            id: SIBLING_ID.parse().expect("an id"),
            vapi: Some(vapi(SIBLING_KEY)),
        });
        let sqs = aws_sdk_sqs::Client::from_conf(sqs);
        let tells = matches!(process.function, Function::Dispatcher | Function::Reconciler);
        let outlet = (self.plan.events && tells)
            .then(|| Outlet::new(sqs.clone(), "http://aws.invalid/000000000000/events"));
        App {
            table: Table::new(aws_sdk_dynamodb::Client::from_conf(dynamo), TABLE, main_pool())
                .with_sizes(self.plan.sizes)
                .announcing(self.plan.events),
            vapi: (process.function != Function::Console).then(|| vapi(MAIN_KEY)),
            wake: WakeQueue::new(sqs, "http://aws.invalid/000000000000/wake"),
            clock: Arc::new(ProcessClock { of: self.clock, skew: process.skew }),
            nonce,
            timers: timers.clone(),
            policy,
            adopt_limit,
            orgs: orgs.into_iter().collect(),
            rejects: Rejects::parse(self.plan.rejects).expect("plans give good lists"),
            memory: Memory::default(),
            calling_hours: self.plan.hours.law(),
            often: self.plan.often,
            outlet,
        }
    }

    /// Lets the idle instances go. They hold the world that holds them: without this it is never dropped.
    pub(crate) fn retire(&self) {
        self.functions.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs one invocation. Nothing if its process died, of a fault or at its time limit.
    pub(crate) async fn invoke<T, W>(
        self: &Arc<Self>,
        function: Function,
        work: impl FnOnce(Arc<App>) -> W,
    ) -> Option<T>
    where
        W: Future<Output = T>,
    {
        let (instance, is_cold) = self.instance(function);
        let Instance { process, app, deployment } = instance;
        self.note((process.id, "invoked"), || {
            let cold = if is_cold {
                format!(", cold, clock {:+.1} s", process.skew.as_secs_f64())
            } else {
                String::new()
            };
            format!("{}-{} invoked{cold}", function.name(), process.id)
        });
        let began = Instant::now();
        let run = async {
            if is_cold {
                app.prepare().await;
            }
            Some(work(app.clone()).await)
        };
        // A frozen process is not stopped by its limit: that is the worst that can happen.
        let limit = async {
            let mut until = Instant::now() + function.time_limit();
            loop {
                tokio::time::sleep_until(until).await;
                if process.frozen_until() <= until {
                    return;
                }
                until = process.frozen_until() + function.time_limit();
            }
        };
        let done = tokio::select! {
            biased;
            () = process.killed() => None,
            done = run => done,
            () = limit => None,
        };
        lock(&self.meter).ran(function, began.elapsed());
        if done.is_none() {
            process.kill();
            self.note((process.id, "died"), || format!("{}-{} is dead", function.name(), process.id));
        } else {
            let mut idle = self.functions.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.entry(function).or_default().push(Instance { process, app, deployment });
        }
        done
    }

    /// A server message arrives. Nothing if its connection broke.
    pub async fn webhook(self: &Arc<Self>, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        let assistant = self.plan.traffic.assistant_id.clone();
        let message = Said::of(request.body());
        if self.faults().is_out(Service::Vapi, self.clock.elapsed()) {
            self.note("webhook lost", || format!("vapi is out of reach and cannot send {message}"));
            return None;
        }
        if self.is_untold(&message) {
            self.note("webhook lost", || format!("a stranger cannot send {message} yet"));
            return None;
        }
        self.note("webhook arrives", || format!("vapi sends {message}"));
        let overflow = if self.plan.forwards { "*=+15555559998" } else { "" };
        let answer = self
            .invoke(Function::Webhook, |app| async move {
                let callers = Callers {
                    secrets: vec![Secret::new(SECRET)],
                    assistants: Assistants::everywhere(assistant),
                    busy_message: "busy".into(),
                    overflow: Overflow::parse(overflow).expect("a constant list is one"),
                };
                let webhook = Webhook::new((*app).clone(), callers);
                webhook.handle(request.map(lambda_http::Body::from)).await
            })
            .await?;
        let (parts, body) = answer.into_parts();
        self.note(("answered", parts.status.as_u16()), || format!("vapi is answered {}", parts.status));
        if parts.status.is_success() {
            self.check_answered(&message);
        }
        Some(Response::from_parts(parts, body.to_vec()))
    }

    /// A batch of messages arrives. The ids of those that were dealt with.
    pub async fn dispatch(self: &Arc<Self>, batch: &[Message]) -> Vec<u64> {
        let records = batch.iter().map(|message| {
            let mut record = SqsMessage::default();
            record.message_id = Some(message.id.to_string());
            record.body = Some(message.body.clone());
            record
        });
        let mut event = SqsEvent::default();
        event.records = records.collect();
        let answer = self
            .invoke(Function::Dispatcher, |app| async move {
                let limit = SignedDuration::try_from(Function::Dispatcher.time_limit()).expect("a minute");
                let deadline = (app.clock.now() + limit).as_millisecond();
                dispatcher::handle(&app, event, deadline).await
            })
            .await;
        let Some(answer) = answer else { return Vec::new() };
        let failed: Vec<_> =
            answer.batch_item_failures.into_iter().map(|item| item.item_identifier).collect();
        batch.iter().map(|message| message.id).filter(|id| !failed.contains(&id.to_string())).collect()
    }

    /// The minute pass. Whether it went through.
    pub async fn reconcile(self: &Arc<Self>) -> bool {
        let done =
            self.invoke(Function::Reconciler, |app| async move { reconciler::handle(&app).await }).await;
        matches!(done, Some(Ok(())))
    }

    /// An operator's wish arrives. Whether it was met.
    pub async fn operate(self: &Arc<Self>, asked: Asked) -> bool {
        let done = self.invoke(Function::Console, |app| async move { app.change(&asked, "operator").await });
        matches!(done.await, Some(Ok(_)))
    }

    /// How well outbound is going, as the console says; nothing if it cannot be asked.
    pub async fn health(self: &Arc<Self>) -> Option<HealthStatus> {
        let asked = self.invoke(Function::Console, |app| async move { app.status().await });
        asked.await?.ok()?.pools.swap_remove(0).health
    }

    /// Somebody asks something of a campaign.
    pub(crate) async fn ask(self: &Arc<Self>, id: String, ask: Ask) {
        self.invoke(Function::Console, |app| async move {
            let Ok(id) = id.parse() else { return };
            // Refused or not: what came of it is checked on the items.
            let _ = match &ask {
                Ask::Wish(wish) => app.ask_campaign(&id, wish, "ada").await,
                Ask::Edit(patch) => app.edit_campaign(&id, patch, "ada").await,
            };
        })
        .await;
    }

    /// The hourly backfill. Whether it went through.
    pub async fn backfill(self: &Arc<Self>) -> bool {
        let done = self.invoke(Function::Backfill, |app| async move {
            let vapi = app.vapi.as_ref().expect("the backfill has Vapi's key");
            backfill::handle(&app.table, vapi, app.clock.now()).await
        });
        matches!(done.await, Some(Ok(())))
    }
}

/// Credentials that open nothing.
fn credentials() -> Credentials {
    Credentials::new("sim", "sim", None, None, "simulation")
}
