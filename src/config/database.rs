//! `[database]`: where the data is, how safely it is written, and how long it is kept.

use std::{path::PathBuf, time::Duration};

use super::reader::Reader;

/// The database file, its connections and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The file, as it was given; a relative path starts at the working folder.
    pub path: PathBuf,
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
    /// How long to wait while another process holds the database.
    pub busy_timeout: Duration,
    /// Connections that read beside the one that writes.
    pub read_connections: u32,
    /// How long finished messages are kept.
    pub messages: Retention,
    /// How long their answers are kept: the message stays when its answer's text is erased.
    pub answers: Retention,
    /// How long sent and given up deliveries are kept.
    pub deliveries: Retention,
    /// The backups that a server makes by itself.
    pub backups: Backups,
}

/// Backups that a server makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backups {
    /// Where they are; `None`: none are made.
    pub folder: Option<PathBuf>,
    /// From one to the next.
    pub every: Duration,
    /// How many are kept, the newest.
    pub keep: u32,
}

/// How long something that is done with is kept. What a living idempotency key needs is kept in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The oldest to keep; `None` keeps them whatever their age.
    pub max_age: Option<Duration>,
    /// The most to keep, the youngest; `None` keeps them whatever their number.
    pub max_rows: Option<u32>,
}

/// When a commit counts as durable (`PRAGMA synchronous`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// It survives a power failure.
    Full,
    /// It survives a crash of the gateway.
    Normal,
}

impl Database {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let synchronous = [("full", Synchronous::Full), ("normal", Synchronous::Normal)];
        Self {
            path: r.required_text("database.path").into(),
            synchronous: r.word("database.synchronous", &synchronous),
            busy_timeout: r.millis("database.busy_timeout_ms", 0..=600_000),
            read_connections: r.integer("database.read_connections", 1..=16),
            messages: Retention::read(r, "database.message_retention_days", "database.message_max_rows"),
            answers: Retention::read(r, "database.answer_retention_days", "database.answer_max_rows"),
            deliveries: Retention::read(r, "database.delivery_retention_days", "database.delivery_max_rows"),
            backups: Backups::read(r),
        }
    }
}

impl Backups {
    fn read(r: &mut Reader<'_>) -> Self {
        let hours: u64 = r.integer("database.backup_every_hours", 1..=8760);
        Self {
            folder: r.optional_text("database.backup_folder").map(PathBuf::from),
            every: Duration::from_hours(hours),
            keep: r.integer("database.backup_keep", 1..=10_000),
        }
    }
}

impl Retention {
    pub(super) fn read(r: &mut Reader<'_>, days_key: &'static str, rows_key: &'static str) -> Self {
        let days: u64 = r.integer(days_key, 0..=36_500);
        let rows = r.integer(rows_key, 0..=1_000_000_000);
        Self {
            max_age: (days > 0).then(|| Duration::from_hours(24 * days)),
            max_rows: (rows > 0).then_some(rows),
        }
    }
}
