//! Anthropic's messages: `POST {base_url}/v1/messages` (<https://platform.claude.com/docs/en/api/messages>).

use std::fmt;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Kind, ModelSettings, Provider, ProviderError,
    chat::{ChatMessage, chat},
    endpoint::Endpoint,
    usage,
};
use crate::{
    domain::message::{Completion, Prompt},
    outbound::{Client, SetupError, secret_header},
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// The longest answer where none is set: unlike others, this API wants to be told.
const DEFAULT_MAX_TOKENS: u32 = 4096;

/// A client of Anthropic's API.
pub struct Anthropic {
    endpoint: Endpoint,
    settings: ModelSettings,
}

impl Anthropic {
    /// A provider that calls through the connections of `client`; the server is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the key cannot be sent in a header.
    pub fn new(client: &Client, settings: ModelSettings) -> Result<Self, SetupError> {
        let key = settings.api_key.as_ref().map(secret_header).transpose()?;
        let headers: HeaderMap = key.map(|key| (API_KEY, key)).into_iter().chain([VERSION]).collect();
        let endpoint = settings.endpoint(client, "/v1/messages", headers);
        Ok(Self { endpoint, settings })
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn kind(&self) -> Kind {
        Kind::Anthropic
    }

    fn model(&self) -> &str {
        &self.settings.model
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError> {
        let question = Question {
            model: &self.settings.model,
            max_tokens: self.settings.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            system: self.settings.system_prompt.as_deref(),
            messages: chat(None, prompt),
            temperature: self.settings.temperature,
        };
        let reply: Reply = self.endpoint.ask(&question, "not a message").await?;
        let stop_reason = reply.stop_reason.as_deref();
        if stop_reason == Some("refusal") {
            return Err(ProviderError::RefusedByPolicy);
        }
        let text: String = reply.content.into_iter().filter_map(Block::text).collect();
        if text.is_empty() && stop_reason == Some("model_context_window_exceeded") {
            return Err(ProviderError::ContextTooLong);
        }
        let usage = usage(&reply.usage["input_tokens"], &reply.usage["output_tokens"]);
        self.settings.completion(text, &reply.model, usage)
    }
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anthropic").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    messages: Vec<ChatMessage<'a>>,
    temperature: f64,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Value,
    content: Vec<Block>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
}

impl Block {
    /// What it says; other blocks hold thoughts and calls of tools.
    fn text(self) -> Option<String> {
        self.text.filter(|_| self.r#type == "text")
    }
}
