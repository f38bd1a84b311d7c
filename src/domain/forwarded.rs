//! What proxies say about who called them: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address that it was called from, so the list grows to the right, and what is left of the first
//! address that is not a trusted proxy's was written by nobody knows whom. [`client_behind`] reads from the right and
//! stops there.

use std::net::{IpAddr, Ipv4Addr};

/// Which header is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, and `Forwarded` in a request that has none.
    #[default]
    Either,
    /// `X-Forwarded-For` alone.
    XForwardedFor,
    /// `Forwarded` alone.
    Forwarded,
}

/// What one proxy says of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// Its address.
    Address(IpAddr),
    /// Something else: `unknown`, an obfuscated name, nothing, or what nobody can read.
    Unknown,
}

/// The client at the far end of a chain of proxies. `hops` are in the order of the header, the nearest last.
///
/// That is the nearest address that is not trusted, or the farthest if all are. A hop that is no address ends the chain:
/// the proxy that wrote it is the last that is known. A caller that is not trusted is the client, whatever it says.
pub fn client_behind(
    caller: IpAddr,
    hops: impl DoubleEndedIterator<Item = Hop>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = caller;
    let mut hops = hops.rev();
    while is_trusted(client)
        && let Some(Hop::Address(before)) = hops.next()
    {
        client = before;
    }
    client
}

/// The hops of all lines of `X-Forwarded-For`. Blank elements do not count.
pub fn x_forwarded_for<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl DoubleEndedIterator<Item = Hop> {
    let elements = lines.flat_map(|line| line.split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(node)
}

/// The hops of all lines of `Forwarded`. An element that is not as RFC 7239 writes it is a hop all the same: an unknown
/// one.
pub fn forwarded<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl DoubleEndedIterator<Item = Hop> {
    lines.flat_map(|line| elements(line).into_iter())
}

/// An address with or without a port; one of IPv6 may be in brackets, and must be to have a port.
fn node(text: &[u8]) -> Hop {
    std::str::from_utf8(text).ok().and_then(address_of).map_or(Hop::Unknown, Hop::Address)
}

fn address_of(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let ends_well = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return address.parse().ok().filter(|address: &IpAddr| address.is_ipv6() && ends_well);
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?
}

/// A number, or an obfuscated one (RFC 7239, section 6.3).
fn is_port(text: &str) -> bool {
    let is_number = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || text.starts_with('_')
}

/// What each element of a line of `Forwarded` says.
fn elements(line: &[u8]) -> Vec<Hop> {
    parts(line, b',').map(|element| caller_of(element).unwrap_or(Hop::Unknown)).collect()
}

/// The `for` of an element; `None` if it has none, or several, or any of its pairs is malformed: a client may have sent
/// half an element, to hide in it what the next proxy appends.
fn caller_of(element: &[u8]) -> Option<Hop> {
    let mut caller = None;
    for pair in parts(element, b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], value_of(&pair[equals + 1..])?);
        if !name.iter().copied().all(is_token_byte) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && caller.replace(node(&value)).is_some() {
            return None;
        }
    }
    caller
}

/// What a name is made of (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parts of a text between separators that are not in quotes; blank ones do not count.
fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |byte| {
        let is_escaped = std::mem::take(&mut escaped);
        match byte {
            b'"' if !is_escaped => quoted = !quoted,
            b'\\' if quoted && !is_escaped => escaped = true,
            _ => {}
        }
        *byte == separator && !quoted
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// What a token or a quoted string says; `None` if it is neither.
fn value_of(text: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
        return (!text.is_empty() && text.iter().all(is_plain)).then(|| text.to_vec());
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(value),
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(*byte),
        }
    }
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;
