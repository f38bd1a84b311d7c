use serde_json::{Value, json};

use super::*;
use crate::{
    channel::{
        Retry,
        tests::{NOW, TIMEOUT, Zeros, fixture, headers, only_message, send, signed},
    },
    domain::channel::{Address, Content, Inbound, Skip},
    outbound::test_server::{Call, Reaction},
    system::NoEntropy,
};

const FIXTURE: &str = "talk_create.json";
const RANDOM: &str = "x-nextcloud-talk-random";
const SIGNATURE: &str = "x-nextcloud-talk-signature";

fn settings(url: &str) -> NextcloudTalkSettings {
    NextcloudTalkSettings {
        base_url: url.to_owned(),
        webhook_secret: Some(Secret::new(signed("/talk/secret"))),
        reply_secret: Secret::new(signed("/talk/secret")),
        allowed_users: AllowList::talk_users(["ada-lovelace", "guests/0a1b"]),
        timeout: TIMEOUT,
    }
}

fn channel_of(settings: NextcloudTalkSettings) -> NextcloudTalk {
    NextcloudTalk::new(settings, &Client::new(TIMEOUT).unwrap(), Arc::new(Zeros)).unwrap()
}

fn channel() -> NextcloudTalk {
    channel_of(settings("http://x"))
}

