//! The composition root: the only place that knows every part, and the order in which they start and stop.

mod background;
mod backup;
pub mod doctor;
mod model;
mod part;
pub mod readiness;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    channel::{self, Channel, signature::BadSecret},
    config::Config,
    domain::{channel::ChannelKind, pairing::PairingCode},
    http::{
        self, AppState, StateParts,
        bind::{self, BindError},
        server,
    },
    outbound::{self, Client},
    provider::{Chain, ChainParts, Provider},
    repository::{StoreError, TokenRepository as _, TurnRepository as _},
    service::{
        agent::{Agent, AgentParts},
        inbox::{InboxParts, InboxService},
        pairing::{PairingError, PairingService},
        turn::{TurnParts, TurnService},
    },
    sqlite::{OpenError, SqliteStore, StoreParts, UpkeepError},
    system::{Clock, Entropy, NoEntropy, SteadyClock, SystemClock, SystemEntropy, random},
    telemetry::{Metrics, MetricsError},
};

pub use part::{backup_schedule, database_settings, token_hashes};

/// What comes from outside, so that tests can bring their own.
pub struct Parts {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The model; `None`: the one that the configuration names.
    pub provider: Option<Arc<dyn Provider>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy), provider: None }
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to listen on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database took no write.
    #[error("the database takes no writes: {0}")]
    Store(#[from] StoreError),
    /// The provider cannot be set up.
    #[error(transparent)]
    Provider(#[from] outbound::SetupError),
    /// A channel cannot be set up.
    #[error(transparent)]
    Channel(#[from] channel::SetupError),
    /// The secret that `/webhook` checks signatures with cannot do that.
    #[error("channels_config.webhook.signing_secret: {0}")]
    SigningSecret(#[from] BadSecret),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl From<PairingError> for StartError {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Store(error) => Self::Store(error),
            PairingError::Entropy(error) => Self::Entropy(error),
        }
    }
}

/// A running gateway.
pub struct App {
    address: SocketAddr,
    pairing_code: Option<PairingCode>,
    grace: Duration,
    store: Arc<SqliteStore>,
    turns: Arc<TurnService>,
    inbox: Arc<InboxService>,
    stopping: CancellationToken,
    server: JoinHandle<()>,
    background: JoinHandle<()>,
    backups: backup::Backups,
}

impl App {
    /// Starts a gateway. When this returns, it answers.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs, and nothing was issued.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let (core, chain) = Core::new(config, parts)?;
        let settings = part::http_settings(config)?;
        let gateway = &config.gateway;
        let listener = bind::listen(&gateway.host, gateway.port, gateway.allow_public_bind).await?;
        let failed = |source| BindError::Listen { address: gateway.host.clone(), source };
        let address = listener.local_addr().map_err(failed)?;
        let run_tag = random(&*core.entropy)?;

        let store = open_store(config, &core).await?;
        store.import(part::paired_tokens(config), core.clock.now()).await?;
        let unfinished = store.resume(core.clock.now()).await?;
        let agent = agent(config, chain, &core, &store);
        let inbox = core.inbox_service(config, &store, &agent);
        inbox.take_over().await?;
        let pairing = pairing_service(config, &store, Arc::clone(&core.entropy));
        let pairing_code = if gateway.require_pairing && !store.any_live(core.clock.now()) {
            Some(pairing.issue_code("client", core.clock.now()).await?)
        } else {
            None
        };
        let turns = core.turn_service(config, &store, agent);
        turns.resume(unfinished);
        inbox.start();

        let stopping = CancellationToken::new();
        let backups = backup::Backups::start(config, &core, stopping.clone());
        let state = AppState::new(StateParts {
            pairing,
            limits: store.clone(),
            tokens: store.clone(),
            status: store.clone(),
            turns: Arc::clone(&turns),
            inbox: Arc::clone(&inbox),
            clock: core.clock,
            metrics: Arc::clone(&core.metrics),
            settings,
            stopping: stopping.clone(),
            run_tag,
        });
        let limits = part::connection_limits(config);
        let server = server::serve(listener, http::router(state), limits, core.metrics, stopping.clone());
        let server = tokio::spawn(server);
        let background = tokio::spawn(background::run(store.clone(), Arc::clone(&inbox), stopping.clone()));
        let grace = gateway.shutdown_grace;
        Ok(Self { address, pairing_code, grace, store, turns, inbox, stopping, server, background, backups })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The code that was issued at the start, if no client is paired.
    #[must_use]
    pub fn pairing_code(&self) -> Option<&PairingCode> {
        self.pairing_code.as_ref()
    }

    /// The channels that are configured.
    pub fn channels(&self) -> impl Iterator<Item = ChannelKind> {
        ChannelKind::ALL.into_iter().filter(|kind| self.inbox.channel(*kind).is_some())
    }

    /// Forgets what has expired, and finds work that nobody told of, now rather than at the next round.
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        while self.store.sweep_once().await? {}
        self.inbox.catch_up().await
    }

    /// Makes a backup if one is due, now rather than at the next look. Whether it was.
    ///
    /// # Errors
    /// [`UpkeepError`] if it failed.
    pub async fn back_up(&self) -> Result<bool, UpkeepError> {
        self.backups.run_once().await
    }

    /// Stops: not ready, no new connections, what is in flight is finished as far as the grace time goes, all is written.
    /// Work that is not finished is resumed at the next start if it has a key, and else marked interrupted.
    pub async fn shutdown(mut self) {
        self.stopping.cancel();
        self.inbox.stop();
        let finish = async {
            (&mut self.server).await.ok();
            self.turns.drain().await;
            self.inbox.drain().await;
        };
        if tokio::time::timeout(self.grace, finish).await.is_err() {
            tracing::warn!(
                "the grace time is over: what is still running is resumed at the next start, if it has a key or came from a channel"
            );
        }
        self.server.abort();
        self.turns.stop();
        self.background.await.ok();
        self.backups.ended().await;
        self.store.close().await;
    }
}

