//! `POST /webhook`: a message for an answer.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    error::{ApiError, Outcome},
    extract::{bearer::Bearer, client::Client, key, message, session},
    limit::{self, Fields},
    reply,
    state::AppState,
};
use crate::{
    channel::signature::StandardWebhooks,
    domain::{
        client::{ClientAddress, Owner},
        idempotency::{BodyHash, IdempotencyKey},
        rate::{RateClient, Scope},
    },
    repository::{NewTurn, PendingHit},
    service::turn::TurnReply,
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

#[derive(Serialize)]
struct WebhookResponse<'a> {
    response: &'a str,
    model: &'a str,
}

#[derive(Serialize)]
struct ReplayResponse<'a> {
    status: &'static str,
    idempotent: bool,
    message: &'static str,
    response: &'a str,
    model: &'a str,
}

/// Rate limit, bearer, secret or signature, body, key, session, work: in this order.
pub(super) async fn post(
    State(state): State<AppState>,
    Client(address): Client,
    request: Request,
) -> Response {
    let (turn, fields) = match admit(&state, address, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let result = state.turns.run(turn).await.map_err(ApiError::from).and_then(answer);
    let mut response = result.unwrap_or_else(ApiError::into_response);
    fields.add_to(response.headers_mut());
    response
}

/// All but the work. Nothing is left of the request when that begins.
fn admit(
    state: &AppState,
    address: ClientAddress,
    request: Request,
) -> impl Future<Output = Result<(Box<NewTurn>, Fields), Box<Response>>> + Send + use<'_> {
    let (head, body) = request.into_parts();
    async move {
        let now = state.clock.now();
        let bearer = Bearer::read(&head.headers, &*state.tokens, now).await;
        let client = RateClient { token: bearer.token(), address };
        let admitted = limit::admit(state, Scope::Webhook, client, now, ApiError::WebhookRateLimited)?;
        let (mut hit, fields) = admitted.into_parts();
        match read(state, &head, body, (bearer, address), &mut hit).await {
            Ok(turn) => Ok((turn, fields)),
            Err(refusal) => {
                let error = limit::count(state, hit).await.err().unwrap_or(refusal);
                let mut response = error.into_response();
                fields.add_to(response.headers_mut());
                Err(Box::new(response))
            }
        }
    }
}

/// Reads the rest of the request. The hit goes with the turn if there is one, else it stays.
async fn read(
    state: &AppState,
    head: &Parts,
    body: axum::body::Body,
    (bearer, address): (Bearer, ClientAddress),
    hit: &mut Option<PendingHit>,
) -> Result<Box<NewTurn>, ApiError> {
    let settings = &state.settings;
    if settings.require_pairing && bearer.token().is_none() {
        return Err(ApiError::Unauthorized { token_given: bearer == Bearer::Invalid });
    }
    // A signature stands in for the secret; where there is no secret, every request must be signed.
    let must_be_signed = settings.webhook_secret.is_none() || head.headers.contains_key("webhook-signature");
    let signature = settings.webhook_signature.as_ref().filter(|_| must_be_signed);
    if let (None, Some(secret)) = (signature, &settings.webhook_secret) {
        let given = reply::only(&head.headers, "x-webhook-secret");
        given.filter(|given| secret.matches(given)).ok_or(ApiError::WrongSecret)?;
    }
    let body = message::read_body(body, settings.max_body_bytes).await?;
    let verify = |by: &Arc<StandardWebhooks>| by.verify(&head.headers, &body, state.clock.now());
    let id = signature.map(verify).transpose().map_err(|_| ApiError::InvalidSignature)?;
    let text = message::parse(&head.headers, &body)?;
    let key = match (key::read(&head.headers), id) {
        (Ok(None), Some(id)) => IdempotencyKey::stored(id).map(Some),
        (key, _) => key,
    };
    let key = key.map_err(|_| ApiError::InvalidKey)?;
    let session = session::read(&head.headers).map_err(|_| ApiError::InvalidSession)?;
    Ok(Box::new(NewTurn {
        owner: bearer.token().map_or(Owner::Address(address), Owner::Token),
        key: key.map(|key| (key, BodyHash(Sha256::digest(&body).into()))),
        session,
        text: Arc::new(text),
        hit: hit.take(),
    }))
}

fn answer(outcome: TurnReply) -> Result<Response, ApiError> {
    match outcome {
        TurnReply::Answered(answer) => {
            let body = WebhookResponse { response: &answer.text, model: &answer.model };
            Ok(reply::json(StatusCode::OK, &body))
        }
        TurnReply::Replayed(answer) => {
            let body = ReplayResponse {
                status: "duplicate",
                idempotent: true,
                message: "Request already processed for this idempotency key",
                response: &answer.text,
                model: &answer.model,
            };
            let mut response = reply::json(StatusCode::OK, &body);
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            response.extensions_mut().insert(Outcome("replayed"));
            Ok(response)
        }
        TurnReply::Running(wait) => Err(ApiError::KeyRunning(wait)),
        TurnReply::OtherBody => Err(ApiError::KeyMismatch),
        TurnReply::Failed => Err(ApiError::ProviderFailed),
        TurnReply::Overloaded => Err(ApiError::Overloaded),
    }
}
