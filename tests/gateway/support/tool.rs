//! Programs of others that some tests run against, where they are installed.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// A program on the path, if it is there; `hint` says how it gets there.
pub fn on_path(program: &str, hint: &str) -> Option<PathBuf> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return Some(program.into());
    }
    skip(&format!("{program} is not installed: {hint}"));
    None
}

/// A program at this place of the checkout, if it is there; `hint` says how it gets there.
pub fn in_checkout(place: &str, hint: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{place} is not there: {hint}"));
    None
}

/// Says that the running test does nothing; fails instead where the tools are required.
fn skip(reason: &str) {
    #[expect(clippy::disallowed_methods, reason = "this is for the test, not for the gateway")]
    let required = std::env::var("MOORGATE_TEST_REQUIRE_TOOLS");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let notice = format!("skipped: {test}: {reason}");
    assert_ne!(required.as_deref(), Ok("1"), "{notice}");
    // Not `eprintln`, which is kept back for a test that passes.
    writeln!(io::stderr(), "{notice}").ok();
}
