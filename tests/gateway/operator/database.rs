//! `moorgate db`: the database file, looked at, copied and mended by the real program.

mod backup;
mod check;
mod info;
pub mod load;
mod restore;
mod upkeep;

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use serde_json::Value;

use tempfile::TempDir;

use super::NO_LIMITS;
use crate::support::{
    gateway::sqlite3,
    process::{Ended, Process, moorgate, run},
};

const OPEN: [(&str, &str); 3] = [("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"), NO_LIMITS[0], NO_LIMITS[1]];
const USAGE: Option<i32> = Some(64);
const DATABASE: Option<i32> = Some(74);

/// Runs `moorgate db` in a folder.
pub fn db(folder: &Path, arguments: &[&str]) -> Ended {
    run(moorgate(folder).arg("db").args(arguments))
}

/// What it prints as JSON, when it succeeds and says nothing else.
#[track_caller]
pub fn db_json(folder: &Path, arguments: &[&str]) -> Value {
    let ended = db(folder, &[arguments, &["--json"]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{arguments:?}");
    assert_eq!(ended.out.lines().count(), 1, "one line");
    serde_json::from_str(&ended.out).unwrap()
}

/// Fails unless the command was refused with this code and these words.
#[track_caller]
fn assert_refused(ended: &Ended, code: Option<i32>, words: &str) {
    assert_eq!((ended.code, ended.err.as_str()), (code, format!("moorgate: {words}\n").as_str()));
}

/// Spoils the page on which a table begins.
fn damage(database: &Path, table: &str) {
    let page = format!(
        "SELECT (rootpage - 1) * page_size FROM sqlite_schema, pragma_page_size WHERE name = '{table}'"
    );
    let at = sqlite3(database, &page).parse().unwrap();
    let file = fs::OpenOptions::new().write(true).open(database).unwrap();
    file.write_all_at(&[0xff; 64], at).unwrap();
}

/// What stands for a value that differs from run to run; fails unless it was there.
fn replace(value: &mut Value, pointer: &str) {
    let found = value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    *found = match found {
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a text".into(),
        other => panic!("{pointer} is {other}"),
    };
}

/// The rows of each table, as `sqlite3` counts them.
fn rows(database: &Path) -> Value {
    let tables = sqlite3(
        database,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_*' AND name NOT GLOB 'memory_text_*'",
    );
    let count =
        |table: &str| sqlite3(database, &format!("SELECT count(*) FROM {table}")).parse::<u64>().unwrap();
    tables.lines().map(|table| (table.to_owned(), Value::from(count(table)))).collect()
}

fn schema(database: &Path) -> Value {
    sqlite3(database, "SELECT max(version) FROM _sqlx_migrations").parse::<u64>().unwrap().into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A database with an answered message, and no server.
pub async fn stopped_with_a_message(folder: &TempDir) {
    let mut process = Process::start(folder.path(), &OPEN);
    assert_eq!(process.client.post("", Some("order-1"), "hello").await.status, 200);
    process.signal("TERM");
    assert!(process.wait().success());
}

#[test]
fn what_is_not_there_is_not_made() {
    let folder = TempDir::new().unwrap();
    let commands: [&[&str]; 5] = [&["info"], &["check"], &["backup", "copy.db"], &["vacuum"], &["prune"]];
    for command in commands {
        assert_refused(&db(folder.path(), command), DATABASE, "there is no database moorgate.db");
    }
    let ended = db(folder.path(), &["restore", "copy.db"]);
    assert_refused(&ended, DATABASE, "there is no database copy.db");
    assert_eq!(file_names(folder.path()), [""; 0]);
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = TempDir::new().unwrap();
    for command in ["info", "check", "backup", "restore", "vacuum", "migrate", "prune"] {
        let ended = db(folder.path(), &[command, "--help"]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains(&format!("Example:\n  moorgate db {command}")), "{}", ended.out);
        assert!(ended.out.contains("--json"), "{}", ended.out);
    }
}
