//! Commands and what they print, with what is different each time replaced.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Ended, moorgate, run};

/// Runs a command in this folder.
pub fn command(folder: &TempDir, arguments: &[&str]) -> Ended {
    run(moorgate(folder.path()).args(arguments))
}

/// What a command prints that succeeds.
pub fn printed(folder: &TempDir, arguments: &[&str]) -> String {
    let ended = command(folder, arguments);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{arguments:?}: {ended:?}");
    ended.out
}

/// The JSON that a command prints with `--json`, times and secrets replaced.
pub fn json(folder: &TempDir, arguments: &[&str]) -> Value {
    let out = printed(folder, &[arguments, &["--json"]].concat());
    assert_eq!(out.lines().count(), 1, "one line: {out}");
    json_of(&out)
}

/// JSON with times and secrets replaced.
pub fn json_of(text: &str) -> Value {
    let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    replace(&mut value);
    value
}

/// Fails unless the command refuses to do anything, with the exit code for a wrong use and this reason.
#[track_caller]
pub fn assert_refused(folder: &TempDir, arguments: &[&str], reason: &str) {
    let ended = command(folder, arguments);
    let expected = (Some(64), "", format!("moorgate: {reason}\n"));
    assert_eq!((ended.code, ended.out.as_str(), ended.err), expected, "{arguments:?}");
}

fn replace(value: &mut Value) {
    match value {
        Value::String(text) if is_time(text) => *text = "TIME".into(),
        Value::String(text) if text.starts_with("zc_") => *text = "TOKEN".into(),
        Value::Array(values) => values.iter_mut().for_each(replace),
        Value::Object(fields) => fields.values_mut().for_each(replace),
        _ => {}
    }
}

/// Whether this is ISO 8601 in UTC with milliseconds, in this century.
pub fn is_time(text: &str) -> bool {
    let pattern = "20##-##-##T##:##:##.###Z";
    let fits = |(c, p): (u8, u8)| if p == b'#' { c.is_ascii_digit() } else { c == p };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}
