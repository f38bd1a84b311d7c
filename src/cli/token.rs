//! `moorgate token`: works with bearer tokens.

use clap::{Args, Subcommand};

use super::{Failure, FileArgs, block_on, load, print};
use crate::app;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Print a new token; only its hash is kept
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// A name for the client that will use it
    #[arg(long)]
    label: String,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create(arguments) = command;
    let config = load(arguments.files, Vec::new())?;
    block_on(async {
        let (store, pairing, clock) = app::open_beside(&config).await?;
        let created = pairing.create_token(&arguments.label, clock.now()).await;
        store.close().await;
        let token = created.map_err(app::StartError::from)?;
        print(format_args!("{}\n", token.expose()));
        Ok(())
    })
}
