//! The program as its operator starts and stops it: banner, exit codes, signals, environment, output.

mod banner;
mod environment;
mod exit_code;
mod load;
mod notify;
mod output;
mod shutdown;

use std::process::{Command, Stdio};

use crate::support::process::{LONGEST_WAIT, Running, moorgate};

/// Starts `command` with its output in a pipe and its log thrown away.
pub fn spawn(command: &mut Command) -> Running {
    Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))
}

/// The lines of the banner for people, up to and without the first that begins so.
pub fn lines_before(running: &Running, start: &str) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let line = running.line().unwrap_or_else(|| panic!("no {start:?} in {lines:?}"));
        if line.starts_with(start) {
            return (lines, line);
        }
        lines.push(line);
    }
}
