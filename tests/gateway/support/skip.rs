//! Tests that need something which is not there.

use std::{
    io::{self, Write as _},
    thread,
};

/// Says that the running test does nothing, and why. Fails instead if the environment variable that is named here is `1`.
pub fn skip(reason: &str, required_by: Option<&str>) {
    #[expect(clippy::disallowed_methods, reason = "this is for the test, not for the gateway")]
    let required = required_by.and_then(|name| std::env::var(name).ok());
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let notice = format!("skipped: {test}: {reason}");
    assert_ne!(required.as_deref(), Some("1"), "{notice}");
    // Not `eprintln`, which is kept back for a test that passes.
    writeln!(io::stderr(), "{notice}").ok();
}
