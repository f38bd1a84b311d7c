//! Forgetting what was kept for long enough: messages, answers, deliveries, and the ids of what was received.
//!
//! Rows are looked at in the order of their ids, some at each round, so that a round holds the writer for some milliseconds.
//! What is still needed is passed over: a message that waits, an answer that an idempotency key stands for, a delivery that
//! is due.

use std::{ops::AddAssign, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::{command::Step, full_text::MERGE, memory::Memory, remember::remember_to};
use crate::{
    domain::{channel::ID_MEMORY, time::Millis},
    system::SteadyClock,
    telemetry::metrics::RemovedKind,
};

/// How long nonces are remembered.
const NONCE_MEMORY: Duration = Duration::from_hours(24);
/// How long news of a message is kept whose sending may just be being noted.
const EARLY_MEMORY: Duration = Duration::from_mins(10);
/// Rows of one kind that a round looks at, at least and at most.
const ROWS: (i64, i64) = (10, 1000);
/// Bytes of texts that a round removes of one kind, unless a single row has more.
const BYTES: i64 = 262_144;
/// A round that takes longer looks at fewer rows the next time.
const LONG: Duration = Duration::from_millis(5);
/// A round that is over sooner looks at more.
const SHORT: Duration = Duration::from_millis(2);

/// What is kept of one kind of row: whatever is younger than `age` and among the newest `rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// How long; `None`: for ever.
    pub age: Option<Duration>,
    /// How many; `None`: any number.
    pub rows: Option<u64>,
}

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Messages, with their answers.
    pub messages: Keep,
    /// The texts of answers.
    pub answers: Keep,
    /// Replies that were sent, or given up.
    pub deliveries: Keep,
    /// What users said.
    pub memories: Keep,
}

/// Rows that were removed, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Messages, with their answers.
    pub messages: u64,
    /// Answers that were erased; their messages are still there.
    pub answers: u64,
    /// Replies to channels.
    pub deliveries: u64,
    /// What users said.
    pub memories: u64,
    /// Conversations that are over.
    pub conversations: u64,
    /// What is remembered so that nothing is accepted or missed twice: platforms' ids, nonces, early news.
    pub received: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Hits of rate windows.
    pub hits: u64,
    /// Pairing codes, failures and lockouts.
    pub pairing: u64,
}

impl Removed {
    /// Calls `note` with each kind.
    pub(super) fn each(&self, mut note: impl FnMut(RemovedKind, u64)) {
        for (kind, rows) in [
            (RemovedKind::Message, self.messages),
            (RemovedKind::Answer, self.answers),
            (RemovedKind::Delivery, self.deliveries),
            (RemovedKind::Memory, self.memories),
            (RemovedKind::Conversation, self.conversations),
            (RemovedKind::Received, self.received),
            (RemovedKind::Key, self.keys),
            (RemovedKind::Hit, self.hits),
            (RemovedKind::Pairing, self.pairing),
        ] {
            note(kind, rows);
        }
    }
}

impl AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.answers += other.answers;
        self.deliveries += other.deliveries;
        self.memories += other.memories;
        self.conversations += other.conversations;
        self.received += other.received;
        self.keys += other.keys;
        self.hits += other.hits;
        self.pairing += other.pairing;
    }
}

/// Where the rounds stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    messages: i64,
    answers: i64,
    deliveries: i64,
    conversations: i64,
    rows: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { messages: 0, answers: 0, deliveries: 0, conversations: 0, rows: ROWS.0 }
    }
}

impl Progress {
    /// The same, with a number of rows that suits how long the last round took.
    fn paced(self, took: Duration) -> Self {
        let rows = match took {
            _ if took > LONG => self.rows / 2,
            _ if took < SHORT => self.rows * 2,
            _ => self.rows,
        };
        Self { rows: rows.clamp(ROWS.0, ROWS.1), ..self }
    }
}

/// One round.
pub(super) struct Forget {
    pub(super) retention: Retention,
    pub(super) progress: Progress,
    pub(super) key_ttl: Duration,
    pub(super) clock: Arc<SteadyClock>,
}

/// What a round came to.
pub(super) struct Forgotten {
    progress: Progress,
    pub(super) removed: Removed,
    /// Whether the next round is likely to find more.
    pub(super) more: bool,
}

