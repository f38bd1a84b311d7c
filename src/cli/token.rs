//! `moorgate token`: hands bearer tokens out and takes them back.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, builder::NonEmptyStringValueParser};

use super::{
    Failure, FileArgs,
    beside::{self, Beside},
    confirm::ConfirmArgs,
    duration, load,
    table::{self, OutputArgs, Record},
};
use crate::{
    app::StartError,
    domain::{id::TokenId, time::Millis, token::Token},
    repository::{
        NewToken, TokenSource,
        admin::{TokenAdminRepository as _, TokenChange, TokenEntry},
    },
    system::{SystemEntropy, random},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  moorgate token list")]
pub(super) enum TokenCommand {
    /// List the tokens, the newest first
    List(ListArgs),
    /// Print a new token; only its hash is kept
    Create(CreateArgs),
    /// Give a token another label
    Rename(RenameArgs),
    /// End a token at once and for good
    Revoke(RevokeArgs),
    /// Let a token end later, or never
    Expire(ExpireArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate token list --json")]
pub(super) struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate token create --label ci --ttl 30d")]
pub(super) struct CreateArgs {
    /// A name for the client that will use it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    label: String,
    /// How long it is good [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

/// Which token.
#[derive(Debug, Args)]
struct NameArgs {
    /// Its id, or its label if no other has it
    #[arg(value_name = "TOKEN")]
    name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate token rename 3 build-server")]
pub(super) struct RenameArgs {
    #[command(flatten)]
    token: NameArgs,
    /// Its new label
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    label: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  moorgate token revoke build-server --yes")]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    token: NameArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true)))]
#[command(after_help = "Examples:\n  moorgate token expire 3 --in 1h\n  moorgate token expire 3 --never")]
pub(super) struct ExpireArgs {
    #[command(flatten)]
    token: NameArgs,
    /// How long it is good from now on, also if it has expired
    #[arg(long = "in", value_name = "TIME", value_parser = duration::parse, group = "when")]
    after: Option<Duration>,
    /// It is good for ever
    #[arg(long, group = "when")]
    never: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::List(arguments) => list(arguments),
        TokenCommand::Create(arguments) => create(arguments),
        TokenCommand::Rename(arguments) => rename(arguments),
        TokenCommand::Revoke(arguments) => revoke(arguments),
        TokenCommand::Expire(arguments) => expire(arguments),
    }
}

fn list(arguments: ListArgs) -> Result<(), Failure> {
    let rows = beside::run(arguments.files, async |beside| {
        let tokens = beside.store.list_tokens(arguments.limit).await?;
        Ok(tokens.into_iter().map(|token| record(token, beside.now)).collect::<Vec<_>>())
    })?;
    arguments.output.list(&rows);
    Ok(())
}

fn create(arguments: CreateArgs) -> Result<(), Failure> {
    let config = load(arguments.files, Vec::new())?;
    let token = Token::from_random(random(&SystemEntropy).map_err(StartError::from)?);
    let label = arguments.label;
    let (id, expires_at) = beside::run_on(&config, async |beside| {
        let new = NewToken { label: label.clone(), hash: token.hash(), source: TokenSource::Command };
        let expires_at = arguments.ttl.map(|ttl| beside.now.plus(ttl));
        Ok((beside.store.issue_token(new, expires_at, beside.now).await?, expires_at))
    })?;
    let record = vec![
        ("id", id.0.into()),
        ("label", label.into()),
        ("token", token.expose().into()),
        ("expires_at", expires_at.into()),
    ];
    arguments.output.done(token.expose(), &record);
    Ok(())
}

fn rename(arguments: RenameArgs) -> Result<(), Failure> {
    let RenameArgs { token, label, output, files } = arguments;
    let (entry, now) = change(files, &token.name, async |beside| {
        Ok(beside.store.rename_token(&token.name, &label).await?)
    })?;
    let sentence = format!("Token {} is {} now.", entry.id, entry.label);
    output.done(sentence, &record(entry, now));
    Ok(())
}

fn revoke(arguments: RevokeArgs) -> Result<(), Failure> {
    let RevokeArgs { token, confirm, output, files } = arguments;
    confirm.ask(&format!("Revoke token {}? Its client cannot post any more.", token.name))?;
    let (entry, now) = change(files, &token.name, async |beside| {
        Ok(beside.store.revoke_token(&token.name, beside.now).await?)
    })?;
    let sentence = format!("Token {} ({}) is revoked.", entry.id, entry.label);
    output.done(sentence, &record(entry, now));
    Ok(())
}

fn expire(arguments: ExpireArgs) -> Result<(), Failure> {
    let ExpireArgs { token, after, output, files, .. } = arguments;
    let (entry, now) = change(files, &token.name, async |beside| {
        let expires_at = after.map(|after| beside.now.plus(after));
        Ok(beside.store.expire_token(&token.name, expires_at).await?)
    })?;
    let end =
        entry.expires_at.map_or("never expires".into(), |at| format!("expires at {}", table::shown(at)));
    let sentence = format!("Token {} ({}) {end}.", entry.id, entry.label);
    output.done(sentence, &record(entry, now));
    Ok(())
}

/// The token as it is after a change.
fn change(
    files: FileArgs,
    name: &str,
    step: impl AsyncFnOnce(&Beside) -> Result<TokenChange, Failure>,
) -> Result<(TokenEntry, Millis), Failure> {
    let refused = |text: String| Err(Failure::new(Failure::USAGE, text));
    let (changed, now) = beside::run(files, async |beside| Ok((step(beside).await?, beside.now)))?;
    match changed {
        TokenChange::Done(entry) => Ok((entry, now)),
        TokenChange::NotFound => refused(format!("there is no token {name}")),
        TokenChange::Revoked(entry) => {
            refused(format!("token {} ({}) was revoked before", entry.id, entry.label))
        }
        TokenChange::Ambiguous(ids) => {
            refused(format!("{name} may be any of the tokens {}: name one by its id", listed(&ids)))
        }
    }
}

fn listed(ids: &[TokenId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

fn record(token: TokenEntry, now: Millis) -> Record {
    vec![
        ("id", token.id.0.into()),
        ("state", token.state(now).into()),
        ("label", token.label.into()),
        ("source", token.source.into()),
        ("created_at", token.created_at.into()),
        ("expires_at", token.expires_at.into()),
        ("revoked_at", token.revoked_at.into()),
    ]
}
