//! The frequent commands, of which all of a kind are written with few statements: hits, claims, answers.

mod key;
mod message;
mod numbers;

use std::{collections::HashMap, sync::Arc};

use tokio::sync::oneshot;

#[cfg(test)]
pub(super) use key::DROP_OLDEST_KEYS;
pub(super) use message::{millis, tokens};
pub(super) use numbers::BatchState;
use numbers::Numbers;

use super::{
    StoreLimits,
    error::{leaves_doubt, of_rusqlite},
    memory::KeyId,
    remember::RememberCommand,
    statements::{RowsStatement, Statements},
    transaction::{BEGIN, COMMIT, ROLLBACK},
};
use crate::{
    domain::{
        client::Owner,
        conversation::SessionId,
        id::MessageId,
        idempotency::BodyHash,
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

/// It is large and goes through many hands.
pub(super) type Turn = Box<TurnCommand>;

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

    fn begins_in_a_session(&self) -> bool {
        self.session.is_some() && self.id.is_none()
    }

    fn key(&self) -> Option<&str> {
        self.key_id.as_ref().map(|(_, key)| key.as_str())
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

    /// How its message stands, and its key unless it failed.
    fn state(&self) -> &'static str {
        match &self.end {
            None => "running",
            Some((TurnEnd::Answered(..), _)) => "answered",
            Some((TurnEnd::Failed(..), _)) => "failed",
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
    /// The commit failed in a way that leaves open whether it is on disk.
    #[error("it is not known whether a commit is on disk: {0}")]
    InDoubt(#[source] sqlx::Error),
    /// The database file is no longer where it was opened.
    #[error("the database file was moved or replaced")]
    Moved,
}

impl From<rusqlite::Error> for BatchError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(of_rusqlite(error))
    }
}

impl BatchError {
    /// What a commit that failed means.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        if leaves_doubt(&error) { Self::InDoubt(error) } else { Self::Sql(error) }
    }
}

/// How many rows were changed.
type Done = Result<u64, rusqlite::Error>;

/// A turn as rows.
struct Row<'a> {
    turn: &'a TurnCommand,
    numbers: &'a Numbers,
}

/// Turns and hits with all that is known of their rows.
pub(super) struct Planned<'b> {
    hits: &'b [Hit],
    turns: &'b [Turn],
    numbers: Vec<Numbers>, // of each turn
    last_to_go: Vec<(Arc<str>, i64)>,
    /// What goes into memory beside them.
    remembering: &'b mut [RememberCommand],
    run_id: i64,
    saves_memory: bool,
}

impl Planned<'_> {
    /// The messages of the turns.
    pub(super) fn messages(&self) -> Vec<MessageId> {
        self.numbers.iter().map(|numbers| numbers.id).collect()
    }

    /// Writes the rows in a transaction of their own, of which nothing is left open if it fails.
    pub(super) fn commit(&mut self, statements: &mut Statements<'_>) -> Result<u64, BatchError> {
        let written = statements.execute(BEGIN, ()).and_then(|_| self.write(statements));
        let committed = written.map_err(BatchError::from).and_then(|dropped_keys| {
            let committed = statements.execute(COMMIT, ()).map(|_| dropped_keys);
            committed.map_err(|error| BatchError::of_commit(of_rusqlite(error)))
        });
        if committed.is_err() {
            statements.execute(ROLLBACK, ()).ok();
        }
        committed
    }

    /// Writes the rows. Returns how many answered keys went because their owners have more than may be kept.
    pub(super) fn write(&mut self, statements: &mut Statements<'_>) -> Done {
        write_hits(statements, self.hits)?;
        let turns = self.turns.iter().zip(&self.numbers);
        let rows: Vec<_> = turns.map(|(turn, numbers)| Row { turn, numbers }).collect();
        message::insert_messages(statements, &rows, self.run_id, self.saves_memory)?;
        message::update_messages(statements, &rows)?;
        key::insert_keys(statements, &rows)?;
        key::answer_keys(statements, &rows)?;
        key::free_keys(statements, &rows)?;
        let dropped_keys = key::drop_oldest_keys(statements, &self.last_to_go)?;
        self.remembering.iter_mut().try_for_each(|some| some.run(statements))?;
        Ok(dropped_keys)
    }
}

/// What all turns of a batch have in common.
pub(super) struct Context<'a> {
    pub(super) run_id: i64,
    pub(super) limits: &'a StoreLimits,
}

/// All statements with rows.
#[cfg(test)]
pub(super) const STATEMENTS: [&RowsStatement; 6] = [
    &INSERT_HITS,
    &message::INSERT_MESSAGES,
    &message::UPDATE_MESSAGES,
    &key::INSERT_KEYS,
    &key::ANSWER_KEYS,
    &key::FREE_KEYS,
];

/// Hits of one client in one millisecond are one row.
const INSERT_HITS: RowsStatement = RowsStatement {
    head: "INSERT INTO rate_hit (at_ms, scope, token_id, address, hits) VALUES ",
    row: "(?, ?, ?, ?, ?)",
    tail: " ON CONFLICT (at_ms, scope, token_id, address) DO UPDATE SET hits = rate_hit.hits + excluded.hits",
};

fn write_hits(statements: &mut Statements<'_>, hits: &[Hit]) -> Done {
    let mut counts: HashMap<Hit, i64> = HashMap::new();
    for hit in hits {
        *counts.entry(*hit).or_default() += 1;
    }
    let rows: Vec<(Hit, i64)> = counts.into_iter().collect();
    statements.execute_rows(&INSERT_HITS, &rows, |arguments, (hit, count)| {
        let token = hit.client.token.map_or(0, |id| id.0);
        arguments.bind(hit.at.0).bind(hit.scope.as_str()).bind(token);
        arguments.bind(hit.client.address.to_string()).bind(*count);
    })
}
