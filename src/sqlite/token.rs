//! Tokens: read from memory, written through the writer.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{SqliteStore, command::Step, memory::Memory};
use crate::{
    domain::{id::TokenId, time::Millis, token::TokenHash},
    repository::{StoreError, TokenRepository, TokenSource},
};

/// How long an unknown token waits for the writer, which may itself be waiting for another process.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

#[async_trait]
impl TokenRepository for SqliteStore {
    fn find_live(&self, hash: &TokenHash, now: Millis) -> Option<TokenId> {
        self.shared.memory.find_token(hash, now)
    }

    fn any_live(&self, now: Millis) -> bool {
        self.shared.memory.any_token(now)
    }

    async fn catch_up(&self) {
        tokio::time::timeout(LONGEST_LOOK, self.shared.look()).await.ok();
    }

    async fn import(&self, hashes: Vec<TokenHash>, now: Millis) -> Result<u64, StoreError> {
        Ok(self.shared.step(None, Import { hashes, now }).await?.len() as u64)
    }
}

struct Import {
    hashes: Vec<TokenHash>,
    now: Millis,
}

#[async_trait]
impl Step for Import {
    type Output = Vec<(TokenHash, TokenId)>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let mut imported = Vec::new();
        for hash in &self.hashes {
            imported.extend(import(conn, *hash, self.now).await?.map(|id| (*hash, id)));
        }
        Ok(imported)
    }

    fn stored(&self, imported: &Self::Output, memory: &Memory) {
        for (hash, id) in imported {
            memory.add_token(*hash, *id);
        }
    }
}

/// Puts a live token on record.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    label: &str,
    hash: TokenHash,
    source: TokenSource,
    now: Millis,
) -> Result<TokenId, sqlx::Error> {
    let (hash, source) = (hash.to_string(), source.as_str());
    let row = sqlx::query!(
        r#"INSERT INTO token (label, token_hash, source, created_at_ms) VALUES (?1, ?2, ?3, ?4)
           RETURNING id AS "id!: i64""#,
        label,
        hash,
        source,
        now.0
    )
    .fetch_one(conn)
    .await?;
    Ok(TokenId(row.id))
}

/// Takes over one token, unless it was taken over before or is on record already.
async fn import(
    conn: &mut SqliteConnection,
    hash: TokenHash,
    now: Millis,
) -> Result<Option<TokenId>, sqlx::Error> {
    let text = hash.to_string();
    let first_time = sqlx::query!(
        "INSERT INTO token_import (token_hash, imported_at_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        text,
        now.0
    )
    .execute(&mut *conn)
    .await?;
    let known = sqlx::query!(r#"SELECT id AS "id!: i64" FROM token WHERE token_hash = ?1"#, text)
        .fetch_optional(&mut *conn)
        .await?;
    if first_time.rows_affected() == 0 || known.is_some() {
        return Ok(None);
    }
    insert(conn, "imported", hash, TokenSource::Import, now).await.map(Some)
}
