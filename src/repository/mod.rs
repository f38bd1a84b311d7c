//! What the gateway remembers, as traits: one for each aggregate, without a trace of how it is stored.
//!
//! A method is one whole step of the domain. It takes plain values and the present time, is atomic, and is on disk when it
//! returns, unless it says otherwise; it returns what came of it as an enum. No transaction leaves an implementation.
//!
//! Two methods decide at once and in memory, and leave the writing to the step that follows, so that a request costs one
//! commit: [`RateLimitRepository::hit`] returns a [`PendingHit`], and [`TurnRepository::claim`] a [`Lease`]. Neither can
//! get lost: a hit that is dropped is written all the same, and the key of a lease that was never begun is given back.

pub mod admin;
mod conversation;
mod inbox;
mod memory;
mod pairing;
mod rate_limit;
mod status;
mod token;
mod turn;

pub use conversation::ConversationRepository;
pub use inbox::{
    AcceptOutcome, AnswerEnd, AnswerJob, InboxRepository, NewCall, Next, Reply, SendEnd, SendJob, TakenOver,
    Unfinished,
};
pub use memory::MemoryRepository;
pub use pairing::{NewCode, PairingRepository, RedeemOutcome, Redemption};
pub use rate_limit::{Budget, HitOutcome, HitSink, PendingHit, RateLimitRepository};
pub use status::StoreStatusRepository;
pub use token::{NewToken, TokenRepository, TokenSource};
pub use turn::{ClaimOutcome, Claiming, Lease, LeaseSink, NewTurn, TurnEnd, TurnRepository};

/// The store could not take a step. Nothing of it is half-done, and the same step may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process held the database for longer than `database.busy_timeout_ms`, or the queue is full.
    #[error("the database is busy")]
    Busy,
    /// The disk or the database is full.
    #[error("the database or its disk is full")]
    Full,
    /// It cannot be read or written. The text is for the log.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row does not make sense.
    #[error("corrupt row in {table}.{column}, key {key}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        key: String,
    },
}
