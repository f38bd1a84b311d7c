//! The real program in a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use super::client::Client;

/// A running `moorgate serve`; killed when dropped.
pub struct Process {
    child: Child,
    pub client: Client,
    pub address: SocketAddr,
    /// The code in its banner.
    pub code: Option<String>,
    pub database: PathBuf,
}

/// The program, with no configuration but what the test gives.
pub fn moorgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

impl Process {
    /// Starts it on a free port with `moorgate.db` in `folder`, and these environment variables.
    pub fn start(folder: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = moorgate(folder);
        command.args(["serve", "--port", "0", "--print-json"]).envs(env.iter().copied());
        Self::spawn(command, folder)
    }

    /// Runs a command that becomes a server on `moorgate.db` in `folder` and prints its banner as JSON.
    pub fn spawn(mut command: Command, folder: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let banner: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let address: SocketAddr = banner["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            child,
            client: Client::new(address),
            address,
            code: banner["pairing_code"].as_str().map(str::to_owned),
            database: folder.join("moorgate.db"),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
