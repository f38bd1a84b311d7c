//! An OTLP receiver that keeps what it is given.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::sync::watch;

use crate::support::{process::LONGEST_WAIT, server::Server};

/// The receiver. It has threads of its own.
pub struct Receiver {
    url: String,
    state: Arc<State>,
    _server: Server,
}

#[derive(Default)]
struct State {
    spans: watch::Sender<Vec<Span>>,
    metrics: watch::Sender<Vec<String>>,
    headers: Mutex<HeaderMap>,
    raw: Mutex<Vec<u8>>,
    status: Mutex<Option<u16>>,
}

impl Receiver {
    pub fn start() -> Self {
        let state = Arc::<State>::default();
        let server = Server::start(&state, take);
        Self { url: format!("http://{}", server.address()), state, _server: server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Refuses everything with this status from now on, or takes it.
    pub fn refuse(&self, status: Option<u16>) {
        *self.state.status.lock().unwrap() = status;
    }

    /// The headers of the last push.
    pub fn headers(&self) -> HeaderMap {
        self.state.headers.lock().unwrap().clone()
    }

    /// All bytes that it ever got, with what is no ASCII left out.
    pub fn seen(&self) -> String {
        let raw = self.state.raw.lock().unwrap();
        raw.iter().filter(|byte| byte.is_ascii()).map(|byte| char::from(*byte)).collect()
    }

    /// Waits for spans with all of these names; all spans so far.
    pub async fn spans(&self, names: &[&str]) -> Vec<Span> {
        let mut seen = self.state.spans.subscribe();
        let all = |spans: &Vec<Span>| names.iter().all(|name| spans.iter().any(|span| span.name == *name));
        let waited = tokio::time::timeout(LONGEST_WAIT, seen.wait_for(all)).await;
        let spans = self.state.spans.borrow().clone();
        let got: Vec<_> = spans.iter().map(|span| &span.name).collect();
        assert!(waited.is_ok(), "{names:?} are expected, but there are {got:?}");
        spans
    }

    /// Waits for a metric of this name.
    pub async fn metric(&self, name: &str) {
        let mut seen = self.state.metrics.subscribe();
        let there = seen.wait_for(|names| names.iter().any(|it| it == name));
        assert!(tokio::time::timeout(LONGEST_WAIT, there).await.is_ok(), "{name} is not pushed");
    }
}

async fn take(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let body = body.to_bytes();
    *state.headers.lock().unwrap() = head.headers;
    if let Some(status) = *state.status.lock().unwrap() {
        return Ok(Response::builder().status(status).body(Full::default()).unwrap());
    }
    state.raw.lock().unwrap().extend_from_slice(&body);
    match head.uri.path() {
        "/v1/traces" => {
            let pushed = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = pushed.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            state.spans.send_modify(|spans| spans.extend(scopes.flat_map(|scope| scope.spans)));
        }
        "/v1/metrics" => {
            let pushed = ExportMetricsServiceRequest::decode(body).unwrap();
            let scopes = pushed.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
            state.metrics.send_modify(|seen| seen.extend(names));
        }
        path => panic!("{path} is no path of OTLP"),
    }
    Ok(Response::default())
}
