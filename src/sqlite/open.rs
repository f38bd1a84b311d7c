//! Opening the database file: its lock, its pragmas, its schema.

use std::{
    cmp::Ordering,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

/// The schema, in steps.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Older ones can corrupt a WAL file when two connections write at the same time.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// How long a look-up waits for a connection that reads. They wait for no lock, so this is for their number and for a
/// busy machine.
const WAIT_FOR_READER: Duration = Duration::from_secs(5);

/// Rows of a result that may be read before they are taken: the thread of a connection waits less often.
const ROWS_AHEAD: usize = 1024;

/// Where the database is and how it is opened.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The file. It is created if it is missing, and so is its folder.
    pub path: PathBuf,
    /// Whether a commit waits for the disk (`synchronous = full`) or for the operating system only (`normal`).
    pub full_sync: bool,
    /// How long to wait for another process that holds the database.
    pub busy_timeout: Duration,
    /// Connections that read.
    pub read_connections: u32,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file, its folder or its lock file cannot be used.
    #[error("cannot open {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such file, and this is no occasion to make one.
    #[error("there is no database {0}")]
    Missing(PathBuf),
    /// Another server has it open.
    #[error("{0} is in use by another moorgate server (its lock file is held)")]
    InUse(PathBuf),
    /// A newer program wrote it.
    #[error("{path} was written by a newer moorgate (schema {version}); start that one, or restore a backup")]
    TooNew {
        /// The database.
        path: PathBuf,
        /// The newest step of its schema.
        version: i64,
    },
    /// A running server uses an older schema.
    #[error(
        "{0} has an older schema and a server is running on it: restart that server with this moorgate first"
    )]
    ServerIsOlder(PathBuf),
    /// A pragma did not take.
    #[error("SQLite did not take PRAGMA {name}: wanted {wanted}, got {got}")]
    Pragma {
        /// Which.
        name: &'static str,
        /// What was asked for.
        wanted: String,
        /// What it says.
        got: String,
    },
    /// The library is too old to be trusted with a WAL file.
    #[error("SQLite {0} is too old: 3.51.3 or newer is needed")]
    OldSqlite(String),
    /// SQLite said no.
    #[error("cannot open {path}: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The writer has no thread.
    #[error("cannot start the thread that writes: {0}")]
    Thread(#[source] io::Error),
    /// A step of the schema failed.
    #[error("cannot bring the schema of {path} up to date: {source}")]
    Migrate {
        /// The database.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
}

/// The lock that makes sure that one server runs on a file. It goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct ServerLock {
    file: File,
}

impl Drop for ServerLock {
    /// Closing the file is not enough: a child that is just being spawned holds a copy of the handle until its `exec`, and
    /// the lock with it.
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) writer: SqliteConnection,
    pub(super) reads: SqlitePool,
    pub(super) lock: Option<ServerLock>,
}

/// How long a server waits for the lock: a command may hold it for a moment, to bring the schema up to date.
const WAIT_FOR_COMMAND: Duration = Duration::from_millis(500);
/// The pause between two tries for the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the database for the one server.
pub(super) async fn open_as_server(settings: &DatabaseSettings) -> Result<Database, OpenError> {
    create_folder(&settings.path)?;
    let lock = take_lock(&settings.path).await?;
    create_private(&settings.path)?;
    let writer = migrate(connect_writer(settings).await?, &settings.path).await?;
    let reads = connect_readers(settings).await?;
    Ok(Database { writer, reads, lock: Some(lock) })
}

/// Takes the server's lock. It waits a moment for it.
pub(super) async fn take_lock(path: &Path) -> Result<ServerLock, OpenError> {
    let give_up = Instant::now() + WAIT_FOR_COMMAND;
    loop {
        match try_lock(path)? {
            Some(lock) => return Ok(lock),
            None if Instant::now() > give_up => return Err(OpenError::InUse(path.into())),
            None => sleep(PAUSE).await,
        }
    }
}

