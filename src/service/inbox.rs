//! The inbox of the channels: calls are accepted at once; answers and replies follow in the background, each conversation in
//! order, and survive whatever happens to the process.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{agent::Agent, schedule::Schedule, worker::Worker};
use crate::{
    channel::Channel,
    domain::{
        channel::{ChannelKind, Payload},
        delivery::Backoff,
        id::ConversationId,
        time::Millis,
    },
    repository::{AcceptOutcome, InboxRepository, NewCall, Next, StoreError},
    system::{Entropy, SteadyClock},
    telemetry::{
        Metrics,
        metrics::{CallOutcome, DeliveryOutcome, Direction, ItemOutcome},
    },
};

/// Waiting conversations that are read at a time.
const LIST: u32 = 10_000;

/// What the inbox is made of.
pub struct InboxParts {
    /// Messages and deliveries.
    pub repository: Arc<dyn InboxRepository>,
    /// The configured channels.
    pub channels: Vec<Arc<dyn Channel>>,
    /// The model.
    pub agent: Arc<Agent>,
    /// The time.
    pub clock: Arc<SteadyClock>,
    /// Randomness, for pauses.
    pub entropy: Arc<dyn Entropy>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// How it works.
    pub settings: InboxSettings,
}

/// How the inbox works.
#[derive(Debug, Clone)]
pub struct InboxSettings {
    /// Conversations that are worked on at the same time.
    pub workers: usize,
    /// How often work on a message is begun.
    pub message_attempts: u32,
    /// How often sending a part of a reply is begun.
    pub delivery_attempts: u32,
    /// The pauses in between.
    pub backoff: Backoff,
    /// What the sender is told when there is no answer; `None`: nothing.
    pub apology: Option<String>,
}

/// The inbox of the channels.
pub struct InboxService {
    pub(super) parts: InboxParts,
    channels: [Option<Arc<Served>>; ChannelKind::ALL.len()],
    schedule: Mutex<Schedule>,
    changed: Notify,
    tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

/// A configured channel.
pub(super) struct Served {
    pub(super) channel: Arc<dyn Channel>,
    /// Whether the platform takes what is sent to it, as far as the last try tells.
    pub(super) takes: AtomicBool,
}

/// How the channels are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelsHealth {
    /// None is configured.
    Disabled,
    /// Every platform took what was last sent to it.
    Ok,
    /// A platform did not.
    Degraded,
}

