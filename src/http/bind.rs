//! Where to listen: what `gateway.host` means, and whether strangers could reach it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Other machines could reach it, and nobody said that they may.
    #[error(
        "refusing to listen on {0}: other machines could reach the gateway\n\
         Fix it in one of three ways:\n  \
         1. listen on this machine only: --host 127.0.0.1\n  \
         2. put a tunnel or a reverse proxy on this machine in front of 127.0.0.1\n  \
         3. set allow_public_bind = true under [gateway], if the network may reach it"
    )]
    Public(String),
    /// The name has no address.
    #[error("gateway.host {host:?} has no address: {source}")]
    Unresolved {
        /// The host as it was given.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The port is taken, or may not be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens on the first address of `host` that can be had. Port 0 is any free one.
///
/// # Errors
/// [`BindError`], among them that the host is public and may not be.
pub async fn listen(host: &str, port: u16, allow_public: bool) -> Result<TcpListener, BindError> {
    let addresses = resolve(host, port).await?;
    if !allow_public && !addresses.iter().all(|address| is_local(address.ip())) {
        return Err(BindError::Public(host.to_owned()));
    }
    let failed = |source| BindError::Listen { address: format!("{host}:{port}"), source };
    TcpListener::bind(&addresses[..]).await.map_err(failed)
}

/// Takes over a listener that whoever started the gateway has opened.
///
/// # Errors
/// [`BindError`], among them that its address is public and may not be.
pub fn adopt(listener: std::net::TcpListener, allow_public: bool) -> Result<TcpListener, BindError> {
    let failed = |source| BindError::Listen { address: "the socket that was handed over".to_owned(), source };
    let address = listener.local_addr().map_err(failed)?;
    if !allow_public && !is_local(address.ip()) {
        return Err(BindError::Public(address.to_string()));
    }
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

/// Whether other machines could reach a server on `host`.
///
/// # Errors
/// [`BindError::Unresolved`].
pub async fn is_public(host: &str) -> Result<bool, BindError> {
    Ok(!resolve(host, 0).await?.iter().all(|address| is_local(address.ip())))
}

/// Whether a server could listen there. Nobody is in the way of this, and this is in nobody's way: an address that is bound
/// but not listened on can be taken by a server that starts just now.
///
/// # Errors
/// [`BindError`], but not that the host is public.
pub async fn probe(host: &str, port: u16) -> Result<(), BindError> {
    let failed = |source| BindError::Listen { address: format!("{host}:{port}"), source };
    let mut last = Ok(());
    for address in resolve(host, port).await? {
        last = try_bind(address).map_err(failed);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// How this machine reaches a server that listens on `host`.
#[must_use]
pub fn local_url(host: &str, port: u16) -> String {
    let bare = bare(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => format!("http://127.0.0.1:{port}"),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("http://[::1]:{port}"),
        Ok(IpAddr::V6(address)) => format!("http://[{address}]:{port}"),
        _ => format!("http://{bare}:{port}"),
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let bare = bare(host);
    let failed = |source| BindError::Unresolved { host: host.to_owned(), source };
    let addresses: Vec<_> = lookup_host((bare, port)).await.map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::other("the name resolves to nothing")));
    }
    Ok(addresses)
}

/// 127.0.0.0/8, `::1`, and the former written as the latter.
fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_hosts_in_every_spelling_can_be_bound() {
        for host in ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"] {
            let listener = listen(host, 0, false).await;
            assert!(listener.is_ok(), "{host}: {listener:?}");
        }
    }

    #[tokio::test]
    async fn a_public_host_is_refused_unless_it_is_allowed() {
        for host in ["0.0.0.0", "::", "[::]", "192.0.2.1"] {
            assert!(matches!(listen(host, 0, false).await, Err(BindError::Public(_))), "{host}");
        }
        assert!(listen("0.0.0.0", 0, true).await.is_ok());
    }

    #[tokio::test]
    async fn a_listener_that_is_handed_over_is_guarded_like_one_of_ours() {
        let open = |address: &str| std::net::TcpListener::bind(address).unwrap();
        assert!(adopt(open("127.0.0.1:0"), false).is_ok());
        assert!(matches!(adopt(open("0.0.0.0:0"), false), Err(BindError::Public(_))));
        assert!(adopt(open("0.0.0.0:0"), true).is_ok());
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_this_machines_own() {
        for (host, url) in [
            ("127.0.0.1", "http://127.0.0.1:3000"),
            ("0.0.0.0", "http://127.0.0.1:3000"),
            ("::", "http://[::1]:3000"),
            ("[::1]", "http://[::1]:3000"),
            ("localhost", "http://localhost:3000"),
        ] {
            assert_eq!(local_url(host, 3000), url);
        }
    }

    #[tokio::test]
    async fn a_probe_finds_a_server_and_hinders_none() {
        let listener = listen("127.0.0.1", 0, false).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = probe("127.0.0.1", port).await;
        let Err(BindError::Listen { source, .. }) = taken else { panic!("{taken:?}") };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(probe("127.0.0.1", port).await.is_ok());
        assert!(is_public("0.0.0.0").await.unwrap() && !is_public("[::1]").await.unwrap());
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_an_error() {
        for host in ["", "no such host", "name.invalid"] {
            assert!(matches!(listen(host, 0, true).await, Err(BindError::Unresolved { .. })), "{host:?}");
        }
    }
}
