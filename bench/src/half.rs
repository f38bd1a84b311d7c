//! Latency at half of the highest load: requests that are due at fixed times, beside the same without a disk, and what one sync
//! of the same disk takes.

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    load::Report,
    scenario::{Scenario, Server, Settings, measure_at},
    stats::{Table, format_latency, format_whole, median, median_duration},
};

/// Syncs of which the median is taken.
const SYNCS: usize = 200;
/// What a commit of a small batch writes, about.
const WRITTEN: [u8; 16_384] = [7; 16_384];
/// What the aim allows beside three syncs.
const MARGIN: Duration = Duration::from_millis(2);

/// Measures and prints it.
///
/// # Errors
/// What went wrong, as text.
pub fn run(settings: &Settings, connections: usize) -> Result<(), String> {
    let mut table =
        Table::new(&["load", "requests/s", "p50", "p99", "unsent", "one sync", "3 syncs and 2 ms"]);
    let (mut peaks, mut halves, mut in_memory, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let at = |server, rate, round| measure_at(settings, (server, Scenario::Echo), connections, rate, round);
    for round in 0..settings.rounds {
        let peak = at(Server::Full, None, round)?;
        let seconds = settings.duration.as_secs().max(1);
        let rate = u32::try_from(peak.requests / (2 * seconds)).unwrap_or(u32::MAX).max(1);
        halves.push(at(Server::Full, Some(rate), round)?);
        in_memory.push(at(Server::Memory, Some(rate), round)?);
        peaks.push(peak);
        syncs.push(sync_time(&settings.folder).map_err(|problem| problem.to_string())?);
    }
    // A few that became due in the last moment find no free connection.
    if let Some(late) = halves.iter().chain(&in_memory).find(|half| half.unsent > half.requests / 1000) {
        return Err(format!("it did not keep up with half of its peak: {late:?}"));
    }
    let sync = median_duration(&syncs).unwrap_or_default();
    let loads = [("peak", &peaks), ("half of it", &halves), ("the same, maps in memory", &in_memory)];
    for (name, reports) in loads {
        let latency = |of: fn(&Report) -> Duration| {
            median_duration(&reports.iter().map(of).collect::<Vec<_>>())
                .map(format_latency)
                .unwrap_or_default()
        };
        let rates: Vec<f64> = reports.iter().map(|report| report.per_second).collect();
        let unsent: u64 = reports.iter().map(|report| report.unsent).sum();
        table.row(&[
            name.to_owned(),
            format_whole(median(&rates).unwrap_or(0.0)),
            latency(|report| report.p50),
            latency(|report| report.p99),
            unsent.to_string(),
            format_latency(sync),
            format_latency(sync * 3 + MARGIN),
        ]);
    }
    println!("\n### half of the peak, {connections} connections\n");
    println!("{table}");
    Ok(())
}

/// The median time of a write and its sync.
fn sync_time(folder: &Path) -> std::io::Result<Duration> {
    fs::create_dir_all(folder)?;
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        if number % 16 == 0 {
            file.rewind()?; // a WAL is written over again, too
        }
        file.write_all(&WRITTEN)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(median_duration(&times).unwrap_or_default())
}
