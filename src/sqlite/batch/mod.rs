//! The frequent commands, written with one statement for each kind: hits, claims, answers.

mod key;
mod message;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

pub(super) use message::{millis, tokens};

use super::{
    StoreLimits,
    memory::KeyId,
    rows::Rows,
    script::{NO_MORE, RowsStatement, Script, ScriptError},
};
use crate::{
    domain::{
        client::Owner,
        conversation::SessionId,
        id::{ConversationId, MessageId},
        idempotency::BodyHash,
        memory::MemoryKey,
        message::MessageText,
        rate::{RateClient, RateTable, Scope},
        time::Millis,
    },
    repository::{Lease, StoreError, TurnEnd},
    telemetry::trace::Linked,
};

pub(super) type Windows = RateTable<RateClient>;

/// An admitted hit on its way to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hit {
    pub(super) scope: Scope,
    pub(super) client: RateClient,
    pub(super) at: Millis,
}

/// A turn on its way to disk: a claim, an end, or both.
pub(super) struct TurnCommand {
    pub(super) owner: Owner,
    pub(super) key_id: Option<KeyId>,
    pub(super) body_hash: Option<BodyHash>,
    pub(super) session: Option<SessionId>,
    pub(super) memory: Option<MemoryKey>,
    pub(super) text: Arc<MessageText>,
    pub(super) claimed_at: Millis,
    /// The row, if the claim is already on disk.
    pub(super) id: Option<MessageId>,
    /// How and when the work ended; `None`: it begins.
    pub(super) end: Option<(TurnEnd, Millis)>,
    pub(super) hit: Option<Hit>,
    /// The span of the caller that waits.
    pub(super) link: Option<Linked>,
    /// Told in which row it is, once it is on disk.
    pub(super) reply: oneshot::Sender<Result<MessageId, StoreError>>,
}

impl TurnCommand {
    /// The command that writes what a lease stands for: its claim if that is not on disk, and the end if there is one.
    pub(super) fn of(
        lease: &Lease,
        end: Option<(TurnEnd, Millis)>,
        hit: Option<Hit>,
        reply: oneshot::Sender<Result<MessageId, StoreError>>,
    ) -> Self {
        let turn = &lease.turn;
        Self {
            owner: turn.owner,
            key_id: turn.key.as_ref().map(|(key, _)| (turn.owner, key.clone())),
            body_hash: turn.key.as_ref().map(|(_, body)| *body),
            session: turn.session.clone(),
            memory: turn.memory,
            text: Arc::clone(&turn.text),
            claimed_at: lease.claimed_at,
            id: lease.id,
            end,
            hit,
            link: None,
            reply,
        }
    }

    /// Its key, if that no longer runs in this process, with the message under whose number it stays on record if it does.
    pub(super) fn key_given_back(
        &self,
        outcome: &Result<MessageId, StoreError>,
    ) -> Option<(&KeyId, Option<MessageId>)> {
        // After an error nothing of it is on record. A claim alone, or an end alone, may be tried again by whoever holds the lease.
        if self.end.is_none() || (outcome.is_err() && self.id.is_some()) {
            return None;
        }
        let message = outcome.as_ref().ok().filter(|_| self.answers_a_key());
        Some((self.key_id.as_ref()?, message.copied()))
    }

    fn answered_at(&self) -> Option<Millis> {
        match &self.end {
            Some((TurnEnd::Answered(..), at)) => Some(*at),
            _ => None,
        }
    }

    fn answers_a_key(&self) -> bool {
        self.key_id.is_some() && self.answered_at().is_some()
    }

    fn failed(&self) -> bool {
        matches!(&self.end, Some((TurnEnd::Failed(..), _)))
    }
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    /// SQLite said no.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// The commit failed in a way that leaves open whether it is on disk.
    #[error("it is not known whether a commit is on disk: {0}")]
    InDoubt(#[source] sqlx::Error),
    /// The database file is no longer where it was opened.
    #[error("the database file was moved or replaced")]
    Moved,
}

impl From<ScriptError> for BatchError {
    fn from(failed: ScriptError) -> Self {
        Self::Sql(failed.error)
    }
}

/// A turn on its way to rows.
struct Row<'a> {
    turn: &'a TurnCommand,
    id: MessageId,
    owner: Arc<str>,
    /// The how-manyeth answered key of its owner it is, if it answers one.
    number: Option<i64>,
    conversation: Option<ConversationId>,
}

/// What all turns of a batch have in common.
pub(super) struct Context<'a> {
    pub(super) run_id: i64,
    pub(super) limits: &'a StoreLimits,
}

/// Numbers that are given out while writing, read when they are first needed.
#[derive(Default)]
pub(super) struct BatchState {
    next_message: Option<i64>,          // None: to be read again
    highest_message: i64,               // no number is given out twice while work on the first one may go on
    answered: HashMap<Owner, Answered>, // of each owner seen lately
    dropped_keys: u64,                  // answered keys that had to go in this batch
}

