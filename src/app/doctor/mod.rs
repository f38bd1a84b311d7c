//! What could be wrong with a gateway, and what helps: looked for from outside, beside a running server or without one.
//!
//! Nothing is changed, and nobody is called who takes money for it. A finding never holds a secret.

mod database;
mod file;
mod network;
mod outside;
mod tunnel;

use crate::{
    config::{Config, ConfigError, Setting},
    system::Clock,
};

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check, a word or two.
    pub check: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found, a sentence without its full stop.
    pub text: String,
    /// What helps, where something is wrong.
    pub fix: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but should be looked at.
    Warning,
    /// It does not work, because of this.
    Error(Cause),
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What was configured.
    Configuration,
    /// The database and its disk.
    Database,
    /// Somebody who does not answer.
    Unavailable,
}

impl State {
    /// `ok`, `warning` or `error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error(_) => "error",
        }
    }
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Ok, text: text.into(), fix: None }
    }

    fn warning(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    fn error(check: &'static str, cause: Cause, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Error(cause), text: text.into(), fix: Some(fix.into()) }
    }
}

/// Findings about a configuration that is none: nothing else can be looked at.
#[must_use]
pub fn of_bad_configuration(error: &ConfigError) -> Vec<Finding> {
    let finding = |problem: &crate::config::Problem| {
        Finding::error(
            "configuration",
            Cause::Configuration,
            problem.to_string(),
            "put it right there; nothing else was looked at",
        )
    };
    error.problems().iter().map(finding).collect()
}

/// Looks at everything, what others build on first.
pub async fn examine(config: &Config, settings: &[Setting], clock: &dyn Clock) -> Vec<Finding> {
    let now = clock.wall();
    let mut findings = configuration(config);
    findings.extend(file::modes(config, settings));
    findings.extend(file::space(config));
    let (of_database, survey) = database::examine(config, now).await;
    findings.extend(of_database);
    findings.push(database::clock(now, survey.as_ref()));
    let runs = survey.as_ref().is_some_and(|survey| survey.server_running);
    findings.extend(network::examine(config, runs).await);
    findings.extend(tunnel::examine(config, survey.as_ref()).await);
    findings.extend(outside::providers(config).await);
    findings.extend(outside::channels(config));
    findings
}

fn configuration(config: &Config) -> Vec<Finding> {
    if config.warnings.is_empty() {
        let text = match &config.file {
            Some(file) => format!("{} is valid", file.display()),
            None => "there is no configuration file: defaults and variables are in force".to_owned(),
        };
        return vec![Finding::ok("configuration", text)];
    }
    let fix = "change it there, or leave it if it is meant";
    config.warnings.iter().map(|warning| Finding::warning("configuration", warning.clone(), fix)).collect()
}