#[async_trait]
impl Step for Forget {
    type Output = Forgotten;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Forgotten, sqlx::Error> {
        let (now, started) = (self.clock.now(), self.clock.monotonic());
        let (Retention { messages, answers, deliveries, memories }, old) = (self.retention, self.progress);
        let mut removed = Removed::default();
        let (ids, received) = forget_ids(conn, now, old.rows).await?;
        removed.received = received;
        let mut progress = old;
        let newest = newest_message(conn).await?;
        let span = Span::of(messages, newest, now);
        (progress.messages, removed.messages) =
            forget_messages(conn, old.messages, span, old.rows, (now, self.key_ttl)).await?;
        let span = Span::of(answers, newest, now);
        (progress.answers, removed.answers) = forget_answers(conn, old.answers, span, old.rows).await?;
        let span = Span::of(deliveries, newest_delivery(conn).await?, now);
        (progress.deliveries, removed.deliveries) =
            forget_deliveries(conn, old.deliveries, span, old.rows).await?;
        let span = Span::of(memories, newest_memory(conn).await?, now);
        let memories;
        (memories, removed.memories) = forget_memories(conn, span, old.rows).await?;
        (progress.conversations, removed.conversations) =
            forget_conversations(conn, old.conversations, old.rows).await?;
        let moved = progress.messages > 0 || progress.deliveries > 0 || progress.answers > old.answers;
        let more = ids || moved || memories || removed.conversations > 0;
        let took = self.clock.monotonic().saturating_sub(started);
        Ok(Forgotten { progress: progress.paced(took), removed, more })
    }

    fn stored(&self, output: &Forgotten, memory: &Memory) {
        memory.set_forgotten_to(output.progress);
    }
}

/// Ids and nonces that need not be remembered any more. Whether there are likely more, and how many went.
async fn forget_ids(conn: &mut SqliteConnection, now: Millis, rows: i64) -> Result<(bool, u64), sqlx::Error> {
    let (ids_before, nonces_before) = (now.minus(ID_MEMORY).0, now.minus(NONCE_MEMORY).0);
    let ids = sqlx::query!(
        "DELETE FROM received_id WHERE id IN (SELECT id FROM received_id ORDER BY id LIMIT ?2) AND received_at_ms <= ?1",
        ids_before,
        rows
    )
    .execute(&mut *conn)
    .await?;
    let nonces = sqlx::query!(
        "DELETE FROM received_nonce
         WHERE id IN (SELECT id FROM received_nonce ORDER BY id LIMIT ?2) AND received_at_ms <= ?1",
        nonces_before,
        rows
    )
    .execute(&mut *conn)
    .await?;
    let early_before = now.minus(EARLY_MEMORY).0;
    let early = sqlx::query!("DELETE FROM early_status WHERE received_at_ms <= ?1", early_before);
    let early = early.execute(conn).await?.rows_affected();
    let (full, ids, nonces) = (rows.unsigned_abs(), ids.rows_affected(), nonces.rows_affected());
    Ok((ids >= full || nonces >= full, ids + nonces + early))
}

/// Rows up to which id, and from before which moment, need not be kept.
#[derive(Debug, Clone, Copy)]
struct Span {
    to_id: i64,
    before: i64,
}

impl Span {
    fn of(keep: Keep, newest_id: i64, now: Millis) -> Self {
        let rows = keep.rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
        Self {
            to_id: rows.map_or(0, |rows| newest_id.saturating_sub(rows)),
            before: keep.age.map_or(i64::MIN, |age| now.minus(age).0),
        }
    }
}

/// The rows that a round may remove, of those that it looked at.
struct Batch {
    old: i64,
    /// Those whose texts are not too long together.
    fits: i64,
    last: Option<i64>,
}

impl Batch {
    /// Whether there are likely more behind them; the round looked at `rows` rows.
    fn is_followed(&self, rows: i64) -> bool {
        self.old >= rows || self.fits < self.old
    }
}

