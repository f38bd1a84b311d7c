//! What clients see. Handlers are thin: extract, one call, convert; every answer but the good ones comes from the one
//! table in `error`.

pub mod bind;
mod channel;
mod client_source;
mod error;
mod extract;
mod fixed;
mod health;
mod layer;
mod limit;
mod metrics;
mod pair;
mod ready;
mod reply;
mod request_id;
pub mod server;
mod state;
mod tunnel_up;
mod webhook;
mod whatsapp;

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::IntoResponse as _,
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

pub use channel::path_of as channel_path;
pub use client_source::{ClientSource, Proxies};
pub use request_id::RequestIds;
pub use state::{AppState, HttpSettings, RequestLog, StateParts};
pub use tunnel_up::TunnelUp;

use error::ApiError;

/// All routes, inside the layers that every response goes through.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/health", get(health::get))
        .route("/ready", get(ready::get))
        .route("/metrics", get(metrics::get))
        .route("/pair", post(pair::post))
        .route("/webhook", post(webhook::post))
        .merge(channel::routes())
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(CatchPanicLayer::custom(|_| ApiError::internal("a handler panicked").into_response()))
        .layer(from_fn_with_state(state.clone(), layer::timeout::limit))
        .layer(from_fn_with_state(state.clone(), layer::size::limit))
        .layer(from_fn_with_state(state.clone(), layer::envelope::wrap))
        .with_state(state)
}
