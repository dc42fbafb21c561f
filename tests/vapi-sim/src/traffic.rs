//! Calls that nobody asked for through the API, at random (Poisson) moments.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    calls,
    config::Traffic,
    fate::{self, About},
    shared::Shared,
};

/// Starts both streams.
pub(crate) fn spawn(sim: &Arc<Shared>) {
    sim.spawn(stream(Arc::clone(sim), 0, |traffic| traffic.inbound_per_hour, calls::ring_in));
    sim.spawn(stream(Arc::clone(sim), 1, |traffic| traffic.web_per_hour, calls::web_visit));
}

async fn stream(sim: Arc<Shared>, which: u64, per_hour: fn(&Traffic) -> f64, arrive: fn(&Arc<Shared>)) {
    let mut traffic = sim.traffic.subscribe();
    let mut nth = 0;
    // Moments are counted from the one before and not from when this task woke, or the rate would sink
    // below what was asked for as soon as arrivals come faster than timers.
    let mut due = Instant::now();
    loop {
        let rate = per_hour(&traffic.borrow_and_update()) / 3600.0;
        if rate > 0.0 {
            due += sim.clock.wall(fate::gap(fate::key(sim.seed, About::Arrival, which, nth), rate));
            nth += 1;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {
                    arrive(&sim);
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
