//! `moorgate delivery`: the outbox, the parts of the replies to channels.

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    confirm::ConfirmArgs,
    filter::{FilterArgs, changed, not_found},
    table::{OutputArgs, Record, Value},
};
use crate::{
    domain::id::DeliveryId,
    repository::admin::{DeliveryEntry, MessageAdminRepository as _},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate delivery list --state dead --since 1d")]
pub(super) enum DeliveryCommand {
    /// List parts of replies, the newest first
    List(ListArgs),
    /// Show a part of a reply
    Show(ShowArgs),
    /// Send a part again that was given up or waits for its next try, and the parts behind it
    Retry(RetryArgs),
    /// Give up a part that is still to be sent, and the parts behind it
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate delivery list --state dead --channel linq --limit 20")]
pub(super) struct ListArgs {
    /// In one state only
    #[arg(long, value_parser = ["due", "sent", "dead"])]
    state: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate delivery show 23")]
pub(super) struct ShowArgs {
    /// The id of the part
    id: i64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate delivery retry 23")]
pub(super) struct RetryArgs {
    /// The id of the part
    id: i64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate delivery discard 23 --yes")]
pub(super) struct DiscardArgs {
    /// The id of the part
    id: i64,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: DeliveryCommand) -> Result<(), Failure> {
    match command {
        DeliveryCommand::List(arguments) => list(arguments),
        DeliveryCommand::Show(arguments) => show(arguments),
        DeliveryCommand::Retry(arguments) => retry(arguments),
        DeliveryCommand::Discard(arguments) => discard(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let ListArgs { state, filter, output, files } = arguments;
    let deliveries = beside::run(files, async |beside| {
        Ok(beside.store.list_deliveries(&filter.filter(state, beside.now)).await?)
    })?;
    output.list(&deliveries.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(arguments: ShowArgs) -> Result<(), Failure> {
    let ShowArgs { id, output, files } = arguments;
    let found = beside::run(files, async |beside| Ok(beside.store.find_delivery(DeliveryId(id)).await?))?;
    output.details(&details(found.ok_or_else(|| not_found("delivery", id))?));
    Ok(())
}

fn retry(arguments: RetryArgs) -> Result<(), Failure> {
    let RetryArgs { id, output, files } = arguments;
    let change = beside::run(files, async |beside| Ok(beside.store.retry_delivery(DeliveryId(id)).await?))?;
    let parts = changed(change, "delivery", id)?;
    output.all_done(sentence(&parts, "due again"), &parts.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn discard(arguments: DiscardArgs) -> Result<(), Failure> {
    let DiscardArgs { id, confirm, output, files } = arguments;
    confirm.ask(&format!("Discard delivery {id}? It and the parts behind it are not sent any more."))?;
    let change = beside::run(files, async |beside| {
        Ok(beside.store.discard_delivery(DeliveryId(id), beside.now).await?)
    })?;
    let parts = changed(change, "delivery", id)?;
    output.all_done(sentence(&parts, "discarded"), &parts.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn sentence(parts: &[DeliveryEntry], done: &str) -> String {
    match parts {
        [part] => format!("Delivery {} is {done}.", part.id),
        parts => {
            let ids: Vec<String> = parts.iter().map(|part| part.id.to_string()).collect();
            format!("Deliveries {} are {done}.", ids.join(", "))
        }
    }
}

/// A part in a list.
pub(super) fn row(delivery: DeliveryEntry) -> Record {
    vec![
        ("id", delivery.id.0.into()),
        ("created_at", delivery.created_at.into()),
        ("channel", delivery.channel.into()),
        ("conversation", delivery.conversation.0.into()),
        ("message", delivery.message.0.into()),
        ("kind", delivery.kind.into()),
        ("part", delivery.part.into()),
        ("parts", delivery.parts.into()),
        ("state", delivery.state.into()),
        ("attempts", delivery.attempts.into()),
        ("in_doubt", delivery.in_doubt.into()),
        ("next_attempt_at", delivery.next_attempt_at.into()),
        ("status", delivery.status.into()),
        ("error", delivery.error.into()),
        ("text", Value::Speech(delivery.text)),
    ]
}

/// All about a part.
fn details(delivery: DeliveryEntry) -> Record {
    let rest = [
        ("sender", delivery.sender.clone().into()),
        ("sending", delivery.sending.into()),
        ("platform_id", delivery.platform_id.clone().into()),
        ("status_at", delivery.status_at.into()),
        ("finished_at", delivery.finished_at.into()),
    ];
    row(delivery).into_iter().chain(rest).collect()
}
