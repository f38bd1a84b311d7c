//! How a database does, in a look that costs little: for whoever looks for what is wrong with a gateway.

use std::fs;

use sqlx::{Connection as _, SqliteConnection};

use super::{
    open::{self, DatabaseSettings, newest_known_step},
    transaction,
    upkeep::UpkeepError,
};
use crate::domain::time::Millis;

/// What the look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The newest step of its schema.
    pub schema_version: i64,
    /// The newest step that this program knows.
    pub known_schema_version: i64,
    /// Whether a server runs on it.
    pub server_running: bool,
    /// What SQLite's `quick_check` says first, if anything is wrong.
    pub complaint: Option<String>,
    /// The latest moment on record; `None`: there is none, or the schema is another.
    pub latest: Option<Millis>,
}

/// Looks at a database that exists, beside whoever uses it.
///
/// # Errors
/// [`UpkeepError`] if it cannot be read.
pub async fn survey(settings: &DatabaseSettings) -> Result<Survey, UpkeepError> {
    let path = &settings.path;
    let mut conn = open::open_to_read(settings).await?;
    let read = read(&mut conn).await;
    conn.close().await.ok();
    let (schema_version, complaint, latest) = read.map_err(UpkeepError::sqlite(path))?;
    Ok(Survey {
        bytes: fs::metadata(path).map_err(UpkeepError::file(path))?.len(),
        schema_version,
        known_schema_version: newest_known_step(),
        server_running: open::is_locked(path)?,
        complaint,
        latest,
    })
}

async fn read(conn: &mut SqliteConnection) -> Result<(i64, Option<String>, Option<Millis>), sqlx::Error> {
    let schema_version = open::newest_step(conn).await?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *conn).await?;
    let latest = if schema_version == newest_known_step() { latest(conn).await? } else { None };
    Ok((schema_version, (found != "ok").then_some(found), latest))
}

/// Of messages the last ones only: they are many, and their numbers follow the time.
async fn latest(conn: &mut SqliteConnection) -> Result<Option<Millis>, sqlx::Error> {
    transaction::begin_reading(conn).await?;
    let latest = sqlx::query_scalar(
        "SELECT max(at_ms) FROM (
             SELECT max(started_at_ms) AS at_ms FROM server_run
             UNION ALL SELECT max(created_at_ms) FROM token
             UNION ALL SELECT max(received_at_ms) FROM (SELECT received_at_ms FROM message ORDER BY id DESC LIMIT 100))",
    );
    let latest: Result<Option<i64>, _> = latest.fetch_one(&mut *conn).await;
    Ok(transaction::end(conn, latest).await?.map(Millis))
}
