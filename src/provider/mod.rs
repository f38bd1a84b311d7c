//! Language models: one question, one answer.

mod echo;
mod openai;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;

pub use echo::Echo;
pub use openai::{OpenAi, OpenAiSettings};

pub use crate::outbound::SetupError;
use crate::{
    domain::message::{Answer, MessageText},
    outbound::{CallError, is_transient_status, status_class},
};

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
    /// It refused.
    #[error("the provider answered with status {code}")]
    Status {
        /// The status of its response.
        code: u16,
        /// The pause that it asks for, with 429 and 503 alone.
        retry_after: Option<Duration>,
    },
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
            Self::Status { code, .. } => status_class(*code),
            Self::BadResponse(_) => "bad_response",
        }
    }

    /// Whether the same question may be answered later. A response that is no answer counts: a proxy's error page comes
    /// with status 200 at times.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::BadResponse(_) => true,
            Self::Status { code, .. } => is_transient_status(*code),
        }
    }

    /// The pause that the provider asks for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(text) | CallError::Broken(text) => Self::Unreachable(text),
            CallError::TimedOut(timeout) => Self::TimedOut(timeout),
            CallError::TooLong => Self::BadResponse("longer than 1 MiB"),
        }
    }
}
