//! The database is the operator's interface: `sqlite3` and the commands work beside the running server, and what they
//! change holds within a second.

mod command;
mod conversation;
mod database;
mod delivery;
mod doctor;
mod guard;
mod health;
mod help;
mod import;
mod key;
mod lockout;
mod message;
mod pair;
mod query;
mod rate_window;
mod settings;
mod shape;
mod storm;
mod tail;
mod terminal;
mod token;

use tempfile::TempDir;

use crate::support::{
    client::Reply,
    gateway::sqlite3,
    process::{Process, moorgate, run},
    wait::{until_query, until_some},
};

/// Asking again and again must neither be refused nor use up anything.
const NO_LIMITS: [(&str, &str); 2] = [
    ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
    ("MOORGATE_GATEWAY__PAIR_RATE_LIMIT_PER_MINUTE", "0"),
];
const WRONG_CODE: &str = "not a code";

/// Asks until the status is `status`. What operators do holds within a second, but how long a busy machine takes for a second's
/// work nobody knows: `sqlite::memory` has the time after which the server looks, and a test of that.
async fn until_status(status: u16, mut ask: impl AsyncFnMut() -> Reply) -> Reply {
    let ask = async || Some(ask().await).filter(|reply| reply.status == status);
    until_some(&format!("an answer with {status}"), ask).await
}

/// What the label of a client is in the table for people.
fn tokens(process: &Process) -> String {
    sqlite3(&process.database, "SELECT label, source, state FROM v_token ORDER BY id")
}

#[tokio::test]
async fn every_table_has_a_view_for_people_that_sqlite3_reads_while_the_server_runs() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[("MOORGATE_GATEWAY__PAIRED_TOKENS", "zc_imported")]);
    let code = command::another_code(&folder, &[]);
    let token = process.client.paired(&code).await;
    process.client.post(&token, Some("order-1"), "hello").await;
    for _ in 0..6 {
        process.client.pair(WRONG_CODE).await;
    }
    process.client.pair(WRONG_CODE).await;

    let tables = sqlite3(&process.database, ".tables");
    let names = sqlite3(
        &process.database,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '[a-z]*' AND name NOT GLOB 'memory_text*'",
    );
    for name in names.lines().filter(|name| !name.starts_with("sqlite_")) {
        assert!(
            tables.split_whitespace().any(|word| word == format!("v_{name}")),
            "{name} has no view:\n{tables}"
        );
    }
    for (select, expected) in [
        ("state, stopped_at FROM v_server_run", "running or killed|"),
        (
            "label, source, state, revoked_at FROM v_token ORDER BY id",
            "imported|import|live|\nclient|pairing|live|",
        ),
        ("count(*) FROM v_token_import", "1"),
        ("label, state, failed_attempts, token_id FROM v_pairing_code", "client|redeemed|0|2"),
        ("count(*) FROM v_pairing_failure", "0"),
        ("client, lockouts_in_a_day, state GLOB 'locked for * s' FROM v_pairing_lockout", "127.0.0.1|1|1"),
        (
            "scope, token_id, address, hits_in_60_s FROM v_rate_hit",
            "pair||127.0.0.1|8\nwebhook|2|127.0.0.1|1",
        ),
        (
            "sender, idempotency_key, state, attempts, text_starts, answer_starts FROM v_message",
            "token:2|order-1|answered|1|hello|hello",
        ),
        ("owner, key, state, message_id FROM v_idempotency_key", "token:2|order-1|answered|1"),
    ] {
        assert_eq!(sqlite3(&process.database, &format!("SELECT {select}")), expected, "{select}");
    }
    let times = "SELECT received_at GLOB '20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9].[0-9][0-9][0-9]Z' FROM v_message";
    assert_eq!(sqlite3(&process.database, times), "1", "times are readable");
}

/// Failure 23: tokens cannot be revoked; a revoked token works on.
#[tokio::test]
async fn a_token_that_is_revoked_with_sqlite3_is_refused_within_a_second() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let (revoked, other) = (process.pair().await, command::new_token(&folder, "other"));
    until_status(200, async || process.client.post(&other, None, "hello").await).await;
    assert_eq!(process.client.post(&revoked, None, "hello").await.status, 200);

    sqlite3(&process.database, "UPDATE token SET revoked_at_ms = unixepoch() * 1000 WHERE label = 'client'");
    let refused = until_status(401, async || process.client.post(&revoked, None, "hello").await).await;
    let challenge = r#"Bearer realm="moorgate", error="invalid_token""#;
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
    assert_eq!(tokens(&process), "client|pairing|revoked\nother|command|live");
    assert_eq!(process.client.post(&other, None, "hello").await.status, 200, "the other token works on");

    sqlite3(&process.database, "UPDATE token SET revoked_at_ms = NULL WHERE label = 'client'");
    until_status(200, async || process.client.post(&revoked, None, "hello").await).await;
}

/// Failure 20: five bad codes by a stranger lock out the owner.
#[tokio::test]
async fn a_lockout_that_is_deleted_with_sqlite3_is_over_within_a_second() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    for status in [403, 403, 403, 403, 403, 429] {
        assert_eq!(process.client.pair(WRONG_CODE).await.status, status);
    }
    let code = process.code.as_ref().unwrap();
    assert_eq!(process.client.pair(code).await.status, 429, "the right code too");

    sqlite3(&process.database, "DELETE FROM pairing_lockout");
    until_status(200, async || process.client.pair(code).await).await;
}

#[tokio::test]
async fn a_rate_window_that_is_deleted_with_sqlite3_is_empty_within_a_second() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "3")]);
    let token = process.pair().await;
    for status in [200, 200, 200, 429] {
        assert_eq!(process.client.post(&token, None, "hello").await.status, status);
    }

    sqlite3(&process.database, "DELETE FROM rate_hit WHERE scope = 'webhook'");
    let admitted = until_status(200, async || process.client.post(&token, None, "hello").await).await;
    assert_eq!(admitted.left("webhook"), 2, "the whole window is free");
}

/// Failure 17: another code needs an edit of the config file and a restart.
#[tokio::test]
async fn a_pairing_code_can_be_withdrawn_with_sqlite3() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    sqlite3(&process.database, "UPDATE pairing_code SET state = 'replaced'");
    assert_eq!(process.client.pair(process.code.as_ref().unwrap()).await.status, 403);
    let code = command::another_code(&folder, &["--label", "phone"]);
    assert_eq!(process.client.pair(&code).await.status, 200);
    assert_eq!(tokens(&process), "phone|pairing|live");
    let version = run(moorgate(folder.path()).arg("--version"));
    assert_eq!(
        sqlite3(&process.database, "SELECT 'moorgate ' || version FROM v_server_run"),
        version.out.trim_end()
    );
}
