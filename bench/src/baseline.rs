//! The two servers that the gateway is measured against: its own HTTP stack, over other repositories.

mod memory;
mod no_inbox;
mod transaction;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use moorgate::{
    domain::{conversation::HistoryLimit, delivery::Backoff, time::Millis},
    http::{
        self, AppState, ClientSource, HttpSettings, RequestIds, RequestLog, StateParts,
        server::{self, Limits, Listener, ServerParts},
    },
    outbound::Client,
    provider::{Chain, ChainParts, ChainSettings, Echo, Link, ModelSettings, OpenAi, Provider},
    repository::{
        PairingRepository, RateLimitRepository, StoreError, StoreStatusRepository, TokenRepository,
        TurnRepository,
    },
    service::{
        agent::{Agent, AgentParts},
        inbox::{InboxParts, InboxService, InboxSettings},
        pairing::PairingService,
        supervisor::{Supervisor, SupervisorParts},
        turn::{TurnParts, TurnService},
    },
    system::{SteadyClock, SystemClock, SystemEntropy},
    telemetry::Metrics,
};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

pub(crate) use memory::MemoryStore;
use no_inbox::NoInbox;
pub(crate) use transaction::TransactionStore;

/// Which baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything in maps; nothing is durable.
    Memory,
    /// One transaction for each request, from a pool of connections.
    Transaction,
}

/// How a baseline is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which.
    pub kind: Kind,
    /// Where the database is, for the one that has one.
    pub database: PathBuf,
    /// The limit on `/webhook`; 0: none.
    pub webhook_per_minute: u32,
    /// A model server, instead of echo.
    pub model_url: Option<String>,
}

struct Repositories {
    pairing: Arc<dyn PairingRepository>,
    tokens: Arc<dyn TokenRepository>,
    limits: Arc<dyn RateLimitRepository>,
    turns: Arc<dyn TurnRepository>,
}

struct AlwaysFine;

#[async_trait]
impl StoreStatusRepository for AlwaysFine {
    fn takes_writes(&self) -> bool {
        true
    }

    async fn beat(&self, _: Millis) -> Result<(), StoreError> {
        Ok(())
    }

    async fn set_public_url(&self, _: Option<String>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Serves until the process is killed, up to half of many connections on `crowd`; prints the gateway's banner.
///
/// # Errors
/// What did not start, as text.
pub async fn serve(settings: &Settings, crowd: Option<Handle>) -> Result<(), String> {
    let memory = Arc::new(MemoryStore::new(settings.webhook_per_minute));
    let turns: Arc<dyn TurnRepository> = match settings.kind {
        Kind::Memory => memory.clone(),
        Kind::Transaction => Arc::new(TransactionStore::open(&settings.database).await?),
    };
    let repositories =
        Repositories { pairing: memory.clone(), tokens: memory.clone(), limits: memory, turns };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let state = state(repositories, provider(settings.model_url.as_deref())?)?;
    println!(r#"{{"url":"http://{address}","pairing_code":"000000","database":""}}"#);
    let parts = ServerParts {
        responder: http::pipeline(state),
        limits: Limits::default(),
        source: ClientSource::default(),
        request_ids: request_ids(),
        only_while: None,
        crowd,
        events: Arc::new(()),
    };
    server::serve(Listener::Network(listener), parts, CancellationToken::new()).await;
    Ok(())
}

fn provider(model_url: Option<&str>) -> Result<Arc<dyn Provider>, String> {
    let Some(base_url) = model_url else { return Ok(Arc::new(Echo)) };
    let settings = ModelSettings {
        base_url: base_url.to_owned(),
        api_key: None,
        model: "bench".into(),
        system_prompt: None,
        temperature: 0.7,
        max_tokens: None,
        timeout: Duration::from_secs(30),
    };
    let provider = Client::new(settings.timeout).and_then(|client| OpenAi::new(&client, settings));
    Ok(Arc::new(provider.map_err(|error| error.to_string())?))
}

/// The provider within the limits that the gateway has by default.
fn chain(provider: Arc<dyn Provider>, parts: ChainParts) -> Chain {
    let timeout = Duration::from_mins(2);
    let settings = ChainSettings { timeout, max_retries: 2, max_in_flight: 256, max_queued: 1024 };
    Chain::new(Link { provider, timeout }, Vec::new(), settings, parts)
}

fn state(repositories: Repositories, provider: Arc<dyn Provider>) -> Result<AppState, String> {
    let Repositories { pairing, tokens, limits, turns } = repositories;
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock::new())));
    let metrics = Arc::new(Metrics::prometheus("zeroclaw").map_err(|error| error.to_string())?);
    let entropy = Arc::new(SystemEntropy);
    let pairing = PairingService::new(pairing, entropy.clone(), Duration::from_hours(1));
    let agent = Agent::new(AgentParts {
        chain: chain(provider, ChainParts { clock: clock.clone(), entropy, metrics: metrics.clone() }),
        conversations: Arc::new(NoInbox),
        history: HistoryLimit { turns: 0, chars: 0 },
        max_waiting: 0,
        max_reply_chars: usize::MAX,
        metrics: metrics.clone(),
    });
    let inbox = InboxService::new(InboxParts {
        repository: Arc::new(NoInbox),
        channels: Vec::new(),
        agent: agent.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        metrics: metrics.clone(),
        calls: Handle::current(),
        settings: InboxSettings {
            workers: 1,
            message_attempts: 1,
            delivery_attempts: 1,
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            apology: None,
            max_message_chars: usize::MAX,
        },
    });
    let turns = TurnService::new(TurnParts {
        turns,
        limits: limits.clone(),
        status: Arc::new(AlwaysFine),
        agent,
        clock: clock.clone(),
        metrics: metrics.clone(),
        calls: Handle::current(),
        max_in_flight: 1024,
    });
    let supervisor = Supervisor::new(SupervisorParts {
        clock: Arc::clone(&clock),
        entropy: Arc::new(SystemEntropy),
        metrics: Arc::clone(&metrics),
    });
    Ok(AppState::new(StateParts {
        pairing,
        limits,
        tokens,
        status: Arc::new(AlwaysFine),
        supervisor,
        turns,
        inbox,
        clock,
        metrics,
        settings: HttpSettings {
            client_source: ClientSource::default(),
            require_pairing: true,
            webhook_secret: None,
            webhook_signature: None,
            max_body_bytes: 65_536,
            whatsapp_max_body_bytes: None,
            whatsapp_verify_token: None,
            request_timeout: Duration::from_secs(30),
            request_log: RequestLog::Off,
        },
        stopping: CancellationToken::new(),
        request_ids: request_ids(),
    }))
}

fn request_ids() -> Arc<RequestIds> {
    Arc::new(RequestIds::new(*b"baseline"))
}
