//! `[gateway]`: where it listens, who may talk to it, and how much.

use std::{path::PathBuf, time::Duration};

use super::{proxy::ProxyTrust, reader::Reader};
use crate::domain::secret::Secret;

const WEEK_SECS: u64 = 7 * 24 * 60 * 60;

/// The listener, its clients and their limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// The address to listen on as it was given: an IP address, `[::1]` with its brackets, or a host name.
    pub host: String,
    /// The TCP port to listen on; 0 picks a free one.
    pub port: u16,
    /// Whether clients must pair and send their bearer token.
    pub require_pairing: bool,
    /// Tokens of an older gateway, to import once.
    pub paired_tokens: Vec<PairedToken>,
    /// Whether `host` may be one that other machines can reach.
    pub allow_public_bind: bool,
    /// Whose word about clients is taken.
    pub proxies: ProxyTrust,
    /// Requests to `/pair` per client within any 60 s; 0 is no limit.
    pub pair_rate_limit_per_minute: u32,
    /// Requests to `/webhook` per client within any 60 s; 0 is no limit.
    pub webhook_rate_limit_per_minute: u32,
    /// Clients whose rate is tracked at once.
    pub rate_limit_max_keys: u32,
    /// How long a pairing code can be used.
    pub pairing_code_ttl: Duration,
    /// Failed attempts, from all clients together, after which a pairing code is dead.
    pub pairing_code_max_failures: u32,
    /// How long a client's first lockout lasts.
    pub pair_lockout: Duration,
    /// How long the answer to an idempotency key is kept, from the end of the work.
    pub idempotency_ttl: Duration,
    /// Answered idempotency keys kept for each token.
    pub idempotency_max_keys: u32,
    /// How long a request may take before it is answered 408.
    pub request_timeout: Duration,
    /// The longest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a client may take to send its request head.
    pub header_timeout: Duration,
    /// How long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// The longest request head, in bytes.
    pub max_head_bytes: usize,
    /// The most header lines of a request.
    pub max_headers: usize,
    /// Connections open at once.
    pub max_connections: u32,
    /// Connections open at once from one address.
    pub max_connections_per_address: u32,
    /// Requests at once on a connection of HTTP/2; `None`: HTTP/2 is not spoken.
    pub http2_max_streams: Option<u32>,
    /// Where the operator's socket is.
    pub operator_socket: Option<PathBuf>,
    /// Connections open at once on it.
    pub operator_max_connections: u32,
    /// Messages at work at once.
    pub max_in_flight: u32,
    /// How long a shutdown waits for what is in flight; zero does not wait.
    pub shutdown_grace: Duration,
}

impl Gateway {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            host: r.required_text("gateway.host"),
            port: r.integer("gateway.port", 0..=u16::MAX),
            require_pairing: r.flag("gateway.require_pairing"),
            paired_tokens: r.secrets("gateway.paired_tokens").into_iter().map(PairedToken::from).collect(),
            allow_public_bind: r.flag("gateway.allow_public_bind"),
            proxies: ProxyTrust::read(r),
            pair_rate_limit_per_minute: r.integer("gateway.pair_rate_limit_per_minute", 0..=1_000_000),
            webhook_rate_limit_per_minute: r.integer("gateway.webhook_rate_limit_per_minute", 0..=1_000_000),
            rate_limit_max_keys: r.integer("gateway.rate_limit_max_keys", 1..=1_000_000),
            pairing_code_ttl: r.seconds("gateway.pairing_code_ttl_secs", 1..=WEEK_SECS),
            pairing_code_max_failures: r.integer("gateway.pairing_code_max_failures", 1..=10_000),
            pair_lockout: r.seconds("gateway.pair_lockout_secs", 1..=3600),
            idempotency_ttl: r.seconds("gateway.idempotency_ttl_secs", 1..=4 * WEEK_SECS),
            idempotency_max_keys: r.integer("gateway.idempotency_max_keys", 1..=10_000_000),
            request_timeout: r.seconds("gateway.request_timeout_secs", 1..=3600),
            max_body_bytes: r.integer("gateway.max_body_bytes", 1024..=16 * 1024 * 1024),
            header_timeout: r.seconds("gateway.header_timeout_secs", 1..=300),
            idle_timeout: r.seconds("gateway.idle_timeout_secs", 1..=3600),
            max_head_bytes: r.integer("gateway.max_head_bytes", 8192..=1024 * 1024),
            max_headers: r.integer("gateway.max_headers", 16..=1000),
            max_connections: r.integer("gateway.max_connections", 1..=1_000_000),
            max_connections_per_address: r.integer("gateway.max_connections_per_address", 1..=1_000_000),
            http2_max_streams: Some(r.integer("gateway.http2_max_streams", 1..=10_000))
                .filter(|_| r.flag("gateway.http2")),
            operator_socket: r.optional_text("gateway.operator_socket").map(PathBuf::from),
            operator_max_connections: r.integer("gateway.operator_max_connections", 1..=100_000),
            max_in_flight: r.integer("gateway.max_in_flight", 1..=100_000),
            shutdown_grace: r.seconds("gateway.shutdown_grace_secs", 0..=3600),
        }
    }
}

/// A token that an older gateway issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairedToken {
    /// Its SHA-256, as 64 lower-case hex digits.
    Hash(String),
    /// The token itself.
    Plain(Secret),
}

impl From<Secret> for PairedToken {
    /// 64 hex digits are a hash, as they were to the older gateway; anything else is a token.
    fn from(entry: Secret) -> Self {
        let text = entry.expose();
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Self::Hash(text.to_ascii_lowercase())
        } else {
            Self::Plain(entry)
        }
    }
}
