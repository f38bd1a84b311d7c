//! What a running gateway does by itself, until it stops: each a component under supervision.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Core, backup::Backups};
use crate::{
    domain::health::{Component, State},
    repository::{StoreError, StoreStatusRepository as _},
    service::{
        inbox::InboxService,
        supervisor::{Pulse, Supervisor},
    },
    sqlite::SqliteStore,
    system::{Notifier, SteadyClock},
    telemetry::Metrics,
};

/// The pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The pause between two looks for what was said lately.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);
/// Sweeps between two looks for work that nobody told of.
const CATCH_UP_EVERY: u32 = 24;
/// The pause between two looks for work that an edit by another process made.
const FOLLOW_EDITS_EVERY: Duration = Duration::from_millis(100);
/// The pause between two heartbeats, unless the service manager wants them more often.
const BEAT_EVERY: Duration = Duration::from_secs(30);

/// The components that work beside the server.
pub(super) struct Background {
    dispatcher: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
    heart: JoinHandle<()>,
    stop_heart: DropGuard,
}

/// What they work on.
pub(super) struct Work<'a> {
    pub(super) supervisor: &'a Arc<Supervisor>,
    pub(super) core: &'a Core,
    pub(super) store: &'a Arc<SqliteStore>,
    pub(super) inbox: &'a Arc<InboxService>,
    pub(super) backups: &'a Backups,
}

impl Background {
    /// Begins them. `stopping` ends all but the heart, which beats as long as there is something to write.
    pub(super) fn start(work: &Work<'_>, notifier: Arc<Notifier>, stopping: &CancellationToken) -> Self {
        let Work { supervisor, store, inbox, backups, .. } = *work;
        let (to_dispatch, to_sweep, to_follow) = (Arc::clone(inbox), Arc::clone(inbox), Arc::clone(inbox));
        let (swept, remembered) = (Arc::clone(store), Arc::clone(store));
        let stop = || stopping.clone();
        let dispatcher = supervisor.keep(Component::Channels, stop(), move |pulse| {
            let inbox = Arc::clone(&to_dispatch);
            async move {
                pulse.is_well();
                inbox.dispatch().await;
                Ok::<_, Infallible>(())
            }
        });
        let (sweep_until, remember_until, follow_until) = (stop(), stop(), stop());
        let mut others = vec![
            supervisor.keep(Component::Scheduler, stop(), move |pulse| {
                sweep(Arc::clone(&swept), Arc::clone(&to_sweep), pulse, sweep_until.clone())
            }),
            supervisor.keep(Component::Indexer, stop(), move |pulse| {
                remember(Arc::clone(&remembered), pulse, remember_until.clone())
            }),
            supervisor.keep(Component::Edits, stop(), move |pulse| {
                follow_edits(Arc::clone(&to_follow), pulse, follow_until.clone())
            }),
        ];
        others.extend(backups.keep(supervisor));
        let stop_heart = CancellationToken::new();
        let heart = Heart::of(work, notifier, stop_heart.clone());
        let heart = supervisor
            .keep(Component::Heartbeat, stop_heart.clone(), move |pulse| Arc::clone(&heart).beat(pulse));
        Self { dispatcher, others, heart, stop_heart: stop_heart.drop_guard() }
    }

    /// Waits until no more work of channels is begun, once the inbox was told to stop.
    pub(super) async fn dispatched(&mut self) {
        (&mut self.dispatcher).await.ok();
    }

    /// Waits until all have ended. If that stops, the heart does too.
    pub(super) async fn ended(self) {
        self.dispatcher.abort();
        for task in self.others {
            task.await.ok();
        }
        drop(self.stop_heart);
        self.heart.await.ok();
    }
}

/// Forgets what has expired, a round after the other until nothing is left, and looks for work that nobody told of.
async fn sweep(
    store: Arc<SqliteStore>,
    inbox: Arc<InboxService>,
    pulse: Pulse,
    stopping: CancellationToken,
) -> Result<(), StoreError> {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = 0_u32;
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        while store.sweep_once().await? && !stopping.is_cancelled() {
            pulse.is_well();
        }
        rounds += 1;
        if rounds.is_multiple_of(CATCH_UP_EVERY) {
            inbox.catch_up().await?;
        }
        pulse.is_well();
    }
    Ok(())
}

/// Puts what was said lately into memory, and lets it be searched.
async fn remember(
    store: Arc<SqliteStore>,
    pulse: Pulse,
    stopping: CancellationToken,
) -> Result<(), StoreError> {
    let mut rest = Duration::ZERO;
    while stopping.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
        rest = store.remember_once().await?.unwrap_or(REMEMBER_EVERY);
        pulse.is_well();
    }
    Ok(())
}

/// Finds the work that an edit made, soon: whoever makes a message or a reply due again watches what comes of it.
async fn follow_edits(
    inbox: Arc<InboxService>,
    pulse: Pulse,
    stopping: CancellationToken,
) -> Result<(), StoreError> {
    let mut tick = tokio::time::interval(FOLLOW_EDITS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        inbox.catch_up_with_edits().await?;
        if std::mem::take(&mut first) {
            pulse.is_well(); // one that fails ends, so there is nothing new to say
        }
    }
    Ok(())
}

/// Shows again and again that the database is written and read, and tells the service manager.
struct Heart {
    store: Arc<SqliteStore>,
    clock: Arc<SteadyClock>,
    metrics: Arc<Metrics>,
    notifier: Arc<Notifier>,
    every: Duration,
    stopping: CancellationToken,
}

impl Heart {
    fn of(work: &Work<'_>, notifier: Arc<Notifier>, stopping: CancellationToken) -> Arc<Self> {
        let watchdog = notifier.watchdog();
        Arc::new(Self {
            store: Arc::clone(work.store),
            clock: Arc::clone(&work.core.clock),
            metrics: Arc::clone(&work.core.metrics),
            notifier,
            every: watchdog.map_or(BEAT_EVERY, |watchdog| (watchdog / 3).min(BEAT_EVERY)),
            stopping,
        })
    }

    async fn beat(self: Arc<Self>, pulse: Pulse) -> Result<(), Infallible> {
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stopping.run_until_cancelled(tick.tick()).await.is_some() {
            match tokio::time::timeout(self.every, self.store.beat(self.clock.now())).await {
                Ok(Ok(())) => {
                    self.metrics.supervision.beat();
                    self.notifier.alive();
                    pulse.is_well();
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a heartbeat failed; it is tried again");
                    // Another process holds the database, or the disk is full: a new start would not help, and the writer
                    // works, since it answered.
                    if matches!(error, StoreError::Busy | StoreError::Full) {
                        self.notifier.alive();
                    }
                    pulse.say(State::Error);
                }
                Err(_) => {
                    tracing::error!("a heartbeat failed: the writer does not answer");
                    pulse.say(State::Error);
                }
            }
        }
        Ok(())
    }
}
