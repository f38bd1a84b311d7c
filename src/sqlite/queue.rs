//! What waits for the writer, and how much of it is written at a time.

use std::{future::poll_fn, task::Poll, thread};

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::coop::unconstrained,
};

use super::command::Command;

/// Commands that may wait in a queue. More than one for each open connection, or for each worker, is never needed, so a full
/// queue means that the disk has stopped.
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
    /// Whether the last transaction had several commands: more are likely on their way.
    had_several: bool,
}

impl Queues {
    /// Waits for commands, and takes some; `None` if no more will come. Whoever stops waiting has taken nothing.
    pub(super) async fn take(&mut self) -> Option<Vec<Command>> {
        let (first, is_callers) = tokio::select! {
            biased;
            first = self.callers.recv() => (first, true),
            first = self.calls.recv() => (first, false),
            first = self.work.recv() => (first, false),
        };
        let mut taken = vec![first?];
        // Where callers wait, the others let them pass, but not twice.
        self.passed_over = is_callers && !self.passed_over;
        if self.had_several {
            // What else is ready on this processor runs first: so its commands are in this transaction rather than alone in the next one.
            thread::yield_now();
        }
        take_waiting(&mut self.callers, CALLERS - 1, &mut taken).await;
        if !self.passed_over {
            take_waiting(&mut self.calls, CALLS, &mut taken).await;
            take_waiting(&mut self.work, WORK, &mut taken).await;
        }
        self.had_several = taken.len() > 1;
        Some(taken)
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

/// Takes what is there, without waiting: the queue has its room back in one piece, not with a lock for each command.
async fn take_waiting(queue: &mut Receiver<Command>, most: usize, into: &mut Vec<Command>) {
    if !queue.is_empty() {
        // A command that is half sent stays for the next time.
        unconstrained(poll_fn(|context| Poll::Ready(_ = queue.poll_recv_many(context, into, most)))).await;
    }
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
    let (passed_over, had_several) = (false, false);
    (senders, Queues { callers: of_callers, calls: of_calls, work: of_work, passed_over, had_several })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::sync::oneshot;

    use super::*;
    use crate::sqlite::tests::poll_once;

    /// How many commands a transaction takes of each queue.
    async fn taken(queues: &mut Queues) -> [usize; 3] {
        let waiting = |queues: &Queues| [queues.callers.len(), queues.calls.len(), queues.work.len()];
        let before = waiting(queues);
        let commands = queues.take().await.unwrap();
        let after = waiting(queues);
        let taken = std::array::from_fn(|place| before[place] - after[place]);
        assert_eq!(commands.len(), taken.iter().sum::<usize>());
        taken
    }

    fn put(queue: &Sender<Command>, commands: usize) {
        for _ in 0..commands {
            assert!(queue.try_send(Command::Look(oneshot::channel().0)).is_ok());
        }
    }

    #[tokio::test]
    async fn callers_are_let_past_but_not_twice() {
        let (senders, mut queues) = queues();
        put(&senders.callers, 3000);
        put(&senders.calls, 100);
        put(&senders.work, 100);
        assert_eq!(taken(&mut queues).await, [CALLERS, 0, 0]);
        assert_eq!(taken(&mut queues).await, [CALLERS, CALLS, WORK]);
        assert_eq!(taken(&mut queues).await, [3000 - 2 * CALLERS, 0, 0]);
        for _ in 0..2 {
            let [callers, calls, work] = taken(&mut queues).await;
            assert!(callers == 0 && calls + work <= CALLS + WORK + 1 && work >= WORK);
        }
    }

    /// Where a task has used its budget, it is to stop at what it waits for next.
    #[tokio::test]
    async fn nothing_is_lost_when_whoever_takes_stops_waiting() {
        let (senders, mut queues) = queues();
        let (mut taken, mut stopped) = (0, 0);
        for _ in 0..300 {
            put(&senders.callers, 3);
            put(&senders.calls, 2);
            match poll_once(pin!(queues.take())).await {
                Poll::Ready(commands) => taken += commands.unwrap().len(),
                Poll::Pending => stopped += 1,
            }
        }
        assert!(taken > 0 && stopped > 0);
        assert_eq!(taken + queues.callers.len() + queues.calls.len(), 300 * 5);
    }

    #[tokio::test]
    async fn nothing_that_waits_is_lost_at_the_end() {
        let (senders, mut queues) = queues();
        put(&senders.callers, 2);
        put(&senders.calls, 30);
        put(&senders.work, 10);
        assert_eq!(queues.close().len(), 42);
        assert!(senders.work.try_send(Command::Close).is_err());
    }
}
