//! `/metrics` of a real gateway, against the documentation, against strangers and against `promtool`.

use std::{io::Write as _, process::Stdio};

use reqwest::Method;

use super::{documented, series, shown};
use crate::support::{gateway::Gateway, process::run, tool};

const HINT: &str = "Debian: apt-get install prometheus";

/// Asks for everything there is, well and badly.
async fn ask_everything(gateway: &Gateway) {
    let token = gateway.pair().await;
    for path in ["/health", "/ready", "/metrics", "/whatsapp", "/nothing"] {
        gateway.client.get(path).await;
    }
    for path in ["/pair", "/webhook", "/whatsapp", "/linq", "/nextcloud-talk"] {
        gateway.client.send(gateway.client.request(Method::POST, path)).await;
    }
    gateway.client.post(&token, Some("key"), "hello").await;
    gateway.client.post(&token, Some("key"), "hello").await;
    gateway.sweep().await;
}

#[tokio::test]
async fn what_is_documented_is_shown_and_nothing_else() {
    let gateway = Gateway::start().await;
    let (all, from_the_start) = documented();
    let at_first = shown(&gateway.client.get("/metrics").await.text);
    assert_eq!(from_the_start.difference(&at_first).collect::<Vec<_>>(), [""; 0], "not there at first");
    ask_everything(&gateway).await;
    let in_the_end = shown(&gateway.client.get("/metrics").await.text);
    assert_eq!(in_the_end.difference(&all).collect::<Vec<_>>(), [""; 0], "not in docs/OBSERVABILITY.md");
    assert_eq!(all.difference(&in_the_end).collect::<Vec<_>>(), [""; 0], "documented and never shown");
}

/// Failure 33: metrics see one route out of eight.
#[tokio::test]
async fn every_route_has_its_duration_by_method_and_status() {
    let gateway = Gateway::start().await;
    ask_everything(&gateway).await;
    for (method, route, status) in [
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
        ("POST", "/pair", 200),
        ("POST", "/webhook", 200),
        ("POST", "/whatsapp", 404),
        ("POST", "/linq", 404),
        ("POST", "/nextcloud-talk", 404),
    ] {
        let series = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",\
             http_response_status_code=\"{status}\",http_route=\"{route}\",url_scheme=\"http\"}}"
        );
        assert!(gateway.metric(&series).await > 0, "{series}");
    }
    let at_work = r#"http_server_active_requests{http_request_method="GET",url_scheme="http"}"#;
    assert_eq!(gateway.metric(at_work).await, 1, "the scrape itself");
}

#[tokio::test]
async fn what_strangers_invent_makes_no_series() {
    let gateway = Gateway::start().await;
    let strange = async |number: u32| {
        for path in [
            format!("/{number}"),
            format!("/webhook/{number}"),
            format!("/pair?{number}"),
            "/webhook".into(),
            "/%00".into(),
        ] {
            let method = Method::from_bytes(format!("X{number}").as_bytes()).unwrap();
            for method in [method, Method::GET, Method::POST] {
                let request = gateway.client.request(method, &path).bearer_auth(format!("zc_{number}"));
                let request = request
                    .header("X-Request-Id", number)
                    .header("X-Forwarded-For", format!("192.0.2.{number}"));
                let request =
                    request.header("Host", format!("h{number}.example")).header("Idempotency-Key", number);
                let request =
                    request.header("X-Session-Id", number).header("X-Pairing-Code", 100_000 + number);
                gateway
                    .client
                    .send(request.body(format!("{{\"message\":\"{number}\",\"model\":\"{number}\"}}")))
                    .await;
            }
        }
    };
    // So many that each limit has been reached before the first look, and the look itself has been counted.
    for number in 1..15 {
        strange(number).await;
    }
    gateway.client.get("/metrics").await;
    let before = series(&gateway.client.get("/metrics").await.text);
    for number in 15..40 {
        strange(number).await;
    }
    let after = series(&gateway.client.get("/metrics").await.text);
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted_and_no_longer_at_work() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    gateway.model.hold();
    let posted = gateway.client.post_apart(&token, None, "hello");
    gateway.model.wait_for_calls(1).await;
    posted.abort();
    gateway.until_metric("zeroclaw_http_requests_hung_up_total", 1).await;
    let at_work = r#"http_server_active_requests{http_request_method="POST",url_scheme="http"}"#;
    gateway.until_metric(at_work, 0).await;
    gateway.model.release();
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Some(promtool) = tool::on_path("promtool", HINT) else { return };
    let gateway = Gateway::start().await;
    ask_everything(&gateway).await;
    let text = gateway.client.get("/metrics").await.text;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut command = std::process::Command::new(promtool);
    command.args(["check", "metrics"]).stdout(said.reopen().unwrap()).stderr(said.reopen().unwrap());
    let mut child = command.stdin(Stdio::from(reader)).spawn().unwrap();
    drop(command);
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    let status = child.wait().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(said.path()).unwrap());
}

#[test]
fn promtool_finds_nothing_wrong_with_the_alerts_and_they_fire_when_they_should() {
    let Some(promtool) = tool::on_path("promtool", HINT) else { return };
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]] {
        let mut command = std::process::Command::new(&promtool);
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana")).args(arguments);
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}
