//! Pairing codes and lockouts.

use std::time::Duration;

use async_trait::async_trait;

use super::{PendingHit, StoreError};
use crate::domain::{
    client::ClientAddress,
    id::{CodeId, TokenId},
    pairing::PairingCode,
    time::Millis,
    token::TokenHash,
};

/// The pairing codes, and what is on record about the clients that tried them.
#[async_trait]
pub trait PairingRepository: Send + Sync {
    /// Puts a code on record. The oldest of too many live codes is replaced by it.
    async fn issue(&self, code: NewCode, now: Millis) -> Result<CodeId, StoreError>;

    /// Spends one attempt: hit, lockout, code, failure and token in one step.
    async fn redeem(&self, redemption: Redemption, now: Millis) -> Result<RedeemOutcome, StoreError>;
}

/// A code to be put on record.
#[derive(Debug)]
pub struct NewCode {
    /// The code; only its hash is kept.
    pub code: PairingCode,
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// The label of the token that it will be redeemed for.
    pub label: String,
    /// How long it lives.
    pub ttl: Duration,
}

/// One attempt to pair.
#[derive(Debug)]
pub struct Redemption {
    /// What the client sent; `None`: no six digits, which no code matches.
    pub code: Option<PairingCode>,
    /// Who it is.
    pub client: ClientAddress,
    /// The hit it was admitted with.
    pub hit: Option<PendingHit>,
    /// The hash of the token that the client gets if the code is right.
    pub token_hash: TokenHash,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedeemOutcome {
    /// The code is spent and the token is live.
    Redeemed(TokenId),
    /// No live code is the one sent; the failure is counted.
    Refused,
    /// The client is locked out for so long; nothing is counted.
    LockedOut(Duration),
}
