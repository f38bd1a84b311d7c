//! `moorgate message`: the inbox.

mod tail;

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    confirm::ConfirmArgs,
    delivery,
    filter::{FilterArgs, changed, not_found},
    table::{OutputArgs, Record, Value},
};
use crate::{
    domain::id::MessageId,
    repository::admin::{Filter, MessageAdminRepository as _, MessageEntry},
};

/// Replies to one message that are shown, at most: a long answer has some dozens of parts.
const REPLIES: u32 = 1000;

/// The states of a message.
const STATES: [&str; 5] = ["accepted", "running", "answered", "failed", "interrupted"];

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate message list --state failed --since 1d")]
pub(super) enum MessageCommand {
    /// List messages, the newest first
    List(ListArgs),
    /// Show a message and the replies to it
    Show(ShowArgs),
    /// Show messages as they come in, and what becomes of them
    Tail(tail::TailArgs),
    /// Work on a message of a channel again, one that failed or waits for its next try
    Retry(RetryArgs),
    /// Give up a message of a channel that waits; its sender is told nothing
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  moorgate message list --channel whatsapp --state failed --since 1h --limit 20"
)]
pub(super) struct ListArgs {
    /// In one state only
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate message show 17")]
pub(super) struct ShowArgs {
    /// The id of the message
    id: i64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate message retry 17")]
pub(super) struct RetryArgs {
    /// The id of the message
    id: i64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate message discard 17 --yes")]
pub(super) struct DiscardArgs {
    /// The id of the message
    id: i64,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: MessageCommand) -> Result<(), Failure> {
    match command {
        MessageCommand::List(arguments) => list(arguments),
        MessageCommand::Show(arguments) => show(arguments),
        MessageCommand::Tail(arguments) => tail::run(arguments),
        MessageCommand::Retry(arguments) => retry(arguments),
        MessageCommand::Discard(arguments) => discard(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let ListArgs { state, filter, output, files } = arguments;
    let messages = beside::run(files, async |beside| {
        Ok(beside.store.list_messages(&filter.filter(state, beside.now)).await?)
    })?;
    output.list(&messages.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(arguments: ShowArgs) -> Result<(), Failure> {
    let id = MessageId(arguments.id);
    let (message, replies) = beside::run(arguments.files, async |beside| {
        let message = beside.store.find_message(id).await?;
        let filter = Filter { message: Some(id), limit: REPLIES, ..Filter::default() };
        Ok((message, beside.store.list_deliveries(&filter).await?))
    })?;
    let message = message.ok_or_else(|| not_found("message", id.0))?;
    let replies: Vec<Record> = replies.into_iter().rev().map(delivery::row).collect();
    let mut record = details(message);
    record.push(("replies", replies.into()));
    arguments.output.details(&record);
    Ok(())
}

fn retry(arguments: RetryArgs) -> Result<(), Failure> {
    let RetryArgs { id, output, files } = arguments;
    let change = beside::run(files, async |beside| Ok(beside.store.retry_message(MessageId(id)).await?))?;
    let message = changed(change, "message", id)?;
    output.done(format_args!("Message {id} is due again."), &details(message));
    Ok(())
}

fn discard(arguments: DiscardArgs) -> Result<(), Failure> {
    let DiscardArgs { id, confirm, output, files } = arguments;
    confirm.ask(&format!("Discard message {id}? It is not answered any more."))?;
    let change = beside::run(files, async |beside| {
        Ok(beside.store.discard_message(MessageId(id), beside.now).await?)
    })?;
    let message = changed(change, "message", id)?;
    output.done(format_args!("Message {id} is discarded."), &details(message));
    Ok(())
}

/// A message in a list.
pub(super) fn row(message: MessageEntry) -> Record {
    vec![
        ("id", message.id.0.into()),
        ("received_at", message.received_at.into()),
        ("channel", message.channel.into()),
        ("conversation", message.conversation.map(|id| id.0).into()),
        ("sender", message.sender.into()),
        ("state", message.state.into()),
        ("attempts", message.attempts.into()),
        ("next_attempt_at", message.next_attempt_at.into()),
        ("error", message.error.into()),
        ("text", Value::Speech(message.text)),
    ]
}

/// All about a message.
fn details(message: MessageEntry) -> Record {
    let rest = [
        ("answer", message.answer.clone().map_or(Value::Missing, Value::Speech)),
        ("provider", message.provider.clone().into()),
        ("model", message.model.clone().into()),
        ("provider_calls", message.provider_calls.into()),
        ("provider_ms", message.provider_ms.into()),
        ("prompt_tokens", message.prompt_tokens.into()),
        ("completion_tokens", message.completion_tokens.into()),
        ("finished_at", message.finished_at.into()),
        ("idempotency_key", message.idempotency_key.clone().into()),
        ("platform_id", message.platform_id.clone().into()),
    ];
    row(message).into_iter().chain(rest).collect()
}
