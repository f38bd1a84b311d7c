//! Settings: what is refused, and that each key is read and does what it says.

mod limit;
mod listener;
mod provider;
mod report;
mod secret_file;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::support::process::Process;

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");

/// Where keys are proved to be read.
const PROOFS: [&str; 32] = [
    include_str!("telemetry/log.rs"),
    include_str!("telemetry/trace.rs"),
    include_str!("edge/operator.rs"),
    include_str!("edge/reverse_proxy.rs"),
    include_str!("proxy.rs"),
    include_str!("tunnel.rs"),
    include_str!("tunnel/client.rs"),
    include_str!("tunnel/fail.rs"),
    include_str!("tunnel/up.rs"),
    include_str!("conversation/channel.rs"),
    include_str!("account.rs"),
    include_str!("conversation.rs"),
    include_str!("memory.rs"),
    include_str!("setting/secret_file.rs"),
    include_str!("channel/linq.rs"),
    include_str!("support/sender.rs"),
    include_str!("channel/accept.rs"),
    include_str!("channel/order.rs"),
    include_str!("channel/retention.rs"),
    include_str!("channel/send.rs"),
    include_str!("channel/talk.rs"),
    include_str!("channel/webhook_signature.rs"),
    include_str!("channel/whatsapp.rs"),
    include_str!("setting/limit.rs"),
    include_str!("setting/listener.rs"),
    include_str!("setting/provider.rs"),
    include_str!("setting/report.rs"),
    include_str!("limit.rs"),
    include_str!("limit/table.rs"),
    include_str!("storage/backup.rs"),
    include_str!("storage/busy.rs"),
    include_str!("storage/file.rs"),
];

/// Keys that nobody can see the effect of from outside, with the reason.
const UNSEEN: [(&str, &str); 2] = [
    ("database.synchronous", "only a power failure shows it"),
    ("database.read_connections", "only the speed depends on it"),
];

/// Failure 36: settings were accepted and never read.
#[test]
fn every_key_is_proved_to_be_read_or_has_a_reason_why_not() {
    let example: toml::Table = include_str!("../../config.toml.example").parse().unwrap();
    let mut keys = Vec::new();
    collect_keys("", &example, &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    let unproved = keys.into_iter().filter(|key| {
        let variable = format!("\"MOORGATE_{}\"", key.replace('.', "__").to_uppercase());
        let named = |text: &&str| text.contains(&format!("\"{key}\"")) || text.contains(&variable);
        !PROOFS.iter().any(named) && !UNSEEN.iter().any(|(unseen, _)| unseen == key)
    });
    assert_eq!(unproved.collect::<Vec<_>>(), Vec::<String>::new());
}

fn collect_keys(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(table) => collect_keys(&format!("{prefix}{name}."), table, keys),
            _ => keys.push(format!("{prefix}{name}")),
        }
    }
}

/// What `moorgate serve` says when it does not start. If it did, it would be stopped after a while.
fn refused_start(folder: &Path, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command
        .args(["120", env!("CARGO_BIN_EXE_moorgate"), "serve", "--port", "0"])
        .current_dir(folder)
        .env_clear();
    let Output { status, stderr, .. } = command.envs(env.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Failure 36: unknown keys were ignored.
#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.toml"), "[gateway]\nwebhook_rate_limit_per_minut = 5\n").unwrap();
    let (code, problems) = refused_start(folder.path(), &[("MOORGATE_GATEWAY__HOTS", "127.0.0.1")]);
    assert_eq!(code, Some(78));
    for problem in [
        "config.toml:2: gateway.webhook_rate_limit_per_minut is not a known key; did you mean gateway.webhook_rate_limit_per_minute?",
        "MOORGATE_GATEWAY__HOTS: gateway.hots is not a known key; did you mean MOORGATE_GATEWAY__HOST?",
    ] {
        assert!(problems.contains(problem), "{problems}");
    }
    assert!(!folder.path().join("moorgate.db").exists(), "nothing was begun");
}

/// Failure 24: pairing rewrote the configuration: comments lost, overrides made permanent, mode 0600 made 0644.
#[tokio::test]
async fn pairing_leaves_the_configuration_file_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.toml");
    let text = "# by hand\n[gateway]\nport   = 0 # any\n";
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(&path).unwrap();

    let gateway = Process::start(folder.path(), &[("MOORGATE_GATEWAY__MAX_IN_FLIGHT", "7")]);
    gateway.client.paired(gateway.code.as_ref().unwrap()).await;
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(
        (after.ino(), after.mode(), after.mtime_nsec()),
        (before.ino(), before.mode(), before.mtime_nsec())
    );
}
