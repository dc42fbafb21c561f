//! `headroom serve` as a user runs it: a process of its own under a simulated Vapi, spoken to over
//! HTTP only.

mod campaigns;
mod check;
mod contract;
mod crash;
mod do_not_call;
mod events;
mod health;
mod limits;
mod lines;
mod orgs;
mod s3;
mod server;
mod storm;
mod vapi;
mod why;
