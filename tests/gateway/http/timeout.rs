//! Requests that take too long. These wait a second of real time.

use super::*;

#[tokio::test]
async fn a_request_whose_body_never_comes_is_answered_408() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.request_timeout_secs", "1")]).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(webhook_head(&token, "Content-Length: 19\r\n") + r#"{"message""#).await;
    let reply = connection.reply().await;
    reply.assert_is(408, "");
    assert_eq!(reply.header("content-length"), Some("0"));
    assert_eq!(gateway.model.calls(), 0);
    assert_eq!(gateway.sql("SELECT sum(hits) FROM rate_hit WHERE scope = 'webhook'"), "1", "it was counted");
}

#[tokio::test]
async fn a_408_hides_nothing_from_the_metrics() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.request_timeout_secs", "3")]).await;
    gateway.model.hold();
    gateway.client.post(&token, None, "hello").await.assert_is(408, "");
    let series = r#"zeroclaw_http_requests_total{method="POST",route="/webhook",status="408"}"#;
    assert_eq!(gateway.metric(series).await, 1);
    assert_eq!(gateway.metric("zeroclaw_turns_in_flight").await, 1, "the work goes on");
    gateway.model.release();
    gateway.until_metric("zeroclaw_turns_in_flight", 0).await;
    gateway.until_metric(r#"zeroclaw_turns_total{outcome="answered"}"#, 1).await;
}
