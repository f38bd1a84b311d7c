//! A disk that fills up under load: what was answered is kept, what is refused may be sent again, and it goes on when there
//! is room.

use std::process::Command;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{assert_unavailable, failure::limit_files};
use crate::support::{
    client::{Client, Reply},
    process::{LONGEST_WAIT, Process},
};

const ENV: [(&str, &str); 2] = [
    ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"),
    ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
];

/// Posts until it is refused: the keys that were answered, and the refusal.
async fn post_until_refused(client: Client, worker: usize) -> (Vec<String>, String, Reply) {
    let mut answered = Vec::new();
    loop {
        let key = format!("key-{worker}-{}", answered.len());
        let reply = client.post("", Some(&key), &key).await;
        if reply.status != 200 {
            return (answered, key, reply);
        }
        answered.push(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_under_load_loses_nothing_that_was_answered() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("/bin/sh");
    let script = "trap '' XFSZ; exec \"$0\" serve --port 0 --print-json";
    command.args(["-c", script, env!("CARGO_BIN_EXE_moorgate")]).current_dir(folder.path());
    command.env_clear().envs(ENV);
    let gateway = Process::spawn(command, folder.path());
    assert_eq!(gateway.client.post("", Some("first"), "first").await.status, 200);
    let wal = std::fs::metadata(folder.path().join("moorgate.db-wal")).unwrap().len();
    limit_files(&gateway, &(wal + 400_000).to_string());

    let mut workers = JoinSet::new();
    (0..8).for_each(|worker| drop(workers.spawn(post_until_refused(gateway.client.clone(), worker))));
    let posted = tokio::time::timeout(LONGEST_WAIT, workers.join_all()).await.expect("it fills up");
    let (mut answered, mut refused) = (vec!["first".to_owned()], Vec::new());
    for (keys, key, reply) in posted {
        assert_unavailable(&reply, reply.retry_after());
        answered.extend(keys);
        refused.push(key);
    }
    assert!(answered.len() > 8, "some were answered before it was full");
    // There may be room for a little: the probe of a moment later finds it, and the next message does not.
    let not_ready = async {
        while gateway.client.get("/ready").await.status != 503 {
            gateway.client.post("", None, "one more").await;
        }
    };
    tokio::time::timeout(LONGEST_WAIT, not_ready).await.expect("it says that it is full");

    limit_files(&gateway, "unlimited");
    for key in &refused {
        // An answer whose claim was on record is written now; until then its key is at work.
        assert_eq!(gateway.client.post_until_done("", key, key).await.status, 200, "{key}");
    }
    assert_eq!(gateway.client.get("/ready").await.status, 200);
    gateway.kill();
    let gateway = Process::start(folder.path(), &ENV);
    for key in answered.iter().chain(&refused) {
        let replay = gateway.client.post("", Some(key), key).await;
        assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{key}: {replay:?}");
        assert_eq!(replay.json()["response"], key.as_str());
    }
}
