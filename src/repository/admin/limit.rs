//! Lockouts and rate windows: who is kept out, and for how long.

use async_trait::async_trait;

use crate::{
    domain::{client::ClientAddress, id::TokenId, rate::Scope, time::Millis},
    repository::StoreError,
};

/// What is on record against clients.
#[async_trait]
pub trait LimitAdminRepository: Send + Sync {
    /// Clients whose wrong codes still count, those locked out longest first, `limit` at most.
    async fn list_lockouts(&self, limit: u32, now: Millis) -> Result<Vec<LockoutEntry>, StoreError>;

    /// Forgets the wrong codes and lockouts of a client, or of all. Returns whose there were.
    async fn clear_lockouts(&self, client: Option<ClientAddress>) -> Result<Vec<String>, StoreError>;

    /// Rate windows with a hit in them, the fullest first, `limit` at most.
    async fn list_windows(&self, limit: u32, now: Millis) -> Result<Vec<WindowEntry>, StoreError>;

    /// Empties the rate windows of a client, or of all; of one scope, or of all. Returns how many had a hit in them.
    async fn clear_windows(
        &self,
        scope: Option<Scope>,
        client: Option<ClientAddress>,
        now: Millis,
    ) -> Result<u64, StoreError>;
}

/// What is on record about a client that tried to pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockoutEntry {
    /// Its address.
    pub client: String,
    /// Wrong codes that count towards its next lockout.
    pub failures: i64,
    /// Lockouts that make its next one longer.
    pub lockouts: i64,
    /// When the newest one began.
    pub locked_at: Option<Millis>,
    /// When it ends, or ended.
    pub locked_until: Option<Millis>,
}

impl LockoutEntry {
    /// `locked` or `open`.
    #[must_use]
    pub fn state(&self, now: Millis) -> &'static str {
        if self.locked_until.is_some_and(|until| until > now) { "locked" } else { "open" }
    }
}

/// A rate window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowEntry {
    /// What is limited.
    pub scope: String,
    /// The token that the requests carried.
    pub token: Option<TokenId>,
    /// Where they came from.
    pub address: String,
    /// Requests in the last 60 seconds.
    pub hits: i64,
    /// The oldest of them.
    pub first_at: Millis,
    /// The newest of them.
    pub last_at: Millis,
}
