//! What the gateway tells its operator: metrics, log lines, traces, and what is made of them.

mod canary;
mod collector;
mod dashboard;
mod log;
mod metric;
mod prometheus;
mod receiver;
mod trace;

use std::collections::BTreeSet;

/// The names in the table of metrics of `docs/OBSERVABILITY.md`, and of those the ones that are there from the start.
fn documented() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = include_str!("../../docs/OBSERVABILITY.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let is_metric = ["counter", "gauge", "histogram"].contains(cells.get(1)?);
        is_metric.then(|| (cells[0].trim_end_matches('`').to_owned(), cells[3] == "yes"))
    });
    let rows: Vec<_> = rows.collect();
    let all = rows.iter().map(|(name, _)| name.clone()).collect();
    (all, rows.into_iter().filter_map(|(name, at_once)| at_once.then_some(name)).collect())
}

/// The names that `/metrics` shows.
fn shown(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The series that `/metrics` shows, without their values.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}
