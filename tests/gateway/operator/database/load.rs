//! Backups that are taken while everybody posts.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};

use super::{OPEN, db_json};
use crate::support::{
    client::Client,
    process::{LONGEST_WAIT, Process},
    random::{Random, seed},
};

const BACKUPS: usize = 20;
const WORKERS: usize = 4;

/// Clients that post until they are told to stop, and the keys that were answered so far.
pub struct Load {
    answered: watch::Sender<Vec<String>>,
    over: Arc<AtomicBool>,
    workers: JoinSet<()>,
}

impl Load {
    /// Posts with this token; blank: with none.
    pub fn start(client: &Client, token: &str) -> Self {
        let mut load =
            Self { answered: watch::Sender::default(), over: Arc::default(), workers: JoinSet::new() };
        for worker in 0..WORKERS {
            let (client, token) = (client.clone(), token.to_owned());
            let (answered, over) = (load.answered.clone(), Arc::clone(&load.over));
            load.workers.spawn(async move {
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    let key = format!("key-{worker}-{number}");
                    let reply = client.post(&token, Some(&key), &key).await;
                    assert_eq!(reply.status, 200, "{reply:?}");
                    answered.send_modify(|answered| answered.push(key));
                    number += 1;
                }
            });
        }
        load
    }

    /// Has one more client do something again and again, with a number that goes up.
    pub fn add_worker<F: Future<Output = ()> + Send>(&mut self, work: impl Fn(usize) -> F + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.workers.spawn(async move {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                work(number).await;
                number += 1;
            }
        });
    }

    /// Waits until so many more were answered: what was by then.
    pub async fn more(&self, more: usize) -> Vec<String> {
        let mut arrived = self.answered.subscribe();
        let enough = arrived.borrow().len() + more;
        let wait = arrived.wait_for(|answered| answered.len() >= enough);
        tokio::time::timeout(LONGEST_WAIT, wait).await.expect("answers arrive").unwrap().clone()
    }

    /// Lets them finish. Fails if one of them was not answered 200.
    pub async fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.workers.join_all().await;
    }
}

/// Keys outlive the test, however long it takes and however many there are.
const KEPT: [(&str, &str); 2] = [
    ("MOORGATE_GATEWAY__IDEMPOTENCY_TTL_SECS", "86400"),
    ("MOORGATE_GATEWAY__IDEMPOTENCY_MAX_KEYS", "10000000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_full_load_restores_to_a_sound_database_that_serves_twenty_random_times() {
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[&OPEN[..], &KEPT].concat());
    let load = Load::start(&process.client, "");
    for _ in 0..BACKUPS {
        let answered = load.more(1 + random.below(100)).await;
        let elsewhere = TempDir::new().unwrap();
        let backup = elsewhere.path().join("copy.db");
        let made =
            tokio::task::block_in_place(|| db_json(folder.path(), &["backup", backup.to_str().unwrap()]));
        assert!(made["rows"]["message"].as_u64().unwrap() >= answered.len() as u64, "{made}");
        check_restored(elsewhere.path(), &answered, &mut random).await;
    }
    load.stop().await;
}

/// What was answered before the backup was begun is in it.
async fn check_restored(folder: &Path, answered: &[String], random: &mut Random) {
    tokio::task::block_in_place(|| {
        db_json(folder, &["restore", "copy.db"]);
        assert_eq!(db_json(folder, &["check"])["findings"], json!([]));
    });
    let process = Process::start(folder, &[&OPEN[..], &KEPT].concat());
    for key in [&answered[0], &answered[random.below(answered.len())], &answered[answered.len() - 1]] {
        let replay = process.client.post("", Some(key), key).await;
        assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{key}: {replay:?}");
        assert_eq!(replay.json()["response"], key.as_str());
    }
    assert_eq!(process.client.post("", Some("a-new-one"), "hello").await.status, 200);
}
