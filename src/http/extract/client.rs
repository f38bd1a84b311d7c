//! The client's address.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{
    domain::client::ClientAddress,
    http::{server::Peer, state::AppState},
};

/// Whom the request is from, as [`ClientSource`](crate::http::ClientSource) tells it.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Client(pub(in crate::http) ClientAddress);

impl FromRequestParts<AppState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(Self(state.settings.client_source.client_of(peer, &parts.headers)))
    }
}
