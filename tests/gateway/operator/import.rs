//! `moorgate import zeroclaw`: an old client's token works at once, and nothing secret is printed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    NO_LIMITS,
    shape::{assert_refused, command, json, printed},
    tokens, until_status,
};
use crate::support::process::Process;

/// Its hash is in the fixture.
const HASHED: &str = "zc_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// It is in the fixture in clear.
const PLAIN: &str = "zc_plain_token_of_an_old_client";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zeroclaw").join(name)
}

fn import<'a>(source: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["import", "zeroclaw", source.to_str().unwrap()][..], more].concat()
}

/// Fails if a secret of a fixture, or somebody's number, is in the text.
#[track_caller]
fn assert_no_secrets(text: &str) {
    for secret in ["private", "+1555", "10654", PLAIN, "enc2:", "c5909d"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn tokens_of_old_clients_work_at_once_beside_a_running_server() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &NO_LIMITS);
    let source = fixture("gateway.toml");
    for token in [HASHED, PLAIN] {
        assert_eq!(process.client.post(token, None, "hello").await.status, 401);
    }
    let said = printed(&folder, &import(&source, &[]));
    assert!(said.contains("\nTokens: 2 found, 2 of them new; they are good at once.\n"), "{said}");
    for token in [HASHED, PLAIN] {
        until_status(200, async || process.client.post(token, None, "hello").await).await;
    }
    assert_eq!(tokens(&process), "imported|import|live\nimported|import|live");
    let again = json(&folder, &import(&source, &[]));
    assert_eq!((&again["tokens"], &again["new_tokens"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn what_is_imported_without_a_server_is_there_when_one_starts() {
    let folder = TempDir::new().unwrap();
    let done = json(&folder, &import(&fixture("gateway.toml"), &["--write", "moorgate.toml"]));
    assert_eq!((&done["new_tokens"], &done["written"]), (&json!(2), &json!("moorgate.toml")));
    let file = folder.path().join("moorgate.toml");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let check = json(&folder, &["config", "check", "--config", "moorgate.toml"]);
    assert_eq!((&check["valid"], &check["warnings"]), (&json!(true), &json!([])));

    let settings = json(&folder, &["config", "show", "--changed", "--config", "moorgate.toml"]);
    let value = |key: &str| {
        let row = settings.as_array().unwrap().iter().find(|row| row["key"] == key);
        row.map_or(Value::Null, |row| row["value"].clone())
    };
    for (key, expected) in [
        ("gateway.port", json!(4100)),
        ("gateway.pair_rate_limit_per_minute", json!(7)),
        ("gateway.idempotency_ttl_secs", json!(600)),
        ("gateway.rate_limit_max_keys", Value::Null), // 0 was the default, which is ours too
        ("provider.kind", json!("anthropic")),
        ("provider.model", json!("claude-sonnet-4-6")),
        ("provider.api_key", json!("[redacted]")),
        ("channels_config.whatsapp.app_secret", json!("[redacted]")),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    let env = [("MOORGATE_CONFIG", "moorgate.toml"), ("MOORGATE_PROVIDER__KIND", "echo")];
    let process = Process::start(folder.path(), &env);
    assert_eq!(process.code, None, "clients are paired");
    assert_eq!(process.client.post(HASHED, None, "hello").await.status, 200);
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (source, before) = (fixture("gateway.toml"), fs::read(fixture("gateway.toml")).unwrap());
    let dry = json(&folder, &import(&source, &["--dry-run", "--write", "new.toml"]));
    assert_eq!(
        (&dry["dry_run"], &dry["new_tokens"], &dry["written"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    let done = json(&folder, &import(&source, &[]));
    for field in ["tokens", "taken", "left", "missing", "config"] {
        assert_eq!(dry[field], done[field], "{field}");
    }
    assert_eq!(fs::read(&source).unwrap(), before, "the source is as it was");
}

#[test]
fn every_section_is_taken_or_left_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let source = fixture("all_sections.toml");
    let done = json(&folder, &import(&source, &["--dry-run"]));
    let names = |field: &str| {
        let rows = done[field].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (taken, left) = (names("taken"), names("left"));
    let text = fs::read_to_string(&source).unwrap();
    let sections =
        text.lines().filter_map(|line| line.strip_prefix('[')).filter(|line| !line.starts_with('['));
    for section in sections.map(|line| line.trim_end_matches(']')) {
        let is_in = |name: &String| name.starts_with(section) || section.starts_with(&format!("{name}."));
        assert!(taken.iter().chain(&left).any(is_in), "nothing is said of {section}");
    }
    for key in ["api_key", "gateway.paired_tokens[0]", "channels_config.telegram", "observability.backend"] {
        assert!(left.iter().any(|name| name == key), "{key}: {left:?}");
    }
    for key in ["tunnel.provider", "tunnel.cloudflare.token"] {
        assert!(taken.iter().any(|name| name == key), "{key}: {taken:?}");
    }
    assert_eq!(done["missing"].as_array().unwrap().len(), 1, "{done}");
    let missing = done["missing"][0].as_str().unwrap();
    assert!(missing.starts_with("channels_config.whatsapp.app_secret must not be blank"), "{missing}");
    let config = done["config"].as_str().unwrap();
    assert!(config.contains("\n[tunnel]\nprovider = \"cloudflare\"\n"), "{config}");
    assert!(
        config.contains("kind = \"ollama\"\n") && config.contains("base_url = \"http://10.0.0.1:11434\"\n"),
        "{config}"
    );
}

#[test]
fn nothing_secret_is_printed() {
    let folder = TempDir::new().unwrap();
    for name in ["gateway.toml", "all_sections.toml"] {
        let source = fixture(name);
        for more in [&["--dry-run"][..], &["--dry-run", "--json"], &["--write", "new.toml", "--force"]] {
            assert_no_secrets(&printed(&folder, &import(&source, more)));
        }
    }
    let text = "default_model = \"m\"\ndefault_provider = \"custom:https://user:private@example.com/v1\"\n";
    fs::write(folder.path().join("source.toml"), text).unwrap();
    assert_no_secrets(&printed(&folder, &import(Path::new("source.toml"), &[])));
}

#[test]
fn what_cannot_be_read_or_written_is_refused_before_anything_is_done() {
    let folder = TempDir::new().unwrap();
    let source = fixture("gateway.toml");
    fs::write(folder.path().join("mine.toml"), "mine").unwrap();
    let refused = "mine.toml exists: --force replaces it, nothing was changed";
    assert_refused(&folder, &import(&source, &["--write", "mine.toml"]), refused);
    fs::write(folder.path().join("bad.toml"), "api_key = \"private").unwrap();
    let ended = command(&folder, &import(Path::new("bad.toml"), &[]));
    assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""), "{ended:?}");
    assert!(ended.err.contains("bad.toml:1: "), "{ended:?}");
    assert_no_secrets(&ended.err);
    fs::copy(&source, folder.path().join("config.toml")).unwrap();
    let ended = command(&folder, &import(Path::new("config.toml"), &[]));
    assert!(
        ended.code == Some(78) && ended.err.starts_with("moorgate: ./config.toml is ZeroClaw's"),
        "{ended:?}"
    );
    assert!(!folder.path().join("moorgate.db").exists());
}
