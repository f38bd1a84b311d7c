//! What handlers share.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::secret::Secret,
    repository::{RateLimitRepository, StoreStatusRepository, TokenRepository},
    service::{pairing::PairingService, turn::TurnService},
    system::SteadyClock,
    telemetry::Metrics,
};

/// The limits and secrets of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whether `/webhook` needs a token.
    pub require_pairing: bool,
    /// What `X-Webhook-Secret` must be.
    pub webhook_secret: Option<Secret>,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// The time for one request, from its head to its response.
    pub request_timeout: Duration,
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
    /// Messages and answers.
    pub turns: Arc<TurnService>,
    /// The time.
    pub clock: Arc<SteadyClock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The limits and secrets.
    pub settings: HttpSettings,
    /// Cancelled when the gateway begins to stop.
    pub stopping: CancellationToken,
    /// Random, so that request ids of two runs differ.
    pub run_tag: [u8; 8],
}

/// The state, cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// Behind every [`AppState`].
pub struct Shared {
    parts: StateParts,
    started: Duration,
    run_tag: u64,
    requests: AtomicU64,
}

impl AppState {
    /// The state of a gateway that starts now.
    #[must_use]
    pub fn new(parts: StateParts) -> Self {
        let started = parts.clock.monotonic();
        let run_tag = u64::from_le_bytes(parts.run_tag);
        Self(Arc::new(Shared { parts, started, run_tag, requests: AtomicU64::new(0) }))
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

    /// A request id that no other request of this or another run has.
    #[must_use]
    pub fn next_request_id(&self) -> HeaderValue {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.run_tag);
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
    }
}
