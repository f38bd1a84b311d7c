//! A burst of signed `WhatsApp` messages: how fast they are acknowledged, what a paired client notices meanwhile, how long
//! the replies take; and the memory while very many wait.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    load::{self, APP_SECRET, Load, PHONE_NUMBER_ID, Report, whatsapp_request},
    model_server::ModelServer,
    process::{Process, pair},
    scenario::Settings,
    stats::{Table, as_f64, format_latency, format_whole, median, median_duration},
};

const PATIENCE: Duration = Duration::from_mins(1);
const MESSAGES: u64 = 5000;
/// The paired client's requests a second.
const CLIENT_RATE: u32 = 100;
/// How long the client is watched, in quiet and with the burst in its midst.
const WATCHED: Duration = Duration::from_secs(4);
/// Messages that wait in the end.
const WAITING: u64 = 200_000;

struct Measured {
    quiet: Report,
    noisy: Report,
    burst: Report,
    replied: Duration,
    peak_kib: u64,
}

/// Measures the burst and prints its table.
///
/// # Errors
/// What went wrong, as text.
pub fn run(settings: &Settings, connections: usize) -> Result<(), String> {
    let mut measured = Vec::new();
    for round in 0..settings.rounds {
        let folder = settings.folder.join(format!("burst-{connections}-{round}"));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        measured.push(measure(settings, connections, &folder)?);
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    println!("\n### burst of {MESSAGES} signed WhatsApp messages, {connections} connections\n");
    let of = |latency: &dyn Fn(&Measured) -> Duration| {
        median_duration(&measured.iter().map(latency).collect::<Vec<_>>())
            .map(format_latency)
            .unwrap_or_default()
    };
    let number = |value: &dyn Fn(&Measured) -> f64| {
        median(&measured.iter().map(value).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let mut table = Table::new(&["measure", "median"]);
    for (name, value) in [
        ("acknowledged a second", format_whole(number(&|it| it.burst.per_second))),
        ("acknowledged, p50", of(&|it| it.burst.p50)),
        ("acknowledged, p99", of(&|it| it.burst.p99)),
        ("a client's /webhook p99, quiet", of(&|it| it.quiet.p99)),
        ("a client's /webhook p99, with the burst", of(&|it| it.noisy.p99)),
        ("from the first message to the last reply", of(&|it| it.replied)),
        ("RSS peak", format!("{:.0} MiB", number(&|it| as_f64(it.peak_kib) / 1024.0))),
    ] {
        table.row(&[name.to_owned(), value]);
    }
    println!("{table}");
    Ok(())
}

fn measure(settings: &Settings, connections: usize, folder: &Path) -> Result<Measured, String> {
    let server = ModelServer::start(None)?;
    let process = Process::start(command(settings, folder, &server), PATIENCE)?;
    let banner = process.banner();
    let token = pair(banner.addr, banner.pairing_code.as_deref().unwrap_or_default())?;
    let client = Load::of_a_client(banner.addr, token, CLIENT_RATE, WATCHED);
    let quiet = load::run(&client)?;
    let (noisy, burst, replied) = thread::scope(|scope| {
        let noisy = scope.spawn(|| load::run(&client));
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let burst = load::run(&burst(banner.addr, connections, MESSAGES))?;
        wait_for(|| server.messages() >= MESSAGES)?;
        let replied = begun.elapsed();
        let noisy = noisy.join().unwrap_or_else(|_| Err("the client panicked".to_owned()))?;
        Ok::<_, String>((noisy, burst, replied))
    })?;
    let peak_kib = process.memory()?.peak_kib;
    process.stop(PATIENCE)?;
    for report in [&quiet, &noisy, &burst] {
        report.check()?;
    }
    Ok(Measured { quiet, noisy, burst, replied, peak_kib })
}

/// Measures the memory while very many messages wait for a model that does not answer, and prints it.
///
/// # Errors
/// What went wrong, as text.
pub fn run_waiting(settings: &Settings) -> Result<(), String> {
    let folder = settings.folder.join("waiting");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let server = ModelServer::start(Some(Duration::from_hours(1)))?;
    let mut command = command(settings, &folder, &server);
    command.env("MOORGATE_PROVIDER__KIND", "openai").env("MOORGATE_PROVIDER__MODEL", "bench");
    command.env("MOORGATE_PROVIDER__BASE_URL", format!("http://{}/v1", server.addr()));
    command.env("MOORGATE_PROVIDER__TIMEOUT_SECS", "3600").env("MOORGATE_GATEWAY__SHUTDOWN_GRACE_SECS", "0");
    let process = Process::start(command, PATIENCE)?;
    let idle_kib = process.memory()?.resident_kib;
    let report = load::run(&Load { duration: PATIENCE * 5, ..burst(process.banner().addr, 64, WAITING) })?;
    report.check()?;
    let (now, peak) = (process.memory()?.resident_kib, process.memory()?.peak_kib);
    process.stop(PATIENCE)?;
    let mib = |kib: u64| format!("{:.0} MiB", as_f64(kib) / 1024.0);
    println!("\n### {WAITING} messages waiting\n");
    let mut table = Table::new(&["measure", "value"]);
    for (name, value) in [
        ("acknowledged a second", format_whole(report.per_second)),
        ("acknowledged, p99", format_latency(report.p99)),
        ("RSS idle", mib(idle_kib)),
        ("RSS with all of them waiting", mib(now)),
        ("RSS peak", mib(peak)),
    ] {
        table.row(&[name.to_owned(), value]);
    }
    println!("{table}");
    Ok(())
}

fn burst(addr: std::net::SocketAddr, connections: usize, total: u64) -> Load {
    Load {
        connections,
        warmup: Duration::ZERO,
        duration: PATIENCE,
        total: Some(total),
        ..Load::new(addr, Arc::new(whatsapp_request), 200)
    }
}

fn wait_for(done: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err("not every message got its reply".to_owned());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The gateway with `WhatsApp`, whose API is `server`.
fn command(settings: &Settings, folder: &Path, server: &ModelServer) -> Command {
    let mut command = settings.serve(folder);
    command.env("MOORGATE_OBSERVABILITY__REQUEST_LOG", "off");
    for (key, value) in [
        ("ACCESS_TOKEN", "bench"),
        ("PHONE_NUMBER_ID", PHONE_NUMBER_ID),
        ("APP_SECRET", APP_SECRET),
        ("ALLOWED_NUMBERS", "*"),
        ("API_BASE_URL", &format!("http://{}", server.addr())),
    ] {
        command.env(format!("MOORGATE_CHANNELS_CONFIG__WHATSAPP__{key}"), value);
    }
    command
}
