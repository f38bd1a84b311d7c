//! Blocks of IP addresses, as a configuration names them.

use std::{fmt, net::IpAddr, str::FromStr};

/// All addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`, or one address. A block of IPv4
/// addresses mapped into IPv6 is the IPv4 block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Canonical, and zero after the prefix.
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address is one of the block. An IPv4 address mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.prefix) == Some(*self)
    }

    /// Whether the block is all addresses of its kind.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.prefix == 0
    }

    /// The block around a canonical address; `None` if the address has fewer bits than that.
    fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let first = match address {
            IpAddr::V4(v4) => {
                let shift = 32_u32.checked_sub(prefix.into())?;
                IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(shift).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                let shift = 128_u32.checked_sub(prefix.into())?;
                IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(shift).unwrap_or(0)).into())
            }
        };
        Some(Self { first, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The text is neither an address nor an address, a slash and a number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address or a block of them")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    /// Bits after the prefix do not count.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(it, bits)| (it, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let (bits, canonical) = (if address.is_ipv4() { 32_u8 } else { 128 }, address.to_canonical());
        let prefix = match prefix {
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|prefix| *prefix <= bits).ok_or(NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
            None => bits,
        };
        match prefix.checked_sub(96).filter(|_| address.is_ipv6() && canonical.is_ipv4()) {
            Some(mapped) => Self::new(canonical, mapped),
            None => Self::new(address, prefix),
        }
        .ok_or(NotANetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_block_holds_the_addresses_that_begin_like_it() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "::ffff:10.0.0.9", "::ffff:11.0.0.9"),
        ] {
            assert!(network(block).contains(inside.parse().unwrap()), "{block} holds {inside}");
            assert!(!network(block).contains(outside.parse().unwrap()), "{block} does not hold {outside}");
        }
        assert!(network("::/0").is_everybody() && !network("::/1").is_everybody());
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "host",
            "[::1]",
            "010.0.0.1",
            " 10.0.0.1",
            "fe80::1%eth0",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text:?}");
        }
    }

    #[test]
    fn a_block_is_shown_as_it_is_read() {
        for (text, shown) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("::1", "::1/128"), ("::ffff:1.2.3.4", "1.2.3.4/32")]
        {
            assert_eq!(network(text).to_string(), shown);
            assert_eq!(network(shown).to_string(), shown);
        }
    }
}
