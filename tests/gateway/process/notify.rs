//! What systemd is told: that the gateway is ready, that it lives, that it stops.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::LONGEST_WAIT;
use crate::support::{
    process::{Process, moorgate},
    transaction::Transaction,
    wait::{until, until_is},
};

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LONGEST_WAIT)).unwrap();
        Self { socket, path }
    }

    /// Starts a gateway that is told of the socket, and watched.
    fn start(&self, folder: &Path, env: &[(&str, &str)]) -> Process {
        let mut command = moorgate(folder);
        command.args(["serve", "--port", "0", "--print-json"]).env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", "3000000").envs(env.iter().copied());
        Process::spawn(command, folder)
    }

    fn next(&self) -> String {
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).expect("systemd is told something");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    fn wait_for(&self, start: &str) -> String {
        loop {
            let message = self.next();
            if message.starts_with(start) {
                return message;
            }
        }
    }

    /// All that has been sent so far.
    fn drain(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut messages = Vec::new();
        loop {
            let mut message = [0; 1024];
            match self.socket.recv(&mut message) {
                Ok(length) => messages.push(String::from_utf8_lossy(&message[..length]).into_owned()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    self.socket.set_nonblocking(false).unwrap();
                    return messages;
                }
            }
        }
    }
}

async fn heartbeats(process: &Process) -> u64 {
    let metrics = process.client.get("/metrics").await.text;
    let beats = metrics.lines().find_map(|line| line.strip_prefix("zeroclaw_heartbeat_ticks_total "));
    beats.unwrap().parse().unwrap()
}

async fn heart(process: &Process) -> String {
    let health = process.client.get("/health").await.json();
    health["runtime"]["components"]["heartbeat"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn systemd_is_told_when_it_answers_that_it_lives_and_when_it_stops() {
    let folder = TempDir::new().unwrap();
    let manager = Manager::new(folder.path());
    let mut process = manager.start(folder.path(), &[]);
    let ready = manager.wait_for("READY=1");
    assert_eq!(ready, format!("READY=1\nSTATUS=Listening on http://{}", process.address));
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    assert!(heartbeats(&process).await >= 3);
    process.signal("TERM");
    manager.wait_for("STOPPING=1\nSTATUS=");
    assert_eq!(process.wait().code(), Some(0));
}

#[tokio::test]
async fn a_writer_that_is_stuck_stops_the_signs_of_life_until_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let manager = Manager::new(folder.path());
    let patience = ("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "600000");
    let process = manager.start(folder.path(), &[patience]);
    manager.wait_for("READY=1");
    let held = Transaction::begin(&process.database);
    until_is("the state of the heartbeat", "error", async || heart(&process).await).await;
    manager.drain();
    // Each heartbeat that fails is logged, and comes after the time for it was over.
    let failed = || process.logged().matches("the writer does not answer").count();
    let more = failed() + 2;
    until("heartbeats fail", async || failed() >= more).await;
    assert_eq!(manager.drain(), [""; 0], "nothing is alive that does not write");
    assert_eq!(process.client.get("/health").await.status, 200, "it answers all the same");
    drop(held);
    manager.wait_for("WATCHDOG=1");
    until_is("the state of the heartbeat", "ok", async || heart(&process).await).await;
}

#[tokio::test]
async fn a_database_that_somebody_holds_is_no_reason_to_be_started_again() {
    let folder = TempDir::new().unwrap();
    let manager = Manager::new(folder.path());
    let process = manager.start(folder.path(), &[("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "10")]);
    manager.wait_for("READY=1");
    let _held = Transaction::begin(&process.database);
    until_is("the state of the heartbeat", "error", async || heart(&process).await).await;
    manager.drain();
    assert_eq!(manager.next(), "WATCHDOG=1");
    assert_eq!(heart(&process).await, "error");
}

#[test]
fn a_socket_that_cannot_be_exits_78() {
    let folder = TempDir::new().unwrap();
    let mut command = moorgate(folder.path());
    let ended = crate::support::process::run(command.arg("--port=0").env("NOTIFY_SOCKET", "/x".repeat(200)));
    assert_eq!(ended.code, Some(78));
    assert!(ended.err.starts_with("moorgate: NOTIFY_SOCKET: "), "{ended:?}");
}
