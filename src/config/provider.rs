//! `[provider]`: what answers the messages.

use std::time::Duration;

use super::{
    base_url::{BASE_URL, BaseUrl},
    reader::Reader,
};
use crate::domain::secret::Secret;

/// The model servers and how to ask them.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// The one that is asked first.
    pub model: Model,
    /// Those that are asked next, in this order.
    pub fallbacks: Vec<Model>,
    /// How long an answer may take, tries and fallbacks included.
    pub timeout: Duration,
    /// How often one of them is asked again.
    pub max_retries: u32,
    /// Calls of one of them at once.
    pub max_in_flight: u32,
    /// Calls that wait for one of them.
    pub max_queued: u32,
}

/// A model and its server.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What it is.
    pub kind: ProviderKind,
    /// The model to ask for. Blank for [`ProviderKind::Echo`] alone, unless it was given.
    pub name: String,
    /// Where the API is, without a slash at its end. Blank for [`ProviderKind::Echo`], which has none.
    pub base_url: String,
    /// The API key to send.
    pub api_key: Option<Secret>,
    /// How freely the model answers, 0 to 2.
    pub temperature: f64,
    /// The longest answer to ask for, in tokens.
    pub max_tokens: Option<u32>,
    /// How long one call may take.
    pub timeout: Duration,
    /// What the model is told before every conversation.
    pub system_prompt: Option<String>,
}

/// The kinds of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Repeats the message.
    Echo,
    /// A server that speaks the `OpenAI` chat completions API.
    OpenAi,
    /// A server that speaks Anthropic's messages API.
    Anthropic,
    /// A server that speaks Ollama's own API.
    Ollama,
}

impl ProviderKind {
    const WORDS: [(&str, Self); 4] = [
        ("echo", Self::Echo),
        ("openai", Self::OpenAi),
        ("anthropic", Self::Anthropic),
        ("ollama", Self::Ollama),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::WORDS[self as usize].0
    }

    /// Where its API is, unless said otherwise.
    const fn base_url(self) -> &'static str {
        match self {
            Self::Echo => "",
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Ollama => "http://127.0.0.1:11434",
        }
    }

    const fn max_temperature(self) -> f64 {
        match self {
            Self::Anthropic => 1.0,
            Self::Echo | Self::OpenAi | Self::Ollama => 2.0,
        }
    }
}

impl Provider {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let model = Model::read(r, "provider");
        let fallbacks = r.fallbacks().iter().map(|table| Model::read_fallback(r, table)).collect();
        Self {
            timeout: model.timeout,
            model,
            fallbacks,
            max_retries: r.integer("provider.max_retries", 0..=10),
            max_in_flight: r.integer("provider.max_in_flight", 1..=10_000),
            max_queued: r.integer("provider.max_queued", 0..=1_000_000),
        }
    }
}

impl Model {
    /// Reads a table of `[[provider.fallback]]`, which must say what it is: echo is no good guess.
    fn read_fallback(r: &mut Reader<'_>, table: &str) -> Self {
        if !r.is_mentioned(&format!("{table}.kind")) {
            r.problem(table, format!("{table} needs a kind"));
        }
        Self::read(r, table)
    }

    /// Reads the table `section`.
    fn read(r: &mut Reader<'_>, section: &str) -> Self {
        let key = |name: &str| format!("{section}.{name}");
        let kind = r.word(&key("kind"), &ProviderKind::WORDS);
        let (name, base_url, api_key) = match kind {
            // What only other kinds use may be left in place, whatever it says.
            ProviderKind::Echo => (r.text(&key("model")), String::new(), None),
            _ => (
                r.needed_text(&key("model"), &key("kind")),
                read_base_url(r, &key("base_url"), kind.base_url()),
                r.secret(&key("api_key"), &key("api_key_file")),
            ),
        };
        let max_tokens = r.integer(&key("max_tokens"), 0..=10_000_000);
        Self {
            kind,
            name,
            base_url,
            api_key,
            temperature: r.number(&key("temperature"), 0.0..=kind.max_temperature()),
            max_tokens: (max_tokens > 0).then_some(max_tokens),
            timeout: r.seconds(&key("timeout_secs"), 1..=3600),
            system_prompt: r.optional_text(&key("system_prompt")),
        }
    }
}

/// Never shows the address: it may hold a password.
fn read_base_url(r: &mut Reader<'_>, key: &str, default: &str) -> String {
    let given = r.text(key);
    if given.trim().is_empty() {
        return default.to_owned();
    }
    match BaseUrl::parse(&given) {
        Some(url) if url.is_plain_to_another_machine() => {
            r.warning(
                key,
                format!("{key} is plain http: the API key and every message can be read on the way"),
            );
        }
        Some(_) => {}
        None => {
            r.problem(key, format!("{key} must be {BASE_URL}"));
        }
    }
    given.trim_end_matches('/').to_owned()
}
