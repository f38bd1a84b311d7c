//! Metrics, traces, and whom they are pushed to.

use std::{sync::Arc, time::Duration};

use super::StartError;
use crate::{
    config::{Config, MetricsBackend},
    domain::hex::Hex,
    outbound::{Client, OtlpClient},
    system::{Entropy, random},
    telemetry::{
        Metrics,
        otlp::{Otlp, OtlpSettings, Pushes},
    },
};

/// How long one push may take.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What counts, and what pushes it if there is somebody to push it to.
pub(super) fn telemetry(
    config: &Config,
    client: &Client,
    entropy: &dyn Entropy,
) -> Result<(Arc<Metrics>, Option<Pushes>), StartError> {
    let observability = &config.observability;
    let otlp = match &observability.otlp {
        Some(otlp) => {
            let settings = OtlpSettings {
                endpoint: otlp.endpoint.clone(),
                interval: otlp.interval,
                sample_ratio: otlp.sample_ratio,
                instance: Hex(&random::<16>(entropy)?).to_string(),
            };
            let client = OtlpClient::new(client.with_timeout(PUSH_TIMEOUT), otlp.headers.clone());
            Some(Otlp::new(&settings, client)?)
        }
        None => None,
    };
    let is_shown = observability.backend == MetricsBackend::Prometheus;
    let metrics = Arc::new(Metrics::new(&observability.namespace, is_shown, otlp.as_ref())?);
    let pushes = otlp.map(|otlp| otlp.start(Arc::clone(&metrics)));
    Ok((metrics, pushes))
}
