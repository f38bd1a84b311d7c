//! Runs and forgetting: what begins and ends a run, and what removes expired rows, a bounded batch at a time.
//!
//! Nothing depends on the sweep: what has expired is treated as gone from that moment on, swept or not.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Shared,
    command::Step,
    memory::Memory,
    retention::{Forget, Forgotten, Removed},
};
use crate::{
    domain::{
        pairing::{FAILURE_WINDOW, LOCKOUT_MEMORY},
        rate::WINDOW,
        time::Millis,
    },
    repository::StoreError,
};

/// Rows of one kind that one sweep looks at, so that it holds the writer for some milliseconds at most.
const SWEEP_ROWS: i64 = 1000;
/// How long a code is kept for the operator to see, after it has expired.
const CODE_MEMORY: Duration = Duration::from_hours(720);
/// Hits that one sweep removes: small rows at one end of their table.
const SWEEP_HITS: i64 = 5000;

/// The pause between two rounds of a prune: long enough that a server which waits for the database gets it.
const PAUSE_OF_PRUNE: Duration = Duration::from_millis(15);

/// Begins a run. If the clock was set back since the last one, what is on record goes back with it, so that nothing lasts
/// longer for it than it would have, nor ends sooner; but for hits, which count from now. Then nothing on record lies ahead,
/// so that the next run finds no clock that was set back, unless it was set again.
pub(super) async fn begin_run(conn: &mut SqliteConnection, now: Millis) -> Result<i64, sqlx::Error> {
    use sqlx::Connection as _;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let newest = newest_moment(&mut tx).await?;
    set_back_by(&mut tx, newest.since(now), now).await?;
    // Hits that had left their windows would come back into them.
    while newest > now && forget_hits(&mut tx, newest).await? > 0 {}
    let (pid, version) = (i64::from(std::process::id()), env!("CARGO_PKG_VERSION"));
    let run = sqlx::query!(
        r#"INSERT INTO server_run (started_at_ms, pid, version) VALUES (?1, ?2, ?3) RETURNING id AS "id!: i64""#,
        now.0,
        pid,
        version
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO rate_hit (at_ms, scope, token_id, address, hits)
         SELECT ?1, scope, token_id, address, sum(hits) FROM rate_hit WHERE at_ms > ?1 GROUP BY scope, token_id, address
         ON CONFLICT (at_ms, scope, token_id, address) DO UPDATE SET hits = rate_hit.hits + excluded.hits",
        now.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM rate_hit WHERE at_ms > ?1", now.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(run.id)
}

/// The newest moment that the last run is known to have seen; at least 1970.
pub(super) async fn newest_moment(conn: &mut SqliteConnection) -> Result<Millis, sqlx::Error> {
    let newest = sqlx::query!(
        r#"SELECT max(coalesce((SELECT max(started_at_ms, coalesce(stopped_at_ms, 0)) FROM server_run
                                ORDER BY id DESC LIMIT 1), 0),
                      coalesce((SELECT max(at_ms) FROM rate_hit), 0),
                      coalesce((SELECT max(failed_at_ms) FROM pairing_failure), 0),
                      coalesce((SELECT max(locked_at_ms) FROM pairing_lockout), 0),
                      coalesce((SELECT max(received_at_ms, coalesce(finished_at_ms, 0)) FROM message ORDER BY id DESC LIMIT 1), 0),
                      coalesce((SELECT max(created_at_ms, coalesce(finished_at_ms, 0)) FROM delivery ORDER BY id DESC LIMIT 1), 0),
                      coalesce((SELECT received_at_ms FROM received_id ORDER BY id DESC LIMIT 1), 0)) AS "at!: i64""#
    )
    .fetch_one(conn)
    .await?;
    Ok(Millis(newest.at))
}

