//! The idempotency keys of turns.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::{BatchError, Context, TurnCommand};
use crate::{
    domain::{id::MessageId, time::Millis},
    sqlite::rows::Rows,
};

/// Keys of turns whose claim is not on disk yet. A key that has expired, or whose message was deleted by hand, gives way; a
/// living one is contended.
pub(super) async fn insert_keys(
    conn: &mut SqliteConnection,
    context: &Context<'_>,
    turns: &[TurnCommand],
    (ids, numbers): (&[MessageId], &[Option<i64>]),
) -> Result<(), BatchError> {
    let mut rows = Rows::default();
    for ((turn, id), number) in turns.iter().zip(ids).zip(numbers) {
        if let (Some((owner, key)), Some(body), None, false) =
            (&turn.key_id, &turn.body_hash, turn.id, turn.failed())
        {
            rows.push(|row| {
                row.display(owner).bytes(key.as_str().as_bytes()).bytes(&body.0).int(id.0);
                row.maybe_int(turn.answered_at().map(|at| at.0)).maybe_int(*number);
            });
        }
    }
    let count = rows.count();
    if count == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    let expired = expired_before(context.now, context.limits.key_ttl);
    let written = sqlx::query!(
        "INSERT INTO idempotency_key (owner, key, body_hash, state, message_id, answered_at_ms, answered_no)
         SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
                substr(?2, r.value ->> 4, r.value ->> 5),
                CASE WHEN r.value ->> 7 IS NULL THEN 'running' ELSE 'answered' END,
                r.value ->> 6, r.value ->> 7, r.value ->> 8
         FROM jsonb_each(?1) AS r WHERE true
         ON CONFLICT (owner, key) DO UPDATE
         SET body_hash = excluded.body_hash, state = excluded.state, message_id = excluded.message_id,
             answered_at_ms = excluded.answered_at_ms, answered_no = excluded.answered_no
         WHERE idempotency_key.answered_at_ms <= ?3
            OR NOT EXISTS (SELECT 1 FROM message AS m
                           WHERE m.id = idempotency_key.message_id AND m.sender = idempotency_key.owner
                             AND m.idempotency_key = idempotency_key.key)",
        json,
        blob,
        expired
    )
    .execute(conn)
    .await?;
    if written.rows_affected() == count { Ok(()) } else { Err(BatchError::Contended) }
}

/// Keys answered at this moment or before have expired.
pub(in crate::sqlite) fn expired_before(now: Millis, ttl: Duration) -> i64 {
    now.minus(ttl).0
}

pub(super) async fn answer_keys(
    conn: &mut SqliteConnection,
    turns: &[TurnCommand],
    numbers: &[Option<i64>],
) -> Result<(), sqlx::Error> {
    let mut rows = Rows::default();
    for (turn, number) in turns.iter().zip(numbers) {
        if let (Some((owner, key)), Some(id), Some(at)) = (&turn.key_id, turn.id, turn.answered_at()) {
            rows.push(|row| {
                row.display(owner).bytes(key.as_str().as_bytes()).int(id.0).int(at.0).maybe_int(*number);
            });
        }
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "UPDATE idempotency_key SET state = 'answered', answered_at_ms = r.value ->> 5, answered_no = r.value ->> 6
         FROM jsonb_each(?1) AS r
         WHERE idempotency_key.owner = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
           AND idempotency_key.key = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT)
           AND idempotency_key.message_id = r.value ->> 4",
        json,
        blob
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Frees the keys of work that failed.
pub(super) async fn free_keys(conn: &mut SqliteConnection, turns: &[TurnCommand]) -> Result<(), sqlx::Error> {
    let mut rows = Rows::default();
    for turn in turns.iter().filter(|turn| turn.failed() && turn.id.is_some()) {
        if let Some((owner, key)) = &turn.key_id {
            rows.push(|row| {
                row.display(owner).bytes(key.as_str().as_bytes());
            });
        }
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "DELETE FROM idempotency_key WHERE state = 'running' AND (owner, key) IN (
             SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                    CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT)
             FROM jsonb_each(?1) AS r)",
        json,
        blob
    )
    .execute(conn)
    .await?;
    Ok(())
}
