//! The keys of `[gateway]` that say whose word about clients is taken.

use super::reader::Reader;
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
}
