//! Typed values out of the layers.
//!
//! Each getter takes the dotted name of a key. When what is in force is not what the key takes, it notes a
//! problem and returns a placeholder, so that one run finds every problem; [`Reader::finish`] then fails.

use std::{collections::BTreeSet, fmt::Display, fs, ops::RangeInclusive, path::Path, time::Duration};

use super::{
    base_url::{BASE_URL, BaseUrl},
    error::{ConfigError, Problem, Source},
    setting::Settings,
    value::{Entry, Value},
};
use crate::domain::secret::Secret;

/// Reads keys, and remembers which ones and what was wrong with them.
pub(super) struct Reader<'a> {
    settings: &'a Settings,
    cwd: &'a Path,
    asked: BTreeSet<String>,
    plain: BTreeSet<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader for which relative paths start at `cwd`.
    pub(super) fn new(settings: &'a Settings, cwd: &'a Path) -> Self {
        let (problems, warnings) = (settings.problems.clone(), settings.warnings.clone());
        Self { settings, cwd, asked: BTreeSet::new(), plain: BTreeSet::new(), problems, warnings }
    }

    /// Ends the reading: the warnings, one line each, or all problems.
    pub(super) fn finish(self) -> Result<Vec<String>, ConfigError> {
        if self.problems.is_empty() {
            Ok(self.warnings.iter().map(Problem::to_string).collect())
        } else {
            Err(ConfigError::new(self.problems))
        }
    }

    /// The keys that were asked for so far.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }

    /// Whether the value of this key may be shown: it was read, and not as a secret.
    pub(super) fn may_show(&self, key: &str) -> bool {
        self.plain.contains(key)
    }

    /// Text, as it was given.
    pub(super) fn text(&mut self, key: &str) -> String {
        self.any_text(key).unwrap_or_default()
    }

    /// Text that may be blank, which is none.
    pub(super) fn optional_text(&mut self, key: &str) -> Option<String> {
        self.any_text(key).filter(|text| !text.trim().is_empty())
    }

    /// Text that must not be blank.
    pub(super) fn required_text(&mut self, key: &str) -> String {
        self.text_that(key, "text that is not blank", |text| !text.trim().is_empty())
    }

    /// Text that must not be blank because of what the key `because` says.
    pub(super) fn needed_text(&mut self, key: &str, because: &str) -> String {
        let Some(text) = self.any_text(key) else { return String::new() };
        if let Some(reason) = self.entry(because).filter(|_| text.trim().is_empty()) {
            self.report(
                &reason.source,
                format!("{key} must not be blank while {because} is {}", reason.value),
            );
        }
        text
    }

    /// Text for which `is_valid` holds; `must` says in words when it does.
    pub(super) fn text_that(&mut self, key: &str, must: &str, is_valid: impl FnOnce(&str) -> bool) -> String {
        self.get(key, must, |value| value.as_text().filter(|text| is_valid(text)).map(str::to_owned))
            .unwrap_or_default()
    }

    /// The address of an API, without a slash at its end; it may be blank. Plain http will do for this machine
    /// alone. Never shows the address: it may hold a password.
    pub(super) fn base_url(&mut self, key: &str) -> String {
        let Some(given) = self.optional_text(key) else { return String::new() };
        match BaseUrl::parse(&given) {
            Some(url) if url.is_plain_to_another_machine() => self.problem(
                key,
                format!("{key} must not be plain http to another machine: messages could be read on the way"),
            ),
            Some(_) => {}
            None => self.problem(key, format!("{key} must be {BASE_URL}")),
        }
        given.trim_end_matches('/').to_owned()
    }

    /// A whole number. The range is one of its type.
    pub(super) fn integer<T>(&mut self, key: &str, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + PartialOrd + TryFrom<i64>,
    {
        let must = format!("a whole number from {} to {}", range.start(), range.end());
        let integer = |value: &Value| T::try_from(value.as_integer()?).ok().filter(|it| range.contains(it));
        self.get(key, &must, integer).unwrap_or(*range.start())
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> f64 {
        let must = format!("a number from {} to {}", range.start(), range.end());
        self.get(key, &must, |value| value.as_number().filter(|it| range.contains(it))).unwrap_or_default()
    }

    /// A time in whole seconds.
    pub(super) fn seconds(&mut self, key: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.integer(key, range))
    }

    /// A time in whole milliseconds.
    pub(super) fn millis(&mut self, key: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.integer(key, range))
    }

    /// A yes or no.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.get(key, "true or false", Value::as_bool).unwrap_or_default()
    }

    /// One of a few words, each with what it stands for.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let find = |value: &Value| {
            let text = value.as_text()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        };
        self.get(key, &either(words), find).unwrap_or(words[0].1)
    }

    /// A list of secrets, none of them blank.
    pub(super) fn secrets(&mut self, key: &str) -> Vec<Secret> {
        self.secrets_that(key, "", |_| true)
    }

    /// A list of secrets for which `is_valid` holds, none of them blank; `must` says in words when it does.
    pub(super) fn secrets_that(
        &mut self,
        key: &str,
        must: &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Vec<Secret> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::List(items) = &entry.value else {
            self.report(&entry.source, format!("{key} must be a list of text"));
            return Vec::new();
        };
        let mut secrets = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.value.as_text().ok_or("must be text").and_then(parse_secret) {
                Ok(Some(secret)) if is_valid(secret.expose()) => secrets.push(secret),
                Ok(Some(_)) => self.report(&item.source, format!("{key}[{index}] {must}")),
                Ok(None) => self.report(&item.source, format!("{key}[{index}] must not be blank")),
                Err(must) => self.report(&item.source, format!("{key}[{index}] {must}")),
            }
        }
        secrets
    }

    /// A list of text, each item of which is what `parse` takes; `must` says in words what that is.
    pub(super) fn list<T>(&mut self, key: &str, must: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        self.plain.insert(key.to_owned());
        let Value::List(items) = &entry.value else {
            self.report(&entry.source, format!("{key} must be a list of text, not {}", entry.value));
            return Vec::new();
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(value) = item.value.as_text().map(str::trim).and_then(&parse) {
                parsed.push(value);
            } else {
                let text = format!("{key}[{index}] must be {must}, not {}", item.value);
                self.report(&item.source, text);
            }
        }
        parsed
    }

    /// A secret given under `key`, or in the file that `file_key` names. Blank is none.
    pub(super) fn secret(&mut self, key: &str, file_key: &str) -> Option<Secret> {
        let given = self.secret_text(key);
        let path = self.text(file_key);
        if path.is_empty() {
            return given;
        }
        if given.is_some() {
            self.problem(file_key, format!("{file_key} and {key} must not both be given"));
            return None;
        }
        match read_secret(&self.cwd.join(&path)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.problem(file_key, format!("{file_key}: {path} {error}"));
                None
            }
        }
    }

    /// Text that must not be shown, though it is no secret.
    pub(super) fn private_text(&mut self, key: &str) -> String {
        let text = self.text(key);
        self.plain.remove(key);
        text
    }

    /// A secret given under `key`. Blank is none.
    pub(super) fn secret_text(&mut self, key: &str) -> Option<Secret> {
        let entry = self.entry(key)?;
        match entry.value.as_text().ok_or("must be text").and_then(parse_secret) {
            Ok(secret) => secret,
            Err(must) => {
                self.report(&entry.source, format!("{key} {must}"));
                None
            }
        }
    }

    /// Notes that something is wrong, where `key` was given.
    pub(super) fn problem(&mut self, key: &str, text: String) {
        if let Some(entry) = self.settings.entry(key) {
            self.report(&entry.source, text);
        }
    }

    /// Notes what the operator should know, where `key` was given.
    pub(super) fn warning(&mut self, key: &str, text: String) {
        if let Some(entry) = self.settings.entry(key) {
            self.warnings.push(Problem { source: entry.source.clone(), text });
        }
    }

    /// Notes of every key of a section that says something else than its default does that it is not used.
    pub(super) fn warn_unused(&mut self, section: &str, reason: &str) {
        let unused = self.settings.changed_in(section).map(|(key, entry)| Problem {
            source: entry.source.clone(),
            text: format!("{key} is not used: {reason}"),
        });
        self.warnings.extend(unused);
    }

    /// The one of `key` and the key of its file, if it has one, that is not blank.
    pub(super) fn find_given(&self, key: &str) -> Option<String> {
        let is_given = |key: &String| self.settings.entry(key).is_some_and(|entry| !entry.value.is_blank());
        [key.to_owned(), format!("{key}_file")].into_iter().find(is_given)
    }

    /// Whether a layer above the defaults has `key`, whatever it says.
    pub(super) fn is_mentioned(&self, key: &str) -> bool {
        self.settings.is_mentioned(key)
    }

    /// The names of the tables of `[[provider.fallback]]`, in their order.
    pub(super) fn fallbacks(&self) -> Vec<String> {
        self.settings.fallbacks().collect()
    }

    fn any_text(&mut self, key: &str) -> Option<String> {
        self.get(key, "text", |value| value.as_text().map(str::to_owned))
    }

    /// What `convert` makes of the value in force. What it refuses is shown, so this is not for secrets.
    fn get<T>(&mut self, key: &str, must: &str, convert: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let entry = self.entry(key)?;
        self.plain.insert(key.to_owned());
        let converted = convert(&entry.value);
        if converted.is_none() {
            self.report(&entry.source, format!("{key} must be {must}, not {}", entry.value));
        }
        converted
    }

    fn entry(&mut self, key: &str) -> Option<&'a Entry> {
        self.asked.insert(key.to_owned());
        let entry = self.settings.entry(key);
        debug_assert!(entry.is_some(), "{key} is not in config.toml.example");
        entry
    }

    fn report(&mut self, source: &Source, text: String) {
        self.problems.push(Problem { source: source.clone(), text });
    }
}

/// `"a", "b" or "c"`.
fn either<T>(words: &[(&str, T)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    words.split_last().map_or_else(String::new, |(last, others)| format!("{} or {last}", others.join(", ")))
}

/// A secret without the space around it; `None` if that leaves nothing.
fn parse_secret(text: &str) -> Result<Option<Secret>, &'static str> {
    let text = text.trim();
    if text.contains(char::is_control) {
        return Err("must be one line without control characters");
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn read_secret(path: &Path) -> Result<Secret, String> {
    let text =
        fs::read_to_string(path).map(Secret::new).map_err(|error| format!("cannot be read: {error}"))?;
    parse_secret(text.expose())?.ok_or_else(|| "must not be blank".to_owned())
}
