//! Messages, the replies to them, and conversations.

use async_trait::async_trait;

use crate::{
    domain::{
        id::{ConversationId, DeliveryId, MessageId},
        time::Millis,
    },
    repository::StoreError,
};

/// The channel of messages that came in through `/webhook`. Nobody waits for their answer any more once they have ended.
pub const WEBHOOK: &str = "webhook";

/// The inbox, the outbox and who talks with us.
#[async_trait]
pub trait MessageAdminRepository: Send + Sync {
    /// Messages, the newest first.
    async fn list_messages(&self, filter: &Filter) -> Result<Vec<MessageEntry>, StoreError>;

    /// One message.
    async fn find_message(&self, id: MessageId) -> Result<Option<MessageEntry>, StoreError>;

    /// How messages stand: those after one, at most `limit` of them, and of the others those that wait or are at work, and those
    /// with these ids. In the order of their ids.
    async fn watch_messages(
        &self,
        after: MessageId,
        ids: &[MessageId],
        limit: u32,
    ) -> Result<Vec<MessageMark>, StoreError>;

    /// Makes a message of a channel that waits or failed due again now, as if it was never tried.
    async fn retry_message(&self, id: MessageId) -> Result<Change<MessageEntry>, StoreError>;

    /// Ends a message of a channel that waits: it failed, for it was `discarded`. Nothing is sent to who wrote it.
    async fn discard_message(&self, id: MessageId, now: Millis) -> Result<Change<MessageEntry>, StoreError>;

    /// Parts of replies, the newest first.
    async fn list_deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryEntry>, StoreError>;

    /// One part of a reply.
    async fn find_delivery(&self, id: DeliveryId) -> Result<Option<DeliveryEntry>, StoreError>;

    /// Makes a part that waits or was given up due again now, as if it was never tried, and with it the parts behind it that
    /// were given up for it. Returns them.
    async fn retry_delivery(&self, id: DeliveryId) -> Result<Change<Vec<DeliveryEntry>>, StoreError>;

    /// Gives a part up that waits, for it was `discarded`, and the parts behind it. Returns them.
    async fn discard_delivery(
        &self,
        id: DeliveryId,
        now: Millis,
    ) -> Result<Change<Vec<DeliveryEntry>>, StoreError>;

    /// Conversations, the newest first.
    async fn list_conversations(&self, filter: &Filter) -> Result<Vec<ConversationEntry>, StoreError>;

    /// One conversation.
    async fn find_conversation(&self, id: ConversationId) -> Result<Option<ConversationEntry>, StoreError>;
}

/// Which ones of a list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state; conversations have none.
    pub state: Option<String>,
    /// Of this channel.
    pub channel: Option<String>,
    /// Received, written or begun since then.
    pub since: Option<Millis>,
    /// Of this conversation.
    pub conversation: Option<ConversationId>,
    /// Replies to this message.
    pub message: Option<MessageId>,
    /// At most so many.
    pub limit: u32,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// What was changed, as it is now.
    Done(T),
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such row.
    NotFound,
    /// It came in through `/webhook`: its sender was told what came of it.
    OfWebhook,
    /// A server is at work on it.
    AtWork,
    /// It is in this state, from which there is no way back.
    Ended(String),
}

/// A message on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEntry {
    /// Its row.
    pub id: MessageId,
    /// When it was accepted.
    pub received_at: Millis,
    /// How it came.
    pub channel: String,
    /// Its conversation, if it belongs to one.
    pub conversation: Option<ConversationId>,
    /// Who sent it.
    pub sender: String,
    /// The key it came with.
    pub idempotency_key: Option<String>,
    /// The platform's id of it.
    pub platform_id: Option<String>,
    /// What it says.
    pub text: String,
    /// `accepted`, `running`, `answered`, `failed` or `interrupted`.
    pub state: String,
    /// How often work on it was begun.
    pub attempts: i64,
    /// When work on it may be begun again; `None`: at once.
    pub next_attempt_at: Option<Millis>,
    /// What the model said.
    pub answer: Option<String>,
    /// Which one.
    pub model: Option<String>,
    /// Why it failed, in one word.
    pub error: Option<String>,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// The kind of provider that answered, or was called last.
    pub provider: Option<String>,
    /// Calls of providers.
    pub provider_calls: Option<i64>,
    /// What they took, in milliseconds.
    pub provider_ms: Option<i64>,
    /// Tokens that the model read.
    pub prompt_tokens: Option<i64>,
    /// Tokens that it wrote.
    pub completion_tokens: Option<i64>,
}

impl MessageEntry {
    /// How it stands.
    #[must_use]
    pub fn mark(&self) -> MessageMark {
        MessageMark { id: self.id, state: self.state.clone(), attempts: self.attempts }
    }
}

/// How a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMark {
    /// Its row.
    pub id: MessageId,
    /// As in [`MessageEntry::state`].
    pub state: String,
    /// How often work on it was begun.
    pub attempts: i64,
}

/// A part of a reply on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEntry {
    /// Its row.
    pub id: DeliveryId,
    /// When it was written.
    pub created_at: Millis,
    /// Where it goes, if its conversation is on record.
    pub channel: Option<String>,
    /// Whom to.
    pub sender: Option<String>,
    /// Its conversation.
    pub conversation: ConversationId,
    /// What it replies to.
    pub message: MessageId,
    /// `answer`, `apology` or `notice`.
    pub kind: String,
    /// Which part, from 1.
    pub part: i64,
    /// Of how many.
    pub parts: i64,
    /// What it says.
    pub text: String,
    /// `due`, `sent` or `dead`.
    pub state: String,
    /// Whether a server is sending it just now, or was when it was killed.
    pub sending: bool,
    /// How often sending it was begun.
    pub attempts: i64,
    /// How often it was sent without learning whether it arrived.
    pub in_doubt: i64,
    /// When it may be tried again; `None`: at once.
    pub next_attempt_at: Option<Millis>,
    /// The platform's id of it.
    pub platform_id: Option<String>,
    /// How far it has come, as the platform tells.
    pub status: Option<String>,
    /// Since when.
    pub status_at: Option<Millis>,
    /// Why the last try failed, in one word.
    pub error: Option<String>,
    /// When it was sent or given up.
    pub finished_at: Option<Millis>,
}

/// A conversation on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationEntry {
    /// Its row.
    pub id: ConversationId,
    /// Where.
    pub channel: String,
    /// Who with.
    pub sender: String,
    /// The chat or room; blank where the channel has none.
    pub room: String,
    /// Since when.
    pub started_at: Millis,
    /// Messages that wait for their answer.
    pub waiting: i64,
    /// Parts of replies that are still to be sent.
    pub due: i64,
}
