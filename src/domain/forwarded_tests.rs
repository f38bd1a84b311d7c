use proptest::prelude::*;

use super::*;
use crate::domain::network::Network;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hops(of: impl DoubleEndedIterator<Item = Hop>) -> Vec<String> {
    let shown = |hop| match hop {
        Hop::Address(address) => address.to_string(),
        Hop::Unknown => "unknown".to_owned(),
    };
    of.map(shown).collect()
}

fn trusted(address: IpAddr) -> bool {
    ["10.0.0.0/8", "::1"].iter().any(|block| block.parse::<Network>().unwrap().contains(address))
}

/// Failure 21: the left-most address of `X-Forwarded-For` was believed from any peer.
#[test]
fn the_client_is_the_nearest_address_that_is_not_trusted() {
    for (caller, lines, client) in [
        ("203.0.113.9", vec!["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", vec![], "10.0.0.1"),
        ("10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", vec!["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", vec!["192.0.2.66", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", vec!["192.0.2.66, 10.0.0.3, 198.51.100.1", " , 10.0.0.2,"], "198.51.100.1"),
        ("10.0.0.1", vec!["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
        ("10.0.0.1", vec!["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", vec!["198.51.100.1, rubbish"], "10.0.0.1"),
        ("10.0.0.1", vec!["\u{e9}, 198.51.100.1"], "198.51.100.1"),
        ("::1", vec!["2001:db8::7"], "2001:db8::7"),
    ] {
        let read = x_forwarded_for(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(client_behind(ip(caller), read, trusted), ip(client), "{caller} {lines:?}");
    }
}

#[test]
fn addresses_are_read_with_and_without_ports_and_brackets() {
    for (text, read) in [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:8080", "192.0.2.7"),
        ("192.0.2.7:_port", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
    ] {
        assert_eq!(node(text.as_bytes()), Hop::Address(ip(read)), "{text}");
    }
    for text in [
        "unknown",
        "_hidden",
        "",
        "192.0.2.7:",
        "192.0.2.7:123456",
        "192.0.2.7:80x",
        "[192.0.2.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]8080",
        "[2001:db8::7]:",
        "192.0.2.007",
        "192.0.2",
        "fe80::1%eth0",
        "192.0.2.7 ",
        "\"192.0.2.7\"",
    ] {
        assert_eq!(node(text.as_bytes()), Hop::Unknown, "{text}");
    }
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    for (line, read) in [
        ("for=192.0.2.43", vec!["192.0.2.43"]),
        ("For=\"[2001:db8:cafe::17]:4711\"", vec!["2001:db8:cafe::17"]),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", vec!["192.0.2.60"]),
        ("proto=https ; FOR=192.0.2.60 , for=198.51.100.17", vec!["192.0.2.60", "198.51.100.17"]),
        ("for=_gazonk, for=\"_SEVKISEK:80\", for=unknown", vec!["unknown"; 3]),
        ("for=\"192.0.2.43:47011\", , for=\"192.0.2.4\\3\"", vec!["192.0.2.43"; 2]),
        ("for=192.0.2.43;ext=\"a, b; for=1.1.1.1 \\\" x\"", vec!["192.0.2.43"]),
        ("proto=https", vec!["unknown"]),
        ("", vec![]),
        (" , ;", vec!["unknown"]),
    ] {
        assert_eq!(hops(forwarded([line.as_bytes()].into_iter())), read, "{line}");
    }
    let lines: [&[u8]; 2] = [b"for=192.0.2.1", b"for=192.0.2.2, for=192.0.2.3"];
    assert_eq!(hops(forwarded(lines.into_iter())), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
}

#[test]
fn what_is_malformed_is_a_hop_that_nobody_knows() {
    for line in [
        "for",
        "for=",
        "=192.0.2.1",
        "for=192.0.2.1;for=192.0.2.2",
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\"x",
        "for=x\"192.0.2.1\"",
        "for=192.0.2.1;x",
        "for=192.0.2.1;x=a b",
        "for = 192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=\u{e9}",
    ] {
        assert_eq!(hops(forwarded([line.as_bytes()].into_iter())), ["unknown"], "{line}");
    }
}

#[test]
fn half_an_element_hides_nothing_of_what_the_next_proxy_appends() {
    for sent in [
        "for=198.51.100.66;x=\"",
        "for=\"198.51.100.66",
        "for=198.51.100.66;x=\"\\",
        "x=\"\"\"",
        "for=198.51.100.66;x\"",
        "\"",
        "for=198.51.100.66;",
    ] {
        for appended in
            ["for=192.0.2.1", "for=\"192.0.2.1\"", "for=\"192.0.2.1\";by=\"_p\"", "by=\"\";for=192.0.2.1"]
        {
            let line = format!("{sent}, {appended}");
            let client = client_behind(ip("10.0.0.1"), forwarded([line.as_bytes()].into_iter()), trusted);
            assert!([ip("192.0.2.1"), ip("10.0.0.1")].contains(&client), "{line}: {client}");
        }
    }
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let rubbish = prop::collection::vec(any::<u8>(), 0..40);
    let likely = prop::collection::vec(
        prop::sample::select(vec![
            "for=",
            "For=",
            "by=",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            " ",
            "[",
            "]",
            ":",
            "10.0.0.7",
            "198.51.100.7",
            "2001:db8::7",
            "::1",
            "unknown",
            "_x",
            "80",
        ]),
        0..12,
    );
    prop::collection::vec(prop_oneof![rubbish, likely.prop_map(|parts| parts.concat().into_bytes())], 0..5)
}

fn appended(caller: IpAddr) -> [String; 2] {
    [
        caller.to_string(),
        format!("for=\"{}\"", if caller.is_ipv6() { format!("[{caller}]") } else { caller.to_string() }),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_sent_is_believed_unless_a_trusted_proxy_says_it(lines in lines(), caller in any::<u32>()) {
        let caller = IpAddr::V4(caller.into());
        prop_assume!(!trusted(caller));
        let given = || lines.iter().map(Vec::as_slice);
        prop_assert_eq!(client_behind(caller, x_forwarded_for(given()), trusted), caller);
        prop_assert_eq!(client_behind(caller, forwarded(given()), trusted), caller);
    }

    #[test]
    fn a_trusted_proxy_that_appends_its_caller_is_believed_whatever_came_before(lines in lines(), caller in any::<u32>()) {
        let (caller, proxy) = (IpAddr::V4(caller.into()), ip("10.0.0.1"));
        prop_assume!(!trusted(caller));
        let [plain, element] = appended(caller);
        // On a line of its own, and at the end of the last one.
        let apart = |own: &str| lines.iter().cloned().chain([own.as_bytes().to_vec()]).collect::<Vec<_>>();
        let joined = |own: &str| {
            let mut all = lines.clone();
            let last = all.pop().map_or_else(Vec::new, |last| [last, b", ".to_vec()].concat());
            all.push([last, own.as_bytes().to_vec()].concat());
            all
        };
        let given = |lines: &[Vec<u8>], all: fn(&[Vec<u8>]) -> Vec<Hop>| client_behind(proxy, all(lines).into_iter(), trusted);
        let plain_hops = |lines: &[Vec<u8>]| x_forwarded_for(lines.iter().map(Vec::as_slice)).collect();
        let element_hops = |lines: &[Vec<u8>]| forwarded(lines.iter().map(Vec::as_slice)).collect();
        prop_assert_eq!(given(&apart(&plain), plain_hops), caller);
        prop_assert_eq!(given(&joined(&plain), plain_hops), caller);
        prop_assert_eq!(given(&apart(&element), element_hops), caller);
        // Quotes that the client left open may swallow it: then the proxy itself is the client.
        prop_assert!([caller, proxy].contains(&given(&joined(&element), element_hops)));
    }
}
