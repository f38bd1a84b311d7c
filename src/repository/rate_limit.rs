//! Rate limits.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    rate::{RateClient, Scope},
    time::Millis,
};

/// The windows of all clients.
#[async_trait]
pub trait RateLimitRepository: Send + Sync {
    /// Decides over one request, in memory. An admitted hit counts from now on, and must be written, by itself with
    /// [`count`](Self::count) or with the step it led to, before anyone is answered.
    fn hit(&self, scope: Scope, client: RateClient, now: Millis) -> HitOutcome;

    /// Writes a hit that led to no other step.
    async fn count(&self, hit: PendingHit) -> Result<(), StoreError>;

    /// Waits until the hits that were dropped so far are on disk.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// What came of a hit.
#[derive(Debug)]
pub enum HitOutcome {
    /// There is no limit: nothing is counted.
    Unlimited,
    /// It is within the limit.
    Admitted(PendingHit, Budget),
    /// The client is over its limit.
    Refused(Budget),
    /// The client is new, and as many as may be tracked are inside their windows.
    TableFull(Budget),
}

/// What a client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Hits in a window.
    pub limit: u32,
    /// Hits that would be admitted now.
    pub left: u32,
    /// The time until the next hit is admitted if none is left; else until the oldest leaves the window.
    pub reset: Duration,
}

/// An admitted hit that is not yet written. Dropping it writes it in the background: whatever became of the request, it
/// was admitted.
pub struct PendingHit {
    /// Which limit.
    pub scope: Scope,
    /// Whose.
    pub client: RateClient,
    /// When it counts from.
    pub at: Millis,
    sink: Option<Arc<dyn HitSink>>,
}

/// Takes hits that were dropped.
pub trait HitSink: Send + Sync {
    /// Writes the hit in the background.
    fn count_later(&self, hit: PendingHit);
}

impl PendingHit {
    /// A hit that goes to `sink` if it is dropped; without a sink it vanishes.
    #[must_use]
    pub fn new(scope: Scope, client: RateClient, at: Millis, sink: Option<Arc<dyn HitSink>>) -> Self {
        Self { scope, client, at, sink }
    }

    /// The hit is being written: dropping it does nothing any more.
    pub fn disarm(&mut self) {
        self.sink = None;
    }
}

impl Drop for PendingHit {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.count_later(Self { scope: self.scope, client: self.client, at: self.at, sink: None });
        }
    }
}

impl fmt::Debug for PendingHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingHit({:?} {:?})", self.scope, self.at)
    }
}
