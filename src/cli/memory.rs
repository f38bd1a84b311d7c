//! `moorgate memory`: looks into what users said. The server may be running on the same file.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, FileArgs, block_on, load, print};
use crate::{
    app,
    domain::{bound::without_controls, memory::Memory},
    repository::MemoryRepository as _,
};

#[derive(Debug, Subcommand)]
pub(super) enum MemoryCommand {
    /// Find what holds all of the words, what fits best first
    Search(SearchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  moorgate memory search red bicycle --limit 5")]
pub(super) struct SearchArgs {
    /// Words, whatever their case and accents
    #[arg(required = true)]
    words: Vec<String>,
    /// How much to print at most
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Serialize)]
struct MemoryOutput<'a> {
    key: &'a str,
    category: &'a str,
    channel: &'a str,
    sender: &'a str,
    content: &'a str,
    created_at_ms: i64,
}

pub(super) fn run(command: MemoryCommand) -> Result<(), Failure> {
    let MemoryCommand::Search(arguments) = command;
    let config = load(arguments.files, Vec::new())?;
    block_on(async {
        let (store, ..) = app::open_beside(&config).await?;
        let found = store.search(&arguments.words.join(" "), arguments.limit).await;
        store.close().await;
        let found = found.map_err(app::StartError::from)?;
        if arguments.json {
            print_json(&found);
        } else {
            found.iter().for_each(print_text);
        }
        Ok(())
    })
}

fn print_json(found: &[Memory]) {
    let output = |memory: &'_ Memory| -> serde_json::Result<String> {
        serde_json::to_string(&MemoryOutput {
            key: &memory.key,
            category: &memory.category,
            channel: &memory.channel,
            sender: &memory.sender,
            content: &memory.content,
            created_at_ms: memory.created_at.0,
        })
    };
    let lines: Vec<String> = found.iter().filter_map(|memory| output(memory).ok()).collect();
    print(format_args!("[{}]\n", lines.join(",\n ")));
}

/// One line: where, who, and what, as far as a line goes.
fn print_text(memory: &Memory) {
    let content = without_controls(&memory.content).replace(['\n', '\t'], " ");
    print(format_args!("{} {}: {content}\n", memory.channel, memory.sender));
}
