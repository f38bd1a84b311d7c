//! Messages: what a client asks, and what came of it.

use std::{fmt, sync::Arc, time::Duration};

/// The text of a message: not blank.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageText(Arc<str>);

impl MessageText {
    /// The text as it came, if it is more than white space.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self(text.into()))
    }

    /// The text, whatever characters it holds.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[text of {} bytes]", self.0.len())
    }
}

/// What the model said, cheap to clone: whoever writes it and whoever tells it have the same text.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The reply.
    pub text: Arc<str>,
    /// The model that really answered.
    pub model: Arc<str>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[answer of {} bytes by {}]", self.text.len(), self.model)
    }
}

/// One earlier turn of a conversation: what was asked, and what the model said to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub user: String,
    /// What the model said, cheap to clone: whoever writes it and whoever tells it have the same text.
    pub assistant: String,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[exchange of {} and {} bytes]", self.user.len(), self.assistant.len())
    }
}

/// What the model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The conversation before the message, oldest first.
    pub history: Vec<Exchange>,
    /// The message to answer.
    pub message: Arc<MessageText>,
}

impl Prompt {
    /// A message without a conversation before it.
    #[must_use]
    pub fn single(message: Arc<MessageText>) -> Self {
        Self { history: Vec::new(), message }
    }
}

/// What a model made of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What it said.
    pub answer: Answer,
    /// What that took.
    pub usage: Usage,
}

/// The tokens that an answer took, as far as the model's server tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that it read: everything that it was told.
    pub prompt_tokens: Option<u64>,
    /// Tokens that it wrote.
    pub completion_tokens: Option<u64>,
}

/// What a turn took, for the books.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// The kind of provider that answered, or was called last; `None`: none was called.
    pub provider: Option<&'static str>,
    /// Calls of providers, retries and fallbacks included.
    pub calls: u32,
    /// The time from the question to its end, waiting for room and pauses included.
    pub took: Duration,
    /// The tokens of the answer.
    pub usage: Usage,
}

impl Account {
    /// Adds what a further try took.
    pub fn add(&mut self, further: Self) {
        self.provider = further.provider.or(self.provider);
        self.calls = self.calls.saturating_add(further.calls);
        self.took = self.took.saturating_add(further.took);
        self.usage = further.usage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_text_is_no_message() {
        for blank in ["", " ", "\t\r\n", "\u{a0}\u{3000}"] {
            assert_eq!(MessageText::new(blank.into()), None, "{blank:?}");
        }
        assert_eq!(MessageText::new("\0".into()).map(|t| t.as_str().len()), Some(1));
        assert_eq!(MessageText::new(" hi ".into()).map(|t| t.as_str().to_owned()), Some(" hi ".into()));
    }

    #[test]
    fn texts_do_not_show_themselves_in_debug() {
        let text = MessageText::new("my number is 555".into());
        assert!(!format!("{text:?}").contains("555"));
        let exchange = Exchange { user: "is it 555?".into(), assistant: "yes, 555".into() };
        assert_eq!(format!("{exchange:?}"), "[exchange of 10 and 8 bytes]");
    }
}
