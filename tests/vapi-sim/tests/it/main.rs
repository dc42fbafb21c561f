//! The simulated Vapi, met as its clients meet it: over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic anywhere")]

mod account;
mod analytics;
mod faults;
mod inbound;
mod life;
mod limit;
mod orgs;
mod setup;
