//! Idempotency keys. A server looks a key up when it is used, so that one that is gone here is free at once.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::stored;
use crate::{
    domain::{id::MessageId, time::Millis},
    repository::{
        StoreError,
        admin::{KeyAdminRepository, KeyChange, KeyEntry},
    },
    sqlite::{SqliteStore, command::Step},
};

#[async_trait]
impl KeyAdminRepository for SqliteStore {
    async fn list_keys(&self, owner: Option<&str>, limit: u32) -> Result<Vec<KeyEntry>, StoreError> {
        stored(entries(&self.shared.reads, owner, None, limit).await)
    }

    async fn forget_key(&self, key: &str, owner: Option<&str>) -> Result<KeyChange, StoreError> {
        self.shared.step(None, Forget { key: key.into(), owner: owner.map(Into::into) }).await
    }
}

async fn entries(
    source: impl SqliteExecutor<'_>,
    owner: Option<&str>,
    key: Option<&str>,
    limit: u32,
) -> Result<Vec<KeyEntry>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT owner AS "owner!: String", key AS "key!: String", state AS "state!: String",
                  message_id AS "message_id!: i64", answered_at_ms AS "answered_at_ms: i64"
           FROM idempotency_key WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR key = ?2)
           ORDER BY message_id DESC LIMIT ?3"#,
        owner,
        key,
        limit
    )
    .fetch_all(source)
    .await?;
    let entries = rows.into_iter().map(|row| KeyEntry {
        owner: row.owner,
        key: row.key,
        state: row.state,
        message: MessageId(row.message_id),
        answered_at: row.answered_at_ms.map(Millis),
    });
    Ok(entries.collect())
}

/// Owners that are named when a key is that of several.
const SOME_OWNERS: u32 = 10;

struct Forget {
    key: String,
    owner: Option<String>,
}

#[async_trait]
impl Step for Forget {
    type Output = KeyChange;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<KeyChange, sqlx::Error> {
        let mut found = entries(&mut *conn, self.owner.as_deref(), Some(&self.key), SOME_OWNERS).await?;
        // Of several rows with one owner the newest counts: the others have expired.
        let mut owners = HashSet::new();
        found.retain(|entry| owners.insert(entry.owner.clone()));
        if found.len() > 1 {
            return Ok(KeyChange::Ambiguous(found.into_iter().map(|entry| entry.owner).collect()));
        }
        let Some(entry) = found.pop() else { return Ok(KeyChange::NotFound) };
        if entry.answered_at.is_none() {
            return Ok(KeyChange::AtWork);
        }
        sqlx::query!("DELETE FROM idempotency_key WHERE owner = ?1 AND key = ?2", entry.owner, entry.key)
            .execute(conn)
            .await?;
        Ok(KeyChange::Done(entry))
    }
}
