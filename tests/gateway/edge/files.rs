//! A server that runs out of file descriptors.

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{metric, start_through};
use crate::support::raw::{Raw, soon};

/// Failure 32: one error of `accept` ended the server.
#[tokio::test]
async fn a_server_without_free_files_says_so_and_goes_on_when_there_are_some_again() {
    let folder = TempDir::new().unwrap();
    let process = start_through("sh", &["-c", "ulimit -n 64; exec \"$0\" \"$@\""], folder.path());
    let mut first = Raw::connect(process.address).await;
    let mut held = Vec::new();
    while metric(&mut first, "zeroclaw_accept_errors_total").await == 0 {
        held.push(soon(TcpStream::connect(process.address)).await.unwrap());
    }
    let pair = "POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: x\r\n\r\n";
    assert_eq!(first.ask(pair).await.status, 403, "who is connected is served, and what it did is written");
    drop(held);
    assert_eq!(process.client.get("/ready").await.status, 200);
    assert!(process.logged().contains("cannot accept connections"));
}
