//! Rules about the sources that no compiler checks: who may use whom, how long things are, where SQL is, that documents
//! name files that exist, and how migrations are written. Each rule is a function from text to complaints.

#![expect(clippy::unwrap_used, reason = "a rule that cannot be checked is a failure")]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/limit.rs"]
mod limit;
#[path = "tidy/sample.rs"]
mod sample;

use std::{
    fs,
    path::{Path, PathBuf},
};

use code::{code_of, function_lines, tokens_of};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// What each module may use besides itself: `http, cli → service → repository, provider, channel → domain` and
/// `sqlite → repository, domain`. Only `app` and `cli` know `sqlite` and `http` together, and what was configured.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("telemetry", &["domain"]),
    ("system", &["domain"]),
    ("outbound", &["domain", "telemetry"]),
    ("config", &["domain"]),
    ("repository", &["domain", "telemetry", "system"]),
    ("provider", &["domain", "telemetry", "outbound", "system"]),
    ("channel", &["domain", "telemetry", "outbound", "system"]),
    ("tunnel", &["domain", "telemetry", "outbound", "system"]),
    ("sqlite", &["repository", "domain", "telemetry", "system"]),
    ("service", &["repository", "provider", "channel", "domain", "telemetry", "system"]),
    ("http", &["service", "repository", "provider", "channel", "domain", "telemetry", "system"]),
    (
        "app",
        &[
            "http",
            "service",
            "repository",
            "sqlite",
            "provider",
            "channel",
            "tunnel",
            "domain",
            "config",
            "telemetry",
            "outbound",
            "system",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "http",
            "service",
            "repository",
            "sqlite",
            "provider",
            "channel",
            "tunnel",
            "domain",
            "config",
            "telemetry",
            "outbound",
            "system",
        ],
    ),
    ("main", &["cli"]),
];

#[test]
fn modules_are_used_in_one_direction() {
    check_sources(|path, text| forbidden_uses(path, &code_of(text)));
}

#[test]
fn files_and_functions_are_short() {
    check_sources(|_, text| too_long(text));
}

#[test]
fn sql_is_in_sqlite_alone() {
    check_sources(|path, text| stray_sql(path, &code_of(text)));
}

#[test]
fn paths_named_in_documents_exist() {
    let documents = files_under("docs", "md").into_iter().chain(files_under(".", "md"));
    let complaints = documents.flat_map(|path| {
        let missing = named_paths(&read(&path)).into_iter().filter(|named| !root().join(named).exists());
        missing.map(|named| format!("{}: {named} does not exist", path.display())).collect::<Vec<_>>()
    });
    assert_none(&complaints.collect::<Vec<_>>());
}

#[test]
fn migrations_are_named_commented_and_have_views() {
    let files = files_under("migrations", "sql");
    assert!(!files.is_empty());
    let files: Vec<_> = files.iter().map(|path| (name_of(path), read(path))).collect();
    assert_none(&bad_migrations(&files));
}

#[test]
fn every_limit_is_documented_with_its_answer_and_its_counter() {
    let (example, document) =
        (read(Path::new("config.toml.example")), read(Path::new("docs/OBSERVABILITY.md")));
    assert_none(&limit::undocumented_limits(&example, &document));
}

/// Complaints about the uses of other modules in a file of `src`.
fn forbidden_uses(path: &str, code: &str) -> Vec<String> {
    let module = module_of(path);
    let top = module.first().map_or("lib", String::as_str);
    let allowed = MAY_USE.iter().find(|(name, _)| *name == top).map(|(_, allowed)| *allowed);
    let Some(allowed) = allowed.or((top == "lib").then_some(&[])) else {
        return vec![format!("{top} has no line in MAY_USE")];
    };
    let used = used_modules(&module, code)
        .into_iter()
        .filter(|used| used != top && !allowed.contains(&used.as_str()));
    used.map(|used| format!("{top} must not use {used}")).collect()
}

/// `["http", "extract", "key"]` for `http/extract/key.rs`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The top modules that paths through `crate`, `moorgate` or enough `super` lead to.
fn used_modules(module: &[String], code: &str) -> Vec<String> {
    let tokens = tokens_of(code);
    let (mut used, mut blocks) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" => blocks.push(at > 1 && tokens[at - 2] == "mod"),
            "}" => drop(blocks.pop()),
            _ => {}
        }
        let follows_path = at > 0 && tokens[at - 1] == "::";
        let depth = module.len() + blocks.iter().filter(|is_module| **is_module).count();
        let mut after = at + 1;
        let reaches_root = match *token {
            "crate" | "moorgate" => tokens.get(after) == Some(&"::"),
            "super" if !follows_path => {
                let mut supers = 1;
                while tokens.get(after..after + 2) == Some(&["::", "super"]) {
                    (supers, after) = (supers + 1, after + 2);
                }
                supers == depth && tokens.get(after) == Some(&"::")
            }
            _ => false,
        };
        if reaches_root {
            used.extend(heads_of(&tokens[after + 1..]));
        }
        at += 1;
    }
    used
}

