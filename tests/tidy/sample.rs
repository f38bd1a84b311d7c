//! Bad samples: each rule catches what it is for, and lets pass what is allowed.

use super::{bad_migrations, code::code_of, forbidden_uses, named_paths, stray_sql, too_long};

#[test]
fn a_use_against_the_direction_is_caught_in_every_spelling() {
    for (path, code, complaint) in [
        ("domain/rate.rs", "use crate::system::Clock;", "domain must not use system"),
        ("domain/mod.rs", "use super::http;", "domain must not use http"),
        ("domain/rate.rs", "use super::super::telemetry::Metrics;", "domain must not use telemetry"),
        (
            "domain/rate.rs",
            "mod tests { use super::super::super::config::Config; }",
            "domain must not use config",
        ),
        (
            "repository/turn.rs",
            "use crate::{domain::{id, time}, sqlite::Store};",
            "repository must not use sqlite",
        ),
        ("provider/openai.rs", "fn f(x: crate::repository::X) {}", "provider must not use repository"),
        ("outbound.rs", "use crate::provider::Kind;", "outbound must not use provider"),
        ("service/turn.rs", "use crate::outbound::Client;", "service must not use outbound"),
        ("service/turn.rs", "use crate::http::{self, error};", "service must not use http"),
        (
            "sqlite/mod.rs",
            "use crate::{\n    service::pairing,\n    domain::id,\n};",
            "sqlite must not use service",
        ),
        ("http/state.rs", "use crate::sqlite::SqliteStore;", "http must not use sqlite"),
        (
            "http/pair.rs",
            "pub(in crate::http) fn f(x: &crate::config::Gateway) {}",
            "http must not use config",
        ),
        ("telemetry/logs.rs", "use crate::config::LogFormat;", "telemetry must not use config"),
        ("config/mod.rs", "use crate::app::App;", "config must not use app"),
        ("app.rs", "use crate::cli;", "app must not use cli"),
        ("app.rs", "use super::cli;", "app must not use cli"),
        ("main.rs", "fn main() { moorgate::app::run() }", "main must not use app"),
        ("domain/rate.rs", "use crate::*;", "domain must not use *"),
        ("new/mod.rs", "", "new has no line in MAY_USE"),
    ] {
        assert_eq!(forbidden_uses(path, &code_of(code)), [complaint], "{path}: {code}");
    }
}

#[test]
fn a_use_in_the_direction_passes() {
    for (path, code) in [
        (
            "domain/rate.rs",
            "use super::time::Millis; use crate::domain::{client, id}; mod tests { use super::*; }",
        ),
        ("domain/rate.rs", "// use crate::http;\n/* crate::http */ const X: &str = \"crate::http\";"),
        ("domain/rate.rs", "const X: &str = r#\"use \"crate::http\"\"#; const Q: char = '\"'; // crate::app"),
        ("http/extract/key.rs", "use super::super::error::ApiError; use crate::service::turn;"),
        ("sqlite/mod.rs", "use crate::{repository::{StoreError, http}, system::SteadyClock};"),
        ("channel/linq.rs", "use crate::outbound::{self, Client};"),
        ("service/turn.rs", "fn f<'a>(x: &'a str) -> char { '{' } use crate::domain::id;"),
        ("app.rs", "use crate::{http, sqlite, config};"),
        ("cli/serve.rs", "use super::{Failure}; use crate::app::App;"),
        ("main.rs", "fn main() { moorgate::cli::run() }"),
        ("lib.rs", "pub mod domain;"),
    ] {
        assert_eq!(forbidden_uses(path, &code_of(code)), Vec::<String>::new(), "{path}: {code}");
    }
}

#[test]
fn a_long_file_is_caught() {
    assert_eq!(too_long(&"//\n".repeat(501)), ["501 lines, more than 500"]);
    assert_eq!(too_long(&"//\n".repeat(500)), Vec::<String>::new());
}

#[test]
fn a_long_function_is_caught() {
    let function = |lines: usize| {
        format!("impl X {{\nasync fn long<T>(x: [u8; 2]) {{\n{}}}\n}}\n", "x();\n".repeat(lines))
    };
    assert_eq!(too_long(&function(69)), ["fn long has 71 lines, more than 70"]);
    assert_eq!(too_long(&function(68)), Vec::<String>::new());
    let text = "fn short() { \"{\"; '{'; }\ntrait T { fn none(x: [u8; 2]); }\n";
    assert_eq!(too_long(&(text.to_owned() + &"x();\n".repeat(99))), Vec::<String>::new());
}

#[test]
fn sql_in_the_wrong_place_is_caught() {
    for code in ["sqlx::query!(\"SELECT 1\")", "query_scalar !(\"SELECT 1\")", "use sqlx::SqlitePool;"] {
        assert_ne!(stray_sql("http/pair.rs", &code_of(code)), Vec::<String>::new(), "{code}");
        assert_eq!(stray_sql("sqlite/pairing.rs", &code_of(code)), Vec::<String>::new(), "{code}");
    }
    assert_eq!(
        stray_sql("http/pair.rs", &code_of("// sqlx::query!\nfn query(x: X) {}")),
        Vec::<String>::new()
    );
}

#[test]
fn paths_are_found_in_documents() {
    let document = "See `src/lib.rs`, `docs/x/`, `moorgate serve`, `src/*.rs` and src/no.rs.\n```sh\n`src/in_block.rs`\n```\n`tests/tidy.rs`";
    assert_eq!(named_paths(document), ["src/lib.rs", "docs/x/", "tests/tidy.rs"]);
}

#[test]
fn a_bad_migration_is_caught() {
    let good = "-- Why.\nCREATE TABLE a (\n  x INTEGER\n) STRICT;\nCREATE VIEW v_a AS\nSELECT x FROM a;\n";
    let complaints = |name: &str, text: &str| bad_migrations(&[(name.to_owned(), text.to_owned())]);
    assert_eq!(complaints("20261121120000_create_a.sql", good), Vec::<String>::new());
    for name in [
        "0001_create_a.sql",
        "20261321120000_create_a.sql",
        "20261121120000_a.sql",
        "20261121120000_Create_a.sql",
    ] {
        assert_eq!(complaints(name, good), [format!("{name} is not YYYYMMDDHHMMSS_verb_object.sql")]);
    }
    let name = "20261121120000_create_a.sql";
    let bare = good.replace("-- Why.\n", "-- Why.\n\n");
    assert_eq!(complaints(name, &bare), [format!("{name}: table a has no comment right before it")]);
    let blind = good.replace("v_a", "v_b");
    assert_eq!(complaints(name, &blind), [format!("{name}: table a has no view v_a")]);
    let gone = blind + "DROP TABLE a;\n";
    assert_eq!(complaints(name, &gone), Vec::<String>::new());
}
