//! `moorgate limit`: rate windows.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{
    Failure, FileArgs, beside,
    lockout::client_address,
    table::{OutputArgs, Record},
};
use crate::{
    domain::{client::ClientAddress, rate::Scope},
    repository::admin::{LimitAdminRepository as _, WindowEntry},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate limit list")]
pub(super) enum LimitCommand {
    /// List who was admitted how often in the last 60 seconds
    List(ListArgs),
    /// Empty rate windows, so that who is over a limit is admitted again
    Clear(ClearArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate limit list --json")]
pub(super) struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true)))]
#[command(
    after_help = "Examples:\n  moorgate limit clear 203.0.113.7\n  moorgate limit clear --all --scope webhook"
)]
pub(super) struct ClearArgs {
    /// The address of the client
    #[arg(value_name = "CLIENT", group = "whose", value_parser = client_address)]
    client: Option<ClientAddress>,
    /// Those of all clients
    #[arg(long, group = "whose")]
    all: bool,
    /// Of one limit only
    #[arg(long)]
    scope: Option<ScopeName>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeName {
    Pair,
    Webhook,
    Signature,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Pair => Self::Pair,
            ScopeName::Webhook => Self::Webhook,
            ScopeName::Signature => Self::Signature,
        }
    }
}

pub(super) fn run(command: LimitCommand) -> Result<(), Failure> {
    match command {
        LimitCommand::List(arguments) => list(arguments),
        LimitCommand::Clear(arguments) => clear(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let windows = beside::run(arguments.files, async |beside| {
        Ok(beside.store.list_windows(arguments.limit, beside.now).await?)
    })?;
    arguments.output.list(&windows.into_iter().map(record).collect::<Vec<_>>());
    Ok(())
}

fn clear(arguments: ClearArgs) -> Result<(), Failure> {
    let ClearArgs { client, scope, output, files, .. } = arguments;
    let cleared = beside::run(files, async |beside| {
        Ok(beside.store.clear_windows(scope.map(Into::into), client, beside.now).await?)
    })?;
    if let (0, Some(client)) = (cleared, client) {
        return Err(Failure::new(
            Failure::USAGE,
            format!("{client} has no rate window with a request in it"),
        ));
    }
    let windows = if cleared == 1 { "window is" } else { "windows are" };
    let record = vec![("cleared", i64::try_from(cleared).unwrap_or(i64::MAX).into())];
    output.done(format_args!("{cleared} rate {windows} empty now."), &record);
    Ok(())
}

fn record(window: WindowEntry) -> Record {
    vec![
        ("scope", window.scope.into()),
        ("token", window.token.map(|id| id.0).into()),
        ("address", window.address.into()),
        ("hits", window.hits.into()),
        ("first_at", window.first_at.into()),
        ("last_at", window.last_at.into()),
    ]
}
