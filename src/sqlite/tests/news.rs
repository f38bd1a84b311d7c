//! What the writer says is told on another thread, after a while.

use std::{future::poll_fn, pin::pin, sync::atomic::Ordering, task::Poll, thread, time::Duration};

use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{gate::SHUT, hit, limits, open, open_with, settings};
use crate::{
    domain::rate::Scope,
    repository::{RateLimitRepository as _, TokenRepository as _},
    sqlite::StoreLimits,
};

/// Memory has it on its way still, and would take it from the disk as well.
#[tokio::test]
async fn a_hit_that_is_on_disk_and_not_told_yet_is_counted_once_though_memory_is_loaded_again() {
    let folder = TempDir::new().unwrap();
    SHUT.set(true);
    let store = open_with(&settings(&folder), StoreLimits { webhook_per_minute: 2, ..limits() }).await;
    SHUT.set(false);
    let (gate, now) = (&store.shared.gate, store.shared.clock.now());
    let mut counted = pin!(store.count(hit(&store, Scope::Webhook, now)));
    assert!(poll_fn(|context| Poll::Ready(counted.as_mut().poll(context))).await.is_pending());
    // Nothing is told while this thread does not wait.
    gate.let_through(1);
    while gate.batches_ended() == 0 {
        thread::yield_now();
    }
    let other = rusqlite::Connection::open(settings(&folder).path).unwrap();
    other.execute("INSERT INTO pairing_failure (client, failed_at_ms) VALUES ('edit', 1)", ()).unwrap();
    while !gate.waits_until_told() && store.shared.memory.edits.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    gate.let_through(100);
    counted.await.unwrap();
    while store.shared.memory.edits.load(Ordering::Relaxed) == 0 {
        store.catch_up().await;
    }
    drop(hit(&store, Scope::Webhook, now));
    assert!(store.flush().await.is_ok(), "there was room for a second one");
    store.close().await;
}

#[test]
fn a_writer_that_can_tell_nobody_ends() {
    let (folder, gone) =
        (TempDir::new().unwrap(), Builder::new_current_thread().enable_all().build().unwrap());
    let store = gone.block_on(open(&folder));
    drop(gone);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ended = store.shared.queues.callers.closed();
        tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
        assert!(store.flush().await.is_err(), "it is closed");
        drop(store);
        open(&folder).await.close().await;
    });
}
