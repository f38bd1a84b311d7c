//! What the store keeps in memory: live tokens, rate windows, keys at work, and the index of keys on record.
//!
//! The database is always right. Memory is what it said last, and what is on its way to it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::SqliteConnection;
use tokio::{
    sync::{Notify, SetOnce},
    time::Instant,
};

use super::{
    StoreLimits,
    inbox::{WaitingCount, count_waiting},
    key_index::{KeyIndex, Places},
    rate_limit::stored_hits,
    retention::Progress,
};
use crate::domain::{
    channel::ChannelKind,
    client::Owner,
    id::{MessageId, TokenId},
    idempotency::{BodyHash, IdempotencyKey},
    rate::{RateClient, RateTable, Scope},
    time::Millis,
    token::TokenHash,
};
use crate::{repository::StoreError, telemetry::Metrics};

pub(super) struct Memory {
    tokens: RwLock<HashMap<TokenHash, LiveToken>>,
    pair: Mutex<RateTable<RateClient>>,
    webhook: Mutex<RateTable<RateClient>>,
    signature: Mutex<RateTable<RateClient>>,
    pub(super) waiting: WaitingCount,
    /// How often another process wrote.
    pub(super) edits: AtomicU64,
    channels: Vec<ChannelKind>,
    keys: Mutex<Keys>,
    /// All keys on record are in the index.
    keys_are_read: SetOnce<()>,
    keys_are_crowded: Notify,
    swept_to: AtomicI64,
    forgotten_to: Mutex<Progress>,
    looked_at: Mutex<Instant>, // when the writer last looked for edits by other processes
    pub(super) writes_ok: AtomicBool,
    /// Whether the writer does not know what became of its last commit: until it does, it takes nothing more.
    pub(super) in_doubt: AtomicBool,
}

/// A token that is not revoked.
#[derive(Debug, Clone, Copy)]
struct LiveToken {
    id: TokenId,
    expires_at: Option<Millis>,
}

impl LiveToken {
    fn is_live(&self, now: Millis) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

pub(super) type KeyId = (Owner, IdempotencyKey);

/// The idempotency keys, as far as memory knows them.
#[derive(Default)]
struct Keys {
    running: HashMap<KeyId, Running>,
    on_record: KeyIndex,
}

impl Keys {
    /// How far a key is, if it is at work still.
    fn set_stage(&mut self, id: &KeyId, stage: Stage) {
        if let Some(running) = self.running.get_mut(id) {
            running.stage = stage;
        }
    }
}

/// A key at work.
#[derive(Debug, Clone, Copy)]
struct Running {
    body: BodyHash,
    since: Millis,
    stage: Stage,
}

/// How far a key at work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The database is being asked about it.
    LookedUp,
    /// It was claimed, in memory only.
    Claimed,
    /// Its claim is on its way to disk, or there already.
    Queued,
}

/// What memory says about a key.
#[derive(Debug)]
pub(super) enum KeyState {
    /// It was free, and now belongs to the caller.
    Taken,
    /// It is being worked on.
    Running(BodyHash, Millis),
    /// It may be on record there. It belongs to the caller until [`Memory::looked_up`] says what the database said.
    AskTheDatabase(Places),
    /// Another caller asks the database about it.
    LookedUp,
    /// The keys on record are still being read.
    NotRead,
}

impl Memory {
    pub(super) fn new(limits: &StoreLimits, metrics: &Metrics) -> Self {
        Self {
            tokens: RwLock::default(),
            pair: Mutex::new(RateTable::new(limits.pair_per_minute, limits.rate_clients)),
            webhook: Mutex::new(RateTable::new(limits.webhook_per_minute, limits.rate_clients)),
            signature: Mutex::new(RateTable::new(limits.signature_per_minute, limits.rate_clients)),
            waiting: WaitingCount::new(metrics.channels.waiting().clone()),
            edits: AtomicU64::new(0),
            channels: limits.channels.clone(),
            keys: Mutex::default(),
            keys_are_read: SetOnce::new(),
            keys_are_crowded: Notify::new(),
            swept_to: AtomicI64::new(0),
            forgotten_to: Mutex::default(),
            looked_at: Mutex::new(Instant::now()),
            writes_ok: AtomicBool::new(true),
            in_doubt: AtomicBool::new(false),
        }
    }

