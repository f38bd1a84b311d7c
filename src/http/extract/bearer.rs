//! `Authorization: Bearer <token>` (RFC 6750, section 2.1).

use http::header::{AUTHORIZATION, HeaderMap};

use crate::{
    domain::{
        id::TokenId,
        time::Millis,
        token::{Token, TokenHash},
    },
    repository::TokenRepository,
};

/// What the request carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Bearer {
    /// No token.
    Missing,
    /// Something that is no live token; two headers are such a thing.
    Invalid,
    /// A live token.
    Valid(TokenId),
}

impl Bearer {
    /// Reads the header. The scheme may be in any case, with any number of spaces behind it. A token that is well-formed
    /// but not known is looked for once more, since a command may have made it just now.
    pub(in crate::http) async fn read(
        headers: &HeaderMap,
        tokens: &dyn TokenRepository,
        now: Millis,
    ) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Missing };
        if values.next().is_some() {
            return Self::Invalid;
        }
        let Some(token) = token_of(value.as_bytes()) else { return Self::Missing };
        let hash = TokenHash::of(token);
        let mut found = tokens.find_live(&hash, now);
        if found.is_none() && Token::is_well_formed(token) {
            tokens.catch_up().await;
            found = tokens.find_live(&hash, now);
        }
        found.map_or(Self::Invalid, Self::Valid)
    }

    /// The live token.
    pub(in crate::http) fn token(self) -> Option<TokenId> {
        match self {
            Self::Valid(id) => Some(id),
            Self::Missing | Self::Invalid => None,
        }
    }
}

fn token_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer".len())?;
    let token = rest.trim_ascii();
    let is_bearer =
        scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_some_and(u8::is_ascii_whitespace);
    (is_bearer && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer x", "bearer x", "BEARER  x ", "bEaReR\tx"] {
            assert_eq!(token_of(value.as_bytes()), Some(&b"x"[..]), "{value:?}");
        }
        for value in ["", "Bearer", "Bearer ", "Bearerx", "Basic x", "x"] {
            assert_eq!(token_of(value.as_bytes()), None, "{value:?}");
        }
    }
}
