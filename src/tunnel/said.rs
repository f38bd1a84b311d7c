//! What the programs say that matters: their public address, and where they can be asked how they are doing. The formats
//! are those that `cloudflared`, `tailscale` and `ngrok` print, as their documentation and users show them.

use std::net::SocketAddr;

use serde::Deserialize;

use super::tool::Tool;

/// What a program has said so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Its public address.
    pub(super) url: Option<String>,
    /// Where it can be asked on this machine.
    pub(super) api: Option<SocketAddr>,
    /// Its configuration leads no public address to this gateway.
    pub(super) leads_elsewhere: bool,
    /// `tailscale`: the next address is its own.
    announced: bool,
}

impl Said {
    /// Takes in a line; `port` is where the gateway listens.
    pub(super) fn hear(&mut self, tool: &Tool, port: u16, line: &str) {
        match tool {
            Tool::Cloudflare { token } => self.hear_cloudflared(token.is_some(), port, line),
            Tool::Tailscale { hostname, .. } => self.hear_tailscale(hostname.as_deref(), line),
            Tool::Ngrok { .. } => self.hear_ngrok(line),
            Tool::Custom { url_pattern, .. } => {
                if url_pattern.as_ref().is_some_and(|pattern| line.contains(pattern.as_str())) {
                    self.url = address_in(line).or(self.url.take());
                }
            }
        }
    }

    /// ```text
    /// INF |  https://some-random-words.trycloudflare.com  |
    /// INF Starting metrics server on 127.0.0.1:40095/metrics
    /// INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"x.example.com\",\"service\":\"http://localhost:3000\"},…
    /// ```
    fn hear_cloudflared(&mut self, is_named: bool, port: u16, line: &str) {
        if let Some((_, rest)) = line.split_once("Starting metrics server on ") {
            self.api = local(rest.split(['/', ' ']).next().unwrap_or_default()).or(self.api);
        } else if let Some((_, rest)) = line.split_once("Updated to new configuration config=") {
            if let Some(configuration) = Configuration::parse(rest) {
                self.url = configuration.hostname(port).map(|name| format!("https://{name}"));
                self.leads_elsewhere = self.url.is_none();
            }
        } else if !is_named && let Some(url) = address_in(line) {
            let host = url.strip_prefix("https://").unwrap_or_default();
            // Not its API, whose address is in some errors.
            if host.ends_with(".trycloudflare.com") && host != "api.trycloudflare.com" {
                self.url = Some(url);
            }
        }
    }

    /// ```text
    /// Available within your tailnet:          (or: Available on the internet:)
    ///
    /// https://machine.tailnet.ts.net/
    /// |-- proxy http://127.0.0.1:3000
    /// ```
    fn hear_tailscale(&mut self, hostname: Option<&str>, line: &str) {
        self.announced |= line.starts_with("Available ");
        if self.announced && line.trim_start().starts_with("https://") {
            self.announced = false;
            let own = hostname.map(|name| format!("https://{name}"));
            self.url = own.or_else(|| address_in(line)).or(self.url.take());
        }
    }

    /// ```text
    /// t=… lvl=info msg="starting web service" obj=web addr=127.0.0.1:4040 allow_hosts=[]
    /// t=… lvl=info msg="started tunnel" obj=tunnels name=command_line addr=http://localhost:3000 url=https://x.ngrok-free.app
    /// ```
    fn hear_ngrok(&mut self, line: &str) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}="))?;
            rest.split(' ').next().map(|value| value.trim_matches('"'))
        };
        if line.contains("msg=\"starting web service\"") {
            self.api = field("addr").and_then(local).or(self.api);
        } else if line.contains("msg=\"started tunnel\"") {
            self.url = field("url").and_then(address_in).or(self.url.take());
        }
    }
}

/// An address of this machine.
fn local(text: &str) -> Option<SocketAddr> {
    text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback())
}

