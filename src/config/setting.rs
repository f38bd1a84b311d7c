//! The layers put together: which key has which value, and where it was given.
//!
//! The compiled-in `config.toml.example` is the lowest layer and the list of what there is: a key that is not
//! in it is refused, and the value it gives says what kind of value a key takes.

use std::{collections::BTreeMap, path::Path};

use super::{
    environment::variable,
    error::{Problem, Source},
    fallback, file,
    nearest::nearest,
    value::{Entry, Value},
};

pub(super) const EXAMPLE: &str = include_str!("../../config.toml.example");

/// The values of all layers, and what was found wrong with them so far.
pub(super) struct Settings {
    defaults: BTreeMap<String, Entry>,
    given: BTreeMap<String, Entry>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Settings {
    /// The lowest layer alone.
    pub(super) fn defaults() -> Self {
        let (entries, problems) = file::parse(Path::new("config.toml.example"), EXAMPLE);
        Self {
            defaults: entries.into_iter().collect(),
            given: BTreeMap::new(),
            problems,
            warnings: Vec::new(),
        }
    }

    /// Puts the entries of a document, tables before what is in them, over the layers below. What is in a
    /// refused table is passed over.
    pub(super) fn give_document(&mut self, entries: Vec<(String, Entry)>) {
        let mut refused = None;
        for (key, entry) in entries {
            if refused.as_ref().is_none_or(|table| !key.starts_with(table)) {
                let prefix = format!("{key}.");
                refused = (!self.give(key, entry)).then_some(prefix);
            }
        }
    }

    /// Puts the text of a variable or flag over the layers below.
    pub(super) fn give_text(&mut self, key: &str, text: &str, source: Source) {
        if fallback::described_by(key).is_some() {
            return self.problem(source, fallback::MUST.to_owned());
        }
        let value = match self.defaults.get(key) {
            Some(default) => default.value.parse_like(text, &source),
            None => Value::Text(text.to_owned()),
        };
        self.give(key.to_owned(), Entry { value, source });
    }

    /// Puts one value over the layers below, unless it has no place there; says whether it did.
    fn give(&mut self, key: String, entry: Entry) -> bool {
        let is_table = matches!(entry.value, Value::Table);
        let text = match self.default(&key).map(|default| &default.value) {
            None if fallback::is_table(&key) && is_table => {
                self.given.insert(key, entry);
                return true;
            }
            None if fallback::is_table(&key) || key == fallback::LIST => fallback::MUST.to_owned(),
            Some(Value::Table) if is_table => return true,
            Some(Value::Table) => format!("{key} is a section, not a key"),
            Some(_) if is_table => format!("{key} is a key, not a section"),
            None if is_table => self.unknown_section(&key),
            None => self.unknown_key(&key, &entry.source),
            Some(_) => {
                self.given.insert(key, entry);
                return true;
            }
        };
        self.problem(entry.source, text);
        false
    }

    /// What is in force for `key`.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.given.get(key).or_else(|| match fallback::described_by(key) {
            Some((other, true)) => self.entry(&other),
            _ => self.default(key),
        })
    }

    /// What the lowest layer says for `key`, or for the key that describes it.
    fn default(&self, key: &str) -> Option<&Entry> {
        match fallback::described_by(key) {
            Some((other, _)) => self.defaults.get(&other),
            None => self.defaults.get(key),
        }
    }

    /// The names of the tables of `[[provider.fallback]]`, in their order.
    pub(super) fn fallbacks(&self) -> impl Iterator<Item = String> {
        (0..).map(fallback::table).take_while(|table| self.given.contains_key(table))
    }

    /// Whether a layer above the defaults has `key`, whatever it says.
    pub(super) fn is_mentioned(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// The keys of a section that say something else than their default does, in the order of their names.
    pub(super) fn changed_in(&self, section: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let prefix = format!("{section}.");
        self.given
            .iter()
            .filter(move |(key, _)| key.starts_with(&prefix))
            .filter(|(key, entry)| !entry.value.is_blank() && self.defaults.get(*key) != Some(*entry))
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// The names of all keys, and of those in the tables of `[[provider.fallback]]` that were given.
    pub(super) fn keys_in_force(&self) -> impl Iterator<Item = &str> {
        let given = self.given.iter().filter(|(_, entry)| !matches!(entry.value, Value::Table));
        let fallback = given.map(|(key, _)| key.as_str()).filter(|key| fallback::described_by(key).is_some());
        self.keys().chain(fallback)
    }

    /// Whether a layer above the defaults says something else than they do.
    pub(super) fn is_changed(&self, key: &str) -> bool {
        self.given.get(key).is_some_and(|entry| self.default(key) != Some(entry))
    }

    /// The names of all keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.names(false)
    }

    /// Notes that something is wrong.
    pub(super) fn problem(&mut self, source: Source, text: String) {
        self.problems.push(Problem { source, text });
    }

    /// That `key` is not known, with the nearest that is, written as `source` would write it.
    pub(super) fn unknown_key(&self, key: &str, source: &Source) -> String {
        let beside = fallback::keys_beside(key);
        let known = beside.iter().map(String::as_str).chain(self.keys());
        let hint = nearest(key, known).map_or_else(String::new, |known| match source {
            Source::Variable(_) => format!("; did you mean {}?", variable(known)),
            Source::File(..) | Source::Flag(_) => format!("; did you mean {known}?"),
        });
        format!("{key} is not a known key{hint}")
    }

    fn unknown_section(&self, name: &str) -> String {
        let hint = nearest(name, self.names(true))
            .map_or_else(String::new, |known| format!("; did you mean [{known}]?"));
        format!("[{name}] is not a known section{hint}")
    }

    fn names(&self, sections: bool) -> impl Iterator<Item = &str> {
        self.defaults
            .iter()
            .filter(move |(_, default)| matches!(default.value, Value::Table) == sections)
            .map(|(name, _)| name.as_str())
    }
}
