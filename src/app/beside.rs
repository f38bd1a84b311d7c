//! What commands need of the parts, without a gateway or beside a running one.

use std::sync::Arc;

use super::{StartError, core::pairing_service, model, part};
use crate::{
    config::Config,
    outbound::Client,
    provider::{Chain, ChainParts},
    service::pairing::PairingService,
    sqlite::{SqliteStore, StoreParts},
    system::{SteadyClock, SystemClock, SystemEntropy},
    telemetry::Metrics,
};

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
