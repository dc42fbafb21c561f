//! Headroom's protocol in a model checker ([`stateright`]): every order of its steps in a small world, with
//! processes that die between any two of them and a network that loses, doubles, delays and reorders.
//!
//! `cargo run --release -p protocol-model` visits every state and prints how many there are.
//!
//! | here | the code |
//! |---|---|
//! | [`table`]: `take`, `free`, `take_observed`, `claim`, `fence`, `bind`, `mark_unknown`, `give_back`, `settle`, `record_ended` | the conditional writes of the same names in `headroom::table` |
//! | [`dispatcher`]: `take`, `claim`, `dial`, then `bind`, `mark_unknown` or `give_back` | `flows::dispatch`, `flows::dial` |
//! | [`webhook`]: `ours`, then `bind`, `settle`, `take_observed` or `end_observed` | `flows::observe` |
//! | [`settle`]: `settle`, `record_ended`, `free` | `flows::settle` |
//! | [`pass`]: `read_pool`, `read_leads`, `list_calls`, `current`, `see`, `see_unanswered`, `fence`, `find_missed` | `flows::reconcile` |
//! | [`promises`] | the promises of `headroom::core` |
//! | [`vapi`] | Vapi, the network, time |
//!
//! One write is one step, and a process can die before any step ([`process`]). Mistakes can be planted
//! ([`Bug`]); the tests show that the checker finds each, and print the shortest way into it.
//!
//! # What is not in it
//!
//! - Time is three ages of a line ([`world::Age`]), not seconds. That a request sent before its deadline
//!   makes its call before the deadline or never, and that a call is in the list by the time its absence
//!   is taken for proof, are assumptions here; so is that no process is frozen between its look at
//!   the clock and its request. Vapi is taken at its word that a call has ended.
//! - One attempt per lead: done and failed are one. Retries, windows, priorities, rests, pauses, policy
//!   changes, campaign caps and the closing of campaigns are left out, and so is the ceiling, the one end
//!   without proof. `take` takes one line, not several.
//! - An applied write whose answer was lost is a process that died after it; that the code knows its own
//!   write again is tested elsewhere (`tests/flows`).
//! - Two of Vapi's answers are left out: "over limit" with the id of a call, and a refusal for the lead's
//!   own sake. Ends that do not say enough (`Effect::Waiting`) are messages that were lost.
//! - Forged messages, `take_answered` and other organisations.
//! - Where [`Config::each_read`] is false, the reads of one webhook or one pass are one step. The world of
//!   one lead has them apart.
//! - At most two claims of a lead, and one message and one line of a pass in work at once.

pub mod config;
pub mod dispatcher;
pub mod model;
pub mod pass;
pub mod process;
pub mod promises;
mod report;
pub mod settle;
pub mod shrink;
pub mod table;
pub mod vapi;
pub mod webhook;
pub mod world;

pub use config::{Bug, Config};
pub use report::{Report, check, find};
