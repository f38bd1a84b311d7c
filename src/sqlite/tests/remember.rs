//! What one step puts into memory and its full text.

use tempfile::TempDir;

use super::{SqliteStore, StoreLimits, answered, claim, hit, limits, open, open_with, other, settings, turn};
use crate::{
    domain::{rate::Scope, time::Millis},
    repository::{RateLimitRepository as _, StoreError, TurnRepository as _},
};

const NOW: Millis = Millis(1_790_000_000_000);

/// Messages with texts of these lengths.
async fn said(folder: &TempDir, lengths: &[usize]) {
    say(folder, lengths.iter().map(|length| "x".repeat(*length))).await;
}

/// Messages with these texts.
async fn say(folder: &TempDir, texts: impl Iterator<Item = String>) {
    let mut conn = other(folder).await;
    sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
    for text in texts {
        let insert = "INSERT INTO message (received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms, to_remember)
                      VALUES (-1, 'webhook', 'token:1', ?1, 'answered', 1, 1, '', 1, 1)";
        sqlx::query(insert).bind(text).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
}

/// What the query says after each step, without repetitions.
async fn after_each_step(store: &SqliteStore, query: &'static str) -> Vec<i64> {
    let mut found = Vec::new();
    let mut more = true;
    while more {
        more = store.remember_once().await.unwrap().is_some();
        found.push(sqlx::query_scalar(query).fetch_one(&store.shared.reads).await.unwrap());
    }
    found.dedup();
    found
}

/// How many are in memory.
const KEPT: &str = "SELECT count(*) FROM memory";
/// How far the full text has come.
const INDEXED: &str = "SELECT indexed_to FROM memory_progress";

#[tokio::test]
async fn a_step_takes_some_hundred_short_texts_or_few_long_ones_and_at_least_one() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    said(&folder, &[10; 257]).await;
    assert_eq!(after_each_step(&store, KEPT).await, [256, 257]);
    said(&folder, &[25_000, 25_000, 25_000, 75_000, 10]).await;
    assert_eq!(after_each_step(&store, KEPT).await, [259, 260, 261, 262]);
    let names = sqlx::query_scalar("SELECT count(DISTINCT key) FROM memory");
    let names: i64 = names.fetch_one(&store.shared.reads).await.unwrap();
    assert_eq!(names, 262);
    store.close().await;
}

/// While messages go on coming, what was said can be searched soon.
#[tokio::test]
async fn the_full_text_goes_on_while_messages_come() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    for round in 1..=3 {
        said(&folder, &[10; 100]).await;
        store.remember_once().await.unwrap();
        let progress = sqlx::query_as("SELECT remembered_to, indexed_to FROM memory_progress");
        let progress: (i64, i64) = progress.fetch_one(&store.shared.reads).await.unwrap();
        assert_eq!(progress, (round * 100, round * 64));
    }
    store.close().await;
}

#[tokio::test]
async fn a_step_of_the_full_text_takes_few_bytes_and_at_least_one_row() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    said(&folder, &[10_000, 6_000, 10_000, 10_000, 300_000, 10]).await;
    // Of the first two steps each finds one of the texts too long for memory, and indexes nothing.
    assert_eq!(after_each_step(&store, INDEXED).await, [0, 2, 3, 4, 5, 6]);
    store.close().await;
}

/// With each step a little, so that there is never much to merge at once: texts of 30 words, hardly one of which came before.
#[tokio::test]
async fn parts_of_the_full_text_are_merged_as_they_come() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut most: i64 = 0;
    for step in 0..STEPS_OF_TEXT {
        let word = |number: u32| format!("{:x}", (step * 1920 + number).wrapping_mul(0x9e37_79b9) >> 4);
        let text = |row: u32| (row * 30..(row + 1) * 30).map(word).collect::<Vec<_>>().join(" ");
        say(&folder, (0..64).map(text)).await;
        store.remember_all().await.unwrap();
        let parts = sqlx::query_scalar("SELECT count(DISTINCT segid) FROM memory_text_idx");
        most = most.max(parts.fetch_one(&store.shared.reads).await.unwrap());
    }
    assert!(most < 16, "{most}");
    store.close().await;
}

/// More than FTS5 would let come together before it merged them at once.
const STEPS_OF_TEXT: u32 = 100;

/// Does something in one transaction with a step of memory that fails with `why`.
async fn fail_beside(store: &SqliteStore, number: i64, why: &str) {
    // One transaction of callers alone, so that the next one takes of all queues. It has the numbers read that turns need, so that
    // the next one is rows and nothing else.
    let claim_of = async |number: i64| claim(store, turn(&number.to_string()), NOW).await;
    let (mut first, mut second) = (claim_of(number * 2 - 1).await, claim_of(number * 2).await);
    store.settle(&mut first, &answered(), NOW).await.unwrap();
    let (remembered, settled, counted) = tokio::join!(
        store.remember_some(),
        async { store.settle(&mut second, &answered(), NOW).await },
        store.count(hit(store, Scope::Webhook, NOW))
    );
    let Err(StoreError::Unavailable(error)) = remembered else { panic!("it failed") };
    assert!(error.contains(why), "{error}");
    assert_eq!((settled, counted), (Ok(()), Ok(())));
    let kept =
        "SELECT (SELECT count(DISTINCT answered_no) FROM idempotency_key) + (SELECT sum(hits) FROM rate_hit)";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&store.shared.reads).await.unwrap();
    assert_eq!(kept, number * 3);
}

#[tokio::test]
async fn memory_that_takes_nothing_fails_no_neighbour() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&settings(&folder), StoreLimits { keys_per_owner: 1000, ..limits() }).await;
    said(&folder, &[10]).await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON memory BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::raw_sql(refuse).execute(&mut other(&folder).await).await.unwrap();
    for number in 1..=3 {
        fail_beside(&store, number, "refused").await;
    }
    sqlx::raw_sql("DROP TRIGGER refuse").execute(&mut other(&folder).await).await.unwrap();
    assert_eq!(after_each_step(&store, KEPT).await, [7]);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_full_text_fails_no_neighbour() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&settings(&folder), StoreLimits { keys_per_owner: 1000, ..limits() }).await;
    said(&folder, &[10]).await;
    store.remember_all().await.unwrap();
    let damage = "UPDATE memory_text_data SET block = x'ffffffffffffffff' WHERE id = 10";
    sqlx::raw_sql(damage).execute(&mut other(&folder).await).await.unwrap();
    for number in 1..=3 {
        fail_beside(&store, number, "malformed").await;
    }
    store.close().await;
}
