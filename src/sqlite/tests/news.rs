//! What the writer says is told on another thread, after a while.

use std::{
    fs,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    time::Duration,
};

use sqlx::Executor as _;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{gate::shut, hit, limits, open, open_with, other, poll_once, settings};
use crate::{
    domain::rate::Scope,
    repository::{HitOutcome, RateLimitRepository as _, StoreError},
    sqlite::{SqliteStore, StoreLimits},
};

/// A store with a shut gate that admits two posts of a client.
async fn two_posts(folder: &TempDir) -> SqliteStore {
    shut(open_with(&settings(folder), StoreLimits { webhook_per_minute: 2, ..limits() })).await
}

/// Counts a hit and waits until the writer has said what came of it, which is the end of this batch. What is returned waits for that.
async fn count(store: &SqliteStore, batch: usize) -> BoxFuture<'_> {
    let mut counted = store.count(hit(store, Scope::Webhook, store.shared.clock.now()));
    assert!(poll_once(counted.as_mut()).await.is_pending());
    store.shared.gate.let_through(1);
    store.shared.gate.wait_for(|so_far| so_far.ended == batch).await;
    counted
}

type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// Memory has it on its way still, and would take it from the disk as well.
#[tokio::test]
async fn a_hit_that_is_on_disk_and_not_told_yet_is_counted_once_though_memory_is_loaded_again() {
    let folder = TempDir::new().unwrap();
    let store = two_posts(&folder).await;
    let counted = count(&store, 1).await;
    let edit = "INSERT INTO pairing_failure (client, failed_at_ms) VALUES ('edit', 1)";
    other(&folder).await.execute(edit).await.unwrap();
    let mut caught_up = pin!(store.shared.look());
    assert!(poll_once(caught_up.as_mut()).await.is_pending());
    store.shared.gate.let_through(1);
    let loaded = async {
        while store.shared.memory.edits.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = store.shared.gate.until_the_writer_waits() => {}
        () = loaded => {}
    }
    store.shared.gate.open();
    counted.await.unwrap();
    caught_up.await;
    drop(hit(&store, Scope::Webhook, store.shared.clock.now()));
    assert!(store.flush().await.is_ok(), "there was room for a second one");
    store.close().await;
}

#[tokio::test]
async fn a_batch_that_fails_before_the_one_before_it_is_told_takes_nothing_of_that_with_it() {
    let folder = TempDir::new().unwrap();
    let store = two_posts(&folder).await;
    let first = count(&store, 1).await;
    let (path, elsewhere) = (settings(&folder).path, folder.path().join("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    let second = count(&store, 2).await;
    fs::rename(&elsewhere, &path).unwrap();
    store.shared.gate.open();
    assert!(first.await.is_ok());
    assert!(second.await.is_err(), "its file was away");
    drop(hit(&store, Scope::Webhook, store.shared.clock.now()));
    let third = store.hit(Scope::Webhook, super::rate_client(), store.shared.clock.now());
    assert!(
        matches!(third, HitOutcome::Refused(_)),
        "the first one is counted, and not the second: {third:?}"
    );
    store.close().await;
}

#[test]
fn a_writer_that_can_tell_nobody_ends_and_gives_the_lock_back() {
    let folder = TempDir::new().unwrap();
    let gone = Builder::new_current_thread().enable_all().build().unwrap();
    let store = gone.block_on(open(&folder));
    drop(gone);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ended = store.shared.queues.callers.closed();
        tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
        assert!(store.flush().await.is_err(), "it is closed");
        open(&folder).await.close().await;
    });
}
