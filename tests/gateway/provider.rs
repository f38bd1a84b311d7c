//! Models behind `aimock`, a mock of the vendors' servers that others wrote: it reads each vendor's requests and writes its
//! responses by its own lights, keeps a journal of the calls, and fails on demand.
//!
//! `scripts/model-servers.sh` installs it. Where it is not, each of these tests says so and passes, or fails if
//! `MOORGATE_TEST_REQUIRE_MODEL_SERVERS` is `1`.

mod aimock;
mod answer;
mod failure;
mod once;
mod usage;

use std::fs;

use tempfile::TempDir;

use crate::support::{client::Reply, process::Process};
use aimock::{API_KEY, Aimock};

const FAILED: &str = r#"{"error":"LLM request failed"}"#;
/// The fixture's answer to "hello", by the model that the fixture names.
const ANSWER: &str = r#"{"response":"Good day.","model":"model-1-0613"}"#;

/// A kind of provider, its path below the mock's address, and the model that the mock says has answered.
struct Vendor {
    kind: &'static str,
    base: &'static str,
    model: &'static str,
}

const OPENAI: Vendor = Vendor { kind: "openai", base: "/v1", model: "model-1-0613" };
const ANTHROPIC: Vendor = Vendor { kind: "anthropic", base: "", model: "model-1-0613" };
/// The mock has Ollama answer as the model that was asked, whatever the fixture names.
const OLLAMA: Vendor = Vendor { kind: "ollama", base: "", model: "model-1" };
const VENDORS: [Vendor; 3] = [OPENAI, ANTHROPIC, OLLAMA];

impl Vendor {
    fn base_url(&self, mock: &Aimock) -> String {
        format!("{}{}", mock.url(), self.base)
    }

    fn answer(&self) -> String {
        format!(r#"{{"response":"Good day.","model":"{}"}}"#, self.model)
    }
}

/// The real program, which asks a mock, and a paired client's token.
struct Asking {
    process: Process,
    token: String,
    _folder: TempDir,
}

impl Asking {
    /// Asks each provider once for a message, admits any number of messages, and logs all there is to log, unless `more`
    /// says otherwise.
    async fn start(vendor: &Vendor, mock: &Aimock, more: &[(&str, &str)]) -> Self {
        Self::start_with_file(vendor, mock, more, "").await
    }

    /// The same with a fallback behind it.
    async fn start_with_fallback(
        (vendor, mock): (&Vendor, &Aimock),
        (fallback, other): (&Vendor, &Aimock),
        more: &[(&str, &str)],
    ) -> Self {
        let (kind, base_url) = (fallback.kind, fallback.base_url(other));
        let file = format!(
            "[[provider.fallback]]\nkind = '{kind}'\nmodel = 'model-2'\nbase_url = '{base_url}'\napi_key = '{API_KEY}'\n"
        );
        Self::start_with_file(vendor, mock, more, &file).await
    }

    async fn start_with_file(vendor: &Vendor, mock: &Aimock, more: &[(&str, &str)], file: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("config.toml"), file).unwrap();
        let base_url = vendor.base_url(mock);
        let mut env = vec![
            ("MOORGATE_OBSERVABILITY__LOG_LEVEL", "trace"),
            ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
            ("MOORGATE_PROVIDER__KIND", vendor.kind),
            ("MOORGATE_PROVIDER__MODEL", "model-1"),
            ("MOORGATE_PROVIDER__BASE_URL", base_url.as_str()),
            ("MOORGATE_PROVIDER__API_KEY", API_KEY),
            ("MOORGATE_PROVIDER__MAX_RETRIES", "0"),
        ];
        env.extend(more);
        let process = Process::start(folder.path(), &env);
        let token = process.pair().await;
        Self { process, token, _folder: folder }
    }

    /// Says hello.
    async fn hello(&self, key: &str) -> Reply {
        self.process.client.post(&self.token, Some(key), "hello").await
    }

    /// The value of one series of `/metrics`, by its name and labels as they are shown there; 0 if it is not shown.
    async fn metric(&self, series: &str) -> u64 {
        let text = self.process.client.get("/metrics").await.text;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How many calls of a kind of provider had this outcome.
    async fn attempts(&self, kind: &str, outcome: &str) -> u64 {
        let labels = format!(r#"outcome="{outcome}",provider="{kind}""#);
        self.metric(&format!("zeroclaw_llm_attempts_total{{{labels}}}")).await
    }

    /// Fails unless the log has this in it, and not the key of the model's server.
    #[track_caller]
    fn assert_logged(&self, text: &str) {
        let logged = self.process.logged();
        assert!(logged.contains(text) && !logged.contains(API_KEY), "{logged}");
    }
}
