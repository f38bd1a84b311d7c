//! The body: what is a message, and what is not.

use super::*;

async fn send(gateway: &Gateway, token: &str, body: impl Into<reqwest::Body>) -> Reply {
    gateway.client.send(gateway.client.message(token, None, "").body(body)).await
}

#[tokio::test]
async fn what_is_not_a_message_is_refused() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED]).await;
    let deep = "[".repeat(10_000);
    let deep_message = format!(r#"{{"message":{deep}{}}}"#, "]".repeat(10_000));
    for body in [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"text":"hello"}"#,
        r#"{"Message":"hello"}"#,
        r#"{"message":null}"#,
        r#"{"message":5}"#,
        r#"{"message":["hello"]}"#,
        r#"{"message":""}"#,
        r#"{"message":" \t\r\n\u00a0"}"#,
        r#"{"message":"hello"} {}"#,
        r#"{"message":"a","message":"b"}"#,
        r#"{"message":"\ud800"}"#,
        "{\"message\":\"a\nb\"}",
        "message=hello",
        deep.as_str(),
        deep_message.as_str(),
    ] {
        send(&gateway, &token, body.to_owned()).await.assert_is(400, INVALID_BODY);
    }
    let not_utf8: &[u8] = b"{\"message\":\"\xff\xfe\"}";
    send(&gateway, &token, not_utf8).await.assert_is(400, INVALID_BODY);
    assert_eq!(gateway.model.calls(), 0);
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "0");
}

#[tokio::test]
async fn unknown_fields_are_ignored_however_deep_they_are() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for more in [r#""user":"u","n":1e999"#, &format!(r#""deep":{deep}"#)] {
        assert_answered(&send(&gateway, &token, format!(r#"{{{more},"message":"hello"}}"#)).await);
    }
}

#[tokio::test]
async fn the_body_must_be_called_json() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let kinds: [(&str, bool); 11] = [
        ("application/json", true),
        ("application/json; charset=utf-8", true),
        ("application/json;charset=utf-8", true),
        ("Application/JSON", true),
        ("application/cloudevents+json", true),
        ("", false),
        ("text/plain", false),
        ("text/json", false),
        ("application/jsonp", false),
        ("application/x-www-form-urlencoded", false),
        ("é", false),
    ];
    let body = r#"{"message":"hello"}"#;
    let start = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 19\r\n"
    );
    let mut connection = Raw::connect(gateway.address()).await;
    for (kind, is_json) in kinds {
        let reply = connection.ask(format!("{start}Content-Type: {kind}\r\n\r\n{body}")).await;
        if is_json {
            assert_answered(&reply);
        } else {
            reply.assert_is(400, INVALID_BODY);
        }
    }
    connection.ask(format!("{start}\r\n{body}")).await.assert_is(400, INVALID_BODY);
}

#[tokio::test]
async fn every_text_is_stored_and_answered_as_it_came() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let texts =
        ["\0", "a\0b", " hi\r\n", "😀\u{202e}\u{feff}", "'; DROP TABLE message; --", "\u{7f}\u{1}\"\\"];
    for text in texts {
        let reply = gateway.client.post(&token, None, text).await;
        assert_eq!(
            (reply.status, reply.json()["response"].as_str()),
            (200, Some(format!("{text}!").as_str()))
        );
    }
    let hex = |text: &str| text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"));
    let stored: Vec<_> = texts.iter().map(|text| format!("{0}|{0}21", hex(text))).collect();
    assert_eq!(gateway.sql("SELECT hex(text), hex(answer) FROM message ORDER BY id"), stored.join("\n"));
}
