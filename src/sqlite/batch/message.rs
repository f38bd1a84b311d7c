//! The messages of turns, and what is remembered of them.

use std::sync::Arc;

use sqlx::SqliteConnection;

use super::{Row, TurnCommand};
use crate::{
    domain::id::ConversationId,
    repository::TurnEnd,
    sqlite::{
        conversation::{Place, conversations_at},
        script::{NO_MORE, RowsStatement, Script},
    },
};

/// The columns in which an end is written, nine of them: answer, model, error class, time, provider, calls, milliseconds, tokens
/// read, tokens written.
fn bind_end(script: &mut Script, turn: &TurnCommand) {
    let Some((end, at)) = &turn.end else {
        (0..9).for_each(|_| _ = script.bind(None::<i64>));
        return;
    };
    let account = match end {
        TurnEnd::Answered(answer, account) => {
            script.bind(Arc::clone(&answer.text)).bind(Arc::clone(&answer.model)).bind(None::<i64>);
            account
        }
        TurnEnd::Failed(class, account) => {
            script.bind(None::<i64>).bind(None::<i64>).bind(*class);
            account
        }
    };
    script.bind(at.0).bind(account.provider).bind(i64::from(account.calls)).bind(millis(account.took));
    script.bind(tokens(account.usage.prompt_tokens)).bind(tokens(account.usage.completion_tokens));
}

fn key_of(turn: &TurnCommand) -> Option<Arc<str>> {
    turn.key_id.as_ref().map(|(_, key)| key.shared())
}

/// How a message stands, as the statements name it.
fn state_of(turn: &TurnCommand) -> i64 {
    match &turn.end {
        None => 0,
        Some((TurnEnd::Answered(..), _)) => 1,
        Some((TurnEnd::Failed(..), _)) => 2,
    }
}

/// A time in whole milliseconds, as the database has it.
pub(in crate::sqlite) fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A number of tokens, as the database has it.
pub(in crate::sqlite) fn tokens(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

/// The conversation of each turn whose claim is not on disk yet, if it is one of a session.
pub(super) async fn conversations_of(
    conn: &mut SqliteConnection,
    turns: &[TurnCommand],
) -> Result<Vec<Option<ConversationId>>, sqlx::Error> {
    let session = |turn: &TurnCommand| turn.session.clone().filter(|_| turn.id.is_none());
    let sessions: Vec<_> = turns.iter().map(|turn| Some((turn.owner, session(turn)?))).collect();
    let at = turns.iter().map(|turn| turn.claimed_at);
    let places: Vec<_> = (sessions.iter().zip(at))
        .filter_map(|(session, at)| Some((Place::of_session(session.as_ref()?), at)))
        .collect();
    let mut found = conversations_at(conn, &places).await?.into_iter();
    Ok(sessions.iter().map(|session| session.as_ref().and_then(|_| found.next())).collect())
}

pub(super) const INSERT_MESSAGES: RowsStatement = RowsStatement {
    head: "INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, answer,
                                model, error_class, finished_at_ms, provider, provider_calls, provider_ms, prompt_tokens,
                                completion_tokens, conversation_id)
           SELECT column1, column2, 'webhook', column3, column4, column5,
                  CASE column6 WHEN 0 THEN 'running' WHEN 1 THEN 'answered' ELSE 'failed' END, 1, ?, column7, column8,
                  column9, column10, column11, column12, column13, column14, column15, column16",
    columns: 16,
    tail: "",
};

/// Messages whose claim is not on disk yet.
pub(super) fn insert_messages(script: &mut Script, run_id: i64, rows: &[Row<'_>]) {
    let new: Vec<_> = rows.iter().filter(|row| row.turn.id.is_none()).collect();
    let bind_run = |script: &mut Script| _ = script.bind(run_id);
    script.add_rows(&INSERT_MESSAGES, &new, (&bind_run, &|_| ()), |script, row| {
        let Row { turn, id, owner, conversation, .. } = row;
        script.bind(id.0).bind(turn.claimed_at.0).bind(Arc::clone(owner)).bind(key_of(turn));
        script.bind(turn.text.shared()).bind(state_of(turn));
        bind_end(script, turn);
        script.bind(conversation.map(|id| id.0));
    });
}

/// What was said before, in a message with the same key that failed, is not kept again.
pub(super) const SAVE_MEMORY: RowsStatement = RowsStatement {
    head: "INSERT INTO memory (key, category, channel, sender, content, created_at_ms)
           SELECT column1, 'conversation', 'webhook', column2, column3, column4 FROM (SELECT *",
    columns: 6,
    tail: ") WHERE NOT EXISTS (SELECT 1 FROM message AS m
                            WHERE m.state = 'failed' AND m.idempotency_key = column5 AND m.sender = column2
                              AND m.id <> column6 AND m.text = column3)",
};

/// Keeps what the messages say.
pub(super) fn save_memory(script: &mut Script, rows: &[Row<'_>]) {
    let new = rows.iter().filter(|row| row.turn.id.is_none());
    let saved: Vec<_> = new.filter_map(|row| Some((row, row.turn.memory?))).collect();
    script.add_rows(&SAVE_MEMORY, &saved, NO_MORE, |script, (row, key)| {
        let Row { turn, id, owner, .. } = row;
        script.bind(key.to_string()).bind(Arc::clone(owner)).bind(turn.text.shared());
        script.bind(turn.claimed_at.0).bind(key_of(turn)).bind(id.0);
    });
}

pub(super) const UPDATE_MESSAGES: RowsStatement = RowsStatement {
    head: "UPDATE message
           SET state = CASE r.column2 WHEN 1 THEN 'answered' ELSE 'failed' END, answer = r.column3, model = r.column4,
               error_class = r.column5, finished_at_ms = r.column6, provider = r.column7, provider_calls = r.column8,
               provider_ms = r.column9, prompt_tokens = r.column10, completion_tokens = r.column11
           FROM (SELECT *",
    columns: 11,
    tail: ") AS r WHERE message.id = r.column1",
};

/// Messages whose claim is on disk, and whose work has ended.
pub(super) fn update_messages(script: &mut Script, rows: &[Row<'_>]) {
    let ended: Vec<_> = rows.iter().filter(|row| row.turn.id.is_some() && row.turn.end.is_some()).collect();
    script.add_rows(&UPDATE_MESSAGES, &ended, NO_MORE, |script, row| {
        script.bind(row.id.0).bind(state_of(row.turn));
        bind_end(script, row.turn);
    });
}
