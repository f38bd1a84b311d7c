//! The signals that tell a command to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Ctrl-C and SIGTERM. From here on they do not end the process by themselves.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Errors
    /// A [`Failure`] if the system has no room for a handler.
    pub(super) fn catch() -> Result<Self, Failure> {
        let unavailable = |error| Failure::new(Failure::UNAVAILABLE, error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(unavailable)?,
            terminate: signal(SignalKind::terminate()).map_err(unavailable)?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
