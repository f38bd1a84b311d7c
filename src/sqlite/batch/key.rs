//! The idempotency keys of turns.

use std::sync::Arc;

use super::Row;
use crate::sqlite::script::{NO_MORE, RowsStatement, Script};

/// Whoever claimed them knows that they are free: an older row with the same key has expired, and the newest counts.
pub(super) const INSERT_KEYS: RowsStatement = RowsStatement {
    head: "INSERT INTO idempotency_key (message_id, owner, key, body_hash, state, answered_at_ms, answered_no)
           SELECT column1, column2, column3, column4, iif(column5 IS NULL, 'running', 'answered'), column5, column6",
    columns: 6,
    tail: "",
};

/// Keys of turns whose claim is not on disk yet.
pub(super) fn insert_keys(script: &mut Script, rows: &[Row<'_>]) {
    let new = rows.iter().filter(|row| row.turn.id.is_none() && !row.turn.failed());
    let keys: Vec<_> =
        new.filter_map(|row| Some((row, row.turn.key_id.as_ref()?, row.turn.body_hash.as_ref()?))).collect();
    script.add_rows(&INSERT_KEYS, &keys, NO_MORE, |script, (row, (_, key), body)| {
        script.bind(row.id.0).bind(Arc::clone(&row.owner)).bind(key.shared()).bind(body.0.to_vec());
        script.bind(row.turn.answered_at().map(|at| at.0)).bind(row.number);
    });
}

pub(super) const ANSWER_KEYS: RowsStatement = RowsStatement {
    head: "UPDATE idempotency_key SET state = 'answered', answered_at_ms = r.column2, answered_no = r.column3
           FROM (SELECT *",
    columns: 3,
    tail: ") AS r WHERE idempotency_key.message_id = r.column1",
};

/// Keys of turns whose claim is on disk, and that have an answer now.
pub(super) fn answer_keys(script: &mut Script, rows: &[Row<'_>]) {
    let begun = rows.iter().filter(|row| row.turn.id.is_some() && row.turn.answers_a_key());
    let answered: Vec<_> = begun.filter_map(|row| Some((row, row.turn.answered_at()?))).collect();
    script.add_rows(&ANSWER_KEYS, &answered, NO_MORE, |script, (row, at)| {
        script.bind(row.id.0).bind(at.0).bind(row.number);
    });
}

pub(super) const FREE_KEYS: RowsStatement = RowsStatement {
    head: "DELETE FROM idempotency_key WHERE state = 'running' AND message_id IN (SELECT column1",
    columns: 1,
    tail: ")",
};

/// Frees the keys of work that failed.
pub(super) fn free_keys(script: &mut Script, rows: &[Row<'_>]) {
    let has_key = |row: &&Row<'_>| row.turn.key_id.is_some() && row.turn.id.is_some();
    let failed: Vec<_> = rows.iter().filter(has_key).filter(|row| row.turn.failed()).collect();
    script.add_rows(&FREE_KEYS, &failed, NO_MORE, |script, row| _ = script.bind(row.id.0));
}

pub(super) const DROP_OLDEST_KEYS: RowsStatement = RowsStatement {
    head: "DELETE FROM idempotency_key WHERE message_id IN (SELECT k.message_id FROM (SELECT *",
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