/// Whether a server runs on the file, or a command holds its place.
pub(super) fn is_locked(path: &Path) -> Result<bool, OpenError> {
    if lock_path(path).exists() { Ok(try_lock(path)?.is_none()) } else { Ok(false) }
}

/// Opens a database that exists, to read it beside whoever uses it. It is not brought up to date.
pub(super) async fn open_to_read(settings: &DatabaseSettings) -> Result<SqliteConnection, OpenError> {
    if !settings.path.exists() {
        return Err(OpenError::Missing(settings.path.clone()));
    }
    let options = options(settings).read_only(true);
    options.connect().await.map_err(|source| OpenError::Sqlite { path: settings.path.clone(), source })
}

/// Opens the database for one command, beside a server that may be running on it, or may just be starting. The lock is
/// only taken if the schema must be brought up to date, and given back at once.
pub(super) async fn open_beside(settings: &DatabaseSettings) -> Result<Database, OpenError> {
    create_folder(&settings.path)?;
    create_private(&settings.path)?;
    let path = || settings.path.clone();
    let mut writer = connect_writer(settings).await?;
    let give_up = Instant::now() + settings.busy_timeout;
    loop {
        let version = newest_step(&mut writer).await.unwrap_or(0);
        match version.cmp(&newest_known_step()) {
            Ordering::Equal => break,
            Ordering::Greater => return Err(OpenError::TooNew { path: path(), version }),
            Ordering::Less => match try_lock(&settings.path)? {
                Some(_lock) => writer = migrate(writer, &settings.path).await?,
                None if Instant::now() > give_up => return Err(OpenError::ServerIsOlder(path())),
                None => sleep(PAUSE).await,
            },
        }
    }
    let reads = connect_readers(settings).await?;
    Ok(Database { writer, reads, lock: None })
}

/// The folder of a new database is the owner's alone; one that exists is left as it is.
pub(super) fn create_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
    else {
        return Ok(());
    };
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(|source| OpenError::File { path: folder.into(), source })
}

/// A new file is made before SQLite makes it, so that it is never readable by others: SQLite gives its WAL the same mode.
/// One that exists is not touched: closing it would take the locks away from SQLite if this process has it open already
/// (POSIX, `fcntl`).
pub(super) fn create_private(path: &Path) -> Result<(), OpenError> {
    let made = match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(()),
        Err(_) => private_file(path).map(drop),
    };
    made.map_err(|source| OpenError::File { path: path.into(), source })
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The one path of a file that links may name too.
pub(super) fn canonical(path: &Path) -> PathBuf {
    if let Ok(canonical) = fs::canonicalize(path) {
        return canonical;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.into(),
    }
}