/// The first names of a path or of a group of them: `a`, `b` for `{a::{x, y}, b}`.
fn heads_of(tokens: &[&str]) -> Vec<String> {
    if tokens.first() != Some(&"{") {
        return tokens.first().map(|name| (*name).to_owned()).into_iter().collect();
    }
    let (mut heads, mut depth) = (Vec::new(), 0);
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(tokens[at - 1], "{" | ",") => heads.push(name.to_owned()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Complaints about the length of a file and of its functions.
fn too_long(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        complaints.push(format!("{lines} lines, more than {MAX_FILE_LINES}"));
    }
    let code = code_of(text);
    for (start, _) in code.match_indices("fn ") {
        let is_word = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let lines = if is_word { function_lines(&code[start..]) } else { 0 };
        if lines > MAX_FUNCTION_LINES {
            let name = code[start + 3..].split(['(', '<']).next().unwrap_or_default();
            complaints.push(format!("fn {name} has {lines} lines, more than {MAX_FUNCTION_LINES}"));
        }
    }
    complaints
}

/// Complaints about SQL outside of `src/sqlite`.
fn stray_sql(path: &str, code: &str) -> Vec<String> {
    let is_sql = |token: &&str| matches!(*token, "sqlx" | "query" | "query_as" | "query_scalar");
    let tokens = tokens_of(code);
    let stray = tokens.windows(2).filter(|pair| is_sql(&pair[0]) && matches!(pair[1], "::" | "!"));
    let stray = stray.map(|pair| format!("{}{} outside of src/sqlite", pair[0], pair[1]));
    if path.starts_with("sqlite/") { Vec::new() } else { stray.collect() }
}

/// The paths of this repository that a document names in backticks, outside of code blocks.
fn named_paths(document: &str) -> Vec<String> {
    const FOLDERS: [&str; 7] = ["src/", "tests/", "docs/", "migrations/", "scripts/", "bench/", "packaging/"];
    let mut in_block = false;
    let mut paths = Vec::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let spans = line.split('`').skip(1).step_by(2);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let named = spans.filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)));
            paths.extend(named.filter(|span| span.chars().all(is_plain)).map(str::to_owned));
        }
    }
    paths
}

/// Complaints about migrations, given as names and texts.
fn bad_migrations(files: &[(String, String)]) -> Vec<String> {
    let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
    let mut complaints = Vec::new();
    for (name, text) in files {
        if !is_migration_name(name) {
            complaints.push(format!("{name} is not YYYYMMDDHHMMSS_verb_object.sql"));
        }
        let mut before = "";
        for line in text.lines() {
            if let Some(table) = created_table(line) {
                if !before.starts_with("-- ") {
                    complaints.push(format!("{name}: table {table} has no comment right before it"));
                }
                let is_gone = all.contains(&format!("DROP TABLE {table};"))
                    || all.contains(&format!("ALTER TABLE {table} RENAME TO "));
                if !is_gone && !all.contains(&format!("CREATE VIEW v_{table} AS")) {
                    complaints.push(format!("{name}: table {table} has no view v_{table}"));
                }
            }
            before = line;
        }
    }
    complaints
}

fn created_table(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("CREATE TABLE ")?;
    rest.split([' ', '(']).next()
}

fn is_migration_name(name: &str) -> bool {
    let Some((time, words)) = name.strip_suffix(".sql").and_then(|name| name.split_once('_')) else {
        return false;
    };
    let part = |range: std::ops::Range<usize>| time.get(range).and_then(|digits| digits.parse::<u32>().ok());
    let is_time = time.len() == 14
        && part(0..4).is_some_and(|year| year > 2000)
        && part(4..6).is_some_and(|month| (1..=12).contains(&month))
        && part(6..8).is_some_and(|day| (1..=31).contains(&day))
        && part(8..10).is_some_and(|hour| hour < 24)
        && part(10..12).is_some_and(|minute| minute < 60)
        && part(12..14).is_some_and(|second| second < 60);
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    is_time && words.contains('_') && words.split('_').all(is_word)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The files with this ending in a folder, relative to the root, sorted. Of the root itself only its own files.
fn files_under(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).into_iter().flatten() {
        let path = Path::new(folder).join(entry.unwrap().file_name());
        if root().join(&path).is_dir() {
            let below = if folder == "." { Vec::new() } else { files_under(path.to_str().unwrap(), ending) };
            files.extend(below);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Applies a rule to every file of `src`, by its path in there.
fn check_sources(rule: impl Fn(&str, &str) -> Vec<String>) {
    let files = files_under("src", "rs");
    assert!(files.len() > 50, "{files:?}");
    let complaints = files.iter().flat_map(|path| {
        let name = path.strip_prefix("src").unwrap().to_str().unwrap();
        rule(name, &read(path)).into_iter().map(|text| format!("src/{name}: {text}")).collect::<Vec<_>>()
    });
    assert_none(&complaints.collect::<Vec<_>>());
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
