//! Each vendor's documented responses, read from a real server; and the chain over them.

mod anthropic;
mod chain;
mod failing_server;
mod ollama;
mod openai;

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::{
    domain::message::{Answer, Exchange, MessageText, Usage},
    outbound::test_server::{Call, Reaction, TestServer},
};

type Outcome = Result<Completion, ProviderError>;

const SOON: Duration = Duration::from_secs(30);

fn settings(server: &TestServer, timeout: Duration) -> ModelSettings {
    ModelSettings {
        base_url: server.url.clone(),
        api_key: Some(Secret::new("key-1")),
        model: "model-1".into(),
        system_prompt: Some("be brief".into()),
        temperature: 0.5,
        max_tokens: None,
        timeout,
    }
}

fn client() -> Client {
    Client::new(Duration::from_mins(1)).unwrap()
}

fn hello() -> Prompt {
    Prompt::single(Arc::new(MessageText::new("hello".into()).unwrap()))
}

/// Asks a provider of this kind, whose server reacts like this; what came of it, and what the server was asked.
async fn ask_with<P: Provider>(
    new: fn(&Client, ModelSettings) -> Result<P, SetupError>,
    change: impl FnOnce(&mut ModelSettings, &mut Prompt),
    reaction: Reaction,
) -> (Outcome, Call) {
    let server = TestServer::start([reaction]).await;
    let (mut settings, mut prompt) = (settings(&server, SOON), hello());
    change(&mut settings, &mut prompt);
    let outcome = new(&client(), settings).unwrap().answer(&prompt).await;
    let [call] = server.calls().try_into().unwrap();
    (outcome, call)
}

async fn ask<P: Provider>(
    new: fn(&Client, ModelSettings) -> Result<P, SetupError>,
    code: u16,
    body: &str,
) -> Outcome {
    ask_with(new, |_, _| {}, Reaction::status(code, body)).await.0
}

fn with_history(_: &mut ModelSettings, prompt: &mut Prompt) {
    let exchange = |user: &str, assistant: &str| Exchange { user: user.into(), assistant: assistant.into() };
    prompt.history = vec![exchange("one", "two"), exchange("three", "four")];
}

fn without_extras(settings: &mut ModelSettings, _: &mut Prompt) {
    (settings.api_key, settings.system_prompt) = (None, None);
}

fn completion(text: &str, model: &str, prompt_tokens: u64, completion_tokens: u64) -> Completion {
    let usage = Usage { prompt_tokens: Some(prompt_tokens), completion_tokens: Some(completion_tokens) };
    Completion { answer: Answer { text: text.into(), model: model.into() }, usage }
}

fn body_of(call: &Call) -> Value {
    serde_json::from_str(&call.body).unwrap()
}

fn status(code: u16) -> ProviderError {
    ProviderError::Status { code, retry_after: None }
}

#[tokio::test]
async fn a_refusal_keeps_the_pause_that_it_asks_for() {
    for (code, secs) in
        [(429, Some(7)), (503, Some(7)), (529, Some(7)), (500, None), (401, None), (302, None)]
    {
        let reaction = Reaction::Answer(code, &[("retry-after", "7")], "no".into());
        let error = ask_with(OpenAi::new, |_, _| {}, reaction).await.0.unwrap_err();
        let retry_after = secs.map(Duration::from_secs);
        assert_eq!(error, ProviderError::Status { code, retry_after });
        assert_eq!(error.retry_after(), retry_after);
    }
}

#[tokio::test]
async fn a_refusal_in_words_of_nobody_is_its_status() {
    for body in ["", "<html>", "[]", "null", r#"{"error":null}"#, r#"{"error":{"code":7,"message":{}}}"#] {
        assert_eq!(ask(OpenAi::new, 400, body).await, Err(status(400)), "{body}");
        assert_eq!(ask(Ollama::new, 413, body).await, Err(status(413)), "{body}");
    }
}

#[test]
fn errors_are_classed() {
    for (error, class, is_transient) in [
        (ProviderError::Unreachable("x".into()), "unreachable", true),
        (ProviderError::TimedOut(Duration::ZERO), "timed_out", true),
        (ProviderError::BadResponse("x"), "bad_response", true),
        (ProviderError::ContextTooLong, "context_too_long", false),
        (ProviderError::RefusedByPolicy, "refused_by_policy", false),
        (ProviderError::QueueFull, "queue_full", true),
        (ProviderError::Suspended(SOON), "suspended", true),
        (status(401), "unauthorized", false),
        (status(403), "unauthorized", false),
        (status(400), "refused", false),
        (status(404), "refused", false),
        (status(302), "refused", false),
        (status(408), "timed_out", true),
        (status(429), "rate_limited", true),
        (status(500), "overloaded", true),
        (status(503), "overloaded", true),
        (status(529), "overloaded", true),
    ] {
        assert_eq!((error.class(), error.is_transient()), (class, is_transient), "{error}");
    }
    assert_eq!(status(500).to_string(), "the provider answered with status 500");
    assert_eq!(ProviderError::Suspended(SOON).retry_after(), Some(SOON));
}

#[test]
fn a_key_does_not_show_itself() {
    let settings = ModelSettings {
        base_url: "http://localhost".into(),
        api_key: Some(Secret::new("s3cret")),
        model: "m".into(),
        system_prompt: None,
        temperature: 0.5,
        max_tokens: None,
        timeout: SOON,
    };
    let shown = format!(
        "{:?} {:?} {:?}",
        OpenAi::new(&client(), settings.clone()).unwrap(),
        Anthropic::new(&client(), settings.clone()).unwrap(),
        Ollama::new(&client(), settings).unwrap()
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}
