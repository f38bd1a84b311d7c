//! The one timer of a connection.
//!
//! Deadlines move with every request; the timer does not. It is left where it is when a deadline moves away
//! from it, fires too early, sees the real deadline and is set to that. Only a deadline that comes nearer (a
//! head that has begun but did not arrive whole) sets it at once. A request that arrives whole on a
//! connection that is kept alive costs one look at the clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::limit::Limits;
use super::progress::{Phase, Progress};

/// When the client of one connection is given up.
pub(super) struct Deadline {
    limits: Limits,
    /// `None` while a request is being worked on.
    due: Option<Instant>,
    /// Where the timer stands, unless it has fired.
    armed: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// The deadline of a connection that was opened then.
    pub(super) fn new(limits: Limits, opened: Instant) -> Self {
        let due = opened.checked_add(limits.header_timeout);
        Self { limits, due, armed: due, timer: Box::pin(sleep_until(due.unwrap_or(opened))) }
    }

    /// Ready with the phase in which time ran out. To be called after the connection made what progress it
    /// could.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Poll<Phase> {
        if let Some(phase) = progress.take_entered() {
            self.due = self.allowance(phase).and_then(|time| Instant::now().checked_add(time));
        }
        let Some(due) = self.due else { return Poll::Pending };
        loop {
            if self.armed.is_none_or(|armed| due < armed) {
                self.timer.as_mut().reset(due);
                self.armed = Some(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.armed = None;
            if Instant::now() >= due {
                return Poll::Ready(progress.phase());
            }
        }
    }

    fn allowance(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Opening | Phase::Head => Some(self.limits.header_timeout),
            Phase::Busy => None,
            Phase::Idle => Some(self.limits.idle_timeout),
            Phase::Lingering => Some(self.limits.linger_timeout),
        }
    }
}
