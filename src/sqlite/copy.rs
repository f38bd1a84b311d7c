//! A copy of a whole database, made beside whoever writes to it and verified before it gets its name.
//!
//! `VACUUM INTO` reads in one transaction, so the copy is the database as it was at one moment, and in WAL mode a reader
//! holds up no writer. SQLite's backup API was measured too: in steps it begins again whenever another process has written,
//! which under load is for ever, and in one step it takes as long and copies free pages as well.
//! While it reads, the WAL cannot be used again from its start, so it grows by what is written meanwhile.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::{
    contents::{self, Contents},
    open::{self, DatabaseSettings, with_suffix},
    upkeep::UpkeepError,
};

/// The pause between two looks how far a copy is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How far long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Pages are being copied.
    Copying {
        /// Bytes that are in the copy.
        done: u64,
        /// Bytes of the database, free pages not counted: about as many as there will be.
        of: u64,
    },
    /// The copy is being read to its end.
    Verifying,
    /// The database is being written anew.
    Rewriting {
        /// Bytes that are written.
        done: u64,
        /// Bytes that will be, about.
        of: u64,
    },
    /// The check of this name is being made.
    Checking(&'static str),
}

/// Who is told some times a second how far it is.
pub type Progress<'a> = dyn Fn(Stage) + Sync + 'a;

/// Who watches a copy being made.
pub struct Watch<'a> {
    /// Cancelled, it ends the work soon, and nothing is left of it.
    pub stop: &'a CancellationToken,
    /// Is told how far it is.
    pub progress: &'a Progress<'a>,
}

/// A file in the making, under another name beside the one that it is for. It goes away if it is dropped.
#[derive(Debug)]
pub(super) struct Part(Option<PathBuf>);

impl Part {
    /// An empty file for the owner alone, beside `target`.
    pub(super) fn beside(target: &Path) -> Result<Self, UpkeepError> {
        let path = with_suffix(target, &format!(".{}.part", std::process::id()));
        remove(&path)?; // of a process with the same number, which was killed
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(UpkeepError::file(&path))?;
        Ok(Self(Some(path)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives the file its name, in place of what has it now, and waits until that is on disk.
    pub(super) fn put(mut self, target: &Path) -> Result<(), UpkeepError> {
        let Some(path) = self.0.take() else { return Ok(()) };
        let put = File::open(&path).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&path, target));
        if put.is_err() {
            self.0 = Some(path);
        }
        put.map_err(UpkeepError::file(target))?;
        sync_folder_of(target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove(path).and(remove(&with_suffix(path, "-journal"))).ok();
        }
    }
}

/// Removes a file that may be missing.
pub(super) fn remove(path: &Path) -> Result<(), UpkeepError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(UpkeepError::file(path)(error)),
        _ => Ok(()),
    }
}

/// Waits until names in the folder of `path` are on disk.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), UpkeepError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(UpkeepError::file(folder))
}

/// Copies a database into a file in the making, and reads the copy to its end.
pub(super) async fn copy(
    source: &DatabaseSettings,
    part: &Part,
    watch: &Watch<'_>,
) -> Result<Contents, UpkeepError> {
    let mut conn = open::open_to_read(source).await?;
    let copied = copy_pages(&mut conn, source, part, watch).await;
    conn.close().await.ok();
    let Copied { before, after, untouched } = copied?;
    (watch.progress)(Stage::Verifying);
    let settings = DatabaseSettings { path: part.path().into(), ..source.clone() };
    let copy = contents::verify(&settings, watch.stop).await?;
    if before.lead_to(&copy, &after) && (!untouched || copy.rows == before.rows) {
        return Ok(copy);
    }
    let what = format!("the copy has not what the database had: {copy:?} of {before:?}");
    Err(UpkeepError::Unsound { path: part.path().into(), what })
}

/// What was in the database around the moment of the copy.
struct Copied {
    before: Contents,
    after: Contents,
    /// Nobody wrote in between.
    untouched: bool,
}

async fn copy_pages(
    conn: &mut SqliteConnection,
    source: &DatabaseSettings,
    part: &Part,
    watch: &Watch<'_>,
) -> Result<Copied, UpkeepError> {
    let is_stopped = || watch.stop.is_cancelled();
    let failed = UpkeepError::sqlite(&source.path);
    let stopped_or = |error| if is_stopped() { UpkeepError::Stopped } else { failed(error) };
    contents::stop_with(conn, watch.stop).await.map_err(stopped_or)?;
    let version = data_version(conn).await.map_err(stopped_or)?;
    let before = Contents::read(conn).await.map_err(stopped_or)?;
    let of = used_bytes(conn).await.map_err(stopped_or)?;
    let target = std::path::absolute(part.path()).map_err(UpkeepError::file(part.path()))?;
    let not_text = || UpkeepError::file(&target)(io::Error::other("its name is not UTF-8"));
    let name = target.to_str().ok_or_else(not_text)?;
    vacuum_into(conn, name, |done| (watch.progress)(Stage::Copying { done, of }))
        .await
        .map_err(stopped_or)?;
    let after = Contents::read(conn).await.map_err(stopped_or)?;
    let untouched = data_version(conn).await.map_err(stopped_or)? == version;
    Ok(Copied { before, after, untouched })
}

/// Copies, and tells now and then how many bytes are in the copy.
async fn vacuum_into(
    conn: &mut SqliteConnection,
    target: &str,
    progress: impl Fn(u64),
) -> Result<(), sqlx::Error> {
    let copying = sqlx::query("VACUUM INTO ?1").bind(target).execute(conn);
    while_growing(Path::new(target), copying, progress).await.map(drop)
}

/// Does work that makes a file grow, and tells now and then how many bytes it has.
pub(super) async fn while_growing<T>(
    file: &Path,
    work: impl Future<Output = T>,
    progress: impl Fn(u64),
) -> T {
    tokio::pin!(work);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = look.tick() => progress(fs::metadata(file).map_or(0, |found| found.len())),
        }
    }
}

/// What the pages take that hold something.
pub(super) async fn used_bytes(conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let (pages, free, size): (i64, i64, i64) = sqlx::query_as(
        "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .fetch_one(conn)
    .await?;
    Ok(((pages - free) * size).unsigned_abs())
}

/// A number that changes when another connection has committed, <https://sqlite.org/pragma.html#pragma_data_version>.
async fn data_version(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(conn).await
}
