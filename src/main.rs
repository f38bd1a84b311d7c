//! The `moorgate` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorgate::cli::run(std::env::args_os())
}
