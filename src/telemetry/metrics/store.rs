//! Metrics of what the database holds and lets go.

use std::path::{Path, PathBuf};

use opentelemetry::KeyValue;

use super::instrument::{Meter, TotalBy, counter, observe};
use super::label::labels;

labels! {
    /// What was removed because it had expired or was over its limit.
    RemovedKind {
        /// Messages, with their answers.
        Message => "message",
        /// Texts of answers.
        Answer => "answer",
        /// Replies to channels.
        Delivery => "delivery",
        /// What users said.
        Memory => "memory",
        /// Conversations that are over.
        Conversation => "conversation",
        /// Ids, nonces and early news of platforms.
        Received => "received",
        /// Idempotency keys.
        Key => "key",
        /// Answered idempotency keys of an owner that has more than may be kept.
        KeyOverLimit => "key_over_limit",
        /// Hits of rate windows.
        Hit => "hit",
        /// Pairing codes, failures and lockouts.
        Pairing => "pairing",
    }
}

/// What was removed, how large the files are, and who reads.
pub struct StoreMetrics {
    removed: TotalBy<RemovedKind>,
    meter: Meter,
}

impl StoreMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let removed = counter(
            meter,
            "rows_removed_total",
            "Rows removed because they had expired or were over their limit, by kind",
        );
        Self { removed: TotalBy::new(&removed, "kind", &[]), meter: meter.clone() }
    }

    /// Counts rows that were removed.
    pub fn removed(&self, kind: RemovedKind, rows: u64) {
        self.removed.add(kind, rows);
    }

    /// Shows from now on how large the database and its log are, and how many connections read.
    pub fn watch(&self, database: &Path, readers: impl Fn() -> u64 + Send + Sync + 'static) {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        let files = [("main", database.to_owned()), ("wal", PathBuf::from(wal))];
        let named = ("database_bytes", "Size of the database's files in bytes: main, and wal, its log");
        observe(&self.meter, named, move |show| {
            for (name, path) in &files {
                let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
                show(bytes, &[KeyValue::new("file", *name)]);
            }
        });
        let named = ("database_readers_busy", "Read connections of the database that are in use");
        observe(&self.meter, named, move |show| show(readers(), &[]));
    }
}
