//! Connections as a client sees them. Deadlines run on tokio's paused clock over an in-memory stream,
//! everything else over sockets on free ports.

mod accept;
mod answer;
mod deadline;
mod head;
mod shutdown;

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{Server, run};
use super::{ConnectionEvents, Limits, Peer, Timeout, serve};

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    opened: usize,
    closed: usize,
    refused: usize,
    accept_failed: usize,
    timed_out: Vec<Timeout>,
}

/// Counts events, and lets a test wait for them.
struct Recorder(watch::Sender<Counts>);

impl ConnectionEvents for Recorder {
    fn opened(&self) {
        self.0.send_modify(|counts| counts.opened += 1);
    }
    fn closed(&self) {
        self.0.send_modify(|counts| counts.closed += 1);
    }
    fn refused(&self) {
        self.0.send_modify(|counts| counts.refused += 1);
    }
    fn accept_failed(&self) {
        self.0.send_modify(|counts| counts.accept_failed += 1);
    }
    fn timed_out(&self, timeout: Timeout) {
        self.0.send_modify(|counts| counts.timed_out.push(timeout));
    }
}

fn recorder() -> (Arc<Recorder>, watch::Receiver<Counts>) {
    let (sender, receiver) = watch::channel(Counts::default());
    (Arc::new(Recorder(sender)), receiver)
}

/// Fails the test instead of hanging. Longer than any deadline, since a paused clock jumps to the next one.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(90), future).await.unwrap()
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/peer", get(async |Extension(Peer(address)): Extension<Peer>| address.to_string()))
        .route("/long", get(async || "x".repeat(1024 * 1024)))
        .route("/never", get(pending::<()>))
        .route("/echo", post(async |body: Bytes| body))
        .route("/refuse", post(async || (http::StatusCode::TOO_MANY_REQUESTS, "no".repeat(500))))
        .route("/first", post(read_first_frame))
        .route("/refuse-at-length", post(async || "x".repeat(1024 * 1024)))
        .route("/panic", get(panic_on_purpose))
}

async fn panic_on_purpose() -> &'static str {
    panic!("a handler panics on purpose")
}

/// Answers when the first part of the body is there, and leaves the rest.
async fn read_first_frame(request: Request) -> String {
    let frame = request.into_body().frame().await.unwrap().unwrap();
    format!("{} bytes", frame.into_data().unwrap().len())
}

/// A connection over memory.
struct Wire {
    client: DuplexStream,
    task: JoinHandle<()>,
    counts: watch::Receiver<Counts>,
    stop: CancellationToken,
}

fn wire(router: Router, limits: Limits) -> Wire {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (events, counts) = recorder();
    let stop = CancellationToken::new();
    let peer = Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let server_side = Arc::new(Server::new(router, limits, events));
    let task = tokio::spawn(run(server, peer, server_side, stop.clone()));
    Wire { client, task, counts, stop }
}

/// A server on a socket.
struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
    counts: watch::Receiver<Counts>,
    shutdown: CancellationToken,
}

async fn start(router: Router, limits: Limits) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (events, counts) = recorder();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, limits, events, shutdown.clone()));
    Running { address, task, counts, shutdown }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    async fn stop(mut self) -> Counts {
        self.shutdown.cancel();
        soon(&mut self.task).await.unwrap();
        self.counts.borrow_and_update().clone()
    }
}

/// Sends a request and reads the head of its answer and, by `Content-Length`, its body.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> (String, String) {
    soon(stream.write_all(request)).await.unwrap();
    soon(read_answer(stream)).await
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.split("content-length: ").nth(1).unwrap_or("0").lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

async fn read_to_end<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    soon(stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}
