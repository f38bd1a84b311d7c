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
    /// Where the newest run is reached through its tunnel, as far as it is on record.
    pub public_url: Option<String>,
}

/// What is read of the file.
struct Read {
    schema_version: i64,
    complaint: Option<String>,
    latest: Option<Millis>,
    public_url: Option<String>,
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
    let Read { schema_version, complaint, latest, public_url } = read.map_err(UpkeepError::sqlite(path))?;
    Ok(Survey {
        bytes: fs::metadata(path).map_err(UpkeepError::file(path))?.len(),
        schema_version,
        known_schema_version: newest_known_step(),
        server_running: open::is_locked(path)?,
        complaint,
        latest,
        public_url,
    })
}

async fn read(conn: &mut SqliteConnection) -> Result<Read, sqlx::Error> {
    let schema_version = open::newest_step(conn).await?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *conn).await?;
    let (mut newest, mut public_url) = (None, None);
    if schema_version == newest_known_step() {
        newest = latest(conn).await?;
        let url = sqlx::query_scalar("SELECT public_url FROM server_run ORDER BY id DESC LIMIT 1");
        public_url = url.fetch_optional(conn).await?.flatten();
    }
    let complaint = (found != "ok").then_some(found);
    Ok(Read { schema_version, complaint, latest: newest, public_url })
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
