//! The PROXY protocol, versions 1 and 2: a proxy says in front of the first request whom it connects for.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>. Nothing behind the header is read.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with. Version 1 is never shorter.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 behind its first 16 bytes: addresses, and what else a proxy says.
const LONGEST_REST: usize = 4096;

/// Version 2, and what it is about.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("it is not one of the PROXY protocol")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// For whom a proxy connects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A client at this address.
    Client(SocketAddr),
    /// Itself, or it does not say.
    Proxy,
}

/// Reads the header.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Caller, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    io.read_exact(&mut start).await?;
    if start != *SIGNATURE {
        let mut line = start.to_vec();
        while !line.ends_with(b"\r\n") {
            // Not to read what is behind the line, nor to wait for the end of what is no such line.
            if line.len() >= LONGEST_LINE || !line.starts_with(b"PROXY ") {
                return Err(HeaderError::Malformed);
            }
            line.push(io.read_u8().await?);
        }
        return line_of_version_1(&line).ok_or(HeaderError::Malformed);
    }
    let [command, family] = [io.read_u8().await?, io.read_u8().await?];
    let length = usize::from(io.read_u16().await?);
    if length > LONGEST_REST || !matches!(command, LOCAL | PROXY) {
        return Err(HeaderError::Malformed);
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    rest_of_version_2(command, family, &rest).ok_or(HeaderError::Malformed)
}

/// `PROXY TCP4 <client> <proxy> <port> <port>`; `None` if it is anything else.
fn line_of_version_1(line: &[u8]) -> Option<Caller> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let words: Vec<_> = text.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(Caller::Proxy),
        ["PROXY", "TCP4", client, proxy, port, own] => addresses::<Ipv4Addr>(client, proxy, port, own),
        ["PROXY", "TCP6", client, proxy, port, own] => addresses::<Ipv6Addr>(client, proxy, port, own),
        _ => None,
    }
}

fn addresses<A: FromStr + Into<IpAddr>>(
    client: &str,
    proxy: &str,
    port: &str,
    own_port: &str,
) -> Option<Caller> {
    let (client, _) = (client.parse::<A>().ok()?, proxy.parse::<A>().ok()?);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number(port))?;
    own_port.parse::<u16>().ok().filter(|_| is_number(own_port))?;
    Some(Caller::Client(SocketAddr::new(client.into(), port)))
}

/// What follows the signature: version and command, family, and addresses; what follows those is not looked at. `None` if
/// it is anything else.
fn rest_of_version_2(command: u8, family: u8, rest: &[u8]) -> Option<Caller> {
    const UNSPECIFIED: u8 = 0x00;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    const UNIX: u8 = 0x31;
    match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED | UNIX) => Some(Caller::Proxy),
        (PROXY, TCP4) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = *rest else { return None };
            let address = Ipv4Addr::new(a, b, c, d);
            Some(Caller::Client(SocketAddr::new(address.into(), u16::from_be_bytes([high, low]))))
        }
        (PROXY, TCP6) => {
            let address: [u8; 16] = *rest.first_chunk()?;
            let [high, low, _, _] = *rest.get(32..)?.first_chunk()?;
            Some(Caller::Client(SocketAddr::new(
                Ipv6Addr::from(address).into(),
                u16::from_be_bytes([high, low]),
            )))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    /// What is read of the bytes, and what is left of them.
    fn read_now(bytes: &[u8]) -> (Option<Caller>, usize) {
        let mut left = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read(&mut left));
        (read.ok(), left.len())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    #[test]
    fn both_versions_say_who_the_client_is_and_nothing_behind_them_is_read() {
        let four = [198, 51, 100, 7, 192, 0, 2, 1, 0x30, 0x39, 0, 80];
        let six = [Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::UNSPECIFIED.octets()].concat();
        let six = [&six[..], &[0x30, 0x39, 0, 80]].concat();
        let more = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (header, client) in [
            (b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 80\r\n".to_vec(), Some("198.51.100.7:12345")),
            (b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(), Some("[2001:db8::7]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &four), Some("198.51.100.7:12345")),
            (version_2(0x21, 0x11, &more), Some("198.51.100.7:12345")),
            (version_2(0x21, 0x21, &six), Some("[::1]:12345")),
            (version_2(0x20, 0x00, b""), None),
            (version_2(0x20, 0x11, &four), None),
            (version_2(0x21, 0x00, b"anything"), None),
            (version_2(0x21, 0x31, &[0; 216]), None),
        ] {
            let read = read_now(&[&header, REQUEST].concat());
            let caller = client.map_or(Caller::Proxy, |client| Caller::Client(client.parse().unwrap()));
            assert_eq!(read, (Some(caller), REQUEST.len()), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_header_is_refused_without_waiting_for_more() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for header in [
            REQUEST.to_vec(),
            b"PROXY TCP4 198.51.100.7 192.0.2.1 12345\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 80\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 192.0.2.1 1 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 12345 80\r\n".to_vec(),
            b"PROXY TCP4  198.51.100.7 192.0.2.1 1 80\r\n".to_vec(),
            b"PROXY UDP4 198.51.100.7 192.0.2.1 1 80\r\n".to_vec(),
            b"proxy TCP4 198.51.100.7 192.0.2.1 1 80\r\n".to_vec(),
            long.into_bytes(),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x22, 0x11, &[0; 12]),
            version_2(0x21, 0x12, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[0; LONGEST_REST + 1]),
        ] {
            assert_eq!(read_now(&header).0, None, "{}", header.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_more_than_a_header(bytes in prop::collection::vec(any::<u8>(), 0..6000), kind in 0..3) {
            let start: &[u8] = match kind { 0 => b"", 1 => b"PROXY ", _ => SIGNATURE };
            let all = [start, &bytes].concat();
            let (_, left) = read_now(&all);
            prop_assert!(all.len() - left <= 16 + LONGEST_REST);
        }
    }
}
