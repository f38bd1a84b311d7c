//! The turn: from a message to its answer, once.
//!
//! Claimed work belongs to the gateway, not to the connection: a caller that hangs up, or a request that runs out of
//! time, leaves it running, and the answer is what the retry gets. An answer that is there within a moment is written
//! together with its claim; for any other the claim is being written while the model works.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt as _, future::Either};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{conversation::Conversation, health::State, idempotency::running_retry_after, message::Answer},
    provider::ProviderError,
    repository::{
        ClaimOutcome, Lease, NewTurn, RateLimitRepository, StoreError, StoreStatusRepository, TurnEnd,
        TurnRepository,
    },
    system::SteadyClock,
    telemetry::{
        Metrics,
        metrics::{IdempotencyOutcome, TurnOutcome as Outcome},
        scope,
    },
};

use super::agent::{Agent, AskError, Ended, Held, Work};

/// How long a claim is kept in memory for an answer that comes soon: then both are one row and one write. Nobody is told of the
/// claim before it is on disk, so a crash in this time is a crash before the claim.
const LINGER: Duration = Duration::from_millis(50);
/// The first and the longest pause between two tries to write an answer.
const SETTLE_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What the sender of a message gets.
#[derive(Debug, PartialEq, Eq)]
pub enum TurnReply {
    /// The answer.
    Answered(Answer),
    /// The answer that its key had already got.
    Replayed(Answer),
    /// Its key is being worked on; ask again after so long.
    Running(Duration),
    /// Its key belongs to another body.
    OtherBody,
    /// The provider had no answer; the key is free again.
    Failed,
    /// As many turns are at work as may be.
    Overloaded,
}

/// What turns are made of.
pub struct TurnParts {
    /// Inbox and keys.
    pub turns: Arc<dyn TurnRepository>,
    /// Rate limits.
    pub limits: Arc<dyn RateLimitRepository>,
    /// How the store is doing.
    pub status: Arc<dyn StoreStatusRepository>,
    /// The model.
    pub agent: Arc<Agent>,
    /// The time.
    pub clock: Arc<SteadyClock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where the model is called.
    pub calls: Handle,
    /// Turns that may be at work at the same time.
    pub max_in_flight: usize,
}

