//! `moorgate conversation`: who talks with us where.

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    filter::{FilterArgs, not_found},
    message,
    table::{OutputArgs, Record},
};
use crate::{
    domain::id::ConversationId,
    repository::admin::{ConversationEntry, Filter, MessageAdminRepository as _},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate conversation list")]
pub(super) enum ConversationCommand {
    /// List conversations, the newest first
    List(ListArgs),
    /// Show a conversation and its newest messages
    Show(ShowArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate conversation list --channel whatsapp --since 7d")]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate conversation show 5 --limit 100")]
pub(super) struct ShowArgs {
    /// The id of the conversation
    id: i64,
    /// At most so many messages
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: ConversationCommand) -> Result<(), Failure> {
    match command {
        ConversationCommand::List(arguments) => list(arguments),
        ConversationCommand::Show(arguments) => show(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let ListArgs { filter, output, files } = arguments;
    let conversations = beside::run(files, async |beside| {
        Ok(beside.store.list_conversations(&filter.filter(None, beside.now)).await?)
    })?;
    output.list(&conversations.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(arguments: ShowArgs) -> Result<(), Failure> {
    let ShowArgs { id, limit, output, files } = arguments;
    let (conversation, messages) = beside::run(files, async |beside| {
        let filter = Filter { conversation: Some(ConversationId(id)), limit, ..Filter::default() };
        let conversation = beside.store.find_conversation(ConversationId(id)).await?;
        Ok((conversation, beside.store.list_messages(&filter).await?))
    })?;
    let mut record = row(conversation.ok_or_else(|| not_found("conversation", id))?);
    let messages: Vec<Record> = messages.into_iter().rev().map(message::row).collect();
    record.push(("messages", messages.into()));
    output.details(&record);
    Ok(())
}

fn row(conversation: ConversationEntry) -> Record {
    vec![
        ("id", conversation.id.0.into()),
        ("started_at", conversation.started_at.into()),
        ("channel", conversation.channel.into()),
        ("sender", conversation.sender.into()),
        ("room", conversation.room.into()),
        ("waiting", conversation.waiting.into()),
        ("due", conversation.due.into()),
    ]
}
