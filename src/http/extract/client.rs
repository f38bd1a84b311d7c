//! The client's address.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{domain::client::ClientAddress, http::server::Peer};

/// The address that the request came from: the socket's peer.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Client(pub(in crate::http) ClientAddress);

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        Ok(Self(peer.unwrap_or([0, 0, 0, 0].into()).into()))
    }
}
