//! The messages of turns, and what is remembered of them.

use sqlx::SqliteConnection;

use super::{Context, TurnCommand};
use crate::{
    domain::{
        id::{ConversationId, MessageId},
        memory::CONVERSATION,
    },
    repository::TurnEnd,
    sqlite::{
        conversation::{Place, WEBHOOK, conversations_at},
        rows::{Row, Rows},
    },
};

/// The columns in which an end is written, 14 of them: 0 state, 1 answer, 3 model, 5 error class, 7 time, 8 provider, 10 calls,
/// 11 milliseconds, 12 tokens read, 13 tokens written.
fn push_end(row: &mut Row<'_>, turn: &TurnCommand) {
    let Some((end, at)) = &turn.end else {
        row.int(0).maybe_text(None).maybe_text(None).maybe_text(None).maybe_int(None);
        row.maybe_text(None).maybe_int(None).maybe_int(None).maybe_int(None).maybe_int(None);
        return;
    };
    let account = match end {
        TurnEnd::Answered(answer, account) => {
            row.int(1).bytes(answer.text.as_bytes()).bytes(answer.model.as_bytes()).maybe_text(None);
            account
        }
        TurnEnd::Failed(class, account) => {
            row.int(2).maybe_text(None).maybe_text(None).bytes(class.as_bytes());
            account
        }
    };
    let row = row.int(at.0).maybe_text(account.provider);
    row.int(account.calls.into()).int(millis(account.took));
    row.maybe_int(tokens(account.usage.prompt_tokens)).maybe_int(tokens(account.usage.completion_tokens));
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
async fn conversations_of(
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

/// Messages whose claim is not on disk yet.
pub(super) async fn insert_messages(
    conn: &mut SqliteConnection,
    context: &Context<'_>,
    turns: &[TurnCommand],
    ids: &[MessageId],
) -> Result<(), sqlx::Error> {
    // 0 id, 1 time, 2 owner, 4 key, 6 text, 8 the end, 22 conversation, 23 memory key.
    let mut rows = Rows::default();
    let mut saves_memory = false;
    let conversations = conversations_of(conn, turns).await?;
    for ((turn, id), conversation) in turns.iter().zip(ids).zip(conversations) {
        if turn.id.is_some() {
            continue;
        }
        rows.push(|row| {
            let key = turn.key_id.as_ref().map(|(_, key)| key.as_str());
            row.int(id.0).int(turn.claimed_at.0).display(turn.owner).maybe_text(key);
            row.bytes(turn.text.as_str().as_bytes());
            push_end(row, turn);
            row.maybe_int(conversation.map(|id| id.0));
            match turn.memory {
                Some(key) => row.display(key),
                None => row.maybe_text(None),
            };
        });
        saves_memory |= turn.memory.is_some();
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id,
                              answer, model, error_class, finished_at_ms, provider, provider_calls, provider_ms,
                              prompt_tokens, completion_tokens, conversation_id)
         SELECT r.value ->> 0, r.value ->> 1, ?4,
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
                CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT),
                CAST(substr(?2, r.value ->> 6, r.value ->> 7) AS TEXT),
                CASE r.value ->> 8 WHEN 0 THEN 'running' WHEN 1 THEN 'answered' ELSE 'failed' END, 1, ?3,
                CAST(substr(?2, r.value ->> 9, r.value ->> 10) AS TEXT),
                CAST(substr(?2, r.value ->> 11, r.value ->> 12) AS TEXT),
                CAST(substr(?2, r.value ->> 13, r.value ->> 14) AS TEXT), r.value ->> 15,
                CAST(substr(?2, r.value ->> 16, r.value ->> 17) AS TEXT), r.value ->> 18, r.value ->> 19,
                r.value ->> 20, r.value ->> 21, r.value ->> 22
         FROM jsonb_each(?1) AS r WHERE true",
        json,
        blob,
        context.run_id,
        WEBHOOK
    )
    .execute(&mut *conn)
    .await?;
    if saves_memory { save_memory(conn, json, blob).await } else { Ok(()) }
}

/// Keeps what the messages say, from the rows that they were inserted with; but not what was said before, in a message with the
/// same key that failed.
async fn save_memory(conn: &mut SqliteConnection, json: String, blob: Vec<u8>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO memory (key, category, channel, sender, content, created_at_ms)
         SELECT CAST(substr(?2, r.value ->> 23, r.value ->> 24) AS TEXT), ?3, ?4,
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
                CAST(substr(?2, r.value ->> 6, r.value ->> 7) AS TEXT), r.value ->> 1
         FROM jsonb_each(?1) AS r WHERE r.value ->> 23 IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM message AS m
             WHERE m.state = 'failed' AND m.idempotency_key = CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT)
               AND m.sender = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT) AND m.id <> r.value ->> 0
               AND m.text = CAST(substr(?2, r.value ->> 6, r.value ->> 7) AS TEXT))",
        json,
        blob,
        CONVERSATION,
        WEBHOOK
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Messages whose claim is on disk, and whose work has ended.
pub(super) async fn update_messages(
    conn: &mut SqliteConnection,
    turns: &[TurnCommand],
) -> Result<(), sqlx::Error> {
    let mut rows = Rows::default();
    for turn in turns.iter().filter(|turn| turn.end.is_some()) {
        if let Some(id) = turn.id {
            rows.push(|row| push_end(row.int(id.0), turn));
        }
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "UPDATE message
         SET state = CASE r.value ->> 1 WHEN 1 THEN 'answered' ELSE 'failed' END,
             answer = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
             model = CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT),
             error_class = CAST(substr(?2, r.value ->> 6, r.value ->> 7) AS TEXT),
             finished_at_ms = r.value ->> 8,
             provider = CAST(substr(?2, r.value ->> 9, r.value ->> 10) AS TEXT),
             provider_calls = r.value ->> 11, provider_ms = r.value ->> 12,
             prompt_tokens = r.value ->> 13, completion_tokens = r.value ->> 14
         FROM jsonb_each(?1) AS r WHERE message.id = r.value ->> 0",
        json,
        blob
    )
    .execute(conn)
    .await?;
    Ok(())
}
