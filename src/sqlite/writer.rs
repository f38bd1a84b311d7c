//! The writer: one thread that owns the one connection that writes.
//!
//! SQLite has one writer, and a commit costs an fsync. So all that waits is written in one transaction and committed once,
//! and only then is each caller answered; while one batch is being committed the next one gathers by itself. The frequent
//! commands (hits, turns, calls of platforms) are written together, all of a kind with few statements, see
//! [`batch`](super::batch) and [`inbox`](super::inbox), and with their rows what fills memory ([`remember`](super::remember)); the others
//! ([`Step`](super::command::Step)) run one after the other.
//!
//! What came of a batch is told by a task of the runtime that opened the store, where most callers wait ([`reply`]); the writer goes on
//! with the next one (`docs/decisions/0026-the-writer-has-a-thread.md`).
//!
//! A command that fails does not fail its neighbours: the batch is rolled back and written again command by command, each
//! under a savepoint. An error of the store itself (busy, full, I/O) fails the whole batch, of which nothing is written.

mod attempt;
mod reply;

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection};
use tokio::{
    runtime::Builder,
    sync::{
        mpsc::{self, UnboundedSender},
        oneshot,
    },
    task::JoinHandle,
    time::{Interval, MissedTickBehavior},
};

use super::{
    DatabaseSettings, Shared,
    batch::{BatchError, BatchState, Planned},
    checkpoint::{self, Committed},
    error::store_error,
    gathered::Batch,
    memory::LOOK_FOR_EDITS_EVERY,
    open::ServerLock,
    queue::Queues,
    statements::{Connection, SharedConnection},
    sweep,
};
use crate::{
    repository::StoreError,
    telemetry::{metrics::RemovedKind, trace::Span},
};
use attempt::{Manner, Outcomes};
pub(super) use reply::News;
use reply::tell_callers;

/// The first and the longest pause before a commit in doubt is tried again.
const PAUSE_IN_DOUBT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// The writer, all of it but its connection.
struct Writer {
    shared: Arc<Shared>,
    queues: Queues,
    news: UnboundedSender<News>,
    tick: Interval,
    open: bool, // more commands may come
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

/// A batch that is being committed.
struct Commit {
    batch: Batch,
    span: Span,
    started: Duration,
}

/// Where the writing of rows alone ended.
enum Left {
    /// At a batch that needs more, or has more to it.
    Batch(Batch),
    /// At a batch that could not be written.
    Failed(Commit, BatchError),
    /// After one that was written: it is time for something else, or to end.
    Nothing,
}

/// Starts the writer's thread, on which it writes until it is asked to end; then it refuses new commands, writes the last ones and
/// closes the file. Where nobody can be told any more, it ends as if it had been killed. What is returned ends when all of it is told.
///
/// The connection comes with the lock of its file, and with its [`data_version`] from before memory was loaded.
///
/// # Errors
/// When the system has no thread for it.
pub(super) fn start(
    (conn, handle, lock): (SqliteConnection, SharedConnection, Option<ServerLock>),
    data_version: i64,
    shared: &Arc<Shared>,
    queues: Queues,
    settings: &DatabaseSettings,
) -> io::Result<JoinHandle<()>> {
    let (news, to_tell) = mpsc::unbounded_channel();
    let teller = tokio::spawn(tell_callers(Arc::clone(shared), to_tell));
    let (shared, path, busy_timeout) = (Arc::clone(shared), settings.path.clone(), settings.busy_timeout);
    let file = FileId::of(&path);
    let work = move || {
        let work = async move {
            // A tick may come a moment before the last look is as old as the pause between two: it looks all the same.
            let mut tick = tokio::time::interval(LOOK_FOR_EDITS_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (open, state, committed) = (true, BatchState::default(), Committed::default());
            let writer = Writer {
                shared,
                queues,
                news,
                tick,
                open,
                state,
                data_version,
                committed,
                path,
                file,
                busy_timeout,
            };
            writer.run_and_close(lock, conn, handle).await;
        };
        match Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(work),
            Err(error) => tracing::error!(%error, "the thread of the writer cannot work"),
        }
    };
    thread::Builder::new().name("writer".into()).spawn(work)?;
    Ok(teller)
}

impl Writer {
    /// What is left at its end, or if it panics, is dropped in this order: what holds the connection, the connection, the lock, the news.
    async fn run_and_close(
        mut self,
        lock: Option<ServerLock>,
        mut conn: SqliteConnection,
        handle: SharedConnection,
    ) {
        let mut both = Connection::new(&mut conn, &handle);
        self.run(&mut both).await;
        if !self.news.is_closed() {
            self.end(&mut both).await;
        }
        drop(both);
        drop(handle);
        conn.close().await.ok();
        drop(lock);
        drop(self); // with it the news end, and with them the teller, for which whoever closes the store waits
    }

