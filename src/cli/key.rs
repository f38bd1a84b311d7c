//! `moorgate key`: idempotency keys.

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    confirm::ConfirmArgs,
    table::{OutputArgs, Record},
};
use crate::repository::admin::{KeyAdminRepository as _, KeyChange, KeyEntry};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate key list")]
pub(super) enum KeyCommand {
    /// List the keys on record, the newest first
    List(ListArgs),
    /// Forget an answered key: the next request with it is a new one
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate key list --owner token:3")]
pub(super) struct ListArgs {
    /// Of one client only: token:ID or addr:ADDRESS
    #[arg(long)]
    owner: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate key forget order-1 --owner token:3 --yes")]
pub(super) struct ForgetArgs {
    /// The key
    key: String,
    /// Whose it is, where several clients have the same: token:ID or addr:ADDRESS
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::List(arguments) => list(arguments),
        KeyCommand::Forget(arguments) => forget(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let ListArgs { owner, limit, output, files } = arguments;
    let keys =
        beside::run(files, async |beside| Ok(beside.store.list_keys(owner.as_deref(), limit).await?))?;
    output.list(&keys.into_iter().map(record).collect::<Vec<_>>());
    Ok(())
}

fn forget(arguments: ForgetArgs) -> Result<(), Failure> {
    let ForgetArgs { key, owner, confirm, output, files } = arguments;
    confirm.ask(&format!("Forget the key {key}? A request that is sent again is answered anew."))?;
    let forgotten =
        beside::run(files, async |beside| Ok(beside.store.forget_key(&key, owner.as_deref()).await?))?;
    let refused = |text: String| Err(Failure::new(Failure::USAGE, text));
    match forgotten {
        KeyChange::Done(entry) => {
            output
                .done(format_args!("The key {key} of {} is forgotten.", entry.owner), &record(entry.clone()));
            Ok(())
        }
        KeyChange::NotFound => refused(format!("there is no key {key}")),
        KeyChange::AtWork => refused(format!("the message of the key {key} is being worked on just now")),
        KeyChange::Ambiguous(owners) => {
            refused(format!("several clients have a key {key}: say --owner, one of {}", owners.join(", ")))
        }
    }
}

fn record(key: KeyEntry) -> Record {
    vec![
        ("owner", key.owner.into()),
        ("key", key.key.into()),
        ("state", key.state.into()),
        ("message", key.message.0.into()),
        ("answered_at", key.answered_at.into()),
    ]
}
