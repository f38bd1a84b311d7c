//! The inbox of the channels: calls are accepted at once; answers and replies follow in the background, each conversation in
//! order, and survive whatever happens to the process.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{agent::Agent, schedule::Schedule, worker::Worker};
use crate::{
    channel::Channel,
    domain::{
        bound::cut,
        channel::{ChannelKind, Content, Inbound, Payload},
        delivery::Backoff,
        health::State,
        id::ConversationId,
        message::MessageText,
        time::Millis,
    },
    repository::{AcceptOutcome, InboxRepository, NewCall, Next, StoreError, TakenOver},
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
    /// Where models are called and replies are sent.
    pub calls: Handle,
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
    /// The longest message, in characters: a longer one is cut.
    pub max_message_chars: usize,
}

/// The inbox of the channels.
pub struct InboxService {
    pub(super) parts: InboxParts,
    channels: [Option<Arc<Served>>; ChannelKind::ALL.len()],
    schedule: Mutex<Schedule>,
    changed: Notify,
    tasks: TaskTracker,
    /// When the first run on this database began.
    began: AtomicI64,
    /// Edits by other processes that were caught up with.
    edits: AtomicU64,
    pub(super) stopping: CancellationToken,
}

/// A configured channel.
pub(super) struct Served {
    pub(super) channel: Arc<dyn Channel>,
    /// Whether the platform takes what is sent to it, as far as the last try tells.
    pub(super) takes: AtomicBool,
}

/// What a platform is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// All of it is on disk, or was before.
    Accepted,
    /// Not all of it: it should come again.
    Later,
    /// Its nonce was used before.
    Replayed,
}

/// Messages, and news, that are written at a time.
const CHUNK: usize = 256;

/// What is beyond the next ones.
fn rest_of<T>(items: &mut Vec<T>) -> Vec<T> {
    items.split_off(items.len().min(CHUNK))
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
            began: AtomicI64::new(0),
            edits: AtomicU64::new(0),
            stopping: CancellationToken::new(),
        })
    }

    /// The channel, if it is configured.
    #[must_use]
    pub fn channel(&self, kind: ChannelKind) -> Option<Arc<dyn Channel>> {
        self.channels[kind as usize].as_ref().map(|served| Arc::clone(&served.channel))
    }

    /// How the channels are doing: disabled if none is configured, degraded if a platform did not take what was last sent to it.
    #[must_use]
    pub fn health(&self) -> State {
        let mut served = self.channels.iter().flatten().peekable();
        if served.peek().is_none() {
            State::Disabled
        } else if served.all(|served| served.takes.load(Ordering::Relaxed)) {
            State::Ok
        } else {
            State::Degraded
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
    ) -> Result<Receipt, StoreError> {
        let service = Arc::clone(self);
        let accepted = tokio::spawn(async move { service.accept_here(kind, nonce, payload).await });
        accepted.await.unwrap_or_else(|_| Err(StoreError::Unavailable("accepting panicked".into())))
    }

    /// A large payload is written some messages at a time, so that nobody waits long behind it. A redelivery after a failure
    /// in its midst finds the first ones known.
    async fn accept_here(
        &self,
        kind: ChannelKind,
        mut nonce: Option<String>,
        payload: Payload,
    ) -> Result<Receipt, StoreError> {
        let Payload { mut messages, mut statuses, skipped } = payload;
        let (metrics, now) = (&self.parts.metrics.channels, self.now());
        skipped.into_iter().map(ItemOutcome::from).for_each(|outcome| metrics.item(kind, outcome));
        (0..statuses.len()).for_each(|_| metrics.item(kind, ItemOutcome::Status));
        let is_new = self.leave_out_replays(kind, &mut messages);
        for message in &mut messages {
            self.keep_within_bounds(message);
        }
        loop {
            let rest = (rest_of(&mut messages), rest_of(&mut statuses));
            let payload = Payload { messages, statuses, skipped: Vec::new() };
            let call = NewCall { channel: kind, nonce: nonce.take(), payload };
            let (counted, receipt) = match self.parts.repository.accept(call, now).await? {
                AcceptOutcome::Accepted { conversations, known, .. } => {
                    self.begin_work(kind, &conversations, known);
                    (CallOutcome::Accepted, if is_new { Receipt::Accepted } else { Receipt::Later })
                }
                AcceptOutcome::Full => (CallOutcome::InboxFull, Receipt::Later),
                AcceptOutcome::Replayed => (CallOutcome::Replayed, Receipt::Replayed),
            };
            (messages, statuses) = rest;
            if counted != CallOutcome::Accepted || (messages.is_empty() && statuses.is_empty()) {
                metrics.call(kind, counted);
                return Ok(receipt);
            }
        }
    }

    /// Takes messages out that can only be replays. If there are some the platform is asked to come again: it does so for some
    /// days, and whoever replays does not care; but if the clock is wrong, nothing is lost until it is right again.
    fn leave_out_replays(&self, kind: ChannelKind, messages: &mut Vec<Inbound>) -> bool {
        let (now, began) = (self.now(), Millis(self.began.load(Ordering::Relaxed)));
        let received = messages.len();
        messages.retain(|message| !message.is_replay(began, now));
        let replays = received - messages.len();
        if replays > 0 {
            tracing::warn!(channel = %kind, replays, "messages are too old to be new: are they replayed, or is the clock wrong?");
        }
        (0..replays).for_each(|_| self.parts.metrics.channels.item(kind, ItemOutcome::TooOld));
        replays == 0
    }

    fn keep_within_bounds(&self, message: &mut Inbound) {
        let Content::Text(text) = &mut message.content else { return };
        if let Some(shorter) =
            cut(text.as_str(), self.parts.settings.max_message_chars).and_then(MessageText::new)
        {
            self.parts.metrics.channels.cut();
            *text = shorter;
        }
    }

    fn begin_work(&self, kind: ChannelKind, conversations: &[ConversationId], known: usize) {
        let metrics = &self.parts.metrics.channels;
        (0..known).for_each(|_| metrics.item(kind, ItemOutcome::Known));
        for conversation in conversations {
            metrics.item(kind, ItemOutcome::Accepted);
            metrics.message(kind, Direction::Inbound);
            self.schedule().wake(*conversation, kind);
        }
        self.changed.notify_one();
    }

    /// Takes over what an earlier run left.
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn take_over(&self) -> Result<(), StoreError> {
        let TakenOver { in_doubt, began } = self.parts.repository.take_over().await?;
        self.began.store(began.0, Ordering::Relaxed);
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

    /// Finds conversations with something to do if another process has written to the database since the last time.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn catch_up_with_edits(&self) -> Result<(), StoreError> {
        let edits = self.parts.repository.edits();
        if self.edits.swap(edits, Ordering::Relaxed) == edits {
            return Ok(());
        }
        self.catch_up().await
    }

    /// Finds conversations with something to do that nobody told of.
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
                    schedule.find(found.conversation, kind, found.due_at.unwrap_or(Millis(0)));
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

    /// Gives conversations to workers as they become free, until [`stop`](Self::stop).
    pub async fn dispatch(self: Arc<Self>) {
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
                    self.tasks.spawn_on(worker.run(), &self.parts.calls);
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
