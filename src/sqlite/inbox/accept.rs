//! Calls of platforms, many at once: nonces, ids, conversations, messages, notices, statuses.

use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::{
    domain::{
        channel::{ChannelKind, Content, Inbound, StatusUpdate},
        id::{ConversationId, MessageId},
        time::Millis,
    },
    repository::{AcceptOutcome, NewCall, StoreError},
    sqlite::{
        batch::{BatchState, Context},
        conversation::{Place, conversations_at},
        memory::Memory,
        rows::Rows,
    },
    telemetry::trace::Linked,
};

/// A call on its way to disk.
pub(in crate::sqlite) struct AcceptCommand {
    pub(in crate::sqlite) call: NewCall,
    pub(in crate::sqlite) at: Millis,
    /// Room in the inbox that was made for it.
    pub(in crate::sqlite) reserved: u64,
    /// The span of the caller that waits.
    pub(in crate::sqlite) link: Option<Linked>,
    pub(in crate::sqlite) reply: oneshot::Sender<Result<AcceptOutcome, StoreError>>,
}

impl AcceptCommand {
    /// It was written, or it was not: its room in the inbox is taken or given back, and its caller answered.
    pub(in crate::sqlite) fn finish(self, outcome: Result<AcceptOutcome, StoreError>, memory: &Memory) {
        let texts = match &outcome {
            Ok(AcceptOutcome::Accepted { waiting, .. }) => *waiting,
            _ => 0,
        };
        memory.waiting.settle(self.reserved, texts);
        self.reply.send(outcome).ok();
    }
}

/// A message of a call that is not replayed.
struct Candidate<'a> {
    call: usize,
    channel: ChannelKind,
    at: Millis,
    message: &'a Inbound,
}

impl Candidate<'_> {
    fn place(&self) -> Place<'_> {
        let address = &self.message.address;
        Place { channel: self.channel.as_str(), sender: (&address.sender).into(), room: &address.room }
    }
}

/// Writes calls inside a transaction.
pub(in crate::sqlite) async fn write_calls(
    conn: &mut SqliteConnection,
    state: &mut BatchState,
    context: &Context<'_>,
    commands: &[AcceptCommand],
) -> Result<Vec<AcceptOutcome>, sqlx::Error> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let replayed = use_nonces(conn, commands).await?;
    let live = || commands.iter().enumerate().filter(|(index, _)| !replayed.contains(index));
    let candidates = first_of_each(live());
    let new = keep_new(conn, candidates).await?;
    let places: Vec<_> = new.iter().map(|candidate| (candidate.place(), candidate.at)).collect();
    let conversations = conversations_at(conn, &places).await?;
    let ids = state.take_message_ids(conn, new.len()).await?;
    insert_messages(conn, context, &new, (&ids, &conversations)).await?;
    update_statuses(conn, live().map(|(_, command)| command)).await?;
    let mut outcomes: Vec<AcceptOutcome> = commands.iter().map(|_| AcceptOutcome::Replayed).collect();
    for (index, command) in live() {
        let known = command.call.payload.messages.len();
        outcomes[index] = AcceptOutcome::Accepted { conversations: Vec::new(), waiting: 0, known };
    }
    for (candidate, conversation) in new.iter().zip(conversations) {
        if let AcceptOutcome::Accepted { conversations, waiting, known } = &mut outcomes[candidate.call] {
            conversations.push(conversation);
            *waiting += 1;
            *known -= 1;
        }
    }
    Ok(outcomes)
}

