//! The inbox of a baseline: no channel is configured, so nothing ever comes in.

use async_trait::async_trait;
use moorgate::{
    domain::{
        conversation::{Conversation, HistoryLimit},
        id::ConversationId,
        message::{Account, Exchange},
        time::Millis,
    },
    repository::{
        AcceptOutcome, AnswerEnd, AnswerJob, ConversationRepository, InboxRepository, NewCall, Next, SendEnd,
        SendJob, StoreError, TakenOver, Unfinished,
    },
};

pub(crate) struct NoInbox;

#[async_trait]
impl InboxRepository for NoInbox {
    async fn accept(&self, _call: NewCall, _now: Millis) -> Result<AcceptOutcome, StoreError> {
        Ok(AcceptOutcome::Full)
    }

    async fn next(&self, _conversation: ConversationId, _now: Millis) -> Result<Next, StoreError> {
        Ok(Next::Idle)
    }

    async fn answered(
        &self,
        _job: &AnswerJob,
        _end: AnswerEnd,
        _account: Account,
        _now: Millis,
    ) -> Result<Next, StoreError> {
        Ok(Next::Idle)
    }

    async fn sent(&self, _job: &SendJob, _end: SendEnd, _now: Millis) -> Result<Next, StoreError> {
        Ok(Next::Idle)
    }

    async fn take_over(&self) -> Result<TakenOver, StoreError> {
        Ok(TakenOver { in_doubt: Vec::new(), began: Millis(0) })
    }

    fn edits(&self) -> u64 {
        0
    }

    async fn list_waiting(&self, _after: ConversationId, _limit: u32) -> Result<Vec<Unfinished>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ConversationRepository for NoInbox {
    async fn history(&self, _of: &Conversation, _limit: HistoryLimit) -> Result<Vec<Exchange>, StoreError> {
        Ok(Vec::new())
    }
}
