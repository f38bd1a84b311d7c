//! What a client claims before a trusted proxy adds the address that it saw: no claim makes the client another one.

#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use moorgate::{
    domain::{client::ClientAddress, forwarded::ForwardedHeader, network::Network},
    http::{ClientSource, Proxies},
};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

fuzz_target!(|claimed: &[u8]| {
    let network: Network = "10.0.0.0/8".parse().unwrap();
    for (header, name, seen) in [
        (ForwardedHeader::XForwardedFor, "x-forwarded-for", "203.0.113.9"),
        (ForwardedHeader::Forwarded, "forwarded", "for=203.0.113.9"),
        (ForwardedHeader::Either, "x-forwarded-for", "203.0.113.9"),
    ] {
        let source = ClientSource::new(Proxies::Known(vec![network], header));
        let claims: Vec<_> =
            claimed.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
        let with = |last: &[u8]| {
            let mut headers: HeaderMap = claims.iter().map(|claim| (name.parse().unwrap(), claim.clone())).collect();
            if let Ok(last) = HeaderValue::from_bytes(last) {
                headers.append(name, last);
            }
            headers
        };
        let (client, proxy) = (ClientAddress::from(CLIENT), ClientAddress::from(PROXY));

        let own_line = with(seen.as_bytes());
        assert_eq!(source.client_of(PROXY, &own_line), client, "a line of its own");
        assert_eq!(source.client_of(CLIENT, &own_line), client, "a caller that is not trusted");

        let last_claim = claims.last().map(HeaderValue::as_bytes).unwrap_or_default();
        let same_line = with(&[last_claim, b", ", seen.as_bytes()].concat());
        let found = source.client_of(PROXY, &same_line);
        // Half an element of `Forwarded` may swallow what follows: then nobody is named, and it is the proxy.
        assert!(found == client || (name == "forwarded" && found == proxy), "{found}");
    }
});
