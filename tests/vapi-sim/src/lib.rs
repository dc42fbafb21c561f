//! A simulated Vapi: its HTTP API, its telephony, its line limit, its webhooks and its faults.
//!
//! It speaks the real wire format over real HTTP, so that the system under test cannot tell the
//! difference, and it knows the truth: which calls existed, who held the lines at every moment, which
//! webhooks were never sent. Tests compare what the system believes with [`Sim::truth`].
//!
//! - Simulated time passes `speed` times faster than the wall clock. Every time stamp in a body is wall
//!   time, so a 90-second talk at speed 60 is 1.5 s long in `startedAt` and `endedAt`.
//! - What waits for another program is wall time too: API latency, the 20 s of a webhook, the 7.5 s of
//!   an `assistant-request`.
//! - Chance comes from one seed. What happens to a call depends on the seed, its number and how often
//!   that number was called, never on which of two requests came first.
//! - Several orgs may share the subscription. What is counted against the limit is counted over all of
//!   them; what is read with an org's key, and what its server is told, is its own.
//! - A line is taken when a call is created and freed at its real end, before the `ended` webhook leaves. Vapi's own
//!   counter may lag behind that: [`Counter`].

mod analytics;
mod api;
mod calls;
mod carrier;
mod clock;
mod config;
mod connection;
mod control;
mod dialing;
mod fate;
mod inbound;
mod messages;
mod request;
mod settings;
mod setup;
mod setup_api;
mod shared;
mod sim;
mod traffic;
mod truth;
mod webhooks;
mod wire;
mod world;

pub use carrier::Deliver;
pub use config::{
    Config, Counter, Faults, Org, OverLimitShape, Range, Remaining, TalkShape, Telephony, Traffic, Webhook,
    WebhookAuth,
};
pub use settings::Settings;
pub use setup::{Account, AccountFaults, Kind};
pub use sim::Sim;
pub use truth::{
    Blocked, CallKind, CallSeen, CallTruth, LineChange, LinesHeld, OrgLines, Truth, WebhookCounts,
};
