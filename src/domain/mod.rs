//! Pure values and rules. No I/O, no clock, no async: what time it is comes in as an argument.
//!
//! A value that exists is valid: the constructors are the only places that look at raw text.

pub mod allow_list;
pub mod bound;
pub mod breaker;
pub mod channel;
pub mod client;
pub mod conversation;
pub mod delivery;
pub mod forwarded;
pub mod health;
pub mod hex;
pub mod id;
pub mod idempotency;
pub mod memory;
pub mod message;
pub mod network;
pub mod pairing;
pub mod rate;
pub mod secret;
pub mod split;
pub mod supervision;
pub mod time;
pub mod token;
pub mod words;