/// Runs turns.
pub struct TurnService {
    parts: TurnParts,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl TurnService {
    /// A service with no turn at work.
    #[must_use]
    pub fn new(parts: TurnParts) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(parts.max_in_flight));
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { parts, in_flight, tasks, stopping })
    }

    /// How far the model can be asked now.
    #[must_use]
    pub fn provider_health(&self) -> State {
        self.parts.agent.health()
    }

    /// Answers one message.
    ///
    /// # Errors
    /// [`StoreError`] if the claim or its end could not be written. The sender should try again: an answer whose claim is on
    /// record is kept until it can be written, and is what the retry gets; any other runs again.
    pub async fn run(self: &Arc<Self>, new: Box<NewTurn>) -> Result<TurnReply, StoreError> {
        let now = self.parts.clock.now();
        let claimed = if new.key.is_some() { IdempotencyOutcome::Claimed } else { IdempotencyOutcome::None };
        let (counted, reply) = match self.parts.turns.claim(new, now).outcome().await? {
            ClaimOutcome::Claimed(lease) => match Arc::clone(&self.in_flight).try_acquire_owned() {
                Ok(permit) => {
                    let Some(work) = self.begin(&lease, false) else { return self.refuse(lease).await };
                    self.parts.metrics.admission.idempotency(claimed);
                    return self.work(lease, work, permit).await;
                }
                Err(_) => return self.refuse(lease).await,
            },
            ClaimOutcome::Running(since) => {
                (IdempotencyOutcome::Running, TurnReply::Running(running_retry_after(since, now)))
            }
            ClaimOutcome::Answered(answer) => (IdempotencyOutcome::Replayed, TurnReply::Replayed(answer)),
            ClaimOutcome::OtherBody => (IdempotencyOutcome::Mismatch, TurnReply::OtherBody),
        };
        self.parts.metrics.admission.idempotency(counted);
        Ok(reply)
    }

    /// Goes on with what an earlier run began, each turn as soon as there is room for it. Turns of one session keep their
    /// order: they take their places here, and get room in the same order. The room is not that of new turns, which may hold
    /// all of it and wait for the places of these.
    pub fn resume(self: &Arc<Self>, leases: Vec<Lease>) {
        let begun: Vec<_> =
            leases.into_iter().filter_map(|lease| Some((self.begin(&lease, true)?, lease))).collect();
        let (service, room) = (Arc::clone(self), Arc::new(Semaphore::new(self.parts.max_in_flight)));
        self.tasks.spawn(async move {
            for (work, lease) in begun {
                service.parts.metrics.turns.outcome(Outcome::Resumed);
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                let resumed = Arc::clone(&service);
                let turn = async move {
                    let ended = work.await;
                    drop(permit);
                    resumed.finish(lease, ended).await.ok();
                };
                service.tasks.spawn_on(turn, &service.parts.calls);
            }
        });
    }

    /// Waits until no turn is at work. What is not finished when this is dropped stays on record as running, for the next
    /// start to take over.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends the waiting for a store that does not take answers.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    async fn refuse(&self, mut lease: Lease) -> Result<TurnReply, StoreError> {
        self.parts.metrics.turns.outcome(Outcome::Refused);
        let hit = lease.turn.hit.take();
        drop(lease); // the key is given back before anything is waited for
        if let Some(hit) = hit {
            self.parts.limits.count(hit).await?;
        }
        Ok(TurnReply::Overloaded)
    }

    /// Works on a claimed message: here if the answer is there at once, else apart from the caller.
    fn work(
        self: &Arc<Self>,
        lease: Lease,
        mut work: Work,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = Result<TurnReply, StoreError>> + Send + use<'_> {
        if self.parts.status.takes_writes()
            && let Poll::Ready(ended) = self.first_step(&mut work)
        {
            return Either::Left(self.finish_whole(lease, ended, Some(permit)));
        }
        let service = Arc::clone(self);
        let work = async move { service.begin_and_finish(lease, work, permit).await };
        let task = self.tasks.spawn_on(scope::carry(work), &self.parts.calls);
        Either::Right(task.map(|ended| ended.unwrap_or(Ok(TurnReply::Failed))))
    }

    /// Begins the work. What it opens belongs to the threads of calls.
    fn first_step(&self, work: &mut Work) -> Poll<Ended> {
        let _calls = self.parts.calls.enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The work on a message, not yet begun; `None` if too many turns of its session wait.
    fn begin(&self, lease: &Lease, accepted: bool) -> Option<Work> {
        let NewTurn { owner, session, text, .. } = &*lease.turn;
        let Some(session) = session.clone().map(|session| (*owner, session)) else {
            return Some(self.parts.agent.ask(Arc::clone(text), None, None));
        };
        let place = self.parts.agent.enter(session.clone(), accepted)?;
        Some(self.parts.agent.ask(Arc::clone(text), Some(Conversation::Session(session)), Some(place)))
    }

    /// Writes the claim while the model works, unless the answer is there first. If it cannot be written, the work is dropped: nobody would get its answer. A
    /// store that took no writes lately is asked first, so that no answer is paid for that cannot be kept.
    async fn begin_and_finish(
        self: &Arc<Self>,
        mut lease: Lease,
        mut work: Work,
        permit: OwnedSemaphorePermit,
    ) -> Result<TurnReply, StoreError> {
        let (may_work, mut early) = (self.parts.status.takes_writes(), None);
        if may_work && let Ok(ended) = tokio::time::timeout(LINGER, &mut work).await {
            drop(permit);
            return self.finish_whole(lease, ended, None).await;
        }
        {
            let mut writing = pin!(self.parts.turns.begin(&mut lease, self.parts.clock.now()));
            loop {
                tokio::select! {
                    written = &mut writing => break written?,
                    ended = &mut work, if may_work && early.is_none() => early = Some(ended),
                }
            }
        }
        let ended = match early {
            Some(ended) => ended,
            None => work.await,
        };
        drop(permit);
        self.finish(lease, ended).await
    }

    /// Writes the claim and what came of the work as one. Not an `async fn`, which would keep room for its arguments twice: most
    /// requests wait here.
    fn finish_whole(
        &self,
        mut lease: Lease,
        ended: Ended,
        permit: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = Result<TurnReply, StoreError>> + Send + use<'_> {
        let instead = reply_instead(&ended);
        let (end, held) = end_of(ended);
        async move {
            let settled = self.settle(&mut lease, &end).await?;
            drop((held, permit));
            instead.unwrap_or(Ok(settled))
        }
    }

    /// Writes what came of work that is on record. An answer that cannot be written is kept until it can.
    async fn finish(self: &Arc<Self>, mut lease: Lease, ended: Ended) -> Result<TurnReply, StoreError> {
        let instead = reply_instead(&ended);
        let (end, held) = end_of(ended);
        let settled = self.settle(&mut lease, &end).await;
        if settled.is_err() {
            let service = Arc::clone(self);
            self.tasks.spawn(async move { service.settle_at_last(lease, end, held).await });
        }
        settled.and_then(|settled| instead.unwrap_or(Ok(settled)))
    }

    async fn settle_at_last(&self, mut lease: Lease, end: TurnEnd, _held: Held) {
        let (mut pause, longest) = SETTLE_PAUSE;
        while !self.stopping.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopping.cancelled() => break,
            }
            if self.settle(&mut lease, &end).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(longest);
        }
        // What is on record stays `running`: the next start takes it over.
        lease.disarm();
    }

    async fn settle(&self, lease: &mut Lease, end: &TurnEnd) -> Result<TurnReply, StoreError> {
        self.parts.turns.settle(lease, end, self.parts.clock.now()).await?;
        Ok(match end {
            TurnEnd::Answered(answer, _) => TurnReply::Answered(answer.clone()),
            TurnEnd::Failed(..) => TurnReply::Failed,
        })
    }
}

/// What the sender is told where the model is not to blame.
fn reply_instead(ended: &Ended) -> Option<Result<TurnReply, StoreError>> {
    match &ended.result {
        Err(AskError::History(error)) => Some(Err(error.clone())),
        Err(AskError::Provider(ProviderError::QueueFull)) => Some(Ok(TurnReply::Overloaded)),
        _ => None,
    }
}

/// What is written of work that has ended, and what is held until that is done.
fn end_of(ended: Ended) -> (TurnEnd, Held) {
    let Ended { result, account, held } = ended;
    let end = match result {
        Ok(answer) => TurnEnd::Answered(answer, account),
        Err(error) => TurnEnd::Failed(error.class(), account),
    };
    (end, held)
}
