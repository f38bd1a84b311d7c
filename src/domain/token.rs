//! Bearer tokens: what a paired client shows, and what is kept of it.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    hex::{self, Hex},
    secret::Secret,
};

/// A bearer token in clear: `zc_` and 64 lowercase hex characters.
#[derive(Debug, Clone)]
pub struct Token(Secret);

impl Token {
    /// The token of 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Secret::new(format!("zc_{}", Hex(&bytes))))
    }

    /// Whether `text` looks like a token.
    #[must_use]
    pub fn is_well_formed(text: &[u8]) -> bool {
        let hex = text.strip_prefix(b"zc_");
        hex.is_some_and(|hex| hex.len() == 64 && hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    }

    /// The text that the client gets to see, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.expose().as_bytes())
    }
}

/// The SHA-256 of a token: all that is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as a client sent it.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads 64 hex characters in either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token hash]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_zc_and_64_lowercase_hex_characters() {
        let token = Token::from_random([0xAB; 32]);
        assert_eq!(token.expose(), format!("zc_{}", "ab".repeat(32)));
        assert!(!format!("{token:?}").contains("abab"));
        assert!(Token::is_well_formed(token.expose().as_bytes()));
        assert!(!Token::is_well_formed(b"zc_x") && !Token::is_well_formed(&[b'a'; 67]));
    }

    #[test]
    fn a_hash_is_read_in_either_case_and_nothing_else_is() {
        let hash = TokenHash::of(b"zc_x");
        assert_eq!(TokenHash::from_hex(&hash.to_string().to_uppercase()), Some(hash));
        for bad in [String::new(), "0".repeat(63), "g".repeat(64), format!("é{}", "0".repeat(62))] {
            assert_eq!(TokenHash::from_hex(&bad), None, "{bad}");
        }
    }
}
