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
mod tunnel;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    domain::{channel::ChannelKind, pairing::PairingCode, time::Millis},
    http::{self, AppState, RequestIds, StateParts, server::ServerParts},
    provider::{Chain, Provider},
    repository::{StoreError, TokenRepository as _, TurnRepository as _},
    service::{inbox::InboxService, pairing::PairingService, turn::TurnService},
    sqlite::{SqliteStore, UpkeepError},
    system::{Clock, Entropy, Notifier, SystemClock, SystemEntropy, random},
    telemetry::otlp::Pushes,
};

use self::{
    background::{Background, Work},
    backup::Backups,
    core::{Core, agent, open_store, pairing_service},
    edge::Edge,
    tunnel::KeptTunnel,
};

pub use beside::{models, open_beside};
pub use edge::Inherited;
pub use error::StartError;
pub use part::{backup_schedule, database_settings, token_hashes};

/// How long the last spans and metrics may take to reach their receiver.
const LAST_PUSH: Duration = Duration::from_secs(10);
/// How long a stop waits for what runs by itself to end: a part may hang on a disk that does not answer.
const LAST_WORK: Duration = Duration::from_secs(10);
/// How long a stop goes on putting what was said into memory.
const LAST_MEMORY: Duration = Duration::from_secs(1);

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
    /// The way to the service manager.
    pub notifier: Arc<Notifier>,
    /// Where models are called and replies are sent; `None`: where the requests are answered.
    pub calls: Option<Handle>,
    /// Where up to half of the connections are served if there are many; `None`: where all are.
    pub crowd: Option<Handle>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            provider: None,
            inherited: Inherited::default(),
            notifier: Arc::default(),
            calls: None,
            crowd: None,
        }
    }
}

/// How long a start waits for the first word of each component.
const FIRST_WORD: Duration = Duration::from_secs(10);

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
    background: Background,
    backups: Backups,
    tunnel: Option<KeptTunnel>,
    notifier: Arc<Notifier>,
    pushes: Option<Pushes>,
}

impl App {
    /// Starts a gateway. When this returns, it answers, each component has shown that it works, or that it does not, and
    /// the tunnel is up.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs, and no code was issued.
    pub async fn start(config: &Config, mut parts: Parts) -> Result<Self, StartError> {
        let inherited = std::mem::take(&mut parts.inherited);
        let notifier = Arc::clone(&parts.notifier);
        let (core, chain) = Core::new(config, parts)?;
        let edge = Edge::open(config, inherited).await?;
        let store = open_store(config, &core).await?;
        store.import(part::paired_tokens(config), core.clock.now()).await?;
        let pairing = pairing_service(config, &store, Arc::clone(&core.entropy));
        let clock = Arc::clone(&core.clock);
        let mut app = Self::begin(config, core, chain, edge, (store, notifier)).await?;
        match app.let_in(config, &pairing, clock.now()).await {
            Ok(()) => Ok(app),
            Err(error) => {
                app.shutdown().await;
                Err(error)
            }
        }
    }

