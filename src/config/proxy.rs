//! The keys of `[gateway]` that say whose word about clients is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{reader::Reader, tunnel::TunnelProvider};
use crate::domain::{forwarded::ForwardedHeader, network::Network};

const PROXIES: &str = "gateway.trusted_proxies";
const TRUST: &str = "gateway.trust_forwarded_headers";
const PROTOCOL: &str = "gateway.proxy_protocol";
/// Who may choose its own address can have as many as it likes, and those of others.
const DANGER: &str =
    "any client can choose its address, and so escape limits and lockouts or turn them on others";

/// Whom a request may be said to be from, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyTrust {
    /// Whether what a request says of its client is believed.
    pub headers: bool,
    /// Whose requests; none is anybody's.
    pub networks: Vec<Network>,
    /// Which header those write.
    pub header: ForwardedHeader,
    /// Whether those begin each connection with a header of the PROXY protocol.
    pub protocol: bool,
}

impl ProxyTrust {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let network = "an IP address, or a block of them such as 10.0.0.0/8";
        let headers = [
            ("either", ForwardedHeader::Either),
            ("x-forwarded-for", ForwardedHeader::XForwardedFor),
            ("forwarded", ForwardedHeader::Forwarded),
        ];
        let trust = Self {
            headers: r.flag(TRUST),
            networks: r.list(PROXIES, network, |text| text.parse().ok()),
            header: r.word("gateway.forwarded_header", &headers),
            protocol: r.flag(PROTOCOL),
        };
        trust.check(r);
        trust
    }

    fn check(&self, r: &mut Reader<'_>) {
        let nobody_named = self.networks.is_empty();
        if self.protocol && nobody_named {
            r.problem(PROTOCOL, format!("{PROTOCOL} needs {PROXIES}: else {DANGER}"));
        }
        if !self.headers && !self.protocol && !nobody_named {
            r.warning(PROXIES, format!("{PROXIES} is not used: {TRUST} is false"));
        } else if self.headers && nobody_named {
            r.warning(TRUST, format!("{TRUST} is true without {PROXIES}: {DANGER}"));
        } else if self.networks.iter().any(Network::is_everybody) {
            r.warning(PROXIES, format!("{PROXIES} names everybody: {DANGER}"));
        }
    }
    /// Looks whether a tunnel and a proxy can both be on this machine: where a connection from here comes from cannot be seen.
    pub(super) fn check_beside(&self, tunnel: &TunnelProvider, r: &mut Reader<'_>) {
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let proxy_is_here = self.networks.iter().any(|network| here.iter().any(|it| network.contains(*it)));
        if *tunnel == TunnelProvider::None || !proxy_is_here {
            return;
        }
        if self.protocol {
            r.problem(
                PROTOCOL,
                format!(
                    "{PROTOCOL} cannot be with a tunnel while {PROXIES} has this machine: the tunnel's connections come from \
                     it, too, and without that header they would be closed"
                ),
            );
        }
        if !self.headers {
            return;
        }
        match tunnel.client_header() {
            // A proxy that writes the same header puts what it saw behind what its client sent, and the last one counts.
            Some("x-forwarded-for") if self.header != ForwardedHeader::Forwarded => {}
            Some(header) => r.warning(
                PROXIES,
                format!(
                    "{PROXIES} has this machine, from which the tunnel comes, too: unless the proxy here removes {header} from \
                     what clients send, {DANGER}"
                ),
            ),
            None => r.warning(
                PROXIES,
                format!(
                    "{PROXIES} has this machine, from which the tunnel comes, too, and tunnel.custom.client_ip_header is blank: \
                     unless the tunnel writes the header that the proxies write, {DANGER}"
                ),
            ),
        }
    }
}
