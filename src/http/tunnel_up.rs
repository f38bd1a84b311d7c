//! Whether the tunnel is up: as long as it is, other rules hold for whoever comes through it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the tunnel is up just now. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct TunnelUp(Arc<AtomicBool>);

impl TunnelUp {
    /// It is, or is not, from now on.
    pub fn set(&self, is_up: bool) {
        self.0.store(is_up, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl PartialEq for TunnelUp {
    /// Whether they are of the same tunnel.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TunnelUp {}
