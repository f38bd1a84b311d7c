//! A tunnel that does not come up: the gateway does not start, and is never open to more than it was meant for.

use tempfile::TempDir;

use super::{TOKEN, provider, until_gone};
use crate::support::{
    fake_tunnel::FakeTunnel,
    gateway::sqlite3,
    process::{Ended, moorgate, run},
};

const UNAVAILABLE: Option<i32> = Some(69);
const CONFIGURATION: Option<i32> = Some(78);

fn serve(folder: &TempDir, fake: &FakeTunnel, arguments: &[&str], env: &[(&str, String)]) -> Ended {
    let mut command = moorgate(folder.path());
    command.args(["serve", "--port", "0"]).args(arguments).envs(fake.env());
    run(command.envs(env.iter().map(|(name, value)| (name, value))))
}

/// Failure 30: a failed tunnel says "local only" and stays bound to 0.0.0.0.
#[tokio::test]
async fn a_tunnel_that_does_not_come_up_exits_69_whatever_it_does_instead() {
    for name in ["cloudflare", "tailscale", "ngrok", "custom"] {
        for (mode, host) in [("die", "0.0.0.0"), ("hang", "127.0.0.1"), ("hang deaf", "0.0.0.0")] {
            let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
            fake.tell("mode", mode);
            let mut env = provider(name);
            env.push(("MOORGATE_TUNNEL__START_TIMEOUT_SECS", if mode == "die" { "60" } else { "1" }.into()));
            env.push(("MOORGATE_TUNNEL__STOP_GRACE_SECS", "0".into()));
            let ended = serve(&folder, &fake, &["--host", host], &env);
            assert_eq!(ended.code, UNAVAILABLE, "{name} {mode}: {ended:?}");
            let said = "moorgate: the tunnel did not come up, so the gateway does not start: ";
            assert!(ended.err.contains(said), "{name} {mode}: {ended:?}");
            assert_eq!(ended.out, "", "no banner, no code");
            assert!(!ended.err.contains(TOKEN), "{ended:?}");
            if mode == "die" {
                assert!(ended.err.contains("it said: ERR it cannot log on with"), "{ended:?}");
            }
            // One that hangs may have been killed before it wrote that it runs.
            if mode == "die" || fake.runs() > 0 {
                let run = fake.run(0).await;
                until_gone(&run).await; // it was killed just now
            }
            let database = folder.path().join("moorgate.db");
            assert_eq!(sqlite3(&database, "SELECT count(*) FROM pairing_code"), "0", "no code was issued");
            assert_eq!(sqlite3(&database, "SELECT state FROM v_server_run"), "stopped");
        }
    }
}

#[test]
fn a_program_that_is_not_there_exits_69_and_says_so() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let mut command = moorgate(folder.path());
    command.args(["serve", "--port", "0"]).env("PATH", "/nowhere").env("MOORGATE_TUNNEL__PROVIDER", "ngrok");
    let ended = run(&mut command);
    assert_eq!(ended.code, UNAVAILABLE);
    assert!(ended.err.contains("cannot run ngrok: No such file or directory"), "{ended:?}");
    assert_eq!(fake.runs(), 0);
}

#[test]
fn a_tunnel_at_cloudflare_that_leads_elsewhere_is_not_up() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    fake.tell("port", "1");
    let env = [&provider("cloudflare")[..], &[("MOORGATE_TUNNEL__START_TIMEOUT_SECS", "15".into())]].concat();
    let ended = serve(&folder, &fake, &[], &env);
    assert_eq!(ended.code, UNAVAILABLE);
    assert!(
        ended.err.contains("none of its public hostnames leads to the port of this gateway"),
        "{ended:?}"
    );
}

/// Failure 30: `provider = ""` passes the public-bind guard.
#[test]
fn no_tunnel_by_any_spelling_opens_a_public_address() {
    for (name, code) in [("", CONFIGURATION), ("none", CONFIGURATION), ("Cloudflare", CONFIGURATION)] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        let env = [("MOORGATE_TUNNEL__PROVIDER", name.to_owned())];
        let ended = serve(&folder, &fake, &["--host", "0.0.0.0"], &env);
        assert_eq!(ended.code, code, "{name:?}: {ended:?}");
        assert_eq!(fake.runs(), 0);
    }
}

#[test]
fn what_a_tunnel_lacks_is_said_at_once() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let custom = ("MOORGATE_TUNNEL__PROVIDER", "custom".to_owned());
    let command = |text: &str| ("MOORGATE_TUNNEL__CUSTOM__START_COMMAND", text.to_owned());
    let pattern = ("MOORGATE_TUNNEL__CUSTOM__URL_PATTERN", "http".to_owned());
    for (env, problem) in [
        (
            vec![custom.clone(), pattern.clone()],
            "tunnel.custom.start_command must not be blank while tunnel.provider is \"custom\"",
        ),
        (
            vec![custom.clone(), command("x")],
            "tunnel.custom.health_url or tunnel.custom.url_pattern must not be blank",
        ),
        (
            vec![custom.clone(), pattern.clone(), command("x 'y")],
            "tunnel.custom.start_command has a quote or a backslash",
        ),
        (vec![("MOORGATE_TUNNEL__NGROK__DOMAIN", "a b".into())], "tunnel.ngrok.domain must be a host name"),
        (
            vec![("MOORGATE_TUNNEL__CUSTOM__CLIENT_IP_HEADER", "a b".into())],
            "tunnel.custom.client_ip_header must be the name of a header",
        ),
    ] {
        let ended = serve(&folder, &fake, &[], &env);
        assert_eq!(ended.code, CONFIGURATION, "{ended:?}");
        assert!(ended.err.contains(problem), "{problem}: {ended:?}");
    }
}
