//! Which paths and methods there are.

use reqwest::Method;

use super::*;

#[tokio::test]
async fn an_unknown_path_is_not_found_whatever_the_method() {
    let gateway = Gateway::start().await;
    for path in
        ["/", "/nothing", "/health/", "//health", "/Health", "/webhook/x", "/%68ealth", "/../etc/passwd"]
    {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            Raw::connect(gateway.address()).await.ask(request).await.assert_is(404, NOT_FOUND);
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let gateway = Gateway::start().await;
    for (path, allowed) in
        [("/health", "GET,HEAD"), ("/ready", "GET,HEAD"), ("/pair", "POST"), ("/webhook", "POST")]
    {
        let wrong = if allowed == "POST" { "GET" } else { "POST" };
        for method in [wrong, "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = gateway.client.send(gateway.client.request(method, path)).await;
            reply.assert_is(405, METHOD_NOT_ALLOWED);
            assert_eq!(reply.header("allow"), Some(allowed), "{path}");
        }
    }
    let reply = gateway.client.send(gateway.client.request(Method::POST, "/metrics")).await;
    assert_eq!((reply.status, reply.text.as_str()), (405, METHOD_NOT_ALLOWED));
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn head_is_answered_like_get_but_without_a_body() {
    let gateway = Gateway::start().await;
    let mut connection = Raw::connect(gateway.address()).await;
    for path in ["/health", "/ready", "/metrics", "/nothing"] {
        let get = connection.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        // If a body were sent, it would be read as the next answer.
        let head = connection.reply_to_head().await;
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "cache-control", "x-frame-options"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    for path in ["/pair", "/webhook"] {
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let head = connection.reply_to_head().await;
        assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    }
}

#[tokio::test]
async fn a_query_a_whole_url_and_an_old_http_version_change_nothing() {
    let gateway = Gateway::start().await;
    for line in ["GET /ready?x=y#z HTTP/1.1", "GET http://elsewhere/ready HTTP/1.1", "GET /ready HTTP/1.0"] {
        let reply = Raw::connect(gateway.address()).await.ask(format!("{line}\r\nHost: x\r\n\r\n")).await;
        reply.assert_is(200, r#"{"status":"ready"}"#);
    }
}
