//! One transaction for each request, from a pool: what durability costs when nobody thinks about it. It looks the token
//! and the key up, and writes message, answer and key; decisions are the memory baseline's, so that both give the same.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use moorgate::{
    domain::{id::MessageId, time::Millis},
    repository::{Claiming, Lease, NewTurn, StoreError, TurnEnd, TurnRepository},
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::MemoryStore;

const SCHEMA: &str = "
CREATE TABLE token (token_hash TEXT PRIMARY KEY, revoked_at_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE message (id INTEGER PRIMARY KEY, received_at_ms INTEGER, sender TEXT, text TEXT, answer TEXT) STRICT;
CREATE TABLE idempotency_key (owner TEXT, key TEXT, body_hash BLOB, message_id INTEGER, answered_at_ms INTEGER,
    PRIMARY KEY (owner, key)) STRICT, WITHOUT ROWID;";

pub(crate) struct TransactionStore {
    pool: SqlitePool,
    keys: MemoryStore,
}

impl TransactionStore {
    pub(crate) async fn open(path: &Path) -> Result<Self, String> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(30));
        let pool = pool.connect_with(options).await.map_err(|error| error.to_string())?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await.map_err(|error| error.to_string())?;
        Ok(Self { pool, keys: MemoryStore::new(0) })
    }

    async fn write(&self, lease: &Lease, end: &TurnEnd, now: Millis) -> Result<i64, sqlx::Error> {
        let owner = lease.turn.owner.to_string();
        let answer = match end {
            TurnEnd::Answered(answer, _) => Some(&*answer.text),
            TurnEnd::Failed(..) => None,
        };
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("SELECT revoked_at_ms FROM token WHERE token_hash = ?1")
            .bind(&owner)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some((key, _)) = &lease.turn.key {
            sqlx::query("SELECT message_id, body_hash FROM idempotency_key WHERE owner = ?1 AND key = ?2")
                .bind(&owner)
                .bind(key.as_str())
                .fetch_optional(&mut *tx)
                .await?;
        }
        let message =
            sqlx::query("INSERT INTO message (received_at_ms, sender, text, answer) VALUES (?1, ?2, ?3, ?4)")
                .bind(lease.claimed_at.0)
                .bind(&owner)
                .bind(lease.turn.text.as_str())
                .bind(answer)
                .execute(&mut *tx)
                .await?
                .last_insert_rowid();
        if let Some((key, body)) = &lease.turn.key {
            sqlx::query("INSERT INTO idempotency_key VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")
                .bind(&owner)
                .bind(key.as_str())
                .bind(&body.0[..])
                .bind(message)
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(message)
    }
}

#[async_trait]
impl TurnRepository for TransactionStore {
    fn claim(&self, new: Box<NewTurn>, now: Millis) -> Claiming<'_> {
        self.keys.claim(new, now)
    }

    async fn begin(&self, lease: &mut Lease, _now: Millis) -> Result<(), StoreError> {
        lease.id = Some(MessageId(0));
        Ok(())
    }

    async fn settle(&self, lease: &mut Lease, end: &TurnEnd, now: Millis) -> Result<(), StoreError> {
        self.write(lease, end, now).await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.keys.settle(lease, end, now).await
    }

    async fn resume(&self, _now: Millis) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
}
