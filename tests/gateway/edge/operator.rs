//! The operator's socket.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

use tempfile::TempDir;

use super::metric;
use crate::support::{gateway::Gateway, process::Process, raw::Raw};

const GET_READY: &str = "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";

/// A place for a socket, with a path as a setting. Paths of sockets are short.
fn socket() -> (TempDir, PathBuf, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("operator.sock");
    let text = path.display().to_string();
    (folder, path, text)
}

fn pair(code: &str) -> String {
    format!("POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {code}\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
}

#[tokio::test]
async fn the_operator_is_one_client_that_no_stranger_locks_out_or_is_locked_out_with() {
    let (_folder, path, text) = socket();
    let trust = ("gateway.trust_forwarded_headers", "true");
    let gateway = Gateway::start_with(&[("gateway.operator_socket", &text), trust]).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..5 {
        assert_eq!(gateway.client.pair("x").await.status, 403);
    }
    assert_eq!(gateway.client.pair("x").await.status, 429);
    let mut operator = Raw::connect_unix(&path).await;
    for _ in 0..5 {
        assert_eq!(operator.ask(pair("x")).await.status, 403);
    }
    assert_eq!(operator.ask(pair("x")).await.status, 429);
    assert_eq!(gateway.sql("SELECT client FROM pairing_lockout ORDER BY 1"), "127.0.0.1\noperator");
    let code = gateway.code.clone().unwrap();
    assert_eq!(gateway.client.seen_from("127.0.0.2").pair(&code).await.status, 200);
    let unpaired = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        operator.ask(unpaired).await.status,
        401,
        "nothing is open to the operator that is not to others"
    );
}

#[tokio::test]
async fn the_operator_gets_in_when_nobody_else_does_and_has_a_cap_of_its_own() {
    let (_folder, path, text) = socket();
    let settings = [
        ("gateway.operator_socket", text.as_str()),
        ("gateway.operator_max_connections", "1"),
        ("gateway.max_connections", "1"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    let mut only = Raw::connect(gateway.address()).await;
    assert_eq!(only.ask(GET_READY).await.status, 200);
    assert_eq!(Raw::connect(gateway.address()).await.reply().await.status, 503);
    let mut operator = Raw::connect_unix(&path).await;
    operator.ask(GET_READY).await.assert_is(200, r#"{"status":"ready"}"#);
    let refused = Raw::connect_unix(&path).await.reply().await;
    refused.assert_is(503, r#"{"error":"Too many connections. Please retry later.","retry_after":1}"#);
    assert_eq!(metric(&mut operator, "zeroclaw_connections_refused_total").await, 2);
}

#[tokio::test]
async fn the_socket_of_a_server_that_was_killed_is_taken_over_and_that_of_another_is_not() {
    let (folder, path, text) = socket();
    let env = [("MOORGATE_GATEWAY__OPERATOR_SOCKET", text.as_str())];
    Process::start(folder.path(), &env).kill();
    assert!(path.exists());
    let mut process = Process::start(folder.path(), &env);
    assert_eq!(Raw::connect_unix(&path).await.ask(GET_READY).await.status, 200);

    let other = TempDir::new().unwrap();
    let mut command = crate::support::process::moorgate(other.path());
    let refused = crate::support::process::run(command.args(["serve", "--port", "0"]).envs(env));
    assert!(refused.err.contains("another program listens there"), "{refused:?}");
    assert_eq!(Raw::connect_unix(&path).await.ask(GET_READY).await.status, 200);
    process.signal("TERM");
    assert!(process.wait().success());
    assert!(!path.exists());

    fs::File::create(&path).unwrap().write_all(b"precious").unwrap();
    let mut command = crate::support::process::moorgate(other.path());
    let refused = crate::support::process::run(command.args(["serve", "--port", "0"]).envs(env));
    assert!(refused.err.contains("something else has that name"), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
