//! Metrics of the backups that the server makes by itself.

use super::instrument::{Meter, TotalBy, counter};
use super::label::labels;

labels! {
    /// What came of a backup.
    BackupOutcome {
        /// It is on disk, and was read to its end.
        Made => "made",
        /// It is not.
        Failed => "failed",
    }
}

/// Backups, by what came of them.
pub struct BackupMetrics {
    outcomes: TotalBy<BackupOutcome>,
}

impl BackupMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let outcomes = counter(meter, "backups_total", "Backups that were due, by what came of them");
        Self { outcomes: TotalBy::new(&outcomes, "outcome", &[]) }
    }

    /// Counts a backup that is on disk.
    pub fn made(&self) {
        self.outcomes.increment(BackupOutcome::Made);
    }

    /// Counts a backup that failed.
    pub fn failed(&self) {
        self.outcomes.increment(BackupOutcome::Failed);
    }
}
