//! Use cases that need more than one repository or provider.

pub mod agent;
pub mod inbox;
pub mod pairing;
mod schedule;
mod session;
pub mod supervisor;
pub mod turn;
mod worker;
