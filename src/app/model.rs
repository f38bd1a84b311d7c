//! The language models that the configuration names, as one provider.

use std::sync::Arc;

use crate::{
    config::{self, ProviderKind},
    outbound::{Client, SetupError},
    provider::{
        Anthropic, Chain, ChainParts, ChainSettings, Echo, Link, ModelSettings, Ollama, OpenAi, Provider,
    },
};

/// The first provider with its fallbacks behind it.
pub(super) fn provider(
    config: &config::Provider,
    client: &Client,
    parts: ChainParts,
) -> Result<Arc<dyn Provider>, SetupError> {
    let fallbacks: Result<Vec<_>, _> = config.fallbacks.iter().map(|model| link(model, client)).collect();
    let settings = ChainSettings {
        timeout: config.timeout,
        max_retries: config.max_retries,
        max_in_flight: config.max_in_flight as usize,
        max_queued: config.max_queued as usize,
    };
    Ok(Arc::new(Chain::new(link(&config.model, client)?, fallbacks?, settings, parts)))
}

fn link(model: &config::Model, client: &Client) -> Result<Link, SetupError> {
    let settings = || ModelSettings {
        base_url: model.base_url.clone(),
        api_key: model.api_key.clone(),
        model: model.name.clone(),
        system_prompt: model.system_prompt.clone(),
        temperature: model.temperature,
        max_tokens: model.max_tokens,
        timeout: model.timeout,
    };
    let provider: Arc<dyn Provider> = match model.kind {
        ProviderKind::Echo => Arc::new(Echo),
        ProviderKind::OpenAi => Arc::new(OpenAi::new(client, settings())?),
        ProviderKind::Anthropic => Arc::new(Anthropic::new(client, settings())?),
        ProviderKind::Ollama => Arc::new(Ollama::new(client, settings())?),
    };
    Ok(Link { provider, timeout: model.timeout })
}
