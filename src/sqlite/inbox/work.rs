//! Work on conversations, a step at a time: what is next is leased, and what came of it is written together with the lease
//! of what follows.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::{
    domain::{
        channel::Address,
        id::{ConversationId, DeliveryId, MessageId},
        message::MessageText,
        time::Millis,
    },
    repository::{AnswerEnd, AnswerJob, Next, Reply, SendEnd, SendJob},
    sqlite::{command::Step, memory::Memory},
};

/// Leases what is next in a conversation.
pub(super) struct TakeNext {
    pub(super) run_id: i64,
    pub(super) conversation: ConversationId,
    pub(super) now: Millis,
}

#[async_trait]
impl Step for TakeNext {
    type Output = Next;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Next, sqlx::Error> {
        if let Some(next) = take_delivery(conn, self.run_id, self.conversation, self.now).await? {
            return Ok(next);
        }
        let row = sqlx::query!(
            r#"SELECT id AS "id!: i64", text AS "text!: String", reply_to AS "reply_to: String",
                      attempts AS "attempts!: i64", received_at_ms AS "received_at_ms!: i64",
                      next_attempt_at_ms AS "next_attempt_at_ms: i64"
               FROM message
               WHERE conversation_id = ?1 AND conversation_id IS NOT NULL AND state IN ('accepted', 'running')
               ORDER BY id LIMIT 1"#,
            self.conversation.0
        )
        .fetch_optional(&mut *conn)
        .await?;
        let Some(row) = row else { return Ok(Next::Idle) };
        if let Some(at) = later(row.next_attempt_at_ms, self.now) {
            return Ok(Next::WaitUntil(at));
        }
        sqlx::query!(
            "UPDATE message SET state = 'running', attempts = attempts + 1, run_id = ?2 WHERE id = ?1",
            row.id,
            self.run_id
        )
        .execute(conn)
        .await?;
        Ok(Next::Answer(AnswerJob {
            id: MessageId(row.id),
            conversation: self.conversation,
            text: MessageText::new(row.text),
            reply_to: row.reply_to,
            attempt: attempt_after(row.attempts),
            received_at: Millis(row.received_at_ms),
        }))
    }
}

/// Leases the oldest due delivery of a conversation; `None` if there is none.
async fn take_delivery(
    conn: &mut SqliteConnection,
    run_id: i64,
    conversation: ConversationId,
    now: Millis,
) -> Result<Option<Next>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT d.id AS "id!: i64", d.message_id AS "message_id!: i64", d.reply_to AS "reply_to: String",
                  d.text AS "text!: String", d.attempts AS "attempts!: i64", d.created_at_ms AS "created_at_ms!: i64",
                  d.next_attempt_at_ms AS "next_attempt_at_ms: i64", c.sender AS "sender!: String", c.room AS "room!: String"
           FROM delivery AS d JOIN conversation AS c ON c.id = d.conversation_id
           WHERE d.conversation_id = ?1 AND d.state = 'due' ORDER BY d.id LIMIT 1"#,
        conversation.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if let Some(at) = later(row.next_attempt_at_ms, now) {
        return Ok(Some(Next::WaitUntil(at)));
    }
    sqlx::query!("UPDATE delivery SET attempts = attempts + 1, run_id = ?2 WHERE id = ?1", row.id, run_id)
        .execute(conn)
        .await?;
    Ok(Some(Next::Send(SendJob {
        id: DeliveryId(row.id),
        message: MessageId(row.message_id),
        conversation,
        to: Address { sender: row.sender, room: row.room },
        reply_to: row.reply_to,
        text: row.text,
        attempt: attempt_after(row.attempts),
        created_at: Millis(row.created_at_ms),
    })))
}

/// The moment that a row waits for, if it is still to come.
fn later(at: Option<i64>, now: Millis) -> Option<Millis> {
    at.map(Millis).filter(|at| *at > now)
}

fn attempt_after(attempts: i64) -> u32 {
    u32::try_from(attempts.saturating_add(1)).unwrap_or(u32::MAX)
}

/// What follows a job: the next delivery, leased; or whether anything else waits.
async fn follow(
    conn: &mut SqliteConnection,
    run_id: i64,
    conversation: ConversationId,
    now: Millis,
) -> Result<Next, sqlx::Error> {
    if let Some(next) = take_delivery(conn, run_id, conversation, now).await? {
        return Ok(next);
    }
    let waits = sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM message WHERE conversation_id = ?1 AND conversation_id IS NOT NULL
                          AND state IN ('accepted', 'running')) AS "waits!: bool""#,
        conversation.0
    )
    .fetch_one(conn)
    .await?;
    Ok(if waits.waits { Next::More } else { Next::Idle })
}

/// Writes what came of the work on a message.
pub(super) struct Answered {
    pub(super) run_id: i64,
    pub(super) job: AnswerJob,
    pub(super) end: AnswerEnd,
    pub(super) now: Millis,
}

