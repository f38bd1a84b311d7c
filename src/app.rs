//! The composition root: the only place that knows every part, and the order in which they start and stop.

mod model;
mod part;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
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
    sqlite::{OpenError, SqliteStore, StoreParts},
    system::{Clock, Entropy, NoEntropy, SteadyClock, SystemClock, SystemEntropy, random},
    telemetry::{Metrics, MetricsError},
};

/// The pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How much longer the writer rests than it indexes memory.
const INDEX_REST: u32 = 19;
/// Sweeps between two looks for work that nobody told of; after an edit by another process the next one looks.
const CATCH_UP_EVERY: u32 = 24;

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
    sweeper: JoinHandle<()>,
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
        let sweeper = tokio::spawn(sweep(Arc::clone(&store), Arc::clone(&inbox), stopping.clone()));
        let grace = gateway.shutdown_grace;
        Ok(Self { address, pairing_code, grace, store, turns, inbox, stopping, server, sweeper })
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
        self.sweeper.await.ok();
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
    PairingService::new(store.clone(), store.clone(), entropy, config.gateway.pairing_code_ttl)
}

async fn open_store(config: &Config, core: &Core) -> Result<Arc<SqliteStore>, OpenError> {
    let parts = StoreParts {
        limits: part::store_limits(config),
        clock: Arc::clone(&core.clock),
        metrics: Arc::clone(&core.metrics),
    };
    Ok(Arc::new(SqliteStore::open(&part::database_settings(config), parts).await?))
}

async fn sweep(store: Arc<SqliteStore>, inbox: Arc<InboxService>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = 0_u32;
    while stopping.run_until_cancelled(tick.tick()).await.is_some() {
        loop {
            match store.sweep_once().await {
                Ok(true) if !stopping.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "a sweep failed; it is tried again");
                    break;
                }
            }
        }
        index(&store, &stopping).await;
        rounds += 1;
        let caught_up = match rounds % CATCH_UP_EVERY {
            0 => inbox.catch_up().await,
            _ => inbox.catch_up_with_edits().await,
        };
        if let Err(error) = caught_up {
            tracing::warn!(%error, "what waits in the inbox could not be read; it is tried again");
        }
    }
}

/// Lets what was remembered lately be searched. The writer rests between two steps for some times as long as they take.
async fn index(store: &SqliteStore, stopping: &CancellationToken) {
    loop {
        match store.index_once().await {
            Ok(Some(took)) => {
                let rest = tokio::time::sleep(took * INDEX_REST);
                if stopping.run_until_cancelled(rest).await.is_none() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "memory could not be indexed; it is tried again");
                return;
            }
        }
    }
}
