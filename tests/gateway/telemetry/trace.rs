//! Traces: from a caller through the gateway to those whom it calls, and pushed.

use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};

use super::receiver::Receiver;
use crate::support::{
    gateway::Gateway,
    platform::Platform,
    sender::{say, whatsapp},
    wait::until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    moorgate::domain::hex::Hex(bytes).to_string()
}

fn pushed<'a>(receiver: &'a Receiver, ratio: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("observability.otlp_endpoint", receiver.url()),
        ("observability.otlp_interval_secs", "1"),
        ("observability.trace_sample_ratio", ratio),
    ]
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}: {spans:?}"))
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

#[tokio::test]
async fn a_caller_s_trace_goes_through_request_turn_call_and_store() {
    let receiver = Receiver::start();
    let (gateway, token) = Gateway::paired_with(&pushed(&receiver, "0")).await;
    let request = gateway.client.message(&token, Some("key-1"), "hello");
    let request =
        request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).header("tracestate", "a=1,b=2");
    assert_eq!(gateway.client.send(request).await.status, 200);
    let names = ["POST /webhook", "turn", "chat test-model", "write turn", "commit"];
    let spans = receiver.spans(&names).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "others are not kept: {spans:?}");
    let [request, turn, chat, write, commit] = names.map(|name| named(&spans, name));
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(request.trace_state, "a=1,b=2");
    assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(request, "http.route").as_deref(), Some("/webhook"));
    assert_eq!(attribute(request, "moorgate.outcome").as_deref(), Some("ok"));
    assert_eq!((&turn.parent_span_id, &write.parent_span_id), (&request.span_id, &request.span_id));
    assert_eq!(chat.parent_span_id, turn.span_id);
    assert_eq!((&commit.parent_span_id, &commit.links[0].span_id), (&write.span_id, &write.span_id));
    assert_eq!(attribute(chat, "gen_ai.request.model").as_deref(), Some("test-model"));
    assert!(spans.iter().all(|span| span.start_time_unix_nano <= span.end_time_unix_nano));
}

#[tokio::test]
async fn a_hostile_traceparent_counts_as_none() {
    let receiver = Receiver::start();
    let (gateway, token) = Gateway::paired_with(&pushed(&receiver, "1")).await;
    let zeros = format!("00-{}-{CALLER}-01", "0".repeat(32));
    let long = format!("00-{TRACE}-{CALLER}-01-{}", "x".repeat(2000));
    for value in ["", "nonsense", &zeros, &long, &format!("ff-{TRACE}-{CALLER}-01"), "00-\u{e9}-01"] {
        let request = gateway.client.message(&token, None, "hello").header("traceparent", value);
        let request = request.header("tracestate", "y".repeat(3000));
        assert_eq!(gateway.client.send(request).await.status, 200, "{value:?}");
    }
    let spans = receiver.spans(&["POST /webhook"]).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE && span.trace_state.is_empty()));
}

#[tokio::test]
async fn a_reply_of_a_channel_is_a_trace_that_the_platform_is_told_of() {
    let (receiver, platform) = (Receiver::start(), Platform::start());
    let settings = [&pushed(&receiver, "1")[..], &whatsapp(&platform)].concat();
    let gateway = Gateway::start_with(&settings).await;
    say(&gateway.client, "wamid.1", "15551234567", "hello").await;
    platform.wait_for_texts(1).await;
    let spans = receiver.spans(&["POST /whatsapp", "process whatsapp", "send whatsapp"]).await;
    let send = named(&spans, "send whatsapp");
    let told = platform.calls()[0].headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(told, format!("00-{}-{}-01", hex(&send.trace_id), hex(&send.span_id)));
    assert_eq!(attribute(send, "messaging.system").as_deref(), Some("whatsapp"));
    assert!(!receiver.seen().contains("15551234567") && !receiver.seen().contains("hello"));
}

#[tokio::test]
async fn without_a_receiver_nobody_is_told_of_a_trace() {
    let platform = Platform::start();
    let gateway = Gateway::start_with(&whatsapp(&platform)).await;
    say(&gateway.client, "wamid.1", "15551234567", "hello").await;
    platform.wait_for_texts(1).await;
    assert!(!platform.calls()[0].headers.contains_key("traceparent"));
}

#[tokio::test]
async fn metrics_are_pushed_with_the_headers_that_the_receiver_wants() {
    let folder = tempfile::TempDir::new().unwrap();
    let (file, text) = (folder.path().join("headers"), "api-key=k-4711, x-tenant = blue");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let in_file = ("observability.otlp_headers_file", file.to_str().unwrap());
    for headers in [("observability.otlp_headers", text), in_file] {
        let receiver = Receiver::start();
        let gateway = Gateway::start_with(&[&pushed(&receiver, "0")[..], &[headers]].concat()).await;
        gateway.client.get("/health").await;
        receiver.metric("http.server.request.duration").await;
        receiver.metric("zeroclaw_turns_total").await;
        assert_eq!(receiver.headers()["api-key"], "k-4711");
        assert_eq!(receiver.headers()["x-tenant"], "blue");
    }
}

#[tokio::test]
async fn metrics_are_pushed_though_none_are_shown() {
    let receiver = Receiver::start();
    let settings = [&pushed(&receiver, "0")[..], &[("observability.backend", "none")]].concat();
    let gateway = Gateway::start_with(&settings).await;
    receiver.metric("zeroclaw_turns_total").await;
    assert!(gateway.client.get("/metrics").await.text.starts_with("# Prometheus backend not enabled."));
}

#[tokio::test]
async fn what_is_not_pushed_yet_is_pushed_at_the_end() {
    let receiver = Receiver::start();
    let mut settings = pushed(&receiver, "1");
    settings[1].1 = "3600";
    let mut gateway = Gateway::start_with(&settings).await;
    gateway.client.get("/ready").await;
    gateway.stop().await;
    receiver.spans(&["GET /ready"]).await;
    receiver.metric("http.server.request.duration").await;
}

#[tokio::test]
async fn a_receiver_that_refuses_or_is_gone_harms_no_request_and_is_counted() {
    let receiver = Receiver::start();
    receiver.refuse(Some(503));
    let (gateway, token) = Gateway::paired_with(&pushed(&receiver, "1")).await;
    assert_eq!(gateway.client.post(&token, None, "hello").await.status, 200);
    for series in [
        r#"zeroclaw_otlp_pushes_total{outcome="spans_failed"}"#,
        r#"zeroclaw_otlp_pushes_total{outcome="metrics_failed"}"#,
        r#"zeroclaw_spans_dropped_total{reason="export_failed"}"#,
    ] {
        until(series, async || gateway.metric(series).await > 0).await;
    }
    receiver.refuse(None);
    assert_eq!(gateway.client.post(&token, None, "hello").await.status, 200);
    receiver.spans(&["POST /webhook"]).await;
}
