//! The real program in a process of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, PipeReader, Read as _, Seek as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{client::Client, wait::until_query};

/// The longest that anything is waited for. A machine that is so busy that this is not enough does nothing else either.
pub const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// Where its log goes, in its folder.
const LOG: &str = "moorgate.log";

/// The program, with no configuration but what the test gives.
pub fn moorgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorgate"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// A process that is not waited for without end. Killed when dropped.
pub struct Running {
    child: Child,
    lines: Option<Receiver<String>>,
    ended: Receiver<()>,
}

impl Running {
    /// Starts it. If its standard output is a pipe, [`line`](Self::line) reads it.
    pub fn spawn(command: &mut Command) -> Self {
        // Its standard input is the end of a pipe that is closed when the process ends, however it does.
        let (alive, held) = std::io::pipe().unwrap();
        let mut child = command.stdin(held).spawn().unwrap();
        command.stdin(Stdio::null());
        let lines = child.stdout.take().map(read_lines);
        Self { child, lines, ended: watch_end(alive) }
    }

    /// The next line that it prints; `None` at the end of its output.
    pub fn line(&self) -> Option<String> {
        match self.lines.as_ref().unwrap().recv_timeout(LONGEST_WAIT) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it prints nothing and does not end"),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "KILL" => Signal::KILL,
            _ => panic!("no such signal: {name}"),
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.try_recv() == Err(mpsc::TryRecvError::Disconnected)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.ended.recv_timeout(LONGEST_WAIT);
        assert_ne!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it does not end");
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read_lines(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn watch_end(mut alive: PipeReader) -> Receiver<()> {
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        alive.read_exact(&mut [0]).ok(); // nobody writes: it returns at the end
        drop(sender);
    });
    ended
}

/// A free address that only this test uses, if no other gives this number. It is for programs that cannot say which one
/// they chose.
pub fn free_address(number: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, high, low, number), 0)).unwrap().local_addr().unwrap()
}

/// A port of 127.0.0.1 that nobody listens on, below those that the system gives out by itself, so that no other test gets it
/// meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() * 64;
    loop {
        let number = first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + number % 12_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// What a program left behind that ran to its end.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let status = Running::spawn(command).wait();
    Ended { code: status.code(), out: read_all(out), err: read_all(err) }
}

fn read_all(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// A running `moorgate serve` that answers; killed when dropped.
pub struct Process {
    running: Running,
    pub client: Client,
    pub address: SocketAddr,
    /// The code in its banner.
    pub code: Option<String>,
    pub database: PathBuf,
    log: PathBuf,
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
        let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG)).unwrap();
        Self::of(Running::spawn(command.stdout(Stdio::piped()).stderr(log)), folder)
    }

    /// A process that prints its banner as JSON to a pipe.
    pub fn of(running: Running, folder: &Path) -> Self {
        let log = folder.join(LOG);
        let banner = running.line().unwrap_or_else(|| panic!("no banner: {:?}", fs::read_to_string(&log)));
        let banner: Value =
            serde_json::from_str(&banner).unwrap_or_else(|error| panic!("{error}: {banner:?}"));
        let address: SocketAddr =
            banner["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            running,
            client: Client::new(address),
            address,
            code: banner["pairing_code"].as_str().map(str::to_owned),
            database: folder.join("moorgate.db"),
            log,
        }
    }

    /// Pairs with the code in the banner.
    pub async fn pair(&self) -> String {
        self.client.paired(self.code.as_ref().unwrap()).await
    }

    /// Waits until the message that reads so is on record in this state.
    pub async fn wait_for_state(&self, message: &str, state: &str) {
        let select = format!("SELECT state FROM message WHERE text = '{message}'");
        until_query(&self.database, &select, state).await;
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.running.wait()
    }

    /// What it printed since its banner, once it has ended.
    pub fn printed_more(&self) -> Vec<String> {
        std::iter::from_fn(|| self.running.line()).collect()
    }

    /// What it and those before it in this folder logged.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- logged ---\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
