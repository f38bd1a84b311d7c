//! The provider: four keys of ZeroClaw that only mean something together.

use super::{
    super::value::{Entry, Value},
    Importer,
};

/// What ZeroClaw asks where it is told nothing.
const DEFAULT_PROVIDER: &str = "openrouter";

/// ZeroClaw's names of providers that speak a language of ours: our kind, and where they are unless that is our default.
const KNOWN: [(&str, &str, &str); 16] = [
    ("openrouter", "openai", "https://openrouter.ai/api/v1"),
    ("anthropic", "anthropic", ""),
    ("openai", "openai", ""),
    ("ollama", "ollama", ""),
    ("groq", "openai", "https://api.groq.com/openai/v1"),
    ("mistral", "openai", "https://api.mistral.ai/v1"),
    ("xai", "openai", "https://api.x.ai/v1"),
    ("grok", "openai", "https://api.x.ai/v1"),
    ("deepseek", "openai", "https://api.deepseek.com/v1"),
    ("together", "openai", "https://api.together.xyz/v1"),
    ("together-ai", "openai", "https://api.together.xyz/v1"),
    ("nvidia", "openai", "https://integrate.api.nvidia.com/v1"),
    ("llamacpp", "openai", "http://localhost:8080/v1"),
    ("llama.cpp", "openai", "http://localhost:8080/v1"),
    ("vllm", "openai", "http://localhost:8000/v1"),
    ("osaurus", "openai", "http://localhost:1337/v1"),
];

const NOT_SPOKEN: &str = "Moorgate does not know its API: set provider.kind and provider.base_url yourself";
const WITHOUT_MODEL: &str = "there is no default_model, and Moorgate guesses none";
const WITHOUT_PROVIDER: &str = "it belongs to a provider that was not taken";

impl Importer {
    /// Takes the provider over, or says why not.
    pub(super) fn provider(&mut self, entries: &[(String, Entry)]) {
        let given = |name: &str| {
            let entry = entries.iter().find(|(key, _)| key == name).map(|(_, entry)| entry);
            entry.filter(|entry| !entry.value.is_blank())
        };
        let text = |name: &str| given(name).and_then(|entry| entry.value.as_text());
        let named = text("default_provider");
        let keys = ["default_provider", "default_model", "api_url", "api_key"];
        if keys.iter().all(|key| given(key).is_none()) {
            return;
        }
        let known = find(named.unwrap_or(DEFAULT_PROVIDER));
        let (Some((kind, url)), Some(model)) = (known, text("default_model")) else {
            let why = if known.is_none() { NOT_SPOKEN } else { WITHOUT_MODEL };
            self.leave(if named.is_some() { "default_provider" } else { "the default provider" }, why);
            for key in keys.iter().skip(1).filter(|key| given(key).is_some()) {
                self.leave(key, WITHOUT_PROVIDER);
            }
            return;
        };
        let name = if named.is_some() { "default_provider" } else { "default_provider (openrouter)" };
        self.take(name, "provider.kind", &Value::Text(kind.to_owned()), false);
        self.take("default_model", "provider.model", &Value::Text(model.to_owned()), false);
        match text("api_url") {
            Some(url) => self.take("api_url", "provider.base_url", &Value::Text(base_url(kind, url)), false),
            None if url.is_empty() => {}
            None => self.take(name, "provider.base_url", &Value::Text(base_url(kind, url)), false),
        }
        if let Some(key) = given("api_key") {
            self.take_secret("api_key", "provider.api_key", &key.value);
        }
    }
}

/// Our kind and the address of a provider of ZeroClaw.
fn find(provider: &str) -> Option<(&'static str, &str)> {
    let provider = provider.trim();
    let custom = [("anthropic-custom:", "anthropic"), ("custom:", "openai")].into_iter();
    let mut custom = custom.filter_map(|(prefix, kind)| Some((kind, provider.strip_prefix(prefix)?)));
    let known = || KNOWN.iter().find(|(name, ..)| *name == provider).map(|(_, kind, url)| (*kind, *url));
    custom.next().or_else(known)
}

/// The address as ours is meant: what is put behind it differs.
fn base_url(kind: &str, url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    match kind {
        "ollama" => url.strip_suffix("/api").unwrap_or(url),
        "anthropic" => url.strip_suffix("/v1").unwrap_or(url),
        _ => url,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_found_by_its_name_or_its_address() {
        assert_eq!(find("anthropic"), Some(("anthropic", "")));
        assert_eq!(find("custom:https://llm.example.com/v1"), Some(("openai", "https://llm.example.com/v1")));
        assert_eq!(
            find("anthropic-custom:https://a.example.com"),
            Some(("anthropic", "https://a.example.com"))
        );
        assert_eq!(find("bedrock"), None);
    }

    #[test]
    fn an_address_ends_where_ours_ends() {
        assert_eq!(base_url("ollama", "http://10.0.0.1:11434/api/"), "http://10.0.0.1:11434");
        assert_eq!(base_url("anthropic", "https://a.example.com/v1"), "https://a.example.com");
        assert_eq!(base_url("openai", "https://a.example.com/v1"), "https://a.example.com/v1");
    }
}
