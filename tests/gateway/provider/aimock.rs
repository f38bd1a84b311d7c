//! The mock as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    client::{Client, Reply},
    process::Running,
    skip::skip,
};

/// The one key that the mock accepts; it refuses calls without it, and does not write them down.
pub const API_KEY: &str = "sk-of-the-mock-4711";

/// Set to `1`, it makes these tests fail where the model servers are missing.
const REQUIRED: Option<&str> = Some("MOORGATE_TEST_REQUIRE_MODEL_SERVERS");

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/provider/aimock.json");
const PROGRAM: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/.model-servers/node_modules/@copilotkit/aimock/dist/cli.js");

/// A mock on a free port; killed when dropped.
pub struct Aimock {
    url: String,
    client: Client,
    _running: Running,
}

/// A call in the journal.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// When it was answered, in milliseconds.
    pub timestamp: u64,
    pub method: String,
    pub path: String,
    pub headers: Value,
    /// What was asked, in the words of `OpenAI` whoever's words were used.
    pub body: Value,
    response: Answered,
}

#[derive(Debug, Deserialize)]
struct Answered {
    status: u16,
}

impl Aimock {
    /// Starts one; `None`, and a line on standard error, if it is not installed.
    pub fn start() -> Option<Self> {
        installed().map_err(|reason| skip(reason, REQUIRED)).ok().map(|program| Self::run(&program))
    }

    fn run(program: &Path) -> Self {
        let mut command = Command::new("node");
        command.arg(program).args(["--port", "0", "--strict", "--validate-on-load", "--fixtures", FIXTURES]);
        let running = Running::spawn(command.env("AIMOCK_API_KEYS", API_KEY).stdout(Stdio::piped()));
        let url = std::iter::from_fn(|| running.line())
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
            .expect("aimock ends without saying where it listens");
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self { url, client: Client::new(address), _running: running }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Does to every call from now on what `chaos` says: `rateLimitRate`, `dropRate` (500), `malformedRate` and
    /// `disconnectRate` are probabilities, `latencyMs` is a pause before anything is sent.
    pub async fn fail(&self, chaos: &Value) {
        self.control(Method::POST, "/chaos", chaos).await;
    }

    /// Answers again.
    pub async fn recover(&self) {
        self.control(Method::DELETE, "/chaos", &Value::Null).await;
    }

    /// Answers the next call with this status.
    pub async fn fail_once(&self, status: u16) {
        self.control(Method::POST, "/error", &json!({ "status": status, "body": { "message": "no" } })).await;
    }

    /// The calls that were answered or cut off, in their order. One whose caller hangs up before is not among them.
    pub async fn journal(&self) -> Vec<Call> {
        serde_json::from_str(&self.control(Method::GET, "/journal", &Value::Null).await.text).unwrap()
    }

    /// The statuses in the journal; that of a call that was cut off is 0.
    pub async fn statuses(&self) -> Vec<u16> {
        self.journal().await.iter().map(|call| call.response.status).collect()
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Reply {
        let request = self.client.request(method, &format!("/__aimock{path}")).bearer_auth(API_KEY);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let reply = self.client.send(request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }
}

/// The mock's program, if it and what runs it are there; else why not.
fn installed() -> Result<PathBuf, &'static str> {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        return Err("node is not installed; aimock needs it");
    }
    let program = PathBuf::from(PROGRAM);
    if !program.exists() {
        return Err("@copilotkit/aimock is not installed; scripts/model-servers.sh installs it");
    }
    Ok(program)
}
