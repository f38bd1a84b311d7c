//! The store on a database that may not grow (SQLite's own error for that, which a limit on pages gives everywhere), and a
//! backup that is stopped.

mod checkpoint;
mod fault;
pub(in crate::sqlite) mod gate;
mod interleaving;
mod key;
mod news;
mod remember;
mod statements;

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    DatabaseSettings, Retention, SqliteStore, StoreLimits, StoreParts, UpkeepError, Watch, back_up,
    command::Step, memory::KeyId,
};
use crate::{
    domain::{
        client::Owner,
        id::TokenId,
        idempotency::{BodyHash, IdempotencyKey},
        message::{Account, Answer, MessageText},
        rate::{RateClient, Scope},
        time::Millis,
    },
    repository::{
        ClaimOutcome, HitOutcome, Lease, NewTurn, PendingHit, RateLimitRepository as _, StoreError,
        StoreStatusRepository as _, TurnEnd, TurnRepository as _,
    },
    system::{SteadyClock, SystemClock},
    telemetry::Metrics,
};

/// More pages than any test needs.
const NO_LIMIT: u32 = 1_000_000;

fn settings(folder: &TempDir) -> DatabaseSettings {
    DatabaseSettings {
        path: folder.path().join("moorgate.db"),
        full_sync: true,
        busy_timeout: Duration::from_secs(5),
        read_connections: 1,
    }
}

/// Limits that nothing here meets, and keys that outlive it; without a limit of pairing, and no channel.
fn limits() -> StoreLimits {
    StoreLimits {
        pair_per_minute: 0,
        webhook_per_minute: 1_000_000,
        signature_per_minute: 0,
        rate_clients: 1_000_000,
        lockout: Duration::from_mins(5),
        code_failures: 10_000,
        key_ttl: Duration::from_hours(1_000_000),
        keys_per_owner: 10,
        channels: Vec::new(),
        waiting_messages: 1_000_000,
        saves_memory: true,
        retention: Retention::default(),
    }
}

fn parts(limits: StoreLimits) -> StoreParts {
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock::new())));
    StoreParts { limits, clock, metrics: Metrics::disabled().into() }
}

async fn open_with(settings: &DatabaseSettings, limits: StoreLimits) -> SqliteStore {
    SqliteStore::open(settings, parts(limits)).await.unwrap()
}

async fn open(folder: &TempDir) -> SqliteStore {
    open_with(&settings(folder), limits()).await
}

/// A store whose writer looks for edits, and probes a disk that failed, only when it is asked.
async fn open_quiet(folder: &TempDir) -> SqliteStore {
    let store = gate::shut(open(folder)).await;
    store.shared.gate.open();
    store
}

/// A connection as another process has one.
async fn other(folder: &TempDir) -> SqliteConnection {
    super::open::options(&settings(folder)).connect().await.unwrap()
}

fn id(key: &str) -> KeyId {
    (Owner::Token(TokenId(1)), IdempotencyKey::stored(key).unwrap())
}

fn turn(key: &str) -> Box<NewTurn> {
    Box::new(NewTurn {
        owner: id(key).0,
        key: Some((id(key).1, BodyHash([0; 32]))),
        session: None,
        text: Arc::new(MessageText::new("hello".to_owned()).unwrap()),
        hit: None,
    })
}

/// How far a future comes at once.
pub(super) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Claims what is certainly free.
async fn claim(store: &SqliteStore, new: Box<NewTurn>, now: Millis) -> Lease {
    match store.claim(new, now).outcome().await.unwrap() {
        ClaimOutcome::Claimed(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn rate_client() -> RateClient {
    RateClient { token: None, address: std::net::IpAddr::from([127, 0, 0, 1]).into() }
}

/// A request that was let in.
fn hit(store: &SqliteStore, scope: Scope, now: Millis) -> PendingHit {
    match store.hit(scope, rate_client(), now) {
        HitOutcome::Admitted(hit, _) => hit,
        other => panic!("{other:?}"),
    }
}

fn answered() -> TurnEnd {
    TurnEnd::Answered(Answer { text: "an answer".into(), model: "m".into() }, Account::default())
}

/// Lets the file have so many pages; fewer than it has are as many as it has.
struct Limit(u32);

#[async_trait]
impl Step for Limit {
    type Output = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let limit = AssertSqlSafe(format!("PRAGMA max_page_count = {}", self.0));
        sqlx::query(limit).execute(conn).await.map(drop)
    }
}

/// Writes a label that needs a page of its own.
struct Write;

#[async_trait]
impl Step for Write {
    type Output = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let written = sqlx::query("INSERT INTO pairing_failure (client, failed_at_ms) VALUES (?1, 1)");
        written.bind("x".repeat(5000)).execute(conn).await.map(drop)
    }
}

async fn rows(store: &SqliteStore) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM pairing_failure");
    count.fetch_one(&store.shared.reads).await.unwrap()
}

