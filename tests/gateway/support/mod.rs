//! What the tests stand on.

pub mod client;
pub mod fake_tunnel;
pub mod gateway;
pub mod model;
pub mod model_server;
pub mod platform;
pub mod process;
pub mod random;
pub mod raw;
pub mod sender;
pub mod server;
pub mod size;
pub mod skip;
pub mod terminal;
pub mod time;
pub mod tool;
pub mod transaction;
pub mod wait;
