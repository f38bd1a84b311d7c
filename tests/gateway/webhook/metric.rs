//! Every outcome shows in `/metrics`.

use moorgate::provider::ProviderError;

use super::*;

async fn assert_metrics(gateway: &Gateway, expected: &[(&str, u64)]) {
    for (series, value) in expected {
        assert_eq!(gateway.metric(series).await, *value, "{series}");
    }
}

/// Failure 33: metrics saw one route out of eight.
#[tokio::test]
async fn every_outcome_of_a_message_moves_its_metric() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.max_in_flight", "1")]).await;
    let client = &gateway.client;
    client.post(&token, None, "hello").await;
    client.post(&token, Some("order-1"), "hello").await;
    client.post(&token, Some("order-1"), "hello").await;
    client.post(&token, Some("order-1"), "bye").await;
    client.post(&token, Some("bad key"), "hello").await;
    client.post("zc_wrong", None, "hello").await;
    gateway.model.fail(Some(ProviderError::Status { code: 500, retry_after: None }));
    client.post(&token, None, "hello").await;
    gateway.model.fail(None);
    let running = post_and_hold(&gateway, &token, Some("order-2"), "hello").await;
    client.post(&token, Some("order-2"), "hello").await;
    client.post(&token, None, "hello").await;
    assert_metrics(&gateway, &[("zeroclaw_turns_in_flight", 1)]).await;
    gateway.model.release();
    running.reply().await;

    let model = r#"{model="test-model",provider="openai"}"#;
    assert_metrics(
        &gateway,
        &[
            (r#"zeroclaw_idempotency_outcomes_total{outcome="none"}"#, 2),
            (r#"zeroclaw_idempotency_outcomes_total{outcome="claimed"}"#, 2),
            (r#"zeroclaw_idempotency_outcomes_total{outcome="replayed"}"#, 1),
            (r#"zeroclaw_idempotency_outcomes_total{outcome="mismatch"}"#, 1),
            (r#"zeroclaw_idempotency_outcomes_total{outcome="running"}"#, 1),
            (r#"zeroclaw_turns_total{outcome="answered"}"#, 3),
            (r#"zeroclaw_turns_total{outcome="failed"}"#, 1),
            (r#"zeroclaw_turns_total{outcome="refused"}"#, 1),
            ("zeroclaw_turns_in_flight", 0),
            (r#"zeroclaw_errors_total{component="provider"}"#, 1),
            (r#"zeroclaw_errors_total{component="gateway"}"#, 0),
            (&format!("zeroclaw_llm_requests_total{model}"), 4),
            (&format!("zeroclaw_agent_starts_total{model}"), 4),
            (&format!("zeroclaw_agent_duration_seconds_count{model}"), 4),
            ("zeroclaw_request_latency_seconds_count", 4),
            (r#"zeroclaw_http_requests_total{method="POST",route="/pair",status="200"}"#, 1),
        ],
    )
    .await;
    let by_status = [("200", 4), ("400", 1), ("401", 1), ("409", 1), ("422", 1), ("500", 1), ("503", 1)];
    for (status, count) in by_status {
        let series =
            format!(r#"zeroclaw_http_requests_total{{method="POST",route="/webhook",status="{status}"}}"#);
        assert_metrics(&gateway, &[(&series, count)]).await;
    }
}
