//! The checkpoint: what stands in the WAL is copied into the file beside the writer, so that hardly a commit pays for it.
//!
//! A connection of its own copies while commits go on (`PASSIVE`: it waits for nobody, and nobody waits for it). The WAL begins
//! anew only when nothing is left to copy, which under load is never so here. So once the WAL is long and little is left, the writer
//! copies the rest between two batches (decision 23), and nobody else copies until it has. Its automatic checkpoint stays, as a
//! bound of the WAL's size where this connection does not keep up.

use std::sync::{Arc, atomic::Ordering};

use sqlx::{Connection as _, SqliteConnection};

use super::Shared;

/// Commands after whose commit it is time for a checkpoint: with few of them each sync of the file is short, for which the writer's
/// syncs wait.
const EVERY: usize = 1000;
/// Pages in the WAL from which on it is long: half of what the writer's automatic checkpoint lets it have.
const LONG: i64 = 2000;
/// How often a long WAL is copied before the writer copies the rest: each time there is less.
const PASSES: usize = 3;

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
        if shared.wal_is_long.load(Ordering::Relaxed) {
            continue; // it is the writer's turn
        }
        match copy(&mut conn).await {
            Ok(is_long) => shared.wal_is_long.store(is_long, Ordering::Relaxed),
            Err(error) => warn(&error),
        }
    }
    conn.close().await.ok();
}

/// Says that something was not copied. It stands in the WAL still.
pub(super) fn warn(error: &sqlx::Error) {
    tracing::warn!(%error, "the write-ahead log could not be copied into the database");
}

/// Copies what is there. The pages in the WAL, and how many of them are copied: both -1 if another connection is copying.
pub(super) async fn copy_once(conn: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    let (_, pages, copied): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(conn).await?;
    Ok((pages, copied))
}

/// Copies what is there, and of a long WAL what came meanwhile, too. Whether it is long, and all that was there is copied: an old
/// reader keeps what came after it from being.
pub(super) async fn copy(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    for _ in 0..PASSES {
        let (pages, copied) = copy_once(conn).await?;
        if pages < LONG || copied < pages {
            return Ok(false);
        }
    }
    Ok(true)
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
