//! What can be taken over of the configuration of ZeroClaw's gateway.
//!
//! Most of its keys are ours as well. What is here is the rest: what is called otherwise, what meant something else, and why
//! something is left. Of a part of the file that Moorgate has nothing like, only its section is named.

use std::{collections::BTreeSet, path::Path};

use super::{
    Config, ConfigError, Inputs, Problem,
    file::parse,
    gateway::PairedToken,
    reader::Reader,
    setting::Settings,
    value::{Entry, Value},
};
use crate::domain::secret::Secret;

mod keys;
mod provider;
mod text;

use keys::{Place, place};

/// What a configuration of ZeroClaw comes to. Nothing here shows a secret, but the text of [`text`](Self::text).
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroClaw {
    /// The tokens of paired clients.
    pub tokens: Vec<PairedToken>,
    /// What was taken over, in the order of the names.
    pub taken: Vec<Taken>,
    /// What was left, in the order of the file.
    pub left: Vec<Left>,
    /// What has to be put right before Moorgate starts with it, a sentence each.
    pub missing: Vec<String>,
    lines: Vec<Line>,
}

/// A key that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its name in the source.
    pub key: String,
    /// Its name here.
    pub to: String,
}

/// A key or section that was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its name in the source.
    pub key: String,
    /// Why.
    pub why: String,
}

/// A key of ours and its value as TOML.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    key: &'static str,
    value: Secret,
    is_private: bool,
}

/// Reads a configuration of ZeroClaw.
///
/// # Errors
/// It is no TOML.
pub fn read_zeroclaw(path: &Path, text: &str) -> Result<ZeroClaw, ConfigError> {
    let (entries, problems) = parse(path, text);
    if !problems.is_empty() {
        return Err(ConfigError::new(problems));
    }
    let mut import = Importer::default();
    for (key, entry) in &entries {
        import.entry(key, entry);
    }
    import.provider(&entries);
    Ok(import.finish())
}

#[derive(Default)]
struct Importer {
    tokens: Vec<PairedToken>,
    taken: Vec<Taken>,
    left: Vec<Left>,
    lines: Vec<Line>,
    sections: BTreeSet<String>,
}

impl Importer {
    fn entry(&mut self, key: &str, entry: &Entry) {
        let is_table = matches!(entry.value, Value::Table);
        match place(key) {
            Place::Same(ours) => self.take(key, ours, &entry.value, false),
            Place::Secret(ours) => self.take_secret(key, ours, &entry.value),
            Place::Private(ours) => self.take_private(key, ours, &entry.value),
            Place::Positive(ours, instead) => match entry.value {
                Value::Integer(0) => self.take(key, ours, &Value::Integer(instead), false),
                _ => self.take(key, ours, &entry.value, false),
            },
            Place::Tokens => self.take_tokens(key, &entry.value),
            Place::Metrics => self.take_metrics(key, &entry.value),
            Place::Section if is_table => {}
            Place::Left(why) if !is_table => self.leave(key, why),
            Place::Provider => {} // below, together
            Place::Section | Place::Left(_) | Place::Unknown => self.leave_section(key),
        }
    }

    /// Takes a value that is no table over as it is.
    fn take(&mut self, key: &str, to: &'static str, value: &Value, is_private: bool) {
        match text::literal(value) {
            Some(literal) => {
                let is_private = is_private || may_hold_password(value);
                self.lines.push(Line { key: to, value: Secret::new(literal), is_private });
                self.taken.push(Taken { key: key.to_owned(), to: to.to_owned() });
            }
            None => self.leave(key, "it is not a value that Moorgate takes"),
        }
    }

    fn take_secret(&mut self, key: &str, to: &'static str, value: &Value) {
        match value {
            Value::Text(text) if text.trim().is_empty() => self.leave(key, "it is blank"),
            Value::Text(text) if is_encrypted(text) => self.leave(key, ENCRYPTED),
            _ => self.take(key, to, value, true),
        }
    }

