//! How the store is doing, and what a run says of itself in its row.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{SqliteStore, command::Step, error::store_error};
use crate::{
    domain::time::Millis,
    repository::{StoreError, StoreStatusRepository},
};

#[async_trait]
impl StoreStatusRepository for SqliteStore {
    fn takes_writes(&self) -> bool {
        self.shared.memory.writes_ok.load(Ordering::Relaxed)
    }

    async fn beat(&self, now: Millis) -> Result<(), StoreError> {
        let run_id = self.shared.run_id;
        let written = self.shared.step(None, Beat { run_id, now }).await?;
        let read =
            sqlx::query!(r#"SELECT heartbeats AS "heartbeats!: i64" FROM server_run WHERE id = ?1"#, run_id)
                .fetch_one(&self.shared.reads)
                .await
                .map_err(|error| store_error(&error))?;
        if read.heartbeats < written {
            return Err(StoreError::Unavailable("what was written is not read".into()));
        }
        Ok(())
    }

    async fn set_public_url(&self, url: Option<String>) -> Result<(), StoreError> {
        self.shared.step(None, SetPublicUrl { run_id: self.shared.run_id, url }).await
    }
}

/// Counts on, so that a page is written each time, and returns the number.
struct Beat {
    run_id: i64,
    now: Millis,
}

#[async_trait]
impl Step for Beat {
    type Output = i64;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let row = sqlx::query!(
            r#"UPDATE server_run SET heartbeats = heartbeats + 1, heartbeat_at_ms = ?2 WHERE id = ?1
               RETURNING heartbeats AS "heartbeats!: i64""#,
            self.run_id,
            self.now.0
        )
        .fetch_one(conn)
        .await?;
        Ok(row.heartbeats)
    }
}

struct SetPublicUrl {
    run_id: i64,
    url: Option<String>,
}

#[async_trait]
impl Step for SetPublicUrl {
    type Output = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query!("UPDATE server_run SET public_url = ?2 WHERE id = ?1", self.run_id, self.url)
            .execute(conn)
            .await?;
        Ok(())
    }
}
