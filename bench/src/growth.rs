//! Growth: how long a start takes, and what a message costs, when much is kept already: messages with their keys, or clients with
//! their rate windows.

mod fill;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    load::{self, Load, Report, webhook_request},
    process::{Process, pair},
    scenario::Settings,
    stats::{Table, as_f64, format_latency, format_whole, median, median_duration, ratio},
};

const CONNECTIONS: usize = 256;
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a process is looked at until it has nothing to do.
const LOOK: Duration = Duration::from_millis(250);
/// Processor time in which nothing is done but what is always done: two hundredths of a second, the smallest that can be told.
const NOTHING: Duration = Duration::from_millis(20);

/// How much is kept, in each of the databases that take turns.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Messages with their keys.
    pub kept: Vec<usize>,
    /// Clients with a hit in the last minute.
    pub clients: Vec<usize>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { kept: vec![1000, 100_000], clients: vec![10_000, 1_000_000] }
    }
}

struct Measured {
    start: Duration,
    settled: Duration,
    idle_kib: u64,
    report: Report,
    cpu_us: f64,
    peak_kib: u64,
}

/// Measures both kinds of growth and prints their tables.
///
/// # Errors
/// What went wrong, as text.
pub fn run(settings: &Settings, sizes: &Sizes) -> Result<(), String> {
    fs::create_dir_all(&settings.folder).map_err(|error| error.to_string())?;
    println!("\n### growth: messages and keys kept, {CONNECTIONS} connections\n");
    measure_all(settings, "messages and keys", &sizes.kept, fill::messages)?;
    println!("\n### growth: clients with a hit in the last minute, {CONNECTIONS} connections\n");
    measure_all(settings, "clients", &sizes.clients, fill::clients)
}

/// Fills a database with so many.
type Fill = fn(&Path, usize) -> Result<(), String>;

fn measure_all(settings: &Settings, what: &str, sizes: &[usize], fill: Fill) -> Result<(), String> {
    let mut measured: Vec<Vec<Measured>> = sizes.iter().map(|_| Vec::new()).collect();
    let mut bytes = vec![0; sizes.len()];
    for _ in 0..settings.rounds {
        for ((size, results), bytes) in sizes.iter().zip(&mut measured).zip(&mut bytes) {
            let folder = settings.folder.join("growth");
            fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let database = prepare(settings, &folder, *size, fill)?;
            *bytes = fs::metadata(database).map_err(|error| error.to_string())?.len();
            results.push(measure(settings, &folder)?);
            fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
        }
    }
    println!("{}", table(what, sizes, &bytes, &measured));
    Ok(())
}

/// A database of this size, on the disk. It is filled anew each time: the load adds to it.
fn prepare(settings: &Settings, folder: &Path, size: usize, fill: Fill) -> Result<PathBuf, String> {
    let made = Command::new(&settings.gateway).current_dir(folder).args(["db", "migrate"]).output();
    let made = made.map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("no database: {}", String::from_utf8_lossy(&made.stderr)));
    }
    let database = folder.join("moorgate.db");
    fill(&database, size)?;
    File::open(&database).and_then(|file| file.sync_all()).map_err(|error| error.to_string())?;
    Ok(database)
}

fn measure(settings: &Settings, folder: &Path) -> Result<Measured, String> {
    let begun = Instant::now();
    let process = Process::start(command(settings, folder), PATIENCE)?;
    let start = begun.elapsed();
    wait_until_idle(&process)?;
    let settled = begun.elapsed();
    let banner = process.banner();
    let token = pair(banner.addr, banner.pairing_code.as_deref().unwrap_or_default())?;
    let idle_kib = process.memory()?.resident_kib;
    let load = Load {
        connections: CONNECTIONS,
        warmup: Duration::from_secs(1),
        duration: settings.duration,
        ..Load::new(banner.addr, Arc::new(move |sequence, out| webhook_request(&token, sequence, out)), 200)
    };
    let cpu_before = process.cpu()?;
    let report = load::run(&load)?;
    let cpu = process.cpu()?.saturating_sub(cpu_before);
    let requests = report.per_second * (load.warmup + load.duration).as_secs_f64();
    let peak_kib = process.memory()?.peak_kib;
    process.stop(PATIENCE)?;
    if report.unanswered > 0 || !report.unexpected.is_empty() {
        return Err(format!("not every answer was as expected: {report:?}"));
    }
    Ok(Measured { start, settled, idle_kib, report, cpu_us: cpu.as_secs_f64() * 1e6 / requests, peak_kib })
}

/// Waits until what a start leaves to the background is done.
fn wait_until_idle(process: &Process) -> Result<(), String> {
    let begun = Instant::now();
    let mut before = process.cpu()?;
    loop {
        thread::sleep(LOOK);
        let now = process.cpu()?;
        if now.saturating_sub(before) <= NOTHING {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err("the gateway does not come to rest".to_owned());
        }
        before = now;
    }
}

/// The gateway, which keeps all that it finds, and counts each request against a limit that is never reached.
fn command(settings: &Settings, folder: &Path) -> Command {
    let mut command = Command::new(&settings.gateway);
    command.current_dir(folder).stderr(Stdio::inherit()).args(["serve", "--port", "0", "--print-json"]);
    for (variable, value) in [
        ("GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "1000000"),
        ("GATEWAY__RATE_LIMIT_MAX_KEYS", "1000000"),
        ("GATEWAY__IDEMPOTENCY_TTL_SECS", "2419200"),
        ("DATABASE__MESSAGE_MAX_ROWS", "0"),
        ("DATABASE__ANSWER_MAX_ROWS", "0"),
        ("OBSERVABILITY__REQUEST_LOG", "off"),
    ] {
        command.env(format!("MOORGATE_{variable}"), value);
    }
    command
}

fn table(what: &str, sizes: &[usize], bytes: &[u64], measured: &[Vec<Measured>]) -> Table {
    let number = |results: &[Measured], of: fn(&Measured) -> f64| {
        median(&results.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let time = |results: &[Measured], of: fn(&Measured) -> Duration| {
        let times: Vec<_> = results.iter().map(of).collect();
        median_duration(&times).map(format_latency).unwrap_or_default()
    };
    let rate = |results: &[Measured]| number(results, |it| it.report.per_second);
    let base = measured.first().map_or(0.0, |results| rate(results));
    let mut table = Table::new(&[
        what,
        "file",
        "bytes each",
        "start",
        "at rest after",
        "requests/s",
        "of the first",
        "p50",
        "p99",
        "CPU/request",
        "RSS idle",
        "RSS peak",
    ]);
    for ((size, bytes), results) in sizes.iter().zip(bytes).zip(measured) {
        let size = as_f64(*size as u64);
        table.row(&[
            format_whole(size),
            format!("{:.1} MiB", as_f64(*bytes) / 1_048_576.0),
            format_whole(as_f64(*bytes) / size),
            time(results, |it| it.start),
            time(results, |it| it.settled),
            format_whole(rate(results)),
            ratio(rate(results), base).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            time(results, |it| it.report.p50),
            time(results, |it| it.report.p99),
            format!("{:.1} µs", number(results, |it| it.cpu_us)),
            format!("{:.0} MiB", number(results, |it| as_f64(it.idle_kib) / 1024.0)),
            format!("{:.0} MiB", number(results, |it| as_f64(it.peak_kib) / 1024.0)),
        ]);
    }
    table
}
