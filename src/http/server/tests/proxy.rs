//! The PROXY protocol in front of a connection's first request.

use super::*;

const GET_PEER: &[u8] = b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n";
const VERSION_1: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 80\r\n";

fn trusting(block: &str, limits: Limits) -> (ServerParts<Router>, watch::Receiver<Counts>) {
    let (events, counts) = recorder();
    let source = ClientSource::default().introduced_by(vec![block.parse().unwrap()]);
    (ServerParts { source, ..parts(router(), limits, events) }, counts)
}

fn wire_from_proxy() -> Wire {
    let (parts, counts) = trusting("127.0.0.1", Limits::default());
    wire_to(parts, counts)
}

#[tokio::test]
async fn the_client_is_the_one_that_the_proxy_names() {
    let six = b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for (header, peer) in [
        (VERSION_1, "198.51.100.7:12345"),
        (six, "[2001:db8::7]:12345"),
        (local, "127.0.0.1:1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1:1"),
    ] {
        let mut wire = wire_from_proxy();
        assert_eq!(ask(&mut wire.client, &[header, GET_PEER].concat()).await.1, peer);
        assert_eq!(ask(&mut wire.client, GET_PEER).await.1, peer, "for the whole connection");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_begin_so_is_disconnected_and_counted() {
    for bytes in [GET_PEER, b"PROXY TCP4 rubbish\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c"] {
        let mut wire = wire_from_proxy();
        wire.client.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut wire.client).await, "");
        soon(wire.task).await.unwrap();
        assert_eq!(wire.counts.borrow().proxies_refused, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_and_the_head_behind_it_share_one_header_timeout() {
    for sent in [&b"PROXY TCP4 198.51"[..], VERSION_1, &[VERSION_1, b"GET /pe"].concat()] {
        let begun = tokio::time::Instant::now();
        let mut wire = wire_from_proxy();
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(6)).await;
        wire.client.write_all(sent).await.unwrap();
        soon(wire.task).await.unwrap();
        let after = begun.elapsed();
        assert!(after >= Duration::from_secs(10) && after < Duration::from_millis(10_005), "{after:?}");
        assert_eq!(wire.counts.borrow().timed_out, [Timeout::Header]);
    }
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_a_header() {
    let wire = wire_from_proxy();
    wire.server.stop.ask();
    soon(wire.task).await.unwrap();
    assert_eq!(wire.counts.borrow().timed_out, []);
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_cannot_name_a_client() {
    let (parts, counts) = trusting("127.0.0.2", Limits::default());
    let mut wire = wire_to(parts, counts);
    assert_eq!(ask(&mut wire.client, GET_PEER).await.1, "127.0.0.1:1");
    let (head, _) = ask(&mut wire.client, &[VERSION_1, GET_PEER].concat()).await;
    assert!(head.starts_with("http/1.1 400 "), "{head}");
}

#[tokio::test]
async fn connections_through_a_proxy_count_for_their_clients() {
    let (parts, counts) =
        trusting("127.0.0.1", Limits { max_connections_per_address: 1, ..Limits::default() });
    let server = start_with(parts, counts).await;
    let mut first = server.connect().await;
    assert_eq!(ask(&mut first, &[VERSION_1, GET_PEER].concat()).await.1, "198.51.100.7:12345");
    let mut second = server.connect().await;
    let (head, _) = ask(&mut second, &[VERSION_1, GET_PEER].concat()).await;
    assert!(head.starts_with("http/1.1 429 "), "{head}");
    let mut other = server.connect().await;
    let header = b"PROXY TCP4 198.51.100.8 192.0.2.1 12345 80\r\n";
    assert_eq!(ask(&mut other, &[header, GET_PEER].concat()).await.1, "198.51.100.8:12345");
    assert_eq!(server.counts.borrow().refused, [Refusal::AddressFull]);
}
