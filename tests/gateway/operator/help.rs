//! What holds for all commands: help with an example, completions, and no database out of nothing.

use tempfile::TempDir;

use super::shape::{command, printed};

/// Every command, with arguments that it takes.
const COMMANDS: [&[&str]; 19] = [
    &["token", "list"],
    &["token", "rename", "1", "new"],
    &["token", "revoke", "1", "--yes"],
    &["token", "expire", "1", "--in", "1h"],
    &["lockout", "list"],
    &["lockout", "clear", "--all"],
    &["limit", "list"],
    &["limit", "clear", "--all"],
    &["key", "list"],
    &["key", "forget", "order-1", "--yes"],
    &["conversation", "list"],
    &["conversation", "show", "1"],
    &["message", "list"],
    &["message", "show", "1"],
    &["message", "retry", "1"],
    &["message", "discard", "1", "--yes"],
    &["delivery", "list"],
    &["delivery", "retry", "1"],
    &["delivery", "discard", "1", "--yes"],
];

#[test]
fn no_command_makes_a_database_but_those_that_let_clients_in() {
    let folder = TempDir::new().unwrap();
    for arguments in COMMANDS {
        let ended = command(&folder, arguments);
        let expected = "moorgate: there is no database at moorgate.db\n";
        assert_eq!(
            (ended.code, ended.out.as_str(), ended.err.as_str()),
            (Some(74), "", expected),
            "{arguments:?}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_file_that_is_no_database_is_said_to_be_none() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("moorgate.db"), "x".repeat(5000)).unwrap();
    for arguments in COMMANDS {
        let ended = command(&folder, arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(74), ""), "{arguments:?}");
        assert!(ended.err.contains("file is not a database"), "{ended:?}");
    }
}

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    let folder = TempDir::new().unwrap();
    let more: [&[&str]; 18] = [
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["config", "init"],
        &["health"],
        &["doctor"],
        &["import"],
        &["import", "zeroclaw"],
        &["pair"],
        &["token"],
        &["token", "create"],
        &["lockout"],
        &["limit"],
        &["key"],
        &["conversation"],
        &["message"],
        &["delivery"],
        &["delivery", "show"],
    ];
    for arguments in COMMANDS.iter().map(|arguments| &arguments[..2]).chain(more) {
        let help = printed(&folder, &[arguments, &["--help"]].concat());
        let (_, examples) = help.split_once("\nExample").unwrap_or_else(|| panic!("{arguments:?}: {help}"));
        assert!(examples.contains(&format!("  moorgate {}", arguments.join(" "))), "{arguments:?}: {help}");
    }
}

#[test]
fn shells_can_complete_the_commands() {
    let folder = TempDir::new().unwrap();
    for (shell, mark) in
        [("bash", "complete -F _moorgate"), ("zsh", "#compdef moorgate"), ("fish", "complete -c moorgate")]
    {
        let script = printed(&folder, &["completions", shell]);
        for word in [mark, "lockout", "discard", "nextcloud_talk"] {
            assert!(script.contains(word), "{shell} without {word}");
        }
    }
    assert_eq!(command(&folder, &["completions", "csh"]).code, Some(64));
}

#[test]
fn wrong_values_are_refused_before_anything_is_opened() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["token", "expire", "1"][..],
        &["token", "expire", "1", "--in", "1h", "--never"],
        &["token", "expire", "1", "--in", "soon"],
        &["token", "create", "--label", "ci", "--ttl", "0s"],
        &["token", "create", "--label", ""],
        &["token", "rename", "1", ""],
        &["pair", "--label", ""],
        &["lockout", "clear"],
        &["lockout", "clear", "somebody"],
        &["lockout", "clear", "127.0.0.1", "--all"],
        &["limit", "clear", "--scope", "webhook"],
        &["limit", "clear", "--all", "--scope", "other"],
        &["message", "list", "--state", "lost"],
        &["message", "list", "--channel", "fax"],
        &["message", "show", "first"],
        &["delivery", "list", "--state", "answered"],
        &["config", "init"],
        &["config", "init", "--provider", "other"],
        &["config", "init", "--provider", "echo", "--channel", "fax"],
        &["health", "--timeout", "soon"],
        &["import", "openclaw", "config.toml"],
        &["import", "zeroclaw"],
        &["import", "zeroclaw", "missing.toml"],
    ] {
        let ended = command(&folder, arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{arguments:?}: {ended:?}");
    }
    for arguments in COMMANDS.iter().filter(|arguments| arguments.contains(&"--yes")) {
        let ended = command(&folder, &arguments[..arguments.len() - 1]);
        let expected = "moorgate: this needs --yes: there is no terminal to ask on\n";
        assert_eq!((ended.code, ended.err.as_str()), (Some(64), expected), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}