/// Failures, lockouts, answered keys and codes keep the age they had, pauses before another try their length.
async fn set_back_by(conn: &mut SqliteConnection, by: Duration, now: Millis) -> Result<(), sqlx::Error> {
    if by.is_zero() {
        return Ok(());
    }
    let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    sqlx::query!("UPDATE pairing_failure SET failed_at_ms = failed_at_ms - ?1", by_ms)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "UPDATE pairing_lockout SET locked_at_ms = locked_at_ms - ?1, locked_until_ms = locked_until_ms - ?1",
        by_ms
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE idempotency_key SET answered_at_ms = answered_at_ms - ?1 WHERE state = 'answered'",
        by_ms
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE pairing_code SET issued_at_ms = issued_at_ms - ?1, expires_at_ms = expires_at_ms - ?1
         WHERE state = 'live'",
        by_ms
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE message SET next_attempt_at_ms = next_attempt_at_ms - ?1
         WHERE channel <> 'webhook' AND state IN ('accepted', 'running')",
        by_ms
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE delivery SET next_attempt_at_ms = next_attempt_at_ms - ?1 WHERE state = 'due'",
        by_ms
    )
    .execute(&mut *conn)
    .await?;
    set_times_back(conn, by_ms, now).await?;
    set_ids_back(conn, now).await
}

/// The newest messages and deliveries tell what time it was: those that lie ahead go back.
async fn set_times_back(conn: &mut SqliteConnection, by_ms: i64, now: Millis) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE message SET received_at_ms = received_at_ms - ?1, finished_at_ms = finished_at_ms - ?1
         WHERE id > coalesce((SELECT id FROM message WHERE max(received_at_ms, coalesce(finished_at_ms, 0)) <= ?2
                              ORDER BY id DESC LIMIT 1), -1)",
        by_ms,
        now.0
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE delivery SET created_at_ms = created_at_ms - ?1, finished_at_ms = finished_at_ms - ?1
         WHERE id > coalesce((SELECT id FROM delivery WHERE max(created_at_ms, coalesce(finished_at_ms, 0)) <= ?2
                              ORDER BY id DESC LIMIT 1), -1)",
        by_ms,
        now.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ids, nonces and memories are forgotten in their order, so none may lie ahead.
async fn set_ids_back(conn: &mut SqliteConnection, now: Millis) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE received_id SET received_at_ms = ?1 WHERE received_at_ms > ?1", now.0)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("UPDATE received_nonce SET received_at_ms = ?1 WHERE received_at_ms > ?1", now.0)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("UPDATE memory SET created_at_ms = ?1 WHERE created_at_ms > ?1", now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes that the run ended in order.
pub(super) async fn end_run(
    conn: &mut SqliteConnection,
    run_id: i64,
    now: Millis,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE server_run SET stopped_at_ms = ?2, public_url = NULL WHERE id = ?1", run_id, now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether the store takes a write. Nobody reads this number, but a page is written for it, which an `UPDATE` that leaves
/// its row as it was does not do.
/// It does not wait for another process that holds the database: commands may be waiting for the writer.
pub(super) async fn probe(conn: &mut SqliteConnection, busy_timeout: Duration) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut *conn).await?;
    let probed = sqlx::query("PRAGMA user_version = 0").execute(&mut *conn).await;
    let restore = format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis());
    sqlx::query(AssertSqlSafe(restore)).execute(conn).await?;
    probed.map(drop)
}

impl Shared {
    /// Sweeps until all has been looked at, and tells after each round what was removed so far. Between rounds it leaves
    /// the database to the server.
    pub(super) async fn prune(&self, progress: &(dyn Fn(&Removed) + Sync)) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        loop {
            let round = self.sweep_once().await?;
            removed += round.removed;
            progress(&removed);
            if !round.more && self.memory.swept_to() == 0 {
                return Ok(removed);
            }
            tokio::time::sleep(PAUSE_OF_PRUNE).await;
        }
    }

    pub(super) async fn sweep_once(&self) -> Result<Round, StoreError> {
        let now = self.clock.now();
        let expired_keys = now.minus(self.limits.key_ttl).0; // answered at this moment or before
        let swept = self.step_of_work(Sweep { now, expired_keys, after: self.memory.swept_to() }).await;
        let (swept, forgotten) = (swept?, self.forget().await?);
        let mut removed = swept.removed;
        removed += forgotten.removed;
        removed.each(|kind, rows| self.metrics.store.removed(kind, rows));
        Ok(Round { removed, more: swept.more | forgotten.more })
    }

    async fn forget(&self) -> Result<Forgotten, StoreError> {
        let (retention, progress) = (self.limits.retention, self.memory.forgotten_to());
        let (key_ttl, clock) = (self.limits.key_ttl, Arc::clone(&self.clock));
        self.step_of_work(Forget { retention, progress, key_ttl, clock }).await
    }
}

