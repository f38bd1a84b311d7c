//! What is measured: each server is started afresh, loaded, and stopped; then the next one; then the first one again.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    load::{self, Load, Report, Request, webhook_request, webhook_without_token},
    model_server::ModelServer,
    process::{Process, pair},
    stats::{Table, as_f64, format_latency, format_whole, median, median_duration, ratio},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long and how often.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The gateway's program.
    pub gateway: PathBuf,
    /// This program, which contains the baselines.
    pub this: PathBuf,
    /// A folder for databases.
    pub folder: PathBuf,
    /// Rounds of all servers in turn.
    pub rounds: usize,
    /// How long each load lasts.
    pub duration: Duration,
}

impl Settings {
    /// The gateway on any free port in this folder, without a limit of `/webhook`.
    #[must_use]
    pub fn serve(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.gateway);
        command.current_dir(folder).stderr(Stdio::inherit()).args(["serve", "--port", "0", "--print-json"]);
        command.env("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0");
        command
    }
}

/// A server under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The gateway, `synchronous = full`.
    Full,
    /// The same without metrics and without a log line for each request.
    Unobserved,
    /// The same with both.
    Observed,
    /// The gateway, `synchronous = normal`.
    Normal,
    /// Maps in memory, on tokio's runtime as it comes.
    Memory,
    /// The same, with the division of connections among two runtimes that the gateway has on two processors.
    MemoryDivided,
    /// One transaction for each request.
    Transaction,
}

impl Server {
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "moorgate, full",
            Self::Unobserved => "moorgate, unobserved",
            Self::Observed => "moorgate, metrics and a line each",
            Self::Normal => "moorgate, normal",
            Self::Memory => "maps in memory",
            Self::MemoryDivided => "maps in memory, divided",
            Self::Transaction => "a transaction per request",
        }
    }
}

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Messages with fresh keys, provider `echo`.
    Echo,
    /// The same with a loopback model server.
    Model,
    /// Requests without a token, no limit.
    Unauthorized,
    /// Requests over the limit.
    OverLimit,
    /// Messages as in `Echo`, with and without metrics and log lines.
    Observed,
    /// Requests without a token, likewise: the dearest case, since nothing else is done for them.
    ObservedRefusal,
}

impl Scenario {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("echo", Self::Echo),
        ("model", Self::Model),
        ("401", Self::Unauthorized),
        ("429", Self::OverLimit),
        ("observed", Self::Observed),
        ("observed-401", Self::ObservedRefusal),
    ];

    const fn servers(self) -> &'static [Server] {
        match self {
            Self::Echo => {
                &[Server::Memory, Server::MemoryDivided, Server::Full, Server::Normal, Server::Transaction]
            }
            Self::Model => &[Server::Memory, Server::Full, Server::Normal],
            Self::Unauthorized | Self::OverLimit => &[Server::Memory, Server::Full],
            Self::Observed | Self::ObservedRefusal => &[Server::Unobserved, Server::Observed],
        }
    }

    const fn limit(self) -> &'static str {
        match self {
            Self::OverLimit => "1",
            _ => "0",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::Echo | Self::Model | Self::Observed => 200,
            Self::Unauthorized | Self::ObservedRefusal => 401,
            Self::OverLimit => 429,
        }
    }
}

struct Measured {
    report: Report,
    /// Processor time of the server for one request, in microseconds.
    cpu_us: f64,
    idle_kib: u64,
    peak_kib: u64,
}

/// Measures one scenario and prints its table.
///
/// # Errors
/// What went wrong, as text.
pub fn run(settings: &Settings, name: &str, scenario: Scenario, connections: usize) -> Result<(), String> {
    let model = match scenario {
        Scenario::Model => Some(ModelServer::start(None)?),
        _ => None,
    };
    let model_url = model.as_ref().map(|model| format!("http://{}/v1", model.addr()));
    let servers = scenario.servers();
    let mut measured: Vec<Vec<Measured>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..settings.rounds {
        for (server, results) in servers.iter().zip(&mut measured) {
            let folder = settings.folder.join(format!("{name}-{connections}-{round}-{server:?}"));
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let result =
                measure(settings, (*server, scenario), (connections, None), (&folder, model_url.as_deref()));
            std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
            results.push(result?);
        }
    }
    println!("\n### {name}, {connections} connections\n");
    print_table(servers, &measured);
    Ok(())
}

/// Measures a server once that needs no model, with as many requests as it answers or with so many a second.
///
/// # Errors
/// What went wrong, as text.
pub fn measure_at(
    settings: &Settings,
    what: (Server, Scenario),
    connections: usize,
    rate: Option<u32>,
    round: usize,
) -> Result<Report, String> {
    let folder = settings.folder.join(format!("at-{}-{round}", rate.unwrap_or(0)));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let result = measure(settings, what, (connections, rate), (&folder, None));
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    result.map(|measured| measured.report)
}

