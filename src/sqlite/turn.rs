//! Turns: claimed in memory where that is certain, else after a look-up; written in the writer's batches.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    Shared, SqliteStore,
    batch::TurnCommand,
    command::{Command, Step, closed},
    key_index::Places,
    memory::{KeyId, KeyState, Memory},
    rate_limit::take,
};
use crate::{
    domain::{
        conversation::SessionId,
        id::MessageId,
        idempotency::{BodyHash, IdempotencyKey, Verdict},
        message::{Account, MessageText},
        time::Millis,
    },
    repository::{
        ClaimOutcome, Claiming, Lease, LeaseSink, NewTurn, RateLimitRepository as _, StoreError, TurnEnd,
        TurnRepository,
    },
    telemetry::{
        metrics::TurnOutcome,
        trace::{self, Span},
    },
};

/// How often work on a message is begun before it is given up: it may be what kills the process.
const MAX_ATTEMPTS: i64 = 5;

#[async_trait]
impl TurnRepository for SqliteStore {
    fn claim(&self, new: Box<NewTurn>, now: Millis) -> Claiming<'_> {
        let Some((key, body)) = &new.key else { return Claiming::Decided(self.claimed(new, now)) };
        match self.shared.memory.take_key(&(new.owner, key.clone()), *body, now) {
            KeyState::Taken => Claiming::Decided(self.claimed(new, now)),
            state => Claiming::Asked(Box::pin(self.claim_known(new, now, state))),
        }
    }

    async fn begin(&self, lease: &mut Lease, now: Millis) -> Result<(), StoreError> {
        self.shared.write(lease, None, now).await
    }

    async fn settle(&self, lease: &mut Lease, end: &TurnEnd, now: Millis) -> Result<(), StoreError> {
        self.shared.write(lease, Some(end.clone()), now).await?;
        lease.disarm();
        Ok(())
    }

    async fn resume(&self, now: Millis) -> Result<Vec<Lease>, StoreError> {
        let step = TakeOver { run_id: self.shared.run_id, now };
        let (interrupted, orphans) = self.shared.step(None, step).await?;
        (0..interrupted).for_each(|_| self.shared.metrics.turns.outcome(TurnOutcome::Interrupted));
        Ok(orphans.into_iter().filter_map(|orphan| self.lease_of(orphan)).collect())
    }
}

impl SqliteStore {
    /// Claims a key that memory has not given away at once.
    async fn claim_known(
        &self,
        mut new: Box<NewTurn>,
        now: Millis,
        mut state: KeyState,
    ) -> Result<ClaimOutcome, StoreError> {
        let Some((key, body)) = &new.key else { return Ok(self.claimed(new, now)) };
        let (id, body): (KeyId, _) = ((new.owner, key.clone()), *body);
        let verdict = loop {
            match state {
                KeyState::Taken => break Verdict::Free,
                KeyState::Running(first, since) => break verdict_on_running(first, since, body),
                KeyState::AskTheDatabase(places) => {
                    break self.shared.look_up(&id, places, body, now).await?;
                }
                KeyState::LookedUp => self.shared.memory.wait_until_looked_up(&id).await,
                KeyState::NotRead => self.shared.wait_for_keys().await?,
            }
            state = self.shared.memory.take_key(&id, body, now);
        };
        let outcome = match verdict {
            Verdict::Free => return Ok(self.claimed(new, now)),
            Verdict::OtherBody => ClaimOutcome::OtherBody,
            Verdict::Running(since) => ClaimOutcome::Running(since),
            Verdict::Replay(answer) => ClaimOutcome::Answered(answer),
        };
        // The first one's claim may be on its way to disk only. Nobody hears of it before it is there: what is queued
        // behind it is written after it.
        let unwritten = matches!(outcome, ClaimOutcome::Running(_) | ClaimOutcome::OtherBody);
        if unwritten {
            self.shared.memory.wait_until_queued(&id).await;
        }
        match new.hit.take() {
            Some(hit) => self.count(hit).await?,
            None if unwritten => self.flush().await?,
            None => {}
        }
        Ok(outcome)
    }

