//! What there is to know about a database file, beside whoever uses it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use super::{
    contents::Contents,
    open::{self, DatabaseSettings, with_suffix},
    upkeep::UpkeepError,
};

/// Runs that are told of, the newest.
const RUNS: i64 = 5;

/// What is told of each pragma that says how the file is kept, or that the gateway sets.
const PRAGMAS: [(&str, &str); 6] = [
    ("journal_mode", "PRAGMA journal_mode"),
    ("synchronous", "PRAGMA synchronous"),
    ("foreign_keys", "PRAGMA foreign_keys"),
    ("busy_timeout", "PRAGMA busy_timeout"),
    ("auto_vacuum", "PRAGMA auto_vacuum"),
    ("encoding", "PRAGMA encoding"),
];

/// What there is to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Info {
    /// The file.
    pub path: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The size of the WAL beside it, in bytes; 0 if there is none.
    pub wal_bytes: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages of the file.
    pub pages: u64,
    /// Pages among them that hold nothing; `db vacuum` gives them back.
    pub free_pages: u64,
    /// The newest step of the schema.
    pub schema_version: i64,
    /// The newest step that this program knows.
    pub known_schema_version: i64,
    /// The library that reads it.
    pub sqlite_version: String,
    /// Whether a server runs on it.
    pub server_running: bool,
    /// What the pragmas say.
    pub pragmas: BTreeMap<&'static str, String>,
    /// How many rows each table has.
    pub rows: BTreeMap<String, u64>,
    /// The newest runs of the server, the newest first.
    pub runs: Vec<Run>,
}

/// A run of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// When it began, ISO 8601 in UTC.
    pub started_at: String,
    /// When it ended in order.
    pub stopped_at: Option<String>,
    /// The process.
    pub pid: i64,
    /// The program's version.
    pub version: String,
}

/// Reads what there is to know.
///
/// # Errors
/// [`UpkeepError`], among them that there is no such file.
pub async fn info(settings: &DatabaseSettings) -> Result<Info, UpkeepError> {
    let path = &settings.path;
    let mut conn = open::open_to_read(settings).await?;
    let read = read(&mut conn).await;
    conn.close().await.ok();
    let File { pages, pragmas, contents, runs, sqlite_version } = read.map_err(UpkeepError::sqlite(path))?;
    let [page_bytes, pages, free_pages] = pages;
    Ok(Info {
        path: path.clone(),
        bytes: fs::metadata(path).map_err(UpkeepError::file(path))?.len(),
        wal_bytes: fs::metadata(with_suffix(&open::canonical(path), "-wal")).map_or(0, |found| found.len()),
        page_bytes,
        pages,
        free_pages,
        schema_version: contents.schema_version,
        known_schema_version: open::newest_known_step(),
        sqlite_version,
        server_running: open::is_locked(path)?,
        pragmas,
        rows: contents.rows,
        runs,
    })
}

/// What is asked of SQLite.
struct File {
    pages: [u64; 3],
    pragmas: BTreeMap<&'static str, String>,
    contents: Contents,
    runs: Vec<Run>,
    sqlite_version: String,
}

async fn read(conn: &mut SqliteConnection) -> Result<File, sqlx::Error> {
    let mut pages = [0; 3];
    for (place, sql) in ["PRAGMA page_size", "PRAGMA page_count", "PRAGMA freelist_count"].iter().enumerate()
    {
        let number: i64 = sqlx::query_scalar(*sql).fetch_one(&mut *conn).await?;
        pages[place] = number.unsigned_abs();
    }
    let mut pragmas = BTreeMap::new();
    for (name, sql) in PRAGMAS {
        pragmas.insert(name, open::pragma(conn, sql).await?);
    }
    let sqlite_version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *conn).await?;
    let contents = Contents::read(conn).await?;
    let runs = newest_runs(conn).await?;
    Ok(File { pages, pragmas, contents, runs, sqlite_version })
}

async fn newest_runs(conn: &mut SqliteConnection) -> Result<Vec<Run>, sqlx::Error> {
    sqlx::query_as!(
        Run,
        r#"SELECT id AS "id!: i64", started_at AS "started_at!: String", stopped_at AS "stopped_at: String",
                  pid AS "pid!: i64", version AS "version!: String"
           FROM v_server_run ORDER BY id DESC LIMIT ?1"#,
        RUNS
    )
    .fetch_all(conn)
    .await
}
