//! Memory: what users said, kept under a key that is the same whatever is retried.

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::{
    client::Owner,
    idempotency::{BodyHash, IdempotencyKey},
    time::Millis,
};

/// The category of what was said in conversations.
pub const CONVERSATION: &str = "conversation";

/// The name under which a message to `/webhook` is kept: `webhook_msg_<uuid>`. Messages of channels are kept as
/// `<channel>_<sender>_<the platform's id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKey(Uuid);

impl MemoryKey {
    /// The key of a message with an idempotency key: the same at each retry (a version 8 UUID of RFC 9562).
    #[must_use]
    pub fn of_request(owner: Owner, key: &IdempotencyKey, body: BodyHash) -> Self {
        let mut hash = Sha256::new();
        hash.update(owner.to_string());
        hash.update([0]);
        hash.update(key.as_str());
        hash.update([0]);
        hash.update(body.0);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The key of any other message: in the order of time (a version 7 UUID), which is what an index likes best.
    #[must_use]
    pub fn of_moment(now: Millis, random: &[u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(now.0.max(0).unsigned_abs(), random).into_uuid())
    }
}

impl fmt::Display for MemoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook_msg_{}", self.0)
    }
}

/// Something that is remembered.
#[derive(Clone, PartialEq, Eq)]
pub struct Memory {
    /// Its name, which no other has.
    pub key: String,
    /// What kind it is of.
    pub category: String,
    /// Where it was said: `webhook` or a channel.
    pub channel: String,
    /// Who said it.
    pub sender: String,
    /// What was said.
    pub content: String,
    /// When.
    pub created_at: Millis,
}

/// What was said, and by whom, stays out of logs.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[memory of {} bytes]", self.content.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TokenId;

    #[test]
    fn a_retry_has_the_same_key_and_nothing_else_has() {
        let of = |owner, key: &str, body| {
            let key = IdempotencyKey::stored(key).unwrap();
            MemoryKey::of_request(Owner::Token(TokenId(owner)), &key, BodyHash([body; 32])).to_string()
        };
        let key = of(1, "order-1", 1);
        assert_eq!(key, of(1, "order-1", 1));
        for other in [of(2, "order-1", 1), of(1, "order-2", 1), of(1, "order-1", 2)] {
            assert_ne!(key, other);
        }
        assert_eq!((key.len(), &key[..12], &key[26..27]), (48, "webhook_msg_", "8"));
    }

    #[test]
    fn keys_of_moments_are_in_the_order_of_time() {
        let early = MemoryKey::of_moment(Millis(1), &[255; 10]).to_string();
        let late = MemoryKey::of_moment(Millis(2), &[0; 10]).to_string();
        assert!(early < late);
        assert_eq!(MemoryKey::of_moment(Millis(-5), &[0; 10]), MemoryKey::of_moment(Millis(0), &[0; 10]));
    }
}
