//! `moorgate config`: checks, shows or begins a configuration.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Failure, FileArgs, inputs,
    table::{OutputArgs, Record, Value},
};
use crate::config::{self, ChannelName, Config, ProviderKind, Setting, Shown, Wanted};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate config check")]
pub(super) enum ConfigCommand {
    /// Say what is wrong with the configuration; exit code 78 if anything is
    Check(CheckArgs),
    /// Print what is in force and where it was given, without secrets
    Show(ShowArgs),
    /// Write a configuration file to begin with
    Init(InitArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate config check --config new.toml && echo good")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate config show --changed")]
pub(super) struct ShowArgs {
    /// Only what differs from the defaults
    #[arg(long)]
    changed: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  moorgate config init --provider anthropic --model MODEL --channel whatsapp"
)]
pub(super) struct InitArgs {
    /// Where it goes
    #[arg(default_value = "config.toml")]
    file: PathBuf,
    /// What answers
    #[arg(long)]
    provider: ProviderName,
    /// The model to ask for
    #[arg(long)]
    model: Option<String>,
    /// A channel that messages come in through; may be given several times
    #[arg(long)]
    channel: Vec<ChannelArg>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProviderName {
    Echo,
    Openai,
    Anthropic,
    Ollama,
}

impl From<ProviderName> for ProviderKind {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Echo => Self::Echo,
            ProviderName::Openai => Self::OpenAi,
            ProviderName::Anthropic => Self::Anthropic,
            ProviderName::Ollama => Self::Ollama,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ChannelArg {
    Whatsapp,
    Linq,
    NextcloudTalk,
}

impl From<ChannelArg> for ChannelName {
    fn from(name: ChannelArg) -> Self {
        match name {
            ChannelArg::Whatsapp => Self::WhatsApp,
            ChannelArg::Linq => Self::Linq,
            ChannelArg::NextcloudTalk => Self::NextcloudTalk,
        }
    }
}

pub(super) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(arguments),
        ConfigCommand::Show(arguments) => show(arguments),
        ConfigCommand::Init(arguments) => init(arguments),
    }
}

fn check(arguments: CheckArgs) -> Result<(), Failure> {
    let CheckArgs { output, files } = arguments;
    match config::load(&inputs(files, Vec::new())?) {
        Ok(config) => {
            valid(&output, config);
            Ok(())
        }
        Err(error) => {
            // In JSON the problems are on standard output too.
            if output.is_json() {
                let problems = error.problems().iter().map(ToString::to_string).collect();
                output.done("", &check_record(false, None, problems, Vec::new()));
            }
            Err(error.into())
        }
    }
}

fn valid(output: &OutputArgs, config: Config) {
    let file = config.file.map(|file| file.display().to_string());
    let mut lines: Vec<_> = config.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.push(match &file {
        Some(file) => format!("{file} is valid."),
        None => "There is no configuration file; defaults and variables are valid.".to_owned(),
    });
    output.done(lines.join("\n"), &check_record(true, file, Vec::new(), config.warnings));
}

fn check_record(valid: bool, file: Option<String>, problems: Vec<String>, warnings: Vec<String>) -> Record {
    vec![
        ("valid", valid.into()),
        ("file", file.into()),
        ("problems", problems.into()),
        ("warnings", warnings.into()),
    ]
}

fn show(arguments: ShowArgs) -> Result<(), Failure> {
    let ShowArgs { changed, output, files } = arguments;
    let settings = config::show(&inputs(files, Vec::new())?)?;
    let wanted = settings.into_iter().filter(|setting| setting.is_changed || !changed);
    let rows: Vec<_> = wanted.map(|setting| record(setting, output.is_json())).collect();
    output.list(&rows);
    Ok(())
}

/// In a table values are as TOML writes them; in JSON they are what they are.
fn record(setting: Setting, is_json: bool) -> Record {
    let source = setting.source.map_or_else(|| "default".to_owned(), |source| source.to_string());
    let value = if is_json { typed(setting.value) } else { Value::Speech(setting.value.to_string()) };
    vec![("key", setting.key.into()), ("value", value), ("source", source.into())]
}

fn typed(value: Shown) -> Value {
    match value {
        Shown::Text(text) => text.into(),
        Shown::Integer(integer) => integer.into(),
        Shown::Float(float) => float.into(),
        Shown::Bool(flag) => flag.into(),
        Shown::List(items) => items.into(),
        Shown::Redacted => Shown::Redacted.to_string().into(),
    }
}

fn init(arguments: InitArgs) -> Result<(), Failure> {
    let InitArgs { file, provider, model, channel, force, output } = arguments;
    let channels = channel.into_iter().map(Into::into).collect();
    let template = config::template(&Wanted { kind: provider.into(), model, channels });
    write(&file, &template.text, force)?;
    let shown = file.display();
    let mut lines = vec![format!("{shown} is written, for your eyes only.")];
    if !template.missing.is_empty() {
        lines.push(format!("Still to be filled in: {}.", template.missing.join(", ")));
    }
    lines.push(format!("Then: moorgate config check --config {shown}"));
    let record = vec![("file", shown.to_string().into()), ("missing", template.missing.into())];
    output.done(lines.join("\n"), &record);
    Ok(())
}

/// Writes a configuration file.
///
/// # Errors
/// A [`Failure`]: of use if it exists and may not be replaced, else of the configuration.
pub(super) fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    config::write_private(file, text, force).map_err(|error| {
        let shown = file.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Failure::USAGE,
                format!("{shown} exists: --force replaces it, nothing was changed"),
            ),
            _ => Failure::new(Failure::CONFIGURATION, format!("{shown} cannot be written: {error}")),
        }
    })
}
