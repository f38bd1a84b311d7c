//! The frequent commands, written with one statement for each kind: hits, claims, answers.

mod key;
mod message;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

pub(super) use key::expired_before;
pub(super) use message::{millis, tokens};

use super::{StoreLimits, memory::KeyId, rows::Rows};
use crate::{
    domain::{
        client::Owner,
        conversation::SessionId,
        id::MessageId,
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
    pub(super) reply: oneshot::Sender<Result<TurnReply, StoreError>>,
}

/// What came of writing a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnReply {
    /// It is on disk, in this row.
    Done(MessageId),
    /// Its key is on record already, put there by another process. Nothing was written.
    Contended,
}

impl TurnCommand {
    /// The command that writes what a lease stands for: its claim if that is not on disk, and the end if there is one.
    pub(super) fn of(
        lease: &Lease,
        end: Option<(TurnEnd, Millis)>,
        hit: Option<Hit>,
        reply: oneshot::Sender<Result<TurnReply, StoreError>>,
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

    /// Whether its key no longer runs in this process.
    pub(super) fn gives_key_back(&self, outcome: &Result<TurnReply, StoreError>) -> bool {
        match outcome {
            Ok(TurnReply::Done(_)) => self.end.is_some(),
            Ok(TurnReply::Contended) => true,
            // Nothing of it is on record. A claim alone, or an end alone, may be tried again by whoever holds the lease.
            Err(_) => self.end.is_some() && self.id.is_none(),
        }
    }

    fn answered_at(&self) -> Option<Millis> {
        match &self.end {
            Some((TurnEnd::Answered(..), at)) => Some(*at),
            _ => None,
        }
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
    /// A key is on record that memory did not know of.
    #[error("an idempotency key is on record already")]
    Contended,
    /// The database file is no longer where it was opened.
    #[error("the database file was moved or replaced")]
    Moved,
}

/// What all turns of a batch have in common.
pub(super) struct Context<'a> {
    pub(super) run_id: i64,
    pub(super) limits: &'a StoreLimits,
    pub(super) now: Millis,
}

/// Numbers that are given out while writing, read when they are first needed.
#[derive(Default)]
pub(super) struct BatchState {
    next_message: Option<i64>,     // None: to be read again
    highest_message: i64,          // no number is given out twice while work on the first one may go on
    answered: HashMap<Owner, i64>, // the highest `answered_no` of each owner seen lately
    dropped_keys: u64,             // answered keys that had to go in this batch
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

    /// How many answered keys went in the batch because their owner has more than may be kept.
    pub(super) fn take_dropped_keys(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_keys)
    }

