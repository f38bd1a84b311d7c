//! Which variables count.

use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use crate::support::process::{Process, moorgate};

/// Starts `serve` without a flag; the variables must name the port.
fn start(folder: &TempDir, env: &[(&str, &str)]) -> Process {
    let mut command = moorgate(folder.path());
    command.args(["serve", "--print-json"]).envs(env.iter().copied());
    Process::spawn(command, folder.path())
}

#[tokio::test]
async fn a_key_is_set_by_its_variable() {
    let folder = TempDir::new().unwrap();
    let env = [
        ("MOORGATE_GATEWAY__HOST", "127.0.0.2"),
        ("MOORGATE_GATEWAY__PORT", "0"),
        ("MOORGATE_GATEWAY__REQUIRE_PAIRING", "false"),
        ("MOORGATE_DATABASE__PATH", "other.db"),
    ];
    let process = start(&folder, &env);
    assert_eq!((process.address.ip(), &process.code), (IpAddr::from([127, 0, 0, 2]), &None));
    assert_eq!(process.client.post("", None, "hello").await.status, 200);
    assert!(folder.path().join("other.db").exists());
}

#[tokio::test]
async fn the_names_of_the_gateway_before_are_honoured_but_weaker() {
    let folder = TempDir::new().unwrap();
    let old = [("ZEROCLAW_GATEWAY_HOST", "127.0.0.2"), ("ZEROCLAW_GATEWAY_PORT", "0")];
    let process = start(&folder, &old);
    assert_eq!(process.address.ip(), IpAddr::from([127, 0, 0, 2]));
    assert_ne!(process.address.port(), 3000);
    process.kill();

    let both = [&old[..], &[("MOORGATE_GATEWAY__HOST", "127.0.0.3")]].concat();
    assert_eq!(start(&folder, &both).address.ip(), IpAddr::from([127, 0, 0, 3]));
}

/// Failure 30: the shell's `HOST` takes over the bind address.
#[tokio::test]
async fn bare_host_and_port_are_not_read() {
    let folder = TempDir::new().unwrap();
    let process = start(&folder, &[("HOST", "0.0.0.0"), ("PORT", "1"), ("MOORGATE_GATEWAY__PORT", "0")]);
    assert_eq!(process.address.ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(process.client.get("/ready").await.status, 200);
}

#[tokio::test]
async fn a_public_host_may_be_allowed_by_either_old_name() {
    for name in
        ["ZEROCLAW_ALLOW_PUBLIC_BIND", "RANTAICLAW_ALLOW_PUBLIC_BIND", "MOORGATE_GATEWAY__ALLOW_PUBLIC_BIND"]
    {
        let folder = TempDir::new().unwrap();
        let env = [(name, "true"), ("MOORGATE_GATEWAY__HOST", "0.0.0.0"), ("MOORGATE_GATEWAY__PORT", "0")];
        assert_eq!(start(&folder, &env).address.ip(), Ipv4Addr::UNSPECIFIED, "{name}");
    }
}

/// Failure 30: `localhost` and `::1` cannot be bound.
#[tokio::test]
async fn localhost_and_both_spellings_of_ipv6_loopback_can_be_bound() {
    for host in ["localhost", "::1", "[::1]"] {
        let folder = TempDir::new().unwrap();
        let process = start(&folder, &[("MOORGATE_GATEWAY__HOST", host), ("MOORGATE_GATEWAY__PORT", "0")]);
        assert!(process.address.ip().is_loopback());
        assert_eq!(process.client.get("/ready").await.status, 200, "{host}");
    }
}
