//! What handlers read from a request.

pub(super) mod bearer;
pub(super) mod client;
pub(super) mod key;
pub(super) mod message;
pub(super) mod session;
