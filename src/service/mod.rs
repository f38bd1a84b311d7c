//! Use cases that need more than one repository, provider or channel.

pub mod pairing;
pub mod turn;
