//! The `moorgate` program: arguments in, exit code out.

use std::process::ExitCode;

/// The general-purpose allocator of the system costs a tenth of the processor time under load: threads that hand
/// messages to each other free what another one allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    moorgate::cli::run(std::env::args_os())
}
