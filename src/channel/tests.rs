//! What holds for every channel, and what their tests share.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::{
        allow_list::AllowList,
        channel::{Inbound, Skip},
        secret::Secret,
    },
    outbound::{
        Client,
        test_server::{Call, Reaction, TestServer},
    },
    system::{Entropy, NoEntropy},
};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// When the messages of the fixtures were sent, about.
pub(super) const NOW: Millis = Millis(1_749_416_400_000);

/// A file of `tests/fixtures/channel/`.
pub(super) fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/channel").join(name)).unwrap()
}

/// The signatures of the fixtures, as others made them.
pub(super) fn signatures() -> Value {
    serde_json::from_slice(&fixture("signatures.json")).unwrap()
}

/// A text in there.
pub(super) fn signed(pointer: &str) -> String {
    signatures().pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

pub(super) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Sends a part that replies to `reply_to`, to a server that reacts in these ways.
pub(super) async fn send(
    channel: fn(&str) -> Box<dyn Channel>,
    to: (&str, &str),
    reply_to: Option<&str>,
    text: &str,
    reactions: &[Reaction],
) -> (Result<Accepted, SendError>, Vec<Call>) {
    let server = TestServer::start(reactions.iter().cloned()).await;
    let to = Address { sender: to.0.to_owned(), room: to.1.to_owned() };
    let part = Outbound { to: &to, reply_to, text, key: "delivery-7-1" };
    let result = channel(&server.url).send(&part).await;
    (result, server.calls())
}

/// A channel that answers everybody, reaches its platform at `url`, and checks no signature.
type Open = fn(&str) -> Box<dyn Channel>;

fn whatsapp(url: &str) -> Box<dyn Channel> {
    let settings = WhatsAppSettings {
        api_base_url: url.to_owned(),
        access_token: Secret::new("EAAJ"),
        phone_number_id: "106540352242922".into(),
        app_secret: None,
        allowed_numbers: AllowList::phone_numbers(["*"]),
        reply_to_unsupported: true,
        timeout: TIMEOUT,
    };
    Box::new(WhatsApp::new(settings, &Client::new(TIMEOUT).unwrap()).unwrap())
}

fn linq(url: &str) -> Box<dyn Channel> {
    let settings = LinqSettings {
        api_base_url: url.to_owned(),
        api_token: Secret::new("linq-token"),
        from_phone: "+12052532136".into(),
        signing_secret: None,
        allowed_senders: AllowList::phone_numbers_and_emails(["*"]),
        timeout: TIMEOUT,
    };
    Box::new(Linq::new(settings, &Client::new(TIMEOUT).unwrap()).unwrap())
}

fn talk(url: &str) -> Box<dyn Channel> {
    let settings = NextcloudTalkSettings {
        base_url: url.to_owned(),
        webhook_secret: Some(Secret::new("a secret")),
        reply_secret: Secret::new("a secret"),
        allowed_users: AllowList::talk_users(["*"]),
        timeout: TIMEOUT,
    };
    Box::new(NextcloudTalk::new(settings, &Client::new(TIMEOUT).unwrap(), Arc::new(Zeros)).unwrap())
}

/// Random bytes that everybody can guess.
pub(super) struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.fill(0);
        Ok(())
    }
}

const CHANNELS: [(Open, &str); 3] =
    [(whatsapp, "whatsapp_text.json"), (linq, "linq_2026.json"), (talk, "talk_create.json")];

async fn send_anything(channel: Open, reaction: Reaction) -> Result<Accepted, SendError> {
    let (result, calls) = send(channel, ("+15551234567", "room"), None, "hi", &[reaction]).await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    result
}

