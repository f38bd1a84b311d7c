//! What the tests stand on.

pub mod client;
pub mod gateway;
pub mod model;
pub mod process;
pub mod raw;
pub mod time;
