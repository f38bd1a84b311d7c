//! Language models: one question, one answer.
//!
//! A module for each vendor's API, and [`Chain`], which makes one dependable provider of several.

mod anthropic;
mod chain;
mod chat;
mod echo;
mod endpoint;
mod link;
mod ollama;
mod openai;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, header};
use serde_json::Value;

pub use anthropic::Anthropic;
pub use chain::{Chain, ChainParts, ChainSettings, Link};
pub use echo::Echo;
pub use ollama::Ollama;
pub use openai::OpenAi;

use endpoint::Endpoint;

pub use crate::outbound::SetupError;
use crate::{
    domain::{
        bound::{cut, without_controls},
        message::{Answer, Completion, Prompt, Usage},
        secret::Secret,
    },
    outbound::{self, CallError, Client, is_transient_status, status_class},
    telemetry::metrics::ProviderLabel,
};

/// The kinds of providers, as `provider.kind` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Echo`].
    Echo,
    /// [`OpenAi`].
    OpenAi,
    /// [`Anthropic`].
    Anthropic,
    /// [`Ollama`].
    Ollama,
}

impl Kind {
    /// Its label in the metrics, and its name in the log.
    #[must_use]
    pub const fn label(self) -> ProviderLabel {
        match self {
            Self::Echo => ProviderLabel::Echo,
            Self::OpenAi => ProviderLabel::OpenAi,
            Self::Anthropic => ProviderLabel::Anthropic,
            Self::Ollama => ProviderLabel::Ollama,
        }
    }
}

/// How to reach a vendor's API, and what to ask of it.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// The address before the API's own path.
    pub base_url: String,
    /// The key to send; servers at home often need none.
    pub api_key: Option<Secret>,
    /// The model to ask.
    pub model: String,
    /// What the model is told before every conversation.
    pub system_prompt: Option<String>,
    /// How freely it may speak, 0 to 2.
    pub temperature: f64,
    /// The longest answer in tokens; `None`: as the server likes.
    pub max_tokens: Option<u32>,
    /// The time for one call, from connecting to its last byte.
    pub timeout: Duration,
}

impl ModelSettings {
    fn endpoint(&self, client: &Client, path: &str, headers: HeaderMap) -> Endpoint {
        let url = format!("{}{path}", self.base_url.trim_end_matches('/'));
        Endpoint { client: client.with_timeout(self.timeout), url, headers }
    }

    /// The key as a bearer token.
    fn authorization(&self) -> Result<HeaderMap, SetupError> {
        let token = self.api_key.as_ref().map(outbound::bearer).transpose()?;
        Ok(token.map(|token| (header::AUTHORIZATION, token)).into_iter().collect())
    }

    /// An answer, if it says anything. The model is the one that the server tells, else the one that was asked.
    fn completion(&self, text: String, model: &Value, usage: Usage) -> Result<Completion, ProviderError> {
        if text.trim().is_empty() {
            return Err(ProviderError::NoText);
        }
        let told = model.as_str().map(without_controls).filter(|model| !model.trim().is_empty());
        let model = told.map_or_else(|| self.model.clone(), Cow::into_owned);
        let model = cut(&model, LONGEST_MODEL).unwrap_or(model);
        Ok(Completion { answer: Answer { text: text.into(), model: model.into() }, usage })
    }
}

/// The longest name of a model that is kept, in characters: it comes from outside.
const LONGEST_MODEL: usize = 128;

/// The tokens that a server tells of. What is no number is not told: no answer is lost for its bookkeeping.
fn usage(prompt: &Value, completion: &Value) -> Usage {
    let number = |told: &Value| told.as_u64().filter(|tokens| *tokens <= MOST_TOKENS);
    Usage { prompt_tokens: number(prompt), completion_tokens: number(completion) }
}

/// More tokens than any model takes.
const MOST_TOKENS: u64 = 1_000_000_000;

/// Something that answers a message.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its kind.
    fn kind(&self) -> Kind;

    /// The model it asks; the one that answers may be another.
    fn model(&self) -> &str;

    /// Answers one message. It keeps its own deadline.
    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError>;
}

/// Why there is no answer. The text is for the log: it holds nothing that the provider sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No connection, or one that broke.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// It took longer than it was given.
    #[error("the provider took longer than {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It refused.
    #[error("the provider answered with status {code}")]
    Status {
        /// The status of its response.
        code: u16,
        /// The pause that it asks for, with 429, 503 and 529 alone.
        retry_after: Option<Duration>,
    },
    /// The conversation is longer than the model takes.
    #[error("the conversation is too long for the model")]
    ContextTooLong,
    /// The model, or a filter before or behind it, will not answer this.
    #[error("the provider's policy is not to answer this")]
    RefusedByPolicy,
    /// It was not called: as many calls as may wait for it do.
    #[error("too many calls wait for the provider")]
    QueueFull,
    /// It was not called: it failed time after time.
    #[error("the provider failed time after time, and is not called for {} s", .0.as_secs_f64())]
    Suspended(Duration),
    /// Its answer says nothing.
    #[error("the provider's answer has no text")]
    NoText,
    /// Its answer is longer than a response may be.
    #[error("the provider's response is longer than 1 MiB")]
    TooLong,
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
            Self::ContextTooLong => "context_too_long",
            Self::RefusedByPolicy => "refused_by_policy",
            Self::QueueFull => "queue_full",
            Self::Suspended(_) => "suspended",
            Self::NoText => "no_text",
            Self::TooLong => "too_long",
            Self::BadResponse(_) => "bad_response",
        }
    }

    /// Whether the same question may be answered later. A response that is no answer counts: a proxy's error page comes
    /// with status 200 at times.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut(_)
            | Self::QueueFull
            | Self::Suspended(_)
            | Self::NoText
            | Self::TooLong
            | Self::BadResponse(_) => true,
            Self::ContextTooLong | Self::RefusedByPolicy => false,
            Self::Status { code, .. } => is_transient_status(*code),
        }
    }

    /// The pause that the provider asks for, or needs.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Suspended(pause) => Some(*pause),
            _ => None,
        }
    }
}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(text) | CallError::Broken(text) => Self::Unreachable(text),
            CallError::TimedOut(timeout) => Self::TimedOut(timeout),
            CallError::TooLong => Self::TooLong,
        }
    }
}