impl InboxService {
    /// An inbox that works on nothing yet.
    #[must_use]
    pub fn new(parts: InboxParts) -> Arc<Self> {
        let mut channels = [const { None }; ChannelKind::ALL.len()];
        for channel in &parts.channels {
            let served = Served { channel: Arc::clone(channel), takes: AtomicBool::new(true) };
            channels[channel.kind() as usize] = Some(Arc::new(served));
        }
        let schedule = Schedule::new(parts.settings.workers, parts.channels.len());
        Arc::new(Self {
            parts,
            channels,
            schedule: Mutex::new(schedule),
            changed: Notify::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// The channel, if it is configured.
    #[must_use]
    pub fn channel(&self, kind: ChannelKind) -> Option<Arc<dyn Channel>> {
        self.channels[kind as usize].as_ref().map(|served| Arc::clone(&served.channel))
    }

    /// How the channels are doing.
    #[must_use]
    pub fn health(&self) -> ChannelsHealth {
        let mut served = self.channels.iter().flatten().peekable();
        if served.peek().is_none() {
            ChannelsHealth::Disabled
        } else if served.all(|served| served.takes.load(Ordering::Relaxed)) {
            ChannelsHealth::Ok
        } else {
            ChannelsHealth::Degraded
        }
    }

    /// Accepts what one call of a platform held: it is on disk when this returns, and work on it begins, also if the
    /// platform hangs up meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if nothing of it could be written.
    pub async fn accept(
        self: &Arc<Self>,
        kind: ChannelKind,
        nonce: Option<String>,
        payload: Payload,
    ) -> Result<AcceptOutcome, StoreError> {
        let service = Arc::clone(self);
        let accepted = tokio::spawn(async move { service.accept_here(kind, nonce, payload).await });
        accepted.await.unwrap_or_else(|_| Err(StoreError::Unavailable("accepting panicked".into())))
    }

    async fn accept_here(
        &self,
        kind: ChannelKind,
        nonce: Option<String>,
        mut payload: Payload,
    ) -> Result<AcceptOutcome, StoreError> {
        let (skipped, statuses) = (std::mem::take(&mut payload.skipped), payload.statuses.len());
        let call = NewCall { channel: kind, nonce, payload };
        let outcome = self.parts.repository.accept(call, self.parts.clock.now()).await?;
        let metrics = &self.parts.metrics.channels;
        let counted = match &outcome {
            AcceptOutcome::Accepted { conversations, known, .. } => {
                for skip in skipped {
                    metrics.item(kind, skip.into());
                }
                (0..statuses).for_each(|_| metrics.item(kind, ItemOutcome::Status));
                (0..*known).for_each(|_| metrics.item(kind, ItemOutcome::Known));
                for conversation in conversations {
                    metrics.item(kind, ItemOutcome::Accepted);
                    metrics.message(kind, Direction::Inbound);
                    self.schedule().wake(*conversation, kind);
                }
                self.changed.notify_one();
                CallOutcome::Accepted
            }
            AcceptOutcome::Full => CallOutcome::InboxFull,
            AcceptOutcome::Replayed => CallOutcome::Replayed,
        };
        metrics.call(kind, counted);
        Ok(outcome)
    }

    /// Takes over what an earlier run left.
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn take_over(&self) -> Result<(), StoreError> {
        let in_doubt = self.parts.repository.take_over().await?;
        if !in_doubt.is_empty() {
            tracing::warn!(
                in_doubt = in_doubt.len(),
                "replies were being sent when the last run ended: they are sent again, and may be there twice"
            );
        }
        for kind in in_doubt.iter().filter_map(|unfinished| unfinished.channel) {
            self.parts.metrics.channels.delivery(kind, DeliveryOutcome::InDoubt);
        }
        self.catch_up().await
    }

    /// Begins to work, until [`stop`](Self::stop).
    pub fn start(self: &Arc<Self>) {
        self.tasks.spawn(Arc::clone(self).dispatch());
    }

    /// Finds conversations with something to do that nobody told of, such as after an edit by hand.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let mut after = ConversationId(0);
        loop {
            let unfinished = self.parts.repository.list_waiting(after, LIST).await?;
            let Some(last) = unfinished.last() else { break };
            after = last.conversation;
            let mut schedule = self.schedule();
            for found in &unfinished {
                if let Some(kind) = found.channel.filter(|kind| self.channel(*kind).is_some()) {
                    schedule.find(found.conversation, kind);
                }
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Begins nothing more. What is at work goes on.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Waits until nothing is at work. What is not finished when this is dropped is taken over by the next start.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn now(&self) -> Millis {
        self.parts.clock.now()
    }

    /// A worker is done with a conversation for now.
    pub(super) fn done(&self, conversation: ConversationId, next: &Next) {
        self.schedule().done(conversation, next);
        self.changed.notify_one();
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives conversations to workers as they become free.
    async fn dispatch(self: Arc<Self>) {
        loop {
            let (changed, stopped) = (pin!(self.changed.notified()), pin!(self.stopping.cancelled()));
            let next_wait = loop {
                let mut schedule = self.schedule();
                let Some((conversation, kind)) = schedule.take(self.parts.clock.now()) else {
                    break schedule.next_wait();
                };
                drop(schedule);
                // Only conversations of configured channels are in the schedule.
                if let Some(served) = &self.channels[kind as usize] {
                    let worker = Worker::new(Arc::clone(&self), Arc::clone(served), conversation);
                    self.tasks.spawn(worker.run());
                }
            };
            let wait = next_wait.map(|at| at.since(self.parts.clock.now()));
            tokio::select! {
                biased;
                () = stopped => return,
                () = changed => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)) => {}
            }
        }
    }
}
