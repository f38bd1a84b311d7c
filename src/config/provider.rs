//! `[provider]`: what answers the messages.

use std::time::Duration;

use super::{
    base_url::{BASE_URL, BaseUrl},
    reader::Reader,
};
use crate::domain::secret::Secret;

const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// The model server and how to ask it.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// What it is.
    pub kind: ProviderKind,
    /// The model to ask for. Blank is the kind's own default; it never is for [`ProviderKind::OpenAi`].
    pub model: String,
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
}

impl Provider {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let kind = r.word("provider.kind", &[("echo", ProviderKind::Echo), ("openai", ProviderKind::OpenAi)]);
        let (model, base_url, api_key) = match kind {
            // What only other kinds use may be left in place, whatever it says.
            ProviderKind::Echo => (r.text("provider.model"), String::new(), None),
            ProviderKind::OpenAi => (
                r.needed_text("provider.model", "provider.kind"),
                read_base_url(r, OPENAI_BASE_URL),
                r.secret("provider.api_key", "provider.api_key_file"),
            ),
        };
        let max_tokens = r.integer("provider.max_tokens", 0..=10_000_000);
        Self {
            kind,
            model,
            base_url,
            api_key,
            temperature: r.number("provider.temperature", 0.0..=2.0),
            max_tokens: (max_tokens > 0).then_some(max_tokens),
            timeout: r.seconds("provider.timeout_secs", 1..=3600),
            system_prompt: r.optional_text("provider.system_prompt"),
        }
    }
}

/// Never shows the address: it may hold a password.
fn read_base_url(r: &mut Reader<'_>, default: &str) -> String {
    let key = "provider.base_url";
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
