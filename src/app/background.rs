//! What a running gateway does by itself, until it stops.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{repository::StoreError, service::inbox::InboxService, sqlite::SqliteStore};

/// The pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The pause between two looks for what was remembered lately.
const INDEX_EVERY: Duration = Duration::from_secs(1);
/// How much longer the writer rests than it indexes memory.
const INDEX_REST: u32 = 19;
/// Sweeps between two looks for work that nobody told of.
const CATCH_UP_EVERY: u32 = 24;
/// The pause between two looks for work that an edit by another process made.
const FOLLOW_EDITS_EVERY: Duration = Duration::from_millis(100);

/// Sweeps, indexes and follows edits until it is told to stop.
pub(super) async fn run(store: Arc<SqliteStore>, inbox: Arc<InboxService>, stopping: CancellationToken) {
    let sweeping = sweep(Arc::clone(&store), Arc::clone(&inbox), stopping.clone());
    let indexing = index(store, stopping.clone());
    let following = follow_edits(inbox, stopping);
    tokio::join!(sweeping, indexing, following);
}

/// Forgets what has expired, a round after the other until nothing is left, and looks for work that nobody told of.
async fn sweep(store: Arc<SqliteStore>, inbox: Arc<InboxService>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = 0_u32;
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        loop {
            match store.sweep_once().await {
                Ok(true) if !stopping.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "a sweep failed; it is tried again");
                    break;
                }
            }
        }
        rounds += 1;
        if rounds.is_multiple_of(CATCH_UP_EVERY) {
            warn_if_unread(inbox.catch_up().await);
        }
    }
}

/// Lets what was remembered lately be searched. The writer rests between two steps for some times as long as they take.
async fn index(store: Arc<SqliteStore>, stopping: CancellationToken) {
    let mut rest = INDEX_EVERY;
    while stopping.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
        rest = match store.index_once().await {
            Ok(Some(took)) => took * INDEX_REST,
            Ok(None) => INDEX_EVERY,
            Err(error) => {
                tracing::warn!(%error, "memory could not be indexed; it is tried again");
                INDEX_EVERY
            }
        };
    }
}

/// Finds the work that an edit made, soon: whoever makes a message or a reply due again watches what comes of it.
async fn follow_edits(inbox: Arc<InboxService>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(FOLLOW_EDITS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        warn_if_unread(inbox.catch_up_with_edits().await);
    }
}

fn warn_if_unread(caught_up: Result<(), StoreError>) {
    if let Err(error) = caught_up {
        tracing::warn!(%error, "what waits in the inbox could not be read; it is tried again");
    }
}
