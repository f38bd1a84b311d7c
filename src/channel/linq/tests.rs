use serde_json::{Value, json};

use super::*;
use crate::{
    channel::{
        Retry,
        tests::{TIMEOUT, fixture, headers, only_message, send, signed},
    },
    domain::channel::{Content, Inbound, Skip},
    outbound::test_server::{Call, Reaction},
};

const NOW: Millis = Millis(1_770_312_600_000);
const SENT_AT: &str = "1770312600";
const CHAT: &str = "94c6bf33-31d9-40e3-a0e9-f94250ecedb9";
const FIXTURES: [&str; 2] = ["linq_old.json", "linq_2026.json"];

fn settings(url: &str) -> LinqSettings {
    LinqSettings {
        api_base_url: url.to_owned(),
        api_token: Secret::new("linq-token"),
        from_phone: "+12052532136".into(),
        signing_secret: Some(Secret::new(signed("/linq/secret"))),
        allowed_senders: AllowList::phone_numbers_and_emails(["+1 205 253 5597", "Ada@Example.com"]),
        timeout: TIMEOUT,
    }
}

fn channel() -> Linq {
    Linq::new(settings("http://x"), &Client::new(TIMEOUT).unwrap()).unwrap()
}

fn holds(fields: &[(&'static str, &str)], name: &str, now: Millis) -> bool {
    channel().verify(&headers(fields), &fixture(name), now) == Ok(Verified::default())
}

#[test]
fn what_others_signed_in_either_scheme_holds() {
    for name in FIXTURES {
        let (standard, older) =
            (signed(&format!("/linq/standard/{name}")), signed(&format!("/linq/older/{name}")));
        let id = signed("/linq/id");
        let new = [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", SENT_AT),
            ("webhook-signature", standard.as_str()),
        ];
        let old = [("x-webhook-timestamp", SENT_AT), ("x-webhook-signature", older.as_str())];
        assert!(holds(&new, name, NOW) && holds(&old, name, NOW), "{name}");
        assert!(holds(&[&new[..], &old].concat(), name, NOW), "{name}");
        let prefixed = format!("sha256={}", older.to_uppercase());
        assert!(holds(&[old[0], (old[1].0, &prefixed)], name, NOW), "{name}");

        let wrong = [new[0], new[1], (new[2].0, "v1,AAAA")];
        assert!(!holds(&[&wrong[..], &old].concat(), name, NOW), "the standard one decides");
        assert!(
            !holds(&[new[2], old[0], old[1]], name, NOW),
            "the standard one decides, missing headers and all"
        );
    }
}

#[test]
fn the_older_scheme_is_as_strict() {
    let name = FIXTURES[0];
    let signature = signed(&format!("/linq/older/{name}"));
    let at = |timestamp: &str, now: i64| {
        holds(&[("x-webhook-timestamp", timestamp), ("x-webhook-signature", &signature)], name, Millis(now))
    };
    assert!(at(SENT_AT, NOW.0 + 300_000) && at(SENT_AT, NOW.0 - 300_000));
    assert!(!at(SENT_AT, NOW.0 + 301_000) && !at(SENT_AT, NOW.0 - 301_000));
    for timestamp in
        ["", "1770312601", "01770312600", "1770312600.0", "-9223372036854775808", "9223372036854775807"]
    {
        assert!(!at(timestamp, NOW.0) && !at(timestamp, i64::MAX), "{timestamp}");
    }
    let (timestamp, signature) =
        (("x-webhook-timestamp", SENT_AT), ("x-webhook-signature", signature.as_str()));
    for fields in [
        vec![],
        vec![timestamp],
        vec![signature],
        vec![timestamp, signature, signature],
        vec![timestamp, timestamp, signature],
        vec![timestamp, ("x-webhook-signature", "")],
        vec![timestamp, ("x-webhook-signature", &signature.1[1..])],
    ] {
        assert!(!holds(&fields, name, NOW), "{fields:?}");
    }
    assert!(!holds(&[timestamp, signature], FIXTURES[1], NOW), "another body");
}

#[test]
fn a_secret_that_is_no_key_is_refused() {
    for secret in ["", "whsec_", "whsec_?"] {
        let settings = LinqSettings { signing_secret: Some(Secret::new(secret)), ..settings("http://x") };
        let result = Linq::new(settings, &Client::new(TIMEOUT).unwrap());
        assert!(matches!(result, Err(SetupError::Secret(_))), "{secret}");
    }
}

fn read(event: &Value) -> Result<Inbound, Skip> {
    only_message(channel().parse(event.to_string().as_bytes()).unwrap())
}

fn event(name: &str) -> Value {
    serde_json::from_slice(&fixture(name)).unwrap()
}

/// The payload with this in place of what is there.
fn with(name: &str, pointer: &str, value: Value) -> Value {
    let mut event = event(name);
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[member] = value;
    event
}

fn text_of(message: &Inbound) -> &str {
    match &message.content {
        Content::Text(text) => text.as_str(),
        Content::NotText => panic!("{message:?}"),
    }
}

#[test]
fn both_versions_are_read() {
    for (name, id, text) in [
        (
            FIXTURES[0],
            "8f14e45f-ceea-467f-a0e6-1a2b3c4d5e6f",
            "Hello\n[IMAGE:https://cdn.linqapp.com/a/photo.jpg]",
        ),
        (FIXTURES[1], "f0c8a1d2-5b1c-4a7e-9d58-0b9f6c2f7d11", "Grüße äus Köln 😀"),
    ] {
        let message = read(&event(name)).unwrap();
        assert_eq!(message.platform_id, id);
        assert_eq!(message.address.sender, "+12052535597");
        assert_eq!(message.address.room, CHAT);
        assert_eq!((message.reply_to.as_deref(), text_of(&message)), (None, text));
    }
}

#[test]
fn a_message_is_known_by_its_event_then_by_its_own_id_then_by_its_bytes() {
    for (name, id) in [(FIXTURES[0], "/data/message/id"), (FIXTURES[1], "/data/id")] {
        let by_message = with(name, "/event_id", json!(""));
        assert_eq!(read(&by_message).unwrap().platform_id, "69a37c7d-af4f-4b5e-af42-e28e98ce873a");
        let mut by_bytes = by_message;
        *by_bytes.pointer_mut(id).unwrap() = json!(null);
        let platform_id = read(&by_bytes).unwrap().platform_id;
        let hex = platform_id.strip_prefix("sha256:").unwrap();
        assert_eq!(hex.len(), 64);
        assert_eq!(read(&by_bytes).unwrap().platform_id, platform_id);
        by_bytes["trace_id"] = json!("another");
        assert_ne!(read(&by_bytes).unwrap().platform_id, platform_id);
    }
}

#[test]
fn our_own_messages_and_other_events_are_skipped() {
    let (old, new) = (FIXTURES[0], FIXTURES[1]);
    for (event, skip) in [
        (with(old, "/data/is_from_me", json!(true)), Skip::OwnMessage),
        (with(new, "/data/direction", json!("outbound")), Skip::OwnMessage),
        (with(new, "/data/sender_handle/is_me", json!(true)), Skip::OwnMessage),
        (with(old, "/event_type", json!("message.sent")), Skip::OtherKind),
        (with(new, "/event_type", json!("reaction.added")), Skip::OtherKind),
        (with(new, "/event_type", json!(null)), Skip::Malformed),
        (with(old, "/data", json!([])), Skip::Malformed),
        (with(old, "/data/from", json!(7)), Skip::Malformed),
        (with(new, "/data/sender_handle/handle", json!("")), Skip::Malformed),
        (with(old, "/data/from", json!("+12052535598")), Skip::NotAllowed),
        (with(new, "/data/sender_handle/handle", json!("eve@example.com")), Skip::NotAllowed),
    ] {
        assert_eq!(read(&event), Err(skip), "{event}");
    }
}

#[test]
fn an_email_address_is_a_sender_too() {
    let event = with(FIXTURES[1], "/data/sender_handle/handle", json!(" ada@example.com "));
    assert_eq!(read(&event).unwrap().address.sender, "ada@example.com");
}

#[test]
fn a_message_without_a_chat_has_a_blank_room() {
    for (name, pointer) in [(FIXTURES[0], "/data/chat_id"), (FIXTURES[1], "/data/chat")] {
        assert_eq!(read(&with(name, pointer, json!(null))).unwrap().address.room, "");
    }
}

#[test]
fn parts_are_lines() {
    for (parts, text) in [
        (json!([{"type": "text", "value": "a"}, {"type": "text", "value": "b"}]), Ok("a\nb")),
        (
            json!([{"type": "image", "mime_type": "Image/PNG", "value": "https://x/1"}]),
            Ok("[IMAGE:https://x/1]"),
        ),
        (json!([{"type": "link", "value": "https://example.com"}]), Ok("https://example.com")),
        (json!([7, {"type": "text", "value": "a"}, [], {"type": "text", "value": 7}]), Ok("a")),
        (json!([{"type": "media", "mime_type": "audio/mp4", "url": "https://x/1"}]), Err(Skip::Blank)),
        (json!([{"type": "media", "url": "https://x/1"}]), Err(Skip::Blank)),
        (json!([{"type": "imessage_app", "url": "https://x/1"}]), Err(Skip::Blank)),
        (json!([{"type": "text", "value": " \n"}]), Err(Skip::Blank)),
        (json!([]), Err(Skip::Blank)),
        (json!({}), Err(Skip::Blank)),
        (json!(null), Err(Skip::Blank)),
    ] {
        for (name, pointer) in [(FIXTURES[0], "/data/message/parts"), (FIXTURES[1], "/data/parts")] {
            let message = read(&with(name, pointer, parts.clone()));
            assert_eq!(message.as_ref().map(text_of).map_err(|skip| *skip), text, "{parts}");
        }
    }
}

async fn sent(room: &str, reactions: &[Reaction]) -> (Result<Accepted, SendError>, Vec<Call>) {
    let open = |url: &str| {
        let settings = settings(&format!("{url}/api/partner/v3"));
        Box::new(Linq::new(settings, &Client::new(TIMEOUT).unwrap()).unwrap()) as Box<dyn Channel>
    };
    send(open, ("+12052535597", room), None, "Grüße \"Ada\"\n😀", reactions).await
}

const MESSAGE: &str =
    r#"{"parts":[{"type":"text","value":"Grüße \"Ada\"\n😀"}],"idempotency_key":"delivery-7-1"}"#;
const SENT: &str = r#"{"chat_id":"94c6","message":{"id":"m-1","parts":[],"delivery_status":"pending"}}"#;
const BEGUN: &str = r#"{"chat":{"id":"94c6","handles":[],"message":{"id":"m-2","parts":[]}}}"#;

fn assert_asked(call: &Call, path: &str, body: &str) {
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", path));
    assert_eq!(call.header("authorization"), "Bearer linq-token");
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.body, body);
}

fn in_chat() -> String {
    format!(r#"{{"message":{MESSAGE}}}"#)
}

fn new_chat() -> String {
    format!(r#"{{"from":"+12052532136","to":["+12052535597"],"message":{MESSAGE}}}"#)
}

#[tokio::test]
async fn a_reply_goes_into_its_chat() {
    let (result, calls) = sent(CHAT, &[Reaction::status(202, SENT)]).await;
    assert_eq!(result, Ok(Accepted { platform_id: Some("m-1".into()) }));
    assert_eq!(calls.len(), 1);
    assert_asked(&calls[0], &format!("/api/partner/v3/chats/{CHAT}/messages"), &in_chat());
}

#[tokio::test]
async fn a_chat_id_stays_within_its_place_in_the_path() {
    let (_, calls) = sent("a/../b?c ü", &[Reaction::status(202, SENT)]).await;
    assert_asked(&calls[0], "/api/partner/v3/chats/a%2F..%2Fb%3Fc%20%C3%BC/messages", &in_chat());
}

#[tokio::test]
async fn a_chat_that_is_gone_is_begun_anew() {
    let reactions = [Reaction::status(404, "{}"), Reaction::status(201, BEGUN)];
    let (result, calls) = sent(CHAT, &reactions).await;
    assert_eq!(result, Ok(Accepted { platform_id: Some("m-2".into()) }));
    assert_eq!(calls.len(), 2);
    assert_asked(&calls[1], "/api/partner/v3/chats", &new_chat());
}

#[tokio::test]
async fn without_a_chat_one_is_begun() {
    for room in ["", "..", " "] {
        let (result, calls) = sent(room, &[Reaction::status(201, BEGUN)]).await;
        assert_eq!(result, Ok(Accepted { platform_id: Some("m-2".into()) }));
        assert_eq!(calls.len(), 1);
        assert_asked(&calls[0], "/api/partner/v3/chats", &new_chat());
    }
}

#[tokio::test]
async fn a_chat_that_cannot_be_begun_fails() {
    for (code, class, retry) in [(404, "refused", Retry::Never), (503, "overloaded", Retry::After(None))] {
        let reactions = [Reaction::status(404, "{}"), Reaction::status(code, "{}")];
        let (result, calls) = sent(CHAT, &reactions).await;
        assert_eq!((result, calls.len()), (Err(SendError { class, retry, in_doubt: false }), 2));
    }
}
