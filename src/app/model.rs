//! The language models that the configuration names, as one chain.

use std::sync::Arc;

use crate::{
    config::{self, ProviderKind},
    outbound::{Client, SetupError},
    provider::{
        Anthropic, Chain, ChainParts, ChainSettings, Echo, Link, ModelSettings, Ollama, OpenAi, Provider,
    },
};

/// The first provider with its fallbacks behind it.
pub(super) fn chain(
    config: &config::Provider,
    client: &Client,
    parts: ChainParts,
) -> Result<Chain, SetupError> {
    let fallbacks: Result<Vec<_>, _> = config.fallbacks.iter().map(|model| link(model, client)).collect();
    Ok(Chain::new(link(&config.model, client)?, fallbacks?, settings(config), parts))
}

/// A provider that came from outside, asked once for each answer.
pub(super) fn chain_of_one(
    provider: Arc<dyn Provider>,
    config: &config::Provider,
    parts: ChainParts,
) -> Chain {
    let settings = ChainSettings { max_retries: 0, ..settings(config) };
    Chain::new(Link { provider, timeout: config.timeout }, Vec::new(), settings, parts)
}

fn settings(config: &config::Provider) -> ChainSettings {
    ChainSettings {
        timeout: config.timeout,
        max_retries: config.max_retries,
        max_in_flight: config.max_in_flight as usize,
        max_queued: config.max_queued as usize,
    }
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
