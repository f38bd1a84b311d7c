//! What users say goes into memory, and the words of memory into its full text, in the background: a bounded amount at a time, so
//! that no message waits for it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{SqliteStore, command::Step, error::store_error, full_text::IndexSome};
use crate::{
    domain::{memory::CONVERSATION, time::Millis},
    repository::StoreError,
    system::SteadyClock,
};

/// Messages that one step puts into memory at most.
const MESSAGES: i64 = 1024;
/// Bytes of texts that a step puts there, or into the full text, unless a single one has more.
pub(super) const BYTES: i64 = 262_144;
/// How many times longer than a step takes the writer is left alone after it.
const REST: u32 = 19;

/// Puts what messages say into memory.
struct RememberSome {
    clock: Arc<SteadyClock>,
}

#[async_trait]
impl Step for RememberSome {
    /// How long it took.
    type Output = Duration;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Duration, sqlx::Error> {
        let started = self.clock.monotonic();
        if let Some(last) = last_of_next(conn).await? {
            remember_to(conn, last, self.clock.now()).await?;
        }
        Ok(self.clock.monotonic().saturating_sub(started))
    }
}

/// The last of the messages that a step takes, if there are any.
async fn last_of_next(conn: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let mut most = MESSAGES;
    loop {
        let next = sqlx::query!(
            r#"SELECT max(id) AS "last: i64", coalesce(sum(octet_length(text)), 0) AS "bytes!: i64"
               FROM (SELECT id, text FROM message WHERE id > (SELECT remembered_to FROM memory_progress) ORDER BY id LIMIT ?1)"#,
            most
        )
        .fetch_one(&mut *conn)
        .await?;
        if next.bytes <= BYTES || most == 1 {
            return Ok(next.last);
        }
        most /= 2;
    }
}

/// Puts into memory what the messages up to this one say, if it is not there. What was said before, in a message with the same key that failed, is there
/// already.
pub(super) async fn remember_to(
    conn: &mut SqliteConnection,
    last: i64,
    now: Millis,
) -> Result<(), sqlx::Error> {
    let name = name_of_webhook(now);
    sqlx::query!(
        "INSERT INTO memory (key, category, channel, sender, content, created_at_ms)
         SELECT CASE channel WHEN 'webhook' THEN ?3 || printf('%012x', id)
                             ELSE channel || '_' || sender || '_' || platform_id END,
                ?2, channel, sender, text, received_at_ms
         FROM message AS m
         WHERE id > (SELECT remembered_to FROM memory_progress) AND id <= ?1 AND to_remember = 1 AND text <> ''
           AND NOT EXISTS (SELECT 1 FROM message AS f
                           WHERE f.state = 'failed' AND f.idempotency_key = m.idempotency_key AND f.sender = m.sender
                             AND f.id < m.id AND f.text = m.text)
         ORDER BY id",
        last,
        CONVERSATION,
        name
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE memory_progress SET remembered_to = ?1 WHERE remembered_to < ?1", last)
        .execute(conn)
        .await?;
    Ok(())
}

/// What the names of messages to `/webhook` begin with, `webhook_msg_<uuid>`: a UUID of version 7 (RFC 9562) of this moment, whose last
/// twelve digits are the number of the message.
fn name_of_webhook(now: Millis) -> String {
    let now = now.0.max(0);
    format!("webhook_msg_{:08x}-{:04x}-7000-8000-", now >> 16, now & 0xffff)
}

impl SqliteStore {
    /// Puts some of what was said lately into memory; when all of it is there, some of that into the full text. Returns how long
    /// the writer is to be left alone if there is more.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    pub async fn remember_once(&self) -> Result<Option<Duration>, StoreError> {
        let clock = Arc::clone(&self.shared.clock);
        let to_do = sqlx::query!(
            r#"SELECT EXISTS (SELECT 1 FROM message WHERE id > remembered_to) AS "messages!: bool",
                      EXISTS (SELECT 1 FROM memory WHERE id > indexed_to) AS "texts!: bool" FROM memory_progress"#
        );
        // Where there is nothing to do, the writer is not asked.
        let to_do = to_do.fetch_one(&self.shared.reads).await.map_err(|error| store_error(&error))?;
        if to_do.messages {
            let took = self.shared.step_of_work(RememberSome { clock }).await?;
            return Ok(Some(took * REST)); // the full text comes next
        }
        if to_do.texts {
            let indexed = self.shared.step_of_work(IndexSome { clock }).await?;
            return Ok(indexed.more.then_some(indexed.took * REST));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_uuids_in_the_order_of_time() {
        let name = |now| name_of_webhook(Millis(now)) + "00000000002a";
        assert_eq!(name(1_790_000_000_000), "webhook_msg_01a0c450-6c00-7000-8000-00000000002a");
        assert!(name(65_535) < name(65_536));
        assert_eq!(name(-5), name(0));
    }
}
