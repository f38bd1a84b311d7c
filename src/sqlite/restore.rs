//! Putting a backup in the place of the database. The old file is kept, and nothing of its journals reaches the new one.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::{
    backup::is_one_file,
    contents::{self, Contents},
    copy::{self, Part, Watch, remove, sync_folder_of},
    error::is_damage,
    open::{self, DatabaseSettings, OpenError, ServerLock, canonical, with_suffix},
    upkeep::{UpkeepError, take_servers_place},
};
use crate::domain::time::Millis;

/// A backup that was verified and copied beside the database, and waits to take its place. No server starts meanwhile.
pub struct Restore {
    settings: DatabaseSettings,
    database: PathBuf,
    part: Part,
    contents: Contents,
    _place: ServerLock,
}

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The database.
    pub path: PathBuf,
    /// The newest step of its schema. An older one is brought up to date at the server's start.
    pub schema_version: i64,
    /// How many rows each table has.
    pub rows: std::collections::BTreeMap<String, u64>,
    /// What was there before; `None`: nothing.
    pub kept: Option<PathBuf>,
}

impl Restore {
    /// Takes the server's place, checks the backup and copies it.
    ///
    /// # Errors
    /// [`UpkeepError`], among them that a server runs, or that the backup is not sound.
    pub async fn prepare(
        settings: &DatabaseSettings,
        backup: &Path,
        watch: &Watch<'_>,
    ) -> Result<Self, UpkeepError> {
        let database = canonical(&settings.path);
        if is_one_file(&database, backup) {
            return Err(UpkeepError::IsTheDatabase(backup.into()));
        }
        let source = DatabaseSettings { path: backup.into(), ..settings.clone() };
        if !backup.exists() {
            return Err(OpenError::Missing(backup.into()).into());
        }
        open::create_folder(&database)?;
        let place = take_servers_place(&database).await?;
        contents::verify(&source, watch.stop).await?;
        let part = Part::beside(&database)?;
        let contents = copy::copy(&source, &part, watch).await?;
        Ok(Self { settings: settings.clone(), database, part, contents, _place: place })
    }

    /// Whether there is a database that the backup will replace.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.database.exists()
    }

    /// Puts the backup in the place of the database, which keeps its contents under another name: `.before-restore-` and
    /// `now`. There is a database under its name at every moment.
    ///
    /// # Errors
    /// [`UpkeepError`], among them that another program has the database open.
    pub async fn finish(self, now: Millis) -> Result<Restored, UpkeepError> {
        let Self { settings, database, part, contents, _place } = self;
        let kept = if database.exists() {
            let kept = free_name(&with_suffix(&database, &format!(".before-restore-{}", now.stamp())));
            settle(&DatabaseSettings { path: database.clone(), ..settings }).await?;
            keep_owner(&database, part.path())?;
            keep(&database, &kept)?;
            Some(kept)
        } else {
            move_journals(&database, None)?;
            None
        };
        part.put(&database)?;
        let Contents { schema_version, rows, .. } = contents;
        Ok(Restored { path: database, schema_version, rows, kept })
    }
}

/// The name, or the first with a number behind it that nothing has yet: two restores may be within a second.
fn free_name(name: &Path) -> PathBuf {
    let numbered = (2..).map(|number: u64| with_suffix(name, &format!("-{number}")));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or_else(|| name.to_owned())
}

/// Writes the WAL of the old file back into it and leaves the WAL mode, which only works where nobody else has the file
/// open. A damaged file is left as it is, with its journals.
async fn settle(settings: &DatabaseSettings) -> Result<(), UpkeepError> {
    let mode = match open::options(settings).connect().await {
        Ok(mut conn) => {
            let mode = leave_wal(&mut conn).await;
            conn.close().await.ok();
            mode
        }
        Err(error) => Err(error),
    };
    match mode {
        Ok(mode) if mode != "delete" => Err(UpkeepError::InUse(settings.path.clone())),
        Err(error) if !is_damage(&error) => Err(UpkeepError::sqlite(&settings.path)(error)),
        _ => Ok(()),
    }
}

/// The mode it is in afterwards.
async fn leave_wal(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("PRAGMA journal_mode = DELETE").fetch_one(conn).await
}

/// A restore by root must not take the file away from the server's user. Nobody else may give files away.
fn keep_owner(database: &Path, part: &Path) -> Result<(), UpkeepError> {
    let old = fs::metadata(database).map_err(UpkeepError::file(database))?;
    chown(part, Some(old.uid()), Some(old.gid())).ok();
    Ok(())
}

/// Gives the old file its second name, and its journals theirs.
fn keep(database: &Path, kept: &Path) -> Result<(), UpkeepError> {
    // Some file systems have no links: there the name is without a file for a moment.
    fs::hard_link(database, kept).or_else(|_| fs::rename(database, kept)).map_err(UpkeepError::file(kept))?;
    move_journals(database, Some(kept))
}

/// Takes away what SQLite would apply to the next file of this name, and waits until that is on disk: were it put off until the
/// next file has its name, a loss of power in between would leave both. A settled file has none of it.
fn move_journals(database: &Path, kept: Option<&Path>) -> Result<(), UpkeepError> {
    for suffix in ["-wal", "-journal"] {
        let journal = with_suffix(database, suffix);
        match kept {
            Some(kept) if journal.exists() => {
                fs::rename(&journal, with_suffix(kept, suffix)).map_err(UpkeepError::file(&journal))?;
            }
            _ => remove(&journal)?,
        }
    }
    remove(&with_suffix(database, "-shm"))?;
    sync_folder_of(database)
}
