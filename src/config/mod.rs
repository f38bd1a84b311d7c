//! The configuration: every layer read, checked and put together before anything starts.
//!
//! The layers, each over the one before: the compiled-in `config.toml.example`, one file, the environment,
//! the command line. [`load`] takes them as plain values and returns either a [`Config`] in which every value
//! is valid, or a [`ConfigError`] with every problem of every layer and where it is. It reads files (the
//! configuration file, and files that hold secrets) but neither the process's environment nor its arguments.
//!
//! There is one file here for each section, and a folder for `[channels_config]`. A new key is a line in its section's `read` and an entry in
//! `config.toml.example`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

mod base_url;
mod channel;
mod conversation;
mod database;
mod environment;
mod error;
mod fallback;
mod file;
mod gateway;
mod nearest;
mod observability;
mod provider;
mod proxy;
mod reader;
mod setting;
mod shown;
mod template;
#[cfg(test)]
mod tests;
mod tunnel;
mod value;
mod write;
mod zeroclaw;

pub use channel::{Channels, LinqChannel, NextcloudTalkChannel, WebhookChannel, WhatsAppChannel};
pub use conversation::{Conversation, Memory};
pub use database::{Backups, Database, Retention, Synchronous};
pub use error::{ConfigError, Problem, Source};
pub use gateway::{Gateway, PairedToken};
pub use observability::{LogFormat, LogLevel, MetricsBackend, Observability, Otlp, RequestLog};
pub use provider::{Model, Provider, ProviderKind};
pub use proxy::ProxyTrust;
pub use shown::{Setting, Shown, show};
pub use template::{ChannelName, Template, Wanted, template};
pub use tunnel::{Tunnel, TunnelProvider};
pub use write::write_private;
pub use zeroclaw::{Left, Taken, ZeroClaw, read_zeroclaw};

use reader::Reader;
use setting::Settings;

/// Everything the gateway can be told. Secrets are redacted in `Debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[database]`.
    pub database: Database,
    /// `[provider]`.
    pub provider: Provider,
    /// `[conversation]`.
    pub conversation: Conversation,
    /// `[memory]`.
    pub memory: Memory,
    /// `[observability]`.
    pub observability: Observability,
    /// `[tunnel]`.
    pub tunnel: Tunnel,
    /// `[channels_config]`.
    pub channels: Channels,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// What the operator should know, a sentence each, with its source.
    pub warnings: Vec<String>,
}

/// What a configuration is made of besides the compiled-in defaults.
#[derive(Default)]
pub struct Inputs {
    /// The file named with `--config`.
    pub config_flag: Option<PathBuf>,
    /// The environment (`std::env::vars_os().collect()`).
    pub env: BTreeMap<OsString, OsString>,
    /// The working folder, where relative paths start.
    pub cwd: PathBuf,
    /// The flags that stand for a key.
    pub overrides: Vec<Override>,
}

/// A flag that stands for a key.
pub struct Override {
    /// The flag with its dashes, `--port`.
    pub flag: &'static str,
    /// The dotted name of its key, `gateway.port`.
    pub key: &'static str,
    /// The flag's value as it was typed.
    pub value: String,
}

/// Reads all layers.
///
/// # Errors
///
/// All problems of all layers, each with its source. No secret's value is among them.
pub fn load(inputs: &Inputs) -> Result<Config, ConfigError> {
    let (settings, file) = layers(inputs);
    let mut reader = Reader::new(&settings, &inputs.cwd);
    let config = Config::read(&mut reader);
    let warnings = reader.finish()?;
    Ok(Config { file, warnings, ..config })
}

/// All layers put together, and the path of the file that was read.
fn layers(inputs: &Inputs) -> (Settings, Option<PathBuf>) {
    let mut settings = Settings::defaults();
    let file = file::apply(inputs, &mut settings);
    environment::apply(&inputs.env, &mut settings);
    for flag in &inputs.overrides {
        settings.give_text(flag.key, &flag.value, Source::Flag(flag.flag));
    }
    (settings, file)
}

impl Config {
    fn read(r: &mut Reader<'_>) -> Self {
        let config = Self {
            gateway: Gateway::read(r),
            database: Database::read(r),
            provider: Provider::read(r),
            conversation: Conversation::read(r),
            memory: Memory::read(r),
            observability: Observability::read(r),
            tunnel: Tunnel::read(r),
            channels: Channels::read(r),
            file: None,
            warnings: Vec::new(),
        };
        config.gateway.proxies.check_beside(&config.tunnel.provider, r);
        config
    }
}

impl Default for Config {
    /// What `config.toml.example` says.
    fn default() -> Self {
        Self::read(&mut Reader::new(&Settings::defaults(), Path::new("")))
    }
}
