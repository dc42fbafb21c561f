//! SQS as it may behave: messages come at least once, in any order, sometimes to two at once; what is
//! not deleted comes back, and after too many times goes to the dead-letter queue.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The two queues that the dispatcher is fed from.
#[derive(Debug)]
pub struct Queues {
    /// Campaign messages.
    pub campaigns: Queue,
    /// Wake-ups.
    pub wake: Queue,
}

impl Queues {
    /// Empty queues, set up as in the template.
    pub fn new() -> Self {
        Self {
            campaigns: Queue::new("campaigns", 5, 5, Duration::from_secs(345_600)),
            wake: Queue::new("wake", 10, 3, Duration::from_secs(3600)),
        }
    }
}

impl Default for Queues {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a received message is not shown to others.
const VISIBILITY: Duration = Duration::from_secs(360);

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub id: u64,
    /// Its body.
    pub body: String,
    receives: u32,
    sent: Instant,
    visible: Instant,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// Its name.
    pub name: &'static str,
    batch: usize,
    most_receives: u32,
    kept: Duration,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    waiting: Vec<Message>,
    dead: Vec<Message>,
}

impl Queue {
    fn new(name: &'static str, batch: usize, most_receives: u32, kept: Duration) -> Self {
        Self { name, batch, most_receives, kept, state: Mutex::default(), arrived: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message in.
    pub fn send(&self, body: String, delay: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        state.next_id += 1;
        let id = state.next_id;
        state.waiting.push(Message { id, body, receives: 0, sent: now, visible: now + delay });
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Waits for messages and gives some of those that are there, in any order. Each that `repeats`
    /// says so of stays visible: somebody else receives it, too.
    pub async fn receive(&self, chance: &mut fastrand::Rng, repeats: f64) -> Vec<Message> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(batch) = self.take(chance, repeats) {
                return batch;
            }
            let next = self.state().waiting.iter().map(|message| message.visible).min();
            match next {
                Some(next) => tokio::select! {
                    biased;
                    () = arrived => {}
                    () = tokio::time::sleep_until(next) => {}
                },
                None => arrived.await,
            }
        }
    }

    fn take(&self, chance: &mut fastrand::Rng, repeats: f64) -> Option<Vec<Message>> {
        let now = Instant::now();
        let State { waiting, dead, .. } = &mut *self.state();
        waiting.retain(|message| now < message.sent + self.kept);
        let mut there: Vec<usize> = (0..waiting.len()).filter(|at| waiting[*at].visible <= now).collect();
        chance.shuffle(&mut there);
        there.truncate(chance.usize(1..=self.batch));
        let mut batch = Vec::new();
        for at in there {
            let message = &mut waiting[at];
            message.receives += 1;
            if chance.f64() >= repeats {
                message.visible = now + VISIBILITY;
            }
            batch.push(message.clone());
        }
        let (over, taken): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| message.receives > self.most_receives);
        waiting.retain(|message| over.iter().all(|dead| dead.id != message.id));
        dead.extend(over);
        if taken.is_empty() { None } else { Some(taken) }
    }

    /// Deletes a message that was dealt with.
    pub fn delete(&self, id: u64) {
        self.state().waiting.retain(|message| message.id != id);
    }

    /// Empties the dead-letter queue.
    pub fn take_dead(&self) -> Vec<String> {
        self.state().dead.drain(..).map(|message| message.body).collect()
    }

    /// Messages that wait or are being dealt with.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
