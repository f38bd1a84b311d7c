//! A blank token, which must open nothing.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use moorgate::config::{Inputs, load};
use tempfile::TempDir;

use crate::support::{gateway::Gateway, process::moorgate};

use super::{UNAUTHORIZED, post_with, sha256};

/// What is wrong with a configuration file that says so about its tokens.
fn problem(paired_tokens: &str) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.toml"), format!("[gateway]\npaired_tokens = {paired_tokens}\n"))
        .unwrap();
    load(&Inputs { cwd: folder.path().into(), ..Inputs::default() }).unwrap_err().to_string()
}

/// Failure 15: `paired_tokens = [""]` switched authentication off.
#[test]
fn a_blank_entry_among_the_paired_tokens_is_refused() {
    for (tokens, index) in
        [(r#"[""]"#, 0), (r#"["  \t"]"#, 0), (r#"["zc_a", ""]"#, 1), (r#"["", "zc_a"]"#, 0)]
    {
        let expected = format!("config.toml:2: gateway.paired_tokens[{index}] must not be blank");
        assert_eq!(problem(tokens), expected);
    }
}

/// What it says on standard error, and how it ends, if it does not serve.
fn serve_with_tokens(paired_tokens: &str) -> (String, Option<i32>) {
    let folder = TempDir::new().unwrap();
    let mut command = moorgate(folder.path());
    command.args(["serve", "--port", "0"]).env("MOORGATE_GATEWAY__PAIRED_TOKENS", paired_tokens);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut banner = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut banner).unwrap();
    if !banner.is_empty() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(banner, "", "it serves");
    assert!(!folder.path().join("moorgate.db").exists());
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// Failure 15: `paired_tokens = [""]` switched authentication off.
#[test]
fn a_gateway_with_a_blank_paired_token_does_not_start() {
    for tokens in [r#"[""]"#, ",", "zc_a,"] {
        let (text, code) = serve_with_tokens(tokens);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("MOORGATE_GATEWAY__PAIRED_TOKENS: gateway.paired_tokens["), "{text}");
    }
}

/// Failure 15: an older gateway's blank token may have reached its list as a hash.
#[tokio::test]
async fn a_blank_token_opens_nothing_even_if_its_hash_is_on_record() {
    let gateway = Gateway::start_with(&[("gateway.paired_tokens", &sha256(""))]).await;
    for value in ["", "Bearer", "Bearer ", "Bearer  \t "] {
        let reply = post_with(&gateway, value).await;
        assert_eq!((reply.status, reply.text.as_str()), (401, UNAUTHORIZED), "{value:?}");
    }
}

/// Failure 15: a gateway that nobody has paired with let everybody in.
#[tokio::test]
async fn an_empty_list_of_tokens_lets_nobody_in() {
    let gateway = Gateway::start_with(&[("gateway.paired_tokens", "[]")]).await;
    assert_eq!(gateway.client.post("", None, "hello").await.status, 401);
    assert_eq!(gateway.client.post("zc_any", None, "hello").await.status, 401);
    assert_eq!(gateway.client.get("/health").await.json()["paired"], false);
}