/// Takes the lock, if no other process has it. It is on a file of its own: SQLite's own locks on the database vanish when
/// any other handle on it is closed in the same process (POSIX, `fcntl`).
fn try_lock(path: &Path) -> Result<Option<ServerLock>, OpenError> {
    let path = lock_path(path);
    let failed = |source| OpenError::File { path: path.clone(), source };
    let file = private_file(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(ServerLock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    with_suffix(&canonical(path), ".lock")
}

/// The path with something after its last character.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Of a new file, also of a backup's, in bytes (decision 19). A file that is there keeps what it has.
const PAGE_SIZE: u32 = 8192;

pub(super) fn options(settings: &DatabaseSettings) -> SqliteConnectOptions {
    let sync = if settings.full_sync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    SqliteConnectOptions::new()
        .filename(&settings.path)
        .page_size(PAGE_SIZE)
        .busy_timeout(settings.busy_timeout)
        .synchronous(sync)
        .foreign_keys(true)
        .row_buffer_size(ROWS_AHEAD)
        .pragma("mmap_size", "0")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

pub(super) async fn connect_writer(settings: &DatabaseSettings) -> Result<SqliteConnection, OpenError> {
    let options = options(settings)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-4000");
    let failed = |source| OpenError::Sqlite { path: settings.path.clone(), source };
    let mut conn = options.connect().await.map_err(failed)?;
    check_version(&mut conn, settings).await?;
    let timeout = settings.busy_timeout.as_millis().to_string();
    for (name, sql, wanted) in [
        ("journal_mode", "PRAGMA journal_mode", "wal"),
        ("synchronous", "PRAGMA synchronous", if settings.full_sync { "2" } else { "1" }),
        ("foreign_keys", "PRAGMA foreign_keys", "1"),
        ("busy_timeout", "PRAGMA busy_timeout", timeout.as_str()),
        ("mmap_size", "PRAGMA mmap_size", "0"),
        ("temp_store", "PRAGMA temp_store", "2"),
        ("wal_autocheckpoint", "PRAGMA wal_autocheckpoint", "4000"),
        ("journal_size_limit", "PRAGMA journal_size_limit", "67108864"),
        ("cache_size", "PRAGMA cache_size", "-4000"),
    ] {
        let got = pragma(&mut conn, sql).await.map_err(failed)?;
        if got != wanted {
            return Err(OpenError::Pragma { name, wanted: wanted.into(), got });
        }
    }
    Ok(conn)
}

/// The connection that copies the WAL into the file beside the writer.
pub(super) async fn connect_checkpoint(settings: &DatabaseSettings) -> Result<SqliteConnection, OpenError> {
    let connected = options(settings).connect().await;
    connected.map_err(|source| OpenError::Sqlite { path: settings.path.clone(), source })
}

/// What a pragma says; nothing where it has nothing to say (`mmap_size` on a system without).
pub(super) async fn pragma(conn: &mut SqliteConnection, sql: &'static str) -> Result<String, sqlx::Error> {
    use sqlx::Row as _;
    let Some(row) = sqlx::query(sql).fetch_optional(conn).await? else { return Ok("0".into()) };
    row.try_get_unchecked::<String, _>(0)
        .or_else(|_| row.try_get_unchecked::<i64, _>(0).map(|n| n.to_string()))
}

async fn check_version(conn: &mut SqliteConnection, settings: &DatabaseSettings) -> Result<(), OpenError> {
    let failed = |source| OpenError::Sqlite { path: settings.path.clone(), source };
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(conn).await.map_err(failed)?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite(version));
    }
    Ok(())
}

/// Readers never set the journal mode: that would need the write lock for each new connection.
async fn connect_readers(settings: &DatabaseSettings) -> Result<SqlitePool, OpenError> {
    SqlitePoolOptions::new()
        .min_connections(settings.read_connections)
        .max_connections(settings.read_connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(WAIT_FOR_READER)
        .connect_with(options(settings).read_only(true))
        .await
        .map_err(|source| OpenError::Sqlite { path: settings.path.clone(), source })
}

pub(super) async fn migrate(mut conn: SqliteConnection, path: &Path) -> Result<SqliteConnection, OpenError> {
    match MIGRATIONS.run(&mut conn).await {
        Ok(()) => Ok(conn),
        Err(MigrateError::VersionMissing(version)) => {
            conn.close().await.ok();
            Err(OpenError::TooNew { path: path.into(), version })
        }
        Err(source) => Err(OpenError::Migrate { path: path.into(), source }),
    }
}

/// The newest step of the schema that this program knows.
pub(super) fn newest_known_step() -> i64 {
    MIGRATIONS.iter().map(|step| step.version).max().unwrap_or(0)
}

/// The newest step of the schema that the database has.
pub(super) async fn newest_step(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_handle_does_not_keep_the_lock() {
        let path = std::env::temp_dir().join(format!("moorgate-lock-{}", std::process::id()));
        let lock = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(try_lock(&path).unwrap().is_some());
        drop(copy);
        fs::remove_file(path.with_extension("lock")).unwrap();
    }
}
