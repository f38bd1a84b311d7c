//! Power cuts: disks are put together from a record of every write and sync. What was synced is there; of what was not, each
//! write may be there, or not, or in part, in sectors of 512 bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use super::{
    Shim,
    record::{Change, read},
};
use crate::support::{
    gateway::sqlite3,
    process::{Process, moorgate, run},
    random::{Random, seed},
    size::size,
};

const SECTOR: usize = 512;

/// A file: what is sure to be there, and what is on its way.
#[derive(Default, Clone)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

fn write(file: &mut Vec<u8>, place: usize, bytes: &[u8]) {
    file.resize(file.len().max(place + bytes.len()), 0);
    file[place..place + bytes.len()].copy_from_slice(bytes);
}

impl File {
    fn sync(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Write(place, bytes) => write(&mut self.synced, place, &bytes),
                Pending::Truncate(length) => self.synced.resize(length, 0),
            }
        }
    }

    /// What is found of it. `luck` of 4: how likely a change that was not synced is there.
    fn after_power_cut(mut self, luck: usize, random: &mut Random) -> Vec<u8> {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Truncate(length) if random.below(4) < luck => self.synced.resize(length, 0),
                Pending::Truncate(_) => {}
                Pending::Write(place, bytes) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if random.below(4) < luck {
                            write(&mut self.synced, place + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        self.synced
    }
}

/// Puts together in `folder` what is found when the power is cut after so many bytes of the record.
fn cut(changes: &[(usize, i64, Change)], end: usize, folder: &Path, random: &mut Random) {
    let (mut names, mut files): (BTreeMap<i64, &str>, BTreeMap<&str, File>) = Default::default();
    for (_, file, change) in changes.iter().take_while(|(at, ..)| *at <= end) {
        match change {
            Change::Name(name) => {
                names.insert(*file, name);
                files.entry(name).or_default();
            }
            Change::Write(file, place, bytes) => {
                files.get_mut(names[file]).unwrap().pending.push(Pending::Write(*place, bytes.clone()));
            }
            Change::Truncate(file, length) => {
                files.get_mut(names[file]).unwrap().pending.push(Pending::Truncate(*length));
            }
            Change::Sync(file) => files.get_mut(names[file]).unwrap().sync(),
            Change::Remove(name) => {
                files.remove(name.as_str());
            }
            Change::Rename(name) => panic!("a server renames nothing, but made {name}"),
        }
    }
    let luck = random.below(5);
    for (name, file) in files {
        fs::write(folder.join(name), file.after_power_cut(luck, random)).unwrap();
    }
}

/// What somebody was told, and how much of the record there was when they heard of it.
struct Promise {
    what: String,
    recorded: usize,
}

/// What is on record, in the words of [`Promise::what`].
const KEPT: &str = "SELECT 'answered ' || key FROM idempotency_key WHERE state = 'answered'
    UNION ALL SELECT 'refused ' || client FROM pairing_failure";

/// A gateway under record that makes promises one after the other.
struct Recorded {
    shim: Shim,
    folder: TempDir,
    mode: &'static str,
    promises: Vec<Promise>,
}

impl Recorded {
    fn start(&self) -> Process {
        let mut env = self.shim.env("MOORGATE_SHIM_RECORD");
        env.push(("MOORGATE_DATABASE__SYNCHRONOUS", self.mode));
        Process::start(self.folder.path(), &env)
    }

    fn promise(&mut self, what: String) {
        let recorded = usize::try_from(fs::metadata(&self.shim.record).unwrap().len()).unwrap();
        self.promises.push(Promise { what, recorded });
    }

    async fn work(&mut self, process: &Process, requests: usize) {
        for _ in 0..requests {
            let number = self.promises.len();
            if number % 4 == 3 {
                let address = format!("127.6.{}.{}", number / 250, number % 250);
                assert_eq!(process.client.seen_from(&address).pair("wrong").await.status, 403);
                self.promise(format!("refused {address}"));
            } else {
                let key = format!("key-{number}");
                assert_eq!(process.client.post("", Some(&key), "hello").await.status, 200);
                self.promise(format!("answered {key}"));
            }
        }
    }

    /// Another process writes the WAL back, under record as well.
    fn checkpoint(&self, database: &Path) {
        let mut command = Command::new("sqlite3");
        command.envs(self.shim.env("MOORGATE_SHIM_RECORD"));
        command.arg(database).arg(".timeout 10000").arg("PRAGMA wal_checkpoint(RESTART)");
        assert!(command.status().unwrap().success());
    }
}

/// Work, a checkpoint, an orderly restart, more work, a kill.
async fn record(mode: &'static str) -> Option<Recorded> {
    let shim = Shim::build()?;
    let mut recorded = Recorded { shim, folder: TempDir::new().unwrap(), mode, promises: Vec::new() };
    let mut process = recorded.start();
    recorded.work(&process, 12).await;
    recorded.checkpoint(&process.database);
    recorded.work(&process, 12).await;
    process.signal("TERM");
    assert!(process.wait().success());
    drop(process);
    let process = recorded.start();
    recorded.work(&process, 12).await;
    process.kill();
    Some(recorded)
}

/// All that is on record. With `normal` even the schema may be missing.
fn kept(database: &Path) -> BTreeSet<String> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('idempotency_key', 'pairing_failure')";
    if sqlite3(database, tables) != "2" {
        return BTreeSet::new();
    }
    sqlite3(database, KEPT).lines().map(str::to_owned).collect()
}

