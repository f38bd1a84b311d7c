//! Language models: one question, one answer.

mod echo;
mod openai;

use std::time::Duration;

use async_trait::async_trait;

pub use echo::Echo;
pub use openai::{OpenAi, OpenAiSettings, SetupError};

use crate::domain::message::{Answer, MessageText};

/// The kinds of providers, as `provider.kind` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Echo`].
    Echo,
    /// [`OpenAi`].
    OpenAi,
}

/// Something that answers a message.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its kind.
    fn kind(&self) -> Kind;

    /// The model it asks; the one that answers may be another.
    fn model(&self) -> &str;

    /// Answers one message. It keeps its own deadline.
    async fn answer(&self, message: &MessageText) -> Result<Answer, ProviderError>;
}

/// Why there is no answer. The text is for the log: it holds nothing that the provider sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No connection, or one that broke.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// It took longer than `provider.timeout_secs`.
    #[error("the provider took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It refused with this status.
    #[error("the provider answered with status {0}")]
    Status(u16),
    /// What it sent is not an answer.
    #[error("the provider's response is no answer: {0}")]
    BadResponse(&'static str),
}

impl ProviderError {
    /// One word for the database.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Status(401 | 403) => "unauthorized",
            Self::Status(429) => "rate_limited",
            Self::Status(500..) => "overloaded",
            Self::Status(_) => "refused",
            Self::BadResponse(_) => "bad_response",
        }
    }
}
