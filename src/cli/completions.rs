//! `moorgate completions`: what a shell needs to complete its commands.

use std::io;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use super::{Arguments, print};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  moorgate completions bash > ~/.local/share/bash-completion/completions/moorgate"
)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: KnownShell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &CompletionsArgs) {
    let shell = match arguments.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    let mut script = io::Cursor::new(Vec::new());
    clap_complete::generate(shell, &mut Arguments::command(), "moorgate", &mut script);
    print(String::from_utf8_lossy(script.get_ref()));
}
