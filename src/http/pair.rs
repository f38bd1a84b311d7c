//! `POST /pair`: a one-time code for a bearer token.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::{error::ApiError, extract::client::Client, limit, reply, state::AppState};
use crate::{
    domain::{
        pairing::PairingCode,
        rate::{RateClient, Scope},
    },
    service::pairing::PairOutcome,
    telemetry::metrics::PairingOutcome,
};

#[derive(Serialize)]
struct PairResponse<'a> {
    paired: bool,
    persisted: bool,
    token: &'a str,
    message: &'static str,
}

/// Spends one attempt. The body is ignored.
pub(super) async fn post(
    State(state): State<AppState>,
    Client(address): Client,
    headers: HeaderMap,
) -> Response {
    let now = state.clock.now();
    let client = RateClient { token: None, address };
    let admitted = match limit::admit(&state, Scope::Pair, client, now, ApiError::PairRateLimited) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            state.metrics.admission.pairing(PairingOutcome::RateLimited);
            return *refusal;
        }
    };
    let (hit, fields) = admitted.into_parts();
    let code = reply::only(&headers, "x-pairing-code").and_then(PairingCode::parse);
    let mut response = match state.pairing.redeem(code, address, hit, now).await {
        Ok(outcome) => answer(&state, &outcome),
        Err(error) => ApiError::from(error).into_response(),
    };
    fields.add_to(response.headers_mut());
    response
}

fn answer(state: &AppState, outcome: &PairOutcome) -> Response {
    let (label, response) = match outcome {
        PairOutcome::Paired(token) => {
            let message = "Save this token — use it as Authorization: Bearer <token>";
            let body = PairResponse { paired: true, persisted: true, token: token.expose(), message };
            (PairingOutcome::Paired, reply::json(StatusCode::OK, &body))
        }
        PairOutcome::Refused => (PairingOutcome::Refused, ApiError::InvalidCode.into_response()),
        PairOutcome::LockedOut(left) => {
            (PairingOutcome::LockedOut, ApiError::LockedOut(*left).into_response())
        }
    };
    state.metrics.admission.pairing(label);
    response
}
