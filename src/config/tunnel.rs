//! `[tunnel]`: a program that makes the gateway reachable from elsewhere, and is run beside it.

use std::time::Duration;

use super::reader::Reader;
use crate::domain::{secret::Secret, words};

/// The tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Whose it is.
    pub provider: TunnelProvider,
    /// How long it may take to be up.
    pub start_timeout: Duration,
    /// The pause between two looks at it.
    pub check_interval: Duration,
    /// How long its program may take to end before it is killed.
    pub stop_grace: Duration,
}

/// Whose tunnel it is, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelProvider {
    /// There is none.
    None,
    /// `cloudflared`; without a token a quick tunnel with a new address at each start.
    Cloudflare {
        /// The token of a tunnel that was made at Cloudflare.
        token: Option<Secret>,
    },
    /// `tailscale serve`, or `tailscale funnel`.
    Tailscale {
        /// Whether the whole internet may come, not only the tailnet.
        funnel: bool,
        /// The name under which it is reached; `None`: the one that tailscale prints.
        hostname: Option<String>,
    },
    /// `ngrok`.
    Ngrok {
        /// The token; `None`: the one in ngrok's own configuration.
        auth_token: Option<Secret>,
        /// The name that it asks for.
        domain: Option<String>,
    },
    /// Any other program.
    Custom {
        /// The program and its arguments, with `{host}` and `{port}` for where the gateway listens.
        command: Vec<String>,
        /// What answers with success while it is up.
        health_url: Option<String>,
        /// What the line has in it that tells the public address.
        url_pattern: Option<String>,
        /// The header that it puts a client's address into, in lower case.
        client_ip_header: Option<String>,
    },
}

impl TunnelProvider {
    /// The header in which it names its clients, in lower case, if it has one.
    #[must_use]
    pub fn client_header(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Cloudflare { .. } => Some("cf-connecting-ip"),
            Self::Tailscale { .. } | Self::Ngrok { .. } => Some("x-forwarded-for"),
            Self::Custom { client_ip_header, .. } => client_ip_header.as_deref(),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Cloudflare,
    Tailscale,
    Ngrok,
    Custom,
}

impl Tunnel {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let kinds = [
            ("none", Kind::None),
            ("cloudflare", Kind::Cloudflare),
            ("tailscale", Kind::Tailscale),
            ("ngrok", Kind::Ngrok),
            ("custom", Kind::Custom),
        ];
        let kind = r.word("tunnel.provider", &kinds);
        let cloudflare = TunnelProvider::Cloudflare {
            token: r.secret("tunnel.cloudflare.token", "tunnel.cloudflare.token_file"),
        };
        let tailscale = TunnelProvider::Tailscale {
            funnel: r.flag("tunnel.tailscale.funnel"),
            hostname: host_name(r, "tunnel.tailscale.hostname"),
        };
        let ngrok = TunnelProvider::Ngrok {
            auth_token: r.secret("tunnel.ngrok.auth_token", "tunnel.ngrok.auth_token_file"),
            domain: host_name(r, "tunnel.ngrok.domain"),
        };
        let custom = read_custom(r, kind == Kind::Custom);
        for (its, section) in [
            (Kind::Cloudflare, "tunnel.cloudflare"),
            (Kind::Tailscale, "tunnel.tailscale"),
            (Kind::Ngrok, "tunnel.ngrok"),
            (Kind::Custom, "tunnel.custom"),
        ] {
            if its != kind {
                r.warn_unused(section, "tunnel.provider names another one");
            }
        }
        let provider = match kind {
            Kind::None => TunnelProvider::None,
            Kind::Cloudflare => cloudflare,
            Kind::Tailscale => tailscale,
            Kind::Ngrok => ngrok,
            Kind::Custom => custom,
        };
        Self {
            provider,
            start_timeout: r.seconds("tunnel.start_timeout_secs", 1..=600),
            check_interval: r.seconds("tunnel.check_interval_secs", 1..=3600),
            stop_grace: r.seconds("tunnel.stop_grace_secs", 0..=60),
        }
    }
}

fn read_custom(r: &mut Reader<'_>, is_used: bool) -> TunnelProvider {
    const COMMAND: &str = "tunnel.custom.start_command";
    if is_used {
        r.needed_text(COMMAND, "tunnel.provider");
    }
    let start_command = r.private_text(COMMAND); // there may be a secret among its arguments
    let health_url =
        r.optional_text("tunnel.custom.health_url").map(|_| r.base_url("tunnel.custom.health_url"));
    let url_pattern = r.optional_text("tunnel.custom.url_pattern");
    let client_ip_header = r.text_that("tunnel.custom.client_ip_header", "the name of a header", |text| {
        text.is_empty() || http_name(text)
    });
    let command = words::split(&start_command).unwrap_or_default();
    if command.is_empty() && !start_command.trim().is_empty() {
        r.problem(COMMAND, format!("{COMMAND} has a quote or a backslash that nothing follows"));
    }
    if is_used && health_url.is_none() && url_pattern.is_none() {
        r.problem(
            "tunnel.provider",
            "tunnel.custom.health_url or tunnel.custom.url_pattern must not be blank while tunnel.provider is \"custom\": \
             else nobody can tell whether the tunnel is up"
                .to_owned(),
        );
    }
    let client_ip_header = (!client_ip_header.is_empty()).then(|| client_ip_header.to_ascii_lowercase());
    TunnelProvider::Custom { command, health_url, url_pattern, client_ip_header }
}

/// RFC 9110, section 5.6.2.
fn http_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A host name, or nothing.
fn host_name(r: &mut Reader<'_>, key: &str) -> Option<String> {
    let is_name = |text: &str| {
        text.len() <= 253
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
            && !text.starts_with(['-', '.'])
    };
    Some(r.text_that(key, "a host name such as gateway.example.com, or blank", is_name))
        .filter(|name| !name.is_empty())
}
