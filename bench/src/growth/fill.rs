//! Filling a database with much, by one statement for each table.

use std::path::Path;

use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

/// Clients that the messages are from.
const OWNERS: i64 = 1000;

/// Messages with answers, a second old, from a thousand clients that post in turn.
const MESSAGES: &str = "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
    INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, answer, model,
                         finished_at_ms, provider, provider_calls, provider_ms)
    SELECT i, unixepoch() * 1000 - 1000, 'webhook', 'token:' || (1000 + i % ?2), printf('kept-%016x-%d', i * 2654435761, i),
           'hello ' || i, 'answered', 1, 1, 'hello ' || i, 'echo', unixepoch() * 1000 - 1000, 'echo', 1, 0
    FROM n";
/// Their keys, which live.
const KEYS: &str = "
    INSERT INTO idempotency_key (owner, key, body_hash, state, message_id, answered_at_ms, answered_no)
    SELECT sender, idempotency_key, randomblob(32), 'answered', id, finished_at_ms, 1 + id / ?1 FROM message ORDER BY id";
/// Memory has been told of them.
const REMEMBERED: &str = "UPDATE memory_progress SET remembered_to = (SELECT max(id) FROM message)";
/// Hits of as many clients in the last second.
const HITS: &str = "
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
    INSERT INTO rate_hit (at_ms, scope, token_id, address, hits)
    SELECT unixepoch() * 1000 - 1000 + i * 1000 / ?1, 'webhook', 0,
           '10.' || (i >> 16) || '.' || (i >> 8 & 255) || '.' || (i & 255), 1
    FROM n";

/// So many messages, each with a key.
///
/// # Errors
/// What went wrong, as text.
pub fn messages(database: &Path, count: usize) -> Result<(), String> {
    fill(database, async |conn| {
        sqlx::query(MESSAGES).bind(int(count)).bind(OWNERS).execute(&mut *conn).await?;
        sqlx::query(KEYS).bind(OWNERS).execute(&mut *conn).await?;
        sqlx::query(REMEMBERED).execute(&mut *conn).await?;
        Ok(())
    })
}

/// The hits of so many clients but one, so that there is room for the one that is measured.
///
/// # Errors
/// What went wrong, as text.
pub fn clients(database: &Path, count: usize) -> Result<(), String> {
    fill(database, async |conn| {
        sqlx::query(HITS).bind(int(count.saturating_sub(1))).execute(&mut *conn).await?;
        Ok(())
    })
}

fn int(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Runs it where nothing is kept from the disk's failing: the file is not worth more than the seconds that it takes.
fn fill(
    database: &Path,
    run: impl AsyncFnOnce(&mut SqliteConnection) -> Result<(), sqlx::Error>,
) -> Result<(), String> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-200000");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let filled = runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut conn = options.connect().await?;
        run(&mut conn).await?;
        conn.close().await
    });
    filled.map_err(|error| format!("{}: {error}", database.display()))
}
