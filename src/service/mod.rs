//! Use cases that need more than one repository or provider.

pub mod pairing;
pub mod turn;
