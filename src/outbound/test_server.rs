//! A server on the loopback that answers each call as the test says, and remembers what it was asked.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

/// What the server does with one call.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// It answers with this status, these headers and this body.
    Answer(u16, &'static [(&'static str, &'static str)], String),
    /// It begins to answer with status 200 and this much of a body, and then closes the connection.
    HangUpInside(String),
    /// It begins to answer with status 200 and this much of a body, and never ends.
    SilenceInside(String),
    /// It reads the call and closes the connection.
    HangUp,
    /// It reads the call and never answers.
    Silence,
}

impl Reaction {
    /// An answer without headers of its own.
    pub(crate) fn status(code: u16, body: &str) -> Self {
        Self::Answer(code, &[], body.to_owned())
    }
}

/// A call as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, as they were on the wire.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Call {
    /// A header that there is exactly once; blank if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().map_or("", |value| value.to_str().unwrap())
    }
}

/// The server. It ends with the test.
pub(crate) struct TestServer {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl TestServer {
    /// Reacts to the first call with the first of `reactions`, and so on; after the last it hangs up.
    pub(crate) async fn start(reactions: impl IntoIterator<Item = Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::default();
        let mut reactions: Vec<_> = reactions.into_iter().collect();
        reactions.reverse();
        let task = tokio::spawn(serve(listener, Arc::clone(&calls), Arc::new(Mutex::new(reactions))));
        Self { url, calls, task }
    }

    /// What it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Vec<Call>>>, reactions: Arc<Mutex<Vec<Reaction>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (calls, reactions) = (Arc::clone(&calls), Arc::clone(&reactions));
        let service = service_fn(move |request| {
            let (calls, reactions) = (Arc::clone(&calls), Arc::clone(&reactions));
            async move {
                let call = read(request).await;
                calls.lock().unwrap().push(call);
                let reaction = reactions.lock().unwrap().pop().unwrap_or(Reaction::HangUp);
                react(reaction).await
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn read(request: Request<Incoming>) -> Call {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Call {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn react(reaction: Reaction) -> io::Result<Response<TestBody>> {
    let body = |data: String, end| TestBody { data: Some(data.into()), end };
    match reaction {
        Reaction::Answer(code, headers, data) => {
            let mut response = Response::new(body(data, End::Finish));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            Ok(response)
        }
        Reaction::HangUpInside(data) => Ok(Response::new(body(data, End::HangUp))),
        Reaction::SilenceInside(data) => Ok(Response::new(body(data, End::Silence))),
        Reaction::HangUp => Err(io::ErrorKind::ConnectionAborted.into()),
        Reaction::Silence => std::future::pending().await,
    }
}

/// A body in one piece, and what comes after that.
struct TestBody {
    data: Option<Bytes>,
    end: End,
}

enum End {
    Finish,
    HangUp,
    Silence,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Self::Data>>>> {
        match (self.data.take(), &self.end) {
            (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
            (None, End::Finish) => Poll::Ready(None),
            (None, End::HangUp) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            (None, End::Silence) => Poll::Pending,
        }
    }
}
