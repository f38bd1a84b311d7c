//! One attempt to write a batch: one transaction, in which all commands of a kind are written together, or each has a savepoint.

use std::slice;

use sqlx::SqliteConnection;

use super::Writer;
use crate::{
    domain::id::{ConversationId, MessageId},
    repository::{AcceptOutcome, StoreError},
    sqlite::{
        batch::{BatchError, BatchState, Planned},
        error::{is_fault_of_one_command, store_error},
        gathered::Batch,
        inbox,
        statements::{Connection, Statements, unless_it_panics},
        transaction::{self, ROLLBACK},
    },
};

/// How a batch is written.
pub(super) enum Manner {
    /// All commands of a kind together, with few statements.
    Together,
    /// Each command by itself, so that one that fails does not fail its neighbours.
    Singly,
}

/// What became of each command, in the order of the batch.
#[derive(Default)]
pub(in crate::sqlite) struct Outcomes {
    pub(super) turns: Vec<Result<MessageId, StoreError>>,
    pub(super) remembered: Vec<Result<(), StoreError>>,
    pub(super) calls: Vec<Result<AcceptOutcome, StoreError>>,
    pub(super) steps: Vec<Result<(), StoreError>>,
    /// Answered keys that had to go.
    pub(super) dropped_keys: u64,
}

/// What became of the rows of a batch.
#[derive(Default)]
pub(super) struct Written {
    messages: Vec<MessageId>, // of the turns
    remembered: usize,
    dropped_keys: u64,
}

impl From<Written> for Outcomes {
    fn from(Written { messages, remembered, dropped_keys }: Written) -> Self {
        let turns = messages.into_iter().map(Ok).collect();
        Self { turns, remembered: vec![Ok(()); remembered], dropped_keys, ..Self::default() }
    }
}

impl Writer {
    /// If a command of a batch is at fault, writes each by itself.
    pub(super) async fn write_singly_if_one_is_at_fault(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
        result: Result<Outcomes, BatchError>,
    ) -> Result<Outcomes, BatchError> {
        let fault_of_one = match &result {
            Err(BatchError::Sql(error)) => is_fault_of_one_command(error),
            Err(BatchError::InDoubt(_) | BatchError::Moved) | Ok(_) => false,
        };
        if !fault_of_one {
            return result;
        }
        self.state.forget_numbers();
        self.write(conn, batch, Manner::Singly).await
    }

    /// One transaction. Whatever fails, none is left open.
    pub(super) async fn write(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
        manner: Manner,
    ) -> Result<Outcomes, BatchError> {
        let written = match (transaction::begin(conn.sqlx()).await, manner) {
            (Ok(()), Manner::Together) => self.write_together(conn, batch).await,
            (Ok(()), Manner::Singly) => self.write_singly(conn, batch).await,
            (Err(error), _) => Err(error.into()),
        };
        let ended = match written {
            Ok(outcomes) => {
                let committed = transaction::commit(conn.sqlx()).await;
                committed.map(|()| outcomes).map_err(BatchError::of_commit)
            }
            Err(error) => Err(error),
        };
        if ended.is_err() {
            transaction::roll_back(conn.sqlx()).await;
        }
        ended
    }

    /// All commands of a kind together.
    async fn write_together(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
    ) -> Result<Outcomes, BatchError> {
        let mut outcomes = Outcomes::from(self.write_rows_of(conn, batch).await?);
        let context = self.shared.context();
        let calls = inbox::write_calls(conn.sqlx(), &mut self.state, &context, &batch.calls).await?;
        outcomes.calls = calls.into_iter().map(Ok).collect();
        for step in &mut batch.steps {
            outcomes.steps.push(Ok(step.run(conn.sqlx()).await?));
        }
        Ok(outcomes)
    }

    /// The rows of a batch, in a transaction that has begun.
    async fn write_rows_of(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
    ) -> Result<Written, BatchError> {
        if !batch.has_rows() {
            return Ok(Written::default());
        }
        let conversations = self.state.read_for(conn.sqlx(), &batch.turns).await?;
        self.write_planned(conn.lock().await?.statements(), batch, conversations, Planned::write)
    }

