//! Pairing: makes codes and tokens, and leaves the deciding to the repository.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{client::ClientAddress, pairing::PairingCode, time::Millis, token::Token},
    repository::{NewCode, PairingRepository, PendingHit, RedeemOutcome, Redemption, StoreError},
    system::{Entropy, NoEntropy, random},
};

/// Issues codes and tokens.
pub struct PairingService {
    codes: Arc<dyn PairingRepository>,
    entropy: Arc<dyn Entropy>,
    code_ttl: Duration,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The store took nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to make a secret of.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// What a client gets for its attempt.
#[derive(Debug)]
pub enum PairOutcome {
    /// A token of its own.
    Paired(Token),
    /// Nothing: no live code is the one it sent.
    Refused,
    /// Nothing, for so long.
    LockedOut(Duration),
}

impl PairingService {
    /// A service whose codes live for `code_ttl`.
    #[must_use]
    pub fn new(codes: Arc<dyn PairingRepository>, entropy: Arc<dyn Entropy>, code_ttl: Duration) -> Self {
        Self { codes, entropy, code_ttl }
    }

    /// Issues a pairing code, whose token gets the label.
    ///
    /// # Errors
    /// [`PairingError`]; then no code was issued.
    pub async fn issue_code(&self, label: &str, now: Millis) -> Result<PairingCode, PairingError> {
        let mut failed = None;
        let code = PairingCode::from_random(|| {
            let drawn = random(&*self.entropy).map(u32::from_le_bytes);
            drawn.inspect_err(|error| failed = Some(*error)).unwrap_or(0)
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let salt = random(&*self.entropy)?;
        let new = NewCode { code: code.clone(), salt, label: label.to_owned(), ttl: self.code_ttl };
        self.codes.issue(new, now).await?;
        Ok(code)
    }

    /// Spends one attempt of a client. What it sent may be `None`: not six digits.
    ///
    /// # Errors
    /// [`PairingError`]; then no attempt was spent and no token issued.
    pub async fn redeem(
        &self,
        code: Option<PairingCode>,
        client: ClientAddress,
        hit: Option<PendingHit>,
        now: Millis,
    ) -> Result<PairOutcome, PairingError> {
        let token = Token::from_random(random(&*self.entropy)?);
        let redemption = Redemption { code, client, hit, token_hash: token.hash() };
        Ok(match self.codes.redeem(redemption, now).await? {
            RedeemOutcome::Redeemed(_) => PairOutcome::Paired(token),
            RedeemOutcome::Refused => PairOutcome::Refused,
            RedeemOutcome::LockedOut(left) => PairOutcome::LockedOut(left),
        })
    }
}
