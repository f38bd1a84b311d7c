//! What clients see. Handlers are thin: extract, one call, convert; every answer but the good ones comes from the one
//! table in `error`.

pub mod bind;
mod channel;
mod client_source;
mod error;
mod extract;
mod fixed;
mod health;
mod limit;
mod metrics;
mod pair;
mod pipeline;
mod ready;
mod reply;
mod request_id;
pub mod server;
mod state;
mod tunnel_up;
mod watch;
mod webhook;
mod whatsapp;

use axum::{
    Router,
    routing::{get, post},
};

pub use channel::path_of as channel_path;
pub use client_source::{ClientSource, Proxies};
pub use pipeline::Pipeline;
pub use request_id::RequestIds;
pub use state::{AppState, HttpSettings, RequestLog, StateParts};
pub use tunnel_up::TunnelUp;

use crate::telemetry::metrics::HttpRoute;
use error::ApiError;

/// All routes, and what every request to them goes through.
pub fn pipeline(state: AppState) -> Pipeline {
    let routes = Router::new()
        .route(HttpRoute::Health.as_str(), get(health::get))
        .route(HttpRoute::Ready.as_str(), get(ready::get))
        .route(HttpRoute::Metrics.as_str(), get(metrics::get))
        .route(HttpRoute::Pair.as_str(), post(pair::post))
        .route(HttpRoute::Webhook.as_str(), post(webhook::post))
        .merge(channel::routes())
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .with_state(state.clone());
    Pipeline::new(state, routes)
}