#[async_trait]
impl Step for Answered {
    /// What follows, and whether the message waits no more.
    type Output = AnsweredOutput;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<AnsweredOutput, sqlx::Error> {
        let (state, answer, model, class, reply) = match &self.end {
            AnswerEnd::Answered(answer, reply) => {
                ("answered", Some(&answer.text), Some(&answer.model), None, reply)
            }
            AnswerEnd::Failed(class, reply) => ("failed", None, None, Some(*class), reply),
            AnswerEnd::Retry(class, at) => {
                sqlx::query!(
                    "UPDATE message SET state = 'accepted', error_class = ?2, next_attempt_at_ms = ?3
                     WHERE id = ?1 AND state = 'running'",
                    self.job.id.0,
                    *class,
                    at.0
                )
                .execute(conn)
                .await?;
                return Ok(AnsweredOutput { next: Next::WaitUntil(*at), finished: false });
            }
        };
        let written = sqlx::query!(
            "UPDATE message SET state = ?2, answer = ?3, model = ?4, error_class = ?5, finished_at_ms = ?6,
                                next_attempt_at_ms = NULL
             WHERE id = ?1 AND state = 'running'",
            self.job.id.0,
            state,
            answer,
            model,
            class,
            self.now.0
        )
        .execute(&mut *conn)
        .await?;
        // A message that was settled or deleted by hand in the meantime is not replied to.
        let finished = written.rows_affected() > 0;
        if finished {
            insert_reply(conn, &self.job, reply, self.now).await?;
        }
        let next = follow(conn, self.run_id, self.job.conversation, self.now).await?;
        Ok(AnsweredOutput { next, finished })
    }

    fn stored(&self, output: &AnsweredOutput, memory: &Memory) {
        if output.finished {
            memory.waiting.finished();
        }
    }
}

pub(super) struct AnsweredOutput {
    pub(super) next: Next,
    finished: bool,
}

/// Only the first part says what the reply refers to.
async fn insert_reply(
    conn: &mut SqliteConnection,
    job: &AnswerJob,
    reply: &Reply,
    now: Millis,
) -> Result<(), sqlx::Error> {
    let (kind, parts) = (reply.kind.as_str(), i64::try_from(reply.parts.len()).unwrap_or(i64::MAX));
    for (part, text) in (1_i64..).zip(&reply.parts) {
        let reply_to = job.reply_to.as_ref().filter(|_| part == 1);
        sqlx::query!(
            "INSERT INTO delivery (message_id, conversation_id, kind, part, parts, reply_to, text, created_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            job.id.0,
            job.conversation.0,
            kind,
            part,
            parts,
            reply_to,
            text,
            now.0
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Writes what came of sending a part of a reply.
pub(super) struct Sent {
    pub(super) run_id: i64,
    pub(super) job: SendJob,
    pub(super) end: SendEnd,
    pub(super) now: Millis,
}

#[async_trait]
impl Step for Sent {
    type Output = Next;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Next, sqlx::Error> {
        let id = self.job.id.0;
        match &self.end {
            SendEnd::Sent(platform_id) => {
                sqlx::query!(
                    "UPDATE delivery SET state = 'sent', run_id = NULL, platform_id = ?2, error_class = NULL,
                                         next_attempt_at_ms = NULL, finished_at_ms = ?3
                     WHERE id = ?1 AND state = 'due'",
                    id,
                    platform_id,
                    self.now.0
                )
                .execute(&mut *conn)
                .await?;
            }
            SendEnd::Retry { class, at, in_doubt } => {
                sqlx::query!(
                    "UPDATE delivery SET run_id = NULL, error_class = ?2, next_attempt_at_ms = ?3, in_doubt = in_doubt + ?4
                     WHERE id = ?1 AND state = 'due'",
                    id,
                    *class,
                    at.0,
                    *in_doubt
                )
                .execute(conn)
                .await?;
                return Ok(Next::WaitUntil(*at));
            }
            SendEnd::Dead { class, in_doubt } => {
                sqlx::query!(
                    "UPDATE delivery SET state = 'dead', run_id = NULL, finished_at_ms = ?4, next_attempt_at_ms = NULL,
                                         error_class = CASE id WHEN ?1 THEN ?3 ELSE 'earlier_part_dead' END,
                                         in_doubt = in_doubt + CASE id WHEN ?1 THEN ?5 ELSE 0 END
                     WHERE conversation_id = ?6 AND message_id = ?2 AND state = 'due'",
                    id,
                    self.job.message.0,
                    *class,
                    self.now.0,
                    *in_doubt,
                    self.job.conversation.0
                )
                .execute(&mut *conn)
                .await?;
            }
        }
        follow(conn, self.run_id, self.job.conversation, self.now).await
    }
}