#[tokio::test]
async fn a_refusal_says_whether_and_when_to_try_again() {
    let never = |class| SendError { class, retry: Retry::Never, in_doubt: false };
    let later = |class, secs: Option<u64>| {
        let retry = Retry::After(secs.map(Duration::from_secs));
        SendError { class, retry, in_doubt: false }
    };
    let in_doubt = |class| SendError { in_doubt: true, ..later(class, None) };
    for (code, headers, error) in [
        (429, &[("retry-after", "17")][..], later("rate_limited", Some(17))),
        (429, &[], later("rate_limited", None)),
        (429, &[("retry-after", "99999999999999999999")], later("rate_limited", Some(86_400))),
        (503, &[("retry-after", "3")], later("overloaded", Some(3))),
        (500, &[], later("overloaded", None)),
        (408, &[], in_doubt("timed_out")),
        (502, &[], in_doubt("overloaded")),
        (504, &[], in_doubt("overloaded")),
        (400, &[("retry-after", "3")], never("refused")),
        (401, &[], never("unauthorized")),
        (403, &[], never("unauthorized")),
        (413, &[], never("too_long")),
        (422, &[], never("refused")),
        (302, &[("location", "http://127.0.0.1:1/")], never("refused")),
    ] {
        for (channel, _) in CHANNELS {
            let reaction = Reaction::Answer(code, headers, r#"{"error":"no"}"#.into());
            assert_eq!(send_anything(channel, reaction).await, Err(error), "{code} {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_in_doubt_unless_it_never_left() {
    for (channel, _) in CHANNELS {
        let broken = SendError { class: "unreachable", retry: Retry::After(None), in_doubt: true };
        assert_eq!(send_anything(channel, Reaction::HangUp).await, Err(broken));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let to = Address { sender: "+15551234567".into(), room: "room".into() };
        let part = Outbound { to: &to, reply_to: None, text: "hi", key: "delivery-7-1" };
        let unreachable = SendError { in_doubt: false, ..broken };
        assert_eq!(channel(&nobody).send(&part).await, Err(unreachable));
    }
    let late = SendError::from(outbound::CallError::TimedOut(TIMEOUT));
    assert_eq!(late, SendError { class: "timed_out", retry: Retry::After(None), in_doubt: true });
}

#[tokio::test]
async fn a_success_that_says_nothing_is_one_all_the_same() {
    for (channel, _) in CHANNELS {
        let long = "x".repeat(1024 * 1024 + 1);
        for body in ["", "<html>", "[]", "{\"messages\":7,\"message\":[],\"chat\":null}", &long] {
            let result = send_anything(channel, Reaction::status(200, body)).await;
            assert_eq!(result, Ok(Accepted { platform_id: None }), "{body:.60}");
        }
    }
}

#[test]
fn a_channel_without_a_secret_takes_any_call() {
    for (channel, name) in &CHANNELS[..2] {
        assert_eq!(
            channel("http://x").verify(&HeaderMap::new(), &fixture(name), NOW),
            Ok(Verified::default())
        );
    }
}

fn hostile_bodies() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let mut bodies: Vec<Vec<u8>> =
        ["", " ", "null", "7", "\"x\"", "[]", "[{}]", "{", "{}x", "{\"a\":}", "nul\u{0}"]
            .map(|text| text.as_bytes().to_vec())
            .to_vec();
    bodies.extend([vec![0xFF, 0xFE], b"{\"entry\":\"\xff\"}".to_vec(), b"\xef\xbb\xbf{}".to_vec()]);
    bodies.extend([deep("[", "]"), "[".repeat(100_000), "{\"a\":".repeat(100_000)].map(String::into_bytes));
    bodies
}

#[test]
fn what_is_no_json_object_is_refused() {
    for (channel, _) in CHANNELS {
        for body in hostile_bodies() {
            let result = channel("http://x").parse(&body);
            assert_eq!(result, Err(NotJson), "{:.60}", String::from_utf8_lossy(&body));
        }
    }
}

/// What may stand where something else is expected, as JSON text.
fn odd_values() -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    [
        "null",
        "true",
        "-1",
        "1e999",
        "123456789012345678901234567890",
        "0.1",
        "\"\"",
        "\" \"",
        "\"\\ud800\"",
        "[]",
        "[[]]",
        "[null]",
        "{}",
        "[{}]",
        "{\"id\":{}}",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([deep])
    .collect()
}

/// The pointers to everything in a value.
fn pointers(value: &Value) -> Vec<String> {
    let below = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        pointers(value).into_iter().map(move |rest| format!("/{name}{rest}")).collect::<Vec<_>>()
    };
    let inner: Vec<_> = match value {
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(i, item)| below(&i.to_string(), item)).collect()
        }
        Value::Object(members) => members.iter().flat_map(|(name, member)| below(name, member)).collect(),
        _ => Vec::new(),
    };
    std::iter::once(String::new()).chain(inner).collect()
}

/// The payload with the value there replaced by this JSON text.
fn replaced(payload: &Value, pointer: &str, odd: &str) -> Vec<u8> {
    let mut payload = payload.clone();
    *payload.pointer_mut(pointer).unwrap() = json!("@here@");
    payload.to_string().replace("\"@here@\"", odd).into_bytes()
}

