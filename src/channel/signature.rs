//! Signatures of webhooks: HMAC-SHA256 over the bytes as they came, compared in constant time.

use std::{fmt, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::domain::{hex, secret::Secret, time::Millis};

#[cfg(test)]
mod tests;

/// How far a signed time may be from ours, in both directions.
const TOLERANCE: Duration = Duration::from_mins(5);
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The signature is missing, malformed, wrong, or too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

/// The secret is blank, or has no base64 after `whsec_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing secret is blank, or has no base64 after whsec_")]
pub struct BadSecret;

/// The scheme of <https://www.standardwebhooks.com>: `webhook-signature` is a list of `v1,<base64>`, each an HMAC over
/// `{webhook-id}.{webhook-timestamp}.{body}`. One that matches is enough, so that a secret can be changed without a gap.
#[derive(Debug, Clone)]
pub struct StandardWebhooks(Key);

impl StandardWebhooks {
    /// Takes `whsec_` with base64, padded or not. A secret without that prefix is the key as it is.
    ///
    /// # Errors
    /// [`BadSecret`] if that leaves no key.
    pub fn new(secret: &Secret) -> Result<Self, BadSecret> {
        let Some(encoded) = secret.expose().strip_prefix("whsec_") else { return Key::new(secret).map(Self) };
        let bytes = Zeroizing::new(BASE64.decode(encoded).map_err(|_| BadSecret)?);
        Key::from_bytes(&bytes).map(Self)
    }

    /// Checks a call, and gives its `webhook-id`: 1 or more visible ASCII characters, the same at each redelivery.
    ///
    /// # Errors
    /// [`BadSignature`] if no signature matches, the time is more than five minutes off, or a header is missing,
    /// doubled or malformed.
    pub fn verify<'h>(
        &self,
        headers: &'h HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<&'h str, BadSignature> {
        let id = only(headers, "webhook-id")?;
        let timestamp = only(headers, "webhook-timestamp")?;
        let signatures = only(headers, "webhook-signature")?;
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadSignature);
        }
        check_time(timestamp, now)?;
        let signed = self.0.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        let is_match = |entry: &str| {
            let encoded = entry.strip_prefix("v1,");
            let given = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
            given.is_some_and(|given| signed.ct_eq(&given).into())
        };
        if signatures.split(' ').any(is_match) { Ok(id) } else { Err(BadSignature) }
    }
}

/// A key for HMAC-SHA256 (RFC 2104).
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// The bytes of the secret as they are.
    pub(super) fn new(secret: &Secret) -> Result<Self, BadSecret> {
        if secret.expose().trim().is_empty() {
            return Err(BadSecret);
        }
        Self::from_bytes(secret.expose().as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BadSecret> {
        if bytes.is_empty() {
            return Err(BadSecret);
        }
        Hmac::new_from_slice(bytes).map(Self).map_err(|_| BadSecret)
    }

    /// The signature of the parts one after the other.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Checks 64 hex digits, in either case, against the parts one after the other.
    pub(super) fn check_hex(&self, parts: &[&[u8]], signature: &str) -> Result<(), BadSignature> {
        let given: [u8; 32] = hex::decode(signature).ok_or(BadSignature)?;
        if self.sign(parts).ct_eq(&given).into() { Ok(()) } else { Err(BadSignature) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A header that is there exactly once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, BadSignature> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| BadSignature),
        _ => Err(BadSignature),
    }
}

/// Checks a time in seconds since 1970 against ours.
pub(super) fn check_time(timestamp: &str, now: Millis) -> Result<(), BadSignature> {
    let secs: i64 = timestamp.parse().map_err(|_| BadSignature)?;
    let off = Duration::from_millis(now.0.abs_diff(secs.saturating_mul(1000)));
    if off <= TOLERANCE { Ok(()) } else { Err(BadSignature) }
}
