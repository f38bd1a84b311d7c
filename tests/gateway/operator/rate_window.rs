//! `moorgate limit`.

use serde_json::json;
use tempfile::TempDir;

use super::{
    shape::{assert_refused, json, printed},
    until_status,
};
use crate::support::process::Process;

const THREE: [(&str, &str); 1] = [("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "3")];

#[tokio::test]
async fn a_client_over_its_limit_is_listed_and_admitted_again() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &THREE);
    let token = process.pair().await;
    for status in [200, 200, 200, 429] {
        assert_eq!(process.client.post(&token, None, "hello").await.status, status);
    }
    let window = |scope, token: Option<u32>, hits| {
        json!({
            "scope": scope, "token": token, "address": "127.0.0.1", "hits": hits, "first_at": "TIME",
            "last_at": "TIME",
        })
    };
    let listed = json(&folder, &["limit", "list"]);
    assert_eq!(listed, json!([window("webhook", Some(1), 3), window("pair", None, 1)]));

    let cleared = json(&folder, &["limit", "clear", "127.0.0.1", "--scope", "webhook"]);
    assert_eq!(cleared, json!({ "cleared": 1 }));
    let admitted = until_status(200, async || process.client.post(&token, None, "hello").await).await;
    assert_eq!(admitted.left("webhook"), 2, "the whole window is free");
    assert_eq!(json(&folder, &["limit", "list"])[0]["hits"], 1);
}

#[tokio::test]
async fn all_windows_are_emptied_at_once() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &THREE);
    let token = process.pair().await;
    for _ in 0..4 {
        process.client.post(&token, None, "hello").await;
    }
    let reason = "127.0.0.2 has no rate window with a request in it";
    assert_refused(&folder, &["limit", "clear", "127.0.0.2"], reason);
    assert_eq!(printed(&folder, &["limit", "clear", "--all"]), "2 rate windows are empty now.\n");
    assert_eq!(json(&folder, &["limit", "list"]), json!([]));
    until_status(200, async || process.client.post(&token, None, "hello").await).await;
    assert_eq!(printed(&folder, &["limit", "clear", "127.0.0.1"]), "1 rate window is empty now.\n");
    assert_eq!(printed(&folder, &["limit", "clear", "--all"]), "0 rate windows are empty now.\n");
}