fn measure(
    settings: &Settings,
    (server, scenario): (Server, Scenario),
    (connections, rate): (usize, Option<u32>),
    (folder, model_url): (&Path, Option<&str>),
) -> Result<Measured, String> {
    let process = Process::start(command(settings, server, scenario, (folder, model_url)), PATIENCE)?;
    let banner = process.banner();
    let token = pair(banner.addr, banner.pairing_code.as_deref().unwrap_or_default())?;
    let idle_kib = process.memory()?.resident_kib;
    let request: Request = match scenario {
        Scenario::Unauthorized | Scenario::ObservedRefusal => Arc::new(webhook_without_token),
        _ => Arc::new(move |sequence, out| webhook_request(&token, sequence, out)),
    };
    let load = Load {
        connections,
        warmup: Duration::from_secs(1),
        duration: settings.duration,
        rate,
        ..Load::new(banner.addr, request, scenario.status())
    };
    let cpu_before = process.cpu()?;
    let report = load::run(&load)?;
    let cpu = process.cpu()?.saturating_sub(cpu_before);
    let requests = report.per_second * (load.warmup + load.duration).as_secs_f64();
    let cpu_us = cpu.as_secs_f64() * 1e6 / requests;
    let peak_kib = process.memory()?.peak_kib;
    process.stop(PATIENCE)?;
    let invalid = report.unanswered > 0 || report.unexpected.values().sum::<u64>() > 0;
    if invalid {
        return Err(format!("{server:?} {scenario:?}: not every answer was as expected: {report:?}"));
    }
    Ok(Measured { report, cpu_us, idle_kib, peak_kib })
}

fn command(
    settings: &Settings,
    server: Server,
    scenario: Scenario,
    (folder, model_url): (&Path, Option<&str>),
) -> Command {
    let baseline = match server {
        Server::Memory => Some("memory"),
        Server::MemoryDivided => Some("divided"),
        Server::Transaction => Some("transaction"),
        Server::Full | Server::Normal | Server::Unobserved | Server::Observed => None,
    };
    if let Some(kind) = baseline {
        let mut command = Command::new(&settings.this);
        command.current_dir(folder).stderr(Stdio::inherit());
        command.args(["baseline", kind, scenario.limit()]).args(model_url);
        return command;
    }
    let mut command = settings.serve(folder);
    command.env("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", scenario.limit());
    command.env("MOORGATE_DATABASE__SYNCHRONOUS", if server == Server::Normal { "normal" } else { "full" });
    let is_observed = server == Server::Observed;
    command.env("MOORGATE_OBSERVABILITY__REQUEST_LOG", if is_observed { "all" } else { "off" });
    let backend = if server == Server::Unobserved { "none" } else { "prometheus" };
    command.env("MOORGATE_OBSERVABILITY__BACKEND", backend);
    if let (true, Ok(log)) = (is_observed, std::fs::File::create(folder.join("log"))) {
        command.stderr(log);
    }
    if let Some(url) = model_url {
        command.env("MOORGATE_PROVIDER__KIND", "openai").env("MOORGATE_PROVIDER__MODEL", "bench");
        command.env("MOORGATE_PROVIDER__BASE_URL", url);
    }
    command
}

fn print_table(servers: &[Server], measured: &[Vec<Measured>]) {
    let rate = |results: &[Measured]| {
        median(&results.iter().map(|result| result.report.per_second).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let latency = |results: &[Measured], of: fn(&Report) -> Duration| {
        let all: Vec<_> = results.iter().map(|result| of(&result.report)).collect();
        median_duration(&all).map(format_latency).unwrap_or_default()
    };
    let mib = |results: &[Measured], of: fn(&Measured) -> u64| {
        let all: Vec<_> = results.iter().map(|result| as_f64(of(result)) / 1024.0).collect();
        format!("{:.0} MiB", median(&all).unwrap_or(0.0))
    };
    let base = measured.first().map_or(0.0, |results| rate(results));
    let transaction = servers.iter().position(|server| *server == Server::Transaction);
    let slow = transaction.and_then(|at| measured.get(at)).map(|results| rate(results));
    let times = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let of_first = if servers.first() == Some(&Server::Unobserved) { "of unobserved" } else { "of memory" };
    let mut table = Table::new(&[
        "server",
        "requests/s",
        of_first,
        "of a transaction each",
        "p50",
        "p99",
        "CPU/request",
        "RSS idle",
        "RSS peak",
    ]);
    for (server, results) in servers.iter().zip(measured) {
        table.row(&[
            server.name().to_owned(),
            format_whole(rate(results)),
            times(ratio(rate(results), base)),
            times(slow.and_then(|slow| ratio(rate(results), slow))),
            latency(results, |report| report.p50),
            latency(results, |report| report.p99),
            format!(
                "{:.1} µs",
                median(&results.iter().map(|result| result.cpu_us).collect::<Vec<_>>()).unwrap_or(0.0)
            ),
            mib(results, |result| result.idle_kib),
            mib(results, |result| result.peak_kib),
        ]);
    }
    println!("{table}");
}
