//! Each tunnel comes up: where it is reached, what it was given, and that nothing secret shows.

use tempfile::TempDir;

use super::{TOKEN, kill, provider, start, state, until_gone, until_state};
use crate::support::{
    fake_tunnel::{FakeTunnel, command_lines, is_running},
    gateway::sqlite3,
    process::{Process, free_port, moorgate, run},
    wait::{until, until_query, until_some},
};

const PUBLIC_URL: &str = "SELECT public_url FROM v_server_run";

/// Waits until the tunnel's address is on record.
async fn on_record(process: &Process) -> String {
    let look = async || Some(sqlite3(&process.database, PUBLIC_URL)).filter(|url| !url.is_empty());
    until_some("the public address is on record", look).await
}

#[tokio::test]
async fn each_tunnel_comes_up_is_reached_where_it_says_and_ends_with_the_gateway() {
    for name in ["cloudflare", "tailscale", "ngrok", "custom"] {
        let (folder, fake, port) = (TempDir::new().unwrap(), FakeTunnel::new(), free_port());
        fake.tell("port", &port.to_string());
        let mut env = provider(name);
        env.push(("MOORGATE_GATEWAY__PORT", port.to_string()));
        let mut command = moorgate(folder.path());
        command
            .args(["serve", "--print-json"])
            .envs(fake.env())
            .envs(env.iter().map(|(key, value)| (key, value)));
        command.env("MOORGATE_OBSERVABILITY__LOG_LEVEL", "debug");
        let mut process = Process::spawn(command, folder.path());

        assert_eq!(state(&process).await, "ok", "{name}");
        assert_eq!(process.address.port(), port, "the banner for programs names the gateway itself");
        let run = fake.run(0).await;
        let expected = match name {
            "cloudflare" => "https://gateway.example.com".to_owned(),
            "tailscale" => "https://box.tail1234.ts.net".to_owned(),
            _ => format!("http://127.0.0.1:{}", run.edge),
        };
        assert_eq!(on_record(&process).await, expected, "{name}");
        let own = format!("127.0.0.1:{port}");
        match name {
            "cloudflare" => assert_eq!(run.environment["TUNNEL_TOKEN"], TOKEN),
            "tailscale" => assert_eq!(run.arguments, ["serve", &format!("http://{own}")]),
            "ngrok" => {
                assert_eq!(run.environment["NGROK_AUTHTOKEN"], TOKEN);
                assert_eq!(run.arguments[..2], ["http", &format!("http://{own}")]);
            }
            _ => assert_eq!(run.arguments, [format!("to {own}"), own]),
        }
        let given = run.environment.as_object().unwrap();
        assert!(
            given.keys().all(|key| !key.starts_with("MOORGATE_")),
            "its own settings are nobody's: {given:?}"
        );
        let lines = command_lines(run.group);
        assert_eq!(lines.len(), 2, "a guard and the program: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains(TOKEN)), "{lines:?}");
        assert_ne!(run.group, process.id(), "they are a group of their own");

        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{name}");
        until_gone(&run).await;
        assert_eq!(sqlite3(&process.database, PUBLIC_URL), "");
        assert!(!process.logged().contains(TOKEN), "{name}");
    }
}

#[test]
fn the_banner_for_people_names_the_public_address() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let mut command = moorgate(folder.path());
    command.args(["serve", "--port", "0"]).envs(fake.env()).env("MOORGATE_TUNNEL__PROVIDER", "tailscale");
    command.env("MOORGATE_TUNNEL__TAILSCALE__FUNNEL", "true");
    command.env("MOORGATE_TUNNEL__TAILSCALE__HOSTNAME", "gw.example.com");
    let running = crate::process::spawn(&mut command);
    let (before, _) = crate::process::lines_before(&running, "X-Pairing-Code");
    assert_eq!(before[1], "  Tunnel:   https://gw.example.com");
}

#[tokio::test]
async fn tunnels_of_other_kinds_come_up() {
    // A quick tunnel, whose address nobody can look up here.
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let process = start(folder.path(), &fake, &[("MOORGATE_TUNNEL__PROVIDER", "cloudflare".into())]);
    assert_eq!(on_record(&process).await, "https://calm-river-blue.trycloudflare.com");
    assert_eq!(fake.run(0).await.environment.get("TUNNEL_TOKEN"), None);

    // One that may come from the whole internet.
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let funnel = ("MOORGATE_TUNNEL__TAILSCALE__FUNNEL", "true".into());
    let _process = start(folder.path(), &fake, &[&provider("tailscale")[..], &[funnel]].concat());
    assert_eq!(fake.run(0).await.arguments[0], "funnel");

    // A name that is asked for.
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let domain = ("MOORGATE_TUNNEL__NGROK__DOMAIN", "x.ngrok.app".into());
    let _process = start(folder.path(), &fake, &[&provider("ngrok")[..], &[domain]].concat());
    assert_eq!(fake.run(0).await.arguments.last().unwrap(), "--url=https://x.ngrok.app");

    // One that is asked how it is, and does not tell where it is reached.
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let edge = free_port();
    fake.tell("edge", &edge.to_string());
    let env = [
        ("MOORGATE_TUNNEL__PROVIDER", "custom".to_owned()),
        ("MOORGATE_TUNNEL__CUSTOM__START_COMMAND", "own-tunnel {host}:{port}".into()),
        ("MOORGATE_TUNNEL__CUSTOM__HEALTH_URL", format!("http://127.0.0.1:{edge}/up")),
    ];
    let process = start(folder.path(), &fake, &env);
    assert_eq!(state(&process).await, "ok");
    assert_eq!(sqlite3(&process.database, PUBLIC_URL), "");
}

