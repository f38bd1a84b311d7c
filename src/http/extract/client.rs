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
        Ok(Self(match parts.extensions.get::<Peer>() {
            Some(Peer::Operator) => ClientAddress::Operator,
            Some(Peer::Address(peer)) => state.settings.client_source.client_of(peer.ip(), &parts.headers),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED).into(),
        }))
    }
}
