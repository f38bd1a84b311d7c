//! What is refused, and in which words.

use super::{Folder, flag, refusal, refuses};

#[test]
fn all_problems_are_reported_together_each_with_its_source() {
    let file = r#"[gateway]
prot = 1
host = ""
paired_tokens = [
    "zc_1",
    " ",
    3,
]
[database]
read_connections = 17
"#;
    let folder = Folder::new().with("config.toml", file);
    let mut inputs = folder.inputs(&[
        ("MOORGATE_GATEWAY__MAX_IN_FLIGHT", ""),
        ("MOORGATE_GATEWAY__PROT", "1"),
        ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "yes"),
        ("ZEROCLAW_GATEWAY_PORT", "x"),
    ]);
    inputs.overrides = vec![flag("--port", "gateway.port", "abc")];
    let problems = r#"
config.toml:2: gateway.prot is not a known key; did you mean gateway.port?
config.toml:3: gateway.host must be text that is not blank, not ""
config.toml:6: gateway.paired_tokens[1] must not be blank
config.toml:7: gateway.paired_tokens[2] must be text
config.toml:10: database.read_connections must be a whole number from 1 to 16, not 17
MOORGATE_GATEWAY__MAX_IN_FLIGHT: gateway.max_in_flight must be a whole number from 1 to 100000, not ""
MOORGATE_GATEWAY__PROT: gateway.prot is not a known key; did you mean MOORGATE_GATEWAY__PORT?
MOORGATE_GATEWAY__REQUIRE_PAIRING: gateway.require_pairing must be true or false, not "yes"
--port: gateway.port must be a whole number from 0 to 65535, not "abc""#;
    assert_eq!(refusal(&inputs), problems.trim_start());
}

#[test]
fn unknown_sections_and_keys_are_refused_once_with_the_nearest_known_one() {
    let file = r#"port = 1
[gatway]
port = 1
[gateway]
"gateway.port" = 1
xyzzy = true
[channels.webhook]
secret = "x"
[zeppelin]
provider = "none"
[[provider.something_else]]
kind = "echo"
"#;
    let problems = r#"
config.toml:1: port is not a known key; did you mean gateway.port?
config.toml:2: [gatway] is not a known section; did you mean [gateway]?
config.toml:5: gateway."gateway.port" is not a known key
config.toml:6: gateway.xyzzy is not a known key
config.toml:7: [channels] is not a known section; did you mean [channels_config]?
config.toml:9: [zeppelin] is not a known section
config.toml:11: provider.something_else is not a known key"#;
    refuses(file, &[], problems.trim_start());
}

#[test]
fn unknown_variables_are_refused_with_the_nearest_known_one() {
    let env =
        [("MOORGATE_CHANNELS_CONFIG__SECRET", "1"), ("MOORGATE_X__Y", "1"), ("MOORGATE_gateway__port", "1")];
    let problems = r"
MOORGATE_CHANNELS_CONFIG__SECRET: channels_config.secret is not a known key; did you mean MOORGATE_CHANNELS_CONFIG__WEBHOOK__SECRET?
MOORGATE_X__Y: x.y is not a known key
MOORGATE_gateway__port: gateway.port is not a known key; did you mean MOORGATE_GATEWAY__PORT?";
    refuses("", &env, problems.trim_start());
}

#[test]
fn a_table_is_no_value_and_a_value_is_no_table() {
    let file = r#"database = 3
[gateway.port]
x = 1
[gateway.host]
[[provider]]
[channels_config]
webhook = "x"
"#;
    let problems = r"
config.toml:1: database is a section, not a key
config.toml:2: gateway.port is a key, not a section
config.toml:4: gateway.host is a key, not a section
config.toml:5: provider is a section, not a key
config.toml:7: channels_config.webhook is a section, not a key
MOORGATE_CHANNELS_CONFIG__WEBHOOK: channels_config.webhook is a section, not a key";
    refuses(file, &[("MOORGATE_CHANNELS_CONFIG__WEBHOOK", "x")], problems.trim_start());
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    let file = r#"[gateway]
host = 1
port = "3000"
require_pairing = 1
paired_tokens = "zc_1"
max_in_flight = 1.0
max_connections = 99999999999999999999
idle_timeout_secs = 2026-01-01
[provider]
system_prompt = ["x"]
temperature = nan
"#;
    let problems = r#"
config.toml:2: gateway.host must be text that is not blank, not 1
config.toml:3: gateway.port must be a whole number from 0 to 65535, not "3000"
config.toml:4: gateway.require_pairing must be true or false, not 1
config.toml:5: gateway.paired_tokens must be a list of text
config.toml:6: gateway.max_in_flight must be a whole number from 1 to 100000, not 1.0
config.toml:7: gateway.max_connections must be a whole number from 1 to 1000000, not 99999999999999999999
config.toml:8: gateway.idle_timeout_secs must be a whole number from 1 to 3600, not 2026-01-01
config.toml:10: provider.system_prompt must be text, not a list
config.toml:11: provider.temperature must be a number from 0 to 2, not NaN"#;
    refuses(file, &[], problems.trim_start());
}

#[test]
fn a_word_must_be_one_of_the_known_ones() {
    let file = r#"[database]
synchronous = "off"
[observability]
log_level = "INFO"
namespace = "1st"
"#;
    let problems = r#"
config.toml:2: database.synchronous must be "full" or "normal", not "off"
config.toml:4: observability.log_level must be "error", "warn", "info", "debug" or "trace", not "INFO"
config.toml:5: observability.namespace must be a lower-case letter, then at most 63 such letters, digits and underscores, not "1st""#;
    refuses(file, &[], problems.trim_start());
}

#[test]
fn syntax_errors_give_their_lines_and_do_not_hide_other_layers() {
    let file = "[gateway]\nport = 1\nport = 2\nhost = localhost\nunknown = 1\n";
    let problems = r#"
config.toml:3: duplicate key
config.toml:4: string values must be quoted, expected literal string
MOORGATE_GATEWAY__PORT: gateway.port must be a whole number from 0 to 65535, not "x""#;
    refuses(file, &[("MOORGATE_GATEWAY__PORT", "x")], problems.trim_start());
    refuses("[gateway", &[], "config.toml:1: unclosed table, expected `]`");
}

#[test]
fn a_file_that_is_no_toml_at_all_is_refused_in_a_few_lines() {
    let folder = Folder::new().with("config.toml", "what is this\n".repeat(99));
    assert_eq!(refusal(&folder.inputs(&[])).lines().count(), 10);
}
