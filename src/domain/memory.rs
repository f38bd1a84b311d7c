//! Memory: what users said, each message once.

use std::fmt;

use uuid::{Builder, Uuid};

use super::time::Millis;

/// The category of what was said in conversations.
pub const CONVERSATION: &str = "conversation";

/// The name under which a message to `/webhook` is kept: `webhook_msg_<uuid>`. Messages of channels are kept as
/// `<channel>_<sender>_<the platform's id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKey(Uuid);

impl MemoryKey {
    /// A new key (a version 7 UUID of RFC 9562): in the order of time.
    #[must_use]
    pub fn new(now: Millis, random: &[u8; 10]) -> Self {
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
    /// Its name.
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

    #[test]
    fn keys_are_uuids_in_the_order_of_time() {
        let early = MemoryKey::new(Millis(1), &[255; 10]).to_string();
        let late = MemoryKey::new(Millis(2), &[0; 10]).to_string();
        assert!(early < late);
        assert_eq!(early, "webhook_msg_00000000-0001-7fff-bfff-ffffffffffff");
        assert_eq!(MemoryKey::new(Millis(-5), &[0; 10]), MemoryKey::new(Millis(0), &[0; 10]));
    }
}
