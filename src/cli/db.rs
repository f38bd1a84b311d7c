//! `moorgate db`: looks after the database file.
//!
//! Output is `name: value` lines, or with `--json` one JSON object on one line.

mod run;
mod text;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, FileArgs, block_on, confirm::ConfirmArgs};
use crate::sqlite::UpkeepError;

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Print what there is to know about the file, beside a running server
    #[command(after_help = "Example:\n  moorgate db info --json")]
    Info(OutputArgs),
    /// Check the file and its contents, beside a running server; exit code 74 if something is wrong
    #[command(after_help = "Example:\n  moorgate db check && echo sound")]
    Check(OutputArgs),
    /// Write a verified copy of the database to a file, beside a running server
    #[command(after_help = "Example:\n  moorgate db backup /backups/moorgate.db")]
    Backup(BackupArgs),
    /// Put a backup in the place of the database; the old file is kept. No server may run
    #[command(after_help = "Example:\n  moorgate db restore /backups/moorgate.db --yes")]
    Restore(RestoreArgs),
    /// Write the file anew without its free pages. No server may run
    #[command(after_help = "Example:\n  moorgate db vacuum")]
    Vacuum(OutputArgs),
    /// Bring the schema up to date without serving, making the file if it is missing. No server may run
    #[command(after_help = "Example:\n  moorgate db migrate")]
    Migrate(OutputArgs),
    /// Forget now what has expired or need not be kept, beside a running server
    #[command(after_help = "Example:\n  moorgate db prune --json")]
    Prune(OutputArgs),
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where the backup goes
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(command: DbCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            DbCommand::Info(arguments) => run::info(arguments).await,
            DbCommand::Check(arguments) => run::check(arguments).await,
            DbCommand::Backup(arguments) => run::backup(arguments).await,
            DbCommand::Restore(arguments) => run::restore(arguments).await,
            DbCommand::Vacuum(arguments) => run::vacuum(arguments).await,
            DbCommand::Migrate(arguments) => run::migrate(arguments).await,
            DbCommand::Prune(arguments) => run::prune(arguments).await,
        }
    })
}

impl From<UpkeepError> for Failure {
    fn from(error: UpkeepError) -> Self {
        match &error {
            UpkeepError::Exists(_) => Self::new(Self::USAGE, format!("{error}: --force replaces it")),
            UpkeepError::IsTheDatabase(_) => Self::new(Self::USAGE, error),
            UpkeepError::Stopped => Self::new(Self::INTERRUPTED, error),
            _ => Self::new(Self::DATABASE, error),
        }
    }
}
