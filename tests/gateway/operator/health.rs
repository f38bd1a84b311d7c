//! `moorgate health`: ready, or exit code 69.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::shape::{command, printed};
use crate::support::{
    process::{Ended, Process, free_address, moorgate, run},
    server::Server,
    transaction::Transaction,
};

/// Somebody else's server.
pub fn stranger() -> Server {
    async fn answer(_: Arc<()>, _: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::from("<html>hello</html>")))
    }
    Server::start(&Arc::new(()), answer)
}

fn health(folder: &TempDir, url: &str) -> Ended {
    command(folder, &["health", "--json", "--url", url])
}

fn answer(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn a_server_that_is_ready_is_said_to_be() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let url = format!("http://{}", process.address);
    assert_eq!(printed(&folder, &["health", "--url", &url]), format!("{url} is ready\n"));
    let ended = health(&folder, &format!("{url}/"));
    let expected = json!({ "url": format!("{url}/"), "ready": true, "reasons": [] });
    assert_eq!((ended.code, answer(&ended)), (Some(0), expected));
}

#[tokio::test]
async fn the_configured_address_is_asked_past_every_proxy() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let mut command = moorgate(folder.path());
    command.arg("health").env("MOORGATE_GATEWAY__PORT", process.address.port().to_string());
    let ended = run(command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9"));
    assert_eq!(
        (ended.code, ended.out),
        (Some(0), format!("http://{} is ready\n", process.address)),
        "{}",
        ended.err
    );
    let ended = run(moorgate(folder.path()).arg("health").env("MOORGATE_GATEWAY__PORT", "0"));
    let expected = "moorgate: gateway.port is 0, which is any: name the server with --url\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(64), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_write_is_not_ready() {
    let folder = TempDir::new().unwrap();
    let env = [("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "50")];
    let process = Process::start(folder.path(), &env);
    let token = process.pair().await;
    let held = Transaction::begin(&process.database);
    assert_eq!(process.client.post(&token, None, "hello").await.status, 503);
    let url = format!("http://{}", process.address);
    let ended = health(&folder, &url);
    let expected = json!({ "url": url, "ready": false, "reasons": ["storage"] });
    assert_eq!((ended.code, answer(&ended)), (Some(69), expected));
    assert_eq!(ended.err, format!("moorgate: {url} is not ready: storage\n"));
    drop(held);
}

#[tokio::test]
async fn who_is_no_moorgate_and_who_is_nobody_is_not_ready() {
    let folder = TempDir::new().unwrap();
    let server = stranger();
    let url = format!("http://{}", server.address());
    assert_eq!(answer(&health(&folder, &url))["reasons"], json!(["stranger"]));
    let ended = command(&folder, &["health", "--url", &url]);
    assert_eq!((ended.code, ended.err), (Some(69), format!("moorgate: {url} is not a moorgate\n")));

    let url = format!("http://{}", free_address(5));
    let ended = health(&folder, &url);
    assert_eq!((ended.code, &answer(&ended)["reasons"]), (Some(69), &json!(["no answer"])));
}
