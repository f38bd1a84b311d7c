//! `moorgate lockout`: clients that sent wrong pairing codes.

use clap::{ArgGroup, Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    table::{OutputArgs, Record, Value},
};
use crate::{
    domain::{client::ClientAddress, time::Millis},
    repository::admin::{LimitAdminRepository as _, LockoutEntry},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate lockout list")]
pub(super) enum LockoutCommand {
    /// List the clients whose wrong codes still count
    List(ListArgs),
    /// Let clients try again at once
    Clear(ClearArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate lockout list --json")]
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
#[command(after_help = "Examples:\n  moorgate lockout clear 203.0.113.7\n  moorgate lockout clear --all")]
pub(super) struct ClearArgs {
    /// The address of the client
    #[arg(value_name = "CLIENT", group = "whose", value_parser = client_address)]
    client: Option<ClientAddress>,
    /// Those of all clients
    #[arg(long, group = "whose")]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

/// An address as lists show it, or any address of a client.
pub(super) fn client_address(text: &str) -> Result<ClientAddress, String> {
    text.parse().map_err(|_| "expected an IP address".to_owned())
}

pub(super) fn run(command: LockoutCommand) -> Result<(), Failure> {
    match command {
        LockoutCommand::List(arguments) => list(arguments),
        LockoutCommand::Clear(arguments) => clear(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let rows = beside::run(arguments.files, async |beside| {
        let lockouts = beside.store.list_lockouts(arguments.limit, beside.now).await?;
        Ok(lockouts.into_iter().map(|lockout| record(lockout, beside.now)).collect::<Vec<_>>())
    })?;
    arguments.output.list(&rows);
    Ok(())
}

fn clear(arguments: ClearArgs) -> Result<(), Failure> {
    let ClearArgs { client, output, files, .. } = arguments;
    let cleared = beside::run(files, async |beside| Ok(beside.store.clear_lockouts(client).await?))?;
    if let (true, Some(client)) = (cleared.is_empty(), client) {
        return Err(Failure::new(Failure::USAGE, format!("nothing is on record about {client}")));
    }
    let sentence = if cleared.is_empty() {
        "No client was on record.".to_owned()
    } else {
        format!("Free to pair: {}.", cleared.join(", "))
    };
    let rows: Vec<Record> = cleared.into_iter().map(|client| vec![("client", Value::Text(client))]).collect();
    output.all_done(sentence, &rows);
    Ok(())
}

fn record(lockout: LockoutEntry, now: Millis) -> Record {
    let state = lockout.state(now);
    vec![
        ("client", lockout.client.into()),
        ("state", state.into()),
        ("failures", lockout.failures.into()),
        ("lockouts", lockout.lockouts.into()),
        ("locked_at", lockout.locked_at.into()),
        ("locked_until", lockout.locked_until.into()),
    ]
}
