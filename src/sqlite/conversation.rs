//! Conversations: found or begun while messages are written, and read back as history.

use std::{borrow::Cow, collections::HashMap};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::SqliteConnection;

use super::{Shared, SqliteStore, error::store_error, rows::Rows};
use crate::{
    domain::{
        conversation::{Conversation, History, HistoryLimit, Session},
        id::ConversationId,
        message::Exchange,
        time::Millis,
    },
    repository::{ConversationRepository, StoreError},
    telemetry::{scope, trace},
};

/// How conversations over `/webhook` are told from those on channels.
pub(super) const WEBHOOK: &str = "webhook";

/// What makes a conversation one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place<'a> {
    pub(super) channel: &'static str,
    pub(super) sender: Cow<'a, str>,
    pub(super) room: &'a str,
}

impl<'a> Place<'a> {
    /// The place of a session.
    pub(super) fn of_session((owner, session): &'a Session) -> Self {
        Self { channel: WEBHOOK, sender: owner.to_string().into(), room: session.as_str() }
    }
}

/// The conversation at each place; one that is new began at the moment given with it.
pub(super) async fn conversations_at(
    conn: &mut SqliteConnection,
    places: &[(Place<'_>, Millis)],
) -> Result<Vec<ConversationId>, sqlx::Error> {
    let mut numbers: HashMap<&Place<'_>, i64> = HashMap::new();
    let mut rows = Rows::default();
    for (place, at) in places {
        let next = i64::try_from(numbers.len()).unwrap_or(i64::MAX);
        numbers.entry(place).or_insert_with(|| {
            rows.push(|row| {
                row.bytes(place.channel.as_bytes()).bytes(place.sender.as_bytes());
                row.bytes(place.room.as_bytes()).int(at.0);
            });
            next
        });
    }
    if rows.count() == 0 {
        return Ok(Vec::new());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "INSERT INTO conversation (channel, sender, room, started_at_ms)
         SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
                CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT), r.value ->> 6
         FROM jsonb_each(?1) AS r WHERE NOT EXISTS (
             SELECT 1 FROM conversation AS c
             WHERE c.channel = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
               AND c.sender = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT)
               AND c.room = CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT))",
        json,
        blob
    )
    .execute(&mut *conn)
    .await?;
    let found = sqlx::query!(
        r#"SELECT r.key + 0 AS "place!: i64", c.id AS "id!: i64" FROM jsonb_each(?1) AS r CROSS JOIN conversation AS c
               ON c.channel = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
              AND c.sender = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT)
              AND c.room = CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT)"#,
        json,
        blob
    )
    .fetch_all(conn)
    .await?;
    let ids: HashMap<i64, ConversationId> =
        found.into_iter().map(|row| (row.place, ConversationId(row.id))).collect();
    let id_at = |place: &Place<'_>| ids.get(numbers.get(place)?).copied();
    places.iter().map(|(place, _)| id_at(place).ok_or(sqlx::Error::RowNotFound)).collect()
}

#[async_trait]
impl ConversationRepository for SqliteStore {
    async fn history(
        &self,
        conversation: &Conversation,
        limit: HistoryLimit,
    ) -> Result<Vec<Exchange>, StoreError> {
        let read = match conversation {
            _ if limit.turns == 0 => return Ok(Vec::new()),
            Conversation::Channel(id) => self.shared.history(*id, limit).await,
            Conversation::Session(session) => match self.shared.find_session(session).await {
                Ok(Some(id)) => self.shared.history(id, limit).await,
                Ok(None) => return Ok(Vec::new()),
                Err(error) => Err(error),
            },
        };
        read.map_err(|error| store_error(&error))
    }
}

impl Shared {
    async fn find_session(&self, session: &Session) -> Result<Option<ConversationId>, sqlx::Error> {
        let Place { channel, sender, room } = Place::of_session(session);
        let sender = sender.as_ref();
        scope::count_query();
        let _span = trace::read("conversation");
        let found = sqlx::query!(
            r#"SELECT id AS "id!: i64" FROM conversation WHERE channel = ?1 AND sender = ?2 AND room = ?3"#,
            channel,
            sender,
            room
        )
        .fetch_optional(&self.reads)
        .await?;
        Ok(found.map(|row| ConversationId(row.id)))
    }

    /// A message that was no text, or whose answer was erased, is no turn. A row that cannot be read ends the history.
    async fn history(
        &self,
        conversation: ConversationId,
        limit: HistoryLimit,
    ) -> Result<Vec<Exchange>, sqlx::Error> {
        let mut history = History::new(limit);
        scope::count_query();
        let _span = trace::read("history");
        let mut turns = sqlx::query!(
            r#"SELECT text AS "user!: String", answer AS "assistant!: String" FROM message
               WHERE conversation_id = ?1 AND state = 'answered' AND text <> '' AND answer <> '' ORDER BY id DESC LIMIT ?2"#,
            conversation.0,
            limit.turns
        )
        .fetch(&self.reads);
        while history.has_room() {
            let turn = match turns.try_next().await {
                Ok(Some(turn)) => turn,
                Ok(None) | Err(sqlx::Error::ColumnDecode { .. }) => break,
                Err(error) => return Err(error),
            };
            history.offer(Exchange { user: turn.user, assistant: turn.assistant });
        }
        Ok(history.finish())
    }
}
