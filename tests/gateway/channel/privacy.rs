//! What must not be seen: numbers, texts and secrets in logs; and what must be: warnings at the start.

use tempfile::TempDir;

use crate::support::{
    platform::{Behaviour, Platform},
    process::{Process, moorgate, run},
    sender::{
        self, env_of, linq, linq_call, linq_payload, talk, talk_call, talk_payload, undated_message,
        whatsapp, whatsapp_call, whatsapp_payload,
    },
};

fn all_channels(platform: &Platform) -> Vec<(String, String)> {
    let mut settings = whatsapp(platform);
    settings.extend(linq(platform));
    settings.extend(talk(platform));
    settings.push(("observability.log_level", "trace"));
    settings.push(("channels_config.retry_first_ms", "1"));
    env_of(&settings)
}

fn unix_now() -> i64 {
    use moorgate::system::{Clock as _, SystemClock};
    SystemClock::new().wall().0 / 1000
}

/// Failure 34: phone numbers and message texts in logs at INFO.
#[tokio::test]
async fn the_log_holds_no_number_no_text_and_no_secret() {
    let (folder, platform) = (TempDir::new().unwrap(), Platform::start());
    let env = all_channels(&platform);
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let process = Process::start(folder.path(), &env);
    let client = &process.client;
    let mut calls = 0;
    platform.behave(move |_| {
        calls += 1;
        match calls {
            1 => Behaviour::Refuse(500, None),
            2 => Behaviour::HangUp,
            _ => Behaviour::Take,
        }
    });
    let ok = |status: u16| assert_eq!(status, 200);
    let payload =
        whatsapp_payload(&[undated_message("wamid.1", "15551234567", "a text that nobody may read")]);
    ok(client.send(whatsapp_call(client, &payload)).await.status);
    let payload = linq_payload("event-1", "chat-of-a-user", "+15551234567", "a text that nobody may read");
    ok(client.send(linq_call(client, &payload, unix_now())).await.status);
    let payload = talk_payload("room-of-a-user", 1, "alice-in-talk", "a text that nobody may read");
    ok(client.send(talk_call(client, &payload, "a-random-value")).await.status);
    assert_eq!(
        client.request(reqwest::Method::POST, "/whatsapp").body("{}").send().await.unwrap().status(),
        401
    );
    platform.wait_for_texts(3).await;
    let log = process.logged();
    assert!(log.contains("a reply was not sent"), "{log}");
    let secrets = [
        "access-token",
        sender::APP_SECRET,
        "verify-token",
        sender::LINQ_SECRET,
        "api-token",
        sender::TALK_SECRET,
    ];
    let private =
        ["5551234567", "nobody may read", "chat-of-a-user", "room-of-a-user", "alice-in-talk", "15550001111"];
    for text in secrets.into_iter().chain(private) {
        assert!(!log.contains(text), "{text} is in the log:\n{log}");
    }
}

/// Failure 16: a channel without a secret accepts unsigned requests.
#[tokio::test]
async fn a_channel_without_its_secret_does_not_start_unless_that_is_allowed() {
    let platform = Platform::start();
    for (settings, secret) in [
        (whatsapp(&platform), "channels_config.whatsapp.app_secret"),
        (linq(&platform), "channels_config.linq.signing_secret"),
        (talk(&platform), "channels_config.nextcloud_talk.webhook_secret"),
    ] {
        let folder = TempDir::new().unwrap();
        let without: Vec<_> = settings.iter().copied().filter(|(key, _)| *key != secret).collect();
        let refused = run(moorgate(folder.path()).args(["serve", "--port", "0"]).envs(env_of(&without)));
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert!(refused.err.contains(secret) && refused.err.contains("allow_unsigned"), "{refused:?}");

        let mut env = env_of(&without);
        let section = secret.rsplit_once('.').unwrap().0.replace('.', "__").to_uppercase();
        env.push((format!("MOORGATE_{section}__ALLOW_UNSIGNED"), "true".into()));
        env.push((format!("MOORGATE_{section}__APP_TOKEN"), "another".into()));
        env.retain(|(name, _)| !name.ends_with("APP_TOKEN") || name.contains("NEXTCLOUD"));
        let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let process = Process::start(folder.path(), &env);
        assert!(process.logged().contains("allow_unsigned is true: anyone can post"), "{}", process.logged());
    }
}
