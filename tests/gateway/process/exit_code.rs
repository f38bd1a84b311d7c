//! How a start fails: the exit code (`sysexits.h`), and what it says.

use std::{fs, net::TcpListener};

use tempfile::TempDir;

use crate::support::process::{Ended, Process, moorgate, run};

const USAGE: Option<i32> = Some(64);
const UNAVAILABLE: Option<i32> = Some(69);
const DATABASE: Option<i32> = Some(74);
const CONFIGURATION: Option<i32> = Some(78);

/// Runs it on a free port; nothing is printed to standard output, since nothing starts.
fn fail(folder: &TempDir, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = moorgate(folder.path());
    let ended = run(command.args(arguments).env("MOORGATE_GATEWAY__PORT", "0").envs(env.iter().copied()));
    assert_eq!(ended.out, "");
    ended
}

#[test]
fn what_is_no_command_line_exits_64() {
    let folder = TempDir::new().unwrap();
    for arguments in
        [&["--prot", "1"][..], &["serve", "--port"], &["server"], &["token"], &["token", "create"]]
    {
        let ended = fail(&folder, arguments, &[]);
        assert_eq!(ended.code, USAGE, "{arguments:?}: {ended:?}");
        assert!(ended.err.contains("--help"), "it says where to look: {ended:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

/// Failure 36: settings accepted and never read; unknown keys ignored.
#[test]
fn every_problem_of_the_configuration_is_said_with_its_source_and_exits_78() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.toml"), "[gateway]\nprot = 3000\nrequire_pairing = \"no\"\n")
        .unwrap();
    let env = [("MOORGATE_GATEWAY__HOTS", "::1"), ("MOORGATE_PROVIDER__KIND", "oracle")];
    let ended = fail(&folder, &["serve", "--port", "many"], &env);
    assert_eq!(ended.code, CONFIGURATION);
    assert_eq!(
        ended.err,
        "moorgate: the configuration has problems:\n\
         config.toml:2: gateway.prot is not a known key; did you mean gateway.port?\n\
         config.toml:3: gateway.require_pairing must be true or false, not \"no\"\n\
         MOORGATE_GATEWAY__HOTS: gateway.hots is not a known key; did you mean MOORGATE_GATEWAY__HOST?\n\
         MOORGATE_PROVIDER__KIND: provider.kind must be \"echo\", \"openai\", \"anthropic\" or \"ollama\", not \"oracle\"\n\
         --port: gateway.port must be a whole number from 0 to 65535, not \"many\"\n"
    );
    assert!(!folder.path().join("moorgate.db").exists());
}

/// Failure 15: `paired_tokens = [""]` switches authentication off.
#[test]
fn a_blank_paired_token_exits_78() {
    let folder = TempDir::new().unwrap();
    let ended = fail(&folder, &[], &[("MOORGATE_GATEWAY__PAIRED_TOKENS", "[\"\"]")]);
    assert_eq!(ended.code, CONFIGURATION);
    let problem = "MOORGATE_GATEWAY__PAIRED_TOKENS: gateway.paired_tokens[0] must not be blank\n";
    assert_eq!(ended.err, format!("moorgate: the configuration has problems:\n{problem}"));
}

/// Failure 30: a guard against public addresses that lets some pass.
#[test]
fn a_public_host_without_permission_exits_78_and_says_three_ways_to_fix_it() {
    for host in ["0.0.0.0", "::", "[::]", "192.0.2.1"] {
        let folder = TempDir::new().unwrap();
        let ended = fail(&folder, &["serve", "--host", host], &[]);
        assert_eq!(ended.code, CONFIGURATION);
        let expected = format!(
            "moorgate: refusing to listen on {host}: other machines could reach the gateway\n\
             Fix it in one of three ways:\n  \
             1. listen on this machine only: --host 127.0.0.1\n  \
             2. put a tunnel or a reverse proxy on this machine in front of 127.0.0.1\n  \
             3. set allow_public_bind = true under [gateway], if the network may reach it\n"
        );
        assert_eq!(ended.err, expected);
        assert!(!folder.path().join("moorgate.db").exists(), "nothing was made, and no code issued");
    }
}

#[test]
fn a_port_that_is_taken_exits_69() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = fail(&folder, &["--port", &port], &[]);
    assert_eq!(ended.code, UNAVAILABLE);
    let start = format!("moorgate: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(ended.err.starts_with(&start), "{ended:?}");
    assert!(!folder.path().join("moorgate.db").exists(), "nothing was made, and no code issued");
}

#[test]
fn a_database_that_is_none_exits_74() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let letter = "Dear Sir or Madam, ".repeat(100);
    fs::write(folder.path().join("letter"), &letter).unwrap();
    for (path, start) in [
        ("folder", "moorgate: cannot open folder: is a directory"),
        (
            "letter",
            "moorgate: cannot open letter: error returned from database: (code: 26) file is not a database",
        ),
        ("letter/moorgate.db", "moorgate: cannot open "),
    ] {
        for command in [&["serve"][..], &["pair"], &["token", "create", "--label", "ci"]] {
            let ended = fail(&folder, &[command, &["--database", path]].concat(), &[]);
            assert_eq!(ended.code, DATABASE, "{ended:?}");
            assert!(ended.err.starts_with(start), "{ended:?}");
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("letter")).unwrap(), letter, "it is left as it was");
}

#[tokio::test]
async fn a_database_that_another_server_uses_exits_74() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    let ended = fail(&folder, &["serve"], &[]);
    assert_eq!(ended.code, DATABASE);
    assert_eq!(
        ended.err,
        "moorgate: moorgate.db is in use by another moorgate server (its lock file is held)\n"
    );
    process.pair().await;
}