    async fn run(&mut self, conn: &mut Connection<'_>) {
        while self.open {
            let batch = self.next().await;
            let is_of_rows = self.is_of_rows(&batch);
            let left = if is_of_rows { self.write_rows(conn, batch).await } else { Left::Batch(batch) };
            let (mut at_once, mut looks) = (false, Vec::new());
            match left {
                Left::Batch(mut batch) => {
                    looks = std::mem::take(&mut batch.looks);
                    at_once = batch.ticked || !looks.is_empty();
                    self.commit(conn, batch).await;
                }
                Left::Failed(commit, error) => self.complete(conn, commit, Err(error)).await,
                Left::Nothing => {}
            }
            if self.wal_is_long() {
                self.copy_the_rest(conn).await;
            }
            self.look_for_edits(conn, at_once).await;
            for look in looks {
                self.say(News::SoFar(look));
            }
        }
    }

    /// Waits for a batch, or for a tick, which comes with an empty one.
    async fn next(&mut self) -> Batch {
        let looks_unasked = self.looks_unasked();
        let take = self.queues.take();
        #[cfg(test)]
        let take = self.shared.gate.pass(take);
        let (taken, ticked) = tokio::select! {
            biased;
            taken = take => (taken, false),
            () = self.news.closed() => (None, false),
            _ = self.tick.tick(), if looks_unasked => (Some(Vec::new()), true),
        };
        self.open = taken.is_some();
        let commands = taken.unwrap_or_default();
        self.shared.metrics.writer.queue().lower(commands.len() as u64);
        let mut batch = Batch { ticked, ..Batch::default() };
        for command in commands {
            self.open &= batch.add(command);
        }
        batch
    }

    /// Refuses new commands and writes the last ones.
    async fn end(&mut self, conn: &mut Connection<'_>) {
        let mut batch = Batch::default();
        for command in self.queues.close() {
            batch.add(command);
        }
        self.commit(conn, batch).await;
        if self.shared.run_id != 0 {
            let now = self.shared.clock.now();
            if let Err(error) = sweep::end_run(conn.sqlx(), self.shared.run_id, now).await {
                tracing::error!(%error, "the end of the run could not be noted");
            }
        }
    }

    /// Whether a batch is rows and nothing else, for which nothing must be read.
    fn is_of_rows(&self, batch: &Batch) -> bool {
        batch.is_of_rows() && self.state.can_plan(&batch.turns)
    }

    /// Writes batches as long as they are rows and nothing else, so that the connection need not change hands for each.
    async fn write_rows(&mut self, conn: &mut Connection<'_>, mut batch: Batch) -> Left {
        let mut lock = match conn.lock().await {
            Ok(lock) => lock,
            Err(error) => return Left::Failed(self.begin(batch), error.into()),
        };
        loop {
            if self.has_moved() {
                return Left::Batch(batch);
            }
            let mut commit = self.begin(batch);
            match self.write_planned(lock.statements(), &mut commit.batch, Vec::new(), Planned::commit) {
                Ok(written) => self.finish(commit, Ok(written.into())),
                Err(error) => return Left::Failed(commit, error),
            }
            if !self.open || self.is_time_to_look() || self.wal_is_long() {
                return Left::Nothing;
            }
            batch = self.next().await;
            if !self.is_of_rows(&batch) {
                return Left::Batch(batch);
            }
        }
    }

    async fn commit(&mut self, conn: &mut Connection<'_>, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if self.has_moved() {
            return self.give_up(batch, &BatchError::Moved);
        }
        let mut commit = self.begin(batch);
        let result = self.write(conn, &mut commit.batch, Manner::Together).await;
        self.complete(conn, commit, result).await;
    }

    fn begin(&self, mut batch: Batch) -> Commit {
        let span = self.shared.metrics.traces.batch(batch.links(), batch.commands);
        Commit { batch, span, started: self.shared.clock.monotonic() }
    }

    /// Brings a commit to its end, whatever came of the first attempt.
    async fn complete(
        &mut self,
        conn: &mut Connection<'_>,
        mut commit: Commit,
        mut result: Result<Outcomes, BatchError>,
    ) {
        let batch = &mut commit.batch;
        result = self.write_singly_if_one_is_at_fault(conn, batch, result).await;
        if let Err(BatchError::InDoubt(_)) = result {
            result = self.write_until_sure(conn, batch, result).await;
        }
        self.finish(commit, result);
    }

