//! The inbox of the channels and their outbox: calls are accepted in the writer's batches, one statement for each kind of
//! row (`accept`); the work on what they hold is a step at a time (`work`).

mod accept;
mod recover;
mod work;

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::oneshot;

pub(super) use accept::{AcceptCommand, write_calls};
pub(super) use recover::count_waiting;

use super::{
    SqliteStore,
    command::{Command, closed},
};
use crate::{
    domain::{id::ConversationId, message::Account, time::Millis},
    repository::{
        AcceptOutcome, AnswerEnd, AnswerJob, InboxRepository, NewCall, Next, SendEnd, SendJob, StoreError,
        TakenOver, Unfinished,
    },
    telemetry::{metrics::Level, trace},
};

/// How many messages of channels wait for their answer: on disk, and on their way there.
#[derive(Debug, Default)]
pub(super) struct WaitingCount {
    stored: Level,
    reserved: AtomicU64,
}

impl WaitingCount {
    /// Counts from nothing; what is on disk shows in `stored`.
    pub(super) fn new(stored: Level) -> Self {
        Self { stored, reserved: AtomicU64::new(0) }
    }

    /// Makes room for `messages` more, if no more than `most` wait then. A call that is larger than the whole inbox gets in
    /// when nothing waits: it would never get in otherwise.
    fn reserve(&self, messages: u64, most: u64) -> bool {
        let before = self.reserved.fetch_add(messages, Ordering::Relaxed) + self.stored.get();
        let fits = messages == 0 || before == 0 || before.saturating_add(messages) <= most;
        if !fits {
            self.reserved.fetch_sub(messages, Ordering::Relaxed);
        }
        fits
    }

    /// What was reserved came to `stored` messages on disk.
    fn settle(&self, reserved: u64, stored: u64) {
        self.stored.raise(stored);
        self.reserved.fetch_sub(reserved, Ordering::Relaxed);
    }

    /// A message has got its answer, or never will.
    fn finished(&self) {
        self.stored.lower(1);
    }

    /// What the database says.
    pub(super) fn set_stored(&self, stored: u64) {
        self.stored.set(stored);
    }
}

#[async_trait]
impl InboxRepository for SqliteStore {
    async fn accept(&self, call: NewCall, now: Millis) -> Result<AcceptOutcome, StoreError> {
        let waiting = &self.shared.memory.waiting;
        let reserved = call.payload.messages.len() as u64;
        if !waiting.reserve(reserved, self.shared.limits.waiting_messages) {
            return Ok(AcceptOutcome::Full);
        }
        let (reply, accepted) = oneshot::channel();
        let span = trace::write("accept");
        let command = AcceptCommand { call, at: now, reserved, link: span.link(), reply };
        if let Err(error) = self.shared.enqueue_call(Command::Accept(command)) {
            waiting.settle(reserved, 0);
            return Err(error);
        }
        accepted.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn next(&self, conversation: ConversationId, now: Millis) -> Result<Next, StoreError> {
        let step = work::TakeNext { run_id: self.shared.run_id, conversation, now };
        self.shared.step_of_work(step).await
    }

    async fn answered(
        &self,
        job: &AnswerJob,
        end: AnswerEnd,
        account: Account,
        now: Millis,
    ) -> Result<Next, StoreError> {
        let step = work::Answered { run_id: self.shared.run_id, job: job.clone(), end, account, now };
        self.shared.step_of_work(step).await.map(|output| output.next)
    }

    async fn sent(&self, job: &SendJob, end: SendEnd, now: Millis) -> Result<Next, StoreError> {
        let step = work::Sent { run_id: self.shared.run_id, job: job.clone(), end, now };
        self.shared.step_of_work(step).await
    }

    async fn take_over(&self) -> Result<TakenOver, StoreError> {
        self.shared.step(None, recover::TakeOver).await
    }

    fn edits(&self) -> u64 {
        self.shared.memory.edits.load(Ordering::Relaxed)
    }

    async fn list_waiting(&self, after: ConversationId, limit: u32) -> Result<Vec<Unfinished>, StoreError> {
        recover::list_waiting(&self.shared.reads, after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_may() {
        let count = WaitingCount::default();
        assert!(count.reserve(7, 5), "an empty inbox takes a call of any size");
        assert!(!count.reserve(1, 5));
        count.settle(7, 4);
        assert!(count.reserve(1, 5) && !count.reserve(1, 5));
        assert!(count.reserve(0, 5), "a call without messages needs no room");
        count.finished();
        assert!(count.reserve(1, 5));
    }
}
