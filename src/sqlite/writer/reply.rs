//! What memory and the callers learn of a batch, from a task of the runtime that opened the store.

use std::sync::Arc;

use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::attempt::Outcomes;
use crate::{
    domain::{id::MessageId, rate::Scope},
    repository::StoreError,
    sqlite::{
        Shared,
        batch::{Hit, Turn, Windows},
        command::kind_of,
        gathered::Batch,
    },
};

/// What the writer has to say. Its channel needs no bound: hardly a command is given while nobody waits for the one before.
pub(in crate::sqlite) enum News {
    /// A batch is on disk.
    Written(Batch, Outcomes),
    /// Nothing of a batch is on disk.
    Failed(Batch, StoreError),
    /// All that came before has been told.
    SoFar(oneshot::Sender<()>),
}

/// Tells all that the writer says, in its order, until that ends.
pub(super) async fn tell_callers(shared: Arc<Shared>, mut news: UnboundedReceiver<News>) {
    loop {
        let next = news.recv();
        #[cfg(test)]
        let next = shared.gate.tell(next);
        let Some(news) = next.await else { return };
        match news {
            News::Written(batch, outcomes) => shared.succeed(batch, outcomes),
            News::Failed(batch, error) => shared.fail(batch, &error),
            News::SoFar(reply) => _ = reply.send(()),
        }
    }
}

impl Shared {
    /// Memory learns it, then the callers do.
    fn succeed(&self, batch: Batch, outcomes: Outcomes) {
        self.each_hit(&batch.hits, |table, hit| table.stored(hit.client, hit.at, 1));
        self.give_back_keys(batch.turns.iter().zip(&outcomes.turns));
        for reply in batch.hit_replies {
            reply.send(Ok(())).ok();
        }
        for (turn, outcome) in batch.turns.into_iter().zip(outcomes.turns) {
            self.note(&outcome);
            turn.reply.send(outcome).ok();
        }
        for (some, outcome) in batch.remembering.into_iter().zip(outcomes.remembered) {
            self.note(&outcome);
            some.finish(outcome);
        }
        for (call, outcome) in batch.calls.into_iter().zip(outcomes.calls) {
            self.note(&outcome);
            call.finish(outcome, &self.memory);
        }
        for (step, outcome) in batch.steps.into_iter().zip(outcomes.steps) {
            self.note(&outcome);
            step.finish(outcome, &self.memory);
        }
    }

    fn fail(&self, batch: Batch, error: &StoreError) {
        self.note_failure(error);
        self.each_hit(&batch.hits, |table, hit| table.undo(hit.client, hit.at, 1));
        let failed = Err(error.clone());
        self.give_back_keys(batch.turns.iter().zip(std::iter::repeat(&failed)));
        for reply in batch.hit_replies {
            reply.send(Err(error.clone())).ok();
        }
        for turn in batch.turns {
            turn.reply.send(Err(error.clone())).ok();
        }
        for some in batch.remembering {
            some.finish(Err(error.clone()));
        }
        for call in batch.calls {
            call.finish(Err(error.clone()), &self.memory);
        }
        for step in batch.steps {
            step.finish(Err(error.clone()), &self.memory);
        }
    }

    fn give_back_keys<'a>(&self, turns: impl Iterator<Item = (&'a Turn, &'a Result<MessageId, StoreError>)>) {
        let mut keys = turns.filter_map(|(turn, outcome)| turn.key_given_back(outcome)).peekable();
        if keys.peek().is_some() {
            self.memory.give_back_keys(keys);
        }
    }

    fn each_hit(&self, hits: &[Hit], apply: impl Fn(&mut Windows, &Hit)) {
        for scope in Scope::ALL {
            if hits.iter().any(|hit| hit.scope == scope) {
                let mut windows = self.memory.windows(scope);
                hits.iter().filter(|hit| hit.scope == scope).for_each(|hit| apply(&mut windows, hit));
            }
        }
    }

    fn note<T>(&self, outcome: &Result<T, StoreError>) {
        if let Err(error) = outcome {
            self.note_failure(error);
        }
    }

    /// An error is logged and counted once, here.
    pub(super) fn note_failure(&self, error: &StoreError) {
        tracing::error!(%error, "a write failed");
        self.metrics.writer.failed(kind_of(error));
    }
}
