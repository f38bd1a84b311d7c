//! A real OTLP receiver: rotel (<https://rotel.dev>), as its Python package brings it.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{
    process::{LONGEST_WAIT, Process, Running, free_address},
    tool,
    wait::pause,
};

const PROGRAM: &str = ".otlp-receiver/rotel/rotel-agent";

#[tokio::test]
async fn a_real_receiver_takes_traces_and_metrics() {
    let Some(program) = tool::in_checkout(PROGRAM, "scripts/otlp-receiver.sh installs it") else { return };
    let (folder, http, grpc) = (TempDir::new().unwrap(), free_address(10), free_address(11));
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_clear().stdout(Stdio::piped()).stderr(Stdio::null());
    command.args(["start", "--exporter", "blackhole", "--disable-batching"]);
    command.args(["--debug-log", "traces", "--debug-log", "metrics", "--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()]);
    let receiver = Running::spawn(&mut command);
    let process = Process::start(
        folder.path(),
        &[
            ("MOORGATE_OBSERVABILITY__OTLP_ENDPOINT", &format!("http://{http}")),
            ("MOORGATE_OBSERVABILITY__OTLP_INTERVAL_SECS", "1"),
            ("MOORGATE_OBSERVABILITY__TRACE_SAMPLE_RATIO", "1"),
        ],
    );
    // What is pushed before the receiver listens is lost, so requests are made until it has said all of this.
    let mut missing =
        vec!["POST /pair", "GET /health", "http.server.request.duration", "zeroclaw_turns_total"];
    let asking = {
        let (client, code) = (process.client.clone(), process.code.clone().unwrap());
        tokio::spawn(async move {
            loop {
                client.pair(&code).await;
                client.get("/health").await;
                pause().await;
            }
        })
    };
    let listening = tokio::task::spawn_blocking(move || {
        while !missing.is_empty() {
            let Some(line) = receiver.line() else { panic!("the receiver ends without {missing:?}") };
            missing.retain(|wanted| !line.contains(wanted));
        }
    });
    tokio::time::timeout(LONGEST_WAIT, listening).await.expect("it has them").unwrap();
    asking.abort();
}
