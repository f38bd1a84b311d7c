//! What is done to the whole file while no server runs on it: `vacuum` and `migrate`. And what can go wrong with any work on
//! a whole file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use super::{
    copy::{self, Progress, Stage},
    error::is_busy,
    open::{self, DatabaseSettings, OpenError, ServerLock},
};
use crate::repository::StoreError;

/// Why work on a database file was not done. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It took no write.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server runs on it.
    #[error("a moorgate server is running on {0}: stop it first")]
    ServerRuns(PathBuf),
    /// Another program has it open.
    #[error("another program has {0} open: close it there first")]
    InUse(PathBuf),
    /// There is a file where one was to be made.
    #[error("{0} exists")]
    Exists(PathBuf),
    /// The file that was named is the database, or belongs to it.
    #[error("{0} belongs to the database itself")]
    IsTheDatabase(PathBuf),
    /// A file that was to be replaced has a journal, so it is a database that something works on.
    #[error("{0} is a database in use: its journal is beside it")]
    HasJournal(PathBuf),
    /// It is not whole, or not what it should be.
    #[error("{path} is not sound: {what}")]
    Unsound {
        /// Which.
        path: PathBuf,
        /// What is wrong, a line each.
        what: String,
    },
    /// An older program wrote it.
    #[error(
        "{path} has schema {version}, which is older than this moorgate: run `moorgate db migrate` first"
    )]
    OlderSchema {
        /// Which.
        path: PathBuf,
        /// The newest step of its schema.
        version: i64,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// It was told to stop.
    #[error("stopped before it was done")]
    Stopped,
}

impl UpkeepError {
    /// For `map_err`.
    pub(super) fn sqlite(path: &Path) -> impl Fn(sqlx::Error) -> Self {
        move |source| match source {
            source if is_busy(&source) => Self::InUse(path.into()),
            source => Self::Sqlite { path: path.into(), source },
        }
    }

    /// For `map_err`.
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { path: path.into(), source }
    }
}

/// The server's place, for a command that cannot work beside one.
pub(super) async fn take_servers_place(path: &Path) -> Result<ServerLock, UpkeepError> {
    open::take_lock(path).await.map_err(|error| match error {
        OpenError::InUse(path) => UpkeepError::ServerRuns(path),
        error => error.into(),
    })
}

/// What a vacuum came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vacuumed {
    /// Size of the file before, in bytes.
    pub bytes_before: u64,
    /// Size of the file now, in bytes.
    pub bytes: u64,
}

/// Writes the whole file anew, without its free pages. It would hold up a server for as long as it takes, so it takes the
/// server's place.
///
/// # Errors
/// [`UpkeepError`], among them that a server runs.
pub async fn vacuum(settings: &DatabaseSettings, progress: &Progress<'_>) -> Result<Vacuumed, UpkeepError> {
    let path = &settings.path;
    if !path.exists() {
        return Err(OpenError::Missing(path.clone()).into());
    }
    let _place = take_servers_place(path).await?;
    let size = || fs::metadata(path).map(|found| found.len()).map_err(UpkeepError::file(path));
    let bytes_before = size()?;
    let mut conn = open::connect_writer(settings).await?;
    let vacuumed = rewrite(&mut conn, &open::with_suffix(path, "-wal"), progress).await;
    conn.close().await.ok();
    vacuumed.map_err(UpkeepError::sqlite(path))?;
    Ok(Vacuumed { bytes_before, bytes: size()? })
}

async fn rewrite(
    conn: &mut SqliteConnection,
    wal: &Path,
    progress: &Progress<'_>,
) -> Result<(), sqlx::Error> {
    // The copy that is made on the way goes to a file: it may be larger than the memory.
    sqlx::query("PRAGMA temp_store = FILE").execute(&mut *conn).await?;
    let of = copy::used_bytes(conn).await?;
    let rewriting = sqlx::query("VACUUM").execute(&mut *conn);
    copy::while_growing(wal, rewriting, |done| progress(Stage::Rewriting { done, of })).await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(conn).await.map(drop)
}

/// What a migration came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The newest step of the schema before; 0: there was none.
    pub schema_before: i64,
    /// The newest step now.
    pub schema_version: i64,
}

/// Brings the schema up to date, as a server does at its start. A file that is missing is made.
///
/// # Errors
/// [`UpkeepError`], among them that a server runs.
pub async fn migrate(settings: &DatabaseSettings) -> Result<Migrated, UpkeepError> {
    let path = &settings.path;
    open::create_folder(path)?;
    let _place = take_servers_place(path).await?;
    open::create_private(path)?;
    let mut conn = open::connect_writer(settings).await?;
    let schema_before = open::newest_step(&mut conn).await.unwrap_or(0);
    let mut conn = open::migrate(conn, path).await?;
    let schema_version = open::newest_step(&mut conn).await;
    conn.close().await.ok();
    Ok(Migrated { schema_before, schema_version: schema_version.map_err(UpkeepError::sqlite(path))? })
}
