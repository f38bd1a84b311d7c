//! What one step puts into memory and its full text.

use tempfile::TempDir;

use super::{SqliteStore, open, other};

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