/// What the services share.
struct Core {
    clock: Arc<SteadyClock>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
    channels: Vec<Arc<dyn Channel>>,
}

impl Core {
    fn new(config: &Config, parts: Parts) -> Result<(Self, Chain), StartError> {
        let clock = Arc::new(SteadyClock::new(parts.clock));
        let metrics = Arc::new(part::metrics(config)?);
        let client = Client::new(config.channels.send_timeout)?;
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
        Ok((Self { clock, entropy: parts.entropy, metrics, channels }, chain))
    }

    fn turn_service(&self, config: &Config, store: &Arc<SqliteStore>, agent: Arc<Agent>) -> Arc<TurnService> {
        TurnService::new(TurnParts {
            turns: store.clone(),
            limits: store.clone(),
            status: store.clone(),
            agent,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: Arc::clone(&self.metrics),
            saves_memory: config.memory.auto_save,
            max_in_flight: config.gateway.max_in_flight as usize,
        })
    }

    fn inbox_service(
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
            settings: part::inbox_settings(config),
        })
    }
}

fn agent(config: &Config, chain: Chain, core: &Core, store: &Arc<SqliteStore>) -> Arc<Agent> {
    Agent::new(AgentParts {
        chain,
        conversations: store.clone(),
        history: part::history_limit(config),
        max_waiting: config.conversation.max_waiting as usize,
        max_reply_chars: config.conversation.max_reply_chars,
        metrics: Arc::clone(&core.metrics),
    })
}

/// The language models that the configuration names, without anything that is remembered.
///
/// # Errors
/// [`StartError`] if one cannot be set up.
pub fn models(config: &Config) -> Result<Chain, StartError> {
    let parts = ChainParts {
        clock: Arc::new(SteadyClock::new(Arc::new(SystemClock::new()))),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::disabled().into(),
    };
    Ok(model::chain(&config.provider, &Client::new(config.channels.send_timeout)?, parts)?)
}

/// What a command needs beside a running server: the store and the pairing service.
///
/// # Errors
/// [`StartError`] if the database cannot be used beside the server.
pub async fn open_beside(
    config: &Config,
) -> Result<(Arc<SqliteStore>, PairingService, Arc<SteadyClock>), StartError> {
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock::new())));
    let parts = StoreParts {
        limits: part::store_limits(config),
        clock: clock.clone(),
        metrics: Metrics::disabled().into(),
    };
    let store = Arc::new(SqliteStore::open_beside(&part::database_settings(config), parts).await?);
    let pairing = pairing_service(config, &store, Arc::new(SystemEntropy));
    Ok((store, pairing, clock))
}

fn pairing_service(config: &Config, store: &Arc<SqliteStore>, entropy: Arc<dyn Entropy>) -> PairingService {
    PairingService::new(store.clone(), entropy, config.gateway.pairing_code_ttl)
}

async fn open_store(config: &Config, core: &Core) -> Result<Arc<SqliteStore>, OpenError> {
    let parts = StoreParts {
        limits: part::store_limits(config),
        clock: Arc::clone(&core.clock),
        metrics: Arc::clone(&core.metrics),
    };
    Ok(Arc::new(SqliteStore::open(&part::database_settings(config), parts).await?))
}
