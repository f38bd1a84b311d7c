//! The idempotency keys of turns.

use std::sync::Arc;

use super::{Done, Numbers, Row};
use crate::sqlite::statements::{RowsStatement, Statements};

/// Whoever claimed them knows that they are free: an older row with the same key has expired, and the newest counts.
pub(super) const INSERT_KEYS: RowsStatement = RowsStatement {
    head: "INSERT OR FAIL INTO idempotency_key (message_id, owner, key, body_hash, state, answered_at_ms, answered_no) VALUES ",
    row: "(?, ?, ?, ?, ?, ?, ?)",
    tail: "",
};

/// Keys of turns whose claim is not on disk yet.
pub(super) fn insert_keys(statements: &mut Statements<'_>, rows: &[Row<'_>]) -> Done {
    let new = rows.iter().filter(|row| row.turn.id.is_none() && !row.turn.failed());
    let keys: Vec<_> =
        new.filter_map(|row| Some((row, row.turn.key()?, row.turn.body_hash.as_ref()?))).collect();
    statements.execute_rows(&INSERT_KEYS, &keys, |arguments, (row, key, body)| {
        let Row { turn, numbers: Numbers { id, owner, number, .. } } = row;
        arguments.bind(id.0).bind(owner).bind(key).bind(body.0).bind(turn.state());
        arguments.bind(turn.answered_at().map(|at| at.0)).bind(number);
    })
}

pub(super) const ANSWER_KEYS: RowsStatement = RowsStatement {
    head: "UPDATE idempotency_key SET state = 'answered', answered_at_ms = r.column2, answered_no = r.column3 FROM (VALUES ",
    row: "(?, ?, ?)",
    tail: ") AS r WHERE idempotency_key.message_id = r.column1",
};

/// Keys of turns whose claim is on disk, and that have an answer now.
pub(super) fn answer_keys(statements: &mut Statements<'_>, rows: &[Row<'_>]) -> Done {
    let begun = rows.iter().filter(|row| row.turn.id.is_some() && row.turn.answers_a_key());
    let answered: Vec<_> = begun.filter_map(|row| Some((row, row.turn.answered_at()?))).collect();
    statements.execute_rows(&ANSWER_KEYS, &answered, |arguments, (row, at)| {
        arguments.bind(row.numbers.id.0).bind(at.0).bind(row.numbers.number);
    })
}

pub(super) const FREE_KEYS: RowsStatement = RowsStatement {
    head: "DELETE FROM idempotency_key WHERE state = 'running' AND message_id IN (VALUES ",
    row: "(?)",
    tail: ")",
};

/// Frees the keys of work that failed.
pub(super) fn free_keys(statements: &mut Statements<'_>, rows: &[Row<'_>]) -> Done {
    let has_key = |row: &&Row<'_>| row.turn.key_id.is_some() && row.turn.id.is_some();
    let failed: Vec<_> = rows.iter().filter(has_key).filter(|row| row.turn.failed()).collect();
    statements.execute_rows(&FREE_KEYS, &failed, |arguments, row| _ = arguments.bind(row.numbers.id.0))
}

/// A statement for each owner, mostly one: so that it deletes in one pass along the index, and need not gather rows before.
pub(in crate::sqlite) const DROP_OLDEST_KEYS: &str =
    "DELETE FROM idempotency_key WHERE owner = ?1 AND answered_no <= ?2";

/// Drops the keys of each owner up to the number that goes with it.
pub(super) fn drop_oldest_keys(statements: &mut Statements<'_>, last_to_go: &[(Arc<str>, i64)]) -> Done {
    last_to_go.iter().try_fold(0, |dropped, (owner, last)| {
        Ok(dropped + statements.execute(DROP_OLDEST_KEYS, (owner, last))?)
    })
}
