//! What chat platforms post to the gateway, signed as they sign it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use moorgate::domain::hex::Hex;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    client::{Client, Reply},
    platform::Platform,
};

pub const APP_SECRET: &str = "app-secret";
pub const TALK_SECRET: &str = "a-talk-secret-of-at-least-forty-characters";
pub const LINQ_SECRET: &str = "linq-secret";
pub const PHONE_NUMBER_ID: &str = "106540352242922";

pub type Setting<'a> = (&'static str, &'a str);

/// The keys that configure WhatsApp against a platform of the test.
pub fn whatsapp(platform: &Platform) -> Vec<Setting<'_>> {
    vec![
        ("channels_config.whatsapp.access_token", "access-token"),
        ("channels_config.whatsapp.phone_number_id", PHONE_NUMBER_ID),
        ("channels_config.whatsapp.verify_token", "verify-token"),
        ("channels_config.whatsapp.app_secret", APP_SECRET),
        ("channels_config.whatsapp.allowed_numbers", "*"),
        ("channels_config.whatsapp.api_base_url", platform.url()),
    ]
}

/// The keys that configure Linq.
pub fn linq(platform: &Platform) -> Vec<Setting<'_>> {
    vec![
        ("channels_config.linq.api_token", "api-token"),
        ("channels_config.linq.from_phone", "+15550001111"),
        ("channels_config.linq.signing_secret", LINQ_SECRET),
        ("channels_config.linq.allowed_senders", "*"),
        ("channels_config.linq.api_base_url", platform.url()),
    ]
}

/// The keys that configure Nextcloud Talk.
pub fn talk(platform: &Platform) -> Vec<Setting<'_>> {
    vec![
        ("channels_config.nextcloud_talk.base_url", platform.url()),
        ("channels_config.nextcloud_talk.webhook_secret", TALK_SECRET),
        ("channels_config.nextcloud_talk.allowed_users", "*"),
    ]
}

/// The environment variables of the same keys, for a process.
pub fn env_of(settings: &[Setting<'_>]) -> Vec<(String, String)> {
    let variable = |key: &str| format!("MOORGATE_{}", key.replace('.', "__").to_uppercase());
    settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect()
}

/// HMAC-SHA256, in hex.
pub fn hmac_hex(key: &[u8], parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    Hex(&mac.finalize().into_bytes()).to_string()
}

/// A text message as Meta posts it, at the moment at which the test's clock starts.
pub fn text_message(id: &str, from: &str, text: &str) -> Value {
    let mut message = undated_message(id, from, text);
    message["timestamp"] = "1790000000".into();
    message
}

/// A text message that does not say when it was sent, for a gateway with the real clock.
pub fn undated_message(id: &str, from: &str, text: &str) -> Value {
    json!({ "from": from, "id": id, "type": "text", "text": { "body": text } })
}

/// A payload of Meta's with these messages.
pub fn whatsapp_payload(messages: &[Value]) -> Value {
    whatsapp_value(&json!({ "messages": messages }))
}

/// A payload of Meta's with these fields in its value.
pub fn whatsapp_value(fields: &Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "15550001111", "phone_number_id": PHONE_NUMBER_ID },
    });
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }],
    })
}

/// A signed call of Meta's.
pub fn whatsapp_call(client: &Client, payload: &Value) -> RequestBuilder {
    let body = payload.to_string();
    let signature = format!("sha256={}", hmac_hex(APP_SECRET.as_bytes(), &[body.as_bytes()]));
    let request = client.request(Method::POST, "/whatsapp").header("Content-Type", "application/json");
    request.header("X-Hub-Signature-256", signature).body(body)
}

/// Posts one text as Meta does.
pub async fn say(client: &Client, id: &str, from: &str, text: &str) -> Reply {
    client.send(whatsapp_call(client, &whatsapp_payload(&[text_message(id, from, text)]))).await
}

/// A message as Nextcloud Talk posts it.
pub fn talk_payload(room: &str, id: u32, user: &str, text: &str) -> Value {
    json!({
        "type": "Create",
        "actor": { "type": "Person", "id": format!("users/{user}"), "name": user },
        "object": {
            "type": "Note", "id": id.to_string(), "name": "message", "mediaType": "text/markdown",
            "content": json!({ "message": text, "parameters": {} }).to_string(),
        },
        "target": { "type": "Collection", "id": room, "name": "a room" },
    })
}

/// A call of Nextcloud Talk, signed with this random.
pub fn talk_call(client: &Client, payload: &Value, random: &str) -> RequestBuilder {
    let body = payload.to_string();
    let signature = hmac_hex(TALK_SECRET.as_bytes(), &[random.as_bytes(), body.as_bytes()]);
    client
        .request(Method::POST, "/nextcloud-talk")
        .header("X-Nextcloud-Talk-Random", random)
        .header("X-Nextcloud-Talk-Signature", signature)
        .body(body)
}

/// A message as Linq posts it now.
pub fn linq_payload(event_id: &str, chat: &str, from: &str, text: &str) -> Value {
    json!({
        "event_type": "message.received", "event_id": event_id, "webhook_version": "2026-02-03",
        "data": {
            "id": format!("message-{event_id}"), "direction": "inbound", "chat": { "id": chat },
            "sender_handle": { "handle": from, "is_me": false },
            "parts": [{ "type": "text", "value": text }],
        },
    })
}

/// A call of Linq's, signed in the older scheme at this moment, in unix seconds.
pub fn linq_call(client: &Client, payload: &Value, at_secs: i64) -> RequestBuilder {
    let body = payload.to_string();
    let signature = hmac_hex(LINQ_SECRET.as_bytes(), &[format!("{at_secs}.").as_bytes(), body.as_bytes()]);
    client
        .request(Method::POST, "/linq")
        .header("X-Webhook-Timestamp", at_secs)
        .header("X-Webhook-Signature", signature)
        .body(body)
}
