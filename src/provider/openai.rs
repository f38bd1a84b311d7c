//! Any server with OpenAI's chat completions: `POST {base_url}/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use std::fmt;

use async_trait::async_trait;
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
    outbound::{Client, SetupError},
};

/// A client of one server.
pub struct OpenAi {
    endpoint: Endpoint,
    settings: ModelSettings,
}

impl OpenAi {
    /// A provider that calls through the connections of `client`; the server is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the key cannot be sent in a header.
    pub fn new(client: &Client, settings: ModelSettings) -> Result<Self, SetupError> {
        let endpoint = settings.endpoint(client, "/chat/completions", settings.authorization()?);
        Ok(Self { endpoint, settings })
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn kind(&self) -> Kind {
        Kind::OpenAi
    }

    fn model(&self) -> &str {
        &self.settings.model
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError> {
        let question = Question {
            model: &self.settings.model,
            messages: chat(self.settings.system_prompt.as_deref(), prompt),
            temperature: self.settings.temperature,
            max_tokens: self.settings.max_tokens,
            stream: false,
        };
        let reply: Reply = self.endpoint.ask(&question, "not a chat completion").await?;
        let choice = reply.choices.into_iter().next().ok_or(ProviderError::BadResponse("no choice"))?;
        let usage = usage(&reply.usage["prompt_tokens"], &reply.usage["completion_tokens"]);
        self.settings.completion(choice.text()?, &reply.model, usage)
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: Vec<ChatMessage<'a>>,
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    stream: bool,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Value,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value, // null with some servers
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Value,
}

impl Choice {
    /// What the model said, if anything, unless it or a filter said no.
    fn text(self) -> Result<String, ProviderError> {
        let Message { content, refusal } = self.message;
        if self.finish_reason == "content_filter" {
            return Err(ProviderError::RefusedByPolicy);
        }
        match content {
            Value::String(text) => Ok(text),
            Value::Array(parts) => Ok(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
            _ if refusal.is_null() => Ok(String::new()),
            _ => Err(ProviderError::RefusedByPolicy),
        }
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value, // some servers send parts, as they take them
    #[serde(default)]
    refusal: Value,
}
