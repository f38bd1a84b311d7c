//! `/health`, `/ready` and `/metrics`.

use std::time::Duration;

use super::*;

fn health(paired: bool, uptime_secs: u64) -> String {
    format!(
        r#"{{"status":"ok","paired":{paired},"runtime":{{"components":{{"gateway":"ok","channels":"disabled","scheduler":"ok","provider":"ok","tunnel":"disabled","heartbeat":"ok","indexer":"ok","edits":"ok","backups":"disabled"}},"uptime_secs":{uptime_secs}}}}}"#
    )
}

#[tokio::test]
async fn health_says_whether_a_client_is_paired_and_how_long_it_has_been_up() {
    let gateway = Gateway::start().await;
    gateway.client.get("/health").await.assert_is(200, &health(false, 0));
    gateway.pair().await;
    gateway.clock.advance(Duration::from_millis(5999));
    gateway.client.get("/health").await.assert_is(200, &health(true, 5));
    let gateway = gateway.restart().await;
    gateway.client.get("/health").await.assert_is(200, &health(true, 0));
}

#[tokio::test]
async fn ready_says_so() {
    let gateway = Gateway::start().await;
    gateway.client.get("/ready").await.assert_is(200, r#"{"status":"ready"}"#);
}

#[tokio::test]
async fn these_three_need_no_token_and_no_limit_counts_them() {
    let settings =
        [("gateway.webhook_rate_limit_per_minute", "1"), ("gateway.pair_rate_limit_per_minute", "1")];
    let gateway = Gateway::start_with(&settings).await;
    for path in ["/health", "/ready", "/metrics"].repeat(20) {
        let reply = gateway.client.get(path).await;
        assert_eq!((reply.status, reply.header("ratelimit")), (200, None));
    }
    assert_eq!(gateway.sql("SELECT count(*) FROM rate_hit"), "0");
}

#[tokio::test]
async fn metrics_are_prometheus_text_whatever_is_accepted() {
    let gateway = Gateway::start().await;
    for accept in ["*/*", "application/openmetrics-text; version=1.0.0", "application/json", "nonsense"] {
        let request = gateway.client.request(reqwest::Method::GET, "/metrics").header("Accept", accept);
        let reply = gateway.client.send(request).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), None);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("x-request-id").is_some());
        assert!(
            reply.text.lines().any(|line| line == "# TYPE zeroclaw_turns_total counter"),
            "{}",
            reply.text
        );
    }
}

#[tokio::test]
async fn metrics_that_are_switched_off_say_how_to_switch_them_on() {
    let gateway = Gateway::start_with(&[("observability.backend", "none")]).await;
    let reply = gateway.client.get("/metrics").await;
    assert_eq!(
        (reply.status, reply.text.as_str()),
        (200, "# Prometheus backend not enabled. Set [observability] backend = \"prometheus\" in config.\n")
    );
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

/// Failure 33: metrics saw one route out of eight.
#[tokio::test]
async fn every_route_shows_in_the_metrics_and_what_is_no_route_is_other() {
    let gateway = Gateway::start().await;
    for path in ["/health", "/ready", "/metrics", "/pair", "/webhook", "/nothing", "/more/nothing"] {
        gateway.client.get(path).await;
    }
    for (route, status, count) in [
        ("/health", 200, 1),
        ("/ready", 200, 1),
        ("/metrics", 200, 3), // the scrapes for the two series above are counted once they are answered
        ("/pair", 405, 1),
        ("/webhook", 405, 1),
        ("other", 404, 2),
    ] {
        let series =
            format!(r#"zeroclaw_http_requests_total{{method="GET",route="{route}",status="{status}"}}"#);
        assert_eq!(gateway.metric(&series).await, count, "{series}");
    }
}
