//! Any server with OpenAI's chat completions: `POST {base_url}/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::{Kind, Provider, ProviderError};
use crate::{
    domain::{
        message::{Answer, MessageText},
        secret::Secret,
    },
    outbound::{self, Client, SetupError},
};

/// How to reach the server, and what to ask of it.
#[derive(Debug, Clone)]
pub struct OpenAiSettings {
    /// The address before `/chat/completions`, without a slash at its end.
    pub base_url: String,
    /// The bearer token; servers at home often need none.
    pub api_key: Option<Secret>,
    /// The model to ask.
    pub model: String,
    /// What the model is told before the message.
    pub system_prompt: Option<String>,
    /// How freely it may speak, 0 to 2.
    pub temperature: f64,
    /// The longest answer in tokens; `None`: as the server likes.
    pub max_tokens: Option<u32>,
    /// The time for one answer, from connecting to its last byte.
    pub timeout: Duration,
}

/// A client of one server.
pub struct OpenAi {
    client: Client,
    url: String,
    authorization: Option<HeaderValue>,
    settings: OpenAiSettings,
}

impl OpenAi {
    /// A provider that calls through the connections of `client`; the server is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the key cannot be sent in a header.
    pub fn new(client: &Client, settings: OpenAiSettings) -> Result<Self, SetupError> {
        let client = client.with_timeout(settings.timeout);
        let authorization = settings.api_key.as_ref().map(outbound::bearer).transpose()?;
        let url = format!("{}/chat/completions", settings.base_url.trim_end_matches('/'));
        Ok(Self { client, url, authorization, settings })
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

    async fn answer(&self, message: &MessageText) -> Result<Answer, ProviderError> {
        let system =
            self.settings.system_prompt.as_deref().map(|content| ChatMessage { role: "system", content });
        let user = ChatMessage { role: "user", content: message.as_str() };
        let body = ChatRequest {
            model: &self.settings.model,
            messages: system.into_iter().chain([user]).collect(),
            temperature: self.settings.temperature,
            max_tokens: self.settings.max_tokens,
            stream: false,
        };
        let authorization = self.authorization.iter().map(|value| (header::AUTHORIZATION, value.clone()));
        let headers: HeaderMap = authorization.collect();
        let response = self.client.post_json(&self.url, headers, &body).await?;
        if !response.status().is_success() {
            let code = response.status().as_u16();
            let retry_after = matches!(code, 429 | 503).then(|| response.retry_after()).flatten();
            return Err(ProviderError::Status { code, retry_after });
        }
        let completion: ChatResponse = serde_json::from_slice(&response.body().await?)
            .map_err(|_| ProviderError::BadResponse("not a chat completion"))?;
        let choice = completion.choices.into_iter().next().ok_or(ProviderError::BadResponse("no choice"))?;
        let text = choice.message.content.ok_or(ProviderError::BadResponse("no content"))?;
        let model = completion.model.filter(|model| !model.is_empty());
        Ok(Answer { text, model: model.unwrap_or_else(|| self.settings.model.clone()) })
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: Vec<ChatMessage<'a>>,
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    stream: bool,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Deserialize)]
struct ChatResponse {
    model: Option<String>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Reply,
}

#[derive(Deserialize)]
struct Reply {
    content: Option<String>,
}
