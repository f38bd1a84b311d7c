//! However the gateway ends, its tunnel ends with it.

use std::process::Stdio;

use tempfile::TempDir;

use super::{kill, provider, start, until_gone, until_state};
use crate::support::{
    fake_tunnel::{FakeTunnel, is_running},
    gateway::sqlite3,
    process::{Running, moorgate},
    wait::until,
};

/// Failure 31: the tunnel's child is orphaned at exit.
#[tokio::test]
async fn a_killed_gateway_leaves_no_program_behind() {
    for mode in ["up", "up deaf", "up child", "up deaf child"] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        fake.tell("mode", mode);
        let grace = ("MOORGATE_TUNNEL__STOP_GRACE_SECS", "1".to_owned());
        let process = start(folder.path(), &fake, &[&provider("tailscale")[..], &[grace]].concat());
        let run = fake.run(0).await;
        let child =
            if mode.contains("child") { fake.until_written("child").await.parse().unwrap() } else { run.pid };
        assert!(is_running(run.pid) && is_running(child));
        process.kill();
        until("the programs are gone", async || !is_running(run.pid) && !is_running(child)).await;
    }
}

/// Failure 31: the tunnel's child is orphaned at exit.
#[tokio::test]
async fn a_program_that_does_not_heed_a_signal_is_killed_and_what_it_began_too() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    fake.tell("mode", "up deaf child");
    let grace = ("MOORGATE_TUNNEL__STOP_GRACE_SECS", "1".to_owned());
    let mut process = start(folder.path(), &fake, &[&provider("tailscale")[..], &[grace]].concat());
    let (run, child) = (fake.run(0).await, fake.until_written("child").await.parse().unwrap());
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    until("the programs are gone", async || !is_running(run.pid) && !is_running(child)).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_tunnel_too() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    fake.tell("mode", "up deaf");
    let grace = ("MOORGATE_TUNNEL__STOP_GRACE_SECS", "60".to_owned());
    let mut process = start(folder.path(), &fake, &[&provider("tailscale")[..], &[grace]].concat());
    let run = fake.run(0).await;
    process.signal("TERM");
    until("it is stopping", async || process.logged().contains("stopping")).await;
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(130));
    assert!(is_running(run.pid), "it has its grace time, which the guard sees to");
    kill(run.pid);
    until("the program is gone", async || !is_running(run.pid)).await;
}

/// Failure 31: the tunnel's child is orphaned at exit.
#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_its_tunnel() {
    for signal in ["TERM", "INT"] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        fake.tell("mode", "hang child");
        let mut command = moorgate(folder.path());
        command.args(["serve", "--port", "0"]).envs(fake.env()).envs(provider("tailscale"));
        command.env("MOORGATE_TUNNEL__START_TIMEOUT_SECS", "600");
        let mut starting = Running::spawn(command.stdout(Stdio::piped()));
        let (run, child) = (fake.run(0).await, fake.until_written("child").await.parse().unwrap());
        starting.signal(signal);
        assert_eq!(starting.wait().code(), Some(0), "{signal}");
        assert_eq!(starting.line(), None, "no banner, no code");
        until_gone(&run).await;
        until("what the program began is gone", async || !is_running(child)).await;
        let database = folder.path().join("moorgate.db");
        assert_eq!(sqlite3(&database, "SELECT count(*) FROM pairing_code"), "0");
        fake.tell("mode", "up");
        start(folder.path(), &fake, &provider("tailscale")).pair().await;
    }
}

/// Failure 31: nobody notices when the tunnel's child has died.
#[tokio::test]
async fn a_guard_that_is_killed_takes_its_program_along_and_the_tunnel_is_begun_again() {
    for mode in ["up", "up deaf child"] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        fake.tell("mode", mode);
        let process = start(folder.path(), &fake, &provider("ngrok"));
        let run = fake.run(0).await;
        assert!(is_running(run.pid) && is_running(run.group));
        kill(run.group); // the guard is the first of its group
        until_gone(&run).await;
        fake.run(1).await;
        until_state(&process, "degraded").await;
    }
}
