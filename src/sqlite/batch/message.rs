//! The messages of turns.

use rusqlite::types::Null;
use sqlx::SqliteConnection;

use super::{Done, Numbers, Row, Turn, TurnCommand};
use crate::{
    domain::id::ConversationId,
    repository::TurnEnd,
    sqlite::{
        conversation::{Place, conversations_at},
        statements::{Arguments, RowsStatement, Statements},
    },
};

/// The columns in which an end is written, nine of them: answer, model, error class, time, provider, calls, milliseconds, tokens
/// read, tokens written.
fn bind_end(arguments: &mut Arguments<'_, '_>, turn: &TurnCommand) {
    let Some((end, at)) = &turn.end else {
        (0..9).for_each(|_| _ = arguments.bind(Null));
        return;
    };
    let account = match end {
        TurnEnd::Answered(answer, account) => {
            arguments.bind(&*answer.text).bind(&*answer.model).bind(Null);
            account
        }
        TurnEnd::Failed(class, account) => {
            arguments.bind(Null).bind(Null).bind(*class);
            account
        }
    };
    arguments.bind(at.0).bind(account.provider).bind(account.calls).bind(millis(account.took));
    arguments.bind(tokens(account.usage.prompt_tokens)).bind(tokens(account.usage.completion_tokens));
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
    turns: &[Turn],
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
    head: "INSERT OR FAIL INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, answer,
                                model, error_class, finished_at_ms, provider, provider_calls, provider_ms, prompt_tokens,
                                completion_tokens, conversation_id, to_remember)
           VALUES ",
    row: "(?, ?, 'webhook', ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail: "",
};

/// Messages whose claim is not on disk yet.
pub(super) fn insert_messages(
    statements: &mut Statements<'_>,
    rows: &[Row<'_>],
    run_id: i64,
    saves_memory: bool,
) -> Done {
    let new: Vec<_> = rows.iter().filter(|row| row.turn.id.is_none()).collect();
    statements.execute_rows(&INSERT_MESSAGES, &new, |arguments, row| {
        let Row { turn, numbers: Numbers { id, owner, conversation, .. } } = row;
        arguments.bind(id.0).bind(turn.claimed_at.0).bind(owner).bind(turn.key());
        arguments.bind(turn.text.as_str()).bind(turn.state()).bind(run_id);
        bind_end(arguments, turn);
        arguments.bind(conversation.map(|id| id.0)).bind(saves_memory);
    })
}

pub(super) const UPDATE_MESSAGES: RowsStatement = RowsStatement {
    head: "UPDATE message
           SET state = r.column2, answer = r.column3, model = r.column4, error_class = r.column5, finished_at_ms = r.column6,
               provider = r.column7, provider_calls = r.column8, provider_ms = r.column9, prompt_tokens = r.column10,
               completion_tokens = r.column11
           FROM (VALUES ",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail: ") AS r WHERE message.id = r.column1",
};

/// Messages whose claim is on disk, and whose work has ended.
pub(super) fn update_messages(statements: &mut Statements<'_>, rows: &[Row<'_>]) -> Done {
    let ended: Vec<_> = rows.iter().filter(|row| row.turn.id.is_some() && row.turn.end.is_some()).collect();
    statements.execute_rows(&UPDATE_MESSAGES, &ended, |arguments, row| {
        arguments.bind(row.numbers.id.0).bind(row.turn.state());
        bind_end(arguments, row.turn);
    })
}
