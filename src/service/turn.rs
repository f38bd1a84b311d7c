//! The turn: from a message to its answer, once.
//!
//! Claimed work belongs to the gateway, not to the connection: a caller that hangs up, or a request that runs out of
//! time, leaves it running, and the answer is what the retry gets. An answer that is there at once is written together
//! with its claim; for any other the claim is being written while the model works.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        idempotency::running_retry_after,
        message::{Answer, Completion},
    },
    provider::{ProviderError, ProviderHealth},
    repository::{
        ClaimOutcome, Lease, NewTurn, RateLimitRepository, StoreError, StoreStatusRepository, TurnEnd,
        TurnRepository, Written,
    },
    system::SteadyClock,
    telemetry::{
        Metrics,
        metrics::{IdempotencyOutcome, TurnOutcome as Outcome},
    },
};

use super::agent::{Agent, Begun};

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

/// The wait for a sender whose key another process put on record: the next request finds out what it stands for.
const CONTENDED_WAIT: Duration = Duration::from_secs(1);

impl TurnService {
    /// A service with no turn at work.
    #[must_use]
    pub fn new(parts: TurnParts) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(parts.max_in_flight));
        Arc::new(Self { parts, in_flight, tasks: TaskTracker::new(), stopping: CancellationToken::new() })
    }

    /// How far the model can be asked now.
    #[must_use]
    pub fn provider_health(&self) -> ProviderHealth {
        self.parts.agent.health()
    }

    /// Answers one message.
    ///
    /// # Errors
    /// [`StoreError`] if the claim or its end could not be written. The sender should try again: an answer whose claim is on
    /// record is kept until it can be written, and is what the retry gets; any other runs again.
    pub async fn run(self: &Arc<Self>, new: NewTurn) -> Result<TurnReply, StoreError> {
        let now = self.parts.clock.now();
        let claimed = if new.key.is_some() { IdempotencyOutcome::Claimed } else { IdempotencyOutcome::None };
        let (counted, reply) = match self.parts.turns.claim(new, now).await? {
            ClaimOutcome::Claimed(lease) => match Arc::clone(&self.in_flight).try_acquire_owned() {
                Ok(permit) => {
                    self.parts.metrics.admission.idempotency(claimed);
                    return self.work(lease, permit).await;
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

    /// Goes on with what an earlier run began, each turn as soon as there is room for it.
    pub fn resume(self: &Arc<Self>, leases: Vec<Lease>) {
        for lease in leases {
            let service = Arc::clone(self);
            self.parts.metrics.turns.outcome(Outcome::Resumed);
            self.tasks.spawn(async move {
                let Ok(permit) = Arc::clone(&service.in_flight).acquire_owned().await else { return };
                let mut begun = service.begin(&lease);
                let result = (&mut begun.work).await;
                drop(permit);
                service.finish(lease, begun, result).await.ok();
            });
        }
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
    async fn work(
        self: &Arc<Self>,
        mut lease: Lease,
        permit: OwnedSemaphorePermit,
    ) -> Result<TurnReply, StoreError> {
        let mut begun = self.begin(&lease);
        if self.parts.status.status().writes {
            let at_once = begun.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(result) = at_once {
                let end = self.end_of(&begun, result);
                return self.settle(&mut lease, &end).await;
            }
        }
        let service = Arc::clone(self);
        let task = self.tasks.spawn(async move { service.begin_and_finish(lease, begun, permit).await });
        task.await.unwrap_or(Ok(TurnReply::Failed))
    }

    fn begin(&self, lease: &Lease) -> Begun {
        self.parts.agent.begin(Arc::clone(&lease.turn.text))
    }

    /// Writes the claim while the model works. If it cannot be written, the work is dropped: nobody would get its answer. A
    /// store that took no writes lately is asked first, so that no answer is paid for that cannot be kept.
    async fn begin_and_finish(
        self: &Arc<Self>,
        mut lease: Lease,
        mut begun: Begun,
        permit: OwnedSemaphorePermit,
    ) -> Result<TurnReply, StoreError> {
        let (may_work, mut early) = (self.parts.status.status().writes, None);
        let written = {
            let mut writing = pin!(self.parts.turns.begin(&mut lease, self.parts.clock.now()));
            loop {
                tokio::select! {
                    written = &mut writing => break written?,
                    result = &mut begun.work, if may_work && early.is_none() => early = Some(result),
                }
            }
        };
        if written == Written::Contended {
            return Ok(TurnReply::Running(CONTENDED_WAIT));
        }
        let result = match early {
            Some(result) => result,
            None => (&mut begun.work).await,
        };
        drop(permit);
        self.finish(lease, begun, result).await
    }

    /// Writes what came of work that is on record. An answer that cannot be written is kept until it can.
    async fn finish(
        self: &Arc<Self>,
        mut lease: Lease,
        begun: Begun,
        result: Result<Completion, ProviderError>,
    ) -> Result<TurnReply, StoreError> {
        let end = self.end_of(&begun, result);
        let settled = self.settle(&mut lease, &end).await;
        if settled.is_err() {
            let service = Arc::clone(self);
            self.tasks.spawn(async move { service.settle_at_last(lease, end).await });
        }
        settled
    }

    async fn settle_at_last(&self, mut lease: Lease, end: TurnEnd) {
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
        match self.parts.turns.settle(lease, end, self.parts.clock.now()).await? {
            Written::Contended => Ok(TurnReply::Running(CONTENDED_WAIT)),
            Written::Done => Ok(match end {
                TurnEnd::Answered(answer) => TurnReply::Answered(answer.clone()),
                TurnEnd::Failed(_) => TurnReply::Failed,
            }),
        }
    }

    fn end_of(&self, begun: &Begun, result: Result<Completion, ProviderError>) -> TurnEnd {
        match self.parts.agent.ended(begun, result) {
            Ok(answer) => TurnEnd::Answered(answer),
            Err(error) => TurnEnd::Failed(error.class()),
        }
    }
}
