//! A program of somebody else that makes the gateway reachable from elsewhere: begun, read, looked at, and ended.
//!
//! It owns the child process and what is known of it. It does not begin it again; a supervisor does. The child and all it
//! begins are one process group under a [`guard`], so that nothing of it outlives the gateway, however that ends. All that
//! it prints is read as long as it lives, and nothing secret of it is kept.

mod check;
mod child;
pub mod guard;
mod output;
mod said;
mod tool;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{domain::health::State, outbound::SetupError};
use check::Checker;
use child::Child;
use output::Output;

pub use tool::Tool;

/// How a tunnel is run.
#[derive(Debug, Clone)]
pub struct TunnelSettings {
    /// Whose it is.
    pub tool: Tool,
    /// Where the gateway answers, as seen from this machine.
    pub target: SocketAddr,
    /// How long it may take to be up.
    pub start_timeout: Duration,
    /// The pause between two looks at it.
    pub check_interval: Duration,
    /// How long it may take to end.
    pub stop_grace: Duration,
}

/// Why a tunnel is down.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Its program could not be begun.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Its program ended.
    #[error("{program} ended{last}")]
    Ended {
        /// The program.
        program: String,
        /// What it said last.
        last: String,
    },
    /// It was not up in time.
    #[error("{program} was not up within {} s: {why}{last}", .limit.as_secs())]
    Late {
        /// The program.
        program: String,
        /// The time that it had.
        limit: Duration,
        /// What is missing.
        why: &'static str,
        /// What it said last.
        last: String,
    },
    /// It was up, and is not any more.
    #[error("{program} runs, but {why}{last}")]
    Down {
        /// The program.
        program: String,
        /// What is missing.
        why: &'static str,
        /// What it said last.
        last: String,
    },
}

/// The pause between two looks whether it is up, at the start.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks in a row that must find it down before it is given up: one may be bad luck.
const PATIENCE: u32 = 3;
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a tunnel that works may take to tell its address, if it need not.
const ADDRESS_GRACE: Duration = Duration::from_secs(3);

/// A tunnel that can be run.
pub struct Tunnel {
    settings: TunnelSettings,
    checker: Checker,
}

impl Tunnel {
    /// A tunnel that does not run yet.
    ///
    /// # Errors
    /// [`SetupError`] if nobody can be asked whether it is up.
    pub fn new(settings: TunnelSettings) -> Result<Self, SetupError> {
        Ok(Self { settings, checker: Checker::new(LOOK_TIMEOUT)? })
    }

    /// Runs it until `stopping` is cancelled. `report` is told each time how it is doing, and where it is reached if that is
    /// known. When this returns or is dropped, its processes have ended or are about to.
    ///
    /// # Errors
    /// [`TunnelError`] if it did not come up, or went down.
    pub async fn run(
        &self,
        stopping: &CancellationToken,
        report: &(dyn Fn(State, Option<&str>) + Send + Sync),
    ) -> Result<(), TunnelError> {
        let tool = &self.settings.tool;
        let output = Output::new(tool.clone(), self.settings.target.port());
        let mut child = Child::start(tool, self.settings.target, self.settings.stop_grace, &output)
            .map_err(|source| TunnelError::Start { program: tool.program().to_owned(), source })?;
        let result = tokio::select! {
            () = stopping.cancelled() => Ok(()),
            () = child.ended() => {
                child.read_to_end().await;
                Err(TunnelError::Ended { program: tool.program().to_owned(), last: output.last_words() })
            }
            error = self.watch(&output, report) => Err(error),
        };
        child.stop().await;
        result
    }

    /// Waits until it is up, and then until it is down.
    async fn watch(
        &self,
        output: &Arc<Output>,
        report: &(dyn Fn(State, Option<&str>) + Send + Sync),
    ) -> TunnelError {
        let limit = self.settings.start_timeout;
        let program = || self.settings.tool.program().to_owned();
        let mut why = "it has not said anything yet";
        if tokio::time::timeout(limit, self.come_up(output, &mut why)).await.is_err() {
            return TunnelError::Late { program: program(), limit, why, last: output.last_words() };
        }
        let mut failed = 0;
        let mut tick = tokio::time::interval(self.settings.check_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        report(State::Ok, output.url().as_deref());
        tick.tick().await;
        loop {
            tick.tick().await;
            let url = output.url();
            match self.checker.check(&self.settings.tool, output).await {
                Ok(()) if self.checker.is_answered_by_another(&self.settings.tool, url.as_deref()).await => {
                    tracing::warn!(
                        url,
                        "what answers behind the tunnel's public address is not this gateway"
                    );
                    failed = 0;
                    report(State::Degraded, url.as_deref());
                }
                Ok(()) => {
                    failed = 0;
                    report(State::Ok, url.as_deref());
                }
                Err(why) if failed + 1 >= PATIENCE => {
                    return TunnelError::Down { program: program(), why, last: output.last_words() };
                }
                Err(why) => {
                    tracing::warn!(why, "the tunnel does not look well");
                    failed += 1;
                    report(State::Degraded, url.as_deref());
                }
            }
        }
    }

    /// Looks until it is up and has told its address, if it does. `why` is what is missing.
    async fn come_up(&self, output: &Arc<Output>, why: &mut &'static str) {
        let mut works_since = None;
        loop {
            match self.checker.check(&self.settings.tool, output).await {
                Err(missing) => (*why, works_since) = (missing, None),
                Ok(()) if output.url().is_some() || !self.settings.tool.tells_address() => return,
                Ok(()) => {
                    *why = "it has not told its public address";
                    let since = *works_since.get_or_insert_with(Instant::now);
                    if self.settings.tool.may_hide_address() && since.elapsed() >= ADDRESS_GRACE {
                        return;
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
