//! What the services share, and the services made of it.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Parts, StartError, model, part, telemetry::telemetry};
use crate::{
    channel::Channel,
    config::Config,
    outbound::Client,
    provider::{Chain, ChainParts},
    service::{
        agent::{Agent, AgentParts},
        inbox::{InboxParts, InboxService},
        pairing::PairingService,
        supervisor::{Supervisor, SupervisorParts},
        turn::{TurnParts, TurnService},
    },
    sqlite::{OpenError, SqliteStore, StoreParts},
    system::{Entropy, SteadyClock},
    telemetry::{Metrics, otlp::Pushes},
};

/// What the services share.
pub(super) struct Core {
    pub(super) clock: Arc<SteadyClock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pushes: Option<Pushes>,
    pub(super) crowd: Option<Handle>,
    calls: Handle,
    channels: Vec<Arc<dyn Channel>>,
}

impl Core {
    pub(super) fn new(config: &Config, parts: Parts) -> Result<(Self, Chain), StartError> {
        let clock = Arc::new(SteadyClock::new(parts.clock));
        let client = Client::new(config.channels.send_timeout)?;
        let (metrics, pushes) = telemetry(config, &client, &*parts.entropy)?;
        let chain_parts = ChainParts {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&parts.entropy),
            metrics: Arc::clone(&metrics),
        };
        let chain = match parts.provider {
            Some(provider) => model::chain_of_one(provider, &config.provider, chain_parts),
            None => model::chain(&config.provider, &client, chain_parts)?,
        };
        let channels = part::channels(config, &client, &parts.entropy)?;
        let (calls, crowd) = (parts.calls.unwrap_or_else(Handle::current), parts.crowd);
        Ok((Self { clock, entropy: parts.entropy, metrics, pushes, crowd, calls, channels }, chain))
    }

    /// Nothing is under supervision yet.
    pub(super) fn supervisor(&self) -> Arc<Supervisor> {
        Supervisor::new(SupervisorParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: Arc::clone(&self.metrics),
        })
    }

    pub(super) fn turn_service(
        &self,
        config: &Config,
        store: &Arc<SqliteStore>,
        agent: Arc<Agent>,
    ) -> Arc<TurnService> {
        TurnService::new(TurnParts {
            turns: store.clone(),
            limits: store.clone(),
            status: store.clone(),
            agent,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            calls: self.calls.clone(),
            max_in_flight: config.gateway.max_in_flight as usize,
        })
    }

    pub(super) fn inbox_service(
        &self,
        config: &Config,
        store: &Arc<SqliteStore>,
        agent: &Arc<Agent>,
    ) -> Arc<InboxService> {
        InboxService::new(InboxParts {
            repository: store.clone(),
            channels: self.channels.clone(),
            agent: Arc::clone(agent),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: Arc::clone(&self.metrics),
            calls: self.calls.clone(),
            settings: part::inbox_settings(config),
        })
    }
}

pub(super) fn agent(config: &Config, chain: Chain, core: &Core, store: &Arc<SqliteStore>) -> Arc<Agent> {
    Agent::new(AgentParts {
        chain,
        conversations: store.clone(),
        history: part::history_limit(config),
        max_waiting: config.conversation.max_waiting as usize,
        max_reply_chars: config.conversation.max_reply_chars,
        metrics: Arc::clone(&core.metrics),
    })
}

pub(super) fn pairing_service(
    config: &Config,
    store: &Arc<SqliteStore>,
    entropy: Arc<dyn Entropy>,
) -> PairingService {
    PairingService::new(store.clone(), entropy, config.gateway.pairing_code_ttl)
}

pub(super) async fn open_store(config: &Config, core: &Core) -> Result<Arc<SqliteStore>, OpenError> {
    let parts = StoreParts {
        limits: part::store_limits(config),
        clock: Arc::clone(&core.clock),
        metrics: Arc::clone(&core.metrics),
    };
    Ok(Arc::new(SqliteStore::open(&part::database_settings(config), parts).await?))
}