    /// The windows of one scope.
    pub(super) fn windows(&self, scope: Scope) -> MutexGuard<'_, RateTable<RateClient>> {
        match scope {
            Scope::Pair => lock(&self.pair),
            Scope::Webhook => lock(&self.webhook),
            Scope::Signature => lock(&self.signature),
        }
    }

    /// The live token with this hash.
    pub(super) fn find_token(&self, hash: &TokenHash, now: Millis) -> Option<TokenId> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(hash).filter(|token| token.is_live(now)).map(|token| token.id)
    }

    /// Whether any token is live.
    pub(super) fn any_token(&self, now: Millis) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().any(|token| token.is_live(now))
    }

    /// A token without an end is on disk.
    pub(super) fn add_token(&self, hash: TokenHash, id: TokenId) {
        let token = LiveToken { id, expires_at: None };
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(hash, token);
    }

    /// Takes a key, for good if it is certainly free.
    pub(super) fn take_key(&self, id: &KeyId, body: BodyHash, now: Millis) -> KeyState {
        let mut keys = lock(&self.keys);
        match keys.running.get(id) {
            Some(Running { stage: Stage::LookedUp, .. }) => return KeyState::LookedUp,
            Some(running) => return KeyState::Running(running.body, running.since),
            None => {}
        }
        if !self.keys_are_read.initialized() {
            return KeyState::NotRead;
        }
        let (stage, answer) = match keys.on_record.find(named(id)) {
            None => (Stage::Claimed, KeyState::Taken),
            Some(places) => (Stage::LookedUp, KeyState::AskTheDatabase(places)),
        };
        keys.running.insert(id.clone(), Running { body, since: now, stage });
        answer
    }

    /// The database was asked about a key: it is free, and stays with the caller, or it is not.
    pub(super) fn looked_up(&self, id: &KeyId, is_free: bool) {
        let mut keys = lock(&self.keys);
        if is_free {
            keys.set_stage(id, Stage::Claimed);
        } else {
            keys.running.remove(id);
        }
    }

    /// Takes a key that is on record as running.
    pub(super) fn take_running_key(&self, id: &KeyId, body: BodyHash, since: Millis) {
        let mut keys = lock(&self.keys);
        keys.running.insert(id.clone(), Running { body, since, stage: Stage::Queued });
    }

    /// Keys on record: on each line a message, an owner and a key. What is none is passed over, for nobody asks about it.
    pub(super) fn add_keys(&self, lines: &[u8]) {
        let parse = |line| {
            let (message, key) = str::from_utf8(line).ok()?.split_once(' ')?;
            let (owner, key) = key.split_once(' ')?;
            Some((message.parse().ok()?, owner.parse().ok()?, key))
        };
        let mut keys = lock(&self.keys);
        for (message, owner, key) in lines.split(|byte| *byte == b'\n').filter_map(parse) {
            keys.on_record.add((owner, key), message);
        }
    }

    /// All keys on record are in the index.
    pub(super) fn keys_are_read(&self) {
        self.keys_are_read.set(()).ok(); // it may be so already
    }

    /// Waits for that.
    pub(super) async fn until_keys_are_read(&self) {
        self.keys_are_read.wait().await;
    }

    /// Waits until the index has so much that it is time to forget.
    pub(super) async fn until_keys_are_crowded(&self) {
        self.keys_are_crowded.notified().await;
    }

    /// See [`KeyIndex::newest_written`].
    pub(super) fn newest_part_written(&self) -> i64 {
        lock(&self.keys).on_record.newest_written()
    }

    /// See [`KeyIndex::forget`]. Returns whether that was the last step.
    pub(super) fn forget_keys(&self, step: usize, living: &[i64], newest: i64) -> bool {
        lock(&self.keys).on_record.forget(step, living, newest)
    }

    /// See [`KeyIndex::remove`].
    pub(super) fn remove_places(&self, id: &KeyId, messages: &[i64]) {
        lock(&self.keys).on_record.remove(named(id), messages);
    }

    /// Whether all keys on record are in the index.
    #[cfg(test)]
    pub(super) fn keys_have_been_read(&self) -> bool {
        self.keys_are_read.initialized()
    }

    /// Where a key may be on record, as far as keys have been read.
    #[cfg(test)]
    pub(super) fn places_of(&self, id: &KeyId) -> Option<Places> {
        lock(&self.keys).on_record.find(named(id))
    }

    /// Queues the claim of a key, which is on its way to disk from then on. In one step: else the writer could have given the key back
    /// before that is noted, and the note would be of the next caller's claim.
    pub(super) fn queue_claim(
        &self,
        id: &KeyId,
        queue: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut keys = lock(&self.keys);
        queue()?;
        keys.set_stage(id, Stage::Queued);
        Ok(())
    }

    /// The claim of a key did not come to be on disk, and whoever has the key has it still.
    pub(super) fn claim_is_refused(&self, id: &KeyId) {
        lock(&self.keys).set_stage(id, Stage::Claimed);
    }

    /// Waits until the claim of a key at work is on its way to disk, which it is some milliseconds after the key was taken.
    pub(super) async fn wait_until_queued(&self, id: &KeyId) {
        self.wait_while(id, |stage| stage != Stage::Queued).await;
    }

    /// Waits until the database has said what another caller asked about a key.
    pub(super) async fn wait_until_looked_up(&self, id: &KeyId) {
        self.wait_while(id, |stage| stage == Stage::LookedUp).await;
    }

    async fn wait_while(&self, id: &KeyId, waits_at: impl Fn(Stage) -> bool) {
        let waits = || lock(&self.keys).running.get(id).is_some_and(|running| waits_at(running.stage));
        while waits() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Gives keys back whose work has ended, each with its message if it stays on record.
    pub(super) fn give_back_keys<'a>(&self, ended: impl Iterator<Item = (&'a KeyId, Option<MessageId>)>) {
        let keys = &mut *lock(&self.keys);
        for (id, message) in ended {
            keys.running.remove(id);
            if let Some(message) = message {
                keys.on_record.add_written(named(id), message);
            }
        }
        if keys.on_record.is_crowded() {
            self.keys_are_crowded.notify_one();
        }
    }

    /// Gives a key back of which nobody knows a message. If its claim is on its way to disk, it may come to be on record.
    pub(super) fn give_back_lost_key(&self, id: &KeyId) {
        let keys = &mut *lock(&self.keys);
        if keys.running.remove(id).is_some_and(|running| running.stage == Stage::Queued) {
            keys.on_record.add_anywhere(named(id));
        }
    }

    /// The time since memory was last compared with the database.
    pub(super) fn since_last_look(&self) -> Duration {
        lock(&self.looked_at).elapsed()
    }

    pub(super) fn looks_now(&self) {
        *lock(&self.looked_at) = Instant::now();
    }

    /// Where the sweep through the keys goes on: behind the key of this message.
    pub(super) fn swept_to(&self) -> i64 {
        self.swept_to.load(Ordering::Relaxed)
    }

    pub(super) fn set_swept_to(&self, message: i64) {
        self.swept_to.store(message, Ordering::Relaxed);
    }

    /// Where the rounds of forgetting stand.
    pub(super) fn forgotten_to(&self) -> Progress {
        *lock(&self.forgotten_to)
    }

    pub(super) fn set_forgotten_to(&self, progress: Progress) {
        *lock(&self.forgotten_to) = progress;
    }

    /// Reads everything from the database but the keys.
    pub(super) async fn load(&self, conn: &mut SqliteConnection, now: Millis) -> Result<(), sqlx::Error> {
        self.load_tokens(conn).await?;
        self.load_windows(conn, now).await?;
        self.waiting.set_stored(count_waiting(conn, &self.channels).await?);
        Ok(())
    }

    async fn load_tokens(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let rows = sqlx::query!(
            r#"SELECT id AS "id!: i64", token_hash AS "token_hash!: String", expires_at_ms AS "expires_at_ms: i64"
               FROM token WHERE revoked_at_ms IS NULL"#
        )
        .fetch_all(conn)
        .await?;
        let tokens = rows.into_iter().filter_map(|row| {
            let token = LiveToken { id: TokenId(row.id), expires_at: row.expires_at_ms.map(Millis) };
            Some((TokenHash::from_hex(&row.token_hash)?, token))
        });
        let tokens = tokens.collect();
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }

    async fn load_windows(&self, conn: &mut SqliteConnection, now: Millis) -> Result<(), sqlx::Error> {
        let hits = stored_hits(conn, now).await?;
        for scope in Scope::ALL {
            let of_scope = hits.iter().filter(|hit| hit.scope == scope);
            self.windows(scope).reload(of_scope.map(|hit| (hit.client, hit.at, hit.hits)), now);
        }
        Ok(())
    }
}

/// A key as the index takes it.
fn named((owner, key): &KeyId) -> (Owner, &str) {
    (*owner, key.as_str())
}

/// A poisoned lock is taken all the same: what it guards is never left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest that a change by another process goes unseen.
pub(super) const LOOK_FOR_EDITS_EVERY: Duration = Duration::from_millis(250);