/// The first http or https address in a text, without a slash at its end.
fn address_in(text: &str) -> Option<String> {
    let start = text.find("https://").into_iter().chain(text.find("http://")).min()?;
    let rest = &text[start..];
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    let url = rest.split(|c| !is_part(c)).next()?.trim_end_matches(['/', '.', ':']);
    let host = url.split_once("://")?.1;
    (host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')).then(|| url.to_owned())
}

/// What a tunnel made at Cloudflare is told to do.
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    ingress: Vec<Ingress>,
}

#[derive(Deserialize)]
struct Ingress {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    service: String,
}

impl Configuration {
    /// The JSON text in quotes, or as it is, and whatever follows.
    fn parse(text: &str) -> Option<Self> {
        let quoted = serde_json::Deserializer::from_str(text).into_iter::<String>().next();
        match quoted {
            Some(Ok(json)) => serde_json::from_str(&json).ok(),
            _ => serde_json::Deserializer::from_str(text).into_iter().next()?.ok(),
        }
    }

    /// The name under which this port of this machine is reached.
    fn hostname(&self, port: u16) -> Option<&str> {
        let leads_here = |ingress: &&Ingress| {
            let address = ingress.service.strip_prefix("http://").unwrap_or_default();
            address.trim_end_matches('/').rsplit_once(':').is_some_and(|(_, its)| its == port.to_string())
        };
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        self.ingress.iter().find(leads_here).map(|ingress| ingress.hostname.as_str()).filter(is_name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::secret::Secret;

    fn heard(tool: &Tool, lines: &str) -> Said {
        let mut said = Said::default();
        lines.lines().for_each(|line| said.hear(tool, 3000, line));
        said
    }

    fn url_and_api(said: &Said) -> (Option<&str>, Option<String>) {
        (said.url.as_deref(), said.api.map(|api| api.to_string()))
    }

    const QUICK: &str = "\
2026-09-20T10:30:15Z INF Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare account, is a quick way to experiment and try it out. (https://www.cloudflare.com/website-terms/)
2026-09-20T10:30:16Z INF Requesting new quick Tunnel on trycloudflare.com...
2026-09-20T10:30:18Z INF +--------------------------------------------------------------------------------------------+
2026-09-20T10:30:18Z INF |  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |
2026-09-20T10:30:18Z INF |  https://calm-river-blue.trycloudflare.com                                                 |
2026-09-20T10:30:18Z INF +--------------------------------------------------------------------------------------------+
2026-09-20T10:30:18Z INF Starting metrics server on 127.0.0.1:40095/metrics
2026-09-20T10:30:18Z INF Registered tunnel connection connIndex=0 connection=645e1fe2 event=0 ip=198.41.200.13 location=fra03 protocol=quic
";

    const NAMED: &str = r#"2026-09-27T19:40:10Z INF Starting tunnel tunnelID=5e043e7b-4f2c-41bb-b942-24c692e18d3a
2026-09-27T19:40:10Z INF Starting metrics server on 127.0.0.1:44433/metrics
2026-09-27T19:40:11Z INF Registered tunnel connection connIndex=0 connection=645e1fe2 event=0 ip=198.41.200.13 location=fra03 protocol=quic
2026-09-27T19:40:11Z INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"ssh.example.com\",\"service\":\"ssh://localhost:22\"},{\"hostname\":\"gateway.example.com\",\"originRequest\":{},\"service\":\"http://localhost:3000\"},{\"service\":\"http_status:404\"}],\"warp-routing\":{\"enabled\":false}}" version=13
"#;

    #[test]
    fn cloudflared_tells_its_address_and_its_metrics() {
        let quick = Tool::Cloudflare { token: None };
        let named = Tool::Cloudflare { token: Some(Secret::new("t")) };
        let expected = (Some("https://calm-river-blue.trycloudflare.com"), Some("127.0.0.1:40095".into()));
        assert_eq!(url_and_api(&heard(&quick, QUICK)), expected);
        let expected = (Some("https://gateway.example.com"), Some("127.0.0.1:44433".into()));
        assert_eq!(url_and_api(&heard(&named, NAMED)), expected);
        let elsewhere = heard(&named, &NAMED.replace(":3000", ":8080"));
        assert_eq!((elsewhere.url, elsewhere.leads_elsewhere), (None, true));
    }

    #[test]
    fn an_address_in_an_error_is_not_the_tunnels() {
        let quick = Tool::Cloudflare { token: None };
        let error = r#"ERR Error unmarshaling QuickTunnel response error="Post \"https://api.trycloudflare.com/tunnel\": EOF""#;
        let docs = "INF see https://developers.cloudflare.com/cloudflare-one/connections";
        assert_eq!(heard(&quick, &format!("{error}\n{docs}")).url, None);
        let tailscale = Tool::Tailscale { funnel: true, hostname: None };
        let asks = "Funnel is not enabled on your tailnet.\nTo enable, visit:\n\n         https://login.tailscale.com/f/funnel?node=n1\n";
        assert_eq!(heard(&tailscale, asks).url, None);
    }

    #[test]
    fn tailscale_tells_its_address() {
        for available in ["Available within your tailnet:", "Available on the internet:"] {
            let lines = format!(
                "{available}\n\nhttps://box.tail1234.ts.net/\n|-- proxy http://127.0.0.1:3000\n\nPress Ctrl+C to exit.\n"
            );
            let of = |hostname| heard(&Tool::Tailscale { funnel: true, hostname }, &lines).url;
            assert_eq!(of(None).as_deref(), Some("https://box.tail1234.ts.net"));
            assert_eq!(of(Some("gw.example.com".into())).as_deref(), Some("https://gw.example.com"));
        }
    }

    #[test]
    fn ngrok_tells_its_address_and_its_api() {
        let ngrok = Tool::Ngrok { auth_token: None, domain: None };
        let lines = "\
t=2026-08-10T07:20:40+0000 lvl=info msg=\"no configuration paths supplied\"
t=2026-08-10T07:20:40+0000 lvl=info msg=\"starting web service\" obj=web addr=127.0.0.1:4040 allow_hosts=[]
t=2026-08-10T07:20:40+0000 lvl=info msg=\"client session established\" obj=tunnels.session
t=2026-08-10T07:20:40+0000 lvl=info msg=\"tunnel session started\" obj=tunnels.session
t=2026-08-10T07:20:40+0000 lvl=info msg=\"started tunnel\" obj=tunnels name=command_line addr=http://localhost:3000 url=https://zookeeper.ngrok-free.dev
";
        let expected = (Some("https://zookeeper.ngrok-free.dev"), Some("127.0.0.1:4040".into()));
        assert_eq!(url_and_api(&heard(&ngrok, lines)), expected);
        let elsewhere = lines.replace("127.0.0.1:4040", "192.0.2.1:4040");
        assert_eq!(heard(&ngrok, &elsewhere).api, None, "nobody elsewhere is asked");
    }

    #[test]
    fn another_program_tells_its_address_in_the_line_with_the_pattern() {
        let custom = |pattern: Option<&str>| Tool::Custom {
            command: vec!["x".into()],
            health_url: None,
            url_pattern: pattern.map(str::to_owned),
        };
        let lines = "see https://docs.example.com\nyour url is: https://abc.example.com:8443/gw, enjoy\n";
        let of = |pattern| heard(&custom(pattern), lines).url;
        assert_eq!(of(Some("your url is")).as_deref(), Some("https://abc.example.com:8443/gw"));
        assert_eq!((of(Some("nowhere")), of(None)), (None, None));
    }

    proptest! {
        /// Whatever a program prints, nothing panics, and an address is plain.
        #[test]
        fn any_line_is_heard(lines in prop::collection::vec(r#"(Available |https?://|msg="started tunnel"| url=|Updated to new configuration config=|"|\{|\}|\PC){0,12}"#, 0..8)) {
            for tool in [
                Tool::Cloudflare { token: None },
                Tool::Cloudflare { token: Some(Secret::new("t")) },
                Tool::Tailscale { funnel: false, hostname: None },
                Tool::Ngrok { auth_token: None, domain: None },
                Tool::Custom { command: Vec::new(), health_url: None, url_pattern: Some("http".into()) },
            ] {
                if let Some(url) = heard(&tool, &lines.join("\n")).url {
                    prop_assert!(url.starts_with("http") && url.bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }
    }
}
