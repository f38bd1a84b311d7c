//! Another process holds the write lock.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::{OPEN, assert_answered, assert_replayed, assert_unavailable, post};
use crate::support::{
    gateway::{Gateway, until_sql},
    raw,
    wait::until,
};

const SHORT: (&str, &str) = ("database.busy_timeout_ms", "20");
const LONG: (&str, &str) = ("database.busy_timeout_ms", "60000");
const TOKEN: (&str, &str) = ("gateway.paired_tokens", "zc_one");
const ROWS: &str = "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM idempotency_key), \
    (SELECT count(*) FROM rate_hit), (SELECT count(*) FROM pairing_failure)";

/// Debian's `sqlite3`, in the middle of a transaction that writes.
pub(super) struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    pub(super) fn take(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.args(["-cmd", ".timeout 10000"]).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut holder = Self { child, input, output };
        holder.run("BEGIN IMMEDIATE; UPDATE server_run SET pid = pid;");
        holder
    }

    pub(super) fn release(mut self) {
        self.run("COMMIT;");
    }

    /// Runs a statement and waits until it has been run.
    fn run(&mut self, statement: &str) {
        writeln!(self.input, "{statement}\nSELECT 'done';").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_request_to_a_held_database_is_answered_503_and_nothing_is_half_done() {
    let gateway = Gateway::start_with(&[OPEN, SHORT, ("gateway.webhook_rate_limit_per_minute", "1")]).await;
    let holder = Holder::take(&gateway.database());
    assert_unavailable(&post(&gateway, "order-1").await, 1);
    assert_eq!(gateway.sql(ROWS), "0|0|0|0");
    let ready = gateway.client.get("/ready").await;
    assert_eq!((ready.status, ready.text.as_str()), (503, r#"{"status":"not ready","reasons":["storage"]}"#));
    assert_eq!(gateway.client.get("/health").await.json()["runtime"]["components"]["gateway"], "error");

    holder.release();
    assert_answered(&post(&gateway, "order-1").await);
    assert_eq!(gateway.sql(ROWS), "1|1|1|0");
    assert_eq!(gateway.client.get("/ready").await.text, r#"{"status":"ready"}"#);
}

#[tokio::test]
async fn a_time_out_of_zero_waits_for_nobody_and_is_no_obstacle_otherwise() {
    let gateway = Gateway::start_with(&[OPEN, ("database.busy_timeout_ms", "0")]).await;
    let holder = Holder::take(&gateway.database());
    assert_unavailable(&post(&gateway, "order-1").await, 1);
    holder.release();
    assert_answered(&post(&gateway, "order-1").await);
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
}

#[tokio::test]
async fn a_gateway_is_ready_again_by_itself() {
    let gateway = Gateway::start_with(&[OPEN, SHORT]).await;
    let holder = Holder::take(&gateway.database());
    assert_unavailable(&post(&gateway, "order-1").await, 1);
    holder.release();
    until("it is ready", async || gateway.client.get("/ready").await.status == 200).await;
}

/// Failure 18: the code was consumed before the token was durable.
#[tokio::test]
async fn an_attempt_to_pair_with_a_held_database_spends_neither_code_nor_attempt() {
    let gateway = Gateway::start_with(&[SHORT]).await;
    let holder = Holder::take(&gateway.database());
    assert_unavailable(&gateway.client.pair(gateway.code.as_ref().unwrap()).await, 1);
    assert_unavailable(&gateway.client.pair("x").await, 1);
    assert_unavailable(&gateway.client.post("", None, "hello").await, 1);
    assert_eq!(gateway.sql(ROWS), "0|0|0|0");
    holder.release();
    gateway.pair().await;
}

/// Failure 5: what was only in memory vanished at a restart.
#[tokio::test]
async fn no_request_is_answered_whose_hit_is_not_on_disk() {
    let settings = [("gateway.max_in_flight", "1"), ("gateway.request_timeout_secs", "5")];
    let gateway = Gateway::start_with(&[SHORT, TOKEN, settings[0], settings[1]]).await;
    let request = |key, message| gateway.client.message("zc_one", Some(key), message);
    assert_answered(&gateway.client.send(request("order-1", "hello")).await);
    gateway.model.hold();
    let held = tokio::spawn(request("order-2", "hello").send());
    until_sql(&gateway, "SELECT count(*) FROM message WHERE state = 'running'", "1").await;

    let holder = Holder::take(&gateway.database());
    for (request, otherwise) in [
        (gateway.client.message("", None, "hello"), 401),
        (gateway.client.message("zc_two", None, "hello"), 401),
        (request("order-1", "hello"), 200),
        (request("order-1", "good day"), 422),
        (request("order-2", "hello"), 409),
        (request("order-3", "hello"), 503),
        (request("order-3", " "), 400),
        (request("order 3", "hello"), 400),
    ] {
        let reply = gateway.client.send(request).await;
        assert_eq!(reply.retry_after(), 1, "instead of {otherwise}: {reply:?}");
        assert_unavailable(&reply, 1);
    }
    for (header, body) in [("Content-Length: 5", "{"), ("Transfer-Encoding: chunked", &too_long_chunk())] {
        let headers = format!("Authorization: Bearer zc_one\r\n{header}\r\n");
        assert_unavailable(&raw::post(gateway.address(), &headers, body).await, 1); // not 408 and 413
    }
    holder.release();
    gateway.model.release();
    held.await.unwrap().unwrap();
}

fn too_long_chunk() -> String {
    format!("10001\r\n{}", "x".repeat(65_537))
}

/// Failure 35: the first write after a read failed at once, whatever the time-out was.
#[tokio::test]
async fn with_a_longer_time_out_requests_wait_for_the_other_process() {
    let no_limits =
        ["gateway.pair_rate_limit_per_minute", "gateway.webhook_rate_limit_per_minute"].map(|key| (key, "0"));
    let gateway = Gateway::start_with(&[LONG, TOKEN, no_limits[0], no_limits[1]]).await; // so that reads come first
    let (code, client) = (gateway.another_code().await, gateway.client.clone());
    let holder = Holder::take(&gateway.database());
    let paired = tokio::spawn(async move { client.pair(&code).await });
    let client = gateway.client.clone();
    let posted = tokio::spawn(async move { client.post("zc_one", Some("order-1"), "hello").await });
    gateway.model.wait_for_calls(1).await;
    assert_eq!(gateway.client.get("/ready").await.status, 200, "what is public does not wait");
    assert!(!paired.is_finished() && !posted.is_finished());

    holder.release();
    assert_eq!(paired.await.unwrap().status, 200);
    assert_answered(&posted.await.unwrap());
}

#[tokio::test]
async fn work_whose_claim_cannot_be_written_is_not_done_in_secret() {
    let gateway = Gateway::start_with(&[OPEN, SHORT]).await;
    let holder = Holder::take(&gateway.database());
    gateway.model.hold();
    assert_unavailable(&post(&gateway, "order-1").await, 1);
    gateway.model.release();
    holder.release();
    assert_answered(&post(&gateway, "order-1").await);
    assert_eq!(gateway.sql(ROWS), "1|1|1|0");
}

/// Failure 6: money was spent on an answer that was dropped.
#[tokio::test]
async fn an_answer_that_cannot_be_written_is_kept_until_it_can() {
    let gateway = Gateway::start_with(&[OPEN, SHORT]).await;
    gateway.model.hold();
    let client = gateway.client.clone();
    let posted = tokio::spawn(async move { client.post("", Some("order-1"), "hello").await });
    until_sql(&gateway, "SELECT count(*) FROM message WHERE state = 'running'", "1").await;
    let holder = Holder::take(&gateway.database());
    gateway.model.release();
    assert_unavailable(&posted.await.unwrap(), 1);
    holder.release();

    until_sql(&gateway, "SELECT state FROM message", "answered").await;
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
    assert_eq!(gateway.model.calls(), 1);
}
