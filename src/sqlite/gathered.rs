//! What the writer has gathered for one transaction.

use tokio::sync::oneshot;

use super::{
    batch::{Hit, Turn},
    command::{Call, Command},
    inbox::AcceptCommand,
    remember::RememberCommand,
};
use crate::{repository::StoreError, telemetry::trace::Linked};

/// Commands that are written together, by kind. The order of kinds is right for any two commands about the same row: a
/// message is inserted before it is updated, and a key is not taken again before its giving back is on disk.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commands: usize,
    pub(super) hits: Vec<Hit>,
    pub(super) hit_replies: Vec<oneshot::Sender<Result<(), StoreError>>>,
    pub(super) turns: Vec<Turn>,
    pub(super) remembering: Vec<RememberCommand>,
    pub(super) calls: Vec<AcceptCommand>,
    pub(super) steps: Vec<Box<dyn Call>>,
    pub(super) looks: Vec<oneshot::Sender<()>>,
    /// It is empty, and time to look for edits.
    pub(super) ticked: bool,
}

impl Batch {
    /// Adds a command; `false` if it is the one to end.
    pub(super) fn add(&mut self, command: Command) -> bool {
        self.commands += usize::from(!matches!(command, Command::Look(_) | Command::Close));
        match command {
            Command::Hit(hit, reply) => {
                self.hits.push(hit);
                self.hit_replies.extend(reply);
            }
            Command::Turn(turn) => {
                self.hits.extend(turn.hit);
                self.turns.push(turn);
            }
            Command::Remember(some) => self.remembering.push(some),
            Command::Accept(call) => self.calls.push(call),
            Command::Step(hit, step) => {
                self.hits.extend(hit);
                self.steps.push(step);
            }
            Command::Look(reply) => self.looks.push(reply),
            Command::Close => return false,
        }
        true
    }

    /// The spans of the callers that wait for it.
    pub(super) fn links(&mut self) -> Vec<Linked> {
        let turns = self.turns.iter_mut().filter_map(|turn| turn.link.take());
        let remembering = self.remembering.iter_mut().filter_map(|some| some.link.take());
        let calls = self.calls.iter_mut().filter_map(|call| call.link.take());
        turns
            .chain(remembering)
            .chain(calls)
            .chain(self.steps.iter_mut().filter_map(|step| step.link()))
            .collect()
    }

    /// Whether it is sure to write something. The others may find nothing to do, which succeeds on a full disk too.
    pub(super) fn writes(&self) -> bool {
        !self.hits.is_empty() || !self.turns.is_empty()
    }

    /// Whether there is something for statements with rows.
    pub(super) fn has_rows(&self) -> bool {
        self.writes() || !self.remembering.is_empty()
    }

    /// Whether that is all.
    pub(super) fn is_of_rows(&self) -> bool {
        let nothing_else = self.calls.is_empty() && self.steps.is_empty() && self.looks.is_empty();
        self.has_rows() && nothing_else
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_rows() && self.calls.is_empty() && self.steps.is_empty()
    }
}
