//! Deliveries: the outbox as it is, and what may be done to a part of a reply that nobody is sending.
//!
//! The parts of a reply are written by one transaction, so their ids follow each other: those behind a part are found by
//! their ids.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{Ids, since};
use crate::{
    domain::{
        id::{ConversationId, DeliveryId, MessageId},
        time::Millis,
    },
    repository::admin::{Change, DeliveryEntry, Filter, Refusal},
    sqlite::command::Step,
};

pub(super) async fn entries(
    source: impl SqliteExecutor<'_>,
    (first, last): Ids,
    filter: &Filter,
) -> Result<Vec<DeliveryEntry>, sqlx::Error> {
    let (since, message) = (since(filter), filter.message.map(|id| id.0));
    let conversation = filter.conversation.map(|id| id.0);
    let rows = sqlx::query!(
        r#"SELECT d.id AS "id!: i64", d.created_at_ms AS "created_at_ms!: i64", c.channel AS "channel: String",
                  c.sender AS "sender: String", d.conversation_id AS "conversation_id!: i64",
                  d.message_id AS "message_id!: i64", d.kind AS "kind!: String", d.part AS "part!: i64",
                  d.parts AS "parts!: i64", d.text AS "text!: String", d.state AS "state!: String",
                  d.run_id IS NOT NULL AS "sending!: bool", d.attempts AS "attempts!: i64",
                  d.in_doubt AS "in_doubt!: i64", d.next_attempt_at_ms AS "next_attempt_at_ms: i64",
                  d.platform_id AS "platform_id: String", d.status AS "status: String",
                  d.status_at_ms AS "status_at_ms: i64", d.error_class AS "error_class: String",
                  d.finished_at_ms AS "finished_at_ms: i64"
           FROM delivery AS d LEFT JOIN conversation AS c ON c.id = d.conversation_id
           WHERE d.id BETWEEN ?1 AND ?2 AND (?3 IS NULL OR d.state = ?3) AND (?4 IS NULL OR c.channel = ?4)
             AND d.created_at_ms >= ?5 AND (?6 IS NULL OR d.message_id = ?6)
             AND (?7 IS NULL OR d.conversation_id = ?7)
           ORDER BY d.id DESC LIMIT ?8"#,
        first,
        last,
        filter.state,
        filter.channel,
        since,
        message,
        conversation,
        filter.limit
    )
    .fetch_all(source)
    .await?;
    let entries = rows.into_iter().map(|row| DeliveryEntry {
        id: DeliveryId(row.id),
        created_at: Millis(row.created_at_ms),
        channel: row.channel,
        sender: row.sender,
        conversation: ConversationId(row.conversation_id),
        message: MessageId(row.message_id),
        kind: row.kind,
        part: row.part,
        parts: row.parts,
        text: row.text,
        state: row.state,
        sending: row.sending,
        attempts: row.attempts,
        in_doubt: row.in_doubt,
        next_attempt_at: row.next_attempt_at_ms.map(Millis),
        platform_id: row.platform_id,
        status: row.status,
        status_at: row.status_at_ms.map(Millis),
        error: row.error_class,
        finished_at: row.finished_at_ms.map(Millis),
    });
    Ok(entries.collect())
}

/// What becomes of a part.
pub(super) enum To {
    Due,
    Discarded(Millis),
}

/// Changes a part that nobody is sending, and with it those behind it.
pub(super) struct ChangeDelivery {
    pub(super) id: DeliveryId,
    pub(super) change: To,
}

#[async_trait]
impl Step for ChangeDelivery {
    type Output = Change<Vec<DeliveryEntry>>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        let changed = match self.change {
            To::Due => retry(conn, self.id).await?,
            To::Discarded(now) => discard(conn, self.id, now).await?,
        };
        let all = Filter { limit: u32::MAX, ..Filter::default() };
        if let (Some(first), Some(last)) = (changed.iter().min(), changed.iter().max()) {
            let mut entries = entries(conn, (*first, *last), &all).await?;
            entries.retain(|entry| changed.contains(&entry.id.0));
            entries.reverse();
            return Ok(Change::Done(entries));
        }
        let found = entries(conn, (self.id.0, self.id.0), &all).await?.into_iter().next();
        Ok(Change::Refused(match found {
            None => Refusal::NotFound,
            Some(entry) if entry.sending => Refusal::AtWork,
            Some(entry) => Refusal::Ended(entry.state),
        }))
    }
}

/// Returns the ids of what is due again: the part, and those behind it that were given up for it, and
/// not for another one between them.
async fn retry(conn: &mut SqliteConnection, id: DeliveryId) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"UPDATE delivery SET state = 'due', attempts = 0, next_attempt_at_ms = NULL, error_class = NULL,
                               finished_at_ms = NULL
           WHERE id BETWEEN ?1 AND ?1 + (SELECT d.parts - d.part FROM delivery AS d
                                         WHERE d.id = ?1 AND d.run_id IS NULL AND d.state IN ('due', 'dead'))
             AND run_id IS NULL
             AND (id = ?1 OR (state = 'dead' AND error_class = 'earlier_part_dead'
                              AND message_id = (SELECT d.message_id FROM delivery AS d WHERE d.id = ?1)
                              AND NOT EXISTS (SELECT 1 FROM delivery AS d
                                              WHERE d.id > ?1 AND d.id < delivery.id
                                                AND d.error_class IS NOT 'earlier_part_dead')))
           RETURNING id AS "id!: i64""#,
        id.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Returns the ids of what is given up: the part, and those behind it.
async fn discard(conn: &mut SqliteConnection, id: DeliveryId, now: Millis) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"UPDATE delivery SET state = 'dead', finished_at_ms = ?2, next_attempt_at_ms = NULL,
                               error_class = CASE id WHEN ?1 THEN 'discarded' ELSE 'earlier_part_dead' END
           WHERE id BETWEEN ?1 AND ?1 + (SELECT d.parts - d.part FROM delivery AS d
                                         WHERE d.id = ?1 AND d.run_id IS NULL AND d.state = 'due')
             AND run_id IS NULL AND state = 'due'
             AND message_id = (SELECT d.message_id FROM delivery AS d WHERE d.id = ?1)
           RETURNING id AS "id!: i64""#,
        id.0,
        now.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
