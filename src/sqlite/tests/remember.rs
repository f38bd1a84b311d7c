//! What one step puts into memory and its full text.

use std::sync::Arc;

use tempfile::TempDir;

use super::{SqliteStore, StoreLimits, limits, open, open_with, other, settings};
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
        ClaimOutcome, HitOutcome, Lease, NewTurn, PendingHit, RateLimitRepository as _, StoreError, TurnEnd,
        TurnRepository as _,
    },
};

/// Messages with texts of these lengths.
async fn said(folder: &TempDir, lengths: &[i64]) {
    let mut conn = other(folder).await;
    for length in lengths {
        let insert = "INSERT INTO message (received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms, to_remember)
                      VALUES (-1, 'webhook', 'token:1', printf('%.*c', ?1, 'x'), 'answered', 1, 1, '', 1, 1)";
        sqlx::query(insert).bind(length).execute(&mut conn).await.unwrap();
    }
}

/// How many are in memory after each step.
async fn after_each_step(store: &SqliteStore) -> Vec<i64> {
    let mut counts = Vec::new();
    let mut more = true;
    while more {
        more = store.remember_once().await.unwrap().is_some();
        let count = sqlx::query_scalar("SELECT count(*) FROM memory");
        counts.push(count.fetch_one(&store.shared.reads).await.unwrap());
    }
    counts.dedup(); // steps of the full text
    counts
}

#[tokio::test]
async fn a_step_takes_a_thousand_short_texts_or_few_long_ones_and_at_least_one() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    said(&folder, &[10; 1025]).await;
    assert_eq!(after_each_step(&store).await, [1024, 1025]);
    said(&folder, &[100_000, 100_000, 100_000, 300_000, 10]).await;
    assert_eq!(after_each_step(&store).await, [1027, 1028, 1029, 1030]);
    let names = sqlx::query_scalar("SELECT count(DISTINCT key) FROM memory");
    let names: i64 = names.fetch_one(&store.shared.reads).await.unwrap();
    assert_eq!(names, 1030);
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
    let mut indexed: Vec<i64> = Vec::new();
    while store.remember_once().await.unwrap().is_some() {
        let progress = sqlx::query_scalar("SELECT indexed_to FROM memory_progress");
        indexed.push(progress.fetch_one(&store.shared.reads).await.unwrap());
    }
    indexed.dedup(); // the first two steps of memory are one too large for the other, and index nothing
    assert_eq!(indexed, [0, 2, 3, 4, 5]);
    store.close().await;
}

/// With each step a little, so that there is never much to merge at once: texts of 30 words, hardly one of which came before.
#[tokio::test]
async fn parts_of_the_full_text_are_merged_as_they_come() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let say = "INSERT INTO message (received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms, to_remember)
               VALUES (-1, 'webhook', 'token:1', ?1, 'answered', 1, 1, '', 1, 1)";
    let mut conn = other(&folder).await;
    let mut most: i64 = 0;
    for step in 0..STEPS_OF_TEXT {
        sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
        for row in 0..64 {
            let word = |number: u32| {
                format!("{:x}", (step * 1920 + row * 30 + number).wrapping_mul(0x9e37_79b9) >> 4)
            };
            let text = (0..30).map(word).collect::<Vec<_>>().join(" ");
            sqlx::query(say).bind(text).execute(&mut conn).await.unwrap();
        }
        sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
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
    let (mut first, mut second) = (claim(store, number * 2 - 1).await, claim(store, number * 2).await);
    settle(store, &mut first).await.unwrap();
    let (remembered, settled, counted) =
        tokio::join!(store.remember_some(), settle(store, &mut second), store.count(hit(store)));
    let Err(StoreError::Unavailable(error)) = remembered else { panic!("it failed") };
    assert!(error.contains(why), "{error}");
    assert_eq!((settled, counted), (Ok(()), Ok(())));
    let kept =
        "SELECT (SELECT count(DISTINCT answered_no) FROM idempotency_key) + (SELECT sum(hits) FROM rate_hit)";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&store.shared.reads).await.unwrap();
    assert_eq!(kept, number * 3);
}

async fn claim(store: &SqliteStore, number: i64) -> Lease {
    let key = IdempotencyKey::parse(number.to_string().as_bytes()).unwrap();
    let new = Box::new(NewTurn {
        owner: Owner::Token(TokenId(1)),
        key: Some((key, BodyHash([0; 32]))),
        session: None,
        text: Arc::new(MessageText::new("hello".into()).unwrap()),
        hit: None,
    });
    let ClaimOutcome::Claimed(lease) = store.claim(new, Millis(1)).outcome().await.unwrap() else { panic!() };
    lease
}

async fn settle(store: &SqliteStore, lease: &mut Lease) -> Result<(), StoreError> {
    let answer = Answer { text: "an answer".into(), model: "m".into() };
    store.settle(lease, &TurnEnd::Answered(answer, Account::default()), Millis(1)).await
}

fn hit(store: &SqliteStore) -> PendingHit {
    let address = std::net::IpAddr::from([127, 0, 0, 1]).into();
    match store.hit(Scope::Webhook, RateClient { token: None, address }, store.shared.clock.now()) {
        HitOutcome::Admitted(hit, _) => hit,
        other => panic!("{other:?}"),
    }
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
    assert_eq!(after_each_step(&store).await, [7]);
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
