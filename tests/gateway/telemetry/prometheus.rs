//! A real Prometheus scrapes the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    client::Client,
    process::{Process, Running, free_address},
    tool,
    wait::until_is,
};

fn start(program: &Path, folder: &TempDir, target: &str) -> (Running, Client) {
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n  - job_name: moorgate\n    static_configs: [{{ targets: ['{target}'] }}]\n\
         rule_files: ['{}']\n",
        concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana/rules.yml"),
    );
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let address = free_address(9);
    let mut command = Command::new(program);
    command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={address}"),
    ]);
    (Running::spawn(&mut command), Client::new(address))
}

/// The first value of a query; `None` while there is none.
async fn value(client: &Client, query: &str) -> Option<String> {
    let path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
    let reply = client.try_send(client.request(reqwest::Method::GET, &path)).await.ok()?;
    let answer: Value = serde_json::from_str(&reply.text).ok()?;
    Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
}

#[tokio::test]
async fn a_real_prometheus_scrapes_the_real_program() {
    let Some(program) = tool::on_path("prometheus", "Debian: apt-get install prometheus") else { return };
    let (folder, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let process = Process::start(folder.path(), &[]);
    let token = process.pair().await;
    assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
    let (_running, prometheus) = start(&program, &data, &process.address.to_string());
    let expected = [
        (r#"up{job="moorgate"}"#, "1"),
        (r#"zeroclaw_http_requests_total{route="/webhook",status="200"}"#, "1"),
        (
            r#"http_server_request_duration_seconds_count{http_route="/pair",http_response_status_code="200"}"#,
            "1",
        ),
        (r#"zeroclaw_turns_total{outcome="answered"}"#, "1"),
        (r#"count(zeroclaw_writer_commit_seconds_bucket{le="+Inf"})"#, "1"),
    ];
    for (query, wanted) in expected {
        until_is(query, &Some(wanted.to_owned()), async || value(&prometheus, query).await).await;
    }
}
