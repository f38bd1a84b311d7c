//! Ollama's own API: `POST {base_url}/api/chat` (<https://docs.ollama.com/api/chat>).

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

/// A client of one Ollama.
pub struct Ollama {
    endpoint: Endpoint,
    settings: ModelSettings,
}

impl Ollama {
    /// A provider that calls through the connections of `client`; the server is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the key cannot be sent in a header.
    pub fn new(client: &Client, settings: ModelSettings) -> Result<Self, SetupError> {
        let endpoint = settings.endpoint(client, "/api/chat", settings.authorization()?);
        Ok(Self { endpoint, settings })
    }
}

#[async_trait]
impl Provider for Ollama {
    fn kind(&self) -> Kind {
        Kind::Ollama
    }

    fn model(&self) -> &str {
        &self.settings.model
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError> {
        let question = Question {
            model: &self.settings.model,
            messages: chat(self.settings.system_prompt.as_deref(), prompt),
            stream: false,
            options: Options {
                temperature: self.settings.temperature,
                num_predict: self.settings.max_tokens,
            },
        };
        let reply: Reply = self.endpoint.ask(&question, "not a chat response").await?;
        let usage = usage(&reply.prompt_eval_count, &reply.eval_count);
        self.settings.completion(reply.message.content, &reply.model, usage)
    }
}

impl fmt::Debug for Ollama {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ollama").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: Vec<ChatMessage<'a>>,
    stream: bool,
    options: Options,
}

#[derive(Serialize)]
struct Options {
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Value,
    message: Message,
    #[serde(default)]
    prompt_eval_count: Value,
    #[serde(default)]
    eval_count: Value,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}
