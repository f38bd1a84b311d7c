//! Backups that the server makes by itself: one every so often, in a folder, of which the newest are kept.
//!
//! The names of the files say when they were made, and the newest decides when the next one is due. So a restart changes
//! nothing, and neither does a copy of the folder. Other files in the folder are left alone.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    backup::{Backup, back_up},
    copy::{Watch, remove},
    open::DatabaseSettings,
    upkeep::UpkeepError,
};
use crate::{domain::time::Millis, system::SteadyClock, telemetry::metrics::Metrics};

/// After a backup that failed the next one is tried no sooner: it costs the disk as much as one that succeeds.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(10);

/// When backups are made, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Where they are. The folder is made if it is missing.
    pub folder: PathBuf,
    /// From one to the next.
    pub every: Duration,
    /// How many are kept; at least 1.
    pub keep: usize,
}

/// The backups of a running server.
pub struct Rotation {
    settings: DatabaseSettings,
    schedule: Schedule,
    clock: Arc<SteadyClock>,
    metrics: Arc<Metrics>,
    /// The end of the pause after a failure. It is held while a backup is made, so there is one at a time.
    paused_until: Mutex<Option<Millis>>,
}

impl Rotation {
    /// Backups of the database by a schedule.
    #[must_use]
    pub fn new(
        settings: DatabaseSettings,
        schedule: Schedule,
        clock: Arc<SteadyClock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { settings, schedule, clock, metrics, paused_until: Mutex::new(None) }
    }

    /// Makes a backup if one is due, and removes the oldest ones. Success and failure are counted and logged.
    ///
    /// # Errors
    /// [`UpkeepError`]; [`UpkeepError::Stopped`] if `stop` was cancelled.
    pub async fn run_once(&self, stop: &CancellationToken) -> Result<Option<Backup>, UpkeepError> {
        let mut paused_until = self.paused_until.lock().await;
        let now = self.clock.now();
        if paused_until.is_some_and(|until| now < until) {
            return Ok(None);
        }
        let result = self.back_up_if_due(now, stop).await;
        *paused_until = None;
        match &result {
            Ok(None) | Err(UpkeepError::Stopped) => {}
            Ok(Some(backup)) => {
                self.metrics.backups.made();
                tracing::info!(path = %backup.path.display(), bytes = backup.bytes, "a backup was made");
            }
            Err(error) => {
                self.metrics.backups.failed();
                *paused_until = Some(now.plus(PAUSE_AFTER_FAILURE));
                tracing::warn!(%error, "a backup failed; it is tried again in ten minutes");
            }
        }
        result
    }

    async fn back_up_if_due(
        &self,
        now: Millis,
        stop: &CancellationToken,
    ) -> Result<Option<Backup>, UpkeepError> {
        let folder = &self.schedule.folder;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(UpkeepError::file(folder))?;
        let names = Names::of(&self.settings.path);
        let found = file_names(folder).map_err(UpkeepError::file(folder))?;
        if !names.is_due(&found, now, self.schedule.every) {
            return Ok(None);
        }
        for left in found.iter().filter(|name| names.is_part(name)) {
            remove(&folder.join(left))?;
        }
        let target = folder.join(names.at(now));
        let watch = Watch { stop, progress: &|_| () };
        let backup = back_up(&self.settings, &target, false, &watch).await?;
        let found = file_names(folder).map_err(UpkeepError::file(folder))?;
        for old in names.surplus(&found, now, self.schedule.keep) {
            remove(&folder.join(old))?;
        }
        Ok(Some(backup))
    }
}

/// The newest backup in the folder of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The file; `None`: there is none.
    pub path: Option<PathBuf>,
    /// Whether a running server would have made another one long ago: it is older than twice the interval, or there is none.
    pub is_late: bool,
}

/// Looks for the newest backup of a database.
///
/// # Errors
/// That of the file system, where the folder exists.
pub fn newest_backup(database: &Path, schedule: &Schedule, now: Millis) -> io::Result<Newest> {
    let names = Names::of(database);
    let found = match file_names(&schedule.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?,
    };
    let path = names.up_to(&found, now).pop().map(|name| schedule.folder.join(name));
    Ok(Newest { path, is_late: names.is_due(&found, now, schedule.every * 2) })
}

fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().into_string().ok().map(Ok), // what is not UTF-8 is none of ours
        Err(error) => Some(Err(error)),
    });
    names.collect()
}

/// How the backups of a database are named: `moorgate-20261122T041500Z.db` are those of `moorgate.db`.
struct Names {
    prefix: String,
}

