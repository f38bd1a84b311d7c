//! Any server with OpenAI's chat completions: `POST {base_url}/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Kind, ModelSettings, Provider, ProviderError,
    chat::{ChatMessage, chat},
    endpoint::Endpoint,
};
use crate::{
    domain::message::{Answer, Completion, Prompt, Usage},
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
        let text = choice.text()?;
        let model = self.settings.answered_by(reply.model);
        Ok(Completion { answer: Answer { text, model }, usage: reply.usage.unwrap_or_default().into() })
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
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Tokens>, // null with some servers
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

impl Choice {
    /// What the model said, unless it or a filter said no.
    fn text(self) -> Result<String, ProviderError> {
        let Message { content, refusal } = self.message;
        if self.finish_reason.as_deref() == Some("content_filter") {
            return Err(ProviderError::RefusedByPolicy);
        }
        content.filter(|text| !text.trim().is_empty()).ok_or(match refusal {
            Some(_) => ProviderError::RefusedByPolicy,
            None => ProviderError::BadResponse("no content"),
        })
    }
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        Self { prompt_tokens: tokens.prompt_tokens, completion_tokens: tokens.completion_tokens }
    }
}
