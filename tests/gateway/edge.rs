//! The edge of the gateway: sockets of every kind, and real programs on their other end.

mod activation;
mod files;
mod operator;
mod reverse_proxy;
mod slow;

use std::path::Path;

use crate::support::{
    process::{Process, moorgate},
    raw::Raw,
};

const GET_METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// The value of a series, asked for on a connection that is open.
async fn metric(connection: &mut Raw, series: &str) -> u64 {
    let text = connection.ask(GET_METRICS).await.text;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

/// Starts `moorgate serve` in `folder` by way of another program, which becomes it.
fn start_through(program: &str, arguments: &[&str], folder: &Path) -> Process {
    let mut command = std::process::Command::new(program);
    command.args(arguments).arg(moorgate(folder).get_program());
    command.args(["serve", "--port", "0", "--print-json"]).current_dir(folder);
    Process::spawn(command, folder)
}