/// Notes the nonces, and finds the calls whose nonce had been used, also by another call of this batch.
async fn use_nonces(
    conn: &mut SqliteConnection,
    commands: &[AcceptCommand],
) -> Result<HashSet<usize>, sqlx::Error> {
    let mut firsts = HashSet::new();
    let mut rows = Rows::default();
    let mut replayed: HashSet<usize> = HashSet::new();
    let mut written: Vec<usize> = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let Some(nonce) = &command.call.nonce else { continue };
        if !firsts.insert((command.call.channel, nonce)) {
            replayed.insert(index);
            continue;
        }
        written.push(index);
        rows.push(|row| {
            row.bytes(command.call.channel.as_str().as_bytes()).bytes(nonce.as_bytes()).int(command.at.0);
        });
    }
    if rows.count() == 0 {
        return Ok(replayed);
    }
    let (json, blob) = rows.finish();
    let known = sqlx::query!(
        r#"SELECT r.key + 0 AS "place!: i64" FROM jsonb_each(?1) AS r WHERE EXISTS (
               SELECT 1 FROM received_nonce AS n
               WHERE n.channel = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
                 AND n.nonce = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT))"#,
        json,
        blob
    )
    .fetch_all(&mut *conn)
    .await?;
    replayed.extend(known.iter().filter_map(|row| written.get(usize::try_from(row.place).ok()?).copied()));
    sqlx::query!(
        "INSERT INTO received_nonce (channel, nonce, received_at_ms)
         SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT), r.value ->> 4
         FROM jsonb_each(?1) AS r WHERE true ON CONFLICT DO NOTHING",
        json,
        blob
    )
    .execute(conn)
    .await?;
    Ok(replayed)
}

/// The messages of the calls, each id once.
fn first_of_each<'a>(commands: impl Iterator<Item = (usize, &'a AcceptCommand)>) -> Vec<Candidate<'a>> {
    let mut seen = HashSet::new();
    let mut candidates = Vec::new();
    for (call, command) in commands {
        let NewCall { channel, payload, .. } = &command.call;
        for message in &payload.messages {
            if seen.insert((*channel, message.platform_id.as_str())) {
                candidates.push(Candidate { call, channel: *channel, at: command.at, message });
            }
        }
    }
    candidates
}

/// Those that were never received before, whose ids are noted.
async fn keep_new<'a>(
    conn: &mut SqliteConnection,
    candidates: Vec<Candidate<'a>>,
) -> Result<Vec<Candidate<'a>>, sqlx::Error> {
    let mut rows = Rows::default();
    for candidate in &candidates {
        rows.push(|row| {
            row.bytes(candidate.channel.as_str().as_bytes());
            row.bytes(candidate.message.platform_id.as_bytes()).int(candidate.at.0);
        });
    }
    if rows.count() == 0 {
        return Ok(candidates);
    }
    let (json, blob) = rows.finish();
    let known = sqlx::query!(
        r#"SELECT r.key + 0 AS "place!: i64" FROM jsonb_each(?1) AS r WHERE EXISTS (
               SELECT 1 FROM received_id AS i
               WHERE i.channel = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
                 AND i.platform_id = CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT))"#,
        json,
        blob
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO received_id (channel, platform_id, received_at_ms)
         SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT), r.value ->> 4
         FROM jsonb_each(?1) AS r WHERE true ON CONFLICT DO NOTHING",
        json,
        blob
    )
    .execute(conn)
    .await?;
    let known: HashSet<usize> = known.iter().filter_map(|row| usize::try_from(row.place).ok()).collect();
    let new = candidates.into_iter().enumerate().filter(|(place, _)| !known.contains(place));
    Ok(new.map(|(_, candidate)| candidate).collect())
}