    /// Begins all that works, so that it answers.
    async fn begin(
        config: &Config,
        core: Core,
        chain: Chain,
        edge: Edge,
        (store, notifier): (Arc<SqliteStore>, Arc<Notifier>),
    ) -> Result<Self, StartError> {
        let settings = part::http_settings(config, &edge.tunnel_up)?;
        let tunnel = tunnel::configured(config, edge.address)?;
        let request_ids = Arc::new(RequestIds::new(random(&*core.entropy)?));
        let unfinished = store.resume(core.clock.now()).await?;
        let agent = agent(config, chain, &core, &store);
        let inbox = core.inbox_service(config, &store, &agent);
        inbox.take_over().await?;
        let turns = core.turn_service(config, &store, agent);
        turns.resume(unfinished);

        let stopping = CancellationToken::new();
        let supervisor = core.supervisor();
        let backups = Backups::new(config, &core, stopping.clone());
        let background = Background::start(
            &Work { supervisor: &supervisor, core: &core, store: &store, inbox: &inbox, backups: &backups },
            Arc::clone(&notifier),
            &stopping,
        );
        let source = settings.client_source.clone();
        let state = AppState::new(StateParts {
            pairing: pairing_service(config, &store, Arc::clone(&core.entropy)),
            limits: store.clone(),
            tokens: store.clone(),
            status: store.clone(),
            supervisor: Arc::clone(&supervisor),
            turns: Arc::clone(&turns),
            inbox: Arc::clone(&inbox),
            clock: core.clock,
            metrics: Arc::clone(&core.metrics),
            settings,
            stopping: stopping.clone(),
            request_ids: Arc::clone(&request_ids),
        });
        let (address, tunnel_up) = (edge.address, edge.tunnel_up.clone());
        let parts = ServerParts {
            responder: http::pipeline(state),
            limits: part::connection_limits(config),
            source,
            request_ids,
            only_while: edge.only_while_up.then(|| tunnel_up.clone()),
            crowd: core.crowd,
            events: core.metrics,
        };
        let server = edge.keep(&supervisor, parts, &stopping)?;
        supervisor.settled(FIRST_WORD).await;
        let tunnel = tunnel.map(|tunnel| KeptTunnel::start(tunnel, &supervisor, store.clone(), tunnel_up));
        let (grace, pushes) = (config.gateway.shutdown_grace, core.pushes);
        Ok(Self {
            address,
            pairing_code: None,
            grace,
            store,
            turns,
            inbox,
            stopping,
            server,
            background,
            backups,
            tunnel,
            notifier,
            pushes,
        })
    }

    /// Waits for the tunnel, and issues a code if nobody could come in else.
    async fn let_in(
        &mut self,
        config: &Config,
        pairing: &PairingService,
        now: Millis,
    ) -> Result<(), StartError> {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.first_up().await?;
        }
        if config.gateway.require_pairing && !self.store.any_live(now) {
            self.pairing_code = Some(pairing.issue_code("client", now).await?);
        }
        Ok(())
    }

    /// Where it is reached through its tunnel, if that is up and tells.
    #[must_use]
    pub fn public_url(&self) -> Option<String> {
        self.tunnel.as_ref().and_then(KeptTunnel::url)
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

    /// Puts what was said into memory and its full text, now rather than soon.
    ///
    /// # Errors
    /// [`StoreError`] if the store takes no writes.
    pub async fn remember(&self) -> Result<(), StoreError> {
        self.store.remember_all().await
    }

    /// Makes a backup if one is due, now rather than at the next look. Whether it was.
    ///
    /// # Errors
    /// [`UpkeepError`] if it failed.
    pub async fn back_up(&self) -> Result<bool, UpkeepError> {
        self.backups.run_once().await
    }

    /// Stops: not ready, no new connections, what is in flight is finished as far as the grace time goes, all is written, the
    /// tunnel is ended.
    /// Work that is not finished is resumed at the next start if it has a key, and else marked interrupted.
    pub async fn shutdown(mut self) {
        self.notifier.stopping();
        self.stopping.cancel();
        self.inbox.stop();
        let finish = async {
            (&mut self.server).await.ok();
            self.turns.drain().await;
            self.background.dispatched().await;
            self.inbox.drain().await;
        };
        if tokio::time::timeout(self.grace, finish).await.is_err() {
            tracing::warn!(
                "the grace time is over: what is still running is resumed at the next start, if it has a key or came from a channel"
            );
        }
        self.server.abort();
        self.turns.stop();
        if tokio::time::timeout(LAST_WORK, self.background.ended()).await.is_err() {
            tracing::warn!("what runs by itself has not ended: the store is closed all the same");
        }
        if let Ok(Err(error)) = tokio::time::timeout(LAST_MEMORY, self.store.remember_all()).await {
            tracing::warn!(%error, "what was said lately is put into memory at the next start");
        }
        self.store.close().await;
        if let Some(tunnel) = self.tunnel {
            tunnel.stop().await;
        }
        if let Some(pushes) = self.pushes.take() {
            pushes.finish(LAST_PUSH).await;
        }
    }
}
