//! Who comes through a tunnel is told apart by the header that the tunnel writes, and is trusted no more than anybody.

use reqwest::Method;
use tempfile::TempDir;

use super::{provider, start, until_state};
use crate::support::{
    client::{Client, Reply},
    fake_tunnel::FakeTunnel,
};

/// Sends a request through the tunnel as the client with this address.
async fn through(edge: &Client, from: &str, path: &str, code: Option<&str>) -> Reply {
    let request = edge.request(Method::POST, path).header("X-Stranger", from);
    let request = request.header("Content-Type", "application/json").body(r#"{"message":"hello"}"#);
    edge.send(code.into_iter().fold(request, |request, code| request.header("X-Pairing-Code", code))).await
}

/// Failure 20: through a tunnel every client is 127.0.0.1: five bad codes by a stranger lock out the owner; sixty tokenless
/// posts starve the paired client.
#[tokio::test]
async fn strangers_behind_a_tunnel_lock_out_and_starve_nobody_but_themselves() {
    for (name, header) in [("cloudflare", None), ("ngrok", None), ("custom", Some("X-Forwarded-For"))] {
        let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
        let mut env: Vec<_> = provider(name).into_iter().filter(|(key, _)| !key.contains("TOKEN")).collect();
        env.push(("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "6".into()));
        env.extend(header.map(|header| ("MOORGATE_TUNNEL__CUSTOM__CLIENT_IP_HEADER", header.to_owned())));
        let process = start(folder.path(), &fake, &env);
        let edge = Client::new(([127, 0, 0, 1], fake.run(0).await.edge).into());
        let code = process.code.clone().unwrap();
        let wrong = if code == "000000" { "111111" } else { "000000" };
        for _ in 0..5 {
            assert_eq!(through(&edge, "198.51.100.1", "/pair", Some(wrong)).await.status, 403);
        }
        assert_eq!(through(&edge, "198.51.100.1", "/pair", Some(&code)).await.status, 429, "{name}");
        for _ in 0..6 {
            assert_eq!(through(&edge, "198.51.100.2", "/webhook", None).await.status, 401);
        }
        assert_eq!(through(&edge, "198.51.100.2", "/webhook", None).await.status, 429, "{name}");

        assert_eq!(through(&edge, "198.51.100.3", "/webhook", None).await.status, 401, "{name}");
        assert_eq!(process.client.post("", None, "hello").await.status, 401, "{name}: nor this machine");
        assert_eq!(through(&edge, "198.51.100.3", "/pair", Some(&code)).await.status, 200, "{name}");
    }
}

/// Failure 21: a header is believed from any peer.
#[tokio::test]
async fn the_header_of_a_tunnel_is_believed_only_while_that_tunnel_is_up() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let process = start(folder.path(), &fake, &[("MOORGATE_TUNNEL__PROVIDER", "cloudflare".into())]);
    let limit = |client: &str| {
        let request = process.client.request(Method::POST, "/webhook").header("CF-Connecting-IP", client);
        process.client.send(request)
    };
    let left =
        |reply: &Reply| reply.header("ratelimit").unwrap().split([';', '=']).nth(2).unwrap().to_owned();
    assert_eq!(left(&limit("198.51.100.1").await), "59");
    assert_eq!(left(&limit("198.51.100.2").await), "59");
    fake.tell("mode", "hang");
    fake.tell("leave", "now");
    until_state(&process, "error").await;
    assert_eq!(left(&limit("198.51.100.1").await), "59", "it is this machine now");
    assert_eq!(left(&limit("198.51.100.2").await), "58");
}

/// Failure 22: "local only" routes trust a loopback peer, which behind a tunnel is the whole internet.
#[tokio::test]
async fn no_route_trusts_whoever_comes_from_this_machine() {
    let (folder, fake) = (TempDir::new().unwrap(), FakeTunnel::new());
    let process = start(folder.path(), &fake, &provider("ngrok"));
    let edge = Client::new(([127, 0, 0, 1], fake.run(0).await.edge).into());
    for (path, status) in [("/webhook", 401), ("/pair", 403), ("/admin/shutdown", 404), ("/pair/code", 404)] {
        assert_eq!(through(&edge, "198.51.100.1", path, None).await.status, status, "{path}");
        let local = process.client.send(process.client.request(Method::POST, path)).await;
        assert_eq!(local.status, status, "{path}: this machine is nobody either");
    }
}
