//! `moorgate key`.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    NO_LIMITS,
    command::new_token,
    shape::{assert_refused, json, printed},
    until_status,
};
use crate::support::{model_server::ModelServer, process::Process};

fn key(owner: &str, key: &str, message: u32) -> Value {
    json!({ "owner": owner, "key": key, "state": "answered", "message": message, "answered_at": "TIME" })
}

#[tokio::test]
async fn a_key_that_is_forgotten_is_answered_anew() {
    let folder = TempDir::new().unwrap();
    let model = ModelServer::start();
    let process = Process::start(folder.path(), &model.env("any"));
    let token = process.pair().await;
    for (id, answer) in [("order-1", "hello: answer 1"), ("order-2", "hello: answer 2")] {
        assert_eq!(process.client.post(&token, Some(id), "hello").await.json()["response"], answer);
    }
    let replayed = process.client.post(&token, Some("order-1"), "hello").await.json();
    assert_eq!(
        (&replayed["status"], &replayed["response"]),
        (&json!("duplicate"), &json!("hello: answer 1"))
    );
    let both = json!([key("token:1", "order-2", 2), key("token:1", "order-1", 1)]);
    assert_eq!(json(&folder, &["key", "list"]), both);
    assert_eq!(json(&folder, &["key", "list", "--limit", "1"]), json!([both[0]]));
    assert_eq!(json(&folder, &["key", "list", "--owner", "token:2"]), json!([]));

    assert_eq!(json(&folder, &["key", "forget", "order-1", "--yes"]), both[1]);
    let again = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(again.json(), json!({ "response": "hello: answer 3", "model": "any" }));
    let replayed = process.client.post(&token, Some("order-2"), "hello").await.json();
    assert_eq!(replayed["response"], "hello: answer 2", "the other key stays");
    assert_refused(&folder, &["key", "forget", "order-3", "--yes"], "there is no key order-3");
}

#[tokio::test]
async fn a_key_of_several_clients_is_forgotten_for_the_one_that_is_named() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let (one, other) = (process.pair().await, new_token(&folder, "ci"));
    until_status(200, async || process.client.post(&other, Some("order-1"), "hello").await).await;
    process.client.post(&one, Some("order-1"), "hello").await;
    let reason = "several clients have a key order-1: say --owner, one of token:1, token:2";
    assert_refused(&folder, &["key", "forget", "order-1", "--yes"], reason);
    let said = printed(&folder, &["key", "forget", "order-1", "--owner", "token:2", "--yes"]);
    assert_eq!(said, "The key order-1 of token:2 is forgotten.\n");
    assert_eq!(json(&folder, &["key", "list"])[0]["owner"], "token:1");
    let reply = process.client.post(&other, Some("order-1"), "another body").await;
    assert_eq!(reply.status, 200, "it is bound to nothing");
}

#[tokio::test]
async fn a_key_at_work_is_not_forgotten() {
    let folder = TempDir::new().unwrap();
    let model = ModelServer::start();
    let process = Process::start(folder.path(), &model.env("any"));
    let token = process.pair().await;
    model.hold();
    let posted = process.client.post_apart(&token, Some("order-1"), "hello");
    process.wait_for_state("hello", "running").await;
    let reason = "the message of the key order-1 is being worked on just now";
    assert_refused(&folder, &["key", "forget", "order-1", "--yes"], reason);
    model.release();
    assert_eq!(posted.await.unwrap().unwrap().status, 200);
}
