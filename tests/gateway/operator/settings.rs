//! `moorgate config`: a configuration is checked, shown without its secrets, and begun.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::shape::{assert_refused, command, json, printed};
use crate::support::process::{Ended, moorgate, run};

/// A configuration with a secret of each kind: a key, a token, people, and one that its provider does not read.
const WITH_SECRETS: &str = r#"
[gateway]
port = 4000
paired_tokens = ["hidden-token"]

[provider]
api_key = "hidden-key"
base_url = "https://user:hidden-password@example.com"

[channels_config.whatsapp]
access_token = "hidden-access"
phone_number_id = "4915550001111"
app_secret = "hidden-app"
allowed_numbers = ["+4915550002222"]

[[provider.fallback]]
kind = "openai"
model = "model-1"
api_key = "hidden-fallback"
"#;

fn folder_with(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.toml"), config).unwrap();
    folder
}

/// The JSON of a command, whatever its exit code.
fn answer(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn check_says_that_a_configuration_is_valid_and_what_it_warns_of() {
    let folder = TempDir::new().unwrap();
    let none = "There is no configuration file; defaults and variables are valid.\n";
    assert_eq!(printed(&folder, &["config", "check"]), none);
    let expected = json!({ "valid": true, "file": null, "problems": [], "warnings": [] });
    assert_eq!(json(&folder, &["config", "check"]), expected);

    let folder = folder_with("[channels_config.linq]\nsigning_secret = \"hidden\"\n");
    let warning = "config.toml:2: channels_config.linq.signing_secret is not used: \
                   Linq is off while api_token and from_phone are blank";
    let said = printed(&folder, &["config", "check"]);
    assert!(
        said.starts_with(&format!("warning: {warning}\n")) && said.ends_with("config.toml is valid.\n"),
        "{said}"
    );
    assert_eq!(json(&folder, &["config", "check"])["warnings"], json!([warning]));
}

#[test]
fn check_says_all_that_is_wrong_and_where() {
    let folder = folder_with("[gateway]\nprot = 1\nport = 70000\n");
    let problems = [
        "config.toml:2: gateway.prot is not a known key; did you mean gateway.port?",
        "config.toml:3: gateway.port must be a whole number from 0 to 65535, not 70000",
    ];
    let ended = command(&folder, &["config", "check"]);
    let expected = format!("moorgate: the configuration has problems:\n{}\n", problems.join("\n"));
    assert_eq!((ended.code, ended.out.as_str(), ended.err), (Some(78), "", expected));
    let ended = command(&folder, &["config", "check", "--json"]);
    let expected = json!({ "valid": false, "file": null, "problems": problems, "warnings": [] });
    assert_eq!((ended.code, answer(&ended)), (Some(78), expected));
}

#[test]
fn show_says_where_each_value_was_given() {
    let folder = folder_with("[gateway]\nport = 4000\n[provider]\ntemperature = 0.5\n");
    let show = |arguments: &[&str]| {
        let mut command = moorgate(folder.path());
        command.args(["config", "show"]).args(arguments).env("MOORGATE_GATEWAY__HOST", "::1");
        let ended = run(command.args(["--database", "other.db"]));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        ended
    };
    let changed = json!([
        { "key": "database.path", "value": "other.db", "source": "--database" },
        { "key": "gateway.host", "value": "::1", "source": "MOORGATE_GATEWAY__HOST" },
        { "key": "gateway.port", "value": 4000, "source": "config.toml:2" },
        { "key": "provider.temperature", "value": 0.5, "source": "config.toml:4" },
    ]);
    assert_eq!(answer(&show(&["--changed", "--json"])), changed);
    let all = answer(&show(&["--json"]));
    let all = all.as_array().unwrap();
    assert!(all.contains(&json!({ "key": "memory.auto_save", "value": true, "source": "default" })));
    assert!(all.contains(&changed[2]) && all.len() > 60, "{} keys", all.len());
    let table = show(&["--changed"]).out;
    assert!(table.starts_with("KEY                   VALUE       SOURCE\n"), "{table}");
    assert!(table.contains("gateway.host          \"::1\"       MOORGATE_GATEWAY__HOST\n"), "{table}");
}

#[test]
fn show_never_shows_a_secret() {
    let folder = folder_with(WITH_SECRETS);
    for arguments in
        [&["config", "show"][..], &["config", "show", "--json"], &["config", "show", "--changed"]]
    {
        let shown = printed(&folder, arguments);
        assert!(!shown.contains("hidden") && !shown.contains("49155500"), "{shown}");
        for key in ["gateway.paired_tokens", "provider.api_key", "provider.fallback[0].api_key"] {
            let after = shown.split_once(key).unwrap_or_else(|| panic!("{key}: {shown}")).1;
            assert!(after.contains("[redacted]"), "{key}: {shown}");
        }
    }
}

/// What a file looks like once somebody has filled it in.
fn fill_in(path: &Path, missing: &Value) {
    let mut text = fs::read_to_string(path).unwrap();
    for key in missing.as_array().unwrap() {
        let (section, name) = key.as_str().unwrap().rsplit_once('.').unwrap();
        let value = match name {
            "phone_number_id" => "\"106540352242922\"",
            "base_url" => "\"https://cloud.example.com\"",
            _ if name.starts_with("allowed_") => "[\"*\"]",
            _ => "\"filled-in\"",
        };
        let at = text.find(&format!("[{section}]")).unwrap_or_else(|| panic!("{section}: {text}"));
        let at =
            at + text[at..].find(&format!("\n{name} = ")).unwrap_or_else(|| panic!("{name}: {text}")) + 1;
        let end = at + text[at..].find('\n').unwrap();
        text.replace_range(at..end, &format!("{name} = {value}"));
    }
    fs::write(path, text).unwrap();
}

#[test]
fn what_init_writes_is_valid_once_it_is_filled_in() {
    for provider in ["echo", "openai", "anthropic", "ollama"] {
        let folder = TempDir::new().unwrap();
        let channels = ["--channel", "whatsapp", "--channel", "linq", "--channel", "nextcloud-talk"];
        let written = json(
            &folder,
            &[&["config", "init", "--provider", provider, "--model", "model-1"][..], &channels].concat(),
        );
        let file = folder.path().join("config.toml");
        assert_eq!(written["file"], "config.toml");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let asks_for_key = written["missing"].as_array().unwrap().contains(&"provider.api_key".into());
        assert_eq!(asks_for_key, matches!(provider, "openai" | "anthropic"), "{provider}: {written}");

        fill_in(&file, &written["missing"]);
        assert_eq!(json(&folder, &["config", "check"])["warnings"], json!([]), "{provider}");
        let shown = json(&folder, &["config", "show", "--changed"]);
        let has = |key: &str| shown.as_array().unwrap().iter().any(|row| row["key"] == key);
        assert_eq!(has("provider.model"), provider != "echo", "{shown}");
        assert!(
            has("channels_config.linq.api_token") && has("channels_config.whatsapp.app_secret"),
            "{shown}"
        );
    }
}

#[test]
fn init_says_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let said = printed(&folder, &["config", "init", "new.toml", "--provider", "openai"]);
    let expected = "new.toml is written, for your eyes only.\nStill to be filled in: provider.model, provider.api_key.\n\
                    Then: moorgate config check --config new.toml\n";
    assert_eq!(said, expected);
    let text = fs::read_to_string(folder.path().join("new.toml")).unwrap();
    assert!(text.contains("# The API key; blank sends none."), "{text}");
}

#[test]
fn init_replaces_no_file_unless_it_is_told_to() {
    let folder = folder_with("mine");
    let file = folder.path().join("config.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let init = ["config", "init", "--provider", "echo"];
    assert_refused(&folder, &init, "config.toml exists: --force replaces it, nothing was changed");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    printed(&folder, &[&init[..], &["--force"]].concat());
    assert!(fs::read_to_string(&file).unwrap().contains("kind = \"echo\""));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    let ended = command(&folder, &["config", "init", "no/such/folder.toml", "--provider", "echo"]);
    assert!(ended.code == Some(78) && ended.err.contains("cannot be written"), "{ended:?}");
}
