//! `moorgate tunnel-guard`: what the gateway puts between itself and a tunnel's program. It is for nobody else.

use std::{ffi::OsString, time::Duration};

use clap::Args;

use super::{Failure, block_on};
use crate::tunnel::guard;

#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// How long the program may take to end
    #[arg(long)]
    grace_secs: u64,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

pub(super) fn run(arguments: &GuardArgs) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    let environment = std::env::vars_os().map(|(name, _)| name);
    let grace = Duration::from_secs(arguments.grace_secs);
    block_on(async {
        guard::run(&arguments.program, environment, grace).await.map_err(|error| {
            let program = arguments.program[0].to_string_lossy();
            Failure::new(Failure::UNAVAILABLE, format!("cannot run {program}: {error}"))
        })
    })
}
