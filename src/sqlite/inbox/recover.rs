//! What an earlier run left at work, and what waits.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    domain::id::ConversationId,
    repository::{StoreError, Unfinished},
    sqlite::{command::Step, error::store_error},
};

/// Gives back what an earlier run had leased. A message that was cut by an orderly stop has not used up a try.
pub(super) struct TakeOver;

#[async_trait]
impl Step for TakeOver {
    type Output = Vec<Unfinished>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Vec<Unfinished>, sqlx::Error> {
        // Both conditions on the state: the first one is the index's.
        sqlx::query!(
            "UPDATE message SET state = 'accepted', attempts = attempts - EXISTS (
                 SELECT 1 FROM server_run AS r WHERE r.id = message.run_id AND r.stopped_at_ms IS NOT NULL)
             WHERE conversation_id IS NOT NULL AND state IN ('accepted', 'running') AND state = 'running'"
        )
        .execute(&mut *conn)
        .await?;
        let in_doubt = sqlx::query!(
            r#"UPDATE delivery SET run_id = NULL, in_doubt = in_doubt + 1 WHERE state = 'due' AND run_id IS NOT NULL
               RETURNING conversation_id AS "id!: i64",
                         (SELECT c.channel FROM conversation AS c WHERE c.id = conversation_id) AS "channel: String""#
        )
        .fetch_all(conn)
        .await?;
        Ok(in_doubt.into_iter().map(|row| unfinished(row.id, row.channel)).collect())
    }
}

fn unfinished(id: i64, channel: Option<String>) -> Unfinished {
    Unfinished { conversation: ConversationId(id), channel: channel.and_then(|name| name.parse().ok()) }
}

/// Messages of channels that wait for their answer.
pub(in crate::sqlite) async fn count_waiting(conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let waiting = sqlx::query!(
        r#"SELECT count(*) AS "waiting!: i64" FROM message
           WHERE conversation_id IS NOT NULL AND state IN ('accepted', 'running')"#
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
        r#"SELECT w.conversation_id AS "id!: i64", c.channel AS "channel: String"
           FROM (SELECT conversation_id FROM message
                 WHERE conversation_id > ?1 AND conversation_id IS NOT NULL AND state IN ('accepted', 'running')
                 UNION SELECT conversation_id FROM delivery WHERE conversation_id > ?1 AND state = 'due'
                 ORDER BY 1 LIMIT ?2) AS w
           LEFT JOIN conversation AS c ON c.id = w.conversation_id ORDER BY w.conversation_id"#,
        after.0,
        limit
    )
    .fetch_all(reads)
    .await
    .map_err(|error| store_error(&error))?;
    Ok(rows.into_iter().map(|row| unfinished(row.id, row.channel)).collect())
}
