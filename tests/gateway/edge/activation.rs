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
    listens, address = not address.startswith('deaf:'), address.removeprefix('deaf:')
    if address.startswith('/'):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
    else:
        listener = socket.socket()
        listener.bind((address, 0))
    if listens:
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

/// Hands these sockets to a server, which must refuse them: what it says.
fn refused(sockets: &str, folder: &TempDir) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCHER, sockets]).arg(moorgate(folder.path()).get_program()).arg("serve");
    let refused = run(command.current_dir(folder.path()));
    assert_eq!(refused.code, Some(78), "{refused:?}");
    refused.err
}

#[test]
fn a_socket_that_other_machines_can_reach_is_not_served_unless_it_is_allowed() {
    let said = refused("0.0.0.0", &TempDir::new().unwrap());
    assert!(said.contains("refusing to listen on 0.0.0.0"), "{said}");
}

#[test]
fn more_sockets_than_there_is_use_for_are_refused() {
    let said = refused("127.0.0.1,127.0.0.1", &TempDir::new().unwrap());
    let rule =
        "of the sockets that are handed over (LISTEN_FDS), one may be of TCP and one a Unix domain socket";
    assert!(said.contains(rule), "{said}");
}

/// A server on a socket that was only bound would look well, and nobody could connect.
#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let folder = TempDir::new().unwrap();
    let operator = format!("127.0.0.1,deaf:{}", folder.path().join("operator.sock").display());
    for sockets in ["deaf:127.0.0.1", &operator] {
        let said = refused(sockets, &folder);
        assert!(said.contains("(LISTEN_FDS), each must listen already"), "{said}");
    }
    assert!(!folder.path().join("moorgate.db").exists(), "nothing was made, and no code issued");
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
