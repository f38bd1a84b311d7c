//! What the commands print for people: `name: value` lines.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use jiff::Timestamp;

use crate::{
    cli::table::shown,
    domain::time::Millis,
    sqlite::{Backup, Checked, Info, Migrated, Removed, Restored, Run, Stage, Vacuumed},
};

/// Lines in the making.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(mut self, name: &str, value: impl Display) -> Self {
        writeln!(self.0, "{name}: {value}").ok(); // a String takes all
        self
    }

    fn rows(self, rows: &BTreeMap<String, u64>) -> Self {
        rows.iter().fold(self, |lines, (table, rows)| lines.line(&format!("rows of {table}"), rows))
    }
}

pub(super) fn info(info: &Info) -> String {
    let lines = Lines::default()
        .line("file", info.path.display())
        .line("size", bytes(info.bytes))
        .line("wal", bytes(info.wal_bytes))
        .line("pages", format_args!("{} of {} bytes, {} free", info.pages, info.page_bytes, info.free_pages))
        .line("schema", schema(info.schema_version, info.known_schema_version))
        .line("sqlite", &info.sqlite_version)
        .line("server", if info.server_running { "running" } else { "not running" });
    let pragmas = info.pragmas.iter().fold(lines, |lines, (name, value)| lines.line(name, value));
    let lines = pragmas.rows(&info.rows);
    info.runs.iter().fold(lines, |lines, run| lines.line(&format!("run {}", run.id), run_text(run))).0
}

fn schema(version: i64, known: i64) -> String {
    match version.cmp(&known) {
        std::cmp::Ordering::Equal => version.to_string(),
        std::cmp::Ordering::Less => format!("{version}, older than this moorgate's {known}"),
        std::cmp::Ordering::Greater => format!("{version}, newer than this moorgate's {known}"),
    }
}

fn run_text(run: &Run) -> String {
    let end = run.stopped_at.as_ref().map_or("no end".to_owned(), |at| format!("to {}", local(at)));
    format!("from {} {end}, process {}, moorgate {}", local(&run.started_at), run.pid, run.version)
}

/// A time in ISO 8601, as it is written where this is printed.
fn local(iso: &str) -> String {
    iso.parse().map_or_else(|_| iso.to_owned(), |at: Timestamp| shown(Millis(at.as_millisecond())))
}

pub(super) fn checked(checked: &Checked) -> String {
    let result = |check: &str| {
        let found: Vec<_> = checked.findings.iter().filter(|finding| finding.check == check).collect();
        match found.as_slice() {
            [] => "ok".to_owned(),
            found => found.iter().map(|finding| finding.found.as_str()).collect::<Vec<_>>().join("; "),
        }
    };
    checked.checks.iter().fold(Lines::default(), |lines, check| lines.line(check, result(check))).0
}

pub(super) fn backup(backup: &Backup) -> String {
    let lines = Lines::default().line("backup", backup.path.display()).line("size", bytes(backup.bytes));
    lines.line("schema", backup.schema_version).rows(&backup.rows).0
}

pub(super) fn restored(restored: &Restored) -> String {
    let lines = Lines::default().line("restored", restored.path.display());
    let kept = restored.kept.as_ref().map_or("there was none".into(), |path| path.display().to_string());
    lines.line("old file", kept).line("schema", restored.schema_version).rows(&restored.rows).0
}

pub(super) fn vacuumed(vacuumed: &Vacuumed) -> String {
    let lines = Lines::default().line("size before", bytes(vacuumed.bytes_before));
    lines.line("size", bytes(vacuumed.bytes)).0
}

pub(super) fn migrated(migrated: &Migrated) -> String {
    let before = match migrated.schema_before {
        0 => "none".to_owned(),
        version => version.to_string(),
    };
    Lines::default().line("schema before", before).line("schema", migrated.schema_version).0
}

pub(super) fn removed(removed: &Removed) -> String {
    let Removed { messages, answers, deliveries, memories, conversations, received, keys, hits, pairing } =
        removed;
    Lines::default()
        .line("messages deleted", messages)
        .line("answers erased", answers)
        .line("deliveries deleted", deliveries)
        .line("memories deleted", memories)
        .line("conversations deleted", conversations)
        .line("received ids deleted", received)
        .line("keys deleted", keys)
        .line("hits deleted", hits)
        .line("pairing codes, failures and lockouts deleted", pairing)
        .0
}

pub(super) fn progress_of_prune(removed: &Removed) -> String {
    let Removed { messages, answers, deliveries, .. } = removed;
    format!("removed {messages} messages, {answers} answers, {deliveries} deliveries")
}

pub(super) fn progress(stage: Stage) -> String {
    const WIDTH: u64 = 30;
    let (what, done, of) = match stage {
        Stage::Copying { done, of } => ("copying", done, of),
        Stage::Rewriting { done, of } => ("rewriting", done, of),
        Stage::Verifying => return "verifying the copy".to_owned(),
        Stage::Checking(check) => return format!("checking {check}"),
    };
    let share = (done * WIDTH).checked_div(of).unwrap_or(WIDTH).min(WIDTH);
    let bar: String = (0..WIDTH).map(|place| if place < share { '#' } else { '.' }).collect();
    format!("{what} [{bar}] {} of about {}", bytes(done), bytes(of))
}

/// A size as people read it; small ones to the byte.
fn bytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{bytes} bytes"),
        _ => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (size, text) in [
            (0, "0 bytes"),
            (1_048_575, "1048575 bytes"),
            (1_048_576, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
            (5_368_709_119, "5119.9 MiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn progress_is_a_bar_that_never_runs_over() {
        let bar = |done, of| progress(Stage::Copying { done, of });
        assert_eq!(bar(0, 0), "copying [##############################] 0 bytes of about 0 bytes");
        assert_eq!(bar(50, 100), "copying [###############...............] 50 bytes of about 100 bytes");
        assert_eq!(bar(300, 100), "copying [##############################] 300 bytes of about 100 bytes");
    }
}
