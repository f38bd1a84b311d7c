use serde_json::{Value, json};

use super::*;
use crate::{
    channel::{
        Retry,
        tests::{NOW, TIMEOUT, fixture, headers, only_message, send, signed},
    },
    domain::channel::{Content, Inbound, SentStatus, Skip, StatusUpdate},
    outbound::test_server::Reaction,
};

const NUMBER: &str = "106540352242922";

fn settings(url: &str) -> WhatsAppSettings {
    WhatsAppSettings {
        api_base_url: url.to_owned(),
        access_token: Secret::new("EAAJ"),
        phone_number_id: NUMBER.into(),
        app_secret: Some(Secret::new(signed("/whatsapp/secret"))),
        allowed_numbers: AllowList::phone_numbers(["+1 650 555 1234"]),
        reply_to_unsupported: true,
        timeout: TIMEOUT,
    }
}

fn channel_of(settings: WhatsAppSettings) -> WhatsApp {
    WhatsApp::new(settings, &Client::new(TIMEOUT).unwrap()).unwrap()
}

fn channel() -> WhatsApp {
    channel_of(settings("http://x"))
}

fn signature_holds(signature: &str, body: &[u8]) -> bool {
    channel().verify(&headers(&[("x-hub-signature-256", signature)]), body, NOW).is_ok()
}

#[test]
fn what_others_signed_holds() {
    for name in ["whatsapp_text.json", "whatsapp_escaped.json"] {
        let (signature, body) = (signed(&format!("/whatsapp/signatures/{name}")), fixture(name));
        let digits = signature.strip_prefix("sha256=").unwrap();
        assert!(signature_holds(&signature, &body), "{name}");
        assert!(signature_holds(&format!("sha256={}", digits.to_uppercase()), &body), "{name}");
        for bad in [
            digits.to_owned(),
            format!("SHA256={digits}"),
            format!("sha1={digits}"),
            format!("sha256= {digits}"),
            format!("sha256={}", &digits[2..]),
            format!("sha256={digits}00"),
            format!("sha256={}", "0".repeat(64)),
            "sha256=".to_owned(),
            String::new(),
        ] {
            assert!(!signature_holds(&bad, &body), "{bad}");
        }
        assert!(!signature_holds(&signature, &[&body[..], b" "].concat()), "{name}");
    }
}

#[test]
fn a_payload_that_was_written_again_does_not_hold() {
    let body = fixture("whatsapp_escaped.json");
    let again = serde_json::from_slice::<Value>(&body).unwrap().to_string();
    assert!(!signature_holds(&signed("/whatsapp/signatures/whatsapp_escaped.json"), again.as_bytes()));
}

#[test]
fn a_missing_or_doubled_signature_does_not_hold() {
    let (signature, body) =
        (signed("/whatsapp/signatures/whatsapp_text.json"), fixture("whatsapp_text.json"));
    assert_eq!(channel().verify(&HeaderMap::new(), &body, NOW), Err(BadSignature));
    let name = "x-hub-signature-256";
    let doubled = headers(&[(name, &signature), (name, &signature)]);
    assert_eq!(doubled.len(), 2);
    assert_eq!(channel().verify(&doubled, &body, NOW), Err(BadSignature));
}

#[test]
fn a_blank_secret_or_number_is_refused() {
    let new = |settings| WhatsApp::new(settings, &Client::new(TIMEOUT).unwrap());
    let blank = Some(Secret::new(" "));
    assert!(matches!(
        new(WhatsAppSettings { app_secret: blank, ..settings("http://x") }),
        Err(SetupError::Secret(_))
    ));
    for id in ["", ".."] {
        let settings = WhatsAppSettings { phone_number_id: id.into(), ..settings("http://x") };
        assert!(matches!(new(settings), Err(SetupError::PhoneNumberId)), "{id:?}");
    }
}

fn value_of(value: &Value, number: &str) -> Value {
    let mut value = value.clone();
    value["metadata"] = json!({"display_phone_number": "15550783881", "phone_number_id": number});
    json!({"field": "messages", "value": value})
}

fn payload_of(changes: &[Value]) -> Vec<u8> {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]})
        .to_string()
        .into_bytes()
}

fn message(kind: &str, content: &Value) -> Value {
    json!({"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383", "type": kind, kind: content})
}

fn read_with(channel: &WhatsApp, messages: &Value) -> Payload {
    channel.parse(&payload_of(&[value_of(&json!({"messages": messages}), NUMBER)])).unwrap()
}

fn read_one(message: &Value) -> Result<Inbound, Skip> {
    only_message(read_with(&channel(), &json!([message])))
}

fn text_of(message: &Inbound) -> Option<&str> {
    match &message.content {
        Content::Text(text) => Some(text.as_str()),
        Content::NotText => None,
    }
}

#[test]
fn a_text_is_read() {
    let read = channel().parse(&fixture("whatsapp_escaped.json")).unwrap();
    let message = only_message(read).unwrap();
    let id = "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQUFERjg0NDEzNDdFODU3MUMxMAA=";
    assert_eq!(message.platform_id, id);
    assert_eq!(message.reply_to.as_deref(), Some(id));
    assert_eq!((message.address.sender.as_str(), message.address.room.as_str()), ("+16505551234", ""));
    assert_eq!(text_of(&message), Some("Grüße äus München 😀 https://example.com/"));
}

