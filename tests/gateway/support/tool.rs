//! Programs of others that some tests run against, where they are installed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::skip::skip;

/// Set to 1 where tests must not be skipped.
const REQUIRED: Option<&str> = Some("MOORGATE_TEST_REQUIRE_TOOLS");

/// A program on the path, if it is there; `hint` says how it gets there.
pub fn on_path(program: &str, hint: &str) -> Option<PathBuf> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return Some(program.into());
    }
    skip(&format!("{program} is not installed: {hint}"), REQUIRED);
    None
}

/// A program at this place of the checkout, if it is there; `hint` says how it gets there.
pub fn in_checkout(place: &str, hint: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{place} is not there: {hint}"), REQUIRED);
    None
}

/// Compiles a source of the checkout to a library that is put in front of the C library (`LD_PRELOAD`); `None` where there is no
/// compiler, which is said.
pub fn shim(source: &str, library: &Path) -> Option<()> {
    let mut command = Command::new(on_path("cc", "Debian: apt-get install gcc")?);
    command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(library);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).args(["-ldl", "-lpthread"]);
    assert!(command.status().unwrap().success(), "{source} compiles");
    Some(())
}
