//! Memory: what users said, each message once.

use std::fmt;

use super::time::Millis;

/// The category of what was said in conversations.
pub const CONVERSATION: &str = "conversation";

/// Something that is remembered.
#[derive(Clone, PartialEq, Eq)]
pub struct Memory {
    /// Its name: `webhook_msg_<uuid>`, or `<channel>_<sender>_<the platform's id>`.
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