#[test]
fn what_carries_words_is_read() {
    for (kind, content, text) in [
        ("text", json!({"body": "Does it come in another color?"}), "Does it come in another color?"),
        ("button", json!({"payload": "No-Button-Payload", "text": "No"}), "No"),
        ("interactive", json!({"type": "button_reply", "button_reply": {"id": "1", "title": "Yes"}}), "Yes"),
        (
            "interactive",
            json!({"type": "list_reply", "list_reply": {"id": "2", "title": "Two", "description": "II"}}),
            "Two",
        ),
    ] {
        assert_eq!(text_of(&read_one(&message(kind, &content)).unwrap()), Some(text), "{kind}");
    }
}

#[test]
fn what_carries_no_words_is_not_text_or_is_left_alone() {
    let mute = channel_of(WhatsAppSettings { reply_to_unsupported: false, ..settings("http://x") });
    for (kind, content) in [
        ("image", json!({"caption": "Look", "mime_type": "image/jpeg", "sha256": "x", "id": "1"})),
        ("audio", json!({"mime_type": "audio/ogg; codecs=opus", "sha256": "x", "id": "1", "voice": true})),
        ("voice", json!({"id": "1"})),
        ("video", json!({"id": "1"})),
        ("document", json!({"id": "1", "filename": "a.pdf"})),
        ("sticker", json!({"id": "1", "animated": false})),
        ("location", json!({"latitude": 44.8, "longitude": -0.5})),
        ("contacts", json!([{"name": {"formatted_name": "A"}}])),
        ("order", json!({"catalog_id": "1", "product_items": []})),
        ("interactive", json!({"type": "nfm_reply", "nfm_reply": {"response_json": "{}", "body": "Sent"}})),
        ("unsupported", json!({"type": "unknown"})),
        ("hologram", json!({})),
    ] {
        let message = message(kind, &content);
        assert_eq!(read_one(&message).unwrap().content, Content::NotText, "{kind}");
        assert_eq!(only_message(read_with(&mute, &json!([message]))), Err(Skip::OtherKind), "{kind}");
    }
}

#[test]
fn what_nobody_waits_for_an_answer_to_is_skipped() {
    for (kind, content) in [
        ("reaction", json!({"message_id": "wamid.0", "emoji": "👍"})),
        ("system", json!({"body": "User A changed from 1 to 2", "type": "user_changed_number"})),
        ("request_welcome", json!({})),
        ("ephemeral", json!({})),
    ] {
        assert_eq!(read_one(&message(kind, &content)), Err(Skip::OtherKind), "{kind}");
    }
}

#[test]
fn what_is_not_as_documented_is_skipped_alone() {
    let good = message("text", &json!({"body": "hi"}));
    for (name, value, skip) in [
        ("id", json!(null), Skip::Malformed),
        ("id", json!(""), Skip::Malformed),
        ("id", json!(7), Skip::Malformed),
        ("from", json!(null), Skip::Malformed),
        ("from", json!("nobody"), Skip::Malformed),
        ("from", json!("16505551235"), Skip::NotAllowed),
        ("type", json!(null), Skip::Malformed),
        ("text", json!({"body": " \n"}), Skip::Blank),
        ("text", json!({"body": 7}), Skip::Malformed),
        ("text", json!("hi"), Skip::Malformed),
    ] {
        let mut odd = good.clone();
        odd[name] = value;
        assert_eq!(read_one(&odd), Err(skip), "{odd}");
        let read = read_with(&channel(), &json!([odd, good, [odd]]));
        assert_eq!((read.messages.len(), read.skipped), (1, vec![skip, Skip::Malformed]), "{odd}");
    }
}

#[test]
fn a_sender_is_a_plus_and_digits() {
    for from in ["16505551234", "+16505551234", "+1 650 555-1234"] {
        let mut message = message("text", &json!({"body": "hi"}));
        message["from"] = json!(from);
        assert_eq!(read_one(&message).unwrap().address.sender, "+16505551234", "{from}");
    }
}

#[test]
fn a_message_says_when_it_was_sent_if_that_can_be_read() {
    let sent = |timestamp: Value| {
        let mut message = message("text", &json!({"body": "hi"}));
        message["timestamp"] = timestamp;
        read_one(&message).unwrap().sent_at
    };
    assert_eq!(sent(json!("1790000000")), Some(Millis(1_790_000_000_000)));
    for unreadable in [json!(null), json!("soon"), json!([]), json!("99999999999999999999")] {
        assert_eq!(sent(unreadable.clone()), None, "{unreadable}");
    }
}

