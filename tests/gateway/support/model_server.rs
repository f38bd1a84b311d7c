//! A model behind HTTP, as the real program calls it: a loopback server with the completions of `OpenAI`.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{process::LONGEST_WAIT, random::Random, server::Server};

/// Counts its calls by message, and answers, fails or waits as it is told. It has threads of its own, so a test may
/// block while it answers.
pub struct ModelServer {
    base_url: String,
    state: Arc<State>,
    _server: Server,
}

struct State {
    /// The models that were asked about each text, in the order of the calls.
    calls: watch::Sender<HashMap<String, Vec<String>>>,
    /// All messages of the last call about each text.
    told: Mutex<HashMap<String, Vec<Value>>>,
    held: watch::Sender<bool>,
    fails: Mutex<Option<StatusCode>>,
    delay: Mutex<Option<(Random, usize)>>,
}

impl ModelServer {
    /// Answers at once: `<message>: answer <number of the call>`.
    pub fn start() -> Self {
        let state = Arc::new(State {
            calls: watch::Sender::default(),
            told: Mutex::default(),
            held: watch::Sender::new(false),
            fails: Mutex::default(),
            delay: Mutex::default(),
        });
        let server = Server::start(&state, answer);
        Self { base_url: format!("http://{}/v1", server.address()), state, _server: server }
    }

    /// The variables that make a gateway ask it for `model`, once for each try of a message.
    pub fn env<'a>(&'a self, model: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("MOORGATE_PROVIDER__KIND", "openai"),
            ("MOORGATE_PROVIDER__MODEL", model),
            ("MOORGATE_PROVIDER__BASE_URL", &self.base_url),
            ("MOORGATE_PROVIDER__MAX_RETRIES", "0"),
        ]
    }

    /// How often it was asked about this message.
    pub fn calls(&self, text: &str) -> usize {
        self.models_asked(text).len()
    }

    /// The models that were asked about this message, in the order of the calls.
    pub fn models_asked(&self, text: &str) -> Vec<String> {
        self.state.calls.borrow().get(text).cloned().unwrap_or_default()
    }

    /// What it was told when it was last asked about this message: `role: content`, in order.
    pub fn told(&self, text: &str) -> Vec<String> {
        let line = |message: &Value| {
            format!("{}: {}", message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
        };
        self.state.told.lock().unwrap()[text].iter().map(line).collect()
    }

    /// Waits until it has been asked `calls` times about this message.
    pub async fn wait_for_calls(&self, text: &str, calls: usize) {
        let mut seen = self.state.calls.subscribe();
        let enough = seen.wait_for(|seen| seen.get(text).is_some_and(|models| models.len() >= calls));
        tokio::time::timeout(LONGEST_WAIT, enough).await.expect("the model is asked").unwrap();
    }

    /// Waits in every call from now on, until [`release`](Self::release).
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Lets all calls go on.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// Fails with this status from now on, or no more.
    pub fn fail(&self, status: Option<u16>) {
        *self.state.fails.lock().unwrap() = status.map(|status| StatusCode::from_u16(status).unwrap());
    }

    /// Takes a random time for each answer from now on, less than `end_ms`.
    pub fn delay(&self, random: Random, end_ms: usize) {
        *self.state.delay.lock().unwrap() = Some((random, end_ms));
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/chat/completions");
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::default()) };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let (model, messages) = (&body["model"], body["messages"].as_array().unwrap());
    let text = messages.last().unwrap()["content"].as_str().unwrap();
    let number = state.count(text, model.as_str().unwrap());
    state.told.lock().unwrap().insert(text.to_owned(), messages.clone());
    state.held.subscribe().wait_for(|held| !held).await.unwrap();
    tokio::time::sleep(state.next_delay()).await;
    let failure = *state.fails.lock().unwrap();
    let content = format!("{text}: answer {number}");
    let answer =
        json!({ "model": model, "choices": [{ "message": { "role": "assistant", "content": content } }] });
    let mut response = Response::new(Full::from(answer.to_string()));
    *response.status_mut() = failure.unwrap_or_default();
    Ok(response)
}

impl State {
    /// Counts a call, and says the how-manyeth it is about this text.
    fn count(&self, text: &str, model: &str) -> usize {
        let mut number = 0;
        self.calls.send_modify(|calls| {
            let models = calls.entry(text.to_owned()).or_default();
            models.push(model.to_owned());
            number = models.len();
        });
        number
    }

    fn next_delay(&self) -> Duration {
        let mut delay = self.delay.lock().unwrap();
        let millis = delay.as_mut().map_or(0, |(random, end)| random.below(*end));
        Duration::from_millis(u64::try_from(millis).unwrap())
    }
}