/// What is known of the answered keys of an owner.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    /// The highest `answered_no`.
    highest: i64,
    /// The keys up to this one have been dropped; 0: perhaps some were.
    dropped_to: i64,
}

impl Answered {
    /// The number of the last key that has to go, so that `keep` are left at most, if any has to. A sixteenth of them goes at once:
    /// to drop one for each that comes would change as many pages again as it takes to write it.
    fn drop_to(&mut self, keep: u32) -> Option<i64> {
        let too_many = self.highest - i64::from(keep);
        if too_many <= self.dropped_to {
            return None;
        }
        let lot = i64::from(keep / 16).max(1);
        self.dropped_to = (too_many + lot - 1) / lot * lot;
        Some(self.dropped_to)
    }
}

/// Owners whose numbers are kept in memory; beyond, they are read again.
const OWNERS_KEPT: usize = 10_000;

impl BatchState {
    /// Forgets all numbers: they may be wrong after a rollback, or after an edit.
    pub(super) fn forget_numbers(&mut self) {
        self.next_message = None;
        self.answered.clear();
        self.dropped_keys = 0;
    }

    /// So many answered keys went in the batch.
    pub(super) fn keys_dropped(&mut self, keys: u64) {
        self.dropped_keys = keys;
    }

    /// How many answered keys went in the batch because their owner has more than may be kept.
    pub(super) fn take_dropped_keys(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_keys)
    }

    /// Adds turns to a transaction that `script` has begun. What must be read for them is read at once, else they are written
    /// when the script is run.
    pub(super) async fn write_turns(
        &mut self,
        conn: &mut SqliteConnection,
        script: &mut Script,
        context: &Context<'_>,
        turns: &[TurnCommand],
    ) -> Result<Vec<MessageId>, BatchError> {
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        let conversations = self.read_for(conn, script, turns).await?;
        let new = turns.iter().filter(|turn| turn.id.is_none()).count();
        let mut new_ids = self.take_message_ids(conn, new).await?.into_iter();
        let mut names = OwnerName::default();
        let mut rows = Vec::with_capacity(turns.len());
        for (turn, conversation) in turns.iter().zip(conversations) {
            let Some(id) = turn.id.or_else(|| new_ids.next()) else { continue };
            let (owner, number) = (names.of(turn.owner), self.next_number(turn));
            rows.push(Row { turn, id, owner, number, conversation });
        }
        message::insert_messages(script, context.run_id, &rows);
        message::save_memory(script, &rows);
        message::update_messages(script, &rows);
        key::insert_keys(script, &rows);
        key::answer_keys(script, &rows);
        key::free_keys(script, &rows);
        key::drop_oldest_keys(script, &self.drop_too_many(context.limits.keys_per_owner, &rows));
        Ok(rows.iter().map(|row| row.id).collect())
    }

    /// Reads what the turns need and memory does not have; and the conversation of each, if it has one.
    async fn read_for(
        &mut self,
        conn: &mut SqliteConnection,
        script: &mut Script,
        turns: &[TurnCommand],
    ) -> Result<Vec<Option<ConversationId>>, BatchError> {
        let owners = self.unknown_owners(turns);
        let any_session = turns.iter().any(|turn| turn.session.is_some() && turn.id.is_none());
        if self.next_message.is_none() || !owners.is_empty() || any_session {
            script.run(conn).await?; // what is read is read in the transaction
        }
        self.load_numbers(conn, owners).await?;
        if any_session {
            Ok(message::conversations_of(conn, turns).await?)
        } else {
            Ok(vec![None; turns.len()])
        }
    }

    /// The numbers of the next `count` messages.
    pub(super) async fn take_message_ids(
        &mut self,
        conn: &mut SqliteConnection,
        count: usize,
    ) -> Result<Vec<MessageId>, sqlx::Error> {
        let next = if let Some(next) = self.next_message {
            next
        } else {
            // A key keeps the number of its message, also of one that was deleted by hand.
            let newest = sqlx::query!(
                r#"SELECT max(coalesce((SELECT max(id) FROM message), 0),
                              coalesce((SELECT max(message_id) FROM idempotency_key), 0)) AS "id!: i64""#
            );
            newest.fetch_one(conn).await?.id.max(self.highest_message).saturating_add(1)
        };
        let ids: Vec<MessageId> = (next..i64::MAX).take(count).map(MessageId).collect();
        if ids.len() < count {
            return Err(sqlx::Error::Protocol("no numbers are left for messages".into()));
        }
        self.next_message = ids.last().map_or(Some(next), |last| Some(last.0 + 1));
        self.highest_message = ids.last().map_or(self.highest_message, |last| last.0);
        Ok(ids)
    }

    fn next_number(&mut self, turn: &TurnCommand) -> Option<i64> {
        if !turn.answers_a_key() {
            return None;
        }
        let answered = self.answered.entry(turn.owner).or_default();
        answered.highest += 1;
        Some(answered.highest)
    }

    /// The owners of answered keys whose numbers are not in memory.
    fn unknown_owners(&mut self, turns: &[TurnCommand]) -> HashSet<Owner> {
        if self.answered.len() > OWNERS_KEPT {
            self.answered.clear();
        }
        let answered = turns.iter().filter(|turn| turn.answers_a_key()).map(|turn| turn.owner);
        answered.filter(|owner| !self.answered.contains_key(owner)).collect()
    }

    /// Reads the highest `answered_no` of these owners.
    async fn load_numbers(
        &mut self,
        conn: &mut SqliteConnection,
        owners: HashSet<Owner>,
    ) -> Result<(), sqlx::Error> {
        if owners.is_empty() {
            return Ok(());
        }
        let owners: Vec<Owner> = owners.into_iter().collect();
        let mut rows = Rows::default();
        for owner in &owners {
            rows.push(|row| _ = row.display(owner));
        }
        let (json, blob) = rows.finish();
        let found = sqlx::query!(
            r#"SELECT coalesce((SELECT max(k.answered_no) FROM idempotency_key AS k
                                WHERE k.owner = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
                                  AND k.answered_no IS NOT NULL), 0) AS "number!: i64"
               FROM jsonb_each(?1) AS r ORDER BY r.key"#,
            json,
            blob
        )
        .fetch_all(conn)
        .await?;
        let found = found.into_iter().map(|row| Answered { highest: row.number, dropped_to: 0 });
        self.answered.extend(owners.into_iter().zip(found));
        Ok(())
    }

    /// For each owner that answered a key now and has too many, the number of the last that has to go. They count as dropped
    /// from then on, so that each owner is named once; [`forget_numbers`](Self::forget_numbers) takes it back if the batch is.
    fn drop_too_many(&mut self, keep: u32, rows: &[Row<'_>]) -> Vec<(Arc<str>, i64)> {
        let answered = rows.iter().filter(|row| row.turn.answers_a_key());
        let last = answered.filter_map(|row| {
            let last = self.answered.get_mut(&row.turn.owner)?.drop_to(keep)?;
            Some((Arc::clone(&row.owner), last))
        });
        last.collect()
    }
}

