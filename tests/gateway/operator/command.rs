//! `moorgate pair` and `moorgate token create`, with and without a server.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};

use super::{NO_LIMITS, tokens, until_status};
use crate::support::{
    process::{Ended, Process, Running, free_address, moorgate, run},
    transaction::Transaction,
    wait::until,
};

/// The code that `moorgate pair` prints in this folder.
pub fn another_code(folder: &TempDir, arguments: &[&str]) -> String {
    let ended = run(moorgate(folder.path()).arg("pair").args(arguments));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let code = ended.out.strip_prefix("X-Pairing-Code: ").unwrap_or_else(|| panic!("{ended:?}"));
    let code =
        code.strip_suffix("\nGood for one client, for 60 minutes.\n").unwrap_or_else(|| panic!("{ended:?}"));
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    code.to_owned()
}

/// The token that `moorgate token create` prints in this folder.
pub fn new_token(folder: &TempDir, label: &str) -> String {
    let ended = run(moorgate(folder.path()).args(["token", "create", "--label", label]));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let token = ended.out.strip_suffix('\n').unwrap_or_else(|| panic!("{ended:?}"));
    let digits = token.strip_prefix("zc_").unwrap_or_else(|| panic!("{token}"));
    assert!(
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{token}"
    );
    token.to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Failure 17: only one client can ever pair; another code needs an edit of the config file and a restart.
#[tokio::test]
async fn pair_issues_codes_beside_the_running_server_that_pair_at_once() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let first = process.pair().await;
    let second = process.client.paired(&another_code(&folder, &["--label", "phone"])).await;
    let third = process.client.paired(&another_code(&folder, &["--database", "moorgate.db"])).await;
    assert_eq!(tokens(&process), "client|pairing|live\nphone|pairing|live\nclient|pairing|live");
    for token in [first, second, third] {
        assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
    }
}

/// Failure 23: tokens cannot be named, and saving one token loses another.
#[tokio::test]
async fn a_token_created_beside_the_running_server_works_within_a_second() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let first = process.pair().await;
    let token = new_token(&folder, "ci");
    until_status(200, async || process.client.post(&token, None, "hello").await).await;
    assert_eq!(process.client.post(&first, None, "hello").await.status, 200);
    assert_eq!(tokens(&process), "client|pairing|live\nci|command|live");
}

#[tokio::test]
async fn pair_and_token_create_make_a_missing_database_that_is_the_owners_alone() {
    for command in [&["pair", "--label", "early"][..], &["token", "create", "--label", "early"]] {
        let folder = TempDir::new().unwrap();
        let ended = run(moorgate(folder.path()).args(command).args(["--database", "data/moorgate.db"]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let database = folder.path().join("data/moorgate.db");
        assert_eq!((mode(&database), mode(&folder.path().join("data"))), (0o600, 0o700));
    }
}

#[tokio::test]
async fn codes_and_tokens_made_without_a_server_are_good_when_one_starts() {
    let folder = TempDir::new().unwrap();
    let (code, token) = (another_code(&folder, &[]), new_token(&folder, "early"));
    let process = Process::start(folder.path(), &[]);
    assert_eq!(process.code, None, "a token is live");
    assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
    let paired = process.client.paired(&code).await;
    assert_eq!(process.client.post(&paired, None, "hello").await.status, 200);
    for file in ["moorgate.db", "moorgate.db-wal", "moorgate.db-shm", "moorgate.db.lock"] {
        assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
    }
}

/// Failure 35: a busy database: a write fails at once whatever the time-out.
#[tokio::test(flavor = "multi_thread")]
async fn pair_beside_a_server_under_load_never_finds_the_database_locked() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let token = process.pair().await;
    let mut load = JoinSet::new();
    for worker in 0..16 {
        let (client, token) = (process.client.clone(), token.clone());
        load.spawn(async move {
            for number in 0.. {
                let reply = client.post(&token, Some(&format!("{worker}-{number}")), "hello").await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        });
    }
    let issue = || run(moorgate(folder.path()).arg("pair"));
    let ended: Vec<Ended> = std::iter::repeat_with(issue).take(10).collect();
    load.abort_all();
    while let Some(ended) = load.join_next().await {
        assert!(ended.unwrap_err().is_cancelled(), "the load had no failure");
    }
    assert!(ended.iter().all(|ended| (ended.code, ended.err.as_str()) == (Some(0), "")), "{ended:?}");
    let code = ended[9].out.lines().next().unwrap().strip_prefix("X-Pairing-Code: ").unwrap();
    assert_eq!(process.client.pair(code).await.status, 200);
}

#[tokio::test]
async fn a_server_can_be_started_while_pair_is_at_work_on_its_database() {
    let folder = TempDir::new().unwrap();
    another_code(&folder, &[]);
    let transaction = Transaction::begin(&folder.path().join("moorgate.db"));
    let patient = ("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "60000");
    let mut pair = Running::spawn(moorgate(folder.path()).arg("pair").envs([patient]).stdout(Stdio::piped()));
    let address = free_address(4);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut serve = moorgate(folder.path());
    serve.args(["serve", "--host", &host, "--port", &port]).envs([patient]).stdout(Stdio::piped());
    let mut server = Running::spawn(&mut serve);
    let begun = async || TcpStream::connect(address).await.is_ok() || server.has_ended();
    until("the server listens, or ends", begun).await;
    drop(transaction);
    let banner = server.line();
    assert!(banner.is_some(), "the server did not start: exit code {:?}", server.wait().code());
    assert_eq!(pair.wait().code(), Some(0));
}
