//! Secrets of channels that are in files of their own.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::support::{
    gateway::Gateway,
    platform::Platform,
    sender::{
        LINQ_SECRET, Setting, TALK_SECRET, hmac_hex, linq, linq_call, linq_payload, say, talk, talk_call,
        talk_payload, whatsapp,
    },
};

/// Writes each secret to a file and gives the key of the file instead.
fn in_files(settings: Vec<Setting<'_>>, keys: &[Setting<'_>], folder: &Path) -> Vec<(&'static str, String)> {
    let file_of = |key: &'static str, value: &str| {
        let (file_key, name) = *keys.iter().find(|(_, name)| *name == key)?;
        let path = folder.join(name);
        fs::write(&path, format!("{value}\n")).unwrap();
        Some((file_key, path.display().to_string()))
    };
    settings.into_iter().map(|(key, value)| file_of(key, value).unwrap_or((key, value.to_owned()))).collect()
}

#[tokio::test]
async fn secrets_of_channels_are_read_from_files() {
    let (folder, platform) = (TempDir::new().unwrap(), Platform::start());
    let mut settings = whatsapp(&platform);
    settings.extend(linq(&platform));
    settings.extend(talk(&platform));
    settings.push(("channels_config.nextcloud_talk.app_token", "a-secret-for-replies"));
    settings.push(("channels_config.webhook.signing_secret", "a-signing-secret"));
    let keys = [
        ("channels_config.whatsapp.access_token_file", "channels_config.whatsapp.access_token"),
        ("channels_config.whatsapp.verify_token_file", "channels_config.whatsapp.verify_token"),
        ("channels_config.whatsapp.app_secret_file", "channels_config.whatsapp.app_secret"),
        ("channels_config.linq.api_token_file", "channels_config.linq.api_token"),
        ("channels_config.linq.signing_secret_file", "channels_config.linq.signing_secret"),
        (
            "channels_config.nextcloud_talk.webhook_secret_file",
            "channels_config.nextcloud_talk.webhook_secret",
        ),
        ("channels_config.nextcloud_talk.app_token_file", "channels_config.nextcloud_talk.app_token"),
        ("channels_config.webhook.signing_secret_file", "channels_config.webhook.signing_secret"),
    ];
    let settings = in_files(settings, &keys, folder.path());
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let (gateway, token) = Gateway::paired_with(&settings).await;
    let client = &gateway.client;

    let question = "/whatsapp?hub.mode=subscribe&hub.verify_token=verify-token&hub.challenge=1";
    assert_eq!(client.get(question).await.text, "1");
    assert_eq!(say(client, "wamid.1", "1555", "one").await.status, 200);
    platform.wait_for_texts(1).await;
    let payload = linq_payload("event-1", "chat-1", "+15552223333", "two");
    assert_eq!(client.send(linq_call(client, &payload, 1_790_000_000)).await.status, 200, "{LINQ_SECRET}");
    platform.wait_for_texts(2).await;
    let payload = talk_payload("room1", 1, "alice", "three");
    assert_eq!(client.send(talk_call(client, &payload, "random-1")).await.status, 200, "{TALK_SECRET}");
    platform.wait_for_texts(3).await;
    let calls = platform.calls();
    assert_eq!(calls[0].headers["authorization"], "Bearer access-token");
    assert_eq!(calls[1].headers["authorization"], "Bearer api-token");
    let random = calls[2].headers["x-nextcloud-talk-bot-random"].as_bytes();
    let signature = hmac_hex(b"a-secret-for-replies", &[random, b"three!"]);
    assert_eq!(calls[2].headers["x-nextcloud-talk-bot-signature"].to_str().unwrap(), signature);
    client.post(&token, None, "unsigned").await.assert_is(401, r#"{"error":"Invalid signature"}"#);
}
