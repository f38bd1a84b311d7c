//! What users say goes into memory, and the words of memory into its full text, in the background: a bounded amount at a time, so
//! that no message waits for it.

use std::{sync::Arc, time::Duration};

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    SqliteStore,
    batch::millis,
    command::{Command, without_result},
    error::store_error,
    full_text::index_some,
    statements::Statements,
};
use crate::{
    domain::{memory::CONVERSATION, time::Millis},
    repository::StoreError,
    system::SteadyClock,
    telemetry::trace::Linked,
};

/// Messages that one step puts into memory at most: the messages of its batch, and those that come meanwhile, wait for it.
const MESSAGES: i64 = 256;
/// Bytes of texts that a step puts there, unless a single one has more.
const BYTES: i64 = 65_536;
/// How many times longer than the statements of a step take the writer is left alone after it.
const REST: u32 = 12;

/// What a step came to.
pub(super) struct Remembered {
    /// Whether there is more.
    more: bool,
    /// How long its statements took, without the commit.
    took: Duration,
}

/// Puts what messages say into memory; when all of it is there, some of that into the full text. It runs with the rows of a batch, on
/// the writer's thread: each statement of sqlx would be a hop to its thread and back.
pub(super) struct RememberCommand {
    clock: Arc<SteadyClock>,
    key_ttl: Duration,
    /// What it came to when it was run last.
    done: Option<Remembered>,
    /// The span of the caller that waits.
    pub(super) link: Option<Linked>,
    reply: oneshot::Sender<Result<Remembered, StoreError>>,
}

impl RememberCommand {
    /// One step, in a transaction that has begun.
    pub(super) fn run(&mut self, statements: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        let started = self.clock.monotonic();
        let next = next_messages(statements)?;
        if let Some(last) = next.last {
            let (name, key_ttl_ms) = (name_of_webhook(self.clock.now()), millis(self.key_ttl));
            statements.execute(REMEMBER, (last, CONVERSATION, name, key_ttl_ms))?;
            statements.execute(REMEMBERED, (last,))?;
        }
        let more = next.are_followed || index_some(statements)?;
        self.done = Some(Remembered { more, took: self.clock.monotonic().saturating_sub(started) });
        Ok(())
    }

    /// Tells the caller.
    pub(super) fn finish(self, result: Result<(), StoreError>) {
        self.reply.send(result.and_then(|()| self.done.ok_or_else(without_result))).ok();
    }
}

/// The messages that a step takes.
struct Next {
    /// The last of them, if there are any.
    last: Option<i64>,
    /// Whether there are likely more behind them.
    are_followed: bool,
}

const NEXT_MESSAGES: &str = "
    SELECT max(id), count(*), coalesce(sum(octet_length(text)), 0)
    FROM (SELECT id, text FROM message WHERE id > (SELECT remembered_to FROM memory_progress) ORDER BY id LIMIT ?1)";

/// Halving costs less than to add up the bytes of each message and those before it, since mostly all of them fit.
fn next_messages(statements: &mut Statements<'_>) -> Result<Next, rusqlite::Error> {
    let mut most = MESSAGES;
    loop {
        let (last, messages, bytes): (_, i64, i64) = statements.query_row(NEXT_MESSAGES, (most,))?;
        if bytes <= BYTES || most == 1 {
            return Ok(Next { last, are_followed: messages == most });
        }
        most /= 2;
    }
}

/// Puts into memory what the messages up to ?1 say, if it is not there. A retry says nothing new: what is the same as in the last
/// failed message with its key, less than the life of a key (?4) before. An answered one between them would hold the key for longer.
const REMEMBER: &str = "
    INSERT INTO memory (key, category, channel, sender, content, created_at_ms)
    SELECT CASE channel WHEN 'webhook' THEN ?3 || printf('%012x', id)
                        ELSE channel || '_' || sender || '_' || coalesce(platform_id, id) END,
           ?2, channel, sender, text, received_at_ms
    FROM message AS m
    WHERE id > (SELECT remembered_to FROM memory_progress) AND id <= ?1 AND to_remember = 1 AND text <> ''
      AND text IS NOT (SELECT f.text FROM message AS f
                       WHERE f.state = 'failed' AND f.idempotency_key = m.idempotency_key AND f.sender = m.sender
                         AND f.id < m.id AND f.to_remember IS NOT 0 AND f.received_at_ms > m.received_at_ms - ?4
                       ORDER BY f.id DESC LIMIT 1)
    ORDER BY id";

/// Notes that it is there.
const REMEMBERED: &str = "UPDATE memory_progress SET remembered_to = ?1 WHERE remembered_to < ?1";

/// All statements of it.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 3] = [NEXT_MESSAGES, REMEMBER, REMEMBERED];

/// Puts into memory what the messages up to this one say, beside a step of sqlx.
pub(super) async fn remember_to(
    conn: &mut SqliteConnection,
    last: i64,
    now: Millis,
    key_ttl: Duration,
) -> Result<(), sqlx::Error> {
    let remember = sqlx::query(REMEMBER).bind(last).bind(CONVERSATION);
    remember.bind(name_of_webhook(now)).bind(millis(key_ttl)).execute(&mut *conn).await?;
    sqlx::query(REMEMBERED).bind(last).execute(conn).await.map(drop)
}

/// Memory goes back to the message `newest`, if it was beyond: the numbers behind that were those of messages deleted by hand, and are
/// given to others now, of which memory was not told.
pub(super) async fn go_back_to(conn: &mut SqliteConnection, newest: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE memory_progress SET remembered_to = ?1 WHERE remembered_to > ?1", newest)
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
    /// Puts all that was said into memory and its full text.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    pub async fn remember_all(&self) -> Result<(), StoreError> {
        while self.remember_once().await?.is_some() {}
        Ok(())
    }

    /// Puts some of what was said lately into memory and its full text. Returns how long the writer is to be left alone if there is
    /// more.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    pub async fn remember_once(&self) -> Result<Option<Duration>, StoreError> {
        let to_do = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM message WHERE id > remembered_to)
                      OR EXISTS (SELECT 1 FROM memory WHERE id > indexed_to) AS "any!: bool" FROM memory_progress"#
        );
        if !to_do.fetch_one(&self.shared.reads).await.map_err(|error| store_error(&error))? {
            return Ok(None); // without a transaction of the writer
        }
        let done = self.remember_some().await?;
        Ok(done.more.then_some(done.took * REST))
    }

    /// The same, whether or not there is anything.
    pub(super) async fn remember_some(&self) -> Result<Remembered, StoreError> {
        let (clock, key_ttl) = (Arc::clone(&self.shared.clock), self.shared.limits.key_ttl);
        let command =
            |reply, link| Command::Remember(RememberCommand { clock, key_ttl, done: None, link, reply });
        self.shared.ask(&self.shared.queues.work, command).await
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
