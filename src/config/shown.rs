//! What is in force, for people: each key with its value and where that was given. Secrets are not among the values.

use std::fmt;

use super::{
    Config, ConfigError, Inputs, Source, layers,
    reader::Reader,
    setting::Settings,
    value::{Entry, Value, quote},
};

/// A key and what is in force for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its dotted name.
    pub key: String,
    /// Its value.
    pub value: Shown,
    /// Where it was given; `None`: it is the default.
    pub source: Option<Source>,
    /// Whether it is something else than the default.
    pub is_changed: bool,
}

/// A value as far as it may be shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A yes or no.
    Bool(bool),
    /// A list that may be shown, which today is one without entries.
    List(Vec<String>),
    /// A secret, or something about people, that is not blank.
    Redacted,
}

/// Reads all layers, as [`load`](super::load) does: every key in the order of the names, those of
/// `[[provider.fallback]]` at the end.
///
/// # Errors
/// All problems of all layers: then nothing is in force.
pub fn show(inputs: &Inputs) -> Result<Vec<Setting>, ConfigError> {
    let (settings, _) = layers(inputs);
    let mut reader = Reader::new(&settings, &inputs.cwd);
    Config::read(&mut reader);
    let shown = settings.keys_in_force().filter_map(|key| setting(&settings, &reader, key)).collect();
    reader.finish()?;
    Ok(shown)
}

fn setting(settings: &Settings, reader: &Reader<'_>, key: &str) -> Option<Setting> {
    let entry = settings.entry(key)?;
    let is_changed = settings.is_changed(key);
    // What nothing has read was not checked either, so it is not shown; but the place of a secret is none.
    let may_show = !is_changed || reader.may_show(key) || key.ends_with("_file");
    let value = if may_show { shown(entry) } else { redacted(entry) };
    let source = settings.is_mentioned(key).then(|| entry.source.clone());
    Some(Setting { key: key.to_owned(), value, source, is_changed })
}

fn redacted(entry: &Entry) -> Shown {
    if entry.value.is_blank() { Shown::Text(String::new()) } else { Shown::Redacted }
}

fn shown(entry: &Entry) -> Shown {
    match &entry.value {
        Value::Text(text) => Shown::Text(text.clone()),
        Value::Integer(integer) => Shown::Integer(*integer),
        Value::Float(float) => Shown::Float(*float),
        Value::Bool(flag) => Shown::Bool(*flag),
        Value::List(items) => Shown::List(items.iter().map(|item| item.value.to_string()).collect()),
        Value::Table | Value::Other(_) => Shown::Redacted, // no key takes them
    }
}

/// As TOML writes it.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Float(float) => write!(f, "{float:?}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::List(items) => write!(f, "[{}]", items.join(", ")),
            Self::Redacted => f.write_str("[redacted]"),
        }
    }
}