#[test]
fn only_our_number_is_read_and_the_order_is_kept() {
    let with_id = |id: &str| {
        let mut message = message("text", &json!({"body": "hi"}));
        message["id"] = json!(id);
        message
    };
    let status = json!([{"id": "wamid.9", "status": "sent", "timestamp": "1"}]);
    let others = json!({"messages": [with_id("x"), with_id("y")], "statuses": status});
    let payload = payload_of(&[
        value_of(&json!({"messages": [with_id("a"), with_id("b")]}), NUMBER),
        value_of(&others, "999"),
        json!({"field": "account_update", "value": {}}),
        json!({"field": "messages", "value": {"messages": [with_id("z")]}}),
        json!(7),
        value_of(&json!({"messages": [with_id("c")]}), NUMBER),
    ]);
    let read = channel().parse(&payload).unwrap();
    let ids: Vec<_> = read.messages.iter().map(|message| message.platform_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(read.statuses, []);
    let other = Skip::OtherNumber;
    assert_eq!(read.skipped, [other, other, other, Skip::OtherKind, other, Skip::Malformed]);
}

#[test]
fn statuses_tell_how_far_a_message_is() {
    let status =
        |word: &str| json!({"id": "wamid.2", "status": word, "timestamp": "1750030073", "recipient_id": "1"});
    let statuses: Vec<_> = ["sent", "delivered", "read", "failed", "deleted"].map(status).into();
    let read = channel().parse(&payload_of(&[value_of(&json!({"statuses": statuses}), NUMBER)])).unwrap();
    let update =
        |status| StatusUpdate { platform_id: "wamid.2".into(), status, at: Some(Millis(1_750_030_073_000)) };
    let known = [SentStatus::Sent, SentStatus::Delivered, SentStatus::Read, SentStatus::Failed];
    assert_eq!(read.statuses, known.map(update));
    assert_eq!(read.skipped, [Skip::Malformed]);
    let undated = json!({"statuses": [{"id": "wamid.2", "status": "read"}, {"status": "read"}]});
    let read = channel().parse(&payload_of(&[value_of(&undated, NUMBER)])).unwrap();
    assert_eq!(read.statuses.iter().map(|status| status.at).collect::<Vec<_>>(), [None]);
    assert_eq!(read.skipped, [Skip::Malformed]);
}

#[test]
fn an_object_without_entries_holds_nothing() {
    for body in ["{}", r#"{"entry":[]}"#, r#"{"entry":null}"#, r#"{"entry":[{}]}"#] {
        assert_eq!(channel().parse(body.as_bytes()), Ok(Payload::default()), "{body}");
    }
    for body in [r#"{"entry":{}}"#, r#"{"entry":[[]]}"#, r#"{"entry":[{"changes":7}]}"#] {
        assert_eq!(channel().parse(body.as_bytes()).unwrap().skipped, [Skip::Malformed], "{body}");
    }
}

async fn sent(reply_to: Option<&str>, reaction: Reaction) -> (Result<Accepted, SendError>, String) {
    let open = |url: &str| Box::new(channel_of(settings(&format!("{url}/v23.0/")))) as Box<dyn Channel>;
    let (result, calls) = send(open, ("+16505551234", ""), reply_to, "Grüße \"Ada\"\n😀", &[reaction]).await;
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v23.0/106540352242922/messages"));
    assert_eq!(call.header("authorization"), "Bearer EAAJ");
    assert_eq!(call.header("content-type"), "application/json");
    (result, call.body.clone())
}

#[tokio::test]
async fn a_reply_is_sent_to_the_byte() {
    let answer = r#"{"messaging_product":"whatsapp","contacts":[{"input":"16505551234","wa_id":"16505551234"}],"messages":[{"id":"wamid.3"}]}"#;
    let (result, body) = sent(Some("wamid.1"), Reaction::status(200, answer)).await;
    assert_eq!(result, Ok(Accepted { platform_id: Some("wamid.3".into()) }));
    assert_eq!(
        body,
        r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"16505551234","context":{"message_id":"wamid.1"},"type":"text","text":{"preview_url":false,"body":"Grüße \"Ada\"\n😀"}}"#
    );
    let (_, body) = sent(None, Reaction::status(200, answer)).await;
    assert_eq!(
        body,
        r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"16505551234","type":"text","text":{"preview_url":false,"body":"Grüße \"Ada\"\n😀"}}"#
    );
}

#[tokio::test]
async fn a_rate_limit_is_known_by_its_code() {
    let refusal = |status: u16, code: &str| {
        let body = format!(r#"{{"error":{{"message":"(#{code})","type":"OAuthException","code":{code}}}}}"#);
        Reaction::Answer(status, &[("retry-after", "60")], body)
    };
    let pause = Retry::After(Some(Duration::from_mins(1)));
    for code in ["4", "80007", "130429", "131048", "131056"] {
        for status in [400, 403] {
            let error = sent(None, refusal(status, code)).await.0.unwrap_err();
            assert_eq!((error.class, error.retry), ("rate_limited", pause), "{code}");
        }
    }
    for (status, code, class) in [
        (400, "131026", "refused"),
        (400, "100", "refused"),
        (400, "1e999", "refused"),
        (400, "\"4\"", "refused"),
        (401, "190", "unauthorized"),
        (403, "10", "unauthorized"),
    ] {
        let error = sent(None, refusal(status, code)).await.0.unwrap_err();
        assert_eq!(error, SendError::never(class), "{code}");
    }
}
