//! `GET /whatsapp`: Meta asks whether the callback is ours
//! (<https://developers.facebook.com/docs/graph-api/webhooks/getting-started>).

use std::borrow::Cow;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::state::AppState;
use crate::domain::channel::ChannelKind;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers with the challenge if the verify token is ours.
pub(super) async fn get(State(state): State<AppState>, request: Request) -> Response {
    if state.inbox.channel(ChannelKind::WhatsApp).is_none() {
        return text(StatusCode::NOT_FOUND, "WhatsApp not configured".into());
    }
    let query = request.uri().query().unwrap_or_default();
    let first = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find_map(|(key, value)| (key == name).then_some(value))
    };
    let is_ours = match (&state.settings.whatsapp_verify_token, first("hub.verify_token")) {
        (Some(ours), Some(given)) => ours.matches(given.as_bytes()),
        _ => false, // no token of ours matches nothing
    };
    if !is_ours || first("hub.mode").as_deref() != Some("subscribe") {
        return text(StatusCode::FORBIDDEN, "Forbidden".into());
    }
    match first("hub.challenge") {
        Some(challenge) => text(StatusCode::OK, challenge),
        None => text(StatusCode::BAD_REQUEST, "Missing hub.challenge".into()),
    }
}

fn text(status: StatusCode, body: Cow<'_, str>) -> Response {
    let mut response = Response::new(Body::from(body.into_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
