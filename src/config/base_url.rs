//! The address of an API, as far as it must be understood to be accepted.

use std::net::{IpAddr, Ipv6Addr};

/// What [`BaseUrl::parse`] accepts, in words.
pub(super) const BASE_URL: &str = "an http or https address without user, query or fragment";

/// An `http` or `https` address that a path can be put behind: no user, query or fragment.
pub(super) struct BaseUrl<'a> {
    is_plain: bool,
    host: &'a str,
}

impl<'a> BaseUrl<'a> {
    /// `None` if `text` is no such address.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_plain = scheme.eq_ignore_ascii_case("http");
        if !is_plain && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let is_clean = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte));
        let authority = rest.split('/').next()?;
        is_clean.then_some(Self { is_plain, host: parse_authority(authority)? })
    }

    /// Whether what is sent there can be read on the way.
    pub(super) fn is_plain_to_another_machine(&self) -> bool {
        let is_loopback = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        self.is_plain && !is_loopback
    }
}

/// The host of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, without brackets.
fn parse_authority(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = !host.is_empty() && !host.contains(['@', '[', ']']);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (is_host && is_port).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_host_is_accepted() {
        for text in [
            "https://api.openai.com/v1",
            "HTTP://localhost:11434",
            "http://[::1]:8080/v1/",
            "https://10.0.0.7",
        ] {
            assert!(BaseUrl::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "api.openai.com/v1",
            "ftp://host/",
            "https://",
            "https:///v1",
            "https://user:password@host/v1",
            "https://user@host",
            "https://host/v1?api-version=1",
            "https://host/#v1",
            "https://host:0",
            "https://host:70000",
            "https://host:",
            "https://[::1",
            "https://[host]",
            "https://::1/",
            "https://ho st",
            " https://host",
        ] {
            assert!(BaseUrl::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn plain_http_is_safe_on_this_machine_only() {
        let is_plain = |text| BaseUrl::parse(text).map(|url| url.is_plain_to_another_machine());
        for text in ["http://localhost:1", "http://127.3.2.1", "http://[::1]:1/v1", "https://example.com"] {
            assert_eq!(is_plain(text), Some(false), "{text}");
        }
        for text in ["http://example.com", "http://192.168.1.7:8080", "http://localhost.example.com"] {
            assert_eq!(is_plain(text), Some(true), "{text}");
        }
    }
}
