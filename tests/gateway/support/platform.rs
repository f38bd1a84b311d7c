//! A chat platform's API, as the gateway calls it to send: it records, counts, and takes or refuses as it is told.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{process::LONGEST_WAIT, server::Server};

/// One call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// Whether the platform took it: the user sees it.
    pub taken: bool,
}

impl Call {
    /// The text that the user sees.
    pub fn text(&self) -> &str {
        let places = ["/text/body", "/message/parts/0/value", "/message"];
        places.iter().find_map(|place| self.body.pointer(place)?.as_str()).expect("a call sends a text")
    }

    /// Whom a WhatsApp message is for.
    pub fn to(&self) -> &str {
        self.body["to"].as_str().unwrap()
    }
}

/// What the platform does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes it.
    Take,
    /// Refuses it with a status, and perhaps a `Retry-After` in seconds.
    Refuse(u16, Option<u32>),
    /// Closes the connection without having taken it.
    HangUp,
    /// Takes it, and closes the connection without saying so.
    TakeAndHangUp,
}

type Decide = Box<dyn FnMut(&Call) -> Behaviour + Send>;

/// The server. It has threads of its own, so a test may block while it answers.
pub struct Platform {
    url: String,
    state: Arc<State>,
    _server: Server,
}

struct State {
    calls: watch::Sender<Vec<Call>>,
    held: watch::Sender<bool>,
    decide: Mutex<Decide>,
}

impl Platform {
    /// Takes everything.
    pub fn start() -> Self {
        let state = Arc::new(State {
            calls: watch::Sender::default(),
            held: watch::Sender::new(false),
            decide: Mutex::new(Box::new(|_| Behaviour::Take)),
        });
        let server = Server::start(&state, answer);
        Self { url: format!("http://{}", server.address()), state, _server: server }
    }

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Decides about each call from now on.
    pub fn behave(&self, decide: impl FnMut(&Call) -> Behaviour + Send + 'static) {
        *self.state.decide.lock().unwrap() = Box::new(decide);
    }

    /// Does the same with each call from now on.
    pub fn always(&self, behaviour: Behaviour) {
        self.behave(move |_| behaviour);
    }

    /// Waits in every call from now on, until [`release`](Self::release).
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Lets all calls go on.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.borrow().clone()
    }

    /// What users see, in order.
    pub fn texts(&self) -> Vec<String> {
        let taken = |call: &Call| call.taken.then(|| call.text().to_owned());
        self.state.calls.borrow().iter().filter_map(taken).collect()
    }

    /// Waits until users see so many messages.
    pub async fn wait_for_texts(&self, texts: usize) {
        self.wait(|seen| seen.iter().filter(|call| call.taken).count() >= texts).await;
    }

    async fn wait(&self, enough: impl Fn(&[Call]) -> bool) {
        let mut seen = self.state.calls.subscribe();
        let waited = tokio::time::timeout(LONGEST_WAIT, seen.wait_for(|seen| enough(seen))).await;
        assert!(waited.is_ok(), "the platform is called: {:?}", self.calls());
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut call = Call {
        method: head.method,
        path: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap(),
        taken: false,
    };
    state.held.subscribe().wait_for(|held| !held).await.unwrap();
    let behaviour = state.decide.lock().unwrap()(&call);
    call.taken = matches!(behaviour, Behaviour::Take | Behaviour::TakeAndHangUp);
    let mut number = 0;
    state.calls.send_modify(|calls| {
        calls.push(call);
        number = calls.len();
    });
    respond(behaviour, number)
}

fn respond(behaviour: Behaviour, number: usize) -> Result<Response<Full<Bytes>>, io::Error> {
    let (status, retry_after, body) = match behaviour {
        Behaviour::Take => (200, None, accepted(number)),
        Behaviour::Refuse(status, secs) => (status, secs, json!({ "error": { "message": "no", "code": 1 } })),
        Behaviour::HangUp | Behaviour::TakeAndHangUp => return Err(io::Error::other("hang up")),
    };
    let mut response = Response::builder().status(status);
    if let Some(secs) = retry_after {
        response = response.header("Retry-After", secs);
    }
    Ok(response.body(Full::from(body.to_string())).unwrap())
}

/// What each of the platforms would say, in one.
fn accepted(number: usize) -> Value {
    json!({
        "messaging_product": "whatsapp",
        "messages": [{ "id": format!("wamid.out.{number}") }],
        "message": { "id": format!("linq-out-{number}") },
        "chat_id": "chat-new",
    })
}
