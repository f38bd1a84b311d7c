//! `moorgate health`: whether a running server is ready, for whoever starts and stops containers.

use std::time::Duration;

use clap::Args;

use super::{Failure, FileArgs, block_on, duration, load, table::OutputArgs};
use crate::{
    app::readiness::{self, Readiness},
    http::bind::local_url,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  moorgate health
  moorgate health --url http://127.0.0.1:3000 --timeout 1s")]
pub(super) struct HealthArgs {
    /// Where the server is [default: where the configuration says that it listens]
    #[arg(long)]
    url: Option<String>,
    /// How long it may take to answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "3s")]
    timeout: Duration,
    #[command(flatten)]
    output: OutputArgs,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

pub(super) fn run(arguments: HealthArgs) -> Result<(), Failure> {
    let HealthArgs { url, timeout, output, config } = arguments;
    let url = url.map_or_else(|| configured_url(config), Ok)?;
    let readiness = block_on(async {
        let asked = readiness::ask(&url, timeout).await;
        asked.map_err(|error| Failure::new(Failure::UNAVAILABLE, error))
    })?;
    let is_ready = readiness == Readiness::Ready;
    let (text, reasons) = match readiness {
        Readiness::Ready => (format!("{url} is ready"), Vec::new()),
        Readiness::NotReady(reasons) => (format!("{url} is not ready: {}", reasons.join(", ")), reasons),
        Readiness::Stranger => (format!("{url} is not a moorgate"), vec!["stranger".to_owned()]),
        Readiness::NoAnswer(why) => (format!("{url} does not answer: {why}"), vec!["no answer".to_owned()]),
    };
    let record = vec![("url", url.into()), ("ready", is_ready.into()), ("reasons", reasons.into())];
    if is_ready || output.is_json() {
        output.done(&text, &record);
    }
    if is_ready { Ok(()) } else { Err(Failure::new(Failure::UNAVAILABLE, text)) }
}

fn configured_url(config: Option<std::path::PathBuf>) -> Result<String, Failure> {
    let gateway = load(FileArgs { config, database: None }, Vec::new())?.gateway;
    if gateway.port == 0 {
        return Err(Failure::new(
            Failure::USAGE,
            "gateway.port is 0, which is any: name the server with --url",
        ));
    }
    Ok(local_url(&gateway.host, gateway.port))
}
