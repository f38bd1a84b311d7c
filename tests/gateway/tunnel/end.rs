//! However the gateway ends, its tunnel ends with it.

use tempfile::TempDir;

use super::{provider, start};
use crate::support::{
    fake_tunnel::{FakeTunnel, is_running},
    raw::until,
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
        until(|| !is_running(run.pid) && !is_running(child)).await;
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
    until(|| !is_running(run.pid) && !is_running(child)).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_tunnel_too() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    fake.tell("mode", "up deaf");
    let grace = ("MOORGATE_TUNNEL__STOP_GRACE_SECS", "60".to_owned());
    let mut process = start(folder.path(), &fake, &[&provider("tailscale")[..], &[grace]].concat());
    let run = fake.run(0).await;
    process.signal("TERM");
    until(|| process.logged().contains("stopping")).await;
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(130));
    assert!(is_running(run.pid), "it has its grace time, which the guard sees to");
    std::process::Command::new("sh").args(["-c", &format!("kill -9 {}", run.pid)]).status().unwrap();
    until(|| !is_running(run.pid)).await;
}