fn verify(fields: &[(&'static str, &str)], body: &[u8]) -> Result<Verified, BadSignature> {
    channel().verify(&headers(fields), body, NOW)
}

#[test]
fn what_others_signed_holds_and_names_its_random() {
    let (random, signature) = (signed("/talk/random"), signed("/talk/signatures/talk_create.json"));
    for digits in [signature.clone(), signature.to_uppercase()] {
        let verified = verify(&[(RANDOM, &random), (SIGNATURE, &digits)], &fixture(FIXTURE));
        assert_eq!(verified, Ok(Verified { nonce: Some(random.clone()) }));
    }
    let written_again = serde_json::from_slice::<Value>(&fixture(FIXTURE)).unwrap().to_string();
    for (fields, body) in [
        (vec![], fixture(FIXTURE)),
        (vec![(RANDOM, random.as_str())], fixture(FIXTURE)),
        (vec![(SIGNATURE, signature.as_str())], fixture(FIXTURE)),
        (vec![(RANDOM, "another"), (SIGNATURE, &signature)], fixture(FIXTURE)),
        (vec![(RANDOM, &random), (SIGNATURE, "")], fixture(FIXTURE)),
        (vec![(RANDOM, &random), (SIGNATURE, &signature[..62])], fixture(FIXTURE)),
        (vec![(RANDOM, &random), (SIGNATURE, &signature), (SIGNATURE, &signature)], fixture(FIXTURE)),
        (vec![(RANDOM, &random), (RANDOM, &random), (SIGNATURE, &signature)], fixture(FIXTURE)),
        (vec![(RANDOM, &random), (SIGNATURE, &signature)], written_again.into_bytes()),
        (vec![(RANDOM, &random), (SIGNATURE, &signature)], Vec::new()),
    ] {
        assert_eq!(verify(&fields, &body), Err(BadSignature), "{fields:?}");
    }
}

#[test]
fn a_random_is_1_to_256_visible_characters() {
    let key = Key::new(&Secret::new(signed("/talk/secret"))).unwrap();
    let passes = |random: &str| {
        let signature = Hex(&key.sign(&[random.as_bytes(), b"{}"])).to_string();
        verify(&[(RANDOM, random), (SIGNATURE, &signature)], b"{}").is_ok()
    };
    assert!(passes("x") && passes(&"x".repeat(256)));
    assert!(!passes("") && !passes(" ") && !passes("a b") && !passes("a\tb") && !passes(&"x".repeat(257)));
}

#[test]
fn the_boundary_between_random_and_body_is_not_signed_but_a_nonce_still_is_one() {
    let (random, signature) = (signed("/talk/random"), signed("/talk/signatures/talk_create.json"));
    let (head, tail) = random.split_at(32);
    let body = [tail.as_bytes(), &fixture(FIXTURE)].concat();
    assert!(verify(&[(RANDOM, head), (SIGNATURE, &signature)], &body).is_ok());
    assert_eq!(channel().parse(&body), Err(NotJson), "what can be moved over is no JSON");
}

#[test]
fn without_a_secret_every_call_passes_and_a_blank_one_is_refused() {
    let open = channel_of(NextcloudTalkSettings { webhook_secret: None, ..settings("http://x") });
    assert_eq!(open.verify(&HeaderMap::new(), b"{}", NOW), Ok(Verified { nonce: None }));
    let blank = NextcloudTalkSettings { webhook_secret: Some(Secret::new("")), ..settings("http://x") };
    let result = NextcloudTalk::new(blank, &Client::new(TIMEOUT).unwrap(), Arc::new(Zeros));
    assert!(matches!(result, Err(SetupError::Secret(_))));
}

fn read(payload: &Value) -> Result<Inbound, Skip> {
    only_message(channel().parse(payload.to_string().as_bytes()).unwrap())
}

/// The payload with this in place of what is there.
fn with(payload: &Value, pointer: &str, value: Value) -> Value {
    let mut payload = payload.clone();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    payload.pointer_mut(parent).unwrap()[member] = value;
    payload
}

fn activity() -> Value {
    serde_json::from_slice(&fixture(FIXTURE)).unwrap()
}

fn older() -> Value {
    json!({"type": "message", "object": {"token": "n3xtc10ud"}, "message": {
        "id": 1567, "actorType": "users", "actorId": "ada-lovelace", "messageType": "comment",
        "systemMessage": "", "message": "hi", "timestamp": 1_735_701_200,
    }})
}

fn text_of(message: &Inbound) -> Option<&str> {
    match &message.content {
        Content::Text(text) => Some(text.as_str()),
        Content::NotText => None,
    }
}

#[test]
fn both_shapes_are_read() {
    for (payload, text) in [(activity(), "hi {mention-call1}, grüße!"), (older(), "hi")] {
        let message = read(&payload).unwrap();
        assert_eq!(message.platform_id, "n3xtc10ud:1567");
        let address = Address { sender: "users/ada-lovelace".into(), room: "n3xtc10ud".into() };
        assert!(message.address == address);
        assert_eq!((message.reply_to.as_deref(), text_of(&message)), (Some("1567"), Some(text)));
    }
}

#[test]
fn ids_are_numbers_or_strings_or_the_hash_of_the_payload() {
    for (payload, pointer) in [(activity(), "/object/id"), (older(), "/message/id")] {
        for (id, platform_id, reply_to) in [
            (json!(42), "n3xtc10ud:42", Some("42")),
            (json!("42"), "n3xtc10ud:42", Some("42")),
            (json!("abc"), "n3xtc10ud:abc", None),
            (json!("-1"), "n3xtc10ud:-1", None),
            (json!("99999999999999999999"), "n3xtc10ud:99999999999999999999", None),
        ] {
            let message = read(&with(&payload, pointer, id)).unwrap();
            assert_eq!((message.platform_id.as_str(), message.reply_to.as_deref()), (platform_id, reply_to));
        }
        for id in [json!(null), json!(""), json!([]), json!(1.5), json!(-1)] {
            let message = read(&with(&payload, pointer, id.clone())).unwrap();
            assert!(message.platform_id.starts_with("sha256:"), "{id}");
            assert_eq!((message.platform_id.len(), message.reply_to), (7 + 64, None), "{id}");
        }
    }
}

#[test]
fn what_is_no_message_of_a_person_is_skipped() {
    let create = activity();
    for (pointer, value, skip) in [
        ("/type", json!("Like"), Skip::OtherKind),
        ("/type", json!("Undo"), Skip::OtherKind),
        ("/type", json!("Join"), Skip::OtherKind),
        ("/type", json!("create"), Skip::OtherKind),
        ("/actor/type", json!("Application"), Skip::OwnMessage),
        ("/actor/id", json!("bots/bot-1"), Skip::OwnMessage),
        ("/actor/id", json!("users/eve"), Skip::NotAllowed),
        ("/actor/id", json!("guests/ada-lovelace"), Skip::NotAllowed),
        ("/actor/id", json!(null), Skip::Malformed),
        ("/actor", json!("users/ada-lovelace"), Skip::Malformed),
        ("/object/name", json!("user_added"), Skip::OtherKind),
        ("/object", json!([]), Skip::Malformed),
        ("/object/content", json!("hi"), Skip::Malformed),
        ("/object/content", json!({"message": "hi"}), Skip::Malformed),
        ("/object/content", json!(r#"{"message":7}"#), Skip::Malformed),
        ("/object/content", json!(r#"{"message":" "}"#), Skip::Blank),
        ("/target/id", json!(""), Skip::Malformed),
        ("/target", json!(null), Skip::Malformed),
    ] {
        assert_eq!(read(&with(&create, pointer, value.clone())), Err(skip), "{pointer} {value}");
    }
}

#[test]
fn guests_are_answered_if_they_are_named() {
    let message = read(&with(&activity(), "/actor/id", json!("guests/0a1b"))).unwrap();
    assert_eq!(message.address.sender, "guests/0a1b");
    let older =
        with(&with(&older(), "/message/actorType", json!("guests")), "/message/actorId", json!("0a1b"));
    assert_eq!(read(&older).unwrap().address.sender, "guests/0a1b");
}

#[test]
fn a_file_is_not_text_unless_there_are_words_to_it() {
    let content = |message: &str| {
        let file = json!({"type": "file", "id": "7", "name": "a.jpg", "mimetype": "image/jpeg"});
        let content = json!({"message": message, "parameters": {"file": file}});
        // Talk names it `message` since version 23, and nothing before.
        let payload = with(&activity(), "/object/content", json!(content.to_string()));
        let named = read(&payload).unwrap();
        let unnamed = read(&with(&payload, "/object/name", json!(""))).unwrap();
        assert_eq!(named.content, unnamed.content);
        text_of(&named).map(str::to_owned)
    };
    assert_eq!(content("{file}"), None);
    assert_eq!(content("Look at this").as_deref(), Some("Look at this"));
    let plain = json!(r#"{"message":"{file}","parameters":[]}"#);
    assert_eq!(text_of(&read(&with(&activity(), "/object/content", plain)).unwrap()), Some("{file}"));
}

#[test]
fn the_older_shape_is_read_as_strictly() {
    let older = older();
    for (pointer, value, skip) in [
        ("/message/actorType", json!("bots"), Skip::OwnMessage),
        ("/message/actorId", json!("bots/x"), Skip::NotAllowed),
        ("/message/actorId", json!("eve"), Skip::NotAllowed),
        ("/message/actorId", json!(""), Skip::Malformed),
        ("/message/messageType", json!("system"), Skip::OtherKind),
        ("/message/systemMessage", json!("user_added"), Skip::OtherKind),
        ("/message/message", json!(" "), Skip::Blank),
        ("/message/message", json!(7), Skip::Malformed),
        ("/message", json!("hi"), Skip::Malformed),
        ("/object", json!({}), Skip::Malformed),
    ] {
        assert_eq!(read(&with(&older, pointer, value.clone())), Err(skip), "{pointer} {value}");
    }
    let message = json!({"token": "n3xtc10ud", "id": "1567", "message": "hi"});
    for actor in ["ada-lovelace", "users/ada-lovelace"] {
        let elsewhere = json!({"actorId": actor, "message": message});
        let read = read(&elsewhere).unwrap();
        assert_eq!(
            (read.platform_id.as_str(), read.address.sender.as_str()),
            ("n3xtc10ud:1567", "users/ada-lovelace")
        );
    }
    assert_eq!(read(&json!({"actorId": "bots/x", "message": message})), Err(Skip::OwnMessage));
}

async fn sent(room: &str, reply_to: Option<&str>, text: &str) -> (Result<Accepted, SendError>, Vec<Call>) {
    let open = |url: &str| Box::new(channel_of(settings(&format!("{url}/cloud/")))) as Box<dyn Channel>;
    let created = r#"{"ocs":{"meta":{"status":"ok","statuscode":201,"message":"OK"},"data":null}}"#;
    send(open, ("users/ada-lovelace", room), reply_to, text, &[Reaction::status(201, created)]).await
}

/// `printf delivery-7-1 | sha256sum`
const REFERENCE: &str = "98482d64efed608a6a37ccde2f49068ddfc59fba8d9b28d72821c5bbcc522ee1";

#[tokio::test]
async fn a_reply_is_signed_as_others_would() {
    let text = signed("/talk/reply/text");
    let (result, calls) = sent("n3xtc10ud", Some("1567"), &text).await;
    assert_eq!(result, Ok(Accepted { platform_id: None }));
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.method, "POST");
    assert_eq!(call.path, "/cloud/ocs/v2.php/apps/spreed/api/v1/bot/n3xtc10ud/message");
    assert_eq!(call.header("x-nextcloud-talk-bot-random"), signed("/talk/reply/random"));
    assert_eq!(call.header("x-nextcloud-talk-bot-signature"), signed("/talk/reply/signature"));
    assert_eq!(call.header("ocs-apirequest"), "true");
    assert_eq!(call.header("content-type"), "application/json");
    let text = r"Grüße, *Ada*! 😀\nSecond line";
    assert_eq!(call.body, format!(r#"{{"message":"{text}","replyTo":1567,"referenceId":"{REFERENCE}"}}"#));
}

#[tokio::test]
async fn only_a_number_is_replied_to() {
    for reply_to in [None, Some("abc"), Some(""), Some("-1"), Some("0"), Some("99999999999999999999")] {
        let (_, calls) = sent("room", reply_to, "hi").await;
        assert_eq!(calls[0].body, format!(r#"{{"message":"hi","referenceId":"{REFERENCE}"}}"#));
    }
}

#[tokio::test]
async fn a_room_stays_within_its_place_in_the_path() {
    let (_, calls) = sent("a/b", None, "hi").await;
    assert_eq!(calls[0].path, "/cloud/ocs/v2.php/apps/spreed/api/v1/bot/a%2Fb/message");
    for room in ["", "..", " "] {
        let (result, calls) = sent(room, None, "hi").await;
        assert_eq!((result, calls.len()), (Err(SendError::never("refused")), 0));
    }
}

struct Empty;

impl Entropy for Empty {
    fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

#[tokio::test]
async fn without_randomness_nothing_is_sent_for_now() {
    let empty = |url: &str| {
        let channel = NextcloudTalk::new(settings(url), &Client::new(TIMEOUT).unwrap(), Arc::new(Empty));
        Box::new(channel.unwrap()) as Box<dyn Channel>
    };
    let (result, calls) = send(empty, ("users/a", "room"), None, "hi", &[]).await;
    let later = SendError { class: "no_entropy", retry: Retry::After(None), in_doubt: false };
    assert_eq!((result, calls.len()), (Err(later), 0));
}
