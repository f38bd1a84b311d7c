//! Why the gateway did not start.

use crate::{
    channel::{self, signature::BadSecret},
    http::bind::BindError,
    outbound,
    repository::StoreError,
    service::pairing::PairingError,
    sqlite::OpenError,
    system::NoEntropy,
    telemetry::{MetricsError, otlp::OtlpError},
};

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
    /// The tunnel did not come up.
    #[error("the tunnel did not come up, so the gateway does not start: {0}")]
    Tunnel(String),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Traces and metrics cannot be pushed.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
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
