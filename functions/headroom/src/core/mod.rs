//! Types, decisions and state transitions. Nothing here reads a clock, an environment variable
//! or a network; `now` and ids come in as arguments.
//!
//! # Promises
//!
//! What Headroom holds to, and the type that keeps each. Tests name them.
//!
//! - **P1 Inbound first.** An outbound call is started only if, at that instant, outbound < cap,
//!   total < limit, and either its agent's own reserve has room or shared use < shared − headroom:
//!   [`pool::Pool::room`], repeated as the condition of the write that takes. Lines that others are believed to use
//!   ([`unseen::Unseen`]) count as held, and each quota of the call's has room ([`quota::Quota`]).
//! - **P2 Reserved is reserved.** No call of another agent or kind holds a reserved line, idle or not:
//!   shared lines are what is left of the limit without all reserves ([`reserve::Reserves`]).
//! - **P3 One dial per attempt.** A [`line::LineKey`] names one claim of one lead and is dialed at most
//!   once; a dial without a clear answer keeps its line until Vapi's own list proves what became of it.
//! - **P4 Every lead ends.** A lead is ready, or holds a line, or has its final outcome
//!   ([`lead::LeadState`]); there is no fourth place to be lost in.
//! - **P5 Every line comes back.** On proof of the end only, save the ceiling of
//!   [`timers::Timers::line_ceiling`].
//! - **P6 Nobody is cut off.** No code path ends a call at Vapi.
//! - **P7 The ledger is true.** Counters and lines change in the same conditional write of one item.
//! - **P8 Any order, any number of times.** Lines are freed by [`line::Lease`] (key and token), outcomes
//!   are recorded once per claim, and the record of an ended call keeps a late message from taking a line.

pub mod breaker;
pub mod callback;
pub mod campaign;
pub mod ended;
pub mod event;
pub mod fair;
pub mod feasible;
pub mod health;
pub mod hours;
pub mod ids;
pub mod kpi;
pub mod lead;
pub mod life;
pub mod line;
pub mod pacing;
pub mod parts;
pub mod people;
pub mod pool;
pub mod quota;
pub mod refusal;
pub mod reserve;
pub mod retry;
pub mod shard;
pub mod spread;
pub mod timers;
pub mod unseen;
pub mod window;
pub mod zones;
