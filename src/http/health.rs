//! `GET /health`: how the parts are doing. Reads memory only.

use axum::{extract::State as FromState, response::Response};
use http::StatusCode;
use serde::{Serialize, Serializer};

use super::{
    reply,
    state::{AppState, Shared},
};
use crate::domain::health::{Component, State};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    paired: bool,
    runtime: Runtime,
}

#[derive(Serialize)]
struct Runtime {
    #[serde(serialize_with = "as_map")]
    components: [(Component, State); Component::ALL.len()],
    uptime_secs: u64,
}

fn as_map<S: Serializer>(
    components: &[(Component, State); Component::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(components.iter().map(|(component, state)| (component.as_str(), state.as_str())))
}

/// The process is alive, or there would be no answer; the components tell the rest.
pub(super) async fn get(FromState(state): FromState<AppState>) -> Response {
    let components = Component::ALL.map(|component| (component, of(&state, component)));
    let runtime = Runtime { components, uptime_secs: state.uptime().as_secs() };
    let paired = state.tokens.any_live(state.clock.now());
    reply::json(StatusCode::OK, &Health { status: "ok", paired, runtime })
}

/// A part is doing as well as the worst of what it needs.
fn of(state: &Shared, component: Component) -> State {
    let runs = state.supervisor.state(component);
    match component {
        Component::Gateway if state.status.takes_writes() => runs,
        Component::Gateway => State::Error,
        Component::Channels => match state.inbox.health() {
            State::Disabled => State::Disabled,
            platforms => runs.max(platforms),
        },
        Component::Provider => state.turns.provider_health(),
        _ => runs,
    }
}
