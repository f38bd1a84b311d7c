//! `moorgate doctor`: finds what is wrong, says what helps, and whose fault it is in its exit code.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::health::stranger;
use crate::support::{
    gateway::sqlite3,
    process::{Ended, Process, free_address, free_port, moorgate, run},
    transaction::Transaction,
};

fn doctor(folder: &Path, env: &[(&str, &str)]) -> Ended {
    run(moorgate(folder).args(["doctor", "--json"]).envs(env.iter().copied()))
}

/// The findings of a check: the state and the text of each.
fn found(ended: &Ended, check: &str) -> Vec<(String, String)> {
    let findings: Value =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let of_check = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    of_check
        .map(|finding| {
            assert_eq!(
                finding["fix"].is_null(),
                finding["state"] == "ok",
                "what is wrong has a fix: {finding}"
            );
            (text(&finding["state"]), text(&finding["finding"]))
        })
        .collect()
}

/// Fails unless the check found this in this state, and something that reads so.
#[track_caller]
fn assert_found(ended: &Ended, check: &str, state: &str, part: &str) {
    let found = found(ended, check);
    assert!(found.iter().any(|(its, text)| its == state && text.contains(part)), "{check}: {found:?}");
}

#[tokio::test]
async fn a_fresh_folder_has_nothing_but_warnings_and_nothing_is_made_in_it() {
    let folder = TempDir::new().unwrap();
    let address = free_address(6);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let listens = [("MOORGATE_GATEWAY__HOST", host.as_str()), ("MOORGATE_GATEWAY__PORT", &port)];
    let ended = doctor(folder.path(), &listens);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    for (check, state, part) in [
        ("configuration", "ok", "no configuration file"),
        ("file modes", "ok", ""),
        ("database", "ok", "there is none"),
        ("backups", "warning", "makes none"),
        ("clock", "ok", "20"),
        ("bind", "ok", "is free"),
        ("server", "ok", "none runs"),
        ("provider", "warning", "echo"),
        ("channel", "ok", "none is configured"),
    ] {
        assert_found(&ended, check, state, part);
    }
    assert_eq!(found(&ended, "disk space").len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let text = run(moorgate(folder.path()).arg("doctor").envs(listens)).out;
    assert!(text.contains("warning  provider       echo: "), "{text}");
    assert!(text.contains("\n                        fix: set kind and model under [provider]"), "{text}");
}

#[tokio::test]
async fn beside_a_server_it_says_what_that_says() {
    let folder = TempDir::new().unwrap();
    let backups = folder.path().join("backups").display().to_string();
    let env = [
        ("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "50"),
        ("MOORGATE_DATABASE__BACKUP_FOLDER", backups.as_str()),
    ];
    let process = Process::start(folder.path(), &env);
    let token = process.pair().await;
    let port = process.address.port().to_string();
    let env = [("MOORGATE_GATEWAY__PORT", port.as_str()), env[1]];
    let ended = doctor(folder.path(), &env);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found(&ended, "server", "ok", "ready");
    assert_found(&ended, "bind", "ok", "moorgate answers at");
    assert_found(&ended, "database", "ok", "is whole");

    let held = Transaction::begin(&process.database);
    assert_eq!(process.client.post(&token, None, "hello").await.status, 503);
    let ended = doctor(folder.path(), &env);
    assert_eq!((ended.code, ended.err.as_str()), (Some(74), "moorgate: 1 error\n"));
    assert_found(&ended, "server", "error", "not ready: storage");
    drop(held);

    let elsewhere = free_port().to_string();
    let ended = doctor(folder.path(), &[("MOORGATE_GATEWAY__PORT", &elsewhere)]);
    assert_found(&ended, "server", "warning", "does not answer at");
    let other = TempDir::new().unwrap();
    let ended = doctor(other.path(), &[("MOORGATE_GATEWAY__PORT", &port)]);
    assert_found(&ended, "server", "warning", "does not work on this database");
}

#[test]
fn an_address_that_cannot_be_had_is_an_error() {
    let folder = TempDir::new().unwrap();
    let ended = doctor(folder.path(), &[("MOORGATE_GATEWAY__HOST", "0.0.0.0")]);
    assert_eq!(ended.code, Some(78));
    assert_found(&ended, "bind", "error", "refuses to start");
    let allowed = [
        ("MOORGATE_GATEWAY__HOST", "0.0.0.0"),
        ("MOORGATE_GATEWAY__ALLOW_PUBLIC_BIND", "true"),
        ("MOORGATE_GATEWAY__PORT", "0"),
    ];
    assert_found(&doctor(folder.path(), &allowed), "bind", "warning", "plain HTTP");

    let server = stranger();
    let port = server.address().port().to_string();
    let ended = doctor(folder.path(), &[("MOORGATE_GATEWAY__PORT", &port)]);
    assert_eq!(ended.code, Some(69));
    assert_found(&ended, "bind", "error", "not moorgate");
    let ended = doctor(folder.path(), &[("MOORGATE_GATEWAY__HOST", "name.invalid")]);
    assert_eq!(ended.code, Some(78));
    assert_found(&ended, "bind", "error", "has no address");
}

#[tokio::test]
async fn files_that_others_can_read_are_found() {
    let folder = TempDir::new().unwrap();
    drop(Process::start(folder.path(), &[]));
    let config = folder.path().join("config.toml");
    let key = folder.path().join("key");
    fs::write(&config, "[gateway]\nport = 0\n[provider]\napi_key_file = \"key\"\n").unwrap();
    fs::write(&key, "hidden").unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(&config, 0o644);
    open(&key, 0o600);
    assert_found(&doctor(folder.path(), &[]), "file modes", "ok", "");
    open(&key, 0o640);
    open(&folder.path().join("moorgate.db"), 0o604);
    let ended = doctor(folder.path(), &[]);
    let texts: Vec<_> = found(&ended, "file modes").into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["others may read key (mode 640)", "others may read moorgate.db (mode 604)"]);

    fs::write(&config, "[gateway]\nport = 0\npaired_tokens = [\"hidden\"]\n").unwrap();
    open(folder.path(), 0o777);
    let ended = doctor(folder.path(), &[]);
    assert_found(&ended, "file modes", "warning", "config.toml (mode 644)");
    assert_found(&ended, "file modes", "warning", "others may write to . (mode 777)");
    assert!(!ended.out.contains("hidden"), "{ended:?}");
}

#[tokio::test]
async fn a_database_that_is_damaged_or_ahead_of_the_clock_is_found() {
    let folder = TempDir::new().unwrap();
    drop(Process::start(folder.path(), &[]));
    let env = [("MOORGATE_GATEWAY__PORT", "0")];
    let database = folder.path().join("moorgate.db");
    sqlite3(&database, "UPDATE server_run SET started_at_ms = started_at_ms + 3600000");
    assert_found(&doctor(folder.path(), &env), "clock", "warning", "is on record");
    sqlite3(
        &database,
        "INSERT INTO _sqlx_migrations SELECT 99991231235959, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1",
    );
    let ended = doctor(folder.path(), &env);
    assert_eq!(ended.code, Some(74));
    assert_found(&ended, "database", "error", "newer than this moorgate's");

    fs::write(&database, "x".repeat(5000)).unwrap();
    let ended = doctor(folder.path(), &env);
    assert_eq!(ended.code, Some(74));
    assert_found(&ended, "database", "error", "file is not a database");
}

#[test]
fn models_are_looked_for_and_their_keys() {
    let folder = TempDir::new().unwrap();
    let server = stranger();
    let reachable = format!("http://{}/v1", server.address());
    let nobody = format!("http://{}/v1", free_address(8));
    let with = |url: &str, fallback: &str| {
        let text = format!(
            "[gateway]\nport = 0\n[provider]\nkind = \"openai\"\nmodel = \"model-1\"\nbase_url = \"{url}\"\n\
             [[provider.fallback]]\nkind = \"ollama\"\nmodel = \"model-2\"\nbase_url = \"{fallback}\"\n"
        );
        fs::write(folder.path().join("config.toml"), text).unwrap();
        doctor(folder.path(), &[])
    };
    let ended = with(&reachable, &nobody);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_found(&ended, "provider", "ok", "openai, model-1");
    assert_found(&ended, "fallback", "warning", "ollama, model-2");
    let ended = with(&nobody, &reachable);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert_found(&ended, "provider", "error", "no connection");
    assert_found(&ended, "fallback", "ok", "can be reached");
}

#[test]
fn channels_that_anyone_or_nobody_can_use_are_found() {
    let folder = TempDir::new().unwrap();
    let text = "[gateway]\nport = 0\n[channels_config.linq]\napi_token = \"hidden\"\nfrom_phone = \"+15550001111\"\n\
                allow_unsigned = true\n[channels_config.nextcloud_talk]\nbase_url = \"https://cloud.example.com\"\n\
                webhook_secret = \"hidden\"\n[channels_config.whatsapp]\naccess_token = \"hidden\"\n\
                phone_number_id = \"1\"\napp_secret = \"hidden\"\nallowed_numbers = [\"+15551234567\"]\n";
    fs::write(folder.path().join("config.toml"), text).unwrap();
    let ended = doctor(folder.path(), &[]);
    assert_found(&ended, "channel", "warning", "anyone can post as Linq");
    assert_found(&ended, "channel", "warning", "Nextcloud Talk: nobody may write");
    assert_found(&ended, "channel", "warning", "no verify_token");
    assert_found(&ended, "channel", "ok", "WhatsApp: its credentials are there");
    assert!(!ended.out.contains("hidden") && !ended.out.contains("+1555"), "{ended:?}");
}

#[test]
fn a_bad_configuration_is_the_first_thing_to_say() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.toml"), "[gateway]\nprot = 1\n").unwrap();
    let ended = doctor(folder.path(), &[]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(78), "moorgate: 1 error\n"));
    assert_found(&ended, "configuration", "error", "config.toml:2: gateway.prot");
}
