//! `moorgate lockout`.

use serde_json::json;
use tempfile::TempDir;

use super::{
    NO_LIMITS, WRONG_CODE,
    shape::{assert_refused, json, printed},
    until_status,
};
use crate::support::process::Process;

#[tokio::test]
async fn a_client_that_is_locked_out_is_listed_and_let_in_again() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    assert_eq!(json(&folder, &["lockout", "list"]), json!([]));
    for status in [403, 403, 403, 403, 403, 429] {
        assert_eq!(process.client.pair(WRONG_CODE).await.status, status);
    }
    let other = process.client.seen_from("127.0.0.2");
    assert_eq!(other.pair(WRONG_CODE).await.status, 403);
    let expected = json!([
        {
            "client": "127.0.0.1", "state": "locked", "failures": 0, "lockouts": 1, "locked_at": "TIME",
            "locked_until": "TIME",
        },
        {
            "client": "127.0.0.2", "state": "open", "failures": 1, "lockouts": 0, "locked_at": null,
            "locked_until": null,
        },
    ]);
    assert_eq!(json(&folder, &["lockout", "list"]), expected);

    assert_eq!(json(&folder, &["lockout", "clear", "127.0.0.1"]), json!([{ "client": "127.0.0.1" }]));
    until_status(200, async || process.client.pair(process.code.as_ref().unwrap()).await).await;
    assert_eq!(json(&folder, &["lockout", "list"]), json!([expected[1]]));
    assert_refused(&folder, &["lockout", "clear", "127.0.0.1"], "nothing is on record about 127.0.0.1");
}

#[tokio::test]
async fn all_lockouts_are_cleared_at_once() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let other = process.client.seen_from("127.0.0.2");
    for _ in 0..6 {
        process.client.pair(WRONG_CODE).await;
        other.pair(WRONG_CODE).await;
    }
    let said = printed(&folder, &["lockout", "clear", "--all"]);
    assert_eq!(said, "Free to pair: 127.0.0.1, 127.0.0.2.\n");
    assert_eq!(printed(&folder, &["lockout", "clear", "--all"]), "No client was on record.\n");
    assert_eq!(other.pair(WRONG_CODE).await.status, 403);
    assert_eq!(process.client.pair(process.code.as_ref().unwrap()).await.status, 200);
}