/// The names of owners, of which mostly the same one comes again and again.
#[derive(Default)]
struct OwnerName(Option<(Owner, Arc<str>)>);

impl OwnerName {
    fn of(&mut self, owner: Owner) -> Arc<str> {
        match &self.0 {
            Some((last, name)) if *last == owner => Arc::clone(name),
            _ => {
                let name: Arc<str> = owner.to_string().into();
                self.0 = Some((owner, Arc::clone(&name)));
                name
            }
        }
    }
}

/// All statements with rows.
#[cfg(test)]
pub(super) const STATEMENTS: [&RowsStatement; 8] = [
    &INSERT_HITS,
    &message::INSERT_MESSAGES,
    &message::SAVE_MEMORY,
    &message::UPDATE_MESSAGES,
    &key::INSERT_KEYS,
    &key::ANSWER_KEYS,
    &key::FREE_KEYS,
    &key::DROP_OLDEST_KEYS,
];

/// Hits of one client in one millisecond are one row.
const INSERT_HITS: RowsStatement = RowsStatement {
    head: "INSERT INTO rate_hit (at_ms, scope, token_id, address, hits)
           SELECT column1, column2, column3, column4, column5",
    columns: 5,
    tail: " ON CONFLICT (at_ms, scope, token_id, address) DO UPDATE SET hits = rate_hit.hits + excluded.hits",
};

/// Adds hits to a transaction.
pub(super) fn write_hits(script: &mut Script, hits: &[Hit]) {
    if hits.is_empty() {
        return;
    }
    let mut counts: HashMap<Hit, i64> = HashMap::new();
    for hit in hits {
        *counts.entry(*hit).or_default() += 1;
    }
    let rows: Vec<(Hit, i64)> = counts.into_iter().collect();
    script.add_rows(&INSERT_HITS, &rows, NO_MORE, |script, (hit, count)| {
        let token = hit.client.token.map_or(0, |id| id.0);
        script.bind(hit.at.0).bind(hit.scope.as_str()).bind(token);
        script.bind(hit.client.address.to_string()).bind(*count);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_keys_are_left_as_may_be_kept_or_a_sixteenth_less(
            keep in 1_u32..200,
            batches in prop::collection::vec(1_i64..80, 1..40),
        ) {
            let mut answered = Answered::default();
            let mut dropped_to = 0;
            for batch in batches {
                answered.highest += batch;
                if let Some(last) = answered.drop_to(keep) {
                    prop_assert!(last > dropped_to);
                    dropped_to = last;
                }
                let (left, keep) = (answered.highest - dropped_to, i64::from(keep));
                prop_assert!(left <= keep);
                prop_assert!(left > keep - (keep / 16).max(1) || dropped_to == 0);
                let mut read_again = Answered { dropped_to: 0, ..answered };
                prop_assert_eq!(read_again.drop_to(u32::try_from(keep).unwrap()).unwrap_or(0), dropped_to);
            }
        }
    }
}