    fn claimed(&self, turn: Box<NewTurn>, now: Millis) -> ClaimOutcome {
        ClaimOutcome::Claimed(Lease::new(turn, now, Some(Arc::clone(&self.shared) as Arc<dyn LeaseSink>)))
    }

    fn lease_of(&self, orphan: Orphan) -> Option<Lease> {
        let id: KeyId = (orphan.owner.parse().ok()?, orphan.key);
        self.shared.memory.take_running_key(&id, orphan.body, orphan.received_at);
        let turn = Box::new(NewTurn {
            owner: id.0,
            key: Some((id.1, orphan.body)),
            session: orphan.session,
            text: Arc::new(MessageText::new(orphan.text)?),
            hit: None,
        });
        let mut lease =
            Lease::new(turn, orphan.received_at, Some(Arc::clone(&self.shared) as Arc<dyn LeaseSink>));
        lease.id = Some(orphan.message);
        Some(lease)
    }
}

/// A key about which the database is asked. However that ends, memory learns it.
struct LookUp<'a> {
    memory: &'a Memory,
    id: &'a KeyId,
    is_free: bool,
}

impl Drop for LookUp<'_> {
    fn drop(&mut self) {
        self.memory.looked_up(self.id, self.is_free);
    }
}

/// What a key at work says about a request with `body`.
fn verdict_on_running(first: BodyHash, since: Millis, body: BodyHash) -> Verdict {
    if first == body { Verdict::Running(since) } else { Verdict::OtherBody }
}

impl Shared {
    /// Asks the database about a key that nobody else has meanwhile, and gives it back unless it is free. All that was known of
    /// it in memory before is on disk by now, since it is forgotten there afterwards.
    async fn look_up(
        &self,
        id: &KeyId,
        places: Places,
        body: BodyHash,
        now: Millis,
    ) -> Result<Verdict, StoreError> {
        let mut look_up = LookUp { memory: &self.memory, id, is_free: false };
        let verdict = match self.find_key(id, places).await? {
            Some(record) => record.judge(body, now, self.limits.key_ttl),
            None => Verdict::Free,
        };
        look_up.is_free = verdict == Verdict::Free;
        Ok(verdict)
    }

    async fn write(&self, lease: &mut Lease, end: Option<TurnEnd>, now: Millis) -> Result<(), StoreError> {
        let is_claim = lease.id.is_none() && end.is_none();
        let (written, _span) = self.hand_over(lease, end, now)?;
        let written = written.await.map_err(|_| closed())?;
        if let (true, Err(_), Some((key, _))) = (is_claim, &written, &lease.turn.key) {
            self.memory.claim_is_refused(&(lease.turn.owner, key.clone()));
        }
        lease.id = Some(written?);
        Ok(())
    }

    /// Gives the writer what a lease stands for. What comes back tells of the row, as soon as it is there.
    fn hand_over(
        &self,
        lease: &mut Lease,
        end: Option<TurnEnd>,
        now: Millis,
    ) -> Result<(oneshot::Receiver<Result<MessageId, StoreError>>, Span), StoreError> {
        let (reply, written) = oneshot::channel();
        let hit = lease.turn.hit.take().map(take);
        let mut command = TurnCommand::of(lease, end.map(|end| (end, now)), hit, reply);
        let span = trace::write("turn");
        command.link = span.link();
        let claims = command.id.is_none();
        let whole = claims && command.end.is_some();
        let command = Command::Turn(command.into());
        match &lease.turn.key {
            Some((key, _)) if claims => {
                self.memory.queue_claim(&(lease.turn.owner, key.clone()), || self.enqueue(command))?;
            }
            _ => self.enqueue(command)?,
        }
        if whole {
            // The caller may stop waiting now: from here on the writer answers for the key.
            lease.disarm();
        }
        Ok((written, span))
    }
}

