//! Turns: a message, the idempotency key it may carry, and what came of the work on it.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;

use super::{PendingHit, StoreError};
use crate::domain::{
    client::Owner,
    conversation::SessionId,
    id::MessageId,
    idempotency::{BodyHash, IdempotencyKey},
    message::{Account, Answer, MessageText},
    time::Millis,
};

/// The inbox and the idempotency keys.
#[async_trait]
pub trait TurnRepository: Send + Sync {
    /// Decides whether the message may be worked on. A claim holds from now on in this process, and is on disk, with its
    /// hit, once [`begin`](Self::begin) or [`settle`](Self::settle) returns. With any other outcome the hit has been
    /// written when this returns.
    fn claim(&self, new: Box<NewTurn>, now: Millis) -> Claiming<'_>;

    /// Writes the claim, so that the work survives a crash. Work may start before this returns; an answer may not leave. To be
    /// awaited to its end, and so is [`settle`](Self::settle) of what was begun: who stops waiting leaves to the next start what
    /// is on record.
    async fn begin(&self, lease: &mut Lease, now: Millis) -> Result<(), StoreError>;

    /// Writes what came of the work, and the claim with it if it was not begun: an answer is kept with its key, a
    /// failure frees the key. After an error the lease holds as before.
    async fn settle(&self, lease: &mut Lease, end: &TurnEnd, now: Millis) -> Result<(), StoreError>;

    /// Takes over what an earlier run left unfinished: messages with a key are leased to this run and returned; those
    /// without one are marked interrupted.
    async fn resume(&self, now: Millis) -> Result<Vec<Lease>, StoreError>;
}

/// A message that wants to be worked on.
#[derive(Debug)]
pub struct NewTurn {
    /// Who sent it.
    pub owner: Owner,
    /// Its key, and the body that the key is bound to.
    pub key: Option<(IdempotencyKey, BodyHash)>,
    /// Its conversation; `None`: it has none before it.
    pub session: Option<SessionId>,
    /// What it says.
    pub text: Arc<MessageText>,
    /// The hit it was admitted with.
    pub hit: Option<PendingHit>,
}

/// The decision over a claim, or the wait for it. Most are made at once, in memory: they need no future in a box of its own.
pub enum Claiming<'s> {
    /// The decision.
    Decided(ClaimOutcome),
    /// The store is asked.
    Asked(Pin<Box<dyn Future<Output = Result<ClaimOutcome, StoreError>> + Send + 's>>),
}

impl Claiming<'_> {
    /// The decision, as soon as it is there.
    ///
    /// # Errors
    /// The store could not be asked, or the hit not be written.
    pub async fn outcome(self) -> Result<ClaimOutcome, StoreError> {
        match self {
            Self::Decided(outcome) => Ok(outcome),
            Self::Asked(asked) => asked.await,
        }
    }
}

/// Whether a message may be worked on.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// Yes.
    Claimed(Lease),
    /// Its key is being worked on since then.
    Running(Millis),
    /// Its key has been answered.
    Answered(Answer),
    /// Its key belongs to another body.
    OtherBody,
}

/// The right and the duty to work on one message. Dropped unsettled, the work counts as failed; if it was not begun, its key
/// is given back and nothing is written.
pub struct Lease {
    /// The turn it is for.
    pub turn: Box<NewTurn>,
    /// When it was claimed.
    pub claimed_at: Millis,
    /// Its row, once begun.
    pub id: Option<MessageId>,
    sink: Option<Arc<dyn LeaseSink>>,
}

/// Takes leases that were dropped unsettled.
pub trait LeaseSink: Send + Sync {
    /// Settles the lease in the background, as a failure; one that was not begun is only given back.
    fn abandon(&self, lease: Lease);
}

impl Lease {
    /// A lease that goes to `sink` if it is dropped; without a sink it vanishes.
    #[must_use]
    pub fn new(turn: Box<NewTurn>, claimed_at: Millis, sink: Option<Arc<dyn LeaseSink>>) -> Self {
        Self { turn, claimed_at, id: None, sink }
    }

    /// The lease is being settled: dropping it does nothing any more.
    pub fn disarm(&mut self) {
        self.sink = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let turn = Box::new(NewTurn {
                owner: self.turn.owner,
                key: self.turn.key.take(),
                session: self.turn.session.take(),
                text: Arc::clone(&self.turn.text),
                hit: self.turn.hit.take(),
            });
            sink.abandon(Self { turn, claimed_at: self.claimed_at, id: self.id, sink: None });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:?}, {:?})", self.turn, self.id)
    }
}

/// How work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// With an answer.
    Answered(Answer, Account),
    /// Without; why, in one word.
    Failed(&'static str, Account),
}
