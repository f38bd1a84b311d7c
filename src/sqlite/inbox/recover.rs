//! What an earlier run left at work, and what waits.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    domain::{channel::ChannelKind, id::ConversationId, time::Millis},
    repository::{StoreError, TakenOver, Unfinished},
    sqlite::{command::Step, error::store_error},
};

/// Gives back what an earlier run had leased. A message that was cut by an orderly stop has not used up a try.
pub(super) struct TakeOver;

#[async_trait]
impl Step for TakeOver {
    type Output = TakenOver;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<TakenOver, sqlx::Error> {
        // Both conditions on the state: the first one is the index's.
        sqlx::query!(
            "UPDATE message SET state = 'accepted', attempts = attempts - EXISTS (
                 SELECT 1 FROM server_run AS r WHERE r.id = message.run_id AND r.stopped_at_ms IS NOT NULL)
             WHERE channel <> 'webhook' AND state IN ('accepted', 'running') AND state = 'running'"
        )
        .execute(&mut *conn)
        .await?;
        let in_doubt = sqlx::query!(
            r#"UPDATE delivery SET run_id = NULL, in_doubt = in_doubt + 1 WHERE state = 'due' AND run_id IS NOT NULL
               RETURNING conversation_id AS "id!: i64",
                         (SELECT c.channel FROM conversation AS c WHERE c.id = conversation_id) AS "channel: String""#
        )
        .fetch_all(&mut *conn)
        .await?;
        let began =
            sqlx::query!(r#"SELECT coalesce(min(started_at_ms), 0) AS "at_ms!: i64" FROM server_run"#)
                .fetch_one(conn)
                .await?;
        let in_doubt = in_doubt.into_iter().map(|row| unfinished(row.id, row.channel, None)).collect();
        Ok(TakenOver { in_doubt, began: Millis(began.at_ms) })
    }
}

fn unfinished(id: i64, channel: Option<String>, due_at: Option<i64>) -> Unfinished {
    let channel = channel.and_then(|name| name.parse().ok());
    Unfinished { conversation: ConversationId(id), channel, due_at: due_at.map(Millis) }
}

/// Messages of these channels that wait for their answer. Those of a channel that is not configured any more are kept, but
/// take nobody's place.
pub(in crate::sqlite) async fn count_waiting(
    conn: &mut SqliteConnection,
    channels: &[ChannelKind],
) -> Result<u64, sqlx::Error> {
    let has = |kind| channels.contains(&kind);
    let [whatsapp, linq, talk] = ChannelKind::ALL.map(has);
    let waiting = sqlx::query!(
        r#"SELECT count(*) AS "waiting!: i64" FROM message
           WHERE state IN ('accepted', 'running')
             AND CASE channel WHEN 'whatsapp' THEN ?1 WHEN 'linq' THEN ?2 WHEN 'nextcloud_talk' THEN ?3 END"#,
        whatsapp,
        linq,
        talk
    )
    .fetch_one(conn)
    .await?;
    Ok(waiting.waiting.unsigned_abs())
}

/// Conversations after `after` with a waiting message or a due delivery.
pub(super) async fn list_waiting(
    reads: &SqlitePool,
    after: ConversationId,
    limit: u32,
) -> Result<Vec<Unfinished>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT w.conversation_id AS "id!: i64", c.channel AS "channel: String",
                  coalesce((SELECT coalesce(d.next_attempt_at_ms, 0) FROM delivery AS d
                            WHERE d.conversation_id = w.conversation_id AND d.state = 'due' ORDER BY d.id LIMIT 1),
                           (SELECT m.next_attempt_at_ms FROM message AS m
                            WHERE m.conversation_id = w.conversation_id AND m.state IN ('accepted', 'running')
                            ORDER BY m.id LIMIT 1)) AS "due_at_ms: i64"
           FROM (SELECT conversation_id FROM message
                 WHERE conversation_id > ?1 AND channel <> 'webhook' AND state IN ('accepted', 'running')
                 UNION SELECT conversation_id FROM delivery WHERE conversation_id > ?1 AND state = 'due'
                 ORDER BY 1 LIMIT ?2) AS w
           LEFT JOIN conversation AS c ON c.id = w.conversation_id ORDER BY w.conversation_id"#,
        after.0,
        limit
    )
    .fetch_all(reads)
    .await
    .map_err(|error| store_error(&error))?;
    Ok(rows.into_iter().map(|row| unfinished(row.id, row.channel, row.due_at_ms)).collect())
}
