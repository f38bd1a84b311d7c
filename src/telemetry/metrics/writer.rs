//! Metrics of the one task that writes to the database.

use std::time::Duration;

use opentelemetry::metrics::Histogram;

use super::instrument::{HistogramSpec, Level, Meter, TotalBy, counter};
use super::label::labels;

labels! {
    /// Why a write failed.
    WriterErrorKind {
        /// Another process held the database past the busy time-out.
        Busy => "busy",
        /// The disk, or the quota, is full.
        Full => "full",
        /// The file cannot be read or written.
        Unavailable => "unavailable",
        /// The file is not a sound database.
        Corrupt => "corrupt",
    }
}

pub(super) const BATCH: HistogramSpec = HistogramSpec {
    name: "writer_batch_commands",
    help: "Commands committed together in one transaction",
    bounds: &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
};

pub(super) const COMMIT: HistogramSpec = HistogramSpec {
    name: "writer_commit_seconds",
    help: "Time from the begin of a transaction to its commit on disk in seconds",
    bounds: &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
};

/// Batches, commits and failures of the writer, and the queue in front of it.
pub struct WriterMetrics {
    batches: Histogram<u64>,
    commits: Histogram<f64>,
    errors: TotalBy<WriterErrorKind>,
    queue: Level,
}

impl WriterMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let errors = counter(meter, "writer_errors_total", "Failed writes to the database, by kind");
        Self {
            batches: BATCH.counts(meter),
            commits: COMMIT.seconds(meter),
            errors: TotalBy::new(&errors, "kind", &[]),
            queue: Level::gauge(meter, "writer_queue_depth", "Commands that wait for the writer"),
        }
    }

    /// Records a committed batch: how many commands it held and how long the transaction took.
    pub fn committed(&self, commands: usize, elapsed: Duration) {
        self.batches.record(u64::try_from(commands).unwrap_or(u64::MAX), &[]);
        self.commits.record(elapsed.as_secs_f64(), &[]);
    }

    /// Counts a failed write.
    pub fn failed(&self, kind: WriterErrorKind) {
        self.errors.increment(kind);
    }

    /// The depth of the queue: raised by whoever sends a command, lowered by the writer that takes it.
    #[must_use]
    pub fn queue(&self) -> Level {
        self.queue.clone()
    }
}
