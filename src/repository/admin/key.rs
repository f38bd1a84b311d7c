//! Idempotency keys.

use async_trait::async_trait;

use crate::{
    domain::{id::MessageId, time::Millis},
    repository::StoreError,
};

/// The idempotency keys of all clients.
#[async_trait]
pub trait KeyAdminRepository: Send + Sync {
    /// Keys on record, of one owner or of all, the newest first, `limit` at most.
    async fn list_keys(&self, owner: Option<&str>, limit: u32) -> Result<Vec<KeyEntry>, StoreError>;

    /// Forgets an answered key, so that the next request with it is new. Without `owner` it is that of whoever has it.
    async fn forget_key(&self, key: &str, owner: Option<&str>) -> Result<KeyChange, StoreError>;
}

/// A key on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Whose it is: `token:<id>` or `addr:<address>`.
    pub owner: String,
    /// The key.
    pub key: String,
    /// `running` or `answered`.
    pub state: String,
    /// The message that it stands for.
    pub message: MessageId,
    /// When that was answered.
    pub answered_at: Option<Millis>,
}

/// What came of forgetting a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// The key that is gone.
    Done(KeyEntry),
    /// There is no such key.
    NotFound,
    /// These owners have one each.
    Ambiguous(Vec<String>),
    /// Its message is being worked on.
    AtWork,
}
