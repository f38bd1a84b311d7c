//! Tokens, for who hands them out and takes them back.

use async_trait::async_trait;

use crate::{
    domain::{id::TokenId, time::Millis},
    repository::{NewToken, StoreError},
};

/// The tokens of all clients. A token is named by its id, or by its label if that is unique: among the labels that are
/// there twice, those of revoked tokens do not count.
#[async_trait]
pub trait TokenAdminRepository: Send + Sync {
    /// Tokens, the newest first, `limit` at most.
    async fn list_tokens(&self, limit: u32) -> Result<Vec<TokenEntry>, StoreError>;

    /// Puts a token on record, that ends at `expires_at`.
    async fn issue_token(
        &self,
        token: NewToken,
        expires_at: Option<Millis>,
        now: Millis,
    ) -> Result<TokenId, StoreError>;

    /// Gives a token another label.
    async fn rename_token(&self, name: &str, label: &str) -> Result<TokenChange, StoreError>;

    /// Ends a token at once and for good.
    async fn revoke_token(&self, name: &str, now: Millis) -> Result<TokenChange, StoreError>;

    /// Lets a token end at `expires_at`, or never.
    async fn expire_token(&self, name: &str, expires_at: Option<Millis>) -> Result<TokenChange, StoreError>;
}

/// A token on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// Its row.
    pub id: TokenId,
    /// For people.
    pub label: String,
    /// How it came to be.
    pub source: String,
    /// Since when.
    pub created_at: Millis,
    /// Until when; `None`: for ever.
    pub expires_at: Option<Millis>,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
}

impl TokenEntry {
    /// `live`, `expired` or `revoked`.
    #[must_use]
    pub fn state(&self, now: Millis) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at <= now => "expired",
            (None, _) => "live",
        }
    }
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// The token as it is now.
    Done(TokenEntry),
    /// There is no such token.
    NotFound,
    /// Several have this label, or one has it and another one this id.
    Ambiguous(Vec<TokenId>),
    /// It was revoked before.
    Revoked(TokenEntry),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_expired_from_its_last_moment_on_unless_it_was_revoked() {
        let token = |expires_at, revoked_at| TokenEntry {
            id: TokenId(1),
            label: "ci".into(),
            source: "command".into(),
            created_at: Millis(0),
            expires_at,
            revoked_at,
        };
        let end = Some(Millis(5));
        assert_eq!(token(None, None).state(Millis(9)), "live");
        assert_eq!(token(end, None).state(Millis(4)), "live");
        assert_eq!(token(end, None).state(Millis(5)), "expired");
        assert_eq!(token(end, end).state(Millis(9)), "revoked");
    }
}
