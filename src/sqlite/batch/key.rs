//! The idempotency keys of turns.

use std::{sync::Arc, time::Duration};

use super::{Context, Row};
use crate::{
    domain::time::Millis,
    sqlite::script::{NO_MORE, RowsStatement, Script},
};

/// A key that has expired, or whose message was deleted by hand, gives way. For a living one a state is missing, which fails the
/// whole script: it is contended.
pub(super) const INSERT_KEYS: RowsStatement = RowsStatement {
    head: "INSERT INTO idempotency_key (owner, key, body_hash, state, message_id, answered_at_ms, answered_no)
           SELECT column1, column2, column3, iif(column5 IS NULL, 'running', 'answered'), column4, column5, column6",
    columns: 6,
    tail: " ON CONFLICT (owner, key) DO UPDATE
            SET body_hash = excluded.body_hash, message_id = excluded.message_id,
                answered_at_ms = excluded.answered_at_ms, answered_no = excluded.answered_no,
                state = iif(idempotency_key.answered_at_ms <= ?
                            OR NOT EXISTS (SELECT 1 FROM message AS m
                                           WHERE m.id = idempotency_key.message_id AND m.sender = idempotency_key.owner
                                             AND m.idempotency_key = idempotency_key.key), excluded.state, NULL)",
};

/// Keys of turns whose claim is not on disk yet.
pub(super) fn insert_keys(script: &mut Script, context: &Context<'_>, rows: &[Row<'_>]) {
    let expired = expired_before(context.now, context.limits.key_ttl);
    let new = rows.iter().filter(|row| row.turn.id.is_none() && !row.turn.failed());
    let keys: Vec<_> =
        new.filter_map(|row| Some((row, row.turn.key_id.as_ref()?, row.turn.body_hash.as_ref()?))).collect();
    let bind_expired = |script: &mut Script| _ = script.bind(expired);
    script.add_rows(&INSERT_KEYS, &keys, (&|_| (), &bind_expired), |script, (row, (_, key), body)| {
        script.bind(Arc::clone(&row.owner)).bind(key.shared()).bind(body.0.to_vec()).bind(row.id.0);
        script.bind(row.turn.answered_at().map(|at| at.0)).bind(row.number);
    });
}

/// Keys answered at this moment or before have expired.
pub(in crate::sqlite) fn expired_before(now: Millis, ttl: Duration) -> i64 {
    now.minus(ttl).0
}

pub(super) const ANSWER_KEYS: RowsStatement = RowsStatement {
    head: "UPDATE idempotency_key SET state = 'answered', answered_at_ms = r.column4, answered_no = r.column5
           FROM (SELECT *",
    columns: 5,
    tail: ") AS r WHERE idempotency_key.owner = r.column1 AND idempotency_key.key = r.column2
                 AND idempotency_key.message_id = r.column3",
};

/// Keys of turns whose claim is on disk, and that have an answer now.
pub(super) fn answer_keys(script: &mut Script, rows: &[Row<'_>]) {
    let begun = rows.iter().filter(|row| row.turn.id.is_some());
    let answered: Vec<_> =
        begun.filter_map(|row| Some((row, row.turn.key_id.as_ref()?, row.turn.answered_at()?))).collect();
    script.add_rows(&ANSWER_KEYS, &answered, NO_MORE, |script, (row, (_, key), at)| {
        script.bind(Arc::clone(&row.owner)).bind(key.shared()).bind(row.id.0).bind(at.0).bind(row.number);
    });
}

pub(super) const FREE_KEYS: RowsStatement = RowsStatement {
    head: "DELETE FROM idempotency_key WHERE state = 'running' AND (owner, key) IN (SELECT column1, column2",
    columns: 2,
    tail: ")",
};

/// Frees the keys of work that failed.
pub(super) fn free_keys(script: &mut Script, rows: &[Row<'_>]) {
    let failed = rows.iter().filter(|row| row.turn.failed() && row.turn.id.is_some());
    let keys: Vec<_> = failed.filter_map(|row| Some((row, row.turn.key_id.as_ref()?))).collect();
    script.add_rows(&FREE_KEYS, &keys, NO_MORE, |script, (row, (_, key))| {
        script.bind(Arc::clone(&row.owner)).bind(key.shared());
    });
}

pub(super) const DROP_OLDEST_KEYS: RowsStatement = RowsStatement {
    head: "DELETE FROM idempotency_key WHERE (owner, key) IN (
               SELECT k.owner, k.key FROM (SELECT *",
    columns: 2,
    tail: ") AS r CROSS JOIN idempotency_key AS k ON k.owner = r.column1 AND k.answered_no <= r.column2)",
};

/// Drops the keys of each owner up to the number that goes with it.
pub(super) fn drop_oldest_keys(script: &mut Script, last_to_go: &[(Arc<str>, i64)]) {
    script.add_rows(&DROP_OLDEST_KEYS, last_to_go, NO_MORE, |script, (owner, last)| {
        script.bind(Arc::clone(owner)).bind(*last);
    });
    if !last_to_go.is_empty() {
        script.count_rows();
    }
}
