//! Calls that nobody asked for through the API, at random (Poisson) moments.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    calls,
    config::Traffic,
    fate::{self, About},
    shared::Shared,
};

/// Every kind of call has a stream of its own, in every org.
struct Stream {
    /// Keeps its draws apart from those of the org's other streams.
    nth: u64,
    per_hour: fn(&Traffic) -> f64,
    arrive: fn(&Arc<Shared>, org: usize),
}

const STREAMS: [Stream; 3] = [
    Stream { nth: 0, per_hour: |traffic| traffic.inbound_per_hour, arrive: calls::ring_in },
    Stream { nth: 1, per_hour: |traffic| traffic.web_per_hour, arrive: calls::web_visit },
    Stream { nth: 2, per_hour: |traffic| traffic.dials_per_hour, arrive: dial },
];

fn dial(sim: &Arc<Shared>, org: usize) {
    let lines = sim.orgs[org].traffic.borrow().lines_per_dial;
    calls::dial_out(sim, org, lines);
}

/// Starts all streams.
pub(crate) fn spawn(sim: &Arc<Shared>) {
    for org in 0..sim.orgs.len() {
        for stream in &STREAMS {
            sim.spawn(stream.flow(Arc::clone(sim), org));
        }
    }
}

impl Stream {
    async fn flow(&self, sim: Arc<Shared>, org: usize) {
        let mut traffic = sim.orgs[org].traffic.subscribe();
        let which = (org as u64) << 8 | self.nth;
        let mut nth = 0;
        // Moments are counted from the one before and not from when this task woke, or the rate would sink
        // below what was asked for as soon as arrivals come faster than timers.
        let mut due = Instant::now();
        loop {
            let rate = (self.per_hour)(&traffic.borrow_and_update()) / 3600.0;
            if rate > 0.0 {
                due += sim.clock.wall(fate::gap(fate::key(sim.seed, About::Arrival, which, nth), rate));
                nth += 1;
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => {
                        (self.arrive)(&sim, org);
                        continue;
                    }
                    _ = traffic.changed() => {}
                }
            } else if traffic.changed().await.is_err() {
                return;
            }
            // At a new rate the wait begins anew; the process has no memory, so nothing is lost by it.
            due = Instant::now();
        }
    }
}