#[tokio::test]
async fn a_full_database_refuses_writes_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let store = open_quiet(&folder).await;
    store.shared.step(None, Write).await.unwrap();
    store.shared.step(None, Limit(1)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.shared.step(None, Write).await, Err(StoreError::Full));
        assert!(!store.takes_writes(), "it is not ready");
    }
    assert_eq!(rows(&store).await, 1);

    store.shared.step(None, Limit(NO_LIMIT)).await.unwrap();
    store.shared.step(None, Write).await.unwrap();
    assert_eq!(rows(&store).await, 2);
    store.close().await;
}

#[tokio::test]
async fn a_backup_that_is_stopped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    open(&folder).await.close().await;
    let (elsewhere, stop) = (TempDir::new().unwrap(), CancellationToken::new());
    let target = elsewhere.path().join("copy.db");
    stop.cancel();
    let watch = Watch { stop: &stop, progress: &|_| () };
    let stopped = back_up(&settings(&folder), &target, false, &watch).await;
    assert!(matches!(stopped, Err(UpkeepError::Stopped)), "{stopped:?}");
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
}

/// Edits hold within a second, of which the machine has most for itself.
#[test]
fn the_server_looks_for_edits_more_than_once_in_a_second() {
    assert!(super::memory::LOOK_FOR_EDITS_EVERY <= Duration::from_millis(500));
}

#[tokio::test]
async fn every_statement_beside_those_of_sqlx_fits_the_schema() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let conn = rusqlite::Connection::open(settings(&folder).path).unwrap();
    let with_rows =
        super::batch::STATEMENTS.iter().flat_map(|statement| [1, 4].map(|rows| statement.text(rows)));
    let others = super::remember::STATEMENTS.into_iter().chain(super::full_text::STATEMENTS);
    let others = others.chain([super::batch::DROP_OLDEST_KEYS]);
    for text in with_rows.chain(others.map(str::to_owned)) {
        let prepared = conn.prepare(&text);
        assert!(prepared.is_ok(), "{prepared:?}: {text}");
    }
    store.close().await;
}

/// Its rows are neither gathered nor sorted before: that takes longer than to delete them.
#[tokio::test]
async fn the_oldest_keys_go_in_one_pass_along_their_index() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let conn = rusqlite::Connection::open(settings(&folder).path).unwrap();
    let column = |query: String, at: usize| {
        let mut query = conn.prepare(&query).unwrap();
        let rows = query.raw_query().mapped(|row| row.get::<_, String>(at));
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let statement = super::batch::DROP_OLDEST_KEYS;
    let plan = column(format!("EXPLAIN QUERY PLAN {statement}"), 3).concat();
    assert!(plan.contains("USING INDEX idempotency_key_order (owner=? AND answered_no<?)"), "{plan}");
    let steps = column(format!("EXPLAIN {statement}"), 1);
    assert!(!steps.iter().any(|step| step.starts_with("RowSet") || step == "OpenEphemeral"), "{steps:?}");
    store.close().await;
}

/// The start looks at no key but those of the messages it takes over.
#[tokio::test]
async fn a_running_key_whose_message_is_not_at_work_goes_with_the_sweep() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut other = other(&folder).await;
    let insert = "INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, finished_at_ms)
                  VALUES (1, 1, 'webhook', 'token:1', 'at work', 'hello', 'running', 1, 1, NULL),
                         (2, 1, 'webhook', 'token:1', 'ended', 'hello', 'failed', 1, 1, 1);
                  INSERT INTO idempotency_key (message_id, owner, key, body_hash, state)
                  VALUES (1, 'token:1', 'at work', x'00', 'running'), (2, 'token:1', 'ended', x'00', 'running'),
                         (3, 'token:1', 'deleted', x'00', 'running')";
    sqlx::raw_sql(insert).execute(&mut other).await.unwrap();
    store.sweep_once().await.unwrap();
    let left: Vec<String> =
        sqlx::query_scalar("SELECT key FROM idempotency_key").fetch_all(&mut other).await.unwrap();
    assert_eq!(left, ["at work"]);
    store.close().await;
}

/// A commit that fails leaves its transaction open.
#[tokio::test]
async fn a_transaction_that_cannot_be_committed_stops_no_other() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    assert!(store.shared.step(None, Uncommittable).await.is_err(), "it cannot be committed");
    store.shared.step(None, Write).await.unwrap();
    assert_eq!(rows(&store).await, 1);
    store.close().await;
}

/// Writes what cannot be committed.
struct Uncommittable;

#[async_trait]
impl Step for Uncommittable {
    type Output = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *conn).await?;
        sqlx::query(
            "INSERT INTO pairing_code (salt, code_hash, label, issued_at_ms, expires_at_ms, token_id)
                     VALUES (x'00', x'00', '', 1, 2, 99)",
        )
        .execute(conn)
        .await
        .map(drop)
    }
}
