//! The writer: one thread that owns the one connection that writes.
//!
//! SQLite has one writer, and a commit costs an fsync. So all that waits is written in one transaction and committed once,
//! and only then is each caller answered; while one batch is being committed the next one gathers by itself. The frequent
//! commands (hits, turns, calls of platforms) are written together, all of a kind with few statements, see
//! [`batch`](super::batch) and [`inbox`](super::inbox), and with their rows what fills memory ([`remember`](super::remember)); the others
//! ([`Step`](super::command::Step)) run one after the other.
//!
//! What came of a batch is told by a task beside those that answer requests ([`reply`]): the writer goes on with the next one, and each
//! caller is woken on its own thread (`docs/decisions/0026-the-writer-has-a-thread.md`).
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
    sync::{mpsc::UnboundedSender, oneshot},
    time::{Interval, MissedTickBehavior},
};

use super::{
    DatabaseSettings, Shared,
    batch::{BatchError, BatchState, Planned},
    checkpoint::{self, Committed},
    error::store_error,
    gathered::Batch,
    memory::LOOK_FOR_EDITS_EVERY,
    queue::Queues,
    statements::{Connection, Handle},
    sweep,
};
use crate::{
    repository::StoreError,
    telemetry::{metrics::RemovedKind, trace::Span},
};
use attempt::{Manner, Outcomes};
pub(super) use reply::{News, tell};

/// The first and the longest pause before a commit in doubt is tried again.
const PAUSE_IN_DOUBT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// The writer's state.
pub(super) struct Writer {
    conn: SqliteConnection,
    handle: Handle,
    core: Core,
}

/// All of it but the connection.
struct Core {
    shared: Arc<Shared>,
    queues: Queues,
    news: UnboundedSender<News>,
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

impl Writer {
    /// With the connection goes its [`data_version`] from before memory was loaded.
    pub(super) fn new(
        (conn, data_version): (SqliteConnection, i64),
        handle: Handle,
        shared: &Arc<Shared>,
        queues: Queues,
        news: UnboundedSender<News>,
        settings: &DatabaseSettings,
    ) -> Self {
        let (path, busy_timeout) = (settings.path.clone(), settings.busy_timeout);
        let (shared, state, file) = (Arc::clone(shared), BatchState::default(), FileId::of(&path));
        let committed = Committed::default();
        let core = Core {
            shared,
            queues,
            news,
            open: true,
            state,
            data_version,
            committed,
            path,
            file,
            busy_timeout,
        };
        Self { conn, handle, core }
    }

    /// Starts its thread, on which it writes until it is asked to end; then it refuses new commands, writes the last ones and closes the
    /// file. Where nobody can be told any more, it ends as if it had been killed.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start(self) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let run = move || runtime.block_on(self.run());
        thread::Builder::new().name("writer".into()).spawn(run).map(drop)
    }

    async fn run(self) {
        let Self { mut conn, handle, mut core } = self;
        let mut both = Connection::new(&mut conn, &handle);
        core.run(&mut both).await;
        if !core.news.is_closed() {
            core.end(&mut both).await;
        }
        drop(both);
        conn.close().await.ok();
        drop(core); // last: it ends what tells of it, for which whoever closes the store waits
    }
}

impl Core {
    async fn run(&mut self, conn: &mut Connection<'_>) {
        // A tick may come a moment before the last look is as old as the pause between two: it looks all the same.
        let mut tick = tokio::time::interval(LOOK_FOR_EDITS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.open {
            let batch = self.next(&mut tick).await;
            let is_of_rows = self.is_of_rows(&batch);
            let left =
                if is_of_rows { self.write_rows(conn, batch, &mut tick).await } else { Left::Batch(batch) };
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
                self.tell(News::Looked(look));
            }
        }
    }

    /// Waits for a batch, or for a tick, which comes with an empty one if nothing was there.
    async fn next(&mut self, tick: &mut Interval) -> Batch {
        let mut commands = Vec::new();
        let take = async {
            #[cfg(test)]
            let permit = self.shared.gate.permit().await;
            let more = self.queues.take(&mut commands).await;
            #[cfg(test)]
            self.shared.gate.taken(permit);
            more
        };
        let ticked = tokio::select! {
            biased;
            more = take => {
                self.open = more;
                false
            }
            () = self.news.closed() => {
                self.open = false;
                false
            }
            _ = tick.tick() => true,
        };
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
    async fn write_rows(&mut self, conn: &mut Connection<'_>, mut batch: Batch, tick: &mut Interval) -> Left {
        let mut lock = match conn.lock().await {
            Ok(lock) => lock,
            Err(error) => return Left::Failed(self.begin(batch), error.into()),
        };
        loop {
            if self.has_moved() {
                return Left::Batch(batch);
            }
            let mut commit = self.begin(batch);
            match self.write_planned(&mut lock, &mut commit.batch, Vec::new(), Planned::commit) {
                Ok(written) => self.finish(commit, Ok(written.into())),
                Err(error) => return Left::Failed(commit, error),
            }
            if !self.open || self.is_time_to_look() || self.wal_is_long() {
                return Left::Nothing;
            }
            batch = self.next(tick).await;
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
            Ok(outcomes) => self.tell(News::Written(batch, outcomes)),
            Err(error) => self.give_up(batch, &error),
        }
        #[cfg(test)]
        self.shared.gate.ended();
    }

    /// Nothing of it is on disk.
    fn give_up(&mut self, batch: Batch, error: &BatchError) {
        self.state.forget_numbers();
        self.tell(News::Failed(batch, error.to_store_error()));
    }

    /// If nobody is there to be told, the writer ends.
    fn tell(&self, news: News) {
        self.news.send(news).ok();
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
    async fn until_all_is_told(&self) {
        let (reply, told) = oneshot::channel();
        self.tell(News::Looked(reply));
        #[cfg(test)]
        self.shared.gate.waits();
        told.await.ok();
    }

    fn is_time_to_look(&self) -> bool {
        self.shared.memory.since_last_look() >= LOOK_FOR_EDITS_EVERY
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
