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

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{agent::Agent, schedule::Schedule};
use crate::{
    channel::{Channel, Outbound, Retry, SendError},
    domain::{
        channel::{ChannelKind, Payload},
        delivery::{Backoff, ReplyKind},
        hex::Hex,
        id::ConversationId,
        message::Answer,
        split::split,
        time::Millis,
    },
    provider::ProviderError,
    repository::{
        AcceptOutcome, AnswerEnd, AnswerJob, InboxRepository, NewCall, Next, Reply, SendEnd, SendJob,
        StoreError,
    },
    system::{Entropy, SteadyClock},
    telemetry::{
        Metrics,
        metrics::{CallOutcome, DeliveryOutcome, Direction, ItemOutcome},
    },
};

/// What senders of pictures, voice messages and the like are told.
const ONLY_TEXT: &str = "Sorry, I can only understand text messages.";
/// The first and the longest pause between two tries to write what came of a job.
const WRITE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The pause after a worker panicked.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
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
    parts: InboxParts,
    channels: [Option<Served>; ChannelKind::ALL.len()],
    schedule: Mutex<Schedule>,
    changed: Notify,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

struct Served {
    channel: Arc<dyn Channel>,
    /// Whether the platform took what was last sent to it.
    reached: AtomicBool,
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
            let served = Served { channel: Arc::clone(channel), reached: AtomicBool::new(true) };
            channels[channel.kind() as usize] = Some(served);
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
    pub fn channel(&self, kind: ChannelKind) -> Option<&dyn Channel> {
        self.channels[kind as usize].as_ref().map(|served| &*served.channel)
    }

    /// How the channels are doing.
    #[must_use]
    pub fn health(&self) -> ChannelsHealth {
        let mut served = self.channels.iter().flatten().peekable();
        if served.peek().is_none() {
            ChannelsHealth::Disabled
        } else if served.all(|served| served.reached.load(Ordering::Relaxed)) {
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
        payload: Payload,
    ) -> Result<AcceptOutcome, StoreError> {
        let (skipped, statuses) = (payload.skipped.clone(), payload.statuses.len());
        let call = NewCall { channel: kind, nonce, payload, notice: ONLY_TEXT };
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

    /// Takes over what an earlier run left, and works until [`stop`](Self::stop).
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn start(self: &Arc<Self>) -> Result<(), StoreError> {
        let in_doubt = self.parts.repository.take_over(self.parts.clock.now()).await?;
        if in_doubt > 0 {
            tracing::warn!(
                in_doubt,
                "replies were being sent when the last run ended: they are sent again, and may be there twice"
            );
        }
        self.catch_up().await?;
        let service = Arc::clone(self);
        self.tasks.spawn(async move { service.dispatch().await });
        Ok(())
    }

    /// Finds conversations with something to do that nobody told of, such as after an edit by hand.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let mut after = ConversationId(0);
        loop {
            let waiting = self.parts.repository.list_waiting(after, LIST).await?;
            let Some(last) = waiting.last() else { break };
            after = last.conversation;
            let mut schedule = self.schedule();
            for waiting in &waiting {
                if self.channel(waiting.channel).is_some() {
                    schedule.wake(waiting.conversation, waiting.channel);
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
                let worker = Worker { service: Arc::clone(&self), conversation, next: None };
                self.tasks.spawn(worker.run(kind));
            };
            let wait = next_wait.map(|at| at.since(self.parts.clock.now()));
            tokio::select! {
                () = stopped => return,
                () = changed => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)) => {}
            }
            if self.stopping.is_cancelled() {
                return;
            }
        }
    }

    /// Tries until it is written, or until the gateway stops: then `None`, and the next start takes the job over.
    async fn keep<F: Future<Output = Result<Next, StoreError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Option<Next> {
        let (mut pause, longest) = WRITE_PAUSE;
        loop {
            match write().await {
                Ok(next) => return Some(next),
                Err(error) => {
                    tracing::warn!(%error, "a step of the inbox could not be written; it is tried again");
                }
            }
            self.stopping.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(longest);
        }
    }

    fn now(&self) -> Millis {
        self.parts.clock.now()
    }

    /// When to try again after the `attempt`-th try.
    fn after_pause(&self, attempt: u32, asked: Option<Duration>) -> Millis {
        let mut random = [0; 8];
        // Without randomness all pauses are of half length, which is no reason to stop.
        self.parts.entropy.fill(&mut random).ok();
        self.now().plus(self.parts.settings.backoff.pause(attempt, asked, u64::from_le_bytes(random)))
    }

