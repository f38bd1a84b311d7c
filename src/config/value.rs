//! One value of one layer, before its key says what it must be.
//!
//! Nothing here implements `Debug`: a value may be a secret.

use std::fmt;

use toml::de::{DeFloat, DeInteger, DeValue};

use super::error::Source;

/// A value and where it was given.
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// Where a value was given does not count.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// What a layer gives for a key.
#[derive(PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Entry>),
    /// A table. What is in it has entries of its own.
    Table,
    /// What no key takes, as it was written: a date, an integer of more than 64 bits.
    Other(String),
}

impl Value {
    /// The value that a TOML document gives; `source_at` says where a byte of the document is.
    pub(super) fn from_toml(value: DeValue<'_>, source_at: &dyn Fn(usize) -> Source) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.into_owned()),
            DeValue::Integer(integer) => Self::from_integer(&integer),
            DeValue::Float(float) => Self::from_float(&float),
            DeValue::Boolean(flag) => Self::Bool(flag),
            DeValue::Datetime(datetime) => Self::Other(datetime.to_string()),
            DeValue::Table(_) => Self::Table,
            DeValue::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Entry {
                        source: source_at(item.span().start),
                        value: Self::from_toml(item.into_inner(), source_at),
                    })
                    .collect(),
            ),
        }
    }

    fn from_integer(integer: &DeInteger<'_>) -> Self {
        i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Self::Other(integer.to_string()), Self::Integer)
    }

    fn from_float(float: &DeFloat<'_>) -> Self {
        float.as_str().parse().map_or_else(|_| Self::Other(float.to_string()), Self::Float)
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether it is text that says nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.as_text().is_some_and(|text| text.trim().is_empty())
    }

    pub(super) fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(*integer) } else { None }
    }

    /// A number with or without a fraction: `1` will do for `1.0`.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Integer(integer) => i32::try_from(*integer).ok().map(f64::from),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The value that the text of a variable or flag gives to a key that takes values like `self`. Text that
    /// says no such value stays text, for the reader to refuse.
    pub(super) fn parse_like(&self, text: &str, source: &Source) -> Self {
        let word = text.trim();
        let parsed = match self {
            Self::Integer(_) => word.parse().ok().map(Self::Integer),
            Self::Float(_) => word.parse().ok().map(Self::Float),
            Self::Bool(_) => parse_bool(word).map(Self::Bool),
            Self::List(_) => parse_list(word, source).map(Self::List),
            Self::Text(_) | Self::Table | Self::Other(_) => None,
        };
        parsed.unwrap_or_else(|| Self::Text(text.to_owned()))
    }
}

/// Text as TOML writes it.
pub(super) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn parse_bool(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A TOML array, or words separated by commas; nothing at all is an empty list.
fn parse_list(text: &str, source: &Source) -> Option<Vec<Entry>> {
    if text.starts_with('[') {
        let value = DeValue::parse(text).ok()?.into_inner();
        return match Value::from_toml(value, &|_| source.clone()) {
            Value::List(items) => Some(items),
            _ => None,
        };
    }
    let item = |item: &str| Entry { value: Value::Text(item.trim().to_owned()), source: source.clone() };
    Some(if text.is_empty() { Vec::new() } else { text.split(',').map(item).collect() })
}

/// How the value is shown in a problem. Never use it for a key that holds a secret.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Float(float) => write!(f, "{float:?}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::List(_) => f.write_str("a list"),
            Self::Table => f.write_str("a table"),
            Self::Other(text) => f.write_str(text),
        }
    }
}
