//! `moorgate serve`: the gateway itself, from the banner to the exit.

use std::{fmt::Write as _, num::NonZero, sync::Arc, thread, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::{Failure, FileArgs, file_limit, inherited::inherited, load, print, signals::Signals};
use crate::{
    app::{App, Parts},
    config::{Config, LogFormat, LogLevel, Model, Override, ProviderKind, TunnelProvider},
    domain::pairing::PairingCode,
    http::channel_path,
    system::Notifier,
    telemetry::{self, logs},
};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on
    #[arg(long)]
    host: Option<String>,
    /// The port to listen on; 0 is any free one
    #[arg(long)]
    port: Option<String>,
    /// Print the banner as one JSON object on one line
    #[arg(long)]
    print_json: bool,
    #[command(flatten)]
    files: FileArgs,
}

/// The exit code of a process that was interrupted (128 and the number of SIGINT), after the second signal.
const INTERRUPTED: i32 = 130;

/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: ServeArgs) -> Result<(), Failure> {
    let mut overrides = Vec::new();
    overrides.extend(arguments.host.map(|value| Override { flag: "--host", key: "gateway.host", value }));
    overrides.extend(arguments.port.map(|value| Override { flag: "--port", key: "gateway.port", value }));
    let config = load(arguments.files, overrides)?;
    let format = match config.observability.log_format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    logs::init(format, level_name(config.observability.log_level))
        .map_err(|error| Failure::new(Failure::CONFIGURATION, error))?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    file_limit::raise((config.gateway.max_connections + config.gateway.operator_max_connections).into());
    let threads = Threads::start()?;
    let served = threads.requests.block_on(serve(&config, arguments.print_json, &threads));
    logs::flush(LAST_LINES);
    served
}

/// Requests and the calls of models and platforms each have as many threads as there are processors but one, which is left to
/// the writer's, without which no message goes on: on few processors the calls would need the one more (decision 17). On two, a
/// crowd of connections has another one beside the one of requests (decision 25).
struct Threads {
    requests: Runtime,
    crowd: Option<Runtime>,
    calls: Runtime, // dropped after those that call
}

impl Threads {
    fn start() -> Result<Self, Failure> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let most = processors.saturating_sub(1).max(1);
        let crowd = (processors == 2).then(|| runtime("crowd", 1)).transpose()?;
        Ok(Self { requests: runtime("requests", most)?, crowd, calls: runtime("calls", most)? })
    }
}

fn runtime(name: &str, number: usize) -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(number).thread_name(name).enable_all().build();
    runtime.map_err(|error| Failure::new(Failure::UNAVAILABLE, error))
}

async fn serve(config: &Config, print_json: bool, threads: &Threads) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let notifier = Arc::new(notifier()?);
    let parts = Parts {
        inherited: inherited()?,
        notifier: Arc::clone(&notifier),
        calls: Some(threads.calls.handle().clone()),
        crowd: threads.crowd.as_ref().map(|crowd| crowd.handle().clone()),
        ..Parts::default()
    };
    let app = tokio::select! {
        started = App::start(config, parts) => started?,
        // A tunnel may take long to be up. Nobody has been answered yet.
        () = signals.next() => return Ok(()),
    };
    print(if print_json { json_banner(config, &app) } else { banner(config, &app) });
    notifier.ready(&format!("Listening on {}", url(&app)));
    signals.next().await;
    tracing::info!("stopping: what is in flight is finished first; a second signal exits at once");
    tokio::select! {
        () = app.shutdown() => Ok(()),
        () = signals.next() => {
            logs::flush(LAST_LINES);
            std::process::exit(INTERRUPTED)
        }
    }
}

/// The way to systemd, if it started this.
fn notifier() -> Result<Notifier, Failure> {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    let variable = |name| std::env::var_os(name);
    let Some(socket) = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return Ok(Notifier::default());
    };
    let (usec, pid) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
    Notifier::new(&socket, usec.as_deref(), pid.as_deref())
        .map_err(|error| Failure::new(Failure::CONFIGURATION, format!("NOTIFY_SOCKET: {error}")))
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn url(app: &App) -> String {
    format!("http://{}", app.address())
}

#[derive(Serialize)]
struct JsonBanner<'a> {
    url: String,
    pairing_code: Option<&'a str>,
    database: String,
}

fn json_banner(config: &Config, app: &App) -> String {
    let pairing_code = app.pairing_code().map(PairingCode::expose);
    let banner =
        JsonBanner { url: url(app), pairing_code, database: config.database.path.display().to_string() };
    serde_json::to_string(&banner).map(|line| line + "\n").unwrap_or_default()
}

fn banner(config: &Config, app: &App) -> String {
    let mut text = format!("Moorgate is listening on {}\n", url(app));
    let mut line = |label: &str, value: &str| writeln!(text, "  {label:<9} {value}").ok(); // a String takes all
    if config.tunnel.provider != TunnelProvider::None {
        line("Tunnel:", app.public_url().as_deref().unwrap_or("it is up, and does not tell its address"));
    }
    line("Database:", &config.database.path.display().to_string());
    line("Provider:", &provider_line(config));
    line("Post to:", "/pair, /webhook");
    let channels: Vec<&str> = app.channels().map(channel_path).collect();
    if !channels.is_empty() {
        line("Channels:", &channels.join(", "));
    }
    line("Look at:", "/health, /ready, /metrics");
    if let Some(path) = &config.gateway.operator_socket {
        line("Operator:", &path.display().to_string());
    }
    let minutes = config.gateway.pairing_code_ttl.as_secs().div_ceil(60);
    match app.pairing_code() {
        Some(code) => write!(
            text,
            "\nNo client is paired. This code pairs one, within {minutes} minutes:\n\nX-Pairing-Code: {}\n\n",
            code.expose()
        ),
        None if config.gateway.require_pairing => {
            writeln!(text, "\nClients need their token. Pair another one with: moorgate pair\n")
        }
        None => writeln!(text, "\nPairing is off: every request is accepted.\n"),
    }
    .ok();
    text
}

fn provider_line(config: &Config) -> String {
    let one = |model: &Model| match model.kind {
        ProviderKind::Echo => "echo: it answers with the message itself; set [provider] for a model".into(),
        kind => format!("{}: {} at {}", kind.as_str(), model.name, model.base_url),
    };
    let provider = &config.provider;
    let all = std::iter::once(&provider.model).chain(&provider.fallbacks).map(one);
    all.collect::<Vec<_>>().join(", then ")
}