#[tokio::test]
async fn secrets_may_be_in_files() {
    for (name, key, variable) in [
        ("cloudflare", "MOORGATE_TUNNEL__CLOUDFLARE__TOKEN_FILE", "TUNNEL_TOKEN"),
        ("ngrok", "MOORGATE_TUNNEL__NGROK__AUTH_TOKEN_FILE", "NGROK_AUTHTOKEN"),
    ] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        fake.tell("mode", "hang");
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mut command = moorgate(folder.path());
        command.args(["serve", "--port", "0"]).envs(fake.env()).env("MOORGATE_TUNNEL__PROVIDER", name);
        let _running = crate::process::spawn(command.env(key, "token"));
        assert_eq!(fake.run(0).await.environment[variable], TOKEN);
    }
}

#[tokio::test]
async fn doctor_tells_whether_the_program_is_there_and_the_tunnel_up() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let process = start(folder.path(), &fake, &provider("ngrok"));
    let url = on_record(&process).await;
    let doctor = |path: &str| {
        let mut command = moorgate(folder.path());
        command.args(["doctor", "--json"]).envs(fake.env()).env("PATH", path);
        let env = provider("ngrok");
        run(command.envs(env.iter().map(|(key, value)| (key, value)))).out
    };
    let found = doctor(fake.env()[0].1);
    assert!(found.contains("ngrok is there: ngrok version 9.9.9"), "{found}");
    assert!(found.contains(&format!("the server answers at {url}")), "{found}");
    assert!(!found.contains(TOKEN));
    let found = doctor("/nowhere");
    assert!(found.contains("ngrok cannot be run: No such file or directory"), "{found}");
}

/// Failure 31: the tunnel's child dies at its next log line because nobody reads its pipe.
#[tokio::test]
async fn what_the_program_prints_is_read_as_long_as_it_lives() {
    for name in ["ngrok", "custom"] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        fake.tell("mode", "up talk");
        let process = start(folder.path(), &fake, &provider(name));
        fake.until_written("talked").await;
        let run = fake.run(0).await;
        assert!(is_running(run.pid));
        assert_eq!(state(&process).await, "ok");
        assert_eq!(fake.runs(), 1);
    }
}

/// Failure 31: nobody notices when the tunnel's child has died.
#[tokio::test]
async fn a_program_that_dies_is_noticed_shown_and_run_again() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let process = start(folder.path(), &fake, &provider("ngrok"));
    let first = fake.run(0).await;
    fake.tell("mode", "hang");
    fake.tell("leave", "now");
    until_state(&process, "error").await;
    until_query(&process.database, PUBLIC_URL, "").await;
    let hanging = fake.run(1).await;
    assert!(!is_running(first.pid));
    assert_eq!(process.client.get("/ready").await.status, 200, "those who come another way are served");
    fake.tell("mode", "up");
    kill(hanging.pid);
    let third = fake.run(2).await;
    until_state(&process, "degraded").await;
    assert_eq!(on_record(&process).await, format!("http://127.0.0.1:{}", third.edge));
    let metrics = process.client.get("/metrics").await.text;
    assert!(metrics.contains("zeroclaw_component_restarts_total{component=\"tunnel\"} 2"), "{metrics}");
}

/// Failure 31: a tunnel that runs but does not work is never looked at.
#[tokio::test]
async fn a_tunnel_that_is_down_while_its_program_runs_is_begun_again() {
    for name in ["cloudflare", "tailscale", "ngrok", "custom"] {
        let (folder, fake, port) = (TempDir::new().unwrap(), FakeTunnel::new(), free_port());
        fake.tell("port", &port.to_string());
        let mut env = provider(name);
        env.push(("MOORGATE_TUNNEL__CHECK_INTERVAL_SECS", "1".into()));
        env.push(("MOORGATE_GATEWAY__PORT", port.to_string()));
        if name == "custom" {
            let edge = free_port();
            fake.tell("edge", &edge.to_string());
            env.push(("MOORGATE_TUNNEL__CUSTOM__HEALTH_URL", format!("http://127.0.0.1:{edge}/up")));
        }
        let mut command = moorgate(folder.path());
        command
            .args(["serve", "--print-json"])
            .envs(fake.env())
            .envs(env.iter().map(|(key, value)| (key, value)));
        let process = Process::spawn(command, folder.path());
        let first = fake.run(0).await;
        fake.tell("down", "now");
        until("the tunnel is seen to be down", async || state(&process).await != "ok").await;
        until("the first program is gone", async || !is_running(first.pid)).await;
        fake.untell("down");
        fake.run(1).await;
        until_state(&process, "degraded").await;
    }
}
