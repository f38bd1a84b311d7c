//! `moorgate import`: takes over from another gateway, and leaves that as it is.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{
    Failure, FileArgs, beside, inputs,
    settings::write,
    table::{OutputArgs, Record},
};
use crate::{
    app::token_hashes,
    config::{self, Config, Left, Taken, ZeroClaw},
    repository::TokenRepository as _,
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate import zeroclaw ~/.zeroclaw/config.toml --dry-run")]
pub(super) enum ImportCommand {
    /// Take over a configuration of ZeroClaw: its clients' tokens into the database, and what else it can into a new file
    Zeroclaw(ZeroclawArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  moorgate import zeroclaw ~/.zeroclaw/config.toml --dry-run
  moorgate import zeroclaw ~/.zeroclaw/config.toml --write config.toml")]
pub(super) struct ZeroclawArgs {
    /// The configuration of ZeroClaw; it is only read
    source: PathBuf,
    /// Say what would be taken, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the new configuration to a file, with its secrets; without this it is printed, without them
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "write")]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

/// What was done.
struct Done {
    /// Tokens that were not known before; `None` in a dry run.
    new_tokens: Option<u64>,
    written: Option<PathBuf>,
}

pub(super) fn run(command: ImportCommand) -> Result<(), Failure> {
    let ImportCommand::Zeroclaw(arguments) = command;
    let ZeroclawArgs { source, dry_run, write: target, force, output, files } = arguments;
    let unreadable = |error: io::Error| {
        Failure::new(Failure::USAGE, format!("{} cannot be read: {error}", source.display()))
    };
    let text = fs::read_to_string(&source).map_err(unreadable)?;
    let import = config::read_zeroclaw(&source, &text)?;
    let done = if dry_run {
        Done { new_tokens: None, written: None }
    } else {
        let config = own(files, &source)?;
        // The file first: if it cannot be written, nothing was done.
        if let Some(target) = &target {
            write(target, &import.text(), force)?;
        }
        Done { new_tokens: Some(take_tokens(&config, &import)?), written: target }
    };
    output.done(report(&import, &done), &record(&import, &done));
    Ok(())
}

/// Moorgate's own configuration, which says where the database is.
fn own(files: FileArgs, source: &Path) -> Result<Config, Failure> {
    let is_named = files.config.is_some();
    let inputs = inputs(files, Vec::new())?;
    let is_same = is_same_file(&inputs.cwd.join("config.toml"), source);
    config::load(&inputs).map_err(|error| {
        if !is_named && is_same {
            let text = "./config.toml is ZeroClaw's, and would be taken for Moorgate's: \
                        run this in another folder, or name Moorgate's with --config";
            return Failure::new(Failure::CONFIGURATION, text);
        }
        error.into()
    })
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn take_tokens(config: &Config, import: &ZeroClaw) -> Result<u64, Failure> {
    let hashes = token_hashes(&import.tokens);
    if hashes.is_empty() {
        return Ok(0);
    }
    beside::run_on(config, async |beside| Ok(beside.store.import(hashes, beside.now).await?))
}

fn report(import: &ZeroClaw, done: &Done) -> String {
    let mut text = String::new();
    // A String takes all.
    for Taken { key, to } in &import.taken {
        writeln!(text, "taken    {key} -> {to}").ok();
    }
    for Left { key, why } in &import.left {
        writeln!(text, "left     {key}: {why}").ok();
    }
    for problem in &import.missing {
        writeln!(text, "missing  {problem}").ok();
    }
    let found = import.tokens.len();
    match done.new_tokens {
        Some(new) => writeln!(text, "\nTokens: {found} found, {new} of them new; they are good at once."),
        None => writeln!(text, "\nNothing was changed. Tokens: {found} found."),
    }
    .ok();
    match &done.written {
        Some(path) => write!(text, "{} is written, with the secrets, for your eyes only.", path.display()),
        None => write!(
            text,
            "The configuration, without its secrets (--write FILE has them):\n\n{}",
            import.text_to_show()
        ),
    }
    .ok();
    text.trim_end().to_owned()
}

fn record(import: &ZeroClaw, done: &Done) -> Record {
    let taken = |Taken { key, to }: &Taken| vec![("key", key.as_str().into()), ("to", to.as_str().into())];
    let left = |Left { key, why }: &Left| vec![("key", key.as_str().into()), ("why", why.as_str().into())];
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    vec![
        ("dry_run", done.new_tokens.is_none().into()),
        ("tokens", number(import.tokens.len() as u64).into()),
        ("new_tokens", done.new_tokens.map(number).into()),
        ("taken", import.taken.iter().map(taken).collect::<Vec<Record>>().into()),
        ("left", import.left.iter().map(left).collect::<Vec<Record>>().into()),
        ("missing", import.missing.clone().into()),
        ("written", done.written.as_ref().map(|path| path.display().to_string()).into()),
        ("config", import.text_to_show().into()),
    ]
}
