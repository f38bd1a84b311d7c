//! Any server with OpenAI's chat completions: `POST {base_url}/chat/completions`
//! (<https://platform.openai.com/docs/api-reference/chat/create>).

use std::{fmt, time::Duration};

use async_trait::async_trait;
use reqwest::{Client, Response, header::HeaderValue, redirect::Policy};
use serde::{Deserialize, Serialize};

use super::{Kind, Provider, ProviderError};
use crate::domain::{
    message::{Answer, MessageText},
    secret::Secret,
};

/// The longest response that is read, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the provider's HTTP client cannot be set up: {0}")]
pub struct SetupError(String);

/// A client of one server.
pub struct OpenAi {
    client: Client,
    url: String,
    authorization: Option<HeaderValue>,
    settings: OpenAiSettings,
}

impl OpenAi {
    /// Sets up the client; the server is not called.
    ///
    /// # Errors
    /// [`SetupError`] if the key cannot be sent in a header, or TLS cannot be set up.
    pub fn new(settings: OpenAiSettings) -> Result<Self, SetupError> {
        // One for the process; it is there already if another provider was set up before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.timeout)
            .build()
            .map_err(|error| SetupError(error.without_url().to_string()))?;
        let authorization = settings.api_key.as_ref().map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .map_err(|_| SetupError("the API key has characters that no header may have".into()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let url = format!("{}/chat/completions", settings.base_url.trim_end_matches('/'));
        Ok(Self { client, url, authorization: authorization.transpose()?, settings })
    }

    async fn complete(&self, message: &MessageText) -> Result<Answer, reqwest_or::Error> {
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
        let mut request = self.client.post(&self.url).json(&body);
        if let Some(value) = &self.authorization {
            request = request.header(reqwest::header::AUTHORIZATION, value.clone());
        }
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(ProviderError::Status(response.status().as_u16()).into());
        }
        let completion: ChatResponse = serde_json::from_slice(&read_bounded(response).await?)
            .map_err(|_| ProviderError::BadResponse("not a chat completion"))?;
        let choice = completion.choices.into_iter().next().ok_or(ProviderError::BadResponse("no choice"))?;
        let text = choice.message.content.ok_or(ProviderError::BadResponse("no content"))?;
        let model = completion.model.filter(|model| !model.is_empty());
        Ok(Answer { text, model: model.unwrap_or_else(|| self.settings.model.clone()) })
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
        self.complete(message).await.map_err(|error| error.within(self.settings.timeout))
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, reqwest_or::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(ProviderError::BadResponse("longer than 1 MiB").into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Either kind of error, until it is clear which deadline it was.
mod reqwest_or {
    use std::time::Duration;

    use super::ProviderError;

    pub(super) enum Error {
        Http(reqwest::Error),
        Provider(ProviderError),
    }

    impl From<reqwest::Error> for Error {
        fn from(error: reqwest::Error) -> Self {
            Self::Http(error)
        }
    }

    impl From<ProviderError> for Error {
        fn from(error: ProviderError) -> Self {
            Self::Provider(error)
        }
    }

    impl Error {
        pub(super) fn within(self, timeout: Duration) -> ProviderError {
            match self {
                Self::Provider(error) => error,
                Self::Http(error) if error.is_timeout() => ProviderError::TimedOut(timeout),
                Self::Http(error) => ProviderError::Unreachable(error.without_url().to_string()),
            }
        }
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
