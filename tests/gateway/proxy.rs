//! Whom a request counts against when proxies pass requests on. Several clients are several addresses of this machine.

use std::net::Ipv4Addr;

use reqwest::Method;

use crate::support::{client::Reply, gateway::Gateway};

const PROXY: &str = "127.0.0.2";
const TRUST: (&str, &str) = ("gateway.trust_forwarded_headers", "true");
const BY_PROXY: [(&str, &str); 2] = [TRUST, ("gateway.trusted_proxies", "127.0.0.2, 127.0.0.3")];

/// A request to `/pair` from an address, with some headers.
async fn pair(gateway: &Gateway, from: &str, code: &str, headers: &[(&str, &str)]) -> Reply {
    let client = gateway.client.seen_from(from);
    let request = client.request(Method::POST, "/pair").header("X-Pairing-Code", code);
    client.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Locks out whoever these requests count against.
async fn lock_out(gateway: &Gateway, from: &str, headers: &[(&str, &str)]) {
    for _ in 0..5 {
        assert_eq!(pair(gateway, from, "000000x", headers).await.status, 403, "{headers:?}");
    }
    assert_eq!(pair(gateway, from, "000000x", headers).await.status, 429, "{headers:?}");
}

fn locked_out(gateway: &Gateway) -> String {
    gateway.sql("SELECT client FROM pairing_lockout ORDER BY 1")
}

/// Failure 21: the left-most `X-Forwarded-For` was believed from any peer: unlimited guesses, or another locked out.
#[tokio::test]
async fn whoever_is_no_trusted_proxy_is_the_client_whatever_its_headers_say() {
    for settings in [&[][..], &BY_PROXY] {
        let gateway = Gateway::start_with(settings).await;
        for number in 1..=5 {
            let spoofed = Ipv4Addr::new(127, 0, 1, number).to_string();
            let element = format!("for={spoofed}");
            let headers =
                [("X-Forwarded-For", spoofed.as_str()), ("X-Real-IP", &spoofed), ("Forwarded", &element)];
            assert_eq!(pair(&gateway, "127.0.0.1", "x", &headers).await.status, 403);
        }
        assert_eq!(pair(&gateway, "127.0.0.1", "x", &[("X-Forwarded-For", "127.0.1.9")]).await.status, 429);
        assert_eq!(locked_out(&gateway), "127.0.0.1");
        let code = gateway.code.clone().unwrap();
        assert_eq!(pair(&gateway, "127.0.1.1", &code, &[]).await.status, 200, "nobody else is locked out");
    }
}

/// Failure 20: five bad codes of a stranger locked out everybody behind the same proxy.
#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart_and_cannot_choose_who_they_are() {
    let gateway = Gateway::start_with(&BY_PROXY).await;
    // What the client itself sent comes first; what each proxy saw is appended.
    for spoofed in ["198.51.100.7", "unknown", "192.0.2.1, 198.51.100.7", "rubbish", ""] {
        let said = format!("{spoofed}, 198.51.100.66, 127.0.0.3");
        assert_eq!(pair(&gateway, PROXY, "x", &[("X-Forwarded-For", &said)]).await.status, 403, "{said}");
    }
    let lines = [("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-For", "198.51.100.66")];
    assert_eq!(pair(&gateway, PROXY, "x", &lines).await.status, 429);
    assert_eq!(locked_out(&gateway), "198.51.100.66");
    let code = gateway.code.clone().unwrap();
    assert_eq!(pair(&gateway, PROXY, &code, &[("X-Forwarded-For", "198.51.100.7")]).await.status, 200);
}

#[tokio::test]
async fn all_addresses_of_a_64_behind_a_proxy_are_one_client() {
    let gateway = Gateway::start_with(&BY_PROXY).await;
    for number in 1..=5 {
        let address = format!("\"[2001:db8:1:2::{number}]:443\"");
        let element = format!("for={address};proto=https");
        assert_eq!(pair(&gateway, PROXY, "x", &[("Forwarded", &element)]).await.status, 403);
    }
    let element = "for=\"[2001:db8:1:2:ffff::9]\"";
    assert_eq!(pair(&gateway, PROXY, "x", &[("Forwarded", element)]).await.status, 429);
    assert_eq!(locked_out(&gateway), "2001:db8:1:2::/64");
}

#[tokio::test]
async fn forwarded_header_says_which_header_counts() {
    let [trust, proxies] = BY_PROXY;
    let gateway = Gateway::start_with(&[trust, proxies, ("gateway.forwarded_header", "forwarded")]).await;
    lock_out(&gateway, PROXY, &[("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=198.51.100.66")])
        .await;
    assert_eq!(locked_out(&gateway), "198.51.100.66");
}

#[tokio::test]
async fn without_trusted_proxies_the_first_address_counts_else_x_real_ip() {
    let gateway = Gateway::start_with(&[TRUST]).await;
    lock_out(&gateway, "127.0.0.1", &[("X-Forwarded-For", "198.51.100.1, 198.51.100.2")]).await;
    lock_out(&gateway, "127.0.0.1", &[("X-Real-IP", "198.51.100.3")]).await;
    assert_eq!(locked_out(&gateway), "198.51.100.1\n198.51.100.3");
}

/// Failure 20: sixty posts without a token starved the paired client behind the same proxy.
#[tokio::test]
async fn the_limit_of_webhook_falls_on_the_client_behind_the_proxy() {
    let [trust, proxies] = BY_PROXY;
    let settings = [trust, proxies, ("gateway.webhook_rate_limit_per_minute", "2")];
    let (gateway, token) = Gateway::paired_with(&settings).await;
    let proxy = gateway.client.seen_from(PROXY);
    let post = async |token: &str, client: &str| {
        proxy.send(proxy.message(token, None, "hello").header("X-Forwarded-For", client)).await.status
    };
    for status in [401, 401, 429] {
        assert_eq!(post("", "198.51.100.66").await, status);
    }
    assert_eq!(post("", "198.51.100.7").await, 401);
    for status in [200, 200, 429] {
        assert_eq!(post(&token, "198.51.100.66").await, status);
    }
    assert_eq!(post(&token, "198.51.100.7").await, 200, "a token at another address is another client");
}

/// Failure 22: "local only" routes trusted a loopback peer, which behind a tunnel is the whole internet.
#[tokio::test]
async fn nothing_is_open_to_a_client_because_it_is_on_this_machine() {
    let gateway = Gateway::start().await;
    for path in ["/webhook", "/admin/paircode", "/admin/shutdown", "/api/health", "/pair/code"] {
        for method in [Method::GET, Method::POST] {
            let request = gateway.client.request(method, path).header("X-Forwarded-For", "127.0.0.1");
            let status = gateway.client.send(request).await.status;
            assert!([401, 404, 405].contains(&status), "{path}: {status}");
        }
    }
    assert_eq!(pair(&gateway, "127.0.0.1", "x", &[]).await.status, 403);
}
