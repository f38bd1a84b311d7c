//! The configuration file: which one it is, and what it says.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Inputs,
    environment::CONFIG_VARIABLE,
    error::{Problem, Source},
    fallback,
    setting::Settings,
    value::{Entry, Value},
};

const CONFIG_FLAG: &str = "--config";

/// Syntax errors reported of one file: a file that is no TOML at all has one in every line.
const MAX_SYNTAX_ERRORS: usize = 10;

/// Puts what the file says over the layers below. Returns the path of the file that was read, if any.
pub(super) fn apply(inputs: &Inputs, settings: &mut Settings) -> Option<PathBuf> {
    let (path, text) = match read(inputs) {
        Ok(found) => found?,
        Err(problem) => {
            settings.problems.push(problem);
            return None;
        }
    };
    let (entries, problems) = parse(&path, &text);
    if problems.is_empty() {
        // Else what it means to say is a guess, and what is wrong with that too.
        settings.give_document(entries);
    }
    settings.problems.extend(problems);
    Some(inputs.cwd.join(path))
}

/// The path, as it was named, and the text of the first file there is. One that was named must be there.
fn read(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, Problem> {
    if let Some(path) = &inputs.config_flag {
        return read_named(inputs, path, Source::Flag(CONFIG_FLAG)).map(Some);
    }
    if let Some(path) = inputs.env.get(OsStr::new(CONFIG_VARIABLE)) {
        return read_named(inputs, Path::new(path), Source::Variable(CONFIG_VARIABLE.to_owned())).map(Some);
    }
    for path in [Some(PathBuf::from("config.toml")), user_file(inputs)].into_iter().flatten() {
        match fs::read_to_string(inputs.cwd.join(&path)) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => {
                return Err(Problem {
                    text: format!("cannot be read: {error}"),
                    source: Source::File(path, None),
                });
            }
        }
    }
    Ok(None)
}

fn read_named(inputs: &Inputs, path: &Path, source: Source) -> Result<(PathBuf, String), Problem> {
    if path.as_os_str().is_empty() {
        return Err(Problem { source, text: "must name a file, not be blank".to_owned() });
    }
    match fs::read_to_string(inputs.cwd.join(path)) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(error) => Err(Problem { source, text: format!("{} cannot be read: {error}", path.display()) }),
    }
}

/// The file in the user's configuration folder. A relative `XDG_CONFIG_HOME` is not valid
/// (XDG Base Directory Specification 0.8) and is passed over.
fn user_file(inputs: &Inputs) -> Option<PathBuf> {
    let folder =
        |name: &str| inputs.env.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(config.join("moorgate").join("config.toml"))
}

/// Every table and key of a document under its dotted name, tables before what is in them; and its syntax
/// errors.
pub(super) fn parse(path: &Path, text: &str) -> (Vec<(String, Entry)>, Vec<Problem>) {
    let source_at = |offset: usize| {
        let line = 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        Source::File(path.to_owned(), Some(line))
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut entries = Vec::new();
    flatten("", table.into_inner(), &source_at, &mut entries);
    let problems = errors.iter().take(MAX_SYNTAX_ERRORS).map(|error| Problem {
        source: error
            .span()
            .map_or_else(|| Source::File(path.to_owned(), None), |span| source_at(span.start)),
        text: error.message().to_owned(), // unlike its `Display`, it quotes nothing of the file
    });
    (entries, problems.collect())
}

fn flatten(
    prefix: &str,
    table: DeTable<'_>,
    source_at: &dyn Fn(usize) -> Source,
    entries: &mut Vec<(String, Entry)>,
) {
    for (key, value) in table {
        let source = source_at(key.span().start);
        let name = format!("{prefix}{}", quoted(key.get_ref()));
        match value.into_inner() {
            DeValue::Array(items) if name == fallback::LIST && !items.is_empty() => {
                for (index, item) in items.into_iter().enumerate() {
                    let source = source_at(item.span().start);
                    push(fallback::table(index), item.into_inner(), source, source_at, entries);
                }
            }
            value => push(name, value, source, source_at, entries),
        }
    }
}

/// Adds a value under its name; a table, and what is in it.
fn push(
    name: String,
    value: DeValue<'_>,
    source: Source,
    source_at: &dyn Fn(usize) -> Source,
    entries: &mut Vec<(String, Entry)>,
) {
    match value {
        DeValue::Table(table) => {
            let inner = format!("{name}.");
            entries.push((name, Entry { value: Value::Table, source }));
            flatten(&inner, table, source_at, entries);
        }
        value => entries.push((name, Entry { value: Value::from_toml(value, source_at), source })),
    }
}

/// A part of a dotted name, quoted where TOML needs it: the key `"gateway.port"` is not `gateway.port`.
fn quoted(part: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !part.is_empty() && part.chars().all(is_bare) { part.to_owned() } else { format!("{part:?}") }
}
