//! The composition root: the only place that knows every part, and the order in which they start and stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config, MetricsBackend, PairedToken, ProviderKind, Synchronous},
    domain::{pairing::PairingCode, token::TokenHash},
    http::{
        self, AppState, HttpSettings, StateParts,
        bind::{self, BindError},
        server::{self, Limits},
    },
    provider::{Echo, OpenAi, OpenAiSettings, Provider, SetupError},
    repository::{StoreError, TokenRepository as _, TurnRepository as _},
    service::{
        pairing::{PairingError, PairingService},
        turn::{TurnParts, TurnService},
    },
    sqlite::{DatabaseSettings, OpenError, SqliteStore, StoreLimits, StoreParts},
    system::{Clock, Entropy, NoEntropy, SteadyClock, SystemClock, SystemEntropy, random},
    telemetry::{Metrics, MetricsError},
};

/// The pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

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
    Provider(#[from] SetupError),
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
        let clock = Arc::new(SteadyClock::new(parts.clock));
        let metrics = Arc::new(metrics(config)?);
        let provider = match parts.provider {
            Some(provider) => provider,
            None => provider_of(&config.provider)?,
        };
        let gateway = &config.gateway;
        let listener = bind::listen(&gateway.host, gateway.port, gateway.allow_public_bind).await?;
        let failed = |source| BindError::Listen { address: gateway.host.clone(), source };
        let address = listener.local_addr().map_err(failed)?;

        let run_tag = random(&*parts.entropy)?;

        let store = open_store(config, &clock, &metrics).await?;
        store.import(paired_tokens(config), clock.now()).await?;
        let unfinished = store.resume(clock.now()).await?;
        let pairing = PairingService::new(
            store.clone(),
            store.clone(),
            parts.entropy.clone(),
            gateway.pairing_code_ttl,
        );
        let pairing_code = if gateway.require_pairing && !store.any_live(clock.now()) {
            Some(pairing.issue_code("client", clock.now()).await?)
        } else {
            None
        };
        let turns = TurnService::new(TurnParts {
            turns: store.clone(),
            limits: store.clone(),
            status: store.clone(),
            provider,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            max_in_flight: gateway.max_in_flight as usize,
        });
        turns.resume(unfinished);
        let stopping = CancellationToken::new();
        let state = AppState::new(StateParts {
            pairing,
            limits: store.clone(),
            tokens: store.clone(),
            status: store.clone(),
            turns: Arc::clone(&turns),
            clock,
            metrics: Arc::clone(&metrics),
            settings: http_settings(config),
            stopping: stopping.clone(),
            run_tag,
        });
        let router = http::router(state);
        let server = server::serve(listener, router, connection_limits(config), metrics, stopping.clone());
        let server = tokio::spawn(server);
        let sweeper = tokio::spawn(sweep(Arc::clone(&store), stopping.clone()));
        let grace = gateway.shutdown_grace;
        Ok(Self { address, pairing_code, grace, store, turns, stopping, server, sweeper })
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

    /// Forgets what has expired now, rather than at the next round.
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        while self.store.sweep_once().await? {}
        Ok(())
    }

    /// Stops: not ready, no new connections, what is in flight is finished as far as the grace time goes, all is written.
    /// Work that is not finished is resumed at the next start if it has a key, and else marked interrupted.
    pub async fn shutdown(mut self) {
        self.stopping.cancel();
        let finish = async {
            (&mut self.server).await.ok();
            self.turns.drain().await;
        };
        if tokio::time::timeout(self.grace, finish).await.is_err() {
            tracing::warn!(
                "the grace time is over: what is still running and has a key is resumed at the next start"
            );
        }
        self.server.abort();
        self.turns.stop();
        self.sweeper.await.ok();
        self.store.close().await;
    }
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
        limits: store_limits(config),
        clock: clock.clone(),
        metrics: Metrics::disabled().into(),
    };
    let store = Arc::new(SqliteStore::open_beside(&database_settings(config), parts).await?);
    let ttl = config.gateway.pairing_code_ttl;
    let pairing = PairingService::new(store.clone(), store.clone(), Arc::new(SystemEntropy), ttl);
    Ok((store, pairing, clock))
}

async fn open_store(
    config: &Config,
    clock: &Arc<SteadyClock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<SqliteStore>, OpenError> {
    let parts =
        StoreParts { limits: store_limits(config), clock: Arc::clone(clock), metrics: Arc::clone(metrics) };
    Ok(Arc::new(SqliteStore::open(&database_settings(config), parts).await?))
}

async fn sweep(store: Arc<SqliteStore>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
    }
}

fn metrics(config: &Config) -> Result<Metrics, MetricsError> {
    match config.observability.backend {
        MetricsBackend::Prometheus => Metrics::prometheus(&config.observability.namespace),
        MetricsBackend::None => Ok(Metrics::disabled()),
    }
}

fn provider_of(provider: &config::Provider) -> Result<Arc<dyn Provider>, SetupError> {
    Ok(match provider.kind {
        ProviderKind::Echo => Arc::new(Echo),
        ProviderKind::OpenAi => Arc::new(OpenAi::new(OpenAiSettings {
            base_url: provider.base_url.clone(),
            api_key: provider.api_key.clone(),
            model: provider.model.clone(),
            system_prompt: provider.system_prompt.clone(),
            temperature: provider.temperature,
            max_tokens: provider.max_tokens,
            timeout: provider.timeout,
        })?),
    })
}

fn paired_tokens(config: &Config) -> Vec<TokenHash> {
    let hash = |token: &PairedToken| match token {
        PairedToken::Hash(hex) => TokenHash::from_hex(hex),
        PairedToken::Plain(token) => Some(TokenHash::of(token.expose().as_bytes())),
    };
    config.gateway.paired_tokens.iter().filter_map(hash).collect()
}

fn database_settings(config: &Config) -> DatabaseSettings {
    DatabaseSettings {
        path: config.database.path.clone(),
        full_sync: config.database.synchronous == Synchronous::Full,
        busy_timeout: config.database.busy_timeout,
        read_connections: config.database.read_connections,
    }
}

fn store_limits(config: &Config) -> StoreLimits {
    let gateway = &config.gateway;
    StoreLimits {
        pair_per_minute: gateway.pair_rate_limit_per_minute,
        webhook_per_minute: gateway.webhook_rate_limit_per_minute,
        rate_clients: gateway.rate_limit_max_keys as usize,
        lockout: gateway.pair_lockout,
        code_failures: gateway.pairing_code_max_failures,
        key_ttl: gateway.idempotency_ttl,
        keys_per_owner: gateway.idempotency_max_keys,
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        require_pairing: config.gateway.require_pairing,
        webhook_secret: config.channels.webhook.secret.clone(),
        max_body_bytes: config.gateway.max_body_bytes,
        request_timeout: config.gateway.request_timeout,
    }
}

fn connection_limits(config: &Config) -> Limits {
    Limits {
        max_connections: config.gateway.max_connections as usize,
        header_timeout: config.gateway.header_timeout,
        idle_timeout: config.gateway.idle_timeout,
        ..Limits::default()
    }
}
