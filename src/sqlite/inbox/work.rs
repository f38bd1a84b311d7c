//! Work on conversations, a step at a time: what is next is leased, and what came of it is written together with the lease
//! of what follows.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::{
    domain::{
        channel::Address,
        id::{ConversationId, DeliveryId, MessageId},
        message::{Account, MessageText},
        time::Millis,
    },
    repository::{AnswerEnd, AnswerJob, Next, Reply, SendEnd, SendJob},
    sqlite::{
        batch::{millis, tokens},
        command::Step,
        memory::Memory,
    },
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
        // Mostly it is a message: one statement.
        if let Some(job) = take_message(conn, self.run_id, self.conversation, self.now).await? {
            return Ok(Next::Answer(job));
        }
        if let Some(job) = take_delivery(conn, self.run_id, self.conversation, self.now).await? {
            return Ok(Next::Send(job));
        }
        pause_of(conn, self.conversation).await
    }
}

/// Leases the oldest waiting message of a conversation, if it is due and no delivery is.
async fn take_message(
    conn: &mut SqliteConnection,
    run_id: i64,
    conversation: ConversationId,
    now: Millis,
) -> Result<Option<AnswerJob>, sqlx::Error> {
    let row = sqlx::query!(
        r#"UPDATE message SET state = 'running', attempts = attempts + 1, run_id = ?2
           WHERE id = (SELECT m.id FROM message AS m
                       WHERE m.conversation_id = ?1 AND m.state IN ('accepted', 'running') ORDER BY m.id LIMIT 1)
             AND (next_attempt_at_ms IS NULL OR next_attempt_at_ms <= ?3)
             AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.conversation_id = ?1 AND d.state = 'due')
           RETURNING id AS "id!: i64", text AS "text!: String", reply_to AS "reply_to: String", sender AS "sender!: String",
                     attempts AS "attempts!: i64",
                     coalesce((SELECT c.room FROM conversation AS c WHERE c.id = conversation_id), '') AS "room!: String""#,
        conversation.0,
        run_id,
        now.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| AnswerJob {
        id: MessageId(row.id),
        conversation,
        from: Address { sender: row.sender, room: row.room },
        text: MessageText::new(row.text),
        reply_to: row.reply_to,
        attempt: attempts(row.attempts),
    }))
}

/// Leases the oldest due delivery of a conversation, if its pause is over. One that this run was sending already, before its
/// worker panicked, may have arrived.
async fn take_delivery(
    conn: &mut SqliteConnection,
    run_id: i64,
    conversation: ConversationId,
    now: Millis,
) -> Result<Option<SendJob>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT d.id AS "id!: i64", d.message_id AS "message_id!: i64", d.reply_to AS "reply_to: String",
                  d.text AS "text!: String", d.attempts AS "attempts!: i64", d.created_at_ms AS "created_at_ms!: i64",
                  c.sender AS "sender: String", c.room AS "room: String"
           FROM delivery AS d LEFT JOIN conversation AS c ON c.id = d.conversation_id
           WHERE d.conversation_id = ?1 AND d.state = 'due'
             AND (d.next_attempt_at_ms IS NULL OR d.next_attempt_at_ms <= ?2)
             AND d.id = (SELECT min(e.id) FROM delivery AS e WHERE e.conversation_id = ?1 AND e.state = 'due')"#,
        conversation.0,
        now.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    sqlx::query!(
        "UPDATE delivery SET attempts = attempts + 1, in_doubt = in_doubt + (run_id IS NOT NULL), run_id = ?2 WHERE id = ?1",
        row.id,
        run_id
    )
    .execute(conn)
    .await?;
    let to = row.sender.zip(row.room).map(|(sender, room)| Address { sender, room });
    Ok(Some(SendJob {
        id: DeliveryId(row.id),
        message: MessageId(row.message_id),
        conversation,
        to,
        reply_to: row.reply_to,
        text: row.text,
        attempt: attempts(row.attempts.saturating_add(1)),
        created_at: Millis(row.created_at_ms),
    }))
}

/// Until when a conversation pauses of which nothing is due now.
async fn pause_of(conn: &mut SqliteConnection, conversation: ConversationId) -> Result<Next, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT coalesce(
               (SELECT coalesce(d.next_attempt_at_ms, 0) FROM delivery AS d
                WHERE d.conversation_id = ?1 AND d.state = 'due' ORDER BY d.id LIMIT 1),
               (SELECT coalesce(m.next_attempt_at_ms, 0) FROM message AS m
                WHERE m.conversation_id = ?1 AND m.state IN ('accepted', 'running')
                ORDER BY m.id LIMIT 1)) AS "at_ms: i64""#,
        conversation.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.at_ms.map_or(Next::Idle, |at| Next::WaitUntil(Millis(at))))
}

fn attempts(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What follows a job: the next delivery, leased; or whether anything else waits.
async fn follow(
    conn: &mut SqliteConnection,
    run_id: i64,
    conversation: ConversationId,
    now: Millis,
) -> Result<Next, sqlx::Error> {
    let waits = sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM delivery WHERE conversation_id = ?1 AND state = 'due') AS "delivery!: bool",
                  EXISTS (SELECT 1 FROM message WHERE conversation_id = ?1 AND state IN ('accepted', 'running')) AS "message!: bool""#,
        conversation.0
    )
    .fetch_one(&mut *conn)
    .await?;
    if waits.delivery {
        return match take_delivery(conn, run_id, conversation, now).await {
            Ok(job) => Ok(job.map_or(Next::More, Next::Send)),
            // A row that cannot be read is not the fault of the job that is being written.
            Err(sqlx::Error::ColumnDecode { .. }) => Ok(Next::More),
            Err(error) => Err(error),
        };
    }
    Ok(if waits.message { Next::More } else { Next::Idle })
}

