//! `moorgate memory`: looks into what users said.

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside,
    table::{OutputArgs, Record, Value},
};
use crate::{domain::memory::Memory, repository::MemoryRepository as _};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate memory search red bicycle")]
pub(super) enum MemoryCommand {
    /// Find what holds all of the words, what fits best first
    Search(SearchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate memory search red bicycle --limit 5")]
pub(super) struct SearchArgs {
    /// Words, whatever their case and accents
    #[arg(required = true)]
    words: Vec<String>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: MemoryCommand) -> Result<(), Failure> {
    let MemoryCommand::Search(SearchArgs { words, limit, output, files }) = command;
    let found = beside::run(files, async |beside| Ok(beside.store.search(&words.join(" "), limit).await?))?;
    output.list(&found.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn row(memory: Memory) -> Record {
    vec![
        ("created_at", memory.created_at.into()),
        ("channel", memory.channel.into()),
        ("sender", memory.sender.into()),
        ("category", memory.category.into()),
        ("key", memory.key.into()),
        ("content", Value::Speech(memory.content)),
    ]
}
