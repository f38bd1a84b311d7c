//! Who is calling: the address that limits and lockouts are counted against, and the owner of an idempotency key.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::id::TokenId;

/// How the operator's socket is written.
const OPERATOR: &str = "operator";

/// A client's address: an IPv4 address, or the /64 of an IPv6 address, since whoever has one address of a /64
/// has them all. An IPv4 address mapped into IPv6 is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6Prefix(u64),
    /// Whoever can open the operator's socket. Nobody on the network can be this client, and use up its limits.
    Operator,
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6Prefix((v6.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => v4.fmt(f),
            Self::Operator => f.write_str(OPERATOR),
            Self::V6Prefix(prefix) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*prefix) << 64)),
        }
    }
}

/// The text is not what [`ClientAddress`] displays.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a client address")]
pub struct NotAnAddress;

impl FromStr for ClientAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text == OPERATOR {
            return Ok(Self::Operator);
        }
        let address = text.strip_suffix("/64").unwrap_or(text);
        address.parse::<IpAddr>().map(Self::from).map_err(|_| NotAnAddress)
    }
}

/// Whose key it is, and who sent a message: the token, or without one the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A paired client.
    Token(TokenId),
    /// A client that carried no token, where pairing is not required.
    Address(ClientAddress),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Address(address) => write!(f, "addr:{address}"),
        }
    }
}

impl FromStr for Owner {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text.split_once(':') {
            Some(("token", id)) => id.parse().map(|id| Self::Token(TokenId(id))).map_err(|_| NotAnAddress),
            Some(("addr", address)) => address.parse().map(Self::Address),
            _ => Err(NotAnAddress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn all_addresses_of_a_64_are_one_client() {
        assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        assert_eq!(address("::ffff:192.0.2.7"), address("192.0.2.7"));
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for text in ["192.0.2.7", "2001:db8:1:2::/64", "operator"] {
            assert_eq!(text.parse::<ClientAddress>().unwrap().to_string(), text);
            let owner = format!("addr:{text}");
            assert_eq!(owner.parse::<Owner>().unwrap().to_string(), owner);
        }
        assert_eq!("token:7".parse(), Ok(Owner::Token(TokenId(7))));
        assert!("token:x".parse::<Owner>().is_err());
    }
}
