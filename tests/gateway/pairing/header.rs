//! What is read of a request to `/pair`: its one header, and nothing of its body.

use reqwest::{Method, RequestBuilder, header::HeaderValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{gateway::Gateway, raw::soon};

use super::{REFUSED, assert_right_code_locked_out, start, wrong_code};

fn post(gateway: &Gateway) -> RequestBuilder {
    gateway.client.request(Method::POST, "/pair")
}

fn bytes(value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value).unwrap()
}

#[tokio::test]
async fn the_code_is_trimmed() {
    let gateway = Gateway::start().await;
    let padded = format!(" \t{}\t ", gateway.code.as_ref().unwrap());
    assert_eq!(
        gateway.client.send(post(&gateway).header("x-pairing-code", bytes(padded.as_bytes()))).await.status,
        200
    );
}

#[tokio::test]
async fn a_missing_or_malformed_code_is_a_failed_attempt() {
    let gateway = start().await;
    let code = gateway.code.clone().unwrap();
    let (half, rest) = code.split_at(3);
    let spaced = format!("{half} {rest}");
    let quoted = format!("\"{code}\"");
    let malformed: [&[u8]; 9] = [
        b"",
        half.as_bytes(),
        spaced.as_bytes(),
        quoted.as_bytes(),
        &[code.as_bytes(), b"0"].concat(),
        b"12345a",
        b"-12345",
        "１２３４５６".as_bytes(),
        b"\xff\xff\xff\xff\xff\xff",
    ];
    let mut requests =
        vec![post(&gateway), post(&gateway).header("X-Pairing-Code", &code).header("X-Pairing-Code", &code)];
    requests.extend(malformed.map(|value| post(&gateway).header("X-Pairing-Code", bytes(value))));
    for (n, request) in requests.into_iter().enumerate() {
        let reply = gateway.client.send(request).await;
        assert_eq!((reply.status, reply.text.as_str()), (403, REFUSED), "{n}");
        assert_eq!(gateway.sql("SELECT failed_attempts FROM pairing_code"), (n + 1).to_string());
        gateway.clock.advance(4 * super::MINUTE);
    }
    assert_eq!(gateway.client.pair(&code).await.status, 200, "none of them locked the client out");
}

#[tokio::test]
async fn five_requests_without_a_code_lock_their_client_out() {
    let gateway = start().await;
    for _ in 0..5 {
        assert_eq!(gateway.client.send(post(&gateway)).await.status, 403);
    }
    assert_right_code_locked_out(&gateway, 300).await;
}

#[tokio::test]
async fn the_body_is_ignored() {
    let gateway = Gateway::start().await;
    let (code, wrong) = (gateway.code.clone().unwrap(), wrong_code(&gateway));
    let body = format!(r#"{{"code":"{code}","pairing_code":"{code}"}}"#);
    let in_body =
        post(&gateway).header("X-Pairing-Code", wrong).header("Content-Type", "application/json").body(body);
    assert_eq!(gateway.client.send(in_body).await.status, 403);
    let junk =
        post(&gateway).header("X-Pairing-Code", code).header("Content-Type", "junk").body(vec![b'{'; 65_536]);
    assert_eq!(gateway.client.send(junk).await.status, 200);
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let gateway = Gateway::start().await;
    let head = format!(
        "POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {}\r\nContent-Length: 10\r\n\r\n",
        gateway.code.as_ref().unwrap()
    );
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_request_with_too_long_a_body_is_no_attempt() {
    let gateway = Gateway::start().await;
    let code = gateway.code.clone().unwrap();
    let reply =
        gateway.client.send(post(&gateway).header("X-Pairing-Code", code).body(vec![b' '; 65_537])).await;
    assert_eq!((reply.status, reply.text.as_str()), (413, r#"{"error":"Request body too large"}"#));
    assert_eq!(gateway.sql("SELECT state, failed_attempts FROM pairing_code"), "live|0");
    gateway.pair().await;
}

#[tokio::test]
async fn a_code_is_not_read_from_another_method() {
    let gateway = Gateway::start().await;
    let code = gateway.code.clone().unwrap();
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let request = gateway.client.request(method, "/pair").header("X-Pairing-Code", &code);
        let reply = gateway.client.send(request).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    }
    gateway.pair().await;
}
