//! Tunnels: programs of others that make the gateway reachable from elsewhere, as real processes of the real program.

mod client;
mod end;
mod fail;
mod up;

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    fake_tunnel::{FakeTunnel, Run, command_lines, is_running},
    process::{Process, moorgate},
    wait::{until, until_is},
};

/// A secret of a tunnel.
const TOKEN: &str = "tunnel-token-never-to-be-seen";

/// `MOORGATE_TUNNEL__PROVIDER` and what that provider needs.
fn provider(name: &str) -> Vec<(&'static str, String)> {
    let mut env = vec![("MOORGATE_TUNNEL__PROVIDER", name.to_owned())];
    match name {
        "cloudflare" => env.push(("MOORGATE_TUNNEL__CLOUDFLARE__TOKEN", TOKEN.into())),
        "ngrok" => env.push(("MOORGATE_TUNNEL__NGROK__AUTH_TOKEN", TOKEN.into())),
        "custom" => {
            env.push((
                "MOORGATE_TUNNEL__CUSTOM__START_COMMAND",
                "own-tunnel 'to {host}:{port}' {host}:{port}".into(),
            ));
            env.push(("MOORGATE_TUNNEL__CUSTOM__URL_PATTERN", "the gateway is at:".into()));
        }
        _ => {}
    }
    env
}

/// Starts a gateway with a tunnel.
fn start(folder: &Path, fake: &FakeTunnel, env: &[(&str, String)]) -> Process {
    let mut command = moorgate(folder);
    command.args(["serve", "--port", "0", "--print-json"]).envs(fake.env());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    Process::spawn(command, folder)
}

/// `kill -9`.
fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// What `/health` says of the tunnel.
async fn state(process: &Process) -> String {
    let health = process.client.get("/health").await.json();
    health["runtime"]["components"]["tunnel"].as_str().unwrap().to_owned()
}

/// Waits until `/health` says this of the tunnel.
async fn until_state(process: &Process, expected: &str) {
    until_is("the state of the tunnel", expected, async || state(process).await).await;
}

/// Waits until a program and all of its group are gone. Its zombies may be nobody's.
async fn until_gone(run: &Run) {
    let gone = async || !is_running(run.pid) && command_lines(run.group).is_empty();
    until("the program and its guard are gone", gone).await;
}
