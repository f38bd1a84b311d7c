//! Rate limits: decided in memory, written with the step they lead to.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use serde::Deserialize;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    Shared, SqliteStore,
    batch::Hit,
    command::{Command, Step, closed},
    rows::unpack,
};
use crate::{
    domain::{
        id::TokenId,
        rate::{Decision, RateClient, Scope, WINDOW},
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

/// Parts of the window of which each is read in one go: some ten thousand rows where there are very many.
const PARTS: u32 = 12;

/// Hits on record of one client at one moment.
pub(super) struct StoredHits {
    pub(super) scope: Scope,
    pub(super) client: RateClient,
    pub(super) at: Millis,
    pub(super) hits: u32,
}

/// A row, as the database packs it.
#[derive(Deserialize)]
struct HitRow<'a>(i64, #[serde(borrow)] Cow<'a, str>, i64, #[serde(borrow)] Cow<'a, str>, i64);

impl HitRow<'_> {
    /// `None` for what was put in by hand and is no hit.
    fn read(&self) -> Option<StoredHits> {
        let Self(at, scope, token, address, hits) = self;
        Some(StoredHits {
            scope: Scope::ALL.into_iter().find(|known| known.as_str() == scope)?,
            client: RateClient {
                token: (*token != 0).then_some(TokenId(*token)),
                address: address.parse().ok()?,
            },
            at: Millis(*at),
            hits: u32::try_from(*hits).ok()?,
        })
    }
}

/// The hits that are in their window now, the oldest first. While they are read again after an edit, nothing is written.
pub(super) async fn stored_hits(
    conn: &mut SqliteConnection,
    now: Millis,
) -> Result<Vec<StoredHits>, sqlx::Error> {
    let (mut found, mut from) = (Vec::new(), now.minus(WINDOW));
    for part in 1..=PARTS {
        // The last one has what lies ahead, too: the clock may have been set back.
        let to = if part == PARTS { Millis(i64::MAX) } else { from.plus(WINDOW / PARTS) };
        let row = sqlx::query!(
            r#"SELECT json_group_array(json_array(at_ms, scope, token_id, address, hits)) AS "rows!: String"
               FROM rate_hit WHERE at_ms > ?1 AND at_ms <= ?2"#,
            from.0,
            to.0
        )
        .fetch_one(&mut *conn)
        .await?;
        let rows: Vec<HitRow<'_>> = unpack(&row.rows)?;
        found.extend(rows.iter().filter_map(HitRow::read));
        from = to;
    }
    Ok(found)
}
