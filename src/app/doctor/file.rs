//! Files: who may read them, and how much room there is for more.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Cause, Finding};
use crate::config::{Config, Setting, Shown, Source};

/// Less room than this is none: a checkpoint or a batch of messages may need as much.
const TOO_LITTLE: u64 = 32 << 20;
/// Less room than this will not last.
const LITTLE: u64 = 512 << 20;

/// Who may read the configuration, the files of secrets and the database, and who may write to its folder.
pub(super) fn modes(config: &Config, settings: &[Setting]) -> Vec<Finding> {
    let mut readable = secret_files(config, settings);
    let database = &config.database.path;
    readable.extend([database.clone(), with_ending(database, "-wal")]);
    let mut findings: Vec<_> =
        readable.iter().filter_map(|path| open_to_others(path, 0o077, "read")).collect();
    findings.extend(open_to_others(folder_of(database), 0o022, "write to"));
    if findings.is_empty() {
        findings.push(Finding::ok("file modes", "what is secret is the owner's alone"));
    }
    findings
}

/// The files that hold secrets: the configuration, if there is one in it, and those it names.
fn secret_files(config: &Config, settings: &[Setting]) -> Vec<PathBuf> {
    let in_file = |setting: &Setting| {
        setting.value == Shown::Redacted && matches!(setting.source, Some(Source::File(..)))
    };
    let named = settings.iter().filter(|setting| setting.key.ends_with("_file"));
    let named = named.filter_map(|setting| match &setting.value {
        Shown::Text(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => None,
    });
    let holds_secrets = settings.iter().any(in_file);
    config.file.clone().filter(|_| holds_secrets).into_iter().chain(named).collect()
}

/// A finding if others may do something with a file or folder, and it is there.
fn open_to_others(path: &Path, bits: u32, what: &str) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o1777;
    // In a folder like /tmp nobody can remove what is another's.
    (mode & bits != 0 && mode & 0o1000 == 0).then(|| {
        let shown = path.display();
        let fix = if bits == 0o077 { format!("chmod 600 {shown}") } else { format!("chmod go-w {shown}") };
        Finding::warning("file modes", format!("others may {what} {shown} (mode {mode:03o})"), fix)
    })
}

/// Whether there is room for the database and its backups.
pub(super) fn space(config: &Config) -> Vec<Finding> {
    let database = &config.database.path;
    let bytes = fs::metadata(database).map_or(0, |found| found.len());
    let backups = config.database.backups.folder.as_deref();
    let mut folders = vec![folder_of(database)];
    folders.extend(backups);
    folders.into_iter().map(|folder| room_in(folder, bytes)).collect()
}

fn room_in(folder: &Path, database_bytes: u64) -> Finding {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(existing) {
        Ok(found) => judge_room(folder, found.f_bavail.saturating_mul(found.f_frsize), database_bytes),
        Err(error) => Finding::warning(
            "disk space",
            format!("{} cannot be asked for its room: {error}", folder.display()),
            "look at the folder with df",
        ),
    }
}

fn judge_room(folder: &Path, free: u64, database_bytes: u64) -> Finding {
    let text = format!("{} MiB are free in {}", free >> 20, folder.display());
    let fix = "make room on that disk, or set shorter times in [database]; the server goes on by itself";
    match free {
        0..TOO_LITTLE => Finding::error("disk space", Cause::Database, text, fix),
        TOO_LITTLE..LITTLE => Finding::warning("disk space", text, fix),
        _ if free < 2 * database_bytes => Finding::warning(
            "disk space",
            format!("{text}, less than a backup and a vacuum of the database need"),
            fix,
        ),
        _ => Finding::ok("disk space", text),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn room_is_judged_by_what_is_left_and_by_what_a_copy_needs() {
        let state = |free, database| judge_room(Path::new("/data"), free, database).state;
        assert_eq!(state(TOO_LITTLE - 1, 0), State::Error(Cause::Database));
        assert_eq!(state(TOO_LITTLE, 0), State::Warning);
        assert_eq!(state(LITTLE, LITTLE / 2), State::Ok);
        assert_eq!(state(LITTLE, LITTLE / 2 + 1), State::Warning);
    }
}
