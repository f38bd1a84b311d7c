//! `moorgate token`.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    NO_LIMITS,
    command::new_token,
    shape::{assert_refused, command, json, printed},
    tokens, until_query, until_status,
};
use crate::support::process::Process;

fn token(id: u32, label: &str, source: &str, state: &str) -> Value {
    json!({
        "id": id, "state": state, "label": label, "source": source, "created_at": "TIME", "expires_at": null,
        "revoked_at": null,
    })
}

/// Failure 23: tokens cannot be listed.
#[tokio::test]
async fn tokens_are_listed_the_newest_first() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    assert_eq!(json(&folder, &["token", "list"]), json!([]));
    assert_eq!(printed(&folder, &["token", "list"]), "none\n");
    process.pair().await;
    new_token(&folder, "ci");
    let both = json!([token(2, "ci", "command", "live"), token(1, "client", "pairing", "live")]);
    assert_eq!(json(&folder, &["token", "list"]), both);
    assert_eq!(json(&folder, &["token", "list", "--limit", "1"]), json!([both[0]]));

    let table = printed(&folder, &["token", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "ID  STATE  LABEL   SOURCE   CREATED AT                EXPIRES AT  REVOKED AT");
    assert!(lines[1].starts_with(" 2  live   ci      command  20"), "{table}");
    assert!(lines[2].starts_with(" 1  live   client  pairing  20"), "{table}");
    assert!(lines[2].ends_with("Z  -           -"), "{table}");
}

#[tokio::test]
async fn a_token_can_be_made_that_ends_by_itself() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let made = json(&folder, &["token", "create", "--label", "ci", "--ttl", "1h"]);
    assert_eq!(made, json!({ "id": 1, "label": "ci", "token": "TOKEN", "expires_at": "TIME" }));
    let made = json(&folder, &["token", "create", "--label", "for ever"]);
    assert_eq!(made, json!({ "id": 2, "label": "for ever", "token": "TOKEN", "expires_at": null }));

    let short = printed(&folder, &["token", "create", "--label", "short", "--ttl", "1s"]);
    until_query(&process.database, "SELECT state FROM v_token WHERE label = 'short'", "expired").await;
    assert_eq!(process.client.post(short.trim(), None, "hello").await.status, 401);
    assert_eq!(json(&folder, &["token", "list"])[0]["state"], "expired");
}

/// Failure 23: tokens cannot be revoked; a revoked token works on.
#[tokio::test]
async fn a_token_is_revoked_by_its_label_and_refused_within_a_second() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let (client, ci) = (process.pair().await, new_token(&folder, "ci"));
    until_status(200, async || process.client.post(&ci, None, "hello").await).await;

    let mut revoked = token(2, "ci", "command", "revoked");
    revoked["revoked_at"] = "TIME".into();
    assert_eq!(json(&folder, &["token", "revoke", "ci", "--yes"]), revoked);
    until_status(401, async || process.client.post(&ci, None, "hello").await).await;
    assert_eq!(process.client.post(&client, None, "hello").await.status, 200, "the other works on");

    assert_refused(&folder, &["token", "revoke", "2", "--yes"], "token 2 (ci) was revoked before");
    assert_refused(&folder, &["token", "expire", "2", "--in", "1h"], "token 2 (ci) was revoked before");
    assert_refused(&folder, &["token", "revoke", "3", "--yes"], "there is no token 3");
    assert_eq!(printed(&folder, &["token", "revoke", "1", "--yes"]), "Token 1 (client) is revoked.\n");
    until_status(401, async || process.client.post(&client, None, "hello").await).await;
}

/// Failure 23: tokens cannot be expired.
#[tokio::test]
async fn a_token_that_is_told_to_expire_does_and_can_be_told_never_to() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let client = process.pair().await;
    let mut expected = token(1, "client", "pairing", "live");
    expected["expires_at"] = "TIME".into();
    assert_eq!(json(&folder, &["token", "expire", "client", "--in", "2h"]), expected);
    assert_eq!(process.client.post(&client, None, "hello").await.status, 200);

    let said = printed(&folder, &["token", "expire", "1", "--in", "1s"]);
    assert!(said.starts_with("Token 1 (client) expires at 20") && said.ends_with("Z.\n"), "{said}");
    until_status(401, async || process.client.post(&client, None, "hello").await).await;
    assert_eq!(json(&folder, &["token", "list"])[0]["state"], "expired");

    assert_eq!(printed(&folder, &["token", "expire", "1", "--never"]), "Token 1 (client) never expires.\n");
    until_status(200, async || process.client.post(&client, None, "hello").await).await;
}

/// Failure 23: tokens cannot be named.
#[tokio::test]
async fn a_label_names_a_token_if_no_other_has_it() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    for label in ["ci", "ci", "1"] {
        new_token(&folder, label);
    }
    let reason = |name, ids| format!("{name} may be any of the tokens {ids}: name one by its id");
    assert_refused(&folder, &["token", "revoke", "ci", "--yes"], &reason("ci", "1, 2"));
    assert_refused(&folder, &["token", "rename", "1", "other"], &reason("1", "1, 3"));

    assert_eq!(printed(&folder, &["token", "rename", "3", "other"]), "Token 3 is other now.\n");
    assert_eq!(json(&folder, &["token", "rename", "1", "old"]), token(1, "old", "command", "live"));
    assert_eq!(command(&folder, &["token", "revoke", "ci", "--yes"]).code, Some(0));
    new_token(&folder, "ci");
    assert_eq!(
        command(&folder, &["token", "expire", "ci", "--in", "1h"]).code,
        Some(0),
        "the revoked one is not meant"
    );
    let expected = "old|command|live\nci|command|revoked\nother|command|live\nci|command|live";
    assert_eq!(tokens(&process), expected);
}