async fn insert_messages(
    conn: &mut SqliteConnection,
    context: &Context<'_>,
    new: &[Candidate<'_>],
    (ids, conversations): (&[MessageId], &[ConversationId]),
) -> Result<(), sqlx::Error> {
    // 0 id, 1 time, 2 channel, 4 sender, 6 platform's id, 8 what a reply refers to, 10 conversation, 11 text.
    let mut rows = Rows::default();
    for ((candidate, id), conversation) in new.iter().zip(ids).zip(conversations) {
        let Candidate { channel, at, message, .. } = candidate;
        rows.push(|row| {
            row.int(id.0).int(at.0).bytes(channel.as_str().as_bytes());
            row.bytes(message.address.sender.as_bytes()).bytes(message.platform_id.as_bytes());
            row.maybe_text(message.reply_to.as_deref()).int(conversation.0);
            row.bytes(match &message.content {
                Content::Text(text) => text.as_str().as_bytes(),
                Content::NotText => b"",
            });
        });
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "INSERT INTO message (id, received_at_ms, channel, sender, platform_id, reply_to, conversation_id, text,
                              state, attempts, run_id, to_remember)
         SELECT r.value ->> 0, r.value ->> 1,
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT),
                CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT),
                CAST(substr(?2, r.value ->> 6, r.value ->> 7) AS TEXT),
                CAST(substr(?2, r.value ->> 8, r.value ->> 9) AS TEXT), r.value ->> 10,
                CAST(substr(?2, r.value ->> 11, r.value ->> 12) AS TEXT),
                'accepted', 0, ?3, ?4
         FROM jsonb_each(?1) AS r WHERE true",
        json,
        blob,
        context.run_id,
        context.limits.saves_memory
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes how far sent messages have come. News may come in any order: what is further, by the order of `SentStatus`, stays.
/// News of a message that is not on record may be of one whose sending is just being noted: it is kept for that moment.
async fn update_statuses(
    conn: &mut SqliteConnection,
    commands: impl Iterator<Item = &AcceptCommand>,
) -> Result<(), sqlx::Error> {
    let mut furthest: HashMap<&str, (&StatusUpdate, Millis)> = HashMap::new();
    for command in commands {
        for update in &command.call.payload.statuses {
            let known = furthest.entry(&update.platform_id).or_insert((update, command.at));
            if update.status > known.0.status {
                *known = (update, command.at);
            }
        }
    }
    let mut rows = Rows::default();
    for (platform_id, (update, received_at)) in furthest {
        rows.push(|row| {
            row.bytes(platform_id.as_bytes()).bytes(update.status.as_str().as_bytes());
            row.int(update.at.unwrap_or(received_at).0).int(received_at.0);
        });
    }
    if rows.count() == 0 {
        return Ok(());
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "INSERT INTO early_status (platform_id, status, status_at_ms, received_at_ms)
         SELECT CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT),
                CAST(substr(?2, r.value ->> 2, r.value ->> 3) AS TEXT), r.value ->> 4, r.value ->> 5
         FROM jsonb_each(?1) AS r WHERE true
         ON CONFLICT (platform_id) DO UPDATE SET status = excluded.status, status_at_ms = excluded.status_at_ms
         WHERE CASE excluded.status WHEN 'sent' THEN 1 WHEN 'delivered' THEN 2 WHEN 'read' THEN 3 ELSE 4 END
             > CASE early_status.status WHEN 'sent' THEN 1 WHEN 'delivered' THEN 2 WHEN 'read' THEN 3 ELSE 4 END",
        json,
        blob
    )
    .execute(&mut *conn)
    .await?;
    apply_early_statuses(conn).await
}

/// Moves news to the deliveries that it is about.
async fn apply_early_statuses(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE delivery
         SET status = (SELECT e.status FROM early_status AS e WHERE e.platform_id = delivery.platform_id),
             status_at_ms = (SELECT e.status_at_ms FROM early_status AS e WHERE e.platform_id = delivery.platform_id)
         WHERE id IN (
             SELECT d.id FROM early_status AS e CROSS JOIN delivery AS d ON d.platform_id = e.platform_id
             WHERE CASE e.status WHEN 'sent' THEN 1 WHEN 'delivered' THEN 2 WHEN 'read' THEN 3 ELSE 4 END
                 > CASE d.status WHEN 'sent' THEN 1 WHEN 'delivered' THEN 2 WHEN 'read' THEN 3 WHEN 'failed' THEN 4
                   ELSE 0 END)"
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM early_status
         WHERE EXISTS (SELECT 1 FROM delivery AS d WHERE d.platform_id = early_status.platform_id)"
    )
    .execute(conn)
    .await?;
    Ok(())
}
