//! The database does not take what it is given: one message, or any.

use std::process::Command;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{OPEN, assert_answered, assert_unavailable, busy::Holder, post};
use crate::support::{gateway::Gateway, process::Process, raw};

#[tokio::test]
async fn a_message_that_the_database_refuses_fails_alone() {
    let refused = "ON message WHEN NEW.text = 'message 25' BEGIN SELECT RAISE(ABORT, 'refused'); END";
    one_of_fifty_fails_alone(refused).await;
}

/// What its statement wrote before stands until the batch is rolled back.
#[tokio::test]
async fn a_message_that_is_refused_after_others_of_its_statement_fails_alone() {
    let refused = "ON message WHEN NEW.text = 'message 25' BEGIN SELECT RAISE(FAIL, 'refused'); END";
    one_of_fifty_fails_alone(refused).await;
}

#[tokio::test]
async fn a_message_whose_key_is_refused_after_others_fails_alone() {
    let refused = "ON idempotency_key WHEN NEW.key = 'key-25' BEGIN SELECT RAISE(FAIL, 'refused'); END";
    one_of_fifty_fails_alone(refused).await;
}

async fn one_of_fifty_fails_alone(refused: &str) {
    let gateway = Gateway::start_with(&[OPEN, ("database.busy_timeout_ms", "60000")]).await;
    gateway.sql(&format!("CREATE TRIGGER refuse BEFORE INSERT {refused}"));
    let holder = Holder::take(&gateway.database()); // so that the posts gather in one transaction
    let mut posts = JoinSet::new();
    for number in 0..50 {
        let (client, key) = (gateway.client.clone(), format!("key-{number}"));
        posts.spawn(async move { client.post("", Some(&key), &format!("message {number}")).await });
    }
    gateway.model.wait_for_calls(50).await;
    holder.release();
    let replies = posts.join_all().await;
    let (refused, answered): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status != 200);
    assert_eq!((refused.len(), answered.len()), (1, 49));
    assert_unavailable(&refused[0], 5);

    assert_eq!(gateway.sql("SELECT sum(hits) FROM rate_hit"), "50", "its hit is counted");
    assert_eq!(gateway.sql("SELECT count(*), sum(state = 'answered') FROM message"), "49|49");
    assert_eq!(gateway.sql("SELECT count(*), count(DISTINCT key) FROM idempotency_key"), "49|49");
    assert_eq!(gateway.client.get("/ready").await.status, 200);
    gateway.sql("DROP TRIGGER refuse");
    let retried = gateway.client.post("", Some("key-25"), "message 25").await;
    assert_eq!(retried.text, r#"{"response":"message 25!","model":"test-model-1"}"#, "its key is free");
}

#[tokio::test]
async fn an_attempt_to_pair_that_the_database_refuses_fails_alone() {
    let gateway = Gateway::start_with(&[("gateway.paired_tokens", "zc_one")]).await;
    gateway.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON pairing_failure BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    let code = gateway.another_code().await;
    let (wrong, right) = tokio::join!(gateway.client.pair("x"), gateway.client.pair(&code));
    assert_unavailable(&wrong, 5);
    assert_eq!(right.status, 200);
    assert_eq!(gateway.sql("SELECT sum(hits) FROM rate_hit WHERE scope = 'pair'"), "2");
}

/// A full disk, as a process sees it whose files may not grow.
#[tokio::test]
async fn a_full_disk_is_answered_503_and_is_over_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("/bin/sh");
    let script = "trap '' XFSZ; exec \"$0\" serve --port 0 --print-json";
    command.args(["-c", script, env!("CARGO_BIN_EXE_moorgate")]).current_dir(folder.path());
    command.env_clear().envs([
        ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"),
        ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
        ("MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS", "5"),
    ]);
    let gateway = Process::spawn(command, folder.path());
    assert_eq!(gateway.client.post("", Some("one"), "hello").await.status, 200);

    let wal = std::fs::metadata(folder.path().join("moorgate.db-wal")).unwrap().len();
    limit_files(&gateway, &wal.to_string());
    for _ in 0..3 {
        assert_unavailable(&gateway.client.post("", Some("two"), "hello").await, 5);
    }
    // This one writes nothing, so that it succeeds proves nothing.
    assert_eq!(raw::post(gateway.address, "Content-Length: 5\r\n", "{").await.status, 408);
    let ready = gateway.client.get("/ready").await;
    assert_eq!((ready.status, ready.text.as_str()), (503, r#"{"status":"not ready","reasons":["storage"]}"#));
    assert_eq!(gateway.client.get("/health").await.json()["runtime"]["components"]["gateway"], "error");

    limit_files(&gateway, "unlimited");
    let retried = gateway.client.post("", Some("two"), "hello").await;
    assert_eq!((retried.status, retried.text.as_str()), (200, r#"{"response":"hello","model":"echo"}"#));
    assert_eq!(gateway.client.get("/ready").await.text, r#"{"status":"ready"}"#);
}

pub(super) fn limit_files(gateway: &Process, bytes: &str) {
    let mut command = Command::new("prlimit");
    let status = command.args(["--pid", &gateway.id().to_string(), &format!("--fsize={bytes}:")]).status();
    assert!(status.expect("prlimit is installed (Debian: util-linux)").success());
}

/// A database that is refused a table is read again as soon as it has it.
#[tokio::test]
async fn a_missing_table_is_answered_503_and_is_over_when_it_is_back() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "one").await);
    gateway.sql("ALTER TABLE message RENAME TO elsewhere");
    assert_unavailable(&post(&gateway, "two").await, 5);
    gateway.sql("ALTER TABLE elsewhere RENAME TO message");
    assert_answered(&post(&gateway, "two").await);
}
