//! The processes of a tunnel: a guard of our own, and under it the program, in a process group of their own.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child as Process, ChildStdin, Command},
    task::JoinSet,
};

use super::{guard, output::Output, tool::Tool};

/// How much longer than its program a guard may take to end.
const GUARD_GRACE: Duration = Duration::from_secs(5);

/// The processes of a tunnel. Dropped, they end by themselves.
pub(super) struct Child {
    guard: Process,
    /// The process group of the guard and the program.
    group: Option<Pid>,
    /// As long as this is open, the guard knows that the gateway lives.
    alive: Option<ChildStdin>,
    readers: JoinSet<()>,
    grace: Duration,
}

impl Child {
    /// Starts the program, and reads what it prints into `output`.
    pub(super) fn start(
        tool: &Tool,
        target: SocketAddr,
        grace: Duration,
        output: &Arc<Output>,
    ) -> io::Result<Self> {
        let mut command = Command::new(own_program()?);
        command.arg0("moorgate").args([guard::COMMAND, "--grace-secs", &grace.as_secs().to_string(), "--"]);
        command.arg(tool.program()).args(tool.arguments(target)).process_group(0);
        if let Some((name, secret)) = tool.secret() {
            command.env(name, secret.expose());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = command.spawn()?;
        let group = guard.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut readers = JoinSet::new();
        if let Some(pipe) = guard.stdout.take() {
            readers.spawn(Arc::clone(output).read(pipe));
        }
        if let Some(pipe) = guard.stderr.take() {
            readers.spawn(Arc::clone(output).read(pipe));
        }
        let alive = guard.stdin.take();
        Ok(Self { guard, group, alive, readers, grace })
    }

    /// Waits until the program has ended by itself, or its guard has: then what that leaves is killed.
    pub(super) async fn ended(&mut self) {
        self.guard.wait().await.ok();
        self.kill();
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            kill_process_group(group, Signal::KILL).ok(); // mostly there is nobody left
        }
    }

    /// Reads what was printed last; what is left behind by the program may hold the pipes open, but not for long.
    pub(super) async fn read_to_end(&mut self) {
        let read = async { while self.readers.join_next().await.is_some() {} };
        tokio::time::timeout(GUARD_GRACE, read).await.ok();
    }

    /// Ends the program, and all that it began.
    pub(super) async fn stop(mut self) {
        drop(self.alive.take());
        if tokio::time::timeout(self.grace + GUARD_GRACE, self.guard.wait()).await.is_err() {
            tracing::warn!("the tunnel's program does not end: it is killed");
            self.kill();
            self.guard.wait().await.ok();
        }
        self.kill();
        self.read_to_end().await;
    }
}

/// This very program, also if its file was replaced since it began.
fn own_program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}
