//! What must be seen nowhere: every route is asked with values that would be known again, at the most talkative level.

use reqwest::Method;
use tempfile::TempDir;

use super::receiver::Receiver;
use crate::support::{
    model_server::ModelServer,
    platform::{Behaviour, Platform},
    process::Process,
    sender::{
        self, env_of, linq, linq_call, linq_payload, talk, talk_call, talk_payload, undated_message,
        whatsapp, whatsapp_call, whatsapp_payload,
    },
};

/// Values that the test puts in, each in another place.
const CANARIES: [&str; 16] = [
    "canarymessage",
    "canarykey",
    "canarysession",
    "canarypath",
    "canaryquery",
    "canarysecret",
    "canaryheader",
    "canarybody",
    "canaryverify",
    "canarychallenge",
    "canaryroom",
    "canaryuser",
    "canarychat",
    "5557654321",
    "sk-canaryapikey",
    "canaryotlpkey",
];

fn settings(
    model: &ModelServer,
    platform: &Platform,
    receiver: &Receiver,
    format: &str,
) -> Vec<(String, String)> {
    let mut settings = whatsapp(platform);
    settings.extend(linq(platform));
    settings.extend(talk(platform));
    settings.extend([
        ("observability.log_level", "trace"),
        ("observability.log_format", format),
        ("observability.otlp_endpoint", receiver.url()),
        ("observability.otlp_headers", "api-key=canaryotlpkey"),
        ("observability.otlp_interval_secs", "1"),
        ("observability.trace_sample_ratio", "1"),
        ("channels_config.webhook.secret", "canarysecret"),
        ("channels_config.retry_first_ms", "1"),
        ("provider.api_key", "sk-canaryapikey"),
    ]);
    let model = model.env("model").map(|(name, value)| (name.to_owned(), value.to_owned()));
    env_of(&settings).into_iter().chain(model).collect()
}

/// Asks every route, rightly and wrongly. The token.
async fn ask_everything(process: &Process, model: &ModelServer) -> String {
    let client = &process.client;
    let token = process.pair().await;
    let now = {
        use moorgate::system::{Clock as _, SystemClock};
        SystemClock::new().wall().0 / 1000
    };
    for path in
        ["/health", "/ready", "/metrics", "/pair", "/webhook", "/linq", "/nextcloud-talk", "/canarypath"]
    {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request =
                client.request(method, &format!("{path}?q=canaryquery")).header("X-Any", "canaryheader");
            client.send(request.header("Cookie", "canaryheader").body("canarybody")).await;
        }
    }
    let verify = "/whatsapp?hub.mode=subscribe&hub.challenge=canarychallenge&hub.verify_token=";
    for verify_token in ["verify-token", "canaryverify"] {
        client.get(&format!("{verify}{verify_token}")).await;
    }
    let post = |message: &str| {
        let request =
            client.message(&token, Some("canarykey"), message).header("X-Session-Id", "canarysession");
        request.header("X-Webhook-Secret", "canarysecret")
    };
    model.fail(Some(503));
    assert_eq!(client.send(post("canarymessage")).await.status, 500);
    model.fail(None);
    assert_eq!(client.send(post("canarymessage")).await.status, 200);
    assert_eq!(client.send(post("canarymessage")).await.status, 200);
    assert_eq!(client.send(post("another canarymessage")).await.status, 422);
    assert_eq!(client.send(client.message("zc_canaryheader", None, "canarymessage")).await.status, 401);
    for code in ["canary", "555765"] {
        client.pair(code).await;
    }
    let calls = [
        whatsapp_call(
            client,
            &whatsapp_payload(&[undated_message("wamid.1", "5557654321", "canarymessage 1")]),
        ),
        linq_call(client, &linq_payload("event-1", "canarychat", "+5557654321", "canarymessage 2"), now),
        talk_call(client, &talk_payload("canaryroom", 1, "canaryuser", "canarymessage 3"), "random"),
    ];
    for call in calls {
        assert_eq!(client.send(call).await.status, 200);
    }
    token
}

/// Failure 34: phone numbers and message texts in logs at INFO.
#[tokio::test]
async fn no_log_line_and_no_span_holds_what_a_user_or_an_operator_would_not_show() {
    let mut codes_seen = Vec::new();
    for format in ["text", "json"] {
        let (folder, receiver) = (TempDir::new().unwrap(), Receiver::start());
        let (model, platform) = (ModelServer::start(), Platform::start());
        let mut calls = 0;
        platform.behave(move |_| {
            calls += 1;
            if calls == 1 { Behaviour::Refuse(500, None) } else { Behaviour::Take }
        });
        let env = settings(&model, &platform, &receiver, format);
        let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut process = Process::start(folder.path(), &env);
        let token = ask_everything(&process, &model).await;
        platform.wait_for_texts(3).await;
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));

        let log = process.logged();
        for said in ["a turn failed", "a reply was not sent", "/nextcloud-talk", "key_mismatch"] {
            assert!(log.contains(said), "{said} is not in the log:\n{log}");
        }
        receiver
            .spans(&["POST /webhook", "POST /pair", "chat model", "send linq", "process nextcloud_talk"])
            .await;
        let (pushed, code) = (receiver.seen(), process.code.clone().unwrap());
        let secrets = [&token[..], &token[3..], sender::APP_SECRET, sender::TALK_SECRET, sender::LINQ_SECRET];
        for canary in CANARIES.into_iter().chain(secrets) {
            assert!(!log.contains(canary), "{canary} is in the log:\n{log}");
            assert!(!pushed.contains(canary), "{canary} was pushed");
        }
        codes_seen.push((log.contains(&code) || pushed.contains(&code)).then_some(code));
    }
    // Six digits may stand in a moment or a number by chance, but not those of both runs.
    assert!(codes_seen.contains(&None), "codes can be seen: {codes_seen:?}");
}
