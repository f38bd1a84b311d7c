//! `moorgate-bench [--rounds N] [--seconds N] [--connections 256,64] [scenario…]`: measures the gateway that was built
//! beside it (`cargo build --release` first) against the baselines it contains, and prints Markdown tables.
//! `moorgate-bench growth [--kept 1000,100000] [--clients 10000,1000000]`: measures it with so much on record; 10 million messages
//! take a minute each round, and 3 GiB of the folder of temporary files.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use tokio::runtime::Builder;

use moorgate_bench::{
    baseline::{self, Kind},
    burst, crowd,
    growth::{self, Sizes},
    half,
    scenario::{self, Scenario, Settings},
};

/// The general-purpose allocator of the system costs a tenth of the processor time under load: threads that hand
/// messages to each other free what another one allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("baseline") => serve_baseline(&arguments),
        _ => measure(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moorgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `baseline memory|divided|transaction LIMIT [MODEL_URL]`: what the other mode starts.
fn serve_baseline(arguments: &[String]) -> Result<(), String> {
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let settings = baseline::Settings {
        kind: if argument(1) == Some("transaction") { Kind::Transaction } else { Kind::Memory },
        database: PathBuf::from("baseline.db"),
        webhook_per_minute: argument(2).and_then(|limit| limit.parse().ok()).unwrap_or(0),
        model_url: argument(3).map(str::to_owned),
    };
    let runtime = |threads| {
        let mut builder = Builder::new_multi_thread();
        if let Some(threads) = threads {
            builder.worker_threads(threads);
        }
        builder.enable_all().build().map_err(|error| error.to_string())
    };
    if argument(1) == Some("divided") {
        let (requests, crowd) = (runtime(Some(1))?, runtime(Some(1))?);
        return requests.block_on(baseline::serve(&settings, Some(crowd.handle().clone())));
    }
    runtime(None)?.block_on(baseline::serve(&settings, None))
}

fn measure(arguments: &[String]) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let gateway = this.with_file_name("moorgate");
    if !gateway.exists() {
        return Err(format!("{} is missing: cargo build --release", gateway.display()));
    }
    let (mut rounds, mut seconds, mut connections, mut named) = (3, 5, vec![256, 64], Vec::new());
    let (mut special, mut sizes) = (Vec::new(), Sizes::default());
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{word}: {text:?} is no number"));
        let many = |text: &str| text.split(',').map(number).collect::<Result<Vec<_>, _>>();
        match word {
            "--rounds" => rounds = number(value()?)?,
            "--seconds" => seconds = number(value()?)?,
            "--connections" => connections = many(value()?)?,
            "--kept" => sizes.kept = many(value()?)?,
            "--clients" => sizes.clients = many(value()?)?,
            "half" | "burst" | "waiting" | "crowd" | "growth" => special.push(word),
            _ => {
                let found = Scenario::ALL.iter().find(|(name, _)| *name == word);
                named.push(*found.ok_or(format!(
                    "{word} is no scenario: echo, model, 401, 429, observed, observed-401, half, burst, waiting, crowd, growth"
                ))?);
            }
        }
    }
    let folder = std::env::temp_dir().join(format!("moorgate-bench-{}", std::process::id()));
    let duration = Duration::from_secs(seconds as u64);
    let settings = Settings { gateway, this, folder: folder.clone(), rounds, duration };
    let all = named.is_empty() && special.is_empty();
    let scenarios = if all { Scenario::ALL.to_vec() } else { named };
    let measure_all = || {
        for (name, scenario) in &scenarios {
            for connections in &connections {
                scenario::run(&settings, name, *scenario, *connections)?;
            }
        }
        if all || special.contains(&"half") {
            half::run(&settings, connections.iter().copied().max().unwrap_or(256))?;
        }
        if all || special.contains(&"burst") {
            burst::run(&settings, 64)?;
        }
        if all || special.contains(&"waiting") {
            burst::run_waiting(&settings)?;
        }
        if all || special.contains(&"crowd") {
            crowd::run(&settings)?;
        }
        if special.contains(&"growth") {
            growth::run(&settings, &sizes)?;
        }
        Ok(())
    };
    let result = measure_all();
    std::fs::remove_dir_all(&folder).ok();
    result
}