/// Writes what came of the work on a message.
pub(super) struct Answered {
    pub(super) run_id: i64,
    pub(super) job: AnswerJob,
    pub(super) end: AnswerEnd,
    pub(super) account: Account,
    pub(super) now: Millis,
}

#[async_trait]
impl Step for Answered {
    /// What follows, and whether the message waits no more.
    type Output = AnsweredOutput;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<AnsweredOutput, sqlx::Error> {
        self.keep_account(conn).await?;
        let (state, answer, model, class, reply) = match &self.end {
            AnswerEnd::Answered(answer, reply) => {
                ("answered", Some(&*answer.text), Some(&*answer.model), None, reply)
            }
            AnswerEnd::Failed(class, reply) => ("failed", None, None, Some(*class), reply),
            AnswerEnd::Retry(class, at) => {
                sqlx::query!(
                    "UPDATE message SET state = 'accepted', error_class = ?2, next_attempt_at_ms = ?3
                     WHERE id = ?1 AND state = 'running' AND run_id = ?4 AND conversation_id = ?5",
                    self.job.id.0,
                    *class,
                    at.0,
                    self.run_id,
                    self.job.conversation.0
                )
                .execute(conn)
                .await?;
                return Ok(AnsweredOutput { next: Next::WaitUntil(*at), finished: false });
            }
        };
        let written = sqlx::query!(
            "UPDATE message SET state = ?2, answer = ?3, model = ?4, error_class = ?5, finished_at_ms = ?6,
                                next_attempt_at_ms = NULL
             WHERE id = ?1 AND state = 'running' AND run_id = ?7 AND conversation_id = ?8",
            self.job.id.0,
            state,
            answer,
            model,
            class,
            self.now.0,
            self.run_id,
            self.job.conversation.0
        )
        .execute(&mut *conn)
        .await?;
        // A message that was settled or deleted by hand in the meantime is not replied to.
        let finished = written.rows_affected() > 0;
        let first = if finished { self.insert_reply(conn, reply).await? } else { None };
        let next = match first {
            Some(job) => Next::Send(job),
            None => follow(conn, self.run_id, self.job.conversation, self.now).await?,
        };
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

impl Answered {
    /// Adds what this try took to what earlier ones did. A message that no provider was asked about has no account.
    async fn keep_account(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let Account { provider: Some(provider), calls, took, usage } = self.account else { return Ok(()) };
        let took = millis(took);
        let (prompt, completion) = (tokens(usage.prompt_tokens), tokens(usage.completion_tokens));
        sqlx::query!(
            "UPDATE message SET provider = ?2, provider_calls = coalesce(provider_calls, 0) + ?3,
                                provider_ms = coalesce(provider_ms, 0) + ?4, prompt_tokens = ?5, completion_tokens = ?6
             WHERE id = ?1 AND state = 'running' AND run_id = ?7 AND conversation_id = ?8",
            self.job.id.0,
            provider,
            calls,
            took,
            prompt,
            completion,
            self.run_id,
            self.job.conversation.0
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Inserts the parts of a reply, the first of them leased. Only that one says what the reply refers to.
    async fn insert_reply(
        &self,
        conn: &mut SqliteConnection,
        reply: &Reply,
    ) -> Result<Option<SendJob>, sqlx::Error> {
        let job = &self.job;
        let (kind, parts) = (reply.kind.as_str(), i64::try_from(reply.parts.len()).unwrap_or(i64::MAX));
        let mut first = None;
        for (part, text) in (1_i64..).zip(&reply.parts) {
            let (leased, run_id) = (i64::from(part == 1), (part == 1).then_some(self.run_id));
            let reply_to = job.reply_to.as_ref().filter(|_| part == 1);
            let row = sqlx::query!(
                r#"INSERT INTO delivery (message_id, conversation_id, kind, part, parts, reply_to, text, created_at_ms,
                                         attempts, run_id)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id AS "id!: i64""#,
                job.id.0,
                job.conversation.0,
                kind,
                part,
                parts,
                reply_to,
                text,
                self.now.0,
                leased,
                run_id
            )
            .fetch_one(&mut *conn)
            .await?;
            first = first.or_else(|| {
                Some(SendJob {
                    id: DeliveryId(row.id),
                    message: job.id,
                    conversation: job.conversation,
                    to: Some(job.from.clone()),
                    reply_to: reply_to.cloned(),
                    text: text.clone(),
                    attempt: 1,
                    created_at: self.now,
                })
            });
        }
        Ok(first)
    }
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
                                         next_attempt_at_ms = NULL, finished_at_ms = ?3,
                                         status = (SELECT e.status FROM early_status AS e WHERE e.platform_id = ?2),
                                         status_at_ms = (SELECT e.status_at_ms FROM early_status AS e WHERE e.platform_id = ?2)
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
