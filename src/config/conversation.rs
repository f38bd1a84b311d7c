//! `[conversation]` and `[memory]`: what the model is told again, and what is kept of what users say.

use super::{database::Retention, reader::Reader};

/// What the model is told of a conversation, and how long its messages may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Earlier turns that the model is told again, at most.
    pub history_turns: u32,
    /// Characters that they may have together.
    pub history_max_chars: usize,
    /// Requests of one session that may wait for their turn.
    pub max_waiting: u32,
    /// The longest message of a channel, in characters.
    pub max_message_chars: usize,
    /// The longest reply, in characters.
    pub max_reply_chars: usize,
}

/// What is kept of what users say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Whether anything is.
    pub auto_save: bool,
    /// How long.
    pub retention: Retention,
}

impl Conversation {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let chars = |r: &mut Reader<'_>, key, range| r.integer::<u32>(key, range) as usize;
        Self {
            history_turns: r.integer("conversation.history_turns", 0..=1000),
            history_max_chars: chars(r, "conversation.history_max_chars", 0..=10_000_000),
            max_waiting: r.integer("conversation.max_waiting", 0..=10_000),
            max_message_chars: chars(r, "conversation.max_message_chars", 16..=1_000_000),
            max_reply_chars: chars(r, "conversation.max_reply_chars", 16..=1_000_000),
        }
    }
}

impl Memory {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            auto_save: r.flag("memory.auto_save"),
            retention: Retention::read(r, "memory.retention_days", "memory.max_rows"),
        }
    }
}
