//! What turns took: provider, model, calls, time, tokens; and how the provider shows while it fails.

use std::time::Duration;

use moorgate::provider::ProviderError;
use tempfile::TempDir;

use crate::support::{
    gateway::{Gateway, until_sql},
    model_server::ModelServer,
    platform::Platform,
    process::{moorgate, run},
    sender::{say, whatsapp},
};

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");
const ACCOUNT: &str = "SELECT state, provider, model, provider_calls, prompt_tokens, completion_tokens, provider_ms >= 0 FROM message ORDER BY id";

#[tokio::test]
async fn each_turn_is_on_account() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.client.post("", Some("order-1"), "hello").await;
    gateway.model.hold();
    let slow = gateway.client.post_apart("", Some("order-2"), "hello");
    gateway.model.wait_for_calls(2).await;
    gateway.clock.advance(Duration::from_millis(1500));
    gateway.model.release();
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    assert_eq!(gateway.client.post("", None, "hello").await.status, 500);
    assert_eq!(
        gateway.sql(ACCOUNT),
        "answered|openai|test-model-1|1|7|3|1\nanswered|openai|test-model-1|1|7|3|1\nfailed|openai||1|||1"
    );
    assert_eq!(gateway.sql("SELECT provider_ms FROM message ORDER BY id"), "0\n1500\n0");
    assert_eq!(
        gateway.sql("SELECT day, provider, model, turns, answered, calls, prompt_tokens, completion_tokens, mean_ms, longest_ms FROM v_usage ORDER BY model"),
        "2026-09-21|openai||1|0|1|||0|0\n2026-09-21|openai|test-model-1|2|2|2|14|6|750|1500"
    );
    assert_eq!(gateway.metric(r#"zeroclaw_tokens_used_total{kind="prompt"}"#).await, 14);
    assert_eq!(gateway.metric("zeroclaw_tokens_used_last").await, 10);
}

#[tokio::test]
async fn a_channel_message_is_on_account_for_all_its_tries() {
    let platform = Platform::start();
    let settings: Vec<_> = whatsapp(&platform)
        .into_iter()
        .chain([("channels_config.retry_first_ms", "1"), ("channels_config.message_max_attempts", "3")])
        .collect();
    let gateway = Gateway::start_with(&settings).await;
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    say(&gateway.client, "wamid.1", "1555", "one").await;
    for calls in 1..=3 {
        gateway.model.wait_for_calls(calls).await;
        let noted = "SELECT provider_calls, state <> 'running' FROM message";
        until_sql(&gateway, noted, &format!("{calls}|1")).await;
        gateway.clock.advance(Duration::from_secs(1));
        gateway.sweep().await;
    }
    platform.wait_for_texts(1).await;
    gateway.model.fail(None);
    say(&gateway.client, "wamid.2", "1555", "two").await;
    platform.wait_for_texts(2).await;
    assert_eq!(gateway.sql(ACCOUNT), "failed|openai||3|||1\nanswered|openai|test-model-1|1|7|3|1");
}

#[tokio::test]
async fn a_provider_that_fails_time_after_time_shows_and_comes_back() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    let component =
        async || gateway.client.get("/health").await.json()["runtime"]["components"]["provider"].clone();
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    for _ in 0..5 {
        assert_eq!(component().await, "ok");
        assert_eq!(gateway.client.post("", None, "hello").await.status, 500);
    }
    assert_eq!(component().await, "error");
    gateway.client.get("/ready").await.assert_is(503, r#"{"status":"not ready","reasons":["provider"]}"#);
    assert_eq!(gateway.metric("zeroclaw_providers_suspended").await, 1);
    let refused = gateway.client.post("", Some("order-1"), "hello").await;
    refused.assert_is(500, r#"{"error":"LLM request failed"}"#);
    assert_eq!(gateway.model.calls(), 5, "it is not called meanwhile");
    gateway.model.fail(None);
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(component().await, "degraded");
    assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 200);
    assert_eq!(component().await, "ok");
    gateway.client.get("/ready").await.assert_is(200, r#"{"status":"ready"}"#);
}

/// One message that the model answers with nothing, time after time, is that sender's trouble alone.
#[tokio::test]
async fn a_message_without_an_answer_does_not_suspend_the_provider() {
    let platform = Platform::start();
    let settings: Vec<_> =
        whatsapp(&platform).into_iter().chain([OPEN, ("channels_config.retry_first_ms", "1")]).collect();
    let gateway = Gateway::start_with(&settings).await;
    gateway.model.fail(Some(ProviderError::NoText));
    for _ in 0..6 {
        assert_eq!(gateway.client.post("", None, "odd").await.status, 500);
    }
    gateway.model.fail(None);
    gateway.client.get("/ready").await.assert_is(200, r#"{"status":"ready"}"#);
    assert_eq!(gateway.client.post("", None, "hello").await.status, 200);
}

#[tokio::test]
async fn more_calls_than_may_wait_for_the_provider_are_told_to_come_later() {
    let settings = [OPEN, ("provider.max_in_flight", "1"), ("provider.max_queued", "0")];
    let gateway = Gateway::start_with(&settings).await;
    gateway.model.hold();
    let held = gateway.client.post_apart("", None, "held");
    gateway.model.wait_for_calls(1).await;
    let error = r#"{"error":"Too many requests in flight. Please retry later.","retry_after":1}"#;
    gateway.client.post("", Some("order-1"), "hello").await.assert_is(503, error);
    gateway.model.release();
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 200, "its key is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn ask_tries_the_configured_model_without_a_database() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let ask = |arguments: &[&str]| {
        run(moorgate(folder.path()).arg("ask").args(arguments).envs(model.env("model-1")))
    };
    let answered = ask(&["Are you there?"]);
    assert_eq!((answered.code, answered.out.as_str()), (Some(0), "Are you there?: answer 1\n"));
    assert!(answered.err.starts_with("[openai: model-1, 1 call, 0."), "{answered:?}");
    let json = ask(&["--json", "hello"]);
    let mut output: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(output["took_ms"].take().as_u64().is_some_and(|took| took < 30_000), "{json:?}");
    let expected = serde_json::json!({
        "response": "hello: answer 1", "model": "model-1", "provider": "openai", "calls": 1, "took_ms": null,
        "prompt_tokens": null, "completion_tokens": null,
    });
    assert_eq!((output, json.err.as_str()), (expected, ""));
    assert_eq!(ask(&[" "]).code, Some(64));
    model.fail(Some(401));
    let refused = ask(&["hello"]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(69), ""));
    assert_eq!(refused.err, "moorgate: no answer: the provider answered with status 401 (unauthorized)\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}
