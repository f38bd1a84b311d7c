//! A disk that fills up under load: what was answered is kept, what is refused may be sent again, and it goes on when there
//! is room. One is a limit on the size of files, which every machine has; the other is a real disk, a small one in memory.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{assert_unavailable, failure::limit_files};
use crate::support::{
    client::{Client, Reply},
    process::{LONGEST_WAIT, Process, moorgate, run},
    skip::skip,
    wait::{until, until_some},
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

/// The keys that were answered before the disk was full, and those that were refused since.
struct Filled {
    answered: Vec<String>,
    refused: Vec<String>,
}

/// Posts until all are refused, and the gateway says so.
async fn fill_up(gateway: &Process) -> Filled {
    let mut workers = JoinSet::new();
    (0..8).for_each(|worker| drop(workers.spawn(post_until_refused(gateway.client.clone(), worker))));
    let posted = tokio::time::timeout(LONGEST_WAIT, workers.join_all()).await.expect("it fills up");
    let mut filled = Filled { answered: Vec::new(), refused: Vec::new() };
    for (keys, key, reply) in posted {
        assert_unavailable(&reply, reply.retry_after());
        filled.answered.extend(keys);
        filled.refused.push(key);
    }
    assert!(filled.answered.len() > 8, "some were answered before it was full");
    // There may be room for a little: the probe of a moment later finds it, and the next message does not.
    let not_ready = async || {
        gateway.client.post("", None, "one more").await;
        gateway.client.get("/ready").await.status == 503
    };
    until("it says that it is full", not_ready).await;
    filled
}

impl Filled {
    /// What was refused is answered now.
    async fn send_again(&self, gateway: &Process) {
        for key in &self.refused {
            // An answer whose claim was on record is written now; until then its key is at work.
            assert_eq!(gateway.client.post_until_done("", key, key).await.status, 200, "{key}");
        }
        assert_eq!(gateway.client.get("/ready").await.status, 200);
    }

    /// All of it is on record.
    async fn check(&self, gateway: &Process) {
        for key in self.answered.iter().chain(&self.refused) {
            let replay = gateway.client.post("", Some(key), key).await;
            assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{key}: {replay:?}");
            assert_eq!(replay.json()["response"], key.as_str());
        }
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
    let wal = fs::metadata(folder.path().join("moorgate.db-wal")).unwrap().len();
    limit_files(&gateway, &(wal + 400_000).to_string());
    let filled = fill_up(&gateway).await;

    limit_files(&gateway, "unlimited");
    filled.send_again(&gateway).await;
    gateway.kill();
    filled.check(&Process::start(folder.path(), &ENV)).await;
}

/// A small disk in memory, which goes away when it is dropped.
struct Disk(TempDir);

impl Disk {
    /// `None`, and a line on standard error, if this user may mount none.
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "moorgate-test"]).arg(folder.path());
        if mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        skip("a small disk cannot be mounted: that needs root", None);
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes what room is left, to the last byte.
    fn fill_the_rest(&self) {
        let mut file = fs::File::create(self.path("rest")).unwrap();
        while file.write_all(&[b'x'; 512]).is_ok() {}
    }

    /// A gateway whose database is on it, and nothing else is.
    fn gateway(&self, folder: &Path) -> Process {
        let database = self.path("moorgate.db").display().to_string();
        let env = [ENV[0], ENV[1], ("MOORGATE_DATABASE__PATH", database.as_str())];
        Process::start(folder, &env)
    }

    /// What `doctor` finds: its exit code, and what it prints.
    fn doctor(&self, folder: &Path, gateway: &Process) -> (Option<i32>, String) {
        let mut command = moorgate(folder);
        command.arg("doctor").env("MOORGATE_DATABASE__PATH", self.path("moorgate.db"));
        let ended = run(command.env("MOORGATE_GATEWAY__PORT", gateway.address.port().to_string()));
        (ended.code, ended.out)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_disk_that_fills_up_is_found_by_doctor_and_is_over_when_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let folder = TempDir::new().unwrap();
    fs::write(disk.path("filler"), vec![b'x'; 5 << 20]).unwrap();
    let gateway = disk.gateway(folder.path());
    let filled = fill_up(&gateway).await;
    disk.fill_the_rest();
    // What is in the journal makes way now and then, and then there is room for a little.
    let look = async || {
        gateway.client.post("", None, "one more").await;
        let (code, found) = disk.doctor(folder.path(), &gateway);
        assert_eq!(code, Some(74), "{found}");
        Some(found).filter(|found| found.contains("error    server "))
    };
    let found = until_some("doctor finds the server not ready", look).await;
    for line in [
        "error    disk space     0 MiB are free in ",
        "error    server         it runs, but is not ready: storage",
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }
    let space =
        "fix: make room on that disk, or set shorter times in [database]; the server goes on by itself";
    assert!(found.contains(space), "{found}");

    for name in ["filler", "rest"] {
        fs::remove_file(disk.path(name)).unwrap();
    }
    filled.send_again(&gateway).await;
    assert!(disk.doctor(folder.path(), &gateway).1.contains("ok       server         it runs and is ready"));
    gateway.kill();
    filled.check(&disk.gateway(folder.path())).await;
}
