//! Whether the tunnel's program is there and has what it needs, and whether it is up.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use super::{Cause, Finding};
use crate::{
    app::{
        part,
        readiness::{self, Readiness},
    },
    config::{Config, TunnelProvider},
    sqlite::Survey,
};

/// How long a program may take to say its version, and a gateway far away to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the tunnel that is configured.
pub(super) async fn examine(config: &Config, survey: Option<&Survey>) -> Vec<Finding> {
    let Some(tool) = part::tunnel_tool(config) else { return Vec::new() };
    let mut findings = vec![program(tool.program(), tool.version_argument()).await];
    findings.extend(token(config));
    if let Some(survey) = survey.filter(|survey| survey.server_running) {
        findings.push(reached(survey.public_url.as_deref()).await);
    }
    findings
}

async fn program(name: &str, argument: &str) -> Finding {
    let mut command = Command::new(name);
    command.arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => {
            let printed = String::from_utf8_lossy(&output.stdout);
            let version: String = printed.lines().next().unwrap_or_default().chars().take(80).collect();
            Finding::ok("tunnel", format!("{name} is there: {version}"))
        }
        Ok(Err(error)) => {
            let text = format!("{name} cannot be run: {error}");
            let fix =
                format!("install {name} where the server's PATH finds it, or set another [tunnel] provider");
            Finding::error("tunnel", Cause::Unavailable, text, fix)
        }
        Err(_) => {
            let text = format!("{name} does not say its version within {} s", PATIENCE.as_secs());
            Finding::warning("tunnel", text, format!("run it by hand: {name} {argument}"))
        }
    }
}

fn token(config: &Config) -> Option<Finding> {
    match &config.tunnel.provider {
        TunnelProvider::Cloudflare { token: None } => {
            let text = "there is no token: a quick tunnel gets another address at each start";
            let fix =
                "make a tunnel at Cloudflare and set tunnel.cloudflare.token, or leave it if that is meant";
            Some(Finding::warning("tunnel", text, fix))
        }
        TunnelProvider::Ngrok { auth_token: None, .. } => {
            let text = "there is no tunnel.ngrok.auth_token: ngrok must have its own";
            Some(Finding::warning("tunnel", text, "set it, or see that ngrok of the server's user has one"))
        }
        TunnelProvider::Custom { client_ip_header: None, .. } => {
            let text = "all clients that come through it are one: they share limits and lockouts";
            let fix = "set tunnel.custom.client_ip_header to the header that it names them in";
            Some(Finding::warning("tunnel", text, fix))
        }
        _ => None,
    }
}

async fn reached(url: Option<&str>) -> Finding {
    let Some(url) = url else {
        let fix = "see the server's log, and tunnel in /health";
        return Finding::warning("tunnel", "the running server has no public address on record", fix);
    };
    match readiness::ask_far(url, PATIENCE).await {
        Ok(Readiness::Ready | Readiness::NotReady(_)) => {
            Finding::ok("tunnel", format!("the server answers at {url}"))
        }
        Ok(Readiness::Stranger) => {
            let fix = "see where the name leads, and whether the tunnel leads to the gateway's port";
            Finding::error(
                "tunnel",
                Cause::Unavailable,
                format!("what answers at {url} is not moorgate"),
                fix,
            )
        }
        Ok(Readiness::NoAnswer(why)) => {
            let fix = "try it from another machine: this one may not reach it, though others do";
            Finding::warning("tunnel", format!("nobody answers at {url}: {why}"), fix)
        }
        Err(error) => Finding::warning("tunnel", error.to_string(), "see the certificates of this machine"),
    }
}
