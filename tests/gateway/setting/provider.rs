//! `[provider]`: what the model's server gets to see.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{process::Process, raw::soon};

/// A server of models that is called once.
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

    /// Takes one request and answers it: its head and its body.
    async fn answer(self) -> (String, Value) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let (head, body) = read_request(&mut stream).await;
        let answer = r#"{"model":"model-1-0613","choices":[{"message":{"content":"hi"}}]}"#;
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        stream.write_all(reply.as_bytes()).await.unwrap();
        (head, body)
    }
}

async fn read_request(stream: &mut TcpStream) -> (String, Value) {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "cut off: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            return (head.to_lowercase(), body);
        }
    }
}

async fn asked(more: &[(&str, &str)]) -> (String, Value) {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    fs::write(folder.path().join("api-key"), "key-in-a-file\n").unwrap();
    let gateway = server.gateway(&folder, more);
    let (reply, asked) =
        soon(async { tokio::join!(gateway.client.post("", None, "hello"), server.answer()) }).await;
    assert_eq!(reply.text, r#"{"response":"hi","model":"model-1-0613"}"#);
    asked
}

#[tokio::test]
async fn the_model_is_asked_as_the_settings_say() {
    let (head, body) = asked(&[
        ("MOORGATE_PROVIDER__API_KEY", "key-1"),
        ("MOORGATE_PROVIDER__TEMPERATURE", "0.25"),
        ("MOORGATE_PROVIDER__MAX_TOKENS", "77"),
        ("MOORGATE_PROVIDER__SYSTEM_PROMPT", "be brief"),
    ])
    .await;
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer key-1"), "{head}");
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]);
    let wanted = json!({"model": "model-1", "messages": messages, "temperature": 0.25, "max_tokens": 77, "stream": false});
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn the_api_key_may_be_in_a_file_and_the_rest_be_left_out() {
    let (head, body) = asked(&[("MOORGATE_PROVIDER__API_KEY_FILE", "api-key")]).await;
    assert!(head.contains("\r\nauthorization: bearer key-in-a-file"), "{head}");
    let messages = json!([{"role": "user", "content": "hello"}]);
    assert_eq!(body, json!({"model": "model-1", "messages": messages, "temperature": 0.7, "stream": false}));
}

#[tokio::test]
async fn timeout_secs_ends_a_call_of_the_model() {
    let (server, folder) = (ModelServer::start().await, TempDir::new().unwrap());
    let gateway = server.gateway(&folder, &[("MOORGATE_PROVIDER__TIMEOUT_SECS", "1")]);
    let post = gateway.client.post("", None, "hello");
    let reply = soon(post).await; // the default is 120 s
    assert_eq!((reply.status, reply.text.as_str()), (500, r#"{"error":"LLM request failed"}"#));
}
