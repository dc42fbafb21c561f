//! One process of a function: what can be killed and frozen between any two of its calls.
//!
//! All that a handler does between two calls is computation, so whoever stops a process at its calls
//! stops it anywhere. What it has sent is out of its hands: a request under way is carried out although
//! its sender is dead.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The functions of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Answers server messages.
    Webhook,
    /// Takes campaigns in and dials.
    Dispatcher,
    /// The minute pass.
    Reconciler,
    /// Usage by the hour.
    Backfill,
    /// Does what operators ask for.
    Console,
}

impl Function {
    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Dispatcher => "dispatcher",
            Self::Reconciler => "reconciler",
            Self::Backfill => "backfill",
            Self::Console => "console",
        }
    }

    /// How long an invocation may run, as in the template.
    pub fn time_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Webhook => 10,
            Self::Dispatcher => 60,
            Self::Reconciler => 55,
            Self::Backfill => 300,
            Self::Console => 10,
        })
    }
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Which function it runs.
    pub function: Function,
    /// Its number in the history.
    pub id: u32,
    /// How far its clock is off.
    pub skew: SignedDuration,
    calls: AtomicU32,
    dead: watch::Sender<bool>,
    frozen_until: Mutex<Instant>,
}

impl Process {
    /// A process that runs.
    pub fn new(function: Function, id: u32, skew: SignedDuration) -> Self {
        Self {
            function,
            id,
            skew,
            calls: AtomicU32::new(0),
            dead: watch::Sender::new(false),
            frozen_until: Mutex::new(Instant::now()),
        }
    }

    /// Counts one more call that it makes. The first is 1.
    pub fn next_call(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends it: none of its calls returns any more.
    pub fn kill(&self) {
        self.dead.send_replace(true);
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Resolves when it is killed.
    pub async fn killed(&self) {
        // The sender is in self, so the only error, a dropped sender, cannot be.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Stops it for a while: none of its calls returns before. What it has sent goes on.
    pub fn freeze(&self, span: Duration) {
        let until = Instant::now() + span;
        let mut frozen = self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
        *frozen = until.max(*frozen);
    }

    /// Until when it is frozen; an instant of the past if it is not.
    pub fn frozen_until(&self) -> Instant {
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps as the process does: a timer that is due while it stands still fires when it runs again, after
    /// what has arrived meanwhile was seen.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
        if self.frozen_until() > Instant::now() {
            self.running().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Resolves when it runs; never if it is dead.
    pub async fn running(&self) {
        while self.frozen_until() > Instant::now() {
            tokio::time::sleep_until(self.frozen_until()).await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}
