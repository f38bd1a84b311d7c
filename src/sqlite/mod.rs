//! The one implementation of the repository traits, and the only place with SQL.
//!
//! All writes go through one thread, the `writer`, which commits many at once. What every request needs to know is
//! mirrored in `memory`: it is loaded at the start, changed after each commit, and loaded again when another process
//! wrote to the database. Reads that memory cannot answer go to a pool of read-only connections.

mod admin;
mod backup;
mod batch;
mod check;
mod checkpoint;
mod command;
mod contents;
mod conversation;
mod copy;
mod error;
mod full_text;
mod gathered;
mod heartbeat;
mod inbox;
mod info;
mod key_index;
mod key_record;
mod memory;
mod open;
mod pairing;
mod queue;
mod rate_limit;
mod remember;
mod restore;
mod retention;
mod rotation;
mod rows;
mod statements;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod token;
mod transaction;
mod turn;
mod upkeep;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::SqlitePool;
use tokio::{sync::Notify, task::JoinHandle};

pub use backup::{Backup, back_up};
pub use check::{Checked, Finding, check};
pub use copy::{Progress, Stage, Watch};
pub use info::{Info, Run, info};
pub use open::{DatabaseSettings, OpenError};
pub use restore::{Restore, Restored};
pub use retention::{Keep, Removed, Retention};
pub use rotation::{Newest, Rotation, Schedule, newest_backup};
pub use survey::{Survey, survey};
pub use upkeep::{Migrated, UpkeepError, Vacuumed, migrate, vacuum};

use crate::{
    domain::channel::ChannelKind, repository::StoreError, system::SteadyClock, telemetry::metrics::Metrics,
};
use command::Command;
use memory::Memory;
use open::Database;
use queue::QueueSenders;
use statements::SharedConnection;

/// The limits that the store keeps.
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// Requests to `/pair` for each client in 60 s; 0: any number.
    pub pair_per_minute: u32,
    /// Requests to `/webhook` for each client in 60 s; 0: any number.
    pub webhook_per_minute: u32,
    /// Calls of platforms with a bad signature for each client in 60 s; 0: any number.
    pub signature_per_minute: u32,
    /// Clients that are tracked for each of the three.
    pub rate_clients: usize,
    /// How long the first lockout lasts.
    pub lockout: Duration,
    /// Wrong codes that end a pairing code.
    pub code_failures: u32,
    /// How long an answered idempotency key lives.
    pub key_ttl: Duration,
    /// Answered keys that are kept for each owner.
    pub keys_per_owner: u32,
    /// The channels that are configured.
    pub channels: Vec<ChannelKind>,
    /// Messages of them that may wait for their answer.
    pub waiting_messages: u64,
    /// Whether what users say is kept in memory.
    pub saves_memory: bool,
    /// How long finished things are kept.
    pub retention: Retention,
}

/// The store of a running gateway, or of a command beside it.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    teller: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    checkpoint: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What the repositories, the writer and the sweeper share.
pub(in crate::sqlite) struct Shared {
    queues: QueueSenders,
    memory: Memory,
    reads: SqlitePool,
    limits: StoreLimits,
    clock: Arc<SteadyClock>,
    metrics: Arc<Metrics>,
    run_id: i64,
    /// It is being closed: what waits for the disk to recover waits no longer.
    closing: AtomicBool,
    /// It is time for a checkpoint, or to end.
    checkpoint: Notify,
    /// The WAL is long, and little of it is left to copy.
    wal_is_long: AtomicBool,
    /// Another process wrote, perhaps a key.
    edited: Notify,
    #[cfg(test)]
    gate: tests::gate::Gate,
}

/// What the store is built from, besides the file.
#[derive(Clone)]
pub struct StoreParts {
    /// The limits it keeps.
    pub limits: StoreLimits,
    /// The time.
    pub clock: Arc<SteadyClock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

impl SqliteStore {
    /// Opens the store for the one server on this file: takes the lock, brings the schema up to date, begins a run.
    ///
    /// # Errors
    /// [`OpenError`], among them that another server has it open.
    pub async fn open(settings: &DatabaseSettings, parts: StoreParts) -> Result<Self, OpenError> {
        let database = open::open_as_server(settings).await?;
        Self::start(database, settings, parts, true).await
    }

