//! Where the program writes, and what it never does.

use std::{
    fs::{self, File, OpenOptions},
    process::Stdio,
};

use tempfile::TempDir;

use super::{Running, moorgate};
use crate::support::{
    client::Client,
    model_server::ModelServer,
    process::{Process, free_address},
    wait::until,
};

const API_KEY: &str = "sk-never-to-be-seen";
const SECRET: &str = "webhook-secret-never-to-be-seen";
const MESSAGE: &str = "a message that is nobody's business";

fn full_device() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// Pairs, posts and fails in every way that is logged. Returns the token.
async fn be_busy(process: &Process, model: &ModelServer) -> String {
    let (client, token) = (&process.client, process.pair().await);
    let post = || client.message(&token, Some("order-1"), MESSAGE);
    assert_eq!(client.send(post()).await.status, 401);
    model.fail(Some(503));
    assert_eq!(client.send(post().header("X-Webhook-Secret", SECRET)).await.status, 500);
    model.fail(None);
    assert_eq!(client.send(post().header("X-Webhook-Secret", SECRET)).await.status, 200);
    for status in [403, 403, 403, 403, 403, 429] {
        assert_eq!(client.pair(process.code.as_ref().unwrap()).await.status, status);
    }
    token
}

/// Failure 34: phone numbers and message texts in logs at INFO.
#[tokio::test]
async fn logs_go_to_standard_error_and_no_secret_goes_anywhere() {
    let mut codes_seen = Vec::new();
    for _ in 0..2 {
        let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
        let secrets = [
            ("MOORGATE_PROVIDER__API_KEY", API_KEY),
            ("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET", SECRET),
            ("MOORGATE_OBSERVABILITY__LOG_LEVEL", "trace"),
        ];
        let mut process = Process::start(folder.path(), &[&model.env("model")[..], &secrets].concat());
        let token = be_busy(&process, &model).await;
        let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", process.id())).unwrap();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));

        assert_eq!(process.printed_more(), [""; 0], "standard output is the banner's alone");
        let log = process.logged();
        for said in ["a turn failed", "a client is locked out of pairing", "stopping"] {
            assert!(log.contains(said), "{said} is not in the log");
        }
        for secret in [API_KEY, SECRET, MESSAGE, token.as_str(), &token[3..]] {
            assert!(!log.contains(secret) && !cmdline.contains(secret), "{secret} can be seen");
        }
        let code = process.code.clone().unwrap();
        codes_seen.push(log.contains(&code).then_some(code));
    }
    // Six digits may stand in a moment or a number by chance, but not those of both runs.
    assert!(codes_seen.contains(&None), "codes are in the log: {codes_seen:?}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let mut command = moorgate(folder.path());
    command.args(["serve", "--port", "0", "--print-json"]).envs(model.env("model"));
    command.env("MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET", SECRET).stderr(full_device());
    let running = Running::spawn(command.stdout(Stdio::piped()));
    let mut process = Process::of(running, folder.path());
    be_busy(&process, &model).await;
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[tokio::test]
async fn a_banner_that_cannot_be_written_stops_nothing() {
    let (reader, no_reader) = std::io::pipe().unwrap();
    drop(reader);
    for (last, output) in (2..).zip([Stdio::from(full_device()), Stdio::from(no_reader)]) {
        let (folder, address) = (TempDir::new().unwrap(), free_address(last));
        let mut command = moorgate(folder.path());
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        let mut running = Running::spawn(command.stdout(output).stderr(Stdio::null()));
        let client = Client::new(address);
        let ready = async || client.try_send(client.request(http::Method::GET, "/ready")).await.is_ok();
        until("it starts", ready).await;
        assert_eq!(client.get("/health").await.status, 200);
        running.signal("TERM");
        assert_eq!(running.wait().code(), Some(0));
    }
}
