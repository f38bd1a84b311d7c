//! `[provider]`: what the model's server gets to see.

use std::{fs, pin::pin};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{process::Process, raw::soon};

const OPENAI: &str = r#"{"model":"model-1-0613","choices":[{"message":{"content":"hi"}}]}"#;
const ANTHROPIC: &str = r#"{"model":"model-1-0613","content":[{"type":"text","text":"hi"}]}"#;
const OLLAMA: &str = r#"{"model":"model-1-0613","message":{"content":"hi"}}"#;
const ANSWERED: (u16, &str) = (200, r#"{"response":"hi","model":"model-1-0613"}"#);
const OVERLOADED: (u16, &str) =
    (503, r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#);
const FAILED: (u16, &str) = (500, r#"{"error":"LLM request failed"}"#);

/// A server of models that answers one call after the other, when the test says so.
struct ModelServer {
    listener: TcpListener,
    base_url: String,
}

impl ModelServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        Self { listener, base_url }
    }

    /// A gateway that asks it, with these variables besides.
    fn gateway(&self, folder: &TempDir, more: &[(&str, &str)]) -> Process {
        let mut env = vec![
            ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"),
            ("MOORGATE_PROVIDER__KIND", "openai"),
            ("MOORGATE_PROVIDER__MODEL", "model-1"),
            ("MOORGATE_PROVIDER__BASE_URL", &self.base_url),
        ];
        env.extend(more);
        Process::start(folder.path(), &env)
    }

    /// Takes one request: its head, its body, and where to answer it.
    async fn call(&self) -> (String, Value, TcpStream) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let (head, body) = read_request(&mut stream).await;
        (head, body, stream)
    }

    /// Takes one request and answers it: its head and its body.
    async fn answer(&self, status: u16, answer: &str) -> (String, Value) {
        let (head, body, stream) = self.call().await;
        reply(stream, status, answer).await;
        (head, body)
    }
}

async fn reply(mut stream: TcpStream, status: u16, answer: &str) {
    let head = format!("HTTP/1.1 {status} \r\nConnection: close\r\nContent-Length: {}", answer.len());
    stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes()).await.unwrap();
}

async fn read_request(stream: &mut TcpStream) -> (String, Value) {
    let (mut text, mut bytes) = (String::new(), vec![0; 4096]);
    loop {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "cut off: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            return (head.to_lowercase(), body);
        }
    }
}

async fn asked(more: &[(&str, &str)], answer: &str) -> (String, Value) {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    fs::write(folder.path().join("api-key"), "key-in-a-file\n").unwrap();
    let gateway = server.gateway(&folder, more);
    let (reply, asked) =
        soon(async { tokio::join!(gateway.client.post("", None, "hello"), server.answer(200, answer)) })
            .await;
    assert_eq!((reply.status, reply.text.as_str()), ANSWERED);
    asked
}

