//! What the connection layer tells the rest of the program, for metrics.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::telemetry::Metrics;

/// Which deadline a client missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// It did not finish a request head.
    Header,
    /// It sent no further request, or did not take the answer to the last one.
    Idle,
}

/// Called on the hot path of a connection (never of a request): count, do not wait.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A connection was accepted and is served from now on.
    fn opened(&self);
    /// A connection that was opened has ended, however it did. Called once for each [`opened`](Self::opened).
    fn closed(&self);
    /// A connection was turned away. It was never opened, unless a proxy had to say first whom it is for.
    fn refused(&self, refusal: Refusal);
    /// A proxy did not begin its connection as agreed; it was closed.
    fn proxy_header_refused(&self);
    /// A head was no request, or too large, and answered with 400, 414 or 431.
    fn head_refused(&self);
    /// `accept` failed.
    fn accept_failed(&self);
    /// A connection is closed because its client missed a deadline. [`closed`](Self::closed) follows.
    fn timed_out(&self, timeout: Timeout);
}

impl ConnectionEvents for Metrics {
    fn opened(&self) {
        self.connections.opened();
    }

    fn closed(&self) {
        self.connections.closed();
    }

    fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Full | Refusal::TunnelDown => self.connections.refused(),
            Refusal::AddressFull => self.connections.address_refused(),
        }
    }

    fn proxy_header_refused(&self) {
        self.connections.proxy_header_refused();
    }

    fn head_refused(&self) {
        self.connections.head_refused();
    }

    fn accept_failed(&self) {
        self.connections.accept_failed();
    }

    fn timed_out(&self, timeout: Timeout) {
        // An idle connection that is closed is no misbehaviour.
        if timeout == Timeout::Header {
            self.connections.timed_out();
        }
    }
}

/// Ignores every event.
impl ConnectionEvents for () {
    fn opened(&self) {}
    fn closed(&self) {}
    fn refused(&self, _refusal: Refusal) {}
    fn proxy_header_refused(&self) {}
    fn head_refused(&self) {}
    fn accept_failed(&self) {}
    fn timed_out(&self, _timeout: Timeout) {}
}

/// An open connection: says so when made and when dropped, also by a panic or an abort.
pub(super) struct Opened(Arc<dyn ConnectionEvents>);

impl Opened {
    pub(super) fn new(events: &Arc<dyn ConnectionEvents>) -> Self {
        events.opened();
        Self(Arc::clone(events))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.closed();
    }
}
