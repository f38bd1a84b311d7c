//! The writer: one task that owns the one connection that writes.
//!
//! SQLite has one writer, and a commit costs an fsync. So all that waits is written in one transaction and committed once,
//! and only then is each caller answered; while one batch is being committed the next one gathers by itself. The frequent
//! commands (hits, turns, calls of platforms) are written with one statement for each kind, see [`batch`](super::batch) and
//! [`inbox`](super::inbox); the others ([`Step`](super::command::Step)) run one after the other.
//!
//! A command that fails does not fail its neighbours: the batch is rolled back and written again command by command, each
//! under a savepoint. An error of the store itself (busy, full, I/O) fails the whole batch, of which nothing is written.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection};
use tokio::time::MissedTickBehavior;

use super::{
    DatabaseSettings, Shared,
    batch::{self, BatchError, BatchState, Hit, TurnCommand},
    checkpoint::Committed,
    command::kind_of,
    error::{is_fault_of_one_command, leaves_doubt, store_error},
    gathered::Batch,
    inbox,
    memory::LOOK_FOR_EDITS_EVERY,
    queue::Queues,
    script::{Script, ScriptError},
    sweep, transaction,
};
use crate::{
    domain::{id::MessageId, rate::Scope},
    repository::{AcceptOutcome, StoreError},
    telemetry::metrics::RemovedKind,
};

/// The first and the longest pause before a commit in doubt is tried again.
const PAUSE_IN_DOUBT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// How a batch is written.
enum Manner {
    /// All commands of a kind with one statement.
    Together,
    /// Each command by itself, so that one that fails does not fail its neighbours.
    Singly,
}

/// What became of each command, in the order of the batch.
struct Outcomes {
    turns: Vec<Result<MessageId, StoreError>>,
    calls: Vec<Result<AcceptOutcome, StoreError>>,
    steps: Vec<Result<(), StoreError>>,
}

/// The writer's state.
pub(super) struct Writer {
    conn: SqliteConnection,
    shared: Arc<Shared>,
    queues: Queues,
    state: BatchState,
    data_version: i64, // of what is in memory
    committed: Committed,
    path: PathBuf,
    file: Option<FileId>, // what the path named when it was opened
    busy_timeout: Duration,
}

/// Which file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self(found.dev(), found.ino()))
    }
}

impl Writer {
    /// With the connection goes its [`data_version`] from before memory was loaded.
    pub(super) fn new(
        (conn, data_version): (SqliteConnection, i64),
        shared: &Arc<Shared>,
        queues: Queues,
        settings: &DatabaseSettings,
    ) -> Self {
        let (path, busy_timeout) = (settings.path.clone(), settings.busy_timeout);
        let (shared, state, file) = (Arc::clone(shared), BatchState::default(), FileId::of(&path));
        let committed = Committed::default();
        Self { conn, shared, queues, state, data_version, committed, path, file, busy_timeout }
    }