async fn newest_message(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let newest = sqlx::query!(r#"SELECT coalesce(max(id), 0) AS "id!: i64" FROM message"#).fetch_one(conn);
    newest.await.map(|newest| newest.id)
}

async fn newest_delivery(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let newest = sqlx::query!(r#"SELECT coalesce(max(id), 0) AS "id!: i64" FROM delivery"#).fetch_one(conn);
    newest.await.map(|newest| newest.id)
}

async fn newest_memory(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let newest = sqlx::query!(r#"SELECT coalesce(max(id), 0) AS "id!: i64" FROM memory"#).fetch_one(conn);
    newest.await.map(|newest| newest.id)
}

/// Deletes finished messages among the next rows, once memory has what they say. Returns where to go on (0: from the start,
/// since the rest is to be kept), and how many went.
async fn forget_messages(
    conn: &mut SqliteConnection,
    after: i64,
    span: Span,
    rows: i64,
    (now, key_ttl): (Millis, Duration),
) -> Result<(i64, u64), sqlx::Error> {
    let next = sqlx::query_as!(
        Batch,
        r#"SELECT count(*) AS "old!: i64", count(*) FILTER (WHERE fits) AS "fits!: i64", max(id) FILTER (WHERE fits) AS "last: i64"
           FROM (SELECT id, received_at_ms,
                        row_number() OVER (ORDER BY id) = 1 OR sum(octet_length(text) + coalesce(octet_length(answer), 0))
                            OVER (ORDER BY id) <= ?5 AS fits
                 FROM message WHERE id > ?1 ORDER BY id LIMIT ?4)
           WHERE id <= ?2 OR received_at_ms <= ?3"#,
        after,
        span.to_id,
        span.before,
        rows,
        BYTES
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(last_id) = next.last else { return Ok((0, 0)) };
    remember_to(conn, last_id, now, key_ttl).await?;
    let deleted = sqlx::query!(
        "DELETE FROM message
         WHERE id > ?1 AND id <= ?2 AND (id <= ?3 OR received_at_ms <= ?4) AND state NOT IN ('accepted', 'running')
           AND NOT EXISTS (SELECT 1 FROM idempotency_key AS k
                           WHERE k.owner = message.sender AND k.key = message.idempotency_key
                             AND k.message_id = message.id)",
        after,
        last_id,
        span.to_id,
        span.before
    )
    .execute(conn)
    .await?;
    Ok((if next.is_followed(rows) { last_id } else { 0 }, deleted.rows_affected()))
}

/// Erases answers among the next rows, up to the first that is to be kept: a younger one, or one that an idempotency key still
/// stands for. Returns where to go on (there), and how many were erased.
async fn forget_answers(
    conn: &mut SqliteConnection,
    after: i64,
    span: Span,
    rows: i64,
) -> Result<(i64, u64), sqlx::Error> {
    let next = sqlx::query!(
        r#"SELECT max(id) FILTER (WHERE fits) AS "last: i64", min(id) FILTER (WHERE kept) AS "kept: i64" FROM (
               SELECT id, NOT (id <= ?2 OR received_at_ms <= ?3) OR EXISTS (
                          SELECT 1 FROM idempotency_key AS k
                          WHERE k.owner = message.sender AND k.key = message.idempotency_key
                            AND k.message_id = message.id) AS kept,
                      row_number() OVER (ORDER BY id) = 1
                          OR sum(octet_length(coalesce(answer, ''))) OVER (ORDER BY id) <= ?5 AS fits
               FROM message WHERE id > ?1 ORDER BY id LIMIT ?4)"#,
        after,
        span.to_id,
        span.before,
        rows,
        BYTES
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(last) = next.last else { return Ok((after, 0)) };
    let to = next.kept.map_or(last, |kept| last.min(kept - 1));
    if to <= after {
        return Ok((after, 0));
    }
    let erased =
        sqlx::query!("UPDATE message SET answer = '' WHERE id > ?1 AND id <= ?2 AND answer <> ''", after, to)
            .execute(conn)
            .await?;
    Ok((to, erased.rows_affected()))
}

/// Deletes finished deliveries among the next rows. Returns where to go on (0: from the start), and how many went.
async fn forget_deliveries(
    conn: &mut SqliteConnection,
    after: i64,
    span: Span,
    rows: i64,
) -> Result<(i64, u64), sqlx::Error> {
    let next = sqlx::query_as!(
        Batch,
        r#"SELECT count(*) AS "old!: i64", count(*) FILTER (WHERE fits) AS "fits!: i64", max(id) FILTER (WHERE fits) AS "last: i64"
           FROM (SELECT id, coalesce(finished_at_ms, created_at_ms) AS at_ms,
                        row_number() OVER (ORDER BY id) = 1 OR sum(octet_length(text)) OVER (ORDER BY id) <= ?5 AS fits
                 FROM delivery WHERE id > ?1 ORDER BY id LIMIT ?4)
           WHERE id <= ?2 OR at_ms <= ?3"#,
        after,
        span.to_id,
        span.before,
        rows,
        BYTES
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(last_id) = next.last else { return Ok((0, 0)) };
    let deleted = sqlx::query!(
        "DELETE FROM delivery
         WHERE id > ?1 AND id <= ?2 AND (id <= ?3 OR finished_at_ms <= ?4) AND state <> 'due'",
        after,
        last_id,
        span.to_id,
        span.before
    )
    .execute(conn)
    .await?;
    Ok((if next.is_followed(rows) { last_id } else { 0 }, deleted.rows_affected()))
}

/// Deletes what was said among the oldest rows. Whether there is likely more, and how many went.
async fn forget_memories(
    conn: &mut SqliteConnection,
    span: Span,
    rows: i64,
) -> Result<(bool, u64), sqlx::Error> {
    let next = sqlx::query_as!(
        Batch,
        r#"SELECT count(*) AS "old!: i64", count(*) FILTER (WHERE fits) AS "fits!: i64", max(id) FILTER (WHERE fits) AS "last: i64"
           FROM (SELECT id, created_at_ms,
                        row_number() OVER (ORDER BY id) = 1 OR sum(octet_length(content)) OVER (ORDER BY id) <= ?4 AS fits
                 FROM memory ORDER BY id LIMIT ?3)
           WHERE id <= ?1 OR created_at_ms <= ?2"#,
        span.to_id,
        span.before,
        rows,
        BYTES
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(last_id) = next.last else { return Ok((false, 0)) };
    let deleted = sqlx::query!(
        "DELETE FROM memory WHERE id <= ?1 AND (id <= ?2 OR created_at_ms <= ?3)",
        last_id,
        span.to_id,
        span.before
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query(MERGE).execute(conn).await?;
    Ok((next.is_followed(rows), deleted.rows_affected()))
}

/// Deletes conversations, among the next rows, of which no turn, no other message with a text and no reply is left.
/// Returns where to go on, and how many went.
async fn forget_conversations(
    conn: &mut SqliteConnection,
    after: i64,
    rows: i64,
) -> Result<(i64, u64), sqlx::Error> {
    let next = sqlx::query!(
        r#"SELECT max(id) AS "last: i64", count(*) AS "rows!: i64"
           FROM (SELECT id FROM conversation WHERE id > ?1 ORDER BY id LIMIT ?2)"#,
        after,
        rows
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(last) = next.last else { return Ok((0, 0)) };
    let deleted = sqlx::query!(
        "DELETE FROM conversation WHERE id > ?1 AND id <= ?2
             AND NOT EXISTS (SELECT 1 FROM message AS m WHERE m.conversation_id = conversation.id
                                 AND m.state = 'answered' AND m.text <> '' AND m.answer <> '')
             AND NOT EXISTS (SELECT 1 FROM message AS m
                             WHERE m.conversation_id = conversation.id AND m.state IN ('accepted', 'running'))
             AND NOT EXISTS (SELECT 1 FROM message AS m
                             WHERE m.conversation_id = conversation.id AND m.state IN ('failed', 'interrupted'))
             AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.conversation_id = conversation.id)",
        after,
        last
    )
    .execute(conn)
    .await?;
    let reached = if next.rows < rows { 0 } else { last };
    Ok((reached, deleted.rows_affected()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_round_is_followed_by_a_smaller_one() {
        let progress = Progress { rows: 100, ..Progress::default() };
        let rows = |ms| progress.paced(Duration::from_millis(ms)).rows;
        assert_eq!((rows(20), rows(5), rows(2), rows(1)), (50, 100, 100, 200));
        let many = Progress { rows: 1000, ..progress };
        assert_eq!(many.paced(Duration::ZERO).rows, 1000);
        assert_eq!(Progress::default().paced(Duration::from_secs(1)).rows, 10);
    }

    #[test]
    fn what_is_kept_for_ever_is_in_no_span() {
        let span = Span::of(Keep::default(), 1000, Millis(5000));
        assert_eq!((span.to_id, span.before), (0, i64::MIN));
        let keep = Keep { age: Some(Duration::from_secs(2)), rows: Some(10) };
        let span = Span::of(keep, 1000, Millis(5000));
        assert_eq!((span.to_id, span.before), (990, 3000));
    }
}
