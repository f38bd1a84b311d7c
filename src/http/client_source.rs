//! Whom a request is from, when others may have passed it on.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::TunnelUp;
use crate::domain::{
    client::ClientAddress,
    forwarded::{ForwardedHeader, Hop, client_behind, forwarded, x_forwarded_for},
    network::Network,
};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_REAL_IP: &str = "x-real-ip";

/// How the client of a request is told. Whatever the rules do not find is the socket's peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSource {
    proxies: Proxies,
    tunnel: Option<(HeaderName, TunnelUp)>,
    introducers: Vec<Network>,
}

/// Whose word about the client is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Proxies {
    /// Nobody's.
    #[default]
    Nobody,
    /// Anybody's: the first address of `X-Forwarded-For`, else `X-Real-IP`. Any client can choose its address.
    Anybody,
    /// These networks', in this header.
    Known(Vec<Network>, ForwardedHeader),
}

impl ClientSource {
    /// Takes the word of these proxies.
    #[must_use]
    pub fn new(proxies: Proxies) -> Self {
        Self { proxies, ..Self::default() }
    }

    /// Also takes the word of a tunnel, as long as it is up: its program connects from this machine, and names the client in
    /// `header`, as the last address of its last line. A request from this machine without it is judged as if there were no
    /// tunnel.
    #[must_use]
    pub fn behind_tunnel(self, header: HeaderName, up: TunnelUp) -> Self {
        Self { tunnel: Some((header, up)), ..self }
    }

    /// Also takes the word of proxies in these networks that begin each connection with a header of the PROXY protocol:
    /// whom that names is the peer.
    #[must_use]
    pub fn introduced_by(self, introducers: Vec<Network>) -> Self {
        Self { introducers, ..self }
    }

    /// Whether a connection from there begins with a header of the PROXY protocol.
    #[must_use]
    pub fn is_introduced(&self, peer: IpAddr) -> bool {
        is_one_of(&self.introducers, peer)
    }

    /// The client of a request that came from `peer` with these headers.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let client = self.tunnel_to(peer).and_then(|header| nearest(headers, header.as_str()));
        client.unwrap_or_else(|| self.proxies.client_of(peer, headers)).into()
    }

    /// Whether `peer` may speak for others: then what comes from it is not one client.
    #[must_use]
    pub fn may_forward(&self, peer: IpAddr) -> bool {
        self.tunnel_to(peer).is_some()
            || self.is_introduced(peer)
            || match &self.proxies {
                Proxies::Nobody => false,
                Proxies::Anybody => true,
                Proxies::Known(networks, _) => is_one_of(networks, peer),
            }
    }
}

impl ClientSource {
    /// The header of the tunnel that a request from this peer may have come through.
    fn tunnel_to(&self, peer: IpAddr) -> Option<&HeaderName> {
        let (header, _) = self.tunnel.as_ref().filter(|(_, up)| up.get() && is_this_machine(peer))?;
        Some(header)
    }
}

impl Proxies {
    fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        match self {
            Self::Nobody => peer,
            Self::Anybody => {
                let mut named = x_forwarded_for(lines(headers, X_FORWARDED_FOR));
                let first = named.find_map(address_of);
                first.or_else(|| nearest(headers, X_REAL_IP)).unwrap_or(peer)
            }
            Self::Known(networks, header) => {
                let is_trusted = |address| is_one_of(networks, address);
                let has_usual = headers.contains_key(X_FORWARDED_FOR);
                if *header == ForwardedHeader::Forwarded || (*header == ForwardedHeader::Either && !has_usual)
                {
                    client_behind(peer, forwarded(lines(headers, "forwarded")), is_trusted)
                } else {
                    client_behind(peer, x_forwarded_for(lines(headers, X_FORWARDED_FOR)), is_trusted)
                }
            }
        }
    }
}

fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_one_of(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

fn lines<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// The last hop that a header names, if it is an address.
fn nearest(headers: &HeaderMap, name: &str) -> Option<IpAddr> {
    x_forwarded_for(lines(headers, name)).next_back().and_then(address_of)
}

fn address_of(hop: Hop) -> Option<IpAddr> {
    if let Hop::Address(address) = hop { Some(address) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(source: &ClientSource, peer: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        source.client_of(peer.parse().unwrap(), &map).to_string()
    }

    fn known(header: ForwardedHeader) -> ClientSource {
        ClientSource::new(Proxies::Known(vec!["10.0.0.0/8".parse().unwrap()], header))
    }

    const USUAL: (&str, &str) = ("X-Forwarded-For", "198.51.100.1");
    const FORWARDED: (&str, &str) = ("Forwarded", "for=198.51.100.2");

    #[test]
    fn without_proxies_the_client_is_the_peer_whatever_the_headers_say() {
        let source = ClientSource::default();
        assert_eq!(
            client(&source, "10.0.0.1", &[USUAL, FORWARDED, ("X-Real-IP", "198.51.100.3")]),
            "10.0.0.1"
        );
        assert!(!source.may_forward("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn known_proxies_are_believed_in_the_header_that_they_write() {
        for (header, expected) in [
            (ForwardedHeader::Either, ["198.51.100.1", "198.51.100.1", "198.51.100.2"]),
            (ForwardedHeader::XForwardedFor, ["198.51.100.1", "198.51.100.1", "10.0.0.1"]),
            (ForwardedHeader::Forwarded, ["198.51.100.2", "10.0.0.1", "198.51.100.2"]),
        ] {
            let source = known(header);
            let all = [&[USUAL, FORWARDED][..], &[USUAL], &[FORWARDED]];
            assert_eq!(all.map(|headers| client(&source, "10.0.0.1", headers)), expected, "{header:?}");
            assert_eq!(client(&source, "::ffff:10.0.0.1", &[USUAL, FORWARDED]), expected[0]);
            assert_eq!(client(&source, "192.0.2.1", &[USUAL, FORWARDED]), "192.0.2.1");
        }
        let mapped = [("X-Forwarded-For", "::ffff:198.51.100.1")];
        assert_eq!(client(&known(ForwardedHeader::Either), "10.0.0.1", &mapped), "198.51.100.1");
        let prefix = [("X-Forwarded-For", "2001:db8:1:2::7")];
        assert_eq!(client(&known(ForwardedHeader::Either), "10.0.0.1", &prefix), "2001:db8:1:2::/64");
    }

    #[test]
    fn where_anybody_is_believed_the_client_is_the_first_that_is_named() {
        let source = ClientSource::new(Proxies::Anybody);
        let real = ("X-Real-IP", "198.51.100.3");
        let two = ("X-Forwarded-For", "unknown, 198.51.100.7, 198.51.100.8");
        assert_eq!(client(&source, "192.0.2.1", &[two, USUAL, real, FORWARDED]), "198.51.100.7");
        assert_eq!(client(&source, "192.0.2.1", &[real, FORWARDED]), "198.51.100.3");
        assert_eq!(client(&source, "192.0.2.1", &[FORWARDED]), "192.0.2.1");
    }

    /// Failure 20: through a tunnel every client was 127.0.0.1.
    #[test]
    fn behind_a_tunnel_the_client_is_the_one_it_names_but_only_to_this_machine() {
        let up = TunnelUp::default();
        up.set(true);
        let source =
            ClientSource::default().behind_tunnel(HeaderName::from_static("cf-connecting-ip"), up.clone());
        let named = ("CF-Connecting-IP", "198.51.100.4");
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(client(&source, peer, &[named, USUAL]), "198.51.100.4", "{peer}");
        }
        assert_eq!(client(&source, "192.0.2.1", &[named]), "192.0.2.1");
        assert_eq!(client(&source, "127.0.0.1", &[USUAL]), "127.0.0.1");
        assert_eq!(client(&source, "127.0.0.1", &[("CF-Connecting-IP", "rubbish")]), "127.0.0.1");
        assert!(source.may_forward("127.0.0.1".parse().unwrap()));
        assert!(!source.may_forward("192.0.2.1".parse().unwrap()));
        up.set(false);
        assert_eq!(client(&source, "127.0.0.1", &[named]), "127.0.0.1");
        assert!(!source.may_forward("127.0.0.1".parse().unwrap()));
    }
}
