//! All of Headroom in one process: the functions' own handlers, the AWS SDK speaking to embedded
//! engines, and loops where AWS has event sources and schedules.
//!
//! For the local runner and for tests. None of it is in a Lambda binary.

pub mod engines;
pub mod inbox;
pub mod leads;
pub mod numbers;
pub mod queues;
pub mod server;
pub mod system;
pub mod usage;
