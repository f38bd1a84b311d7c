//! Messages: the inbox as it is, and what may be done to one that nobody is at work on.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{Ids, ONE, since};
use crate::{
    domain::{
        id::{ConversationId, MessageId},
        time::Millis,
    },
    repository::admin::{Change, Filter, MessageEntry, MessageMark, Refusal, WEBHOOK},
    sqlite::command::Step,
};

pub(super) async fn entries(
    source: impl SqliteExecutor<'_>,
    (first, last): Ids,
    filter: &Filter,
) -> Result<Vec<MessageEntry>, sqlx::Error> {
    let (since, conversation) = (since(filter), filter.conversation.map(|id| id.0));
    let rows = sqlx::query!(
        r#"SELECT id AS "id!: i64", received_at_ms AS "received_at_ms!: i64", channel AS "channel!: String",
                  conversation_id AS "conversation_id: i64", sender AS "sender!: String",
                  idempotency_key AS "idempotency_key: String", platform_id AS "platform_id: String",
                  text AS "text!: String", state AS "state!: String", attempts AS "attempts!: i64",
                  next_attempt_at_ms AS "next_attempt_at_ms: i64", answer AS "answer: String", model AS "model: String",
                  error_class AS "error_class: String", finished_at_ms AS "finished_at_ms: i64",
                  provider AS "provider: String", provider_calls AS "provider_calls: i64", provider_ms AS "provider_ms: i64",
                  prompt_tokens AS "prompt_tokens: i64", completion_tokens AS "completion_tokens: i64"
           FROM message
           WHERE id BETWEEN ?1 AND ?2 AND (?3 IS NULL OR state = ?3) AND (?4 IS NULL OR channel = ?4)
             AND received_at_ms >= ?5 AND (?6 IS NULL OR conversation_id = ?6)
           ORDER BY id DESC LIMIT ?7"#,
        first,
        last,
        filter.state,
        filter.channel,
        since,
        conversation,
        filter.limit
    )
    .fetch_all(source)
    .await?;
    let entries = rows.into_iter().map(|row| MessageEntry {
        id: MessageId(row.id),
        received_at: Millis(row.received_at_ms),
        channel: row.channel,
        conversation: row.conversation_id.map(ConversationId),
        sender: row.sender,
        idempotency_key: row.idempotency_key,
        platform_id: row.platform_id,
        text: row.text,
        state: row.state,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at_ms.map(Millis),
        answer: row.answer,
        model: row.model,
        error: row.error_class,
        finished_at: row.finished_at_ms.map(Millis),
        provider: row.provider,
        provider_calls: row.provider_calls,
        provider_ms: row.provider_ms,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
    });
    Ok(entries.collect())
}

/// How messages stand that may have changed. Each of the three parts is found by an index.
pub(super) async fn marks(
    source: impl SqliteExecutor<'_>,
    after: MessageId,
    ids: &[MessageId],
    limit: u32,
) -> Result<Vec<MessageMark>, sqlx::Error> {
    let ids: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
    let ids = format!("[{}]", ids.join(","));
    let rows = sqlx::query!(
        r#"SELECT id AS "id!: i64", state AS "state!: String", attempts AS "attempts!: i64" FROM (
               SELECT id, state, attempts FROM message WHERE id > ?1 ORDER BY id LIMIT ?3)
           UNION SELECT id, state, attempts FROM message WHERE state IN ('accepted', 'running') AND id <= ?1
           UNION SELECT id, state, attempts FROM message WHERE id IN (SELECT value FROM json_each(?2)) AND id <= ?1
           ORDER BY 1"#,
        after.0,
        ids,
        limit
    )
    .fetch_all(source)
    .await?;
    let mark = |id, state, attempts| MessageMark { id: MessageId(id), state, attempts };
    Ok(rows.into_iter().map(|row| mark(row.id, row.state, row.attempts)).collect())
}

/// What becomes of a message.
pub(super) enum To {
    Due,
    Discarded(Millis),
}

/// Changes a message of a channel that nobody is at work on.
pub(super) struct ChangeMessage {
    pub(super) id: MessageId,
    pub(super) change: To,
}

#[async_trait]
impl Step for ChangeMessage {
    type Output = Change<MessageEntry>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let changed = match self.change {
            To::Due => retry(conn, self.id).await?,
            To::Discarded(now) => discard(conn, self.id, now).await?,
        };
        let found = entries(conn, (self.id.0, self.id.0), &ONE).await?.into_iter().next();
        Ok(match found {
            Some(entry) if changed => Change::Done(entry),
            Some(entry) if entry.state == "running" => Change::Refused(Refusal::AtWork),
            Some(entry) if entry.channel == WEBHOOK => Change::Refused(Refusal::OfWebhook),
            Some(entry) => Change::Refused(Refusal::Ended(entry.state)),
            None => Change::Refused(Refusal::NotFound),
        })
    }
}

async fn retry(conn: &mut SqliteConnection, id: MessageId) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "UPDATE message SET state = 'accepted', attempts = 0, next_attempt_at_ms = NULL, error_class = NULL,
                            finished_at_ms = NULL
         WHERE id = ?1 AND channel <> ?2 AND state IN ('accepted', 'failed')",
        id.0,
        WEBHOOK
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn discard(conn: &mut SqliteConnection, id: MessageId, now: Millis) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "UPDATE message SET state = 'failed', error_class = 'discarded', finished_at_ms = ?3, next_attempt_at_ms = NULL
         WHERE id = ?1 AND channel <> ?2 AND state = 'accepted'",
        id.0,
        WEBHOOK,
        now.0
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() > 0)
}
