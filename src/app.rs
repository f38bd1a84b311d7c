//! The composition root: the only place that knows every part, and the order in which they start and stop.

mod background;
mod backup;
mod beside;
mod core;
pub mod doctor;
mod edge;
mod error;
mod model;
mod part;
pub mod readiness;
mod telemetry;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    domain::{channel::ChannelKind, pairing::PairingCode},
    http::{self, AppState, RequestIds, StateParts, server::ServerParts},
    provider::Provider,
    repository::{StoreError, TokenRepository as _, TurnRepository as _},
    service::{inbox::InboxService, turn::TurnService},
    sqlite::{SqliteStore, UpkeepError},
    system::{Clock, Entropy, SystemClock, SystemEntropy, random},
    telemetry::otlp::Pushes,
};

use self::{
    core::{Core, agent, open_store, pairing_service},
    edge::Edge,
};

pub use beside::{models, open_beside};
pub use edge::Inherited;
pub use error::StartError;
pub use part::{backup_schedule, database_settings, token_hashes};

/// How long the last spans and metrics may take to reach their receiver.
const LAST_PUSH: Duration = Duration::from_secs(10);

/// What comes from outside, so that tests can bring their own.
pub struct Parts {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The model; `None`: the one that the configuration names.
    pub provider: Option<Arc<dyn Provider>>,
    /// Sockets that are open already.
    pub inherited: Inherited,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            provider: None,
            inherited: Inherited::default(),
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
    pushes: Option<Pushes>,
}

impl App {
    /// Starts a gateway. When this returns, it answers.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs, and nothing was issued.
    pub async fn start(config: &Config, mut parts: Parts) -> Result<Self, StartError> {
        let inherited = std::mem::take(&mut parts.inherited);
        let (core, chain) = Core::new(config, parts)?;
        let settings = part::http_settings(config)?;
        let gateway = &config.gateway;
        let edge = Edge::open(config, inherited).await?;
        let address = edge.address;
        let request_ids = Arc::new(RequestIds::new(random(&*core.entropy)?));

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
        let source = settings.client_source.clone();
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
            request_ids: Arc::clone(&request_ids),
        });
        let parts = ServerParts {
            router: http::router(state),
            limits: part::connection_limits(config),
            source,
            request_ids,
            events: core.metrics,
        };
        let server = tokio::spawn(edge.serve(parts, stopping.clone()));
        let background = tokio::spawn(background::run(store.clone(), Arc::clone(&inbox), stopping.clone()));
        let (grace, pushes) = (gateway.shutdown_grace, core.pushes);
        Ok(Self {
            address,
            pairing_code,
            grace,
            store,
            turns,
            inbox,
            stopping,
            server,
            background,
            backups,
            pushes,
        })
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
        if let Some(pushes) = self.pushes.take() {
            pushes.finish(LAST_PUSH).await;
        }
    }
}