    async fn answer(&self, kind: ChannelKind, job: &AnswerJob) -> AnswerEnd {
        let Some(text) = job.text.clone() else { return AnswerEnd::Failed("blank", self.apology()) };
        if job.attempt > self.parts.settings.message_attempts {
            return AnswerEnd::Failed("crashed", self.apology()); // it may be what kills the process
        }
        match self.parts.agent.ask(Arc::new(text)).await {
            Ok(answer) => self.reply(kind, answer),
            Err(error) => self.no_answer(job.attempt, &error),
        }
    }

    fn reply(&self, kind: ChannelKind, answer: Answer) -> AnswerEnd {
        let max_chars = self.channel(kind).map_or(usize::MAX, Channel::max_part_chars);
        let parts: Vec<String> = split(&answer.text, max_chars).into_iter().map(str::to_owned).collect();
        if parts.is_empty() {
            return AnswerEnd::Failed("blank_answer", self.apology());
        }
        AnswerEnd::Answered(answer, Reply { kind: ReplyKind::Answer, parts })
    }

    fn no_answer(&self, attempt: u32, error: &ProviderError) -> AnswerEnd {
        if error.is_transient() && attempt < self.parts.settings.message_attempts {
            AnswerEnd::Retry(error.class(), self.after_pause(attempt, error.retry_after()))
        } else {
            AnswerEnd::Failed(error.class(), self.apology())
        }
    }

    fn apology(&self) -> Reply {
        Reply { kind: ReplyKind::Apology, parts: self.parts.settings.apology.iter().cloned().collect() }
    }

    async fn send(&self, served: &Served, job: &SendJob) -> SendEnd {
        let key = key_of(job);
        let part = Outbound { to: &job.to, reply_to: job.reply_to.as_deref(), text: &job.text, key: &key };
        let result = served.channel.send(&part).await;
        served.reached.store(result.is_ok(), Ordering::Relaxed);
        let (kind, metrics) = (served.channel.kind(), &self.parts.metrics.channels);
        match result {
            Ok(accepted) => {
                metrics.delivery(kind, DeliveryOutcome::Sent);
                metrics.message(kind, Direction::Outbound);
                SendEnd::Sent(accepted.platform_id)
            }
            Err(error) => {
                let end = self.not_sent(job.attempt, error);
                let (outcome, will) = match end {
                    SendEnd::Dead { .. } => (DeliveryOutcome::Dead, "it is given up"),
                    _ => (DeliveryOutcome::Retried, "it is tried again"),
                };
                tracing::warn!(channel = %kind, delivery = job.id.0, class = error.class, "a reply was not sent: {will}");
                metrics.delivery(kind, outcome);
                if error.in_doubt {
                    metrics.delivery(kind, DeliveryOutcome::InDoubt);
                }
                end
            }
        }
    }

    fn not_sent(&self, attempt: u32, error: SendError) -> SendEnd {
        let SendError { class, in_doubt, .. } = error;
        match error.retry {
            Retry::After(asked) if attempt < self.parts.settings.delivery_attempts => {
                SendEnd::Retry { class, at: self.after_pause(attempt, asked), in_doubt }
            }
            _ => SendEnd::Dead { class, in_doubt },
        }
    }
}

/// The name of a part of a reply, the same at each try: of its row, and of the moment it was written, since row numbers may
/// come again in another database.
fn key_of(job: &SendJob) -> String {
    let name = format!("{}\0{}\0{}\0{}", job.id, job.created_at.0, job.to.sender, job.to.room);
    Hex(&Sha256::digest(name)).to_string()
}

/// Works on one conversation until nothing of it is due. Dropped before, as by a panic, it leaves the conversation to the
/// next worker.
struct Worker {
    service: Arc<InboxService>,
    conversation: ConversationId,
    next: Option<Next>,
}

impl Worker {
    async fn run(mut self, kind: ChannelKind) {
        let service = Arc::clone(&self.service);
        let _busy = service.parts.metrics.channels.busy().hold();
        let (repository, conversation) = (&service.parts.repository, self.conversation);
        let mut next = service.keep(|| repository.next(conversation, service.now())).await;
        loop {
            let served = service.channels[kind as usize].as_ref();
            next = match (next, served) {
                (Some(Next::Answer(job)), _) => {
                    let end = service.answer(kind, &job).await;
                    service.keep(|| repository.answered(&job, end.clone(), service.now())).await
                }
                (Some(Next::Send(job)), Some(served)) => {
                    let end = service.send(served, &job).await;
                    service.keep(|| repository.sent(&job, end.clone(), service.now())).await
                }
                (next, _) => {
                    self.next = Some(next.unwrap_or(Next::Idle));
                    return;
                }
            };
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let next = self.next.take().unwrap_or_else(|| Next::WaitUntil(self.service.now().plus(PANIC_PAUSE)));
        self.service.schedule().done(self.conversation, &next);
        self.service.changed.notify_one();
    }
}
