//! Conversations: what a caller names one by, and how much of one the model is told again.

use super::{client::Owner, id::ConversationId, message::Exchange};

/// The longest session id, in characters.
const MAX_SESSION_LENGTH: usize = 255;

/// A caller's name for one of its conversations: 1 to 255 visible ASCII characters, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// The header value names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct InvalidSession;

impl SessionId {
    /// Reads a header value, trimmed.
    ///
    /// # Errors
    /// [`InvalidSession`] if it is blank, too long, or holds anything but visible ASCII.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidSession> {
        let text = str::from_utf8(value.trim_ascii()).map_err(|_| InvalidSession)?;
        let is_valid =
            (1..=MAX_SESSION_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidSession) }
    }

    /// The id as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose conversation, and which: no owner can name another's.
pub type Session = (Owner, SessionId);

/// A conversation, by either of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversation {
    /// One over `/webhook`.
    Session(Session),
    /// One on a channel.
    Channel(ConversationId),
}

/// How much of a conversation the model is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimit {
    /// Turns at most.
    pub turns: u32,
    /// Characters (Unicode scalar values) at most, of questions and answers together.
    pub chars: usize,
}

/// The last turns of a conversation, as far as they fit: put together from the newest to the oldest, without a gap.
#[derive(Debug)]
pub struct History {
    left: HistoryLimit,
    newest_first: Vec<Exchange>,
}

impl History {
    /// No turns yet.
    #[must_use]
    pub fn new(limit: HistoryLimit) -> Self {
        Self { left: limit, newest_first: Vec::new() }
    }

    /// Whether a further turn may be offered.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.left.turns > 0
    }

    /// Takes the turn before the last one that was taken. One that does not fit ends the history; one with a blank side is passed
    /// over, since there are models that refuse to be told it.
    pub fn offer(&mut self, turn: Exchange) {
        if turn.user.trim().is_empty() || turn.assistant.trim().is_empty() {
            return;
        }
        let chars = turn.user.chars().count() + turn.assistant.chars().count();
        match self.left.chars.checked_sub(chars) {
            Some(chars) if self.has_room() => {
                self.left = HistoryLimit { turns: self.left.turns - 1, chars };
                self.newest_first.push(turn);
            }
            _ => self.left.turns = 0,
        }
    }

    /// The turns, oldest first.
    #[must_use]
    pub fn finish(mut self) -> Vec<Exchange> {
        self.newest_first.reverse();
        self.newest_first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turn(user: &str, assistant: &str) -> Exchange {
        Exchange { user: user.into(), assistant: assistant.into() }
    }

    #[test]
    fn a_session_id_is_1_to_255_visible_ascii_characters() {
        let parse = |value: &str| SessionId::parse(value.as_bytes()).map(|id| id.as_str().to_owned());
        assert_eq!(parse(" user-7:main\t").as_deref(), Ok("user-7:main"));
        assert!(parse(&"s".repeat(255)).is_ok());
        for value in ["", "  ", "a b", "é", "a\u{7f}", &"s".repeat(256)] {
            assert_eq!(parse(value), Err(InvalidSession), "{value:?}");
        }
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let mut history = History::new(HistoryLimit { turns: 9, chars: 4 });
        history.offer(turn("éé", "éé"));
        assert!(history.has_room());
        history.offer(turn(" ", "x"));
        assert!(history.has_room(), "a blank question is passed over");
        history.offer(turn("x", "x"));
        assert!(!history.has_room(), "a turn that does not fit is the end");
        history.offer(turn("y", "y"));
        assert_eq!(history.finish(), [turn("éé", "éé")]);
    }

    proptest! {
        /// What is kept is the longest row of newest turns within both limits, oldest first.
        #[test]
        fn the_newest_turns_that_fit_are_kept(
            lengths in prop::collection::vec((1..30_usize, 1..30_usize), 0..20),
            turns in 0..12_u32,
            chars in 0..300_usize,
        ) {
            let all: Vec<Exchange> =
                lengths.iter().map(|(user, answer)| turn(&"u".repeat(*user), &"a".repeat(*answer))).collect();
            let mut history = History::new(HistoryLimit { turns, chars });
            for turn in all.iter().rev().cloned() {
                if !history.has_room() {
                    break;
                }
                history.offer(turn);
            }
            let kept = history.finish();
            let size = |turns: &[Exchange]| turns.iter().map(|it| it.user.len() + it.assistant.len()).sum::<usize>();
            prop_assert!(all.ends_with(&kept) && kept.len() <= turns as usize && size(&kept) <= chars);
            if kept.len() < all.len() && kept.len() < turns as usize {
                prop_assert!(size(&all[all.len() - kept.len() - 1..]) > chars);
            }
        }
    }
}
