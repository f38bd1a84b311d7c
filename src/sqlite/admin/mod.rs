//! What operators see and mend: reads on a read-only connection; changes as steps of the writer, each guarded by the state
//! that it finds, so that a server on the same file is never confused.

mod client;
mod delivery;
mod key;
mod limit;
mod message;

use async_trait::async_trait;
use sqlx::SqlitePool;

use super::{SqliteStore, error::store_error};
use crate::{
    domain::{
        id::{ConversationId, DeliveryId, MessageId},
        time::Millis,
    },
    repository::{
        StoreError,
        admin::{
            Change, ConversationEntry, DeliveryEntry, Filter, MessageAdminRepository, MessageEntry,
            MessageMark,
        },
    },
};
use delivery::ChangeDelivery;
use message::ChangeMessage;

#[async_trait]
impl MessageAdminRepository for SqliteStore {
    async fn list_messages(&self, filter: &Filter) -> Result<Vec<MessageEntry>, StoreError> {
        stored(message::entries(self.reads(), ALL, filter).await)
    }

    async fn find_message(&self, id: MessageId) -> Result<Option<MessageEntry>, StoreError> {
        stored(message::entries(self.reads(), (id.0, id.0), &ONE).await).map(|found| found.into_iter().next())
    }

    async fn watch_messages(
        &self,
        after: MessageId,
        ids: &[MessageId],
        limit: u32,
    ) -> Result<Vec<MessageMark>, StoreError> {
        stored(message::marks(self.reads(), after, ids, limit).await)
    }

    async fn retry_message(&self, id: MessageId) -> Result<Change<MessageEntry>, StoreError> {
        self.shared.step(None, ChangeMessage { id, change: message::To::Due }).await
    }

    async fn discard_message(&self, id: MessageId, now: Millis) -> Result<Change<MessageEntry>, StoreError> {
        self.shared.step(None, ChangeMessage { id, change: message::To::Discarded(now) }).await
    }

    async fn list_deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryEntry>, StoreError> {
        stored(delivery::entries(self.reads(), ALL, filter).await)
    }

    async fn find_delivery(&self, id: DeliveryId) -> Result<Option<DeliveryEntry>, StoreError> {
        stored(delivery::entries(self.reads(), (id.0, id.0), &ONE).await)
            .map(|found| found.into_iter().next())
    }

    async fn retry_delivery(&self, id: DeliveryId) -> Result<Change<Vec<DeliveryEntry>>, StoreError> {
        self.shared.step(None, ChangeDelivery { id, change: delivery::To::Due }).await
    }

    async fn discard_delivery(
        &self,
        id: DeliveryId,
        now: Millis,
    ) -> Result<Change<Vec<DeliveryEntry>>, StoreError> {
        self.shared.step(None, ChangeDelivery { id, change: delivery::To::Discarded(now) }).await
    }

    async fn list_conversations(&self, filter: &Filter) -> Result<Vec<ConversationEntry>, StoreError> {
        stored(conversations(self.reads(), ALL, filter).await)
    }

    async fn find_conversation(&self, id: ConversationId) -> Result<Option<ConversationEntry>, StoreError> {
        stored(conversations(self.reads(), (id.0, id.0), &ONE).await).map(|found| found.into_iter().next())
    }
}

impl SqliteStore {
    fn reads(&self) -> &SqlitePool {
        &self.shared.reads
    }
}

fn stored<T>(read: Result<T, sqlx::Error>) -> Result<T, StoreError> {
    read.map_err(|error| store_error(&error))
}

/// The first and the last id.
type Ids = (i64, i64);

const ALL: Ids = (0, i64::MAX);

const ONE: Filter =
    Filter { state: None, channel: None, since: None, conversation: None, message: None, limit: 1 };

/// A moment before all others, where none is asked for.
fn since(filter: &Filter) -> i64 {
    filter.since.map_or(i64::MIN, |at| at.0)
}

async fn conversations(
    reads: &SqlitePool,
    (first, last): Ids,
    filter: &Filter,
) -> Result<Vec<ConversationEntry>, sqlx::Error> {
    let since = since(filter);
    let rows = sqlx::query!(
        r#"SELECT c.id AS "id!: i64", c.channel AS "channel!: String", c.sender AS "sender!: String",
                  c.room AS "room!: String", c.started_at_ms AS "started_at_ms!: i64",
                  (SELECT count(*) FROM message AS m
                   WHERE m.conversation_id = c.id AND m.state IN ('accepted', 'running')) AS "waiting!: i64",
                  (SELECT count(*) FROM delivery AS d
                   WHERE d.conversation_id = c.id AND d.state = 'due') AS "due!: i64"
           FROM conversation AS c
           WHERE c.id BETWEEN ?1 AND ?2 AND (?3 IS NULL OR c.channel = ?3) AND c.started_at_ms >= ?4
           ORDER BY c.id DESC LIMIT ?5"#,
        first,
        last,
        filter.channel,
        since,
        filter.limit
    )
    .fetch_all(reads)
    .await?;
    let entries = rows.into_iter().map(|row| ConversationEntry {
        id: ConversationId(row.id),
        channel: row.channel,
        sender: row.sender,
        room: row.room,
        started_at: Millis(row.started_at_ms),
        waiting: row.waiting,
        due: row.due,
    });
    Ok(entries.collect())
}
