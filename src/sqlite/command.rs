//! What the writer is asked to do, and how it is asked.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::sync::{
    mpsc::{Sender, error::TrySendError},
    oneshot,
};

use super::{
    Shared,
    batch::{Hit, Turn},
    inbox::AcceptCommand,
    memory::Memory,
    remember::RememberCommand,
};
use crate::{
    repository::StoreError,
    telemetry::{
        metrics::WriterErrorKind,
        scope,
        trace::{self, Linked},
    },
};

/// What the writer is asked to do.
pub(super) enum Command {
    /// Count a hit, and say when it is done if anyone waits.
    Hit(Hit, Option<oneshot::Sender<Result<(), StoreError>>>),
    /// Write a turn.
    Turn(Turn),
    /// Accept a call of a platform.
    Accept(AcceptCommand),
    /// Put some of what was said into memory.
    Remember(RememberCommand),
    /// Count a hit and run a step.
    Step(Option<Hit>, Box<dyn Call>),
    /// Look for edits by other processes, and say when memory is up to date.
    Look(oneshot::Sender<()>),
    /// Write all that waits, then end.
    Close,
}

impl Command {
    fn hit(&self) -> Option<Hit> {
        match self {
            Self::Hit(hit, _) => Some(*hit),
            Self::Turn(turn) => turn.hit,
            Self::Step(hit, _) => *hit,
            Self::Accept(_) | Self::Remember(_) | Self::Look(_) | Self::Close => None,
        }
    }
}

/// A step: some statements of one transaction. It is run again if the transaction was rolled back.
#[async_trait]
pub(super) trait Step: Send + Sync + 'static {
    type Output: Send;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Output, sqlx::Error>;

    /// Called when it is on disk, whether or not anyone still waits for it.
    fn stored(&self, _output: &Self::Output, _memory: &Memory) {}
}

/// A step with the caller that waits for it.
#[async_trait]
pub(super) trait Call: Send {
    async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error>;
    /// The caller's span, to be asked for once.
    fn link(&mut self) -> Option<Linked>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>, memory: &Memory);
}

struct StepCall<S: Step> {
    step: S,
    output: Option<S::Output>,
    link: Option<Linked>,
    reply: oneshot::Sender<Result<S::Output, StoreError>>,
}

#[async_trait]
impl<S: Step> Call for StepCall<S> {
    async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.output = Some(self.step.run(conn).await?);
        Ok(())
    }

    fn link(&mut self) -> Option<Linked> {
        self.link.take()
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>, memory: &Memory) {
        let Self { step, output, reply, .. } = *self;
        let result = result.and_then(|()| output.ok_or_else(without_result));
        if let Ok(output) = &result {
            step.stored(output, memory);
        }
        reply.send(result).ok();
    }
}

impl Shared {
    /// Puts a command into the queue. If it has no room, or waits for a commit in doubt, the command's hit is not counted either.
    pub(super) fn enqueue(&self, command: Command) -> Result<(), StoreError> {
        self.enqueue_in(&self.queues.callers, command)
    }

    /// Puts a call of a platform into its queue: a burst of them is not to hold up who waits for an answer.
    pub(super) fn enqueue_call(&self, command: Command) -> Result<(), StoreError> {
        self.enqueue_in(&self.queues.calls, command)
    }

    fn enqueue_in(&self, queue: &Sender<Command>, command: Command) -> Result<(), StoreError> {
        scope::count_query();
        self.metrics.writer.queue().raise(1);
        let sent = if self.memory.in_doubt.load(Ordering::Relaxed) {
            Err((command, in_doubt()))
        } else {
            queue.try_send(command).map_err(|refused| match refused {
                TrySendError::Full(command) => (command, StoreError::Busy),
                TrySendError::Closed(command) => (command, closed()),
            })
        };
        let Err((command, error)) = sent else { return Ok(()) };
        self.metrics.writer.queue().lower(1);
        self.metrics.writer.failed(kind_of(&error));
        if let Some(hit) = command.hit() {
            self.memory.windows(hit.scope).undo(hit.client, hit.at, 1);
        }
        Err(error)
    }

    /// Has the writer look for edits by other processes, and waits until memory is up to date, or until it cannot be.
    pub(super) async fn look(&self) {
        let (reply, looked) = oneshot::channel();
        if self.enqueue(Command::Look(reply)).is_ok() {
            looked.await.ok();
        }
    }

    /// Runs a step in the writer's next transaction, with the hit that led to it.
    pub(super) async fn step<S: Step>(&self, hit: Option<Hit>, step: S) -> Result<S::Output, StoreError> {
        self.run_step(&self.queues.callers, hit, step).await
    }

    /// Runs a step of the work in the background, which nobody waits for.
    pub(super) async fn step_of_work<S: Step>(&self, step: S) -> Result<S::Output, StoreError> {
        self.run_step(&self.queues.work, None, step).await
    }

    async fn run_step<S: Step>(
        &self,
        queue: &Sender<Command>,
        hit: Option<Hit>,
        step: S,
    ) -> Result<S::Output, StoreError> {
        let command =
            |reply, link| Command::Step(hit, Box::new(StepCall { step, output: None, link, reply }));
        self.ask(queue, command).await
    }

    /// Has the writer run a command as a step, and waits for what it says.
    pub(super) async fn ask<T>(
        &self,
        queue: &Sender<Command>,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>, Option<Linked>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let span = trace::write("step");
        self.enqueue_in(queue, command(reply, span.link()))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// The error of a step that was not run, which does not happen.
pub(super) fn without_result() -> StoreError {
    StoreError::Unavailable("a step had no result".into())
}

/// The error of a step that came too late.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// The error of a step that would wait for nobody knows how long.
fn in_doubt() -> StoreError {
    StoreError::Unavailable("the disk does not say what became of the last commit".into())
}

/// The label of an error.
pub(super) fn kind_of(error: &StoreError) -> WriterErrorKind {
    match error {
        StoreError::Busy => WriterErrorKind::Busy,
        StoreError::Full => WriterErrorKind::Full,
        StoreError::Unavailable(_) => WriterErrorKind::Unavailable,
        StoreError::Corrupt { .. } => WriterErrorKind::Corrupt,
    }
}
