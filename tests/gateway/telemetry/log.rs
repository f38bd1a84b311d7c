//! The one line of each request.

use std::{path::Path, process::Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    client::Client,
    model_server::ModelServer,
    process::{Process, Running, moorgate},
    raw::Raw,
    wait::until,
};

const JSON: (&str, &str) = ("MOORGATE_OBSERVABILITY__LOG_FORMAT", "json");

fn lines(process: &mut Process) -> Vec<Value> {
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let log = process.logged();
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|line| line["target"] == "moorgate::request").collect()
}

/// The lines with this request id.
fn of<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines.iter().map(|line| &line["fields"]).filter(|fields| fields["request_id"] == id).collect()
}

async fn send(client: &Client, method: Method, path: &str, id: &'static str) -> u16 {
    client.send(client.request(method, path).header("X-Request-Id", id)).await.status
}

#[tokio::test]
async fn each_request_has_one_line_with_its_outcome() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let mut process = Process::start(folder.path(), &[&model.env("model")[..], &[JSON]].concat());
    let token = process.pair().await;
    let client = process.client.clone();
    let post = |id: &'static str, message: &str| {
        client.message(&token, Some("key-1"), message).header("X-Request-Id", id)
    };
    assert_eq!(client.send(post("first", "hello")).await.status, 200);
    assert_eq!(client.send(post("again", "hello")).await.status, 200);
    assert_eq!(client.send(post("other", "other")).await.status, 422);
    assert_eq!(send(&client, Method::GET, "/health", "health").await, 200);
    assert_eq!(send(&client, Method::PUT, "/nowhere", "nowhere").await, 404);
    assert_eq!(send(&client, Method::POST, "/webhook", "stranger").await, 401);
    let lines = lines(&mut process);
    for (id, method, route, status, outcome) in [
        ("first", "POST", "/webhook", 200, "ok"),
        ("again", "POST", "/webhook", 200, "replayed"),
        ("other", "POST", "/webhook", 422, "key_mismatch"),
        ("health", "GET", "/health", 200, "ok"),
        ("nowhere", "PUT", "other", 404, "not_found"),
        ("stranger", "POST", "/webhook", 401, "unauthorized"),
    ] {
        let found = of(&lines, id);
        assert_eq!(found.len(), 1, "{id}: {lines:?}");
        let line = found[0];
        let said = [&line["method"], &line["route"], &line["status"], &line["outcome"]];
        assert_eq!(said, [&json!(method), &json!(route), &json!(status), &json!(outcome)], "{line}");
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{line}");
        assert!(line["response_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{line}");
    }
    assert_eq!(of(&lines, "first")[0]["request_bytes"], json!({ "message": "hello" }).to_string().len());
    assert_eq!(of(&lines, "health")[0]["queries"], 0, "/health reads memory only");
    let written = of(&lines, "first")[0]["queries"].as_u64().unwrap();
    assert!(
        (1..=2).contains(&written),
        "claim and answer are one, or two if the model took its time: {written}"
    );
    assert_eq!(of(&lines, "again")[0]["queries"], 2, "the key is read, and the hit is written");
}

#[tokio::test]
async fn a_client_that_hangs_up_has_its_line_too() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    model.hold();
    let env = [&model.env("model")[..], &[JSON, ("MOORGATE_OBSERVABILITY__REQUEST_LOG", "failed")]].concat();
    let mut process = Process::start(folder.path(), &env);
    let token = process.pair().await;
    let posted = process.client.post_apart(&token, None, "hello");
    model.wait_for_calls("hello", 1).await;
    posted.abort();
    let hung_up = "zeroclaw_http_requests_hung_up_total 1";
    until(hung_up, async || process.client.get("/metrics").await.text.contains(hung_up)).await;
    model.release();
    let lines = lines(&mut process);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["fields"]["outcome"], &lines[0]["fields"]["status"]),
        (&json!("hung_up"), &json!(0))
    );
}

#[tokio::test]
async fn request_log_says_which_requests_have_a_line() {
    for (setting, expected) in [("all", vec![200, 500]), ("failed", vec![500]), ("off", vec![])] {
        let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
        let env =
            [&model.env("model")[..], &[JSON, ("MOORGATE_OBSERVABILITY__REQUEST_LOG", setting)]].concat();
        let mut process = Process::start(folder.path(), &env);
        let token = process.pair().await;
        for failure in [None, Some(503)] {
            model.fail(failure);
            process.client.post(&token, None, "hello").await;
        }
        let lines = lines(&mut process);
        let of_webhook = lines.iter().map(|line| &line["fields"]).filter(|line| line["route"] == "/webhook");
        let statuses: Vec<_> = of_webhook.map(|line| line["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, expected, "{setting}");
    }
}

/// A gateway whose standard error is a pipe.
fn with_a_pipe(folder: &Path) -> (Process, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = moorgate(folder);
    command.args(["serve", "--port", "0", "--print-json"]).stdout(Stdio::piped()).stderr(writer);
    let running = Running::spawn(&mut command);
    (Process::of(running, folder), reader)
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_what_is_lost_is_counted() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("moorgate.log"), "").unwrap();
    let (mut process, reader) = with_a_pipe(folder.path());
    let request = format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: {}\r\n\r\n", "i".repeat(128));
    let mut connection = Raw::connect(process.address).await;
    // A line has some 300 bytes; the pipe takes 64 KiB and the buffer 256 KiB.
    for _ in 0..3000 {
        connection.send(&request).await;
        assert_eq!(connection.reply().await.status, 200);
    }
    let text = process.client.get("/metrics").await.text;
    let dropped = text.lines().find_map(|line| line.strip_prefix("zeroclaw_log_lines_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "{dropped:?}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    drop(reader);
}
