//! What handlers share.

use std::{ops::Deref, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{channel::path_of, client_source::ClientSource, request_id::RequestIds};
use crate::{
    channel::signature::StandardWebhooks,
    domain::{channel::ChannelKind, secret::Secret},
    repository::{RateLimitRepository, StoreStatusRepository, TokenRepository},
    service::{inbox::InboxService, pairing::PairingService, supervisor::Supervisor, turn::TurnService},
    system::SteadyClock,
    telemetry::Metrics,
};

/// The limits and secrets of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whom a request is from.
    pub client_source: ClientSource,
    /// Whether `/webhook` needs a token.
    pub require_pairing: bool,
    /// What `X-Webhook-Secret` must be.
    pub webhook_secret: Option<Secret>,
    /// What checks signatures in its place.
    pub webhook_signature: Option<Arc<StandardWebhooks>>,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// The longest body of a signed call of WhatsApp; `None`: as any other.
    pub whatsapp_max_body_bytes: Option<usize>,
    /// What Meta must send to be told that the callback is ours.
    pub whatsapp_verify_token: Option<Secret>,
    /// The time for one request, from its head to its response.
    pub request_timeout: Duration,
    /// Which requests have a line in the log.
    pub request_log: RequestLog,
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLog {
    /// Each.
    All,
    /// Those that failed here, and those whose client hung up.
    Failed,
    /// None but those that failed for a reason inside.
    Off,
}

impl HttpSettings {
    /// The longest body that the route with this path takes, in bytes.
    #[must_use]
    pub fn max_body_bytes_of(&self, path: &str) -> usize {
        let own = self.whatsapp_max_body_bytes.filter(|_| path == path_of(ChannelKind::WhatsApp));
        own.unwrap_or(self.max_body_bytes)
    }
}

/// What the state is made of.
pub struct StateParts {
    /// Codes and tokens.
    pub pairing: PairingService,
    /// Rate limits.
    pub limits: Arc<dyn RateLimitRepository>,
    /// Who may post.
    pub tokens: Arc<dyn TokenRepository>,
    /// How the store is doing.
    pub status: Arc<dyn StoreStatusRepository>,
    /// How the parts that run by themselves are doing.
    pub supervisor: Arc<Supervisor>,
    /// Messages and answers.
    pub turns: Arc<TurnService>,
    /// Messages of channels and the replies to them.
    pub inbox: Arc<InboxService>,
    /// The time.
    pub clock: Arc<SteadyClock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The limits and secrets.
    pub settings: HttpSettings,
    /// Cancelled when the gateway begins to stop.
    pub stopping: CancellationToken,
    /// Ids for requests that bring none.
    pub request_ids: Arc<RequestIds>,
}

/// The memory that large bodies of platforms may take together, in KiB: twenty of the largest that Meta sends.
const LARGE_BODIES_KIB: usize = 64 * 1024;

/// The state, cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// Behind every [`AppState`].
pub struct Shared {
    parts: StateParts,
    started: Duration,
    /// Room for bodies of platforms that are larger than others may be, in KiB.
    pub(super) large_bodies_kib: Semaphore,
}

impl AppState {
    /// The state of a gateway that starts now.
    #[must_use]
    pub fn new(parts: StateParts) -> Self {
        let started = parts.clock.monotonic();
        Self(Arc::new(Shared { parts, started, large_bodies_kib: Semaphore::new(LARGE_BODIES_KIB) }))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = StateParts;

    fn deref(&self) -> &StateParts {
        &self.parts
    }
}

impl Shared {
    /// How long the gateway has been up.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }
}