    /// Opens the store for one command, beside a server that may be running on the same file.
    ///
    /// # Errors
    /// [`OpenError`], among them that the server's schema is older.
    pub async fn open_beside(settings: &DatabaseSettings, parts: StoreParts) -> Result<Self, OpenError> {
        let database = open::open_beside(settings).await?;
        Self::start(database, settings, parts, false).await
    }

    async fn start(
        mut database: Database,
        settings: &DatabaseSettings,
        parts: StoreParts,
        is_server: bool,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Sqlite { path: settings.path.clone(), source };
        let now = parts.clock.now();
        let run_id =
            if is_server { sweep::begin_run(&mut database.writer, now).await.map_err(failed)? } else { 0 };
        let version = writer::data_version(&mut database.writer).await.map_err(failed)?;
        let memory = Memory::new(&parts.limits, &parts.metrics);
        memory.load(&mut database.writer, now).await.map_err(failed)?;
        let handle = SharedConnection::of(&mut database.writer).await.map_err(failed)?;
        let (senders, queues) = queue::queues();
        let StoreParts { limits, clock, metrics } = parts;
        let reads = database.reads;
        let pool = reads.clone();
        metrics
            .store
            .watch(&settings.path, move || (pool.size() as usize).saturating_sub(pool.num_idle()) as u64);
        let (closing, checkpoint, edited) = (AtomicBool::new(false), Notify::new(), Notify::new());
        let shared = Arc::new(Shared {
            queues: senders,
            memory,
            reads,
            limits,
            clock,
            metrics,
            run_id,
            closing,
            checkpoint,
            wal_is_long: AtomicBool::new(false),
            edited,
            #[cfg(test)]
            gate: tests::gate::Gate::default(),
        });
        let checkpoint = if is_server { Some(open::connect_checkpoint(settings).await?) } else { None };
        let connection = (database.writer, handle, database.lock);
        let teller =
            writer::start(connection, version, &shared, queues, settings).map_err(OpenError::Thread)?;
        if is_server {
            let keeper = Arc::clone(&shared);
            tokio::spawn(async move { keeper.keep_keys().await });
        }
        let checkpoint = checkpoint.map(|conn| tokio::spawn(checkpoint::run(conn, Arc::clone(&shared))));
        let (teller, checkpoint) =
            (tokio::sync::Mutex::new(Some(teller)), tokio::sync::Mutex::new(checkpoint));
        Ok(Self { shared, teller, checkpoint })
    }

    /// Writes all that waits, ends the run, closes the file and gives the lock back, also if work that was not finished
    /// still holds a part of the store. Steps that come later fail.
    pub async fn close(&self) {
        // The writer's connection is the last one, so that SQLite writes the WAL back and removes it.
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.reads.close().await;
        self.shared.checkpoint.notify_one();
        self.shared.edited.notify_one();
        if let Some(checkpoint) = self.checkpoint.lock().await.take() {
            checkpoint.await.ok();
        }
        self.shared.queues.callers.send(Command::Close).await.ok();
        if let Some(teller) = self.teller.lock().await.take() {
            teller.await.ok(); // it ends when the writer has closed the file and given the lock back
        }
    }

    /// Forgets what has expired, a bounded batch of each kind. Returns whether there is likely more.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    pub async fn sweep_once(&self) -> Result<bool, StoreError> {
        self.shared.sweep_once().await.map(|round| round.more)
    }

    /// Forgets all that has expired or need not be kept, in rounds, and tells after each what was removed so far.
    ///
    /// # Errors
    /// [`StoreError`] if it takes no writes.
    pub async fn prune(&self, progress: &(dyn Fn(&Removed) + Sync)) -> Result<Removed, StoreError> {
        self.shared.prune(progress).await
    }
}

impl Shared {
    fn context(&self) -> batch::Context<'_> {
        batch::Context { run_id: self.run_id, limits: &self.limits }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}
