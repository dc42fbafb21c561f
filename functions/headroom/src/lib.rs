//! Headroom keeps the inbound lines of a Vapi account answerable while outbound campaigns use
//! every line that inbound does not need.
//!
//! Three layers, each knowing only those before it:
//!
//! | layer | holds |
//! |---|---|
//! | [`core`] | types, decisions and transitions; pure: takes `now` and ids |
//! | [`table`] and [`vapi`] | each DynamoDB write one named function; the HTTP client and its tolerant parsing |
//! | [`flows`] | take in, observe, dial, settle, reconcile, backfill: what the functions do |
//!
//! The Lambda functions beside this crate, the local runner and the tests are edges around [`flows`].

pub mod config;
pub mod core;
pub mod flows;
pub mod inlet;
pub mod logging;
pub mod metrics;
pub mod outlet;
pub mod table;
pub mod vapi;
pub mod wake;