    /// Who may write: Moorgate refuses a blank entry.
    fn take_private(&mut self, key: &str, to: &'static str, value: &Value) {
        let Value::List(items) = value else { return self.leave(key, "it is not a list") };
        if items.iter().any(|item| item.value.is_blank()) {
            self.leave(&format!("{key}, blank entries"), "nobody has a blank name");
        }
        let named = items.iter().filter(|item| !item.value.is_blank());
        match named.map(|item| text::literal(&item.value)).collect::<Option<Vec<_>>>() {
            Some(items) => {
                let value = Secret::new(format!("[{}]", items.join(", ")));
                self.lines.push(Line { key: to, value, is_private: true });
                self.taken.push(Taken { key: key.to_owned(), to: to.to_owned() });
            }
            None => self.leave(key, "it is not a list of text"),
        }
    }

    fn take_tokens(&mut self, key: &str, value: &Value) {
        let Value::List(items) = value else { return self.leave(key, "it is not a list") };
        for (index, item) in items.iter().enumerate() {
            let name = format!("{key}[{index}]");
            match item.value.as_text().map(str::trim) {
                None => self.leave(&name, "it is not text"),
                Some("") => self.leave(&name, "it is blank, which would have let everybody in"),
                Some(text) if is_encrypted(text) => self.leave(&name, ENCRYPTED),
                Some(text) => {
                    self.tokens.push(PairedToken::from(Secret::new(text)));
                    self.taken.push(Taken { key: name, to: "the database".to_owned() });
                }
            }
        }
    }

    fn take_metrics(&mut self, key: &str, value: &Value) {
        match value.as_text() {
            Some("prometheus") => self.take(key, "observability.backend", value, false),
            Some("none" | "noop") => {
                self.take(key, "observability.backend", &Value::Text("none".to_owned()), false);
            }
            _ => self.leave(key, "Moorgate serves Prometheus's format at /metrics, or nothing"),
        }
    }

    fn leave(&mut self, key: &str, why: &str) {
        self.left.push(Left { key: key.to_owned(), why: why.to_owned() });
    }

    /// Names the outermost part that Moorgate has nothing like, once.
    fn leave_section(&mut self, key: &str) {
        let (section, why) = keys::unknown_part(key);
        if self.sections.insert(section.to_owned()) {
            self.leave(section, why);
        }
    }

    fn finish(mut self) -> ZeroClaw {
        self.lines.sort_by_key(|line| text::order(line.key));
        self.taken.sort_by(|a, b| a.key.cmp(&b.key));
        let Self { tokens, taken, left, lines, .. } = self;
        let mut import = ZeroClaw { tokens, taken, left, missing: Vec::new(), lines };
        import.missing = missing(&import.text());
        import
    }
}

const ENCRYPTED: &str = "ZeroClaw encrypted it: give Moorgate the secret itself";

/// Whether ZeroClaw wrote it under its own key.
fn is_encrypted(text: &str) -> bool {
    text.starts_with("enc2:") || text.starts_with("enc:")
}

/// Whether it may be an address with a user and a password in it.
fn may_hold_password(value: &Value) -> bool {
    value.as_text().is_some_and(|text| text.contains("://") && text.contains('@'))
}

/// What is wrong with the new file, without the places: they are lines of a file that may not be written.
fn missing(text: &str) -> Vec<String> {
    let (entries, _) = parse(Path::new("config.toml"), text);
    let mut settings = Settings::defaults();
    settings.give_document(entries);
    let inputs = Inputs::default();
    let mut reader = Reader::new(&settings, &inputs.cwd);
    Config::read(&mut reader);
    let problems = reader.finish().err().map(|error| error.problems().to_vec()).unwrap_or_default();
    problems.into_iter().map(|Problem { source: _, text }| text).collect()
}

impl ZeroClaw {
    /// The configuration file for Moorgate, with its secrets.
    #[must_use]
    pub fn text(&self) -> String {
        text::document(&self.lines, true)
    }

    /// The same with a mark in the place of every secret, and of who may write.
    #[must_use]
    pub fn text_to_show(&self) -> String {
        text::document(&self.lines, false)
    }
}
