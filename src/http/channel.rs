//! `POST /whatsapp`, `POST /linq` and `POST /nextcloud-talk`: what a chat platform tells us. It is answered as soon as it is
//! on disk; the work follows.

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, post},
};
use http::{StatusCode, header::CONTENT_LENGTH, request::Parts};
use serde::Serialize;
use tokio::{
    sync::{SemaphorePermit, TryAcquireError},
    task::spawn_blocking,
};

use super::{
    error::ApiError,
    extract::{client::Client, message},
    limit, reply,
    state::AppState,
    whatsapp,
};
use crate::{
    domain::{
        channel::ChannelKind,
        client::ClientAddress,
        rate::{RateClient, Scope},
    },
    service::inbox::Receipt,
    telemetry::metrics::{CallOutcome, HttpRoute},
};

/// A body that is longer, in bytes, is read apart from the threads that serve connections.
const LARGE: usize = 65_536;

#[derive(Serialize)]
struct Received {
    status: &'static str,
}

/// The routes of the platforms. They are there whether or not a platform is configured.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route(path_of(ChannelKind::WhatsApp), of(ChannelKind::WhatsApp).get(whatsapp::get))
        .route(path_of(ChannelKind::Linq), of(ChannelKind::Linq))
        .route(path_of(ChannelKind::NextcloudTalk), of(ChannelKind::NextcloudTalk))
}

/// Where a platform posts to.
#[must_use]
pub const fn path_of(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::WhatsApp => HttpRoute::Whatsapp,
        ChannelKind::Linq => HttpRoute::Linq,
        ChannelKind::NextcloudTalk => HttpRoute::NextcloudTalk,
    }
    .as_str()
}

fn of(kind: ChannelKind) -> MethodRouter<AppState> {
    post(async move |State(state): State<AppState>, Client(address): Client, request: Request| match receive(
        kind, &state, address, request,
    )
    .await
    {
        Ok(response) => response,
        Err(refusal) => *refusal,
    })
}

/// Signature, shape, disk: in this order.
async fn receive(
    kind: ChannelKind,
    state: &AppState,
    address: ClientAddress,
    request: Request,
) -> Result<Response, Box<Response>> {
    let refuse = |error: ApiError| Box::new(error.into_response());
    let channel = state.inbox.channel(kind).ok_or_else(|| refuse(ApiError::NotConfigured(kind)))?;
    let (head, body) = request.into_parts();
    let max_bytes = state.settings.max_body_bytes_of(head.uri.path());
    let _room = room_for(state, &head, max_bytes).map_err(|_| {
        state.metrics.http.no_room();
        refuse(ApiError::Overloaded)
    })?;
    let body = message::read_body(body, max_bytes).await.map_err(|error| match error {
        ApiError::BodyTooLarge => refuse(ApiError::BodyTooLarge),
        _ => refuse(ApiError::InvalidPayload),
    })?;
    let is_large = body.len() > LARGE;
    let now = state.clock.now();
    let read = move || match channel.verify(&head.headers, &body, now) {
        Ok(verified) => {
            channel.parse(&body).map(|payload| (verified, payload)).map_err(|_| CallOutcome::BadPayload)
        }
        Err(_) => Err(CallOutcome::BadSignature),
    };
    // A large body takes a while to hash and to parse, in which others would wait.
    let read =
        if is_large { spawn_blocking(read).await.unwrap_or(Err(CallOutcome::BadPayload)) } else { read() };
    let (verified, payload) = match read {
        Ok(read) => read,
        Err(outcome) => {
            state.metrics.channels.call(kind, outcome);
            return Err(match outcome {
                CallOutcome::BadSignature => Box::new(refuse_signature(state, address).await),
                _ => refuse(ApiError::InvalidPayload),
            });
        }
    };
    match state.inbox.accept(kind, verified.nonce, payload).await {
        Ok(Receipt::Accepted) => Ok(reply::json(StatusCode::OK, &Received { status: "ok" })),
        Ok(Receipt::Later) => Err(refuse(ApiError::InboxFull)),
        Ok(Receipt::Replayed) => Err(Box::new(refuse_signature(state, address).await)),
        Err(error) => Err(refuse(error.into())),
    }
}

/// Room in memory for a body that is larger than others may be. Strangers can send such bodies too: who it is from is known
/// only when it was read.
fn room_for<'s>(
    state: &'s AppState,
    head: &Parts,
    max_bytes: usize,
) -> Result<SemaphorePermit<'s>, TryAcquireError> {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length = length.unwrap_or(max_bytes);
    let kib = if length > LARGE { length.div_ceil(1024) } else { 0 };
    state.large_bodies_kib.try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX))
}

/// Only bad and replayed signatures are counted against an address: a platform's own calls are never limited.
async fn refuse_signature(state: &AppState, address: ClientAddress) -> Response {
    let client = RateClient { token: None, address };
    let now = state.clock.now();
    let admitted = match limit::admit(state, Scope::Signature, client, now, ApiError::SignatureRateLimited) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let (hit, fields) = admitted.into_parts();
    let counted = limit::count(state, hit).await;
    let error = counted.err().unwrap_or(ApiError::InvalidSignature);
    let mut response = error.into_response();
    fields.add_to(response.headers_mut());
    response
}
