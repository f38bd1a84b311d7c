//! The process between the gateway and a tunnel's program, which sees to it that the program does not outlive the gateway.
//!
//! Its standard input is a pipe that the gateway holds open and nobody writes to. When that ends, because the gateway wants
//! it or because it is gone, however it went, the guard ends its process group: first with SIGTERM, after some time with
//! SIGKILL, which ends the guard too. The same is done with what the program leaves behind when it ends by itself.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// The command of ours that is a guard.
pub const COMMAND: &str = "tunnel-guard";

/// What begins the names of variables that are none of the program's business.
const OWN: [&str; 7] =
    ["MOORGATE_", "ZEROCLAW_", "RANTAICLAW_", "CONSTRUCT_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"];

/// Runs a program as its guard. It returns if there is nothing to guard; else it ends with its process group.
///
/// # Errors
/// If the program cannot be run, or this is not the first process of its group: others would be ended with it.
pub async fn run(
    program: &[OsString],
    environment: impl Iterator<Item = OsString>,
    grace: Duration,
) -> io::Result<()> {
    let [name, arguments @ ..] = program else { return Ok(()) };
    if getpgrp() != getpid() {
        return Err(io::Error::other("this command is for the gateway itself"));
    }
    // They are sent to the whole group, of which this is the last to end.
    let mut ignored = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        ignored.push(signal(kind)?);
    }
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    for variable in environment {
        if OWN.iter().any(|own| variable.as_encoded_bytes().starts_with(own.as_bytes())) {
            command.env_remove(variable);
        }
    }
    let gone = gateway_gone();
    let mut child = command.spawn()?;
    tokio::select! {
        ended = child.wait() => say(&match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }),
        _ = gone => {
            kill_current_process_group(Signal::TERM).ok();
            tokio::time::timeout(grace, child.wait()).await.ok();
        }
    }
    Ok(kill_current_process_group(Signal::KILL)?)
}

/// The gateway reads it as the program's last words.
fn say(text: &str) {
    use io::Write as _;
    writeln!(io::stderr(), "{text}").ok();
}

/// Ends when the gateway has closed its end of the pipe.
fn gateway_gone() -> oneshot::Receiver<()> {
    let (sender, gone) = oneshot::channel();
    std::thread::spawn(move || {
        while matches!(io::stdin().read(&mut [0; 64]), Ok(1..)) {}
        sender.send(()).ok();
    });
    gone
}