#[test]
fn an_odd_value_anywhere_never_panics_and_is_counted() {
    for (channel, name) in CHANNELS {
        let (channel, payload) = (channel("http://x"), serde_json::from_slice(&fixture(name)).unwrap());
        for pointer in pointers(&payload).iter().filter(|pointer| !pointer.is_empty()) {
            for odd in odd_values() {
                let read = channel.parse(&replaced(&payload, pointer, &odd));
                let read = read.unwrap_or_else(|_| panic!("{pointer} {odd:.60}"));
                assert!(read.messages.len() + read.skipped.len() <= 2, "{pointer} {odd:.60} {read:?}");
            }
        }
    }
}

#[test]
fn an_odd_message_never_touches_its_neighbour() {
    let channel = whatsapp("http://x");
    let mut payload: Value = serde_json::from_slice(&fixture("whatsapp_text.json")).unwrap();
    let messages = payload.pointer_mut("/entry/0/changes/0/value/messages").unwrap().as_array_mut().unwrap();
    let mut second = messages[0].clone();
    second["id"] = json!("wamid.second");
    messages.push(second);
    let first = "/entry/0/changes/0/value/messages/0";
    for pointer in pointers(payload.pointer(first).unwrap()) {
        for odd in odd_values() {
            let read = channel.parse(&replaced(&payload, &format!("{first}{pointer}"), &odd)).unwrap();
            let ids: Vec<_> = read.messages.iter().map(|message| message.platform_id.as_str()).collect();
            assert_eq!(ids.last(), Some(&"wamid.second"), "{pointer} {odd:.60}");
            assert_eq!(ids.len() + read.skipped.len(), 2, "{pointer} {odd:.60}");
        }
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(channel in 0..3_usize, at in any::<Index>(), byte in any::<u8>(), cut in any::<Index>()) {
        static OPENED: LazyLock<[Box<dyn Channel>; 3]> = LazyLock::new(|| CHANNELS.map(|(open, _)| open("http://x")));
        let (channel, mut body) = (&OPENED[channel], fixture(CHANNELS[channel].1));
        let at = at.index(body.len());
        body[at] = byte;
        // What comes of it is one message at most.
        if let Ok(read) = channel.parse(&body) {
            prop_assert!(read.messages.len() <= 1);
        }
        prop_assert_eq!(channel.parse(&body[..cut.index(body.len() - 1)]), Err(NotJson));
    }
}

/// The only message of a payload, or why there is none.
pub(super) fn only_message(payload: Payload) -> Result<Inbound, Skip> {
    let Payload { mut messages, mut skipped, .. } = payload;
    match (messages.pop(), skipped.pop()) {
        (Some(message), None) if messages.is_empty() => Ok(message),
        (None, Some(skip)) if skipped.is_empty() => Err(skip),
        more => panic!("{more:?}"),
    }
}

#[test]
fn no_channel_shows_a_secret_or_a_number() {
    for (channel, _) in CHANNELS {
        assert!(channel("http://x").max_part_chars() >= 4096);
    }
    let whatsapp = WhatsAppSettings {
        api_base_url: "http://x".into(),
        access_token: Secret::new("s3cret-1"),
        phone_number_id: "106".into(),
        app_secret: Some(Secret::new("s3cret-2")),
        allowed_numbers: AllowList::phone_numbers(["+15551234567"]),
        reply_to_unsupported: true,
        timeout: TIMEOUT,
    };
    let linq = LinqSettings {
        api_base_url: "http://x".into(),
        api_token: Secret::new("s3cret-3"),
        from_phone: "+15551234567".into(),
        signing_secret: Some(Secret::new("s3cret-4")),
        allowed_senders: AllowList::phone_numbers_and_emails(["+15551234567"]),
        timeout: TIMEOUT,
    };
    let talk = NextcloudTalkSettings {
        base_url: "http://x".into(),
        webhook_secret: Some(Secret::new("s3cret-5")),
        reply_secret: Secret::new("s3cret-6"),
        allowed_users: AllowList::talk_users(["15551234567"]),
        timeout: TIMEOUT,
    };
    let client = Client::new(TIMEOUT).unwrap();
    let shown = [
        format!("{whatsapp:?} {linq:?} {talk:?}"),
        format!("{:?}", WhatsApp::new(whatsapp, &client).unwrap()),
        format!("{:?}", Linq::new(linq, &client).unwrap()),
        format!("{:?}", NextcloudTalk::new(talk, &client, Arc::new(Zeros)).unwrap()),
    ];
    for text in shown {
        assert!(!text.contains("s3cret") && !text.contains("5551234567"), "{text}");
    }
}