#[tokio::test]
async fn the_model_is_asked_as_the_settings_say() {
    let (head, body) = asked(
        &[
            ("MOORGATE_PROVIDER__API_KEY", "key-1"),
            ("MOORGATE_PROVIDER__TEMPERATURE", "0.25"),
            ("MOORGATE_PROVIDER__MAX_TOKENS", "77"),
            ("MOORGATE_PROVIDER__SYSTEM_PROMPT", "be brief"),
        ],
        OPENAI,
    )
    .await;
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer key-1"), "{head}");
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]);
    let wanted = json!({"model": "model-1", "messages": messages, "temperature": 0.25, "max_tokens": 77, "stream": false});
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn the_api_key_may_be_in_a_file_and_the_rest_be_left_out() {
    let (head, body) = asked(&[("MOORGATE_PROVIDER__API_KEY_FILE", "api-key")], OPENAI).await;
    assert!(head.contains("\r\nauthorization: bearer key-in-a-file"), "{head}");
    let messages = json!([{"role": "user", "content": "hello"}]);
    assert_eq!(body, json!({"model": "model-1", "messages": messages, "temperature": 0.7, "stream": false}));
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_words() {
    let (head, body) = asked(
        &[("MOORGATE_PROVIDER__KIND", "anthropic"), ("MOORGATE_PROVIDER__API_KEY", "key-1")],
        ANTHROPIC,
    )
    .await;
    assert!(head.starts_with("post /v1/v1/messages http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nx-api-key: key-1") && head.contains("\r\nanthropic-version: 2023-06-01"),
        "{head}"
    );
    let messages = json!([{"role": "user", "content": "hello"}]);
    let wanted = json!({"model": "model-1", "max_tokens": 4096, "messages": messages, "temperature": 0.7});
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn ollama_is_asked_in_its_own_words() {
    let (head, body) = asked(&[("MOORGATE_PROVIDER__KIND", "ollama")], OLLAMA).await;
    assert!(head.starts_with("post /v1/api/chat http/1.1\r\n"), "{head}");
    let messages = json!([{"role": "user", "content": "hello"}]);
    let options = json!({"temperature": 0.7});
    assert_eq!(body, json!({"model": "model-1", "messages": messages, "stream": false, "options": options}));
}

#[tokio::test]
async fn max_retries_is_how_often_a_failing_model_is_asked_again() {
    for (retries, outcome) in [("0", FAILED), ("1", ANSWERED)] {
        let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
        let gateway = server.gateway(&folder, &[("MOORGATE_PROVIDER__MAX_RETRIES", retries)]);
        let serve = async {
            server.answer(503, "busy").await;
            server.answer(200, OPENAI).await;
        };
        let asked = async {
            let mut reply = pin!(gateway.client.post("", None, "hello"));
            tokio::select! {
                reply = &mut reply => reply,
                () = serve => reply.await,
            }
        };
        let reply = soon(asked).await;
        assert_eq!((reply.status, reply.text.as_str()), outcome, "{retries} retries");
    }
}

#[tokio::test]
async fn max_in_flight_and_max_queued_bound_the_calls_of_a_model() {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    let limits = [("MOORGATE_PROVIDER__MAX_IN_FLIGHT", "1"), ("MOORGATE_PROVIDER__MAX_QUEUED", "0")];
    let gateway = server.gateway(&folder, &limits);
    let second_while_the_first_is_held = async {
        let (_, _, stream) = server.call().await;
        let second = gateway.client.post("", None, "second").await;
        assert_eq!((second.status, second.text.as_str()), OVERLOADED);
        reply(stream, 200, OPENAI).await;
    };
    let first = gateway.client.post("", None, "first");
    let (first, ()) = soon(async { tokio::join!(first, second_while_the_first_is_held) }).await;
    assert_eq!((first.status, first.text.as_str()), ANSWERED);
}

#[tokio::test]
async fn a_fallback_answers_where_the_first_does_not() {
    let (server, fallback) = (ModelServer::start().await, ModelServer::start().await);
    let folder = TempDir::new().unwrap();
    let file = format!(
        "[[provider.fallback]]\nkind = 'ollama'\nmodel = 'model-2'\nbase_url = '{}'\n",
        fallback.base_url
    );
    fs::write(folder.path().join("config.toml"), file).unwrap();
    let gateway = server.gateway(&folder, &[("MOORGATE_PROVIDER__SYSTEM_PROMPT", "be brief")]);
    let post = gateway.client.post("", None, "hello");
    let calls = async { tokio::join!(post, server.answer(401, "no"), fallback.answer(200, OLLAMA)) };
    let (reply, _, (_, asked)) = soon(calls).await;
    assert_eq!((reply.status, reply.text.as_str()), ANSWERED);
    assert_eq!(asked["model"], "model-2");
    assert_eq!(asked["messages"][0], json!({"role": "system", "content": "be brief"}));
}

#[tokio::test]
async fn a_gateway_whose_models_all_fail_is_not_ready() {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    let gateway = server.gateway(&folder, &[("MOORGATE_PROVIDER__MAX_RETRIES", "0")]);
    for _ in 0..5 {
        gateway.client.get("/ready").await.assert_is(200, r#"{"status":"ready"}"#);
        let (reply, _) = tokio::join!(gateway.client.post("", None, "hello"), server.answer(500, "no"));
        assert_eq!((reply.status, reply.text.as_str()), FAILED);
    }
    let not_ready = r#"{"status":"not ready","reasons":["provider"]}"#;
    gateway.client.get("/ready").await.assert_is(503, not_ready);
}

#[tokio::test]
async fn timeout_secs_ends_a_call_of_the_model() {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    let gateway = server.gateway(&folder, &[("MOORGATE_PROVIDER__TIMEOUT_SECS", "1")]);
    let post = gateway.client.post("", None, "hello");
    let reply = soon(post).await; // the default is 120 s
    assert_eq!((reply.status, reply.text.as_str()), FAILED);
}
