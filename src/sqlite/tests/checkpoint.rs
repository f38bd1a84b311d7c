//! Copying the WAL into the file.

use std::{fs::File, io::Read as _, sync::atomic::Ordering};

use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

use super::{answered, claim, open, open_quiet, other, settings, turn};
use crate::{
    domain::time::Millis,
    repository::{TokenRepository as _, TurnRepository as _},
    sqlite::{SqliteStore, checkpoint, open as opening},
};

async fn answer(store: &SqliteStore, key: &str) {
    let mut lease = claim(store, turn(key), Millis(2)).await;
    store.settle(&mut lease, &answered(), Millis(2)).await.unwrap();
}

/// How often the WAL has begun anew (<https://sqlite.org/fileformat2.html#walformat>).
fn beginnings(folder: &TempDir) -> u32 {
    let mut header = [0; 16];
    File::open(folder.path().join("moorgate.db-wal")).unwrap().read_exact(&mut header).unwrap();
    let [.., a, b, c, d] = header;
    u32::from_be_bytes([a, b, c, d])
}

#[tokio::test]
async fn a_long_wal_begins_anew_once_the_writer_has_copied_the_rest() {
    let folder = TempDir::new().unwrap();
    let store = open_quiet(&folder).await;
    answer(&store, "one").await;
    let begun = beginnings(&folder);
    answer(&store, "two").await;
    assert_eq!(beginnings(&folder), begun, "something is left to copy");
    store.catch_up().await; // the writer is done with it
    store.shared.wal_is_long.store(true, Ordering::Relaxed);
    answer(&store, "three").await;
    assert_eq!(beginnings(&folder), begun, "it is copied after the answer");
    answer(&store, "four").await;
    assert_eq!(beginnings(&folder), begun + 1);
    assert!(!store.shared.wal_is_long.load(Ordering::Relaxed), "once");
    store.close().await;
}

#[tokio::test]
async fn a_wal_is_long_when_it_has_many_pages_and_all_of_them_are_copied() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let mut conn = opening::connect_checkpoint(&settings(&folder)).await.unwrap();
    assert!(!checkpoint::copy(&mut conn).await.unwrap());
    let mut reader = other(&folder).await;
    reader.execute("BEGIN; SELECT count(*) FROM message;").await.unwrap();
    let mut writer = other(&folder).await;
    let large = "PRAGMA wal_autocheckpoint = 0;
                 INSERT INTO pairing_failure (client, failed_at_ms) VALUES (printf('%.*c', 17000000, 'x'), 1);";
    writer.execute(large).await.unwrap();
    assert!(!checkpoint::copy(&mut conn).await.unwrap(), "a reader keeps it from being copied");
    reader.close().await.unwrap();
    assert!(checkpoint::copy(&mut conn).await.unwrap());
    conn.close().await.unwrap();
    writer.close().await.unwrap();
    store.close().await;
}
