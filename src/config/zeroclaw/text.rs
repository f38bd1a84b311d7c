//! The new file as text.

use std::fmt::Write as _;

use super::{
    super::value::{Value, quote},
    Line,
};

/// The sections in the order that people look for them.
const SECTIONS: [&str; 6] = ["gateway", "provider", "memory", "observability", "tunnel", "channels_config"];

/// A value as TOML; `None` if no key of ours takes such a one.
pub(super) fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(quote(text)),
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Float(float) => Some(format!("{float:?}")),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::List(_) | Value::Table | Value::Other(_) => None,
    }
}

/// Where a key stands in the file.
pub(super) fn order(key: &'static str) -> (usize, &'static str) {
    let top = key.split('.').next().unwrap_or(key);
    (SECTIONS.iter().position(|section| *section == top).unwrap_or(SECTIONS.len()), section_of(key).0)
}

fn section_of(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The file. Without `with_secrets` a mark stands for each of them, in a comment, so that the rest is a valid file.
pub(super) fn document(lines: &[Line], with_secrets: bool) -> String {
    let mut text =
        String::from("# Made by `moorgate import zeroclaw`. `moorgate config check` says what is missing.\n");
    let mut current = "";
    for line in lines {
        let (section, name) = section_of(line.key);
        if section != current {
            write!(text, "\n[{section}]\n").ok(); // a String takes all
            current = section;
        }
        if line.is_private && !with_secrets {
            writeln!(text, "# {name} = (not shown)").ok();
        } else {
            writeln!(text, "{name} = {}", line.value.expose()).ok();
        }
    }
    text
}
