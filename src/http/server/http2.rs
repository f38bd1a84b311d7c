//! One connection of HTTP/2.
//!
//! The deadlines are those of HTTP/1.1: the first request must be there in `header_timeout`; when no request is being
//! worked on, the next must be within `idle_timeout`, which is also the time a client has to take its answers. Heads that
//! drip and windows that never open run into the one or the other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use axum::body::Body;
use futures_util::task::AtomicWaker;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::connection::Server;
use super::deadline::Deadline;
use super::event::Timeout;
use super::limit::Limits;
use super::progress::{Phase, Progress};
use super::service::{Peer, Responder};

/// Requests that a client may take back before the gateway has looked at them; one more closes the connection.
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that the gateway may have to reset; one more closes the connection.
const MAX_OWN_RESETS: usize = 256;
/// Bytes of a body, and of all bodies of a connection, that a client may send before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of an answer that wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// How connections of HTTP/2 are served.
pub(super) fn builder(limits: &Limits, max_streams: u32) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(max_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    http
}

/// Serves requests until the client leaves, misses a deadline, or the connections are asked to stop: then it finishes the requests at
/// hand. Drop the future to cut the connection.
pub(super) async fn run<IO, R>(
    io: IO,
    peer: Peer,
    (server, http): (&Server<R>, &http2::Builder<TokioExecutor>),
    opened: Instant,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    R: Responder,
{
    let streams = Arc::new(Streams::default());
    let (at_work, responder) = (Arc::clone(&streams), server.responder.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (work, responder) = (at_work.begin(), responder.clone());
        async move {
            let response = responder.respond(request.map(Body::new)).await;
            drop(work);
            Ok::<_, Infallible>(response)
        }
    });
    let mut deadline = Deadline::new(server.limits, opened);
    let mut http = pin!(http.serve_connection(TokioIo::new(io), service));
    let mut stop = pin!(server.stop.asked());
    let mut ending = false;
    let ended = poll_fn(|cx| {
        streams.waker.register(cx.waker());
        if !ending && stop.as_mut().poll(cx).is_ready() {
            ending = true;
            http.as_mut().graceful_shutdown();
            streams.linger_if_idle();
        }
        loop {
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            match deadline.poll_expired(cx, &streams.progress) {
                Poll::Ready(Phase::Idle) if !ending => {
                    ending = true;
                    server.events.timed_out(Timeout::Idle);
                    http.as_mut().graceful_shutdown();
                    streams.linger_if_idle();
                }
                Poll::Ready(phase) => return Poll::Ready(Err(phase)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    match ended {
        Ok(Ok(())) | Err(Phase::Busy | Phase::Idle | Phase::Lingering) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(Phase::Opening | Phase::Head) => server.events.timed_out(Timeout::Header),
    }
}

/// The requests of a connection. They run in tasks of their own.
struct Streams {
    at_work: Mutex<usize>,
    progress: Progress,
    /// Wakes the connection when the last of them has ended.
    waker: AtomicWaker,
}

impl Default for Streams {
    fn default() -> Self {
        Self { at_work: Mutex::default(), progress: Progress::new(), waker: AtomicWaker::new() }
    }
}

impl Streams {
    fn begin(self: &Arc<Self>) -> AtWork {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        *at_work += 1;
        self.progress.enter(Phase::Busy);
        AtWork(Arc::clone(self))
    }

    /// Does not wait longer for a client that has nothing to wait for.
    fn linger_if_idle(&self) {
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if *at_work == 0 {
            self.progress.lingering();
        }
    }
}

/// A request that is being worked on, until it is answered or taken back.
struct AtWork(Arc<Streams>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut at_work = self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        *at_work -= 1;
        if *at_work == 0 {
            self.0.progress.enter(Phase::Idle);
            self.0.waker.wake();
        }
    }
}
