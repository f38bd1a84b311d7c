//! The programs that make tunnels: how each is called, and what it is told apart from its arguments.

use std::net::SocketAddr;

use crate::domain::secret::Secret;

/// Whose tunnel it is.
#[derive(Debug, Clone)]
pub enum Tool {
    /// `cloudflared`: a tunnel made at Cloudflare, or without a token a quick tunnel.
    Cloudflare {
        /// The tunnel's token.
        token: Option<Secret>,
    },
    /// `tailscale`.
    Tailscale {
        /// Whether the whole internet may come.
        funnel: bool,
        /// The name under which it is reached, if it is not the one that is printed.
        hostname: Option<String>,
    },
    /// `ngrok`.
    Ngrok {
        /// The account's token, if it is not in ngrok's configuration.
        auth_token: Option<Secret>,
        /// The name to ask for.
        domain: Option<String>,
    },
    /// Any other program.
    Custom {
        /// The program and its arguments, with `{host}` and `{port}`.
        command: Vec<String>,
        /// What answers with success while it is up.
        health_url: Option<String>,
        /// What the line has in it that tells the public address.
        url_pattern: Option<String>,
    },
}

impl Tool {
    /// The program, as the `PATH` knows it.
    #[must_use]
    pub fn program(&self) -> &str {
        match self {
            Self::Cloudflare { .. } => "cloudflared",
            Self::Tailscale { .. } => "tailscale",
            Self::Ngrok { .. } => "ngrok",
            Self::Custom { command, .. } => command.first().map_or("", String::as_str),
        }
    }

    /// Its arguments; no secret is among them. `target` is where the gateway answers.
    pub(super) fn arguments(&self, target: SocketAddr) -> Vec<String> {
        let url = format!("http://{target}");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self {
            // The port of its metrics is any free one, which it prints.
            Self::Cloudflare { token: Some(_) } => {
                words(&["tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "run"])
            }
            Self::Cloudflare { token: None } => {
                words(&["tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "--url", &url])
            }
            Self::Tailscale { funnel, .. } => words(&[if *funnel { "funnel" } else { "serve" }, &url]),
            Self::Ngrok { domain, .. } => {
                let mut arguments = words(&["http", &url, "--log", "stdout", "--log-format", "logfmt"]);
                arguments.extend(domain.iter().map(|domain| format!("--url=https://{domain}")));
                arguments
            }
            Self::Custom { command, .. } => {
                let (host, port) = (target.ip().to_string(), target.port().to_string());
                let fill = |word: &String| word.replace("{host}", &host).replace("{port}", &port);
                command.iter().skip(1).map(fill).collect()
            }
        }
    }

    /// The variable of its environment with its secret.
    pub(super) fn secret(&self) -> Option<(&'static str, &Secret)> {
        match self {
            Self::Cloudflare { token } => Some(("TUNNEL_TOKEN", token.as_ref()?)),
            Self::Ngrok { auth_token, .. } => Some(("NGROK_AUTHTOKEN", auth_token.as_ref()?)),
            Self::Tailscale { .. } | Self::Custom { .. } => None,
        }
    }

    /// The arguments that make it print its version.
    #[must_use]
    pub fn version_argument(&self) -> &'static str {
        if matches!(self, Self::Cloudflare { .. }) { "--version" } else { "version" }
    }

    /// Whether it tells its public address.
    pub(super) fn tells_address(&self) -> bool {
        match self {
            Self::Cloudflare { .. } | Self::Tailscale { .. } | Self::Ngrok { .. } => true,
            Self::Custom { url_pattern, .. } => url_pattern.is_some(),
        }
    }

    /// Whether it may work without telling its address: a tunnel made at Cloudflare may be configured on this machine.
    pub(super) fn may_hide_address(&self) -> bool {
        matches!(self, Self::Cloudflare { token: Some(_) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_among_the_arguments() {
        let secret = || Some(Secret::new("s3cret"));
        let target = "127.0.0.1:3000".parse().unwrap();
        for (tool, variable, called) in [
            (
                Tool::Cloudflare { token: secret() },
                Some("TUNNEL_TOKEN"),
                "tunnel --no-autoupdate --metrics 127.0.0.1:0 run",
            ),
            (
                Tool::Cloudflare { token: None },
                None,
                "tunnel --no-autoupdate --metrics 127.0.0.1:0 --url http://127.0.0.1:3000",
            ),
            (Tool::Tailscale { funnel: false, hostname: None }, None, "serve http://127.0.0.1:3000"),
            (Tool::Tailscale { funnel: true, hostname: None }, None, "funnel http://127.0.0.1:3000"),
            (
                Tool::Ngrok { auth_token: secret(), domain: Some("x.ngrok.app".into()) },
                Some("NGROK_AUTHTOKEN"),
                "http http://127.0.0.1:3000 --log stdout --log-format logfmt --url=https://x.ngrok.app",
            ),
            (
                Tool::Custom {
                    command: ["ssh", "-R", "80:{host}:{port}"].map(String::from).into(),
                    health_url: None,
                    url_pattern: None,
                },
                None,
                "-R 80:127.0.0.1:3000",
            ),
        ] {
            assert_eq!(tool.arguments(target).join(" "), called);
            assert_eq!(tool.secret().map(|(name, _)| name), variable);
            assert!(!format!("{tool:?}").contains("s3cret"));
        }
    }
}