impl LeaseSink for Shared {
    fn abandon(&self, lease: Lease) {
        let now = self.clock.now();
        let (reply, _) = oneshot::channel();
        let command = TurnCommand::of(
            &lease,
            Some((TurnEnd::Failed("abandoned", Account::default()), now)),
            None,
            reply,
        );
        if lease.id.is_none() {
            return command.key_id.iter().for_each(|id| self.memory.give_back_lost_key(id));
        }
        // If the queue is full or closed, the row stays as it is, and the next start takes it over.
        self.enqueue(Command::Turn(command.into())).ok();
    }
}

/// A message that an earlier run left unfinished, with its key.
#[derive(Debug)]
struct Orphan {
    message: MessageId,
    received_at: Millis,
    owner: String,
    key: IdempotencyKey,
    body: BodyHash,
    session: Option<SessionId>,
    text: String,
}

struct TakeOver {
    run_id: i64,
    now: Millis,
}

#[async_trait]
impl Step for TakeOver {
    type Output = (u64, Vec<Orphan>);

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error> {
        take_over(conn, self.run_id, self.now).await
    }
}

/// Settles what cannot be resumed, and leases the rest to this run, which has begun nothing of its own yet. What an orderly stop
/// cut, and what only waited for its turn in a session, has not used up a try. Returns how many were interrupted, and the rest.
async fn take_over(
    conn: &mut SqliteConnection,
    run_id: i64,
    now: Millis,
) -> Result<(u64, Vec<Orphan>), sqlx::Error> {
    let interrupted = sqlx::query!(
        "UPDATE message SET state = 'interrupted', error_class = 'interrupted', finished_at_ms = ?1
         WHERE state IN ('accepted', 'running') AND channel = 'webhook' AND NOT EXISTS (
             SELECT 1 FROM idempotency_key AS k
             WHERE k.owner = message.sender AND k.key = message.idempotency_key AND k.message_id = message.id)",
        now.0
    )
    .execute(&mut *conn)
    .await?;
    // From the messages to their keys: all keys are too many to be looked through at a start.
    sqlx::query!(
        "DELETE FROM idempotency_key WHERE state = 'running' AND message_id IN (
             SELECT id FROM message WHERE state IN ('accepted', 'running') AND channel = 'webhook' AND attempts >= ?1)",
        MAX_ATTEMPTS
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE message SET state = 'failed', error_class = 'crashed', finished_at_ms = ?1
         WHERE state IN ('accepted', 'running') AND channel = 'webhook' AND attempts >= ?2",
        now.0,
        MAX_ATTEMPTS
    )
    .execute(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"UPDATE message SET state = 'running', run_id = ?1, attempts = attempts
               + (NOT EXISTS (SELECT 1 FROM server_run AS r WHERE r.id = message.run_id AND r.stopped_at_ms IS NOT NULL)
                  AND NOT EXISTS (SELECT 1 FROM message AS e
                                  WHERE e.conversation_id = message.conversation_id AND e.id < message.id
                                    AND e.state IN ('accepted', 'running')))
           WHERE state IN ('accepted', 'running') AND channel = 'webhook'
           RETURNING id AS "id!: i64", received_at_ms AS "received_at_ms!: i64", sender AS "sender!: String",
                     idempotency_key AS "key!: String", text AS "text!: String",
                     (SELECT c.room FROM conversation AS c WHERE c.id = conversation_id) AS "session?: String",
                     (SELECT k.body_hash FROM idempotency_key AS k WHERE k.message_id = message.id) AS "body_hash!: Vec<u8>""#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    let orphans = rows.into_iter().filter_map(|row| {
        Some(Orphan {
            message: MessageId(row.id),
            received_at: Millis(row.received_at_ms),
            owner: row.sender,
            key: IdempotencyKey::stored(&row.key).ok()?,
            body: BodyHash(row.body_hash.try_into().ok()?),
            session: row.session.and_then(|session| SessionId::parse(session.as_bytes()).ok()),
            text: row.text,
        })
    });
    let mut orphans: Vec<Orphan> = orphans.collect();
    orphans.sort_by_key(|orphan| orphan.message); // turns of a session go on in the order in which they came
    Ok((interrupted.rows_affected(), orphans))
}
