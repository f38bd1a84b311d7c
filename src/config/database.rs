//! `[database]`: where the data is, and how safely it is written.

use std::{path::PathBuf, time::Duration};

use super::reader::Reader;

/// The database file and its connections.
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
        }
    }
}
