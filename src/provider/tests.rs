use super::*;
use crate::outbound::Client;
use crate::outbound::test_server::{Reaction, TestServer};

const COMPLETION: &str = r#"{"model":"model-1-0613","choices":[{"message":{"content":"hi"}}]}"#;

async fn ask(reaction: Reaction, timeout: Duration) -> Result<Answer, ProviderError> {
    let server = TestServer::start([reaction]).await;
    let settings = OpenAiSettings {
        base_url: server.url.clone(),
        api_key: None,
        model: "model-1".into(),
        system_prompt: None,
        temperature: 0.7,
        max_tokens: None,
        timeout,
    };
    let provider = OpenAi::new(&Client::new(Duration::from_mins(1)).unwrap(), settings).unwrap();
    provider.answer(&MessageText::new("hello".into()).unwrap()).await
}

async fn ask_soon(reaction: Reaction) -> Result<Answer, ProviderError> {
    ask(reaction, Duration::from_secs(30)).await
}

#[tokio::test]
async fn an_answer_is_read() {
    let answer = ask_soon(Reaction::status(200, COMPLETION)).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.model.as_str()), ("hi", "model-1-0613"));
}

#[tokio::test]
async fn a_refusal_keeps_the_pause_that_it_asks_for() {
    for (code, secs) in [(429, Some(7)), (503, Some(7)), (500, None), (401, None), (302, None)] {
        let reaction = Reaction::Answer(code, &[("retry-after", "7")], COMPLETION.into());
        let error = ask_soon(reaction).await.unwrap_err();
        let retry_after = secs.map(Duration::from_secs);
        assert_eq!(error, ProviderError::Status { code, retry_after });
        assert_eq!(error.retry_after(), retry_after);
    }
}

#[tokio::test]
async fn a_call_without_an_answer_says_why() {
    assert!(matches!(ask_soon(Reaction::HangUp).await, Err(ProviderError::Unreachable(_))));
    let short = Duration::from_millis(50);
    assert_eq!(ask(Reaction::Silence, short).await, Err(ProviderError::TimedOut(short)));
    for (body, error) in [
        ("<html>".to_owned(), "not a chat completion"),
        (r#"{"choices":[]}"#.to_owned(), "no choice"),
        (r#"{"choices":[{"message":{}}]}"#.to_owned(), "no content"),
        (" ".repeat(1024 * 1024 + 1), "longer than 1 MiB"),
    ] {
        let result = ask_soon(Reaction::status(200, &body)).await;
        assert_eq!(result, Err(ProviderError::BadResponse(error)), "{body:.30}");
    }
}

#[test]
fn errors_are_classed() {
    let status = |code| ProviderError::Status { code, retry_after: None };
    for (error, class, is_transient) in [
        (ProviderError::Unreachable("x".into()), "unreachable", true),
        (ProviderError::TimedOut(Duration::ZERO), "timed_out", true),
        (ProviderError::BadResponse("x"), "bad_response", true),
        (status(401), "unauthorized", false),
        (status(403), "unauthorized", false),
        (status(400), "refused", false),
        (status(404), "refused", false),
        (status(302), "refused", false),
        (status(408), "timed_out", true),
        (status(429), "rate_limited", true),
        (status(500), "overloaded", true),
        (status(503), "overloaded", true),
    ] {
        assert_eq!((error.class(), error.is_transient()), (class, is_transient), "{error}");
    }
    assert_eq!(status(500).to_string(), "the provider answered with status 500");
}
