//! Whether a tunnel is up: what its own program says, asked where it can be asked on this machine.
//!
//! The public address is looked at too. That nobody answers there says nothing, since this machine may not reach the
//! internet, or itself from there; that somebody else answers does.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::process::Command;

use super::{output::Output, tool::Tool};
use crate::outbound::{Client, SetupError};

/// Asks about tunnels.
pub(super) struct Checker {
    local: Client,
    public: Client,
    timeout: Duration,
}

/// The body of `/api/tunnels` of ngrok.
#[derive(Deserialize)]
struct NgrokTunnels {
    tunnels: Vec<NgrokTunnel>,
}

#[derive(Deserialize)]
struct NgrokTunnel {
    public_url: String,
}

/// What `tailscale status --json` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TailscaleStatus {
    backend_state: String,
}

impl Checker {
    pub(super) fn new(timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self { local: Client::direct(timeout)?, public: Client::new(timeout)?, timeout })
    }

    /// Whether it is up; else what is missing.
    pub(super) async fn check(&self, tool: &Tool, output: &Output) -> Result<(), &'static str> {
        match tool {
            Tool::Cloudflare { .. } if output.leads_elsewhere() => {
                Err("none of its public hostnames leads to the port of this gateway")
            }
            Tool::Cloudflare { .. } => {
                let api = output.api().ok_or("it has not told where its metrics are")?;
                self.succeeds(&format!("http://{api}/ready"), "it has no connection to Cloudflare").await
            }
            Tool::Ngrok { .. } => {
                let api = output.api().ok_or("it has not told where its API is")?;
                let url = output.url().ok_or("it has not told its public address")?;
                self.ngrok_lists(&format!("http://{api}/api/tunnels"), &url).await
            }
            Tool::Tailscale { .. } => {
                output.url().ok_or("it has not told its public address")?;
                self.tailscale_runs().await
            }
            Tool::Custom { health_url: Some(url), .. } => {
                self.succeeds(url, "its health_url does not answer with success").await
            }
            Tool::Custom { health_url: None, .. } => {
                let url = output.url().ok_or("it has not told its public address")?;
                match self.is_answered_by_gateway(&url).await {
                    Some(true) => Ok(()),
                    _ => Err("the gateway does not answer behind its public address"),
                }
            }
        }
    }

    /// Whether something answers behind the public address that is no gateway, for a tool that was found up.
    pub(super) async fn is_answered_by_another(&self, tool: &Tool, url: Option<&str>) -> bool {
        match (tool, url) {
            (Tool::Custom { health_url: None, .. }, _) | (_, None) => false, // the gateway answered there just now
            (_, Some(url)) => self.is_answered_by_gateway(url).await == Some(false),
        }
    }

    async fn succeeds(&self, url: &str, otherwise: &'static str) -> Result<(), &'static str> {
        let answer = self.local.get(url).await.map_err(|_| otherwise)?;
        if answer.status().is_success() { Ok(()) } else { Err(otherwise) }
    }

    async fn ngrok_lists(&self, api: &str, url: &str) -> Result<(), &'static str> {
        const SILENT: &str = "its API does not answer";
        let body = self.local.get(api).await.map_err(|_| SILENT)?.body().await.map_err(|_| SILENT)?;
        let listed: NgrokTunnels = serde_json::from_slice(&body).map_err(|_| SILENT)?;
        if listed.tunnels.iter().any(|tunnel| tunnel.public_url.trim_end_matches('/') == url) {
            Ok(())
        } else {
            Err("its API does not list the public address any more")
        }
    }

    async fn tailscale_runs(&self) -> Result<(), &'static str> {
        const SILENT: &str = "tailscale status does not answer";
        let mut command = Command::new("tailscale");
        command.args(["status", "--json"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(self.timeout, command.output()).await;
        let printed = ended.map_err(|_| SILENT)?.map_err(|_| SILENT)?.stdout;
        let status: TailscaleStatus = serde_json::from_slice(&printed).map_err(|_| SILENT)?;
        if status.backend_state == "Running" { Ok(()) } else { Err("tailscale is not connected") }
    }

    /// Whether a gateway answers there; `None`: nobody does.
    async fn is_answered_by_gateway(&self, url: &str) -> Option<bool> {
        let answer = self.public.get(&format!("{url}/ready")).await.ok()?;
        let body = answer.body().await.ok()?;
        let status = serde_json::from_slice::<Ready>(&body).ok().map(|ready| ready.status);
        Some(matches!(status.as_deref(), Some("ready" | "not ready")))
    }
}

/// The body of our `/ready`.
#[derive(Deserialize)]
struct Ready {
    status: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::test_server::{Reaction, TestServer};

    async fn found(tool: &Tool, answers: &[&str]) -> (Result<(), &'static str>, bool, usize) {
        let server = TestServer::start(answers.iter().map(|body| Reaction::status(200, body))).await;
        let output = Output::new(tool.clone(), 3000);
        std::sync::Arc::clone(&output).read(format!("url {}\n", server.url).as_bytes()).await;
        let tool = match tool {
            Tool::Custom { command, health_url: Some(_), url_pattern } => Tool::Custom {
                command: command.clone(),
                health_url: Some(server.url.clone()),
                url_pattern: url_pattern.clone(),
            },
            tool => tool.clone(),
        };
        let checker = Checker::new(Duration::from_mins(1)).unwrap();
        let is_up = checker.check(&tool, &output).await;
        let by_another = checker.is_answered_by_another(&tool, output.url().as_deref()).await;
        (is_up, by_another, server.calls().len())
    }

    #[tokio::test]
    async fn a_custom_tunnel_is_asked_once_at_its_public_address() {
        let custom = |health_url: Option<&str>| Tool::Custom {
            command: vec!["x".into()],
            health_url: health_url.map(str::to_owned),
            url_pattern: Some("url".into()),
        };
        let (ready, other) = (r#"{"status":"ready"}"#, "<html>");
        let by_address = custom(None);
        assert_eq!(found(&by_address, &[ready, other]).await, (Ok(()), false, 1));
        assert!(found(&by_address, &[other]).await.0.is_err());
        let by_health = custom(Some("its health"));
        assert_eq!(found(&by_health, &["", ready]).await, (Ok(()), false, 2));
        assert_eq!(found(&by_health, &["", other]).await, (Ok(()), true, 2));
    }
}
