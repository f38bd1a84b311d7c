//! `moorgate pair` with its options.

use serde_json::json;
use tempfile::TempDir;

use super::shape::{command, is_time, json, printed};
use crate::support::{
    gateway::sqlite3,
    process::{Process, moorgate, run},
};

#[tokio::test]
async fn a_code_lives_as_long_as_it_is_told_to() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let out = printed(&folder, &["pair", "--ttl", "10m", "--label", "phone"]);
    assert!(out.ends_with("\nGood for one client, for 10 minutes.\n"), "{out}");
    let lives = "SELECT expires_at_ms - issued_at_ms FROM pairing_code WHERE label = 'phone'";
    assert_eq!(sqlite3(&process.database, lives), "600000");
}

#[tokio::test]
async fn a_code_is_told_as_json() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let mut told = json(&folder, &["pair", "--label", "phone", "--url", "https://gateway.example.com/"]);
    let code = told["code"].take().as_str().unwrap().to_owned();
    let link = format!("https://gateway.example.com/pair#code={code}");
    let expected = json!({ "code": null, "label": "phone", "expires_at": "TIME", "link": link });
    assert_eq!(told, expected);
    assert_eq!(process.client.pair(&code).await.status, 200);

    let ended = run(moorgate(folder.path()).args(["pair", "--json"]).env("MOORGATE_GATEWAY__PORT", "0"));
    let told: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert!(told["link"].is_null() && is_time(told["expires_at"].as_str().unwrap()), "{told}");
}

#[test]
fn a_link_is_drawn_as_a_qr_code() {
    let folder = TempDir::new().unwrap();
    let out = printed(&folder, &["pair", "--qr"]);
    let mut lines = out.lines();
    let code = lines.next().unwrap().strip_prefix("X-Pairing-Code: ").unwrap();
    let link = format!("http://127.0.0.1:3000/pair#code={code}");
    assert_eq!(lines.nth(2), Some(link.as_str()), "{out}");
    let drawing: Vec<&str> = lines.skip(1).collect();
    assert!(drawing.len() > 15, "{out}");
    assert!(drawing.iter().all(|line| line.chars().all(|c| " ▀▄█".contains(c))), "{out}");
}

#[test]
fn a_link_needs_an_address() {
    let folder = TempDir::new().unwrap();
    let ended = run(moorgate(folder.path()).args(["pair", "--qr"]).env("MOORGATE_GATEWAY__PORT", "0"));
    let reason = "moorgate: a link needs --url, since the gateway chooses its own port\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(64), reason));
    assert_eq!(command(&folder, &["pair", "--url", "gateway.example.com"]).code, Some(64));
}
