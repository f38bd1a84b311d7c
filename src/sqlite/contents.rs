//! What is in a database file, and whether it is whole.

use std::{collections::BTreeMap, path::Path};

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::{
    error::is_damage,
    open::{self, DatabaseSettings, OpenError, newest_known_step},
    transaction,
    upkeep::UpkeepError,
};

/// Steps of SQLite's machine between two looks whether to stop: about a millisecond.
const STEPS: i32 = 10_000;

/// What is in a file, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// The newest step of its schema.
    pub(super) schema_version: i64,
    /// How many rows each table has.
    pub(super) rows: BTreeMap<String, u64>,
    /// The highest id that each table has ever given, where it gives none twice. These never go down.
    ids: BTreeMap<String, i64>,
}

impl Contents {
    /// Reads it in one transaction.
    pub(super) async fn read(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        transaction::begin_reading(conn).await?;
        let read = Self::read_all(conn).await;
        transaction::end(conn, read).await
    }

    async fn read_all(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let schema_version = open::newest_step(conn).await?;
        let mut rows = BTreeMap::new();
        for table in tables(conn).await? {
            let count = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *conn).await?;
            rows.insert(table, count.unsigned_abs());
        }
        let ids = sqlx::query_as("SELECT name, seq FROM sqlite_sequence").fetch_all(conn).await?;
        Ok(Self { schema_version, rows, ids: ids.into_iter().collect() })
    }

    /// Whether `copy` is a copy of a database that was `self` before and `after` afterwards.
    pub(super) fn lead_to(&self, copy: &Self, after: &Self) -> bool {
        let same_tables = self.schema_version == copy.schema_version && self.rows.keys().eq(copy.rows.keys());
        let id = |contents: &Self, table| contents.ids.get(table).copied().unwrap_or(0);
        let in_between = |table| {
            let (before, copied, after) = (id(self, table), id(copy, table), id(after, table));
            before <= copied && copied <= after
        };
        same_tables && self.rows.keys().all(in_between)
    }
}

async fn tables(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let names = "SELECT name FROM sqlite_schema
                 WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_*'
                       AND name NOT GLOB 'memory_text_*' ORDER BY name";
    sqlx::query_scalar(names).fetch_all(conn).await
}

/// What is wrong with the file, by SQLite's own checks; nothing if it is whole.
pub(super) async fn complaints(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let found = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *conn).await;
    let mut found: Vec<String> = match found {
        Err(error) if is_damage(&error) => vec![error.to_string()],
        found => found?,
    };
    found.retain(|line| line != "ok");
    if found.is_empty() {
        for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(conn).await? {
            let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            let id: Option<i64> = row.try_get(1)?;
            let id = id.map_or_else(|| "a row".to_owned(), |id| format!("row {id}"));
            found.push(format!("{id} of {table} names a row of {parent} that is not there"));
        }
    }
    Ok(found)
}

/// Reads a file that must be whole and ours.
pub(super) async fn verify(
    settings: &DatabaseSettings,
    stop: &CancellationToken,
) -> Result<Contents, UpkeepError> {
    let mut conn = open::open_to_read(settings).await?;
    let verified = verify_open(&mut conn, &settings.path, stop).await;
    conn.close().await.ok();
    verified
}

async fn verify_open(
    conn: &mut SqliteConnection,
    path: &Path,
    stop: &CancellationToken,
) -> Result<Contents, UpkeepError> {
    let failed =
        |error| if stop.is_cancelled() { UpkeepError::Stopped } else { UpkeepError::sqlite(path)(error) };
    if stop.is_cancelled() {
        return Err(UpkeepError::Stopped);
    }
    stop_with(conn, stop).await.map_err(failed)?;
    let unsound = |what: String| UpkeepError::Unsound { path: path.into(), what };
    let complaints = complaints(conn).await.map_err(failed)?;
    if !complaints.is_empty() {
        return Err(unsound(complaints.join("\n")));
    }
    let version =
        open::newest_step(conn).await.map_err(|_| unsound("it is no database of moorgate's".into()))?;
    if version > newest_known_step() {
        return Err(OpenError::TooNew { path: path.into(), version }.into());
    }
    Contents::read(conn).await.map_err(failed)
}

/// From now on a statement ends with an error soon after `stop` was cancelled.
pub(super) async fn stop_with(
    conn: &mut SqliteConnection,
    stop: &CancellationToken,
) -> Result<(), sqlx::Error> {
    let stop = stop.clone();
    conn.lock_handle().await?.set_progress_handler(STEPS, move || !stop.is_cancelled());
    Ok(())
}
