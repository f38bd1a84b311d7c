//! `moorgate ask`: one turn with the configured models, without a server and without a database.

use std::io::{self, Read as _, Write as _};

use clap::Args;
use serde::Serialize;

use super::{Failure, FileArgs, block_on, load, print};
use crate::{
    app,
    domain::{
        bound::without_controls,
        message::{Account, Answer, MessageText, Prompt},
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  moorgate ask \"Are you there?\"
  moorgate ask --json - < question.txt")]
pub(super) struct AskArgs {
    /// The question; - reads it from standard input
    text: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

#[derive(Serialize)]
struct AskOutput<'a> {
    response: &'a str,
    model: &'a str,
    provider: Option<&'static str>,
    calls: u32,
    took_ms: u128,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

pub(super) fn run(arguments: AskArgs) -> Result<(), Failure> {
    let question = MessageText::new(question(arguments.text)?);
    let question = question.ok_or_else(|| Failure::new(Failure::USAGE, "the question is blank"))?;
    let config = load(FileArgs { config: arguments.config, database: None }, Vec::new())?;
    block_on(async {
        let (result, account) = app::models(&config)?.answer(&Prompt::single(question.into())).await;
        let answer = result.map_err(|error| {
            Failure::new(Failure::UNAVAILABLE, format!("no answer: {error} ({})", error.class()))
        })?;
        if arguments.json {
            print_json(&answer, account);
        } else {
            print_text(&answer, account);
        }
        Ok(())
    })
}

fn question(text: String) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text);
    }
    let mut read = String::new();
    let failed = |error| Failure::new(Failure::USAGE, format!("standard input cannot be read: {error}"));
    io::stdin().read_to_string(&mut read).map_err(failed)?;
    Ok(read)
}

fn print_json(answer: &Answer, account: Account) {
    let output = AskOutput {
        response: &answer.text,
        model: &answer.model,
        provider: account.provider,
        calls: account.calls,
        took_ms: account.took.as_millis(),
        prompt_tokens: account.usage.prompt_tokens,
        completion_tokens: account.usage.completion_tokens,
    };
    print(serde_json::to_string(&output).map(|line| line + "\n").unwrap_or_default());
}

/// The answer, and what it took on standard error, out of the way of who reads the answer.
fn print_text(answer: &Answer, account: Account) {
    print(format_args!("{}\n", without_controls(&answer.text).trim_end()));
    let Account { provider, calls, took, usage } = account;
    let (provider, model) = (provider.unwrap_or_default(), without_controls(&answer.model));
    let calls = if calls == 1 { "1 call".to_owned() } else { format!("{calls} calls") };
    let tokens = match (usage.prompt_tokens, usage.completion_tokens) {
        (Some(prompt), Some(completion)) => format!(", {prompt} + {completion} tokens"),
        _ => String::new(),
    };
    writeln!(io::stderr(), "[{provider}: {model}, {calls}, {:.2} s{tokens}]", took.as_secs_f64()).ok();
}