/// Cuts the power at many moments, and gives what was promised before each and what is on record after it.
fn power_cuts(recorded: &Recorded, mut check: impl FnMut(&[&str], &BTreeSet<String>)) {
    let record = fs::read(&recorded.shim.record).unwrap();
    let changes = read(&record);
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let first = recorded.promises[0].recorded;
    let moments: Vec<usize> = changes.iter().map(|(at, ..)| *at).filter(|at| *at >= first).collect();
    for number in 0..size("MOORGATE_TEST_POWER_CUTS", 40) {
        let folder = TempDir::new().unwrap();
        let end = moments[random.below(moments.len())];
        cut(&changes, end, folder.path(), &mut random);
        let database = folder.path().join("moorgate.db");
        assert_eq!(sqlite3(&database, "PRAGMA integrity_check"), "ok", "cut after {end} bytes");
        let kept = kept(&database);
        let promised = recorded.promises.iter().filter(|promise| promise.recorded <= end);
        check(&promised.map(|promise| promise.what.as_str()).collect::<Vec<_>>(), &kept);
        if number % 10 == 0 {
            for command in ["migrate", "check"] {
                let ended = run(moorgate(folder.path()).args(["db", command]));
                assert_eq!(ended.code, Some(0), "{ended:?}");
            }
        }
    }
}

#[tokio::test]
async fn with_full_nothing_that_anyone_was_told_is_missing_after_a_power_cut() {
    let Some(recorded) = record("full").await else { return };
    power_cuts(&recorded, |promised, kept| {
        let missing: Vec<_> = promised.iter().filter(|what| !kept.contains(**what)).collect();
        assert!(missing.is_empty(), "{missing:?} of {promised:?}");
    });
}

/// The last commits may be missing, as config.toml.example says, but none of those before one that is there.
#[tokio::test]
async fn with_normal_only_the_last_commits_are_missing_after_a_power_cut() {
    let Some(recorded) = record("normal").await else { return };
    let mut lost = 0;
    power_cuts(&recorded, |promised, kept| {
        let there = promised.iter().take_while(|what| kept.contains(**what)).count();
        let beyond: Vec<_> = promised[there..].iter().filter(|what| kept.contains(**what)).collect();
        assert!(beyond.is_empty(), "{beyond:?} are there, but not all before them: {promised:?}");
        lost += promised.len() - there;
    });
    println!("{lost} answers were lost in all");
}
