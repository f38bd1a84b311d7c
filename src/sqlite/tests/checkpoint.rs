//! The WAL under load.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use futures_util::future::join_all;
use tempfile::TempDir;

use super::{answered, limits, open_with, settings};
use crate::{
    domain::{client::Owner, id::TokenId, message::MessageText, time::Millis},
    repository::{ClaimOutcome, NewTurn, TurnRepository as _},
    sqlite::SqliteStore,
};

const NOW: Millis = Millis(1_790_000_000_000);
/// A frame of the WAL: a page and its header.
const FRAME: u64 = 8192 + 24;

/// Answers messages of a page each, one after the other, until `is_enough`.
async fn answer_until(store: &SqliteStore, is_enough: impl Fn() -> bool) {
    while !is_enough() {
        let new = NewTurn {
            owner: Owner::Token(TokenId(1)),
            key: None,
            session: None,
            text: Arc::new(MessageText::new("x".repeat(6000)).unwrap()),
            hit: None,
        };
        let ClaimOutcome::Claimed(mut lease) = store.claim(Box::new(new), NOW).outcome().await.unwrap()
        else {
            panic!("a message without a key is claimed")
        };
        store.settle(&mut lease, &answered(), NOW).await.unwrap();
    }
}

/// How often the WAL has begun anew, and its length (<https://sqlite.org/fileformat2.html#walformat>).
fn wal(path: &Path) -> (u32, u64) {
    let mut file = File::open(path).unwrap();
    let mut header = [0; 16];
    file.read_exact(&mut header).unwrap();
    let [.., a, b, c, d] = header;
    (u32::from_be_bytes([a, b, c, d]), file.metadata().unwrap().len())
}

/// Something is always left to copy then: left to itself, the WAL grew to twice this length each time, and one batch waited
/// for all that had come since the last checkpoint.
#[tokio::test]
async fn a_long_wal_begins_anew_while_messages_come() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&settings(&folder), limits()).await;
    let path = folder.path().join("moorgate.db-wal");
    let (begun, _) = wal(&path);
    join_all((0..64).map(|_| answer_until(&store, || wal(&path).0 != begun))).await;
    let frames = wal(&path).1 / FRAME;
    assert!(frames < 3500, "{frames}");
}