    /// Writes until it is asked to end.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(LOOK_FOR_EDITS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = Vec::new();
        let mut open = true;
        while open {
            // A tick may come a moment before the last look is as old as the pause between two: it looks all the same.
            let ticked = tokio::select! {
                biased;
                more = self.queues.take(&mut commands) => {
                    open = more;
                    false
                }
                _ = tick.tick() => true,
            };
            self.shared.metrics.writer.queue().lower(commands.len() as u64);
            let mut batch = Batch::default();
            for command in commands.drain(..) {
                open &= batch.add(command);
            }
            let looks = std::mem::take(&mut batch.looks);
            self.commit(batch).await;
            self.look_for_edits(ticked || !looks.is_empty()).await;
            for look in looks {
                look.send(()).ok();
            }
        }
        self.end().await;
    }

    /// Refuses new commands, writes the last ones and closes the file.
    async fn end(mut self) {
        let mut batch = Batch::default();
        for command in self.queues.close() {
            batch.add(command);
        }
        self.commit(batch).await;
        if self.shared.run_id != 0 {
            let now = self.shared.clock.now();
            if let Err(error) = sweep::end_run(&mut self.conn, self.shared.run_id, now).await {
                tracing::error!(%error, "the end of the run could not be noted");
            }
        }
        self.conn.close().await.ok();
    }

    async fn commit(&mut self, mut batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if self.has_moved() {
            return self.fail(batch, &BatchError::Moved);
        }
        let mut span = self.shared.metrics.traces.batch(batch.links(), batch.commands);
        let started = self.shared.clock.monotonic();
        let mut result = self.write_once(&mut batch).await;
        if let Err(BatchError::InDoubt(_)) = result {
            result = self.write_until_sure(&mut batch, result).await;
        }
        if result.is_ok() {
            let took = self.shared.clock.monotonic().saturating_sub(started);
            self.shared.metrics.writer.committed(batch.commands, took);
            self.shared.metrics.store.removed(RemovedKind::KeyOverLimit, self.state.take_dropped_keys());
            if self.committed.add(batch.commands) {
                self.shared.checkpoint.notify_one();
            }
        }
        if result.is_err() {
            span.fail("storage");
        }
        drop(span);
        if result.is_err() || batch.writes() {
            self.shared.memory.writes_ok.store(result.is_ok(), Ordering::Relaxed);
        }
        match result {
            Ok(outcomes) => self.succeed(batch, outcomes),
            Err(error) => self.fail(batch, &error),
        }
    }

    /// Writes a batch; if a command of it is at fault, each command by itself.
    async fn write_once(&mut self, batch: &mut Batch) -> Result<Outcomes, BatchError> {
        let result = self.write(batch, Manner::Together).await;
        let fault_of_one = match &result {
            Err(BatchError::Sql(error)) => is_fault_of_one_command(error),
            Err(BatchError::InDoubt(_) | BatchError::Moved) | Ok(_) => false,
        };
        if !fault_of_one {
            return result;
        }
        self.state.forget_numbers();
        self.write(batch, Manner::Singly).await
    }

    /// The disk did not say whether it has the commit: SQLite has undone it, but its pages stand in the WAL, and it would come
    /// back after a crash. So nobody is told anything before another commit has taken the place of those pages: that of the
    /// same batch, as soon as the disk takes it. A caller that gives up meanwhile does not know what became of its request,
    /// which is how it is.
    async fn write_until_sure(
        &mut self,
        batch: &mut Batch,
        mut result: Result<Outcomes, BatchError>,
    ) -> Result<Outcomes, BatchError> {
        let (mut pause, longest) = PAUSE_IN_DOUBT;
        self.shared.memory.in_doubt.store(true, Ordering::Relaxed);
        while let Err(error) = &result
            && !self.shared.closing.load(Ordering::Relaxed)
        {
            self.note(Some(&error.to_store_error()));
            self.shared.memory.writes_ok.store(false, Ordering::Relaxed);
            self.state.forget_numbers();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            result = self.write_once(batch).await;
        }
        self.shared.memory.in_doubt.store(false, Ordering::Relaxed);
        result
    }

    /// One transaction. Whatever fails, none is left open.
    async fn write(&mut self, batch: &mut Batch, manner: Manner) -> Result<Outcomes, BatchError> {
        let mut script = Script::default();
        script.add(transaction::BEGIN);
        let written = match manner {
            Manner::Together => self.write_together(&mut script, batch).await,
            Manner::Singly => self.write_singly(&mut script, batch).await,
        };
        let ended = match written {
            Ok(outcomes) => {
                let committed = script.add(transaction::COMMIT).run(&mut self.conn).await;
                committed.map(|()| outcomes).map_err(|failed| match failed {
                    ScriptError { error, at_the_end: true } if leaves_doubt(&error) => {
                        BatchError::InDoubt(error)
                    }
                    failed => failed.into(),
                })
            }
            Err(error) => Err(error),
        };
        if ended.is_err() {
            transaction::roll_back(&mut self.conn).await;
        }
        self.state.keys_dropped(script.counted());
        ended
    }

    /// One statement for each kind.
    async fn write_together(
        &mut self,
        script: &mut Script,
        batch: &mut Batch,
    ) -> Result<Outcomes, BatchError> {
        batch::write_hits(script, &batch.hits);
        let context = batch::Context { run_id: self.shared.run_id, limits: &self.shared.limits };
        let turns = self.state.write_turns(&mut self.conn, script, &context, &batch.turns).await?;
        if !batch.calls.is_empty() || !batch.steps.is_empty() {
            script.run(&mut self.conn).await?;
        }
        let calls = inbox::write_calls(&mut self.conn, &mut self.state, &context, &batch.calls).await?;
        for step in &mut batch.steps {
            step.run(&mut self.conn).await?;
        }
        let steps = batch.steps.iter().map(|_| Ok(())).collect();
        Ok(Outcomes {
            turns: turns.into_iter().map(Ok).collect(),
            calls: calls.into_iter().map(Ok).collect(),
            steps,
        })
    }

    /// One savepoint for each command.
    async fn write_singly(&mut self, script: &mut Script, batch: &mut Batch) -> Result<Outcomes, BatchError> {
        batch::write_hits(script, &batch.hits);
        script.run(&mut self.conn).await?;
        let context = batch::Context { run_id: self.shared.run_id, limits: &self.shared.limits };
        let (conn, state) = (&mut self.conn, &mut self.state);
        let mut outcomes = Outcomes { turns: Vec::new(), calls: Vec::new(), steps: Vec::new() };
        for turn in &batch.turns {
            transaction::begin_one(conn).await?;
            let one = std::slice::from_ref(turn);
            let written = match state.write_turns(conn, script, &context, one).await {
                Ok(replies) => script.run(conn).await.map(|()| replies).map_err(BatchError::from),
                Err(error) => Err(error),
            };
            outcomes.turns.push(one_outcome(conn, state, written).await?);
        }
        for call in &batch.calls {
            transaction::begin_one(conn).await?;
            let written = inbox::write_calls(conn, state, &context, std::slice::from_ref(call)).await;
            outcomes.calls.push(one_outcome(conn, state, written.map_err(BatchError::from)).await?);
        }
        for step in &mut batch.steps {
            transaction::begin_one(conn).await?;
            let written = step.run(conn).await.map(|()| vec![()]);
            outcomes.steps.push(one_outcome(conn, state, written.map_err(BatchError::from)).await?);
        }
        Ok(outcomes)
    }

    /// It is on disk: memory learns it, then the callers do.
    fn succeed(&mut self, batch: Batch, outcomes: Outcomes) {
        self.each_hit(&batch.hits, |table, hit| table.stored(hit.client, hit.at, 1));
        self.give_back_keys(batch.turns.iter().zip(&outcomes.turns));
        for reply in batch.hit_replies {
            reply.send(Ok(())).ok();
        }
        for (turn, outcome) in batch.turns.into_iter().zip(outcomes.turns) {
            self.note(outcome.as_ref().err());
            turn.reply.send(outcome).ok();
        }
        for (call, outcome) in batch.calls.into_iter().zip(outcomes.calls) {
            self.note(outcome.as_ref().err());
            call.finish(outcome, &self.shared.memory);
        }
        for (step, outcome) in batch.steps.into_iter().zip(outcomes.steps) {
            self.note(outcome.as_ref().err());
            step.finish(outcome, &self.shared.memory);
        }
    }

    /// Nothing of it is on disk.
    fn fail(&mut self, batch: Batch, error: &BatchError) {
        self.state.forget_numbers();
        let error = error.to_store_error();
        self.note(Some(&error));
        self.each_hit(&batch.hits, |table, hit| table.undo(hit.client, hit.at, 1));
        let failed = Err(error.clone());
        self.give_back_keys(batch.turns.iter().zip(std::iter::repeat(&failed)));
        for reply in batch.hit_replies {
            reply.send(Err(error.clone())).ok();
        }
        for turn in batch.turns {
            turn.reply.send(Err(error.clone())).ok();
        }
        for call in batch.calls {
            call.finish(Err(error.clone()), &self.shared.memory);
        }
        for step in batch.steps {
            step.finish(Err(error.clone()), &self.shared.memory);
        }
    }

    fn give_back_keys<'a>(
        &self,
        turns: impl Iterator<Item = (&'a TurnCommand, &'a Result<MessageId, StoreError>)>,
    ) {
        let mut keys = turns.filter_map(|(turn, outcome)| turn.key_given_back(outcome)).peekable();
        if keys.peek().is_some() {
            self.shared.memory.give_back_keys(keys);
        }
    }

    fn each_hit(&self, hits: &[Hit], apply: impl Fn(&mut batch::Windows, &Hit)) {
        for scope in Scope::ALL {
            if hits.iter().any(|hit| hit.scope == scope) {
                let mut windows = self.shared.memory.windows(scope);
                hits.iter().filter(|hit| hit.scope == scope).for_each(|hit| apply(&mut windows, hit));
            }
        }
    }

    /// An error is logged and counted once, here.
    fn note(&self, error: Option<&StoreError>) {
        if let Some(error) = error {
            tracing::error!(%error, "a write failed");
            self.shared.metrics.writer.failed(kind_of(error));
        }
    }

    /// Loads memory again if another process wrote, and probes the store if the last write failed.
    async fn look_for_edits(&mut self, at_once: bool) {
        if !at_once && self.shared.memory.since_last_look() < LOOK_FOR_EDITS_EVERY {
            return;
        }
        self.shared.memory.looks_now();
        if let Err(error) = self.reload_if_edited().await {
            tracing::warn!(%error, "could not look for edits by other processes");
        }
        if self.has_moved() {
            self.shared.memory.writes_ok.store(false, Ordering::Relaxed);
        } else if !self.shared.memory.writes_ok.load(Ordering::Relaxed) {
            let probe = sweep::probe(&mut self.conn, self.busy_timeout).await;
            self.shared.memory.writes_ok.store(probe.is_ok(), Ordering::Relaxed);
        }
    }

    /// Whether the path names another file, or none: what is written now would be lost with the old one.
    fn has_moved(&self) -> bool {
        FileId::of(&self.path) != self.file
    }

    async fn reload_if_edited(&mut self) -> Result<(), sqlx::Error> {
        let version = data_version(&mut self.conn).await?;
        if version != self.data_version {
            self.state.forget_numbers();
            self.shared.memory.load(&mut self.conn, self.shared.clock.now()).await?;
            self.shared.memory.edits.fetch_add(1, Ordering::Relaxed);
            self.shared.edited.notify_one();
            tracing::debug!("another process wrote to the database: memory was loaded again");
            self.data_version = version;
        }
        Ok(())
    }
}

impl BatchError {
    fn to_store_error(&self) -> StoreError {
        match self {
            Self::Sql(error) | Self::InDoubt(error) => store_error(error),
            Self::Moved => StoreError::Unavailable("its file was moved or replaced".into()),
        }
    }
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

/// A number that changes when another connection has committed, <https://sqlite.org/pragma.html#pragma_data_version>.
pub(super) async fn data_version(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(conn).await
}