    /// Plans the rows of a batch, and has them written by `write`.
    pub(super) fn write_planned<'b, E: Into<BatchError>>(
        &mut self,
        statements: &mut Statements<'_>,
        batch: &'b mut Batch,
        conversations: Vec<Option<ConversationId>>,
        write: fn(&mut Planned<'b>, &mut Statements<'_>) -> Result<u64, E>,
    ) -> Result<Written, BatchError> {
        let context = self.shared.context();
        let remembered = batch.remembering.len();
        let mut planned = self.state.plan(&context, batch, conversations)?;
        let written = unless_it_panics(|| write(&mut planned, statements));
        if written.is_err() {
            statements.execute(ROLLBACK, ()).ok();
        }
        let dropped_keys = written?.map_err(E::into)?;
        Ok(Written { messages: planned.messages(), remembered, dropped_keys })
    }

    /// One savepoint for each command.
    async fn write_singly(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
    ) -> Result<Outcomes, BatchError> {
        let hits = Batch { hits: batch.hits.clone(), ..Batch::default() };
        let mut turns = each_alone(&mut batch.turns, |turns| Batch { turns, ..Batch::default() });
        let mut remembering =
            each_alone(&mut batch.remembering, |remembering| Batch { remembering, ..Batch::default() });
        let outcomes = self.write_each(conn, batch, hits, (&mut turns, &mut remembering)).await;
        batch.turns.extend(turns.into_iter().flat_map(|one| one.turns));
        batch.remembering.extend(remembering.into_iter().flat_map(|one| one.remembering));
        outcomes
    }

    async fn write_each(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
        mut hits: Batch,
        (turns, remembering): (&mut [Batch], &mut [Batch]),
    ) -> Result<Outcomes, BatchError> {
        self.write_rows_of(conn, &mut hits).await?;
        let mut outcomes = Outcomes::default();
        for one in turns {
            transaction::begin_one(conn.sqlx()).await?;
            let written = self.write_rows_of(conn, one).await.map(|written| {
                outcomes.dropped_keys += written.dropped_keys;
                written.messages
            });
            outcomes.turns.push(one_outcome(conn.sqlx(), &mut self.state, written).await?);
        }
        for one in remembering {
            transaction::begin_one(conn.sqlx()).await?;
            let written = self.write_rows_of(conn, one).await.map(|_| vec![()]);
            outcomes.remembered.push(one_outcome(conn.sqlx(), &mut self.state, written).await?);
        }
        let context = self.shared.context();
        for call in &batch.calls {
            transaction::begin_one(conn.sqlx()).await?;
            let written =
                inbox::write_calls(conn.sqlx(), &mut self.state, &context, slice::from_ref(call)).await;
            let written = written.map_err(BatchError::from);
            outcomes.calls.push(one_outcome(conn.sqlx(), &mut self.state, written).await?);
        }
        for step in &mut batch.steps {
            transaction::begin_one(conn.sqlx()).await?;
            let written = step.run(conn.sqlx()).await.map(|()| vec![()]);
            let written = written.map_err(BatchError::from);
            outcomes.steps.push(one_outcome(conn.sqlx(), &mut self.state, written).await?);
        }
        Ok(outcomes)
    }
}

/// A batch for each of these commands.
fn each_alone<T>(commands: &mut Vec<T>, batch_of: fn(Vec<T>) -> Batch) -> Vec<Batch> {
    commands.drain(..).map(|one| batch_of(vec![one])).collect()
}

/// Ends the savepoint of one command with what came of it. An error of the store itself is not the command's: it fails the
/// batch.
async fn one_outcome<T>(
    conn: &mut SqliteConnection,
    state: &mut BatchState,
    written: Result<Vec<T>, BatchError>,
) -> Result<Result<T, StoreError>, BatchError> {
    match written {
        Ok(mut one) => {
            transaction::end_one(conn).await?;
            let nothing = || StoreError::Unavailable("a command had no result".into());
            Ok(one.pop().ok_or_else(nothing))
        }
        Err(BatchError::Sql(error)) if is_fault_of_one_command(&error) => {
            state.forget_numbers();
            transaction::undo_one(conn).await?;
            transaction::end_one(conn).await?;
            Ok(Err(store_error(&error)))
        }
        Err(error) => Err(error),
    }
}
