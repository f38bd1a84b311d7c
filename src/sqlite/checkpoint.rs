//! The checkpoint: what stands in the WAL is copied into the file beside the writer, so that hardly a commit pays for it.
//!
//! A connection of its own copies while commits go on (`PASSIVE`: it waits for nobody, and nobody waits for it). The WAL begins
//! anew only when nothing is left to copy, which under load is never so here; so the writer's own automatic checkpoint stays,
//! for the WAL's size to have a bound. It finds little left to do.

use std::sync::{Arc, atomic::Ordering};

use sqlx::{Connection as _, SqliteConnection};

use super::Shared;

/// Commands after whose commit it is time for a checkpoint.
const EVERY: usize = 4000;

/// Counts what was committed since the last checkpoint was asked for.
#[derive(Debug, Default)]
pub(super) struct Committed(usize);

impl Committed {
    /// So many commands more; whether it is time for a checkpoint.
    pub(super) fn add(&mut self, commands: usize) -> bool {
        self.0 += commands;
        let is_time = self.0 >= EVERY;
        if is_time {
            self.0 = 0;
        }
        is_time
    }
}

/// Copies whenever it is asked to, until the store is closed.
pub(super) async fn run(mut conn: SqliteConnection, shared: Arc<Shared>) {
    loop {
        shared.checkpoint.notified().await;
        if shared.closing.load(Ordering::Relaxed) {
            break;
        }
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut conn).await {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }
    conn.close().await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_after_so_many_commands_and_then_after_as_many_again() {
        let mut committed = Committed::default();
        for _ in 0..2 {
            assert!(!committed.add(EVERY - 1));
            assert!(committed.add(1));
        }
    }
}
