//! How the store itself is doing, and what a run says of itself.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::time::Millis;

/// Tells whether the store works, and keeps what a run says of itself.
#[async_trait]
pub trait StoreStatusRepository: Send + Sync {
    /// Whether the last write or probe went through. Reads memory only.
    fn takes_writes(&self) -> bool;

    /// Writes that the run lives, and reads it again.
    ///
    /// # Errors
    /// [`StoreError`] if either failed.
    async fn beat(&self, now: Millis) -> Result<(), StoreError>;

    /// Keeps where the run is reached from elsewhere; `None`: it is not.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    async fn set_public_url(&self, url: Option<String>) -> Result<(), StoreError>;
}