    /// Writes turns inside a transaction.
    pub(super) async fn write_turns(
        &mut self,
        conn: &mut SqliteConnection,
        context: &Context<'_>,
        turns: &[TurnCommand],
    ) -> Result<Vec<TurnReply>, BatchError> {
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        self.load_numbers(conn, turns).await?;
        let new = turns.iter().filter(|turn| turn.id.is_none()).count();
        let mut new_ids = self.take_message_ids(conn, new).await?.into_iter();
        let ids: Vec<MessageId> =
            turns.iter().filter_map(|turn| turn.id.or_else(|| new_ids.next())).collect();
        let numbers: Vec<Option<i64>> = turns.iter().map(|turn| self.next_number(turn)).collect();
        message::insert_messages(conn, context, turns, &ids).await?;
        message::update_messages(conn, turns).await?;
        key::insert_keys(conn, context, turns, (&ids, &numbers)).await?;
        key::answer_keys(conn, turns, &numbers).await?;
        key::free_keys(conn, turns).await?;
        self.drop_oldest_keys(conn, context.limits.keys_per_owner, turns).await?;
        Ok(ids.into_iter().map(TurnReply::Done).collect())
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
            let newest = sqlx::query!(r#"SELECT coalesce(max(id), 0) AS "id!: i64" FROM message"#);
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
        turn.answered_at().filter(|_| turn.key_id.is_some())?;
        let number = self.answered.entry(turn.owner).or_insert(0);
        *number += 1;
        Some(*number)
    }

    /// Reads the highest `answered_no` of owners that are not in memory.
    async fn load_numbers(
        &mut self,
        conn: &mut SqliteConnection,
        turns: &[TurnCommand],
    ) -> Result<(), sqlx::Error> {
        if self.answered.len() > OWNERS_KEPT {
            self.answered.clear();
        }
        let mut owners = Vec::new();
        let mut rows = Rows::default();
        for turn in turns.iter().filter(|turn| turn.answered_at().is_some() && turn.key_id.is_some()) {
            if let std::collections::hash_map::Entry::Vacant(e) = self.answered.entry(turn.owner) {
                e.insert(0);
                rows.push(|row| {
                    row.display(turn.owner);
                });
                owners.push(turn.owner);
            }
        }
        if owners.is_empty() {
            return Ok(());
        }
        let (json, blob) = rows.finish();
        let found = sqlx::query!(
            r#"SELECT coalesce((SELECT max(k.answered_no) FROM idempotency_key AS k
                                WHERE k.owner = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)), 0) AS "number!: i64"
               FROM jsonb_each(?1) AS r ORDER BY r.key"#,
            json,
            blob
        )
        .fetch_all(conn)
        .await?;
        self.answered.extend(owners.into_iter().zip(found.into_iter().map(|row| row.number)));
        Ok(())
    }

    /// Keeps the newest answered keys of each owner that answered one now.
    async fn drop_oldest_keys(
        &mut self,
        conn: &mut SqliteConnection,
        keep: u32,
        turns: &[TurnCommand],
    ) -> Result<(), sqlx::Error> {
        let mut rows = Rows::default();
        let answered = turns.iter().filter(|turn| turn.answered_at().is_some() && turn.key_id.is_some());
        for owner in answered.map(|turn| turn.owner).collect::<HashSet<_>>() {
            let last_to_go = self.answered.get(&owner).map_or(0, |newest| newest - i64::from(keep));
            if last_to_go > 0 {
                rows.push(|row| {
                    row.display(owner).int(last_to_go);
                });
            }
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let (json, blob) = rows.finish();
        let dropped = sqlx::query!(
            "DELETE FROM idempotency_key WHERE (owner, key) IN (
                 SELECT k.owner, k.key FROM jsonb_each(?1) AS r CROSS JOIN idempotency_key AS k
                     ON k.owner = CAST(substr(?2, r.value ->> 0, r.value ->> 1) AS TEXT)
                    AND k.answered_no <= r.value ->> 2)",
            json,
            blob
        )
        .execute(conn)
        .await?;
        self.dropped_keys += dropped.rows_affected();
        Ok(())
    }
}

/// Writes hits inside a transaction: those of one client in one millisecond are one row.
pub(super) async fn write_hits(conn: &mut SqliteConnection, hits: &[Hit]) -> Result<(), sqlx::Error> {
    if hits.is_empty() {
        return Ok(());
    }
    let mut counts: HashMap<Hit, i64> = HashMap::new();
    for hit in hits {
        *counts.entry(*hit).or_default() += 1;
    }
    let mut rows = Rows::default();
    for (hit, count) in counts {
        let token = hit.client.token.map_or(0, |id| id.0);
        rows.push(|row| {
            row.int(hit.at.0)
                .bytes(hit.scope.as_str().as_bytes())
                .int(token)
                .display(hit.client.address)
                .int(count);
        });
    }
    let (json, blob) = rows.finish();
    sqlx::query!(
        "INSERT INTO rate_hit (at_ms, scope, token_id, address, hits)
         SELECT r.value ->> 0, CAST(substr(?2, r.value ->> 1, r.value ->> 2) AS TEXT), r.value ->> 3,
                CAST(substr(?2, r.value ->> 4, r.value ->> 5) AS TEXT), r.value ->> 6
         FROM jsonb_each(?1) AS r WHERE true
         ON CONFLICT (at_ms, scope, token_id, address) DO UPDATE SET hits = rate_hit.hits + excluded.hits",
        json,
        blob
    )
    .execute(conn)
    .await?;
    Ok(())
}
