//! A disk that fails to sync: then nobody can say whether a commit is on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{
    client::{Client, Reply},
    process::{Process, moorgate},
    tool::shim,
    wait::{pause, until},
};

/// More failures than any test waits for.
const FOR_EVER: usize = 1_000_000;

/// A gateway whose next syncs fail, as many as one file has bytes. Those that do not fail add to another.
struct Shimmed {
    process: Process,
    failing: PathBuf,
    counted: PathBuf,
}

impl Shimmed {
    /// `None` where there is no C compiler, which is said.
    fn start(folder: &Path) -> Option<Self> {
        let library = folder.join("failed_sync.so");
        let (failing, counted) = (folder.join("failing"), folder.join("counted"));
        shim("tests/gateway/crash/failed_sync.c", &library)?;
        fs::write(&failing, "").unwrap();
        let mut command = moorgate(folder);
        command.args(["serve", "--port", "0", "--print-json"]);
        command.env("LD_PRELOAD", &library).env("FAILING_SYNCS", &failing).env("SYNCS", &counted);
        command.env("MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS", "600");
        Some(Self { process: Process::spawn(command, folder), failing, counted })
    }

    /// One that is in doubt about a pairing, and stays so.
    async fn in_doubt(folder: &Path) -> Option<(Self, JoinHandle<reqwest::Result<Reply>>)> {
        let gateway = Self::start(folder)?;
        let code = gateway.process.code.clone().unwrap();
        gateway.fail(FOR_EVER);
        let pairing = tokio::spawn(pair(gateway.process.client.clone(), code));
        until("three syncs fail", async || gateway.left() + 2 < FOR_EVER).await;
        Some((gateway, pairing))
    }

    fn fail(&self, syncs: usize) {
        fs::write(&self.failing, vec![b'x'; syncs]).unwrap();
    }

    fn left(&self) -> usize {
        length(&self.failing)
    }
}

fn length(file: &Path) -> usize {
    fs::metadata(file).map_or(0, |found| usize::try_from(found.len()).unwrap())
}

/// Pairs; again, if the commit that is in doubt is one of the gateway's own, such as a heartbeat.
async fn pair(client: Client, code: String) -> reqwest::Result<Reply> {
    loop {
        let request = client.request(http::Method::POST, "/pair").header("x-pairing-code", &code);
        match client.try_send(request).await {
            Ok(refused) if refused.status == 503 => pause().await,
            told => return told,
        }
    }
}

fn token_of(reply: &Reply) -> String {
    reply.json()["token"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

/// A commit whose sync failed was refused, and came back after a crash: the code was spent, and nobody had the token.
#[tokio::test]
async fn a_pairing_whose_sync_failed_is_answered_when_it_is_on_disk() {
    let folder = TempDir::new().unwrap();
    let Some(gateway) = Shimmed::start(folder.path()) else { return };
    let code = gateway.process.code.clone().unwrap();
    gateway.fail(3);
    let token = token_of(&pair(gateway.process.client.clone(), code).await.unwrap());
    assert_eq!(gateway.left(), 0, "the failures are over");
    gateway.process.kill();

    let process = Process::start(folder.path(), &[]);
    assert_eq!(process.code, None, "a client is paired");
    assert_eq!(process.client.post(&token, Some("order-1"), "hello").await.status, 200);
}

/// As long as nobody can say what became of a request, nobody says it.
#[tokio::test]
async fn nobody_is_told_that_a_pairing_failed_that_may_come_back() {
    let folder = TempDir::new().unwrap();
    let Some((gateway, pairing)) = Shimmed::in_doubt(folder.path()).await else { return };
    gateway.process.kill();
    assert!(pairing.await.unwrap().is_err(), "it was cut, not answered");
}

/// Who came later waited for the disk until its time was over.
#[tokio::test]
async fn while_a_commit_is_in_doubt_whoever_comes_is_refused_at_once_and_served_when_it_is_over() {
    let folder = TempDir::new().unwrap();
    let Some((gateway, pairing)) = Shimmed::in_doubt(folder.path()).await else { return };
    let other = gateway.process.client.seen_from("127.0.0.2");
    for _ in 0..3 {
        assert_eq!(other.pair("wrong").await.status, 503);
    }
    gateway.fail(0);
    let token = token_of(&pairing.await.unwrap().unwrap());
    assert_eq!(gateway.process.client.post(&token, None, "hello").await.status, 200);
    let wrong = other.pair("wrong").await;
    assert_eq!((wrong.status, wrong.left("pair")), (403, 9), "what was refused is not counted: {wrong:?}");
}

/// Other work may sync beside one request, but not beside all of them.
#[tokio::test]
async fn one_request_alone_takes_at_most_two_syncs() {
    let folder = TempDir::new().unwrap();
    let Some(gateway) = Shimmed::start(folder.path()) else { return };
    let (client, token) = (&gateway.process.client, gateway.process.pair().await);
    let mut least = usize::MAX;
    for number in 0..20 {
        let before = length(&gateway.counted);
        assert_eq!(client.post(&token, Some(&format!("order-{number}")), "hello").await.status, 200);
        least = least.min(length(&gateway.counted) - before);
    }
    assert!((1..=2).contains(&least), "{least}");
}
