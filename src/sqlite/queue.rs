//! What waits for the writer, and how much of it is written at a time.

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::command::Command;

/// Commands that may wait in a queue. More than one for each open connection is never needed, so a full queue means that the
/// disk has stopped.
const LENGTH: usize = 16_384;
/// Commands of callers in one transaction.
const CALLERS: usize = 1024;
/// Calls of platforms among them, which are cheap together.
const CALLS: usize = 16;
/// Steps of work in the background among them. Together with the calls they are so few that a caller hardly notices a burst
/// of messages.
const WORK: usize = 4;

/// What waits for the writer: for each kind of patience a queue of its own.
pub(super) struct Queues {
    /// Somebody waits for an answer.
    pub(super) callers: Receiver<Command>,
    /// A platform waits, more patiently.
    pub(super) calls: Receiver<Command>,
    /// Nobody waits.
    pub(super) work: Receiver<Command>,
    /// Whether the last transaction was the callers' alone.
    passed_over: bool,
}

impl Queues {
    /// Waits for commands, and takes some. `false` if no more will come.
    pub(super) async fn take(&mut self, into: &mut Vec<Command>) -> bool {
        let (first, is_callers) = tokio::select! {
            biased;
            first = self.callers.recv() => (first, true),
            first = self.calls.recv() => (first, false),
            first = self.work.recv() => (first, false),
        };
        let Some(first) = first else { return false };
        into.push(first);
        take_waiting(&mut self.callers, CALLERS, into);
        // Where callers wait, the others let them pass, but not twice.
        self.passed_over = is_callers && !self.passed_over;
        if !self.passed_over {
            take_waiting(&mut self.calls, CALLS, into);
            take_waiting(&mut self.work, WORK, into);
        }
        true
    }

    /// Refuses new commands, and takes all that wait.
    pub(super) fn close(&mut self) -> Vec<Command> {
        let mut left = Vec::new();
        for queue in [&mut self.callers, &mut self.calls, &mut self.work] {
            queue.close();
            left.extend(std::iter::from_fn(|| queue.try_recv().ok()));
        }
        left
    }
}

fn take_waiting(queue: &mut Receiver<Command>, most: usize, into: &mut Vec<Command>) {
    into.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(most));
}

/// The other end of the queues.
pub(super) struct QueueSenders {
    pub(super) callers: Sender<Command>,
    pub(super) calls: Sender<Command>,
    pub(super) work: Sender<Command>,
}

/// Queues with nothing in them.
pub(super) fn queues() -> (QueueSenders, Queues) {
    let ((callers, of_callers), (calls, of_calls), (work, of_work)) =
        (mpsc::channel(LENGTH), mpsc::channel(LENGTH), mpsc::channel(LENGTH));
    let senders = QueueSenders { callers, calls, work };
    (senders, Queues { callers: of_callers, calls: of_calls, work: of_work, passed_over: false })
}
