//! SIGINT, SIGTERM, and clients that leave.

use std::{io::ErrorKind, net::SocketAddr};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    client::Client, gateway::sqlite3, model_server::ModelServer, process::Process, wait::until,
};

/// Waits until nobody listens there any more.
async fn wait_for_refusal(address: SocketAddr) {
    let refused = async || {
        let connected = TcpStream::connect(address).await;
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    until("new connections are refused", refused).await;
}

/// Failure 32: SIGTERM is ignored or cuts answers.
#[tokio::test]
async fn a_signal_lets_what_is_in_flight_finish_and_exits_0() {
    for signal in ["TERM", "INT"] {
        let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
        let mut process = Process::start(folder.path(), &model.env("model"));
        let token = process.pair().await;
        model.hold();
        let with_key = process.client.post_apart(&token, Some("order-1"), "with");
        let without_key = process.client.post_apart(&token, None, "without");
        model.wait_for_calls("with", 1).await;
        model.wait_for_calls("without", 1).await;

        process.signal(signal);
        wait_for_refusal(process.address).await;
        model.release();
        let (with_key, without_key) = (with_key.await.unwrap().unwrap(), without_key.await.unwrap().unwrap());
        assert_eq!((with_key.status, &with_key.json()["response"]), (200, &"with: answer 1".into()));
        assert_eq!((without_key.status, &without_key.json()["response"]), (200, &"without: answer 1".into()));
        assert_eq!(process.wait().code(), Some(0));
        let states = "SELECT state FROM v_message UNION ALL SELECT state FROM v_server_run";
        assert_eq!(sqlite3(&process.database, states), "answered\nanswered\nstopped");
        assert_eq!(process.printed_more(), [""; 0]);
    }
}

/// Failure 32: SIGTERM cuts answers.
#[tokio::test]
async fn a_second_signal_exits_at_once_and_what_was_accepted_is_resumed() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let mut process = Process::start(folder.path(), &model.env("model"));
    let token = process.pair().await;
    model.hold();
    let cut = process.client.post_apart(&token, Some("order-1"), "hello");
    model.wait_for_calls("hello", 1).await;
    process.wait_for_state("hello", "running").await;
    process.signal("TERM");
    wait_for_refusal(process.address).await;
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(130));
    assert!(cut.await.unwrap().is_err());

    let process = Process::start(folder.path(), &model.env("model"));
    model.wait_for_calls("hello", 2).await;
    let retry = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(retry.status, 409, "it is being resumed");
    let mut process = process;
    process.signal("TERM");
    wait_for_refusal(process.address).await;
    model.release();
    assert_eq!(process.wait().code(), Some(0), "resumed work is finished before the exit too");

    let process = Process::start(folder.path(), &model.env("model"));
    let retry = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(retry.header("idempotency-replayed"), Some("true"));
    assert_eq!((&retry.json()["response"], model.calls("hello")), (&"hello: answer 2".into(), 2));
}

/// Failure 32: a shutdown that waits for ever.
#[tokio::test]
async fn a_shutdown_waits_no_longer_than_its_grace_time() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let env = [&model.env("model")[..], &[("MOORGATE_GATEWAY__SHUTDOWN_GRACE_SECS", "0")]].concat();
    let mut process = Process::start(folder.path(), &env);
    let token = process.pair().await;
    model.hold();
    let cut = process.client.post_apart(&token, Some("order-1"), "hello");
    model.wait_for_calls("hello", 1).await;
    process.wait_for_state("hello", "running").await;
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert!(cut.await.unwrap().is_err());
    assert_eq!(sqlite3(&process.database, "SELECT state FROM v_message"), "running");

    model.release();
    let mut process = Process::start(folder.path(), &env);
    model.wait_for_calls("hello", 2).await;
    process.signal("KILL");
    process.wait();
}

/// The connections that are open, the one that asks included.
async fn open_connections(client: &Client) -> u32 {
    let metrics = client.get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("zeroclaw_connections_open "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// Failure 1: the client hangs up, the retry is told "already processed", the message was never answered.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_work() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let no_limit = ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0");
    let process = Process::start(folder.path(), &[&model.env("model")[..], &[no_limit]].concat());
    let (token, other) = (process.pair().await, Client::new(process.address));
    model.hold();
    let leaving = Client::new(process.address);
    let caller = leaving.post_apart(&token, Some("order-1"), "hello");
    model.wait_for_calls("hello", 1).await;
    assert_eq!(open_connections(&other).await, 3);
    caller.abort();
    drop(leaving);
    until("the gateway sees that the client is gone", async || open_connections(&other).await <= 2).await;
    assert_eq!(process.client.post(&token, Some("order-1"), "hello").await.status, 409, "the work goes on");

    model.release();
    let retry = process.client.post_until_done(&token, "order-1", "hello").await;
    assert_eq!(retry.header("idempotency-replayed"), Some("true"));
    assert_eq!((&retry.json()["response"], model.calls("hello")), (&"hello: answer 1".into(), 1));
}
