//! The command line: one file for each command, one exit code for each kind of failure.

mod ask;
mod beside;
mod completions;
mod confirm;
mod conversation;
mod db;
mod delivery;
mod doctor;
mod duration;
mod file_limit;
mod filter;
mod guard;
mod health;
mod import;
mod inherited;
mod key;
mod limit;
mod lockout;
mod memory;
mod message;
mod pair;
mod serve;
mod settings;
mod signals;
mod table;
mod token;

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    app::StartError,
    config::{self, Config, ConfigError, Inputs, Override},
    http::bind::BindError,
};

/// A gateway in front of a language model that never forgets what it has told anyone.
#[derive(Debug, Parser)]
#[command(name = "moorgate", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

const EXAMPLES: &str = "Examples:
  moorgate                          serve on 127.0.0.1:3000, database ./moorgate.db
  moorgate serve --port 0           serve on a free port
  moorgate pair                     issue a pairing code, also beside a running server
  moorgate token create --label ci  print a new token
  moorgate ask hello                try the configured model
  moorgate memory search bicycle    what users said of it
  moorgate message list --since 1h  what has come in
  moorgate message tail             the same as it comes in
  moorgate config init --provider ollama --model llama3.2
                                    write a configuration to begin with
  moorgate doctor                   what could be wrong, and what helps
  moorgate db backup copy.db        copy the database, also beside a running server";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Serve(serve::ServeArgs),
    /// Ask the configured model one question, to try a configuration
    Ask(ask::AskArgs),
    /// Look into what users said
    #[command(subcommand)]
    Memory(memory::MemoryCommand),
    /// Issue a one-time pairing code
    Pair(pair::PairArgs),
    /// Work with bearer tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Clients that sent wrong pairing codes
    #[command(subcommand)]
    Lockout(lockout::LockoutCommand),
    /// Rate windows
    #[command(subcommand)]
    Limit(limit::LimitCommand),
    /// Idempotency keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Who talks with the gateway where
    #[command(subcommand)]
    Conversation(conversation::ConversationCommand),
    /// Messages that were accepted
    #[command(subcommand)]
    Message(message::MessageCommand),
    /// Replies to channels
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// Check, show or begin a configuration
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Ask a running server whether it is ready; exit code 69 if not
    Health(health::HealthArgs),
    /// Look for what could be wrong, and say what helps
    Doctor(doctor::DoctorArgs),
    /// Take over from another gateway
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Print what a shell needs to complete these commands
    Completions(completions::CompletionsArgs),
    /// Run a tunnel's program for the gateway
    #[command(hide = true)]
    TunnelGuard(guard::GuardArgs),
    /// Look after the database: info, check, backup, restore, vacuum, migrate, prune
    #[command(subcommand)]
    Db(db::DbCommand),
}

/// What every command takes.
#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The SQLite file
    #[arg(long, value_name = "FILE")]
    database: Option<String>,
}

/// Runs the command that the arguments name, and says how it ended (`sysexits.h`).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for { ExitCode::SUCCESS } else { Failure::USAGE.into() };
        }
    };
    let result = match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Ask(arguments) => ask::run(arguments),
        Command::Memory(command) => memory::run(command),
        Command::Pair(arguments) => pair::run(arguments),
        Command::Token(command) => token::run(command),
        Command::Lockout(command) => lockout::run(command),
        Command::Limit(command) => limit::run(command),
        Command::Key(command) => key::run(command),
        Command::Conversation(command) => conversation::run(command),
        Command::Message(command) => message::run(command),
        Command::Delivery(command) => delivery::run(command),
        Command::Config(command) => settings::run(command),
        Command::Health(arguments) => health::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Import(command) => import::run(command),
        Command::Completions(arguments) => {
            completions::run(&arguments);
            Ok(())
        }
        Command::TunnelGuard(arguments) => guard::run(&arguments),
        Command::Db(command) => db::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            writeln!(io::stderr(), "moorgate: {}", failure.text).ok();
            failure.code.into()
        }
    }
}

/// Why a command failed.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    const USAGE: u8 = 64;
    const UNAVAILABLE: u8 = 69;
    const DATABASE: u8 = 74;
    const CONFIGURATION: u8 = 78;
    /// 128 and the number of SIGINT.
    const INTERRUPTED: u8 = 130;

    fn new(code: u8, text: impl Display) -> Self {
        Self { code, text: text.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Self::CONFIGURATION, format!("the configuration has problems:\n{error}"))
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Open(_) | StartError::Store(_) => Self::DATABASE,
            StartError::Bind(BindError::Listen { .. }) | StartError::Tunnel(_) | StartError::Entropy(_) => {
                Self::UNAVAILABLE
            }
            StartError::Bind(_)
            | StartError::Provider(_)
            | StartError::Channel(_)
            | StartError::SigningSecret(_)
            | StartError::Metrics(_)
            | StartError::Otlp(_) => Self::CONFIGURATION,
        };
        Self::new(code, error)
    }
}

/// Reads the configuration, with the flags over it.
fn load(files: FileArgs, overrides: Vec<Override>) -> Result<Config, Failure> {
    Ok(config::load(&inputs(files, overrides)?)?)
}

/// What the configuration is made of.
fn inputs(files: FileArgs, mut overrides: Vec<Override>) -> Result<Inputs, Failure> {
    overrides.extend(files.database.map(|value| Override {
        flag: "--database",
        key: "database.path",
        value,
    }));
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::new(Failure::CONFIGURATION, format!("there is no working folder: {error}"))
    })?;
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    let env = std::env::vars_os().collect();
    Ok(Inputs { config_flag: files.config, env, cwd, overrides })
}

/// Writes to standard output. Nobody may be listening there, which is no failure.
fn print(text: impl Display) {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).ok();
}

/// Runs a command that only needs one thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Failure::UNAVAILABLE, error))?.block_on(future)
}
