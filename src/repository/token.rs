//! Bearer tokens.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{id::TokenId, time::Millis, token::TokenHash};

/// The tokens of all paired clients.
#[async_trait]
pub trait TokenRepository: Send + Sync {
    /// The live token with this hash. Reads memory only.
    fn find_live(&self, hash: &TokenHash, now: Millis) -> Option<TokenId>;

    /// Whether any token is live. Reads memory only.
    fn any_live(&self, now: Millis) -> bool;

    /// Waits, for a moment at most, until memory knows what other processes have done. For a token that is not known: a
    /// command may have made it just now.
    async fn catch_up(&self);

    /// Takes over the tokens that the configuration names, each of them once for ever. Returns how many were new.
    async fn import(&self, hashes: Vec<TokenHash>, now: Millis) -> Result<u64, StoreError>;
}

/// A token to be put on record.
#[derive(Debug)]
pub struct NewToken {
    /// For people.
    pub label: String,
    /// The hash of the token.
    pub hash: TokenHash,
    /// How it came to be.
    pub source: TokenSource,
}

/// How a token came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// `POST /pair`.
    Pairing,
    /// `moorgate token create`.
    Command,
    /// `gateway.paired_tokens`.
    Import,
}

impl TokenSource {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Command => "command",
            Self::Import => "import",
        }
    }
}
