//! What memory and the callers learn of a batch.

use super::{Core, attempt::Outcomes};
use crate::{
    domain::{id::MessageId, rate::Scope},
    repository::StoreError,
    sqlite::{
        batch::{BatchError, Hit, Turn, Windows},
        command::kind_of,
        gathered::Batch,
    },
};

impl Core {
    /// It is on disk: memory learns it, then the callers do.
    pub(super) fn succeed(&mut self, batch: Batch, outcomes: Outcomes) {
        self.each_hit(&batch.hits, |table, hit| table.stored(hit.client, hit.at, 1));
        self.give_back_keys(batch.turns.iter().zip(&outcomes.turns));
        for reply in batch.hit_replies {
            reply.send(Ok(())).ok();
        }
        for (turn, outcome) in batch.turns.into_iter().zip(outcomes.turns) {
            self.note(outcome.as_ref().err());
            turn.reply.send(outcome).ok();
        }
        for (some, outcome) in batch.remembering.into_iter().zip(outcomes.remembered) {
            self.note(outcome.as_ref().err());
            some.finish(outcome);
        }
        for (call, outcome) in batch.calls.into_iter().zip(outcomes.calls) {
            self.note(outcome.as_ref().err());
            call.finish(outcome, &self.shared.memory);
        }
        for (step, outcome) in batch.steps.into_iter().zip(outcomes.steps) {
            self.note(outcome.as_ref().err());
            step.finish(outcome, &self.shared.memory);
        }
    }

    /// Nothing of it is on disk.
    pub(super) fn fail(&mut self, batch: Batch, error: &BatchError) {
        self.state.forget_numbers();
        let error = error.to_store_error();
        self.note(Some(&error));
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
            call.finish(Err(error.clone()), &self.shared.memory);
        }
        for step in batch.steps {
            step.finish(Err(error.clone()), &self.shared.memory);
        }
    }

    fn give_back_keys<'a>(&self, turns: impl Iterator<Item = (&'a Turn, &'a Result<MessageId, StoreError>)>) {
        let mut keys = turns.filter_map(|(turn, outcome)| turn.key_given_back(outcome)).peekable();
        if keys.peek().is_some() {
            self.shared.memory.give_back_keys(keys);
        }
    }

    fn each_hit(&self, hits: &[Hit], apply: impl Fn(&mut Windows, &Hit)) {
        for scope in Scope::ALL {
            if hits.iter().any(|hit| hit.scope == scope) {
                let mut windows = self.shared.memory.windows(scope);
                hits.iter().filter(|hit| hit.scope == scope).for_each(|hit| apply(&mut windows, hit));
            }
        }
    }

    /// An error is logged and counted once, here.
    pub(super) fn note(&self, error: Option<&StoreError>) {
        if let Some(error) = error {
            tracing::error!(%error, "a write failed");
            self.shared.metrics.writer.failed(kind_of(error));
        }
    }
}
