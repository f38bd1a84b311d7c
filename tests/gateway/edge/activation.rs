//! Sockets that systemd opens before it starts the gateway.

use std::{net::TcpListener, process::Command};

use tempfile::TempDir;

use super::start_through;
use crate::support::{
    process::{moorgate, run},
    raw::Raw,
};

/// What systemd does: listens, hands the sockets over from file descriptor 3 on, and becomes the program.
const LAUNCHER: &str = "
import fcntl, os, socket, sys
sockets = []
for address in sys.argv[1].split(','):
    if address.startswith('/'):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
    else:
        listener = socket.socket()
        listener.bind((address, 0))
    listener.listen()
    sockets.append(fcntl.fcntl(listener, fcntl.F_DUPFD, 100))
for number, opened in enumerate(sockets):
    os.dup2(opened, 3 + number)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test]
async fn the_sockets_that_are_handed_over_are_served_in_place_of_those_that_are_configured() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("operator.sock");
    let sockets = format!("127.0.0.5,{}", path.display());
    let process = start_through("python3", &["-c", LAUNCHER, &sockets], folder.path());
    assert_eq!(process.address.ip().to_string(), "127.0.0.5");
    let token = process.pair().await;
    assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
    let ready = Raw::connect_unix(&path).await.ask("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(ready.status, 200);
}

#[test]
fn a_socket_that_other_machines_can_reach_is_not_served_unless_it_is_allowed() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCHER, "0.0.0.0"]).arg(moorgate(folder.path()).get_program()).arg("serve");
    command.current_dir(folder.path());
    let refused = run(&mut command);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("refusing to listen on 0.0.0.0"), "{refused:?}");
}

#[test]
fn more_sockets_than_there_is_use_for_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCHER, "127.0.0.1,127.0.0.1"]).arg(moorgate(folder.path()).get_program());
    command.current_dir(folder.path());
    let refused = run(&mut command);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("LISTEN_FDS"), "{refused:?}");
}

#[tokio::test]
async fn sockets_that_are_meant_for_another_process_are_left_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let env = [("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
    let process = crate::support::process::Process::start(folder.path(), &env);
    assert_ne!(process.address, taken.local_addr().unwrap());
    assert_eq!(process.client.get("/ready").await.status, 200);
}
