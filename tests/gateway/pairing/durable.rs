//! What is on disk before a client is answered, and what is never there.

use std::process::Command;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{client::Reply, gateway::Gateway, process::Process, raw::soon};

use super::{MINUTE, REFUSED, assert_locked_out, guess, start, wrong_code};

/// How a client leaves after it has sent its request.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// At once, or after so many other requests.
    After(usize),
    /// When the answer is there, without reading it.
    BeforeReading,
}

async fn send_and_leave(gateway: &Gateway, code: &str, leaves: Leaves) {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let request =
        format!("POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {code}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    match leaves {
        Leaves::After(others) => {
            for _ in 0..others {
                gateway.client.get("/health").await;
            }
        }
        Leaves::BeforeReading => soon(stream.readable()).await.unwrap(),
    }
}

/// Failure 18: the code was consumed before the token was durable, and the connection dropped between.
#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_spent_code_without_a_token() {
    let gateway = Gateway::start().await;
    let ways = (0..30).map(|n| Leaves::After(n / 10)).chain([Leaves::BeforeReading; 3]);
    for (n, leaves) in ways.enumerate() {
        let code = gateway.another_code().await;
        send_and_leave(&gateway, &code, leaves).await;
        let reply = gateway.client.pair(&code).await;
        assert!(matches!(reply.status, 200 | 403), "{reply:?}");
        let spent_with_token = "SELECT count(*) FROM pairing_code AS c JOIN token AS t ON t.id = c.token_id
                                WHERE c.state = 'redeemed' AND t.revoked_at_ms IS NULL";
        assert_eq!(gateway.sql(spent_with_token), (n + 1).to_string(), "{leaves:?}");
        assert_eq!(gateway.sql("SELECT count(*) FROM token"), (n + 1).to_string(), "{leaves:?}");
        if matches!(leaves, Leaves::BeforeReading) {
            assert_eq!(reply.status, 403, "the code was spent for the client that left");
        }
        gateway.clock.advance(16 * MINUTE); // the failure, if it was one, decays
    }
}

fn assert_storage_unavailable(reply: &Reply) {
    let text = r#"{"error":"Storage unavailable. Please retry later.","retry_after":5}"#;
    assert_eq!((reply.status, reply.text.as_str()), (503, text));
    assert_eq!(reply.retry_after(), 5);
}

/// Failure 18: a code was spent although the token could not be stored.
#[tokio::test]
async fn no_code_is_spent_while_the_store_refuses_the_write() {
    for event in ["INSERT ON token", "UPDATE ON pairing_code"] {
        let gateway = start().await;
        gateway
            .sql(&format!("CREATE TRIGGER no BEFORE {event} BEGIN SELECT RAISE(ABORT, 'disk on fire'); END"));
        for _ in 0..6 {
            assert_storage_unavailable(&gateway.client.pair(gateway.code.as_ref().unwrap()).await);
        }
        assert_eq!(gateway.sql("SELECT state, failed_attempts FROM pairing_code"), "live|0");
        assert_eq!(gateway.sql("SELECT count(*) FROM token"), "0", "{event}");
        assert_eq!(gateway.client.get("/health").await.json()["paired"], false);
        gateway.sql("DROP TRIGGER no");
        let token = gateway.pair().await;
        assert_eq!(gateway.client.post(&token, None, "hello").await.status, 200);
    }
}

#[tokio::test]
async fn a_guess_that_cannot_be_counted_is_not_judged() {
    let gateway = start().await;
    for (table, counted) in [("pairing_failure", 0), ("pairing_lockout", 4)] {
        guess(&gateway, &gateway.client, counted).await;
        let trigger =
            format!("CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END");
        gateway.sql(&trigger);
        for _ in 0..3 {
            assert_storage_unavailable(&gateway.client.pair(&wrong_code(&gateway)).await);
        }
        assert_eq!(gateway.sql("SELECT failed_attempts FROM pairing_code"), counted.to_string());
        gateway.sql("DROP TRIGGER no");
    }
    guess(&gateway, &gateway.client, 1).await;
    assert_locked_out(&gateway.client.pair(&wrong_code(&gateway)).await, 300);
}

#[tokio::test]
async fn an_attempt_is_on_disk_before_it_is_answered() {
    let gateway = Gateway::start().await;
    let counts = "SELECT (SELECT sum(hits) FROM rate_hit), (SELECT failed_attempts FROM pairing_code),
                         (SELECT count(*) FROM pairing_failure), (SELECT count(*) FROM pairing_lockout)";
    for expected in ["1|1|1|0", "2|2|2|0", "3|3|3|0", "4|4|4|0", "5|5|0|1"] {
        guess(&gateway, &gateway.client, 1).await;
        assert_eq!(gateway.sql(counts), expected);
    }
    gateway.client.pair("").await;
    assert_eq!(gateway.sql(counts), "6|5|0|1", "locked out");
}

/// Failure 18: the token was not durable when it was shown.
#[tokio::test]
async fn a_token_outlives_a_kill_right_after_it_was_shown() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let token = process.client.paired(process.code.as_ref().unwrap()).await;
    process.kill();
    let process = Process::start(folder.path(), &[]);
    assert_eq!(process.code, None);
    assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
}

/// Failure 5: a crash loop gave fresh guesses.
#[tokio::test]
async fn guesses_outlive_a_kill_right_after_they_were_refused() {
    let folder = TempDir::new().unwrap();
    let mut code = None;
    for _ in 0..5 {
        let process = Process::start(folder.path(), &[]);
        let reply = process.client.pair("no code").await;
        assert_eq!((reply.status, reply.text.as_str()), (403, REFUSED));
        code.clone_from(&process.code);
        process.kill();
    }
    let process = Process::start(folder.path(), &[]);
    let reply = process.client.pair(&code.unwrap()).await;
    let left = reply.retry_after();
    assert!((200..=300).contains(&left), "{left}");
    assert_locked_out(&reply, left);
}

/// All bytes of the database's files. Another process reads them: if this one did, the gateway would lose its locks
/// when it closes them.
fn files(gateway: &Gateway) -> Vec<u8> {
    let folder = gateway.database().parent().unwrap().to_owned();
    let output = Command::new("sh").args(["-c", "cat moorgate.db*"]).current_dir(folder).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn contains(files: &[u8], bytes: &[u8]) -> bool {
    files.windows(bytes.len()).any(|window| window == bytes)
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[tokio::test]
async fn codes_and_tokens_are_on_disk_as_hashes_only() {
    let mut gateway = Gateway::start().await;
    let (code, unspent) = (gateway.code.clone().unwrap(), gateway.another_code().await);
    let token = gateway.pair().await;
    gateway.client.post(&token, Some("order-1"), "a message to be found").await;
    let hex = token.strip_prefix("zc_").unwrap();
    for stopped in [false, true] {
        let files = files(&gateway);
        for secret in [token.as_bytes(), hex.as_bytes(), &bytes_of(hex), code.as_bytes(), unspent.as_bytes()]
        {
            assert!(!contains(&files, secret), "stopped: {stopped}");
        }
        assert!(contains(&files, b"a message to be found"), "what is there is found");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_hash_of_a_code_is_salted() {
    let gateway = Gateway::start().await;
    let code = gateway.code.clone().unwrap();
    assert!(!contains(&files(&gateway), &Sha256::digest(&code)), "a million hashes are made in a second");
    assert_eq!(gateway.sql("SELECT length(salt), length(code_hash) FROM pairing_code"), "16|32");
    gateway.another_code().await;
    assert_eq!(gateway.sql("SELECT count(DISTINCT salt) FROM pairing_code"), "2");
}
