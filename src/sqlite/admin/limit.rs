//! Lockouts and rate windows. A server reads lockouts at each attempt to pair, and its windows again after an edit.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::stored;
use crate::{
    domain::{
        client::ClientAddress,
        id::TokenId,
        pairing::{FAILURE_WINDOW, LOCKOUT_MEMORY},
        rate::{Scope, WINDOW},
        time::Millis,
    },
    repository::{
        StoreError,
        admin::{LimitAdminRepository, LockoutEntry, WindowEntry},
    },
    sqlite::{SqliteStore, command::Step},
};

#[async_trait]
impl LimitAdminRepository for SqliteStore {
    async fn list_lockouts(&self, limit: u32, now: Millis) -> Result<Vec<LockoutEntry>, StoreError> {
        let (failures_from, lockouts_from) = (now.minus(FAILURE_WINDOW).0, now.minus(LOCKOUT_MEMORY).0);
        let rows = sqlx::query!(
            r#"SELECT client AS "client!: String", sum(failure) AS "failures!: i64", sum(1 - failure) AS "lockouts!: i64",
                      max(locked_at_ms) AS "locked_at_ms: i64", max(locked_until_ms) AS "locked_until_ms: i64"
               FROM (SELECT client, 1 AS failure, NULL AS locked_at_ms, NULL AS locked_until_ms
                     FROM pairing_failure WHERE failed_at_ms > ?1
                     UNION ALL SELECT client, 0, locked_at_ms, locked_until_ms
                     FROM pairing_lockout WHERE locked_at_ms > ?2)
               GROUP BY client ORDER BY max(locked_until_ms) DESC NULLS LAST, client LIMIT ?3"#,
            failures_from,
            lockouts_from,
            limit
        )
        .fetch_all(&self.shared.reads)
        .await;
        let entries = stored(rows)?.into_iter().map(|row| LockoutEntry {
            client: row.client,
            failures: row.failures,
            lockouts: row.lockouts,
            locked_at: row.locked_at_ms.map(Millis),
            locked_until: row.locked_until_ms.map(Millis),
        });
        Ok(entries.collect())
    }

    async fn clear_lockouts(&self, client: Option<ClientAddress>) -> Result<Vec<String>, StoreError> {
        self.shared.step(None, ClearLockouts { client: client.map(|client| client.to_string()) }).await
    }

    async fn list_windows(&self, limit: u32, now: Millis) -> Result<Vec<WindowEntry>, StoreError> {
        let start = now.minus(WINDOW).0;
        let rows = sqlx::query!(
            r#"SELECT scope AS "scope!: String", token_id AS "token_id!: i64", address AS "address!: String",
                      sum(hits) AS "hits!: i64", min(at_ms) AS "first_at_ms!: i64", max(at_ms) AS "last_at_ms!: i64"
               FROM rate_hit WHERE at_ms > ?1 GROUP BY scope, token_id, address
               ORDER BY sum(hits) DESC, scope, token_id, address LIMIT ?2"#,
            start,
            limit
        )
        .fetch_all(&self.shared.reads)
        .await;
        let entries = stored(rows)?.into_iter().map(|row| WindowEntry {
            scope: row.scope,
            token: (row.token_id != 0).then_some(TokenId(row.token_id)),
            address: row.address,
            hits: row.hits,
            first_at: Millis(row.first_at_ms),
            last_at: Millis(row.last_at_ms),
        });
        Ok(entries.collect())
    }

    async fn clear_windows(
        &self,
        scope: Option<Scope>,
        client: Option<ClientAddress>,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let (scope, client) = (scope.map(Scope::as_str), client.map(|client| client.to_string()));
        self.shared.step(None, ClearWindows { scope, client, since: now.minus(WINDOW) }).await
    }
}

struct ClearLockouts {
    client: Option<String>,
}

#[async_trait]
impl Step for ClearLockouts {
    type Output = Vec<String>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
        let clients = sqlx::query!(
            r#"SELECT client AS "client!: String" FROM pairing_failure WHERE ?1 IS NULL OR client = ?1
               UNION SELECT client FROM pairing_lockout WHERE ?1 IS NULL OR client = ?1 ORDER BY 1"#,
            self.client
        )
        .fetch_all(&mut *conn)
        .await?;
        sqlx::query!("DELETE FROM pairing_failure WHERE ?1 IS NULL OR client = ?1", self.client)
            .execute(&mut *conn)
            .await?;
        sqlx::query!("DELETE FROM pairing_lockout WHERE ?1 IS NULL OR client = ?1", self.client)
            .execute(conn)
            .await?;
        Ok(clients.into_iter().map(|row| row.client).collect())
    }
}

struct ClearWindows {
    scope: Option<&'static str>,
    client: Option<String>,
    since: Millis,
}

#[async_trait]
impl Step for ClearWindows {
    type Output = u64;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let windows = sqlx::query!(
            r#"SELECT count(*) AS "count!: i64" FROM (
                   SELECT DISTINCT scope, token_id, address FROM rate_hit
                   WHERE at_ms > ?3 AND (?1 IS NULL OR scope = ?1) AND (?2 IS NULL OR address = ?2))"#,
            self.scope,
            self.client,
            self.since.0
        )
        .fetch_one(&mut *conn)
        .await?;
        sqlx::query!(
            "DELETE FROM rate_hit WHERE (?1 IS NULL OR scope = ?1) AND (?2 IS NULL OR address = ?2)",
            self.scope,
            self.client
        )
        .execute(conn)
        .await?;
        Ok(windows.count.unsigned_abs())
    }
}