impl Names {
    fn of(database: &Path) -> Self {
        let stem = database.file_stem().unwrap_or_default().to_string_lossy();
        Self { prefix: format!("{stem}-") }
    }

    fn at(&self, moment: Millis) -> String {
        format!("{}{}.db", self.prefix, moment.stamp())
    }

    /// The stamp of a backup's name.
    fn stamp<'a>(&self, name: &'a str) -> Option<&'a str> {
        let stamp = name.strip_prefix(&self.prefix)?.strip_suffix(".db")?;
        let is_right = |(at, byte): (usize, u8)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        };
        (stamp.len() == 16 && stamp.bytes().enumerate().all(is_right)).then_some(stamp)
    }

    /// Whether it is what a killed server left of a backup.
    fn is_part(&self, name: &str) -> bool {
        let whole = name.strip_suffix("-journal").unwrap_or(name).strip_suffix(".part");
        let whole = whole.and_then(|name| name.rsplit_once('.')).map(|(name, _pid)| name);
        whole.is_some_and(|name| self.stamp(name).is_some())
    }

    /// The backups up to now, the oldest first. Those of a clock that was ahead are nobody's business here.
    fn up_to<'a>(&self, names: &'a [String], now: Millis) -> Vec<&'a str> {
        let now = now.stamp();
        let is_ours = |name: &&str| self.stamp(name).is_some_and(|stamp| stamp <= now.as_str());
        let mut ours: Vec<_> = names.iter().map(String::as_str).filter(is_ours).collect();
        ours.sort_unstable();
        ours
    }

    fn is_due(&self, names: &[String], now: Millis, every: Duration) -> bool {
        let newest = self.up_to(names, now).pop().and_then(|name| self.stamp(name));
        newest.is_none_or(|newest| newest <= now.minus(every).stamp().as_str())
    }

    /// The backups that are not to be kept.
    fn surplus<'a>(&self, names: &'a [String], now: Millis, keep: usize) -> Vec<&'a str> {
        let mut ours = self.up_to(names, now);
        ours.truncate(ours.len().saturating_sub(keep));
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = Millis(1_790_000_000_000); // 2026-09-21T14:13:20Z
    const HOUR: Duration = Duration::from_hours(1);

    fn names() -> Names {
        Names::of(Path::new("/var/lib/moorgate.db"))
    }

    fn files(moments: &[Millis]) -> Vec<String> {
        moments.iter().map(|moment| names().at(*moment)).collect()
    }

    #[test]
    fn a_backup_is_due_an_interval_after_the_newest() {
        assert!(names().is_due(&[], NOON, HOUR));
        for (ago_secs, due) in [(0, false), (3599, false), (3600, true), (86_400, true)] {
            let made = files(&[NOON.minus(HOUR * 100), NOON.minus(Duration::from_secs(ago_secs))]);
            assert_eq!(names().is_due(&made, NOON, HOUR), due, "{ago_secs}");
        }
    }

    #[test]
    fn a_backup_of_a_clock_that_was_ahead_neither_counts_nor_goes() {
        let made = files(&[NOON.minus(HOUR), NOON, NOON.plus(HOUR)]);
        assert!(names().is_due(&made[2..], NOON, HOUR));
        assert_eq!(names().surplus(&made, NOON, 1), [made[0].as_str()]);
    }

    #[test]
    fn the_oldest_are_too_many() {
        let made = files(&[NOON, NOON.minus(HOUR * 2), NOON.minus(HOUR)]);
        assert_eq!(names().surplus(&made, NOON, 3), [""; 0]);
        assert_eq!(names().surplus(&made, NOON, 1), [made[1].as_str(), made[2].as_str()]);
    }

    #[test]
    fn what_has_another_name_is_not_ours() {
        for name in [
            "moorgate.db",
            "moorgate-.db",
            "moorgate-20260921T141320Z.db.gz",
            "moorgate-20260921T141320.db",
            "moorgate-20260921X141320Z.db",
            "moorgate-2026092xT141320Z.db",
            "other-20260921T141320Z.db",
            "moorgate-2-20260921T141320Z.db",
        ] {
            assert_eq!(names().stamp(name), None, "{name}");
        }
        let part = |name: &str| names().is_part(name);
        assert!(part("moorgate-20260921T141320Z.db.17.part"));
        assert!(part("moorgate-20260921T141320Z.db.17.part-journal"));
        assert!(!part("moorgate-20260921T141320Z.db") && !part("moorgate.17.part"));
    }
}
