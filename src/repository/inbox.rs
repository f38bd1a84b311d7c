//! Messages of channels and the replies to them: accepted at once, worked on later, each conversation in order.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    channel::{Address, ChannelKind, Payload},
    delivery::ReplyKind,
    id::{ConversationId, DeliveryId, MessageId},
    message::{Account, Answer, MessageText},
    time::Millis,
};

/// The inbox of the channels and their outbox.
///
/// What is next in a conversation is always its oldest due delivery, else its oldest waiting message. So replies leave in
/// the order of what they reply to, and a message is not worked on before the reply to the one before it has gone out.
#[async_trait]
pub trait InboxRepository: Send + Sync {
    /// Accepts what one call of a platform held, all of it or nothing. Messages that were accepted before change nothing.
    async fn accept(&self, call: NewCall, now: Millis) -> Result<AcceptOutcome, StoreError>;

    /// Leases what is next in a conversation to this run.
    async fn next(&self, conversation: ConversationId, now: Millis) -> Result<Next, StoreError>;

    /// Writes what came of the work on a message and what it took, and the replies with it; leases the first of them.
    async fn answered(
        &self,
        job: &AnswerJob,
        end: AnswerEnd,
        account: Account,
        now: Millis,
    ) -> Result<Next, StoreError>;

    /// Writes what came of sending a part of a reply; leases the next part, if there is one.
    async fn sent(&self, job: &SendJob, end: SendEnd, now: Millis) -> Result<Next, StoreError>;

    /// Takes over what an earlier run left at work.
    async fn take_over(&self) -> Result<TakenOver, StoreError>;

    /// How often another process has changed the database, as far as is known.
    fn edits(&self) -> u64;

    /// Conversations with something to do, in the order of their ids after `after`, `limit` at most.
    async fn list_waiting(&self, after: ConversationId, limit: u32) -> Result<Vec<Unfinished>, StoreError>;
}

/// What one call of a platform held.
#[derive(Debug)]
pub struct NewCall {
    /// Which platform.
    pub channel: ChannelKind,
    /// What it promised never to send twice.
    pub nonce: Option<String>,
    /// The messages and the news.
    pub payload: Payload,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// It is on disk.
    Accepted {
        /// The conversation of each message that was new: it has something to do now.
        conversations: Vec<ConversationId>,
        /// New messages that wait for an answer.
        waiting: u64,
        /// Messages that had been accepted before.
        known: usize,
    },
    /// As many messages wait as may be. Nothing of the call was accepted.
    Full,
    /// Its nonce had been used. Nothing of the call was accepted.
    Replayed,
}

/// What is next in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Work on a message.
    Answer(AnswerJob),
    /// Send a part of a reply.
    Send(SendJob),
    /// Something, but it is not leased yet: others may go first.
    More,
    /// Nothing before then.
    WaitUntil(Millis),
    /// Nothing.
    Idle,
}

/// A message that this run is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerJob {
    /// Its row.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Who sent it, and where.
    pub from: Address,
    /// What it says; `None` if it was something other than text.
    pub text: Option<MessageText>,
    /// What a reply refers to.
    pub reply_to: Option<String>,
    /// How often work on it was begun, this time included.
    pub attempt: u32,
}

/// A part of a reply that this run is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendJob {
    /// Its row.
    pub id: DeliveryId,
    /// The message that it replies to.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Whom it is for; `None` if the conversation is not on record any more.
    pub to: Option<Address>,
    /// What it refers to.
    pub reply_to: Option<String>,
    /// Its text.
    pub text: String,
    /// How often sending it was begun, this time included.
    pub attempt: u32,
    /// When it was written.
    pub created_at: Millis,
}

/// How work on a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEnd {
    /// With an answer.
    Answered(Answer, Reply),
    /// For good without one; why, in one word.
    Failed(&'static str, Reply),
    /// Without one, and it is to be tried again then.
    Retry(&'static str, Millis),
}

/// What goes back to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub kind: ReplyKind,
    /// Its parts, in order; none: nothing goes back.
    pub parts: Vec<String>,
}

/// How sending a part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEnd {
    /// The platform has it, under this id if it tells.
    Sent(Option<String>),
    /// It does not, or may not, and it is to be tried again then.
    Retry {
        /// Why, in one word.
        class: &'static str,
        /// When.
        at: Millis,
        /// Whether it may have it all the same.
        in_doubt: bool,
    },
    /// It does not, and trying again is of no use. The other parts of the reply are given up with it.
    Dead {
        /// Why, in one word.
        class: &'static str,
        /// Whether it may have it all the same.
        in_doubt: bool,
    },
}

/// What an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The conversation of each delivery that it was sending when it ended: they are marked as in doubt, and are sent again.
    pub in_doubt: Vec<Unfinished>,
    /// When the first run of all began.
    pub began: Millis,
}

/// A conversation with something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Which.
    pub conversation: ConversationId,
    /// Its channel, if it is on record and this program knows it.
    pub channel: Option<ChannelKind>,
    /// When what is next in it is due; `None`: at once.
    pub due_at: Option<Millis>,
}
