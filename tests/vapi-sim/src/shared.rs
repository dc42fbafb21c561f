//! What all tasks of a simulation share, and how they are all stopped.

use std::{
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    carrier::Carrier,
    clock::Clock,
    config::{Config, Traffic},
    fate::{self, About},
    setup::{Account, Setup},
    truth::Truth,
    world::World,
};

/// One simulation. Tasks sleep, and step into the world in between.
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    /// Never empty: the first is the main one.
    pub(crate) orgs: Vec<Org>,
    /// Where this server can be reached, without a slash at the end.
    pub(crate) url: String,
    /// How webhooks are sent.
    pub(crate) carrier: Carrier,
    /// The limit at the beginning; the invented past is made of it.
    pub(crate) first_lines: u32,
    stopped: watch::Sender<bool>,
    world: Mutex<World>,
}

/// An org, as far as it does not change. What it has done is in the world, under the same index.
pub(crate) struct Org {
    pub(crate) id: String,
    pub(crate) api_key: String,
    pub(crate) traffic: watch::Sender<Traffic>,
}

/// The index of the main org.
pub(crate) const MAIN: usize = 0;

impl Org {
    fn new(id: String, api_key: String, traffic: Traffic) -> Self {
        Self { id, api_key, traffic: watch::Sender::new(traffic) }
    }
}

impl Shared {
    pub(crate) fn new(config: Config, url: String, clock: Clock, carrier: Carrier) -> Arc<Self> {
        Arc::new(Self {
            seed: config.seed,
            world: Mutex::new(World::new(&config, clock.wall(1.0).as_secs_f64() * 1e3, clock.now_ms())),
            clock,
            first_lines: config.lines,
            orgs: iter::once(Org::new(config.org_id, config.api_key, config.traffic))
                .chain(config.orgs.into_iter().map(|org| Org::new(org.org_id, org.api_key, org.traffic)))
                .collect(),
            url,
            carrier,
            stopped: watch::Sender::new(false),
        })
    }

    /// The index of the org with this id.
    pub(crate) fn org(&self, id: &str) -> Option<usize> {
        self.orgs.iter().position(|org| org.id == id)
    }

    /// The world. No guard lives across an await; a poisoned lock is used on, since every step is whole.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an org have set this up, and nothing else.
    pub(crate) fn set_up(&self, org: usize, account: Account) {
        let setup = Setup::new(account, &self.orgs[org].id, self.seed, self.clock.now_ms());
        self.world().orgs[org].setup = setup;
    }

    /// What really happened up to now.
    pub(crate) fn truth(&self) -> Truth {
        let world = self.world();
        world.truth(self.clock.now_ms())
    }

    /// Runs a task that [`Shared::stop`] ends.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<Option<T>> {
        let sim = Arc::clone(self);
        tokio::spawn(async move {
            // In order, so that a seed is one history: left to itself the macro draws lots.
            tokio::select! {
                biased;
                done = task => Some(done),
                () = sim.stopped() => None,
            }
        })
    }

    /// Sleeps for simulated seconds.
    pub(crate) async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(self.clock.wall(seconds)).await;
    }

    /// Resolves when the simulation is stopped.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender is in self, so the only error, a dropped sender, cannot be.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// A call id: UUID version 7, its random part from the seed.
    pub(crate) fn call_id(&self, key: u64, now_ms: f64) -> Uuid {
        let high = fate::mix(key, About::CallId as u64);
        let low = fate::mix(high, 1);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_be_bytes());
        random[8..].copy_from_slice(&low.to_be_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(now_ms as u64, &random).into_uuid()
    }
}
