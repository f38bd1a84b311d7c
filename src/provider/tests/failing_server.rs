//! A server of models that fails in every way there is, with and without another behind it.

use super::{chain::parts, *};
use crate::telemetry::Metrics;

const COMPLETION: &str = r#"{"choices":[{"message":{"content":"hi"}}]}"#;
const CHAT: &str = r#"{"message":{"role":"assistant","content":"hi from the fallback"}}"#;

/// What the server does, how long a call may take, and the class of what comes of it.
fn failures() -> Vec<(Reaction, Duration, &'static str)> {
    let short = Duration::from_secs(1);
    let half = || COMPLETION[..20].to_owned();
    vec![
        (Reaction::HangUp, SOON, "unreachable"),
        (Reaction::HangUpInside(half()), SOON, "unreachable"),
        (Reaction::Silence, short, "timed_out"),
        (Reaction::SilenceInside(half()), short, "timed_out"),
        (Reaction::Answer(429, &[("retry-after", "3600")], "no".into()), SOON, "rate_limited"),
        (Reaction::status(500, "no"), SOON, "overloaded"),
        (Reaction::status(200, "<html>rubbish</html>"), SOON, "bad_response"),
        (Reaction::status(200, &"x".repeat(5_000_000)), SOON, "too_long"),
    ]
}

fn openai(url: &str, timeout: Duration) -> Link {
    let settings = ModelSettings {
        base_url: url.to_owned(),
        api_key: None,
        model: "model-1".into(),
        system_prompt: None,
        temperature: 0.5,
        max_tokens: None,
        timeout,
    };
    Link { provider: Arc::new(OpenAi::new(&client(), settings).unwrap()), timeout }
}

async fn chain(first: Link, fallback: Option<&TestServer>) -> (Result<Answer, ProviderError>, Arc<Metrics>) {
    let fallback = fallback.map(|server| Link {
        provider: Arc::new(Ollama::new(&client(), settings(server, SOON)).unwrap()),
        timeout: SOON,
    });
    let settings = ChainSettings { timeout: SOON * 2, max_retries: 0, max_in_flight: 1, max_queued: 1 };
    let parts = parts();
    let metrics = Arc::clone(&parts.metrics);
    let chain = Chain::new(first, fallback.into_iter().collect(), settings, parts);
    let (outcome, _) = tokio::time::timeout(SOON, chain.answer(&hello())).await.expect("nothing hangs");
    (outcome, metrics)
}

#[tokio::test]
async fn each_failure_has_its_class() {
    for (reaction, timeout, class) in failures() {
        let server = TestServer::start([reaction]).await;
        let (outcome, metrics) = chain(openai(&server.url, timeout), None).await;
        assert_eq!(outcome.unwrap_err().class(), class);
        let series = format!(r#"zeroclaw_llm_attempts_total{{outcome="{class}",provider="openai"}} 1"#);
        assert!(metrics.render().lines().any(|line| line == series), "{series}");
    }
}

#[tokio::test]
async fn the_fallback_answers_for_each_failure() {
    for (reaction, timeout, class) in failures() {
        let [server, fallback] =
            [TestServer::start([reaction]).await, TestServer::start([Reaction::status(200, CHAT)]).await];
        let (outcome, _) = chain(openai(&server.url, timeout), Some(&fallback)).await;
        assert_eq!(&*outcome.unwrap().text, "hi from the fallback", "{class}");
        assert_eq!((server.calls().len(), fallback.calls().len()), (1, 1), "{class}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_its_fallback_answers() {
    let nobody = "http://127.0.0.1:1"; // of a free port somebody else may be listening a moment later
    let (outcome, _) = chain(openai(nobody, SOON), None).await;
    assert_eq!(outcome.unwrap_err().class(), "unreachable");
    let fallback = TestServer::start([Reaction::status(200, CHAT)]).await;
    let (outcome, _) = chain(openai(nobody, SOON), Some(&fallback)).await;
    assert_eq!(&*outcome.unwrap().text, "hi from the fallback");
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_leads_nowhere() {
    let elsewhere = TestServer::start([Reaction::status(200, COMPLETION)]).await;
    let target: &'static str = Box::leak(elsewhere.url.clone().into_boxed_str());
    let headers: &'static _ = Box::leak(Box::new([("location", target)]));
    let server = TestServer::start([Reaction::Answer(307, headers, String::new())]).await;
    let (outcome, _) = chain(openai(&server.url, SOON), None).await;
    assert_eq!(outcome, Err(status(307)));
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn after_a_failure_there_is_room_for_the_next_call() {
    let server = TestServer::start([Reaction::Silence, Reaction::status(200, COMPLETION)]).await;
    let settings = ChainSettings { timeout: SOON, max_retries: 0, max_in_flight: 1, max_queued: 0 };
    let chain = Chain::new(openai(&server.url, Duration::from_secs(3)), Vec::new(), settings, parts());
    assert_eq!(chain.answer(&hello()).await.0.unwrap_err().class(), "timed_out");
    assert_eq!(&*chain.answer(&hello()).await.0.unwrap().text, "hi");
}
