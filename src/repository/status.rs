//! How the store itself is doing.

/// Tells whether the store takes writes. Reads memory only.
pub trait StoreStatusRepository: Send + Sync {
    /// The state as of the last commit, sweep or probe.
    fn status(&self) -> StoreStatus;
}

/// The parts of the store that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether the last write went through.
    pub writes: bool,
    /// Whether the sweeper's last round went through.
    pub sweeper: bool,
}
