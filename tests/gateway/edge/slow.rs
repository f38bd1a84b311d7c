//! Very many clients that are slow, or do nothing. How fast others are served meanwhile is measured in `bench`.

use std::{io::ErrorKind, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::metric;
use crate::support::{
    process::Process,
    raw::{Raw, soon},
    wait::until_is,
};

const UNLIMITED: (&str, &str) = ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0");
const GET_READY: &str = "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";

/// Room for the connections of these tests.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Sends a byte of a head every second until the connection is closed.
async fn drip(mut stream: TcpStream) {
    let mut head = b"GET /health HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut answer = [0; 1];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => match read {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                other => panic!("a head that drips is answered: {other:?}"),
            },
            _ = second.tick() => {
                let byte = head.next().unwrap();
                stream.write_all(&[byte]).await.ok(); // the reading notices that it is closed
            }
        }
    }
}

/// Failure 29: half a request head stayed open for ever.
#[tokio::test]
async fn a_thousand_heads_that_drip_are_all_cut_while_a_paired_client_is_answered() {
    raise_file_limit();
    let folder = TempDir::new().unwrap();
    let process =
        Process::start(folder.path(), &[UNLIMITED, ("MOORGATE_GATEWAY__HEADER_TIMEOUT_SECS", "10")]);
    let token = process.pair().await;
    let mut watcher = Raw::connect(process.address).await;
    assert_eq!(watcher.ask(GET_READY).await.status, 200);
    let mut slow = JoinSet::new();
    for _ in 0..1000 {
        slow.spawn(drip(soon(TcpStream::connect(process.address)).await.unwrap()));
    }
    let answering = async {
        while metric(&mut watcher, "zeroclaw_connections_timed_out_total").await < 1000 {
            assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
        }
    };
    soon(answering).await;
    while let Some(ended) = soon(slow.join_next()).await {
        ended.unwrap();
    }
    // The paired client's pool may have opened one that it did not use.
    assert!(metric(&mut watcher, "zeroclaw_connections_timed_out_total").await >= 1000);
}

#[tokio::test]
async fn idle_connections_past_the_cap_are_refused_and_those_that_are_open_go_on() {
    raise_file_limit();
    let folder = TempDir::new().unwrap();
    let settings = [
        UNLIMITED,
        ("MOORGATE_GATEWAY__MAX_CONNECTIONS", "300"),
        ("MOORGATE_GATEWAY__HEADER_TIMEOUT_SECS", "300"),
    ];
    let process = Process::start(folder.path(), &settings);
    // All connections are the test's own: one that a pool keeps would take a place.
    let mut watcher = Raw::connect(process.address).await;
    let code = process.code.as_ref().unwrap();
    let pair = format!("POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {code}\r\n\r\n");
    let token = watcher.ask(pair).await.json()["token"].as_str().unwrap().to_owned();
    let mut paired = Raw::connect(process.address).await;
    let post = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: 19\r\n\r\n{{\"message\":\"hello\"}}"
    );
    let mut crowd = Vec::new();
    for number in 0..1000 {
        crowd.push(Raw::connect(process.address).await);
        if number % 100 == 0 {
            assert_eq!(paired.ask(&post).await.status, 200);
        }
    }
    let refused = 1000 + 2 - 300;
    let series = "zeroclaw_connections_refused_total";
    until_is(series, &refused, async || metric(&mut watcher, series).await).await;
    assert_eq!(metric(&mut watcher, "zeroclaw_connections_open").await, 300);
    assert_eq!(paired.ask(&post).await.status, 200);
    for mut connection in crowd.split_off(298) {
        let body = r#"{"error":"Too many connections. Please retry later.","retry_after":1}"#;
        connection.reply().await.assert_is(503, body);
    }
    for mut connection in crowd {
        assert_eq!(connection.ask(GET_READY).await.status, 200, "those that came first are open");
    }
}
