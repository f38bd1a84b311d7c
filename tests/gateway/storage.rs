//! The database as an operator meets it: busy, full, refused, edited by hand, left behind by a run that died.

mod backup;
mod busy;
mod clock;
mod edit;
mod failure;
mod file;
mod full;
mod key;
mod leftover;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::support::{client::Reply, gateway::Gateway};

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");
const ANSWER: &str = r#"{"response":"hello!","model":"test-model-1"}"#;

async fn post(gateway: &Gateway, key: &str) -> Reply {
    gateway.client.post("", Some(key), "hello").await
}

fn assert_answered(reply: &Reply) {
    assert_eq!((reply.status, reply.text.as_str()), (200, ANSWER));
}

fn assert_replayed(reply: &Reply, answer: &str, model: &str) {
    let body = format!(
        r#"{{"status":"duplicate","idempotent":true,"message":"Request already processed for this idempotency key","response":"{answer}","model":"{model}"}}"#
    );
    assert_eq!((reply.status, reply.text.as_str()), (200, body.as_str()));
    assert_eq!(reply.header("idempotency-replayed"), Some("true"));
}

fn assert_unavailable(reply: &Reply, wait_secs: u64) {
    let body = format!(r#"{{"error":"Storage unavailable. Please retry later.","retry_after":{wait_secs}}}"#);
    assert_eq!((reply.status, reply.text.as_str()), (503, body.as_str()));
    assert_eq!(reply.retry_after(), wait_secs);
}

/// The statement that puts a message of a run long gone on record, which `post` would have sent.
fn insert_message(id: u32, key: Option<&str>, state: &str, attempts: u32) -> String {
    let key = key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
    let answer = if state == "answered" { "'by hand', 'pen'" } else { "NULL, NULL" };
    format!(
        "INSERT INTO message (id, received_at_ms, channel, sender, idempotency_key, text, state, attempts, run_id, answer, model)
         VALUES ({id}, 1789999999000, 'webhook', 'addr:127.0.0.1', {key}, 'hello', '{state}', {attempts}, 0, {answer});"
    )
}

/// The statement that puts its key on record.
fn insert_key(id: u32, key: &str, state: &str) -> String {
    let mut hash = String::new();
    for byte in Sha256::digest(r#"{"message":"hello"}"#) {
        write!(hash, "{byte:02x}").unwrap();
    }
    let answered = if state == "answered" { "1789999999500, 1" } else { "NULL, NULL" };
    format!(
        "INSERT INTO idempotency_key (owner, key, body_hash, state, message_id, answered_at_ms, answered_no)
         VALUES ('addr:127.0.0.1', '{key}', x'{hash}', '{state}', {id}, {answered});"
    )
}
