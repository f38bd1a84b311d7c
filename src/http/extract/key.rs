//! The idempotency key, in either of its headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::idempotency::{IdempotencyKey, InvalidKey};

const HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-idempotency-key"), HeaderName::from_static("idempotency-key")];

/// The one key that all headers agree on; `None` if there is no header.
pub(in crate::http) fn read(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, InvalidKey> {
    let mut values = HEADERS.into_iter().flat_map(|name| headers.get_all(name)).map(HeaderValue::as_bytes);
    let Some(first) = values.next() else { return Ok(None) };
    let key = IdempotencyKey::parse(first)?;
    for value in values {
        if IdempotencyKey::parse(value)? != key {
            return Err(InvalidKey);
        }
    }
    Ok(Some(key))
}