/// What a round of sweeping and forgetting came to.
pub(super) struct Round {
    removed: Removed,
    /// Whether the next round is likely to find more.
    pub(super) more: bool,
}

/// What one sweep came to.
struct Swept {
    reached: i64,
    removed: Removed,
    more: bool,
}

/// One round of forgetting.
struct Sweep {
    now: Millis,
    expired_keys: i64,
    /// The message of the key that the last one reached.
    after: i64,
}

#[async_trait]
impl Step for Sweep {
    type Output = Swept;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Swept, sqlx::Error> {
        let hits = forget_hits(conn, self.now).await?;
        let pairing = forget_attempts(conn, self.now).await?;
        let (reached, keys) = forget_keys(conn, self.after, self.expired_keys).await?;
        Ok(Swept {
            reached,
            removed: Removed { keys, hits, pairing, ..Removed::default() },
            more: hits >= SWEEP_HITS.unsigned_abs() || keys * 2 >= SWEEP_ROWS.unsigned_abs(),
        })
    }

    fn stored(&self, swept: &Swept, memory: &Memory) {
        memory.set_swept_to(swept.reached);
    }
}

/// Hits that have left their windows.
async fn forget_hits(conn: &mut SqliteConnection, now: Millis) -> Result<u64, sqlx::Error> {
    let hits_from = now.minus(WINDOW).0;
    let deleted = sqlx::query!(
        "DELETE FROM rate_hit WHERE (at_ms, scope, token_id, address) IN (
             SELECT at_ms, scope, token_id, address FROM rate_hit WHERE at_ms <= ?1 ORDER BY at_ms LIMIT ?2)",
        hits_from,
        SWEEP_HITS
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Failures and lockouts that no longer count, and codes that nobody asks about any more.
async fn forget_attempts(conn: &mut SqliteConnection, now: Millis) -> Result<u64, sqlx::Error> {
    let failures_from = now.minus(FAILURE_WINDOW).0;
    let failures = sqlx::query!(
        "DELETE FROM pairing_failure WHERE id IN (
             SELECT id FROM pairing_failure ORDER BY id LIMIT ?2) AND failed_at_ms <= ?1",
        failures_from,
        SWEEP_ROWS
    )
    .execute(&mut *conn)
    .await?;
    let lockouts_from = now.minus(LOCKOUT_MEMORY).0;
    let lockouts = sqlx::query!(
        "DELETE FROM pairing_lockout WHERE id IN (
             SELECT id FROM pairing_lockout ORDER BY id LIMIT ?2) AND locked_at_ms <= ?1",
        lockouts_from,
        SWEEP_ROWS
    )
    .execute(&mut *conn)
    .await?;
    let codes_from = now.minus(CODE_MEMORY).0;
    let codes = sqlx::query!("DELETE FROM pairing_code WHERE expires_at_ms <= ?1", codes_from);
    let codes = codes.execute(conn).await?;
    Ok(failures.rows_affected() + lockouts.rows_affected() + codes.rows_affected())
}

/// Goes once round all keys, some at each sweep, and removes those that have expired, or whose work was ended by hand. Returns where
/// to go on, 0 after the last, and how many were removed.
async fn forget_keys(
    conn: &mut SqliteConnection,
    after: i64,
    expired: i64,
) -> Result<(i64, u64), sqlx::Error> {
    let last = sqlx::query!(
        r#"SELECT message_id AS "id!: i64" FROM idempotency_key
           WHERE message_id > ?1 ORDER BY message_id LIMIT 1 OFFSET ?2"#,
        after,
        SWEEP_ROWS
    )
    .fetch_optional(&mut *conn)
    .await?;
    let to = last.as_ref().map_or(i64::MAX, |last| last.id);
    let deleted = sqlx::query!(
        "DELETE FROM idempotency_key WHERE message_id > ?1 AND message_id <= ?2 AND (answered_at_ms <= ?3
             OR state = 'running' AND NOT EXISTS (SELECT 1 FROM message AS m
                 WHERE m.id = idempotency_key.message_id AND m.state IN ('accepted', 'running')))",
        after,
        to,
        expired
    )
    .execute(conn)
    .await?;
    Ok((last.map_or(0, |last| last.id), deleted.rows_affected()))
}
