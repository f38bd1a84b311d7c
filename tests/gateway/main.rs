//! The gateway as its clients and operators see it: through HTTP on a real server with a real database file, and as a
//! real process. Test names are sentences; those about a failure of comparable gateways name it in a comment.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod account;
mod channel;
mod conversation;
mod crash;
mod disk;
mod edge;
mod first_steps;
mod http;
mod limit;
mod linear;
mod memory;
mod operator;
mod pairing;
mod process;
mod provider;
mod proxy;
mod sequence;
mod setting;
mod storage;
mod support;
mod telemetry;
mod token;
mod tunnel;
mod upgrade;
mod webhook;
