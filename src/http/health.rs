//! `GET /health`: how the parts are doing. Reads memory only.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;

use super::{reply, state::AppState};
use crate::{provider::ProviderHealth, service::inbox::ChannelsHealth};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    paired: bool,
    runtime: Runtime,
}

#[derive(Serialize)]
struct Runtime {
    components: Components,
    uptime_secs: u64,
}

#[derive(Serialize)]
struct Components {
    gateway: &'static str,
    channels: &'static str,
    scheduler: &'static str,
    provider: &'static str,
}

/// The process is alive, or there would be no answer; the components tell the rest.
pub(super) async fn get(State(state): State<AppState>) -> Response {
    let status = state.status.status();
    let word = |ok| if ok { "ok" } else { "error" };
    let channels = match state.inbox.health() {
        ChannelsHealth::Disabled => "disabled",
        ChannelsHealth::Ok => "ok",
        ChannelsHealth::Degraded => "degraded",
    };
    let provider = match state.turns.provider_health() {
        ProviderHealth::Ok => "ok",
        ProviderHealth::Degraded => "degraded",
        ProviderHealth::Down => "error",
    };
    let (gateway, scheduler) = (word(status.writes), word(status.sweeper));
    let components = Components { gateway, channels, scheduler, provider };
    let runtime = Runtime { components, uptime_secs: state.uptime().as_secs() };
    let paired = state.tokens.any_live(state.clock.now());
    reply::json(StatusCode::OK, &Health { status: "ok", paired, runtime })
}
