//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::event::{ConnectionEvents, Timeout};
use super::limit::Limits;
use super::progress::{Phase, Progress};
use super::service::{Peer, connection_service};
use super::stream::Stream;

/// What all connections have in common.
pub(super) struct Server {
    http: http1::Builder,
    router: axum::Router,
    pub(super) limits: Limits,
    pub(super) events: Arc<dyn ConnectionEvents>,
}

impl Server {
    pub(super) fn new(router: axum::Router, limits: Limits, events: Arc<dyn ConnectionEvents>) -> Self {
        let mut http = http1::Builder::new();
        // hyper's own timeout runs from the last answer, not from the head's first byte, so it cannot tell a
        // slow head from an idle connection. `Deadline` can. `max_headers` stays at its default of 100: to
        // set it costs, as hyper documents, an allocation for every request.
        http.header_read_timeout(None).max_buf_size(limits.head_buffer_bytes());
        Self { http, router, limits, events }
    }
}

/// Serves requests until the client leaves, misses a deadline, or `stop` is cancelled: then it finishes the
/// request at hand, if any. Drop the future to cut the connection.
pub(super) async fn run<IO>(io: IO, peer: Peer, server: Arc<Server>, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let progress = Arc::new(Progress::new());
    let mut deadline = Deadline::new(server.limits);
    let stream = Stream::new(io, Arc::clone(&progress), server.limits.linger_max_bytes);
    let service = connection_service(server.router.clone(), peer, Arc::clone(&progress));
    let mut http = pin!(server.http.serve_connection(TokioIo::new(stream), service));
    let mut stop = pin!(stop.cancelled_owned());
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            http.as_mut().graceful_shutdown();
        }
        match http.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => deadline.poll_expired(cx, &progress).map(Err),
        }
    })
    .await;
    match ended {
        Ok(Ok(())) | Err(Phase::Busy | Phase::Lingering) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(Phase::Opening | Phase::Head) => server.events.timed_out(Timeout::Header),
        Err(Phase::Idle) => server.events.timed_out(Timeout::Idle),
    }
}
