//! A backup: a verified copy of the database in a file of its own, made beside a running server.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    copy::{self, Part, Watch},
    open::{DatabaseSettings, canonical, with_suffix},
    upkeep::UpkeepError,
};

/// What SQLite and the gateway put beside a database.
const COMPANIONS: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];
/// Files that SQLite would apply to whatever file has the name of their database.
const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// A backup that is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The newest step of its schema.
    pub schema_version: i64,
    /// How many rows each table has.
    pub rows: BTreeMap<String, u64>,
}

/// Writes a backup to `target`, which appears there when it is whole. `overwrite` replaces a file that is there.
///
/// # Errors
/// [`UpkeepError`]; then `target` is as it was.
pub async fn back_up(
    settings: &DatabaseSettings,
    target: &Path,
    overwrite: bool,
    watch: &Watch<'_>,
) -> Result<Backup, UpkeepError> {
    may_be_written(&settings.path, target, overwrite)?;
    let part = Part::beside(target)?;
    let contents = copy::copy(settings, &part, watch).await?;
    may_be_written(&settings.path, target, overwrite)?; // it may have come to be in the meantime
    part.put(target)?;
    let bytes = fs::metadata(target).map_err(UpkeepError::file(target))?.len();
    Ok(Backup { path: target.into(), bytes, schema_version: contents.schema_version, rows: contents.rows })
}

fn may_be_written(database: &Path, target: &Path, overwrite: bool) -> Result<(), UpkeepError> {
    let (database, file) = (canonical(database), canonical(target));
    let is_companion = COMPANIONS.iter().any(|suffix| file == with_suffix(&database, suffix));
    if is_companion || is_one_file(&database, target) {
        return Err(UpkeepError::IsTheDatabase(target.into()));
    }
    if !target.try_exists().map_err(UpkeepError::file(target))? {
        return Ok(());
    }
    if JOURNALS.iter().any(|suffix| with_suffix(&file, suffix).exists()) {
        return Err(UpkeepError::HasJournal(target.into()));
    }
    if overwrite { Ok(()) } else { Err(UpkeepError::Exists(target.into())) }
}

/// Whether both paths name the same file, by links too.
pub(super) fn is_one_file(one: &Path, other: &Path) -> bool {
    let id = |path| fs::metadata(path).ok().map(|found: fs::Metadata| (found.dev(), found.ino()));
    id(one).is_some() && id(one) == id(other)
}
