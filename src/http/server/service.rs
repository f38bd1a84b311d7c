//! A connection's requests on their way to whoever answers them, and back.
//!
//! Each carries the [`Peer`] in its extensions. An answer given before the body was read says
//! `Connection: close` where hyper is going to close: RFC 9112, section 9.6 wants it said, and a client that
//! keeps connections must not send its next request into one that ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};

use super::progress::{Ending, Progress};

/// A body this small has most likely come with its head, and then hyper reads over it when nobody else does
/// and keeps the connection. Beyond it (8 KiB less the head) it closes.
const SKIPPABLE_BYTES: u64 = 4096;

/// Who is at the other end of the connection, in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A client, or a proxy in front of it: the socket's address, or the one that a header of the PROXY protocol names.
    /// An IPv4 client of an IPv6 socket shows as `::ffff:a.b.c.d`.
    Address(SocketAddr),
    /// Whoever can open the operator's socket.
    Operator,
}

/// What answers requests, of all connections.
pub trait Responder: Clone + Send + Sync + 'static {
    /// The answer to one request.
    fn respond(&self, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

/// The service of one connection.
pub(super) fn connection_service<R: Responder>(
    responder: &R,
    peer: Peer,
    progress: &Arc<Progress>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Send {
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let skippable = is_skippable(&request);
        responder.respond(begin(request, progress)).map(move |mut response| {
            if progress.is_unread() && !skippable {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            progress.answered();
            Ok(response)
        })
    })
}

/// Whether the connection can outlive an answer that leaves the body unread.
fn is_skippable(request: &Request<Incoming>) -> bool {
    let small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= SKIPPABLE_BYTES);
    // A client that waits for `100 Continue` has not sent the body, and may never.
    small && !request.headers().contains_key(EXPECT)
}

fn begin(request: Request<Incoming>, progress: &Arc<Progress>) -> Request<Body> {
    let (empty, counted) = (request.body().is_end_stream(), request.body().size_hint().exact().is_some());
    let ending = if counted && !empty { Ending::Count } else { Ending::EmptyLine };
    progress.request_begun(ending, !empty);
    request.map(|body| if empty { Body::empty() } else { Body::new(Watched::new(body, progress)) })
}

/// A request body that reports when it has been read.
struct Watched {
    body: Incoming,
    progress: Arc<Progress>,
}

impl Watched {
    fn new(body: Incoming, progress: &Arc<Progress>) -> Self {
        Self { body, progress: Arc::clone(progress) }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.progress.body_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
