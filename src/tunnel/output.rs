//! What a program prints: read to the end of its life, line by line, whatever it is and however much.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{said::Said, tool::Tool};
use crate::domain::bound::without_controls;

/// The longest line that is looked at, in bytes; the rest of it is thrown away.
const LONGEST_LINE: usize = 16 * 1024;
/// Lines that are kept to say what went wrong.
const LAST_LINES: usize = 4;
/// The longest line of them, in characters.
const LONGEST_KEPT: usize = 300;

/// What a program has printed.
pub(super) struct Output {
    tool: Tool,
    port: u16,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    said: Said,
    last: VecDeque<String>,
}

impl Output {
    /// Nothing yet. `port` is where the gateway listens.
    pub(super) fn new(tool: Tool, port: u16) -> Arc<Self> {
        Arc::new(Self { tool, port, heard: Mutex::default() })
    }

    /// The public address.
    pub(super) fn url(&self) -> Option<String> {
        self.heard().said.url.clone()
    }

    /// Where the program can be asked.
    pub(super) fn api(&self) -> Option<SocketAddr> {
        self.heard().said.api
    }

    /// Whether its configuration leads no public address here.
    pub(super) fn leads_elsewhere(&self) -> bool {
        self.heard().said.leads_elsewhere
    }

    /// What it said last, to be put behind a sentence. No secret is in it.
    pub(super) fn last_words(&self) -> String {
        let mut words = String::new();
        for line in &self.heard().last {
            write!(words, "\n  it said: {line}").ok(); // a String takes all
        }
        words
    }

    /// Reads a pipe to its end.
    pub(super) async fn read(self: Arc<Self>, mut pipe: impl AsyncRead + Unpin) {
        let (mut chunk, mut line) = ([0; 4096], Vec::new());
        loop {
            // A pipe that cannot be read has ended for us.
            let length = pipe.read(&mut chunk).await.unwrap_or(0);
            if length == 0 {
                return self.hear(&line);
            }
            for part in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
                if part.ends_with(b"\n") {
                    self.hear(&line);
                    line.clear();
                }
            }
        }
    }

    fn hear(&self, line: &[u8]) {
        let line = without_credentials(&String::from_utf8_lossy(line));
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let shown: String = without_controls(&self.redacted(line)).chars().take(LONGEST_KEPT).collect();
        tracing::debug!(program = self.tool.program(), line = shown, "the tunnel's program says");
        let mut heard = self.heard();
        heard.said.hear(&self.tool, self.port, line);
        if heard.last.len() == LAST_LINES {
            heard.last.pop_front();
        }
        heard.last.push_back(shown);
    }

    fn redacted(&self, line: &str) -> String {
        match self.tool.secret() {
            Some((_, secret)) => line.replace(secret.expose(), "[redacted]"),
            None => line.to_owned(),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text without the names and passwords that stand in addresses: `https://name:password@host`.
fn without_credentials(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>\\".contains(c);
        let authority = after.split(ends).next().unwrap_or_default();
        rest = authority.rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    async fn read(tool: Tool, text: &[u8]) -> Arc<Output> {
        let output = Output::new(tool, 3000);
        Arc::clone(&output).read(text).await;
        output
    }

    #[tokio::test]
    async fn a_secret_in_the_output_is_not_kept() {
        let tool = Tool::Cloudflare { token: Some(Secret::new("eyJhIjoi")) };
        let output = read(tool, b"ERR the token eyJhIjoi is not valid, eyJhIjoi!\nbye\x1b[0m").await;
        let last = output.last_words();
        assert!(last.contains("the token [redacted] is not valid, [redacted]!\n  it said: bye"), "{last}");
    }

    #[tokio::test]
    async fn a_password_in_an_address_is_not_kept_and_the_address_is() {
        let tool = Tool::Custom {
            command: vec!["x".into()],
            health_url: None,
            url_pattern: Some("the url is".into()),
        };
        let output =
            read(tool, b"the url is https://me:p@ss@gw.example.com/a@b, ssh://x@y, a://b://c@d\n").await;
        assert_eq!(output.url().as_deref(), Some("https://gw.example.com/a"));
        let last = output.last_words();
        assert!(
            last.ends_with("it said: the url is https://gw.example.com/a@b, ssh://y, a://b://d"),
            "{last}"
        );
    }

    #[tokio::test]
    async fn endless_lines_and_bytes_that_are_no_text_are_read() {
        let tool = || Tool::Ngrok { auth_token: None, domain: None };
        let mut text = vec![b'x'; 1_000_000];
        text.extend_from_slice(b"\n\xff\xfe\r\n\nmsg=\"started tunnel\" url=https://a.ngrok.app\n");
        let output = read(tool(), &text).await;
        assert_eq!(output.url().as_deref(), Some("https://a.ngrok.app"));
        assert!(output.last_words().len() < 2000);
    }
}
