//! Deterministic simulation: the real handlers with the real AWS SDK's requests, an embedded DynamoDB
//! engine and a simulated Vapi in one thread on virtual time, with faults between any two calls.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a seed decides before its history begins |
//! | [`trunks`] | a trunk of few channels, full again and again |
//! | [`history`] | one history, from the first campaign message until all is accounted for |
//! | [`world`] | everything around its processes |
//! | [`functions`], [`process`] | the functions as Lambda runs them; what can be killed and frozen |
//! | [`boundary`], [`faults`] | the edge that each call passes, and what goes wrong there |
//! | [`dynamo`], [`queues`] | the services behind it; Vapi is the `vapi-sim` crate |
//! | [`calls`] | what each function asks of AWS, as its role has to allow it |
//! | [`promises`], [`items`] | P1 to P8, checked after every write and at every dial; what they are read from |
//! | [`troubles`] | what calls need fails for a while, and what is promised meanwhile |
//! | [`life`] | what people ask of campaigns, and what is promised about it |
//! | [`callbacks`] | people who want to be called at a time of theirs, and what is promised about it |
//! | [`others`] | what is promised about lines that others of the subscription use |
//! | [`sweep`], [`points`] | many seeds; every fault point |
//! | [`conditions`], [`weaken`] | each part of each condition taken out: who misses it |
//! | [`bugs`], [`planted`] | bugs of the field, and the copy of the code in which they are planted |
//! | [`confluence`], [`scripted`] | every order and repetition of one call's messages; a Vapi of one call for it |
//! | [`recovery`] | how long a lost message or answer is felt, and what it costs |
//! | [`bill`], [`meter`] | what calls cost on AWS, and an idle month |
//!
//! One seed is one history: no sockets, no sleeping, no threads racing. All chance is drawn from the
//! seed, and time only moves when nothing else can.

pub mod again;
pub mod bill;
pub mod boundary;
pub mod bugs;
pub mod callbacks;
pub mod calls;
pub mod clock;
pub mod conditions;
pub mod confluence;
pub mod dynamo;
mod events;
pub mod faults;
pub mod functions;
pub mod history;
pub mod hours;
pub mod items;
pub mod kpi;
pub mod life;
pub mod meter;
pub mod naming;
pub mod others;
pub mod plan;
pub mod planted;
pub mod points;
pub mod process;
pub mod promises;
pub mod queues;
pub mod recovery;
pub mod scripted;
pub mod sweep;
pub mod trace;
pub mod troubles;
pub mod trunks;
mod turns;
pub mod weaken;
pub mod wishes;
pub mod world;