    fn finish(&mut self, commit: Commit, result: Result<Outcomes, BatchError>) {
        let Commit { batch, mut span, started } = commit;
        match &result {
            Ok(outcomes) => {
                let took = self.shared.clock.monotonic().saturating_sub(started);
                self.shared.metrics.writer.committed(batch.commands, took);
                self.shared.metrics.store.removed(RemovedKind::KeyOverLimit, outcomes.dropped_keys);
                if self.committed.add(batch.commands) {
                    self.shared.checkpoint.notify_one();
                }
            }
            Err(_) => span.fail("storage"),
        }
        drop(span);
        if result.is_err() || batch.writes() {
            self.shared.memory.writes_ok.store(result.is_ok(), Ordering::Relaxed);
        }
        match result {
            Ok(outcomes) => self.say(News::Written(batch, outcomes)),
            Err(error) => self.give_up(batch, &error),
        }
    }

    /// Nothing of it is on disk.
    fn give_up(&mut self, batch: Batch, error: &BatchError) {
        self.state.forget_numbers();
        self.say(News::Failed(batch, error.to_store_error()));
    }

    /// Where nobody listens any more, the writer ends.
    fn say(&mut self, news: News) {
        #[cfg(test)]
        self.shared.gate.said(&news);
        if self.news.send(news).is_err() {
            self.open = false;
        }
    }

    /// The disk did not say whether it has the commit: SQLite has undone it, but its pages stand in the WAL, and it would come
    /// back after a crash. So nobody is told anything before another commit has taken the place of those pages: that of the
    /// same batch, as soon as the disk takes it. A caller that gives up meanwhile does not know what became of its request,
    /// which is how it is.
    async fn write_until_sure(
        &mut self,
        conn: &mut Connection<'_>,
        batch: &mut Batch,
        mut result: Result<Outcomes, BatchError>,
    ) -> Result<Outcomes, BatchError> {
        let (mut pause, longest) = PAUSE_IN_DOUBT;
        self.shared.memory.in_doubt.store(true, Ordering::Relaxed);
        while let Err(error) = &result
            && !self.shared.closing.load(Ordering::Relaxed)
            && !self.news.is_closed()
        {
            self.shared.note_failure(&error.to_store_error());
            self.shared.memory.writes_ok.store(false, Ordering::Relaxed);
            self.state.forget_numbers();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            result = self.write(conn, batch, Manner::Together).await;
            result = self.write_singly_if_one_is_at_fault(conn, batch, result).await;
        }
        self.shared.memory.in_doubt.store(false, Ordering::Relaxed);
        result
    }

    /// Memory has learned all that is on disk: what it loads then is not counted once more.
    async fn until_all_is_told(&mut self) {
        let (reply, told) = oneshot::channel();
        self.say(News::SoFar(reply));
        tokio::select! {
            _ = told => {}
            () = self.news.closed() => self.open = false,
        }
    }

    fn is_time_to_look(&self) -> bool {
        self.looks_unasked() && self.shared.memory.since_last_look() >= LOOK_FOR_EDITS_EVERY
    }

    /// Whether it looks for edits that nobody told it of, which it does unless a test wants quiet.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "a test has a say"))]
    fn looks_unasked(&self) -> bool {
        #[cfg(test)]
        return !self.shared.gate.is_shut();
        #[cfg(not(test))]
        true
    }

    fn wal_is_long(&self) -> bool {
        self.shared.wal_is_long.load(Ordering::Relaxed)
    }

    /// Copies into the file what is left of a long WAL, which begins anew with the next batch then.
    async fn copy_the_rest(&self, conn: &mut Connection<'_>) {
        if let Err(error) = checkpoint::copy_once(conn.sqlx()).await {
            checkpoint::warn(&error);
        }
        self.shared.wal_is_long.store(false, Ordering::Relaxed);
    }

    /// Loads memory again if another process wrote, and probes the store if the last write failed.
    async fn look_for_edits(&mut self, conn: &mut Connection<'_>, at_once: bool) {
        if !at_once && !self.is_time_to_look() {
            return;
        }
        self.shared.memory.looks_now();
        if let Err(error) = self.reload_if_edited(conn.sqlx()).await {
            tracing::warn!(%error, "could not look for edits by other processes");
        }
        if self.has_moved() {
            self.shared.memory.writes_ok.store(false, Ordering::Relaxed);
        } else if !self.shared.memory.writes_ok.load(Ordering::Relaxed) {
            let probe = sweep::probe(conn.sqlx(), self.busy_timeout).await;
            self.shared.memory.writes_ok.store(probe.is_ok(), Ordering::Relaxed);
        }
    }

    /// Whether the path names another file, or none: what is written now would be lost with the old one.
    fn has_moved(&self) -> bool {
        FileId::of(&self.path) != self.file
    }

    async fn reload_if_edited(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let version = data_version(conn).await?;
        if version != self.data_version {
            self.state.forget_numbers();
            self.until_all_is_told().await;
            self.shared.memory.load(conn, self.shared.clock.now()).await?;
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

/// A number that changes when another connection has committed, <https://sqlite.org/pragma.html#pragma_data_version>.
pub(super) async fn data_version(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(conn).await
}
