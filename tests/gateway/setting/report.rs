//! `[observability]` and `[channels_config]`: what the gateway tells, and whom it asks for a secret.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{OPEN, refused_start};
use crate::support::gateway::Gateway;

#[tokio::test]
async fn backend_and_namespace_say_what_metrics_are_served() {
    let gateway = Gateway::start_with(&[("observability.backend", "none")]).await;
    let text = "# Prometheus backend not enabled. Set [observability] backend = \"prometheus\" in config.\n";
    assert_eq!(gateway.client.get("/metrics").await.text, text);
    let gateway = Gateway::start_with(&[("observability.namespace", "harbour")]).await;
    let text = gateway.client.get("/metrics").await.text;
    assert!(text.contains("\nharbour_") && !text.contains("zeroclaw_"), "{text}");
}

/// What is logged by a gateway that warns, and then does not start.
fn logged(more: &[(&str, &str)]) -> String {
    let mut env = vec![
        ("MOORGATE_GATEWAY__HOST", "0.0.0.0"),
        ("MOORGATE_PROVIDER__KIND", "openai"),
        ("MOORGATE_PROVIDER__MODEL", "model-1"),
        ("MOORGATE_PROVIDER__BASE_URL", "http://192.0.2.1/v1"),
    ];
    env.extend(more);
    let (code, text) = refused_start(TempDir::new().unwrap().path(), &env);
    assert_eq!(code, Some(78), "{text}");
    text
}

#[test]
fn log_format_and_log_level_say_what_is_logged() {
    let text = logged(&[]);
    assert!(text.contains(" WARN ") && text.contains("provider.base_url is plain http"), "{text}");
    let text = logged(&[("MOORGATE_OBSERVABILITY__LOG_FORMAT", "json")]);
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    let text = logged(&[("MOORGATE_OBSERVABILITY__LOG_LEVEL", "error")]);
    assert!(text.starts_with("moorgate: refusing to listen on 0.0.0.0"), "{text}");
}

#[test]
fn a_receiver_that_cannot_be_one_is_refused_without_showing_its_key() {
    let folder = TempDir::new().unwrap();
    let env = [
        ("MOORGATE_OBSERVABILITY__OTLP_ENDPOINT", "collector:4318"),
        ("MOORGATE_OBSERVABILITY__OTLP_HEADERS", "k-4711 without a name"),
        ("MOORGATE_OBSERVABILITY__TRACE_SAMPLE_RATIO", "1.5"),
    ];
    let (code, text) = refused_start(folder.path(), &env);
    assert_eq!(code, Some(78), "{text}");
    for key in ["otlp_endpoint must be", "otlp_headers must be", "trace_sample_ratio must be"] {
        assert!(text.contains(key), "{text}");
    }
    assert!(!text.contains("k-4711"), "{text}");
}

async fn status_with(gateway: &Gateway, secret: &str) -> u16 {
    let request = gateway.client.message("", None, "hello").header("X-Webhook-Secret", secret);
    gateway.client.send(request).await.status
}

#[tokio::test]
async fn the_secret_of_the_webhook_is_asked_for_whether_given_or_in_a_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "swordfish\n").unwrap();
    let in_file = ("channels_config.webhook.secret_file", file.to_str().unwrap());
    for setting in [("channels_config.webhook.secret", "swordfish"), in_file] {
        let gateway = Gateway::start_with(&[OPEN, setting]).await;
        assert_eq!(gateway.client.post("", None, "hello").await.status, 401, "{setting:?}");
        assert_eq!(status_with(&gateway, "sword").await, 401);
        assert_eq!(status_with(&gateway, "swordfish").await, 200);
    }
}
