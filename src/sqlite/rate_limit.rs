//! Rate limits: decided in memory, written with the step they lead to.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    Shared, SqliteStore,
    batch::Hit,
    command::{Command, Step, closed},
};
use crate::{
    domain::{
        rate::{Decision, RateClient, Scope},
        time::Millis,
    },
    repository::{Budget, HitOutcome, HitSink, PendingHit, RateLimitRepository, StoreError},
    telemetry::trace,
};

#[async_trait]
impl RateLimitRepository for SqliteStore {
    fn hit(&self, scope: Scope, client: RateClient, now: Millis) -> HitOutcome {
        let mut windows = self.shared.memory.windows(scope);
        let limit = windows.limit();
        if limit == 0 {
            return HitOutcome::Unlimited;
        }
        let decision = windows.hit(client, now);
        drop(windows);
        match decision {
            Decision::Admitted { at, left, reset } => {
                let sink: Arc<dyn HitSink> = Arc::clone(&self.shared) as _;
                HitOutcome::Admitted(
                    PendingHit::new(scope, client, at, Some(sink)),
                    Budget { limit, left, reset },
                )
            }
            Decision::Refused { wait } => HitOutcome::Refused(Budget { limit, left: 0, reset: wait }),
            Decision::TableFull { wait } => HitOutcome::TableFull(Budget { limit, left: 0, reset: wait }),
        }
    }

    async fn count(&self, hit: PendingHit) -> Result<(), StoreError> {
        let hit = take(hit);
        let (reply, written) = oneshot::channel();
        let _span = trace::write("hit");
        self.shared.enqueue(Command::Hit(hit, Some(reply)))?;
        written.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.shared.step(None, Nothing).await
    }
}

/// The step that waits for those before it.
struct Nothing;

#[async_trait]
impl Step for Nothing {
    type Output = ();

    async fn run(&self, _conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

impl HitSink for Shared {
    fn count_later(&self, hit: PendingHit) {
        self.enqueue(Command::Hit(take(hit), None)).ok();
    }
}

/// The hit is the store's from here on.
pub(super) fn take(mut hit: PendingHit) -> Hit {
    hit.disarm();
    Hit { scope: hit.scope, client: hit.client, at: hit.at }
}
