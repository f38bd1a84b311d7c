//! What every request goes through, whatever its route.

pub(super) mod envelope;
pub(super) mod size;
pub(super) mod timeout;
mod watch;
