//! What a start prints.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{lines_before, spawn};
use crate::support::{
    client::Client,
    gateway::sqlite3,
    process::{Process, moorgate, run},
};

#[tokio::test]
async fn moorgate_alone_serves_and_prints_its_code_alone_on_a_line() {
    let folder = TempDir::new().unwrap();
    let mut running = spawn(moorgate(folder.path()).env("MOORGATE_GATEWAY__PORT", "0"));
    let (before, code) = lines_before(&running, "X-Pairing-Code");
    let address = before[0].strip_prefix("Moorgate is listening on http://").unwrap();
    let expected = [
        format!("Moorgate is listening on http://{address}"),
        "  Database: moorgate.db".into(),
        "  Provider: echo: it answers with the message itself; set [provider] for a model".into(),
        "  Post to:  /pair, /webhook".into(),
        "  Look at:  /health, /ready, /metrics".into(),
        String::new(),
        "No client is paired. This code pairs one, within 60 minutes:".into(),
        String::new(),
    ];
    assert_eq!(before, expected);
    let client = Client::new(address.parse().unwrap());
    let token = client.paired(code.strip_prefix("X-Pairing-Code: ").unwrap()).await;
    assert_eq!(client.post(&token, None, "hello").await.text, r#"{"response":"hello","model":"echo"}"#);
    assert!(folder.path().join("moorgate.db").exists());

    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    let rest: Vec<_> = std::iter::from_fn(|| running.line()).collect();
    assert_eq!(rest, [""], "nothing but the banner");
}

#[test]
fn a_gateway_with_a_client_says_how_to_pair_another() {
    let folder = TempDir::new().unwrap();
    run(moorgate(folder.path()).args(["token", "create", "--label", "first"]));
    let running = spawn(moorgate(folder.path()).args(["serve", "--port", "0"]));
    let (before, _) =
        lines_before(&running, "Clients need their token. Pair another one with: moorgate pair");
    assert!(before.iter().all(|line| !line.contains("X-Pairing-Code")), "{before:?}");
}

#[test]
fn a_gateway_without_pairing_says_that_everyone_may_post() {
    let folder = TempDir::new().unwrap();
    let mut command = moorgate(folder.path());
    let running =
        spawn(command.args(["serve", "--port", "0"]).env("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"));
    lines_before(&running, "Pairing is off: every request is accepted.");
}

#[tokio::test]
async fn print_json_prints_one_object_on_one_line() {
    let folder = TempDir::new().unwrap();
    let mut command = moorgate(folder.path());
    let mut running = spawn(command.args(["serve", "--port", "0", "--print-json", "--database", "my.db"]));
    let line = running.line().unwrap();
    let banner: Value = serde_json::from_str(&line).unwrap();
    let (url, code) = (banner["url"].as_str().unwrap(), banner["pairing_code"].as_str().unwrap());
    assert_eq!(line, format!(r#"{{"url":"{url}","pairing_code":"{code}","database":"my.db"}}"#));
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    let client = Client::new(url.strip_prefix("http://").unwrap().parse().unwrap());
    client.paired(code).await;
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(running.line(), None);

    let running = spawn(&mut command);
    let banner: Value = serde_json::from_str(&running.line().unwrap()).unwrap();
    assert_eq!(banner["pairing_code"], json!(null), "a client is paired");
}

#[tokio::test]
async fn port_0_is_a_free_port_that_the_banner_names() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [one, two] = folders.each_ref().map(|folder| Process::start(folder.path(), &[]));
    assert_ne!(one.address.port(), two.address.port());
    for process in [one, two] {
        assert!(!matches!(process.address.port(), 0 | 3000));
        assert_eq!(process.client.get("/ready").await.text, r#"{"status":"ready"}"#);
        let pid = sqlite3(&process.database, "SELECT pid FROM v_server_run");
        assert_eq!(pid, process.id().to_string());
    }
}

#[test]
fn help_shows_examples_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let help = run(moorgate(folder.path()).arg("--help"));
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for example in ["moorgate serve --port 0 ", "moorgate pair ", "moorgate token create --label ci "] {
        assert!(help.out.split_once("Examples:\n").unwrap().1.contains(example), "{}", help.out);
    }
    for command in
        [&["serve", "--help"][..], &["pair", "--help"], &["token", "create", "--help"], &["--version"]]
    {
        let ended = run(moorgate(folder.path()).args(command));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{command:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}
